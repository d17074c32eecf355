//! One run: a node with a few lines, the stages, a scripted server; the end, and the oracle.
//!
//! The oracle: after the end, every line before an offset of the checkpoint is in the server, in the spool, or in the
//! dead-letter file; a clean end has all lines that were read there, and the checkpoint behind the last of them.

use crate::disk::{Failure, NodeSide, OpKind, STATE_DIR, SimDisk};
use longshore::agent::stages::{Parts, Stages};
use longshore::batch::Limits;
use longshore::checkpoint::disk::CheckpointFolder;
use longshore::config::{Config, DocumentId, IndexPattern, JsonMode, LabelDots, MessageKey, MinFree};
use longshore::disk::Disk;
use longshore::enrich::cache::Directory;
use longshore::flow::backoff::Backoff;
use longshore::flow::budget::Budget;
use longshore::record::Encoding;
use longshore::sink::disk::DeadLetterFile;
use longshore::sink::elasticsearch::client::{Answer, Bulk};
use longshore::sink::elasticsearch::encode::EncodeConfig;
use longshore::sink::elasticsearch::flight::{FlightConfig, Ids};
use longshore::sink::elasticsearch::hosts::HostId;
use longshore::sink::elasticsearch::response::{Problem, RequestVerdict, Verdict};
use longshore::sink::elasticsearch::schema::Layout;
use longshore::sink::elasticsearch::task::Post;
use longshore::source::task::Setup;
use longshore::spool::disk::{Reading, Spool};
use longshore::spool::index::{Quota, WhenFull};
use longshore::sync::model::{Limits as Timeouts, set_limits};
use longshore::sync::mpsc::{Sender, channel};
use longshore::sync::tokio::sync::watch;
use longshore::telemetry::board::Board;
use longshore_kit::simkubelet::disk::NodeDisk;
use shuttle::rand::{Rng, thread_rng};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Server {
    /// It stores everything.
    Up,
    /// It cannot be reached.
    Down,
    /// It stores, refuses, rejects, and is away, as chance will have it.
    Moody,
}

/// What a check is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) server: Server,
    /// The budget is used up by one batch.
    pub(crate) room_for_one: bool,
    /// Waits with a limit may come to it.
    pub(crate) timeouts: bool,
    /// The first syncs of the last checkpoint fail.
    pub(crate) disk_fails: bool,
}

const CONTAINERS: usize = 3;
const LINES: usize = 2;

/// Every line is as long as the others, so that an offset says how many lines lie before it.
fn line(container: usize, number: usize) -> String {
    format!("2026-11-21T10:00:0{number}.000000000Z stdout F c{container}n{number}.\n")
}

fn write_logs(disk: &Arc<SimDisk>) {
    let node = NodeSide(Arc::clone(disk));
    for container in 0..CONTAINERS {
        let folder = format!("/var/log/pods/ns_pod{container}_0000-{container}/app");
        node.make_dirs(Path::new(&folder)).unwrap();
        let mut file = node
            .open_append(&Path::new(&folder).join("0.log"), 0o640)
            .unwrap();
        for number in 0..LINES {
            file.append(line(container, number).as_bytes()).unwrap();
        }
    }
}

/// The lines that these bytes hold.
fn lines_in(bytes: &[u8]) -> BTreeSet<(usize, usize)> {
    let text = String::from_utf8_lossy(bytes);
    let all = (0..CONTAINERS).flat_map(|container| (0..LINES).map(move |number| (container, number)));
    all.filter(|(container, number)| text.contains(&format!("c{container}n{number}.")))
        .collect()
}

/// The server: what it stored, and whom it tells.
struct Scripted {
    server: Server,
    stored: Arc<Mutex<BTreeSet<(usize, usize)>>>,
    asked: Sender<()>,
}

fn problem(status: u16) -> Problem {
    Problem {
        status,
        kind: "scripted".into(),
        reason: String::new(),
    }
}

fn items(verdict: &Verdict, documents: usize) -> RequestVerdict {
    RequestVerdict::Items(std::iter::repeat_n(verdict.clone(), documents).collect())
}

impl Scripted {
    fn answer(&self, bytes: &[u8], documents: usize) -> RequestVerdict {
        let store = || {
            self.stored.lock().unwrap().extend(lines_in(bytes));
            items(&Verdict::Accepted, documents)
        };
        match (self.server, thread_rng().gen_range(0..6)) {
            (Server::Up, _) | (Server::Moody, 0 | 1) => store(),
            (Server::Moody, 2) => {
                store();
                RequestVerdict::Retry(problem(0))
            }
            (Server::Moody, 3) => items(&Verdict::Retry(problem(429).into()), documents),
            (Server::Moody, 4) => items(&Verdict::Refused(problem(400).into()), documents),
            (Server::Moody | Server::Down, _) => RequestVerdict::Retry(problem(0)),
        }
    }
}

impl Post for Scripted {
    async fn post(&self, _: HostId, bulk: Bulk) -> Answer {
        assert_eq!(
            bulk.encoding,
            Encoding::Identity,
            "the scene reads what is posted"
        );
        shuttle::future::yield_now().await;
        let verdict = self.answer(&bulk.bytes, bulk.documents);
        shuttle::future::yield_now().await;
        // Nobody listens when the run is at its end.
        let _ = self.asked.send(());
        Answer {
            verdict,
            host: None,
            retry_after: None,
            places: None,
        }
    }

    async fn look_up(&self, _: HostId, names: Vec<(String, String)>) -> Answer {
        unreachable!("nothing is looked up here: {names:?}")
    }
}

/// The reader's part of the agent's config.
fn setup(
    disk: &Disk,
    folder: &CheckpointFolder,
    wires: longshore::agent::stages::Wires,
    board: &Arc<Board>,
) -> Setup {
    let mut source = Config::default().source;
    source.pod_logs_dir = "/var/log/pods".into();
    source.containers_dir = "/var/log/containers".into();
    Setup {
        source,
        metadata_wait: Duration::ZERO,
        limits: Limits {
            max_bytes: 1 << 20,
            max_documents: 1,
            max_age: Duration::from_secs(1),
            seed: 0,
        },
        round_bytes: 1 << 20,
        encode: EncodeConfig {
            layout: Layout::Fluentd {
                message_key: MessageKey::Message,
                include_tag: false,
                label_dots: LabelDots::Replace,
            },
            index: IndexPattern::default(),
            document_id: DocumentId::Deterministic,
            json: JsonMode::Off,
        },
        compression: 0,
        disk: Disk::clone(disk),
        loaded: folder.load(),
        directory: Arc::new(Directory::off("node")),
        budget: wires.budget,
        board: Arc::clone(board),
        batches: wires.batches,
        saves: wires.saves,
        // The kernel's watch would speak from outside the model.
        notes: None,
    }
}

fn open_spool(disk: &Disk) -> (Spool, longshore::spool::disk::Recovered) {
    let quota = Quota {
        max_bytes: 1 << 20,
        segment_bytes: 1 << 16,
        when_full: WhenFull::Block,
    };
    Spool::open(disk, Path::new(STATE_DIR), quota, MinFree::Bytes(0)).unwrap()
}

/// Runs the stages from start to end, then asks the oracle.
pub(crate) fn run(plan: Plan) {
    set_limits(if plan.timeouts {
        Timeouts::EndAnyTime
    } else {
        Timeouts::NeverEnd
    });
    let sim = SimDisk::new(1);
    write_logs(&sim);
    let disk: Disk = sim.agent();
    let state = Path::new(STATE_DIR);
    let folder = CheckpointFolder::open(&disk, state).unwrap();
    let (spool, recovered) = open_spool(&disk);
    let board = Arc::new(Board::default());
    let stored = Arc::new(Mutex::new(BTreeSet::new()));
    let (asked, asked_out) = channel();
    let (stop, stop_out) = watch::channel(false);
    let memory = if plan.room_for_one { 1 } else { 1 << 20 };
    let parts = Parts {
        folder: folder.clone(),
        spool,
        found: recovered.frames,
        dead_letters: DeadLetterFile::open(&disk, state, 1 << 20).unwrap(),
        client: Scripted {
            server: plan.server,
            stored: Arc::clone(&stored),
            asked,
        },
        flight: FlightConfig {
            hosts: 1,
            first_slots: 2,
            max_in_flight: 2,
            backlog_share: 50,
            compression: 0,
            body_bytes: 1 << 20,
            memory: 1 << 20,
            backoff: Backoff::SERVER,
            hedge_after: None,
            lanes: true,
            lane_bytes: 1 << 20,
            when_letters_full: longshore::config::WhenLettersFull::Block,
            letter_bytes: 1 << 20,
            ids: Ids::Ours,
        },
        seed: 1,
        budget: Arc::new(Budget::new(memory)),
        board: Arc::clone(&board),
        stop: stop_out,
    };
    let stages = Stages::start(parts, |wires| setup(&disk, &folder, wires, &board)).unwrap();
    // The stop comes when something is on its way; without timeouts, when all lines were read, for which the reader must
    // have been woken.
    match (plan.timeouts, plan.server) {
        (false, Server::Up) => (0..CONTAINERS * LINES).for_each(|_| asked_out.recv().unwrap()),
        _ => asked_out.recv().unwrap(),
    }
    if plan.disk_fails {
        sim.fail(Failure {
            kind: OpKind::Sync,
            on_state: true,
            times: 1,
        });
    }
    let ended = shuttle::future::block_on(stages.stop(&stop)).unwrap();
    sim.heal();
    drop(disk);

    let disk: Disk = sim.agent();
    let safe = safe_lines(&disk, &stored.lock().unwrap(), &sim);
    let checkpoint = CheckpointFolder::open(&disk, state).unwrap().load().checkpoint;
    let length = line(0, 0).len() as u64;
    for entry in &checkpoint.entries {
        let container: usize = entry.pod.trim_start_matches("pod").parse().unwrap();
        for number in 0..(entry.offset / length) as usize {
            assert!(
                safe.contains(&(container, number)),
                "line {number} of container {container} lies before the checkpoint and rests nowhere"
            );
        }
    }
    let read = board.ledger().read() / length;
    if ended.clean {
        let before: u64 = checkpoint.entries.iter().map(|entry| entry.offset / length).sum();
        assert_eq!(safe.len() as u64, read, "a clean end leaves no line behind");
        assert!(
            before == read || plan.timeouts && plan.disk_fails,
            "{before} of {read} lines are in the checkpoint"
        );
    }
    assert!(ended.clean || plan.timeouts, "not clean: {ended:?}");
}

/// The lines that rest somewhere.
fn safe_lines(
    disk: &Disk,
    stored: &BTreeSet<(usize, usize)>,
    sim: &Arc<SimDisk>,
) -> BTreeSet<(usize, usize)> {
    let (mut spool, recovered) = open_spool(disk);
    let mut safe = stored.clone();
    for found in &recovered.frames {
        if let Reading::Frame(frame) = spool.read(found.sequence) {
            safe.extend(lines_in(&frame.body.bytes));
        }
    }
    let letters = sim.bytes(&Path::new(STATE_DIR).join("dead-letter/dead-letter.ndjson"));
    safe.extend(lines_in(&letters.unwrap_or_default()));
    safe
}
