//! The ledger's law under trouble, with the agent as a process: every byte of the files is in one place.
//!
//! Each status page that a test looks at is checked by the harness; here the ends are compared with the files.

mod storm;

use crate::agent::{Agent, Lodging, PATIENCE, Status};
use longshore_kit::rude_elasticsearch::{Fates, Fault, Odds, RudeElasticsearch};
use longshore_kit::simkubelet::{ContainerLog, Node};
use serde_json::{Value, json};
use std::collections::BTreeMap;

struct Scene {
    lodging: Lodging,
    elasticsearch: RudeElasticsearch,
    log: ContainerLog,
    written: u64,
    lines: u64,
    /// Bytes of each line, by its message.
    lengths: BTreeMap<String, u64>,
}

impl Scene {
    fn new() -> Scene {
        let elasticsearch = RudeElasticsearch::start();
        elasticsearch.seed(7);
        let lodging = Lodging::new(&elasticsearch.url(), "logstash-%Y.%m.%d");
        let node = Node::new(lodging.root()).unwrap();
        let log = node.pod("shop", "web", "uid-web").container("app").unwrap();
        Scene {
            lodging,
            elasticsearch,
            log,
            written: 0,
            lines: 0,
            lengths: BTreeMap::new(),
        }
    }

    fn write(&mut self, message: &str) {
        let line = format!("2026-03-04T09:15:27.{:09}Z stdout F {message}\n", self.lines);
        self.log.write(line.as_bytes()).unwrap();
        self.written += line.len() as u64;
        self.lines += 1;
        self.lengths.insert(message.to_owned(), line.len() as u64);
    }

    /// Bytes of the lines that are in no index.
    fn missing_bytes(&self) -> u64 {
        let mut missing = self.lengths.clone();
        for document in self.elasticsearch.documents("*") {
            let source: Value = serde_json::from_slice(&document.source).unwrap();
            let message = source["message"].as_str().unwrap();
            assert!(missing.remove(message).is_some(), "{message} came twice");
        }
        missing.values().sum()
    }

    fn write_lines(&mut self, count: u64) {
        for _ in 0..count {
            let message = format!("line {} {}", self.lines, "x".repeat(200));
            self.write(&message);
        }
    }
}

/// The law, recomputed from one scrape.
fn assert_law_of_metrics(agent: &Agent) {
    let (_, page) = agent.get("/metrics").unwrap();
    let sum = |name: &str| -> i64 {
        let lines = page.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values: Vec<i64> = lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as i64)
            .collect();
        assert!(!values.is_empty(), "no {name} in\n{page}");
        values.iter().sum()
    };
    let ledger = |place: &str| sum(&format!("longshore_ledger_{place}"));
    let entered = ledger("read_bytes_total") + ledger("recovered_bytes_total");
    let ended =
        ledger("acked_bytes_total") + ledger("dead_lettered_bytes_total") + ledger("dropped_bytes_total");
    let moving = ledger("held_bytes") + ledger("in_flight_bytes") + ledger("spooled_bytes");
    assert_eq!(entered, ended + moving, "{page}");
}

fn assert_ends(status: &Status, written: u64) {
    let ends = status.ledger("acked") + status.ledger("dead_lettered") + status.dropped();
    assert_eq!(
        (ends, status.lost_unread()),
        (written, 0),
        "{}",
        status.0["ledger"]
    );
}

/// Red without the move of `dead_lettered` or `acked` in `Ledger::on_moved`, or when a retried document is moved twice.
#[test]
fn refused_rejected_and_cut_answers_leave_every_byte_in_one_place() {
    let mut scene = Scene::new();
    let refused = |source: &[u8]| source.windows(6).any(|six| six == b"poison");
    scene.elasticsearch.fates(Fates {
        mapping_400: Some(Box::new(refused)),
        reject_429: 0.1,
        noop_200: 0.05,
        ..Fates::default()
    });
    scene
        .elasticsearch
        .fault(Fault::CommitThenCut, Odds::Probability(0.1));
    let mut agent = scene.lodging.start();
    for round in 0..6 {
        scene.write_lines(300);
        scene.write("a poison line");
        if round % 2 == 0 {
            scene.log.rotate().unwrap();
        }
        let written = scene.written;
        agent.wait_for("the lines to be read", |agent| {
            agent.status().ledger("read") >= written
        });
        assert_law_of_metrics(&agent);
    }
    let status = agent.wait_until_delivered(scene.written);
    assert_ends(&status, scene.written);
    assert_eq!(status.documents("dead_lettered"), 6);
    assert!(status.documents("dropped") > 0, "no document met the pipeline");
    assert_law_of_metrics(&agent);
    agent.terminate().assert_clean();
}

/// Red when `on_frame_lost` does not take from `spooled`, or when an evicted frame is counted with other bytes than its own.
#[test]
fn what_drop_oldest_drops_is_exactly_what_does_not_arrive() {
    let mut scene = Scene::new();
    scene.lodging.config["spool"] = json!({
        "max_bytes": "1MiB", "segment_bytes": "256KiB", "min_free": "0%", "when_full": "drop_oldest",
    });
    scene.lodging.config["batch"] = json!({"max_age": "50ms", "max_documents": 50});
    scene.lodging.config["sink"]["elasticsearch"]["compression"] = json!(0);
    scene.elasticsearch.off();
    let mut agent = scene.lodging.start();
    // Without compression some 300 bytes a line: several times what the spool may hold.
    while scene.written < 8 << 20 {
        scene.write_lines(2_000);
        let written = scene.written;
        agent.wait_for("the lines to be read", |agent| {
            agent.status().ledger("read") >= written
        });
    }
    agent.wait_for("something to be dropped", |agent| agent.status().dropped() > 0);
    assert_law_of_metrics(&agent);
    scene.elasticsearch.on();
    let status = agent.wait_until_delivered(scene.written);
    assert_ends(&status, scene.written);
    let missing = scene.missing_bytes();
    assert!(missing > 0, "nothing was dropped");
    assert_eq!(status.0["ledger"]["dropped"]["spool_full"], missing);
    assert_eq!(scene.elasticsearch.count(), status.documents("accepted"));
    agent.terminate().assert_clean();
}

/// Red without `DropReason::MaxLine` in `Ledger::on_reader`.
#[test]
fn the_rest_of_an_over_long_line_is_dropped_and_counted() {
    let mut scene = Scene::new();
    scene.lodging.config["source"]["max_line"] = "1KiB".into();
    scene.write("short");
    scene.write(&"y".repeat(100_000));
    scene.write("after");
    let mut agent = scene.lodging.start();
    let status = agent.wait_until_delivered(scene.written);
    assert_ends(&status, scene.written);
    assert_eq!(status.dropped(), 100_000 - 1024);
    assert!(scene.elasticsearch.wait_for_documents(3, PATIENCE));
    assert_law_of_metrics(&agent);
    agent.terminate().assert_clean();
}
