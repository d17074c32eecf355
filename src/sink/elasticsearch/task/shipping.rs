//! What the sink's task does with what happens: batches, reports of the disks, answers and the wish
//! to stop enter; [`Order`]s leave. Ledger, status and budget are kept on the way.
//!
//! No socket, no thread, no clock, so that a simulator steps the same code as the task does: whoever
//! calls says what time it is ([`Clock`]), asks [`Shipping::poll`] until nothing is left to do, and
//! comes again at [`Shipping::next_deadline`]. What is to become of a document, `Flight` decides.

use super::audit::{self, Audits};
use super::status::Tally;
use crate::flow::budget::Budget;
use crate::record::{Ack, Batch};
use crate::sink::elasticsearch::alarms::{Alarm, Alarms};
use crate::sink::elasticsearch::client::{Answer, Bulk};
use crate::sink::elasticsearch::flight::{Action, Flight, FlightConfig, Health, Moment, RequestId, Unsaved};
use crate::sink::elasticsearch::hosts::HostId;
use crate::sink::elasticsearch::response::RequestVerdict;
use crate::sink::task as dead_letters;
use crate::spool::protocol as spool;
use crate::spool::segment::Found;
use crate::telemetry::board::{Board, SpoolOnRecord};
use crate::telemetry::ledger::DropReason;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long answers are waited for after the wish to stop.
const ANSWERS_WAIT: Duration = Duration::from_secs(2);
/// How long the disks are waited for after that.
const SAVE_WAIT: Duration = Duration::from_millis(1200);

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The monotonic clock.
    pub now: Instant,
    /// Since 1970.
    pub unix: Duration,
}

/// What the caller is to do.
#[derive(Debug)]
pub enum Order {
    /// Post the bytes; the answer goes to [`Shipping::on_answer`].
    Send {
        /// To be given back with the answer.
        request: RequestId,
        /// To whom.
        host: HostId,
        /// What to post.
        bulk: Bulk,
    },
    /// Ask which of these documents (index and id) are there; the answer goes to [`Shipping::on_answer`].
    LookUp {
        /// To be given back with the answer.
        request: RequestId,
        /// Whom.
        host: HostId,
        /// The documents, in the order of the verdicts.
        names: Vec<(String, String)>,
    },
    /// Forget this request.
    Forget(RequestId),
    /// Forget all requests that are not answered.
    Hush,
    /// For the spool; its reports go to [`Shipping::on_spool`].
    Spool(spool::Command),
    /// For the dead-letter file; its reports go to [`Shipping::on_dead_letter`].
    DeadLetter(dead_letters::Command),
    /// The reader may move its checkpoint.
    Ack(Ack),
    /// For the log.
    Tell(Alarm),
}

/// How the sink ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Every document that was handed over has come to rest.
    pub clean: bool,
    /// Source bytes that stay in the spool for the next start.
    pub spooled_bytes: u64,
    /// What could neither be sent nor saved; it is in the ledger as dropped, and its files are read
    /// again by the next start if they are still there.
    pub unsaved: Unsaved,
}

/// How far the end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Running,
    /// Answers are waited for until then.
    Stopping(Instant),
    /// The disks are waited for until then.
    Saving(Instant),
}

/// The sink but for its sockets, threads and clock.
pub struct Shipping {
    flight: Flight,
    budget: Arc<Budget>,
    board: Arc<Board>,
    batches_open: bool,
    phase: Phase,
    alarms: Alarms,
    tally: Tally,
    audits: Audits,
    random: u64,
    orders: VecDeque<Order>,
}

impl Shipping {
    /// A sink with nothing on its way. `seed` is any number: it jitters the delays.
    pub fn new(config: FlightConfig, budget: Arc<Budget>, board: Arc<Board>, seed: u64) -> Shipping {
        Shipping {
            flight: Flight::new(config),
            budget,
            board,
            batches_open: true,
            phase: Phase::Running,
            alarms: Alarms::default(),
            tally: Tally::new(),
            audits: Audits::default(),
            random: seed | 1,
            orders: VecDeque::new(),
        }
    }

    /// Frames that a former process left wait to be sent.
    pub fn recover(&mut self, found: Vec<Found>, now: Instant) {
        let bytes = found.iter().map(|frame| frame.source_bytes).sum();
        self.board.ledger().recover(bytes);
        for frame in found {
            let lane = frame.lane.as_deref();
            self.flight
                .on_frame_found(frame.sequence, lane, frame.len, frame.sent, now);
        }
    }

    /// A batch came from the reader.
    pub fn on_batch(&mut self, batch: Batch, clock: Clock) {
        self.tally.on_change();
        self.flight.on_batch(batch, clock.now);
    }

    /// No batch comes any more: the reader has ended.
    pub fn on_batches_ended(&mut self, clock: Clock) {
        self.batches_open = false;
        self.on_stop(clock);
    }

    /// The process is to end: what is in memory is still sent, answers are waited for while the server
    /// is up, at most 2 s; then everything goes to the spool, at most 1.2 s more.
    pub fn on_stop(&mut self, clock: Clock) {
        self.tally.on_change();
        if self.phase == Phase::Running {
            self.phase = Phase::Stopping(clock.now + ANSWERS_WAIT);
            self.flight.on_stop();
        }
    }

    /// A request was answered, or failed.
    pub fn on_answer(&mut self, request: RequestId, answer: Answer, clock: Clock) {
        self.tally.on_change();
        if let (Some(body), RequestVerdict::Items(verdicts)) = (self.flight.body(request), &answer.verdict) {
            self.tally
                .on_refusals(body, verdicts, clock.unix.as_millis() as u64);
        }
        if let (Some(body), Some(places)) = (self.flight.body(request), &answer.places) {
            let diverted = self.audits.end(body, places, clock.now);
            self.tally.on_diverted(&diverted);
            self.alarms.on_diverted(diverted);
        }
        let (dropped, stored_as_failed) = self.tally.on_answer(&answer);
        self.alarms.on_dropped_by_server(dropped);
        self.alarms.on_stored_as_failed(stored_as_failed);
        let at = self.moment(clock);
        if let Some(wait) = answer.retry_after {
            self.flight.on_retry_after(request, wait, at.now);
        }
        self.flight.on_answer(request, answer.verdict, at);
    }

    /// The spool has done something.
    pub fn on_spool(&mut self, report: spool::Report, clock: Clock) {
        self.tally.on_change();
        let at = self.moment(clock);
        match report {
            spool::Report::Appended { parcel, frame } => self.flight.on_spooled(parcel, frame, at),
            spool::Report::Frame {
                frame,
                body: Ok(body),
            } => self.flight.on_frame(frame, Some(body), at.now),
            spool::Report::Frame {
                frame,
                body: Err(lost),
            } => {
                self.board
                    .ledger()
                    .on_frame_lost(DropReason::DamagedFrame, lost.source_bytes);
                // An evicted frame that was asked for has nothing left to lose.
                self.board.spool().damaged += u64::from(lost.documents > 0);
                self.flight.on_frame(frame, None, at.now);
            }
            spool::Report::Evicted(lost) => {
                self.board
                    .ledger()
                    .on_frame_lost(DropReason::SpoolFull, lost.source_bytes);
                self.board.spool().evicted += 1;
                self.flight.on_frame_evicted(lost.sequence, at.now);
            }
            spool::Report::Size {
                bytes,
                frames,
                source_bytes,
                lost,
            } => {
                let mut status = self.board.spool();
                status.lost_on_record = Some(lost.map(|(reason, lost)| SpoolOnRecord {
                    reason: reason.as_str(),
                    frames: lost.frames,
                    documents: lost.documents,
                    source_bytes: lost.source_bytes,
                }));
                (status.bytes, status.frames, status.source_bytes) = (bytes, frames, source_bytes);
            }
            spool::Report::Closed => {}
        }
    }

    /// The dead-letter file has done something.
    pub fn on_dead_letter(&mut self, report: dead_letters::Report, clock: Clock) {
        self.tally.on_change();
        match report {
            dead_letters::Report::Appended {
                parcel,
                appended,
                bytes,
            } => {
                self.tally.on_dead_letter_bytes(bytes);
                let at = self.moment(clock);
                self.flight.on_dead_lettered(parcel, appended, at);
            }
            dead_letters::Report::Size { bytes } => self.tally.on_dead_letter_bytes(bytes),
            dead_letters::Report::Closed => {}
        }
    }

    /// The next thing to do, if there is one. To be asked after each event and at each deadline until
    /// nothing is left.
    pub fn poll(&mut self, clock: Clock) -> Option<Order> {
        self.advance(clock);
        loop {
            if let Some(order) = self.orders.pop_front() {
                return Some(order);
            }
            let at = self.moment(clock);
            match self.flight.poll(at) {
                Some(action) => {
                    self.tally.on_change();
                    if let Some(order) = self.order(action, clock.now) {
                        return Some(order);
                    }
                }
                None => {
                    self.budget.set_pressed(self.flight.is_pressed());
                    self.budget.set_ceiling(self.flight.ceiling());
                    if let Some(paused) = self.flight.take_paused() {
                        self.budget.set_paused(paused);
                    }
                    self.tell(clock.now, false);
                    return self.orders.pop_front();
                }
            }
        }
    }

    /// When to poll again although nothing has happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        let end = match self.phase {
            Phase::Running => None,
            Phase::Stopping(until) | Phase::Saving(until) => Some(until),
        };
        [self.tally.next_deadline(), end, self.flight.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the sink has ended: everything rests somewhere, or the time is over.
    pub fn is_done(&self, now: Instant) -> bool {
        let saved = !self.batches_open && self.flight.is_idle();
        match self.phase {
            Phase::Running => false,
            Phase::Stopping(_) => saved,
            Phase::Saving(until) => saved || now >= until,
        }
    }

    /// Whether the wish to stop has come.
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// [`Flight::is_behind`].
    pub fn is_behind(&self) -> bool {
        self.flight.is_behind()
    }

    /// The end. `rest`: batches that were handed over while nobody looked any more; they are lost like
    /// those in memory.
    pub fn end(mut self, rest: Vec<Batch>, now: Instant) -> (Ended, Vec<Alarm>) {
        for batch in rest {
            self.flight.on_batch(batch, now);
        }
        let unsaved = self.flight.unsaved();
        let spooled_bytes = {
            let mut ledger = self.board.ledger();
            ledger.on_unsaved(unsaved.bytes);
            ledger.spooled
        };
        self.tell(now, true);
        let ended = Ended {
            clean: unsaved == Unsaved::default(),
            spooled_bytes,
            unsaved,
        };
        let told = self.orders.into_iter().filter_map(|order| match order {
            Order::Tell(alarm) => Some(alarm),
            _ => None,
        });
        (ended, told.collect())
    }

    /// Goes on to saving when waiting for answers has no use, or has no time left.
    fn advance(&mut self, clock: Clock) {
        let Phase::Stopping(until) = self.phase else {
            return;
        };
        let down = *self.flight.health() != Health::Up;
        if clock.now >= until || down && !self.batches_open {
            let at = self.moment(clock);
            self.flight.on_shutdown(at);
            self.orders.push_back(Order::Hush);
            self.phase = Phase::Saving(clock.now + SAVE_WAIT);
        }
    }

    /// What an action asks of the outside; what it asks of ledger and budget is done here.
    fn order(&mut self, action: Action, now: Instant) -> Option<Order> {
        match action {
            Action::Send {
                request,
                host,
                looks_up: true,
                ..
            } => {
                let names = self.flight.body(request).map(audit::names_of).unwrap_or_default();
                return Some(Order::LookUp { request, host, names });
            }
            Action::Send {
                request,
                host,
                bytes,
                encoding,
                documents,
                inflated_len,
                looks_up: false,
            } => {
                self.tally.on_sent(bytes.len(), inflated_len);
                let bulk = Bulk {
                    bytes,
                    encoding,
                    documents,
                    audit: self.audits.begin(now),
                };
                return Some(Order::Send { request, host, bulk });
            }
            Action::Forget(request) => return Some(Order::Forget(request)),
            Action::Spool {
                parcel,
                body,
                lane,
                keep,
            } => {
                return Some(Order::Spool(spool::Command::Append {
                    parcel,
                    body,
                    lane,
                    keep,
                }));
            }
            Action::ReadFrame(frame) => return Some(Order::Spool(spool::Command::Read(frame))),
            Action::FrameDone(frame) => return Some(Order::Spool(spool::Command::Done(frame))),
            Action::DeadLetter { parcel, rows } => {
                return Some(Order::DeadLetter(dead_letters::Command::Append { parcel, rows }));
            }
            Action::Ack(ack) => return Some(Order::Ack(ack)),
            Action::Release { bytes, share } => {
                self.budget.set_ceiling(self.flight.ceiling());
                self.budget.give(bytes, share);
            }
            Action::Moved(moved) => {
                let mut ledger = self.board.ledger();
                ledger.on_moved(moved.origin, moved.fate, moved.documents, moved.bytes);
            }
        }
        None
    }

    /// Says what changed, and publishes the status now and then.
    fn tell(&mut self, now: Instant, last: bool) {
        let alarms = self.alarms.look(&self.flight, now);
        let urgent = last || !alarms.is_empty();
        self.orders.extend(alarms.into_iter().map(Order::Tell));
        if let Some(status) = self.tally.publish(&self.flight, now, urgent) {
            self.board.sink().clone_from(status);
            self.board.spool().full = self.flight.is_spool_full();
        }
    }

    fn moment(&mut self, clock: Clock) -> Moment {
        // xorshift: good enough to keep a fleet out of step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Moment {
            now: clock.now,
            unix: clock.unix.as_secs() as i64,
            random: self.random,
        }
    }
}

#[cfg(test)]
mod tests;
