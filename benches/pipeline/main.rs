//! The whole agent process, measured: log files enter, figures leave.
//!
//! ```text
//! cargo bench --bench pipeline                      all three scenarios
//! cargo bench --bench pipeline -- pipeline          backlog: pre-written files against the kit's sink, and the floor
//! cargo bench --bench pipeline -- steady idle       10,000 lines/s over 100 files; 110 files and nothing written
//! cargo bench --bench pipeline -- --agent 'fluent-bit -c my.conf --port {port} --path {logs}'
//! ```
//!
//! Generator, sink, verifier and API server run in this process on one core, the agent alone on another. What each
//! figure means stands in `benches/README.md`. Exit code 1 when a line was lost, doubled or damaged; thresholds are
//! only printed, because shared machines are noisy. Not done: networks, real servers, several nodes.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads clocks and files, waits, and starts processes"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what a bench is for"
)]

mod backlog;
mod cluster;
mod cores;
mod floor;
mod idle;
mod options;
mod process;
mod sink;
mod steady;
mod table;

use clap::Parser as _;
use options::{Options, Scenario};
use std::error::Error;
use std::process::ExitCode;

/// What ends a run early.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let options = Options::parse().settled();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pipeline: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; true when every line of every run arrived exactly once.
fn run(options: &Options) -> Result<bool, Failure> {
    let cores = cores::Cores::choose();
    println!("{cores}");
    let mut exactly_once = true;
    for scenario in options.scenarios() {
        exactly_once &= match scenario {
            Scenario::Pipeline => backlog::run(options, cores)?,
            Scenario::Steady => steady::run(options, cores)?,
            Scenario::Idle => idle::run(options, cores)?,
        };
    }
    Ok(exactly_once)
}
