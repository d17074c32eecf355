//! What the spool's thread is told, and what it tells: the only words in which others speak to it.

use super::losses::{Reason, Totals};
use crate::record::{Body, Keep};

/// What the spool is to do.
#[derive(Debug)]
pub enum Command {
    /// Write and sync a body.
    Append {
        /// Given back with the confirmation.
        parcel: u64,
        /// What to write.
        body: Body,
        /// The index on hold.
        lane: Option<String>,
        /// Why it is kept, and so what may be evicted for it.
        keep: Keep,
    },
    /// Read a frame back.
    Read(u64),
    /// A frame is delivered.
    Done(u64),
    /// Save everything and end.
    Close,
}

/// What the spool has done.
#[derive(Debug)]
pub enum Report {
    /// An append ended: the frame's number, or `None` when there is no room.
    Appended {
        /// From the command.
        parcel: u64,
        /// The number.
        frame: Option<u64>,
    },
    /// A frame was read.
    Frame {
        /// Its number.
        frame: u64,
        /// The body; `None` when it is damaged, with what is lost by it.
        body: Result<Body, Evicted>,
    },
    /// A frame was dropped to make room.
    Evicted(Evicted),
    /// Sizes after a change.
    Size {
        /// Bytes on disk.
        bytes: u64,
        /// Frames that wait.
        frames: usize,
        /// Their source bytes.
        source_bytes: u64,
        /// What was given up since the first start, in the order of [`Reason::ALL`].
        lost: [(Reason, Totals); 2],
    },
    /// Everything is saved.
    Closed,
}

/// A frame that made room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evicted {
    /// Its number.
    pub sequence: u64,
    /// Its documents.
    pub documents: u64,
    /// Their source bytes.
    pub source_bytes: u64,
}
