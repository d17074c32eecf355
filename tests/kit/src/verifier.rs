//! Says what became of every line: sequences that writers sent and messages that arrived enter, a [`Report`] leaves.
//!
//! It counts by *set and multiplicity*. The highest sequence minus the number of arrivals would hide a lost line behind a
//! duplicated one, so neither is ever derived from the other. Arrivals and announcements may come in any order, from any
//! thread (it is a plain value: put it into a `Mutex` to share it). One byte per sequence, kept per stream.

use crate::lines::{Corrupt, Sequenced, find_messages};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// The bit that says "a writer sent this"; the other seven count arrivals.
const SENT: u8 = 0x80;
const ARRIVALS: u8 = 0x7f;

/// Sequences above this are not stored but counted as unexpected: a writer that counts from 0 never gets there, and one
/// strange number must not make the table swallow the machine.
const SEQ_MAX: u64 = 1 << 28;

/// Remembers what was sent and what arrived.
#[derive(Debug, Default)]
pub struct Verifier {
    streams: HashMap<Box<str>, Tally>,
    corrupt: u64,
    first_corrupt: Option<(Corrupt, String)>,
    beyond: u64,
}

#[derive(Debug, Default)]
struct Tally {
    marks: Vec<u8>,
    /// Arrivals beyond what seven bits hold, by sequence.
    overflow: HashMap<u64, u64>,
}

/// What became of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Sequences that a writer sent.
    pub written: u64,
    /// Of those, the ones that arrived at least once.
    pub indexed: u64,
    /// Arrivals beyond the first, of sequences that were sent.
    pub duplicate: u64,
    /// Sequences that were sent and never arrived.
    pub lost: u64,
    /// Arrivals without an intact message.
    pub corrupt: u64,
    /// Arrivals of sequences that nobody sent.
    pub unexpected: u64,
}

impl Report {
    /// Each line once, nothing else: the promise.
    pub fn is_exactly_once(&self) -> bool {
        self.is_at_least_once() && self.duplicate == 0
    }

    /// Nothing lost, nothing damaged, nothing invented; duplicates allowed.
    pub fn is_at_least_once(&self) -> bool {
        self.lost == 0 && self.corrupt == 0 && self.unexpected == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            written,
            indexed,
            duplicate,
            lost,
            corrupt,
            unexpected,
        } = self;
        write!(
            out,
            "written={written} indexed={indexed} duplicate={duplicate} lost={lost} corrupt={corrupt}"
        )?;
        if *unexpected > 0 {
            write!(out, " unexpected={unexpected}")
        } else {
            Ok(())
        }
    }
}

impl Verifier {
    /// Knows of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer sent this sequence.
    pub fn sent(&mut self, stream: &str, seq: u64) {
        self.sent_range(stream, seq..seq + 1);
    }

    /// A writer sent these sequences.
    ///
    /// # Panics
    /// When a sequence is 2^28 or more: one byte per sequence is kept.
    pub fn sent_range(&mut self, stream: &str, seqs: Range<u64>) {
        assert!(
            seqs.end <= SEQ_MAX,
            "sequences of {stream} up to {} are more than the verifier keeps",
            seqs.end
        );
        let marks = &mut self.tally(stream).marks;
        if marks.len() < seqs.end as usize {
            marks.resize(seqs.end as usize, 0);
        }
        for mark in &mut marks[seqs.start as usize..seqs.end as usize] {
            *mark |= SENT;
        }
    }

    /// A document (or line) arrived: all messages in it are counted, and one `corrupt` when it has none.
    pub fn arrived(&mut self, document: &[u8]) {
        let mut found_any = false;
        for found in find_messages(document) {
            found_any = true;
            match found {
                Ok(sequenced) => self.arrived_sequenced(&sequenced),
                Err(why) => self.arrived_corrupt(why, document),
            }
        }
        if !found_any {
            self.arrived_corrupt(Corrupt::NoMark, document);
        }
    }

    /// A message arrived that was already read.
    pub fn arrived_sequenced(&mut self, message: &Sequenced<'_>) {
        if message.seq >= SEQ_MAX {
            self.beyond += 1;
            return;
        }
        let tally = self.tally(message.stream);
        let at = message.seq as usize;
        if tally.marks.len() <= at {
            tally.marks.resize(at + 1, 0);
        }
        if tally.marks[at] & ARRIVALS == ARRIVALS {
            *tally.overflow.entry(message.seq).or_default() += 1;
        } else {
            tally.marks[at] += 1;
        }
    }

    /// What became of everything up to now.
    pub fn report(&self) -> Report {
        let mut report = Report {
            corrupt: self.corrupt,
            unexpected: self.beyond,
            ..Report::default()
        };
        for tally in self.streams.values() {
            tally.add_to(&mut report);
        }
        report
    }

    /// Sequences that were sent at least once and arrived at least once: cheap to poll while waiting.
    pub fn indexed(&self) -> u64 {
        self.report().indexed
    }

    /// The first `limit` ranges of lost sequences, streams in order of their names: what to look at when a test fails.
    pub fn lost(&self, limit: usize) -> Vec<(String, Range<u64>)> {
        self.ranges(limit, |mark| mark == SENT)
    }

    /// The first `limit` ranges of sequences that arrived more than once.
    pub fn duplicates(&self, limit: usize) -> Vec<(String, Range<u64>)> {
        self.ranges(limit, |mark| mark & ARRIVALS > 1)
    }

    /// Why the first damaged arrival was damaged, and its text (cut at 400 characters).
    pub fn first_corrupt(&self) -> Option<(Corrupt, &str)> {
        self.first_corrupt
            .as_ref()
            .map(|(why, text)| (*why, text.as_str()))
    }

    /// Panics with the report and the first lost, duplicated and damaged lines unless each line arrived exactly once.
    ///
    /// # Panics
    /// When [`Report::is_exactly_once`] is not true.
    #[track_caller]
    pub fn assert_exactly_once(&self) {
        let report = self.report();
        assert!(
            report.is_exactly_once(),
            "{report}; lost: {:?}; duplicate: {:?}; first corrupt: {:?}",
            self.lost(8),
            self.duplicates(8),
            self.first_corrupt()
        );
    }

    fn tally(&mut self, stream: &str) -> &mut Tally {
        // Two look-ups on the rare path instead of a boxed name per arrival.
        if !self.streams.contains_key(stream) {
            self.streams.insert(stream.into(), Tally::default());
        }
        self.streams.get_mut(stream).expect("inserted above")
    }

    fn arrived_corrupt(&mut self, why: Corrupt, document: &[u8]) {
        self.corrupt += 1;
        if self.first_corrupt.is_none() {
            self.first_corrupt = Some((why, String::from_utf8_lossy(document).chars().take(400).collect()));
        }
    }

    fn ranges(&self, limit: usize, wanted: impl Fn(u8) -> bool) -> Vec<(String, Range<u64>)> {
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_by_key(|(stream, _)| *stream);
        let found = streams
            .into_iter()
            .flat_map(|(stream, tally)| tally.ranges(&wanted).map(|range| (stream.to_string(), range)));
        found.take(limit).collect()
    }
}

impl Tally {
    fn add_to(&self, report: &mut Report) {
        for &mark in &self.marks {
            let arrivals = u64::from(mark & ARRIVALS);
            if mark & SENT == 0 {
                report.unexpected += arrivals;
                continue;
            }
            report.written += 1;
            report.indexed += u64::from(arrivals > 0);
            report.lost += u64::from(arrivals == 0);
            report.duplicate += arrivals.saturating_sub(1);
        }
        for (&seq, &more) in &self.overflow {
            let sent = self.marks[seq as usize] & SENT != 0;
            *(if sent {
                &mut report.duplicate
            } else {
                &mut report.unexpected
            }) += more;
        }
    }

    fn ranges<'a>(&'a self, wanted: &'a impl Fn(u8) -> bool) -> impl Iterator<Item = Range<u64>> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at + self.marks[at..].iter().position(|&mark| wanted(mark))?;
            let run = self.marks[start..]
                .iter()
                .take_while(|&&mark| wanted(mark))
                .count();
            at = start + run;
            Some(start as u64..at as u64)
        })
    }
}

#[cfg(test)]
mod tests;
