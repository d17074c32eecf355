//! `longshore dead-letter resend`: rows leave for Elasticsearch; those that are stored leave their file.
//!
//! A row goes only after an answer that says 201 or 409, and by a new file that takes the place of the old one. So a kill at
//! any moment leaves it where it is: it is sent again by the next `resend`, and its id makes it one document. The agent goes
//! on meanwhile: it appends to a new file, see `sink/dead_letter/disk.rs`.

use super::{Filters, Place};
use crate::cli::client::Server;
use crate::cli::console::{Console, Exit, Failure};
use crate::cli::inspect::is_there;
use crate::cli::letters;
use crate::cli::table::visible;
use crate::config::BatchLimits;
use crate::disk::kernel;
use crate::lock::disk::Lock;
use crate::sink::dead_letter::bulk_lines;
use crate::sink::dead_letter::disk::{self, RowLine, RowLines, Taken};
use crate::sink::dead_letter::resend::{After, Letter, Resend};
use crate::sink::elasticsearch::response::Problem;
use anyhow::{Context, anyhow};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const HELP: &str = "\
Sends documents as they are, each to its own index under its own id, to sink.elasticsearch of the
config, and takes away the rows of those that are stored (201) or were stored before (409). All
others stay, with a count for each reason: what the server refuses again, and what it does not take
now. After a change of a mapping or a pipeline, this is how refused documents come into the index.

It may run beside the agent, and be stopped or killed at any moment: a row may be sent twice then,
and its id makes it one document. (Documents without an id, of document_id: auto, may be there
twice.) Rows that wait are moved to taken.ndjson in the folder dead-letter of the state directory.

Examples:
  longshore dead-letter resend --id -Oms7Kl--Wk6clH88QB----------i
  longshore dead-letter resend --namespace shop --type document_parsing_exception
  longshore dead-letter resend --all

Exit codes:
  0  all that were chosen are stored, and are no dead letters any more
  1  some are not, with the reason; or another resend is at work
  64 wrong usage, or mistakes in the config";

/// How often a person is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this document; may be given several times
    #[arg(long = "id", value_name = "ID", allow_hyphen_values = true)]
    ids: Vec<String>,
    /// All documents
    #[arg(long, conflicts_with_all = ["ids", "index", "kind", "namespace", "pod"])]
    all: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if !args.all && args.ids.is_empty() && args.filters.is_empty() {
        let message = "dead-letter resend: name documents with --id, choose some with --index, --type, --namespace or --pod, \
            or say --all";
        return Err(Failure::Usage(message.to_owned()));
    }
    let config = args.place.config.load(console)?;
    let state_dir = args.place.state_dir.as_ref().unwrap_or(&config.state_dir);
    is_there(state_dir)?;
    let server = Server::connect(&config.sink.elasticsearch)?;
    let Some(_lock) = lock(&disk::folder(state_dir))? else {
        writeln!(console.out, "no dead letters")?;
        return Ok(if args.ids.is_empty() {
            Exit::Clean
        } else {
            Exit::Runtime
        });
    };
    let taken = Taken::take(&kernel(), state_dir)
        .with_context(|| format!("taking over the rows of {}", disk::folder(state_dir).display()))?;
    let mut work = Work {
        args,
        server,
        taken,
        limits: config.batch,
        resend: Resend::default(),
        lines: None,
        from: 0,
        gone: Vec::new(),
        missing: args.ids.iter().map(String::as_str).collect(),
        told: now(),
    };
    let stopped = work.deliver_all(console)?;
    work.tell_end(stopped, console)
}

/// The lock of the folder, so that there is one `resend` at a time; `None` when there is no folder.
fn lock(folder: &Path) -> anyhow::Result<Option<Lock>> {
    if kernel().stat(folder).is_err() {
        return Ok(None);
    }
    let lock = Lock::take(folder).with_context(|| folder.display().to_string())?;
    lock.map(Some).ok_or_else(|| {
        anyhow!(
            "another resend is at work in {}: wait for its end",
            folder.display()
        )
    })
}

/// All that is known while rows are sent.
struct Work<'a> {
    args: &'a Args,
    server: Server,
    taken: Taken,
    limits: BatchLimits,
    resend: Resend,
    lines: Option<RowLines>,
    /// What lies before this byte is dealt with.
    from: u64,
    /// Rows before `from` that are delivered and still in the file.
    gone: Vec<(u64, u64)>,
    missing: BTreeSet<&'a str>,
    told: Instant,
}

impl Work<'_> {
    /// Sends what is chosen, from the beginning of the file to its end; why not to the end is left.
    fn deliver_all(&mut self, console: &mut Console<'_>) -> Result<Option<Problem>, Failure> {
        loop {
            let letters = self.read_some().context("reading the rows")?;
            let at_end = letters.is_empty();
            self.resend.push(letters);
            let stopped = self.deliver(console);
            self.gone.extend(self.resend.take_delivered());
            let gone: u64 = self.gone.iter().map(|(_, len)| len).sum();
            let is_half = gone * 2 >= self.taken.bytes().context("the rows")?;
            if gone > 0 && (at_end || is_half || stopped.is_some()) {
                self.take_away(gone).context(
                    "these documents are stored, but their rows could not be taken away; they stay, and count as stored before \
                     when they are sent again",
                )?;
            }
            if at_end || stopped.is_some() {
                return Ok(stopped);
            }
            self.tell_progress(console);
        }
    }

    /// The next rows that make one body; none at the end of the file.
    fn read_some(&mut self) -> std::io::Result<Vec<Letter>> {
        if self.lines.is_none() {
            self.lines = self.taken.rows(self.from)?;
        }
        let (mut letters, mut bytes) = (Vec::new(), 0);
        while letters.len() < self.limits.max_documents && bytes < self.limits.max_bytes as usize {
            let Some(line) = self
                .lines
                .as_mut()
                .map(RowLines::next_line)
                .transpose()?
                .flatten()
            else {
                break;
            };
            self.from = line.at + line.len;
            if let Some(letter) = self.choose(&line) {
                bytes += letter.lines.len();
                letters.push(letter);
            }
        }
        Ok(letters)
    }

    fn choose(&mut self, line: &RowLine) -> Option<Letter> {
        let row = match letters::row(line) {
            Ok(row) => row,
            Err(damage) => {
                if self.args.all {
                    self.resend.keep(damage);
                }
                return None;
            }
        };
        let is_named = self.args.ids.is_empty() || self.args.ids.contains(&row.letter.id);
        if !is_named || !self.args.filters.match_(&row.letter) {
            return None;
        }
        self.missing.remove(row.letter.id.as_str());
        let Some((index, lines)) = bulk_lines(&line.text) else {
            self.resend.keep("the row names no index");
            return None;
        };
        Some(Letter {
            at: line.at,
            len: line.len,
            index,
            lines,
        })
    }

    /// Sends all rows that were read.
    fn deliver(&mut self, console: &mut Console<'_>) -> Option<Problem> {
        while let Some((body, documents)) = self.resend.next_body() {
            let answer = self.server.post(&body, documents);
            match self
                .resend
                .on_answer(answer.verdict, answer.retry_after, random())
            {
                After::Go => {}
                After::Stop(problem) => return Some(problem),
                After::Wait(delay, why) => {
                    console.note(format_args!(
                        "{}; the next attempt comes in {delay:.1?}",
                        visible(&why)
                    ));
                    self.server.rest(delay);
                }
            }
        }
        None
    }

    /// Takes what was delivered out of the file.
    fn take_away(&mut self, gone: u64) -> std::io::Result<()> {
        self.taken.remove_lines(&std::mem::take(&mut self.gone))?;
        self.from -= gone;
        self.lines = None;
        Ok(())
    }

    fn tell_progress(&mut self, console: &mut Console<'_>) {
        if now().saturating_duration_since(self.told) < TELL_INTERVAL {
            return;
        }
        self.told = now();
        let tally = self.resend.tally();
        let rest = self.taken.bytes().unwrap_or(0).saturating_sub(self.from);
        console.note(format_args!(
            "{} delivered, {} not; {rest} bytes to go",
            tally.delivered(),
            tally.undelivered()
        ));
    }

    fn tell_end(&self, stopped: Option<Problem>, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let tally = self.resend.tally();
        let (delivered, undelivered) = (tally.delivered(), tally.undelivered());
        writeln!(
            console.out,
            "{delivered} delivered ({} stored now, {} stored before), {undelivered} not",
            tally.stored, tally.known
        )?;
        for (reason, count) in &tally.kept {
            writeln!(console.out, "{count:>7}  {}", visible(reason))?;
        }
        for id in &self.missing {
            console.note(format_args!("{}: no dead letter has this id", visible(id)));
        }
        if let Some(problem) = &stopped {
            let Problem { status, kind, reason } = problem;
            let what = match status {
                0 => visible(reason),
                _ => visible(&format!("{status} {kind}: {reason}")),
            };
            console.note(format_args!("ended early, all other rows stay: {what}"));
        }
        let is_all = undelivered == 0 && stopped.is_none() && self.missing.is_empty();
        Ok(if is_all { Exit::Clean } else { Exit::Runtime })
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a person has heard nothing")]
fn now() -> Instant {
    Instant::now()
}

/// Another number each time.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
