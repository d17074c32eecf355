//! `try`: the corpus becomes the documents that were looked through once and are kept.

use super::*;
use crate::codec::gzip::{Compressor, Gzip};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

const POD: &str = "shop_web-0_6f1d3b1e-9a34-4c0f-8f0e-0d4c7c5e2a11";
const OLDEST: &str = "0.log.20260304-091510";

/// A copy of the corpus, with fixed modification times; the oldest rotated file is compressed, as kubelet would.
struct Corpus {
    folder: tempfile::TempDir,
}

impl Corpus {
    fn new() -> Self {
        let corpus = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in [
            "docker-json.log",
            "garbage.log",
            &format!("{POD}/app/0.log"),
            &format!("{POD}/app/0.log.20260304-091520"),
        ] {
            corpus.add(name, &bytes_of(name));
        }
        corpus.add(
            &format!("{POD}/app/{OLDEST}.gz"),
            &gzip(&bytes_of(&format!("{POD}/app/{OLDEST}"))),
        );
        // An empty config, so that nothing of this machine counts.
        corpus.add(
            "longshore.yaml",
            b"node_name: node-a\nsource: {containers_dir: /nonexistent}\n",
        );
        corpus
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn add(&self, name: &str, bytes: &[u8]) {
        write(&self.path(name), bytes);
        let file = std::fs::File::options()
            .write(true)
            .open(self.path(name))
            .unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_772_000_000))
            .unwrap();
    }

    /// Tries files of the corpus.
    fn try_files(&self, options: &[&str], names: &[&str]) -> Ran {
        let paths: Vec<String> = names
            .iter()
            .map(|name| self.path(name).display().to_string())
            .collect();
        let config = self.path("longshore.yaml").display().to_string();
        let mut args = vec!["try", "--config", &config];
        args.extend(options);
        args.extend(paths.iter().map(String::as_str));
        longshore(&args)
    }
}

#[expect(clippy::disallowed_methods, reason = "a test reads the repository")]
fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(repository(&format!("tests/corpus/try/{name}"))).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Gzip::new(6);
    let mut out = Vec::new();
    gzip.push(bytes, &mut out);
    gzip.finish(&mut out);
    out
}

fn hits(ran: &Ran) -> Vec<Value> {
    ran.out
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

fn messages(ran: &Ran) -> Vec<String> {
    let message = |hit: Value| hit["_source"]["message"].as_str().expect("a message").to_owned();
    hits(ran).into_iter().map(message).collect()
}

#[test]
fn every_kind_of_line_becomes_the_known_document() {
    let corpus = Corpus::new();
    // As a shell sorts them: the live file first.
    let instance = [
        "0.log".to_owned(),
        format!("{OLDEST}.gz"),
        "0.log.20260304-091520".to_owned(),
    ];
    let mut names: Vec<String> = instance.iter().map(|name| format!("{POD}/app/{name}")).collect();
    names.extend(["docker-json.log".to_owned(), "garbage.log".to_owned()]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ran = corpus.try_files(&["--format", "ndjson"], &names);
    assert_eq!(ran.exit, Exit::Clean, "{}", ran.err);
    assert_golden("try.ndjson", &ran.out);
    assert_golden("try.err", &ran.err);
}

#[test]
fn the_same_lines_are_shown_in_every_schema() {
    let corpus = Corpus::new();
    let live = format!("{POD}/app/0.log");
    let names = [live.as_str(), "docker-json.log", "garbage.log"];
    for schema in ["fluentd", "ecs", "otel"] {
        let ran = corpus.try_files(&["--format", "ndjson", "--schema", schema], &names);
        assert_eq!(ran.exit, Exit::Clean, "{}", ran.err);
        let folder = corpus.folder.path().display().to_string();
        let out = ran.out.replace(&folder, "{folder}");
        let out = out.replace(env!("CARGO_PKG_VERSION"), "{version}");
        assert_golden(&format!("try-{schema}.ndjson"), &out);
    }
}

#[test]
fn another_schema_than_the_configs_leaves_out_what_belongs_to_it() {
    let corpus = Corpus::new();
    let config = "sink: {elasticsearch: {index: 'mine-%Y', message_key: log, label_dots: keep}}\n";
    corpus.add("longshore.yaml", config.as_bytes());
    let index_of = |schema: &str| {
        let ran = corpus.try_files(&["--format", "ndjson", "--schema", schema], &["docker-json.log"]);
        let hit = hits(&ran).remove(0);
        let message = ["log", "message"].map(|key| hit["_source"][key].is_string());
        (hit["_index"].as_str().unwrap().to_owned(), message)
    };
    assert_eq!(index_of("fluentd"), ("mine-2026".to_owned(), [true, false]));
    assert_eq!(
        index_of("ecs"),
        ("logs-k8s.container-default".to_owned(), [false, true])
    );
}

#[test]
fn pretty_is_the_same_with_line_breaks() {
    let corpus = Corpus::new();
    let names = ["docker-json.log"];
    let pretty = corpus.try_files(&[], &names);
    let ndjson = corpus.try_files(&["--format", "ndjson"], &names);
    assert_golden("try.pretty", &pretty.out);
    let parsed: Vec<Value> = serde_json::Deserializer::from_str(&pretty.out)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(parsed, hits(&ndjson));
}

#[test]
fn what_the_path_does_not_tell_comes_from_the_options() {
    let corpus = Corpus::new();
    let options = [
        "--format",
        "ndjson",
        "--namespace",
        "shop",
        "--pod",
        "web-9",
        "--container",
        "nginx",
    ];
    let ran = corpus.try_files(&options, &["docker-json.log", &format!("{POD}/app/0.log")]);
    let pods: Vec<String> = hits(&ran)
        .iter()
        .map(|hit| {
            format!(
                "{}/{}",
                hit["_source"]["kubernetes"]["pod_name"], hit["_source"]["kubernetes"]["container_name"]
            )
        })
        .collect();
    assert_eq!(pods[0], r#""web-9"/"nginx""#);
    assert_eq!(pods.last().map(String::as_str), Some(r#""web-0"/"app""#));
}

#[test]
fn a_link_of_kubelet_tells_pod_and_container_id() {
    let corpus = Corpus::new();
    let containers = corpus.path("containers");
    let id = "0123456789abcdef".repeat(4);
    let link = format!("containers/web-0_shop_app-{id}.log");
    corpus.add("containers/other", b"");
    std::os::unix::fs::symlink(corpus.path(&format!("{POD}/app/0.log")), corpus.path(&link)).unwrap();
    corpus.add(
        "longshore.yaml",
        format!(
            "node_name: node-a\nsource: {{containers_dir: {}}}\n",
            containers.display()
        )
        .as_bytes(),
    );
    let ran = corpus.try_files(&["--format", "ndjson"], &[&link]);
    let first = &hits(&ran)[0]["_source"];
    assert_eq!(first["docker"]["container_id"], id);
    assert_eq!(first["kubernetes"]["pod_name"], "web-0");
    assert_eq!(
        first["tag"],
        format!("kubernetes.var.log.containers.web-0_shop_app-{id}.log")
    );
}

#[test]
fn the_config_says_how_documents_look() {
    let corpus = Corpus::new();
    let config = "node_name: node-a\nparse: {json: merge}\nsource: {containers_dir: /nonexistent, exclude: {namespaces: ['sh*']}}\nsink: {elasticsearch: {index: 'logs-%Y', document_id: auto, message_key: log}}\n";
    corpus.add("longshore.yaml", config.as_bytes());
    let ran = corpus.try_files(&["--format", "ndjson"], &[&format!("{POD}/app/{OLDEST}.gz")]);
    let hit = &hits(&ran)[1];
    assert_eq!(
        (hit.get("_id"), &hit["_index"]),
        (None, &Value::from("logs-2026"))
    );
    assert_eq!(
        (&hit["_source"]["level"], &hit["_source"]["parsed"]["tag"]),
        (&"warn".into(), &"taken".into())
    );
    assert!(hit["_source"]["log"].is_string());
    assert!(
        ran.err
            .contains("shop/web-0/app: a run leaves it out by source.exclude, pattern sh*"),
        "{}",
        ran.err
    );
}

#[test]
fn a_damaged_gzip_shows_what_inflates_and_the_other_files_are_read() {
    let corpus = Corpus::new();
    let text = "2026-03-04T09:15:01Z stdout F one\n".repeat(10_000);
    let whole = gzip(text.as_bytes());
    corpus.add("cut.gz", &whole[..whole.len() / 2]);
    corpus.add("empty.log", b"");
    let ran = corpus.try_files(
        &["--format", "ndjson"],
        &["cut.gz", "/nonexistent", "empty.log", "docker-json.log"],
    );
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(ran.err.contains("cut.gz: "), "{}", ran.err);
    assert!(ran.err.contains("/nonexistent: No such file"), "{}", ran.err);
    assert!(!ran.err.contains("empty.log"), "{}", ran.err);
    let messages = messages(&ran);
    assert!(
        messages.len() > 1_000 && messages.len() < 10_000,
        "{}",
        messages.len()
    );
    assert!(messages.contains(&"half a line, the other half".to_owned()));
}

#[test]
fn a_config_with_mistakes_is_wrong_usage() {
    let corpus = Corpus::new();
    corpus.add("longshore.yaml", b"parse: {json: yes}\n");
    let ran = corpus.try_files(&[], &["docker-json.log"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""));
    assert!(
        ran.err.contains("longshore.yaml: 1 mistake\nline 1: parse.json"),
        "{}",
        ran.err
    );
}
