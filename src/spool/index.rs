//! Which frames lie where, which are delivered, and what may be removed: the spool's plan.
//!
//! A segment is removed when all its frames are done, and never while one of them is in flight. When
//! the quota is used up a frame is either refused or the oldest frames that were never read are
//! evicted, whole segments at a time.

use super::segment::Found;
use crate::config;
pub use crate::config::WhenFull;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Number of a segment file.
pub type SegmentNumber = u64;

/// Bounds on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Bytes of all segments.
    pub max_bytes: u64,
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// What happens at the limit.
    pub when_full: WhenFull,
}

impl From<&config::Spool> for Quota {
    fn from(spool: &config::Spool) -> Quota {
        Quota {
            max_bytes: spool.max_bytes,
            segment_bytes: spool.segment_bytes,
            when_full: spool.when_full,
        }
    }
}

/// One frame that is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// Its segment.
    pub segment: SegmentNumber,
    /// Where it starts.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// Its documents.
    pub documents: u64,
    /// Their source bytes.
    pub source_bytes: u64,
    /// It was handed out: it may have been sent.
    pub taken: bool,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Segment {
    bytes: u64,
    open_frames: usize,
}

/// What has to be done before a frame can be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Append to this segment; make it first when `create`.
    Append {
        /// The segment.
        segment: SegmentNumber,
        /// It does not exist yet.
        create: bool,
    },
    /// Evict these frames and remove their segment, then ask again.
    Evict {
        /// The segment to remove.
        segment: SegmentNumber,
        /// Its frames that are lost by it.
        frames: Vec<(u64, Located)>,
    },
    /// There is no room.
    Full,
}

/// The spool's state, without its bytes.
#[derive(Debug)]
pub struct Index {
    quota: Quota,
    segments: BTreeMap<SegmentNumber, Segment>,
    frames: HashMap<u64, Located>,
    done: BTreeMap<SegmentNumber, BTreeSet<u64>>,
    active: Option<SegmentNumber>,
    next_segment: SegmentNumber,
    next_sequence: u64,
}

impl Index {
    /// An empty spool.
    pub fn new(quota: Quota) -> Index {
        Index {
            quota,
            segments: BTreeMap::new(),
            frames: HashMap::new(),
            done: BTreeMap::new(),
            active: None,
            next_segment: 1,
            next_sequence: 1,
        }
    }

    /// These sequences are on record as delivered, though their segments may be gone: no frame gets one of them
    /// again, or it would count as delivered after the next start.
    pub fn on_delivered_found(&mut self, delivered: &BTreeSet<u64>) {
        let after = delivered.last().map_or(0, |last| last + 1);
        self.next_sequence = self.next_sequence.max(after);
    }

    /// A segment was found at the start. It is not appended to any more. `done` are the sequences
    /// that were delivered before.
    ///
    /// Returns false when it holds nothing that is still needed: it can be removed.
    pub fn on_segment_found(
        &mut self,
        number: SegmentNumber,
        bytes: u64,
        frames: &[Found],
        done: &BTreeSet<u64>,
    ) -> bool {
        self.next_segment = self.next_segment.max(number + 1);
        let last = frames
            .iter()
            .map(|found| found.sequence)
            .chain(done.iter().copied())
            .max();
        self.next_sequence = self.next_sequence.max(last.map_or(0, |last| last + 1));
        let open: Vec<&Found> = frames
            .iter()
            .filter(|found| !done.contains(&found.sequence))
            .collect();
        if open.is_empty() {
            return false;
        }
        for found in &open {
            let Found {
                offset,
                len,
                documents,
                source_bytes,
                ..
            } = **found;
            // It may have been sent before the restart: it is not evicted.
            let located = Located {
                segment: number,
                offset,
                len,
                documents,
                source_bytes,
                taken: true,
            };
            self.frames.insert(found.sequence, located);
        }
        self.segments.insert(
            number,
            Segment {
                bytes,
                open_frames: open.len(),
            },
        );
        let finished = frames
            .iter()
            .map(|found| found.sequence)
            .filter(|sequence| done.contains(sequence));
        self.done.insert(number, finished.collect());
        true
    }

    /// Where a frame of `len` bytes goes. `free` is what the file system may still give.
    pub fn plan(&mut self, len: u64, free: u64) -> Plan {
        if self.bytes() + len > self.quota.max_bytes || len > free {
            return match self.quota.when_full {
                WhenFull::Block => Plan::Full,
                WhenFull::DropOldest => self.evictable().unwrap_or(Plan::Full),
            };
        }
        match self.active {
            Some(segment) if self.segments[&segment].bytes < self.quota.segment_bytes => Plan::Append {
                segment,
                create: false,
            },
            _ => {
                let segment = self.next_segment;
                self.next_segment += 1;
                Plan::Append {
                    segment,
                    create: true,
                }
            }
        }
    }

    /// Number for the next frame.
    pub fn next_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// A frame was written and synced.
    pub fn on_appended(&mut self, sequence: u64, located: Located) {
        let segment = self.segments.entry(located.segment).or_default();
        segment.bytes = segment.bytes.max(located.offset + located.len);
        segment.open_frames += 1;
        self.active = Some(located.segment);
        self.frames.insert(sequence, located);
    }

    /// A write failed: the segment is not appended to any more, what lies in it stays.
    pub fn on_append_failed(&mut self, segment: SegmentNumber, bytes: u64) {
        self.active = None;
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.bytes = segment.bytes.max(bytes);
        }
    }

    /// Where a frame lies; marks it as taken.
    pub fn take(&mut self, sequence: u64) -> Option<Located> {
        let located = self.frames.get_mut(&sequence)?;
        located.taken = true;
        Some(located.clone())
    }

    /// A frame is delivered, or damaged beyond use. Returns its segment when that can be removed.
    pub fn on_done(&mut self, sequence: u64) -> Option<SegmentNumber> {
        let located = self.frames.remove(&sequence)?;
        let number = located.segment;
        self.done.entry(number).or_default().insert(sequence);
        let segment = self.segments.get_mut(&number)?;
        segment.open_frames -= 1;
        if segment.open_frames > 0 || self.active == Some(number) && segment.bytes < self.quota.segment_bytes
        {
            return None;
        }
        self.remove(number);
        Some(number)
    }

    /// The active segment when nothing in it is needed: removed at the end of the process.
    pub fn retire_active(&mut self) -> Option<SegmentNumber> {
        let number = self
            .active
            .filter(|number| self.segments[number].open_frames == 0)?;
        self.remove(number);
        Some(number)
    }

    /// Sequences that are delivered and still lie in a segment: the durable watermark.
    pub fn delivered(&self) -> impl Iterator<Item = u64> + '_ {
        self.done.values().flatten().copied()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Source bytes of the frames that are not done.
    pub fn source_bytes(&self) -> u64 {
        self.frames.values().map(|located| located.source_bytes).sum()
    }

    /// Frames that are not done.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    fn remove(&mut self, number: SegmentNumber) {
        self.segments.remove(&number);
        self.done.remove(&number);
        if self.active == Some(number) {
            self.active = None;
        }
    }

    /// The oldest segment without a taken frame.
    fn evictable(&mut self) -> Option<Plan> {
        let number = *self.segments.keys().find(|number| {
            Some(**number) != self.active
                && !self
                    .frames
                    .values()
                    .any(|located| located.segment == **number && located.taken)
        })?;
        let mut frames: Vec<(u64, Located)> = self
            .frames
            .extract_if(|_, located| located.segment == number)
            .collect();
        frames.sort_unstable_by_key(|(sequence, _)| *sequence);
        self.remove(number);
        Some(Plan::Evict {
            segment: number,
            frames,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(when_full: WhenFull) -> Index {
        Index::new(Quota {
            max_bytes: 1000,
            segment_bytes: 200,
            when_full,
        })
    }

    fn append(index: &mut Index, len: u64) -> u64 {
        let Plan::Append { segment, .. } = index.plan(len, u64::MAX) else {
            panic!("full")
        };
        let sequence = index.next_sequence();
        let offset = index.segments.get(&segment).map_or(0, |segment| segment.bytes);
        let located = Located {
            segment,
            offset,
            len,
            documents: 1,
            source_bytes: 10,
            taken: false,
        };
        index.on_appended(sequence, located);
        sequence
    }

    #[test]
    fn a_segment_goes_when_its_last_frame_is_done() {
        let mut index = index(WhenFull::Block);
        let frames: Vec<u64> = (0..4).map(|_| append(&mut index, 100)).collect();
        assert_eq!(index.on_done(frames[1]), None);
        assert_eq!(index.delivered().collect::<Vec<_>>(), [frames[1]]);
        assert_eq!(index.on_done(frames[0]), Some(1));
        assert_eq!(index.bytes(), 200);
        assert_eq!(index.delivered().count(), 0);
    }

    #[test]
    fn the_quota_holds_and_block_refuses() {
        let mut filled = index(WhenFull::Block);
        for _ in 0..10 {
            append(&mut filled, 100);
        }
        assert_eq!(filled.plan(1, u64::MAX), Plan::Full);
        let mut roomy = index(WhenFull::Block);
        assert_eq!(roomy.plan(100, 99), Plan::Full);
    }

    #[test]
    fn drop_oldest_never_takes_a_frame_that_was_handed_out() {
        let mut index = index(WhenFull::DropOldest);
        let frames: Vec<u64> = (0..10).map(|_| append(&mut index, 100)).collect();
        index.take(frames[0]);
        let Plan::Evict {
            segment,
            frames: evicted,
        } = index.plan(100, u64::MAX)
        else {
            panic!()
        };
        assert_eq!(segment, 2);
        assert_eq!(
            evicted.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
            frames[2..4]
        );
        assert!(matches!(index.plan(100, u64::MAX), Plan::Append { .. }));
    }

    #[test]
    fn a_number_on_record_as_delivered_is_not_given_out_again() {
        let mut index = index(WhenFull::Block);
        index.on_delivered_found(&BTreeSet::from([5, 7]));
        assert_eq!(append(&mut index, 10), 8);
    }

    #[test]
    fn found_frames_keep_numbers_ascending_and_delivered_ones_are_not_replayed() {
        let mut index = index(WhenFull::Block);
        let found = |sequence| Found {
            sequence,
            offset: 0,
            len: 50,
            lane: None,
            documents: 1,
            source_bytes: 10,
        };
        assert!(index.on_segment_found(4, 100, &[found(8), found(9)], &BTreeSet::from([8])));
        assert!(!index.on_segment_found(3, 100, &[found(7)], &BTreeSet::from([7])));
        assert_eq!(index.frames(), 1);
        assert_eq!(append(&mut index, 10), 10);
        assert_eq!(index.frames[&10].segment, 5);
    }
}
