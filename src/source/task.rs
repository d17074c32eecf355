//! The reader thread: directories and files of the node enter, batches and checkpoints leave.
//!
//! One loop: take notes (acks, saved checkpoints, changed directories, the stop), list what is due,
//! give every container instance its quantum of bytes, hand out what is closed, publish, wait. The
//! thread owns its tails, the hot path ([`Reader`]) and the tracker, so nothing here is locked or
//! atomic per line. Promises: nothing is read while the budget is used up or a batch waits for the
//! sink; a file's identity is durable before its stampless lines ship; a partial group is cut by time
//! only after the cut is durable.

mod audit;
mod checkpoints;
mod container;
mod deleted;
mod descriptors;
mod desk;
mod ending;
mod files;
mod identity;
mod instance;
mod listing;
mod shares;
mod status;

use self::container::Container;
use self::desk::Desk;
use self::shares::Shares;
use super::disk::LogFolders;
use crate::batch::Limits;
use crate::checkpoint::snapshot::{Checkpoint, Loaded};
use crate::codec::gzip::compressor;
use crate::config;
use crate::disk::Disk;
use crate::enrich::cache::Directory;
use crate::flow::budget::Budget;
use crate::mutant::{self, Mutant};
use crate::reader::Reader;
use crate::record::{Ack, Batch, Share};
use crate::sink::elasticsearch::encode::EncodeConfig;
use crate::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender};
use crate::sync::tokio::sync::mpsc::{self, error::TrySendError};
use crate::sync::{self, recv_timeout};
use crate::telemetry::board::Board;
use notify::RecommendedWatcher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hot files are polled this often; all polls fall on multiples of it, so that they share wake-ups.
const TICK: Duration = Duration::from_millis(100);
/// Checkpoints are saved this often while something changes.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// The status board is renewed this often while something changes.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Events of the watch ask for a listing at most this often.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Deleted files that only we hold are drained for so long when the process ends.
const DRAIN_LIMIT: Duration = Duration::from_millis(1_500);
/// So many pod directories may be made between two listings.
const MOST_BORN: usize = 10_000;
/// Open bodies with lines of deleted files are closed at most this often, while such files are still written to.
const URGENT_INTERVAL: Duration = Duration::from_millis(250);
/// A batch that waits for the sink's channel is offered again after this.
const BLOCKED_WAIT: Duration = Duration::from_millis(20);

/// What reaches the reader thread.
#[derive(Debug)]
pub enum Note {
    /// A batch is safe.
    Acked(Ack),
    /// A checkpoint was saved, or not.
    Saved {
        /// As it was asked for.
        number: u64,
        /// Whether it is durable.
        durable: bool,
    },
    /// A watched directory changed.
    Changed,
    /// The watch saw a directory of this name being made in `pod_logs_dir`.
    Born(String),
    /// The watch lost events.
    Overflow,
    /// Metadata changed.
    Metadata,
    /// Stop reading.
    Stop,
    /// The sink has ended: no ack comes any more.
    SinkEnded,
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The monotonic clock.
    pub now: Instant,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// What the reader thread is made of.
pub struct Setup {
    /// What to read, and how.
    pub source: config::Source,
    /// How long a new container waits for its metadata.
    pub metadata_wait: Duration,
    /// When a batch is full.
    pub limits: Limits,
    /// Bytes that a container may read within its share in one round, while the sink takes less than is written.
    pub round_bytes: u64,
    /// How documents look.
    pub encode: EncodeConfig,
    /// gzip level.
    pub compression: u8,
    /// Where the log files are.
    pub disk: Disk,
    /// What the last checkpoint knew.
    pub loaded: Loaded,
    /// Metadata of pods.
    pub directory: Arc<Directory>,
    /// Bytes in flight.
    pub budget: Arc<Budget>,
    /// The status board.
    pub board: Arc<Board>,
    /// To the sink.
    pub batches: mpsc::Sender<Batch>,
    /// To the checkpoint thread: ascending numbers, and what is to be saved.
    pub saves: Sender<(u64, Checkpoint)>,
    /// To ourselves, for the watch of directories; without it there is none.
    pub notes: Option<Sender<Note>>,
}

/// The reader thread.
pub struct Source {
    desk: Desk,
    containers: BTreeMap<Arc<str>, Box<Container>>,
    config: config::Source,
    budget: Arc<Budget>,
    batches: Option<mpsc::Sender<Batch>>,
    waiting: VecDeque<Batch>,
    saves: Sender<(u64, Checkpoint)>,
    notes: Option<Sender<Note>>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<String>,
    /// Pod directories that were made and of which no container was seen yet.
    born: BTreeSet<String>,
    rescan_at: Instant,
    root_problem: Option<String>,
    save_at: Instant,
    status_at: Instant,
    audit_at: Instant,
    /// The last turn in which descriptors were missing and none could be closed.
    crowded_turn: u64,
    metadata_version: u64,
    stopping: bool,
    sink_ended: bool,
    last_saves: u32,
}

impl Source {
    /// A thread that has read nothing yet.
    pub fn new(setup: Setup, now: Instant) -> Source {
        let Setup {
            source,
            limits,
            encode,
            compression,
            loaded,
            ..
        } = setup;
        let folders = LogFolders {
            disk: setup.disk,
            root: source.pod_logs_dir.clone(),
            containers_dir: source.containers_dir.clone(),
            docker_roots: source.docker_roots.clone(),
        };
        let layout = encode.layout.clone();
        let reader = Reader::new(encode, limits, compressor(compression), source.max_line as usize);
        let mut desk = Desk::new(folders, reader, layout, loaded, now, setup.board, setup.directory);
        desk.start_at_end &= source.start_at == config::StartAt::End;
        desk.max_open_files = source.max_open_files;
        desk.shares = Shares::new(setup.round_bytes, &source.rate_limit);
        desk.partial_idle = source.partial_idle;
        desk.metadata_wait = setup.metadata_wait;
        desk.rescan_interval = source.rescan_interval;
        Source {
            desk,
            containers: BTreeMap::new(),
            config: source,
            budget: setup.budget,
            batches: Some(setup.batches),
            waiting: VecDeque::new(),
            saves: setup.saves,
            notes: setup.notes,
            watcher: None,
            watched: BTreeSet::new(),
            born: BTreeSet::new(),
            rescan_at: now,
            root_problem: None,
            save_at: now,
            status_at: now,
            audit_at: now,
            crowded_turn: 0,
            metadata_version: 0,
            stopping: false,
            sink_ended: false,
            last_saves: 0,
        }
    }

    /// Runs until it is told to stop and the sink has ended, then saves the last checkpoint.
    pub fn run(setup: Setup, notes: &Receiver<Note>) {
        Source::new(setup, clock().now).serve(notes);
    }

    fn serve(mut self, notes: &Receiver<Note>) {
        self.start_watch();
        while !self.stopping {
            self.turn(clock());
            match recv_timeout(notes, self.wait(clock().now)) {
                Ok(note) => self.on_note(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(note) = notes.try_recv() {
                self.on_note(note);
            }
        }
        let deadline = clock().now + DRAIN_LIMIT;
        self.begin_drain(clock());
        while self.drain_turn(clock()) && self.desk.now < deadline {}
        self.close_batch();
        while let Some(batch) = self.waiting.pop_front() {
            // Fails only when the sink is gone; the batch is unacked then, and will be read again.
            if let Some(batches) = &self.batches {
                let _ = batches.blocking_send(batch);
            }
        }
        self.hang_up();
        while !self.sink_ended {
            match notes.recv() {
                Ok(note) => self.on_note(note),
                Err(_) => return,
            }
        }
        while self.wants_last_save(clock()) {
            match notes.recv() {
                Ok(note) => self.on_note(note),
                Err(_) => return,
            }
        }
        status::publish(&mut self.containers, &self.desk, &self.budget);
    }

    /// Something was said to the thread.
    pub fn on_note(&mut self, note: Note) {
        match note {
            Note::Acked(ack) => {
                self.desk.shares.rounds.on_acked(ack.batch);
                let files = self.desk.tracker.on_ack(ack.batch);
                self.desk.on_acked(&files);
            }
            Note::Saved { number, durable } => {
                self.desk.on_saved(number, durable);
                for container in self
                    .containers
                    .values_mut()
                    .filter(|container| container.waits_for_save())
                {
                    container.wake(self.desk.now);
                }
            }
            Note::Changed => self.rescan_at = self.rescan_at.min(self.desk.now + EVENT_INTERVAL),
            Note::Born(name) => {
                self.rescan_at = self.rescan_at.min(self.desk.now + EVENT_INTERVAL);
                if self.born.len() < MOST_BORN {
                    self.born.insert(name);
                }
            }
            Note::Overflow => {
                self.desk.counts.forced_rescans += 1;
                self.rescan_at = self.desk.now;
                self.containers.values_mut().for_each(|each| each.must_list());
            }
            // The turn looks at the directory's version.
            Note::Metadata => {}
            Note::Stop => self.stopping = true,
            Note::SinkEnded => self.sink_ended = true,
        }
    }

    /// One turn: everything that is due now.
    pub fn turn(&mut self, clock: Clock) {
        self.desk.begin_turn(clock);
        if self.rescan_at <= self.desk.now {
            self.rescan();
        }
        self.refresh_metadata();
        self.offer();
        self.desk
            .keep_shares(self.config.fair && self.budget.is_pressed());
        self.desk.paused.set(self.budget.paused());
        let mut blocked = !self.may_read();
        let due: Vec<Arc<str>> = self.due();
        for path in due {
            blocked = blocked || !self.may_read();
            let over_has_room = self.budget.has_room(Share::Over);
            self.desk.shares.set_over_has_room(over_has_room);
            if let Some(container) = self.containers.get_mut(&path)
                && (!blocked || container.is_due(self.desk.now))
            {
                container.poll(&mut self.desk, !blocked);
                self.collect();
                self.make_room(&path);
            }
        }
        self.desk.blocked = blocked;
        if self.desk.reader.is_urgent() && self.desk.close_urgent_at <= self.desk.now {
            self.desk.close_urgent_at = self.desk.now + URGENT_INTERVAL;
            self.desk.reader.close_batch();
        }
        self.desk.reader.poll(self.desk.now);
        self.collect();
        self.audit_when_due();
        self.save_when_due();
        self.publish();
    }

    /// Containers whose poll is due, beginning after the one that was last served: when the budget
    /// ends in the middle of a turn, the next turn goes on with the others.
    fn due(&mut self) -> Vec<Arc<str>> {
        let now = self.desk.now;
        // Who got nothing for want of room does not wait for the next tick when there is room again.
        let room = self.may_read() && !mutant::is(Mutant::RoomUnnoticed);
        let due = self.containers.iter();
        let due = due.filter(|(_, container)| container.is_due(now) || room && container.waits_for_room);
        let mut due: Vec<Arc<str>> = due.map(|(path, _)| Arc::clone(path)).collect();
        let first = due
            .iter()
            .position(|path| *path > self.desk.last_served)
            .unwrap_or(0);
        due.rotate_left(first);
        self.deleted_first(&mut due);
        due
    }

    fn may_read(&self) -> bool {
        self.waiting.is_empty() && self.budget.has_room(Share::Within)
    }

    /// Takes closed batches from the hot path and offers them to the sink.
    fn collect(&mut self) {
        for handout in self.desk.reader.take_ready() {
            self.desk
                .tracker
                .on_handed_out(handout.batch.seq, &handout.ranges);
            self.desk.tracker.on_joined(handout.joined);
            self.desk.handed_out += handout.batch.body.source_bytes();
            let Batch { seq, share, body, .. } = &handout.batch;
            self.desk.shares.rounds.on_handed_out(*seq, *share);
            self.budget.take(body.resident_bytes(), *share);
            self.waiting.push_back(handout.batch);
        }
        // Before the sink can move them on, the ledger must know them.
        if !self.waiting.is_empty() {
            self.publish_ledger();
            self.offer();
        }
    }

    fn offer(&mut self) {
        let Some(batches) = &self.batches else { return };
        while let Some(batch) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(batch) | TrySendError::Closed(batch)) = batches.try_send(batch) {
                self.waiting.push_front(batch);
                return;
            }
        }
    }

    /// How long nothing needs to be done unless a note comes.
    pub fn wait(&self, now: Instant) -> Duration {
        if self.desk.blocked {
            return BLOCKED_WAIT;
        }
        let polls = self.containers.values().map(|container| container.next_poll);
        let save = self.desk.save_wanted().then_some(self.save_at);
        let status = self.desk.active.then_some(self.status_at);
        let deadlines = polls
            .chain([self.rescan_at, self.audit_at])
            .chain(self.desk.reader.next_deadline())
            .chain(self.desk.reader.is_urgent().then_some(self.desk.close_urgent_at))
            .chain(save)
            .chain(status);
        let next = deadlines.min().unwrap_or(self.rescan_at);
        next.saturating_duration_since(now)
    }

    fn refresh_metadata(&mut self) {
        let version = self.desk.directory.version();
        if version != self.metadata_version {
            self.metadata_version = version;
            for container in self.containers.values_mut() {
                container.on_metadata(&mut self.desk);
            }
        }
    }

    fn save_when_due(&mut self) {
        let desk = &self.desk;
        if !desk.save_wanted() || (desk.now < self.save_at && !desk.save_hurries()) {
            return;
        }
        self.save_at = desk.now + SAVE_INTERVAL;
        // The checkpoint thread lives longer than this one.
        let _ = self.save();
    }

    /// Asks for a checkpoint; an error when nobody is there to save it.
    fn save(&mut self) -> Result<(), SendError<(u64, Checkpoint)>> {
        let checkpoint = Checkpoint {
            entries: checkpoints::entries(&mut self.containers, &mut self.desk),
            losses: self.desk.losses.clone(),
        };
        self.saves.send((self.desk.begin_save(), checkpoint))
    }

    fn publish(&mut self) {
        self.publish_ledger();
        let due = self.status_at <= self.desk.now && self.desk.active;
        if due || self.rescan_at == self.desk.now + self.desk.rescan_interval {
            self.status_at = self.desk.now + STATUS_INTERVAL;
            self.desk.active = false;
            status::publish(&mut self.containers, &self.desk, &self.budget);
        } else {
            status::publish_life(&self.desk);
        }
    }

    fn publish_ledger(&mut self) {
        let held = self.containers.values().map(|each| each.held_bytes()).sum();
        self.desk.publish_ledger(held);
    }
}

fn clock() -> Clock {
    Clock {
        now: sync::now(),
        unix_ms: sync::unix().as_millis() as u64,
    }
}

#[cfg(test)]
mod tests;
