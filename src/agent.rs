//! A config enters, a running agent leaves, and at the end the report of how it ended.
//!
//! The one place where threads and tasks are started, so that all of them can be stopped in order:
//!
//! ```text
//! reader thread ──batches──▶ sink task ──▶ spool thread, dead-letter thread
//!     ▲    └─entries─▶ checkpoint thread          │
//!     └───────────── acks, saves, hints ◀─────────┘        pod watch, admin: tasks beside them
//! ```
//!
//! The end, on SIGTERM or SIGINT: the reader stops reading (deleted files aside), closes its batch
//! and drops its channel; the sink sends or spools what it has and ends; then the reader saves the
//! last checkpoint; then the rest stops. A thread that ends by itself ends the agent with an error.

mod descriptors;
mod ended;

pub use ended::Ended;

use crate::admin;
use crate::checkpoint::disk::CheckpointFolder;
use crate::checkpoint::snapshot::{Checkpoint, Loaded};
use crate::checkpoint::task as checkpoint_task;
use crate::config::{Config, MetadataSource};
use crate::disk::{self, Disk};
use crate::enrich::cache::{Directory, State};
use crate::enrich::{client as pods, task as pod_task};
use crate::flow::backoff::Backoff;
use crate::flow::budget::Budget;
use crate::flow::fair::ROUND_BYTES;
use crate::lock::disk::Lock;
use crate::record::Batch;
use crate::sink::disk::DeadLetterFile;
use crate::sink::elasticsearch::client::Client;
use crate::sink::elasticsearch::flight::FlightConfig;
use crate::sink::elasticsearch::task as sink_task;
use crate::sink::task as dead_letter_task;
use crate::source::task::{Note, Setup, Source};
use crate::spool::disk::Spool;
use crate::spool::segment::Found;
use crate::spool::task as spool_task;
use crate::telemetry::board::{Board, Facts, VERSION};
use crate::telemetry::logging;
use anyhow::Context;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

/// Batches that wait between the reader and the sink; the budget bounds their bytes.
const BATCH_CHANNEL: usize = 4;
/// How often a lock that another agent holds is tried.
const LOCK_RETRY: Duration = Duration::from_millis(500);
/// Stack of each thread: none recurses.
const STACK_BYTES: usize = 1 << 20;

/// Runs the agent until it is told to end. Blocks the thread.
///
/// # Errors
/// What keeps it from starting (state directory, credentials, the address of the status server), or
/// a thread that ended by itself.
pub fn run(config: Config) -> anyhow::Result<Ended> {
    // Fails only when this process has a log already, which then is used.
    let _ = logging::start(&config.log, instant);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("sockets")
        .enable_all()
        .build()
        .context("cannot start the runtime");
    let ended = runtime.and_then(|runtime| {
        let ended = Agent::new(config, &runtime).and_then(|agent| agent.run(&runtime));
        runtime.shutdown_timeout(Duration::from_millis(200));
        ended
    });
    match &ended {
        Ok(ended) if ended.clean => info!("{ended}"),
        Ok(ended) => error!("{ended}"),
        Err(problem) => error!("ended not clean: {problem:#}"),
    }
    ended
}

/// What all stages share.
struct Agent {
    config: Config,
    disk: Disk,
    board: Arc<Board>,
    directory: Arc<Directory>,
    signals: Signals,
    stop: watch::Sender<bool>,
}

/// The signals that end the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Agent {
    fn new(config: Config, runtime: &Runtime) -> anyhow::Result<Agent> {
        let _guard = runtime.enter();
        let signals = Signals {
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
        };
        let kubernetes = &config.enrich.kubernetes;
        let directory = match kubernetes.source {
            MetadataSource::Api => Directory::new(&config.node_name, kubernetes.namespace_labels),
            MetadataSource::None => Directory::off(&config.node_name),
        };
        let (stop, _) = watch::channel(false);
        Ok(Agent {
            board: Arc::new(Board::default()),
            directory: Arc::new(directory),
            disk: disk::kernel(),
            signals,
            stop,
            config,
        })
    }

    fn run(mut self, runtime: &Runtime) -> anyhow::Result<Ended> {
        info!(
            version = VERSION,
            node = self.config.node_name,
            "longshore starts"
        );
        self.start_admin(runtime)?;
        let Some(lock) = runtime.block_on(self.lock())? else {
            return Ok(Ended {
                clean: true,
                spooled_bytes: 0,
                unsaved_bytes: 0,
                reason: "before it had the lock".into(),
            });
        };
        let stages = self.start_stages(runtime)?;
        let ended = runtime.block_on(self.wait(stages));
        drop(lock);
        ended
    }

    /// Answers probes from the first moment.
    fn start_admin(&self, runtime: &Runtime) -> anyhow::Result<()> {
        let listen = self.config.admin.listen;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .with_context(|| format!("cannot listen on {listen} (admin.listen): is the port in use?"))?;
        let address = listener.local_addr()?;
        info!(%address, "status server listens");
        let facts = Facts {
            node_name: self.config.node_name.clone(),
            started_ms: unix_ms(),
            turn_interval: self.config.source.rescan_interval,
            dead_letter_max_bytes: self.config.sink.elasticsearch.dead_letter.max_bytes,
        };
        let serve = admin::serve(listener, Arc::clone(&self.board), facts, self.stop.subscribe());
        spawn(runtime, async move {
            if let Err(error) = serve.await {
                error!(%error, "the status server has ended");
            }
        });
        Ok(())
    }

    /// Waits for the lock of the state directory, un-ready. `None`: told to end meanwhile.
    async fn lock(&mut self) -> anyhow::Result<Option<Lock>> {
        let state_dir = &self.config.state_dir;
        let cannot = || {
            format!(
                "cannot use state_dir {}: it must be a directory that this user may write to",
                state_dir.display()
            )
        };
        let mut told = false;
        loop {
            if let Some(lock) = Lock::take(state_dir).with_context(cannot)? {
                self.board.agent().waits_for = None;
                return Ok(Some(lock));
            }
            if !std::mem::replace(&mut told, true) {
                let text = format!("another agent holds {}/lock", state_dir.display());
                warn!("{text}; waiting until it ends");
                self.board.agent().waits_for = Some(text);
            }
            tokio::select! {
                _ = self.signals.recv() => return Ok(None),
                () = tokio::time::sleep(LOCK_RETRY) => {}
            }
        }
    }

    fn start_stages(&self, runtime: &Runtime) -> anyhow::Result<Stages> {
        let state = self.open_state()?;
        let client =
            Client::new(&self.config.sink.elasticsearch).context("cannot use the config of the sink")?;
        let ends = Ends::new();
        let (notes, notes_out) = channel();
        let (saves, saves_out) = channel();
        let (batches, batches_out) = mpsc::channel(BATCH_CHANNEL);
        let budget = Arc::new(Budget::new(self.config.memory.in_flight));

        let mut threads = vec![self.start_checkpoints(state.folder, saves_out, &notes, &ends)?];
        let (spool, spool_commands) = (state.spool, channel());
        let (reports, spool_reports) = mpsc::unbounded_channel();
        threads.push(ends.thread("spool", move || {
            spool_task::run(spool, &spool_commands.1, &reports)
        })?);
        let (dead_letters, dead_commands) = (state.dead_letters, channel());
        let (reports, dead_letter_reports) = mpsc::unbounded_channel();
        threads.push(ends.thread("dead-letter", move || {
            dead_letter_task::run_dead_letters(dead_letters, &dead_commands.1, &reports);
        })?);
        let acks = notes.clone();
        let wiring = sink_task::Wiring {
            batches: batches_out,
            spool: spool_commands.0,
            spool_reports,
            dead_letters: dead_commands.0,
            dead_letter_reports,
            found: state.frames,
            // A reader that has ended reads its lines again after the next start.
            acked: Box::new(move |ack| drop(acks.send(Note::Acked(ack)))),
            budget: Arc::clone(&budget),
            board: Arc::clone(&self.board),
            stop: self.stop.subscribe(),
        };
        let sink = spawn(runtime, sink_task::run(client, self.flight(), wiring, seed()));
        let setup = self.setup(state.loaded, budget, batches, saves, notes.clone());
        let reader = ends.thread("reader", move || Source::run(setup, &notes_out))?;
        self.start_watch(runtime, notes.clone());
        Ok(Stages {
            reader,
            threads,
            sink,
            notes,
            ends,
        })
    }

    /// Opens what earlier processes left. Damage is told and passed over.
    fn open_state(&self) -> anyhow::Result<OpenState> {
        let Config {
            state_dir,
            sink,
            spool,
            ..
        } = &self.config;
        let folder = CheckpointFolder::open(&self.disk, state_dir).context("cannot open the checkpoints")?;
        let loaded = folder.load();
        for damage in &loaded.damage {
            error!(
                "checkpoint: {damage}; an older generation is used, lines may be sent again (and are then duplicates)"
            );
        }
        let (spool, recovered) = Spool::open(&self.disk, state_dir, spool.into(), spool.min_free)
            .context("cannot open the spool")?;
        for damage in &recovered.damage {
            error!("spool: {damage}");
        }
        self.board.spool().max_bytes = self.config.spool.max_bytes;
        let dead_letters =
            DeadLetterFile::open(&self.disk, state_dir, sink.elasticsearch.dead_letter.max_bytes)
                .context("cannot open the dead-letter file")?;
        Ok(OpenState {
            folder,
            loaded,
            spool,
            frames: recovered.frames,
            dead_letters,
        })
    }

    fn flight(&self) -> FlightConfig {
        let elasticsearch = &self.config.sink.elasticsearch;
        FlightConfig {
            max_in_flight: elasticsearch.max_in_flight,
            compression: elasticsearch.compression,
            memory: self.config.memory.in_flight,
            backoff: Backoff::SERVER,
        }
    }

    fn setup(
        &self,
        loaded: Loaded,
        budget: Arc<Budget>,
        batches: mpsc::Sender<Batch>,
        saves: Sender<(u64, Checkpoint)>,
        notes: Sender<Note>,
    ) -> Setup {
        let elasticsearch = &self.config.sink.elasticsearch;
        let mut source = self.config.source.clone();
        source.max_open_files = descriptors::for_log_files(source.max_open_files);
        Setup {
            source,
            metadata_wait: self.config.enrich.kubernetes.metadata_wait,
            limits: (&self.config.batch).into(),
            round_bytes: ROUND_BYTES,
            encode: (&self.config).into(),
            disk: Disk::clone(&self.disk),
            compression: elasticsearch.compression,
            loaded,
            directory: Arc::clone(&self.directory),
            budget,
            board: Arc::clone(&self.board),
            batches,
            saves,
            notes,
        }
    }

    fn start_checkpoints(
        &self,
        folder: CheckpointFolder,
        saves: Receiver<(u64, Checkpoint)>,
        notes: &Sender<Note>,
        ends: &Ends,
    ) -> anyhow::Result<JoinHandle<()>> {
        let notes = notes.clone();
        ends.thread("checkpoints", move || {
            checkpoint_task::run(&folder, &saves, |number, durable| {
                // A reader that has ended waits for nothing.
                let _ = notes.send(Note::Saved { number, durable });
            });
        })
    }

    fn start_watch(&self, runtime: &Runtime, notes: Sender<Note>) {
        let kubernetes = &self.config.enrich.kubernetes;
        if kubernetes.source == MetadataSource::None {
            self.board.watch().state = State::Off.as_str();
            return;
        }
        let settings = pods::Settings::new(&self.config.node_name, kubernetes);
        let changed = move || drop(notes.send(Note::Metadata));
        let (directory, board) = (Arc::clone(&self.directory), Arc::clone(&self.board));
        spawn(
            runtime,
            pod_task::run(settings, directory, board, changed, self.stop.subscribe()),
        );
    }

    /// Waits for a signal or a failure, then stops everything in order.
    async fn wait(mut self, mut stages: Stages) -> anyhow::Result<Ended> {
        let reason = tokio::select! {
            signal = self.signals.recv() => signal,
            thread = stages.ends.first() => anyhow::bail!("BUG: the {thread} thread has ended by itself"),
            sink = &mut stages.sink => anyhow::bail!("BUG: the sink has ended by itself: {sink:?}"),
        };
        info!("{reason}: stopping");
        // The stop of the sink is the end of the reader's channel: its last batch comes first.
        let _ = stages.notes.send(Note::Stop);
        let sink = stages.sink.await.context("BUG: the sink panicked")?;
        let _ = stages.notes.send(Note::SinkEnded);
        let _ = self.stop.send(true);
        drop(stages.notes);
        let threads = std::iter::once(stages.reader).chain(stages.threads.into_iter().rev());
        for thread in threads {
            let name = thread.thread().name().unwrap_or("unnamed").to_owned();
            let joined = spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                anyhow::bail!("BUG: the {name} thread panicked");
            }
        }
        Ok(Ended {
            clean: sink.clean,
            spooled_bytes: sink.spooled_bytes,
            unsaved_bytes: sink.unsaved.bytes,
            reason: reason.to_owned(),
        })
    }
}

/// What the state directory holds.
struct OpenState {
    folder: CheckpointFolder,
    loaded: Loaded,
    spool: Spool,
    frames: Vec<Found>,
    dead_letters: DeadLetterFile,
}

/// What runs.
struct Stages {
    reader: JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
    sink: tokio::task::JoinHandle<sink_task::Ended>,
    notes: Sender<Note>,
    ends: Ends,
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

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where threads are started"
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
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(body)
            .with_context(|| format!("cannot start the {name} thread"))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where tasks are started")]
fn spawn<T: Send + 'static>(
    runtime: &Runtime,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    runtime.spawn(task)
}

#[expect(clippy::disallowed_methods, reason = "waits for threads at the end")]
fn spawn_blocking<T: Send + 'static>(
    wait: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(wait)
}

#[expect(clippy::disallowed_methods, reason = "when the process started")]
fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[expect(clippy::disallowed_methods, reason = "the clock of the agent's own log")]
fn instant() -> Instant {
    Instant::now()
}

/// Another number in each process, to keep a fleet out of step.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
