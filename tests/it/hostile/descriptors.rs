//! More files than descriptors.

use super::{Ground, after, cpu_seconds, peak_kib};
use crate::agent::Agent;
use crate::traffic::{Arrivals, Solo, tell, unix_ns};
use longshore_kit::lines::{CriDialect, Stream, message};
use longshore_kit::simkubelet::{ContainerLog, Node, Pod};
use std::sync::Arc;
use std::time::Instant;

/// `RLIMIT_NOFILE` of the agent.
const LIMIT: u32 = 256;

/// A container whose writer opens its file for each line: this process has a limit, too.
struct Quiet {
    pod: Pod,
    name: String,
    next: u64,
}

impl Quiet {
    fn new(node: &Node, number: usize) -> Quiet {
        let name = format!("pod-{number}");
        Quiet {
            pod: node.pod("shop", &name, &format!("uid-{number}")),
            name,
            next: 0,
        }
    }

    fn write(&mut self, arrivals: &Arc<Arrivals>) -> ContainerLog {
        let now = unix_ns();
        let text = message(&self.name, self.next, now, 40);
        arrivals.on_sent(&self.name, self.next);
        self.next += 1;
        let mut log = self.pod.container("app").unwrap();
        let stamp = CriDialect::Containerd.stamp(now);
        let line = longshore_kit::lines::cri_line(&stamp, Stream::Stdout, "F", text.as_bytes());
        log.write(&line).unwrap();
        log
    }
}

/// Red without: the reserve (`agent/descriptors.rs`), `Source::trim_descriptors`, or the looks by name in `has_unread`.
#[test]
fn two_thousand_files_with_256_descriptors() {
    more_files_than_descriptors(2_000);
}

#[test]
#[ignore = "takes minutes: tests/run --long"]
fn long_ten_thousand_files_with_256_descriptors() {
    more_files_than_descriptors(10_000);
}

/// Every file is in a pod of its own; a tenth of them is rotated, and then deleted.
fn more_files_than_descriptors(files: usize) {
    let mut ground = Ground::new();
    ground.lodging.config["source"]["rescan_interval"] = "1s".into();
    let begun = Instant::now();
    let mut pods: Vec<Quiet> = (0..files)
        .map(|number| Quiet::new(&ground.node, number))
        .collect();
    write_all(&mut pods, &ground.arrivals);
    tell(&format!(
        "descriptors: {files} files made in {:?}",
        begun.elapsed()
    ));
    let mut agent = ground.lodging.start_by(after(&format!("ulimit -n {LIMIT}")));
    let mut most = 0;
    let mut wait = |agent: &mut Agent, what: &str| {
        let begun = Instant::now();
        agent.wait_for(what, |agent| {
            most = most.max(open_descriptors(agent));
            ground.arrivals.is_complete()
        });
        let took = begun.elapsed();
        tell(&format!(
            "descriptors: {what} after {took:?}, cpu {:.1} s",
            cpu_seconds(agent)
        ));
    };
    wait(&mut agent, "the first lines of all");
    write_all(&mut pods, &ground.arrivals);
    wait(&mut agent, "one more line of each");
    // Rotated while closed: half of them compressed, and all of them written to before and after.
    for (number, pod) in pods.iter_mut().enumerate().take(files / 10) {
        pod.write(&ground.arrivals).rotate().unwrap();
        let log = pod.write(&ground.arrivals);
        if number % 2 == 0 {
            log.compress_next().unwrap();
        }
    }
    wait(&mut agent, "the lines of rotated files");
    let again = agent.status().documents("accepted") - ground.arrivals.report().written;
    assert_eq!(again, 0, "a rotated file was read again");
    // Deleted after all was read.
    for pod in pods.drain(..files / 10) {
        pod.pod.delete_pod().unwrap();
    }
    write_all(&mut pods, &ground.arrivals);
    wait(&mut agent, "the lines of those that are left");
    tell(&format!("descriptors: all after {:?}", begun.elapsed()));
    let status = agent.status();
    status.assert_nothing_lost();
    assert_eq!(status.documents("duplicate"), 0);
    let open = status.0["reader"]["open_files"].as_u64().unwrap();
    tell(&format!(
        "descriptors: {} open files, at most {most} descriptors of {LIMIT}, peak RSS {} KiB",
        open,
        peak_kib(&agent)
    ));
    assert!(most <= LIMIT as usize);
    assert!(open <= u64::from(LIMIT) - 64);
    let log = agent.log();
    let failed = log.iter().find(|line| line.contains("Too many open files"));
    assert_eq!(failed, None);
    assert!(agent.log_line("RLIMIT_NOFILE").is_some());
    let told = Instant::now();
    agent.terminate().assert_clean();
    tell(&format!("descriptors: ended after {:?}", told.elapsed()));
    ground.arrivals.assert_exactly_once();
    tell(&format!("descriptors: {:?} in all", begun.elapsed()));
}

/// Descriptors of the agent, whatever they are of.
fn open_descriptors(agent: &Agent) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("it runs");
    open.count()
}

fn write_all(pods: &mut [Quiet], arrivals: &Arc<Arrivals>) {
    for pod in pods {
        drop(pod.write(arrivals));
    }
}

/// What is deleted before anybody looked is lost, and the counters say of how many files.
#[test]
fn files_deleted_while_their_descriptors_were_closed_are_counted() {
    const PODS: usize = 300;
    let ground = Ground::new();
    let mut pods: Vec<Solo> = (0..PODS)
        .map(|number| Solo::new(&ground.node, &format!("pod-{number}"), &ground.arrivals))
        .collect();
    for pod in &mut pods {
        pod.write(1, 40);
    }
    let mut agent = ground.lodging.start_by(after("ulimit -n 128"));
    agent.wait_for("a line of each", |_| ground.arrivals.is_complete());
    for pod in &mut pods {
        pod.write(1, 40);
        pod.pod.delete_pod().unwrap();
    }
    agent.wait_for("all files to be given up", |agent| {
        agent.status().0["reader"]["files_found"] == 0
    });
    let status = agent.status();
    let report = ground.arrivals.report();
    let missing = report.written - report.indexed;
    let unknown = status.0["ledger"]["lost_unknown_files"]["deleted_unread"]
        .as_u64()
        .unwrap();
    tell(&format!(
        "descriptors: {PODS} files deleted right after a write, {missing} lines lost, {unknown} files counted, {} bytes",
        status.lost_unread()
    ));
    assert!(missing <= unknown, "{missing} lost, {unknown} files counted");
    assert_eq!(report.duplicate, 0);
    agent.terminate().assert_clean();
}
