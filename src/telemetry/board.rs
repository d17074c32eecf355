//! The status board: each stage writes its own part, `/status`, `/metrics`, `/ready` and the tests
//! read all of it. A part is replaced as a whole, a few times a second at most.

use super::ledger::Ledger;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One container log file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Pod uid.
    pub uid: String,
    /// Container name.
    pub container: String,
    /// Restart number.
    pub restart: u32,
    /// Path below `pod_logs_dir` when last seen.
    pub path: String,
    /// Durable identity, 32 hex digits; absent while the file has no whole first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Offset after the last byte read.
    pub read_offset: u64,
    /// Everything before it is delivered or durably kept.
    pub commit_offset: u64,
    /// Size when last looked at, in uncompressed bytes; for a `.gz` not read to its end, what was
    /// inflated so far.
    pub size: u64,
    /// Bytes behind: size minus commit offset.
    pub lag_bytes: u64,
    /// The file was read to its end and will not grow.
    pub finished: bool,
    /// `known`, `waiting`, `missing` or `off`.
    pub metadata: &'static str,
    /// Why the file is not being read right now, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What the reader tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReaderStatus {
    /// Files that are followed.
    pub files: Vec<FileStatus>,
    /// Bytes that are on the node's disk and not read.
    pub unread_bytes: u64,
    /// Seconds since the oldest unread byte was first seen to be unread; 0 when all is read.
    pub oldest_unread_seconds: u64,
    /// Lines since the start.
    pub lines: u64,
    /// Unusual records since the start, by flag.
    pub flagged: Vec<(&'static str, u64)>,
    /// Open descriptors of log files.
    pub open_files: usize,
    /// True while the directories are watched; false when only the rescan finds new files.
    pub watching: bool,
    /// Rescans that an event asked for: queue overflow, no watches, EMFILE.
    pub forced_rescans: u64,
    /// Files or directories that could not be read, since the start.
    pub read_errors: u64,
    /// True while the budget or the spool withholds reading.
    pub blocked: bool,
    /// True when every file that the first listing found was looked at.
    pub started: bool,
    /// Turns since the start: the proof of life.
    pub turns: u64,
    /// Milliseconds since 1970 of the last turn.
    pub last_turn_ms: u64,
    /// Milliseconds since 1970 of the last saved checkpoint; 0 before the first.
    pub last_checkpoint_ms: u64,
    /// Checkpoints that could not be saved.
    pub checkpoint_errors: u64,
}

/// An index on hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HoldStatus {
    /// Its name.
    pub index: String,
    /// Frames that wait for it.
    pub frames: usize,
    /// Status of the last refusal.
    pub status: u16,
    /// Error type of the last refusal.
    pub kind: String,
    /// The server's words.
    pub reason: String,
}

/// What the sink tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkStatus {
    /// The last request was answered item by item, or nothing was sent yet.
    pub up: bool,
    /// True when the failure is a fault of configuration or permission, which time does not heal.
    pub hold: bool,
    /// The last failure of a whole request, while it lasts: what, why, what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The host that answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Requests without an answer.
    pub in_flight_requests: usize,
    /// Requests since the start, by outcome.
    pub requests: Vec<(&'static str, u64)>,
    /// Verdicts of items since the start.
    pub verdicts: Vec<(&'static str, u64)>,
    /// Bytes sent, after compression.
    pub wire_bytes: u64,
    /// Bytes of the bodies sent, before compression.
    pub raw_bytes: u64,
    /// Indices on hold.
    pub holds: Vec<HoldStatus>,
    /// The dead-letter file is full and documents wait for room.
    pub dead_letter_full: bool,
    /// Bytes of the dead-letter file.
    pub dead_letter_bytes: u64,
}

/// What the spool tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// Frames that are not delivered.
    pub frames: usize,
    /// Their source bytes.
    pub source_bytes: u64,
    /// The quota, in bytes.
    pub max_bytes: u64,
    /// Frames evicted since the start.
    pub evicted: u64,
    /// Frames damaged since the start.
    pub damaged: u64,
    /// The last write found no room.
    pub full: bool,
}

/// What the pod watch tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchStatus {
    /// `off`, `starting`, `live` or `down`.
    pub state: &'static str,
    /// Pods that are known.
    pub pods: usize,
    /// LIST requests since the start.
    pub lists: u64,
    /// WATCH requests since the start.
    pub watches: u64,
    /// Failures since the start.
    pub errors: u64,
    /// The last failure, while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    ledger: Mutex<Ledger>,
    reader: Mutex<ReaderStatus>,
    sink: Mutex<SinkStatus>,
    spool: Mutex<SpoolStatus>,
    watch: Mutex<WatchStatus>,
}

impl Board {
    /// The ledger. Hold it shortly: the reader waits for it at the end of its turns.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// The reader's part.
    pub fn reader(&self) -> MutexGuard<'_, ReaderStatus> {
        locked(&self.reader)
    }

    /// The sink's part.
    pub fn sink(&self) -> MutexGuard<'_, SinkStatus> {
        locked(&self.sink)
    }

    /// The spool's part.
    pub fn spool(&self) -> MutexGuard<'_, SpoolStatus> {
        locked(&self.spool)
    }

    /// The pod watch's part.
    pub fn watch(&self) -> MutexGuard<'_, WatchStatus> {
        locked(&self.watch)
    }
}

/// A part is replaced, never half written: a panic of its writer leaves the last whole one.
fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
