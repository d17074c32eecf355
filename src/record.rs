//! The nouns of Longshore. Every module may know this one; it knows none of them.
//!
//! A container log *file* is cut into *lines*; one line, or several joined ones, make a *record*;
//! a record becomes a *document*; documents travel in a *body*; a body with the spans it covers is
//! a *batch*; and when every document of a batch has a resting place, the batch is *acked*.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use std::fmt;

/// Durable identity of one container log file: it survives rename, gzip and inode reuse.
///
/// A 128-bit hash of pod uid, container, restart number, fingerprint of the first line, and epoch
/// (see [`crate::source::fingerprint`]). Two files with equal identity are the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FileId(pub u128);

impl fmt::Display for FileId {
    /// 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for FileId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A byte range of one file, in uncompressed bytes: `start..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The file the bytes are in.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
}

impl Span {
    /// Length in bytes of the source file.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// True when the span covers no byte.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// One physical line of a file, still in the buffer it was read into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// The bytes before the newline; at most the configured `max_line` plus the room of a header.
    pub text: &'a [u8],
    /// Offset of the first byte in the file.
    pub start: u64,
    /// Offset after the newline (or after the last byte, when the file ended without one).
    pub end: u64,
    /// Bytes of the line that were skipped because it was longer than the limit.
    pub skipped: u64,
}

/// The stream a container wrote to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The name as the runtimes write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A moment as the container runtime stamped it: seconds since 1970 (may be negative) and
/// nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Stamp {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// What was unusual about a record. An empty set is the normal case.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(u8);

impl Flags {
    /// The message was cut at `max_line`.
    pub const TRUNCATED: Flags = Flags(1);
    /// Bytes that are not UTF-8 were replaced by U+FFFD.
    pub const REPLACED_UTF8: Flags = Flags(2);
    /// The line is neither CRI nor docker JSON and was shipped as text.
    pub const UNPARSED: Flags = Flags(4);
    /// A partial line whose end never came.
    pub const PARTIAL: Flags = Flags(8);
    /// The stamp was outside 1970..2262 and was clamped.
    pub const TIME_CLAMPED: Flags = Flags(16);

    const NAMES: [(Flags, &'static str); 5] = [
        (Flags::TRUNCATED, "truncated"),
        (Flags::REPLACED_UTF8, "replaced_utf8"),
        (Flags::UNPARSED, "unparsed"),
        (Flags::PARTIAL, "partial"),
        (Flags::TIME_CLAMPED, "time_clamped"),
    ];

    /// Adds every flag of `other`.
    pub fn insert(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// True when any flag of `other` is set.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// True when nothing was unusual.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the set flags, as they stand in documents.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
    }
}

/// One logical message, borrowed from the buffers it was read into.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Event time; for lines without a valid stamp the time rule of the file applies.
    pub stamp: Stamp,
    /// Unknown for lines that could not be parsed.
    pub stream: Option<Stream>,
    /// The message, without newline. May hold bytes that are not UTF-8.
    pub message: &'a [u8],
    /// True when the bytes of `message` are known to be UTF-8.
    pub valid_utf8: bool,
    /// What was unusual.
    pub flags: Flags,
    /// Where the record starts, and how far its bytes reach in that file.
    pub span: Span,
    /// The rest of a record that began in one file and ended in the next.
    pub second: Option<Span>,
    /// Of a message in several parts, the last one: its stamp, and where its line lies. Id and index
    /// hang on it alone, so that they are the same when the parts before it cannot be read any more.
    pub last_part: Option<(Stamp, Span)>,
    /// Source bytes of the record itself, line overhead included. Smaller than the span when lines
    /// of the other stream lie between its parts, or when bytes were skipped.
    pub source_bytes: u64,
    /// Source bytes skipped because the record is longer than the limit.
    pub skipped: u64,
}

/// One row of a body's table: where a document ends, and which bytes of which file it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// End of the document (action line and source) in the inflated body.
    pub end: u32,
    /// Index into [`Body::files`].
    pub file: u32,
    /// Offset of the document's first byte in that file.
    pub start: u64,
    /// Source bytes, line overhead included.
    pub source_bytes: u32,
}

/// A finished `_bulk` body and the table of its documents: the one form in which documents are
/// sent, retried, split and spooled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// The bytes that go over the wire.
    pub bytes: Bytes,
    /// Whether `bytes` is gzip.
    pub encoding: Encoding,
    /// Length of the NDJSON text.
    pub inflated_len: u32,
    /// One row per document, in order.
    pub rows: Vec<Row>,
    /// The files that rows point to.
    pub files: Vec<FileId>,
}

/// How the bytes of a body are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Plain NDJSON.
    Identity,
    /// One gzip member.
    Gzip,
}

impl Body {
    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.rows.len()
    }

    /// Source bytes of all documents.
    pub fn source_bytes(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.source_bytes)).sum()
    }

    /// Bytes of memory that the body occupies.
    pub fn resident_bytes(&self) -> u64 {
        (self.bytes.len()
            + self.rows.capacity() * size_of::<Row>()
            + self.files.capacity() * size_of::<FileId>()) as u64
    }
}

/// Whether documents are within their container's share of what the sink can take, or over it. Only
/// while the sink takes less than is written does it matter: what is over waits, the rest does not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Share {
    /// Within the share, or there was enough for all.
    #[default]
    Within,
    /// Over the share.
    Over,
}

/// Number of a batch, given out by a reader in ascending order.
pub type BatchSeq = u64;

/// A body on its way: what one reader handed over at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The reader's number for it.
    pub seq: BatchSeq,
    /// Whether it may wait in the spool while others do not.
    pub share: Share,
    /// It has lines of deleted files: nobody can give them a second time, so it is to be durable soon.
    pub urgent: bool,
    /// The documents.
    pub body: Body,
}

/// The lowest offset of a file that a body needs, and the last valid stamp before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRange {
    /// The file.
    pub file: FileId,
    /// Offset of the first byte of the first document.
    pub start: u64,
    /// The stamp that a line without one would get there.
    pub stamp_before: Option<Stamp>,
}

/// A message whose parts do not lie one after the other: in two files, or with other lines between
/// them. To be read again it must be read again as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// One for each file, at most two: where the parts begin, and the offset after them.
    pub pieces: Vec<(FileRange, u64)>,
}

/// Number of a frame in the spool.
pub type FrameSeq = u64;

/// Why a body goes to the spool, and so what may be given up for it, and it for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It was never in a request: under `drop_oldest` it may be evicted.
    Unsent,
    /// The same, and its containers are within their shares: it is evicted after all others.
    Within,
    /// It was in a request and may be stored already: it is never evicted.
    Sent,
    /// It stays in memory and is sent: it is never evicted, and nothing is evicted for it.
    Copy,
}

impl Keep {
    /// Whether a server may know it.
    pub fn may_be_sent(self) -> bool {
        matches!(self, Keep::Sent | Keep::Copy)
    }
}

/// Where documents came from, and so what is done when all of them have come to rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// A batch of the reader: its spans are to be acked.
    Batch(BatchSeq),
    /// A frame of the spool: it is to be marked as delivered.
    Frame(FrameSeq),
}

/// Every document of a batch has a resting place: its spans are safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The batch that is done.
    pub batch: BatchSeq,
}

/// Where a document came to rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// Stored by Elasticsearch (201).
    Accepted,
    /// Was stored by an earlier attempt (409).
    Duplicate,
    /// On our disk, synced.
    Spooled,
    /// In the dead-letter file, synced.
    DeadLettered,
    /// Dropped by a server pipeline (200 `noop`).
    DroppedByServer,
    /// Refused, and dropped by us: the dead-letter file was full, and `dead_letter.when_full` is `drop`.
    DroppedAsRefused,
}

/// What is known about one container instance, from its path and (when it answered) the API server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Pod uid as the API knows it; from the path when the API is silent.
    pub pod_uid: String,
    /// Container name.
    pub container: String,
    /// Node name.
    pub node: String,
    /// 64 hex digits, without the runtime's scheme.
    pub container_id: Option<String>,
    /// The runtime, as the scheme of its container ids names it.
    pub runtime: Option<String>,
    /// Image as the runtime resolved it.
    pub image: Option<String>,
    /// Image id, usually a digest.
    pub image_id: Option<String>,
    /// First pod address.
    pub pod_ip: Option<String>,
    /// Pod labels.
    pub labels: Vec<(String, String)>,
    /// Pod annotations that the config selects.
    pub annotations: Vec<(String, String)>,
    /// Kind and name of the controller.
    pub owner: Option<(String, String)>,
    /// Name of the deployment behind the replica set.
    pub deployment: Option<String>,
    /// Namespace uid, when namespace labels are asked for.
    pub namespace_uid: Option<String>,
    /// Namespace labels, when asked for.
    pub namespace_labels: Vec<(String, String)>,
    /// The API server was asked for this pod and had not answered when the file was read.
    pub missing: bool,
}
