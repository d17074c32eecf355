//! Scenario `idle`: 110 files of 110 pods to which nothing is written any more. What a quiet node pays for being
//! watched.

use crate::Failure;
use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::options::Options;
use crate::sink::{Sink, unix_ns};
use crate::table::{lost_and_duplicate, mib, row, row_at_most, row_lines};
use longshore_kit::lines::Corpus;
use std::thread;
use std::time::Instant;

const PODS: usize = 110;
/// Each file has some lines, as files of quiet pods do.
const LINES: u64 = 20;

/// Runs the scenario; true when every line arrived exactly once.
pub(crate) fn run(options: &Options, cores: Cores) -> Result<bool, Failure> {
    let mut cluster = Cluster::new(PODS, PODS)?;
    let mut sent = Vec::new();
    for (number, container) in cluster.containers.iter_mut().enumerate() {
        let mut corpus = Corpus::json(number as u64, &container.stream);
        let mut block = Vec::new();
        for _ in 0..LINES {
            corpus.push_line(&mut block, unix_ns());
        }
        container.log.write(&block)?;
        sent.push((container.stream.clone(), 0..LINES));
    }
    let sink = Sink::start(&sent, false);
    let mut agent = cluster.start_agent(options, cores, sink.port())?;
    sink.wait_for_all();
    thread::sleep(options.settling());
    agent.still_runs()?;
    let (before, start) = (agent.cpu(), Instant::now());
    thread::sleep(options.span());
    let share = (agent.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64();
    let (memory, seconds) = (agent.memory(), start.elapsed().as_secs());
    agent.stop()?;

    let report = sink.report();
    println!("\nidle: {PODS} files, nothing written, looked at for {seconds} s");
    row_at_most("share of a core", share, 0.002, 5);
    row(
        "RSS, MiB",
        &format!("{:.1} (peak {:.1})", mib(memory.resident), mib(memory.peak)),
    );
    let exactly_once = row_lines(&report);
    println!(
        "idle core_share={share:.5} rss_mib={:.1} {}",
        mib(memory.resident),
        lost_and_duplicate(&report)
    );
    Ok(exactly_once)
}
