//! What happens to a body from the reader's hand to its last document's rest: the state machine of
//! the sink.
//!
//! Batches, frames read back from the spool, answers and confirmations of the disk enter; requests,
//! spool writes, dead letters and acks leave as [`Action`]s. Nothing here waits: times are
//! arguments, and [`Flight::next_deadline`] says when to ask again.
//!
//! - A batch goes out at once when a send slot is free and no frame waits in the spool. While frames
//!   wait, slots go to a frame and to a fresh batch by turns: the spool drains, and new lines are not
//!   kept back until it has; after a long outage the spool begins slowly ([`pace`]). Batches that find no slot go
//!   to the spool, newest first: when one has waited for 1 s, or when half of the memory is in use. A short burst costs no
//!   disk write.
//! - Documents of a request that ended without an answer, and that may be there under another index or id, are in doubt
//!   ([`doubts`]).
//! - What is still on its way after 1 s is copied to the spool and goes on ([`copies`]).
//! - Batches over their containers' share ([`Share::Over`]) wait with the frames, by turns with them: a
//!   batch within the shares finds a slot free, and goes to the spool only when no other is left to go.
//! - Documents answered with *retry* ride again after a delay: a short one and with others like them when the server
//!   took something of their body ([`riders`]), else in a body of their own after one that grows. While too many bytes
//!   wait for that, nothing new is sent.
//! - A body that is too large for the server is halved, and larger ones than that are halved before they are sent.
//! - A body that is refused as a whole for something in it is halved until the document is found, which
//!   is refused when other requests have passed since; until then it is taken for a fault of all requests.
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
//! - How many requests a host may have, and whether it is asked at all, [`super::hosts`] says. While others take
//!   requests, one that fails only loses its turn, and what one does not answer soon another one gets, too ([`requests`]).

mod action;
mod answers;
mod copies;
mod doubts;
mod lanes;
mod pace;
mod parcel;
mod refused;
mod requests;
mod riders;
mod status;
mod verdicts;
mod waiting;

use super::hosts::Hosts;
use super::response::{Problem, Verdicts};
use crate::config::WhenLettersFull;
use crate::flow::backoff::Backoff;
use crate::mutant::{self, Mutant};
use crate::record::{Ack, Batch, Body, Fate, FrameSeq, Origin, Share};
use crate::sink::settlement::{Settled, Settlement};
use lanes::Lanes;
use pace::Pace;
use parcel::{Parcel, Parts};
use refused::Stage;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub use action::{Action, Moment, Moved, ParcelId, Unsaved};
use doubts::Doubt;
pub use doubts::{Ids, NO_LOOK_UP, NOT_FOUND};
pub use lanes::Hold;
pub use requests::RequestId;
use waiting::Room;

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct FlightConfig {
    /// Hosts that take requests.
    pub hosts: usize,
    /// Requests unanswered at once, for each host, at the start.
    pub first_slots: usize,
    /// Requests unanswered at once, for each host, at most.
    pub max_in_flight: usize,
    /// Of the slots while both wait, so many percent are for what is not within a share, the others for new batches that are:
    /// 1 to 99.
    pub backlog_share: usize,
    /// gzip level of bodies that are made anew.
    pub compression: u8,
    /// Text of a body that is put together out of several, at most.
    pub body_bytes: u32,
    /// The budget of resident bytes. Half of it may be flying and a quarter may wait for another
    /// attempt, what was read back from the spool included; when half of it is used, waiting batches
    /// over their shares are spooled, when three quarters are, the others.
    pub memory: u64,
    /// Delays after failures.
    pub backoff: Backoff,
    /// A body that a host did not answer for so long goes to another one, too; none: never.
    pub hedge_after: Option<Duration>,
    /// Documents on hold leave for the lane of their index. False only to see what happens without: they ride again.
    pub lanes: bool,
    /// Bytes of a lane, at which no more is read for it.
    pub lane_bytes: u64,
    /// What becomes of refused documents that the dead-letter file has no room for.
    pub when_letters_full: WhenLettersFull,
    /// Bytes that the dead-letter file may hold.
    pub letter_bytes: u64,
    /// What keeps documents that are sent again from being there twice.
    pub ids: Ids,
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
    /// In a request, or in two.
    flying: BTreeMap<ParcelId, Parcel>,
    requests: BTreeMap<RequestId, requests::Request>,
    next_request: RequestId,
    hedged: u64,
    /// Documents that were taken in a poorer form, by form.
    poorer: [(&'static str, u64); 3],
    hosts: Hosts,
    /// What hosts said of their documents, not looked at yet: the next request goes out before that.
    answered: VecDeque<(Parcel, Verdicts)>,
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
    pace: Pace,
    /// The request that tries out a server that is down.
    probe: Option<ParcelId>,
    /// Requests that were answered item by item.
    passes: u64,
    /// When a document was taken last.
    taken_at: Option<Instant>,
    /// A body of more bytes (before compression) was too large for the server.
    largest: Option<u32>,
    /// Frames with a document that is suspected, and the passes when that began.
    suspects: BTreeMap<FrameSeq, u64>,
    /// Frames with documents in doubt.
    doubts: BTreeMap<FrameSeq, Doubt>,
    possible_duplicates: u64,
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
            hosts: Hosts::new(
                config.hosts,
                config.first_slots,
                config.max_in_flight,
                config.backoff,
            ),
            config,
            settlement: Settlement::default(),
            next_parcel: 0,
            fresh: VecDeque::new(),
            over: VecDeque::new(),
            loaded: VecDeque::new(),
            due: VecDeque::new(),
            delayed: Vec::new(),
            flying: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            hedged: 0,
            poorer: Stage::ALL.map(|stage| (stage.as_str(), 0)),
            answered: VecDeque::new(),
            writing: BTreeMap::new(),
            copies: BTreeMap::new(),
            copies_from: None,
            unsaved: Unsaved::default(),
            frames: VecDeque::new(),
            reading: None,
            lanes: Lanes::default(),
            health: Health::Up,
            pace: Pace::default(),
            probe: None,
            passes: 0,
            taken_at: None,
            largest: None,
            suspects: BTreeMap::new(),
            doubts: BTreeMap::new(),
            possible_duplicates: 0,
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
        self.pace.on_batch();
        let origin = Origin::Batch(batch.seq);
        let permit = batch.body.resident_bytes();
        if batch.body.documents() == 0 {
            self.actions.push_back(Action::Ack(Ack { batch: batch.seq }));
            self.release(permit, batch.share);
            return;
        }
        self.settlement.open(origin, batch.body.documents());
        let parts = Parts::one(origin, batch.body.documents());
        let mut parcel = self.parcel(parts, batch.body, true, (permit, batch.share), now);
        if batch.urgent {
            parcel.rest_by = now;
        }
        self.wait_for_slot(parcel);
    }

    /// A frame of so many bytes is in the spool: found at the start. `lane` is the index it was held for. What was in a request
    /// before it was spooled (`was_sent`), and not refused for its index, may be stored.
    pub fn on_frame_found(
        &mut self,
        frame: FrameSeq,
        lane: Option<&str>,
        bytes: u64,
        was_sent: bool,
        now: Instant,
    ) {
        match lane {
            None => {
                if was_sent {
                    self.remember_doubt(frame, self.doubt_from(now));
                }
                self.frames.push_back(frame);
            }
            Some(index) => self.lanes.on_found(index, frame, bytes, now),
        }
    }

    /// The spool evicted a frame to make room; it was never in flight.
    pub fn on_frame_evicted(&mut self, frame: FrameSeq, now: Instant) {
        self.frames.retain(|waiting| *waiting != frame);
        self.suspects.remove(&frame);
        self.doubts.remove(&frame);
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
                let parts = Parts::one(origin, body.documents());
                let mut parcel = self.parcel(parts, body, true, (0, Share::Over), now);
                parcel.suspected = self.suspects.get(&frame).copied();
                parcel.doubt = self.doubt_of(frame);
                // By an earlier agent, or by this one, perhaps.
                parcel.sent = true;
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
        self.suspect(frame, parcel.suspected);
        self.remember_doubt(frame, parcel.doubt);
        match lane {
            None => self.frames.push_back(frame),
            Some((index, problem)) => {
                let bytes = parcel.original().bytes.len() as u64;
                self.lanes.on_spooled(&index, (frame, bytes), problem, at.now);
            }
        }
        self.rest_whole(parcel, Fate::Spooled, at.now);
    }

    /// The process will end: nothing is read back any more, and what waits for another attempt goes
    /// to the spool. What is in memory besides is still sent.
    pub fn on_stop(&mut self) {
        self.phase = self.phase.max(Phase::Stopping);
    }

    /// The process ends: everything in memory goes to the spool, nothing more is sent. Answers that
    /// come later are not looked at: what they stored will be found as duplicates.
    pub fn on_shutdown(&mut self, at: Moment) {
        while let Some((parcel, verdicts)) = self.answered.pop_front() {
            self.on_verdicts(parcel, &verdicts, at);
        }
        self.phase = Phase::Saving;
        self.requests.clear();
        self.due.extend(std::mem::take(&mut self.flying).into_values());
        self.due.extend(self.delayed.drain(..).map(|(_, parcel)| parcel));
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self, at: Moment) -> Option<Action> {
        let now = at.now;
        self.polled = Some(now);
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            self.wake(now);
            let next = self
                .read(now)
                .or_else(|| self.hedge(at))
                .or_else(|| self.send(now));
            if next.is_some() {
                return next;
            }
            let Some((parcel, verdicts)) = self.answered.pop_front() else {
                break;
            };
            self.on_verdicts(parcel, &verdicts, at);
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
            .chain(self.hosts.next_deadline())
            .chain(self.hedge_due())
            .chain(self.pace_due())
            .chain(self.look_up_due())
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
        for (origin, documents, bytes) in parcel.sums() {
            self.rest(origin, fate, documents, bytes, now);
        }
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
                self.suspects.remove(&frame);
                self.doubts.remove(&frame);
                self.room.on_frame_done();
                self.actions.push_back(Action::FrameDone(frame));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
