//! One container that is rotated ten times a second, on a file system in memory.

use super::{cpu_seconds, peak_kib};
use crate::agent::Lodging;
use crate::traffic::tell;
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// kubelet's pass comes so often.
const PASS: Duration = Duration::from_millis(100);
/// Bytes of one write.
const PART: usize = 1 << 20;

struct Run {
    written: u64,
    seconds: f64,
    rotations: u64,
}

/// Writes for so long at this rate (bytes per second), then waits for the end; every byte is read or counted.
fn rotate(what: &str, time: Duration, rate: f64) -> Run {
    let memory = tempfile::Builder::new()
        .prefix("longshore-it-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Nothing);
    let mut lodging = Lodging::new(&server.url(), "logstash-%Y.%m.%d");
    let node = Node::new(memory.path()).unwrap();
    lodging.config["source"]["pod_logs_dir"] = serde_json::json!(node.pod_logs_dir());
    let mut log = node.pod("shop", "flood", "uid-flood").container("app").unwrap();
    let line = format!("2026-03-04T09:15:27.123456789Z stdout F {}\n", "x".repeat(200));
    let part = line.repeat(PART / line.len());
    let mut agent = lodging.start();
    let (_stays, pace) = channel::<()>();
    let (begun, mut run) = (
        Instant::now(),
        Run {
            written: 0,
            seconds: 0.0,
            rotations: 0,
        },
    );
    let mut pass = begun + PASS;
    while begun.elapsed() < time {
        log.write(part.as_bytes()).unwrap();
        run.written += part.len() as u64;
        if Instant::now() >= pass {
            pass += PASS;
            log.remove_excess().unwrap();
            log.rotate_rename().unwrap();
            log.rotate_reopen().unwrap();
            run.rotations += 1;
        }
        let due = begun + Duration::from_secs_f64(run.written as f64 / rate);
        let _ = pace.recv_timeout(due.saturating_duration_since(Instant::now()));
    }
    run.seconds = begun.elapsed().as_secs_f64();
    let (written, mut seen) = (run.written, 0);
    loop {
        agent.wait_for("more of the flood", |agent| {
            let status = agent.status();
            let entered = status.ledger("read") + status.lost_unread();
            let done = entered >= written && status.is_at_rest();
            done || std::mem::replace(&mut seen, entered) < entered
        });
        let status = agent.status();
        if status.ledger("read") + status.lost_unread() >= written && status.is_at_rest() {
            break;
        }
    }
    let status = agent.status();
    tell(&format!(
        "{what}: {:.1} MB/s written for {:.1} s in {} rotations, read to the end after {:.1} s; lost {}, peak RSS {} KiB, cpu {:.1} s",
        written as f64 / run.seconds / 1e6,
        run.seconds,
        run.rotations,
        begun.elapsed().as_secs_f64(),
        status.lost_unread(),
        peak_kib(&agent),
        cpu_seconds(&agent)
    ));
    assert_eq!(status.ledger("read") + status.lost_unread(), written);
    agent.terminate().assert_clean();
    if what.ends_with("nothing lost") {
        status.assert_nothing_lost();
    }
    run
}

#[test]
fn rotation_every_100_ms_loses_nothing() {
    let run = rotate("rotation, nothing lost", Duration::from_secs(5), 20e6);
    assert!(run.rotations > 20, "{} rotations", run.rotations);
}

/// Needs the release binary: `cargo test --release`.
#[test]
#[ignore = "a minute at 60 MB/s, in release: tests/run --long"]
fn long_rotation_every_100_ms_at_60_mb_per_second_loses_nothing() {
    let run = rotate("rotation at 60 MB/s, nothing lost", Duration::from_secs(60), 62e6);
    let rate = run.written as f64 / run.seconds;
    assert!(rate >= 60e6, "only {rate:.0} bytes per second were written");
}

/// As fast as the writer can: what is missing is counted, to the byte.
#[test]
#[ignore = "as fast as the machine writes: tests/run --long"]
fn long_rotation_beyond_what_can_be_read_is_counted_to_the_byte() {
    let run = rotate("rotation beyond all", Duration::from_secs(15), 250e6);
    assert!(run.rotations > 50);
}
