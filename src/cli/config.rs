//! `longshore config`: the config file with all defaults leaves.

use super::console::{Console, Exit, Failure};
use crate::config::Config;

const HELP: &str = "\
The printed file is valid as it is; a file of yours needs only the keys that differ.

Example:
  longshore config > longshore.yaml";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    console.out.write_all(Config::default_yaml().as_bytes())?;
    Ok(Exit::Clean)
}
