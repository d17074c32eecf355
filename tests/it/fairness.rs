//! One loud pod beside two hundred quiet ones, and an Elasticsearch that takes less than the loud one writes: the quiet
//! ones' lines arrive soon, and all of them, whatever a full spool does. The same with `source.fair: false` is worse, or
//! the runs would prove nothing.

use crate::agent::Lodging;
use crate::traffic::{tell, unix_ns};
use longshore_kit::chance::Chance;
use longshore_kit::lines::Stream;
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::{ContainerLog, Node};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Quiet pods.
const QUIET: usize = 200;
/// Each writes a line so often.
const BEAT: Duration = Duration::from_millis(200);
/// Bytes of one write of the loud pod.
const PART: usize = 1 << 20;
/// kubelet looks after the loud pod's files so often.
const PASS: Duration = Duration::from_millis(500);
/// What the issue asks for.
const P99: Duration = Duration::from_secs(2);

/// How much is written, and how much taken.
#[derive(Clone, Copy)]
struct Load {
    /// Bytes a second of the loud pod.
    loud: f64,
    /// Bytes of bodies a second that the server takes.
    sink: u64,
    /// For so long, once the spool is full.
    time: Duration,
}

const SHORT: Load = Load {
    loud: 16e6,
    sink: 8_000_000,
    time: Duration::from_secs(6),
};

const LONG: Load = Load {
    loud: 62e6,
    sink: 20_000_000,
    time: Duration::from_secs(60),
};

/// A quiet pod's line that came.
struct Came {
    times: u32,
    /// Nanoseconds since 1970.
    written: u64,
    /// The first time.
    after: Duration,
}

/// The quiet pods' lines, by pod and number.
#[derive(Default)]
struct Lines {
    came: HashMap<(usize, u64), Came>,
}

/// What a run showed.
struct Shown {
    p99: Duration,
    missing: usize,
    doubled: usize,
    loud_rate: f64,
}

/// A thread that writes until its handle is stopped.
struct Writer<T> {
    stop: Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Writer<T> {
    fn start(write: impl FnOnce(Receiver<()>) -> T + Send + 'static) -> Writer<T> {
        let (stop, stopped) = channel();
        Writer {
            stop,
            thread: std::thread::spawn(move || write(stopped)),
        }
    }

    fn stop(self) -> T {
        drop(self.stop);
        self.thread.join().expect("the writer writes")
    }
}

/// False when the writer is to stop; else it is then.
fn wait_until(then: Instant, stopped: &Receiver<()>) -> bool {
    let left = then.saturating_duration_since(Instant::now());
    stopped.recv_timeout(left) == Err(RecvTimeoutError::Timeout)
}

/// As fast as told; gives the rate.
fn write_loud(mut log: ContainerLog, rate: f64, stopped: &Receiver<()>) -> f64 {
    let mut chance = Chance::new(7);
    let mut part = Vec::with_capacity(PART + 300);
    while part.len() < PART {
        part.extend_from_slice(b"2026-03-04T09:15:27.123456789Z stdout F loud ");
        // Hexadecimal digits: they compress by half, so that the spool fills soon.
        part.extend((0..12).flat_map(|_| format!("{:016x}", chance.next_u64()).into_bytes()));
        part.push(b'\n');
    }
    let (begun, mut written) = (Instant::now(), 0.0);
    let mut pass = begun + PASS;
    while wait_until(begun + Duration::from_secs_f64(written / rate), stopped) {
        log.write(&part).unwrap();
        written += part.len() as f64;
        if Instant::now() >= pass {
            pass += PASS;
            log.remove_excess().unwrap();
            log.rotate_rename().unwrap();
            log.rotate_reopen().unwrap();
        }
    }
    written / begun.elapsed().as_secs_f64()
}

/// A line of each pod at every beat, spread over it; gives how many each has written.
fn write_quiet(mut logs: Vec<ContainerLog>, stopped: &Receiver<()>) -> u64 {
    let (begun, count) = (Instant::now(), logs.len() as u32);
    for number in 0.. {
        for (pod, log) in logs.iter_mut().enumerate() {
            if !wait_until(begun + BEAT * number + BEAT * pod as u32 / count, stopped) && pod == 0 {
                return u64::from(number);
            }
            let now = unix_ns();
            let message = format!("quiet {pod} {number} {now} one of the lines that nobody may lose");
            log.write_line(now, Stream::Stdout, message.as_bytes()).unwrap();
        }
    }
    unreachable!("numbers end later than tests")
}

/// Pod, number and time of a quiet line.
fn quiet_line(source: &[u8]) -> Option<(usize, u64, u64)> {
    let text = std::str::from_utf8(source).ok()?;
    let mut words = text.split_once("quiet ")?.1.split(' ');
    let pod = words.next()?.parse().ok()?;
    Some((pod, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn run(what: &str, load: Load, when_full: &str, fair: bool) -> Shown {
    let memory = tempfile::Builder::new()
        .prefix("longshore-it-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    server.throttle(load.sink);
    let lines = Arc::new(Mutex::new(Lines::default()));
    let hook = Arc::clone(&lines);
    server.on_document(move |_, _, source| {
        if let Some((pod, number, written)) = quiet_line(source) {
            let after = Duration::from_nanos(unix_ns().saturating_sub(written));
            let mut lines = hook.lock().unwrap_or_else(PoisonError::into_inner);
            let came = lines.came.entry((pod, number)).or_insert(Came {
                times: 0,
                written,
                after,
            });
            came.times += 1;
        }
    });
    let mut lodging = Lodging::new(&server.url(), "logstash-%Y.%m.%d");
    let node = Node::new(memory.path()).unwrap();
    lodging.config["source"]["pod_logs_dir"] = serde_json::json!(node.pod_logs_dir());
    lodging.config["source"]["fair"] = serde_json::json!(fair);
    lodging.config["batch"] = serde_json::json!({});
    lodging.config["spool"] = serde_json::json!({
        "min_free": "0%", "max_bytes": "8MiB", "segment_bytes": "1MiB", "when_full": when_full,
    });
    let quiet: Vec<ContainerLog> = (0..QUIET)
        .map(|pod| node.pod("calm", &format!("pod-{pod}"), &format!("uid-{pod}")))
        .map(|pod| pod.container("app").unwrap())
        .collect();
    let loud = node.pod("shop", "loud", "uid-loud").container("app").unwrap();
    let mut agent = lodging.start();
    let quiet = Writer::start(move |stopped| write_quiet(quiet, &stopped));
    let loud = Writer::start(move |stopped| write_loud(loud, load.loud, &stopped));
    agent.wait_for("a full spool", |agent| {
        agent.metric("longshore_spool_full") > 0.0
            || agent.metric("longshore_spool_evicted_frames_total") > 0.0
    });
    let full_at = unix_ns();
    let over = Instant::now() + load.time;
    agent.wait_for("the end of the run", |_| Instant::now() >= over);
    let loud_rate = loud.stop();
    let written = quiet.stop();
    // What the loud pod has left is not waited for.
    let all = QUIET * written as usize;
    agent.wait_for("the quiet lines", |_| {
        let lines = lines.lock().unwrap();
        let came = lines.came.len();
        came >= all || !fair
    });
    let lines = lines.lock().unwrap();
    let missing = all.saturating_sub(lines.came.len());
    let while_full = lines.came.values().filter(|came| came.written >= full_at);
    let mut times: Vec<Duration> = while_full.map(|came| came.after).collect();
    // What is not there has not come in time.
    times.extend(std::iter::repeat_n(Duration::MAX, missing));
    times.sort_unstable();
    let shown = Shown {
        p99: times[times.len() * 99 / 100],
        missing,
        doubled: lines.came.values().filter(|came| came.times > 1).count(),
        loud_rate,
    };
    tell(&format!(
        "fairness {what}: loud {:.1} MB/s, quiet lines {all}, p50 {:?}, p99 {:?}, longest {:?}, not there {}, doubled {}",
        loud_rate / 1e6,
        times.get(times.len() / 2).copied().unwrap_or_default(),
        shown.p99,
        times
            .iter()
            .rev()
            .find(|time| **time < Duration::MAX)
            .copied()
            .unwrap_or_default(),
        shown.missing,
        shown.doubled
    ));
    drop(agent);
    shown
}

fn assert_fair(what: &str, load: Load, when_full: &str) {
    let shown = run(what, load, when_full, true);
    assert!(shown.p99 <= P99, "p99 {:?}", shown.p99);
    assert_eq!((shown.missing, shown.doubled), (0, 0));
    assert!(
        shown.loud_rate >= load.loud * 0.96,
        "only {:.0} bytes a second",
        shown.loud_rate
    );
}

#[test]
fn quiet_pods_wait_for_nobody_while_a_full_spool_blocks() {
    assert_fair("block", SHORT, "block");
}

#[test]
fn quiet_pods_lose_nothing_while_a_full_spool_drops() {
    assert_fair("drop_oldest", SHORT, "drop_oldest");
}

#[test]
fn without_shares_quiet_pods_wait_behind_the_loud_one() {
    let shown = run("off", SHORT, "block", false);
    assert!(
        shown.p99 > P99 || shown.missing > 0,
        "p99 {:?} without shares",
        shown.p99
    );
}

/// Needs the release binary: `cargo test --release`.
#[test]
#[ignore = "minutes at 60 MB/s, in release: tests/run --long"]
fn long_quiet_pods_wait_for_nobody_beside_60_mb_per_second() {
    for when_full in ["block", "drop_oldest"] {
        assert_fair(when_full, LONG, when_full);
    }
    let shown = run("off", LONG, "block", false);
    assert!(
        shown.p99 > P99 || shown.missing > 0,
        "p99 {:?} without shares",
        shown.p99
    );
}
