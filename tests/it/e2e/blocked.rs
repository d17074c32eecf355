//! One index takes no writes for a while; the lines of the other one keep arriving meanwhile.

use super::{DAY_NS, MORNING_NS, Scene, Talker};
use crate::traffic::tell;
use longshore_kit::simkubelet::Node;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// So long the index is blocked, in seconds, so that many probes of the agent fall into it: `tests/run --long` says 60.
const BLOCKED_ENV: &str = "LONGSHORE_BLOCKED_SECONDS";
const BLOCKED_FOR: u64 = 10;
/// Lines of each kind that are written at once; the next ones come when these have arrived.
const ROUND: u64 = 20;

/// Red when held documents stay in memory (`write_spool` in `Flight::hold`), or when 403 is another verdict than hold
/// (`judge_item`).
#[test]
fn e2e_blocked_index_stops_no_other() {
    let seconds = std::env::var(BLOCKED_ENV).map_or(BLOCKED_FOR, |text| text.parse().expect(BLOCKED_ENV));
    let blocked_for = Duration::from_secs(seconds);
    let mut scene = Scene::new("blocked");
    // So little that held documents in memory would soon stop the reader.
    scene.lodging.config["memory"] = json!({"in_flight": "64KiB"});
    scene.lodging.config["batch"]["max_bytes"] = "32KiB".into();
    scene.lodging.config["source"]["max_line"] = "16KiB".into();
    let [blocked, open] = ["04", "05"].map(|day| format!("{}-2026.03.{day}", scene.prefix));
    let node = Node::new(scene.lodging.root()).unwrap();
    // One file for both, so that they share every batch.
    let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
    let mut to_blocked = Talker::new("to-blocked");
    let mut to_open = Talker::new("to-open");
    let mut round = |log: &mut _| {
        to_blocked.say(log, MORNING_NS, ROUND);
        to_open.say(log, MORNING_NS + DAY_NS, ROUND);
        (to_blocked.lines, to_open.lines, to_blocked.bytes + to_open.bytes)
    };

    let mut agent = scene.lodging.start();
    let (before, _, bytes) = round(&mut log);
    agent.wait_until_delivered(bytes);
    scene.es.block_write(&blocked, true);
    let begun = Instant::now();
    let total = loop {
        let (in_both, in_open, total) = round(&mut log);
        agent.wait_for("lines for the open index", |agent| {
            agent.status().documents("accepted") >= before + in_open
        });
        scene.es.refresh(&open);
        assert_eq!(scene.es.count(&open), in_open, "arrived during the block");
        if begun.elapsed() >= blocked_for {
            assert_eq!(in_both, in_open);
            break total;
        }
    };
    scene.es.refresh(&blocked);
    assert_eq!(scene.es.count(&blocked), before, "the block blocks");
    agent.wait_for("the hold on the status page", |agent| {
        holds(&agent.status().0) == [blocked.as_str()]
    });

    scene.es.block_write(&blocked, false);
    let unblocked = Instant::now();
    let status = agent.wait_until_delivered(total);
    tell(&format!(
        "blocked: one of two indices for {seconds} s, {} lines for each: the other one had all of its own each time, the \
         blocked one {:.1} s after the end",
        to_open.lines,
        unblocked.elapsed().as_secs_f64()
    ));
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), total);
    agent.terminate().assert_clean();
    assert_eq!(scene.lodging.dead_letters(), Vec::<Value>::new());
    scene.assert_exactly_once([&to_blocked, &to_open]);
}

/// The indices on hold.
fn holds(status: &Value) -> Vec<&str> {
    let holds = status["sink"]["holds"].as_array();
    holds
        .into_iter()
        .flatten()
        .filter_map(|hold| hold["index"].as_str())
        .collect()
}
