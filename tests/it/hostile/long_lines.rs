//! Lines and holes that are larger than any memory.

use super::{Ground, cpu_seconds, peak_kib};
use crate::agent::PATIENCE;
use crate::traffic::{Solo, tell};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Instant;

/// The promise on memory, in KiB.
const MEMORY: u64 = 64 << 10;

/// What stands before the lines of a file that was written over from its beginning. Returns the cpu seconds of the agent.
fn behind(what: &str, bytes: u64, fill: impl FnOnce(&mut File)) -> f64 {
    let ground = Ground::new();
    let mut solo = Solo::new(&ground.node, "odd", &ground.arrivals);
    let mut file = File::options().write(true).open(solo.log.live_path()).unwrap();
    fill(&mut file);
    solo.write_raw(b"\n");
    solo.write(3, 40);
    let begun = Instant::now();
    let mut agent = ground.lodging.start();
    let mut done = false;
    while !done && begun.elapsed() < 4 * PATIENCE {
        let read = agent.status().ledger("read");
        agent.wait_for("more of it", |agent| {
            done = ground.arrivals.is_complete() && agent.status().is_at_rest();
            done || agent.status().ledger("read") > read
        });
    }
    let status = agent.status();
    let (peak, cpu) = (peak_kib(&agent), cpu_seconds(&agent));
    tell(&format!(
        "{what}: {bytes} bytes passed after {:?}, cpu {:.1} s, peak RSS {peak} KiB, cut off and counted {}",
        begun.elapsed(),
        cpu,
        status.dropped()
    ));
    assert_eq!(status.ledger("read"), bytes + solo.bytes);
    // All but what `source.max_line` keeps.
    assert!(status.dropped() <= bytes && status.dropped() + (2 << 20) > bytes);
    let truncated = agent.metric("longshore_reader_flagged_records_total{flag=\"truncated\"}");
    assert_eq!(truncated, 1.0);
    assert!(peak < MEMORY, "peak RSS {peak} KiB");
    agent.terminate().assert_clean();
    let report = ground.arrivals.report();
    // The long line itself carries no number.
    assert_eq!(
        (report.lost, report.duplicate, report.corrupt),
        (0, 0, 1),
        "{report}"
    );
    cpu
}

/// Red when `pass_hole` does nothing: reading it takes twenty seconds of cpu in a release build.
#[test]
fn a_hole_of_ten_gb_at_the_head_is_passed_unread_and_counted() {
    let cpu = behind("hole", 10_000_000_000, |file| {
        file.set_len(10_000_000_000).unwrap()
    });
    assert!(cpu < 5.0, "{cpu} s of cpu");
}

#[test]
fn a_line_of_one_gib_takes_no_memory_and_the_next_one_is_shipped() {
    behind("1 GiB line", 1 << 30, |file| {
        let part = vec![b'x'; 1 << 20];
        file.seek(SeekFrom::Start(0)).unwrap();
        for _ in 0..1 << 10 {
            file.write_all(&part).unwrap();
        }
    });
}

#[test]
fn a_head_of_nul_bytes_is_one_line() {
    behind("NUL head", 8 << 20, |file| {
        file.write_all(&vec![0; 8 << 20]).unwrap()
    });
}
