//! Documents of which nobody knows whether the server has them, and for which an id alone does not tell.
//!
//! A request that ends without an answer to its items may have been carried out, all of it or a part. Where the index is one
//! index, that costs nothing: what is there is told so (409) when it comes again. An id is only looked for in the index
//! that takes writes now, though: when a data stream (or an alias) has rolled over in between, the document is taken a second
//! time. And where the server makes the ids, it always is. So such documents are *in doubt*: those that are taken then are
//! counted as possible duplicates; or, with the right to read, they are looked up first, when a refresh has made them visible.
//!
//! A frame that says of itself that its documents were in a request is in doubt for the next agent, too. Not known here: what an
//! agent had sent that was killed, and whose lines are read again by the next one, or whose frames were spooled unsent or for the
//! lane of an index.

use super::{Flight, Health, Moment, Parcel};
use crate::config::{DocumentId, Elasticsearch, Schema};
use crate::record::FrameSeq;
use crate::sink::elasticsearch::response::Problem;
use std::time::{Duration, Instant};

/// Look-ups of the same documents that failed one after the other, with delays between them that add up to minutes.
const MOST_LOOK_UPS: u32 = 10;

/// Frames that are remembered as in doubt. What is beyond is counted as if it were not.
const MAX_FRAMES: usize = 10_000;

/// The type of the problem of a document that was looked up and not found.
pub const NOT_FOUND: &str = "not_found_by_look_up";
/// The type of the problem of a document that could not be looked up, for want of rights.
pub const NO_LOOK_UP: &str = "look_up_refused";

/// What keeps a document that is sent again from being there twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ids {
    /// Its id, for ever.
    Ours,
    /// Its id, as long as the index does not roll over.
    RollOver {
        /// So long after a request without an answer its documents are looked up; none: they are sent again at once.
        look_up_after: Option<Duration>,
    },
    /// Nothing: the server makes it.
    OfTheServer,
}

impl From<&Elasticsearch> for Ids {
    fn from(config: &Elasticsearch) -> Ids {
        let look_up_after = config.look_up_after;
        let is_stream = config.schema != Schema::Fluentd;
        match config.document_id {
            DocumentId::Auto => Ids::OfTheServer,
            DocumentId::Deterministic if is_stream || look_up_after.is_some() => {
                Ids::RollOver { look_up_after }
            }
            DocumentId::Deterministic => Ids::Ours,
        }
    }
}

/// Whether the server may have the documents of a parcel under another index, or another id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Doubt {
    /// It has not.
    #[default]
    None,
    /// It may; they could not be looked up.
    Lasting,
    /// It may; they are looked up from then on.
    Since(Instant),
}

impl Flight {
    /// A request with this body ended, and what became of its documents is not known.
    pub(super) fn doubt(&mut self, parcel: &mut Parcel, problem: &Problem, at: Moment) {
        // What never got through a connection is nowhere.
        let was_sent = !matches!(problem.kind.as_str(), "connect" | "dns" | "tls" | "config");
        if self.config.ids == Ids::Ours || !was_sent {
            return;
        }
        parcel.doubt = self.doubt_from(at.now);
        for frame in parcel.parts.frames() {
            self.remember_doubt(frame, parcel.doubt);
        }
    }

    /// A second host gets a body while the first may still carry it out: where ids may not tell, what one of them takes may
    /// be there twice. With look-ups nothing is hedged, since they tell only what has ended.
    pub(super) fn doubt_hedged(&mut self, parcel: &mut Parcel) {
        if matches!(self.config.ids, Ids::RollOver { .. }) && parcel.doubt == Doubt::None {
            parcel.doubt = Doubt::Lasting;
            for frame in parcel.parts.frames() {
                self.remember_doubt(frame, parcel.doubt);
            }
        }
    }

    /// A frame keeps these documents from now on.
    pub(super) fn remember_doubt(&mut self, frame: FrameSeq, doubt: Doubt) {
        if doubt != Doubt::None && self.doubts.len() < MAX_FRAMES {
            self.doubts.insert(frame, doubt);
        }
    }

    /// Of a frame that was read back.
    pub(super) fn doubt_of(&self, frame: FrameSeq) -> Doubt {
        self.doubts.get(&frame).copied().unwrap_or_default()
    }

    /// The oldest frame, of those that may be sent or looked up by now.
    pub(super) fn pop_frame(&mut self, now: Instant) -> Option<FrameSeq> {
        if self.doubts.is_empty() {
            return self.frames.pop_front();
        }
        let is_ripe = |frame: &FrameSeq| !matches!(self.doubt_of(*frame), Doubt::Since(from) if from > now);
        let at = self.frames.iter().position(is_ripe)?;
        self.frames.remove(at)
    }

    /// When a frame may be looked up that may not now.
    pub(super) fn look_up_due(&self) -> impl Iterator<Item = Instant> {
        self.doubts.values().filter_map(|doubt| match doubt {
            Doubt::Since(from) => Some(*from),
            Doubt::None | Doubt::Lasting => None,
        })
    }

    /// Whether the parcel has to be looked up instead of sent.
    pub(super) fn looks_up(&self, parcel: &Parcel) -> bool {
        matches!(parcel.doubt, Doubt::Since(_))
    }

    /// A server that takes documents cannot tell which it has: a shard may be gone for ever. So that these do not stay for ever,
    /// too, they are sent in the end, and counted.
    pub(super) fn on_look_up_failed(
        &mut self,
        mut parcel: Parcel,
        problem: Problem,
        is_probe: bool,
        at: Moment,
    ) {
        parcel.failed_look_ups += 1;
        // What probes may be another frame each time.
        let failures = match self.health {
            Health::Down { attempt, .. } if is_probe => attempt,
            _ => parcel.failed_look_ups,
        };
        if failures >= MOST_LOOK_UPS {
            parcel.doubt = Doubt::Lasting;
            for frame in parcel.parts.frames() {
                self.remember_doubt(frame, parcel.doubt);
            }
        }
        if is_probe {
            self.on_down(parcel, problem, false, true, at);
        } else {
            self.later(parcel, at);
        }
    }

    /// The parcel, unless it may not be looked up yet.
    pub(super) fn waited_for_look_up(&mut self, parcel: Parcel, now: Instant) -> Option<Parcel> {
        match parcel.doubt {
            Doubt::Since(from) if from > now => {
                self.delayed.push((from, parcel));
                None
            }
            _ => Some(parcel),
        }
    }

    /// Documents in doubt were taken.
    pub(super) fn count_doubt(&mut self, parcel: &Parcel, documents: usize) {
        if parcel.doubt != Doubt::None {
            self.possible_duplicates += documents as u64;
        }
    }

    pub(super) fn doubt_from(&self, now: Instant) -> Doubt {
        match self.config.ids {
            Ids::RollOver {
                look_up_after: Some(after),
            } => Doubt::Since(now + after),
            Ids::RollOver { look_up_after: None } | Ids::OfTheServer => Doubt::Lasting,
            Ids::Ours => Doubt::None,
        }
    }

    /// The doubt about the documents of an answered parcel that are sent again for this reason.
    pub(super) fn doubt_left(&mut self, parcel: &Parcel, why: Option<&Problem>, at: Moment) -> Doubt {
        match (parcel.doubt, why) {
            (Doubt::Since(_), Some(why)) if why.kind == NO_LOOK_UP => Doubt::Lasting,
            // The server began with it, and does not know how that ended.
            (Doubt::None, Some(why)) if why.status >= 500 => {
                let doubt = self.doubt_from(at.now);
                for frame in parcel.parts.frames() {
                    self.remember_doubt(frame, doubt);
                }
                doubt
            }
            (Doubt::Since(_), _) => {
                if let Some(frame) = parcel.kept() {
                    self.doubts.remove(&frame);
                }
                Doubt::None
            }
            (doubt, _) => doubt,
        }
    }
}
