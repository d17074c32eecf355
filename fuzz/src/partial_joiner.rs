//! Parts of messages in any order of streams and files, against a joiner that just keeps all parts in a list.

use crate::input::Input;
use longshore::parse::partial::{Group, Part, Partials};
use longshore::record::{FileId, Flags, Span, Stamp, Stream};
use std::time::{Duration, Instant};

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// A part and when it came.
struct Kept<'a> {
    part: Part<'a>,
    came: Instant,
}

/// The reference: the parts of each stream's open message.
#[derive(Default)]
struct Joiner<'a> {
    open: [Vec<Kept<'a>>; 2],
}

impl<'a> Joiner<'a> {
    /// The message that had to be closed first: its parts lie in two other files already.
    fn push(&mut self, stream: usize, part: Part<'a>, came: Instant) -> Option<Vec<Kept<'a>>> {
        let open = &mut self.open[stream];
        let mut files: Vec<FileId> = open.iter().map(|kept| kept.part.span.file).collect();
        files.push(part.span.file);
        files.dedup();
        let closed = (files.len() > 2).then(|| std::mem::take(open));
        open.push(Kept { part, came });
        closed
    }
}

/// From the first part in a file to the end of the last one, and the stamp before the first.
fn reach(parts: &[Kept<'_>], file: FileId) -> Option<(Span, Option<Stamp>)> {
    let mut inside = parts
        .iter()
        .map(|kept| kept.part)
        .filter(|part| part.span.file == file);
    let first = inside.next()?;
    let end = inside.next_back().unwrap_or(first).span.end;
    Some((Span { end, ..first.span }, first.stamp_before))
}

/// The input is a limit for messages and a list of steps.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limit = usize::from(input.byte());
    let (mut partials, mut joiner) = (Partials::default(), Joiner::default());
    let (mut file, mut offset, mut now) = (0u128, 0u64, Instant::now());
    while !input.is_empty() {
        let step = input.byte();
        let at = usize::from(step & 1);
        match step >> 1 & 7 {
            0 => (file, offset) = (file + 1, 0),
            1 => now += Duration::from_millis(input.short().into()),
            2 => {
                let (group, parts) = (partials.take(STREAMS[at]), std::mem::take(&mut joiner.open[at]));
                same(group.as_ref(), &parts, limit);
            }
            // Lines of others lie between.
            3 => offset += u64::from(input.short()),
            _ => {
                let part = part(&mut input, FileId(file), &mut offset);
                let closed = partials.push(STREAMS[at], part, limit, now);
                same(
                    closed.as_ref(),
                    &joiner.push(at, part, now).unwrap_or_default(),
                    limit,
                );
            }
        }
        check(&partials, &joiner, &mut input, now, file);
    }
    for (at, stream) in STREAMS.into_iter().enumerate() {
        same(partials.take(stream).as_ref(), &joiner.open[at], limit);
    }
}

fn part<'a>(input: &mut Input<'a>, file: FileId, offset: &mut u64) -> Part<'a> {
    let shape = input.byte();
    let content = input.take(usize::from(shape & 31));
    let skipped = if shape & 32 > 0 {
        u64::from(input.short())
    } else {
        0
    };
    let stamp = Stamp {
        secs: i64::from(input.byte()),
        nanos: 0,
    };
    let start = *offset;
    // Stamp, stream, tag and newline.
    *offset += 40 + content.len() as u64 + skipped;
    Part {
        stamp,
        stamp_before: (shape & 64 > 0).then_some(Stamp { nanos: 1, ..stamp }),
        content,
        span: Span {
            file,
            start,
            end: *offset,
        },
        skipped,
    }
}

/// What the group says is what its parts say.
fn same(group: Option<&Group>, parts: &[Kept<'_>], limit: usize) {
    let Some(group) = group else {
        return assert!(parts.is_empty(), "{} parts, no group", parts.len());
    };
    let whole: Vec<u8> = parts.iter().flat_map(|kept| kept.part.content).copied().collect();
    let cut = limit.min(whole.len());
    let first = &parts.first().expect("a group has parts").part;
    let last = &parts.last().expect("a group has parts").part;
    let bytes: u64 = parts.iter().map(|kept| kept.part.span.len()).sum();
    let over = (whole.len() - cut) as u64 + parts.iter().map(|kept| kept.part.skipped).sum::<u64>();
    let (span, before) = reach(parts, first.span.file).expect("its first part lies there");
    let second = reach(parts, last.span.file).filter(|(second, _)| second.file != span.file);
    assert_eq!(group.message, whole[..cut]);
    assert_eq!((group.stamp, group.span), (first.stamp, span));
    assert_eq!(group.second, second.map(|(span, _)| span));
    assert_eq!(
        group.stamps_before,
        [before, second.and_then(|(_, before)| before)]
    );
    assert_eq!((group.skipped, group.source_bytes), (over, bytes - over));
    assert_eq!(group.flags.contains(Flags::TRUNCATED), over > 0);
    assert_eq!(group.last().end, last.span.end);
    let pieces = group.apart().map_or(0, |joined| joined.pieces.len());
    let expected = match second {
        Some(_) => 2,
        None => usize::from(span.len() != bytes),
    };
    assert_eq!(pieces, expected);
}

fn check(partials: &Partials, joiner: &Joiner<'_>, input: &mut Input<'_>, now: Instant, file: u128) {
    let parts = || joiner.open.iter().flatten();
    assert_eq!(
        partials.held_bytes(),
        parts().map(|kept| kept.part.span.len()).sum::<u64>()
    );
    for file in file.saturating_sub(2)..=file {
        let starts = joiner.open.iter().filter_map(|parts| reach(parts, FileId(file)));
        let lowest = starts
            .map(|(span, before)| (span.start, before))
            .min_by_key(|(start, _)| *start);
        assert_eq!(partials.lowest(FileId(file)), lowest);
    }
    let idle = Duration::from_millis(u64::from(input.byte()) * 64);
    let due: Vec<(Stream, u64)> = partials
        .idle(idle, now)
        .map(|(stream, span)| (stream, span.end))
        .collect();
    let expected = joiner.open.iter().zip(STREAMS).filter_map(|(parts, stream)| {
        let last = parts.last().filter(|last| now - last.came >= idle)?;
        Some((stream, last.part.span.end))
    });
    assert_eq!(due, expected.collect::<Vec<_>>());
    for (at, stream) in STREAMS.into_iter().enumerate() {
        assert_eq!(partials.is_open(stream), !joiner.open[at].is_empty());
    }
}
