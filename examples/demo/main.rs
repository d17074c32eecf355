//! A node of 20 pods in a temporary directory, the agent, an Elasticsearch double; and a SIGKILL in the middle.
//!
//! ```text
//! cargo run --release --example demo                              with the kit's Elasticsearch
//! cargo run --release --example demo -- --elasticsearch http://localhost:9200
//! cargo run --release --example demo -- --keep                    leaves everything running to look at
//! ```
//!
//! Pods write, kubelet's part (kit::simkubelet) rotates and compresses, the agent ships. Halfway it is killed as a
//! crash would kill it, and started again a second later. At the end every line is looked up where it should be; the
//! exit code is 0 only when each is there exactly once. An example cannot build the binary, so the agent is this very
//! program, started again with a hidden first argument; from there on it is the binary's own command line.

#![expect(
    clippy::disallowed_methods,
    reason = "a demo reads clocks and files, waits, and starts processes"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what a demo is for"
)]

mod agent;
mod destination;
mod pods;
mod story;

use clap::Parser;
use longshore::cli::{self, Console};
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufWriter};
use std::process::ExitCode;

/// The hidden first argument.
const AGENT: &str = "--be-the-agent";

/// What ends the demo early.
type Failure = Box<dyn Error>;

/// Writes, rotates, ships, kills, ships on, and counts.
#[derive(Parser, Debug)]
#[command(name = "demo")]
struct Options {
    /// Ship to this Elasticsearch, as http://host:port, in place of the kit's double.
    #[arg(long, value_name = "URL")]
    elasticsearch: Option<String>,

    /// Leave agent, Elasticsearch and files as they are at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,

    /// Log lines that the pods write in all.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    lines: u64,

    /// Pods on the node.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pods: u16,
}

fn main() -> ExitCode {
    let mut args = env::args_os();
    let program = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    if let [first, config] = &rest[..]
        && first == AGENT
    {
        return be_the_agent([program, "run".into(), "--config".into(), config.clone()]);
    }
    match story::tell(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the binary's `main` does.
fn be_the_agent(args: [OsString; 4]) -> ExitCode {
    // It fails only when there is a provider already, and nothing ran before us.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let exit = cli::main(
        args,
        &mut Console {
            out: &mut BufWriter::new(io::stdout()),
            err: &mut io::stderr(),
            env: &|name| env::var(name).ok(),
        },
    );
    ExitCode::from(exit.code())
}
