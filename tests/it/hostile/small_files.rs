//! Thousands of files that begin alike, or are empty; pods that live a moment.

use super::{Ground, peak_kib};
use crate::agent::Status;
use crate::traffic::{Solo, tell};
use std::collections::VecDeque;
use std::fs;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Files, in pods of so many containers.
const FILES: usize = 5_000;
const CONTAINERS: usize = 20;

/// Red when the fingerprint alone told files apart, or when a file had to reach some size before it is read.
#[test]
fn files_of_0_to_2048_identical_bytes_are_all_shipped() {
    let ground = Ground::new();
    let path = |number: usize| {
        let (pod, container) = (number / CONTAINERS, number % CONTAINERS);
        ground
            .lodging
            .pods()
            .join(format!("shop_pod-{pod}_uid-{pod}/c{container}/0.log"))
    };
    let mut expected = 0;
    let mut bytes = 0;
    for number in 0..FILES {
        let size = number % 2049;
        fs::create_dir_all(path(number).parent().unwrap()).unwrap();
        let mut text = vec![b'x'; size.saturating_sub(1)];
        text.resize(size, b'\n');
        expected += u64::from(size > 0);
        bytes += size as u64;
        fs::write(path(number), text).unwrap();
    }
    let begun = Instant::now();
    let mut agent = ground.lodging.start();
    agent.wait_for("all files that are not empty", |_| {
        ground.server.count() == expected
    });
    let took = begun.elapsed();
    // Each document came once, so the same line in two files has two ids.
    let status = agent.wait_until_delivered(bytes);
    assert_eq!(
        (status.documents("accepted"), status.documents("duplicate")),
        (expected, 0)
    );
    let empty = FILES.div_ceil(2049);
    for number in (0..FILES).step_by(2049) {
        fs::write(path(number), "x\n").unwrap();
    }
    agent.wait_for("the empty ones, once written to", |_| {
        ground.server.count() == expected + empty as u64
    });
    agent.status().assert_nothing_lost();
    tell(&format!(
        "small files: {FILES} files of 0 to 2048 bytes shipped {took:?} after the start, {empty} of them empty; peak RSS {} KiB",
        peak_kib(&agent)
    ));
    agent.terminate().assert_clean();
}

/// Lines of one short life.
const LINES: u64 = 10;
/// A pod is born so often.
const BIRTH: Duration = Duration::from_millis(20);

/// Pods that write and are dead after 200 ms; their directories are removed so many births later.
fn short_lives(pods: usize, removed_after: usize) -> (Ground, u64, u64, u64) {
    let ground = Ground::new();
    let mut agent = ground.lodging.start();
    agent.wait_for("the first listing", |agent| {
        agent.metric("longshore_reader_started") == 1.0
    });
    let (_stays, pace) = channel::<()>();
    let mut dying = VecDeque::new();
    for number in 0..pods {
        let mut solo = Solo::new(&ground.node, &format!("short-{number}"), &ground.arrivals);
        solo.write(LINES, 40);
        dying.push_back(solo);
        if dying.len() > removed_after {
            dying.pop_front().unwrap().pod.delete_pod().unwrap();
        }
        let _ = pace.recv_timeout(BIRTH);
    }
    for solo in dying {
        let _ = pace.recv_timeout(BIRTH);
        solo.pod.delete_pod().unwrap();
    }
    // The last ones may have come and gone since the last listing: what is missing is counted by the next.
    agent.wait_for("all directories to be forgotten, and counted", |agent| {
        let status = agent.status();
        let is_over = status.0["reader"]["files_found"] == 0 && status.is_at_rest();
        is_over && ground.arrivals.report().lost <= unknown_files(&status) * LINES
    });
    let status = agent.status();
    let counted = unknown_files(&status);
    let report = ground.arrivals.report();
    tell(&format!(
        "short lives: {pods} pods, removed after {removed_after} births of {BIRTH:?}: {report}; {counted} files counted, {} bytes",
        status.lost_unread()
    ));
    assert_eq!(report.duplicate, 0);
    agent.terminate().assert_clean();
    (ground, report.lost, counted, report.written)
}

fn unknown_files(status: &Status) -> u64 {
    let unknown = status.0["ledger"]["lost_unknown_files"].as_object();
    let counts = unknown.into_iter().flat_map(serde_json::Map::values);
    counts.filter_map(serde_json::Value::as_u64).sum()
}

#[test]
fn pods_that_live_200_ms_and_are_removed_100_ms_later_lose_nothing() {
    let (_ground, lost, counted, written) = short_lives(1_000, 15);
    assert_eq!((lost, counted, written), (0, 0, 1_000 * LINES));
}

#[test]
fn pods_that_are_removed_at_once_are_counted() {
    let (_ground, lost, counted, _) = short_lives(200, 0);
    assert!(
        lost <= counted * LINES,
        "{lost} lines lost, {counted} files counted"
    );
}
