//! `check --connect` against the doubles of both servers.

use super::*;
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::rude_elasticsearch::RudeElasticsearch;

struct Servers {
    elasticsearch: RudeElasticsearch,
    api: FakeApiserver,
    folder: tempfile::TempDir,
}

impl Servers {
    fn new() -> Self {
        // As `main` does; another test may have been first.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let servers = Self {
            elasticsearch: RudeElasticsearch::start(),
            api: FakeApiserver::start(),
            folder: tempfile::tempdir().unwrap(),
        };
        write(
            &servers.folder.path().join("kubeconfig"),
            servers.api.kubeconfig(),
        );
        servers.api.add_pod(pod("shop", "web-1", "u-1", "node-a"));
        servers
    }

    fn check(&self, metadata_source: &str) -> Ran {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let config = format!(
            "node_name: node-a\nsink: {{elasticsearch: {{hosts: ['{}']}}}}\nenrich: {{kubernetes: {{source: {metadata_source}, kubeconfig: '{}'}}}}\n",
            self.elasticsearch.url(),
            kubeconfig.display(),
        );
        let path = self.folder.path().join("longshore.yaml");
        write(&path, config);
        longshore(&["check", "--connect", path.to_str().unwrap()])
    }
}

#[test]
fn servers_that_answer_are_told_and_clean() {
    let servers = Servers::new();
    let ran = servers.check("api");
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Clean, ""), "{}", ran.out);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].ends_with("longshore.yaml: no mistakes"));
    let host = format!("ok: elasticsearch {}: reachable", servers.elasticsearch.url());
    assert!(lines[1].starts_with(&host), "{}", ran.out);
    assert!(lines[2].starts_with("ok: API server: "), "{}", ran.out);
    assert!(lines[2].ends_with("pods on node node-a: 1"), "{}", ran.out);
}

#[test]
fn a_server_that_is_away_is_named_with_a_fix_and_the_other_is_tried() {
    let servers = Servers::new();
    servers.elasticsearch.off();
    let ran = servers.check("api");
    assert_eq!(ran.exit, Exit::Runtime, "{}", ran.out);
    let url = servers.elasticsearch.url();
    let line = ran.out.lines().nth(1).unwrap();
    assert!(
        line.starts_with(&format!("failed: elasticsearch {url}: ")),
        "{line}"
    );
    assert_eq!(line.matches(&url).count(), 1, "{line}");
    assert!(line.contains("may this node reach it?"), "{line}");
    assert!(ran.out.contains("\nok: API server: "), "{}", ran.out);
}

#[test]
fn an_api_server_that_refuses_is_told_unless_nobody_asks_it() {
    let servers = Servers::new();
    servers.api.require_token(Some("another"));
    let ran = servers.check("api");
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.out.contains("\nfailed: API server: ") && ran.out.contains("fix: the token"),
        "{}",
        ran.out
    );
    let asked = servers.api.lists();
    let without = servers.check("none");
    assert_eq!(
        (without.exit, servers.api.lists()),
        (Exit::Clean, asked),
        "{}",
        without.out
    );
}

#[test]
fn a_secret_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore.yaml");
    write(
        &path,
        "sink: {elasticsearch: {hosts: [\"https://es:9200\"], auth: {api_key_file: /nonexistent/key}}}\nenrich: {kubernetes: {source: none}}\n",
    );
    let ran = longshore(&["check", "--connect", path.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.out.contains("\nfailed: elasticsearch: ") && ran.out.contains("/nonexistent/key"),
        "{}",
        ran.out
    );
}

#[test]
fn a_config_with_mistakes_connects_to_nobody() {
    let servers = Servers::new();
    let ran = servers.check("nobody");
    assert_eq!(
        (ran.exit, servers.elasticsearch.connections()),
        (Exit::Usage, 0),
        "{}",
        ran.out
    );
}
