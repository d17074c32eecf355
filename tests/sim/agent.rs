//! The agent without threads, sockets and clock: the same `Source`, `Shipping`, `Spool`, checkpoints and dead letters
//! that `agent.rs` runs on threads, wired together by queues and stepped one at a time.

use crate::disk::{AgentDisk, STATE_DIR};
use longshore::batch::Limits;
use longshore::checkpoint::disk::CheckpointFolder;
use longshore::checkpoint::snapshot::Checkpoint;
use longshore::config::{Config, DocumentId, IndexPattern, JsonMode, LabelDots, MessageKey, MinFree};
use longshore::disk::Disk;
use longshore::enrich::cache::Directory;
use longshore::flow::backoff::Backoff;
use longshore::flow::budget::Budget;
use longshore::record::{Batch, Body, Encoding, Share};
use longshore::sink::disk::DeadLetterFile;
use longshore::sink::elasticsearch::client::Answer;
use longshore::sink::elasticsearch::encode::EncodeConfig;
use longshore::sink::elasticsearch::flight::{FlightConfig, Ids, RequestId};
use longshore::sink::elasticsearch::response::RequestVerdict;
use longshore::sink::elasticsearch::schema::Layout;
use longshore::sink::elasticsearch::task::shipping::{self, Order, Shipping};
use longshore::sink::task as dead_letters;
use longshore::source::task::{self as source, Note, Setup, Source};
use longshore::spool::disk::{Spool, turn};
use longshore::spool::index::{Quota, WhenFull};
use longshore::spool::losses::Reason;
use longshore::spool::protocol as spool;
use longshore::sync::mpsc::{Receiver, channel};
use longshore::sync::tokio::sync::mpsc;
use longshore::telemetry::board::Board;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What time it is for the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) now: Instant,
    pub(crate) unix: Duration,
}

impl Time {
    fn source(self) -> source::Clock {
        source::Clock {
            now: self.now,
            unix_ms: self.unix.as_millis() as u64,
        }
    }

    fn sink(self) -> shipping::Clock {
        shipping::Clock {
            now: self.now,
            unix: self.unix,
        }
    }
}

/// What differs between runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knobs {
    pub(crate) batch_bytes: u64,
    pub(crate) batch_documents: usize,
    pub(crate) memory: u64,
    pub(crate) spool_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) drop_oldest: bool,
    pub(crate) max_in_flight: usize,
    pub(crate) hosts: usize,
    /// How late the spool's thread is with its record of what is delivered.
    pub(crate) record_every: Duration,
    pub(crate) max_open_files: usize,
    pub(crate) max_line: u64,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_gzip: bool,
    pub(crate) documents: usize,
}

/// A running agent.
pub(crate) struct Agent {
    source: Source,
    notes: VecDeque<Note>,
    batches: mpsc::Receiver<Batch>,
    saves: Receiver<(u64, Checkpoint)>,
    /// Checkpoints that wait for the disk.
    saving: VecDeque<(u64, Checkpoint)>,
    folder: CheckpointFolder,
    shipping: Option<Shipping>,
    spool: Spool,
    spool_commands: VecDeque<spool::Command>,
    writes_lane: bool,
    spool_reports: VecDeque<spool::Report>,
    saved_delivered: Instant,
    record_every: Duration,
    letters: DeadLetterFile,
    letters_failing: bool,
    letter_commands: VecDeque<dead_letters::Command>,
    letter_reports: VecDeque<dead_letters::Report>,
    pub(crate) board: Arc<Board>,
    pub(crate) requests: VecDeque<Request>,
    /// Requests whose answers nobody waits for any more.
    pub(crate) forgotten: Vec<RequestId>,
    batches_ended: bool,
    /// A batch over its containers' shares came to the sink.
    pub(crate) over_share: bool,
    /// What was given to the spool since somebody looked.
    pub(crate) spooled: Vec<Body>,
    /// The spool had no room for something since somebody looked.
    pub(crate) refused: bool,
    /// The last checkpoint is durable.
    pub(crate) is_saved: bool,
    /// The disk did not give back a generation of the checkpoint at the start, however often it was asked.
    pub(crate) began_unread: bool,
    /// Fingerprint, inode and size of the files that the agents before knew: the inode may be another one's by now.
    pub(crate) of_before: BTreeSet<(u64, u64, u64)>,
}

/// An order in one line, for traces.
fn told(order: &Order) -> String {
    match order {
        Order::Send { request, bulk, .. } => format!("request {request} with {}", bulk.documents),
        Order::Spool(spool::Command::Append { parcel, body, .. }) => {
            let rows = body.rows.iter().map(|row| (row.start, row.source_bytes));
            format!("spool {parcel}: {:?}", rows.collect::<Vec<_>>())
        }
        Order::DeadLetter(dead_letters::Command::Append { parcel, rows }) => {
            format!("dead letter {parcel}: {} bytes", rows.len())
        }
        other => format!("{other:?}"),
    }
}

/// How far an orderly end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Draining,
    HandingOut,
    Shipping,
    Saving,
    Over,
}

impl Agent {
    /// Starts on what the disk holds, as `agent.rs` does.
    pub(crate) fn start(disk: Arc<AgentDisk>, knobs: Knobs, time: Time, seed: u64) -> io::Result<Agent> {
        let disk: Disk = disk;
        let state = Path::new(STATE_DIR);
        let mut config = Config::default();
        config.source.pod_logs_dir = "/var/log/pods".into();
        config.source.containers_dir = "/var/log/containers".into();
        config.source.partial_idle = Duration::from_secs(5);
        config.source.max_open_files = knobs.max_open_files;
        config.source.max_line = knobs.max_line;
        let folder = CheckpointFolder::open(&disk, state)?;
        let loaded = folder.load();
        for entry in &loaded.checkpoint.entries {
            tracing::debug!(
                "loaded {:x} at {} of {} ino {}",
                entry.fingerprint,
                entry.offset,
                entry.size,
                entry.ino
            );
        }
        for damage in &loaded.damage {
            tracing::debug!("loaded with damage: {damage}");
        }
        let of_before = loaded
            .checkpoint
            .entries
            .iter()
            .map(|entry| (entry.fingerprint, entry.ino, entry.size));
        let of_before = of_before.collect();
        let unreadable = loaded.damage.iter().any(|damage| damage.contains("os error"));
        let quota = Quota {
            max_bytes: knobs.spool_bytes,
            segment_bytes: knobs.segment_bytes,
            when_full: if knobs.drop_oldest {
                WhenFull::DropOldest
            } else {
                WhenFull::Block
            },
        };
        let (spool, recovered) = Spool::open(&disk, state, quota, MinFree::Bytes(0))?;
        let letters = DeadLetterFile::open(&disk, state, 1 << 30)?;
        let (to_sink, batches) = mpsc::channel(4);
        let (to_saver, saves) = channel();
        let budget = Arc::new(Budget::new(knobs.memory));
        let board = Arc::new(Board::default());
        let layout = Layout::Fluentd {
            message_key: MessageKey::Message,
            include_tag: false,
            label_dots: LabelDots::Replace,
        };
        let setup = Setup {
            source: config.source,
            metadata_wait: Duration::ZERO,
            limits: Limits {
                max_bytes: knobs.batch_bytes as usize,
                max_documents: knobs.batch_documents,
                max_age: Duration::from_secs(1),
                seed: 0,
            },
            round_bytes: knobs.batch_bytes / 8,
            encode: EncodeConfig {
                layout,
                index: IndexPattern::default(),
                document_id: DocumentId::Deterministic,
                json: JsonMode::Off,
            },
            compression: 1,
            disk,
            loaded,
            directory: Arc::new(Directory::off("node")),
            budget: Arc::clone(&budget),
            board: Arc::clone(&board),
            batches: to_sink,
            saves: to_saver,
            notes: None,
        };
        let flight = FlightConfig {
            hosts: knobs.hosts,
            first_slots: 1,
            max_in_flight: knobs.max_in_flight,
            backlog_share: 50,
            compression: 1,
            body_bytes: 4 << 20,
            memory: knobs.memory,
            backoff: Backoff::SERVER,
            hedge_after: Some(Duration::from_secs(5)),
            lanes: true,
            lane_bytes: knobs.spool_bytes / 4,
            when_letters_full: longshore::config::WhenLettersFull::Block,
            letter_bytes: 1 << 20,
            ids: Ids::Ours,
        };
        let mut shipping = Shipping::new(flight, budget, Arc::clone(&board), seed);
        shipping.recover(recovered.frames, time.now);
        Ok(Agent {
            source: Source::new(setup, time.now),
            notes: VecDeque::new(),
            batches,
            saves,
            saving: VecDeque::new(),
            folder,
            shipping: Some(shipping),
            spool,
            spool_commands: VecDeque::new(),
            writes_lane: false,
            spool_reports: VecDeque::new(),
            saved_delivered: time.now,
            record_every: knobs.record_every,
            letters,
            letters_failing: false,
            letter_commands: VecDeque::new(),
            letter_reports: VecDeque::new(),
            board,
            requests: VecDeque::new(),
            forgotten: Vec::new(),
            batches_ended: false,
            over_share: false,
            spooled: Vec::new(),
            refused: false,
            is_saved: true,
            began_unread: unreadable,
            of_before,
        })
    }

    /// The reader's turn.
    pub(crate) fn turn(&mut self, time: Time) {
        self.hear();
        self.source.turn(time.source());
    }

    /// How long the reader would wait if nothing happened.
    pub(crate) fn reader_waits(&self, time: Time) -> Duration {
        if self.notes.is_empty() {
            self.source.wait(time.now)
        } else {
            Duration::ZERO
        }
    }

    fn hear(&mut self) {
        while let Some(note) = self.notes.pop_front() {
            self.source.on_note(note);
        }
    }

    /// A directory has changed, and the watch has told.
    pub(crate) fn on_changed(&mut self) {
        self.notes.push_back(Note::Changed);
    }

    /// The sink takes what is there, at most `limit` events, and does all that is due.
    pub(crate) fn sink(&mut self, limit: usize, time: Time) {
        self.execute(time);
        for _ in 0..limit {
            if !self.take_event(time) {
                return;
            }
            self.execute(time);
        }
    }

    fn take_event(&mut self, time: Time) -> bool {
        let Some(shipping) = &mut self.shipping else {
            return false;
        };
        let clock = time.sink();
        if let Some(report) = self.spool_reports.pop_front() {
            shipping.on_spool(report, clock);
        } else if let Some(report) = self.letter_reports.pop_front() {
            shipping.on_dead_letter(report, clock);
        } else {
            match self.batches.try_recv() {
                Ok(batch) => {
                    self.over_share |= batch.share == Share::Over;
                    shipping.on_batch(batch, clock);
                }
                Err(mpsc::error::TryRecvError::Disconnected) if !self.batches_ended => {
                    self.batches_ended = true;
                    shipping.on_batches_ended(clock);
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// An answer of the server, or none.
    pub(crate) fn on_answer(&mut self, request: RequestId, verdict: RequestVerdict, time: Time) {
        if let Some(shipping) = &mut self.shipping {
            shipping.on_answer(
                request,
                Answer {
                    verdict,
                    host: None,
                    retry_after: None,
                    places: None,
                },
                time.sink(),
            );
            self.execute(time);
        }
    }

    fn execute(&mut self, time: Time) {
        let Some(shipping) = &mut self.shipping else {
            return;
        };
        while let Some(order) = shipping.poll(time.sink()) {
            tracing::debug!("{}", told(&order));
            match order {
                Order::Send { request, bulk, .. } => self.requests.push_back(Request {
                    id: request,
                    bytes: bulk.bytes.to_vec(),
                    is_gzip: bulk.encoding == Encoding::Gzip,
                    documents: bulk.documents,
                }),
                Order::LookUp { .. } => unreachable!("ids tell everything here"),
                Order::Forget(request) => self.forgotten.push(request),
                Order::Hush => self.requests.clear(),
                Order::Spool(command) => {
                    if let spool::Command::Append { body, .. } = &command {
                        self.spooled.push(body.clone());
                    }
                    self.spool_commands.push_back(command);
                }
                Order::DeadLetter(command) => self.letter_commands.push_back(command),
                Order::Ack(ack) => self.notes.push_back(Note::Acked(ack)),
                Order::Tell(_) => {}
            }
        }
    }

    /// Whether its last turn had something to write for an index on hold.
    pub(crate) fn was_writing_a_lane(&self) -> bool {
        self.writes_lane
    }

    /// The spool carries out up to `limit` commands.
    pub(crate) fn spool(&mut self, limit: usize, time: Time) {
        let count = self.spool_commands.len().min(limit);
        let is_lane =
            |command: &spool::Command| matches!(command, spool::Command::Append { lane: Some(_), .. });
        self.writes_lane = self.spool_commands.iter().take(count).any(is_lane);
        if count > 0 {
            let commands = self.spool_commands.drain(..count).collect();
            let (reports, refused) = (&mut self.spool_reports, &mut self.refused);
            turn::execute(&mut self.spool, commands, &mut |report| {
                if !matches!(report, spool::Report::Frame { .. }) {
                    tracing::debug!("{report:?}");
                }
                *refused |= matches!(report, spool::Report::Appended { frame: None, .. });
                reports.push_back(report);
            });
        }
        if time.now >= self.saved_delivered + self.record_every {
            self.saved_delivered = time.now;
            // What fails is told by the thread's loop and tried again.
            let reports = &mut self.spool_reports;
            turn::tick(&mut self.spool, &mut |report| reports.push_back(report));
        }
    }

    /// The dead-letter file carries out one command.
    pub(crate) fn letter(&mut self) {
        if let Some(command) = self.letter_commands.pop_front() {
            let reports = &mut self.letter_reports;
            dead_letters::execute(
                &mut self.letters,
                command,
                &mut self.letters_failing,
                &mut |report| reports.push_back(report),
            );
        }
    }

    /// Checkpoints that the reader has handed over since it was asked last.
    pub(crate) fn new_saves(&mut self) -> Vec<(u64, Checkpoint)> {
        let new: Vec<(u64, Checkpoint)> = self.saves.try_iter().collect();
        self.saving.extend(new.iter().cloned());
        new
    }

    /// The checkpoint thread saves one checkpoint: its number, when it is durable.
    pub(crate) fn save(&mut self) -> Option<u64> {
        let (number, checkpoint) = self.saving.pop_front()?;
        tracing::debug!("save {number} of {} files", checkpoint.entries.len());
        for entry in &checkpoint.entries {
            tracing::debug!(
                "save {number}: {}/{} {:x} e{} at {} of {} ino {}",
                entry.container,
                entry.restart,
                entry.fingerprint,
                entry.epoch,
                entry.offset,
                entry.size,
                entry.ino
            );
        }
        let durable = self.folder.save(&checkpoint).is_ok();
        self.notes.push_back(Note::Saved { number, durable });
        self.is_saved = durable;
        durable.then_some(number)
    }

    /// Everything that waits in queues is done.
    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.is_empty()
            && self.spool_commands.is_empty()
            && self.spool_reports.is_empty()
            && self.letter_commands.is_empty()
            && self.letter_reports.is_empty()
            && self.notes.is_empty()
            && self.board.ledger().in_flight() == 0
            && self.spool.index().frames() == 0
    }

    /// One step of an orderly end; the sink, the spool and the others are stepped by the caller.
    pub(crate) fn end_step(&mut self, ending: Ending, time: Time) -> Ending {
        self.hear();
        match ending {
            Ending::Draining => {
                self.source.begin_drain(time.source());
                while self.source.drain_turn(time.source()) {}
                Ending::HandingOut
            }
            Ending::HandingOut => {
                if !self.source.close_batch() {
                    return Ending::HandingOut;
                }
                self.source.hang_up();
                Ending::Shipping
            }
            Ending::Shipping => {
                let done = self
                    .shipping
                    .as_ref()
                    .is_some_and(|shipping| self.batches_ended && shipping.is_done(time.now));
                if !done {
                    return Ending::Shipping;
                }
                if let Some(shipping) = self.shipping.take() {
                    let rest = std::iter::from_fn(|| self.batches.try_recv().ok()).collect();
                    let _ended = shipping.end(rest, time.now);
                }
                self.source.on_note(Note::SinkEnded);
                Ending::Saving
            }
            Ending::Saving => {
                if self.source.wants_last_save(time.source()) {
                    return Ending::Saving;
                }
                // The spool's thread ends when its commands have ended.
                self.spool(usize::MAX, time);
                let _ = self.spool.close();
                Ending::Over
            }
            Ending::Over => Ending::Over,
        }
    }

    /// Source bytes in frames whose loss is on record, for these reasons.
    pub(crate) fn spool_lost(&self, reasons: &[Reason]) -> u64 {
        let totals = reasons.iter().map(|reason| self.spool.losses().totals(*reason));
        totals.map(|totals| totals.source_bytes).sum()
    }

    /// Tells the reader to stop.
    pub(crate) fn stop(&mut self) {
        self.notes.push_back(Note::Stop);
    }
}
