//! The answer to a `_bulk` request enters, one [`Verdict`] per document leaves.
//!
//! Verdicts go by error type before status: a flood-stage block answers 429 and is a hold, never
//! congestion. Only 201 is accepted; a 200 `noop` was dropped by a server pipeline. An answer that
//! is not a whole `_bulk` answer (HTML, empty, torn, a short item list) is *ambiguous*: the documents
//! may be stored, and are sent again with the same ids.

use crate::mutant::{self, Mutant};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// The parameter that keeps answers small. `items.*.status` must be in it, or accepted items vanish
/// from the list and positions are lost.
pub const FILTER_PATH: &str = "filter_path=errors,items.*.status,items.*.result,items.*.error.type,items.*.error.reason,items.*.failure_store";

/// Reasons can quote whole documents (33 KB for an immense keyword); so much of them is kept.
const REASON_BYTES: usize = 300;

/// What is to be done with one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Stored now (201).
    Accepted,
    /// Stored by an earlier attempt (409 of our own id).
    Duplicate,
    /// Dropped by a pipeline of the server (200 `noop`).
    DroppedByServer,
    /// Not stored for want of capacity: again, later.
    Retry(Problem),
    /// A fault of the document: it will never be stored as it is.
    Refused(Problem),
    /// A fault of configuration or a block: keep, back off, alarm, never drop.
    Hold(Problem),
}

/// Why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// HTTP status of the item or the request.
    pub status: u16,
    /// Elasticsearch's error type; empty when there was none.
    pub kind: String,
    /// The first bytes of the reason. May quote the document: never log it unasked.
    pub reason: String,
}

/// What is to be done with a whole request that got no item list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestVerdict {
    /// A verdict per item follows.
    Items(Vec<Verdict>),
    /// Nothing is known, or the server has no capacity: the same bytes again, later.
    Retry(Problem),
    /// The body is too large (413): halve it.
    Split(Problem),
    /// Credentials, rights, a proxy, a wrong path: keep everything, back off, alarm.
    Hold(Problem),
}

/// Judges an answer to a request of `documents` documents.
pub fn judge(status: u16, body: &[u8], documents: usize) -> RequestVerdict {
    match status {
        200 => judge_items(body, documents),
        413 => RequestVerdict::Split(problem_of(status, body)),
        408 | 429 | 499 | 500..=599 => RequestVerdict::Retry(problem_of(status, body)),
        _ => RequestVerdict::Hold(problem_of(status, body)),
    }
}

fn judge_items(body: &[u8], documents: usize) -> RequestVerdict {
    let ambiguous = |reason: &str| {
        RequestVerdict::Retry(Problem {
            status: 200,
            kind: "ambiguous_answer".into(),
            reason: reason.into(),
        })
    };
    if body.trim_ascii_start().first() != Some(&b'{') {
        return ambiguous("the answer is not JSON");
    }
    match serde_json::from_slice::<Answer<'_>>(body) {
        Err(_) => ambiguous("the answer is torn or not a bulk answer"),
        Ok(answer) if answer.items.0.len() != documents => {
            ambiguous("the answer has another number of items")
        }
        Ok(answer) => RequestVerdict::Items(answer.items.0),
    }
}

/// The verdict on one item.
fn judge_item(item: &Item<'_>) -> Verdict {
    let problem = || Problem {
        status: item.status,
        kind: item
            .error
            .as_ref()
            .map(|error| error.kind.to_string())
            .unwrap_or_default(),
        reason: item
            .error
            .as_ref()
            .map(|error| cut(&error.reason))
            .unwrap_or_default(),
    };
    let Some(error) = &item.error else {
        return match item.status {
            201 => Verdict::Accepted,
            200 if item.result.as_deref() == Some("noop") => Verdict::DroppedByServer,
            200..=299 => Verdict::DroppedByServer,
            409 => Verdict::Duplicate,
            429 | 500..=599 => Verdict::Retry(problem()),
            401 | 403 | 404 => Verdict::Hold(problem()),
            _ => Verdict::Refused(problem()),
        };
    };
    match error.kind.as_ref() {
        "version_conflict_engine_exception" if mutant::is(Mutant::ConflictRefused) => {
            Verdict::Refused(problem())
        }
        "version_conflict_engine_exception" => Verdict::Duplicate,
        kind if is_hold(kind, &error.reason) && mutant::is(Mutant::HoldDropped) => Verdict::DroppedByServer,
        kind if is_hold(kind, &error.reason) => Verdict::Hold(problem()),
        _ => match item.status {
            429 | 500..=599 => Verdict::Retry(problem()),
            401 | 403 | 404 => Verdict::Hold(problem()),
            _ => Verdict::Refused(problem()),
        },
    }
}

/// The closed list of configuration faults, by error type and, where a type serves several faults,
/// by the shape of its reason (recorded from Elasticsearch 7.17 to 9.2 and OpenSearch 2 and 3).
fn is_hold(kind: &str, reason: &str) -> bool {
    match kind {
        "cluster_block_exception"
        | "index_closed_exception"
        | "index_not_found_exception"
        | "security_exception"
        | "invalid_index_name_exception"
        | "invalid_alias_name_exception" => true,
        // Shard limit of the cluster.
        "validation_exception" => reason.contains("maximum"),
        "illegal_argument_exception" => {
            reason.starts_with("pipeline with id [")
                || reason.starts_with("no write index is defined for alias")
                || reason.starts_with("only write ops with an op_type of create")
                || reason.contains("maximum normal shards open")
                || reason.contains("maximum shards open")
        }
        _ => false,
    }
}

fn problem_of(status: u16, body: &[u8]) -> Problem {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        error: Option<ErrorBody<'a>>,
    }
    let error = serde_json::from_slice::<Whole<'_>>(body)
        .ok()
        .and_then(|whole| whole.error);
    let (kind, reason) = match error {
        Some(error) => (error.kind.into_owned(), cut(&error.reason)),
        None => (String::new(), String::new()),
    };
    Problem { status, kind, reason }
}

fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    items: Verdicts<'a>,
}

/// The item list, judged while it is read: no tree is kept.
struct Verdicts<'a>(Vec<Verdict>, std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for Verdicts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Vec<Verdict>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a list of items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut verdicts = Vec::new();
                while let Some(Action { create }) = items.next_element::<Action<'de>>()? {
                    verdicts.push(judge_item(&create));
                }
                Ok(verdicts)
            }
        }
        deserializer
            .deserialize_seq(Items)
            .map(|verdicts| Verdicts(verdicts, std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow, alias = "index")]
    create: Item<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<ErrorBody<'a>>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

#[cfg(test)]
mod tests;
