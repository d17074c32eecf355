//! What goes into the sink's state machine besides facts, and what comes out of it.

use crate::record::{Ack, Body, Encoding, Fate, FrameSeq, Keep, Origin, Share};
use bytes::Bytes;
use std::time::Instant;

/// When something happened, and a random number to jitter what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Instant,
    /// Seconds since 1970, to date dead letters.
    pub unix: i64,
    /// Any number.
    pub random: u64,
}

/// Number of a body on its way.
pub type ParcelId = u64;

/// Whom bytes are moved from and to in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Where the documents came from.
    pub origin: Origin,
    /// Where they rest now.
    pub fate: Fate,
    /// How many.
    pub documents: u64,
    /// Their source bytes.
    pub bytes: u64,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Action {
    /// Post the bytes; answer with [`super::Flight::on_answer`].
    Send {
        /// To be given back with the answer.
        parcel: ParcelId,
        /// What to post.
        bytes: Bytes,
        /// Whether it is gzip.
        encoding: Encoding,
        /// How many items the answer must have.
        documents: usize,
        /// Length of the text.
        inflated_len: u32,
    },
    /// Write the body to the spool; answer with [`super::Flight::on_spooled`] after the sync.
    Spool {
        /// To be given back.
        parcel: ParcelId,
        /// What to write.
        body: Body,
        /// The index on hold, for a side body.
        lane: Option<String>,
        /// Why it is kept, and so what may be evicted for it.
        keep: Keep,
    },
    /// Read a frame; answer with [`super::Flight::on_frame`].
    ReadFrame(FrameSeq),
    /// The frame is delivered.
    FrameDone(FrameSeq),
    /// Append the rows to the dead-letter file; answer with [`super::Flight::on_dead_lettered`] after the
    /// sync.
    DeadLetter {
        /// To be given back.
        parcel: ParcelId,
        /// Finished rows.
        rows: Vec<u8>,
    },
    /// The reader may move its checkpoint.
    Ack(Ack),
    /// Give so many bytes back to the memory budget.
    Release {
        /// How many.
        bytes: u64,
        /// From whose part.
        share: Share,
    },
    /// Enter this in the ledger.
    Moved(Moved),
}

/// Documents of batches that could not be saved.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Unsaved {
    /// How many.
    pub documents: u64,
    /// Their source bytes.
    pub bytes: u64,
}
