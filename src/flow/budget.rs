//! The one budget of resident bytes: what is in flight, and whether the reader may go on.

use crate::record::Share;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes of finished bodies that are in memory, against a limit; and whether they queue for the sink.
///
/// Taking never fails: a reader asks [`Budget::has_room`] before it reads and may overshoot by what
/// one turn makes. Bodies that are taken apart keep their parent's part. Bodies over their
/// containers' share may use half of the limit, so that the others always find room.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    over: AtomicU64,
    pressed: AtomicBool,
}

impl Budget {
    /// A budget of `limit` bytes, all free.
    pub fn new(limit: u64) -> Budget {
        Budget {
            limit,
            used: AtomicU64::new(0),
            over: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
        }
    }

    /// True while less than the limit is used and, for what is over its share, less than half of it.
    pub fn has_room(&self, share: Share) -> bool {
        match share {
            Share::Within => self.used() < self.limit,
            Share::Over => self.over.load(Ordering::Acquire) < self.limit / 2 && self.used() < self.limit,
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

    /// The sink says whether bodies wait for it: then shares are kept.
    pub fn set_pressed(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Release);
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
}
