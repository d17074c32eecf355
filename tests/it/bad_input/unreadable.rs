//! Files and directories that the agent may not read.

use super::Scene;
use crate::agent::{Agent, Status};
use longshore_kit::simkubelet::Node;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Red when an error of `LogFolders::open` ends the turn of the others, is not tried again, or when `Desk::on_problem` logs
/// each try.
#[test]
fn what_may_not_be_read_is_told_once_and_tried_again_while_the_others_go_on() {
    let mut scene = Scene::new();
    scene.write_lines(0..5);
    let node = Node::new(scene.lodging.root()).unwrap();
    let mut shut = node.pod("shop", "shut", "uid-shut").container("app").unwrap();
    let mut walled = node.pod("shop", "walled", "uid-walled").container("app").unwrap();
    for log in [&mut shut, &mut walled] {
        log.write(b"2026-03-04T09:15:27Z stdout F at last\n").unwrap();
    }
    let (file, directory) = (shut.live_path(), walled.dir());
    set_mode(&file, 0o000);
    set_mode(&directory, 0o000);

    let mut agent = scene.lodging.start_unprivileged();
    let server = &scene.server;
    agent.wait_for("the lines of the others", |_| server.count() == 5);
    agent.wait_for("several tries", |agent| {
        agent.metric("longshore_reader_read_errors_total") >= 6.0
    });
    let status = agent.status();
    let problem = problem(&status, "shop_shut_uid-shut/app/0.log");
    assert!(problem.contains("ermission denied"), "{problem}");
    assert_eq!(agent.metric("longshore_reader_problem_files"), 1.0);
    assert_eq!(told(&agent), 2, "{:?}", agent.log());
    let line = agent.log_line("cannot read").unwrap();
    assert!(line.contains("needs read access"), "no remedy: {line}");

    set_mode(&directory, 0o700);
    set_mode(&file, 0o600);
    agent.wait_for("what can be read now", |_| server.count() == 7);
    agent.wait_for("the end of the problem", |agent| {
        agent.metric("longshore_reader_problem_files") == 0.0
    });
    agent.terminate().assert_clean();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// How many lines of the log are about files that cannot be read.
fn told(agent: &Agent) -> usize {
    let log = agent.log();
    log.iter().filter(|line| line.contains("cannot read")).count()
}

/// Why a file is not read.
#[track_caller]
fn problem(status: &Status, path: &str) -> String {
    let files = status.0["reader"]["files"].as_array();
    let file = files.into_iter().flatten().find(|file| file["path"] == path);
    let problem = file.map(|file| &file["problem"]).and_then(Value::as_str);
    problem
        .unwrap_or_else(|| panic!("no problem with {path}: {}", status.0["reader"]))
        .to_owned()
}
