//! `longshore inspect dead-letter`: rows enter; who was refused, where, and why, leaves.

use super::{Damage, Format, Options, names, there, utc};
use crate::cli::console::{Console, Failure};
use crate::cli::table::{Flush, Table, visible};
use crate::sink::dead_letter::DeadLetter;
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

pub(super) const HELP: &str = "\
The documents themselves are in the json format only. A document can stand there twice (after a
crash, say): its id tells.

Examples:
  longshore inspect dead-letter
  longshore inspect dead-letter --format json | jq '.dead_letters[] | [.index, .reason, .document]'";

/// How many letters of a reason fit into the table.
const REASON_LETTERS: usize = 100;

pub(super) fn show(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let folder = options.folder("dead-letter", console)?;
    match options.format {
        Format::Json => json(&folder, console.out),
        Format::Table => table(&folder, console.out),
    }
}

/// A row that is whole, with its text.
struct Row<'a> {
    text: &'a str,
    letter: DeadLetter,
}

/// One object, written row by row: the folder may hold far more than should be in memory.
fn json(folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let mut separator = "";
    write!(out, "{{\"dead_letters\":[")?;
    let damage = each_row(folder, &mut |row| {
        write!(out, "{separator}\n{}", row.text)?;
        separator = ",";
        Ok(())
    })?;
    writeln!(out, "\n],\"damage\":{}}}", serde_json::json!(damage))?;
    Ok(())
}

fn table(folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows = Table::new(&[
        ("REFUSED AT", Flush::Left),
        ("STATUS", Flush::Right),
        ("INDEX", Flush::Left),
        ("ID", Flush::Left),
        ("TYPE", Flush::Left),
        ("REASON", Flush::Left),
    ]);
    let mut by_type: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let damage = each_row(folder, &mut |Row { letter, .. }| {
        *by_type.entry(letter.kind.clone()).or_default() += 1;
        if !letter.id.is_empty() {
            ids.insert((letter.index.clone(), letter.id.clone()));
        }
        rows.push([
            utc(letter.at),
            letter.status.to_string(),
            letter.index,
            letter.id,
            letter.kind,
            shortened(&letter.reason),
        ]);
        Ok(())
    })?;
    for damage in &damage {
        writeln!(out, "{}", visible(&damage.to_string()))?;
    }
    if by_type.is_empty() {
        writeln!(out, "no dead letters")?;
        return Ok(());
    }
    rows.write(out)?;
    let count: usize = by_type.values().sum();
    writeln!(out, "\nrows: {count}, different ids: {}", ids.len())?;
    for (kind, count) in by_type {
        writeln!(out, "{count:>7}  {}", visible(&kind))?;
    }
    Ok(())
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_LETTERS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

/// Shows each whole row of each file, oldest first, and returns the places of all others.
fn each_row(folder: &Path, show: &mut dyn FnMut(Row<'_>) -> io::Result<()>) -> Result<Vec<Damage>, Failure> {
    let mut damage = Vec::new();
    for name in names(folder)? {
        let path = folder.join(name);
        let opened = open(&path).with_context(|| path.display().to_string())?;
        if let Some(mut file) = opened {
            rows_of(&mut file, &path, show, &mut damage)?;
        }
    }
    Ok(damage)
}

fn rows_of(
    file: &mut dyn BufRead,
    path: &Path,
    show: &mut dyn FnMut(Row<'_>) -> io::Result<()>,
    damage: &mut Vec<Damage>,
) -> Result<(), Failure> {
    let mut at = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        match file.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                damage.push(Damage::new(path, Some(at), error));
                return Ok(());
            }
        }
        match row(&line) {
            Ok(row) => show(row)?,
            Err(reason) => damage.push(Damage::new(path, Some(at), reason)),
        }
        at += line.len() as u64;
    }
}

fn row(line: &[u8]) -> Result<Row<'_>, String> {
    let whole = line.ends_with(b"\n");
    let read = || -> Option<Row<'_>> {
        let text = std::str::from_utf8(line).ok()?.trim_end();
        let letter = serde_json::from_str(text).ok()?;
        Some(Row { text, letter })
    };
    read().ok_or_else(|| {
        if whole {
            "not a row of a dead letter"
        } else {
            "a torn row, or one that is being written now"
        }
        .to_owned()
    })
}

#[expect(clippy::disallowed_methods, reason = "files of the state directory are read")]
fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    Ok(there(File::open(path))?.map(BufReader::new))
}
