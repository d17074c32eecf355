//! Pages that name tests: what stands between backticks enters, whether it is there leaves. `reliability.rs` and
//! `elasticsearch.rs` read such pages.
//!
//! Not done here: what is named is not run (the parts of `tests/run` do that), and nobody but a reader can say whether it proves
//! what stands beside it.

use std::fs;
use std::path::{Path, PathBuf};

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
pub(crate) fn text_of(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// What stands between backticks.
pub(crate) fn spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
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
pub(crate) fn exists(proof: &str) -> bool {
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
