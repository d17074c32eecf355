//! Arguments enter, the exit code of one subcommand leaves.
//!
//! Results go to standard output, everything else to standard error; both are arguments, and so is the environment.
//! What a stage does is asked of the stage: nothing here parses lines, frames or documents by itself.

mod client;
mod config_file;
mod console;
mod letters;
mod origin;
mod pretty;
mod table;

mod check;
mod completions;
mod config;
mod dead_letter;
mod inspect;
mod run;
mod schema;
mod setup;
mod try_files;

#[cfg(test)]
mod tests;

pub use console::{Console, Exit};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use console::Failure;
use std::ffi::OsString;
use std::io;

const HELP: &str = "\
Examples:
  longshore run --config longshore.yaml      read this node's log files and ship them
  longshore check --config longshore.yaml    tell every mistake in a config
  longshore check --connect                  and whether its servers let the agent work
  longshore try /var/log/pods/*/*/*.log      print the documents that these files become
  longshore inspect spool                    show what waits on disk
  longshore dead-letter resend --all         send refused documents once more
  longshore setup --apply                    templates for Elasticsearch, with rights of its own
  longshore config > longshore.yaml          begin a config of your own, from the defaults

Config:
  --config FILE, else the file that the variable LONGSHORE_CONFIG names, else
  /etc/longshore/longshore.yaml, else the built-in defaults.

Exit codes:
  0  clean
  1  something failed while running
  64 wrong usage, or mistakes in the config";

/// Ships the container logs of a Kubernetes node to Elasticsearch, each line once.
#[derive(Parser)]
#[command(name = "longshore", version, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent: read the log files of this node and ship them
    Run(run::Args),
    /// Tell all mistakes in a config, with line, allowed form and fix
    Check(check::Args),
    /// Print the documents that log files would become; nothing is sent
    Try(try_files::Args),
    /// Show checkpoints, spool or dead letters of a state directory
    Inspect(inspect::Args),
    /// List, show or send again the documents that Elasticsearch refused
    DeadLetter(dead_letter::Args),
    /// Give Elasticsearch or OpenSearch the templates and policies for our documents
    Setup(setup::Args),
    /// Print the config file with every key, its default, and what it does
    Config(config::Args),
    /// Print the JSON Schema of the config file, for editors
    Schema(schema::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
}

/// Runs the subcommand that `args` ask for; the first of them is the name of the program.
pub fn main(args: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    let outcome = match Cli::try_parse_from(args) {
        Ok(cli) => dispatch(cli.command, console),
        Err(answer) => tell(&answer, console),
    };
    // What is still buffered belongs to the outcome: a full disk behind `>` must not end as clean.
    match outcome.and_then(|exit| Ok(console.out.flush().map(|()| exit)?)) {
        Ok(exit) => exit,
        Err(failure) => failure.tell(console),
    }
}

fn dispatch(command: Command, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(&args, console),
        Command::Check(args) => check::run(&args, console),
        Command::Try(args) => try_files::run(&args, console),
        Command::Inspect(args) => inspect::run(&args, console),
        Command::DeadLetter(args) => dead_letter::run(&args, console),
        Command::Setup(args) => setup::run(&args, console),
        Command::Config(args) => config::run(&args, console),
        Command::Schema(args) => schema::run(&args, console),
        Command::Completions(args) => completions::run(&args, Cli::command(), console),
    }
}

/// What clap answers by itself: help and version are results, all the rest is wrong usage.
fn tell(answer: &clap::Error, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let text = answer.render();
    if matches!(answer.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        write_text(console.out, &text.to_string())?;
        return Ok(Exit::Clean);
    }
    write_text(console.err, &text.to_string())?;
    Ok(Exit::Usage)
}

/// Writes a text that ends in exactly one newline.
fn write_text(out: &mut dyn io::Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", text.trim_end_matches('\n'))
}
