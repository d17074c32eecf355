//! The page `tests/ELASTICSEARCH.md`: what was tried against which real server, and by which test.
//!
//! The page and the sources enter, sentences about what is wrong leave. Wrong is: a row of the tables of verdicts that the page
//! does not have, or has twice; one that the tables do not have; a test that does not exist; a row with neither a test nor a
//! reason; a server whose cell says neither `yes` nor a reason that the page explains; a reason that nobody gives.
//!
//! Red when a row is added to `response/table.rs`, or a test is renamed that the page names.

use crate::proofs::{exists, spans, text_of};
use std::collections::BTreeSet;

/// The sections: items and whole requests have the rows of the tables, the others are free.
const ITEMS: &str = "\n## Answers to items\n";
const REQUESTS: &str = "\n## Answers to whole requests\n";
const OTHERS: &str = "\n## All else\n";
const REASONS: &str = "\n## Why not\n";

/// Between the name of a row and its tests, one cell for each.
const SERVERS: usize = 5;

/// What stands below a heading, as far as the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let rest = page.split_once(heading).map_or("", |(_, rest)| rest);
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// A row: its name, a cell for each server, its tests.
struct Row<'a> {
    name: &'a str,
    servers: Vec<&'a str>,
    tests: &'a str,
}

/// The rows of a table, below its heading.
fn rows(section: &str) -> Vec<Row<'_>> {
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| {
            let mut cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let tests = cells.pop().unwrap_or_default();
            let servers = cells.split_off(cells.len().min(1));
            Row {
                name: cells.pop().unwrap_or_default().trim_matches('`'),
                servers,
                tests,
            }
        })
        .collect()
}

/// The names of a table of verdicts, as its source has them.
fn verdicts<'a>(source: &'a str, table: &str) -> BTreeSet<&'a str> {
    let table = source.split_once(&format!("pub const {table}:"));
    let table = table.and_then(|(_, rest)| rest.split_once("\n};"));
    let rows = table
        .into_iter()
        .flat_map(|(table, _)| table.split("Row::new(").skip(1));
    rows.filter_map(|row| row.split('"').nth(1)).collect()
}

/// The reasons that the page explains: `- *letter*: …`.
fn reasons(page: &str) -> BTreeSet<&str> {
    let lines = section(page, REASONS).lines();
    lines
        .filter_map(|line| Some(line.strip_prefix("- *")?.split_once("*: ")?.0))
        .collect()
}

/// What is wrong with a page, one sentence each.
fn complaints(page: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (known, mut given) = (reasons(page), BTreeSet::new());
    for (heading, table) in [
        (ITEMS, Some("ITEMS")),
        (REQUESTS, Some("REQUESTS")),
        (OTHERS, None),
    ] {
        let rows = rows(section(page, heading));
        let mut names = BTreeSet::new();
        for row in &rows {
            let name = row.name;
            if !names.insert(name) {
                found.push(format!("{name} is there twice"));
            }
            if row.servers.len() != SERVERS {
                found.push(format!("{name} has {} servers", row.servers.len()));
            }
            let missing = spans(row.tests).filter(|test| !exists(test));
            found.extend(missing.map(|test| format!("{name}: there is no {test}")));
            if row.servers.contains(&"yes") != spans(row.tests).next().is_some() {
                found.push(format!("{name}: a test for each yes, and a yes for each test"));
            }
            for reason in row.servers.iter().filter(|cell| **cell != "yes") {
                given.insert(*reason);
            }
        }
        let wanted = table.map_or_else(|| names.clone(), |table| verdicts(source, table));
        let differ = wanted.symmetric_difference(&names);
        found.extend(differ.map(|name| format!("{name} is not on the page and in the table")));
    }
    let differ = given.symmetric_difference(&known);
    found.extend(differ.map(|reason| format!("the reason {reason} is not both given and explained")));
    found
}

#[test]
fn every_verdict_has_a_real_server_or_a_reason() {
    let (page, source) = (
        text_of("tests/ELASTICSEARCH.md"),
        text_of("src/sink/elasticsearch/response/table.rs"),
    );
    assert!(verdicts(&source, "ITEMS").len() > 20 && verdicts(&source, "REQUESTS").len() > 15);
    assert!(!rows(section(&page, OTHERS)).is_empty());
    let wrong = complaints(&page, &source);
    assert!(wrong.is_empty(), "tests/ELASTICSEARCH.md:\n{}", wrong.join("\n"));
}

/// Each way in which a page can be wrong, beside one that is not.
#[test]
fn a_page_with_mistakes_is_refused() {
    const TEST: &str = "`elasticsearch::a_page_with_mistakes_is_refused`";
    let source = "pub const ITEMS: &[Row] = {\n    Row::new(\n  \"stored\", 1),\n};\npub const REQUESTS: &[Row] = {\n    Row::new(\"timeout\")\n};\n";
    let page = |items: &str, rest: &str| {
        let head = "| a | b |\n|---|---|\n";
        let page = format!(
            "{ITEMS}{head}{items}\n{REQUESTS}{head}| `timeout` | yes | yes | yes | yes | x | {TEST} |\n{OTHERS}{head}{REASONS}- *x*: why\n{rest}"
        );
        complaints(&page, source)
    };
    let right = format!("| `stored` | yes | yes | x | yes | yes | {TEST} |");
    assert_eq!(page(&right, ""), Vec::<String>::new());
    for (wrong, complaints) in [
        (right.replace("stored", "stared"), 2),
        (format!("{right}\n{right}"), 1),
        (right.replace(TEST, ""), 1),
        (right.replace(TEST, "`elasticsearch::nothing`"), 1),
        (right.replace("| x ", ""), 1),
        (right.replace("| x ", "| y "), 1),
        ("| `stored` | x | x | x | x | x | |".to_owned(), 0),
    ] {
        assert_eq!(
            page(&wrong, "").len(),
            complaints,
            "{wrong}: {:?}",
            page(&wrong, "")
        );
    }
    assert_eq!(page(&right, "- *z*: nobody says so\n").len(), 1);
}
