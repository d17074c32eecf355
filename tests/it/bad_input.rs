//! What is broken outside must not break the agent: the rows of the table "bad input", with the agent as a process.

mod full_disk;
mod unreadable;

use crate::agent::{Agent, Lodging, PATIENCE};
use longshore_kit::rude_elasticsearch::{Fault, Odds, Refused, RudeElasticsearch};
use longshore_kit::simkubelet::{ContainerLog, Node};
use serde_json::Value;
use std::fs;
use std::process::Command;

struct Scene {
    lodging: Lodging,
    server: RudeElasticsearch,
    log: ContainerLog,
    written: u64,
}

impl Scene {
    fn new() -> Scene {
        let server = RudeElasticsearch::start();
        let lodging = Lodging::new(&server.url(), "logstash-%Y.%m.%d");
        let node = Node::new(lodging.root()).unwrap();
        let log = node.pod("shop", "web", "uid-web").container("app").unwrap();
        Scene {
            lodging,
            server,
            log,
            written: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.log.write(bytes).unwrap();
        self.written += bytes.len() as u64;
    }

    fn write_lines(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let line = format!("2026-03-04T09:15:27.{number:09}Z stdout F line {number}\n");
            self.write(line.as_bytes());
        }
    }

    fn documents(&self) -> Vec<Value> {
        let documents = self.server.documents("*").into_iter();
        documents
            .map(|document| serde_json::from_slice(&document.source).unwrap())
            .collect()
    }
}

/// Red when `Reader::on_other_line` drops a line, or without the replacement in `push_lossy`.
#[test]
fn lines_that_are_no_log_lines_are_shipped_as_text_and_flagged() {
    let mut scene = Scene::new();
    scene.write_lines(0..1);
    let rows: [&[u8]; 5] = [
        b"neither CRI nor JSON\n",
        b"\n",
        b"nul \0 byte\n",
        b"{\"log\":\n",
        b"2026-03-04T09:15:28Z stdout F bad \xff\xfe utf-8\n",
    ];
    rows.iter().for_each(|row| scene.write(row));
    scene.write(b"2026-03-04T09:15:29Z stdout F torn");
    let mut agent = scene.lodging.start();
    // The torn line is held until it is known that no more of it comes: here, because a next instance has begun.
    agent.wait_for("the file to be read", |agent| {
        agent.status().ledger("held") == "2026-03-04T09:15:29Z stdout F torn".len() as u64
    });
    scene.log.restart().unwrap();
    scene.log.write(b"2026-03-04T09:15:30Z stdout F next\n").unwrap();
    let next = "2026-03-04T09:15:30Z stdout F next\n".len() as u64;
    let status = agent.wait_until_delivered(scene.written + next);
    status.assert_nothing_lost();
    let documents = scene.documents();
    let flags = |message: &str| {
        let document = documents.iter().find(|document| document["message"] == message);
        document.unwrap_or_else(|| panic!("no document {message:?} in {documents:?}"))["longshore"]["flags"]
            .clone()
    };
    for text in ["neither CRI nor JSON", "", "nul \0 byte", "{\"log\":"] {
        assert_eq!(flags(text), serde_json::json!(["unparsed"]), "{text:?}");
    }
    assert_eq!(
        flags("bad \u{fffd}\u{fffd} utf-8"),
        serde_json::json!(["replaced_utf8"])
    );
    assert_eq!((flags("torn"), flags("line 0")), (Value::Null, Value::Null));
    assert_eq!(documents.len(), 8);
    agent.terminate().assert_clean();
}

/// Red when a whole-request failure is not a hold or a retry, when it is not told, or when what was read meanwhile is lost.
#[test]
fn answers_that_are_no_answers_hold_everything_and_are_told() {
    let mut scene = Scene::new();
    // Several batches each time: one stays in memory to try with, the others are spooled.
    scene.lodging.config["batch"]["max_documents"] = 5.into();
    scene.write_lines(0..20);
    let mut agent = scene.lodging.start();
    agent.wait_until_delivered(scene.written);
    let troubles = [
        Fault::Refuse(Refused::Unauthorized401),
        Fault::Html200,
        Fault::Empty200,
        Fault::Refuse(Refused::BadGateway502),
        Fault::CutMidAnswer,
    ];
    let mut lines = 20;
    for trouble in troubles {
        let what = format!("{trouble:?}");
        scene.server.fault(trouble, Odds::Always);
        scene.write_lines(lines..lines + 20);
        lines += 20;
        let written = scene.written;
        agent.wait_for(&format!("{what} to be told"), |agent| {
            let status = agent.status();
            let sink = &status.0["sink"];
            let told = sink["up"] == false && sink["problem"].is_string();
            told && status.ledger("read") == written && status.ledger("spooled") > 0
        });
        assert_eq!(agent.metric("longshore_sink_up"), 0.0, "{what}");
        if matches!(trouble, Fault::Refuse(Refused::Unauthorized401)) {
            assert_eq!(agent.metric("longshore_sink_hold"), 1.0, "{what}");
            assert!(agent.log_line("ERROR").is_some(), "an alarm: {:?}", agent.log());
        }
        scene.server.clear_faults();
        agent.wait_until_delivered(scene.written).assert_nothing_lost();
        assert_eq!(scene.server.count(), u64::from(lines), "{what}");
    }
    agent.terminate().assert_clean();
}

/// Red when damage of one of these files is an error of the start, or when `CheckpointFolder::load` trusts it.
#[test]
fn a_damaged_state_directory_prevents_no_start_and_doubles_nothing() {
    let mut scene = Scene::new();
    scene.write_lines(0..50);
    let mut agent = scene.lodging.start();
    agent.wait_until_delivered(scene.written);
    // Something for the spool, too.
    scene.server.off();
    scene.write_lines(50..60);
    let written = scene.written;
    agent.wait_for("the lines to be read", |agent| {
        agent.status().ledger("read") == written
    });
    agent.terminate();
    let mut damaged = 0;
    for folder in ["checkpoints", "spool", "dead-letter"] {
        for entry in fs::read_dir(scene.lodging.state().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0x55;
            }
            bytes.extend_from_slice(b"garbage");
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged >= 3, "{damaged} files");
    scene.server.on();
    let mut agent = scene.lodging.start();
    let server = &scene.server;
    agent.wait_for("everything", |_| server.count() == 60);
    agent.wait_for("rest", |agent| agent.status().is_at_rest());
    assert!(agent.log_line("checkpoint: ").is_some(), "{:?}", agent.log());
    agent.terminate().assert_clean();
    assert!(scene.server.wait_for_documents(60, PATIENCE));
    assert_eq!(scene.server.count(), 60);
}

/// Red when `LogFolders::files` lists what is no regular file, or when one broken name ends a listing.
#[test]
fn what_is_no_regular_file_is_passed_over_and_stops_nobody_else() {
    let mut scene = Scene::new();
    scene.write_lines(0..5);
    let broken = scene.lodging.pods().join("shop_broken_uid-b/app");
    fs::create_dir_all(broken.join("0.log")).unwrap();
    let looped = scene.lodging.pods().join("shop_loop_uid-l/app");
    fs::create_dir_all(&looped).unwrap();
    std::os::unix::fs::symlink("0.log", looped.join("0.log")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", looped.join("1.log")).unwrap();
    let mut agent: Agent = scene.lodging.start();
    agent.wait_until_delivered(scene.written).assert_nothing_lost();
    assert_eq!(scene.server.count(), 5);
    agent.terminate().assert_clean();
}

/// Red when `Lock::take` or `run` hides the path or the way out.
#[test]
fn a_state_directory_that_cannot_be_written_is_an_error_at_the_start() {
    let mut scene = Scene::new();
    let file = scene.lodging.root().join("a-file");
    fs::write(&file, "").unwrap();
    scene.lodging.config["state_dir"] = file.join("state").display().to_string().into();
    let config = scene.lodging.root().join("longshore.yaml");
    fs::write(&config, scene.lodging.config.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("a-file/state") && told.contains("ended not clean"),
        "{told}"
    );
}

/// Red when the agent does not tell what others can read or change (`exposures` in `Agent::run` and `start_admin`).
#[test]
fn what_the_config_exposes_is_told_at_the_start_and_by_a_metric() {
    let mut scene = Scene::new();
    let tls = serde_json::json!({"insecure_skip_verify": true});
    scene.lodging.config["sink"]["elasticsearch"]["tls"] = tls;
    let mut agent = scene.lodging.start();
    agent.wait_for("the warning", |agent| {
        agent.log_line("certificates_unchecked").is_some()
    });
    assert_eq!(
        agent.metric("longshore_sink_insecure{what=\"certificates_unchecked\"}"),
        1.0
    );
    agent.terminate().assert_clean();
}

/// Red when an agent begins with more than one request at a time (`first_slots`): a fleet that starts is four times as many.
#[test]
fn an_agent_begins_with_one_request() {
    let mut scene = Scene::new();
    scene.lodging.config["batch"] = serde_json::json!({"max_documents": 100});
    scene
        .server
        .fault(Fault::StallBeforeCommit(PATIENCE), Odds::Always);
    scene.write_lines(0..2_000);
    let mut agent = scene.lodging.start();
    // What finds no slot for a second.
    agent.wait_for("bodies in the spool", |agent| {
        agent.status().0["spool"]["frames"].as_u64() > Some(1)
    });
    assert_eq!(scene.server.requests(), 1);
    scene.server.clear_faults();
    scene.server.release();
    agent.wait_until_delivered(scene.written).assert_nothing_lost();
    agent.terminate().assert_clean();
}
