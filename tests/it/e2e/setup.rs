//! `longshore setup` on a real server: what is put there is taken, a second time changes nothing, and searches by the names of
//! both worlds find what the agent ships. The build of Elasticsearch 7.17 that tests use has no data streams: there `setup` says
//! so for the schemas that need them, and changes nothing.

use super::{MORNING_NS, Talker};
use crate::agent::{Lodging, binary};
use longshore_kit::simkubelet::Node;
use longshore_kit::stack::{Kind, RealElasticsearch};
use serde_json::json;
use std::process::{Command, Output};

/// Lines that are shipped.
const LINES: u64 = 20;

struct Scene {
    es: RealElasticsearch,
    lodging: Lodging,
    schema: &'static str,
    /// The index pattern of the config, without dates.
    index: String,
    is_stream: bool,
}

impl Scene {
    fn new(schema: &'static str) -> Scene {
        let es = RealElasticsearch::shared();
        let name = es.prefix(&format!("setup-{schema}"));
        let plain = name.replace('-', "_");
        let index = match schema {
            "fluentd" => name,
            "ecs" => format!("logs-{plain}-default"),
            _ => format!("logs-{plain}.otel-default"),
        };
        let mut lodging = Lodging::new(&es.url(), &index);
        lodging.config["sink"]["elasticsearch"]["schema"] = json!(schema);
        let scene = Scene {
            es,
            lodging,
            schema,
            index,
            is_stream: schema != "fluentd",
        };
        scene.forget();
        scene
    }

    /// `longshore setup` with these arguments.
    fn setup(&self, args: &[&str]) -> Output {
        let config = self.lodging.root().join("longshore.yaml");
        std::fs::write(&config, self.lodging.config.to_string()).unwrap();
        let mut command = Command::new(binary());
        command.arg("setup").args(args).arg("--config").arg(config);
        command.output().unwrap()
    }

    #[track_caller]
    fn assert_setup(&self, args: &[&str], end: &str) {
        let output = self.setup(args);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{out}{err}");
        assert!(out.ends_with(end), "{out}{err}");
    }

    /// How many documents a search finds.
    fn hits(&self, field: &str, value: &str) -> u64 {
        self.es.refresh(&self.index);
        let query = json!({"query": {"match": {field: value}}});
        let (status, answer) = self
            .es
            .post(&format!("/{}/_count", self.index), &query.to_string());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["count"]
            .as_u64()
            .unwrap()
    }

    /// Removes documents and templates of this schema.
    fn forget(&self) {
        let path = match self.is_stream {
            true => format!("/_data_stream/{}", self.index),
            false => format!("/{}", self.index),
        };
        // The servers of the tests have no calls for streams: then the index below goes.
        let _gone = self.es.delete(&path, "");
        let name = format!("longshore-{}", self.schema);
        for path in [
            format!("/_index_template/{name}"),
            format!("/_component_template/{name}-mappings"),
            format!("/_component_template/{name}-settings"),
        ] {
            let _gone = self.es.delete(&path, "");
        }
    }

    /// Whether the server keeps OpenTelemetry's attributes as one field each: then only their own names find documents.
    fn has_one_field_for_attributes(&self) -> bool {
        let told = self.setup(&["--dry-run"]).stderr;
        String::from_utf8_lossy(&told).contains("keeps attributes as one field each")
    }

    /// A server without data streams is told apart before anything is put there.
    fn assert_refused(&self) {
        let output = self.setup(&["--apply"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains("no data streams") && told.contains("schema: fluentd"),
            "{told}"
        );
        let name = format!("longshore-{}", self.schema);
        for path in [
            format!("/_index_template/{name}"),
            format!("/_component_template/{name}-mappings"),
        ] {
            assert_eq!(self.es.get(&path).0, 404, "{path}");
        }
    }

    /// A template that the server refuses, here because another one claims the same indices with the same priority: its reason
    /// is told, and what was put before is taken back.
    fn assert_taken_back(&self) {
        let name = format!("longshore-{}", self.schema);
        self.assert_setup(&["--apply"], " applied\n");
        let (status, ours) = self.es.get(&format!("/_index_template/{name}"));
        assert_eq!(status, 200, "{ours}");
        let ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
        let ours = &ours["index_templates"][0]["index_template"];
        let rival = json!({"index_patterns": ours["index_patterns"], "priority": ours["priority"]});
        self.forget();
        let path = format!("/_index_template/rival-of-{name}");
        let (status, answer) = self.es.put(&path, &rival.to_string());
        assert_eq!(status, 200, "{answer}");
        let output = self.setup(&["--apply"]);
        self.es.delete(&path, "");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("same priority"), "{told}");
        for path in [
            format!("/_index_template/{name}"),
            format!("/_component_template/{name}-mappings"),
            format!("/_component_template/{name}-settings"),
        ] {
            assert_eq!(self.es.get(&path).0, 404, "{path}");
        }
    }

    fn run(&self, names: &[(&str, &str)]) {
        if self.is_stream && self.es.kind() == Kind::Elasticsearch7 {
            return self.assert_refused();
        }
        self.assert_taken_back();
        self.assert_setup(&["--dry-run"], " to apply\n");
        self.assert_setup(&["--apply"], " applied\n");
        self.assert_setup(&["--apply"], "nothing to do\n");
        self.assert_setup(&["--dry-run"], "nothing to do\n");
        let node = Node::new(self.lodging.root()).unwrap();
        let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
        let mut talker = Talker::new(self.schema);
        talker.say(&mut log, MORNING_NS, LINES);
        let mut agent = self.lodging.start();
        agent.wait_until_delivered(talker.bytes).assert_nothing_lost();
        agent.terminate().assert_clean();
        assert_eq!(self.lodging.dead_letters(), Vec::<serde_json::Value>::new());
        for (field, value) in names {
            assert_eq!(self.hits(field, value), LINES, "{field}");
        }
        self.forget();
    }
}

/// Red when the server refuses one of the objects, when `plan::change` finds a difference in what was just put, or without the
/// aliases of `mappings`; when a refusal leaves what was put before it (`undo`).
#[test]
fn e2e_setup_fluentd_twice_and_searched_by_both_names() {
    Scene::new("fluentd").run(&[
        ("kubernetes.pod_name", "web-0"),
        ("kubernetes.pod_name.keyword", "web-0"),
        ("kubernetes.pod.name", "web-0"),
        ("kubernetes.namespace", "shop"),
        ("kubernetes.container.name", "app"),
    ]);
}

/// As above.
#[test]
fn e2e_setup_ecs_twice_and_searched_by_both_names() {
    Scene::new("ecs").run(&[
        ("kubernetes.pod.name", "web-0"),
        ("kubernetes.pod_name", "web-0"),
        ("kubernetes.namespace_name", "shop"),
        ("kubernetes.container_name", "app"),
    ]);
}

/// As above.
#[test]
fn e2e_setup_otel_twice_and_searched_by_all_names() {
    let scene = Scene::new("otel");
    let names = [
        ("resource.attributes.k8s.pod.name", "web-0"),
        ("body.text", "otel"),
        ("message", "otel"),
        ("k8s.pod.name", "web-0"),
        ("kubernetes.pod_name", "web-0"),
        ("kubernetes.pod.name", "web-0"),
    ];
    let few = if scene.has_one_field_for_attributes() {
        3
    } else {
        names.len()
    };
    scene.run(&names[..few]);
}
