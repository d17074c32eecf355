//! Pipelines of the server that do with our documents what nobody told the agent: drop them, refuse them, send them
//! elsewhere. They need ingest processors, which the builds of Elasticsearch that tests use do not have; there the tests see
//! that they do not, and OpenSearch shows the rest.

use super::faults::must;
use super::{MORNING_NS, Scene, Talker, sink};
use crate::agent::Agent;
use longshore_kit::simkubelet::Node;
use longshore_kit::verifier::Verifier;
use serde_json::{Value, json};

/// Lines that go through a pipeline.
const LINES: u64 = 40;

/// An index whose documents all go through a pipeline.
struct Piped {
    scene: Scene,
    talker: Talker,
    pipeline: String,
}

impl Piped {
    /// None where the server does not have the processor.
    fn new(name: &str, processor: &Value) -> Option<Piped> {
        let scene = Scene::new(name);
        let pipeline = scene.prefix.clone();
        let body = json!({"processors": [processor]}).to_string();
        let (status, answer) = scene.es.put(&format!("/_ingest/pipeline/{pipeline}"), &body);
        if !scene.es.kind().is_opensearch() {
            assert_eq!(status, 400, "{answer}");
            assert!(answer.contains("No processor type exists with name"), "{answer}");
            return None;
        }
        must((status, answer));
        let index = json!({"settings": {"index.default_pipeline": pipeline}}).to_string();
        must(scene.es.put(&format!("/{}-2026.03.04", scene.prefix), &index));
        let node = Node::new(scene.lodging.root()).unwrap();
        let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        let mut talker = Talker::new(name);
        talker.say(&mut log, MORNING_NS, LINES);
        Some(Piped {
            scene,
            talker,
            pipeline,
        })
    }

    fn remove(&self) {
        let none = json!({"index.default_pipeline": "_none"}).to_string();
        must(
            self.scene
                .es
                .put(&format!("/{}-2026.03.04/_settings", self.scene.prefix), &none),
        );
        must(
            self.scene
                .es
                .delete(&format!("/_ingest/pipeline/{}", self.pipeline), ""),
        );
    }

    fn end(&self, agent: Agent) {
        agent.terminate().assert_clean();
        assert_eq!(self.scene.lodging.dead_letters(), Vec::<Value>::new());
    }
}

/// Of a line that comes after the first ten: those with a two-digit sequence.
const TENS: &str = "ctx.message != null && ctx.message.contains(' n=1')";

/// Red when 200 counts as stored (`dropped_by_a_pipeline`): then the ledger says that they arrived.
#[test]
fn e2e_pipelines_that_drop_are_counted() {
    let Some(piped) = Piped::new("drops", &json!({"drop": {"if": TENS}})) else {
        return;
    };
    let mut agent = piped.scene.lodging.start();
    let status = agent.wait_until_delivered(piped.talker.bytes);
    // 1 and 10 to 19.
    let dropped = 11;
    let drops = status.0["ledger"]["dropped"]["server_pipeline"].as_u64().unwrap();
    assert_eq!(status.dropped(), drops);
    assert_eq!(status.documents("dropped"), dropped);
    assert_eq!(status.ledger("acked") + drops, piped.talker.bytes);
    agent.wait_for("the alarm", |agent| agent.log_line("pipeline").is_some());
    piped.end(agent);
    assert_eq!(piped.scene.count(), LINES - dropped);
    piped.remove();
}

/// A pipeline that fails on some documents answers 500 for each. Red without the row `failed_in_a_pipeline`: then they are sent
/// again for ever.
#[test]
fn e2e_pipelines_that_fail_on_some_documents_refuse_them() {
    let fail = json!({"fail": {"if": TENS, "message": "no tens"}});
    let Some(piped) = Piped::new("fails", &fail) else {
        return;
    };
    let mut agent = piped.scene.lodging.start();
    let status = agent.wait_until_delivered(piped.talker.bytes);
    status.assert_nothing_lost();
    // The poorer document has the same message.
    assert_eq!(status.documents("dead_lettered"), 11);
    agent.terminate().assert_clean();
    let letters = piped.scene.lodging.dead_letters();
    assert_eq!(letters.len(), 11);
    for letter in &letters {
        assert_eq!(
            (&letter["status"], &letter["type"]),
            (&json!(500), &json!("fail_processor_exception"))
        );
    }
    assert_eq!(piped.scene.count(), LINES - 11);
    piped.remove();
}

/// A pipeline that fails on all of them is a fault of the index: they wait until it is mended. Red without `alike` in
/// `Flight::refuse`: then all of them are dead letters.
#[test]
fn e2e_pipelines_that_fail_on_everything_are_held() {
    let Some(piped) = Piped::new("fails-all", &json!({"fail": {"message": "closed today"}})) else {
        return;
    };
    let mut agent = piped.scene.lodging.start();
    agent.wait_for("the hold on the status page", |agent| {
        super::faults::holds(agent).len() == 1
    });
    piped.remove();
    let status = agent.wait_until_delivered(piped.talker.bytes);
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), piped.talker.bytes);
    piped.end(agent);
    // A probe is tried reduced, too. When the pipeline goes in between, that is taken, with the line twice in it: as its message
    // and as the document that it was.
    let mut verifier = Verifier::new();
    verifier.sent_range(&piped.talker.stream, 0..piped.talker.lines);
    for document in piped.scene.documents() {
        verifier.arrived(document["_source"]["message"].to_string().as_bytes());
    }
    verifier.assert_exactly_once();
}

/// What the agent counts of documents that are not where they were sent to, and the beginning of the line in its log.
fn assert_diverted(processor: &Value, name: &str, what: &str, told: &str) -> Option<Piped> {
    let piped = Piped::new(name, processor)?;
    let mut agent = piped.scene.lodging.start();
    let status = agent.wait_until_delivered(piped.talker.bytes);
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), piped.talker.bytes);
    agent.wait_for("the diverted documents on the status page", |agent| {
        sink(agent, "diverted", what) == LINES
    });
    agent.wait_for("the alarm", |agent| agent.log_line(told).is_some());
    piped.end(agent);
    piped.scene.assert_exactly_once([&piped.talker]);
    Some(piped)
}

/// Red without `Audits::begin` or `Places::diverted`: 201 looks like any other. What is sent again would be there twice, because
/// nobody knows the id.
#[test]
fn e2e_pipelines_that_change_ids_are_seen_and_counted() {
    let change = json!({"set": {"field": "_id", "value": "{{_id}}-mine"}});
    let told = "40 documents ids that are not ours";
    if let Some(piped) = assert_diverted(&change, "other-ids", "id", told) {
        let documents = piped.scene.documents();
        let is_changed = |document: &Value| document["_id"].as_str().unwrap().ends_with("-mine");
        assert!(documents.iter().all(is_changed));
        piped.remove();
    }
}

/// As above.
#[test]
fn e2e_pipelines_that_change_indices_are_seen_and_counted() {
    let change = json!({"set": {"field": "_index", "value": "{{_index}}.elsewhere"}});
    let told = "are in";
    if let Some(piped) = assert_diverted(&change, "other-index", "index", told) {
        let documents = piped.scene.documents();
        let is_elsewhere = |document: &Value| document["_index"].as_str().unwrap().ends_with(".elsewhere");
        assert!(documents.iter().all(is_elsewhere));
        piped.remove();
    }
}
