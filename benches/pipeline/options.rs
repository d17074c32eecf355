//! The command line of the bench.

use clap::{Parser, ValueEnum};
use std::time::Duration;

/// What to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Scenario {
    /// A backlog of pre-written files: raw MB and lines per core-second, beside the floor.
    Pipeline,
    /// 10,000 lines/s over 100 files: share of a core, memory, time from write to arrival.
    Steady,
    /// 110 files to which nothing is written: share of a core, memory.
    Idle,
}

/// Which lines the backlog holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CorpusName {
    /// 272 bytes a line, a JSON message.
    Json,
    /// 496 bytes a line, an access log with random ids.
    Text,
}

impl CorpusName {
    /// As it stands in the output.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            CorpusName::Json => "json",
            CorpusName::Text => "text",
        }
    }
}

/// Measures the whole agent process: see benches/README.md.
#[derive(Parser, Debug)]
#[command(name = "pipeline")]
pub(crate) struct Options {
    /// What to measure; all three without one.
    #[arg(value_enum)]
    scenario: Vec<Scenario>,

    /// Another agent in place of ours, as a shell command: {logs} is the directory of pod logs, {port} the port of the
    /// Elasticsearch double on 127.0.0.1, {state} an empty directory, {kubeconfig} the way to the API server's double.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) agent: Option<String>,

    /// Only this corpus of the backlog.
    #[arg(long, value_enum)]
    corpus: Option<CorpusName>,

    /// Small and short: shows that everything works. The figures say nothing.
    #[arg(long)]
    quick: bool,

    /// Raw megabytes of the backlog (10^6 bytes) [default: 256].
    #[arg(long, value_name = "MB")]
    megabytes: Option<u64>,

    /// How often agent and floor take turns on a corpus [default: 5].
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// How long steady writes and idle looks on [default: 60].
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,

    /// Given by `cargo bench`; without it (`cargo test --benches`) the run is a quick one.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// As typed, with what follows from it.
    pub(crate) fn settled(mut self) -> Options {
        self.quick |= !self.bench;
        self
    }

    /// In the order in which they run.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let all = || vec![Scenario::Pipeline, Scenario::Steady, Scenario::Idle];
        if self.scenario.is_empty() {
            all()
        } else {
            self.scenario.clone()
        }
    }

    /// The corpora of the backlog.
    pub(crate) fn corpora(&self) -> Vec<CorpusName> {
        self.corpus
            .map_or_else(|| vec![CorpusName::Json, CorpusName::Text], |only| vec![only])
    }

    /// Raw bytes of the backlog.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.megabytes.unwrap_or(if self.quick { 8 } else { 256 }) * 1_000_000
    }

    /// Rounds of agent and floor.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    /// How long the steady scenario writes, and the idle one looks on.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 3 } else { 60 }).max(1))
    }

    /// How long an agent gets to come to rest before a span begins.
    pub(crate) fn settling(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 10 })
    }
}
