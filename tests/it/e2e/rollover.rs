//! A data stream rolls over between a request whose answer is lost and its repetition: the server looks for ids in the new
//! index only, and takes the documents a second time. Looked up before, they are found.

use super::cutters::{Cut, Cutters};
use super::{MORNING_NS, Talker};
use crate::agent::{Agent, Lodging};
use crate::traffic::tell;
use longshore_kit::simkubelet::{ContainerLog, Node};
use longshore_kit::stack::{Kind, RealElasticsearch};
use longshore_kit::verifier::Verifier;
use serde_json::json;

const LINES: u64 = 5;

/// How often the stream rolls over; `tests/run --long e2e` says 100. (A stream's last index cannot be deleted on these builds,
/// so what was made stays until the server is stopped.)
fn rounds() -> u64 {
    let said = std::env::var("LONGSHORE_ROLLOVERS").ok();
    said.map_or(10, |rounds| rounds.parse().expect("a number"))
}

/// A data stream, and a node whose agent ships to it.
struct Scene {
    es: RealElasticsearch,
    stream: String,
    lodging: Lodging,
    cutters: Cutters,
    /// Answers that are cut in each round. What is not looked up is sent again at once when its connection breaks: before the
    /// stream can roll over, so that answer is cut, too.
    cuts: u32,
}

impl Scene {
    /// None: the build of Elasticsearch 7.17 that tests use has no data streams.
    fn new(look_up: bool) -> Option<Scene> {
        let es = RealElasticsearch::shared();
        if es.kind() == Kind::Elasticsearch7 {
            return None;
        }
        let name = es.prefix("rollover").replace('-', "_");
        let stream = format!("logs-{name}-default");
        let template = json!({
            "index_patterns": [stream],
            "data_stream": {},
            "priority": 500,
            "template": {
                "settings": {"index": {"refresh_interval": "100ms"}},
                "mappings": {"properties": {"@timestamp": {"type": "date"}}},
            },
        });
        let (status, answer) = es.put(&format!("/_index_template/{name}"), &template.to_string());
        assert_eq!(status, 200, "{answer}");
        let cutters = Cutters::new(1, &es.url());
        let mut lodging = Lodging::new(&es.url(), &stream);
        let config = &mut lodging.config["sink"]["elasticsearch"];
        config["schema"] = json!("ecs");
        config["hosts"] = json!(cutters.urls);
        if look_up {
            config["look_up_after"] = json!("1s");
        }
        Some(Scene {
            es,
            stream,
            lodging,
            cutters,
            cuts: if look_up { 1 } else { 2 },
        })
    }

    /// Lines whose first answer is lost, and a roll-over before they are sent again. Documents in the stream, and those that
    /// the agent says may be there twice, leave.
    fn run(&self, talker: &mut Talker) -> (u64, u64) {
        let node = Node::new(self.lodging.root()).unwrap();
        let mut log: ContainerLog = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        talker.say(&mut log, MORNING_NS, 1);
        let mut agent = self.lodging.start();
        agent.wait_until_delivered(talker.bytes);
        for round in 1..=rounds() {
            self.cutters.order(Cut::Next(self.cuts));
            talker.say(&mut log, MORNING_NS, LINES);
            agent.wait_for("its answers are cut", |_| {
                self.cutters.cuts() == round * u64::from(self.cuts)
            });
            let (status, answer) = self.es.post(&format!("/{}/_rollover", self.stream), "");
            assert_eq!(status, 200, "{answer}");
            self.es.refresh(&self.stream);
            agent.wait_until_delivered(talker.bytes);
        }
        self.es.refresh(&self.stream);
        let documents = self.es.count(&self.stream);
        // The page shows some of what is counted a moment later.
        let possible = |agent: &Agent| agent.metric("longshore_sink_possible_duplicates_total") as u64;
        agent.wait_for("what may be there twice on the page", |agent| {
            talker.lines + possible(agent) >= documents
        });
        let possible = possible(&agent);
        agent.terminate().assert_clean();
        (documents, possible)
    }
}

/// Red when documents are sent again before they were looked up.
#[test]
fn e2e_rollover_doubles_nothing_that_may_be_looked_up() {
    let Some(scene) = Scene::new(true) else {
        return;
    };
    let mut talker = Talker::new("rollover");
    let (documents, possible) = scene.run(&mut talker);
    tell(&format!(
        "{} roll-overs, looked up: {} lines, {documents} documents, {possible} possible duplicates",
        rounds(),
        talker.lines
    ));
    assert_eq!((documents, possible), (talker.lines, 0));
    let mut verifier = Verifier::new();
    verifier.sent_range(&talker.stream, 0..talker.lines);
    for document in scene.es.search_all(&scene.stream) {
        verifier.arrived(document["_source"].to_string().as_bytes());
    }
    verifier.assert_exactly_once();
}

/// Red when what is there twice is not counted.
#[test]
fn e2e_rollover_without_the_right_to_read_counts_what_may_be_there_twice() {
    let Some(scene) = Scene::new(false) else {
        return;
    };
    let mut talker = Talker::new("rollover-counted");
    let (documents, possible) = scene.run(&mut talker);
    let doubled = documents - talker.lines;
    tell(&format!(
        "{} roll-overs, not looked up: {} lines, {doubled} doubled, {possible} possible duplicates",
        rounds(),
        talker.lines
    ));
    // Or nothing would be shown: each round cuts an answer and rolls over.
    assert!(
        0 < doubled && doubled <= possible && possible <= rounds() * LINES,
        "{doubled} of {possible}"
    );
}
