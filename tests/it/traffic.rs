//! Containers that write, and whose files kubelet rotates, compresses and removes, one small step at a time; and what has
//! arrived of their lines.
//!
//! [`Traffic`] lets them go on by themselves on a thread, so that an agent can be killed between any two steps. Kubelet's
//! part removes a file only when all lines of it have arrived: a node that loses lines by itself proves nothing.

use longshore_kit::chance::Chance;
use longshore_kit::lines::{CriDialect, Stream, cri_line, message};
use longshore_kit::rude_elasticsearch::RudeElasticsearch;
use longshore_kit::simkubelet::rotation::{Compressed, Compressing};
use longshore_kit::simkubelet::{ContainerLog, Node, Pod};
use longshore_kit::verifier::{Report, Verifier};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The pace: each container takes a step so often.
const STEP: Duration = Duration::from_millis(10);
/// Bytes of a line that the runtime writes in parts.
const LONG: u64 = 30_000;

/// The seed of this run: `LONGSHORE_SEED`, or another one each time. It is printed.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("LONGSHORE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| unix_ns() % 1_000_000);
    tell(&format!("{test}: LONGSHORE_SEED={seed}"));
    seed
}

/// A line for whoever runs a test with `--nocapture`, or sees it fail.
#[expect(clippy::print_stdout, reason = "what a test has to tell")]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Which lines were written and which have arrived.
#[derive(Default)]
pub(crate) struct Arrivals {
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    verifier: Verifier,
    streams: HashMap<String, Prefix>,
    removable: Option<HashMap<String, u64>>,
}

impl Tally {
    fn settle(&mut self, stream: &str, seq: u64) {
        let prefix = self.streams.entry(stream.to_owned()).or_default();
        if seq >= prefix.next {
            prefix.beyond.insert(seq);
        }
        while prefix.beyond.remove(&prefix.next) {
            prefix.next += 1;
        }
    }
}

/// Sequences of one stream: written are all below `sent`, arrived are all below `next` and those beyond.
#[derive(Default)]
struct Prefix {
    sent: u64,
    next: u64,
    beyond: BTreeSet<u64>,
}

impl Arrivals {
    /// Of all documents that this server stores.
    pub(crate) fn of(server: &RudeElasticsearch) -> Arc<Arrivals> {
        let arrivals = Arc::new(Arrivals::default());
        let hook = Arc::clone(&arrivals);
        server.on_document(move |_, _, source| hook.on_document(source));
        arrivals
    }

    /// What became of the lines up to now.
    pub(crate) fn report(&self) -> Report {
        self.tally().verifier.report()
    }

    /// Whether every line that was written has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        let report = self.report();
        report.indexed == report.written
    }

    /// Panics unless each line has arrived once, and prints the report.
    #[track_caller]
    pub(crate) fn assert_exactly_once(&self) {
        let tally = self.tally();
        tell(&tally.verifier.report().to_string());
        tally.verifier.assert_exactly_once();
    }

    /// Prints the lines that have not arrived.
    pub(crate) fn tell_lost(&self) {
        let tally = self.tally();
        let (report, lost) = (tally.verifier.report(), tally.verifier.lost(20));
        tell(&format!("{report}; not arrived: {lost:?}"));
    }

    /// Whether all lines of a stream below `seq` have arrived.
    pub(crate) fn has_all_before(&self, stream: &str, seq: u64) -> bool {
        seq == 0
            || self
                .tally()
                .streams
                .get(stream)
                .is_some_and(|prefix| prefix.next >= seq)
    }

    /// How far each stream was written by now.
    pub(crate) fn written(&self) -> Vec<(String, u64)> {
        let tally = self.tally();
        let streams = tally.streams.iter();
        streams
            .map(|(stream, prefix)| (stream.clone(), prefix.sent))
            .collect()
    }

    /// Whether all lines before these marks have arrived.
    pub(crate) fn has(&self, marks: &[(String, u64)]) -> bool {
        marks
            .iter()
            .all(|(stream, seq)| self.has_all_before(stream, *seq))
    }

    /// From now on kubelet removes only what lies before these marks, and no more all that has arrived.
    pub(crate) fn let_go(&self, before: HashMap<String, u64>) {
        self.tally().removable = Some(before);
    }

    /// Whether kubelet may remove what lies before `seq`.
    fn may_go(&self, stream: &str, seq: u64) -> bool {
        let mark = self
            .tally()
            .removable
            .as_ref()
            .map(|marks| marks.get(stream).copied().unwrap_or(0));
        mark.map_or_else(|| self.has_all_before(stream, seq), |mark| mark >= seq)
    }

    /// A line is about to be written.
    pub(crate) fn on_sent(&self, stream: &str, seq: u64) {
        let mut tally = self.tally();
        tally.verifier.sent(stream, seq);
        tally.streams.entry(stream.to_owned()).or_default().sent = seq + 1;
    }

    /// The server refuses this line for good, so it will not arrive there: for kubelet it has.
    pub(crate) fn on_refused(&self, stream: &str, seq: u64) {
        self.tally().settle(stream, seq);
    }

    /// A line has come to rest in the dead-letter file, which counts as an arrival.
    pub(crate) fn on_dead_letter(&self, document: &[u8]) {
        self.on_document(document);
    }

    fn on_document(&self, source: &[u8]) {
        let mut tally = self.tally();
        tally.verifier.arrived(source);
        for found in longshore_kit::lines::find_messages(source).flatten() {
            tally.settle(found.stream, found.seq);
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One container that a test drives line by line.
pub(crate) struct Solo {
    pub(crate) pod: Pod,
    pub(crate) log: ContainerLog,
    /// Bytes that were written in all.
    pub(crate) bytes: u64,
    stream: String,
    next: u64,
    arrivals: Arc<Arrivals>,
}

impl Solo {
    /// Container `app` of a pod in namespace `shop` on `node`; the pod's uid is `uid-<name>`.
    pub(crate) fn new(node: &Node, name: &str, arrivals: &Arc<Arrivals>) -> Solo {
        let pod = node.pod("shop", name, &format!("uid-{name}"));
        Solo {
            log: pod.container("app").expect("a log file"),
            pod,
            bytes: 0,
            stream: name.to_owned(),
            next: 0,
            arrivals: Arc::clone(arrivals),
        }
    }

    /// Writes messages with `pad` bytes of padding each; returns the bytes that this took.
    pub(crate) fn write(&mut self, messages: u64, pad: usize) -> u64 {
        let before = self.bytes;
        for _ in 0..messages {
            self.write_message(pad, "");
        }
        self.bytes - before
    }

    /// Writes a message, and more text behind it on the same line; returns the bytes of both.
    pub(crate) fn write_message(&mut self, pad: usize, more: &str) -> usize {
        let now = unix_ns();
        let text = message(&self.stream, self.next, now, pad) + more;
        self.arrivals.on_sent(&self.stream, self.next);
        self.next += 1;
        self.write_raw(&cri_line(
            &CriDialect::Containerd.stamp(now),
            Stream::Stdout,
            "F",
            text.as_bytes(),
        ));
        text.len()
    }

    /// Writes these bytes, whatever they are.
    pub(crate) fn write_raw(&mut self, bytes: &[u8]) {
        self.log.write(bytes).expect("the node's files can be written");
        self.bytes += bytes.len() as u64;
    }
}

/// Some containers, each in a pod of its own.
pub(crate) struct Containers {
    writers: Vec<Writer>,
    chance: Chance,
    arrivals: Arc<Arrivals>,
    bytes: Arc<AtomicU64>,
    rotations: u64,
    restarts: u64,
}

impl Containers {
    /// `count` containers on `node`, which say what they write to `arrivals`.
    pub(crate) fn new(node: &Node, count: usize, seed: u64, arrivals: &Arc<Arrivals>) -> Containers {
        let writer = |number: usize| {
            let pod = node.pod("shop", &format!("web-{number}"), &format!("uid-{number}"));
            Writer {
                log: pod.container("app").expect("a log file"),
                stream: format!("web-{number}"),
                max_files: node.config().max_files,
                max_size_bytes: node.config().max_size_bytes,
                next: 0,
                began: 0,
                ends: Vec::new(),
                pass: Pass::Waits,
                open: Vec::new(),
            }
        };
        Containers {
            writers: (0..count).map(writer).collect(),
            chance: Chance::new(seed),
            arrivals: Arc::clone(arrivals),
            bytes: Arc::default(),
            rotations: 0,
            restarts: 0,
        }
    }

    /// Bytes that were written in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    /// So many steps, with no line left open.
    ///
    /// # Panics
    /// When the node's files cannot be written.
    pub(crate) fn steps(&mut self, count: u32) {
        let done = (0..count).try_for_each(|_| self.step());
        done.and_then(|()| self.finish_lines())
            .expect("the node's files can be written");
    }

    /// How often files were rotated, and containers started again.
    pub(crate) fn turned_over(&self) -> (u64, u64) {
        (self.rotations, self.restarts)
    }
}

/// What a step of kubelet came to.
enum Turned {
    Nothing,
    Rotated,
    Restarted,
}

/// How far kubelet's pass over a container's files is.
enum Pass {
    Waits,
    Compresses,
    HasTmp(Compressing),
    HasBoth(Compressed),
    Renamed,
}

struct Writer {
    log: ContainerLog,
    stream: String,
    max_files: usize,
    max_size_bytes: u64,
    next: u64,
    /// The first line of the running instance.
    began: u64,
    /// For each rotated file of the running instance, oldest first, the line after its last one.
    ends: Vec<u64>,
    pass: Pass,
    /// The end of a long line whose first part is written.
    open: Vec<u8>,
}

impl Writer {
    /// Some lines; now and then a long one, of which only the first part is written before the next step.
    fn write(&mut self, chance: &mut Chance, arrivals: &Arrivals) -> io::Result<u64> {
        let mut bytes = self.finish_line()?;
        for _ in 0..chance.below(8) {
            let line = self.line(chance.below(200), arrivals);
            self.log.write(&line)?;
            bytes += line.len() as u64;
        }
        if chance.hit(0.01) {
            let line = self.line(LONG, arrivals);
            let last = line[..line.len() - 1]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            self.log.write(&line[..last])?;
            self.open = line[last..].to_vec();
            bytes += last as u64;
        }
        Ok(bytes)
    }

    fn line(&mut self, pad: u64, arrivals: &Arrivals) -> Vec<u8> {
        let now = unix_ns();
        let text = message(&self.stream, self.next, now, pad as usize);
        arrivals.on_sent(&self.stream, self.next);
        self.next += 1;
        CriDialect::Containerd.lines(now, Stream::Stdout, text.as_bytes())
    }

    fn finish_line(&mut self) -> io::Result<u64> {
        let rest = std::mem::take(&mut self.open);
        self.log.write(&rest)?;
        Ok(rest.len() as u64)
    }

    /// One step of kubelet.
    fn turn_over(&mut self, chance: &mut Chance, arrivals: &Arrivals) -> io::Result<Turned> {
        let mut turned = Turned::Nothing;
        self.pass = match std::mem::replace(&mut self.pass, Pass::Waits) {
            Pass::Waits if self.may_restart(chance, arrivals) => {
                self.log.restart()?;
                self.began = self.next;
                self.ends.clear();
                turned = Turned::Restarted;
                Pass::Waits
            }
            Pass::Waits if self.log.size()? >= self.max_size_bytes && self.may_rotate(arrivals) => {
                self.log.remove_unused()?;
                let gone = self.log.remove_excess()?.len();
                self.ends.drain(..gone);
                Pass::Compresses
            }
            Pass::Waits => Pass::Waits,
            Pass::Compresses => match self.log.compress_begin()? {
                Some(tmp) => Pass::HasTmp(tmp),
                None => {
                    self.log.rotate_rename()?;
                    Pass::Renamed
                }
            },
            Pass::HasTmp(tmp) => Pass::HasBoth(tmp.commit()?),
            Pass::HasBoth(both) => {
                both.unlink_plain()?;
                Pass::Compresses
            }
            Pass::Renamed if chance.hit(0.1) => {
                self.log.rotate_rename_back()?;
                Pass::Waits
            }
            Pass::Renamed if chance.hit(0.5) => {
                self.log.rotate_reopen()?;
                self.ends.push(self.next);
                turned = Turned::Rotated;
                Pass::Waits
            }
            Pass::Renamed => Pass::Renamed,
        };
        Ok(turned)
    }

    /// kubelet would remove the oldest files: only when they are delivered.
    fn may_rotate(&self, arrivals: &Arrivals) -> bool {
        let excess = self.ends.len().saturating_sub(self.max_files.saturating_sub(2));
        excess == 0 || arrivals.may_go(&self.stream, self.ends[excess - 1])
    }

    /// A restart removes what is left of the instance before.
    fn may_restart(&self, chance: &mut Chance, arrivals: &Arrivals) -> bool {
        chance.hit(0.002) && self.open.is_empty() && arrivals.may_go(&self.stream, self.began)
    }
}

/// What goes on in small steps while an agent is watched.
pub(crate) trait Writes: Send + 'static {
    /// One step of each container and of its kubelet.
    ///
    /// # Errors
    /// When the node's files cannot be written.
    fn step(&mut self) -> io::Result<()>;

    /// Ends lines of which only a part was written.
    ///
    /// # Errors
    /// As `step`.
    fn finish_lines(&mut self) -> io::Result<()>;

    /// For whoever reads what a test says.
    fn told(&self) -> String;
}

impl Writes for Containers {
    fn step(&mut self) -> io::Result<()> {
        for writer in &mut self.writers {
            let bytes = writer.write(&mut self.chance, &self.arrivals)?;
            self.bytes.fetch_add(bytes, Ordering::SeqCst);
            match writer.turn_over(&mut self.chance, &self.arrivals)? {
                Turned::Nothing => {}
                Turned::Rotated => self.rotations += 1,
                Turned::Restarted => self.restarts += 1,
            }
        }
        Ok(())
    }

    fn finish_lines(&mut self) -> io::Result<()> {
        for writer in &mut self.writers {
            let bytes = writer.finish_line()?;
            self.bytes.fetch_add(bytes, Ordering::SeqCst);
        }
        Ok(())
    }

    fn told(&self) -> String {
        format!("{} rotations, {} bytes", self.rotations, self.bytes())
    }
}

/// Containers that go on by themselves until they are stopped.
pub(crate) struct Traffic<W = Containers> {
    stop: Sender<()>,
    ended: Receiver<()>,
    paused: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<W>>,
}

impl<W: Writes> Traffic<W> {
    /// Lets them go.
    pub(crate) fn start(containers: W) -> Traffic<W> {
        let (stop, stopped) = channel();
        let (ending, ended) = channel();
        let paused = Arc::<AtomicBool>::default();
        let pauses = Arc::clone(&paused);
        let thread = std::thread::spawn(move || {
            let _ending: Sender<()> = ending;
            run(containers, &stopped, &pauses)
                .inspect_err(|error| tell(&format!("the containers have ended: {error}")))
        });
        Traffic {
            stop,
            ended,
            paused,
            thread,
        }
    }

    /// From now on nothing is written, and no line is left open; or they go on.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// Goes on for so long.
    ///
    /// # Panics
    /// When the node's files cannot be written any more.
    #[track_caller]
    pub(crate) fn run_for(&self, time: Duration) {
        let ended = self.ended.recv_timeout(time);
        assert_eq!(ended, Err(RecvTimeoutError::Timeout), "the containers have ended");
    }

    /// Stops them, with no line left open.
    #[track_caller]
    pub(crate) fn stop(self) -> W {
        // Nobody listens when the thread is gone, which the join tells.
        let _ = self.stop.send(());
        let ended = self.thread.join().expect("the containers' thread does not panic");
        ended.expect("the node's files can be written")
    }
}

fn run<W: Writes>(mut containers: W, stopped: &Receiver<()>, paused: &AtomicBool) -> io::Result<W> {
    while stopped.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
        if paused.load(Ordering::SeqCst) {
            containers.finish_lines()?;
        } else {
            containers.step()?;
        }
    }
    containers.finish_lines()?;
    Ok(containers)
}
