//! `longshore schema`: the JSON Schema of the config file leaves.

use super::console::{Console, Exit, Failure};
use crate::config::schema;

const HELP: &str = "\
JSON Schema 2020-12. Editors that speak YAML take it with a first line in the config such as
  # yaml-language-server: $schema=longshore.schema.json

Example:
  longshore schema > longshore.schema.json";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    writeln!(console.out, "{:#}", schema())?;
    Ok(Exit::Clean)
}
