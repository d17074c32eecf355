//! `longshore inspect`: a state directory enters, what lies in it leaves, for people or for programs.
//!
//! Nothing is written, created or locked, so that a state directory in use can be looked at; what is seen of one that
//! changes is one moment per file. Damage is a finding with its place, not an error.

mod checkpoints;
mod dead_letter;
mod spool;

use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use crate::codec::stamp;
use crate::record::Stamp;
use anyhow::Context;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const HELP: &str = "\
Nothing is changed, and the agent may run meanwhile. Damage is shown with its place; an agent that
starts goes on behind it, or with the older generation.

Examples:
  longshore inspect checkpoints
  longshore inspect spool --state-dir /var/lib/longshore
  longshore inspect dead-letter --format json | jq '.dead_letters[].reason'

Exit codes:
  0  shown, damage included
  1  the state directory cannot be read
  64 wrong usage, or mistakes in the config";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// How far each log file is delivered or durably kept
    #[command(after_help = checkpoints::HELP)]
    Checkpoints(Options),
    /// The batches that wait on disk
    #[command(after_help = spool::HELP)]
    Spool(spool::SpoolOptions),
    /// The documents that Elasticsearch refused, with the reasons
    #[command(after_help = dead_letter::HELP)]
    DeadLetter(Options),
}

/// Where to look, and how to show it.
#[derive(Debug, clap::Args)]
struct Options {
    /// The state directory, in place of the config's
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    state_dir: Option<PathBuf>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object
    Json,
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match &args.part {
        Part::Checkpoints(options) => checkpoints::show(options, console)?,
        Part::Spool(options) => spool::show(options, console)?,
        Part::DeadLetter(options) => dead_letter::show(options, console)?,
    }
    Ok(Exit::Clean)
}

impl Options {
    /// A folder of the state directory, which itself must be there.
    fn folder(&self, name: &str, console: &mut Console<'_>) -> Result<PathBuf, Failure> {
        Ok(self.state_dir(console)?.join(name))
    }

    fn state_dir(&self, console: &mut Console<'_>) -> Result<PathBuf, Failure> {
        let state_dir = match &self.state_dir {
            Some(state_dir) => state_dir.clone(),
            None => self.config.load(console)?.state_dir,
        };
        is_there(&state_dir)?;
        Ok(state_dir)
    }
}

/// Fails when a state directory is not there, or may not be read.
#[expect(clippy::disallowed_methods, reason = "the directory that a person named")]
pub(super) fn is_there(state_dir: &Path) -> Result<(), Failure> {
    fs::read_dir(state_dir).with_context(|| {
        format!(
            "state directory {} (name another one with --state-dir or --config)",
            state_dir.display()
        )
    })?;
    Ok(())
}

/// Writes one JSON object over many lines.
fn write_json(out: &mut dyn io::Write, report: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Damage {
    file: String,
    /// Where it begins; none when the file as a whole is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    byte: Option<u64>,
    reason: String,
}

impl Damage {
    pub(super) fn new(path: &Path, byte: Option<u64>, reason: impl fmt::Display) -> Self {
        Self {
            file: path.display().to_string(),
            byte,
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage: {}", self.file)?;
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// A file and when it was last written; `None` when it is not there (any more).
#[expect(clippy::disallowed_methods, reason = "files of the state directory are read")]
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
    let read = || -> io::Result<_> {
        let bytes = fs::read(path)?;
        Ok((bytes, fs::metadata(path)?.modified()?))
    };
    there(read())
}

/// The names in a folder, in their order; none when it is not there.
#[expect(
    clippy::disallowed_methods,
    reason = "folders of the state directory are listed"
)]
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let list = || -> io::Result<Vec<String>> {
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    let names = there(list()).with_context(|| folder.display().to_string())?;
    let mut names = names.unwrap_or_default();
    names.sort_unstable();
    Ok(names)
}

/// What is not there is no error: the agent makes it when it needs it, and takes it away again.
fn there<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A time in UTC, to the second.
pub(super) fn utc(secs: i64) -> String {
    let mut text = Vec::new();
    stamp::push_text(&mut text, stamp::clamp(Stamp { secs, nanos: 0 }).0);
    let seconds = String::from_utf8_lossy(&text);
    format!("{}Z", seconds.split('.').next().unwrap_or_default())
}

fn utc_of(time: SystemTime) -> String {
    utc(time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64))
}
