//! The files of dead letters enter, their rows leave one by one, for the subcommands that show them.
//!
//! The agent may append meanwhile, and a `resend` may be at work: a row may be met twice then, never not at all.

use super::console::Failure;
use super::inspect::Damage;
use crate::disk::kernel;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::dead_letter::disk::{MAX_ROW, RowLine, RowLines, row_files};
use anyhow::Context;
use std::io;
use std::path::Path;

/// How many letters of a reason fit into a table.
const REASON_LETTERS: usize = 100;

/// A row that is whole, with its text.
pub(super) struct Row<'a> {
    pub(super) text: &'a str,
    pub(super) letter: DeadLetter,
}

/// Shows each whole row of each file, oldest first, and returns the places of all others.
pub(super) fn each_row(
    state_dir: &Path,
    show: &mut dyn FnMut(Row<'_>) -> io::Result<()>,
) -> Result<Vec<Damage>, Failure> {
    let disk = kernel();
    let files = row_files(&disk, state_dir).with_context(|| state_dir.display().to_string())?;
    // All are opened before one is read: rows that move meanwhile are in one of them.
    let mut opened = Vec::new();
    for path in files {
        let lines = RowLines::open(&disk, &path).with_context(|| path.display().to_string())?;
        opened.extend(lines.map(|lines| (path, lines)));
    }
    let mut damage = Vec::new();
    for (path, mut lines) in opened.into_iter().rev() {
        loop {
            match lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => match row(&line) {
                    Ok(row) => show(row)?,
                    Err(reason) => damage.push(Damage::new(&path, Some(line.at), reason)),
                },
                Err(error) => {
                    damage.push(Damage::new(&path, None, error));
                    break;
                }
            }
        }
    }
    Ok(damage)
}

/// A line as a row, or what is wrong with it.
pub(super) fn row(line: &RowLine) -> Result<Row<'_>, &'static str> {
    let read = || -> Option<Row<'_>> {
        let text = std::str::from_utf8(&line.text).ok()?.trim_end();
        let letter = serde_json::from_str(text).ok()?;
        Some(Row { text, letter })
    };
    read().ok_or(match (line.whole, line.len > MAX_ROW as u64) {
        (true, _) => "not a row of a dead letter",
        (false, true) => "longer than any row of a dead letter",
        (false, false) => "a torn row, or one that is being written now",
    })
}

/// As much of a reason as fits into a table.
pub(super) fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_LETTERS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}
