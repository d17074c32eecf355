//! What happens to a body from the reader's hand to its last document's rest: the state machine of
//! the sink.
//!
//! Batches, frames read back from the spool, answers and confirmations of the disk enter; requests,
//! spool writes, dead letters and acks leave as [`Action`]s. Nothing here waits: times are
//! arguments, and [`Flight::next_deadline`] says when to ask again.
//!
//! - A batch goes out at once when a send slot is free and nothing older waits in the spool; else it
//!   goes to the spool.
//! - Documents answered with *retry* ride again in a body of their own, after a delay.
//! - Documents on *hold* leave for a side body in the spool, under the name of their index: that
//!   lane has its own timer and is probed with one frame at a time, so one blocked index never stops
//!   the others.
//! - When a whole request fails, one body is kept to probe the server and all others go to the
//!   spool.
//!
//! Not done here: re-sending refused documents in reduced form, a breaker per host, a limiter.

mod verdicts;

use super::response::{Problem, RequestVerdict};
use crate::flow::backoff::Backoff;
use crate::record::{Ack, Batch, Body, Fate};
use crate::sink::settlement::{FrameSeq, Origin, Settled, Settlement};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a full spool is left alone before the next try.
const SPOOL_FULL_PAUSE: Duration = Duration::from_secs(1);

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct FlightConfig {
    /// Requests unanswered at once.
    pub max_in_flight: usize,
    /// gzip level of bodies that are made anew.
    pub compression: u8,
    /// Delays after failures.
    pub backoff: Backoff,
}

/// Number of a body on its way.
pub type ParcelId = u64;

/// A body on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    id: ParcelId,
    origin: Origin,
    body: Body,
    /// Attempts that ended in item-level retries.
    attempt: u32,
    /// Share of the memory budget.
    permit: u64,
}

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
    /// Post the body; answer with [`Flight::on_answer`].
    Send {
        /// To be given back with the answer.
        parcel: ParcelId,
        /// What to post.
        body: Body,
    },
    /// Write the body to the spool; answer with [`Flight::on_spooled`] after the sync.
    Spool {
        /// To be given back.
        parcel: ParcelId,
        /// What to write.
        body: Body,
        /// The index on hold, for a side body.
        lane: Option<String>,
    },
    /// Read a frame; answer with [`Flight::on_frame`].
    ReadFrame(FrameSeq),
    /// The frame is delivered.
    FrameDone(FrameSeq),
    /// Append the rows to the dead-letter file; answer with [`Flight::on_dead_lettered`] after the
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
    Release(u64),
    /// Enter this in the ledger.
    Moved(Moved),
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

/// An index on hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane {
    frames: VecDeque<FrameSeq>,
    until: Instant,
    attempt: u32,
    /// Why it is held.
    pub problem: Problem,
}

impl Lane {
    /// Frames that wait.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }
}

/// What waits for the disk.
#[derive(Debug)]
enum Writing {
    Spool { parcel: Parcel, lane: Option<(String, Problem)> },
    DeadLetter { parcel: Parcel, rows: Vec<u8> },
}

/// The sink's state machine.
#[derive(Debug)]
pub struct Flight {
    config: FlightConfig,
    settlement: Settlement,
    next_parcel: ParcelId,
    ready: VecDeque<Parcel>,
    delayed: Vec<(Instant, Parcel)>,
    flying: HashMap<ParcelId, Parcel>,
    writing: HashMap<ParcelId, Writing>,
    /// Dead letters that found the file full.
    stuck: Vec<(Instant, Parcel, Vec<u8>)>,
    frames: VecDeque<FrameSeq>,
    reading: HashMap<FrameSeq, Option<String>>,
    /// Which lane a frame probes.
    probes: HashMap<FrameSeq, String>,
    lanes: BTreeMap<String, Lane>,
    health: Health,
    spool_full_until: Option<Instant>,
    actions: VecDeque<Action>,
    shutting_down: bool,
}

impl Flight {
    /// A sink with nothing on its way.
    pub fn new(config: FlightConfig) -> Flight {
        Flight {
            config,
            settlement: Settlement::default(),
            next_parcel: 0,
            ready: VecDeque::new(),
            delayed: Vec::new(),
            flying: HashMap::new(),
            writing: HashMap::new(),
            stuck: Vec::new(),
            frames: VecDeque::new(),
            reading: HashMap::new(),
            probes: HashMap::new(),
            lanes: BTreeMap::new(),
            health: Health::Up,
            spool_full_until: None,
            actions: VecDeque::new(),
            shutting_down: false,
        }
    }

    /// A batch came from the reader; its budget share is its resident size.
    pub fn on_batch(&mut self, batch: Batch) {
        let origin = Origin::Batch(batch.seq);
        self.settlement.open(origin, batch.body.documents());
        let permit = batch.body.resident_bytes();
        let parcel = self.parcel(origin, batch.body, permit);
        self.ready.push_back(parcel);
    }

    /// A frame is in the spool and unsent: found at the start, or written by another hand. `lane`
    /// is the index it was held for.
    pub fn on_frame_found(&mut self, frame: FrameSeq, lane: Option<String>, now: Instant) {
        match lane {
            None => self.frames.push_back(frame),
            Some(lane) => self.lane_of(&lane, now).frames.push_back(frame),
        }
    }

    /// The spool evicted a frame to make room; it was never in flight.
    pub fn on_frame_evicted(&mut self, frame: FrameSeq) {
        self.frames.retain(|waiting| *waiting != frame);
        for lane in self.lanes.values_mut() {
            lane.frames.retain(|waiting| *waiting != frame);
        }
        self.lanes.retain(|_, lane| !lane.frames.is_empty());
    }

    /// A frame was read, or is damaged (`None`; the spool has counted it).
    pub fn on_frame(&mut self, frame: FrameSeq, body: Option<Body>) {
        self.reading.remove(&frame);
        match body {
            Some(body) => {
                let origin = Origin::Frame(frame);
                self.settlement.open(origin, body.documents());
                let parcel = self.parcel(origin, body, 0);
                self.ready.push_front(parcel);
            }
            None => {
                self.probes.remove(&frame);
            }
        }
    }

    /// A spool write ended: the frame's number after the sync, or `None` when there is no room.
    pub fn on_spooled(&mut self, parcel: ParcelId, frame: Option<FrameSeq>, now: Instant) {
        let Some(Writing::Spool { parcel, lane }) = self.writing.remove(&parcel) else { return };
        let Some(frame) = frame else {
            self.spool_full_until = Some(now + SPOOL_FULL_PAUSE);
            match lane {
                Some(_) => self.delayed.push((now + SPOOL_FULL_PAUSE, parcel)),
                None => self.ready.push_back(parcel),
            }
            return;
        };
        match lane {
            None => self.frames.push_back(frame),
            Some((lane, problem)) => {
                let lane = self.lane_of(&lane, now);
                lane.problem = problem;
                lane.frames.push_back(frame);
            }
        }
        self.rest(&parcel, Fate::Spooled, parcel.body.documents(), parcel.body.source_bytes());
        self.release(parcel.permit);
    }

    /// A dead-letter write ended: synced, or `false` when the file is full (the documents wait).
    pub fn on_dead_lettered(&mut self, parcel: ParcelId, written: bool, now: Instant) {
        let Some(Writing::DeadLetter { parcel, rows }) = self.writing.remove(&parcel) else { return };
        if written {
            self.rest(&parcel, Fate::DeadLettered, parcel.body.documents(), parcel.body.source_bytes());
            self.release(parcel.permit);
        } else {
            self.stuck.push((now + SPOOL_FULL_PAUSE, parcel, rows));
        }
    }

    /// A request was answered, or failed on the way (the shell turns transport errors into
    /// [`RequestVerdict::Retry`]). `random` jitters the delay, `unix` dates dead letters.
    pub fn on_answer(&mut self, parcel: ParcelId, verdict: RequestVerdict, now: Instant, unix: i64, random: u64) {
        let Some(parcel) = self.flying.remove(&parcel) else { return };
        match verdict {
            RequestVerdict::Items(verdicts) => {
                self.health = Health::Up;
                self.on_verdicts(parcel, &verdicts, now, unix, random);
            }
            RequestVerdict::Split(problem) => self.split(parcel, problem, unix),
            RequestVerdict::Retry(problem) => self.on_down(parcel, problem, false, now, random),
            RequestVerdict::Hold(problem) => self.on_down(parcel, problem, true, now, random),
        }
    }

    /// The process ends: everything in memory goes to the spool, nothing more is sent.
    pub fn on_shutdown(&mut self) {
        self.shutting_down = true;
        let flying: Vec<Parcel> = self.flying.drain().map(|(_, parcel)| parcel).collect();
        let delayed: Vec<Parcel> = self.delayed.drain(..).map(|(_, parcel)| parcel).collect();
        self.ready.extend(flying.into_iter().chain(delayed));
        self.spool_full_until = None;
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.wake(now);
        if self.shutting_down {
            return self.spool_one(0, now).or_else(|| self.actions.pop_front());
        }
        if self.may_send(now) {
            if let Some(parcel) = self.ready.pop_front() {
                let action = Action::Send { parcel: parcel.id, body: parcel.body.clone() };
                self.flying.insert(parcel.id, parcel);
                return Some(action);
            }
            if self.reading.is_empty()
                && let Some(frame) = self.frames.pop_front()
            {
                self.reading.insert(frame, None);
                return Some(Action::ReadFrame(frame));
            }
        }
        let keep = if self.is_down() { 1 } else { self.config.max_in_flight };
        self.spool_one(keep, now).or_else(|| self.actions.pop_front())
    }

    /// When [`Flight::poll`] has something new to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let delayed = self.delayed.iter().map(|(at, _)| *at);
        let stuck = self.stuck.iter().map(|(at, ..)| *at);
        let lanes = self.lanes.values().filter(|lane| !lane.frames.is_empty()).map(|lane| lane.until);
        let down = match &self.health {
            Health::Down { until, .. } => Some(*until),
            Health::Up => None,
        };
        delayed.chain(stuck).chain(lanes).chain(down).chain(self.spool_full_until).min()
    }

    /// True when nothing is in memory or on its way to the disk.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty()
            && self.delayed.is_empty()
            && self.flying.is_empty()
            && self.writing.is_empty()
            && self.stuck.is_empty()
            && self.reading.is_empty()
            && self.actions.is_empty()
    }

    /// Whether whole requests get through.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The indices on hold.
    pub fn lanes(&self) -> &BTreeMap<String, Lane> {
        &self.lanes
    }

    /// Requests without an answer.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }

    /// Frames that wait to be sent, those on hold aside.
    pub fn waiting_frames(&self) -> usize {
        self.frames.len() + self.reading.len()
    }

    fn is_down(&self) -> bool {
        matches!(self.health, Health::Down { .. })
    }

    fn may_send(&self, now: Instant) -> bool {
        match &self.health {
            Health::Up => self.flying.len() < self.config.max_in_flight,
            Health::Down { until, .. } => self.flying.is_empty() && *until <= now,
        }
    }

    /// Moves what has waited long enough.
    fn wake(&mut self, now: Instant) {
        if self.spool_full_until.is_some_and(|until| until <= now) {
            self.spool_full_until = None;
        }
        let due = |at: &Instant| *at <= now;
        while let Some(at) = self.delayed.iter().position(|(until, _)| due(until)) {
            let (_, parcel) = self.delayed.swap_remove(at);
            self.ready.push_front(parcel);
        }
        while let Some(at) = self.stuck.iter().position(|(until, ..)| due(until)) {
            let (_, parcel, rows) = self.stuck.swap_remove(at);
            self.write_dead_letter(parcel, rows);
        }
        for (name, lane) in &mut self.lanes {
            if lane.until <= now
                && let Some(frame) = lane.frames.pop_front()
            {
                // Far enough away that the answer comes first; the answer sets the real time.
                lane.until = now + Backoff::SERVER.cap * 5;
                self.probes.insert(frame, name.clone());
                self.frames.push_front(frame);
            }
        }
    }

    /// Spools the newest waiting body when more than `keep` wait for a slot.
    fn spool_one(&mut self, keep: usize, now: Instant) -> Option<Action> {
        let full = self.spool_full_until.is_some_and(|until| until > now);
        if full || self.ready.len() <= keep {
            return None;
        }
        let parcel = self.ready.pop_back()?;
        if let Origin::Frame(frame) = parcel.origin {
            // It is on disk already: it only has to be read again.
            self.settlement.abandon(parcel.origin);
            self.frames.push_front(frame);
            self.release(parcel.permit);
            return self.actions.pop_front();
        }
        Some(self.write_spool(parcel, None))
    }

    fn write_spool(&mut self, parcel: Parcel, lane: Option<(String, Problem)>) -> Action {
        let name = lane.as_ref().map(|(name, _)| name.clone());
        let action = Action::Spool { parcel: parcel.id, body: parcel.body.clone(), lane: name };
        self.writing.insert(parcel.id, Writing::Spool { parcel, lane });
        action
    }

    fn write_dead_letter(&mut self, parcel: Parcel, rows: Vec<u8>) {
        self.actions.push_back(Action::DeadLetter { parcel: parcel.id, rows: rows.clone() });
        self.writing.insert(parcel.id, Writing::DeadLetter { parcel, rows });
    }

    fn on_down(&mut self, parcel: Parcel, problem: Problem, hold: bool, now: Instant, random: u64) {
        let attempt = match &self.health {
            Health::Down { attempt, .. } => attempt + 1,
            Health::Up => 1,
        };
        let until = now + self.config.backoff.delay(attempt, random);
        self.health = Health::Down { until, attempt, problem, hold };
        self.ready.push_front(parcel);
    }

    fn lane_of(&mut self, name: &str, now: Instant) -> &mut Lane {
        self.lanes.entry(name.to_owned()).or_insert_with(|| Lane {
            frames: VecDeque::new(),
            until: now,
            attempt: 0,
            problem: Problem { status: 0, kind: String::new(), reason: String::new() },
        })
    }

    fn parcel(&mut self, origin: Origin, body: Body, permit: u64) -> Parcel {
        self.next_parcel += 1;
        Parcel { id: self.next_parcel, origin, body, attempt: 0, permit }
    }

    fn release(&mut self, bytes: u64) {
        if bytes > 0 {
            self.actions.push_back(Action::Release(bytes));
        }
    }

    /// Documents of a parcel came to rest: ledger, settlement, and what follows from it.
    fn rest(&mut self, parcel: &Parcel, fate: Fate, documents: usize, bytes: u64) {
        let origin = parcel.origin;
        self.actions.push_back(Action::Moved(Moved { origin, fate, documents: documents as u64, bytes }));
        match self.settlement.settle(origin, fate, documents) {
            Some(Settled::Batch(ack)) => self.actions.push_back(Action::Ack(ack)),
            Some(Settled::Frame(frame)) => {
                self.spool_full_until = None;
                self.actions.push_back(Action::FrameDone(frame));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
