//! `longshore completions`: the name of a shell enters, its script leaves.

use super::console::{Console, Exit, Failure};
use clap_complete::{Shell, generate};

const HELP: &str = "\
Example:
  longshore completions bash > /usr/share/bash-completion/completions/longshore";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// `command` is the tree of all subcommands.
pub(super) fn run(
    args: &Args,
    mut command: clap::Command,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    // In memory first: the generator panics when its writer fails, and `| head` is no reason to.
    let mut script = Vec::new();
    generate(args.shell, &mut command, "longshore", &mut script);
    console.out.write_all(&script)?;
    Ok(Exit::Clean)
}
