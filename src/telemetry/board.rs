//! The status board: each stage writes its own part, `/status`, `/metrics`, `/ready` and the tests
//! read all of it. A part is replaced as a whole, a few times a second at most.

use super::ledger::Ledger;
use crate::record::FileId;
use crate::sync::{Mutex, MutexGuard};
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What does not change while the process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The node.
    pub node_name: String,
    /// Milliseconds since 1970 when the process started.
    pub started_ms: u64,
    /// When all is quiet, the reader ends a turn at least this often.
    pub turn_interval: Duration,
    /// The memory limit of the process, in bytes, when it has one.
    pub memory_limit: Option<u64>,
    /// The most bytes that the dead-letter file takes.
    pub dead_letter_max_bytes: u64,
    /// What the config allows although others can read or change it on the way.
    pub exposures: Vec<&'static str>,
}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the agent tells before its stages run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentStatus {
    /// What keeps the stages from starting, on purpose: that another agent holds the lock, for
    /// instance. Such an agent is healthy and not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// One container log file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Pod name.
    pub pod: Arc<str>,
    /// Pod uid.
    pub uid: Arc<str>,
    /// Container name.
    pub container: Arc<str>,
    /// Restart number.
    pub restart: u32,
    /// Path below `pod_logs_dir` when last seen.
    pub path: FilePath,
    /// Durable identity, shown as 32 hex digits; absent while the file has no whole first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<FileId>,
    /// Offset after the last byte read.
    pub read_offset: u64,
    /// Everything before it is delivered or durably kept.
    pub commit_offset: u64,
    /// Size when last looked at, in uncompressed bytes; for a `.gz` not read to its end, what was
    /// inflated so far.
    pub size: u64,
    /// Bytes behind: size minus commit offset.
    pub lag_bytes: u64,
    /// Milliseconds since 1970 when bytes of it were last acked; 0 when none were since the start.
    pub last_ack_ms: u64,
    /// The file was read to its end and will not grow.
    pub finished: bool,
    /// `known`, `waiting`, `missing` or `off`.
    pub metadata: &'static str,
    /// Why the file is not being read right now, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Where a file was last seen. Thousands of files share their folders' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePath {
    /// Its directory, below `pod_logs_dir`.
    pub folder: Arc<str>,
    /// Its name; `None` when no name leads to it any more.
    pub name: Option<Box<str>>,
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            self.folder,
            self.name.as_deref().unwrap_or("(deleted)")
        )
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What was read of one container: all its files and restarts together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainerStatus {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Pod name.
    pub pod: Arc<str>,
    /// Container name.
    pub container: Arc<str>,
    /// Bytes read since the start. Never falls while the container is listed.
    pub read_bytes: u64,
}

/// What the reader tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReaderStatus {
    /// Files that are followed. The status page tells those that it is asked for. Shared: no page needs a copy of thousands.
    #[serde(skip)]
    pub files: Arc<Vec<FileStatus>>,
    /// The containers that these files are of.
    #[serde(skip)]
    pub containers: Arc<Vec<ContainerStatus>>,
    /// Bytes that are on the node's disk and not read.
    pub unread_bytes: u64,
    /// Seconds since the oldest unread byte was first seen to be unread; 0 when all is read.
    pub oldest_unread_seconds: u64,
    /// Lines since the start.
    pub lines: u64,
    /// Unusual records since the start, by flag.
    #[serde(serialize_with = "counts")]
    pub flagged: Vec<(&'static str, u64)>,
    /// Open descriptors of log files.
    pub open_files: usize,
    /// Unread bytes of deleted files that only descriptors of the agent keep.
    pub deleted_bytes: u64,
    /// True while the directories are watched; false when only the rescan finds new files.
    pub watching: bool,
    /// Rescans that an event asked for: queue overflow, no watches, EMFILE.
    pub forced_rescans: u64,
    /// Files or directories that could not be read, since the start.
    pub read_errors: u64,
    /// Files that stood still with unread bytes and were opened again, since the start.
    pub reopened_files: u64,
    /// Bytes of the memory budget in use.
    pub budget_used: u64,
    /// The memory budget, in bytes.
    pub budget_limit: u64,
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
    /// What was never read, by reason, since the first start: the checkpoint has it on record.
    pub lost_on_record: Vec<UnreadOnRecord>,
}

/// What was never read for one reason, by this process and those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnreadOnRecord {
    /// Why.
    pub reason: &'static str,
    /// Files.
    pub files: u64,
    /// Bytes that are known of.
    pub bytes: u64,
    /// Files of which more may be lost.
    pub unknown_files: u64,
}

/// What the spool has given up for one reason, in this process and those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolOnRecord {
    /// Why.
    pub reason: &'static str,
    /// Frames; more may be lost than these.
    pub frames: u64,
    /// Documents that are known of.
    pub documents: u64,
    /// Their source bytes.
    pub source_bytes: u64,
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

/// How many files' refusals are remembered.
pub const MAX_REFUSALS: usize = 64;

/// The last document of one file that the server did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefusalStatus {
    /// Durable identity of the file, as [`FileStatus::identity`] is shown.
    pub identity: String,
    /// `refused`, `hold` or `dropped`.
    pub verdict: &'static str,
    /// The server's error type.
    pub kind: String,
    /// The server's words.
    pub reason: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
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
    #[serde(serialize_with = "counts")]
    pub requests: Vec<(&'static str, u64)>,
    /// Verdicts of items since the start.
    #[serde(serialize_with = "counts")]
    pub verdicts: Vec<(&'static str, u64)>,
    /// Documents that are elsewhere since the start, by what is another: their id or their index (as far as answers were asked
    /// for that), or a copy in a failure store.
    #[serde(serialize_with = "counts")]
    pub diverted: Vec<(&'static str, u64)>,
    /// Documents that were taken in a poorer form since the start, by form.
    #[serde(serialize_with = "counts")]
    pub poorer: Vec<(&'static str, u64)>,
    /// Requests with a body that another host has, too, and did not answer in time.
    pub hedged_requests: u64,
    /// Documents that were taken although they may have been there under another index or id.
    pub possible_duplicates: u64,
    /// Bytes sent, after compression.
    pub wire_bytes: u64,
    /// Bytes of the bodies sent, before compression.
    pub raw_bytes: u64,
    /// Indices on hold.
    pub holds: Vec<HoldStatus>,
    /// Recent refusals, one a file, newest last; at most [`MAX_REFUSALS`].
    pub refusals: Vec<RefusalStatus>,
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
    /// What was given up, by reason, since the first start: the spool has it on record. None until it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_on_record: Option<[SpoolOnRecord; 2]>,
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

/// All parts at one moment. The ledger is whole in itself; the parts may differ by a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Where every byte is.
    pub ledger: Ledger,
    /// The agent's part.
    pub agent: AgentStatus,
    /// The reader's part.
    pub reader: ReaderStatus,
    /// The sink's part.
    pub sink: SinkStatus,
    /// The spool's part.
    pub spool: SpoolStatus,
    /// The pod watch's part.
    pub watch: WatchStatus,
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    agent: Mutex<AgentStatus>,
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

    /// The agent's part.
    pub fn agent(&self) -> MutexGuard<'_, AgentStatus> {
        locked(&self.agent)
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

    /// A copy of everything, each lock held for its own copy only.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            ledger: self.ledger().clone(),
            agent: self.agent().clone(),
            reader: self.reader().clone(),
            sink: self.sink().clone(),
            spool: *self.spool(),
            watch: self.watch().clone(),
        }
    }
}

/// A part is replaced, never half written: a panic of its writer leaves the last whole one.
fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts by name, as one JSON object.
fn counts<S: Serializer>(counts: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().copied())
}
