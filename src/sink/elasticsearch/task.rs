//! The one tokio task of the sink: batches, reports of the disks, answers, deadlines and the wish to
//! stop enter; requests, commands, acks and entries of the ledger leave.
//!
//! It decides nothing: every event becomes one call of [`Flight`], and what that asks for is done.
//! Requests are futures inside this task, so that nothing outlives it.
//!
//! The end: when the wish to stop has come (or the reader has dropped its end of the channel), what
//! is in memory is still sent and answers are waited for, at most 2 s and only while the server is
//! up; then everything goes to the spool, at most 1.2 s more; what is left then is counted.

#![expect(
    clippy::disallowed_methods,
    reason = "the clock and the random numbers of the sink enter here"
)]

mod status;

use self::status::Tally;
use super::alarms::{Alarms, Severity};
use super::client::{Answer, Client};
use super::flight::{Action, Flight, FlightConfig, Health, Moment, ParcelId, Unsaved};
use super::response::RequestVerdict;
use crate::flow::budget::Budget;
use crate::record::{Ack, Batch};
use crate::sink::task as dead_letters;
use crate::spool::protocol as spool;
use crate::spool::segment::Found;
use crate::telemetry::board::Board;
use crate::telemetry::ledger::DropReason;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

/// How long answers are waited for after the wish to stop.
const ANSWERS_WAIT: Duration = Duration::from_secs(2);
/// How long the disks are waited for after that.
const SAVE_WAIT: Duration = Duration::from_millis(1200);

/// What the sink is connected to.
pub struct Wiring {
    /// Batches of the readers. Their budget share is taken, and the ledger knows of them, before they
    /// are sent here.
    pub batches: mpsc::Receiver<Batch>,
    /// To the spool's thread. When the sink ends it is dropped, which ends that thread.
    pub spool: std_mpsc::Sender<spool::Command>,
    /// From the spool's thread.
    pub spool_reports: mpsc::UnboundedReceiver<spool::Report>,
    /// To the dead-letter file's thread; dropped likewise.
    pub dead_letters: std_mpsc::Sender<dead_letters::Command>,
    /// From the dead-letter file's thread.
    pub dead_letter_reports: mpsc::UnboundedReceiver<dead_letters::Report>,
    /// Frames that the spool held at the start.
    pub found: Vec<Found>,
    /// Called for each batch that is done, in the sink's task: it must not wait.
    pub acked: Box<dyn FnMut(Ack) + Send>,
    /// Where permits go back to.
    pub budget: Arc<Budget>,
    /// Ledger and status.
    pub board: Arc<Board>,
    /// Becomes true when the process is to end.
    pub stop: watch::Receiver<bool>,
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

/// Everything that can happen to the sink.
enum Event {
    Batch(Option<Batch>),
    Spool(Option<spool::Report>),
    DeadLetter(Option<dead_letters::Report>),
    Answer(ParcelId, Answer),
    Deadline,
    Stop,
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

struct Task {
    client: Arc<Client>,
    flight: Flight,
    wiring: Wiring,
    requests: FuturesUnordered<BoxFuture<'static, (ParcelId, Answer)>>,
    batches_open: bool,
    spool_open: bool,
    dead_letters_open: bool,
    phase: Phase,
    alarms: Alarms,
    tally: Tally,
    random: u64,
}

/// Runs the sink until it is asked to stop. `seed` is any number: it jitters the delays.
pub async fn run(client: Client, config: FlightConfig, wiring: Wiring, seed: u64) -> Ended {
    let mut task = Task::new(client, config, wiring, seed);
    task.recover();
    loop {
        task.execute();
        task.tell(false);
        if task.is_done() {
            return task.end();
        }
        let event = task.next_event().await;
        task.on_event(event);
        task.advance();
    }
}

impl Task {
    fn new(client: Client, config: FlightConfig, wiring: Wiring, seed: u64) -> Task {
        Task {
            client: Arc::new(client),
            flight: Flight::new(config),
            wiring,
            requests: FuturesUnordered::new(),
            batches_open: true,
            spool_open: true,
            dead_letters_open: true,
            phase: Phase::Running,
            alarms: Alarms::default(),
            tally: Tally::new(),
            random: seed | 1,
        }
    }

    /// Frames that a former process left wait to be sent.
    fn recover(&mut self) {
        let now = Instant::now();
        let found = std::mem::take(&mut self.wiring.found);
        let bytes = found.iter().map(|frame| frame.source_bytes).sum();
        self.wiring.board.ledger().recover(bytes);
        for frame in found {
            self.flight
                .on_frame_found(frame.sequence, frame.lane.as_deref(), now);
        }
    }

    /// Waits for the next event.
    async fn next_event(&mut self) -> Event {
        let deadline = self.next_deadline().map(tokio::time::Instant::from_std);
        let Wiring {
            batches,
            spool_reports,
            dead_letter_reports,
            stop,
            ..
        } = &mut self.wiring;
        tokio::select! {
            Some((parcel, answer)) = self.requests.next() => Event::Answer(parcel, answer),
            report = spool_reports.recv(), if self.spool_open => Event::Spool(report),
            report = dead_letter_reports.recv(), if self.dead_letters_open => Event::DeadLetter(report),
            batch = batches.recv(), if self.batches_open => Event::Batch(batch),
            // A sender that is gone can ask for nothing any more: that is a wish to stop, too.
            _ = stop.wait_for(|stop| *stop), if self.phase == Phase::Running => Event::Stop,
            () = sleep_until(deadline) => Event::Deadline,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let end = match self.phase {
            Phase::Running => None,
            Phase::Stopping(until) | Phase::Saving(until) => Some(until),
        };
        [self.tally.next_deadline(), end, self.flight.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_event(&mut self, event: Event) {
        self.tally.on_change();
        match event {
            Event::Batch(Some(batch)) => self.flight.on_batch(batch, Instant::now()),
            Event::Batch(None) => {
                self.batches_open = false;
                self.on_stop();
            }
            Event::Spool(Some(report)) => self.on_spool(report),
            Event::Spool(None) => {
                self.spool_open = false;
                error!("the spool's thread has ended: nothing can be spooled any more");
            }
            Event::DeadLetter(Some(report)) => self.on_dead_letter(report),
            Event::DeadLetter(None) => {
                self.dead_letters_open = false;
                error!("the dead-letter file's thread has ended: refused documents have no place to go");
            }
            Event::Answer(parcel, answer) => self.on_answer(parcel, answer),
            Event::Stop => self.on_stop(),
            Event::Deadline => {}
        }
    }

    fn on_stop(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Stopping(Instant::now() + ANSWERS_WAIT);
            self.flight.on_stop();
        }
    }

    /// Goes on to saving when waiting for answers has no use, or has no time left.
    fn advance(&mut self) {
        let Phase::Stopping(until) = self.phase else {
            return;
        };
        let now = Instant::now();
        let down = *self.flight.health() != Health::Up;
        if now >= until || down && !self.batches_open {
            self.flight.on_shutdown();
            self.requests.clear();
            self.phase = Phase::Saving(now + SAVE_WAIT);
        }
    }

    fn is_done(&self) -> bool {
        let saved = !self.batches_open && self.flight.is_idle();
        match self.phase {
            Phase::Running => false,
            Phase::Stopping(_) => saved,
            Phase::Saving(until) => saved || Instant::now() >= until,
        }
    }

    fn end(mut self) -> Ended {
        // A batch that was sent while nobody looked any more is lost like those in memory.
        while let Ok(batch) = self.wiring.batches.try_recv() {
            self.flight.on_batch(batch, Instant::now());
        }
        let unsaved = self.flight.unsaved();
        let spooled_bytes = {
            let mut ledger = self.wiring.board.ledger();
            ledger.on_unsaved(unsaved.bytes);
            ledger.spooled
        };
        self.tell(true);
        Ended {
            clean: unsaved == Unsaved::default(),
            spooled_bytes,
            unsaved,
        }
    }

    fn on_answer(&mut self, parcel: ParcelId, answer: Answer) {
        if let (Some(body), RequestVerdict::Items(verdicts)) = (self.flight.body(parcel), &answer.verdict) {
            let at_ms = unix().as_millis() as u64;
            self.tally.on_refusals(body, verdicts, at_ms);
        }
        let dropped = self.tally.on_answer(&answer);
        self.alarms.on_dropped_by_server(dropped);
        let at = self.moment();
        self.flight.on_answer(parcel, answer.verdict, at);
    }

    fn on_spool(&mut self, report: spool::Report) {
        let at = self.moment();
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
                self.wiring
                    .board
                    .ledger()
                    .on_frame_lost(DropReason::DamagedFrame, lost.source_bytes);
                // An evicted frame that was asked for has nothing left to lose.
                self.wiring.board.spool().damaged += u64::from(lost.documents > 0);
                self.flight.on_frame(frame, None, at.now);
            }
            spool::Report::Evicted(lost) => {
                self.wiring
                    .board
                    .ledger()
                    .on_frame_lost(DropReason::SpoolFull, lost.source_bytes);
                self.wiring.board.spool().evicted += 1;
                self.flight.on_frame_evicted(lost.sequence, at.now);
            }
            spool::Report::Size {
                bytes,
                frames,
                source_bytes,
            } => {
                let mut status = self.wiring.board.spool();
                (status.bytes, status.frames, status.source_bytes) = (bytes, frames, source_bytes);
            }
            spool::Report::Closed => {}
        }
    }

    fn on_dead_letter(&mut self, report: dead_letters::Report) {
        if let dead_letters::Report::Appended {
            parcel,
            written,
            bytes,
        } = report
        {
            self.tally.on_dead_letter_bytes(bytes);
            let at = self.moment();
            self.flight.on_dead_lettered(parcel, written, at);
        }
    }

    /// Does all that the flight asks for.
    fn execute(&mut self) {
        while let Some(action) = self.flight.poll(Instant::now()) {
            self.tally.on_change();
            match action {
                Action::Send {
                    parcel,
                    bytes,
                    encoding,
                    documents,
                    inflated_len,
                } => {
                    self.tally.on_sent(bytes.len(), inflated_len);
                    let client = Arc::clone(&self.client);
                    let request = async move { (parcel, client.post(bytes, encoding, documents).await) };
                    self.requests.push(Box::pin(request));
                }
                Action::Spool { parcel, body, lane } => {
                    let at = self.moment();
                    if self
                        .wiring
                        .spool
                        .send(spool::Command::Append { parcel, body, lane })
                        .is_err()
                    {
                        self.flight.on_spooled(parcel, None, at);
                    }
                }
                // Without a thread nothing is read and nothing has to be marked: frames stay where they are.
                Action::ReadFrame(frame) => drop(self.wiring.spool.send(spool::Command::Read(frame))),
                Action::FrameDone(frame) => drop(self.wiring.spool.send(spool::Command::Done(frame))),
                Action::DeadLetter { parcel, rows } => {
                    let at = self.moment();
                    if self
                        .wiring
                        .dead_letters
                        .send(dead_letters::Command::Append { parcel, rows })
                        .is_err()
                    {
                        self.flight.on_dead_lettered(parcel, false, at);
                    }
                }
                Action::Ack(ack) => (self.wiring.acked)(ack),
                Action::Release(bytes) => self.wiring.budget.give(bytes),
                Action::Moved(moved) => {
                    let mut ledger = self.wiring.board.ledger();
                    ledger.on_moved(moved.origin, moved.fate, moved.documents, moved.bytes);
                }
            }
        }
    }

    /// Logs what changed, and publishes the status now and then.
    fn tell(&mut self, last: bool) {
        let now = Instant::now();
        let alarms = self.alarms.look(&self.flight, now);
        let urgent = last || !alarms.is_empty();
        for alarm in alarms {
            match alarm.severity {
                Severity::Alarm => error!("{}", alarm.text),
                Severity::Warning => warn!("{}", alarm.text),
                Severity::Relief => info!("{}", alarm.text),
            }
        }
        if let Some(status) = self.tally.publish(&self.flight, now, urgent) {
            self.wiring.board.sink().clone_from(status);
            self.wiring.board.spool().full = self.flight.is_spool_full();
        }
    }

    fn moment(&mut self) -> Moment {
        // xorshift: good enough to keep a fleet out of step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let unix = unix().as_secs() as i64;
        Moment {
            now: Instant::now(),
            unix,
            random: self.random,
        }
    }
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
