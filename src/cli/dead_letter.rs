//! `longshore dead-letter`: the documents that Elasticsearch refused are listed, shown, and sent again.
//!
//! What rows are and how their files may be touched while an agent runs, `sink/dead_letter` knows; here stands who is
//! chosen, and what a person sees.

mod list;
mod resend;
mod show;

use super::config_file::ConfigFile;
use super::console::{Console, Exit, Failure};
use super::inspect::is_there;
use crate::config::Glob;
use crate::sink::dead_letter::DeadLetter;
use std::convert::Infallible;
use std::path::PathBuf;

const HELP: &str = "\
A document that the server refuses for what it is, and refuses in poorer forms, too, comes to rest
in the dead-letter file of the agent's state directory: as it was, with the server's reason, its
index and its id. All three commands may be used while the agent runs.

Examples:
  longshore dead-letter list
  longshore dead-letter show -Oms7Kl--Wk6clH88QB----------i
  longshore dead-letter resend --type mapper_parsing_exception --index 'logstash-2026.03.*'
  kubectl -n longshore exec \"$agent\" -- /longshore dead-letter resend --all

Exit codes:
  0  all that was asked for is done
  1  some of it is not, with the reason
  64 wrong usage, or mistakes in the config";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// One line for each document, and how many of each error type there are
    #[command(after_help = list::HELP)]
    List(list::Args),
    /// Whole rows: document, index, id and the server's reason
    #[command(after_help = show::HELP)]
    Show(show::Args),
    /// Send documents to Elasticsearch again, and take away those that are stored
    #[command(after_help = resend::HELP)]
    Resend(resend::Args),
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match &args.part {
        Part::List(args) => list::run(args, console),
        Part::Show(args) => show::run(args, console),
        Part::Resend(args) => resend::run(args, console),
    }
}

/// Which documents. All conditions that are given must hold.
#[derive(Debug, Default, clap::Args)]
struct Filters {
    /// Only of these indices; * stands for any letters, ? for one
    #[arg(long, value_name = "PATTERN", value_parser = glob)]
    index: Option<Glob>,
    /// Only with these error types, such as document_parsing_exception
    #[arg(long = "type", value_name = "PATTERN", value_parser = glob)]
    kind: Option<Glob>,
    /// Only of pods of these namespaces
    #[arg(long, value_name = "PATTERN", value_parser = glob)]
    namespace: Option<Glob>,
    /// Only of these pods
    #[arg(long, value_name = "PATTERN", value_parser = glob)]
    pod: Option<Glob>,
}

fn glob(text: &str) -> Result<Glob, Infallible> {
    Ok(Glob::new(text))
}

impl Filters {
    /// Whether no condition is given.
    fn is_empty(&self) -> bool {
        [&self.index, &self.kind, &self.namespace, &self.pod]
            .iter()
            .all(|condition| condition.is_none())
    }

    fn match_(&self, letter: &DeadLetter) -> bool {
        let (namespace, pod) = letter.origin();
        let fits = |condition: &Option<Glob>, name: Option<&str>| {
            let Some(pattern) = condition else { return true };
            name.is_some_and(|name| pattern.matches(name))
        };
        fits(&self.index, Some(&letter.index))
            && fits(&self.kind, Some(&letter.kind))
            && fits(&self.namespace, namespace)
            && fits(&self.pod, pod)
    }
}

/// Where the dead letters are.
#[derive(Debug, Default, clap::Args)]
struct Place {
    /// The state directory, in place of the config's
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Place {
    /// The state directory. The config is read only when it has to tell it.
    fn state_dir(&self, console: &mut Console<'_>) -> Result<PathBuf, Failure> {
        let state_dir = match &self.state_dir {
            Some(state_dir) => state_dir.clone(),
            None => self.config.load(console)?.state_dir,
        };
        is_there(&state_dir)?;
        Ok(state_dir)
    }
}
