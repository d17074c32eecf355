//! `longshore inspect dead-letter`: rows enter; who was refused, where, and why, leaves.

use super::{Format, Options, utc};
use crate::cli::console::{Console, Failure};
use crate::cli::letters::{Row, each_row, shortened};
use crate::cli::table::{Flush, Table, visible};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

pub(super) const HELP: &str = "\
The documents themselves are in the json format only. A document can stand there twice (after a
crash, say): its id tells.

Examples:
  longshore inspect dead-letter
  longshore inspect dead-letter --format json | jq '.dead_letters[] | [.index, .reason, .document]'";

pub(super) fn show(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let state_dir = options.state_dir(console)?;
    match options.format {
        Format::Json => json(&state_dir, console.out),
        Format::Table => table(&state_dir, console.out),
    }
}

/// One object, written row by row: the folder may hold far more than should be in memory.
fn json(state_dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let mut separator = "";
    write!(out, "{{\"dead_letters\":[")?;
    let damage = each_row(state_dir, &mut |row| {
        write!(out, "{separator}\n{}", row.text)?;
        separator = ",";
        Ok(())
    })?;
    writeln!(out, "\n],\"damage\":{}}}", serde_json::json!(damage))?;
    Ok(())
}

fn table(state_dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
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
    let damage = each_row(state_dir, &mut |Row { letter, .. }| {
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
