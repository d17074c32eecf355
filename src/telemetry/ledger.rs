//! Where every byte is that was read: one owner, one snapshot.
//!
//! The law, in bytes of the source files (line overhead included), per process, at any moment:
//!
//! ```text
//! read + recovered = acked + dead_lettered + Σ dropped + Σ filtered + held + in_flight + spooled
//! ```
//!
//! The reader reports `read`, `held` and what it handed out under one lock after each of its turns;
//! the sink moves bytes between the other places. Bytes that were never read are not part of the
//! law: they are counted in `lost_unread`.

use crate::record::{Fate, Origin};
use std::collections::BTreeMap;

/// Why bytes that were read reached neither index nor dead letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DropReason {
    /// The rest of a line, or of a joined message, beyond `source.max_line`.
    MaxLine,
    /// The spool was full and `spool.when_full` is `drop_oldest`.
    SpoolFull,
    /// A frame of the spool failed its checksum.
    DamagedFrame,
    /// An ingest pipeline of the server dropped the document (item status 200, result `noop`).
    ServerPipeline,
    /// The server refused the document, the dead-letter file was full, and `dead_letter.when_full` is `drop`.
    DeadLetterFull,
    /// It was over `source.rate_limit`, and `when_exceeded` is `drop`.
    RateLimit,
    /// The process had to end before it could be saved.
    Shutdown,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 7] = [
        DropReason::MaxLine,
        DropReason::SpoolFull,
        DropReason::DamagedFrame,
        DropReason::ServerPipeline,
        DropReason::DeadLetterFull,
        DropReason::RateLimit,
        DropReason::Shutdown,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::MaxLine => "max_line",
            DropReason::SpoolFull => "spool_full",
            DropReason::DamagedFrame => "damaged_frame",
            DropReason::ServerPipeline => "server_pipeline",
            DropReason::DeadLetterFull => "dead_letter_full",
            DropReason::RateLimit => "rate_limit",
            DropReason::Shutdown => "shutdown",
        }
    }
}

/// Why bytes were never read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LostReason {
    /// The file was deleted (by kubelet, usually) while the agent was away. After a crash this is an upper bound: what was
    /// delivered after the last checkpoint, within a second before the crash, is counted, too.
    DeletedUnread,
    /// Deleted files held more than `source.max_deleted_bytes` or `source.max_deleted_bytes_per_pod`; the one that was deleted
    /// first was given up.
    DeletedOverLimit,
    /// The file was truncated before its end was read.
    Truncated,
    /// The rest of a compressed file does not inflate.
    DamagedGzip,
    /// Files that came and went while nobody looked: there are traces of them, and nobody knows their sizes.
    NeverSeen,
    /// `source.start_at` is `end`: the part before the first start, skipped on request.
    StartAtEnd,
}

impl LostReason {
    /// Every reason.
    pub const ALL: [LostReason; 6] = [
        LostReason::DeletedUnread,
        LostReason::DeletedOverLimit,
        LostReason::Truncated,
        LostReason::DamagedGzip,
        LostReason::NeverSeen,
        LostReason::StartAtEnd,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            LostReason::DeletedUnread => "deleted_unread",
            LostReason::DeletedOverLimit => "deleted_over_limit",
            LostReason::Truncated => "truncated",
            LostReason::DamagedGzip => "damaged_gzip",
            LostReason::NeverSeen => "never_seen",
            LostReason::StartAtEnd => "start_at_end",
        }
    }
}

/// What the reader knows after a turn.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ReaderTotals {
    /// Bytes read since the start.
    pub read: u64,
    /// Bytes of unfinished lines and open partial groups.
    pub held: u64,
    /// Bytes of documents in the open batch.
    pub open: u64,
    /// Bytes of documents handed to the sink since the start.
    pub handed_out: u64,
    /// Bytes skipped beyond `max_line` since the start.
    pub skipped: u64,
    /// Bytes dropped for the rate limit since the start.
    pub discarded: u64,
}

/// The ledger.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ledger {
    reader: ReaderTotals,
    /// Source bytes of the frames that the spool held at the start.
    pub recovered: u64,
    /// Bytes that the server confirmed: accepted, or a duplicate of what it had.
    pub acked: u64,
    /// Bytes in the dead-letter file.
    pub dead_lettered: u64,
    dropped: BTreeMap<DropReason, u64>,
    /// Handed out and neither settled nor spooled.
    handed: u64,
    /// Bytes of undelivered frames.
    pub spooled: u64,
    lost_unread: BTreeMap<LostReason, u64>,
    lost_files: BTreeMap<LostReason, u64>,
    unknown_files: BTreeMap<LostReason, u64>,
    documents: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// What the spool held at the start.
    pub fn recover(&mut self, bytes: u64) {
        self.recovered += bytes;
        self.spooled += bytes;
    }

    /// The reader ended a turn.
    pub fn on_reader(&mut self, totals: ReaderTotals) {
        self.handed += totals.handed_out - self.reader.handed_out;
        for (reason, bytes) in [
            (DropReason::MaxLine, totals.skipped - self.reader.skipped),
            (DropReason::RateLimit, totals.discarded - self.reader.discarded),
        ] {
            if bytes > 0 {
                *self.dropped.entry(reason).or_default() += bytes;
            }
        }
        self.reader = totals;
    }

    /// Documents came to rest.
    pub fn on_moved(&mut self, origin: Origin, fate: Fate, documents: u64, bytes: u64) {
        match origin {
            Origin::Batch(_) => take(&mut self.handed, bytes),
            Origin::Frame(_) => take(&mut self.spooled, bytes),
        }
        let name = match fate {
            Fate::Accepted => "accepted",
            Fate::Duplicate => "duplicate",
            Fate::Spooled => "spooled",
            Fate::DeadLettered => "dead_lettered",
            Fate::DroppedByServer | Fate::DroppedAsRefused => "dropped",
        };
        *self.documents.entry(name).or_default() += documents;
        match fate {
            Fate::Accepted | Fate::Duplicate => self.acked += bytes,
            Fate::Spooled => self.spooled += bytes,
            Fate::DeadLettered => self.dead_lettered += bytes,
            Fate::DroppedByServer => *self.dropped.entry(DropReason::ServerPipeline).or_default() += bytes,
            Fate::DroppedAsRefused => *self.dropped.entry(DropReason::DeadLetterFull).or_default() += bytes,
        }
    }

    /// A frame of the spool is gone.
    pub fn on_frame_lost(&mut self, reason: DropReason, bytes: u64) {
        take(&mut self.spooled, bytes);
        *self.dropped.entry(reason).or_default() += bytes;
    }

    /// Documents of batches that the process could not save before its end.
    pub fn on_unsaved(&mut self, bytes: u64) {
        take(&mut self.handed, bytes);
        *self.dropped.entry(DropReason::Shutdown).or_default() += bytes;
    }

    /// Bytes of a file that will never be read. Zero bytes are a file all the same.
    pub fn on_lost_unread(&mut self, reason: LostReason, bytes: u64) {
        *self.lost_unread.entry(reason).or_default() += bytes;
        *self.lost_files.entry(reason).or_default() += 1;
    }

    /// A file of which more may be lost than `lost_unread` says: its last bytes were never seen.
    pub fn on_unknown(&mut self, reason: LostReason) {
        *self.unknown_files.entry(reason).or_default() += 1;
    }

    /// Files of which more may be lost than [`Ledger::lost_unread`] says, by reason; every reason is named.
    pub fn lost_unknown_files(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        LostReason::ALL.into_iter().map(|reason| {
            let files = self.unknown_files.get(&reason).copied().unwrap_or(0);
            (reason.as_str(), files)
        })
    }

    /// Bytes read since the start.
    pub fn read(&self) -> u64 {
        self.reader.read
    }

    /// Bytes of unfinished lines and open partial groups.
    pub fn held(&self) -> u64 {
        self.reader.held
    }

    /// Bytes of documents that are in memory, the open batch included.
    pub fn in_flight(&self) -> u64 {
        self.reader.open + self.handed
    }

    /// Dropped bytes by reason; every reason is named.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason.as_str(), self.dropped.get(&reason).copied().unwrap_or(0)))
    }

    /// Bytes (and files) that were never read, by reason; every reason is named.
    pub fn lost_unread(&self) -> impl Iterator<Item = (&'static str, u64, u64)> + '_ {
        LostReason::ALL.into_iter().map(|reason| {
            let of = |map: &BTreeMap<LostReason, u64>| map.get(&reason).copied().unwrap_or(0);
            (reason.as_str(), of(&self.lost_unread), of(&self.lost_files))
        })
    }

    /// Documents that came to rest, by fate.
    pub fn documents(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ["accepted", "duplicate", "spooled", "dead_lettered", "dropped"]
            .into_iter()
            .map(|fate| (fate, self.documents.get(fate).copied().unwrap_or(0)))
    }

    /// Left side minus right side of the law: 0, or the ledger is wrong.
    pub fn imbalance(&self) -> i128 {
        let entered = i128::from(self.reader.read) + i128::from(self.recovered);
        let dropped: u64 = self.dropped.values().sum();
        let places = [
            self.acked,
            self.dead_lettered,
            dropped,
            self.held(),
            self.in_flight(),
            self.spooled,
        ];
        entered - places.into_iter().map(i128::from).sum::<i128>()
    }
}

fn take(place: &mut u64, bytes: u64) {
    debug_assert!(*place >= bytes, "BUG: {bytes} bytes moved out of {place}");
    *place = place.saturating_sub(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_move_keeps_the_law() {
        let mut ledger = Ledger::default();
        ledger.recover(50);
        ledger.on_reader(ReaderTotals {
            read: 120,
            held: 10,
            open: 20,
            handed_out: 80,
            skipped: 10,
            discarded: 0,
        });
        assert_eq!((ledger.imbalance(), ledger.in_flight()), (0, 100));
        ledger.on_moved(Origin::Batch(1), Fate::Accepted, 2, 30);
        ledger.on_moved(Origin::Batch(1), Fate::Spooled, 1, 40);
        ledger.on_moved(Origin::Frame(1), Fate::Spooled, 1, 40);
        ledger.on_moved(Origin::Frame(9), Fate::DroppedByServer, 1, 20);
        ledger.on_moved(Origin::Batch(1), Fate::DeadLettered, 1, 10);
        ledger.on_frame_lost(DropReason::SpoolFull, 30);
        assert_eq!(ledger.imbalance(), 0);
        assert_eq!((ledger.acked, ledger.spooled, ledger.dead_lettered), (30, 40, 10));
        assert_eq!(ledger.dropped().map(|(_, bytes)| bytes).sum::<u64>(), 60);
    }

    #[test]
    fn a_byte_that_went_astray_is_seen() {
        let mut ledger = Ledger::default();
        ledger.on_reader(ReaderTotals {
            read: 100,
            held: 0,
            open: 0,
            handed_out: 99,
            skipped: 0,
            discarded: 0,
        });
        assert_eq!(ledger.imbalance(), 1);
    }

    #[test]
    fn lost_files_are_counted_even_when_empty() {
        let mut ledger = Ledger::default();
        ledger.on_lost_unread(LostReason::DeletedUnread, 0);
        assert!(ledger.lost_unread().any(|lost| lost == ("deleted_unread", 0, 1)));
        assert_eq!(ledger.imbalance(), 0);
    }
}
