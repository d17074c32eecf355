//! What a start finds: the file `delivered` and the headers of every segment enter, the spool's state
//! leaves.
//!
//! What was confirmed is told by the file `delivered`, and beyond that by the frames themselves: one
//! that starts a group stands behind a sync. Behind the last of these a frame must be whole to count, and
//! what is damaged there is no loss that is known: it is told that it may hide what was confirmed in the last second.

use super::{Recovered, Spool};
use crate::disk::{self, FileSystem, How};
use crate::spool::delivered::{self, Delivered, HandedOut, SegmentRecord};
use crate::spool::index::SegmentNumber;
use crate::spool::losses::{Loss, Reason, Totals};
use crate::spool::ranges::Ranges;
use crate::spool::segment::{self, Found, Gap};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// How often the disk is asked before a place counts as damaged.
const ATTEMPTS: usize = 3;
/// Damaged places that one sentence names.
const PLACES_MAX: usize = 8;

/// What a segment holds.
struct Seen {
    number: SegmentNumber,
    len: u64,
    record: Option<SegmentRecord>,
    frames: Vec<Found>,
    damaged: Vec<Gap>,
    /// Everything before this offset was confirmed.
    confirmed: u64,
}

/// How much the file `delivered` can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// It says what it was written to say.
    Whole,
    /// Parts of it, or all, are damaged: where it says nothing, nothing is known.
    Damaged,
    /// It is not there.
    Missing,
}

/// The file `delivered`.
pub(super) fn load(disk: &dyn FileSystem, folder: &Path, damage: &mut Vec<String>) -> (Delivered, Kept) {
    let path = folder.join("delivered");
    match again(|| disk::read(disk, &path)) {
        Ok(bytes) => {
            let (delivered, found) = delivered::decode(&bytes);
            damage.extend(found.iter().map(|place| {
                let (path, byte, what) = (path.display(), place.byte, place.what);
                format!("{path}: damage at byte {byte}: {what}")
            }));
            let kept = if found.is_empty() {
                Kept::Whole
            } else {
                Kept::Damaged
            };
            (delivered, kept)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Delivered::default(), Kept::Missing),
        Err(error) => {
            damage.push(format!("{}: {error}; frames may be sent twice", path.display()));
            (Delivered::default(), Kept::Damaged)
        }
    }
}

impl Spool {
    pub(super) fn recover(
        &mut self,
        delivered: &Delivered,
        kept: Kept,
        recovered: &mut Recovered,
    ) -> io::Result<()> {
        let mut seen = Vec::new();
        let numbers = self.segment_numbers()?;
        match (kept, numbers.is_empty()) {
            (Kept::Missing, true) => self.save_first(),
            (Kept::Missing, false) => recovered.damage.push(format!(
                "{}: the file is gone; frames may be sent twice, losses may be forgotten, and an unknown number of documents may be lost",
                self.path.join("delivered").display()
            )),
            _ => {}
        }
        self.miss(delivered, &numbers, recovered);
        for number in numbers {
            let record = delivered.segments.get(&number).cloned();
            match self.look(number, record.clone()) {
                Ok(segment) => seen.push(segment),
                Err(error) => {
                    let path = self.segment_path(number);
                    recovered.damage.push(format!(
                        "{}: {error}; it is left for the next start",
                        path.display()
                    ));
                    let bytes = self.disk.stat(&path).map_or(0, |stat| stat.len);
                    self.index
                        .on_segment_unreadable(number, bytes, record.unwrap_or_default());
                }
            }
        }
        // A body that was written again after a failure may be there twice: the later copy counts.
        let mut home = HashMap::new();
        for segment in &seen {
            for found in &segment.frames {
                home.insert(found.sequence, segment.number);
                self.index.on_sequence_seen(found.sequence);
            }
        }
        if delivered.handed_out == HandedOut::All {
            let (next, _) = self.index.next_numbers();
            self.handed_out.insert_range(0, next - 1);
        }
        let done = delivered.done();
        for mut segment in seen {
            segment
                .frames
                .retain(|found| home.get(&found.sequence) == Some(&segment.number));
            self.settle(segment, &done, kept, recovered);
        }
        recovered.frames.sort_by_key(|found| found.sequence);
        // Removed at the next chance otherwise.
        let _ = self.reap();
        Ok(())
    }

    /// Tells and counts the segments that are gone although something waits in them: nobody has removed
    /// them, as that is on record before.
    fn miss(&mut self, delivered: &Delivered, numbers: &[SegmentNumber], recovered: &mut Recovered) {
        for number in delivered.waiting().filter(|number| !numbers.contains(number)) {
            let SegmentRecord { waiting, sealed, .. } = &delivered.segments[&number];
            let more = if *sealed {
                ""
            } else {
                "; what was added last is unknown: an unknown number of documents may be lost with it"
            };
            recovered.damage.push(format!(
                "{}: the file is gone: {}{more}",
                self.segment_path(number).display(),
                sentence_of(*waiting)
            ));
            self.count(*waiting);
        }
    }

    /// Puts a loss that a start has found on record.
    fn count(&mut self, lost: Totals) {
        self.losses.push(Loss {
            reason: Reason::Damaged,
            sequence: None,
            totals: lost,
            spans: Vec::new(),
            more_files: 0,
        });
        (self.saved.dirty, self.saved.urgent) = (true, true);
    }

    fn segment_numbers(&self) -> io::Result<Vec<SegmentNumber>> {
        let mut numbers = Vec::new();
        for entry in self.disk.list(&self.path)? {
            let number: Option<SegmentNumber> = entry
                .name
                .to_str()
                .and_then(|name| name.strip_suffix(".segment"))
                .and_then(|n| n.parse().ok());
            numbers.extend(number.filter(|number| self.segment_path(*number).ends_with(&entry.name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Looks through a segment.
    fn look(&self, number: SegmentNumber, record: Option<SegmentRecord>) -> io::Result<Seen> {
        let path = self.segment_path(number);
        let file = again(|| self.disk.open(&path, How::Read))?;
        let len = again(|| file.stat())?.len;
        let mut read = |buffer: &mut [u8], at: u64| again(|| file.read_at(buffer, at));
        let gaps = record.as_ref().map_or(&[][..], |record| &record.gaps);
        let sealed = record.as_ref().filter(|record| record.sealed);
        let counts = sealed.map_or(len, |record| record.end.min(len));
        let mut scan = segment::scan(&mut read, counts, gaps);
        let groups = scan.frames.iter().filter(|found| found.starts_group);
        let confirmed = record
            .as_ref()
            .map_or(0, |record| record.end)
            .max(groups.map(|found| found.offset).max().unwrap_or(0));
        scan.frames.retain(|found| {
            let counts = found.offset < confirmed || segment::is_whole(&mut read, found);
            if !counts {
                let (from, to) = (found.offset, found.end());
                scan.damaged.push(Gap { from, to });
            }
            counts
        });
        if len < confirmed {
            let (from, to) = (len, confirmed);
            scan.damaged.push(Gap { from, to });
        }
        scan.damaged.sort_unstable_by_key(|gap| gap.from);
        Ok(Seen {
            number,
            len,
            record,
            frames: scan.frames,
            damaged: scan.damaged,
            confirmed,
        })
    }

    /// Puts a segment into the index, and tells and counts what is damaged in it.
    fn settle(&mut self, segment: Seen, done: &Ranges, kept: Kept, recovered: &mut Recovered) {
        // Without its own line a segment may still have one that says what is done in it.
        let told = segment.record.as_ref().is_some_and(|record| record.end > 0);
        let unknown = kept == Kept::Damaged && !told;
        let mut lost = segment.lost(done);
        if unknown {
            // At least one frame lay in each damaged place.
            lost.frames = lost.frames.max(segment.damaged.len() as u64);
        }
        if !segment.damaged.is_empty() {
            let path = self.segment_path(segment.number);
            let hides = !unknown && segment.hides();
            recovered.damage.push(segment.sentence(&path, lost, hides));
            self.saved.dirty = true;
        }
        if lost != Totals::default() {
            self.count(lost);
        }
        let bytes = self.trim(&segment);
        let ends = segment.frames.iter().map(Found::end);
        let ends = ends.chain(segment.damaged.iter().map(|gap| gap.to.min(segment.len)));
        let end = ends.max().unwrap_or(0);
        let (finished, waiting): (Vec<Found>, Vec<Found>) = segment
            .frames
            .into_iter()
            .partition(|found| done.contains(found.sequence));
        let mut record = segment.record.unwrap_or_default();
        record.end = record.end.min(segment.len).max(end);
        record.gaps.extend(segment.damaged);
        let ours = finished.iter().map(|found| found.sequence);
        ours.for_each(|sequence| record.done.insert(sequence));
        // Under `drop_oldest` only what is on record may have been sent; all of it when nothing is.
        let handed_out = self.handed_out.clone();
        self.index
            .on_segment_found(segment.number, bytes, record, &waiting, |sequence| {
                handed_out.contains(sequence)
            });
        self.saved.dirty |= !waiting.is_empty();
        recovered.frames.extend(waiting);
    }

    /// Gives back room that was set aside, and makes durable what was found behind the last sync. Gives
    /// the bytes that the segment takes.
    fn trim(&self, segment: &Seen) -> u64 {
        let trimmed = self
            .disk
            .open(&self.segment_path(segment.number), How::Append)
            .and_then(|mut file| {
                file.cut(segment.len)?;
                match segment.frames.last() {
                    Some(last) if last.end() > segment.confirmed => file.sync(),
                    _ => Ok(()),
                }
            });
        match trimmed {
            Ok(()) => segment.len,
            Err(_) => segment.len.max(self.index.quota().segment_bytes),
        }
    }
}

impl Seen {
    /// What waited and is not there any more: by the counts on record, and one frame for each damaged
    /// place that was confirmed later.
    fn lost(&self, done: &Ranges) -> Totals {
        let recorded = self.record.clone().unwrap_or_default();
        let mut found = Totals::default();
        for frame in &self.frames {
            if frame.end() <= recorded.end && !done.contains(frame.sequence) {
                found.add(Totals::one(frame.documents, frame.source_bytes));
            }
        }
        let mut lost = recorded.waiting.beyond(found);
        let later = self
            .damaged
            .iter()
            .filter(|gap| gap.to > recorded.end && gap.from < self.confirmed);
        lost.frames += later.count() as u64;
        lost
    }

    /// Whether damage may hide what was confirmed after the record was saved: it lies behind what is on record, of a segment
    /// that was still added to, or is not on record yet.
    fn hides(&self) -> bool {
        let Some(SegmentRecord { sealed, end, .. }) = self.record else {
            return true;
        };
        !sealed && self.damaged.iter().any(|gap| gap.to >= end)
    }

    fn sentence(&self, path: &Path, lost: Totals, hides: bool) -> String {
        let places: Vec<String> = self
            .damaged
            .iter()
            .take(PLACES_MAX)
            .map(|gap| gap.from.to_string())
            .collect();
        let more = self.damaged.len().saturating_sub(PLACES_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let what = sentence_of(lost);
        let hidden = if hides {
            "; what was added in the last second before the end is not on record: an unknown number of documents may be lost"
        } else {
            ""
        };
        format!(
            "{}: damage at byte {}{more}: {what}{hidden}",
            path.display(),
            places.join(", ")
        )
    }
}

/// What a loss means, in words.
fn sentence_of(lost: Totals) -> String {
    match lost {
        Totals { frames: 0, .. } => "nothing is lost that was confirmed".to_owned(),
        Totals {
            frames, documents: 0, ..
        } => format!("{frames} or more frames are lost, with an unknown number of documents"),
        Totals {
            frames,
            documents,
            source_bytes,
        } => format!("{frames} frames are lost, with {documents} documents of {source_bytes} source bytes"),
    }
}

/// Asks the disk again after an error: what fails once is no damage.
fn again<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match ask() {
            Err(error) if attempt < ATTEMPTS && error.kind() != io::ErrorKind::NotFound => attempt += 1,
            outcome => return outcome,
        }
    }
}
