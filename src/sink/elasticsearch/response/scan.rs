//! The bytes of an answer enter in pieces, its verdict leaves: a walk over `items`, in any spacing and order
//! of keys, reduced by `filter_path` or not.

use super::audit::{NAME_BYTES, Places};
use super::reason::{READ_BYTES, of_fault};
use super::table::FailureStore;
use super::{ErrorBody, Problem, RequestVerdict, Verdict, Verdicts, judge_item, judge_request};
use crate::codec::json_walk::{Visit, Walker};
use std::collections::HashSet;
use std::sync::Arc;

/// An accepted item as Elasticsearch and OpenSearch write it under [`super::FILTER_PATH`]: nearly all items are
/// these bytes.
const ACCEPTED: &[u8] = br#"{"create":{"status":201}}"#;
/// So much of an error type is kept; the longest known one has 50 bytes.
const KIND_BYTES: usize = 128;

/// An answer that is being read.
#[derive(Debug)]
pub struct Scan {
    walker: Walker,
    found: Found,
}

impl Scan {
    /// The answer to a request of `documents` documents begins.
    pub fn new(status: u16, documents: usize) -> Scan {
        Scan {
            walker: Walker::new(),
            found: Found {
                status,
                documents,
                ..Found::default()
            },
        }
    }

    /// Where the documents went is looked at, too: the answer was asked for with [`super::AUDIT_FILTER_PATH`].
    pub fn audited(mut self) -> Scan {
        self.found.places = Some(Places::default());
        self
    }

    /// The next piece of its body. False when the rest has nothing to say.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        let found = &mut self.found;
        if found.fault.is_none() && self.walker.push(piece, found).is_err() {
            found.fail(Fault::Torn);
        }
        found.fault.is_none()
    }

    /// The answer has ended.
    pub fn finish(self) -> RequestVerdict {
        self.finish_audited().0
    }

    /// The answer has ended; where its documents went, if that was to be looked at.
    pub fn finish_audited(self) -> (RequestVerdict, Option<Places>) {
        let Scan { walker, mut found } = self;
        if found.fault.is_none() && walker.finish(&mut found).is_err() {
            found.fail(Fault::Torn);
        }
        let places = found.places.take();
        (found.verdict(), places)
    }
}

/// Why an answer is no answer to a bulk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    NotJson,
    Torn,
    OtherCount,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Fault::NotJson => "the answer is not JSON",
            Fault::Torn => "the answer is torn or not a bulk answer",
            Fault::OtherCount => "the answer has another number of items",
        }
    }
}

/// What the walk is in, of what is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Place {
    #[default]
    Outside,
    Root,
    RootError,
    Items,
    Item,
    Action,
    ItemError,
}

/// What a key names, of what is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
enum Field {
    #[default]
    Other,
    Items,
    Error,
    Action,
    Status,
    Kind,
    Reason,
    FailureStore,
    Index,
    Id,
}

impl Field {
    /// A request that was refused has an error, all others have items. Places are looked at in an audit only.
    fn of(place: Place, key: &[u8], is_refused: bool, audits: bool) -> Field {
        match (place, key) {
            (Place::Root, b"items") if !is_refused => Field::Items,
            (Place::Root, b"error") if is_refused => Field::Error,
            (Place::Action, b"error") => Field::Error,
            (Place::Item, b"create" | b"index") => Field::Action,
            (Place::Action, b"status") => Field::Status,
            (Place::Action, b"failure_store") => Field::FailureStore,
            (Place::Action, b"_index") if audits => Field::Index,
            (Place::Action, b"_id") if audits => Field::Id,
            (Place::RootError | Place::ItemError, b"type") => Field::Kind,
            (Place::RootError | Place::ItemError, b"reason") => Field::Reason,
            _ => Field::Other,
        }
    }
}

#[cfg(test)]
impl Scan {
    /// Bytes that it holds outside of itself, for an answer that is no audit. Whoever adds a field has to count it.
    pub(super) fn held_bytes(&self) -> usize {
        let Found {
            verdicts,
            error,
            place_of_item,
            places,
            problems,
            status: _,
            documents: _,
            fault: _,
            place: _,
            skipped: _,
            field: _,
            seen: _,
            has_items: _,
            item_status: _,
            failure_store: _,
        } = &self.found;
        assert!(places.is_none());
        let of_problem = |problem: &Arc<Problem>| {
            let texts = problem.kind.capacity() + problem.reason.capacity();
            size_of::<Arc<Problem>>() + size_of::<Problem>() + texts
        };
        let of_error = |error: &ErrorBody| error.kind.capacity() + error.reason.capacity();
        let (index, id) = place_of_item;
        self.walker.held_bytes()
            + verdicts.held_bytes()
            + problems.iter().map(of_problem).sum::<usize>()
            + error.iter().map(of_error).sum::<usize>()
            + index.capacity()
            + id.capacity()
    }
}

/// What was found so far.
#[derive(Default, Debug)]
struct Found {
    status: u16,
    documents: usize,
    fault: Option<Fault>,
    place: Place,
    /// How deep the walk is in something that is not looked at.
    skipped: u32,
    field: Field,
    /// The fields that the object had: bits, of the root lowest, then of an item and all in it.
    seen: u32,
    has_items: bool,
    verdicts: Verdicts,
    /// Of the item that is being read, or of the whole request.
    item_status: Option<u16>,
    failure_store: FailureStore,
    error: Option<ErrorBody>,
    /// Index and id of the item that is being read.
    place_of_item: (String, String),
    /// Only for an audit.
    places: Option<Places>,
    /// Each problem of an item once.
    problems: HashSet<Arc<Problem>>,
}

impl Found {
    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// The value of the present key is what it should be, or it is not looked at. (Without a key: an element of a list.)
    fn check(&mut self, is_right: bool) {
        let is_looked_at = self.field != Field::Other || matches!(self.place, Place::Outside | Place::Items);
        if self.skipped == 0 && is_looked_at && !is_right {
            let is_begin = self.place == Place::Outside;
            self.fail(if is_begin { Fault::NotJson } else { Fault::Torn });
        }
    }

    fn end_item(&mut self) {
        let error = self.error.take();
        let failure_store = std::mem::take(&mut self.failure_store);
        let place = std::mem::take(&mut self.place_of_item);
        let Some(status) = self.item_status.take() else {
            return self.fail(Fault::Torn);
        };
        if self.verdicts.documents() == self.documents {
            return self.fail(Fault::OtherCount);
        }
        let mut verdict = judge_item(status, error.as_ref(), failure_store);
        if let Verdict::Retry(problem) | Verdict::Refused(problem) | Verdict::Hold(problem) = &mut verdict {
            match self.problems.get(problem) {
                Some(known) => *problem = Arc::clone(known),
                None => drop(self.problems.insert(Arc::clone(problem))),
            }
        }
        if let Some(places) = &mut self.places {
            let is_told = !place.0.is_empty() && !place.1.is_empty();
            places.push((verdict == Verdict::Accepted && is_told).then_some(place));
        }
        self.verdicts.push(verdict);
    }

    fn verdict(self) -> RequestVerdict {
        if self.status != 200 {
            // What was found in something torn is not believed.
            let error = self.error.filter(|_| self.fault.is_none());
            return judge_request(self.status, error.as_ref());
        }
        let complete = match self.fault {
            Some(fault) => Err(fault),
            None if !self.has_items => Err(Fault::Torn),
            None if self.verdicts.documents() != self.documents => Err(Fault::OtherCount),
            None => Ok(self.verdicts),
        };
        match complete {
            Ok(verdicts) => RequestVerdict::Items(verdicts),
            Err(fault) => RequestVerdict::Retry(Problem {
                status: 200,
                kind: "ambiguous_answer".to_owned(),
                reason: fault.as_str().to_owned(),
            }),
        }
    }
}

impl Visit for Found {
    fn element(&mut self, bytes: &[u8]) -> usize {
        let is_item = self.place == Place::Items && self.skipped == 0;
        if !(is_item && bytes.starts_with(ACCEPTED)) || self.verdicts.documents() == self.documents {
            return 0;
        }
        self.verdicts.push(Verdict::Accepted);
        if let Some(places) = &mut self.places {
            places.push(None);
        }
        ACCEPTED.len()
    }

    fn open(&mut self, is_list: bool) {
        if self.skipped > 0 {
            self.skipped += 1;
            return;
        }
        let next = match (self.place, self.field, is_list) {
            (Place::Outside, _, false) => Place::Root,
            (Place::Root, Field::Items, true) => {
                self.has_items = true;
                Place::Items
            }
            (Place::Root, Field::Error, false) => Place::RootError,
            (Place::Items, _, false) => {
                self.seen &= Self::OF_THE_ROOT;
                Place::Item
            }
            (Place::Item, Field::Action, false) => Place::Action,
            (Place::Action, Field::Error, false) => Place::ItemError,
            _ => {
                self.check(false);
                self.skipped = 1;
                return;
            }
        };
        if matches!(next, Place::RootError | Place::ItemError) {
            self.error = Some(ErrorBody::default());
        }
        (self.place, self.field) = (next, Field::Other);
    }

    fn close(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        self.place = match self.place {
            Place::ItemError => Place::Action,
            Place::Action => Place::Item,
            Place::Item => {
                self.end_item();
                Place::Items
            }
            Place::Items | Place::RootError => Place::Root,
            Place::Root | Place::Outside => Place::Outside,
        };
        self.field = Field::Other;
    }

    fn key(&mut self, key: &[u8]) {
        if self.skipped > 0 {
            return;
        }
        self.field = Field::of(self.place, key, self.status != 200, self.places.is_some());
        let of_the_root = matches!(self.place, Place::Root | Place::RootError);
        let bit = 1u32 << (self.field as u8 + if of_the_root { 0 } else { 16 });
        // Of twins nobody knows which one counts.
        if self.field != Field::Other && self.seen & bit != 0 {
            self.fail(Fault::Torn);
        }
        self.seen |= bit;
    }

    fn wanted(&mut self) -> usize {
        match self.field {
            _ if self.skipped > 0 => 0,
            Field::Kind | Field::FailureStore => KIND_BYTES,
            Field::Reason => READ_BYTES,
            Field::Index | Field::Id => NAME_BYTES,
            Field::Error if self.place == Place::Root => READ_BYTES,
            _ => 0,
        }
    }

    fn text(&mut self, text: &[u8]) {
        // A character that was cut at the end becomes a replacement.
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        match (self.place, self.field, &mut self.error) {
            _ if self.skipped > 0 => {}
            (_, Field::FailureStore, _) => self.failure_store = FailureStore::of(text.as_bytes()),
            (_, Field::Index, _) => self.place_of_item.0 = text.to_owned(),
            (_, Field::Id, _) => self.place_of_item.1 = text.to_owned(),
            (_, Field::Kind, Some(error)) => error.kind = text.to_owned(),
            (_, Field::Reason, Some(error)) => error.reason = of_fault(text),
            // A request of a wrong kind (406) is told so.
            (Place::Root, Field::Error, error) => {
                *error = Some(ErrorBody {
                    kind: String::new(),
                    reason: of_fault(text),
                });
            }
            _ => self.check(false),
        }
    }

    fn number(&mut self, number: &[u8]) {
        if self.skipped == 0 && self.field == Field::Status {
            self.item_status = std::str::from_utf8(number)
                .ok()
                .and_then(|text| text.parse().ok());
            self.check(self.item_status.is_some());
        } else {
            self.check(false);
        }
    }

    fn word(&mut self, word: &'static str) {
        // An item that was refused may have no id.
        let may_be_null = matches!(self.field, Field::Error | Field::Id);
        self.check(word == "null" && may_be_null);
    }
}

impl Found {
    const OF_THE_ROOT: u32 = 0xffff;
}
