//! `inspect`: what the real stages wrote is shown; damage has its place; nothing is changed.

use super::*;
use crate::checkpoint::disk::CheckpointFolder;
use crate::checkpoint::snapshot::{CutEntry, Entry};
use crate::sink::dead_letter;
use crate::sink::disk::DeadLetterFile;
use crate::spool::disk::tests::append;
use crate::spool::disk::{Appended, MinFree, Spool};
use crate::spool::frame::{self, tests::body};
use crate::spool::index::{Quota, WhenFull};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct State {
    folder: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn inspect(&self, args: &[&str]) -> Ran {
        let state_dir = self.path().to_str().unwrap();
        longshore(&[&["inspect"], args, &["--state-dir", state_dir]].concat())
    }

    /// The table, with the place of the state directory taken out.
    fn table(&self, args: &[&str]) -> String {
        let before = self.everything();
        let ran = self.inspect(args);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Clean, ""), "{args:?}");
        assert_eq!(self.everything(), before, "{args:?} changed something");
        ran.out.replace(self.path().to_str().unwrap(), "STATE")
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.inspect(&[args, &["--format", "json"]].concat());
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Clean, ""), "{args:?}");
        serde_json::from_str(&ran.out).expect("one JSON object")
    }

    /// All files below the state directory: when they were changed, and their bytes.
    #[expect(clippy::disallowed_methods, reason = "a test looks at its own files")]
    fn everything(&self) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
                let bytes = std::fs::read(&path).unwrap_or_default();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path.display().to_string(), (changed, bytes));
            }
        }
        found
    }

    #[expect(clippy::disallowed_methods, reason = "a test damages its own files")]
    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "a test dates its own files")]
    fn date(&self, name: &str, secs: u64) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.path().join(name))
            .unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(secs)).unwrap();
    }

    fn checkpoints(&self) {
        let folder = CheckpointFolder::open(&crate::disk::kernel(), self.path()).unwrap();
        folder.save(&vec![entry("web-0", 10, false)].into()).unwrap();
        let newer = [entry("web-0", 480, false), entry("web-1", 1000, true)];
        folder.save(&newer.to_vec().into()).unwrap();
        self.date("checkpoints/current", 1_772_615_700);
        self.date("checkpoints/previous", 1_772_615_699);
    }

    /// Frames 1 to 5, of which the second is delivered and the fourth is on hold for an index.
    fn spool(&self) {
        let quota = Quota {
            max_bytes: 100_000,
            segment_bytes: 520,
            when_full: WhenFull::Block,
        };
        let (mut spool, _) =
            Spool::open(&crate::disk::kernel(), self.path(), quota, MinFree::Bytes(0)).unwrap();
        for lane in [None, None, None, Some("logs-b"), None] {
            assert!(matches!(append(&mut spool, lane, &body(3)), Appended::Frame(_)));
        }
        spool.done(2).unwrap();
        spool.save_delivered().unwrap();
    }

    fn dead_letters(&self) {
        let action = |id: &str| format!(r#"{{"create":{{"_index":"logs-a","_id":"{id}"}}}}"#);
        let row = |id: &str, kind: &str, reason: &str| {
            dead_letter::row(
                1_772_615_700,
                action(id).as_bytes(),
                br#"{"n":"x"}"#,
                400,
                kind,
                reason,
            )
        };
        let first = [
            row(
                "id-1",
                "document_parsing_exception",
                &format!("field [n] {}", "of type long ".repeat(20)),
            ),
            row("id-2", "mapper_exception", "a \u{1b}[31mred\u{1b}[0m reason"),
        ];
        // Rows of another day that somebody moved aside, and the file that the sink writes to.
        write(&self.path().join("dead-letter/2026-03-03.ndjson"), first.concat());
        let mut file = DeadLetterFile::open(&crate::disk::kernel(), self.path(), 1 << 20).unwrap();
        let second = row("id-1", "document_parsing_exception", "again, after a crash");
        assert_eq!(file.append(&second).unwrap(), dead_letter::Appended::Synced);
    }
}

fn entry(pod: &str, offset: u64, finished: bool) -> Entry {
    Entry {
        namespace: "shop".into(),
        pod: pod.into(),
        uid: "u-1".into(),
        container: "app".into(),
        restart: 2,
        fingerprint: 0xfeed,
        epoch: 0,
        offset,
        size: 1000,
        finished,
        dev: 1,
        ino: 2,
        first_seen: 1_772_000_000,
        last_stamp: finished.then_some((1_772_615_690, 5)),
        mark: None,
        cuts: vec![CutEntry {
            stderr: true,
            end: 77,
        }],
    }
}

#[test]
fn checkpoints_show_the_generation_that_counts() {
    let state = State::new();
    state.checkpoints();
    assert_golden("inspect-checkpoints", &state.table(&["checkpoints"]));
    let json = state.json(&["checkpoints"]);
    assert_eq!(json["files"][1], serde_json::json!(entry("web-1", 1000, true)));
    assert_eq!(json["generations"][0]["counts"], true);
    assert_eq!(json["damage"], serde_json::json!([]));
}

#[test]
fn a_damaged_generation_is_named_and_the_older_one_counts() {
    let state = State::new();
    state.checkpoints();
    state.change("checkpoints/current", |bytes| bytes[100] ^= 1);
    state.date("checkpoints/current", 1_772_615_700);
    assert_golden("inspect-checkpoints-damaged", &state.table(&["checkpoints"]));
    assert_eq!(state.json(&["checkpoints"])["files"][0]["offset"], 10);
    state.change("checkpoints/previous", Vec::clear);
    let json = state.json(&["checkpoints"]);
    assert_eq!(
        (
            json["files"].as_array().unwrap().len(),
            json["damage"].as_array().unwrap().len()
        ),
        (0, 2)
    );
}

#[test]
fn the_spool_shows_segments_frames_and_lanes() {
    let state = State::new();
    state.spool();
    assert_golden("inspect-spool", &state.table(&["spool", "--frames"]));
    let json = state.json(&["spool"]);
    let waiting: Vec<bool> = json["frames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| frame["waiting"].as_bool().unwrap())
        .collect();
    assert_eq!(waiting, [true, false, true, true, true]);
    assert_eq!(json["lanes"][1]["lane"], "logs-b");
    assert_eq!(json["lanes"][0]["source_bytes"], 900);
}

#[test]
fn damage_in_the_spool_has_its_place_and_later_frames_are_shown() {
    let state = State::new();
    state.spool();
    let one = frame::encode(1, None, &body(3)).len();
    state.change("spool/000000000001.segment", |bytes| {
        bytes[60] ^= 1;
        bytes.truncate(bytes.len() - 1);
    });
    state.change("spool/delivered", |bytes| bytes[30] ^= 1);
    write(&state.path().join("spool/notes.txt"), "not ours");
    assert_golden("inspect-spool-damaged", &state.table(&["spool"]));
    let damage = state.json(&["spool"])["damage"].clone();
    assert_eq!(damage[1]["byte"], 0);
    assert!(damage[2]["byte"].as_u64().unwrap() >= one as u64, "{damage}");
    assert_eq!(damage.as_array().unwrap().len(), 3);
}

#[test]
fn dead_letters_show_reasons_and_never_steer_the_terminal() {
    let state = State::new();
    state.dead_letters();
    let table = state.table(&["dead-letter"]);
    assert!(!table.contains('\u{1b}'));
    assert_golden("inspect-dead-letter", &table);
    let json = state.json(&["dead-letter"]);
    assert_eq!(json["dead_letters"][2]["document"]["n"], "x");
    assert_eq!(json["dead_letters"].as_array().unwrap().len(), 3);
}

#[test]
fn damaged_dead_letters_have_their_place_and_the_others_are_shown() {
    let state = State::new();
    state.dead_letters();
    state.change("dead-letter/2026-03-03.ndjson", |bytes| bytes[0] = b'[');
    state.change("dead-letter/dead-letter.ndjson", |bytes| {
        bytes.truncate(bytes.len() - 20)
    });
    assert_golden("inspect-dead-letter-damaged", &state.table(&["dead-letter"]));
    let json = state.json(&["dead-letter"]);
    assert_eq!(json["dead_letters"][0]["id"], "id-2");
    assert_eq!(json["damage"].as_array().unwrap().len(), 2);
}

#[test]
fn an_unused_state_directory_is_shown_as_such_and_stays_unused() {
    let state = State::new();
    assert_eq!(
        state.table(&["checkpoints"]),
        "no checkpoint: no agent has run with this state directory\n"
    );
    assert_eq!(state.table(&["spool"]), "the spool is empty\n");
    assert_eq!(state.table(&["dead-letter"]), "no dead letters\n");
    assert_eq!(
        state.json(&["dead-letter"])["dead_letters"],
        serde_json::json!([])
    );
    assert_eq!(state.json(&["spool"])["segments"], serde_json::json!([]));
    assert!(state.everything().is_empty());
}

#[test]
fn a_state_directory_that_is_not_there_is_an_error_with_a_way_out() {
    for part in ["checkpoints", "spool", "dead-letter"] {
        let ran = longshore(&["inspect", part, "--state-dir", "/nonexistent"]);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Runtime, ""));
        assert!(
            ran.err.contains("/nonexistent") && ran.err.contains("--state-dir"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn the_config_names_the_state_directory() {
    let state = State::new();
    state.dead_letters();
    let config = state.path().join("longshore.yaml");
    write(&config, format!("state_dir: {}\n", state.path().display()));
    let ran = longshore(&["inspect", "dead-letter", "--config", config.to_str().unwrap()]);
    assert!(ran.out.contains("rows: 3, different ids: 2"), "{}", ran.out);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_it_fail(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        magic in any::<bool>(),
    ) {
        let state = State::new();
        if magic {
            bytes.splice(0..0, frame::encode(3, None, &body(2)));
        }
        for name in ["checkpoints/current", "checkpoints/previous", "spool/1.segment", "spool/delivered", "dead-letter/1"] {
            write(&state.path().join(name), &bytes);
        }
        for part in ["checkpoints", "spool", "dead-letter"] {
            prop_assert_eq!(state.inspect(&[part]).exit, Exit::Clean);
            state.json(&[part]);
        }
    }
}
