//! `longshore check`: a config enters, all its mistakes leave.

use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use std::path::PathBuf;

const HELP: &str = "\
Reads the config as `run` does, with ${VARIABLES} from the environment. Files that it names
(password_file, ca_file, …) are not opened: they may be on another machine.

Examples:
  longshore check longshore.yaml
  NODE_NAME=any longshore check --config deploy/kubernetes/longshore.yaml

Exit codes:
  0  no mistakes
  64 mistakes: each with its line, key, value, allowed form and fix; or the file cannot be read";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The config file, without --config
    #[arg(value_name = "FILE", conflicts_with = "path")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// The list of mistakes is the result: it goes to standard output.
pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let file = ConfigFile {
        path: args.file.clone().or_else(|| args.config.path.clone()),
    };
    let text = file.read(console)?;
    if let Err(mistakes) = text.parse(console) {
        writeln!(console.out, "{}", text.told(&mistakes))?;
        return Ok(Exit::Usage);
    }
    writeln!(console.out, "{}: no mistakes", text.name)?;
    Ok(Exit::Clean)
}
