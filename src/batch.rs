//! Documents enter one by one, finished bodies leave: by bytes, by count or by age.
//!
//! A document is written into a scratch chunk that stays hot in the cache; full chunks go straight
//! into the compressor, so the uncompressed text of a body never exists as a whole. One open body
//! serves all files of a reader. Knows neither disk nor network.

use crate::codec::gzip::Compressor;
use crate::config;
use crate::record::{Body, FileId, FileRange, Row};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The scratch chunk is compressed at this size: it fits the second-level cache.
const SCRATCH_BYTES: usize = 128 * 1024;

/// When a body is full. Bytes count before compression, as servers do (`http.max_content_length`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of NDJSON.
    pub max_bytes: usize,
    /// Documents.
    pub max_documents: usize,
    /// Age of the first document; varied by ±20 % so that nodes do not beat in time.
    pub max_age: Duration,
    /// By which these ages differ from node to node: any number.
    pub seed: u32,
}

impl From<&config::BatchLimits> for Limits {
    fn from(batch: &config::BatchLimits) -> Limits {
        Limits {
            max_bytes: usize::try_from(batch.max_bytes).unwrap_or(usize::MAX),
            max_documents: batch.max_documents,
            max_age: batch.max_age,
            seed: 0,
        }
    }
}

/// A closed body and what it covers.
#[derive(Debug)]
pub struct Closed {
    /// The documents.
    pub body: Body,
    /// One entry per file of the body.
    pub ranges: Vec<FileRange>,
}

/// Builds one body after another.
pub struct Batcher {
    limits: Limits,
    compressor: Box<dyn Compressor>,
    scratch: Vec<u8>,
    out: Vec<u8>,
    compressed_bytes: usize,
    rows: Vec<Row>,
    ranges: Vec<FileRange>,
    by_file: HashMap<FileId, u32>,
    opened: Option<Instant>,
    closed_bodies: u32,
    hurry: bool,
}

impl Batcher {
    /// A batcher with no open body.
    pub fn new(limits: Limits, compressor: Box<dyn Compressor>) -> Batcher {
        Batcher {
            limits,
            compressor,
            scratch: Vec::with_capacity(SCRATCH_BYTES * 2),
            out: Vec::new(),
            compressed_bytes: 0,
            rows: Vec::new(),
            ranges: Vec::new(),
            by_file: HashMap::new(),
            opened: None,
            closed_bodies: 0,
            hurry: false,
        }
    }

    /// A batcher with the same limits and no open body.
    pub fn another(&self) -> Batcher {
        Batcher::new(self.limits, self.compressor.another())
    }

    /// Whether bodies are closed at a quarter of their age.
    pub fn hurry(&mut self, hurry: bool) {
        self.hurry = hurry;
    }

    /// Where the next document is to be appended.
    #[inline]
    pub fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    /// The body's number for a file; `range` is used when the file is new to the body, and lowers
    /// the file's range when it starts earlier.
    pub fn file(&mut self, range: FileRange) -> u32 {
        let ranges = &mut self.ranges;
        let index = *self.by_file.entry(range.file).or_insert_with(|| {
            ranges.push(range);
            ranges.len() as u32 - 1
        });
        let known = &mut ranges[index as usize];
        if range.start < known.start {
            *known = range;
        }
        index
    }

    /// Records the document that was just appended to the scratch chunk. Returns true when the body
    /// is full and must be closed.
    #[inline]
    pub fn document(&mut self, file: u32, start: u64, source_bytes: u64, now: Instant) -> bool {
        let end = self.compressed_bytes + self.scratch.len();
        let source_bytes = u32::try_from(source_bytes).unwrap_or(u32::MAX);
        self.rows.push(Row {
            end: end as u32,
            file,
            start,
            source_bytes,
        });
        if self.opened.is_none() {
            self.opened = Some(now);
        }
        if self.scratch.len() >= SCRATCH_BYTES {
            self.compress();
        }
        end >= self.limits.max_bytes || self.rows.len() >= self.limits.max_documents
    }

    /// When the open body is too old.
    pub fn deadline(&self) -> Option<Instant> {
        // A cheap hash of the body's number spreads the ages of successive bodies, from another begin on each node.
        let number = self.closed_bodies.wrapping_add(self.limits.seed);
        let step = number.wrapping_mul(2_654_435_761) >> 24;
        let whole = 800 + step * 400 / 255;
        let permille = if self.hurry { whole / 4 } else { whole };
        self.opened
            .map(|opened| opened + self.limits.max_age * permille / 1000)
    }

    /// Documents in the open body.
    pub fn documents(&self) -> usize {
        self.rows.len()
    }

    /// Source bytes of the open body's documents.
    pub fn source_bytes(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.source_bytes)).sum()
    }

    /// The range of `file` in the open body.
    pub fn range(&self, file: FileId) -> Option<FileRange> {
        self.by_file.get(&file).map(|index| self.ranges[*index as usize])
    }

    /// Closes the open body, if it has a document.
    pub fn close(&mut self) -> Option<Closed> {
        if self.rows.is_empty() {
            return None;
        }
        self.compress();
        self.compressor.finish(&mut self.out);
        let size = self.out.len();
        let mut bytes = std::mem::replace(&mut self.out, Vec::with_capacity(size + size / 8));
        bytes.shrink_to_fit();
        let rows = self.rows.clone();
        self.rows.clear();
        let ranges = std::mem::take(&mut self.ranges);
        self.by_file.clear();
        self.opened = None;
        self.closed_bodies = self.closed_bodies.wrapping_add(1);
        let inflated_len = std::mem::take(&mut self.compressed_bytes) as u32;
        let files = ranges.iter().map(|range| range.file).collect();
        let encoding = self.compressor.encoding();
        let body = Body {
            bytes: Bytes::from(bytes),
            encoding,
            inflated_len,
            rows,
            files,
        };
        Some(Closed { body, ranges })
    }

    fn compress(&mut self) {
        self.compressor.push(&self.scratch, &mut self.out);
        self.compressed_bytes += self.scratch.len();
        self.scratch.clear();
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests {
    use super::*;
    use crate::codec::gzip::compressor;

    const LIMITS: Limits = Limits {
        max_bytes: 1000,
        max_documents: 10,
        max_age: Duration::from_secs(1),
        seed: 0,
    };

    fn batcher() -> Batcher {
        Batcher::new(LIMITS, compressor(1))
    }

    fn add(batcher: &mut Batcher, text: &str, file: u128, start: u64, now: Instant) -> bool {
        batcher.scratch().extend_from_slice(text.as_bytes());
        let file = batcher.file(FileRange {
            file: FileId(file),
            start,
            stamp_before: None,
        });
        batcher.document(file, start, text.len() as u64, now)
    }

    #[test]
    fn a_body_closes_by_bytes_or_documents() {
        let now = Instant::now();
        let mut by_bytes = batcher();
        assert!(!add(&mut by_bytes, &"x".repeat(999), 1, 0, now));
        assert!(add(&mut by_bytes, "y", 1, 999, now));
        let mut by_count = batcher();
        let full = (0..10)
            .map(|at| add(&mut by_count, "x", 1, at, now))
            .position(|full| full);
        assert_eq!(full, Some(9));
    }

    /// How old the first bodies of an agent become, in permille of `max_age`.
    fn ages(seed: u32) -> Vec<u128> {
        let limits = Limits { seed, ..LIMITS };
        let mut batcher = Batcher::new(limits, compressor(1));
        let now = Instant::now();
        let age = |at| {
            add(&mut batcher, "x", 1, at, now);
            let due = batcher.deadline().unwrap() - now;
            batcher.close().unwrap();
            due.as_millis() * 1000 / LIMITS.max_age.as_millis()
        };
        (0..20).map(age).collect()
    }

    /// Red without the number of the body in `deadline`, or without the seed.
    #[test]
    fn ages_are_spread_by_a_fifth_and_differ_from_node_to_node() {
        let (one, other) = (ages(1), ages(0x9e37_79b9));
        for ages in [&one, &other] {
            assert!(ages.iter().all(|age| (800..=1200).contains(age)), "{ages:?}");
            let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
            assert!(*least < 850 && *most > 1150, "{ages:?}");
        }
        let same = one.iter().zip(&other).filter(|(one, other)| one == other);
        assert!(same.count() < 3, "{one:?} {other:?}");
    }

    #[test]
    fn age_counts_from_the_first_document() {
        let now = Instant::now();
        let mut batcher = batcher();
        assert_eq!(batcher.deadline(), None);
        add(&mut batcher, "x", 1, 0, now);
        add(&mut batcher, "x", 1, 1, now + Duration::from_millis(500));
        let due = batcher.deadline().unwrap() - now;
        assert!(
            (Duration::from_millis(800)..=Duration::from_millis(1200)).contains(&due),
            "{due:?}"
        );
    }

    #[test]
    fn ranges_hold_the_lowest_start_of_each_file() {
        let now = Instant::now();
        let mut batcher = batcher();
        for (file, start) in [(1, 50), (2, 7), (1, 20), (1, 90)] {
            add(&mut batcher, "x", file, start, now);
        }
        let closed = batcher.close().unwrap();
        let starts: Vec<_> = closed
            .ranges
            .iter()
            .map(|range| (range.file.0, range.start))
            .collect();
        assert_eq!(starts, [(1, 20), (2, 7)]);
        assert!(batcher.close().is_none());
    }
}
