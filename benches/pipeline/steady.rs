//! Scenario `steady`: 10,000 lines/s evenly over 100 files, as an ordinary node writes them, one `write` per line.
//!
//! What a line costs here is mostly the waiting for it: polls, wake-ups, small requests. Each line carries when it was
//! written; the sink takes the time when it arrives.

use crate::Failure;
use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::options::Options;
use crate::process::Process;
use crate::sink::{Sink, unix_ns};
use crate::table::{lost_and_duplicate, median, mib, millis, quantile, row, row_at_most, row_lines};
use longshore_kit::lines::Corpus;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PODS: usize = 110;
const FILES: usize = 100;
const LINES_PER_SECOND: u64 = 10_000;
/// The writer wakes this often: ten lines at a time, each to another file.
const TICK: Duration = Duration::from_millis(1);
/// Memory is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the scenario; true when every line arrived exactly once.
pub(crate) fn run(options: &Options, cores: Cores) -> Result<bool, Failure> {
    let mut cluster = Cluster::new(PODS, FILES)?;
    let sink = Sink::start(&[], true);
    let mut agent = cluster.start_agent(options, cores, sink.port())?;
    thread::sleep(options.settling());
    agent.still_runs()?;
    let (before, start) = (agent.cpu(), Instant::now());
    let resident = write_and_look(&mut cluster, &sink, &agent, options.span())?;
    sink.wait_for_all();
    let (cpu, wall) = (agent.cpu() - before, start.elapsed());
    if !sink.report().is_at_least_once() {
        println!("the agent's last words:\n{}", agent.last_words());
    }
    let requests = sink.requests();
    agent.stop()?;
    Ok(tell(&sink, cpu, wall, resident, requests))
}

/// Prints the figures; true when each line arrived exactly once.
fn tell(sink: &Sink, cpu: Duration, wall: Duration, resident: u64, requests: u64) -> bool {
    let (report, delays) = (sink.report(), sink.delays());
    let share = cpu.as_secs_f64() / wall.as_secs_f64();
    let (p50, p99) = (millis(quantile(&delays, 0.50)), millis(quantile(&delays, 0.99)));
    let rate = report.written as f64 / wall.as_secs_f64();
    println!(
        "\nsteady: {rate:.0} lines/s over {FILES} files for {:.0} s, {PODS} pods in the API server",
        wall.as_secs_f64()
    );
    row_at_most("share of a core", share, 0.05, 4);
    row_at_most("settled RSS, MiB", mib(resident), 24.0, 1);
    row("write to arrival, p50 ms", &format!("{p50:.0}"));
    row_at_most("write to arrival, p99 ms", p99, 1500.0, 0);
    row(
        "longest, ms",
        &format!("{:.0}", millis(delays.last().copied().unwrap_or_default())),
    );
    row("requests", &requests.to_string());
    let exactly_once = row_lines(&report);
    println!(
        "steady core_share={share:.4} rss_mib={:.1} p50_ms={p50:.0} p99_ms={p99:.0} {}",
        mib(resident),
        lost_and_duplicate(&report)
    );
    exactly_once
}

/// Writes for `span`; returns the median of the resident bytes in its second half.
fn write_and_look(
    cluster: &mut Cluster,
    sink: &Sink,
    agent: &Process,
    span: Duration,
) -> Result<u64, Failure> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut resident = Vec::new();
            while !done.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                resident.push(agent.memory().resident as f64);
            }
            median(resident.split_off(resident.len() / 2)) as u64
        });
        let written = write(cluster, sink, span);
        done.store(true, Ordering::Relaxed);
        let resident = looker
            .join()
            .map_err(|_| "the thread that looks at memory panicked")?;
        written?;
        Ok(resident)
    })
}

/// The writer of all files, on this thread.
fn write(cluster: &mut Cluster, sink: &Sink, span: Duration) -> io::Result<()> {
    let containers = &mut cluster.containers;
    let mut corpora: Vec<Corpus> = containers
        .iter()
        .enumerate()
        .map(|(at, one)| Corpus::json(at as u64, &one.stream))
        .collect();
    let total = (span.as_secs_f64() * LINES_PER_SECOND as f64) as u64;
    let (start, mut written, mut line) = (Instant::now(), 0, Vec::new());
    while written < total {
        thread::sleep(TICK);
        let due = (start.elapsed().as_secs_f64() * LINES_PER_SECOND as f64) as u64;
        for number in written..due.min(total) {
            let at = number as usize % containers.len();
            line.clear();
            sink.announce(&containers[at].stream, corpora[at].next_seq());
            corpora[at].push_line(&mut line, unix_ns());
            containers[at].log.write(&line)?;
        }
        written = due.min(total);
    }
    Ok(())
}
