//! What the reader remembers between two chunks: of a file, and of a container instance. Who keeps these values is the
//! reader's driver; a change of them is the reader's business alone.

use crate::parse::partial::Partials;
use crate::record::{FileId, Stamp, Stream};
use crate::sink::elasticsearch::encode::FileKey;
use crate::sink::elasticsearch::schema::Fragment;
use crate::source::lines::LineCutter;

/// How a file's lines are written, told by the first line that parses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Unknown,
    Cri,
    Docker,
}

/// A recorded end of a partial group: it was closed by time, and the checkpoint says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The stream of the group.
    pub stream: Stream,
    /// End of its last part, in the file that the cut belongs to.
    pub end: u64,
}

/// What the reader remembers of one file.
#[derive(Debug)]
pub struct FileState {
    pub(super) id: FileId,
    pub(super) key: FileKey,
    pub(super) cutter: LineCutter,
    pub(super) format: Format,
    pub(super) last_stamp: Option<Stamp>,
    pub(super) first_seen: Stamp,
    pub(super) cuts: Vec<Cut>,
}

impl FileState {
    /// A file to be read from `offset`. `last_stamp` is the last valid stamp before it, `first_seen`
    /// the durable time for lines before any stamp, `cuts` what a checkpoint recorded.
    pub fn new(
        id: FileId,
        offset: u64,
        last_stamp: Option<Stamp>,
        first_seen: Stamp,
        cuts: Vec<Cut>,
    ) -> Self {
        let cutter = LineCutter::new(offset);
        FileState {
            id,
            key: FileKey::new(id),
            cutter,
            format: Format::Unknown,
            last_stamp,
            first_seen,
            cuts,
        }
    }

    /// Its durable identity.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Offset of the first byte that is not part of a finished line, and the stamp before it.
    pub fn position(&self) -> (u64, Option<Stamp>) {
        (self.cutter.start(), self.last_stamp)
    }

    /// Offset after the last byte that was read.
    pub fn read_offset(&self) -> u64 {
        self.cutter.start() + self.cutter.held_bytes()
    }

    /// Bytes of the unfinished line.
    pub fn held_bytes(&self) -> u64 {
        self.cutter.held_bytes()
    }

    /// Whether the unfinished line is beyond its limit, so that its bytes are only counted.
    pub fn is_beyond_limit(&self) -> bool {
        self.cutter.is_full()
    }

    /// So many NUL bytes follow in a line that is beyond its limit: as if they had been read.
    pub fn skip(&mut self, bytes: u64) {
        self.cutter.skip(bytes);
    }

    /// The recorded cuts.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// Records a cut that is durable now.
    pub fn add_cut(&mut self, cut: Cut) {
        if !self.cuts.contains(&cut) {
            self.cuts.push(cut);
        }
    }

    pub(super) fn stamp_or_rule(&self) -> Stamp {
        self.last_stamp.unwrap_or(self.first_seen)
    }
}

/// What the reader remembers of one container instance.
#[derive(Debug)]
pub struct InstanceState {
    /// Open partial groups.
    pub partials: Partials,
    /// The ready-made part of its documents.
    pub fragment: Fragment,
}
