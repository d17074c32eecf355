//! Faults of one index, made by the server of the run: its lines are kept until it is mended, those of another index arrive
//! meanwhile, and nothing is a dead letter for what is no fault of a document.
//!
//! Each of these is red when its row of `table::ITEMS` says refused, or when `Flight::hold` forgets a document.

use super::{DAY_NS, MORNING_NS, Scene, Talker};
use crate::agent::{Agent, Lodging};
use longshore_kit::simkubelet::{ContainerLog, Node};
use longshore_kit::stack::RealElasticsearch;
use serde_json::{Value, json};

/// Lines of each kind that are written at once.
const ROUND: u64 = 20;

/// What is asked of a server, which must agree.
#[track_caller]
pub(super) fn must((status, answer): (u16, String)) {
    assert!((200..300).contains(&status), "{status} {answer}");
}

fn settings(es: &RealElasticsearch, index: &str, settings: &Value) {
    must(es.put(&format!("/{index}/_settings"), &settings.to_string()));
}

/// What a page says of indices on hold: name and error type.
pub(super) fn holds(agent: &Agent) -> Vec<(String, String)> {
    let page = agent.status();
    let text = |hold: &Value, key: &str| hold[key].as_str().unwrap_or_default().to_owned();
    let holds = page.0["sink"]["holds"].as_array().into_iter().flatten();
    holds
        .map(|hold| (text(hold, "index"), text(hold, "kind")))
        .collect()
}

/// Two kinds of lines in one file, for two indices, so that they share every batch.
pub(super) struct Two {
    pub(super) scene: Scene,
    log: ContainerLog,
    ill: Talker,
    well: Talker,
}

impl Two {
    pub(super) fn new(scene: Scene) -> Two {
        let node = Node::new(scene.lodging.root()).unwrap();
        let log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        Two {
            scene,
            log,
            ill: Talker::new("ill"),
            well: Talker::new("well"),
        }
    }

    /// The index that is to be ill.
    pub(super) fn index(&self) -> String {
        format!("{}-2026.03.04", self.scene.prefix)
    }

    /// Both kinds of lines.
    pub(super) fn say(&mut self) {
        self.ill.say(&mut self.log, MORNING_NS, ROUND);
        self.say_well();
    }

    /// Lines for the index that stays well.
    pub(super) fn say_well(&mut self) {
        self.well.say(&mut self.log, MORNING_NS + DAY_NS, ROUND);
    }

    fn bytes(&self) -> u64 {
        self.ill.bytes + self.well.bytes
    }

    /// Waits until all that was said has arrived.
    pub(super) fn delivered(&self, agent: &mut Agent) {
        let status = agent.wait_until_delivered(self.bytes());
        status.assert_nothing_lost();
        assert_eq!(status.ledger("acked"), self.bytes());
    }

    /// Says more, waits until the index is on hold with this error type and the others' lines are there.
    pub(super) fn assert_held(&mut self, agent: &mut Agent, kind: &str) {
        let before = agent.status().documents("accepted");
        self.say();
        let held = [(self.index(), kind.to_owned())];
        agent.wait_for("the hold on the status page", |agent| holds(agent) == held);
        agent.wait_for("lines of the other index", |agent| {
            agent.status().documents("accepted") >= before + ROUND
        });
    }

    /// The fault is over: all arrives, once, and nothing was a dead letter.
    pub(super) fn end(self, mut agent: Agent) {
        self.delivered(&mut agent);
        agent.terminate().assert_clean();
        assert_eq!(self.scene.lodging.dead_letters(), Vec::<Value>::new());
        self.scene.assert_exactly_once([&self.ill, &self.well]);
    }
}

/// What `strike` does to the index is answered with an error of `kind` for each of its documents, until `mend`.
fn held(
    name: &str,
    kind: &str,
    strike: impl Fn(&RealElasticsearch, &str),
    mend: impl Fn(&RealElasticsearch, &str),
) {
    let mut two = Two::new(Scene::new(name));
    two.say();
    let mut agent = two.scene.lodging.start();
    two.delivered(&mut agent);
    strike(&two.scene.es, &two.index());
    two.assert_held(&mut agent, kind);
    mend(&two.scene.es, &two.index());
    two.end(agent);
}

/// The server's disk is full: 429, and yet no want of capacity.
#[test]
fn e2e_faults_flood_stage_block() {
    let block = |blocked: Value| json!({"index.blocks.read_only_allow_delete": blocked});
    held(
        "flood-stage",
        "cluster_block_exception",
        |es, index| settings(es, index, &block(json!(true))),
        |es, index| settings(es, index, &block(Value::Null)),
    );
}

#[test]
fn e2e_faults_read_only_index() {
    let block = |blocked: Value| json!({"index.blocks.read_only": blocked});
    held(
        "read-only",
        "cluster_block_exception",
        |es, index| settings(es, index, &block(json!(true))),
        |es, index| settings(es, index, &block(Value::Null)),
    );
}

#[test]
fn e2e_faults_closed_index() {
    held(
        "closed",
        "index_closed_exception",
        |es, index| must(es.post(&format!("/{index}/_close"), "")),
        |es, index| must(es.post(&format!("/{index}/_open"), "")),
    );
}

#[test]
fn e2e_faults_missing_pipeline() {
    let pipeline = |name: &str| json!({"index.default_pipeline": name});
    held(
        "pipeline",
        "illegal_argument_exception",
        |es, index| settings(es, index, &pipeline("longshore-nobody-made-this")),
        |es, index| settings(es, index, &pipeline("_none")),
    );
}

/// What the agent takes for an index is an alias of two.
#[test]
fn e2e_faults_alias_without_write_index() {
    let mut two = Two::new(Scene::new("alias"));
    let (alias, es) = (two.index(), two.scene.es.clone());
    let names = ["1", "2"].map(|n| format!("{}-behind-{n}", two.scene.prefix));
    for name in &names {
        must(es.put(&format!("/{name}"), &json!({"aliases": {&alias: {}}}).to_string()));
    }
    let mut agent = two.scene.lodging.start();
    two.assert_held(&mut agent, "illegal_argument_exception");
    let add = json!({"add": {"index": names[1], "alias": alias, "is_write_index": true}});
    must(es.post("/_aliases", &json!({"actions": [add]}).to_string()));
    two.delivered(&mut agent);
    es.refresh(&names[1]);
    assert_eq!(es.count(&names[1]), ROUND);
    // A search by the prefix would find these documents twice, once by each name.
    must(es.delete(&format!("/{}", names[0]), ""));
    two.end(agent);
}

/// A shard that is nowhere: the server waits for it, and then says 503 of its documents alone. Red when its row says retry: then
/// each request with one of them takes as long.
#[test]
fn e2e_verdicts_shard_that_is_not_active() {
    let mut two = Two::new(Scene::new("inactive"));
    let (es, index) = (two.scene.es.clone(), two.index());
    let nowhere = json!({"settings": {"index.routing.allocation.require.box": "nowhere"}}).to_string();
    must(es.put(&format!("/{index}?wait_for_active_shards=0"), &nowhere));
    let mut agent = two.scene.lodging.start();
    two.assert_held(&mut agent, "unavailable_shards_exception");
    settings(
        &es,
        &index,
        &json!({"index.routing.allocation.require.box": null}),
    );
    two.end(agent);
}

/// An agent that gives up on an answer soon.
pub(super) fn impatient(lodging: &mut Lodging) {
    lodging.config["sink"]["elasticsearch"]["request_timeout"] = "2s".into();
}
