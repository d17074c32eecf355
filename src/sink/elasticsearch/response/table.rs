//! The tables of verdicts: what a server says of an item, or of a whole request, by status, error type and shape of the
//! reason. The first row that fits counts, so that error types go before statuses.
//!
//! Recorded from Elasticsearch 7.17, 8.19 and 9.2 and OpenSearch 2.19 and 3.8; what none of them said when asked (the failure
//! store, a shard limit of old versions) follows their sources. Reasons are compared as [`super::reason::of_fault`] leaves them.

use super::ErrorBody;

/// What is to be done with one document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemClass {
    /// It is stored.
    Accepted,
    /// It was stored before.
    Duplicate,
    /// The server threw it away and says that all is well.
    Dropped,
    /// Later.
    Retry,
    /// Never as it is.
    Refused,
    /// Not while the index, the cluster or our rights are as they are.
    Hold,
}

/// What is to be done with a request that has no items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestClass {
    /// The same bytes, later.
    Retry,
    /// It is too large: halves.
    Split,
    /// Something in it is wrong: halves tell what.
    Bisect,
    /// No request has a chance: later, and somebody has to look.
    Hold,
}

/// What became of the failure store of a data stream, as an item tells it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum FailureStore {
    /// Nothing is told.
    #[default]
    Untold,
    /// The document went there, under an id of its own.
    Used,
    /// There is none that could have taken it.
    NotEnabled,
    /// It could not take it.
    Failed,
}

impl FailureStore {
    /// As Elasticsearch writes it. What is unknown tells nothing.
    pub fn of(text: &[u8]) -> FailureStore {
        match text {
            b"used" => FailureStore::Used,
            b"not_enabled" => FailureStore::NotEnabled,
            b"failed" => FailureStore::Failed,
            _ => FailureStore::Untold,
        }
    }
}

/// Statuses from the first to the last.
#[derive(Clone, Copy, Debug)]
pub struct Statuses(u16, u16);

/// A text that fits.
#[derive(Clone, Copy, Debug)]
pub enum Text {
    /// Every text, and none.
    Any,
    /// The empty one, or none.
    Empty,
    /// Exactly this one.
    Is(&'static str),
    /// Begins so.
    Starts(&'static str),
    /// Has this in it.
    Has(&'static str),
    /// Ends so.
    Ends(&'static str),
}

impl Text {
    fn fits(self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Empty => text.is_empty(),
            Text::Is(whole) => text == whole,
            Text::Starts(begin) => text.starts_with(begin),
            Text::Has(part) => text.contains(part),
            Text::Ends(end) => text.ends_with(end),
        }
    }
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row<Class> {
    /// Names the row, in tests and in the manual.
    pub name: &'static str,
    /// HTTP status of the item or of the request.
    pub status: Statuses,
    /// Error type.
    pub kind: Text,
    /// What the reason says of the fault.
    pub reason: Text,
    /// Of items only.
    pub failure_store: FailureStore,
    /// What is to be done.
    pub class: Class,
}

impl<Class> Row<Class> {
    const fn new(name: &'static str, (first, last): (u16, u16), kind: Text, class: Class) -> Row<Class> {
        Row {
            name,
            status: Statuses(first, last),
            kind,
            reason: Text::Any,
            failure_store: FailureStore::Untold,
            class,
        }
    }

    const fn because(mut self, reason: Text) -> Row<Class> {
        self.reason = reason;
        self
    }

    const fn with(mut self, failure_store: FailureStore) -> Row<Class> {
        self.failure_store = failure_store;
        self
    }

    fn fits(&self, status: u16, error: Option<&ErrorBody>, failure_store: FailureStore) -> bool {
        let (kind, reason) = error.map_or(("", ""), |error| (&error.kind, &error.reason));
        let Statuses(first, last) = self.status;
        // No server says so, and nothing is taken for stored that has an error.
        let is_strange = matches!(self.kind, Text::Empty) && status < 300 && error.is_some();
        (first..=last).contains(&status)
            && !is_strange
            && self.kind.fits(kind)
            && self.reason.fits(reason)
            && (self.failure_store == FailureStore::Untold || self.failure_store == failure_store)
    }
}

const ANY: (u16, u16) = (0, u16::MAX);
const ARGUMENT: Text = Text::Is("illegal_argument_exception");

/// The verdicts on items. The last row fits everything.
pub const ITEMS: &[Row<ItemClass>] = {
    use ItemClass::{Accepted, Dropped, Duplicate, Hold, Refused, Retry};
    use Text::{Any, Empty, Ends, Has, Is, Starts};
    &[
        Row::new("in_the_failure_store", (200, 299), Any, Refused).with(FailureStore::Used),
        Row::new("stored", (201, 201), Empty, Accepted),
        Row::new("dropped_by_a_pipeline", (200, 299), Empty, Dropped),
        Row::new(
            "stored_before",
            ANY,
            Is("version_conflict_engine_exception"),
            Duplicate,
        ),
        Row::new("stored_before_without_a_type", (409, 409), Empty, Duplicate),
        // Blocks by hand, by the disk's flood stage (429, and 403 before 7.7), and of the whole cluster.
        Row::new("index_blocked", ANY, Is("cluster_block_exception"), Hold),
        Row::new("index_closed", ANY, Is("index_closed_exception"), Hold),
        Row::new("index_missing", ANY, Is("index_not_found_exception"), Hold),
        Row::new("not_allowed", ANY, Is("security_exception"), Hold),
        // Each request with a document for it takes the whole time that a server waits: as a lane it stops no other index.
        Row::new("shard_not_active", ANY, Is("unavailable_shards_exception"), Hold),
        Row::new(
            "index_name_invalid",
            ANY,
            Is("invalid_index_name_exception"),
            Hold,
        ),
        Row::new(
            "alias_name_invalid",
            ANY,
            Is("invalid_alias_name_exception"),
            Hold,
        ),
        Row::new("shard_limit", ANY, Is("validation_exception"), Hold).because(Has("maximum")),
        Row::new("shard_limit_before_7_17", ANY, ARGUMENT, Hold).because(Has("shards open")),
        Row::new("pipeline_missing", ANY, ARGUMENT, Hold).because(Starts("pipeline with id [")),
        Row::new("alias_without_write_index", ANY, ARGUMENT, Hold)
            .because(Starts("no write index is defined for alias")),
        Row::new("not_created_in_a_data_stream", ANY, ARGUMENT, Hold)
            .because(Starts("only write ops with an op_type of create")),
        // A pipeline refuses with 500 what it will always refuse.
        Row::new("failed_in_a_pipeline", ANY, Ends("_processor_exception"), Refused),
        Row::new("no_capacity", (429, 429), Any, Retry),
        Row::new("server_error", (500, 599), Any, Retry),
        Row::new("no_credentials", (401, 401), Any, Hold),
        Row::new("forbidden", (403, 403), Any, Hold),
        Row::new("not_found", (404, 404), Any, Hold),
        Row::new("failure_store_off", (400, 499), Any, Refused).with(FailureStore::NotEnabled),
        Row::new("failure_store_failed", (400, 499), Any, Refused).with(FailureStore::Failed),
        Row::new("malformed_document", (400, 400), Any, Refused),
        Row::new("refused_otherwise", ANY, Any, Refused),
    ]
};

/// The verdicts on requests that were not answered with 200. The last row fits everything.
pub const REQUESTS: &[Row<RequestClass>] = {
    use RequestClass::{Bisect, Hold, Retry, Split};
    use Text::{Any, Empty, Has, Is, Starts};
    &[
        Row::new("too_large", (413, 413), Any, Split),
        Row::new("blocked", (429, 429), Is("cluster_block_exception"), Hold),
        Row::new("no_capacity", (429, 429), Any, Retry),
        Row::new("timeout", (408, 408), Any, Retry),
        Row::new("client_gave_up", (499, 499), Any, Retry),
        Row::new("server_error", (500, 599), Any, Retry),
        // Not an answer of Elasticsearch: a proxy refuses all of them.
        Row::new("refused_by_a_proxy", (400, 400), Empty, Hold),
        Row::new(
            "media_type_refused",
            (400, 400),
            Is("media_type_header_exception"),
            Hold,
        ),
        Row::new("parameter_unknown", (400, 400), ARGUMENT, Hold)
            .because(Has("contains unrecognized parameter")),
        Row::new("index_not_allowed_here", (400, 400), ARGUMENT, Hold).because(Starts("explicit index in ")),
        Row::new("something_in_it", (400, 400), Any, Bisect),
        Row::new("no_credentials", (401, 401), Any, Hold),
        Row::new("forbidden", (403, 403), Any, Hold),
        Row::new("not_found", (404, 404), Any, Hold),
        Row::new("method_not_allowed", (405, 405), Any, Hold),
        Row::new("not_acceptable", (406, 406), Any, Hold),
        Row::new("media_type_unknown", (415, 415), Any, Hold),
        Row::new("redirected", (300, 399), Any, Hold),
        Row::new("refused_otherwise", ANY, Any, Hold),
    ]
};

/// The row of an item.
pub(super) fn of_item(
    status: u16,
    error: Option<&ErrorBody>,
    failure_store: FailureStore,
) -> &'static Row<ItemClass> {
    let fitting = ITEMS.iter().find(|row| row.fits(status, error, failure_store));
    fitting.unwrap_or(&ITEMS[ITEMS.len() - 1])
}

/// The row of a request.
pub(super) fn of_request(status: u16, error: Option<&ErrorBody>) -> &'static Row<RequestClass> {
    let fitting = REQUESTS
        .iter()
        .find(|row| row.fits(status, error, FailureStore::Untold));
    fitting.unwrap_or(&REQUESTS[REQUESTS.len() - 1])
}

/// The name of an item's row.
#[cfg(test)]
pub fn item_row_of(status: u16, kind: &str, reason: &str, failure_store: &str) -> &'static str {
    let error = (status >= 300).then(|| error_of(kind, reason));
    of_item(status, error.as_ref(), FailureStore::of(failure_store.as_bytes())).name
}

/// The name of a request's row.
#[cfg(test)]
pub fn request_row_of(status: u16, kind: &str, reason: &str) -> &'static str {
    of_request(status, Some(&error_of(kind, reason))).name
}

#[cfg(test)]
fn error_of(kind: &str, reason: &str) -> ErrorBody {
    ErrorBody {
        kind: kind.to_owned(),
        reason: super::reason::of_fault(reason),
    }
}
