//! The binary itself: what a shell, a script or kubelet sees of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The agent promises to end within 5 s of SIGTERM; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, in an environment of nothing.
fn longshore(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    longshore(args).output().expect("the binary runs")
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, out: &str, err: &str) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert!(stdout.contains(out), "{stdout}");
    assert!(stderr.contains(err), "{stderr}");
    assert_eq!(
        (stdout.is_empty(), stderr.is_empty()),
        (out.is_empty(), err.is_empty())
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A config for an agent that finds no log file and no server, with `more` lines.
fn config(folder: &Path, more: &str) -> String {
    fs::create_dir_all(folder.join("pods")).unwrap();
    let path = folder.join("longshore.yaml");
    let folder = folder.display();
    let text = format!(
        "node_name: node-a
source: {{pod_logs_dir: '{folder}/pods', containers_dir: '{folder}/containers'}}
enrich: {{kubernetes: {{source: none}}}}
sink: {{elasticsearch: {{hosts: ['http://127.0.0.1:1']}}}}
admin: {{listen: '127.0.0.1:0'}}
{more}
"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn version_and_help_end_with_0() {
    let version = concat!("longshore ", env!("CARGO_PKG_VERSION"), "\n");
    assert_ends(&output(&["--version"]), 0, version, "");
    assert_ends(&output(&["--help"]), 0, "Exit codes:", "");
    assert_ends(&output(&["run", "--help"]), 0, "SIGTERM", "");
}

#[test]
fn wrong_usage_and_wrong_configs_end_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let bad = config(folder.path(), "batch: {max_bytes: many}\nspool: {max_bytes: 1}");
    assert_ends(&output(&[]), 64, "", "Usage: longshore");
    assert_ends(&output(&["frobnicate"]), 64, "", "frobnicate");
    assert_ends(&output(&["run", "--frobnicate"]), 64, "", "--frobnicate");
    assert_ends(
        &output(&["run", "--config", "/nonexistent"]),
        64,
        "",
        "/nonexistent",
    );
    let ran = output(&["run", "--config", &bad]);
    assert_ends(&ran, 64, "", "2 mistakes");
    assert!(text(&ran.stderr).contains("batch.max_bytes") && text(&ran.stderr).contains("spool.max_bytes"));
    assert_ends(&output(&["check", &bad]), 64, "2 mistakes", "");
}

#[test]
fn the_environment_names_the_config_and_fills_it_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "log: {level: '${LEVEL}'}");
    let checked = |level: &str| {
        let mut command = longshore(&["check"]);
        command
            .env("LONGSHORE_CONFIG", &path)
            .env("LEVEL", level)
            .output()
            .unwrap()
    };
    assert_ends(&checked("debug"), 0, "no mistakes", "");
    assert_ends(&checked("loud"), 64, "log.level", "");
}

#[test]
fn a_closed_pipe_is_a_clean_end_and_a_full_disk_is_not() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = longshore(&["schema"]).stdout(writer).output().unwrap();
    assert_ends(&closed, 0, "", "");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let full = longshore(&["schema"]).stdout(full).output().unwrap();
    assert_ends(&full, 1, "", "No space left on device");
}

#[test]
fn an_agent_that_cannot_start_ends_with_1_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let more = format!("state_dir: {}/state", file.display());
    let ran = output(&["run", "--config", &config(folder.path(), &more)]);
    assert_ends(&ran, 1, "", "state_dir");
    let stderr = text(&ran.stderr);
    assert!(
        stderr.lines().last().unwrap().contains("ended not clean"),
        "{stderr}"
    );
}

/// A running agent; dropping it kills it, so that a failed test leaves none behind.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// The exit code. Its log is at its end already, so that the process is about to be.
    fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_agent_that_is_told_to_end_ends_with_0_and_its_last_line_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state_dir: {}/state", folder.path().display());
    let path = config(folder.path(), &state);
    let mut command = longshore(&["run", "--config", &path]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut agent = Agent(child.unwrap());
    let mut log = BufReader::new(agent.0.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("status server listens") {
        assert!(
            log.read_line(&mut lines).unwrap() > 0,
            "it ended by itself:\n{lines}"
        );
    }
    agent.terminate();
    log.read_to_string(&mut lines).unwrap();
    assert_eq!(agent.code(), Some(0), "{lines}");
    let last = lines.lines().last().unwrap();
    assert!(
        last.contains("ended clean (SIGTERM)") || last.contains("ended clean (before"),
        "{lines}"
    );
}
