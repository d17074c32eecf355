//! What happens to a body from the reader's hand to its last document's rest: the state machine of
//! the sink.
//!
//! Batches, frames read back from the spool, answers and confirmations of the disk enter; requests,
//! spool writes, dead letters and acks leave as [`Action`]s. Nothing here waits: times are
//! arguments, and [`Flight::next_deadline`] says when to ask again.
//!
//! - A batch goes out at once when a send slot is free and no frame waits in the spool. While frames
//!   wait, slots go to a frame and to a fresh batch by turns: the spool drains, and new lines are not
//!   kept back until it has. Batches that find no slot go to the spool, newest first: when one has
//!   waited for 1 s, or when half of the memory is in use. A short burst costs no disk write.
//! - What is still on its way after 1 s is copied to the spool and goes on ([`copies`]).
//! - Batches over their containers' share ([`Share::Over`]) wait with the frames, by turns with them: a
//!   batch within the shares finds a slot free, and goes to the spool only when no other is left to go.
//! - Documents answered with *retry* ride again in a body of their own, after a delay. While too
//!   many bytes wait for that, nothing new is sent.
//! - Documents on *hold* leave for a side body in the spool, under the name of their index: that
//!   lane has its own timer and is probed with one frame at a time, so one blocked index never stops
//!   the others.
//! - When a whole request fails, the server is *down*: everything in memory goes to the spool (a
//!   frame is only put back), and after the backoff one body probes. Each probe takes another body,
//!   so that one that the way cannot bear (a proxy's filter) does not stop the rest for ever.
//! - A document that finds spool or dead-letter file full waits in memory, in its share of the
//!   budget, and rides again after a delay: the reader stops when the budget is used up.
//!
//! A frame may go back to its place in the spool only while it is *whole*: as soon as one document
//! of it rests, the others move into frames of their own, or they would be counted twice.
//!
//! Not done here: re-sending refused documents in reduced form, a breaker per host, a limiter.

mod action;
mod copies;
mod lanes;
mod status;
mod verdicts;
mod waiting;

use super::response::{Problem, RequestVerdict};
use crate::flow::backoff::Backoff;
use crate::mutant::{self, Mutant};
use crate::record::{Ack, Batch, Body, Fate, FrameSeq, Origin, Share};
use crate::sink::settlement::{Settled, Settlement};
use lanes::Lanes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

pub use action::{Action, Moment, Moved, ParcelId, Unsaved};
pub use lanes::Hold;
use waiting::Room;

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct FlightConfig {
    /// Requests unanswered at once.
    pub max_in_flight: usize,
    /// Of the slots while both wait, so many percent are for what is not within a share, the others for new batches that are:
    /// 1 to 99.
    pub backlog_share: usize,
    /// gzip level of bodies that are made anew.
    pub compression: u8,
    /// The budget of resident bytes. Half of it may be flying and a quarter may wait for another
    /// attempt, what was read back from the spool included; when half of it is used, waiting batches
    /// over their shares are spooled, when three quarters are, the others.
    pub memory: u64,
    /// Delays after failures.
    pub backoff: Backoff,
}

/// A body on its way.
#[derive(Clone, Debug)]
struct Parcel {
    id: ParcelId,
    origin: Origin,
    body: Body,
    /// All documents of the origin, none of which rests anywhere.
    whole: bool,
    /// Attempts that left these documents where they are.
    attempt: u32,
    /// Some server may know these documents: they were in a request.
    sent: bool,
    /// Its part of the memory budget; none for what came from the spool.
    permit: u64,
    /// Whose part that is.
    share: Share,
    /// When it came into memory.
    since: Instant,
    /// When it is to rest somewhere, or else to have a copy in the spool.
    rest_by: Instant,
}

/// Whether whole requests get through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// The last answer was an item list, or nothing was sent yet.
    Up,
    /// The last request failed as a whole.
    Down {
        /// When the next probe goes out.
        until: Instant,
        /// Failures in a row.
        attempt: u32,
        /// The last failure.
        problem: Problem,
        /// A fault of configuration, which time alone does not heal.
        hold: bool,
    },
}

/// What waits for the disk.
#[derive(Debug)]
enum Writing {
    Spool {
        parcel: Parcel,
        lane: Option<(String, Problem)>,
    },
    DeadLetter(Parcel),
}

impl Writing {
    fn parcel(&self) -> &Parcel {
        match self {
            Writing::Spool { parcel, .. } | Writing::DeadLetter(parcel) => parcel,
        }
    }
}

/// How far the end of the process is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Running,
    Stopping,
    Saving,
}

/// The sink's state machine.
#[derive(Debug)]
pub struct Flight {
    config: FlightConfig,
    settlement: Settlement,
    next_parcel: ParcelId,
    /// From the reader and not sent yet, oldest first: within their shares.
    fresh: VecDeque<Parcel>,
    /// From the reader and not sent yet, oldest first: over their shares.
    over: VecDeque<Parcel>,
    /// Read back from the spool and not sent since.
    loaded: VecDeque<Parcel>,
    /// Sent before: the next to go.
    due: VecDeque<Parcel>,
    /// Wait for another attempt.
    delayed: Vec<(Instant, Parcel)>,
    flying: BTreeMap<ParcelId, Parcel>,
    writing: BTreeMap<ParcelId, Writing>,
    /// Copies on their way to the spool, and of which parcel.
    copies: BTreeMap<ParcelId, ParcelId>,
    /// The last one found no room: none before this, and then one at a time until one does.
    copies_from: Option<Instant>,
    /// Found no place before the end of the process.
    unsaved: Unsaved,
    /// Frames that wait in the spool, those of lanes aside.
    frames: VecDeque<FrameSeq>,
    reading: Option<FrameSeq>,
    lanes: Lanes,
    health: Health,
    /// The request that tries out a server that is down.
    probe: Option<ParcelId>,
    /// What is not within a share (a frame, or a batch over its share) has saved up for slots, in percent of one.
    others_credit: usize,
    /// Whether the next one of these is a frame.
    frames_turn: bool,
    room: Room,
    dead_letter_full: bool,
    actions: VecDeque<Action>,
    phase: Phase,
    polled: Option<Instant>,
    /// When a frame was evicted last.
    evicted: Option<Instant>,
}

impl Flight {
    /// A sink with nothing on its way.
    pub fn new(config: FlightConfig) -> Flight {
        Flight {
            config,
            settlement: Settlement::default(),
            next_parcel: 0,
            fresh: VecDeque::new(),
            over: VecDeque::new(),
            loaded: VecDeque::new(),
            due: VecDeque::new(),
            delayed: Vec::new(),
            flying: BTreeMap::new(),
            writing: BTreeMap::new(),
            copies: BTreeMap::new(),
            copies_from: None,
            unsaved: Unsaved::default(),
            frames: VecDeque::new(),
            reading: None,
            lanes: Lanes::default(),
            health: Health::Up,
            probe: None,
            others_credit: 0,
            frames_turn: true,
            room: Room::Open,
            dead_letter_full: false,
            actions: VecDeque::new(),
            phase: Phase::Running,
            polled: None,
            evicted: None,
        }
    }

    /// A batch came from the reader; its budget share is its resident size.
    pub fn on_batch(&mut self, batch: Batch, now: Instant) {
        let origin = Origin::Batch(batch.seq);
        let permit = batch.body.resident_bytes();
        if batch.body.documents() == 0 {
            self.actions.push_back(Action::Ack(Ack { batch: batch.seq }));
            self.release(permit, batch.share);
            return;
        }
        self.settlement.open(origin, batch.body.documents());
        let mut parcel = self.parcel(origin, batch.body, true, (permit, batch.share), now);
        if batch.urgent {
            parcel.rest_by = now;
        }
        self.wait_for_slot(parcel);
    }

    /// A frame is in the spool and unsent: found at the start. `lane` is the index it was held for.
    pub fn on_frame_found(&mut self, frame: FrameSeq, lane: Option<&str>, now: Instant) {
        match lane {
            None => self.frames.push_back(frame),
            Some(index) => self.lanes.on_found(index, frame, now),
        }
    }

    /// The spool evicted a frame to make room; it was never in flight.
    pub fn on_frame_evicted(&mut self, frame: FrameSeq, now: Instant) {
        self.frames.retain(|waiting| *waiting != frame);
        self.lanes.on_gone(frame, now);
        self.evicted = Some(now);
    }

    /// A frame was read, or is damaged (`None`; the spool has counted it).
    pub fn on_frame(&mut self, frame: FrameSeq, body: Option<Body>, now: Instant) {
        if self.reading == Some(frame) {
            self.reading = None;
        }
        match body {
            None => self.lanes.on_gone(frame, now),
            Some(body) if body.documents() == 0 => {
                self.lanes.on_gone(frame, now);
                self.actions.push_back(Action::FrameDone(frame));
            }
            Some(_) if self.phase != Phase::Running => self.put_back(frame, now),
            Some(body) => {
                let origin = Origin::Frame(frame);
                self.settlement.open(origin, body.documents());
                let parcel = self.parcel(origin, body, true, (0, Share::Over), now);
                self.loaded.push_back(parcel);
            }
        }
    }

    /// A spool write ended: the frame's number after the sync, or `None` when there is no room.
    pub fn on_spooled(&mut self, written: ParcelId, frame: Option<FrameSeq>, at: Moment) {
        if self.on_copied(written, frame, at) {
            return;
        }
        let Some(Writing::Spool { parcel, lane }) = self.writing.remove(&written) else {
            return;
        };
        let Some(frame) = frame else {
            if parcel.id != written {
                // It was a copy, for which nothing is evicted: for the body itself that may be done.
                self.wait_again(parcel);
                return;
            }
            self.on_no_room(parcel, lane, at);
            return;
        };
        self.room = Room::Open;
        match lane {
            None => self.frames.push_back(frame),
            Some((index, problem)) => self.lanes.on_spooled(&index, frame, problem, at.now),
        }
        self.rest_whole(parcel, Fate::Spooled, at.now);
    }

    /// A dead-letter write ended: synced, or `false` when the file is full. Then the documents are
    /// sent again after a delay, to be refused again when there is room for them.
    pub fn on_dead_lettered(&mut self, parcel: ParcelId, written: bool, at: Moment) {
        let Some(Writing::DeadLetter(parcel)) = self.writing.remove(&parcel) else {
            return;
        };
        self.dead_letter_full = !written;
        if written {
            self.rest_whole(parcel, Fate::DeadLettered, at.now);
        } else {
            self.later(parcel, at);
        }
    }

    /// The body of a request that is not answered.
    pub fn body(&self, parcel: ParcelId) -> Option<&Body> {
        self.flying.get(&parcel).map(|parcel| &parcel.body)
    }

    /// A request was answered, or failed on the way (the shell turns transport errors into
    /// [`RequestVerdict::Retry`]).
    pub fn on_answer(&mut self, parcel: ParcelId, verdict: RequestVerdict, at: Moment) {
        let Some(parcel) = self.flying.remove(&parcel) else {
            return;
        };
        let is_probe = self.probe == Some(parcel.id);
        if is_probe {
            self.probe = None;
        }
        match verdict {
            RequestVerdict::Items(verdicts) => {
                self.health = Health::Up;
                self.on_verdicts(parcel, &verdicts, at);
            }
            RequestVerdict::Split(problem) => self.split(parcel, problem, at),
            RequestVerdict::Retry(problem) => self.on_down(parcel, problem, false, is_probe, at),
            RequestVerdict::Hold(problem) => self.on_down(parcel, problem, true, is_probe, at),
        }
    }

    /// The process will end: nothing is read back any more, and what waits for another attempt goes
    /// to the spool. What is in memory besides is still sent.
    pub fn on_stop(&mut self) {
        self.phase = self.phase.max(Phase::Stopping);
    }

    /// The process ends: everything in memory goes to the spool, nothing more is sent. Answers that
    /// come later are not looked at: what they stored will be found as duplicates.
    pub fn on_shutdown(&mut self) {
        self.phase = Phase::Saving;
        self.due.extend(std::mem::take(&mut self.flying).into_values());
        self.due.extend(self.delayed.drain(..).map(|(_, parcel)| parcel));
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        self.polled = Some(now);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.wake(now);
        if let Some(action) = self.read(now).or_else(|| self.send(now)) {
            return Some(action);
        }
        self.spill(now);
        self.copy(now);
        self.actions.pop_front()
    }

    /// When [`Flight::poll`] has something new to do. What could already be done by time alone when
    /// it was last asked waits for something else.
    pub fn next_deadline(&self) -> Option<Instant> {
        let delayed = self.delayed.iter().map(|(at, _)| *at);
        let down = match &self.health {
            Health::Down { until, .. } => Some(*until),
            Health::Up => None,
        };
        let all = delayed
            .chain(self.lanes.next_deadline())
            .chain(down)
            .chain(self.room.until())
            .chain(self.spill_due())
            .chain(self.copy_due());
        all.filter(|at| self.polled.is_none_or(|polled| *at > polled))
            .min()
    }

    /// True when nothing is in memory or on its way to the disk.
    pub fn is_idle(&self) -> bool {
        let still = self.copies.is_empty() && self.reading.is_none() && self.actions.is_empty();
        still && self.parcels().next().is_none()
    }

    fn on_down(&mut self, mut parcel: Parcel, problem: Problem, hold: bool, is_probe: bool, at: Moment) {
        let (until, attempt) = match &self.health {
            // A request that was sent before the server was known to be down tells nothing new.
            Health::Down { until, attempt, .. } if !is_probe => (*until, *attempt),
            health => {
                let attempt = if let Health::Down { attempt, .. } = health {
                    attempt + 1
                } else {
                    1
                };
                (at.now + self.config.backoff.delay(attempt, at.random), attempt)
            }
        };
        self.health = Health::Down {
            until,
            attempt,
            problem,
            hold,
        };
        parcel.attempt += 1;
        self.delayed.push((until, parcel));
    }

    fn parcel(
        &mut self,
        origin: Origin,
        body: Body,
        whole: bool,
        (permit, share): (u64, Share),
        since: Instant,
    ) -> Parcel {
        self.next_parcel += 1;
        Parcel {
            id: self.next_parcel,
            origin,
            body,
            whole,
            attempt: 0,
            sent: false,
            permit,
            share,
            since,
            rest_by: since + copies::REST_WAIT,
        }
    }

    /// Gives room back, before the ack of the same documents is handed out: the ack wakes the reader, and
    /// a reader that finds no room sleeps again.
    fn release(&mut self, bytes: u64, share: Share) {
        let release = Action::Release { bytes, share };
        match bytes {
            0 => {}
            _ if mutant::is(Mutant::AckBeforeRoom) => self.actions.push_back(release),
            _ => self.actions.push_front(release),
        }
    }

    /// All documents of a parcel came to rest.
    fn rest_whole(&mut self, parcel: Parcel, fate: Fate, now: Instant) {
        self.rest(
            parcel.origin,
            fate,
            parcel.body.documents(),
            parcel.body.source_bytes(),
            now,
        );
        self.release(parcel.permit, parcel.share);
    }

    /// Documents came to rest: ledger, settlement, and what follows from it.
    fn rest(&mut self, origin: Origin, fate: Fate, documents: usize, bytes: u64, now: Instant) {
        self.actions.push_back(Action::Moved(Moved {
            origin,
            fate,
            documents: documents as u64,
            bytes,
        }));
        match self.settlement.settle(origin, fate, documents) {
            Some(Settled::Batch(ack)) => self.actions.push_back(Action::Ack(ack)),
            Some(Settled::Frame(frame)) => {
                self.lanes.on_gone(frame, now);
                self.room.on_frame_done();
                self.actions.push_back(Action::FrameDone(frame));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
