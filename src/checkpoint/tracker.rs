//! Batches handed out and acks in any order enter; the lowest unacked offset of each file leaves.
//!
//! A batch covers one range per file. A file's safe offset is the lowest start among the batches
//! that hold it and are not acked; without any, whatever the reader has got to. Numbers of batches
//! ascend, so the oldest batch of a file usually holds its lowest start, but a record that began
//! long before (a joined message) may lie in a later one: the minimum over all is taken.

use crate::record::{BatchSeq, FileId, FileRange, Joined, Stamp};
use std::collections::{BTreeMap, HashMap};

/// The unacked batches of one reader.
#[derive(Debug, Default)]
pub struct Tracker {
    batches: BTreeMap<BatchSeq, Vec<FileId>>,
    /// A list a file, not a map: most of thousands of files have one batch. Acks come in about the order of the batches.
    files: HashMap<FileId, Vec<(BatchSeq, FileRange)>>,
    joined: Vec<Joined>,
}

/// For each file the offset to go on from, with the last valid stamp before it.
pub type Offsets = HashMap<FileId, (u64, Option<Stamp>)>;

impl Tracker {
    /// A batch was handed to the sink.
    pub fn on_handed_out(&mut self, batch: BatchSeq, ranges: &[FileRange]) {
        for range in ranges {
            let ranges = self.files.entry(range.file);
            ranges
                .or_insert_with(|| Vec::with_capacity(1))
                .push((batch, *range));
        }
        self.batches
            .insert(batch, ranges.iter().map(|range| range.file).collect());
    }

    /// A batch is safe. Returns the files whose safe offset may have moved; none when the batch is
    /// unknown (an ack is idempotent).
    pub fn on_ack(&mut self, batch: BatchSeq) -> Vec<FileId> {
        let files = self.batches.remove(&batch).unwrap_or_default();
        for file in &files {
            if let Some(ranges) = self.files.get_mut(file) {
                ranges.retain(|(seq, _)| *seq != batch);
                if ranges.is_empty() {
                    self.files.remove(file);
                }
            }
        }
        files
    }

    /// The lowest unacked range of `file`; `None` when everything handed out is acked.
    pub fn lowest(&self, file: FileId) -> Option<FileRange> {
        self.files
            .get(&file)?
            .iter()
            .map(|(_, range)| *range)
            .min_by_key(|range| range.start)
    }

    /// Messages that were handed out lie apart: what is read again must not begin inside of them.
    pub fn on_joined(&mut self, joined: Vec<Joined>) {
        self.joined.extend(joined);
    }

    /// Whether a message has a part in `file` and may still be read again, because something before its end is not safe. Until
    /// then the file must not be forgotten, although nothing of it is unacked: the rest of the message alone has the id of
    /// the whole, and the next start counts what is gone of it.
    pub fn has_part(&self, file: FileId) -> bool {
        let mut pieces = self.joined.iter().flat_map(|joined| &joined.pieces);
        pieces.any(|(range, _)| range.file == file)
    }

    /// Moves safe offsets back to where no joined message is cut in two: its first part alone would
    /// be joined with a stranger, its last part alone would be a message.
    pub fn keep_whole(&mut self, offsets: &mut Offsets) {
        let is_ahead = |offsets: &Offsets, joined: &Joined| {
            let mut pieces = joined.pieces.iter();
            pieces.any(|(range, end)| offsets.get(&range.file).is_some_and(|(offset, _)| offset < end))
        };
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for joined in &self.joined {
                if !is_ahead(offsets, joined) {
                    continue;
                }
                for (range, _) in &joined.pieces {
                    if let Some(at) = offsets.get_mut(&range.file).filter(|at| at.0 > range.start) {
                        *at = (range.start, range.stamp_before);
                        moved = true;
                    }
                }
            }
        }
        self.joined.retain(|joined| is_ahead(offsets, joined));
    }

    /// Batches that are not acked.
    pub fn unacked(&self) -> usize {
        self.batches.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(file: u128, start: u64) -> FileRange {
        FileRange {
            file: FileId(file),
            start,
            stamp_before: None,
        }
    }

    #[test]
    fn the_safe_offset_moves_only_when_the_oldest_batch_is_acked() {
        let mut tracker = Tracker::default();
        tracker.on_handed_out(1, &[range(1, 0)]);
        tracker.on_handed_out(2, &[range(1, 100)]);
        tracker.on_ack(2);
        assert_eq!(tracker.lowest(FileId(1)).unwrap().start, 0);
        assert_eq!(tracker.on_ack(1), [FileId(1)]);
        assert_eq!(tracker.lowest(FileId(1)), None);
        assert!(tracker.on_ack(1).is_empty());
    }

    #[test]
    fn a_joined_message_in_a_later_batch_holds_its_start() {
        let mut tracker = Tracker::default();
        tracker.on_handed_out(1, &[range(1, 50)]);
        tracker.on_handed_out(2, &[range(1, 10), range(2, 0)]);
        tracker.on_ack(1);
        assert_eq!(tracker.lowest(FileId(1)).unwrap().start, 10);
        assert_eq!(tracker.lowest(FileId(2)).unwrap().start, 0);
    }

    fn joined(pieces: &[(u128, u64, u64)]) -> Joined {
        let pieces = pieces
            .iter()
            .map(|(file, start, end)| (range(*file, *start), *end));
        Joined {
            pieces: pieces.collect(),
        }
    }

    fn kept(tracker: &mut Tracker, offsets: &[(u128, u64)]) -> Vec<u64> {
        let mut all: Offsets = offsets
            .iter()
            .map(|(file, offset)| (FileId(*file), (*offset, None)))
            .collect();
        tracker.keep_whole(&mut all);
        offsets.iter().map(|(file, _)| all[&FileId(*file)].0).collect()
    }

    #[test]
    fn a_message_over_two_files_is_read_again_in_both_or_in_none() {
        let mut tracker = Tracker::default();
        tracker.on_joined(vec![joined(&[(1, 90, 100), (2, 5, 9)])]);
        assert!(tracker.has_part(FileId(1)) && tracker.has_part(FileId(2)) && !tracker.has_part(FileId(3)));
        // Something before it in the first file is not safe.
        assert_eq!(kept(&mut tracker, &[(1, 40), (2, 50)]), [40, 5]);
        // Something before its end in the second one is not.
        assert_eq!(kept(&mut tracker, &[(1, 100), (2, 0)]), [90, 0]);
        assert_eq!(kept(&mut tracker, &[(1, 100), (2, 9)]), [100, 9]);
        // Then it is forgotten.
        assert!(!tracker.has_part(FileId(1)) && !tracker.has_part(FileId(2)));
        assert_eq!(kept(&mut tracker, &[(1, 40), (2, 50)]), [40, 50]);
    }

    #[test]
    fn a_message_with_other_lines_between_its_parts_is_not_cut() {
        let mut tracker = Tracker::default();
        // The second one reaches back over the end of the first.
        tracker.on_joined(vec![joined(&[(1, 10, 30)]), joined(&[(1, 20, 40)])]);
        assert_eq!(kept(&mut tracker, &[(1, 35)]), [10]);
        assert_eq!(kept(&mut tracker, &[(1, 40)]), [40]);
    }

    proptest! {
        #[test]
        fn the_safe_offset_is_the_minimum_over_unacked_batches(
            batches in proptest::collection::vec((0u128..3, 0u64..100), 1..30),
            acked in proptest::collection::vec(any::<bool>(), 30),
        ) {
            let mut tracker = Tracker::default();
            for (seq, (file, start)) in batches.iter().enumerate() {
                tracker.on_handed_out(seq as u64, &[range(*file, *start)]);
            }
            for seq in (0..batches.len()).filter(|seq| acked[*seq]) {
                tracker.on_ack(seq as u64);
            }
            for file in 0..3u128 {
                let open = batches.iter().enumerate().filter(|(seq, (of, _))| *of == file && !acked[*seq]);
                let expected = open.map(|(_, (_, start))| *start).min();
                prop_assert_eq!(tracker.lowest(FileId(file)).map(|range| range.start), expected);
            }
        }
    }
}
