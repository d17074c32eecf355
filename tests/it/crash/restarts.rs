//! SIGTERM while the containers write 50 MB/s, again and again: the agent ends in time, and nothing is lost, doubled or even
//! sent again. And SIGKILL at any moment of that end, or while a spool drains.

use super::flood::Flood;
use super::signals::signal;
use crate::agent::{Agent, Lodging};
use crate::traffic::{Arrivals, seed, tell};
use longshore_kit::chance::Chance;
use longshore_kit::rude_elasticsearch::{Fault, Keeping, Odds, Refused, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use rustix::process::Signal;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Restarts, unless `LONGSHORE_RESTARTS` says otherwise.
const RESTARTS: u32 = 10;
const CONTAINERS: usize = 4;
/// What the containers write per second.
const FLOOD: u64 = 55_000_000;
/// Less than this is no flood, and fails the test.
const LEAST_FLOOD: f64 = 50.0;
/// The agent is told to end when it has read between so many bytes and twice that.
const READ: u64 = 4 << 20;
/// The end may take so long.
const END: Duration = Duration::from_secs(5);
/// Bytes of log lines that an outage puts into the spool.
const SPOOLED: u64 = 8 << 20;
/// SIGKILL comes within this after the drain has begun.
const DRAINING: Duration = Duration::from_millis(150);
/// SIGKILL comes within this after SIGTERM.
const DRAIN: Duration = Duration::from_millis(80);

/// Red without: `save_last` in `Source::run`, or the last `save_delivered` in `Spool::close` (documents are sent again);
/// `ANSWERS_WAIT` (it waits too long).
#[test]
fn crash_sigterm_under_a_flood() {
    let mut stage = Stage::new("crash_sigterm_under_a_flood");
    let (mut ends, mut floods, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..restarts() {
        let (agent, speeds) = stage.agent_at_work();
        agent.status().assert_nothing_lost();
        let told = Instant::now();
        let ended = agent.terminate();
        ends.push(told.elapsed().as_secs_f64());
        ended.assert_clean();
        floods.push(speeds.0);
        reads.push(speeds.1);
        if ends.len().is_multiple_of(50) {
            tell(&format!("{} restarts", ends.len()));
        }
    }
    tell(&format!(
        "{} restarts: the containers wrote {}, the agent read {} MB/s; from SIGTERM to the end: {} s",
        ends.len(),
        spread(&mut floods),
        spread(&mut reads),
        spread(&mut ends)
    ));
    stage.assert_all_arrive();
    let again = stage.server.duplicates_409();
    assert_eq!(again, 0, "documents sent again after clean ends");
    assert!(floods[floods.len() / 2] >= LEAST_FLOOD, "no flood");
    assert!(ends[ends.len() - 1] <= END.as_secs_f64(), "the slowest end");
}

/// Kubelet removes what was delivered and is not yet known to be: the next agent counts it as lost, and nothing is. Red
/// without what turns `crash_kill9` red.
#[test]
fn crash_sigkill_at_any_moment_of_the_end_under_a_flood() {
    let mut stage = Stage::new("crash_sigkill_at_any_moment_of_the_end_under_a_flood");
    let (mut killed, mut clean) = (0, 0);
    while killed < restarts() {
        let (agent, _) = stage.agent_at_work();
        signal(&agent, Signal::TERM);
        stage.wait(DRAIN);
        if agent.kill().status.success() {
            clean += 1;
        } else {
            killed += 1;
        }
    }
    tell(&format!(
        "{killed} killed while they ended, {clean} had ended before"
    ));
    stage.assert_all_arrive();
    tell(&format!(
        "sent again: {} documents",
        stage.server.duplicates_409()
    ));
}

/// An outage fills the spool, the server comes back, and SIGKILL strikes at any moment while the spool drains and the
/// containers go on; again and again. Red without what turns `crash_kill9` red, and when a segment is removed before its
/// frames are stored (`Mutant::SegmentRemovedUnacked`).
#[test]
fn crash_sigkill_at_any_moment_of_the_drain() {
    let mut stage = Stage::new("crash_sigkill_at_any_moment_of_the_drain");
    stage.lodging.config["spool"] = serde_json::json!({"segment_bytes": "256KiB", "min_free": "0%"});
    let (mut left, mut drained) = (Vec::new(), 0);
    for number in 1..=restarts() {
        stage
            .server
            .fault(Fault::Refuse(Refused::Unavailable503), Odds::Always);
        let mut agent = stage.lodging.start();
        agent.wait_for("it to spool", |agent| agent.status().ledger("spooled") > SPOOLED);
        stage.server.clear_faults();
        agent.wait_for("it to drain", |agent| agent.status().ledger("acked") > 0);
        stage.wait(DRAINING);
        let spooled = agent.status().ledger("spooled");
        drained += u32::from(spooled == 0);
        left.push(spooled as f64 / 1e6);
        assert!(!agent.kill().status.success());
        if number.is_multiple_of(50) {
            tell(&format!("{number} kills"));
        }
    }
    tell(&format!(
        "{} kills while the spool drained: {} MB left in it, {drained} times none",
        left.len(),
        spread(&mut left)
    ));
    stage.assert_all_arrive();
    tell(&format!(
        "sent again: {} documents",
        stage.server.duplicates_409()
    ));
    assert!(drained < restarts() / 2 + 1, "most kills came after the drain");
}

fn restarts() -> u32 {
    std::env::var("LONGSHORE_RESTARTS").map_or(RESTARTS, |restarts| {
        restarts.parse().expect("LONGSHORE_RESTARTS is a number")
    })
}

/// Least, median and greatest; sorts them.
fn spread(numbers: &mut [f64]) -> String {
    numbers.sort_by(f64::total_cmp);
    let at = |place: usize| numbers.get(place).copied().unwrap_or_default();
    let (middle, last) = (numbers.len() / 2, numbers.len().saturating_sub(1));
    format!("{:.2} … {:.2} … {:.2}", at(0), at(middle), at(last))
}

/// Two floods at once are none.
static ONE_FLOOD: Mutex<()> = Mutex::new(());

struct Stage {
    _alone: MutexGuard<'static, ()>,
    chance: Chance,
    server: Arc<RudeElasticsearch>,
    arrivals: Arc<Arrivals>,
    lodging: Lodging,
    flood: Option<Flood>,
}

impl Stage {
    fn new(test: &str) -> Stage {
        let alone = ONE_FLOOD.lock().unwrap_or_else(PoisonError::into_inner);
        let server = Arc::new(RudeElasticsearch::start());
        server.keep(Keeping::Ids);
        let arrivals = Arrivals::of(&server);
        let lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
        let node = Node::new(lodging.root()).expect("a node");
        Stage {
            _alone: alone,
            chance: Chance::new(seed(test)),
            flood: Some(Flood::start(&node, CONTAINERS, FLOOD, &arrivals, &server)),
            server,
            arrivals,
            lodging,
        }
    }

    fn flooded(&self) -> u64 {
        self.flood.as_ref().map_or(0, Flood::bytes)
    }

    /// An agent in the middle of its work, with containers that write without waiting for it, and how fast the containers wrote and it read by now, in MB/s.
    fn agent_at_work(&mut self) -> (Agent, (f64, f64)) {
        let enough = READ + self.chance.below(READ);
        let mut agent = self.lodging.start();
        agent.wait_for("it to read", |agent| agent.status().ledger("read") > 0);
        let flood = self.flood.as_ref().expect("a flood");
        agent.wait_for("the containers to write", |_| flood.is_free());
        let enough = agent.status().ledger("read") + enough;
        let (began, flooded, read) = (Instant::now(), self.flooded(), agent.status().ledger("read"));
        agent.wait_for("it to read more", |agent| agent.status().ledger("read") > enough);
        let speed =
            |before: u64, after: u64| (after - before) as f64 / 1e6 / began.elapsed().as_secs_f64().max(1e-3);
        let status = agent.status();
        let speeds = (speed(flooded, self.flooded()), speed(read, status.ledger("read")));
        (agent, speeds)
    }

    /// Lets a random part of this time pass.
    fn wait(&mut self, at_most: Duration) {
        let time = Duration::from_micros(self.chance.below(at_most.as_micros() as u64));
        // Nobody sends: a wait that ends by its time.
        let (_sender, receiver) = channel::<()>();
        assert!(receiver.recv_timeout(time).is_err());
    }

    #[track_caller]
    fn assert_all_arrive(&mut self) {
        let mut agent = self.lodging.start();
        if let Some(flood) = self.flood.take() {
            flood.stop();
        }
        let written = self.arrivals.written();
        agent.wait_for("all lines", |agent| {
            self.arrivals.has(&written) && agent.status().is_at_rest()
        });
        agent.terminate().assert_clean();
        self.arrivals.assert_exactly_once();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.arrivals.tell_lost();
        }
    }
}
