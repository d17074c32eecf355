//! Bodies that stay in memory while a copy of them goes to the spool.
//!
//! A body that does not come to rest holds back the checkpoint of its files (it has one offset for each), and with it all
//! that is delivered behind it: after a crash everything would be sent again. So a body that is still on its way
//! [`REST_WAIT`] after it came, and at once one with lines of deleted files, is copied. When the copy is synced the batch
//! is acked, and the body goes on as if it had been read back from the spool: whatever becomes of its documents settles
//! the frame. The same is done with the parts of a frame that was taken apart: the frame is done then. So what is sent again
//! after a crash is bounded by what came within that time and one interval of the checkpoints.
//!
//! The body keeps its part of the memory budget until it leaves. A copy is never evicted, and nothing is evicted for it: where
//! there is no room another one tries a second later. When the body is answered before its copy is synced, the copy has no
//! use, and is done at once.

use super::waiting::{FULL_PAUSE, Room};
use super::{Action, Flight, Moment, Parcel, ParcelId, Parts, Phase};
use crate::mutant::{self, Mutant};
use crate::record::{Body, Fate, FrameSeq, Keep, Origin};
use std::time::{Duration, Instant};

/// A body that came so long ago and rests nowhere is copied: the interval of the checkpoints.
pub(super) const REST_WAIT: Duration = Duration::from_secs(1);

/// Copies on their way to the disk, for each request that may be under way: they are not part of the memory budget once their
/// bodies are answered.
const COPIES_PER_SLOT: usize = 2;

impl Flight {
    /// Begins the copies that are due.
    pub(super) fn copy(&mut self, now: Instant) {
        while self.phase != Phase::Saving
            && self.spool_may_take()
            && self.copies.len() < COPIES_PER_SLOT * self.config.max_in_flight
            && self
                .copies_from
                .is_none_or(|from| from <= now && self.copies.is_empty())
            && let Some((id, body)) = self.next_to_copy(now)
        {
            self.next_parcel += 1;
            let copy = self.next_parcel;
            self.copies.insert(copy, id);
            self.actions.push_back(Action::Spool {
                parcel: copy,
                body,
                lane: None,
                keep: Keep::Copy,
            });
        }
    }

    fn next_to_copy(&self, now: Instant) -> Option<(ParcelId, Body)> {
        let due = self.uncopied().find(|parcel| parcel.rest_by <= now)?;
        Some((due.id, due.original().clone()))
    }

    /// When the next copy is due.
    pub(super) fn copy_due(&self) -> Option<Instant> {
        let due = self.uncopied().map(|parcel| parcel.rest_by).min()?;
        Some(self.copies_from.map_or(due, |from| from.max(due)))
    }

    /// Bodies that rest nowhere, or are parts of a frame; and of which no copy is being made.
    fn uncopied(&self) -> impl Iterator<Item = &Parcel> {
        let uncopied = |parcel: &&Parcel| {
            let kept = parcel.kept().is_some();
            !kept && !self.copies.values().any(|of| *of == parcel.id)
        };
        let any = !mutant::is(Mutant::CopyForgotten);
        self.in_memory().filter(uncopied).filter(move |_| any)
    }

    /// Whether the last copy found no room.
    pub fn are_copies_refused(&self) -> bool {
        self.copies_from.is_some()
    }

    /// A body leaves memory: it lies in the spool already, or its copy is on the way there. Gives it back otherwise.
    pub(super) fn leave(&mut self, parcel: Parcel, now: Instant) -> Option<Parcel> {
        if let Some(frame) = parcel.kept() {
            self.settlement.abandon(Origin::Frame(frame));
            self.put_back(frame, now);
            self.release(parcel.permit, parcel.share);
            return None;
        }
        let copy = self.copies.iter().find(|(_, of)| **of == parcel.id);
        let Some(copy) = copy.map(|(copy, _)| *copy) else {
            return Some(parcel);
        };
        self.copies.remove(&copy);
        self.writing
            .insert(copy, super::Writing::Spool { parcel, lane: None });
        None
    }

    /// A copy is synced under this number, or found no room. False when it is none.
    pub(super) fn on_copied(&mut self, copy: ParcelId, frame: Option<FrameSeq>, at: Moment) -> bool {
        let Some(id) = self.copies.remove(&copy) else {
            return false;
        };
        let Some(frame) = frame else {
            self.copies_from = Some(at.now + FULL_PAUSE);
            return true;
        };
        (self.room, self.copies_from) = (Room::Open, None);
        let Some(parcel) = self.in_memory_mut(id) else {
            if !mutant::is(Mutant::UselessCopyKept) {
                self.actions.push_back(Action::FrameDone(frame));
            }
            return true;
        };
        let documents = parcel.body.documents();
        let before: Vec<_> = parcel.sums().collect();
        parcel.parts = Parts::one(Origin::Frame(frame), documents);
        parcel.whole = true;
        let doubt = parcel.doubt;
        self.settlement.open(Origin::Frame(frame), documents);
        self.remember_doubt(frame, doubt);
        for (origin, documents, bytes) in before {
            self.rest(origin, Fate::Spooled, documents, bytes, at.now);
        }
        true
    }
}
