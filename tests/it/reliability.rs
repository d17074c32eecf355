//! The page `tests/RELIABILITY.md`: the failure modes of log shippers, and the tests that say what Longshore does in each.
//!
//! The page and the sources enter, sentences about what is wrong leave. Wrong is: a row that is missing or there twice; a
//! row with neither a proof nor "later: reason"; a proof that does not exist, also in the section about the doubles.
//!
//! Red when a test is deleted or renamed that the page names, say `no_input_panics` in `parse/cri.rs`; so is a deliberate
//! bug of `src/mutant.rs`, a fault of the simulator, or a file of `fuzz/fuzz_targets`.

use crate::proofs::{exists, spans, text_of};
use std::collections::BTreeMap;

/// How many failure modes the table has.
const MODES: usize = 61;

/// The last section of the page. What has `::` in it is a proof.
const DOUBLES: &str = "\n## The doubles are checked\n";

/// The table's rows: number and the cell of the proofs.
fn rows(page: &str) -> impl Iterator<Item = (usize, &str)> {
    page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        Some((cells.first()?.parse().ok()?, *cells.get(2)?))
    })
}

/// Whether the cell says why something is for later, in more than a word.
fn is_put_off(cell: &str) -> bool {
    cell.split_once("later: ")
        .is_some_and(|(_, reason)| reason.split_whitespace().count() > 2)
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
