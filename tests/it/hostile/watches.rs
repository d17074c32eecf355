//! A node without watches: what the kernel limits per user is limited in a user namespace of the test's own.

use super::{Ground, after};
use crate::agent::Agent;
use crate::traffic::{Solo, tell};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Command;
use std::time::Instant;

/// `unshare` with a user namespace, when this machine allows one.
fn in_a_namespace(first: &str) -> Option<Command> {
    let allowed = Command::new("unshare").args(["-Ur", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        tell("watches: left out: no user namespace here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", &format!("{first} && exec \"$0\" \"$@\"")]);
    Some(command)
}

fn follows_without_watches(first: &str) {
    let Some(command) = in_a_namespace(first) else {
        return;
    };
    let ground = Ground::new();
    let mut pods: Vec<Solo> = (0..20)
        .map(|number| Solo::new(&ground.node, &format!("old-{number}"), &ground.arrivals))
        .collect();
    for pod in &mut pods {
        pod.write(5, 40);
    }
    let mut agent = ground.lodging.start_by(command);
    agent.wait_for("the lines of old pods", |_| ground.arrivals.is_complete());
    let begun = Instant::now();
    let mut new: Vec<Solo> = (0..20)
        .map(|number| Solo::new(&ground.node, &format!("new-{number}"), &ground.arrivals))
        .collect();
    for pod in &mut new {
        pod.write(5, 40);
        pod.log.rotate().unwrap();
        pod.write(5, 40);
    }
    agent.wait_for("the lines of new pods", |_| ground.arrivals.is_complete());
    tell(&format!("watches: {first}: new pods after {:?}", begun.elapsed()));
    assert_eq!(agent.metric("longshore_reader_watching"), 0.0);
    assert!(agent.metric("longshore_reader_forced_rescans_total") > 0.0);
    assert!(agent.log_line("new files are found by listing").is_some());
    agent.status().assert_nothing_lost();
    agent.terminate().assert_clean();
    ground.arrivals.assert_exactly_once();
}

#[test]
fn eight_watches_are_enough() {
    follows_without_watches("echo 8 >/proc/sys/user/max_inotify_watches");
}

#[test]
fn no_watch_at_all_is_enough() {
    follows_without_watches("echo 0 >/proc/sys/user/max_inotify_instances");
}

/// The kernel's queue is filled while the agent stands: a real overflow, whatever the limit is.
#[test]
fn an_overflow_of_the_queue_is_a_rescan() {
    let ground = Ground::new();
    let mut old = Solo::new(&ground.node, "old", &ground.arrivals);
    old.write(5, 40);
    let mut agent = ground.lodging.start_by(after("true"));
    agent.wait_for("the first lines", |_| ground.arrivals.is_complete());
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .map_or(16_384, |text| text.trim().parse().unwrap_or(16_384));
    let pid = pid_of(&agent);
    kill_process(pid, Signal::STOP).unwrap();
    // Twice as many as fit: the stop takes a moment, and what was queued before it may have been read.
    for number in 0..=limit {
        let noise = ground.lodging.pods().join(format!("noise-{number}"));
        fs::create_dir(&noise).unwrap();
        fs::remove_dir(&noise).unwrap();
    }
    let mut new = Solo::new(&ground.node, "new", &ground.arrivals);
    new.write(5, 40);
    kill_process(pid, Signal::CONT).unwrap();
    agent.wait_for("the lines of the new pod", |agent| {
        ground.arrivals.is_complete() && agent.metric("longshore_reader_forced_rescans_total") > 0.0
    });
    tell(&format!(
        "watches: a queue of {limit} events overflowed: rescan, nothing lost"
    ));
    agent.status().assert_nothing_lost();
    agent.terminate().assert_clean();
    ground.arrivals.assert_exactly_once();
}

fn pid_of(agent: &Agent) -> Pid {
    Pid::from_raw(agent.pid().cast_signed()).expect("a process id")
}
