//! `dead-letter`, with rows as the sink writes them and a server that refuses some of them again.

use super::*;
use crate::sink::dead_letter;
use crate::sink::disk::{DeadLetterFile, dead_letter_path};
use longshore_kit::rude_elasticsearch::{BlockKind, Fates, Fault, Odds, Refused, RudeElasticsearch};
use serde_json::{Value, json};
use std::path::PathBuf;

struct Scene {
    server: RudeElasticsearch,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        // As `main` does; another test may have been first.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let scene = Scene {
            server: RudeElasticsearch::start(),
            folder: tempfile::tempdir().unwrap(),
        };
        let config = json!({
            "node_name": "node-a",
            "state_dir": scene.state(),
            "sink": {"elasticsearch": {"hosts": [scene.server.url()]}},
        });
        write(&scene.folder.path().join("longshore.yaml"), config.to_string());
        write(&scene.state().join("lock"), "");
        scene
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Appends rows as the agent does.
    fn refused(&self, letters: &[(&str, &str, &str, Value)]) {
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), &self.state(), 1 << 30).unwrap();
        for (index, id, kind, document) in letters {
            let action = json!({"create": {"_index": index, "_id": id}}).to_string();
            let document = document.to_string();
            let row = dead_letter::row(
                1_772_615_700,
                action.as_bytes(),
                document.as_bytes(),
                400,
                kind,
                "because of \u{1b}[31mred",
            );
            assert_eq!(file.append(&row).unwrap(), dead_letter::Appended::Synced);
        }
    }

    /// Three documents of two pods.
    fn three_refused(&self) {
        let of = |pod: &str, message: &str| {
            json!({"@timestamp": "2026-03-04T09:15:27.000000001+00:00", "message": message,
                   "kubernetes": {"namespace_name": "shop", "pod_name": pod}})
        };
        self.refused(&[
            ("logs-a", "-id1", "document_parsing_exception", of("web-1", "one")),
            (
                "logs-b",
                "-id2",
                "mapper_parsing_exception",
                of("web-2", "poison two"),
            ),
            (
                "logs-a",
                "-id3",
                "document_parsing_exception",
                of("web-2", "three"),
            ),
        ]);
    }

    fn run(&self, args: &[&str]) -> Ran {
        let config = self.folder.path().join("longshore.yaml");
        let args = [&["dead-letter"], args, &["--config", config.to_str().unwrap()]].concat();
        longshore(&args)
    }

    /// Ids of the rows that are left.
    fn left(&self) -> Vec<String> {
        let ran = self.run(&["list", "--json"]);
        assert_eq!(ran.exit, Exit::Clean, "{}", ran.err);
        let rows = ran
            .out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Ids of the documents that the server has, sorted.
    fn stored(&self) -> Vec<String> {
        let mut ids: Vec<String> = self
            .server
            .documents("*")
            .into_iter()
            .map(|document| format!("{}/{}", document.index, document.id))
            .collect();
        ids.sort();
        ids
    }
}

#[test]
fn rows_are_listed_by_what_a_person_looks_for() {
    let scene = Scene::new();
    assert_eq!(scene.run(&["list"]).out, "no dead letters\n");
    scene.three_refused();
    let ran = scene.run(&["list"]);
    assert_eq!(ran.exit, Exit::Clean, "{}", ran.err);
    assert_golden("dead-letter-list", &ran.out);
    let ids = |args: &[&str]| {
        let ran = scene.run(&[&["list", "--json"], args].concat());
        let ids = ran.out.matches("\"id\":\"-id");
        (ran.exit, ids.count())
    };
    assert_eq!(ids(&[]), (Exit::Clean, 3));
    assert_eq!(ids(&["--pod", "web-2"]), (Exit::Clean, 2));
    assert_eq!(
        ids(&["--namespace", "s?op", "--type", "mapper*"]),
        (Exit::Clean, 1)
    );
    assert_eq!(ids(&["--index", "logs-a", "--pod", "web-2"]), (Exit::Clean, 1));
    assert_eq!(ids(&["--namespace", "other"]), (Exit::Clean, 0));
    let few = scene.run(&["list", "--limit", "1"]).out;
    assert!(
        few.contains("… and 2 more") && few.contains("rows: 3, different ids: 3"),
        "{few}"
    );
}

#[test]
fn a_row_is_shown_whole_and_an_unknown_id_is_told() {
    let scene = Scene::new();
    scene.three_refused();
    let ran = scene.run(&["show", "-id2"]);
    assert_eq!(ran.exit, Exit::Clean, "{}", ran.err);
    let row: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&row["index"], &row["document"]["message"]),
        (&json!("logs-b"), &json!("poison two"))
    );
    let ran = scene.run(&["show", "--pod", "web-2"]);
    assert_eq!(ran.out.matches("\"index\"").count(), 2, "{}", ran.out);
    let ran = scene.run(&["show", "-nobody"]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.err.contains("-nobody: no dead letter has this id"),
        "{}",
        ran.err
    );
    assert_eq!(scene.run(&["show"]).exit, Exit::Usage);
}

/// Red when a row goes for another answer than 201 and 409, or when another row goes with it.
#[test]
fn what_is_stored_goes_and_what_is_refused_again_stays() {
    let scene = Scene::new();
    scene.server.fates(Fates {
        mapping_400: Some(Box::new(|source| {
            memchr::memmem::find(source, b"poison").is_some()
        })),
        ..Fates::default()
    });
    scene.three_refused();
    let ran = scene.run(&["resend", "--all"]);
    assert_eq!(ran.exit, Exit::Runtime, "{}{}", ran.out, ran.err);
    assert_eq!(
        ran.out,
        "2 delivered (2 stored now, 0 stored before), 1 not\n      1  400 document_parsing_exception\n"
    );
    assert_eq!(scene.left(), ["-id2"]);
    assert_eq!(scene.stored(), ["logs-a/-id1", "logs-a/-id3"]);
    let document: Value = serde_json::from_slice(&scene.server.documents("*")[0].source).unwrap();
    assert_eq!(document["message"], "one");
    // The mapping is mended; one of the others is refused once more and was stored before.
    scene.server.fates(Fates::default());
    scene.three_refused();
    let ran = scene.run(&["resend", "--all"]);
    assert_eq!(ran.exit, Exit::Clean, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out, "4 delivered (1 stored now, 3 stored before), 0 not\n");
    assert_eq!(scene.left(), Vec::<String>::new());
    assert_eq!(scene.server.count(), 3);
    assert_eq!(
        scene.run(&["resend", "--all"]).out,
        "0 delivered (0 stored now, 0 stored before), 0 not\n"
    );
}

#[test]
fn only_what_was_chosen_is_sent() {
    let scene = Scene::new();
    scene.three_refused();
    let ran = scene.run(&["resend", "--id", "-id3"]);
    assert_eq!(
        (ran.exit, scene.stored()),
        (Exit::Clean, vec!["logs-a/-id3".to_owned()]),
        "{}",
        ran.err
    );
    assert_eq!(scene.left(), ["-id1", "-id2"]);
    let ran = scene.run(&["resend", "--pod", "web-2"]);
    assert_eq!(
        (ran.exit, scene.left()),
        (Exit::Clean, vec!["-id1".to_owned()]),
        "{}",
        ran.err
    );
    let ran = scene.run(&["resend", "--id", "-nobody", "--id", "-id1"]);
    assert_eq!(
        (ran.exit, scene.left()),
        (Exit::Runtime, Vec::new()),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("-nobody: no dead letter"), "{}", ran.err);
    assert_eq!(scene.run(&["resend"]).exit, Exit::Usage);
    assert_eq!(scene.run(&["resend", "--all", "--id", "-id1"]).exit, Exit::Usage);
}

/// Red when an early end takes rows away that are not delivered, or leaves those that are.
#[test]
fn a_server_that_takes_nothing_is_told_and_all_rows_stay() {
    let scene = Scene::new();
    scene.three_refused();
    scene
        .server
        .fault(Fault::Refuse(Refused::Unauthorized401), Odds::Always);
    let ran = scene.run(&["resend", "--all"]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.err.contains("ended early, all other rows stay: 401"),
        "{}",
        ran.err
    );
    assert_eq!(scene.left().len(), 3);
    scene.server.clear_faults();
    // One index is blocked, and the first answer to the others gets lost on its way.
    scene.server.block_index("logs-b", BlockKind::Write403);
    scene.server.fault(Fault::CommitThenCut, Odds::Next(1));
    let ran = scene.run(&["resend", "--all"]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.out
            .starts_with("2 delivered (0 stored now, 2 stored before), 1 not\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("index logs-b is on hold: 403 cluster_block_exception"),
        "{}",
        ran.out
    );
    assert_eq!((scene.left(), scene.server.count()), (vec!["-id2".to_owned()], 2));
}

/// Many bodies, and a line that is no row. Red when the file is rewritten at the end only: a kill would let all be sent again.
#[test]
fn a_long_file_is_sent_in_bodies_and_shrinks_on_the_way() {
    let scene = Scene::new();
    let config = json!({
        "node_name": "node-a",
        "state_dir": scene.state(),
        "batch": {"max_documents": 7},
        "sink": {"elasticsearch": {"hosts": [scene.server.url()], "compression": 0}},
    });
    write(&scene.folder.path().join("longshore.yaml"), config.to_string());
    let letters: Vec<(String, Value)> = (0..100)
        .map(|n| (format!("id-{n}"), json!({"n": n, "message": "m".repeat(n)})))
        .collect();
    let letters: Vec<(&str, &str, &str, Value)> = letters
        .iter()
        .map(|(id, document)| ("logs", id.as_str(), "x", document.clone()))
        .collect();
    scene.refused(&letters[..50]);
    let file = dead_letter_path(&scene.state());
    #[expect(clippy::disallowed_methods, reason = "a test looks at the file")]
    let text = std::fs::read_to_string(&file).unwrap();
    write(&file, format!("{text}no row\n"));
    scene.refused(&letters[50..]);
    let taken = file.with_file_name("taken.ndjson");
    let sizes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&sizes);
    scene.server.on_document(move |_, _, _| {
        let size = crate::disk::kernel().stat(&taken).map_or(0, |stat| stat.len);
        seen.lock().unwrap().push(size);
    });
    let ran = scene.run(&["resend", "--all"]);
    let sizes = sizes.lock().unwrap();
    assert!(sizes[99] * 2 < sizes[0], "it shrinks on the way: {sizes:?}");
    assert_eq!(ran.exit, Exit::Runtime);
    assert_eq!(
        ran.out,
        "100 delivered (100 stored now, 0 stored before), 1 not\n      1  not a row of a dead letter\n"
    );
    assert_eq!((scene.server.count(), scene.server.requests()), (100, 15));
    let left = scene.run(&["list"]);
    assert_eq!(
        (left.exit, left.out.as_str()),
        (Exit::Runtime, "no dead letters\n")
    );
    assert!(left.err.contains("not a row of a dead letter"), "{}", left.err);
}

#[test]
fn two_at_once_are_one_too_many() {
    let scene = Scene::new();
    scene.three_refused();
    let lock = crate::lock::disk::Lock::take(&scene.state().join("dead-letter")).unwrap();
    let ran = scene.run(&["resend", "--all"]);
    assert_eq!((ran.exit, scene.server.requests()), (Exit::Runtime, 0));
    assert!(ran.err.contains("another resend is at work"), "{}", ran.err);
    drop(lock);
    assert_eq!(scene.run(&["resend", "--all"]).exit, Exit::Clean);
}

/// Red when what was delivered before an early end stays.
#[test]
fn what_was_delivered_before_an_early_end_goes() {
    let scene = Scene::new();
    let config = json!({
        "node_name": "node-a",
        "state_dir": scene.state(),
        "batch": {"max_documents": 1},
        "sink": {"elasticsearch": {"hosts": [scene.server.url()]}},
    });
    write(&scene.folder.path().join("longshore.yaml"), config.to_string());
    scene.three_refused();
    scene.server.fault(Fault::Pretty, Odds::Next(1));
    scene
        .server
        .fault(Fault::Refuse(Refused::Unauthorized401), Odds::Always);
    let ran = scene.run(&["resend", "--all"]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(ran.err.contains("ended early"), "{}", ran.err);
    assert_eq!(scene.left(), ["-id2", "-id3"]);
}
