//! An index that takes nothing, and whose lane has used up its share of the spool: only the log files whose lines go there are
//! not read, and whatever happens meanwhile, all lines arrive once.

use crate::agent::{Agent, Lodging};
use crate::traffic::tell;
use longshore_kit::lines::{Stream, message};
use longshore_kit::rude_elasticsearch::{BlockKind, RudeElasticsearch};
use longshore_kit::simkubelet::{ContainerLog, Node};
use longshore_kit::verifier::Verifier;
use serde_json::json;

/// 2026-03-04T09:15:27Z, and the same a day earlier.
const TODAY_NS: u64 = 1_772_615_727_000_000_000;
const YESTERDAY_NS: u64 = TODAY_NS - 86_400_000_000_000;
const BLOCKED: &str = "logs-2026.03.03";

const SPOOL_BYTES: u64 = 16 << 20;
/// One percent of the spool, which is full after a few bodies.
const LANE_SHARE: u64 = 1;
/// Of log lines; compressed they are some times more than the lane's share.
const LINES: u64 = 60_000;

fn say(log: &mut ContainerLog, stream: &str, unix_ns: u64, numbers: std::ops::Range<u64>) -> u64 {
    let before = log.size().unwrap();
    for number in numbers {
        // Hardly compressible, so that the spool has something to hold.
        let salt = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = format!(
            "{} {salt:016x}{:016x}",
            message(stream, number, unix_ns, 0),
            salt.rotate_left(17)
        );
        log.write_line(unix_ns, Stream::Stdout, text.as_bytes()).unwrap();
    }
    log.size().unwrap() - before
}

fn unread(agent: &Agent) -> u64 {
    agent.status().0["reader"]["unread_bytes"].as_u64().unwrap()
}

/// Red without `Flight::take_paused`: all of yesterday's lines are read and fill the spool.
#[test]
fn a_full_lane_pauses_the_files_that_go_there_and_no_others_through_kills() {
    let server = RudeElasticsearch::start();
    server.block_index(BLOCKED, BlockKind::Write403);
    let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
    lodging.config["spool"] = json!({"max_bytes": SPOOL_BYTES, "segment_bytes": 256 << 10, "min_free": 0, "lane_share": LANE_SHARE});
    lodging.config["batch"] = json!({"max_age": "50ms", "max_bytes": "64KiB"});
    lodging.config["source"]["max_line"] = json!("32KiB");
    lodging.config["memory"] = json!({"in_flight": "256KiB"});
    let node = Node::new(lodging.root()).unwrap();
    let mut old = node.pod("shop", "old", "uid-old").container("app").unwrap();
    let mut new = node.pod("shop", "new", "uid-new").container("app").unwrap();
    let all = say(&mut old, "old", YESTERDAY_NS, 0..LINES);
    let mut agent = lodging.start();
    let mut told = 0;
    for kill in 0..5 {
        // What was read is in the lane, and more is left than a try or two would take.
        agent.wait_for("reading stops", |agent| {
            let is_full = agent.status().ledger("spooled") > SPOOL_BYTES / 100 * LANE_SHARE;
            is_full && (all / 2..all).contains(&unread(agent))
        });
        say(&mut new, "new", TODAY_NS, told..told + 200);
        told += 200;
        let arrived = |_: &Agent| server.count() == told;
        agent.wait_for("today's lines arrive", arrived);
        let bytes = agent.status().0["spool"]["bytes"].as_u64().unwrap();
        assert!(bytes < SPOOL_BYTES / 2, "{bytes} bytes in the spool");
        if kill < 4 {
            // Behind a checkpoint the next life goes on where this one stopped.
            if kill % 2 == 1 {
                let saved = |agent: &Agent| agent.metric("longshore_checkpoint_saved_timestamp_seconds");
                let before = saved(&agent);
                agent.wait_for("a checkpoint", |agent| saved(agent) > before);
            }
            agent.kill();
            agent = lodging.start();
        }
    }
    let left = unread(&agent);
    server.unblock_index(BLOCKED);
    agent.wait_for("all arrives", |agent| {
        server.count() == LINES + told && agent.status().is_at_rest()
    });
    agent.terminate().assert_clean();
    tell(&format!(
        "a full lane: {left} of {all} bytes were not read while the index was blocked; {told} lines for the other one"
    ));
    let mut verifier = Verifier::new();
    verifier.sent_range("old", 0..LINES);
    verifier.sent_range("new", 0..told);
    for document in server.documents("*") {
        verifier.arrived(&document.source);
    }
    verifier.assert_exactly_once();
}
