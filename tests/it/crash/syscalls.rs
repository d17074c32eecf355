//! System calls that fail: strace makes them fail on the files of one kind while the agent works, and then lets go.

use super::mounts::{left_out, missing};
use super::scene::Scene;
use crate::agent::Agent;
use crate::traffic::tell;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TEST: &str = "crash_system_calls_fail";
/// A fault must have struck so often before it is healed, and the agent has to live with it for so long after that.
const STRIKES: usize = 3;
const SUFFERING: Duration = Duration::from_millis(600);
/// Segments of the spool that are watched for, by their numbers.
const SEGMENTS: u64 = 400;
/// Instances of a container whose live files are watched for.
const INSTANCES: u32 = 9;

/// Whose calls fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Files {
    /// Of the spool, while the server refuses everything.
    Spool,
    /// Of the spool, when the server takes lines again.
    SpoolDrains,
    Checkpoints,
    DeadLetters,
    /// Of the containers: the live ones.
    Logs,
    /// Of the containers: the directories.
    LogFolders,
    /// Whatever it is.
    All,
}

/// Which calls fail with which error, on which files, and when: the first one and every so many after it.
const FAULTS: [(&str, &str, Files, &str); 19] = [
    ("write", "ENOSPC", Files::Spool, "1+2"),
    ("write", "EIO", Files::Spool, "1+3"),
    ("fsync,fdatasync", "EIO", Files::Spool, "1+3"),
    ("openat", "EMFILE", Files::Spool, "1+2"),
    ("unlink", "EIO", Files::SpoolDrains, "1+2"),
    ("pread64", "EIO", Files::SpoolDrains, "1+2"),
    ("openat", "EMFILE", Files::SpoolDrains, "1+2"),
    ("write", "ENOSPC", Files::Checkpoints, "1+1"),
    ("fsync,fdatasync", "EIO", Files::Checkpoints, "1+2"),
    ("rename", "EIO", Files::Checkpoints, "1+3"),
    ("openat", "EMFILE", Files::Checkpoints, "1+2"),
    ("write", "ENOSPC", Files::DeadLetters, "1+2"),
    ("write", "EIO", Files::DeadLetters, "1+2"),
    ("fsync,fdatasync", "EIO", Files::DeadLetters, "1+2"),
    ("pread64", "EIO", Files::Logs, "1+3"),
    ("openat", "EMFILE", Files::LogFolders, "1+2"),
    ("openat", "EACCES", Files::LogFolders, "1+2"),
    // Only log files are opened by this one.
    ("openat2", "EMFILE", Files::All, "1+2"),
    ("openat2", "EACCES", Files::All, "1+3"),
];

/// One agent lives through all of them. Red when a call that failed ends a thread, when a failed sync counts as one that
/// succeeded, or when what failed is not tried again.
#[test]
fn crash_system_calls_fail() {
    if let Some(why) = missing(&["strace"]) {
        return left_out(TEST, &why);
    }
    let mut scene = Scene::new(TEST);
    scene.lodging.config["spool"] = serde_json::json!({"segment_bytes": "64KiB", "min_free": "0%"});
    let mut agent = scene.lodging.start();
    scene.wait_for_lines(&mut agent, 300);
    let (mut lossy, mut gone_before) = (Vec::new(), (0, 0));
    for (number, (calls, error, files, when)) in FAULTS.into_iter().enumerate() {
        if matches!(files, Files::Spool | Files::SpoolDrains) {
            scene.outage();
        }
        if files == Files::SpoolDrains {
            let enough = 300_000 + agent.status().ledger("spooled");
            agent.wait_for("some frames", |agent| agent.status().ledger("spooled") > enough);
        }
        let record = scene.lodging.root().join(format!("strace-{number}"));
        let mut strace = Strace::attach(
            &agent,
            &record,
            calls,
            &format!("error={error}:when={when}"),
            &paths(&scene, files),
        );
        if files == Files::SpoolDrains {
            scene.outage_ends();
        }
        agent.wait_for(&format!("{calls} of {files:?} to fail with {error}"), |_| {
            strace.strikes() >= STRIKES
        });
        scene.run_for(SUFFERING);
        let strikes = strace.detach();
        scene.outage_ends();
        scene.wait_for_lines(&mut agent, 300);
        let status = agent.status();
        let gone = (status.dropped(), status.lost_unread());
        tell(&format!(
            "{error} from {strikes} {calls} of {files:?}: (dropped, never read) so far {gone:?}"
        ));
        if gone != gone_before && calls != "openat2" {
            lossy.push((error, calls, files));
        }
        gone_before = gone;
    }
    assert_eq!(
        lossy,
        [],
        "a call that failed lost lines; log:\n{}",
        agent.log().join("\n")
    );
    scene.wait_for_all(&mut agent);
    // A file that could not be opened before it was compressed is counted as lost, and its lines arrive all the same.
    let status = agent.status();
    tell(&format!("counted as never read: {} bytes", status.lost_unread()));
    assert_eq!((status.imbalance(), status.dropped()), (0, 0));
    scene.assert_ends_with_all(agent);
}

fn paths(scene: &Scene, files: Files) -> Vec<PathBuf> {
    let state = scene.lodging.state();
    let below = |dir: &str, names: &[&str]| {
        let dir = state.join(dir);
        let files = names.iter().map(|name| dir.join(name));
        files.chain([dir.clone()]).collect::<Vec<_>>()
    };
    match files {
        Files::Spool | Files::SpoolDrains => {
            let dir = state.join("spool");
            let segments = (1..SEGMENTS).map(|number| dir.join(format!("{number:012}.segment")));
            segments.collect()
        }
        Files::Checkpoints => below("checkpoints", &["next", "current", "previous"]),
        Files::DeadLetters => below("dead-letter", &["dead-letter.ndjson"]),
        Files::Logs => {
            let live = |pod: PathBuf| (0..INSTANCES).map(move |n| pod.join(format!("app/{n}.log")));
            pods(scene).into_iter().flat_map(live).collect()
        }
        Files::LogFolders => {
            let folders = |pod: PathBuf| [pod.join("app"), pod];
            pods(scene).into_iter().flat_map(folders).collect()
        }
        Files::All => Vec::new(),
    }
}

fn pods(scene: &Scene) -> Vec<PathBuf> {
    let pods = fs::read_dir(scene.lodging.pods()).expect("pods").flatten();
    pods.map(|pod| pod.path()).collect()
}

/// A strace that is attached to an agent; dropping it lets go.
struct Strace {
    child: Child,
    record: PathBuf,
}

impl Strace {
    fn attach(agent: &Agent, record: &Path, calls: &str, inject: &str, paths: &[PathBuf]) -> Strace {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-q", "-p", &agent.pid().to_string(), "-o"])
            .arg(record);
        command.args([
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:{inject}"),
        ]);
        for path in paths {
            command.arg("-P").arg(path);
        }
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Strace {
            child: quiet.spawn().expect("strace can be started"),
            record: record.to_owned(),
        }
    }

    /// How many calls it has made fail.
    fn strikes(&self) -> usize {
        let record = fs::read_to_string(&self.record).unwrap_or_default();
        record.matches("(INJECTED)").count()
    }

    /// Lets go: from now on the calls succeed.
    fn detach(&mut self) -> usize {
        // It may be gone, with the agent.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
        self.strikes()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.detach();
    }
}
