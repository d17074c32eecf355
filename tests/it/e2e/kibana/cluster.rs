//! A server on which somebody has run `longshore setup`, and an agent that ships to it.

use super::corpus::{Line, Writer};
use super::view::{Application, DataView};
use super::{MAX_LINE, POD};
use crate::agent::{Lodging, binary};
use longshore_kit::stack::{Kind, RealElasticsearch};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What `longshore setup` and an agent have put on a server.
pub(super) struct Cluster {
    es: RealElasticsearch,
    lodging: Lodging,
    pub(super) schema: &'static str,
    /// Of the data view: all indices of this test.
    pub(super) title: String,
    writer: Writer,
}

impl Cluster {
    /// Templates are there, documents are not yet. None where the schema needs streams and the server has none.
    pub(super) fn new(schema: &'static str) -> Option<Cluster> {
        let es = RealElasticsearch::shared();
        if es.kind() == Kind::Elasticsearch7 && schema != "fluentd" {
            return None;
        }
        let name = es.prefix(&format!("kibana-{schema}"));
        let plain = name.replace('-', "_");
        let (index, title) = match schema {
            "fluentd" => (format!("{name}-%Y.%m.%d"), format!("{name}-*")),
            "ecs" => (format!("logs-{plain}-default"), format!("logs-{plain}-*")),
            _ => (
                format!("logs-{plain}.otel-default"),
                format!("logs-{plain}.otel-*"),
            ),
        };
        let mut lodging = Lodging::new(&es.url(), &index);
        lodging.config["sink"]["elasticsearch"]["schema"] = json!(schema);
        lodging.config["parse"] = json!({"json": "nest"});
        lodging.config["source"]["max_line"] = json!(MAX_LINE);
        let writer = Writer::new(&mut lodging);
        let cluster = Cluster {
            es,
            lodging,
            schema,
            title,
            writer,
        };
        cluster.put_templates(&name);
        Some(cluster)
    }

    /// Runs `longshore setup --print` and gives its folder.
    fn print(&self, name: &str, more: &[&str]) -> PathBuf {
        let config = self.lodging.root().join("setup.yaml");
        fs::write(&config, self.lodging.config.to_string()).unwrap();
        let folder = self.lodging.root().join(name);
        let output = Command::new(binary())
            .args(["setup", "--print"])
            .arg(&folder)
            .arg("--config")
            .arg(config)
            .args(more)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::write(folder.join("told"), output.stdout).unwrap();
        folder
    }

    /// What it prints for this server is put there, under names of this test: others set up the same schema meanwhile.
    fn put_templates(&self, name: &str) {
        let folder = self.print("templates", &[]);
        let told = fs::read_to_string(folder.join("told")).unwrap();
        let own = |text: &str| {
            text.replace(
                &format!("longshore-{}", self.schema),
                &format!("longshore-{name}"),
            )
        };
        for line in told.lines() {
            let Some((path, file)) = line
                .strip_prefix("PUT ")
                .and_then(|line| line.split_once(" from "))
            else {
                continue;
            };
            let body = fs::read_to_string(file).unwrap();
            let (status, answer) = self.es.put(&own(path), &own(&body));
            assert_eq!(status, 200, "{path}: {answer}");
        }
    }

    /// The agent ships these lines, beside those before.
    pub(super) fn ship(&mut self, lines: &[Line]) {
        let before = self.writer.bytes;
        self.writer.write(lines);
        let mut agent = self.lodging.start();
        let status = agent.wait_until_delivered(self.writer.bytes - before);
        assert_eq!((status.imbalance(), status.lost_unread()), (0, 0));
        agent.terminate().assert_clean();
        assert_eq!(self.lodging.dead_letters(), Vec::<Value>::new());
        self.es.refresh(&self.title);
    }

    /// Somebody decides that two labels are something else: then the index refuses texts there. False where attributes are one
    /// field, in which nothing can be in the way of anything.
    pub(super) fn redefine_labels(&self) -> bool {
        let number = json!({"type": "long", "ignore_malformed": false});
        let object = json!({"properties": {"name": {"type": "keyword"}}});
        let mappings = match self.schema {
            "otel" if self.has_one_field_for_attributes() => return false,
            "otel" => {
                let attributes = json!({"type": "passthrough", "priority": 40, "properties":
                    {"k8s.pod.label.port": number, "k8s.pod.label.weight": number}});
                json!({"properties": {"resource": {"properties": {"attributes": attributes}}}})
            }
            _ => {
                let labels = json!({"properties": {"port": object, "weight": object}});
                json!({"properties": {"kubernetes": {"properties": {"labels": labels}}}})
            }
        };
        let (status, answer) = self
            .es
            .put(&format!("/{}/_mapping", self.title), &mappings.to_string());
        assert_eq!(status, 200, "{answer}");
        true
    }

    /// Whether the server keeps attributes of `otel` as one field each: they can be searched, and are not listed.
    pub(super) fn has_one_field_for_attributes(&self) -> bool {
        let view = self.view(Application::Kibana);
        self.schema == "otel" && view.kind(POD[2]).is_none()
    }

    /// Whoever asks this server. (OpenSearch does not understand Kibana.)
    pub(super) fn applications(&self) -> &'static [Application] {
        match self.es.kind().is_opensearch() {
            true => &[Application::OpenSearchDashboards],
            false => &[Application::Kibana, Application::OpenSearchDashboards],
        }
    }

    pub(super) fn view(&self, application: Application) -> DataView<'_> {
        DataView::open(application, &self.es, &self.title)
    }

    /// The objects that are shipped for an application.
    pub(super) fn saved_objects(&self, application: Application) -> Vec<Value> {
        let (server, file) = match application {
            Application::Kibana => ("elasticsearch-8.19", "kibana.ndjson"),
            Application::OpenSearchDashboards => ("opensearch-2.19", "opensearch-dashboards.ndjson"),
        };
        let folder = self.print(application.name(), &["--server", server]);
        let text = fs::read_to_string(folder.join(file)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The name of a field in this schema.
    pub(super) fn name<'n>(&self, [fluentd, ecs, otel]: [&'n str; 3]) -> &'n str {
        match self.schema {
            "fluentd" => fluentd,
            "ecs" => ecs,
            _ => otel,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After a failure the documents stay to be looked at. Streams stay in any case until the server is stopped.
        if !std::thread::panicking() && self.schema == "fluentd" {
            self.es.delete_index(&self.title);
        }
    }
}
