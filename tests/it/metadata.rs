//! Metadata of pods, with the agent as a process and an API server that counts what it is asked.

use crate::agent::{Agent, Lodging, PATIENCE};
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::rude_elasticsearch::RudeElasticsearch;
use longshore_kit::simkubelet::{ContainerLog, Node};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A node with an agent's home, an API server and an index.
struct Stage {
    lodging: Lodging,
    apiserver: FakeApiserver,
    elasticsearch: RudeElasticsearch,
    node: Node,
}

impl Stage {
    fn new() -> Stage {
        let elasticsearch = RudeElasticsearch::start();
        let apiserver = FakeApiserver::start();
        let mut lodging = Lodging::new(&elasticsearch.url(), "logstash-%Y.%m.%d");
        lodging.use_apiserver(&apiserver.kubeconfig());
        let node = Node::new(lodging.root()).unwrap();
        Stage {
            lodging,
            apiserver,
            elasticsearch,
            node,
        }
    }

    /// A container's file with one line; the API server does not know its pod yet.
    fn container(&self, name: &str) -> ContainerLog {
        let mut log = self
            .node
            .pod("shop", name, &format!("uid-{name}"))
            .container("app")
            .unwrap();
        write(&mut log, &format!("{name} first"));
        log
    }

    fn document(&self, message: &str) -> Value {
        let found = |es: &RudeElasticsearch| {
            let documents = es.documents("*").into_iter();
            documents
                .map(|document| serde_json::from_slice::<Value>(&document.source).unwrap())
                .find(|source| source["message"] == message)
        };
        assert!(
            self.elasticsearch.wait_until(PATIENCE, |es| found(es).is_some()),
            "{message} never came"
        );
        found(&self.elasticsearch).unwrap()
    }
}

fn write(log: &mut ContainerLog, message: &str) {
    log.write(format!("2026-03-04T09:15:27.1Z stdout F {message}\n").as_bytes())
        .unwrap();
}

fn labelled(name: &str) -> Value {
    let id = format!("containerd://{}", "ab".repeat(32));
    pod("shop", name, &format!("uid-{name}"), "node-a")
        .label("app", name)
        .container("app", "registry.example/app:1", "sha256:5e", &id, 0)
        .build()
}

fn watch_state(agent: &Agent) -> String {
    agent.status().0["watch"]["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Red when `Watch` lists again after the first answer, or when `Container::find_metadata` does not wait.
#[test]
fn one_list_and_one_watch_a_start_and_labels_on_the_first_line() {
    let stage = Stage::new();
    stage.apiserver.add_pod(labelled("old"));
    let _old = stage.container("old");
    for start in 1..=2 {
        let mut agent = stage.lodging.start();
        agent.wait_for("the watch", |agent| watch_state(agent) == "live");
        let name = format!("new-{start}");
        let _log = stage.container(&name);
        agent.wait_for("the file to be found and to wait", |agent| {
            let status = agent.status();
            let files = status.0["reader"]["files"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            files
                .iter()
                .any(|file| file["pod"] == name.as_str() && file["metadata"] == "waiting")
        });
        stage.apiserver.add_pod(labelled(&name));
        let document = stage.document(&format!("{name} first"));
        assert_eq!(document["kubernetes"]["labels"], json!({"app": name}));
        assert_eq!(
            document["kubernetes"]["container_image"],
            "registry.example/app:1"
        );
        assert_eq!(document["longshore"], Value::Null, "{document}");
        agent.terminate().assert_clean();
        assert_eq!(
            (stage.apiserver.lists(), stage.apiserver.watches()),
            (start, start)
        );
    }
    let query = stage.apiserver.last_list_query();
    assert!(
        query.contains("resourceVersion=0") && query.contains("spec.nodeName"),
        "{query}"
    );
    assert_eq!(
        stage.document("old first")["kubernetes"]["labels"],
        json!({"app": "old"})
    );
}

/// Red when `Cache::answer` says `Wait` while the watch is down.
#[test]
fn an_api_server_that_is_down_delays_nothing_but_labels() {
    let mut stage = Stage::new();
    stage.lodging.config["enrich"]["kubernetes"]["metadata_wait"] = "60s".into();
    stage.apiserver.add_pod(labelled("web"));
    stage.apiserver.off();
    let mut log = stage.container("web");
    let started = Instant::now();
    let mut agent = stage.lodging.start();
    let document = stage.document("web first");
    // Not a measurement: a wait for metadata would have lasted a minute.
    assert!(
        started.elapsed() < Duration::from_secs(50),
        "it waited for labels"
    );
    assert_eq!(document["kubernetes"]["pod_name"], "web");
    assert_eq!(document["kubernetes"]["labels"], Value::Null);
    assert_eq!(document["longshore"]["flags"], json!(["metadata_missing"]));
    // It comes back: later lines have their labels.
    stage.apiserver.on();
    agent.wait_for("the watch", |agent| watch_state(agent) == "live");
    agent.wait_for("the labels", |agent| {
        agent.status().0["reader"]["files"][0]["metadata"] == "known"
    });
    write(&mut log, "web second");
    assert_eq!(
        stage.document("web second")["kubernetes"]["labels"],
        json!({"app": "web"})
    );
    agent.terminate().assert_clean();
}

/// Red when `Instance::on_metadata` takes labels away that were known, or when a watch that breaks stays `live`.
#[test]
fn when_the_api_server_goes_away_known_pods_keep_labels_and_new_ones_wait_for_nothing() {
    let mut stage = Stage::new();
    stage.lodging.config["enrich"]["kubernetes"]["metadata_wait"] = "60s".into();
    stage.apiserver.add_pod(labelled("web"));
    let mut web = stage.container("web");
    let mut agent = stage.lodging.start();
    stage.document("web first");
    stage.apiserver.off();
    agent.wait_for("the outage to be known", |agent| watch_state(agent) == "down");
    assert!(agent.status().0["watch"]["problem"].is_string());
    assert_eq!(agent.metric("longshore_watch_state{state=\"down\"}"), 1.0);
    let started = Instant::now();
    let _late = stage.container("late");
    let late = stage.document("late first");
    // Not a measurement: a wait for metadata would have lasted a minute.
    assert!(
        started.elapsed() < Duration::from_secs(50),
        "it waited for labels"
    );
    assert_eq!(late["longshore"]["flags"], json!(["metadata_missing"]));
    write(&mut web, "web second");
    let web = stage.document("web second");
    assert_eq!(web["kubernetes"]["labels"], json!({"app": "web"}));
    assert_eq!(web["longshore"], Value::Null, "{web}");
    agent.terminate().assert_clean();
}

/// Red when `Cache::on_deleted` forgets at once.
#[test]
fn a_deleted_pods_last_lines_have_their_labels() {
    let stage = Stage::new();
    stage.apiserver.add_pod(labelled("job"));
    let mut log = stage.container("job");
    let mut agent = stage.lodging.start();
    stage.document("job first");
    let pods = |agent: &Agent| agent.status().0["watch"]["pods"].as_u64();
    assert_eq!(pods(&agent), Some(1));
    stage.apiserver.delete_pod("shop", "job");
    agent.wait_for("the pod to be deleted", |agent| pods(agent) == Some(0));
    write(&mut log, "job last");
    assert_eq!(
        stage.document("job last")["kubernetes"]["labels"],
        json!({"app": "job"})
    );
    agent.terminate().assert_clean();
}

/// Red when the schema of the config reaches only a part of the agent: the encoder, the fragments, or the index.
#[test]
fn each_schema_ships_its_own_documents_into_its_own_index() {
    for (schema, index) in [
        ("ecs", "logs-k8s.container-default"),
        ("otel", "logs-k8s.otel-default"),
    ] {
        let mut stage = Stage::new();
        let sink = &mut stage.lodging.config["sink"]["elasticsearch"];
        (sink["schema"], sink["index"]) = (json!(schema), Value::Null);
        stage.apiserver.add_pod(labelled("web"));
        let _log = stage.container("web");
        let agent = stage.lodging.start();
        let came = |es: &RudeElasticsearch| !es.documents(index).is_empty();
        assert!(stage.elasticsearch.wait_until(PATIENCE, came), "{schema}");
        let document = stage.elasticsearch.documents(index).remove(0);
        let document: Value = serde_json::from_slice(&document.source).unwrap();
        assert_eq!(document["@timestamp"], "2026-03-04T09:15:27.100000000Z");
        let live = stage.lodging.pods().join("shop_web_uid-web/app/0.log");
        let live = live.to_str().unwrap();
        let (message, path, label, read) = match schema {
            "ecs" => (
                &document["message"],
                &document["log"]["file"]["path"],
                &document["kubernetes"]["labels"]["app"],
                &document["event"]["created"],
            ),
            _ => (
                &document["body"]["text"],
                &document["attributes"]["log.file.path"],
                &document["resource"]["attributes"]["k8s.pod.label.app"],
                &document["observed_timestamp"],
            ),
        };
        assert_eq!(
            (message, path, label),
            (&json!("web first"), &json!(live), &json!("web"))
        );
        assert!(read.as_str().is_some_and(|read| read > "2026-03-05"), "{read}");
        agent.terminate().assert_clean();
    }
}
