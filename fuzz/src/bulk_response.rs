//! Answers to `_bulk`, against a walk over the whole tree of the same JSON.

use crate::input::Input;
use crate::tree::Tree;
use longshore::sink::elasticsearch::response::{Problem, RequestVerdict, Verdict, judge};

const STATUSES: [u16; 12] = [200, 200, 200, 413, 429, 503, 408, 400, 401, 403, 404, 302];
const REASON_BYTES: usize = 300;
const KIND_BYTES: usize = 128;

/// Error types that are a fault of configuration whatever the reason.
const HOLDS: [&str; 7] = [
    "cluster_block_exception",
    "index_closed_exception",
    "index_not_found_exception",
    "security_exception",
    "invalid_index_name_exception",
    "invalid_alias_name_exception",
    "unavailable_shards_exception",
];

/// The first byte chooses the status, the second (0: as many as there are) the number of documents.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let status = STATUSES[input.below(12)];
    let documents = usize::from(input.byte());
    let body = input.rest();
    let tree = Tree::parse(body).filter(|tree| !tree.has_twins());
    let items = tree.as_ref().and_then(|tree| list(tree.get("items")?));
    let documents = match (documents, items) {
        (0, Some(items)) => items.len(),
        _ => documents,
    };
    let verdict = judge(status, body, documents);
    bounded(&verdict, documents);
    match (status, &tree) {
        (200, Some(tree)) => match expected(tree, body, documents) {
            Some(expected) => assert_eq!(without_reasons(&verdict), expected),
            // Lists where objects belong: nobody sends them, and what is made of them does not matter.
            None if odd(tree) => {}
            None => assert!(ambiguous(&verdict), "{verdict:?}"),
        },
        (200, None) => {}
        (status, tree) => whole(status, &verdict, tree.as_ref()),
    }
}

fn list(tree: &Tree) -> Option<&[Tree]> {
    match tree {
        Tree::List(items) => Some(items),
        _ => None,
    }
}

/// No verdict quotes more than is kept, and there is one for each document.
fn bounded(verdict: &RequestVerdict, documents: usize) {
    let short = |problem: &Problem| assert!(problem.reason.len() <= REASON_BYTES);
    match verdict {
        RequestVerdict::Items(verdicts) => {
            assert_eq!(verdicts.documents(), documents);
            for (_, verdict) in verdicts.others() {
                if let Verdict::Retry(problem) | Verdict::Refused(problem) | Verdict::Hold(problem) = verdict
                {
                    short(problem);
                }
            }
        }
        RequestVerdict::Retry(problem)
        | RequestVerdict::Split(problem)
        | RequestVerdict::Bisect(problem)
        | RequestVerdict::Hold(problem) => {
            short(problem);
        }
    }
}

/// What is left of a reason has tests of its own.
fn without_reasons(verdict: &RequestVerdict) -> Vec<Verdict> {
    let RequestVerdict::Items(verdicts) = verdict else {
        panic!("{verdict:?}")
    };
    let silent = |problem: &Problem| {
        let reason = String::new();
        Problem {
            reason,
            ..problem.clone()
        }
        .into()
    };
    let silent = verdicts.iter().map(|verdict| match verdict {
        Verdict::Retry(problem) => Verdict::Retry(silent(problem)),
        Verdict::Refused(problem) => Verdict::Refused(silent(problem)),
        Verdict::Hold(problem) => Verdict::Hold(silent(problem)),
        other => other.clone(),
    });
    silent.collect()
}

fn ambiguous(verdict: &RequestVerdict) -> bool {
    matches!(verdict, RequestVerdict::Retry(problem) if problem.kind == "ambiguous_answer" && problem.status == 200)
}

/// The verdicts on a right answer to so many documents; none when it is not one.
fn expected(tree: &Tree, body: &[u8], documents: usize) -> Option<Vec<Verdict>> {
    let items = list(tree.get("items")?).filter(|items| items.len() == documents)?;
    let space = |byte: &u8| byte.is_ascii_whitespace();
    body.iter()
        .find(|byte| !space(byte))
        .filter(|byte| **byte == b'{')?;
    items.iter().map(item).collect()
}

fn item(item: &Tree) -> Option<Verdict> {
    let [create, index] = [item.get("create"), item.get("index")];
    let result = create.or(index).filter(|_| create.is_none() || index.is_none())?;
    let status = match result.get("status")? {
        Tree::Number(status) => u16::try_from(status.as_u64()?).ok()?,
        _ => return None,
    };
    let error = match result.get("error") {
        None | Some(Tree::Null) => None,
        Some(error) => Some((part(error, "type")?, part(error, "reason")?)),
    };
    Some(judged(status, error))
}

/// What is kept of an error's type.
fn begin(kind: &str) -> &str {
    let end = (0..=KIND_BYTES.min(kind.len()))
        .rev()
        .find(|end| kind.is_char_boundary(*end));
    // Nor a character that was cut before.
    kind[..end.unwrap_or(0)].trim_end_matches(char::REPLACEMENT_CHARACTER)
}

/// A text of an object that may be missing.
fn part<'a>(error: &'a Tree, name: &str) -> Option<&'a str> {
    error.members()?;
    error.get(name).map_or(Some(""), Tree::text)
}

fn judged(status: u16, error: Option<(&str, &str)>) -> Verdict {
    let (kind, reason) = error.unwrap_or_default();
    let kind = begin(kind);
    let problem = Problem {
        status,
        kind: kind.to_owned(),
        reason: String::new(),
    };
    let configuration = HOLDS.contains(&kind)
        || kind == "validation_exception" && reason.contains("maximum")
        || kind == "illegal_argument_exception" && names_configuration(reason);
    match (status, error) {
        (201, None) => Verdict::Accepted,
        (409, None | Some(("", _))) => Verdict::Duplicate,
        (200..300, None) => Verdict::DroppedByServer,
        (_, Some(("version_conflict_engine_exception", _))) => Verdict::Duplicate,
        _ if configuration => Verdict::Hold(problem.into()),
        _ if kind.ends_with("_processor_exception") => Verdict::Refused(problem.into()),
        (429 | 500..600, _) => Verdict::Retry(problem.into()),
        (401 | 403 | 404, _) => Verdict::Hold(problem.into()),
        _ => Verdict::Refused(problem.into()),
    }
}

fn names_configuration(reason: &str) -> bool {
    let begins = [
        "pipeline with id [",
        "no write index is defined for alias",
        "only write ops with an op_type of create",
    ];
    begins.iter().any(|begin| reason.starts_with(begin)) || reason.contains("shards open")
}

/// Whether a list stands where an object belongs.
fn odd(tree: &Tree) -> bool {
    let items = tree.get("items").and_then(list).unwrap_or_default();
    let results = || {
        items
            .iter()
            .filter_map(|item| item.get("create").or(item.get("index")))
    };
    items
        .iter()
        .chain(results())
        .chain(results().filter_map(|result| result.get("error")))
        .any(|tree| list(tree).is_some())
}

/// Answers without an item list: what is done follows from the status, what is said from the body.
fn whole(status: u16, verdict: &RequestVerdict, tree: Option<&Tree>) {
    let problem = match verdict {
        RequestVerdict::Split(problem) if status == 413 => problem,
        RequestVerdict::Bisect(problem) if status == 400 && !problem.kind.is_empty() => problem,
        RequestVerdict::Retry(problem) if [408, 429, 503].contains(&status) => problem,
        RequestVerdict::Hold(problem) if ![408, 413, 429, 503].contains(&status) => problem,
        RequestVerdict::Hold(problem) if status == 429 && problem.kind == "cluster_block_exception" => {
            problem
        }
        _ => panic!("{status}: {verdict:?}"),
    };
    assert_eq!(problem.status, status);
    let error = tree.and_then(|tree| tree.get("error"));
    if let Some(error) = error.filter(|error| error.members().is_some())
        && let (Some(kind), Some(reason)) = (part(error, "type"), part(error, "reason"))
    {
        assert_eq!(problem.kind, begin(kind));
        assert!(problem.reason.len() <= reason.len());
    }
}
