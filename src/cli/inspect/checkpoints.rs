//! `longshore inspect checkpoints`: both generations enter, the positions of the one that counts leave.

use super::{Damage, Format, Options, read, utc, utc_of, write_json};
use crate::checkpoint::losses::{LossRecord, LossTotal};
use crate::checkpoint::snapshot::{self, Checkpoint, Entry};
use crate::cli::console::{Console, Failure};
use crate::cli::table::{Flush, Table, visible};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub(super) const HELP: &str = "\
OFFSET  everything before it is delivered, or durably kept in spool or dead letter
SIZE    of the file when it was last looked at, both in uncompressed bytes
STATE   finished: read to its end, and it will not grow; kept to know it again as .gz

Example:
  longshore inspect checkpoints --format json | jq '.files[] | select(.offset < .size) | .pod'";

/// The generations, newest first. The agent takes the first one that is whole.
const GENERATIONS: [&str; 2] = ["current", "previous"];

#[derive(Debug, Serialize)]
struct Report {
    generations: Vec<Generation>,
    /// The entries of the generation that counts.
    files: Vec<Entry>,
    /// What was never read since the first start, by reason, and the last spans of it.
    lost: BTreeMap<String, LossTotal>,
    losses: Vec<LossRecord>,
    damage: Vec<Damage>,
}

#[derive(Debug, Serialize)]
struct Generation {
    name: &'static str,
    bytes: usize,
    written: String,
    /// Files in it; none when it is damaged.
    files: Option<usize>,
    /// Whether it is the one that counts.
    counts: bool,
}

pub(super) fn show(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let folder = options.folder("checkpoints", console)?;
    let report = look(&folder);
    match options.format {
        Format::Json => write_json(console.out, &report)?,
        Format::Table => table(&report, console.out)?,
    }
    Ok(())
}

fn look(folder: &Path) -> Report {
    let mut report = Report {
        generations: Vec::new(),
        files: Vec::new(),
        lost: BTreeMap::new(),
        losses: Vec::new(),
        damage: Vec::new(),
    };
    for name in GENERATIONS {
        let path = folder.join(name);
        let (bytes, written) = match read(&path) {
            Ok(None) => continue,
            Ok(Some(found)) => found,
            Err(error) => {
                report.damage.push(Damage::new(&path, None, error));
                continue;
            }
        };
        let mut generation = Generation {
            name,
            bytes: bytes.len(),
            written: utc_of(written),
            files: None,
            counts: false,
        };
        match snapshot::decode(&bytes) {
            Ok(Checkpoint { entries, losses }) => {
                generation.files = Some(entries.len());
                generation.counts = report.generations.iter().all(|newer| !newer.counts);
                if generation.counts {
                    report.files = entries;
                    report.losses = losses.records.into();
                    report.lost = losses.totals;
                }
            }
            Err(damage) => report.damage.push(Damage::new(&path, None, damage)),
        }
        report.generations.push(generation);
    }
    report
}

fn table(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    if report.generations.is_empty() && report.damage.is_empty() {
        return writeln!(out, "no checkpoint: no agent has run with this state directory");
    }
    let mut generations = Table::new(&[
        ("GENERATION", Flush::Left),
        ("BYTES", Flush::Right),
        ("FILES", Flush::Right),
        ("WRITTEN", Flush::Left),
        ("", Flush::Left),
    ]);
    for generation in &report.generations {
        generations.push([
            generation.name.to_owned(),
            generation.bytes.to_string(),
            generation
                .files
                .map_or("damaged".to_owned(), |files| files.to_string()),
            generation.written.clone(),
            if generation.counts { "counts" } else { "" }.to_owned(),
        ]);
    }
    generations.write(out)?;
    for damage in &report.damage {
        writeln!(out, "{}", visible(&damage.to_string()))?;
    }
    writeln!(out)?;
    files(&report.files).write(out)
}

fn files(entries: &[Entry]) -> Table {
    let mut files = Table::new(&[
        ("NAMESPACE", Flush::Left),
        ("POD", Flush::Left),
        ("CONTAINER", Flush::Left),
        ("RESTART", Flush::Right),
        ("OFFSET", Flush::Right),
        ("SIZE", Flush::Right),
        ("STATE", Flush::Left),
        ("LAST STAMP", Flush::Left),
        ("CUTS", Flush::Right),
    ]);
    for entry in entries {
        files.push([
            entry.namespace.to_string(),
            entry.pod.to_string(),
            entry.container.to_string(),
            entry.restart.to_string(),
            entry.offset.to_string(),
            entry.size.to_string(),
            if entry.finished { "finished" } else { "open" }.to_owned(),
            entry.last_stamp.map_or(String::new(), |(secs, _)| utc(secs)),
            entry.cuts.len().to_string(),
        ]);
    }
    files
}
