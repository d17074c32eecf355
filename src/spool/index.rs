//! Which frames lie where, which are done, and what may be removed: the spool's plan.
//!
//! A segment has room set aside for it when it is made, takes frames until that is used up, and is then
//! *sealed*. It can be removed when all its frames are done. When the quota is used up a frame is
//! either refused, or the oldest sealed segment is evicted of which no frame was ever handed out.
//!
//! Sums are kept, not counted: nothing here takes time by the number of frames.

use super::delivered::SegmentRecord;
use super::losses::Totals;
use super::ranges::Ranges;
use super::segment::{Found, Gap};
use crate::config;
pub use crate::config::WhenFull;
use crate::mutant::{self, Mutant};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Number of a segment file.
pub type SegmentNumber = u64;

/// What file systems give room by; larger blocks are not reckoned with.
const BLOCK: u64 = 4096;
/// Files up to this size need no blocks beside those of their bytes.
const SMALL: u64 = 4 * BLOCK;
/// Segments whose names fit into one block of the folder.
const NAMES_PER_BLOCK: u64 = 64;
/// The longest file `delivered`, what it says of each segment aside.
const DELIVERED_MAX: u64 = 128 << 10;
/// So many segments of a lane are as large as one of what no index holds back.
const LANE_PART: u64 = 8;
/// What it says of a segment.
const SEGMENT_LINES: u64 = 128;

/// Bounds on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Bytes of the folder on disk: segments, the file `delivered` twice, the folder itself.
    pub max_bytes: u64,
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// What happens at the limit.
    pub when_full: WhenFull,
}

impl Quota {
    /// The longest file `delivered`, in bytes.
    pub fn delivered_bytes(&self) -> u64 {
        let segments = self.max_bytes / (self.segment_bytes / LANE_PART).max(1);
        let most = DELIVERED_MAX.saturating_add(segments.saturating_mul(SEGMENT_LINES));
        (self.max_bytes / 32).clamp(BLOCK, most) / BLOCK * BLOCK
    }

    /// What all but the segments take on disk at most.
    fn reserve(&self, segments: usize) -> u64 {
        2 * blocks(self.delivered_bytes()) + BLOCK * (1 + segments as u64 / NAMES_PER_BLOCK)
    }
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// It is within its share, as far as this process knows: it is evicted last.
    pub within: bool,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Segment {
    /// End of the last frame that counts.
    end: u64,
    /// What it takes on disk at most.
    charge: u64,
    open: BTreeSet<u64>,
    waiting: Totals,
    /// Of the open ones, those that were handed out.
    taken: usize,
    /// Of the open ones, those within their shares.
    within: usize,
    done: Ranges,
    gaps: Vec<Gap>,
    sealed: bool,
    /// Its name is removed, but perhaps not durably: what is done in it must stay on record.
    unlinked: bool,
}

/// What has to be done before a frame can be appended to a new segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Make this segment, with so many bytes set aside.
    Create {
        /// The segment.
        segment: SegmentNumber,
        /// Bytes that it takes.
        allocate: u64,
    },
    /// Evict the frames of this segment and remove it, then ask again.
    Evict(SegmentNumber),
    /// There is no room.
    Full,
}

/// The spool's state, without its bytes.
#[derive(Debug)]
pub struct Index {
    quota: Quota,
    segments: BTreeMap<SegmentNumber, Segment>,
    frames: HashMap<u64, Located>,
    removable: BTreeSet<SegmentNumber>,
    next_segment: SegmentNumber,
    next_sequence: u64,
    bytes: u64,
    waiting: Totals,
}

impl Index {
    /// An empty spool. The numbers are the first that are free.
    pub fn new(quota: Quota, next_sequence: u64, next_segment: SegmentNumber) -> Index {
        Index {
            quota,
            segments: BTreeMap::new(),
            frames: HashMap::new(),
            removable: BTreeSet::new(),
            next_segment,
            next_sequence,
            bytes: 0,
            waiting: Totals::default(),
        }
    }

    /// A segment was found at the start, which takes `bytes` on disk. It is not appended to any more.
    /// Of what is on `record` about it, the counts are made anew from the frames that wait.
    pub fn on_segment_found(
        &mut self,
        number: SegmentNumber,
        bytes: u64,
        record: SegmentRecord,
        waiting: &[Found],
        may_be_sent: impl Fn(u64) -> bool,
    ) {
        self.on_created(number, bytes);
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.end, segment.done, segment.gaps) = (record.end, record.done, record.gaps);
        }
        for found in waiting {
            let located = Located {
                segment: number,
                offset: found.offset,
                len: found.len,
                documents: found.documents,
                source_bytes: found.source_bytes,
                taken: found.sent || may_be_sent(found.sequence),
                within: false,
            };
            self.on_appended(found.sequence, located);
        }
        self.on_sealed(number, None);
    }

    /// A segment was found at the start and cannot be read: it is left alone, and what is on record of
    /// it stays there, for the next start.
    pub fn on_segment_unreadable(&mut self, number: SegmentNumber, bytes: u64, record: SegmentRecord) {
        self.on_created(number, bytes);
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.end, segment.done, segment.gaps) = (record.end, record.done, record.gaps);
            (segment.waiting, segment.sealed) = (record.waiting, record.sealed);
        }
    }

    /// A frame of this number was seen: no other gets it.
    pub fn on_sequence_seen(&mut self, sequence: u64) {
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
    }

    /// What a new segment for a frame of `len` bytes needs. `free` is what the file system may still
    /// give. A segment of a lane is smaller, since there may be many lanes.
    pub fn plan(&mut self, len: u64, free: u64, is_lane: bool) -> Plan {
        let room = self.room(free, is_lane);
        if room < len {
            return match self.quota.when_full {
                WhenFull::Block => Plan::Full,
                WhenFull::DropOldest => self.evictable().map_or(Plan::Full, Plan::Evict),
            };
        }
        // Never given out twice, even when it cannot be made.
        let segment = self.next_segment;
        self.next_segment += 1;
        let part = if is_lane { LANE_PART } else { 1 };
        Plan::Create {
            segment,
            allocate: room.min((self.quota.segment_bytes / part).max(len)),
        }
    }

    /// The largest segment that there is room for. Some of it is for lanes alone.
    pub fn room(&self, free: u64, is_lane: bool) -> u64 {
        let for_lanes = match is_lane {
            true => 0,
            // All of one common segment, and what whole blocks of smaller ones take besides.
            false => (self.quota.segment_bytes / 4 * 5).min(self.quota.max_bytes / LANE_PART),
        };
        let reserve = self.quota.reserve(self.segments.len() + 1);
        let left = self
            .quota
            .max_bytes
            .saturating_sub(reserve + for_lanes + self.bytes);
        capacity(left.min(free.saturating_sub(reserve)))
    }

    /// A segment is there, with so many bytes set aside for it.
    pub fn on_created(&mut self, number: SegmentNumber, allocated: u64) {
        self.next_segment = self.next_segment.max(number + 1);
        let charge = charge(allocated);
        self.bytes += charge;
        let segment = Segment {
            charge,
            ..Segment::default()
        };
        self.segments.insert(number, segment);
    }

    /// Number for the next frame.
    pub fn next_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// A frame was written and synced.
    pub fn on_appended(&mut self, sequence: u64, located: Located) {
        let Some(segment) = self.segments.get_mut(&located.segment) else {
            return;
        };
        let totals = Totals::one(located.documents, located.source_bytes);
        segment.end = segment.end.max(located.offset + located.len);
        segment.open.insert(sequence);
        segment.taken += usize::from(located.taken);
        segment.within += usize::from(located.within);
        segment.waiting.add(totals);
        self.waiting.add(totals);
        self.frames.insert(sequence, located);
    }

    /// Nothing is appended to a segment any more; it takes `bytes` on disk, when that is known.
    pub fn on_sealed(&mut self, number: SegmentNumber, bytes: Option<u64>) {
        let Some(segment) = self.segments.get_mut(&number) else {
            return;
        };
        segment.sealed = true;
        if let Some(bytes) = bytes {
            let charge = charge(bytes);
            self.bytes = self.bytes + charge - segment.charge;
            segment.charge = charge;
        }
        if segment.open.is_empty() {
            self.removable.insert(number);
        }
    }

    /// Where a frame lies; it is handed out and never evicted from now on.
    pub fn take(&mut self, sequence: u64) -> Option<Located> {
        let located = self.frames.get_mut(&sequence)?;
        if !std::mem::replace(&mut located.taken, true)
            && let Some(segment) = self.segments.get_mut(&located.segment)
        {
            segment.taken += 1;
        }
        Some(*located)
    }

    /// A frame is delivered or lost. False when it was so before.
    pub fn on_done(&mut self, sequence: u64) -> bool {
        let Some(located) = self.frames.remove(&sequence) else {
            return false;
        };
        let totals = Totals::one(located.documents, located.source_bytes);
        self.waiting = self.waiting.beyond(totals);
        if let Some(segment) = self.segments.get_mut(&located.segment) {
            segment.open.remove(&sequence);
            segment.waiting = segment.waiting.beyond(totals);
            segment.taken -= usize::from(located.taken);
            segment.within -= usize::from(located.within);
            segment.done.insert(sequence);
            let unneeded = segment.open.is_empty() || mutant::is(Mutant::SegmentRemovedUnacked);
            if unneeded && segment.sealed {
                self.removable.insert(located.segment);
            }
        }
        true
    }

    /// The frames of a segment that wait, in order.
    pub fn waiting_in(&self, number: SegmentNumber) -> Vec<(u64, Located)> {
        let open = self.segments.get(&number).map(|segment| &segment.open);
        open.into_iter()
            .flatten()
            .filter_map(|sequence| Some((*sequence, *self.frames.get(sequence)?)))
            .collect()
    }

    /// Whether something waits in a segment.
    pub fn is_waiting(&self, number: SegmentNumber) -> bool {
        let segment = self.segments.get(&number);
        segment.is_some_and(|segment| !segment.open.is_empty())
    }

    /// The segments that are not needed any more.
    pub fn removable(&self) -> Vec<SegmentNumber> {
        self.removable.iter().copied().collect()
    }

    /// A segment is gone from the disk. Unless that is `durable` it may come back, so that what is done
    /// in it is kept in mind.
    pub fn on_removed(&mut self, number: SegmentNumber, durable: bool) {
        self.removable.remove(&number);
        let Some(segment) = self.segments.get_mut(&number) else {
            return;
        };
        self.bytes -= std::mem::take(&mut segment.charge);
        segment.unlinked = true;
        if durable {
            self.segments.remove(&number);
        }
    }

    /// What goes on record about each segment.
    pub fn segment_records(&self) -> BTreeMap<SegmentNumber, SegmentRecord> {
        let record = |segment: &Segment| SegmentRecord {
            sealed: segment.sealed,
            end: segment.end,
            waiting: segment.waiting,
            gaps: segment.gaps.clone(),
            done: segment.done.clone(),
        };
        self.segments
            .iter()
            .map(|(number, segment)| (*number, record(segment)))
            .collect()
    }

    /// The first numbers that are free: of a frame, of a segment.
    pub fn next_numbers(&self) -> (u64, SegmentNumber) {
        (self.next_sequence, self.next_segment)
    }

    /// Bytes of the segments on disk, room that is set aside included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Source bytes of the frames that are not done.
    pub fn source_bytes(&self) -> u64 {
        self.waiting.source_bytes
    }

    /// Frames that are not done.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Whether a frame waits.
    pub fn contains(&self, sequence: u64) -> bool {
        self.frames.contains_key(&sequence)
    }

    /// The bounds.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The oldest sealed segment of which no frame was handed out, and none is within its share if there is such a one.
    fn evictable(&self) -> Option<SegmentNumber> {
        let mut segments = self.segments.iter().filter(|(_, segment)| {
            segment.sealed
                && !segment.unlinked
                && (segment.taken == 0 || mutant::is(Mutant::SentFrameEvicted))
                && !segment.open.is_empty()
        });
        let over = segments.clone().find(|(_, segment)| segment.within == 0);
        over.or_else(|| segments.next()).map(|(number, _)| *number)
    }
}

/// Whole blocks.
fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// What a file of so many bytes takes on disk at most, the blocks that say where its bytes lie included.
fn charge(bytes: u64) -> u64 {
    let maps = if bytes <= SMALL {
        0
    } else {
        blocks(bytes / 256).max(BLOCK)
    };
    blocks(bytes) + maps
}

/// The largest file that takes no more than so many bytes on disk.
fn capacity(charged: u64) -> u64 {
    let large = charged.saturating_sub(blocks(charged / 256).max(BLOCK)) / BLOCK * BLOCK;
    large.max(charged.min(SMALL) / BLOCK * BLOCK)
}

#[cfg(test)]
mod tests;
