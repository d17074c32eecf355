//! The stages of the pipeline: parts enter, running threads leave, and end in order.
//!
//! ```text
//! reader thread ──batches──▶ sink task ──▶ spool thread, dead-letter thread
//!     ▲    └─entries─▶ checkpoint thread          │
//!     └───────────── acks, saves, hints ◀─────────┘
//! ```
//!
//! The end: the reader stops reading (deleted files aside), closes its batch and drops its channel; the
//! sink sends or spools what it has and ends; then the reader saves the last checkpoint; then the rest
//! stops. `tests/model` runs this file and the threads as they are under a model checker.

use crate::checkpoint::disk::CheckpointFolder;
use crate::checkpoint::snapshot::Checkpoint;
use crate::checkpoint::task as checkpoint_task;
use crate::flow::budget::Budget;
use crate::mutant::{self, Mutant};
use crate::record::Batch;
use crate::sink::disk::DeadLetterFile;
use crate::sink::elasticsearch::flight::FlightConfig;
use crate::sink::elasticsearch::task as sink_task;
use crate::sink::task as dead_letter_task;
use crate::source::task::{Note, Setup, Source};
use crate::spool::disk::Spool;
use crate::spool::segment::Found;
use crate::spool::task as spool_task;
use crate::sync::mpsc::{Sender, channel};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::tokio::sync::{mpsc, watch};
use crate::sync::tokio::{self, task};
use crate::telemetry::board::Board;
use anyhow::{Context, anyhow};
use std::sync::Arc;

/// Batches that wait between the reader and the sink; the budget bounds their bytes.
const BATCH_CHANNEL: usize = 4;
/// Stack of each thread: none recurses.
const STACK_BYTES: usize = 1 << 20;

/// What the stages are made of.
pub struct Parts<C> {
    /// Where checkpoints are saved.
    pub folder: CheckpointFolder,
    /// The spool.
    pub spool: Spool,
    /// What it held at the start.
    pub found: Vec<Found>,
    /// Where refused documents go.
    pub dead_letters: DeadLetterFile,
    /// Where bodies are posted.
    pub client: C,
    /// How the sink sends.
    pub flight: FlightConfig,
    /// Any number: it jitters delays.
    pub seed: u64,
    /// Bytes in flight.
    pub budget: Arc<Budget>,
    /// The status board.
    pub board: Arc<Board>,
    /// Becomes true when the process is to end.
    pub stop: watch::Receiver<bool>,
}

/// The reader's ends of what connects it with the others.
pub struct Wires {
    /// Bytes in flight.
    pub budget: Arc<Budget>,
    /// To the sink.
    pub batches: mpsc::Sender<Batch>,
    /// To the checkpoint thread.
    pub saves: Sender<(u64, Checkpoint)>,
    /// To the reader itself.
    pub notes: Sender<Note>,
}

/// What runs.
pub struct Stages {
    reader: JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
    sink: task::JoinHandle<sink_task::Ended>,
    notes: Sender<Note>,
    ends: Ends,
}

impl Stages {
    /// Starts all of them, inside a runtime. `setup` makes the reader of its wires.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start<C: sink_task::Post>(
        parts: Parts<C>,
        setup: impl FnOnce(Wires) -> Setup,
    ) -> anyhow::Result<Stages> {
        let ends = Ends::new();
        let (notes, notes_out) = channel();
        let (saves, saves_out) = channel();
        let (batches, batches_out) = mpsc::channel(BATCH_CHANNEL);

        let (folder, answers) = (parts.folder, notes.clone());
        let checkpoints = ends.thread("checkpoints", move || {
            checkpoint_task::run(&folder, &saves_out, |number, durable| {
                // A reader that has ended waits for nothing.
                let _ = answers.send(Note::Saved { number, durable });
            });
        })?;
        let (spool, spool_commands) = (parts.spool, channel());
        let (reports, spool_reports) = mpsc::unbounded_channel();
        let spool = ends.thread("spool", move || {
            spool_task::run(spool, &spool_commands.1, &reports)
        })?;
        let (dead_letters, dead_commands) = (parts.dead_letters, channel());
        let (reports, dead_letter_reports) = mpsc::unbounded_channel();
        let dead_letters = ends.thread("dead-letter", move || {
            dead_letter_task::run_dead_letters(dead_letters, &dead_commands.1, &reports);
        })?;
        let acks = notes.clone();
        let wiring = sink_task::Wiring {
            batches: batches_out,
            spool: spool_commands.0,
            spool_reports,
            dead_letters: dead_commands.0,
            dead_letter_reports,
            found: parts.found,
            // A reader that has ended reads its lines again after the next start.
            acked: Box::new(move |ack| drop(acks.send(Note::Acked(ack)))),
            budget: Arc::clone(&parts.budget),
            board: parts.board,
            stop: parts.stop,
        };
        let sink = spawn(sink_task::run(parts.client, parts.flight, wiring, parts.seed));
        let setup = setup(Wires {
            budget: parts.budget,
            batches,
            saves,
            notes: notes.clone(),
        });
        let reader = ends.thread("reader", move || Source::run(setup, &notes_out))?;
        Ok(Stages {
            reader,
            threads: vec![checkpoints, spool, dead_letters],
            sink,
            notes,
            ends,
        })
    }

    /// The way to the reader.
    pub fn notes(&self) -> Sender<Note> {
        self.notes.clone()
    }

    /// Waits until one of them ends although nobody stopped it: why the agent must end.
    pub async fn ended(&mut self) -> anyhow::Error {
        tokio::select! {
            thread = self.ends.first() => anyhow!("BUG: the {thread} thread has ended by itself"),
            sink = &mut self.sink => anyhow!("BUG: the sink has ended by itself: {sink:?}"),
        }
    }

    /// Stops them in order, and `stop` those beside them: how the sink ended.
    ///
    /// # Errors
    /// When one of them has panicked.
    pub async fn stop(self, stop: &watch::Sender<bool>) -> anyhow::Result<sink_task::Ended> {
        // The stop of the sink is the end of the reader's channel: its last batch comes first.
        let _ = self.notes.send(Note::Stop);
        let sink = self.sink.await.context("BUG: the sink panicked")?;
        if !mutant::is(Mutant::SinkEndUntold) {
            let _ = self.notes.send(Note::SinkEnded);
        }
        let _ = stop.send(true);
        drop(self.notes);
        let threads = std::iter::once(self.reader).chain(self.threads.into_iter().rev());
        for thread in threads {
            let name = thread.thread().name().unwrap_or("unnamed").to_owned();
            let joined = spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                anyhow::bail!("BUG: the {name} thread panicked");
            }
        }
        Ok(sink)
    }
}

/// Hears of threads that end, however they do.
struct Ends {
    ended: mpsc::UnboundedSender<&'static str>,
    heard: mpsc::UnboundedReceiver<&'static str>,
}

/// Tells when it is dropped, by a panic, too.
struct Farewell(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody listens any more when the agent stops the threads itself.
        let _ = self.0.send(self.1);
    }
}

impl Ends {
    fn new() -> Ends {
        let (ended, heard) = mpsc::unbounded_channel();
        Ends { ended, heard }
    }

    async fn first(&mut self) -> &'static str {
        self.heard.recv().await.unwrap_or("unknown")
    }

    #[cfg_attr(
        not(feature = "model"),
        expect(
            clippy::disallowed_methods,
            reason = "the one place where threads are started"
        )
    )]
    fn thread(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let farewell = Farewell(self.ended.clone(), name);
        let body = move || {
            let _farewell = farewell;
            body();
        };
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(body)
            .with_context(|| format!("cannot start the {name} thread"))
    }
}

#[cfg_attr(
    not(feature = "model"),
    expect(clippy::disallowed_methods, reason = "where the sink's task is started")
)]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> task::JoinHandle<T> {
    tokio::spawn(task)
}

#[cfg_attr(
    not(feature = "model"),
    expect(clippy::disallowed_methods, reason = "waits for threads at the end")
)]
fn spawn_blocking<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> task::JoinHandle<T> {
    task::spawn_blocking(wait)
}
