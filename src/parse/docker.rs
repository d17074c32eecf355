//! One line of docker's `json-file` driver enters, its parts leave.
//!
//! The driver writes `{"log":"text\n","stream":"stdout","time":"RFC3339Nano"}`; a part of a longer
//! message has no newline at the end of `log` (moby splits at 16 KiB). Like kubelet, the format of
//! a file is told by its first line.

use super::cri::Tag;
use crate::codec::stamp;
use crate::record::{Stamp, Stream};
use serde::Deserialize;
use std::borrow::Cow;

/// The wire form.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The parts of a docker line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DockerLine<'a> {
    /// When docker read it.
    pub stamp: Stamp,
    /// Where the container wrote to.
    pub stream: Stream,
    /// Whether the message ends here.
    pub tag: Tag,
    /// The message without its newline, or this part of it.
    pub content: Cow<'a, str>,
}

/// The parts of `line`, or `None` when it is not a docker line.
pub fn parse(line: &[u8]) -> Option<DockerLine<'_>> {
    if line.first() != Some(&b'{') {
        return None;
    }
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let stream = match entry.stream.as_ref() {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let stamp = stamp::parse(entry.time.as_bytes())?;
    let tag = if entry.log.ends_with('\n') {
        Tag::Full
    } else {
        Tag::Partial
    };
    let content = match entry.log {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text)),
        Cow::Owned(mut text) => {
            text.truncate(text.strip_suffix('\n').map_or(text.len(), str::len));
            Cow::Owned(text)
        }
    };
    Some(DockerLine {
        stamp,
        stream,
        tag,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_and_parts_are_told_apart() {
        let whole =
            parse(br#"{"log":"a \"b\"\n","stream":"stderr","time":"2026-03-04T09:15:27.5Z"}"#).unwrap();
        assert_eq!(
            (whole.tag, whole.content.as_ref(), whole.stream),
            (Tag::Full, "a \"b\"", Stream::Stderr)
        );
        let part = parse(br#"{"log":"abc","stream":"stdout","time":"2026-03-04T09:15:27.5Z"}"#).unwrap();
        assert_eq!((part.tag, part.content.as_ref()), (Tag::Partial, "abc"));
    }

    #[test]
    fn an_application_object_is_not_a_docker_line() {
        assert_eq!(parse(br#"{"log":"x","level":"info"}"#), None);
        assert_eq!(
            parse(br#"{"log":"x\n","stream":"stdout","time":"yesterday"}"#),
            None
        );
        assert_eq!(parse(b"{"), None);
    }
}
