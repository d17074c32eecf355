//! SIGTERM with work left: it ends in time, says what stays, and the next start delivers it.

use crate::agent::{Ended, Lodging, PATIENCE};
use crate::traffic::{Arrivals, Containers, Solo, seed, tell};
use longshore_kit::rude_elasticsearch::{Fault, Keeping, Odds, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The agent promises 5 s; a loaded machine gets twice that.
const END: Duration = Duration::from_secs(10);
/// Lines that are written into a file after it was deleted: more than one read, so that a reader who is told to stop has
/// them only when he goes for them.
const LAST_WORDS: u64 = 2_500;

/// Red without: `Flight::on_shutdown` (what stalls is neither sent nor spooled); `drain_deleted` in `Source::run` (the last
/// words are lost); the frames of `Task::recover` (what stays is not sent).
#[test]
fn crash_sigterm() {
    let stage = Stage::new();
    stage
        .server
        .fault(Fault::StallBeforeCommit(Duration::from_secs(3600)), Odds::Always);
    let mut containers = Containers::new(&stage.node, 3, seed("crash_sigterm"), &stage.arrivals);
    containers.steps(200);
    let mut doomed = Solo::new(&stage.node, "doomed", &stage.arrivals);
    doomed.write(10, 50);

    let mut agent = stage.lodging.start();
    let written = containers.bytes() + doomed.bytes;
    agent.wait_for("all to be read and some of it spooled", |agent| {
        let status = agent.status();
        status.ledger("read") == written && status.documents("spooled") > 0
    });
    let stalled = stage.server.wait_for_stalled(1, PATIENCE);
    assert!(stalled, "a request waits for its answer");
    doomed.pod.remove_files().unwrap();
    doomed.write(LAST_WORDS, 50);
    let told = Instant::now();
    let ended = agent.terminate();
    let took = told.elapsed();
    ended.assert_clean();
    let stays = stays_spooled(&ended);
    tell(&format!("it ended after {took:?}: {}", ended.last_line()));
    assert!(took < END, "it took {took:?}");
    // Nothing was answered, so everything stays.
    assert_eq!(stays, containers.bytes() + doomed.bytes);

    stage.server.clear_faults();
    stage.server.release();
    let mut agent = stage.lodging.start();
    let status = agent.wait_until_delivered(stays);
    assert_eq!(status.ledger("recovered"), stays);
    assert_eq!(status.ledger("read"), 0, "nothing is read again");
    status.assert_nothing_lost();
    let ended = agent.terminate();
    ended.assert_clean();
    assert_eq!(stays_spooled(&ended), 0);
    stage.arrivals.assert_exactly_once();
}

/// The deletion is news to the agent when it is told to end. Red without: the listing in `Source::drain_deleted`; `is_some`
/// in `Container::list_when_due` (a directory that is gone looks like one that was just changing).
#[test]
fn crash_sigterm_drains_a_file_that_was_deleted_a_moment_before() {
    let stage = Stage::new();
    let mut doomed = Solo::new(&stage.node, "doomed", &stage.arrivals);
    doomed.write(10, 50);
    let mut agent = stage.lodging.start();
    agent.wait_until_delivered(doomed.bytes);
    doomed.pod.delete_pod().unwrap();
    doomed.write(LAST_WORDS, 50);
    agent.terminate().assert_clean();
    let mut agent = stage.lodging.start();
    agent.wait_for("what was spooled", |agent| {
        agent.status().is_at_rest() && stage.arrivals.is_complete()
    });
    agent.status().assert_nothing_lost();
    agent.terminate().assert_clean();
    stage.arrivals.assert_exactly_once();
}

struct Stage {
    server: RudeElasticsearch,
    arrivals: Arc<Arrivals>,
    lodging: Lodging,
    node: Node,
}

impl Stage {
    fn new() -> Stage {
        let server = RudeElasticsearch::start();
        server.keep(Keeping::Ids);
        let mut lodging = Lodging::new(&server.url(), "logs");
        // More batches than slots, so that some have to wait.
        lodging.config["batch"]["max_documents"] = 100.into();
        Stage {
            arrivals: Arrivals::of(&server),
            node: Node::new(lodging.root()).expect("a node"),
            lodging,
            server,
        }
    }
}

/// What the last line of the log says: `… N source bytes stay in the spool`.
#[track_caller]
fn stays_spooled(ended: &Ended) -> u64 {
    let line = ended.last_line();
    let number = line
        .split(" source bytes stay in the spool")
        .next()
        .and_then(|before| before.rsplit(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number of bytes that stay: {line}"))
}
