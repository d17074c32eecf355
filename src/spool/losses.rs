//! What the spool has given up: which frame, why, how many documents, and which bytes of which files.
//!
//! The last [`RECORDS_MAX`] losses are kept one by one, all of them in totals per reason, since the
//! first start. The file `delivered` ([`super::delivered`]) makes them durable.

use crate::record::{FileId, Row};
use std::collections::{BTreeMap, VecDeque};

/// Losses that are kept one by one.
pub const RECORDS_MAX: usize = 1000;
/// Spans of one loss that are kept.
const SPANS_MAX: usize = 32;

/// Why a frame is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// It made room for newer ones (`spool.when_full: drop_oldest`).
    Evicted,
    /// Its bytes on the disk are not those that were written, or cannot be read.
    Damaged,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 2] = [Reason::Evicted, Reason::Damaged];

    /// The name, as it stands on disk and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Evicted => "evicted",
            Reason::Damaged => "damaged",
        }
    }
}

/// How much.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Frames.
    pub frames: u64,
    /// Their documents.
    pub documents: u64,
    /// Their source bytes.
    pub source_bytes: u64,
}

impl Totals {
    /// One frame.
    pub fn one(documents: u64, source_bytes: u64) -> Totals {
        Totals {
            frames: 1,
            documents,
            source_bytes,
        }
    }

    /// Adds another sum.
    pub fn add(&mut self, other: Totals) {
        self.frames += other.frames;
        self.documents += other.documents;
        self.source_bytes += other.source_bytes;
    }

    /// What is more in this sum than in the other.
    pub fn beyond(self, other: Totals) -> Totals {
        Totals {
            frames: self.frames.saturating_sub(other.frames),
            documents: self.documents.saturating_sub(other.documents),
            source_bytes: self.source_bytes.saturating_sub(other.source_bytes),
        }
    }
}

/// A byte range of one file that is lost: `start..end`. Small gaps in it may not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LostSpan {
    /// The file.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
}

/// One loss.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Why.
    pub reason: Reason,
    /// The frame, when it is known.
    pub sequence: Option<u64>,
    /// How much; documents and bytes are 0 where nothing tells them.
    pub totals: Totals,
    /// Where it came from, as far as it can be read.
    pub spans: Vec<LostSpan>,
    /// Files whose spans are left out because there are too many.
    pub more_files: u64,
}

/// All losses since the first start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Losses {
    records: VecDeque<Loss>,
    totals: BTreeMap<Reason, Totals>,
}

impl Losses {
    /// The losses of a former process: its last records, and the sums of all.
    pub fn restored(records: VecDeque<Loss>, totals: BTreeMap<Reason, Totals>) -> Losses {
        Losses { records, totals }
    }

    /// One more.
    pub fn push(&mut self, loss: Loss) {
        self.totals.entry(loss.reason).or_default().add(loss.totals);
        self.records.push_back(loss);
        if self.records.len() > RECORDS_MAX {
            self.records.pop_front();
        }
    }

    /// The last ones, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Loss> {
        self.records.iter()
    }

    /// The sum since the first start.
    pub fn totals(&self, reason: Reason) -> Totals {
        self.totals.get(&reason).copied().unwrap_or_default()
    }

    /// True when nothing was ever lost.
    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }
}

/// The spans of a frame's table, and how many files they leave out. Documents that follow each other
/// in a file make one span; when that are too many, each file has one span from its first to its last
/// byte.
pub fn spans(files: &[FileId], rows: &[Row]) -> (Vec<LostSpan>, u64) {
    let mut per_file: BTreeMap<FileId, Vec<(u64, u64)>> = BTreeMap::new();
    for row in rows {
        if let Some(file) = files.get(row.file as usize) {
            let end = row.start.saturating_add(u64::from(row.source_bytes));
            per_file.entry(*file).or_default().push((row.start, end));
        }
    }
    for ranges in per_file.values_mut() {
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }
    if per_file.values().map(Vec::len).sum::<usize>() > SPANS_MAX {
        for ranges in per_file.values_mut() {
            let hull = (ranges[0].0, ranges[ranges.len() - 1].1);
            *ranges = vec![hull];
        }
    }
    let more = per_file.len().saturating_sub(SPANS_MAX) as u64;
    let spans = per_file.into_iter().take(SPANS_MAX).flat_map(|(file, ranges)| {
        ranges
            .into_iter()
            .map(move |(start, end)| LostSpan { file, start, end })
    });
    (spans.collect(), more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: u32, start: u64, source_bytes: u32) -> Row {
        Row {
            end: 0,
            file,
            start,
            source_bytes,
        }
    }

    #[test]
    fn documents_that_follow_each_other_make_one_span() {
        let files = [FileId(1), FileId(2)];
        let rows = [
            row(0, 0, 10),
            row(1, 5, 5),
            row(0, 10, 10),
            row(0, 30, 5),
            row(0, 25, 2),
        ];
        let (spans, more) = spans(&files, &rows);
        let spans: Vec<_> = spans
            .iter()
            .map(|span| (span.file.0, span.start, span.end))
            .collect();
        assert_eq!(spans, [(1, 0, 20), (1, 25, 27), (1, 30, 35), (2, 5, 10)]);
        assert_eq!(more, 0);
    }

    #[test]
    fn many_gaps_become_one_span_and_many_files_are_counted() {
        let one = [FileId(1)];
        let rows: Vec<Row> = (0..100).map(|at| row(0, at * 10, 5)).collect();
        let (gappy, _) = spans(&one, &rows);
        assert_eq!((gappy.len(), gappy[0].start, gappy[0].end), (1, 0, 995));
        let files: Vec<FileId> = (0..40).map(FileId).collect();
        let rows: Vec<Row> = (0..40).map(|at| row(at, 0, 5)).collect();
        let (kept, more) = spans(&files, &rows);
        assert_eq!((kept.len(), more), (32, 8));
    }

    #[test]
    fn the_oldest_records_leave_and_the_totals_stay() {
        let mut losses = Losses::default();
        for sequence in 0..RECORDS_MAX as u64 + 5 {
            losses.push(Loss {
                reason: Reason::Evicted,
                sequence: Some(sequence),
                totals: Totals::one(2, 30),
                spans: Vec::new(),
                more_files: 0,
            });
        }
        assert_eq!(losses.records().count(), RECORDS_MAX);
        assert_eq!(losses.records().next().and_then(|loss| loss.sequence), Some(5));
        assert_eq!(losses.totals(Reason::Evicted).documents, 2 * 1005);
        assert_eq!(losses.totals(Reason::Damaged), Totals::default());
    }
}
