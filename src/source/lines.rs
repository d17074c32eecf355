//! Chunks of a file enter, [`Line`]s with their offsets leave.
//!
//! Lines are cut at `\n` and stay in the chunk; only an unfinished tail is kept over to the next
//! chunk. A line longer than the limit keeps its first bytes, counts the rest as skipped and is
//! still one line, so that the next one starts where it should.

use crate::record::Line;

/// Cuts the chunks of one file, in order and without gaps.
#[derive(Debug, Default)]
pub struct LineCutter {
    /// The unfinished line, at most the limit.
    tail: Vec<u8>,
    /// Bytes of the unfinished line beyond the limit.
    skipped: u64,
    /// Offset of the unfinished line's first byte.
    start: u64,
}

impl LineCutter {
    /// A cutter whose first chunk starts at `offset`, the beginning of a line.
    pub fn new(offset: u64) -> LineCutter {
        LineCutter {
            tail: Vec::new(),
            skipped: 0,
            start: offset,
        }
    }

    /// Offset of the first byte that is not yet part of a whole line.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes kept or skipped of the unfinished line.
    pub fn held_bytes(&self) -> u64 {
        self.tail.len() as u64 + self.skipped
    }

    /// Finishes the line that an earlier chunk began, if this chunk ends it.
    ///
    /// Returns that line, if any, and the rest of the chunk, which [`whole_lines`] then cuts. When
    /// the chunk has no newline the rest is empty and the bytes are kept.
    ///
    /// [`whole_lines`]: LineCutter::whole_lines
    pub fn resume<'a>(&mut self, chunk: &'a [u8], max_line: usize) -> (Option<OwnedLine>, &'a [u8]) {
        if self.held_bytes() == 0 {
            return (None, chunk);
        }
        match memchr::memchr(b'\n', chunk) {
            None => {
                self.keep(chunk, max_line);
                (None, &[])
            }
            Some(newline) => {
                self.keep(&chunk[..newline], max_line);
                (self.take(1), &chunk[newline + 1..])
            }
        }
    }

    /// The part of `rest` that is whole lines; what follows is kept as the unfinished tail.
    ///
    /// `start` of the cutter moves past the returned bytes; walk them with [`cut`].
    pub fn whole_lines<'a>(&mut self, rest: &'a [u8], max_line: usize) -> (u64, &'a [u8]) {
        let from = self.start;
        let end = memchr::memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
        self.start += end as u64;
        if end < rest.len() {
            self.keep(&rest[end..], max_line);
        }
        (from, &rest[..end])
    }

    /// The unfinished line has reached its limit: whatever comes before its newline is only counted.
    pub fn is_full(&self) -> bool {
        self.skipped > 0
    }

    /// So many bytes without a newline follow, which nobody needs to look at. Only for a line that [is full].
    ///
    /// [is full]: LineCutter::is_full
    pub fn skip(&mut self, bytes: u64) {
        self.skipped += bytes;
    }

    /// Ends the unfinished line without a newline: the file will not grow any more.
    pub fn finish(&mut self) -> Option<OwnedLine> {
        if self.held_bytes() == 0 {
            None
        } else {
            self.take(0)
        }
    }

    fn keep(&mut self, bytes: &[u8], max_line: usize) {
        let room = max_line.saturating_sub(self.tail.len()).min(bytes.len());
        self.tail.extend_from_slice(&bytes[..room]);
        self.skipped += (bytes.len() - room) as u64;
    }

    fn take(&mut self, newline: u64) -> Option<OwnedLine> {
        let text = std::mem::take(&mut self.tail);
        let skipped = std::mem::take(&mut self.skipped);
        let start = self.start;
        self.start += text.len() as u64 + skipped + newline;
        Some(OwnedLine {
            text,
            start,
            end: self.start,
            skipped,
        })
    }
}

/// A line that spanned chunks.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnedLine {
    text: Vec<u8>,
    start: u64,
    end: u64,
    skipped: u64,
}

impl OwnedLine {
    /// The line, borrowed.
    pub fn line(&self) -> Line<'_> {
        Line {
            text: &self.text,
            start: self.start,
            end: self.end,
            skipped: self.skipped,
        }
    }
}

/// Cuts `block`, which ends in a newline and starts at offset `start`, into lines of at most
/// `max_line` bytes.
pub fn cut(block: &[u8], start: u64, max_line: usize) -> impl Iterator<Item = Line<'_>> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', block).map(move |newline| {
        let whole = &block[from..newline];
        let kept = whole.len().min(max_line);
        let line = Line {
            text: &whole[..kept],
            start: start + from as u64,
            end: start + newline as u64 + 1,
            skipped: (whole.len() - kept) as u64,
        };
        from = newline + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every line that the cutter makes of `chunks`: text, start, end, skipped.
    fn lines_of(chunks: &[&[u8]], max_line: usize, finish: bool) -> Vec<(Vec<u8>, u64, u64, u64)> {
        let mut cutter = LineCutter::new(0);
        let mut lines = Vec::new();
        let mut push = |line: Line<'_>| lines.push((line.text.to_vec(), line.start, line.end, line.skipped));
        for chunk in chunks {
            let (first, rest) = cutter.resume(chunk, max_line);
            if let Some(first) = first {
                push(first.line());
            }
            let (start, block) = cutter.whole_lines(rest, max_line);
            cut(block, start, max_line).for_each(&mut push);
        }
        if finish && let Some(last) = cutter.finish() {
            push(last.line());
        }
        lines
    }

    #[test]
    fn an_over_long_line_is_cut_and_the_next_one_is_whole() {
        let lines = lines_of(&[b"123456", b"789\nab\n"], 4, false);
        assert_eq!(lines, [(b"1234".to_vec(), 0, 10, 5), (b"ab".to_vec(), 10, 13, 0)]);
    }

    #[test]
    fn what_is_skipped_of_an_over_long_line_counts_as_if_it_had_been_read() {
        let mut cutter = LineCutter::new(0);
        assert!(cutter.resume(b"123", 4).0.is_none());
        cutter.whole_lines(b"123456", 4);
        assert!(cutter.is_full());
        cutter.skip(1 << 40);
        let (line, rest) = cutter.resume(b"78\nab\n", 4);
        let line = line.unwrap();
        let (start, end, skipped) = (line.line().start, line.line().end, line.line().skipped);
        assert_eq!((start, end, skipped), (0, (1 << 40) + 9, (1 << 40) + 4));
        assert_eq!((line.line().text, rest), (&b"1234"[..], &b"ab\n"[..]));
    }

    #[test]
    fn a_torn_last_line_is_a_line_only_when_the_file_is_finished() {
        assert_eq!(lines_of(&[b"a\nbc"], 100, false).len(), 1);
        assert_eq!(lines_of(&[b"a\nbc"], 100, true)[1], (b"bc".to_vec(), 2, 4, 0));
    }

    proptest! {
        #[test]
        fn any_cutting_into_chunks_gives_the_same_lines(
            text in "[ab\n]{0,80}", cuts in proptest::collection::vec(0usize..80, 0..6), max_line in 1usize..10,
        ) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                chunks.push(&text[from..cut]);
                from = cut;
            }
            let whole = lines_of(&[text], max_line, true);
            prop_assert_eq!(&lines_of(&chunks, max_line, true), &whole);
            let mut at = 0;
            for (kept, start, end, skipped) in whole {
                prop_assert_eq!(start, at);
                let newline = u64::from(text.get(end as usize - 1) == Some(&b'\n'));
                prop_assert_eq!(kept.len() as u64 + skipped + newline, end - start);
                at = end;
            }
            prop_assert_eq!(at, text.len() as u64);
        }
    }
}
