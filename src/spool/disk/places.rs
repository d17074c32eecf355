//! Which segment a frame goes into: those of an index on hold (its *lane*) lie apart from all others.
//!
//! A blocked index may stay so for days, and a segment can be removed only when all its frames are done: one frame of a lane
//! in each segment would keep the whole spool from ever getting room again. So each place has a segment of its own that is
//! appended to: what no index holds back, each of the first lanes, and all further lanes together. A lane's segment is
//! smaller, and ends with its last frame.
//!
//! Room that is set aside for one place is nobody else's. Where a frame finds none, the segments of the other places are
//! closed, and give back what they do not use; where something may be evicted instead, a lane spares a common segment that is
//! half full, so that a spool that is always full is not cut into ever smaller segments. A part of the quota is for lanes alone:
//! when the spool is full, what is for them in the oldest segments can still move, and those segments can go.
//!
//! Nothing of this is on the disk but the lane in the header of each frame: a start finds the frames wherever they lie.

use super::{Active, Spool};
use crate::spool::index::{Plan, SegmentNumber};

/// Lanes with a segment of their own at the same time.
const OWN_MAX: usize = 8;

/// Whose segment.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// What no index holds back.
    #[default]
    Common,
    /// One index.
    Lane(String),
    /// All further indices.
    Lanes,
}

impl Spool {
    /// What is appended next is for this lane, or for none.
    pub(super) fn turn_to(&mut self, lane: Option<&str>) {
        let place = self.place_of(lane);
        if place == self.place {
            return;
        }
        let before = std::mem::replace(&mut self.place, place);
        if let Some(active) = self.active.take() {
            self.others.insert(before, active);
        }
        self.active = self.others.remove(&self.place);
    }

    fn place_of(&self, lane: Option<&str>) -> Place {
        let Some(lane) = lane else {
            return Place::Common;
        };
        let own = Place::Lane(lane.to_owned());
        let is_own = |place: &&Place| matches!(place, Place::Lane(_));
        let current = self.active.as_ref().map(|_| &self.place);
        let mut places = self.others.keys().chain(current).filter(is_own);
        if places.clone().any(|place| *place == own) || places.by_ref().count() < OWN_MAX {
            own
        } else {
            Place::Lanes
        }
    }

    /// Closes the segments of the other places for the room that they do not use, when that makes `plan` one that has `len`
    /// bytes. False when there is not so much.
    pub(super) fn seal_others(&mut self, plan: Plan, len: u64, free: u64) -> bool {
        let may_evict = matches!(plan, Plan::Evict(_)) && self.place != Place::Common;
        let has_room = |place: &Place, active: &Active| {
            let unused = active.allocated - active.confirmed;
            let is_spared = may_evict && *place == Place::Common && unused * 2 < active.allocated;
            unused > 0 && !is_spared
        };
        let with_room = self
            .others
            .iter()
            .filter(|(place, active)| has_room(place, active));
        let unused: u64 = with_room
            .map(|(_, active)| active.allocated - active.confirmed)
            .sum();
        if self.index.room(free, self.place != Place::Common) + unused < len {
            return false;
        }
        let has_room = |place: &Place, active: &mut Active| has_room(place, active);
        let closed: Vec<Active> = self
            .others
            .extract_if(.., has_room)
            .map(|(_, active)| active)
            .collect();
        let any = !closed.is_empty();
        closed.into_iter().for_each(|active| self.seal(active));
        any
    }

    /// Closes the segments of lanes in which nothing waits: their indices take documents again.
    pub(super) fn seal_idle_lanes(&mut self) {
        if self.place != Place::Common {
            self.turn_to(None);
        }
        let waits = |number: SegmentNumber| self.index.is_waiting(number);
        let is_idle = |place: &Place, active: &mut Active| *place != Place::Common && !waits(active.number);
        let closed: Vec<Active> = self
            .others
            .extract_if(.., is_idle)
            .map(|(_, active)| active)
            .collect();
        closed.into_iter().for_each(|active| self.seal(active));
    }

    /// Closes all segments.
    pub(super) fn seal_all(&mut self) {
        self.seal_active();
        let others = std::mem::take(&mut self.others);
        others.into_values().for_each(|active| self.seal(active));
    }
}
