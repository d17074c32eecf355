//! The one budget of resident bytes: what is in flight, and whether the reader may go on; of some files, though there is room,
//! it may not.

use crate::record::{FileId, Share};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// What requests keep busy; more only waits in memory.
const IN_FLIGHT_MOST: u64 = 16 << 20;
/// Below this, batches would be sent one by one.
const IN_FLIGHT_LEAST: u64 = 2 << 20;
/// What may be in flight is so small a part of the memory limit: files, metadata and buffers need the rest.
const SHARE: u64 = 4;

/// How many bytes may be in flight: the configured number, or a quarter of the process's memory `limit` (2 to 16 MiB; 16 MiB
/// without a limit), and never less than one batch of `batch` bytes.
pub fn in_flight(configured: Option<u64>, limit: Option<u64>, batch: u64) -> u64 {
    configured.unwrap_or_else(|| {
        let share = limit.map_or(IN_FLIGHT_MOST, |limit| limit / SHARE);
        share.clamp(IN_FLIGHT_LEAST, IN_FLIGHT_MOST).max(batch)
    })
}

/// Bytes of finished bodies that are in memory, against a limit; and whether they queue for the sink.
///
/// Taking never fails: a reader asks [`Budget::has_room`] before it reads and may overshoot by what
/// one turn makes. Bodies that are taken apart keep their parent's part. Bodies over their
/// containers' share may use half of the limit, so that the others always find room.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    ceiling: AtomicU64,
    used: AtomicU64,
    over: AtomicU64,
    pressed: AtomicBool,
    paused: Mutex<Arc<BTreeSet<FileId>>>,
}

impl Budget {
    /// A budget of `limit` bytes, all free.
    pub fn new(limit: u64) -> Budget {
        Budget {
            limit,
            ceiling: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            over: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            paused: Mutex::default(),
        }
    }

    /// True while less than the limit, and than what the sink has use for, is used; and, for what is over its share, less
    /// than half of the limit.
    pub fn has_room(&self, share: Share) -> bool {
        let has_room = self.used() < self.limit.min(self.ceiling.load(Ordering::Acquire));
        match share {
            Share::Within => has_room,
            Share::Over => has_room && self.over.load(Ordering::Acquire) < self.limit / 2,
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// A body came into memory.
    pub fn take(&self, bytes: u64, share: Share) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        if share == Share::Over {
            self.over.fetch_add(bytes, Ordering::AcqRel);
        }
    }

    /// A body left memory.
    pub fn give(&self, bytes: u64, share: Share) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "BUG: gave {bytes} bytes back of {before} taken");
        if share == Share::Over {
            let before = self.over.fetch_sub(bytes, Ordering::AcqRel);
            debug_assert!(
                before >= bytes,
                "BUG: gave {bytes} bytes back of {before} over their share"
            );
        }
    }

    /// The sink says how many bytes it has use for; above the limit it changes nothing.
    pub fn set_ceiling(&self, bytes: u64) {
        self.ceiling.store(bytes, Ordering::Release);
    }

    /// The sink says whether bodies wait for it: then shares are kept.
    pub fn set_pressed(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Release);
    }

    /// The sink says of which files nothing more is wanted for now: their documents have no place to wait.
    pub fn set_paused(&self, files: BTreeSet<FileId>) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(files);
    }

    /// Files of which nothing more is wanted for now.
    pub fn paused(&self) -> Arc<BTreeSet<FileId>> {
        Arc::clone(&self.paused.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether bodies wait for the sink.
    pub fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_its_share_gets_half_and_leaves_the_rest_to_the_others() {
        let budget = Budget::new(100);
        budget.take(50, Share::Over);
        assert!(!budget.has_room(Share::Over) && budget.has_room(Share::Within));
        budget.take(50, Share::Within);
        assert!(!budget.has_room(Share::Within));
        budget.give(50, Share::Over);
        assert!(budget.has_room(Share::Over) && budget.has_room(Share::Within));
        assert_eq!(budget.used(), 50);
    }

    #[test]
    fn the_ceiling_of_the_sink_holds_below_the_limit_only() {
        let budget = Budget::new(100);
        budget.take(30, Share::Within);
        budget.set_ceiling(30);
        assert!(!budget.has_room(Share::Within) && !budget.has_room(Share::Over));
        budget.set_ceiling(200);
        assert!(budget.has_room(Share::Within) && budget.has_room(Share::Over));
        budget.take(70, Share::Within);
        assert!(!budget.has_room(Share::Within));
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_configured_number_wins_over_every_limit() {
        assert_eq!(in_flight(Some(MIB), Some(64 * MIB), 4 * MIB), MIB);
        assert_eq!(in_flight(Some(100 * MIB), Some(64 * MIB), 4 * MIB), 100 * MIB);
    }

    #[test]
    fn a_quarter_of_the_limit_within_floor_and_cap() {
        let of = |mib| in_flight(None, Some(mib * MIB), MIB) / MIB;
        let found = [0, 1, 8, 24, 32, 64, 256, 100_000].map(of);
        assert_eq!(found, [2, 2, 2, 6, 8, 16, 16, 16]);
        assert_eq!(in_flight(None, None, MIB), 16 * MIB);
        assert_eq!(
            in_flight(None, Some(8 * MIB), 4 * MIB),
            4 * MIB,
            "a batch must fit"
        );
    }
}
