//! A config enters, a running agent leaves, and at the end the report of how it ended.
//!
//! The only place where threads and tasks are started: here the status server and the pod watch, in
//! [`stages`] those of the pipeline. On SIGTERM or SIGINT, or when one of them ends by itself, all of
//! them are stopped in order.

mod descriptors;
mod ended;
pub mod stages;

pub use ended::Ended;

use self::stages::{Parts, Stages, Wires};
use crate::admin;
use crate::batch::Limits;
use crate::checkpoint::disk::CheckpointFolder;
use crate::checkpoint::snapshot::Loaded;
use crate::config::{Config, MetadataSource};
use crate::disk::{self, Disk};
use crate::enrich::cache::{Directory, State};
use crate::enrich::{client as pods, task as pod_task};
use crate::flow::backoff::Backoff;
use crate::flow::budget::{self, Budget};
use crate::flow::fair::ROUND_BYTES;
use crate::lock::disk::Lock;
use crate::sink::disk::DeadLetterFile;
use crate::sink::elasticsearch::client::Client;
use crate::sink::elasticsearch::flight::FlightConfig;
use crate::source::task::{Note, Setup};
use crate::spool::disk::Spool;
use crate::spool::segment::Found;
use crate::sync::mpsc::Sender;
use crate::sync::tokio::sync::watch;
use crate::telemetry::board::{Board, Facts, VERSION};
use crate::telemetry::{disk as process, logging};
use anyhow::Context;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// How often a lock that another agent holds is tried.
const LOCK_RETRY: Duration = Duration::from_millis(500);

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
    /// Of this process, in bytes.
    memory_limit: Option<u64>,
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
            memory_limit: process::memory_limit(),
            signals,
            stop,
            config,
        })
    }

    fn run(mut self, runtime: &Runtime) -> anyhow::Result<Ended> {
        info!(
            version = VERSION,
            node = self.config.node_name,
            memory_limit = self.memory_limit.map(tracing::field::display),
            in_flight = self.in_flight(),
            "longshore starts"
        );
        for what in self.config.sink.elasticsearch.exposures() {
            warn!(
                what,
                "others on the way to Elasticsearch can read or change what is sent, because the config allows it"
            );
        }
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
            memory_limit: self.memory_limit,
            dead_letter_max_bytes: self.config.sink.elasticsearch.dead_letter.max_bytes,
            exposures: self.config.sink.elasticsearch.exposures(),
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
                // First the page: who has read the line may ask it.
                self.board.agent().waits_for = Some(text.clone());
                warn!("{text}; waiting until it ends");
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
        let parts = Parts {
            folder: state.folder,
            spool: state.spool,
            found: state.frames,
            dead_letters: state.dead_letters,
            client,
            flight: self.flight(),
            seed: seed(),
            budget: Arc::new(Budget::new(self.in_flight())),
            board: Arc::clone(&self.board),
            stop: self.stop.subscribe(),
        };
        let _guard = runtime.enter();
        let stages = Stages::start(parts, |wires| self.setup(state.loaded, wires))?;
        self.start_watch(runtime, stages.notes());
        Ok(stages)
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

    /// The budget of bytes in flight.
    fn in_flight(&self) -> u64 {
        let Config { memory, batch, .. } = &self.config;
        budget::in_flight(memory.in_flight, self.memory_limit, batch.max_bytes)
    }

    fn flight(&self) -> FlightConfig {
        let elasticsearch = &self.config.sink.elasticsearch;
        FlightConfig {
            hosts: elasticsearch.hosts.len(),
            first_slots: 1,
            max_in_flight: elasticsearch.max_in_flight,
            backlog_share: elasticsearch.backlog_share,
            compression: elasticsearch.compression,
            body_bytes: self.config.batch.max_bytes.try_into().unwrap_or(u32::MAX),
            memory: self.in_flight(),
            backoff: Backoff::SERVER,
            hedge_after: elasticsearch.hedges(),
            lanes: true,
            lane_bytes: self.config.spool.lane_bytes(),
            when_letters_full: elasticsearch.dead_letter.when_full,
            letter_bytes: elasticsearch.dead_letter.max_bytes,
            ids: elasticsearch.into(),
        }
    }

    fn setup(&self, loaded: Loaded, wires: Wires) -> Setup {
        let elasticsearch = &self.config.sink.elasticsearch;
        let mut source = self.config.source.clone();
        source.max_open_files = descriptors::for_log_files(source.max_open_files);
        Setup {
            source,
            metadata_wait: self.config.enrich.kubernetes.metadata_wait,
            limits: Limits {
                seed: seed() as u32,
                ..(&self.config.batch).into()
            },
            round_bytes: ROUND_BYTES,
            encode: (&self.config).into(),
            disk: Disk::clone(&self.disk),
            compression: elasticsearch.compression,
            loaded,
            directory: Arc::clone(&self.directory),
            budget: wires.budget,
            board: Arc::clone(&self.board),
            batches: wires.batches,
            saves: wires.saves,
            notes: Some(wires.notes),
        }
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
            problem = stages.ended() => return Err(problem),
        };
        info!("{reason}: stopping");
        let sink = stages.stop(&self.stop).await?;
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

#[expect(clippy::disallowed_methods, reason = "the one place where tasks are started")]
fn spawn<T: Send + 'static>(
    runtime: &Runtime,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    runtime.spawn(task)
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
