//! One line of the Container Runtime Interface log format enters, its parts leave.
//!
//! Grammar (kubelet `pkg/kubelet/kuberuntime/logs/logs.go`):
//! `RFC3339Nano SP ("stdout"|"stderr") SP tag *(":" tag) SP content`, where the first tag is `P`
//! (more follows) or `F` (end), and further tags are skipped. A line that ends right after the tag
//! has empty content. The common form (nine digits, `Z`) is read by position.

use crate::codec::stamp;
use crate::record::{Stamp, Stream};

/// Whether a line ends its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    /// `F`: the message ends here.
    Full,
    /// `P`: the next line of the same stream continues the message.
    Partial,
}

/// The parts of a CRI line, borrowed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CriLine<'a> {
    /// The stamp's bytes as written.
    pub stamp_text: &'a [u8],
    /// The stamp's value.
    pub stamp: Stamp,
    /// Where the container wrote to.
    pub stream: Stream,
    /// Whether the message ends here.
    pub tag: Tag,
    /// The message, or this part of it.
    pub content: &'a [u8],
}

/// Reads CRI lines; remembers the last day seen, as neighbouring lines share it.
#[derive(Clone, Debug)]
pub struct CriParser {
    day: [u8; 10],
    day_secs: i64,
}

/// The day it remembers at first is a real one: whatever stands here is taken for a date.
impl Default for CriParser {
    fn default() -> CriParser {
        CriParser {
            day: *b"1970-01-01",
            day_secs: 0,
        }
    }
}

/// `2026-11-21T09:15:27.123456789Z ` is this long.
const CANONICAL_PREFIX: usize = 31;

impl CriParser {
    /// The parts of `line` (without its newline), or `None` when it is not CRI.
    #[inline]
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Option<CriLine<'a>> {
        let space = if line.len() > CANONICAL_PREFIX && line[30] == b' ' && line[29] == b'Z' {
            30
        } else {
            memchr::memchr(b' ', line.get(..line.len().min(64))?)?
        };
        let stamp_text = &line[..space];
        let stamp = stamp::parse_time(self.day_secs(stamp_text)?, stamp_text)?;
        let rest = &line[space + 1..];
        let stream = match rest.get(..7)? {
            b"stdout " => Stream::Stdout,
            b"stderr " => Stream::Stderr,
            _ => return None,
        };
        let (tag, content) = tag_and_content(&rest[7..])?;
        Some(CriLine {
            stamp_text,
            stamp,
            stream,
            tag,
            content,
        })
    }

    #[inline]
    fn day_secs(&mut self, stamp_text: &[u8]) -> Option<i64> {
        let date = stamp_text.first_chunk::<10>()?;
        if *date != self.day {
            self.day_secs = stamp::day_secs(date)?;
            self.day = *date;
        }
        Some(self.day_secs)
    }
}

#[inline]
fn tag_and_content(rest: &[u8]) -> Option<(Tag, &[u8])> {
    let tag = match rest.first()? {
        b'F' => Tag::Full,
        b'P' => Tag::Partial,
        _ => return None,
    };
    match rest.get(1) {
        Some(b' ') => Some((tag, &rest[2..])),
        None => Some((tag, &[])),
        Some(b':') => {
            let content = memchr::memchr(b' ', rest).map_or(&rest[rest.len()..], |space| &rest[space + 1..]);
            Some((tag, content))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Option<(Stream, Tag, &str)> {
        let parsed = CriParser::default().parse(line.as_bytes())?;
        Some((
            parsed.stream,
            parsed.tag,
            std::str::from_utf8(parsed.content).unwrap(),
        ))
    }

    #[test]
    fn both_dialects_and_every_tag_form_are_read() {
        let cases = [
            (
                "2026-03-04T09:15:27.123456789Z stdout F hello world",
                Stream::Stdout,
                Tag::Full,
                "hello world",
            ),
            (
                "2026-03-04T09:15:27.123456789+00:00 stderr P part",
                Stream::Stderr,
                Tag::Partial,
                "part",
            ),
            ("2026-03-04T09:15:27Z stdout F ", Stream::Stdout, Tag::Full, ""),
            ("2026-03-04T09:15:27.1Z stdout F", Stream::Stdout, Tag::Full, ""),
            (
                "2026-03-04T09:15:27.123456789+08:00 stdout P:x:y more  ",
                Stream::Stdout,
                Tag::Partial,
                "more  ",
            ),
            (
                "2026-03-04T09:15:27.123456789Z stdout F:x",
                Stream::Stdout,
                Tag::Full,
                "",
            ),
            (
                "2026-03-04T09:15:27.123456789Z stdout F  two spaces",
                Stream::Stdout,
                Tag::Full,
                " two spaces",
            ),
        ];
        for (line, stream, tag, content) in cases {
            assert_eq!(parse(line), Some((stream, tag, content)), "{line}");
        }
    }

    #[test]
    fn what_is_not_cri_is_refused() {
        for line in [
            "",
            "hello",
            "2026-03-04T09:15:27.123456789Z",
            "2026-03-04T09:15:27.123456789Z stdout",
            "2026-03-04T09:15:27.123456789Z stdin F x",
            "2026-03-04T09:15:27.123456789Z stdout X x",
            "2026-03-04T09:15:27.123456789Z stdout FF x",
            "2026-03-04T09:99:27.123456789Z stdout F x",
            "\0\0\0\0\0\0\0\0\0\0T09:15:27Z stdout F x",
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2026-03-04T09:15:27Z\"}",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_day_change_is_seen() {
        let mut parser = CriParser::default();
        let before = parser
            .parse(b"2026-12-31T23:59:59.999999999Z stdout F x")
            .unwrap()
            .stamp;
        let after = parser
            .parse(b"2027-01-01T00:00:00.000000000Z stdout F x")
            .unwrap()
            .stamp;
        assert_eq!(after.secs - before.secs, 1);
    }

    proptest! {
        #[test]
        fn no_input_panics(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            CriParser::default().parse(&line);
        }

        #[test]
        fn content_is_never_altered(content in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut line = b"2026-03-04T09:15:27.123456789Z stdout F ".to_vec();
            line.extend_from_slice(&content);
            prop_assert_eq!(CriParser::default().parse(&line).unwrap().content, &content[..]);
        }
    }
}
