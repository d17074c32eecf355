//! `longshore dead-letter show`: an id enters, whole rows leave.

use super::{Filters, Place};
use crate::cli::console::{Console, Exit, Failure};
use crate::cli::letters::each_row;
use crate::cli::pretty::pretty;
use crate::cli::table::visible;

pub(super) const HELP: &str = "\
Members keep their order and numbers their digits: what is shown is what would be sent. An id may be
in two indices, and a document there twice; all of them are shown.

Examples:
  longshore dead-letter show -Oms7Kl--Wk6clH88QB----------i
  longshore dead-letter show --namespace shop --type 'mapper*' | jq .document

Exit codes:
  0  shown
  1  there is no such row, or the files cannot be read
  64 wrong usage, or mistakes in the config";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The id of a document; it may begin with a dash
    #[arg(value_name = "ID", required_unless_present_any = ["index", "kind", "namespace", "pod"], allow_hyphen_values = true)]
    id: Option<String>,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let state_dir = args.place.state_dir(console)?;
    let mut shown = 0;
    let out = &mut *console.out;
    let damage = each_row(&state_dir, &mut |row| {
        let is_named = args.id.as_ref().is_none_or(|id| *id == row.letter.id);
        if !is_named || !args.filters.match_(&row.letter) {
            return Ok(());
        }
        shown += 1;
        writeln!(out, "{}", pretty(row.text))
    })?;
    for damage in &damage {
        console.note(visible(&damage.to_string()));
    }
    if shown > 0 {
        return Ok(Exit::Clean);
    }
    console.note(match &args.id {
        Some(id) => format!("{}: no dead letter has this id", visible(id)),
        None => "there is no such dead letter".to_owned(),
    });
    Ok(Exit::Runtime)
}
