//! The one budget of resident bytes: what is in flight, and whether the reader may go on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of finished bodies that are in memory, against a limit.
///
/// Taking never fails: a reader asks [`Budget::has_room`] before it reads and may overshoot by what
/// one turn makes. Bodies that are taken apart keep their parent's share.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes, all free.
    pub fn new(limit: u64) -> Budget {
        Budget {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// True while less than the limit is used.
    pub fn has_room(&self) -> bool {
        self.used() < self.limit
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
    pub fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A body left memory.
    pub fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "BUG: gave {bytes} bytes back of {before} taken");
    }
}
