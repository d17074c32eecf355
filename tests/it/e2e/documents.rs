//! Documents as the index has them, field by field, against `tests/golden/documents`.
//!
//! Everything in a document follows from the files and the API server, so the goldens hold ids, times and container ids as
//! they are. Only the test's index prefix becomes `logstash`; see [`goldens_of`] for the one time that a clock decides.
//! `UPDATE=1 tests/run e2e` writes the goldens anew: look at every line of the difference before you commit it, because
//! it is what people's saved searches stand on.

use super::Scene;
use crate::agent::Status;
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::simkubelet::{ContainerLog, Node, Pod};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The line of a web server that the table of schemas has as its example.
const ACCESS: &str = r#"2026-03-04T09:15:27.123456789Z stdout F 10.1.2.3 - - [04/Mar/2026:09:15:27 +0000] "GET /cart HTTP/1.1" 500 17 "-" "curl/8""#;
/// An application that logs JSON, with members that may not overwrite ours.
const JSON: &str = r#"2026-03-04T09:15:27.5Z stderr F {"level":"error","order":{"id":17,"items":["a","b"]},"paid":false,"message":"no stock","kubernetes":"mine","@timestamp":"2020-01-01T00:00:00Z","time":null}"#;
const STATIC_HASH: &str = "4f2d8c1b9e6a7035d1c2b3a4958677e0";
const IMAGE_ID: &str = "docker.io/library/nginx@sha256:5e5e5e5e";

/// A node and what the API server says about its pods.
struct Stage {
    scene: Scene,
    apiserver: FakeApiserver,
    node: Node,
    bytes: u64,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let mut scene = Scene::new(name);
        let apiserver = FakeApiserver::start();
        scene.lodging.use_apiserver(&apiserver.kubeconfig());
        let node = Node::new(scene.lodging.root()).unwrap();
        Stage {
            scene,
            apiserver,
            node,
            bytes: 0,
        }
    }

    /// A pod of a deployment with one container, and what it writes.
    fn deployment_pod(&mut self, name: &str, lines: &[u8]) {
        let uid = format!("3f1c7a90-0000-4000-8000-{name:->12}");
        let mut log = self.node.pod("shop", name, &uid).container("nginx").unwrap();
        self.apiserver.add_pod(
            pod("shop", name, &uid, "node-a")
                .label("app", "web")
                .label("app.kubernetes.io/name", "web")
                .label("pod-template-hash", "6d4cf")
                .annotation("example.com/team", "checkout")
                .annotation("kubectl.kubernetes.io/restartedAt", "2026-03-01T00:00:00Z")
                .owner("ReplicaSet", "web-6d4cf")
                .ip("10.244.1.17")
                .container(
                    "nginx",
                    "docker.io/library/nginx:1.27",
                    IMAGE_ID,
                    &containerd(&log),
                    0,
                ),
        );
        self.write(&mut log, lines);
    }

    /// A static pod: its directory carries the hash of its manifest.
    fn static_pod(&mut self, lines: &[u8]) {
        let mut log = self
            .node
            .static_pod("kube-system", "etcd-node-a", STATIC_HASH)
            .container("etcd")
            .unwrap();
        self.apiserver.add_pod(
            pod(
                "kube-system",
                "etcd-node-a",
                "9b0e5d44-0000-4000-8000-mirror",
                "node-a",
            )
            .static_pod(STATIC_HASH)
            .label("component", "etcd")
            .ip("192.168.0.10")
            .container(
                "etcd",
                "registry.k8s.io/etcd:3.5",
                "sha256:e7cd",
                &containerd(&log),
                0,
            ),
        );
        self.write(&mut log, lines);
    }

    /// A pod of a node with Docker: its log is a link to Docker's own file.
    fn docker_pod(&mut self, lines: &[u8]) {
        let own: Pod = self.node.pod("shop", "docker", "3f1c7a90-0000-4000-8000-docker");
        let roots = self.scene.lodging.root().join("docker/containers");
        let id = "d0c4e1".repeat(11)[..64].to_owned();
        let file = roots.join(&id).join(format!("{id}-json.log"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, lines).unwrap();
        fs::create_dir_all(own.dir().join("app")).unwrap();
        symlink(&file, own.dir().join("app/0.log")).unwrap();
        self.apiserver.add_pod(
            pod("shop", "docker", own.uid(), "node-a")
                .ip("10.244.1.18")
                .container(
                    "app",
                    "app:1",
                    "docker-pullable://app@sha256:1",
                    &format!("docker://{id}"),
                    0,
                ),
        );
        self.scene.lodging.config["source"]["docker_roots"] = json!([roots]);
        self.bytes += lines.len() as u64;
    }

    fn write(&mut self, log: &mut ContainerLog, lines: &[u8]) {
        log.write(lines).unwrap();
        self.bytes += lines.len() as u64;
    }

    /// Sets a key of the config, given as `sink.elasticsearch.message_key`.
    fn set(&mut self, key: &str, value: Value) {
        let pointer = format!("/{}", key.replace('.', "/"));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = parent
            .split('/')
            .skip(1)
            .fold(&mut self.scene.lodging.config, |at, key| &mut at[key]);
        parent[name] = value;
    }

    /// Runs the agent until everything is delivered.
    fn ship(&self) -> Status {
        let mut agent = self.scene.lodging.start();
        let status = agent.wait_until_delivered(self.bytes);
        assert_eq!(status.imbalance(), 0);
        agent.terminate().assert_clean();
        status
    }

    /// Compares the documents of one pod with its golden.
    fn assert_golden(&self, pod: &str, golden: &str) {
        let of_pod = |document: &Value| document["_source"]["kubernetes"]["pod_name"] == pod;
        let mut documents: Vec<Value> = self.scene.documents().into_iter().filter(of_pod).collect();
        documents.sort_by_key(|document| document["_id"].to_string());
        for document in &mut documents {
            let index = document["_index"]
                .as_str()
                .unwrap()
                .replace(&self.scene.prefix, "logstash");
            document["_index"] = index.into();
        }
        assert_equals_golden(golden, &format!("{:#}\n", Value::Array(documents)));
    }
}

fn containerd(log: &ContainerLog) -> String {
    format!("containerd://{}", log.container_id())
}

/// Compares with a file of `tests/golden/documents`; `UPDATE=1` writes it anew.
#[track_caller]
fn assert_equals_golden(name: &str, have: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/documents/{name}.json"));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, have).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == golden,
        "{} differs; this is what came:\n{have}",
        path.display()
    );
}

/// Red when a field of `schema::fragment` or a part of `Encoder::push` is left out.
#[test]
fn e2e_documents_are_those_of_fluentd() {
    let mut stage = Stage::new("documents");
    stage.set("source.max_line", json!(256));
    stage.deployment_pod("deployment", format!("{ACCESS}\n{JSON}\n").as_bytes());
    stage.static_pod(b"2026-03-04T09:15:28.25+01:00 stderr F {\"level\":\"warn\"}\n");
    stage.docker_pod(
        b"{\"log\":\"whole line \\u0041\\n\",\"stream\":\"stdout\",\"time\":\"2026-03-04T09:15:27.5Z\"}\n\
          {\"log\":\"half a line, \",\"stream\":\"stderr\",\"time\":\"2026-03-04T09:15:28Z\"}\n\
          {\"log\":\"the other half\\n\",\"stream\":\"stderr\",\"time\":\"2026-03-04T09:15:29Z\"}\n",
    );
    stage.deployment_pod(
        "not-cri",
        b"2026-03-04T09:15:30Z stdout F CRI\nthis line is not\n{\"log\":1}\n",
    );
    stage.deployment_pod(
        "invalid-utf8",
        b"2026-03-04T09:15:31Z stdout F \xc3( \xff\xfe and a NUL: \0\n",
    );
    let long = format!(
        "2026-03-04T09:15:32Z stdout F {}\n2026-03-04T09:15:33Z stdout F the next\n",
        "long ".repeat(100)
    );
    stage.deployment_pod("over-long", long.as_bytes());
    let status = stage.ship();
    assert_eq!(status.0["ledger"]["dropped"]["max_line"], 244);
    for pod in ["deployment", "docker", "not-cri", "invalid-utf8", "over-long"] {
        stage.assert_golden(pod, pod);
    }
    stage.assert_golden("etcd-node-a", "static-pod");
}

/// Red when the `message_key` of the config does not reach the encoder.
#[test]
fn e2e_documents_with_message_key_log() {
    let mut stage = Stage::new("message-key");
    stage.set("sink.elasticsearch.message_key", json!("log"));
    stage.deployment_pod("web", format!("{ACCESS}\n").as_bytes());
    stage.ship();
    stage.assert_golden("web", "message-key-log");
}

/// Red when `include_tag` of the config does not reach the schema.
#[test]
fn e2e_documents_without_tag() {
    let mut stage = Stage::new("no-tag");
    stage.set("sink.elasticsearch.include_tag", json!(false));
    stage.deployment_pod("web", format!("{ACCESS}\n").as_bytes());
    stage.ship();
    stage.assert_golden("web", "include-tag-false");
}

/// Red when a member of the application's JSON overwrites a field of ours (`RESERVED_KEYS`), or is lost.
#[test]
fn e2e_documents_with_json_merged() {
    let mut stage = Stage::new("json-merge");
    stage.set("parse", json!({"json": "merge"}));
    stage.deployment_pod("web", format!("{JSON}\n{ACCESS}\n").as_bytes());
    stage.ship();
    stage.assert_golden("web", "json-merge");
}

/// Red when `nest` puts members beside our fields.
#[test]
fn e2e_documents_with_json_nested() {
    let mut stage = Stage::new("json-nest");
    stage.set("parse", json!({"json": "nest"}));
    stage.deployment_pod("web", format!("{JSON}\n{ACCESS}\n").as_bytes());
    stage.ship();
    stage.assert_golden("web", "json-nest");
}

/// Red when annotations, namespace labels or dots in labels do not follow the config.
#[test]
fn e2e_documents_with_all_metadata() {
    let mut stage = Stage::new("all-metadata");
    stage.set("enrich.kubernetes.annotations", json!(["example.com/*"]));
    stage.set("enrich.kubernetes.namespace_labels", json!(true));
    stage.set("sink.elasticsearch.label_dots", json!("keep"));
    // With dots kept, `app` beside `app.kubernetes.io/name` is refused: the classic. Here only the second one is there.
    stage.apiserver.add_namespace("shop", &[("team", "checkout")]);
    let mut log = stage
        .node
        .pod("shop", "web", "uid-web")
        .container("nginx")
        .unwrap();
    stage.apiserver.add_pod(
        pod("shop", "web", "uid-web", "node-a")
            .label("app.kubernetes.io/name", "web")
            .annotation("example.com/team", "checkout")
            .annotation("other.example/ignored", "yes")
            .container("nginx", "nginx:1.27", IMAGE_ID, &containerd(&log), 0),
    );
    stage.write(&mut log, format!("{ACCESS}\n").as_bytes());
    stage.ship();
    stage.assert_golden("web", "all-metadata");
}

/// Red when documents wait for an API server that is down, or do not say what they lack (`metadata_missing`).
#[test]
fn e2e_documents_without_metadata() {
    let mut stage = Stage::new("no-metadata");
    stage.deployment_pod("web", format!("{ACCESS}\n").as_bytes());
    stage.apiserver.off();
    stage.ship();
    stage.assert_golden("web", "metadata-missing");
}

/// A file that has no stamp at all takes the time at which it was first seen. Red when `FileState::stamp_or_rule` gives
/// another time.
#[test]
fn e2e_documents_without_any_stamp() {
    let mut stage = Stage::new("no-stamp");
    stage.deployment_pod("web", b"no stamp\n");
    let begun = unix_seconds();
    stage.ship();
    let documents = goldens_of(&stage.scene, begun);
    assert_equals_golden("no-stamp", &format!("{documents:#}\n"));
}

/// The documents with what the clock has decided taken out, after a look at it: `@timestamp`, the date in the index, and the
/// digits of the id that hold the time.
fn goldens_of(scene: &Scene, begun: u64) -> Value {
    const TIME_DIGITS: usize = 8;
    let mut documents = scene.documents();
    for document in &mut documents {
        let time = document["_source"]["@timestamp"].take();
        let time = time.as_str().unwrap();
        let expected: Vec<String> = (begun..=unix_seconds() + 1)
            .map(|second| format!("{}+00:00", longshore_kit::lines::rfc3339(second * 1_000_000_000)))
            .collect();
        assert!(
            expected.iter().any(|second| second == time),
            "{time} is none of {expected:?}"
        );
        let index = format!("{}-{}", scene.prefix, time[..10].replace('-', "."));
        assert_eq!(document["_index"], index.as_str());
        document["_index"] = "logstash-DATE".into();
        document["_source"]["@timestamp"] = "FIRST SEEN".into();
        let id = document["_id"].as_str().unwrap();
        document["_id"] = format!("{}{}", "#".repeat(TIME_DIGITS), &id[TIME_DIGITS..]).into();
    }
    Value::Array(documents)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
