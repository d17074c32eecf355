//! SIGKILL while a real containerd writes the logs: its lines, its rotations, its partial lines of both outputs. Kubelet's
//! part is the simulated one's, with the runtime's own reopening in the place of ours.

use super::mounts::left_out;
use super::scene::{Scene, node_config};
use crate::agent::PATIENCE;
use crate::traffic::{Arrivals, Writes, tell, unix_ns};
use longshore_kit::chance::Chance;
use longshore_kit::containerd::{Containerd, ContainerdDisk};
use longshore_kit::lines::cri::CONTAINERD_SPLIT_BYTES;
use longshore_kit::lines::{Stream, find_message, message};
use longshore_kit::rude_elasticsearch::{Document, Fault, Keeping, Odds};
use longshore_kit::runtime::RuntimeError;
use longshore_kit::simkubelet::{ContainerLog, Node};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TEST: &str = "crash_under_a_real_containerd";
/// At least so many kills, lines and rotations.
const KILLS: u32 = 12;
const LINES: u64 = 24_000;
const ROTATIONS: u64 = 20;
/// A life of the agent is a random part of this.
const LIFE: Duration = Duration::from_millis(2_500);
/// One life in three the server takes so many bytes a second, so that there is always something on its way; and one in three
/// it refuses everything, so that the spool is in use.
const SLOW: u64 = 150_000;
const CUT: f64 = 0.02;
/// The container is started again after so many lines.
const RESTART: u64 = LINES / 2;
/// So many lines are printed at once, or fewer, to standard output and to standard error.
const BURSTS: [u64; 2] = [60, 8];
/// The last line of a burst is, so often, longer than containerd writes in one piece.
const LONG: f64 = 0.05;
const LONG_PAD: u64 = 60_000;
/// That one, and any other last line so often, is printed in two parts; the second comes in each step as often as that.
const PARTS: f64 = 0.1;
const SECOND_PART: f64 = 0.2;

/// Red without the `unacked` candidate in `checkpoints::commit` (lines lost), `Registry::claim` in `Instance::identify` (lines
/// twice), an open message for each output in `Partials` or an end of a message across a rotation (halves arrive); now and then
/// without `on_joined` in `Source::collect`. And when a process or a mount of containerd is left.
#[test]
fn crash_under_a_real_containerd() {
    let containerd = match Containerd::start(&client()) {
        Ok(containerd) => containerd,
        Err(RuntimeError::Missing(why)) => return left_out(TEST, &why),
        Err(error) => panic!("{error}"),
    };
    let figures = Arc::<Mutex<Figures>>::default();
    let mut scene = Scene::of(TEST, |root, seed, arrivals| {
        let disk = containerd.disk(&root.join("pods"))?;
        let node = Node::on(Arc::new(disk.clone()), root, node_config())?;
        let program = Program::start(&node, disk, seed, arrivals, &figures)?;
        Ok((node, program))
    });
    scene.server.keep(Keeping::Documents);
    let mut kills = 0;
    while kills < KILLS || lock(&figures).lines < LINES {
        scene.server.fault(Fault::CommitThenCut, Odds::Probability(CUT));
        let agent = scene.lodging.start();
        match kills % 3 {
            0 => scene.server.throttle(SLOW),
            1 => scene.outage(),
            _ => {}
        }
        scene.run_for_some_of(LIFE);
        agent.kill();
        assert!(scene.server.wait_for_disconnection(PATIENCE));
        scene.outage_ends();
        scene.server.throttle(0);
        kills += 1;
    }
    let agent = scene.lodging.start();
    scene.assert_all_arrive(agent);
    let documents = scene.server.documents("logs-*");
    let disorder = out_of_order(&documents);
    let version = containerd.version().to_owned();
    let leftovers = containerd.stop();
    tell(&format!(
        "containerd: {version}: {}; {kills} kills; {}; out of order {}; sent again {}",
        lock(&figures),
        scene.arrivals.report(),
        disorder.len(),
        scene.server.duplicates_409(),
    ));
    assert!(
        disorder.is_empty(),
        "lines whose stamp is older than that of the one before: {disorder:?}"
    );
    assert_eq!(leftovers, [""; 0], "what containerd left");
    let figures = lock(&figures);
    assert!(
        figures.rotations >= ROTATIONS && figures.restarts == 1,
        "{figures}"
    );
    assert!(
        figures.long > 0 && figures.errors > 0 && figures.parts > 0,
        "{figures}"
    );
}

/// The program that speaks CRI, where `tests/run crash` builds it: beside the folder of our own binary.
fn client() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_longshore"));
    path.pop();
    path.pop();
    path.join("containerd/debug/cri")
}

/// Lines that are stamped before the one that their program printed before, both with their stamps; also makes sure that each
/// came from the right output.
fn out_of_order(documents: &[Document]) -> Vec<[(u64, String); 2]> {
    let mut streams: HashMap<String, Vec<(u64, String)>> = HashMap::new();
    for document in documents {
        let source: Value = serde_json::from_slice(&document.source).expect("JSON");
        let (_, found) = find_message(&document.source).expect("a message");
        assert_eq!(source["stream"], found.stream, "{source}");
        let stamp = source["@timestamp"].as_str().expect("a stamp").to_owned();
        let lines = streams.entry(found.stream.to_owned()).or_default();
        lines.push((found.seq, stamp));
    }
    assert_eq!(streams.len(), 2, "both outputs");
    let disorder = streams.values_mut().flat_map(|lines| {
        lines.sort_unstable();
        let pairs = lines.array_windows();
        // Stamps have one width, so that their order is that of their texts.
        pairs.filter(|[before, after]| after.1 < before.1).cloned()
    });
    disorder.collect()
}

/// What was printed, and what became of its files.
#[derive(Default)]
struct Figures {
    lines: u64,
    /// Of those, on standard error.
    errors: u64,
    /// Longer than containerd writes in one piece.
    long: u64,
    /// Printed in two parts.
    parts: u64,
    rotations: u64,
    restarts: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            lines,
            errors,
            long,
            parts,
            rotations,
            restarts,
        } = self;
        write!(
            out,
            "{lines} lines ({errors} on stderr, {long} over 16 KiB, {parts} printed in two parts), \
             {rotations} rotations, {restarts} container restart"
        )
    }
}

fn lock(figures: &Mutex<Figures>) -> MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A container that prints on both of its outputs, and its kubelet.
struct Program {
    disk: ContainerdDisk,
    log: ContainerLog,
    max_size_bytes: u64,
    outputs: [Output; 2],
    is_renamed: bool,
    chance: Chance,
    arrivals: Arc<Arrivals>,
    figures: Arc<Mutex<Figures>>,
}

/// One of its outputs.
struct Output {
    stream: Stream,
    next: u64,
    /// The end of a line whose first part is printed.
    open: Vec<u8>,
}

impl Program {
    fn start(
        node: &Node,
        disk: ContainerdDisk,
        seed: u64,
        arrivals: &Arc<Arrivals>,
        figures: &Arc<Mutex<Figures>>,
    ) -> io::Result<Program> {
        let pod = node.pod("shop", "web-0", "6f1d3b1e-9a34-4c0f-8f0e-0d4c7c5e2a11");
        let output = |stream| Output {
            stream,
            next: 0,
            open: Vec::new(),
        };
        Ok(Program {
            disk,
            log: pod.container("app")?,
            max_size_bytes: node.config().max_size_bytes,
            outputs: [Stream::Stdout, Stream::Stderr].map(output),
            is_renamed: false,
            chance: Chance::new(seed),
            arrivals: Arc::clone(arrivals),
            figures: Arc::clone(figures),
        })
    }

    /// A burst of lines on one output; of the last one maybe only the first part.
    fn print(&mut self, at: usize) -> io::Result<()> {
        if !self.outputs[at].open.is_empty() && !self.chance.hit(SECOND_PART) {
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.outputs[at].open);
        let mut count = self.chance.below(BURSTS[at]);
        while count > 0 {
            count -= 1;
            let mut pad = self.chance.below(200);
            let is_long = count == 0 && self.chance.hit(LONG);
            if is_long {
                pad = CONTAINERD_SPLIT_BYTES as u64 + self.chance.below(LONG_PAD);
                lock(&self.figures).long += 1;
            }
            let line = self.line(at, pad);
            let mut now = line.len();
            if is_long || (count == 0 && self.chance.hit(PARTS)) {
                now = self.chance.below(now as u64) as usize;
                lock(&self.figures).parts += 1;
            }
            text.extend(&line[..now]);
            self.outputs[at].open = line[now..].to_vec();
        }
        self.disk.print(&self.log.dir(), self.outputs[at].stream, &text)
    }

    fn line(&mut self, at: usize, pad: u64) -> Vec<u8> {
        let Output { stream, next, .. } = &mut self.outputs[at];
        let (name, seq) = (stream.as_str(), *next);
        *next += 1;
        self.arrivals.on_sent(name, seq);
        let mut figures = lock(&self.figures);
        figures.lines += 1;
        figures.errors += u64::from(*stream == Stream::Stderr);
        let mut line = message(name, seq, unix_ns(), pad as usize).into_bytes();
        line.push(b'\n');
        line
    }

    /// One step of kubelet: between the rename and the reopening the container prints.
    fn turn_over(&mut self) -> io::Result<()> {
        let (lines, restarts) = {
            let figures = lock(&self.figures);
            (figures.lines, figures.restarts)
        };
        if self.is_renamed {
            self.log.rotate_reopen()?;
            self.is_renamed = false;
            lock(&self.figures).rotations += 1;
        } else if restarts == 0 && lines >= RESTART {
            self.finish_lines()?;
            self.log.restart()?;
            lock(&self.figures).restarts += 1;
        } else if self.log.size()? >= self.max_size_bytes {
            self.log.remove_unused()?;
            while self.log.compress_next()?.is_some() {}
            self.log.rotate_rename()?;
            self.is_renamed = true;
        }
        Ok(())
    }
}

impl Writes for Program {
    fn step(&mut self) -> io::Result<()> {
        for at in 0..self.outputs.len() {
            self.print(at)?;
        }
        self.turn_over()
    }

    fn finish_lines(&mut self) -> io::Result<()> {
        for output in &mut self.outputs {
            let rest = std::mem::take(&mut output.open);
            self.disk.print(&self.log.dir(), output.stream, &rest)?;
        }
        Ok(())
    }

    fn told(&self) -> String {
        lock(&self.figures).to_string()
    }
}
