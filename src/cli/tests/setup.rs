//! `setup`, with a server that keeps templates, and refuses what it is told to.

use super::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a server has and does.
#[derive(Default)]
struct Kept {
    /// What `GET /` answers; 405 when it is null.
    root: Value,
    /// What `GET /_nodes/plugins` answers; 404 when it is null.
    nodes: Value,
    objects: BTreeMap<String, Value>,
    /// `PUT` on a path with this in it is refused.
    refused: Option<&'static str>,
    /// Methods and paths that changed something, or tried to.
    changes: Vec<String>,
}

struct Double {
    url: String,
    kept: Arc<Mutex<Kept>>,
    folder: tempfile::TempDir,
}

impl Double {
    #[expect(clippy::disallowed_methods, reason = "a test starts the server it needs")]
    fn new(root: Value) -> Double {
        // As `main` does; another test may have been first.
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(Kept {
            root,
            ..Kept::default()
        }));
        let theirs = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&stream.unwrap(), &theirs);
            }
        });
        let double = Double {
            url,
            kept,
            folder: tempfile::tempdir().unwrap(),
        };
        let config = json!({"node_name": "node-a", "sink": {"elasticsearch": {"hosts": [double.url]}}});
        write(&double.folder.path().join("longshore.yaml"), config.to_string());
        double
    }

    fn elasticsearch() -> Double {
        Double::new(json!({"version": {"number": "8.19.21", "build_flavor": "default"}}))
    }

    fn run(&self, args: &[&str]) -> Ran {
        let config = self.folder.path().join("longshore.yaml");
        longshore(&[&["setup"], args, &["--config", config.to_str().unwrap()]].concat())
    }

    fn paths(&self) -> Vec<String> {
        self.kept.lock().unwrap().objects.keys().cloned().collect()
    }

    /// What changed, or was to be changed, since the last call.
    fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap().changes)
    }

    fn refuse(&self, part: Option<&'static str>) {
        self.kept.lock().unwrap().refused = part;
    }
}

/// Answers requests of one connection until it ends.
fn serve(stream: &TcpStream, kept: &Mutex<Kept>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (status, answer) = answer(&mut kept.lock().unwrap(), method, &path, &body);
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
        if (&mut &*stream)
            .write_all([head, answer].concat().as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn answer(kept: &mut Kept, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let path = path.split('?').next().unwrap().to_owned();
    let name = path.rsplit('/').next().unwrap().to_owned();
    match method {
        "GET" if path == "/" && kept.root.is_null() => (405, json!({"error": "Incorrect HTTP method"})),
        "GET" if path == "/" => (200, kept.root.clone()),
        "GET" if path == "/_nodes/plugins" && !kept.nodes.is_null() => (200, kept.nodes.clone()),
        "GET" => match kept.objects.get(&path) {
            None => (404, json!({"error": "none"})),
            Some(body) if path.contains("_component_template") => (
                200,
                json!({"component_templates": [{"name": name, "component_template": body}]}),
            ),
            Some(body) if path.contains("_index_template") => (
                200,
                json!({"index_templates": [{"name": name, "index_template": body}]}),
            ),
            Some(body) if path.contains("_ism") => {
                let mut told = body.clone();
                (told["_seq_no"], told["_primary_term"]) = (json!(1), json!(1));
                (200, told)
            }
            Some(body) => {
                let told: Map<String, Value> = [(name, body.clone())].into_iter().collect();
                (200, Value::Object(told))
            }
        },
        "PUT" => {
            kept.changes.push(format!("PUT {path}"));
            if kept.refused.is_some_and(|part| path.contains(part)) {
                let cause = json!({"type": "mapper_parsing_exception", "reason": "No handler for type [match_only_text]"});
                return (
                    400,
                    json!({"error": {"type": "illegal_argument_exception", "reason": "composable template is invalid",
                        "caused_by": cause}, "status": 400}),
                );
            }
            kept.objects.insert(path, serde_json::from_slice(body).unwrap());
            (200, json!({"acknowledged": true}))
        }
        _ => {
            kept.changes.push(format!("{method} {path}"));
            kept.objects.remove(&path);
            (200, json!({"acknowledged": true}))
        }
    }
}

/// Red when anything is put a second time.
#[test]
fn the_second_time_nothing_is_changed_and_that_is_said() {
    for root in [
        json!({"version": {"number": "8.19.21", "build_flavor": "default"}}),
        json!({"version": {"number": "7.17.29", "build_flavor": "default"}}),
        json!({"version": {"number": "2.19.1", "distribution": "opensearch"}}),
    ] {
        let double = Double::new(root);
        let first = double.run(&["--apply", "--retention", "14d"]);
        assert_eq!(first.exit, Exit::Clean, "{}{}", first.out, first.err);
        assert!(first.out.ends_with("4 applied\n"), "{}", first.out);
        assert_eq!((double.changes().len(), double.paths().len()), (4, 4));
        let second = double.run(&["--apply", "--retention", "14d"]);
        assert_eq!(second.exit, Exit::Clean, "{}{}", second.out, second.err);
        assert!(second.out.ends_with("nothing to do\n"), "{}", second.out);
        assert_eq!(second.out.matches("unchanged").count(), 4, "{}", second.out);
        assert_eq!(double.changes(), Vec::<String>::new());
        let other = double.run(&["--apply", "--retention", "7d"]);
        assert!(other.out.contains("\"14d\" becomes \"7d\""), "{}", other.out);
        assert_eq!(double.changes().len(), 1);
    }
}

#[test]
fn a_dry_run_shows_all_and_changes_nothing() {
    let double = Double::elasticsearch();
    let ran = double.run(&["--dry-run"]);
    assert_eq!(ran.exit, Exit::Clean, "{}", ran.err);
    assert_golden("setup-dry-run", &ran.out);
    assert!(
        ran.err.contains("Elasticsearch 8.19, indices logstash-*"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("nothing is ever deleted"), "{}", ran.err);
    assert_eq!((double.changes(), double.paths()), (Vec::new(), Vec::new()));
}

/// Red when what was put before the refused object stays, when it goes on behind it, or when what was there is not put back.
#[test]
fn a_template_that_is_refused_changes_nothing_and_the_reason_is_printed() {
    let double = Double::elasticsearch();
    double.refuse(Some("_index_template"));
    let ran = double.run(&["--apply", "--retention", "14d"]);
    assert_eq!(ran.exit, Exit::Runtime);
    for part in [
        "all is as it was",
        "composable template is invalid",
        "No handler for type [match_only_text]",
    ] {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
    assert_eq!(double.paths(), Vec::<String>::new());
    // With an older state of one of them.
    double.refuse(None);
    double.run(&["--apply", "--retention", "14d"]);
    let path = "/_ilm/policy/longshore-fluentd";
    let before = double.kept.lock().unwrap().objects.clone();
    double
        .kept
        .lock()
        .unwrap()
        .objects
        .remove("/_component_template/longshore-fluentd-settings");
    double.changes();
    double.refuse(Some("_component_template"));
    let ran = double.run(&["--apply", "--retention", "7d"]);
    assert_eq!(ran.exit, Exit::Runtime, "{}", ran.out);
    assert_eq!(double.kept.lock().unwrap().objects[path], before[path]);
    assert_eq!(
        double.changes(),
        [
            format!("PUT {path}"),
            "PUT /_component_template/longshore-fluentd-settings".to_owned(),
            format!("PUT {path}"),
        ]
    );
}

#[test]
fn what_somebody_else_has_made_is_not_touched() {
    let double = Double::elasticsearch();
    let path = "/_index_template/longshore-fluentd".to_owned();
    double
        .kept
        .lock()
        .unwrap()
        .objects
        .insert(path.clone(), json!({"index_patterns": ["x"]}));
    let ran = double.run(&["--apply"]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.err
            .contains("_index_template/longshore-fluentd: not made by Longshore; nothing was changed"),
        "{}",
        ran.err
    );
    assert_eq!((double.changes(), double.paths()), (Vec::new(), vec![path]));
}

#[test]
fn files_are_written_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let print = |server: &str| {
        let target = folder.path().join(server);
        let ran = longshore_in(
            &[("LONGSHORE_CONFIG", "/dev/null")],
            &[
                "setup",
                "--print",
                target.to_str().unwrap(),
                "--server",
                server,
                "--retention",
                "14d",
            ],
        );
        assert_eq!(ran.exit, Exit::Clean, "{}{}", ran.out, ran.err);
        ran.out.replace(folder.path().to_str().unwrap(), "DIR")
    };
    assert_golden("setup-print", &print("elasticsearch-8.19"));
    #[expect(clippy::disallowed_methods, reason = "a test looks at the files")]
    let text = std::fs::read_to_string(folder.path().join("elasticsearch-8.19/api-key-agent.json")).unwrap();
    let key: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(key["name"], "longshore");
    assert!(!print("opensearch-2.19").contains("api-key"));
}

#[test]
fn a_server_that_does_not_say_what_it_is_can_be_named() {
    let double = Double::new(Value::Null);
    let ran = double.run(&["--dry-run"]);
    assert_eq!(ran.exit, Exit::Runtime);
    assert!(
        ran.err
            .contains("GET / answers 405: Incorrect HTTP method; name the server"),
        "{}",
        ran.err
    );
    double.kept.lock().unwrap().nodes = json!({"nodes": {"n": {"version": "8.19.21", "modules": []}}});
    let by_nodes = double.run(&["--dry-run"]);
    assert_eq!(by_nodes.exit, Exit::Clean, "{}", by_nodes.err);
    assert!(by_nodes.err.contains("Elasticsearch 8.19"), "{}", by_nodes.err);
    let named = double.run(&["--dry-run", "--server", "opensearch-2.19"]);
    assert_eq!(named.exit, Exit::Clean, "{}", named.err);
    for wrong in [
        &["--dry-run", "--server", "solr-9"][..],
        &["--dry-run", "--apply"],
        &["--apply", "--retention", "soon"],
        &[],
    ] {
        assert_eq!(double.run(wrong).exit, Exit::Usage, "{wrong:?}");
    }
}
