//! `longshore dead-letter list`: rows enter, one line for each of them leaves.

use super::{Filters, Place};
use crate::cli::console::{Console, Exit, Failure};
use crate::cli::inspect::utc;
use crate::cli::letters::each_row;
use crate::cli::table::{Flush, Table, visible};
use crate::sink::dead_letter::DeadLetter;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const HELP: &str = "\
A document may stand there twice (after a crash of the agent, say): its id tells. With --json each
line is one object, with the server's reason; `dead-letter show` shows the documents themselves.

Examples:
  longshore dead-letter list
  longshore dead-letter list --namespace shop --pod 'web-*'
  longshore dead-letter list --json | jq -r .reason | sort | uniq -c

Exit codes:
  0  listed
  1  the files cannot be read, or something in them is no row
  64 wrong usage, or mistakes in the config";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// So many lines at most; all are counted
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// One JSON object a line, without a limit
    #[arg(long, conflicts_with = "limit")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// A row as `--json` shows it.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    status: u16,
    r#type: &'a str,
    index: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    reason: &'a str,
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let state_dir = args.place.state_dir(console)?;
    let mut listed = Listed::new(args.limit);
    let out = &mut *console.out;
    let damage = each_row(&state_dir, &mut |row| {
        if !args.filters.match_(&row.letter) {
            return Ok(());
        }
        if args.json {
            serde_json::to_writer(&mut *out, &line(&row.letter))?;
            return writeln!(out);
        }
        listed.push(&row.letter);
        Ok(())
    })?;
    if !args.json {
        listed.write(console)?;
    }
    for damage in &damage {
        console.note(visible(&damage.to_string()));
    }
    Ok(if damage.is_empty() {
        Exit::Clean
    } else {
        Exit::Runtime
    })
}

fn line(letter: &DeadLetter) -> Line<'_> {
    let (namespace, pod) = letter.origin();
    Line {
        at: utc(letter.at),
        status: letter.status,
        r#type: &letter.kind,
        index: &letter.index,
        id: &letter.id,
        namespace,
        pod,
        reason: &letter.reason,
    }
}

/// What a table shows of any number of rows.
struct Listed {
    table: Table,
    limit: usize,
    rows: usize,
    ids: BTreeSet<(String, String)>,
    by_type: BTreeMap<(u16, String), usize>,
}

impl Listed {
    fn new(limit: usize) -> Listed {
        let heads = [
            ("REFUSED AT", Flush::Left),
            ("STATUS", Flush::Right),
            ("TYPE", Flush::Left),
            ("INDEX", Flush::Left),
            ("NAMESPACE", Flush::Left),
            ("POD", Flush::Left),
            ("ID", Flush::Left),
        ];
        Listed {
            table: Table::new(&heads),
            limit,
            rows: 0,
            ids: BTreeSet::new(),
            by_type: BTreeMap::new(),
        }
    }

    fn push(&mut self, letter: &DeadLetter) {
        self.rows += 1;
        *self
            .by_type
            .entry((letter.status, letter.kind.clone()))
            .or_default() += 1;
        if !letter.id.is_empty() {
            self.ids.insert((letter.index.clone(), letter.id.clone()));
        }
        if self.rows > self.limit {
            return;
        }
        let (namespace, pod) = letter.origin();
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        self.table.push([
            utc(letter.at),
            letter.status.to_string(),
            letter.kind.clone(),
            letter.index.clone(),
            or_dash(namespace),
            or_dash(pod),
            or_dash(Some(letter.id.as_str()).filter(|id| !id.is_empty())),
        ]);
    }

    fn write(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        if self.rows == 0 {
            writeln!(console.out, "no dead letters")?;
            return Ok(());
        }
        self.table.write(console.out)?;
        if self.rows > self.limit {
            writeln!(console.out, "… and {} more (--limit)", self.rows - self.limit)?;
        }
        writeln!(
            console.out,
            "\nrows: {}, different ids: {}",
            self.rows,
            self.ids.len()
        )?;
        for ((status, kind), count) in &self.by_type {
            writeln!(console.out, "{count:>7}  {status} {}", visible(kind))?;
        }
        Ok(())
    }
}
