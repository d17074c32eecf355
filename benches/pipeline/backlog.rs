//! Scenario `pipeline`: a backlog of pre-written files, shipped as fast as the agent can, beside the floor.
//!
//! Agent and floor take turns on the same files, so that what else the machine does hits both; the ratio is that of
//! the medians. The agent's CPU time runs from its start until a moment after the last line arrived.

use crate::Failure;
use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::floor::{self, Floor};
use crate::options::{CorpusName, Options};
use crate::sink::Sink;
use crate::table::{lost_and_duplicate, median, mib, row, row_at_least, row_at_most, row_lines};
use longshore_kit::lines::Corpus;
use longshore_kit::verifier::Report;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Containers that share the backlog.
const FILES: usize = 10;
/// 2026-11-21T09:15:27Z: the first line's stamp, and 10 µs from line to line, so that all fall into one index.
const FIRST_NS: u64 = 1_795_252_527_000_000_000;
const STEP_NS: u64 = 10_000;
/// After the last line the answers are still to be read and the spans to be acked: that belongs to the work.
const LAST_ANSWERS: Duration = Duration::from_millis(300);
const WRITE_BYTES: usize = 1 << 20;

/// The backlog on disk.
struct Backlog {
    cluster: Cluster,
    sent: Vec<(String, Range<u64>)>,
    raw_bytes: u64,
    lines: u64,
}

/// One turn of the agent.
struct Turn {
    cpu: Duration,
    wall: Duration,
    peak: u64,
    wire_bytes: u64,
    body_bytes: u64,
    requests: u64,
    report: Report,
    sample: String,
}

/// Runs the scenario on each corpus; true when every line arrived exactly once in every turn.
pub(crate) fn run(options: &Options, cores: Cores) -> Result<bool, Failure> {
    let mut exactly_once = true;
    for name in options.corpora() {
        let mut backlog = Backlog::write(name, options.backlog_bytes())?;
        let (mut turns, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds() {
            turns.push(backlog.ship(options, cores)?);
            let files = backlog.files();
            floors.push(cores.on_agent_core(|| floor::measure(&files))?);
        }
        exactly_once &= backlog.tell(options, name, &turns, &floors);
    }
    Ok(exactly_once)
}

impl Backlog {
    fn write(name: CorpusName, bytes: u64) -> Result<Backlog, Failure> {
        let mut backlog = Backlog {
            cluster: Cluster::new(FILES, FILES)?,
            sent: Vec::new(),
            raw_bytes: 0,
            lines: 0,
        };
        for (number, container) in backlog.cluster.containers.iter_mut().enumerate() {
            let mut corpus = match name {
                CorpusName::Json => Corpus::json(number as u64, &container.stream),
                CorpusName::Text => Corpus::text(number as u64, &container.stream),
            };
            let lines = (bytes / FILES as u64).div_ceil(corpus.line_bytes() as u64);
            let mut block = Vec::with_capacity(WRITE_BYTES + 1024);
            for at in 0..lines {
                corpus.push_line(&mut block, FIRST_NS + at * STEP_NS);
                if block.len() >= WRITE_BYTES || at + 1 == lines {
                    container.log.write(&block)?;
                    block.clear();
                }
            }
            backlog.raw_bytes += container.log.size()?;
            backlog.lines += lines;
            backlog.sent.push((container.stream.clone(), 0..lines));
        }
        Ok(backlog)
    }

    fn files(&self) -> Vec<(std::path::PathBuf, longshore::record::Metadata)> {
        self.cluster
            .containers
            .iter()
            .map(|one| (one.path(), one.metadata.clone()))
            .collect()
    }

    /// One turn of the agent over the whole backlog.
    fn ship(&mut self, options: &Options, cores: Cores) -> Result<Turn, Failure> {
        let sink = Sink::start(&self.sent, false);
        let start = Instant::now();
        let mut agent = self.cluster.start_agent(options, cores, sink.port())?;
        sink.wait_for_all();
        let wall = start.elapsed();
        std::thread::sleep(LAST_ANSWERS);
        agent.still_runs()?;
        let (cpu, peak) = (agent.cpu(), agent.memory().peak);
        if !sink.report().is_at_least_once() {
            println!("the agent's last words:\n{}", agent.last_words());
        }
        agent.stop()?;
        Ok(Turn {
            cpu,
            wall,
            peak,
            wire_bytes: sink.wire_bytes(),
            body_bytes: sink.body_bytes(),
            requests: sink.requests(),
            report: sink.report(),
            sample: sink.sample(),
        })
    }

    /// Prints the figures; true when each line arrived exactly once.
    fn tell(&self, options: &Options, name: CorpusName, turns: &[Turn], floors: &[Floor]) -> bool {
        let megabytes = self.raw_bytes as f64 / 1e6;
        let speed = |cpu: Duration| megabytes / cpu.as_secs_f64();
        let agent = median(turns.iter().map(|turn| speed(turn.cpu)));
        let floor = median(floors.iter().map(|floor| speed(floor.cpu)));
        let lines_per_mb = self.lines as f64 / megabytes;
        let wire = median(
            turns
                .iter()
                .map(|turn| turn.wire_bytes as f64 / self.raw_bytes as f64),
        );
        let peak = mib(turns.iter().map(|turn| turn.peak).max().unwrap_or(0));
        let report = turns
            .iter()
            .fold(Report::default(), |all, turn| sum(&all, &turn.report));
        let list = |speeds: Vec<f64>| {
            speeds
                .iter()
                .map(|mb| format!("{mb:.0}"))
                .collect::<Vec<_>>()
                .join(" ")
        };

        println!(
            "\npipeline, corpus {}: {FILES} files, {megabytes:.0} MB, {} lines, {} turns",
            name.as_str(),
            self.lines,
            turns.len()
        );
        row(
            "raw MB per core-second",
            &format!("{agent:.1} (floor {floor:.1})"),
        );
        row(
            "  turn by turn",
            &list(turns.iter().map(|turn| speed(turn.cpu)).collect()),
        );
        row(
            "  floor's turns",
            &list(floors.iter().map(|floor| speed(floor.cpu)).collect()),
        );
        row(
            "lines per core-second",
            &format!("{:.0} (floor {:.0})", agent * lines_per_mb, floor * lines_per_mb),
        );
        row_at_least("share of the floor", agent / floor, 0.6, 2);
        row("wire per raw", &format!("{wire:.3}"));
        row_at_most("peak RSS, MiB", peak, 48.0, 1);
        row(
            "wall MB/s",
            &format!(
                "{:.1}",
                median(turns.iter().map(|turn| megabytes / turn.wall.as_secs_f64()))
            ),
        );
        row(
            "requests",
            &format!("{:.0}", median(turns.iter().map(|turn| turn.requests as f64))),
        );
        self.tell_bodies(options, turns, floors);
        let exactly_once = row_lines(&report);
        row("a document", turns.first().map_or("", |turn| &turn.sample));
        println!(
            "pipeline corpus={} mb_per_core_s={agent:.1} lines_per_core_s={:.0} floor_share={:.2} wire_per_raw={wire:.3} \
             rss_mib={peak:.1} {}",
            name.as_str(),
            agent * lines_per_mb,
            agent / floor,
            lost_and_duplicate(&report)
        );
        exactly_once
    }

    /// Our agent's bodies must be as long as the floor's: otherwise the two did different work.
    fn tell_bodies(&self, options: &Options, turns: &[Turn], floors: &[Floor]) {
        let fragment = self
            .cluster
            .containers
            .first()
            .map_or(0, |one| floor::fragment_bytes(&one.metadata));
        let floor = floors.first().map_or(0, |floor| floor.body_bytes);
        let agent = turns
            .iter()
            .map(|turn| turn.body_bytes)
            .find(|bytes| *bytes != floor);
        let verdict = match agent {
            None => "the same in agent and floor".to_owned(),
            Some(bytes) if options.agent.is_some() => format!("{bytes} bytes, the floor's {floor}"),
            Some(bytes) => format!("DIFFERENT work: {bytes} bytes, the floor's {floor}"),
        };
        row(
            "bodies before gzip",
            &format!("{verdict}; {fragment} bytes of metadata in each document"),
        );
    }
}

fn sum(a: &Report, b: &Report) -> Report {
    Report {
        written: a.written + b.written,
        indexed: a.indexed + b.indexed,
        duplicate: a.duplicate + b.duplicate,
        lost: a.lost + b.lost,
        corrupt: a.corrupt + b.corrupt,
        unexpected: a.unexpected + b.unexpected,
    }
}
