//! After an outage the spool drains while the containers go on: how fast, and how late their new lines are meanwhile.

use crate::agent::Lodging;
use crate::traffic::{tell, unix_ns};
use longshore_kit::chance::Chance;
use longshore_kit::lines::Stream;
use longshore_kit::rude_elasticsearch::{Fault, Keeping, Odds, Refused, RudeElasticsearch};
use longshore_kit::simkubelet::{ContainerLog, Node};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PODS: usize = 20;
/// Each writes a line so often.
const BEAT: Duration = Duration::from_millis(10);
/// Hexadecimal digits of a line: they compress by half.
const DIGITS: usize = 448;
/// Bytes of inflated bodies a second that the server takes: some six times what the containers make.
const SINK: u64 = 12_000_000;
/// The drain is to be so many times as fast as the containers write.
const FASTER: f64 = 3.0;
/// New lines are to be stored after this, but for one in a hundred.
const P99: Duration = Duration::from_secs(5);

/// A line that came: when it was written and when it was stored, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Came {
    written: u64,
    stored: u64,
    times: u32,
}

type Lines = Arc<Mutex<HashMap<(usize, u64), Came>>>;

/// Writes lines until it is stopped; gives how many each pod has, and bytes a second.
fn write(mut logs: Vec<ContainerLog>, stopped: &Receiver<()>) -> (u64, f64) {
    let (mut chance, begun, mut bytes) = (Chance::new(3), Instant::now(), 0);
    for number in 0_u64.. {
        let left = (begun + BEAT * number as u32).saturating_duration_since(Instant::now());
        if stopped.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
            return (number, bytes as f64 / begun.elapsed().as_secs_f64());
        }
        for (pod, log) in logs.iter_mut().enumerate() {
            let digits: String = (0..DIGITS / 16)
                .map(|_| format!("{:016x}", chance.next_u64()))
                .collect();
            let now = unix_ns();
            let message = format!("drain {pod} {number} {now} {digits}");
            log.write_line(now, Stream::Stdout, message.as_bytes()).unwrap();
            bytes += message.len() + 40;
        }
    }
    unreachable!("numbers end later than tests")
}

fn parse(source: &[u8]) -> Option<((usize, u64), u64)> {
    let text = std::str::from_utf8(source).ok()?;
    let mut words = text.split_once("drain ")?.1.split(' ');
    let line = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((line, words.next()?.parse().ok()?))
}

fn run(outage: Duration) {
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    server.throttle(SINK);
    server.fault(Fault::Refuse(Refused::Unavailable503), Odds::Always);
    let lines = Lines::default();
    let hook = Arc::clone(&lines);
    server.on_document(move |_, _, source| {
        let Some((line, written)) = parse(source) else {
            return;
        };
        let stored = unix_ns();
        let mut lines = hook.lock().unwrap_or_else(PoisonError::into_inner);
        let came = lines.entry(line).or_insert(Came {
            written,
            stored,
            times: 0,
        });
        came.times += 1;
    });
    let mut lodging = Lodging::new(&server.url(), "logstash-%Y.%m.%d");
    lodging.config["batch"] = serde_json::json!({});
    lodging.config["spool"] = serde_json::json!({"min_free": "0%", "segment_bytes": "1MiB"});
    let node = Node::new(lodging.root()).unwrap();
    let logs: Vec<ContainerLog> = (0..PODS)
        .map(|pod| node.pod("shop", &format!("pod-{pod}"), &format!("uid-{pod}")))
        .map(|pod| pod.container("app").unwrap())
        .collect();
    let mut agent = lodging.start();
    let (stop, stopped) = channel();
    let writer = std::thread::spawn(move || write(logs, &stopped));
    let over = Instant::now() + outage;
    agent.wait_for("the end of the outage", |_| Instant::now() >= over);
    server.clear_faults();
    agent.wait_for("the server to be found again", |agent| {
        agent.status().ledger("acked") > 0
    });
    let (began, begin) = (Instant::now(), unix_ns());
    let backlog = agent.status().ledger("spooled");
    agent.wait_for("the spool to be empty", |agent| {
        agent.status().ledger("spooled") == 0
    });
    let (took, end) = (began.elapsed(), unix_ns());
    drop(stop);
    let (written, rate) = writer.join().unwrap();
    let all = PODS * written as usize;
    agent.wait_for("all lines", |_| lines.lock().unwrap().len() == all);
    agent.terminate().assert_clean();

    let lines = lines.lock().unwrap();
    assert!(lines.values().all(|came| came.times == 1), "a line came twice");
    let live = lines.values().filter(|came| (begin..end).contains(&came.written));
    let mut late: Vec<u64> = live
        .map(|came| came.stored.saturating_sub(came.written))
        .collect();
    late.sort_unstable();
    assert!(late.len() > 1_000, "{} lines are no measure", late.len());
    let p99 = Duration::from_nanos(late[late.len() * 99 / 100]);
    let drain = backlog as f64 / took.as_secs_f64();
    tell(&format!(
        "drain: {:.1} MB after {outage:?} without a server, drained in {took:.1?}: {:.2} MB/s, {:.1} times the {:.2} MB/s that are \
         written; of {} new lines meanwhile half are stored after {:.0?}, 99 % after {p99:.0?}",
        backlog as f64 / 1e6,
        drain / 1e6,
        drain / rate,
        rate / 1e6,
        late.len(),
        Duration::from_nanos(late[late.len() / 2]),
    ));
    assert!(drain >= FASTER * rate, "a slow drain");
    assert!(p99 <= P99, "new lines are late");
}

/// Red when frames get no slots while new batches come, or the other way round (`next_unsent`).
#[test]
fn a_drain_is_three_times_as_fast_as_new_lines_and_these_are_not_late() {
    run(Duration::from_secs(15));
}

#[test]
#[ignore = "two minutes: tests/run unit --long"]
fn long_a_drain_after_a_minute() {
    run(Duration::from_secs(60));
}
