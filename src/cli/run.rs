//! `longshore run`: a config enters, the agent runs until it is told to end.

use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use crate::agent;

const HELP: &str = "\
Reads the log files of this node and ships them until SIGTERM or SIGINT. Then it sends or spools
what it has, saves its checkpoint and ends within 5 seconds; the last line of its log (on standard
error) says whether it ended clean, and what stays in the spool.

Examples:
  longshore run --config /etc/longshore/longshore.yaml
  NODE_NAME=my-node longshore run

Exit codes:
  0  ended clean
  1  could not start, or could not save everything
  64 mistakes in the config";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs the agent. What it tells goes to its log, on the process's standard error.
pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let config = args.config.load(console)?;
    match agent::run(config) {
        Ok(ended) if ended.is_clean() => Ok(Exit::Clean),
        Ok(_) | Err(_) => Ok(Exit::Runtime),
    }
}
