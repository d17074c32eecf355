//! Containers that write as fast as a test says, and whose files kubelet rotates at 10 MiB: enough work that an agent never
//! runs dry.

use crate::traffic::{Arrivals, unix_ns};
use longshore_kit::lines::{CriDialect, Stream, message};
use longshore_kit::rude_elasticsearch::RudeElasticsearch;
use longshore_kit::simkubelet::{ContainerLog, Node};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Padding of a line: long lines make bytes cheap, for the server and the verifier, too.
const PAD: usize = 8_000;
/// Lines that a container writes at once.
const BURST: u64 = 8;
const TICK: Duration = Duration::from_millis(5);
/// Lines that may be written and not delivered; beyond that the containers wait, or the disk would fill, until only so many
/// are left.
const BACKLOG: u64 = 25_000;
const LOW: u64 = 8_000;
/// With fewer than so many they will not have to wait soon.
const FREE: u64 = 12_000;

/// A running flood.
pub(super) struct Flood {
    stop: Sender<()>,
    gauge: Arc<Gauge>,
    server: Arc<RudeElasticsearch>,
    thread: JoinHandle<io::Result<()>>,
}

/// How far it is.
#[derive(Default)]
struct Gauge {
    bytes: AtomicU64,
    lines: AtomicU64,
    waits: AtomicBool,
}

impl Gauge {
    fn backlog(&self, server: &RudeElasticsearch) -> u64 {
        self.lines.load(Ordering::SeqCst).saturating_sub(server.count())
    }
}

impl Flood {
    /// `containers` on `node` write so many bytes per second together, and say what they write to `arrivals`; the server is
    /// asked how much has arrived.
    pub(super) fn start(
        node: &Node,
        containers: usize,
        bytes_per_second: u64,
        arrivals: &Arc<Arrivals>,
        server: &Arc<RudeElasticsearch>,
    ) -> Flood {
        let writer = |number: usize| {
            let pod = node.pod("shop", &format!("flood-{number}"), &format!("uid-flood-{number}"));
            Writer {
                log: pod.container("app").expect("a log file"),
                stream: format!("flood-{number}"),
                next: 0,
                ends: Vec::new(),
                max_files: node.config().max_files,
                max_size_bytes: node.config().max_size_bytes,
            }
        };
        let (stop, stopped) = channel();
        let gauge = Arc::<Gauge>::default();
        let pace = Pace {
            bytes_per_second,
            gauge: Arc::clone(&gauge),
            arrivals: Arc::clone(arrivals),
            server: Arc::clone(server),
        };
        let writers = (0..containers).map(writer).collect();
        let thread = std::thread::spawn(move || pace.run(writers, &stopped));
        Flood {
            stop,
            gauge,
            server: Arc::clone(server),
            thread,
        }
    }

    /// Whether the containers write, and will not have to wait for the agent soon.
    pub(super) fn is_free(&self) -> bool {
        !self.gauge.waits.load(Ordering::SeqCst) && self.gauge.backlog(&self.server) < FREE
    }

    /// Bytes that were written in all.
    pub(super) fn bytes(&self) -> u64 {
        self.gauge.bytes.load(Ordering::SeqCst)
    }

    /// Stops the containers.
    #[track_caller]
    pub(super) fn stop(self) {
        // Nobody listens when the thread is gone, which the join tells.
        let _ = self.stop.send(());
        let ended = self.thread.join().expect("the containers' thread does not panic");
        ended.expect("the node's files can be written");
    }
}

struct Pace {
    bytes_per_second: u64,
    gauge: Arc<Gauge>,
    arrivals: Arc<Arrivals>,
    server: Arc<RudeElasticsearch>,
}

impl Pace {
    fn run(&self, mut writers: Vec<Writer>, stopped: &Receiver<()>) -> io::Result<()> {
        let Gauge { bytes, lines, waits } = &*self.gauge;
        let (mut began, mut owed_from) = (Instant::now(), 0);
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let enough = if waits.load(Ordering::SeqCst) {
                LOW
            } else {
                BACKLOG
            };
            let must_wait = self.gauge.backlog(&self.server) > enough;
            waits.store(must_wait, Ordering::SeqCst);
            if must_wait {
                // What was not written meanwhile is not made up for.
                (began, owed_from) = (Instant::now(), bytes.load(Ordering::SeqCst));
                continue;
            }
            let owed = owed_from + (self.bytes_per_second as f64 * began.elapsed().as_secs_f64()) as u64;
            while bytes.load(Ordering::SeqCst) < owed {
                for writer in &mut writers {
                    bytes.fetch_add(writer.write(&self.arrivals)?, Ordering::SeqCst);
                    lines.fetch_add(BURST, Ordering::SeqCst);
                }
            }
        }
        Ok(())
    }
}

struct Writer {
    log: ContainerLog,
    stream: String,
    next: u64,
    /// For each rotated file, oldest first, the line after its last one.
    ends: Vec<u64>,
    max_files: usize,
    max_size_bytes: u64,
}

impl Writer {
    fn write(&mut self, arrivals: &Arrivals) -> io::Result<u64> {
        let mut lines = Vec::with_capacity(BURST as usize * (PAD + 200));
        for _ in 0..BURST {
            let now = unix_ns();
            arrivals.on_sent(&self.stream, self.next);
            let text = message(&self.stream, self.next, now, PAD);
            lines.extend(CriDialect::Containerd.lines(now, Stream::Stdout, text.as_bytes()));
            self.next += 1;
        }
        self.log.write(&lines)?;
        if self.log.size()? >= self.max_size_bytes && self.may_rotate(arrivals) {
            self.log.remove_unused()?;
            let gone = self.log.remove_excess()?.len();
            self.ends.drain(..gone);
            self.log.rotate()?;
            self.ends.push(self.next);
        }
        Ok(lines.len() as u64)
    }

    /// kubelet would remove the oldest files: only when they are delivered.
    fn may_rotate(&self, arrivals: &Arrivals) -> bool {
        let excess = self.ends.len().saturating_sub(self.max_files.saturating_sub(2));
        excess == 0 || arrivals.has_all_before(&self.stream, self.ends[excess - 1])
    }
}
