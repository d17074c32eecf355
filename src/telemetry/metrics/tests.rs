//! The page is read back by a strict reader of the text format.

use super::*;
use crate::telemetry::board::{HoldStatus, VERSION};
use crate::telemetry::example;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One sample: its name, its labels, its value.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What is known of the family that is being read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    label_sets: BTreeSet<(String, BTreeMap<String, String>)>,
}

/// Reads a page and panics at the first line that breaks a rule of the format.
fn read(page: &str) -> Vec<Sample> {
    let body = page
        .strip_suffix("# EOF\n")
        .expect("the page ends with EOF and a newline");
    let (mut families, mut family, mut samples) = (BTreeSet::new(), Family::default(), Vec::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(families.insert(name.to_owned()), "{name} is there twice");
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            family = Family {
                name: name.to_owned(),
                ..Family::default()
            };
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(name == family.name && family.kind.is_empty(), "{line}");
            family.kind = kind.to_owned();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect(line);
            assert!(
                name == family.name && name.ends_with(&format!("_{unit}")),
                "{line}"
            );
        } else {
            samples.push(family.sample(line));
        }
    }
    samples
}

impl Family {
    fn sample(&mut self, line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect(line))),
            None => (series, BTreeMap::new()),
        };
        let suffix = match self.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            "gauge" => "",
            kind => panic!("{line}: type {kind:?}"),
        };
        assert_eq!(name, format!("{}{suffix}", self.name), "{line}");
        let value: f64 = value.parse().expect(line);
        assert!(
            value.is_finite() && (self.kind == "gauge" || value >= 0.0),
            "{line}"
        );
        assert!(self.kind != "info" || value == 1.0, "{line}");
        assert!(
            self.label_sets.insert((name.to_owned(), labels.clone())),
            "{line} is there twice"
        );
        Sample {
            name: name.to_owned(),
            labels,
            value,
        }
    }
}

/// Reads `a="b",c="d"`.
fn labels(text: &str) -> BTreeMap<String, String> {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"").expect(text);
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{text}"
        );
        let (mut value, mut letters) = (String::new(), quoted.char_indices());
        let end = loop {
            match letters.next().expect(text) {
                (at, '"') => break at,
                (_, '\\') => value.push(match letters.next().expect(text).1 {
                    'n' => '\n',
                    letter @ ('"' | '\\') => letter,
                    letter => panic!("{text}: escape {letter}"),
                }),
                (_, letter) => value.push(letter),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "{text}: {name} twice"
        );
        let after = &quoted[end + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(
            after.is_empty() || (after.len() > rest.len() && !rest.is_empty()),
            "{text}"
        );
    }
    labels
}

fn page() -> String {
    render(&example::board(), &example::facts(), Some(example::process()))
}

/// The sum of a metric's samples.
fn sum(samples: &[Sample], name: &str) -> f64 {
    let of_name: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.name == name)
        .map(|sample| sample.value)
        .collect();
    assert!(!of_name.is_empty(), "{name} has no sample");
    of_name.into_iter().sum()
}

#[test]
fn the_page_of_the_example_is_the_golden_one() {
    let golden = include_str!("../../../tests/golden/metrics/page.txt").replace("{version}", VERSION);
    let page = page();
    assert!(
        page == golden,
        "the page differs from tests/golden/metrics/page.txt:\n{page}"
    );
}

#[test]
fn a_strict_reader_finds_every_row_of_the_catalog() {
    let samples = read(&page());
    for metric in catalog::METRICS {
        assert!(
            samples.iter().any(|sample| sample.name == metric.name),
            "{} is not there",
            metric.name
        );
    }
    let hold = samples
        .iter()
        .find(|sample| sample.name == "longshore_sink_hold_frames")
        .unwrap();
    assert_eq!(hold.labels["index"], "logs-\"odd\"");
}

#[test]
fn the_page_of_an_empty_board_is_well_formed_and_has_no_process() {
    let samples = read(&render(&Board::default(), &Facts::default(), None));
    assert!(
        !samples
            .iter()
            .any(|sample| sample.name == "process_resident_memory_bytes")
    );
    assert_eq!(sum(&samples, "longshore_ledger_imbalance_bytes"), 0.0);
}

#[test]
fn the_ledgers_law_holds_in_the_text() {
    let samples = read(&page());
    let of = |name: &str| sum(&samples, &format!("longshore_ledger_{name}"));
    let entered = of("read_bytes_total") + of("recovered_bytes_total");
    let places = of("acked_bytes_total") + of("dead_lettered_bytes_total") + of("dropped_bytes_total");
    assert_eq!(
        entered,
        places + of("held_bytes") + of("in_flight_bytes") + of("spooled_bytes")
    );
    assert_eq!(entered, 1170.0);
    assert_eq!(of("imbalance_bytes"), 0.0);
}

#[test]
fn an_imbalance_is_shown_with_its_sign() {
    let board = example::board();
    board.ledger().acked += 5;
    let samples = read(&render(&board, &example::facts(), None));
    assert_eq!(sum(&samples, "longshore_ledger_imbalance_bytes"), -5.0);
}

#[test]
fn containers_beyond_the_limit_are_summed() {
    let board = example::board();
    let files: Vec<_> = (0..MAX_CONTAINERS + 7)
        .map(|at| example::file("ns", &format!("p{at}"), "c", 0))
        .collect();
    let containers: Vec<_> = files.iter().map(|file| example::container(file, 3)).collect();
    board.reader().containers = containers.into();
    board.reader().files = files.into();
    let samples = read(&render(&board, &example::facts(), None));
    let lags: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.name == "longshore_container_lag_bytes")
        .collect();
    assert_eq!(lags.len(), MAX_CONTAINERS + 1);
    let rest = lags
        .iter()
        .find(|sample| sample.labels["container"] == "other")
        .unwrap();
    assert_eq!((rest.labels["pod"].as_str(), rest.value), ("", 7.0 * 400.0));
    assert_eq!(
        sum(&samples, "longshore_container_lag_bytes"),
        sum(&samples, "longshore_lag_bytes")
    );
    assert_eq!(
        sum(&samples, "longshore_container_read_bytes_total"),
        3.0 * (MAX_CONTAINERS + 7) as f64
    );
}

#[test]
fn indices_on_hold_beyond_the_limit_are_summed() {
    let board = example::board();
    let hold = board.sink().holds[0].clone();
    board.sink().holds = (0..130)
        .map(|at| HoldStatus {
            index: format!("logs-{at}"),
            ..hold.clone()
        })
        .collect();
    let samples = read(&render(&board, &example::facts(), None));
    assert_eq!(
        samples
            .iter()
            .filter(|sample| sample.name == "longshore_sink_hold_frames")
            .count(),
        101
    );
    assert_eq!(sum(&samples, "longshore_sink_hold_frames"), 260.0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the README lies beside the source")]
fn the_readme_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let Ok(readme) = std::fs::read_to_string(path) else {
        // Before the README is written there is nothing to keep in step; every row must still be told.
        assert_eq!(table().lines().count(), catalog::METRICS.len() + 2);
        return;
    };
    let shown = readme
        .split_once("<!-- metrics -->\n")
        .and_then(|(_, rest)| rest.split_once("<!-- /metrics -->"))
        .map(|(table, _)| table.trim())
        .expect("README.md has the markers <!-- metrics --> and <!-- /metrics -->");
    assert!(
        shown == table().trim(),
        "README.md's table of metrics is to be:\n{}",
        table()
    );
}
