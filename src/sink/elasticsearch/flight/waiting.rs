//! What waits in memory: which body is sent or read next, and which is pushed out to the spool.

use super::copies::REST_WAIT;
use super::verdicts::Apart;
use super::{Action, Flight, Health, Moment, Parcel, ParcelId, Phase, Writing};
use crate::record::{FrameSeq, Keep, Share};
use crate::sink::elasticsearch::hosts::HostId;
use crate::sink::elasticsearch::response::Problem;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a full spool is left alone before the next try.
pub(super) const FULL_PAUSE: Duration = Duration::from_secs(1);

/// So long after an eviction more of them are expected.
const EVICTION_PAUSE: Duration = Duration::from_secs(10);

/// Bodies that wait for another attempt before nothing new is sent, however small they are.
const MAX_DELAYED: usize = 256;

/// Whether the spool takes bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// As far as is known.
    Open,
    /// It refused one.
    Full {
        /// When to try again.
        until: Instant,
    },
    /// It refused one a while ago: one body at a time may try. When none wants to, it is open again.
    Trying,
}

impl Room {
    /// A body found no room.
    pub(super) fn full(now: Instant) -> Room {
        Room::Full {
            until: now + FULL_PAUSE,
        }
    }

    /// A frame was delivered: that may have made room.
    pub(super) fn on_frame_done(&mut self) {
        if *self != Room::Open {
            *self = Room::Trying;
        }
    }

    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Room::Full { until } => Some(until),
            Room::Open | Room::Trying => None,
        }
    }
}

impl Flight {
    /// Every parcel in memory.
    pub(super) fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        self.in_memory().chain(self.writing.values().map(Writing::parcel))
    }

    /// Every parcel but those that wait for the disk.
    pub(super) fn in_memory(&self) -> impl Iterator<Item = &Parcel> {
        let fresh = self.fresh.iter().chain(&self.over);
        let waiting = fresh.chain(&self.loaded).chain(&self.due);
        let delayed = self.delayed.iter().map(|(_, parcel)| parcel);
        let answered = self.answered.iter().map(|(parcel, _)| parcel);
        let known = self.flying.values().chain(answered);
        waiting.chain(delayed).chain(known)
    }

    pub(super) fn in_memory_mut(&mut self, id: ParcelId) -> Option<&mut Parcel> {
        let fresh = self.fresh.iter_mut().chain(&mut self.over);
        let waiting = fresh.chain(&mut self.loaded).chain(&mut self.due);
        let delayed = self.delayed.iter_mut().map(|(_, parcel)| parcel);
        let answered = self.answered.iter_mut().map(|(parcel, _)| parcel);
        let known = self.flying.values_mut().chain(answered);
        let mut all = waiting.chain(delayed).chain(known);
        all.find(|parcel| parcel.id == id)
    }

    /// Moves what has waited long enough.
    pub(super) fn wake(&mut self, now: Instant) {
        self.hosts.wake(now);
        if self.room.until().is_some_and(|until| until <= now) {
            self.room = Room::Trying;
        }
        while let Some(at) = self.delayed.iter().position(|(until, _)| *until <= now) {
            let (_, parcel) = self.delayed.remove(at);
            self.due.push_back(parcel);
        }
    }

    /// Another attempt, after a delay that grows with the attempts.
    pub(super) fn later(&mut self, mut parcel: Parcel, at: Moment) {
        if self.phase == Phase::Saving {
            self.due.push_back(parcel);
            return;
        }
        parcel.attempt += 1;
        let until = at.now + self.config.backoff.delay(parcel.attempt, at.random);
        self.delayed.push((until, parcel));
    }

    /// Reads one frame ahead of the next free slot, and only when nothing was read ahead before.
    pub(super) fn read(&mut self, now: Instant) -> Option<Action> {
        let wanted = match self.health {
            Health::Up => !self.is_congested(),
            Health::Down { .. } => self.has_slot(now) && self.waiting() == 0,
        };
        if self.phase != Phase::Running || self.reading.is_some() || !self.loaded.is_empty() || !wanted {
            return None;
        }
        // One that probes goes at any time.
        if self.is_up() && !self.pace.may_go(now) {
            return None;
        }
        let frame = self.next_frame(now)?;
        self.pace.on_frame();
        self.reading = Some(frame);
        Some(Action::ReadFrame(frame))
    }

    /// Sends the next body when a slot is free: one that was sent before, else a fresh one and one
    /// from the spool by turns.
    pub(super) fn send(&mut self, now: Instant) -> Option<Action> {
        if self.phase == Phase::Saving || !self.has_slot(now) {
            return None;
        }
        let mut parcel = loop {
            let parcel = match self.due.pop_front() {
                Some(parcel) => parcel,
                None if self.is_up() && self.is_congested() => return None,
                None => self.next_unsent()?,
            };
            let ready = self.waited_for_look_up(parcel, now);
            match ready.and_then(|parcel| self.fitting(parcel)) {
                Some(parcel) => break self.with_others(parcel),
                None => continue,
            }
        };
        if !self.is_up() {
            self.probe = Some(parcel.id);
        }
        let host = self.host_for(&parcel, now);
        let action = self.post(&parcel, host, false, now);
        parcel.sent = true;
        self.flying.insert(parcel.id, parcel);
        Some(action)
    }

    /// Pushes bodies out to the spool: all when the process ends or the server is down, else those
    /// that have no hope of a slot soon.
    pub(super) fn spill(&mut self, now: Instant) {
        if self.phase == Phase::Saving || !self.is_up() {
            self.put_frames_back(now);
        }
        while self.spool_may_take()
            && let Some(parcel) = self.next_to_spill(now)
        {
            if let Some(parcel) = self.leave(parcel, now) {
                let action = self.write_spool(parcel, None);
                self.actions.push_back(action);
            }
        }
        let waits = self.waiting() > 0 || !self.delayed.is_empty() || !self.copies.is_empty();
        let needed = waits || self.is_spooling();
        if self.room == Room::Trying && !needed {
            self.room = Room::Open;
        }
    }

    /// A body found the spool full.
    pub(super) fn on_no_room(&mut self, parcel: Parcel, lane: Option<(String, Problem)>, at: Moment) {
        self.room = Room::full(at.now);
        if let (Some((index, problem)), Some(frame)) = (&lane, parcel.kept()) {
            // The lane may have ended meanwhile.
            let until = at.now + self.config.backoff.delay(1, at.random);
            self.lanes.on_held(index, problem, until);
            self.stay(index, frame, &parcel, at.now);
            return self.release(parcel.permit, parcel.share);
        }
        if let Some((index, _)) = &lane {
            self.lanes.on_not_spooled(index);
        }
        if self.phase == Phase::Saving {
            self.unsaved.add(&parcel);
            self.release(parcel.permit, parcel.share);
        } else if lane.is_some() {
            self.later(parcel, at);
        } else {
            self.wait_again(parcel);
        }
    }

    /// A body stays in memory after all.
    pub(super) fn wait_again(&mut self, parcel: Parcel) {
        if parcel.attempt == 0 && parcel.whole {
            self.wait_for_slot(parcel);
        } else {
            self.due.push_back(parcel);
        }
    }

    pub(super) fn write_spool(&mut self, parcel: Parcel, lane: Option<(String, Problem)>) -> Action {
        let index = lane.as_ref().map(|(index, _)| index.clone());
        let keep = match (parcel.sent, parcel.share) {
            // It lies in the spool already: nothing has to leave for it.
            _ if lane.is_some() && parcel.kept().is_some() => Keep::Copy,
            (true, _) => Keep::Sent,
            (false, Share::Within) => Keep::Within,
            (false, Share::Over) => Keep::Unsent,
        };
        let action = Action::Spool {
            parcel: parcel.id,
            body: parcel.original().clone(),
            lane: index,
            keep,
        };
        self.writing.insert(parcel.id, Writing::Spool { parcel, lane });
        action
    }

    /// A frame that was read and not sent, or not answered, goes back to its place.
    pub(super) fn put_back(&mut self, frame: FrameSeq, now: Instant) {
        // To the end: the next probe of a server that is down is another frame.
        if !self.lanes.on_probe_put_back(frame, now) {
            self.frames.push_back(frame);
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.health == Health::Up
    }

    /// Whether a request may go out: a slot and bytes are left, or it is time to probe.
    fn has_slot(&self, now: Instant) -> bool {
        match self.health {
            Health::Up => {
                let bytes: u64 = self
                    .flying
                    .values()
                    .map(|parcel| parcel.body.resident_bytes())
                    .sum();
                let fits = self.flying.is_empty() || bytes < self.config.memory / 2;
                fits && self.hosts.next(now, None).is_some()
            }
            Health::Down { until, .. } => self.flying.is_empty() && until <= now,
        }
    }

    /// When a frame may be read that may not now.
    pub(super) fn pace_due(&self) -> Option<Instant> {
        let waits = self.waiting_frames() > 0 || self.lanes.has_frames();
        self.pace.next_deadline().filter(|_| waits && self.is_up())
    }

    /// The parcel, unless the server is known to take it for too large; then its halves are due.
    fn fitting(&mut self, parcel: Parcel) -> Option<Parcel> {
        let is_too_large = self
            .largest
            .is_some_and(|largest| parcel.body.inflated_len > largest);
        if !is_too_large || parcel.body.documents() <= 1 {
            return Some(parcel);
        }
        match Apart::new(&parcel.body, self.config.compression) {
            Ok(apart) => self.halve(&parcel, &apart),
            Err(_) => return Some(parcel),
        }
        None
    }

    /// Another host than that which did not answer it, if there is one; when all are left alone, the one that failed
    /// longest ago.
    fn host_for(&self, parcel: &Parcel, now: Instant) -> HostId {
        let another = self.hosts.next(now, parcel.failed_on);
        let any = another.or_else(|| self.hosts.next(now, None));
        any.unwrap_or_else(|| self.hosts.least_recently_failed())
    }

    /// Too much waits for another attempt: the server has no capacity, or we have no room.
    fn is_congested(&self) -> bool {
        let bytes: u64 = self
            .delayed
            .iter()
            .map(|(_, parcel)| parcel.body.resident_bytes())
            .sum();
        bytes > self.config.memory / 4 || self.delayed.len() >= MAX_DELAYED
    }

    /// Bodies that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.fresh.len() + self.over.len() + self.loaded.len() + self.due.len()
    }

    /// A batch was never sent and stays in memory.
    pub(super) fn wait_for_slot(&mut self, parcel: Parcel) {
        match parcel.share {
            Share::Within => self.fresh.push_back(parcel),
            Share::Over => self.over.push_back(parcel),
        }
    }

    /// A batch within the shares or another body, as `backlog_share` divides the slots; of the others by
    /// turns a frame and a batch over its share. Of three slots or more, the last is not for the others, so that
    /// a batch within the shares finds one free.
    fn next_unsent(&mut self) -> Option<Parcel> {
        let slots = self.hosts.slots();
        let is_last = self.flying.len() + 1 >= slots && slots > 2;
        let others = !(is_last && self.is_up());
        let share = self.config.backlog_share;
        let others_turn = self.others_credit >= 100 - share;
        if !(others && others_turn)
            && let Some(parcel) = self.fresh.pop_front()
        {
            self.others_credit = (self.others_credit + share).min(100);
            return Some(parcel);
        }
        if !others {
            return None;
        }
        self.others_credit = self.others_credit.saturating_sub(100 - share);
        if (self.frames_turn || self.over.is_empty())
            && let Some(frame) = self.loaded.pop_front()
        {
            self.frames_turn = false;
            return Some(frame);
        }
        if let Some(parcel) = self.over.pop_front() {
            self.frames_turn = true;
            return Some(parcel);
        }
        self.fresh.pop_front()
    }

    /// The next frame to read: the probe of a lane whose time has come, else the oldest.
    fn next_frame(&mut self, now: Instant) -> Option<FrameSeq> {
        if self.is_up()
            && let Some(frame) = self.lanes.start_probe(now)
        {
            return Some(frame);
        }
        let oldest = self.frames.front().copied();
        let frame = self.lanes.pop_open(oldest).or_else(|| self.pop_frame(now));
        // Only held lanes are left to see whether the server is back.
        frame.or_else(|| {
            if self.is_up() {
                None
            } else {
                self.lanes.start_any_probe()
            }
        })
    }

    pub(super) fn is_spooling(&self) -> bool {
        self.writing
            .values()
            .any(|writing| matches!(writing, Writing::Spool { .. }))
    }

    pub(super) fn spool_may_take(&self) -> bool {
        match self.room {
            Room::Open => true,
            Room::Trying => self.phase == Phase::Saving || !self.is_spooling() && self.copies.is_empty(),
            Room::Full { .. } => self.phase == Phase::Saving,
        }
    }

    fn next_to_spill(&mut self, now: Instant) -> Option<Parcel> {
        let any = |flight: &mut Flight| {
            let fresh = flight.over.pop_back().or_else(|| flight.fresh.pop_back());
            fresh
                .or_else(|| flight.due.pop_back())
                .or_else(|| flight.delayed.pop().map(|(_, parcel)| parcel))
        };
        if self.phase == Phase::Saving {
            return any(self);
        }
        if !self.is_up() {
            // One body stays to probe, unless the spool has one for that.
            let keep =
                usize::from(self.frames.is_empty() && self.reading.is_none() && !self.lanes.has_frames());
            return if self.waiting() + self.delayed.len() > keep {
                any(self)
            } else {
                None
            };
        }
        let permits: u64 = self.parcels().map(|parcel| parcel.permit).sum();
        let is_due = |queue| self.late(queue).is_some_and(|due| due <= now);
        if permits >= self.config.memory / 2 && !self.over.is_empty() || is_due(&self.over) {
            return self.over.pop_back();
        }
        if (permits >= self.config.memory / 4 * 3 || is_due(&self.fresh))
            && !self.keeps_fresh(now)
            && let Some(parcel) = self.fresh.pop_back()
        {
            return Some(parcel);
        }
        if self.phase == Phase::Stopping {
            self.delayed.pop().map(|(_, parcel)| parcel)
        } else {
            None
        }
    }

    /// While the spool gives up what is oldest, nothing within its share goes there: what is spooled then is what somebody
    /// loses. It waits in memory, and reading stops when that is full.
    fn keeps_fresh(&self, now: Instant) -> bool {
        self.phase == Phase::Running && self.evicted.is_some_and(|at| now < at + EVICTION_PAUSE)
    }

    /// When a fresh batch has waited long enough, and all but the next few go.
    pub(super) fn spill_due(&self) -> Option<Instant> {
        let kept = self.evicted.map(|at| at + EVICTION_PAUSE);
        let fresh = self
            .late(&self.fresh)
            .max(kept.filter(|_| !self.fresh.is_empty()));
        [fresh, self.late(&self.over)].into_iter().flatten().min()
    }

    fn late(&self, queue: &VecDeque<Parcel>) -> Option<Instant> {
        let oldest = queue.front().filter(|_| queue.len() > self.config.max_in_flight);
        oldest.map(|parcel| parcel.since + REST_WAIT)
    }

    /// Whole frames go back: they are on disk already and only have to be read again.
    fn put_frames_back(&mut self, now: Instant) {
        let is_kept = |parcel: &Parcel| parcel.kept().is_some();
        let mut leaving = Vec::new();
        for queue in [&mut self.loaded, &mut self.due, &mut self.over, &mut self.fresh] {
            let (kept, stays) = std::mem::take(queue).into_iter().partition(is_kept);
            *queue = stays;
            leaving.push(kept);
        }
        let delayed = self.delayed.extract_if(.., |(_, parcel)| is_kept(parcel));
        leaving.push(delayed.map(|(_, parcel)| parcel).collect());
        for parcel in leaving.into_iter().flatten() {
            self.leave(parcel, now);
        }
    }
}
