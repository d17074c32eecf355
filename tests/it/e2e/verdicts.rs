//! Faults of a whole server, made by a real one that the test has for itself: limits that are too small, a cluster that takes
//! nothing, a process that is stopped or killed.
//!
//! One server for all of a kind's faults, one after the other; each has an agent, a node and index names of its own. What
//! holds for all: each line arrives once, nothing is lost, nothing is a dead letter. The comment on each says what is red.

use super::faults::{Two, holds, impatient, must};
use super::{MORNING_NS, Scene, Talker, sink};
use crate::agent::Agent;
use longshore_kit::lines::{CriDialect, Stream};
use longshore_kit::simkubelet::{ContainerLog, Node};
use longshore_kit::stack::{Kind, RealServer};
use serde_json::{Value, json};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Between two handfuls of lines while the server is killed.
const PACE: Duration = Duration::from_millis(100);

/// Limits of the server: of a body as it comes and as it is inflated, of what is being indexed, and of what waits for the one
/// thread that indexes.
const LIMITS: [&str; 4] = [
    "http.max_content_length=64kb",
    "indexing_pressure.memory.limit=512kb",
    "thread_pool.write.size=1",
    "thread_pool.write.queue_size=1",
];

fn faults_of(kind: Kind) {
    let server = RealServer::start(kind, &LIMITS).unwrap_or_else(|error| panic!("{error}"));
    too_large(&server);
    indexing_pressure(&server);
    circuit_breaker(&server);
    full_write_queue(&server);
    no_auto_create(&server);
    read_only(&server);
    shard_limit(&server);
    frozen(&server);
    killed(&server);
}

#[test]
fn e2e_verdicts_of_elasticsearch_8() {
    faults_of(Kind::Elasticsearch8);
}

#[test]
fn e2e_verdicts_of_elasticsearch_9() {
    faults_of(Kind::Elasticsearch9);
}

#[test]
fn e2e_verdicts_of_elasticsearch_7() {
    faults_of(Kind::Elasticsearch7);
}

#[test]
fn e2e_verdicts_of_opensearch_2() {
    faults_of(Kind::OpenSearch2);
}

#[test]
fn e2e_verdicts_of_opensearch_3() {
    faults_of(Kind::OpenSearch3);
}

/// A server that takes no index names from the body of a bulk: nobody's lines, and no fault of theirs. Red when
/// `index_not_allowed_here` is another class than hold: then they are halved, one by one, and dead letters.
#[test]
fn e2e_verdicts_of_a_server_that_wants_no_index_in_the_body() {
    let settings = ["rest.action.multi.allow_explicit_index=false"];
    let server = RealServer::start(Kind::OpenSearch2, &settings).unwrap_or_else(|error| panic!("{error}"));
    let mut one = One::new(&server, "explicit");
    one.say(20);
    let mut agent = one.scene.lodging.start();
    agent.wait_for("the hold on the status page", |agent| {
        agent.status().0["sink"]["hold"] == true && sink(agent, "requests", "hold") >= 2
    });
    let problem = agent.status().0["sink"]["problem"].to_string();
    assert!(problem.contains("400 illegal_argument_exception"), "{problem}");
    agent.terminate().assert_clean();
    assert_eq!(one.scene.lodging.dead_letters(), Vec::<Value>::new());
    assert_eq!(one.scene.count(), 0);
}

/// One container whose lines go to one index.
struct One {
    scene: Scene,
    log: ContainerLog,
    talker: Talker,
}

impl One {
    fn new(server: &RealServer, name: &str) -> One {
        let mut scene = Scene::on((**server).clone(), name);
        scene.lodging.config["batch"]["max_bytes"] = "32KiB".into();
        scene.lodging.config["source"]["max_line"] = "16KiB".into();
        let node = Node::new(scene.lodging.root()).unwrap();
        let log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        One {
            scene,
            log,
            talker: Talker::new(name),
        }
    }

    fn say(&mut self, lines: u64) {
        self.talker.say(&mut self.log, MORNING_NS, lines);
    }

    fn end(self, mut agent: Agent) {
        let status = agent.wait_until_delivered(self.talker.bytes);
        status.assert_nothing_lost();
        assert_eq!(status.ledger("acked"), self.talker.bytes);
        agent.terminate().assert_clean();
        assert_eq!(self.scene.lodging.dead_letters(), Vec::<Value>::new());
        self.scene.assert_exactly_once([&self.talker]);
    }
}

fn cluster(server: &RealServer, key: &str, value: Value) {
    must(server.put(
        "/_cluster/settings",
        &json!({"persistent": {key: value}}).to_string(),
    ));
}

/// 413: bodies are halved, what was too large is remembered, and a line that is alone too large loses its end. Red when 413 is
/// another class than split, without the halves in `Flight::split`, or without `shortened` in `Flight::refuse_whole`.
fn too_large(server: &RealServer) {
    let mut one = One::new(server, "too-large");
    one.scene.lodging.config["batch"]["max_bytes"] = "1MiB".into();
    one.scene.lodging.config["source"]["max_line"] = "256KiB".into();
    one.say(1_000);
    let long = "much too long ".repeat(10_000);
    let lines = CriDialect::Containerd.lines(MORNING_NS, Stream::Stdout, long.as_bytes());
    one.log.write(&lines).unwrap();
    let bytes = one.talker.bytes + lines.len() as u64;
    let mut agent = one.scene.lodging.start();
    let status = agent.wait_until_delivered(bytes);
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), bytes);
    agent.wait_for("halves on the status page", |agent| {
        sink(agent, "requests", "split") >= 2
    });
    agent.terminate().assert_clean();
    assert_eq!(one.scene.lodging.dead_letters(), Vec::<Value>::new());
    let is_long = |document: &Value| document["_source"]["longshore"]["flags"] == json!(["shortened"]);
    let documents = one.scene.documents();
    let [found] = &documents
        .iter()
        .filter(|document| is_long(document))
        .collect::<Vec<_>>()[..]
    else {
        panic!("no shortened document, or several");
    };
    let message = found["_source"]["message"].as_str().unwrap();
    assert!(
        message.len() > 10_000 && long.starts_with(message),
        "{} bytes",
        message.len()
    );
    let path = format!(
        "/{}/_doc/{}",
        found["_index"].as_str().unwrap(),
        found["_id"].as_str().unwrap()
    );
    must(one.scene.es.delete(&path, ""));
    one.scene.assert_exactly_once([&one.talker]);
}

/// 429 for the whole request, because others are indexing too much. Red when it is another class than retry.
fn indexing_pressure(server: &RealServer) {
    let mut one = One::new(server, "pressure");
    let (busy, es) = (format!("busy-{}", one.scene.prefix), one.scene.es.clone());
    // Documents that wait for a second copy, which one node never has: so long the server keeps their bytes.
    let two_copies = json!({"settings": {"index.write.wait_for_active_shards": 2}}).to_string();
    must(es.put(&format!("/{busy}?wait_for_active_shards=0"), &two_copies));
    let bulk = format!(
        "{{\"create\":{{\"_index\":\"{busy}\"}}}}\n{{\"pad\":\"{}\"}}\n",
        "x".repeat(60_000)
    );
    one.say(400);
    let agent = std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                // When there is no room left for it, the agent has it, and soon gives it back.
                while es.post("/_bulk", &bulk).0 == 429 {}
            });
        }
        let mut agent = one.scene.lodging.start();
        agent.wait_for("refusals for want of room", |agent| {
            sink(agent, "requests", "retry") >= 2
        });
        assert_eq!(holds(&agent), []);
        must(es.delete(&format!("/{busy}"), ""));
        agent
    });
    one.end(agent);
}

/// 429 for the whole request, because the server's memory is short. Red as above.
fn circuit_breaker(server: &RealServer) {
    let limit = "network.breaker.inflight_requests.limit";
    // 9.2 takes a bulk in pieces and counts none of them here.
    if server.kind() == Kind::Elasticsearch9 {
        return;
    }
    let mut one = One::new(server, "breaker");
    one.say(400);
    cluster(server, limit, json!("10kb"));
    let mut agent = one.scene.lodging.start();
    agent.wait_for("refusals for want of memory", |agent| {
        sink(agent, "requests", "retry") >= 2
    });
    assert_eq!(holds(&agent), []);
    cluster(server, limit, Value::Null);
    one.end(agent);
}

/// 429 for items, because one thread has to write to many shards, and one more may wait. Red when it is another class than
/// retry, or when a document that rides again is lost or there twice.
fn full_write_queue(server: &RealServer) {
    let mut one = One::new(server, "queue");
    let shards = json!({"settings": {"number_of_shards": 16, "number_of_replicas": 0}}).to_string();
    must(server.put(&format!("/{}-2026.03.04", one.scene.prefix), &shards));
    let mut agent = one.scene.lodging.start();
    while sink(&agent, "verdicts", "retry") == 0 {
        one.say(200);
        let bytes = one.talker.bytes;
        agent.wait_for("the lines to arrive, or to be refused", |agent| {
            agent.status().ledger("acked") == bytes || sink(agent, "verdicts", "retry") > 0
        });
        assert!(
            one.talker.lines < 100_000,
            "not one item was refused for want of room"
        );
    }
    one.end(agent);
}

/// Red when `index_missing` is another class than hold.
fn no_auto_create(server: &RealServer) {
    let key = "action.auto_create_index";
    not_made(
        server,
        "auto-create",
        (key, json!(false)),
        "index_not_found_exception",
    );
}

/// An index that the server does not make while `key` has this value.
fn not_made(server: &RealServer, name: &str, (key, value): (&str, Value), kind: &str) {
    let mut two = Two::new(Scene::on((**server).clone(), name));
    two.say_well();
    let mut agent = two.scene.lodging.start();
    two.delivered(&mut agent);
    cluster(server, key, value);
    two.assert_held(&mut agent, kind);
    cluster(server, key, Value::Null);
    two.end(agent);
}

/// The whole cluster takes nothing. Red when `index_blocked` is another class than hold, for requests and for items.
fn read_only(server: &RealServer) {
    let mut one = One::new(server, "read-only");
    one.say(20);
    let mut agent = one.scene.lodging.start();
    agent.wait_until_delivered(one.talker.bytes);
    cluster(server, "cluster.blocks.read_only", json!(true));
    one.say(20);
    agent.wait_for("the hold on the status page", |agent| {
        agent.status().0["sink"]["hold"] == true || !holds(agent).is_empty()
    });
    cluster(server, "cluster.blocks.read_only", Value::Null);
    one.end(agent);
}

/// Red when `shard_limit` is another class than hold.
fn shard_limit(server: &RealServer) {
    let key = "cluster.max_shards_per_node";
    not_made(server, "shards", (key, json!(1)), "validation_exception");
}

/// The process stands still, with a request half answered: it is sent again, with the same ids. Red without the deadline of
/// `request_timeout`, or when an ambiguous request is taken for stored.
fn frozen(server: &RealServer) {
    let mut one = One::new(server, "frozen");
    impatient(&mut one.scene.lodging);
    let mut agent = one.scene.lodging.start();
    one.say(200);
    agent.wait_until_delivered(one.talker.bytes);
    one.say(2_000);
    server.pause();
    agent.wait_for("requests that nobody answers", |agent| {
        agent.status().0["sink"]["up"] == false && sink(agent, "requests", "retry") >= 1
    });
    one.say(200);
    server.resume();
    one.end(agent);
}

/// The process is killed while it takes lines, and comes back: what it had confirmed is there, the rest comes again. Red as above.
fn killed(server: &RealServer) {
    let mut one = One::new(server, "killed");
    impatient(&mut one.scene.lodging);
    let mut agent = one.scene.lodging.start();
    let (tell, told) = channel();
    let writer = std::thread::spawn(move || {
        // Lines flow until the server is back; more of them would only be a longer wait.
        while told.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
            one.say(if one.talker.lines < 3_000 { 20 } else { 0 });
        }
        one
    });
    agent.wait_for("lines in the index", |agent| {
        agent.status().documents("accepted") >= 200
    });
    server.kill();
    agent.wait_for("the outage on the status page", |agent| {
        agent.status().0["sink"]["up"] == false
    });
    server.restart();
    tell.send(()).unwrap();
    writer.join().unwrap().end(agent);
}
