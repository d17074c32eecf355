//! `longshore check`: a config enters, all its mistakes leave; with `--connect` also what its servers say.

use super::client::{self, Tried};
use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use anyhow::Context;
use std::path::PathBuf;

const HELP: &str = "\
Reads the config as `run` does, with ${VARIABLES} from the environment. Without --connect, files
that it names (password_file, ca_file, …) are not opened: they may be on another machine.

With --connect, when there are no mistakes, each Elasticsearch host is asked for its health with the
credentials of the config, and the API server for the pods of the node; nothing is written there.

Examples:
  longshore check longshore.yaml
  NODE_NAME=any longshore check --config deploy/kubernetes/longshore.yaml
  kubectl exec daemonset/longshore -- /longshore check --connect

Exit codes:
  0  no mistakes, and all servers answer as the agent needs it
  1  a server does not: with the reason and the fix
  64 mistakes: each with its line, key, value, allowed form and fix; or the file cannot be read";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The config file, without --config
    #[arg(value_name = "FILE", conflicts_with = "path")]
    file: Option<PathBuf>,
    /// Also try the servers that the config names
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// What is found out is the result: it goes to standard output.
pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let file = ConfigFile {
        path: args.file.clone().or_else(|| args.config.path.clone()),
    };
    let text = file.read(console)?;
    let config = match text.parse(console) {
        Ok(config) => config,
        Err(mistakes) => {
            writeln!(console.out, "{}", text.told(&mistakes))?;
            return Ok(Exit::Usage);
        }
    };
    writeln!(console.out, "{}: no mistakes", text.name)?;
    if !args.connect {
        return Ok(Exit::Clean);
    }
    let mut exit = Exit::Clean;
    for Tried { server, outcome } in client::probe(&config).context("trying the servers")? {
        match outcome {
            Ok(sentence) => writeln!(console.out, "ok: {server}: {sentence}")?,
            Err(problem) => {
                writeln!(console.out, "failed: {server}: {problem}")?;
                exit = Exit::Runtime;
            }
        }
    }
    Ok(exit)
}
