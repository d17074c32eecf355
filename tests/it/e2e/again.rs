//! The same lines read a second time: their documents have the same ids, so that the server takes none of them twice.

use super::{MORNING_NS, SECOND_NS, Scene, Talker};
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::lines::{CriDialect, Stream};
use longshore_kit::simkubelet::{ContainerLog, Node, NodeConfig};
use serde_json::Value;

/// Longer than one CRI line holds, shorter than `source.max_line`.
const LONG: usize = 40_000;

/// The files of a node, all kinds of them, with the number of their documents and bytes.
struct Files {
    rotated: ContainerLog,
    documents: u64,
    bytes: u64,
}

impl Files {
    fn write(scene: &Scene) -> Files {
        let config = NodeConfig {
            max_files: 20,
            ..NodeConfig::default()
        };
        let node = Node::with(scene.lodging.root(), config).unwrap();
        let mut files = Files {
            rotated: node.pod("shop", "web-0", "uid-web").container("app").unwrap(),
            documents: 0,
            bytes: 0,
        };
        files.write_rotated();
        files.write_docker(&node);
        files.write_odd(&node);
        files.write_restarted(&node);
        files
    }

    /// Rotated plain and compressed files, and messages that begin in one and end in the next.
    fn write_rotated(&mut self) {
        let mut talker = Talker::new("rotated");
        for turn in 0..3 {
            let begun = MORNING_NS + turn * SECOND_NS;
            talker.say(&mut self.rotated, begun, 40);
            let long = CriDialect::Containerd.lines(begun, Stream::Stderr, talker.message(LONG).as_bytes());
            let half = long.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            self.rotated.write(&long[..half]).unwrap();
            self.rotated.rotate().unwrap();
            self.rotated.write(&long[half..]).unwrap();
            self.bytes += long.len() as u64;
        }
        self.documents += talker.lines;
        self.bytes += talker.bytes;
    }

    fn write_docker(&mut self, node: &Node) {
        let mut log = node.pod("shop", "old-0", "uid-old").container("app").unwrap();
        let lines = b"{\"log\":\"whole\\n\",\"stream\":\"stdout\",\"time\":\"2026-03-04T09:15:27.5Z\"}\n\
                      {\"log\":\"first \",\"stream\":\"stderr\",\"time\":\"2026-03-04T09:15:28Z\"}\n\
                      {\"log\":\"and last\\n\",\"stream\":\"stderr\",\"time\":\"2026-03-04T09:15:29Z\"}\n";
        self.write_to(&mut log, lines, 2);
    }

    /// Lines that are no CRI lines, behind one that is: their time is that of the line above.
    fn write_odd(&mut self, node: &Node) {
        let mut log = node.pod("shop", "odd-0", "uid-odd").container("app").unwrap();
        self.write_to(&mut log, b"2026-03-04T09:15:30.5Z stdout F first\n", 1);
        self.write_to(&mut log, b"neither CRI nor JSON\n\n\0\n", 3);
        self.write_to(&mut log, b"2026-03-04T09:15:31Z stderr F \xff\xfe bytes\n", 1);
    }

    /// A container that died in mid-line and was started again.
    fn write_restarted(&mut self, node: &Node) {
        let mut log = node.pod("shop", "api-0", "uid-api").container("app").unwrap();
        let unfinished = CriDialect::Containerd.unfinished(MORNING_NS, Stream::Stdout, b"no newline");
        self.write_to(&mut log, &unfinished, 1);
        log.restart().unwrap();
        self.write_to(&mut log, b"2026-03-04T09:15:32.5Z stdout F started again\n", 1);
    }

    fn write_to(&mut self, log: &mut ContainerLog, bytes: &[u8], documents: u64) {
        log.write(bytes).unwrap();
        self.bytes += bytes.len() as u64;
        self.documents += documents;
    }
}

/// Runs the agent until `bytes` are delivered. Gives how many documents were accepted and how many were known before.
fn run(scene: &Scene, bytes: u64) -> (u64, u64) {
    let mut agent = scene.lodging.start();
    let status = agent.wait_until_delivered(bytes);
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), bytes);
    let duplicates = agent.metric("longshore_documents_total{fate=\"duplicate\"}");
    agent.terminate().assert_clean();
    (status.documents("accepted"), duplicates as u64)
}

/// Red without the `_id` in `Encoder::push_action`, or with anything in `document_id` that is not in the file's bytes; also
/// without `close_groups` in `Instance::serve`, and when `Group::reaches` ends a group with its file.
#[test]
fn e2e_state_loss_adds_no_document() {
    let scene = Scene::new("state-loss");
    let mut files = Files::write(&scene);
    assert_eq!(run(&scene, files.bytes), (files.documents, 0));
    let before = scene.documents();
    assert_eq!(before.len() as u64, files.documents);

    // The last plain file is compressed and the live one renamed meanwhile: other names, the same bytes.
    files.rotated.rotate().unwrap();
    scene.lodging.forget_state();
    assert_eq!(run(&scene, files.bytes), (0, files.documents));
    assert_eq!(scene.count(), files.documents);
    assert_eq!(sorted(scene.documents()), sorted(before));
}

/// Red when `document_id` takes in anything of the metadata, or without the labels in `push_kubernetes`.
#[test]
fn e2e_label_change_changes_no_id() {
    let mut scene = Scene::new("label-change");
    let apiserver = FakeApiserver::start();
    scene.lodging.use_apiserver(&apiserver.kubeconfig());
    let node = Node::new(scene.lodging.root()).unwrap();
    let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
    let id = format!("containerd://{}", log.container_id());
    let labelled = |version: &str| {
        pod("shop", "web-0", "uid-web", "node-a")
            .label("version", version)
            .container("app", "web:1", "sha256:1", &id, 0)
    };
    apiserver.add_pod(labelled("one"));
    let mut talker = Talker::new("label-change");
    talker.say(&mut log, MORNING_NS, 50);
    assert_eq!(run(&scene, talker.bytes), (50, 0));

    apiserver.modify_pod(labelled("two"));
    scene.lodging.forget_state();
    assert_eq!(run(&scene, talker.bytes), (0, 50));
    assert_eq!(versions(&scene), ["one"; 50]);

    // The second label was known: a line that is new carries it.
    scene.lodging.forget_state();
    talker.say(&mut log, MORNING_NS, 1);
    assert_eq!(run(&scene, talker.bytes), (1, 50));
    assert_eq!(versions(&scene)[50], "two");
    scene.assert_exactly_once([&talker]);
}

/// The labels `version` of all documents, in order.
fn versions(scene: &Scene) -> Vec<String> {
    let version = |document: &Value| {
        document["_source"]["kubernetes"]["labels"]["version"]
            .as_str()
            .map(str::to_owned)
    };
    let mut versions: Vec<String> = scene.documents().iter().filter_map(version).collect();
    versions.sort();
    versions
}

fn sorted(mut documents: Vec<Value>) -> Vec<Value> {
    documents.sort_by_key(|document| document["_id"].to_string());
    documents
}
