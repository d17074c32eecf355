//! The answer to a `_bulk` request enters, one [`Verdict`] per document leaves.
//!
//! Verdicts go by error type before status ([`table`]): a flood-stage block answers 429 and is a hold, never
//! congestion. Only 201 is accepted; a 200 `noop` was dropped by a server pipeline; what went to the failure store of
//! a data stream is there under an id that is not ours, so it counts as refused. An answer that
//! is not a whole `_bulk` answer (HTML, empty, torn, a short item list) is *ambiguous*: the documents
//! may be stored, and are sent again with the same ids.
//!
//! The answer is scanned while it comes ([`Scan`]): neither its bytes nor a tree are kept.

mod audit;
mod reason;
mod scan;
pub mod table;

use crate::mutant::{self, Mutant};
pub use audit::{Diverted, Places};
pub use reason::REASON_BYTES;
pub use scan::Scan;
use std::sync::Arc;
use table::{FailureStore, ItemClass, RequestClass};

/// The error type that we give to a request whose connection ended before its answer.
pub const CONNECTION_BROKE: &str = "connection_broke";
/// The error type that we give to what went to a failure store: the server calls it a success.
pub const FAILURE_STORE: &str = "failure_store_used";
/// The parameter that keeps answers small. `items.*.status` must be in it, or accepted items vanish
/// from the list and positions are lost.
pub const FILTER_PATH: &str =
    "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store";
/// The same with the places of the documents, for [`Places`].
pub const AUDIT_FILTER_PATH: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,\
     items.*.failure_store,items.*._index,items.*._id";

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
    Retry(Arc<Problem>),
    /// A fault of the document: it will never be stored as it is.
    Refused(Arc<Problem>),
    /// A fault of configuration or a block: keep, back off, alarm, never drop.
    Hold(Arc<Problem>),
}

/// Why. Documents with the same problem share it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Problem {
    /// HTTP status of the item or the request.
    pub status: u16,
    /// Elasticsearch's error type; empty when there was none.
    pub kind: String,
    /// What the reason says of the fault, at most [`REASON_BYTES`] of it. Names fields of the document, and may quote
    /// it in a way that nobody has seen yet: never log it unasked. Words of ours where nobody answered (status 0), and where a
    /// whole request got 401: then it says which file to look at.
    pub reason: String,
}

/// What is to be done with a whole request that got no item list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestVerdict {
    /// A verdict per item follows.
    Items(Verdicts),
    /// Nothing is known, or the server has no capacity: the same bytes again, later.
    Retry(Problem),
    /// The body is too large (413): halve it.
    Split(Problem),
    /// Something in the body makes the server refuse all of it (400), and halves tell what: one id that is too long
    /// does. Or something is wrong with all requests. A prefix of it may be stored.
    Bisect(Problem),
    /// Credentials, rights, a proxy, a wrong path: keep everything, back off, alarm.
    Hold(Problem),
}

/// The verdicts on the documents of one request, in their order. Only those that were not simply
/// accepted take memory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verdicts {
    documents: usize,
    others: Vec<(u32, Verdict)>,
}

impl Verdicts {
    /// Bytes that it holds outside of itself, the problems aside.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        let Verdicts { documents: _, others } = self;
        others.capacity() * size_of::<(u32, Verdict)>()
    }

    /// The verdict on the next document.
    pub fn push(&mut self, verdict: Verdict) {
        if verdict != Verdict::Accepted {
            self.others.push((self.documents as u32, verdict));
        }
        self.documents += 1;
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// The places and verdicts of those that were not accepted, in their order.
    pub fn others(&self) -> &[(u32, Verdict)] {
        &self.others
    }

    /// All verdicts in the order of the documents.
    pub fn iter(&self) -> impl Iterator<Item = &Verdict> {
        let mut others = self.others.iter().peekable();
        (0..self.documents).map(move |at| {
            let other = others.next_if(|(place, _)| *place as usize == at);
            other.map_or(&Verdict::Accepted, |(_, verdict)| verdict)
        })
    }
}

impl FromIterator<Verdict> for Verdicts {
    fn from_iter<I: IntoIterator<Item = Verdict>>(all: I) -> Verdicts {
        let mut verdicts = Verdicts::default();
        all.into_iter().for_each(|verdict| verdicts.push(verdict));
        verdicts
    }
}

/// Judges a whole answer to a request of `documents` documents.
pub fn judge(status: u16, body: &[u8], documents: usize) -> RequestVerdict {
    let mut scan = Scan::new(status, documents);
    scan.push(body);
    scan.finish()
}

/// The verdict on a request without an item list.
fn judge_request(status: u16, error: Option<&ErrorBody>) -> RequestVerdict {
    let problem = problem(status, error);
    match table::of_request(status, error).class {
        RequestClass::Retry => RequestVerdict::Retry(problem),
        RequestClass::Split => RequestVerdict::Split(problem),
        RequestClass::Bisect => RequestVerdict::Bisect(problem),
        RequestClass::Hold => RequestVerdict::Hold(problem),
    }
}

/// The verdict on one item.
fn judge_item(status: u16, error: Option<&ErrorBody>, failure_store: FailureStore) -> Verdict {
    let problem = || {
        let mut problem = problem(status, error);
        if failure_store == FailureStore::Used {
            FAILURE_STORE.clone_into(&mut problem.kind);
        }
        Arc::new(problem)
    };
    match table::of_item(status, error, failure_store).class {
        ItemClass::Duplicate if mutant::is(Mutant::ConflictRefused) => Verdict::Refused(problem()),
        ItemClass::Hold if mutant::is(Mutant::HoldDropped) => Verdict::DroppedByServer,
        ItemClass::Accepted => Verdict::Accepted,
        ItemClass::Duplicate => Verdict::Duplicate,
        ItemClass::Dropped => Verdict::DroppedByServer,
        ItemClass::Retry => Verdict::Retry(problem()),
        ItemClass::Refused => Verdict::Refused(problem()),
        ItemClass::Hold => Verdict::Hold(problem()),
    }
}

/// What a server says of an error: its type, and what its reason says of the fault.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct ErrorBody {
    kind: String,
    reason: String,
}

fn problem(status: u16, error: Option<&ErrorBody>) -> Problem {
    let ErrorBody { kind, reason } = error.cloned().unwrap_or_default();
    Problem { status, kind, reason }
}

#[cfg(test)]
mod tests;
