//! Compressed files that hold more than they look.

use super::{Ground, cpu_seconds, peak_kib};
use crate::traffic::{Solo, tell};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::time::Instant;

/// Text of the bomb, in bytes.
const BOMB: u64 = 1 << 30;

/// Red when a `.gz` is inflated as a whole, or when a line is kept beyond `source.max_line`.
#[test]
fn a_gzip_bomb_is_one_long_line_and_takes_no_memory() {
    let ground = Ground::new();
    let mut solo = Solo::new(&ground.node, "bomb", &ground.arrivals);
    solo.write(3, 40);
    let path = solo.log.dir().join("0.log.20260304-091527.gz");
    let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::best());
    let zeros = io::copy(&mut io::repeat(0).take(BOMB), &mut encoder).unwrap();
    encoder.write_all(b"\n").unwrap();
    encoder.finish().unwrap();
    let size = fs::metadata(&path).unwrap().len();

    let begun = Instant::now();
    let mut agent = ground.lodging.start();
    agent.wait_for("the lines behind the bomb", |agent| {
        ground.arrivals.is_complete() && agent.status().is_at_rest()
    });
    let status = agent.status();
    let peak = peak_kib(&agent);
    tell(&format!(
        "gzip bomb: {size} bytes hold {zeros}, passed after {:?}, cpu {:.1} s, peak RSS {peak} KiB, dropped {}",
        begun.elapsed(),
        cpu_seconds(&agent),
        status.dropped()
    ));
    assert_eq!(status.ledger("read"), BOMB + 1 + solo.bytes);
    assert_eq!(
        agent.metric("longshore_reader_flagged_records_total{flag=\"truncated\"}"),
        1.0
    );
    assert!(peak < 64 << 10, "peak RSS {peak} KiB");
    agent.terminate().assert_clean();
}
