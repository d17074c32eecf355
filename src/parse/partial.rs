//! Parts of messages enter, whole messages leave.
//!
//! State is kept per container instance and stream, not per file: a `P` may end one file and its
//! `F` begin the next. A group is closed by facts only: its end, a cut that a checkpoint recorded,
//! a third file, or the end of the instance. Closing a group because it is *old* is the caller's
//! decision, which he makes durable first ([`Partials::idle`] proposes, [`Partials::take`] closes).
//! Nothing here waits, and nothing is dropped uncounted: bytes over the limit go to
//! [`Group::skipped`].

use crate::record::{FileId, FileRange, Flags, Joined, Span, Stamp, Stream};
use std::time::{Duration, Instant};

/// An open message: the parts that came so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The stamp of the first part.
    pub stamp: Stamp,
    /// The joined text, at most the configured limit.
    pub message: Vec<u8>,
    /// From the first part to the end of the last part in the same file.
    pub span: Span,
    /// The same for the file after it, when the group crossed a rotation.
    pub second: Option<Span>,
    /// The stamp of the last part, and where its line lies.
    pub last_part: (Stamp, Span),
    /// The last valid stamp before the group, in its first file and in its second.
    pub stamps_before: [Option<Stamp>; 2],
    /// Bytes of the parts' lines.
    pub source_bytes: u64,
    /// Bytes over the limit.
    pub skipped: u64,
    /// What was unusual about a part.
    pub flags: Flags,
    touched: Instant,
}

impl Group {
    /// Where the last part ended.
    pub fn last(&self) -> Span {
        self.second.unwrap_or(self.span)
    }
}

/// One part of a message.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The part's stamp.
    pub stamp: Stamp,
    /// The last valid stamp before this part in its file.
    pub stamp_before: Option<Stamp>,
    /// The text.
    pub content: &'a [u8],
    /// Where its line lies.
    pub span: Span,
    /// Source bytes that were already skipped in its line.
    pub skipped: u64,
}

/// The open groups of one container instance.
#[derive(Debug, Default)]
pub struct Partials {
    /// In boxes: thousands of instances have none open.
    groups: [Option<Box<Group>>; 2],
}

fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Partials {
    /// True when a group of `stream` is open.
    #[inline]
    pub fn is_open(&self, stream: Stream) -> bool {
        self.groups[slot(stream)].is_some()
    }

    /// Adds a part to the open group of `stream`, or opens one. `max_message` bounds the joined
    /// text.
    ///
    /// Returns a group that had to be closed first, because the part lies in a third file.
    pub fn push(
        &mut self,
        stream: Stream,
        part: Part<'_>,
        max_message: usize,
        now: Instant,
    ) -> Option<Group> {
        let slot = &mut self.groups[slot(stream)];
        let closed = match slot {
            Some(group) if !group.reaches(part.span.file) => slot.take().map(|group| *group),
            _ => None,
        };
        match slot {
            Some(group) => group.extend(part, max_message, now),
            None => *slot = Some(Box::new(Group::open(part, max_message, now))),
        }
        closed
    }

    /// Closes the open group of `stream`.
    pub fn take(&mut self, stream: Stream) -> Option<Group> {
        self.groups[slot(stream)].take().map(|group| *group)
    }

    /// Streams whose group has seen no part for `idle`, with the end of its last part.
    pub fn idle(&self, idle: Duration, now: Instant) -> impl Iterator<Item = (Stream, Span)> + '_ {
        self.open()
            .filter(move |(_, group)| now.saturating_duration_since(group.touched) >= idle)
            .map(|(stream, group)| (stream, group.last()))
    }

    /// The open groups.
    pub fn open(&self) -> impl Iterator<Item = (Stream, &Group)> {
        let [stdout, stderr] = &self.groups;
        let stdout = stdout.iter().map(|group| (Stream::Stdout, &**group));
        stdout.chain(stderr.iter().map(|group| (Stream::Stderr, &**group)))
    }

    /// Source bytes that the open groups hold.
    pub fn held_bytes(&self) -> u64 {
        self.open()
            .map(|(_, group)| group.source_bytes + group.skipped)
            .sum()
    }

    /// The lowest offset of `file` that an open group needs, with the stamp before it.
    pub fn lowest(&self, file: FileId) -> Option<(u64, Option<Stamp>)> {
        self.open()
            .filter_map(|(_, group)| group.start_in(file))
            .min_by_key(|(offset, _)| *offset)
    }
}

impl Group {
    /// The group's pieces when they do not lie one after the other.
    pub fn apart(&self) -> Option<Joined> {
        let in_one = self.second.is_none() && self.span.len() == self.source_bytes + self.skipped;
        if in_one {
            return None;
        }
        let spans = [Some(self.span), self.second].into_iter().zip(self.stamps_before);
        let pieces = spans.filter_map(|(span, stamp_before)| {
            let Span { file, start, end } = span?;
            Some((
                FileRange {
                    file,
                    start,
                    stamp_before,
                },
                end,
            ))
        });
        Some(Joined {
            pieces: pieces.collect(),
        })
    }

    fn open(part: Part<'_>, max_message: usize, now: Instant) -> Group {
        let mut group = Group {
            stamp: part.stamp,
            message: Vec::new(),
            span: Span {
                end: part.span.start,
                ..part.span
            },
            second: None,
            last_part: (part.stamp, part.span),
            stamps_before: [part.stamp_before, None],
            source_bytes: 0,
            skipped: 0,
            flags: Flags::default(),
            touched: now,
        };
        group.extend(part, max_message, now);
        group
    }

    fn extend(&mut self, part: Part<'_>, max_message: usize, now: Instant) {
        let room = max_message
            .saturating_sub(self.message.len())
            .min(part.content.len());
        self.message.extend_from_slice(&part.content[..room]);
        let over = (part.content.len() - room) as u64 + part.skipped;
        if over > 0 {
            self.flags.insert(Flags::TRUNCATED);
        }
        self.skipped += over;
        self.source_bytes += part.span.len() - over;
        if part.span.file == self.span.file {
            self.span.end = part.span.end;
        } else {
            let start = self.second.map_or(part.span.start, |second| second.start);
            if self.second.is_none() {
                self.stamps_before[1] = part.stamp_before;
            }
            self.second = Some(Span { start, ..part.span });
        }
        self.last_part = (part.stamp, part.span);
        self.touched = now;
    }

    fn reaches(&self, file: FileId) -> bool {
        self.last().file == file || self.second.is_none()
    }

    fn start_in(&self, file: FileId) -> Option<(u64, Option<Stamp>)> {
        if self.span.file == file {
            return Some((self.span.start, self.stamps_before[0]));
        }
        let second = self.second.filter(|second| second.file == file)?;
        Some((second.start, self.stamps_before[1]))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests {
    use super::*;

    const A: FileId = FileId(1);
    const B: FileId = FileId(2);
    const C: FileId = FileId(3);

    fn part(content: &'static [u8], file: FileId, start: u64) -> Part<'static> {
        let span = Span {
            file,
            start,
            end: start + 50,
        };
        Part {
            stamp: Stamp {
                secs: start as i64,
                nanos: 0,
            },
            stamp_before: None,
            content,
            span,
            skipped: 0,
        }
    }

    #[test]
    fn stderr_partial_does_not_join_stdout() {
        let now = Instant::now();
        let mut partials = Partials::default();
        partials.push(Stream::Stdout, part(b"out-", A, 0), 100, now);
        partials.push(Stream::Stderr, part(b"err-", A, 50), 100, now);
        partials.push(Stream::Stdout, part(b"end", A, 100), 100, now);
        let group = partials.take(Stream::Stdout).unwrap();
        assert_eq!(group.message, b"out-end");
        assert_eq!(
            (group.span.start, group.span.end, group.source_bytes),
            (0, 150, 100)
        );
        assert_eq!(partials.take(Stream::Stderr).unwrap().message, b"err-");
    }

    #[test]
    fn a_group_crosses_one_rotation_and_is_closed_at_the_second() {
        let now = Instant::now();
        let mut partials = Partials::default();
        partials.push(Stream::Stdout, part(b"1", A, 900), 100, now);
        assert!(
            partials
                .push(Stream::Stdout, part(b"2", B, 0), 100, now)
                .is_none()
        );
        assert_eq!(partials.lowest(A), Some((900, None)));
        assert_eq!(partials.lowest(B), Some((0, None)));
        let closed = partials.push(Stream::Stdout, part(b"3", C, 0), 100, now).unwrap();
        assert_eq!(closed.message, b"12");
        assert_eq!(
            closed.second,
            Some(Span {
                file: B,
                start: 0,
                end: 50
            })
        );
        assert_eq!(partials.lowest(A), None);
        assert_eq!(partials.take(Stream::Stdout).unwrap().message, b"3");
    }

    #[test]
    fn the_limit_holds_for_the_joined_message_and_counts_what_is_over() {
        let now = Instant::now();
        let mut partials = Partials::default();
        partials.push(Stream::Stdout, part(b"12345", A, 0), 8, now);
        partials.push(Stream::Stdout, part(b"67890", A, 50), 8, now);
        let group = partials.take(Stream::Stdout).unwrap();
        assert_eq!(group.message, b"12345678");
        assert_eq!((group.skipped, group.source_bytes), (2, 98));
        assert!(group.flags.contains(Flags::TRUNCATED));
    }

    #[test]
    fn idle_groups_are_proposed_with_their_end_and_stay_open() {
        let start = Instant::now();
        let idle = Duration::from_secs(30);
        let mut partials = Partials::default();
        partials.push(Stream::Stdout, part(b"1", A, 0), 100, start);
        assert_eq!(partials.idle(idle, start + Duration::from_secs(29)).count(), 0);
        let due: Vec<_> = partials.idle(idle, start + idle).collect();
        assert_eq!(
            due,
            [(
                Stream::Stdout,
                Span {
                    file: A,
                    start: 0,
                    end: 50
                }
            )]
        );
        assert!(partials.is_open(Stream::Stdout));
    }
}
