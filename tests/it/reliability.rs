//! The page `tests/RELIABILITY.md`: the failure modes of log shippers, and the tests that say what Longshore does in each.
//!
//! The page and the sources enter, sentences about what is wrong leave. Wrong is: a row that is missing or there twice; a
//! row with neither a proof nor "later: reason"; a proof that does not exist, also in the section about the doubles. Not done here: what is named is not run (the
//! parts of `tests/run` do that), and nobody but a reader can say whether it proves the row.
//!
//! Red when a test is deleted or renamed that the page names, say `no_input_panics` in `parse/cri.rs`; so is a deliberate
//! bug of `src/mutant.rs`, a fault of the simulator, or a file of `fuzz/fuzz_targets`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How many failure modes the table has.
const MODES: usize = 61;

/// The last section of the page. What has `::` in it is a proof.
const DOUBLES: &str = "\n## The doubles are checked\n";

/// Where the enums are whose variants may stand as a proof: bugs and faults that are switched on.
const ENUMS: [&str; 5] = [
    "src/mutant.rs",
    "tests/sim/script.rs",
    "tests/sim/disk.rs",
    "tests/sim/node.rs",
    "tests/kit/src/rude_elasticsearch/faults.rs",
];

/// Crates whose tests may be named; `cargo test` prints paths that begin below these folders.
const CRATES: [&str; 4] = ["src", "tests/it", "tests/kit/src", "tests/model"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository; empty when there is none.
fn text_of(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// The table's rows: number and the cell of the proofs.
fn rows(page: &str) -> impl Iterator<Item = (usize, &str)> {
    page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        Some((cells.first()?.parse().ok()?, *cells.get(2)?))
    })
}

/// What stands between backticks.
fn spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether the cell says why something is for later, in more than a word.
fn is_put_off(cell: &str) -> bool {
    cell.split_once("later: ")
        .is_some_and(|(_, reason)| reason.split_whitespace().count() > 2)
}

/// Whether a file has this test: the function, and above it the attribute that makes it one.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at]
            .iter()
            .rev()
            .take_while(|line| !line.is_empty() && **line != "}");
        line.contains(&head)
            && above
                .into_iter()
                .any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
    })
}

/// Whether a module path leads to a file of this crate, maybe through modules that are written inside it, with this test.
fn crate_has_test(folder: &str, path: &[&str]) -> bool {
    let Some((name, modules)) = path.split_last() else {
        return false;
    };
    (1..=modules.len()).rev().any(|depth| {
        let (outside, inside) = modules.split_at(depth);
        let file: PathBuf = root().join(folder).join(outside.join("/"));
        [file.with_extension("rs"), file.join("mod.rs")]
            .iter()
            .any(|file| {
                let text = text_of(file);
                inside
                    .iter()
                    .all(|module| text.contains(&format!("mod {module} {{")))
                    && has_test(&text, name)
            })
    })
}

/// Whether an enum has this variant.
fn has_variant(text: &str, name: &str, variant: &str) -> bool {
    let body = text
        .split_once(&format!("enum {name} {{\n"))
        .and_then(|(_, rest)| rest.split_once("\n}"));
    let names = |line: &str| {
        let end = line
            .find(|letter: char| !letter.is_alphanumeric())
            .unwrap_or(line.len());
        &line[..end] == variant
    };
    body.is_some_and(|(body, _)| body.lines().map(str::trim).any(names))
}

/// Whether the simulator counts how often this was reached.
fn simulator_reaches(what: &str) -> bool {
    ["disk", "disk/power", "node", "world"]
        .iter()
        .any(|file| text_of(format!("tests/sim/{file}.rs")).contains(&format!("\"{what}\"")))
}

/// Whether what a page names is there: a test by its path, `Mutant::…` or another bug or fault, `sim …`, `fuzz …`, `run …`.
fn exists(proof: &str) -> bool {
    if let Some((kind, name)) = proof.split_once(' ') {
        return match kind {
            "sim" => simulator_reaches(name),
            "fuzz" => root().join(format!("fuzz/fuzz_targets/{name}.rs")).is_file(),
            "run" => text_of("tests/run").contains(&format!("    {name}) ")),
            _ => false,
        };
    }
    let path: Vec<&str> = proof.split("::").collect();
    match path[..] {
        [name, variant] if name.starts_with(char::is_uppercase) => ENUMS
            .iter()
            .any(|file| has_variant(&text_of(file), name, variant)),
        _ => CRATES.iter().any(|folder| crate_has_test(folder, &path)),
    }
}

/// What is wrong with a page, one sentence each.
fn complaints(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<usize, usize> = (1..=MODES).map(|number| (number, 0)).collect();
    for (number, cell) in rows(page) {
        *seen.entry(number).or_default() += 1;
        if spans(cell).next().is_none() && !is_put_off(cell) {
            found.push(format!("row {number} has neither a test nor \"later: reason\""));
        }
        found.extend(
            spans(cell)
                .filter(|proof| !exists(proof))
                .map(|proof| format!("row {number}: there is no {proof}")),
        );
    }
    let doubles = page.split_once(DOUBLES).map(|(_, section)| section);
    found.extend(
        doubles
            .into_iter()
            .flat_map(spans)
            .filter(|proof| proof.contains("::") && !exists(proof))
            .map(|proof| format!("the doubles: there is no {proof}")),
    );
    for (number, times) in seen {
        if times != 1 || number > MODES {
            found.push(format!("row {number} is there {times} times"));
        }
    }
    found
}

#[test]
fn every_failure_mode_has_tests_that_exist() {
    let page = text_of("tests/RELIABILITY.md");
    assert!(page.contains(DOUBLES));
    let wrong = complaints(&page);
    assert!(wrong.is_empty(), "tests/RELIABILITY.md:\n{}", wrong.join("\n"));
}

/// Each way in which a page can be wrong, beside one that is not.
#[test]
fn a_page_with_mistakes_is_refused() {
    let with = |cell: &str| {
        let mut page: String = (2..=MODES)
            .map(|number| format!("| {number} | x | later: not built yet | |\n"))
            .collect();
        page += &format!("| 1 | x | {cell} | |\n");
        complaints(&page)
    };
    for right in [
        "`parse::cri::tests::no_input_panics`",
        "`reliability::a_page_with_mistakes_is_refused`",
        "`Mutant::AckBeforeSync`, `sim truncate`, `fuzz cri`, `run deploy`; later: more of it",
        "later: there is no such feature",
    ] {
        assert_eq!(with(right), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        "",
        "later: ",
        "it is proved",
        "`parse::cri::tests::no_input_panic`",
        "`parse::cri::no_such_module::no_input_panics`",
        "`no_input_panics`",
        "`reliability::complaints`",
        "`Mutant::Nothing`",
        "`sim nothing at all`",
        "`fuzz nothing`",
        "`run nothing`",
    ] {
        assert_eq!(with(wrong).len(), 1, "{wrong}: {:?}", with(wrong));
    }
    assert_eq!(complaints("").len(), MODES);
    let doubles = |proof: &str| complaints(&format!("{DOUBLES}`tests/kit`: `{proof}`")).len() - MODES;
    assert_eq!(doubles("reliability::a_page_with_mistakes_is_refused"), 0);
    assert_eq!(doubles("reliability::complaints"), 1);
    assert_eq!(
        complaints("| 62 | x | `fuzz cri` | |\n").len(),
        MODES + 1,
        "a number beyond the table"
    );
}
