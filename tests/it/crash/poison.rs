//! Lines that the server refuses for good, and whether each of them came to rest in the dead-letter file.

use crate::agent::Lodging;
use crate::traffic::{Arrivals, tell};
use longshore_kit::chance::{mix, unit};
use longshore_kit::lines::find_message;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

const SHARE: f64 = 0.01;

/// Whether the server refuses this line for good: one in a hundred.
pub(super) fn is_poison(seed: u64, stream: &str, seq: u64) -> bool {
    chance_of(&(seed, stream, seq)) < SHARE
}

/// A number from 0 to 1 that depends on `what` alone.
pub(super) fn chance_of(what: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    unit(mix(hasher.finish()))
}

/// Every line that the server refuses for good is in the dead-letter file, under one id. A row may be there twice, since a
/// crash between its sync and its ack is no reason to lose it: then its id says so. The lines are told to `arrivals`: one
/// that is in the index, too, counts twice there, and so does one with two ids.
#[track_caller]
pub(super) fn assert_dead_letters(seed: u64, lodging: &Lodging, arrivals: &Arrivals, refusals: u64) {
    let rows = lodging.dead_letters();
    let mut ids: HashSet<String> = HashSet::new();
    let mut lines: HashMap<(String, u64), String> = HashMap::new();
    for row in &rows {
        assert_eq!(row["type"], "document_parsing_exception", "{row}");
        let document = row["document"].to_string();
        let (_, found) = find_message(document.as_bytes()).expect("a message");
        let id = row["id"].as_str().expect("an id").to_owned();
        assert!(is_poison(seed, found.stream, found.seq), "{row}");
        let known = lines.insert((found.stream.to_owned(), found.seq), id.clone());
        assert!(known.is_none_or(|known| known == id), "one line, two ids: {row}");
        if ids.insert(id) {
            arrivals.on_dead_letter(document.as_bytes());
        }
    }
    let written = arrivals.written();
    let poison =
        |(stream, sent): &(String, u64)| (0..*sent).filter(|seq| is_poison(seed, stream, *seq)).count();
    let poison: usize = written.iter().map(poison).sum();
    tell(&format!(
        "dead letters: {poison} lines refused for good, {} ids in the file, {} rows ({} of them again), {refusals} refusals",
        ids.len(),
        rows.len(),
        rows.len() - ids.len(),
    ));
    assert_eq!(ids.len(), poison, "each in the dead-letter file");
    assert!(rows.len() as u64 <= refusals, "a row for each refusal at most");
}
