//! What goes into the sink's state machine besides facts, and what comes out of it.

use super::parcel::Parcel;
use super::requests::RequestId;
use crate::record::{Ack, Body, Encoding, Fate, FrameSeq, Keep, Origin, Share};
use crate::sink::elasticsearch::hosts::HostId;
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
        request: RequestId,
        /// To whom.
        host: HostId,
        /// What to post.
        bytes: Bytes,
        /// Whether it is gzip.
        encoding: Encoding,
        /// How many items the answer must have.
        documents: usize,
        /// Length of the text.
        inflated_len: u32,
        /// Look the documents up instead: what is there is a duplicate, what is not is to be sent again.
        looks_up: bool,
    },
    /// Nobody waits for the answer to this request any more.
    Forget(RequestId),
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

impl Unsaved {
    /// Those of the parcel that came from batches: the others are in the spool.
    pub(super) fn add(&mut self, parcel: &Parcel) {
        let batches = parcel
            .sums()
            .filter(|(origin, ..)| matches!(origin, Origin::Batch(_)));
        for (_, documents, bytes) in batches {
            self.documents += documents as u64;
            self.bytes += bytes;
        }
    }
}
