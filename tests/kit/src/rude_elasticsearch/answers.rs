//! Answers in the words of Elasticsearch 8.19 (`tests/golden/es8`): what became of each item, and refusals of a whole
//! request.
//!
//! Key order is the real server's (`errors, took, items`; within an item as below): a client that scans bytes is tested
//! against the order it will meet.

use super::bulk::Op;
use super::filter_path::{FilterPath, ItemFields};
use super::http::Response;
use std::fmt::Write as _;

/// What became of one action.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Stored; nothing had the id.
    Created { seq_no: u64, redirected: bool },
    /// An `index` action replaced what had the id.
    Updated { version: u64, seq_no: u64 },
    /// Status 200, and nothing was stored: an ingest pipeline dropped it, or it was the same.
    Noop,
    /// Not stored.
    Failed(Failure),
}

/// Why an item failed: a status, and the fields of the `error` object as (key, raw JSON).
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) error: Vec<(&'static str, String)>,
    pub(super) failure_store: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(status: u16, kind: &str, reason: &str) -> Self {
        Self {
            status,
            error: vec![("type", quoted(kind)), ("reason", quoted(reason))],
            failure_store: None,
        }
    }

    /// Adds a string field to the error.
    pub(super) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.error.push((key, quoted(value)));
        self
    }

    /// Adds a field of raw JSON to the error.
    pub(super) fn with_raw(mut self, key: &'static str, json: String) -> Self {
        self.error.push((key, json));
        self
    }

    pub(super) fn conflict(index: &str, id: &str, version: u64) -> Self {
        let reason =
            format!("[{id}]: version conflict, document already exists (current version [{version}])");
        Self::new(409, "version_conflict_engine_exception", &reason)
            .with("index_uuid", INDEX_UUID)
            .with("shard", "0")
            .with("index", index)
    }
}

/// The real one differs per index and run; clients must not care.
const INDEX_UUID: &str = "a_TTbYxbQD2kfM4b4uCNFQ";

/// Writes the items of an answer; remembers where each ends, so that some can be left out.
#[derive(Debug)]
pub(super) struct Items {
    filter: FilterPath,
    fields: [ItemFields; 2],
    json: Vec<u8>,
    ends: Vec<usize>,
    any_failed: bool,
    /// Items were left out on purpose: an empty list is written as such.
    shortened: bool,
}

impl Items {
    pub(super) fn new(filter: FilterPath) -> Self {
        let fields = [filter.item_fields("create"), filter.item_fields("index")];
        Self {
            filter,
            fields,
            json: Vec::new(),
            ends: Vec::new(),
            any_failed: false,
            shortened: false,
        }
    }

    /// Adds the item of one action. An item in which the filter leaves nothing is not written at all.
    pub(super) fn push(&mut self, op: Op, index: &str, id: &str, outcome: &Outcome) {
        let fields = self.fields[usize::from(op == Op::Index)];
        let before = self.json.len();
        let mut item = std::mem::take(&mut self.json);
        if before > 0 {
            item.push(b',');
        }
        item.extend_from_slice(b"{\"");
        item.extend_from_slice(op.as_str().as_bytes());
        item.extend_from_slice(b"\":{");
        let open = item.len();
        if fields.index {
            field(&mut item, "_index", &quoted(index));
        }
        if fields.id {
            field(&mut item, "_id", &quoted(id));
        }
        match outcome {
            Outcome::Failed(failure) => {
                self.any_failed = true;
                self.push_failure(&mut item, op, fields, failure);
            }
            stored => push_stored(&mut item, fields, stored),
        }
        if item.len() == open {
            item.truncate(before);
        } else {
            // Every field left a comma behind it.
            item.pop();
            item.extend_from_slice(b"}}");
            self.ends.push(item.len());
        }
        self.json = item;
    }

    fn push_failure(&self, item: &mut Vec<u8>, op: Op, fields: ItemFields, failure: &Failure) {
        if fields.status {
            field(item, "status", &failure.status.to_string());
        }
        let mut error = Vec::new();
        for (key, json) in &failure.error {
            if self.filter.lets(&["items", op.as_str(), "error", key]) {
                field(&mut error, key, json);
            }
        }
        if error.pop().is_some() {
            item.extend_from_slice(b"\"error\":{");
            item.extend_from_slice(&error);
            item.extend_from_slice(b"},");
        }
        if let (true, Some(failure_store)) = (fields.failure_store, failure.failure_store) {
            field(item, "failure_store", &quoted(failure_store));
        }
    }

    /// Leaves the last `count` items out: a list that is shorter than the request.
    pub(super) fn drop_last(&mut self, count: usize) {
        self.shortened = true;
        self.ends.truncate(self.ends.len().saturating_sub(count));
        self.json.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The whole answer.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.json.len() + 64);
        out.push(b'{');
        if self.filter.lets(&["errors"]) {
            field(&mut out, "errors", if self.any_failed { "true" } else { "false" });
        }
        if self.filter.lets(&["took"]) {
            field(&mut out, "took", "0");
        }
        if !self.json.is_empty() || self.shortened {
            out.extend_from_slice(b"\"items\":[");
            out.extend_from_slice(&self.json);
            out.extend_from_slice(b"],");
        }
        if out.len() > 1 {
            out.pop();
        }
        out.push(b'}');
        out
    }
}

fn push_stored(item: &mut Vec<u8>, fields: ItemFields, outcome: &Outcome) {
    let (version, result, seq_no, status, redirected) = match *outcome {
        Outcome::Created { seq_no, redirected } => (1, "created", seq_no, 201, redirected),
        Outcome::Updated { version, seq_no } => (version, "updated", seq_no, 200, false),
        Outcome::Noop | Outcome::Failed(_) => (1, "noop", 0, 200, false),
    };
    if fields.version {
        field(item, "_version", &version.to_string());
    }
    if fields.result {
        field(item, "result", &quoted(result));
    }
    if fields.shards {
        field(item, "_shards", "{\"total\":2,\"successful\":1,\"failed\":0}");
    }
    if fields.seq_no {
        field(item, "_seq_no", &seq_no.to_string());
    }
    if fields.primary_term {
        field(item, "_primary_term", "1");
    }
    if redirected && fields.failure_store {
        field(item, "failure_store", "\"used\"");
    }
    if fields.status {
        field(item, "status", if status == 201 { "201" } else { "200" });
    }
}

fn field(out: &mut Vec<u8>, key: &str, json: &str) {
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json.as_bytes());
    out.push(b',');
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

/// An answer that refuses a whole request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    /// The fields of the error, raw JSON, without braces.
    error: String,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, kind: &str, reason: &str) -> Self {
        let error = format!("\"type\":{},\"reason\":{}", quoted(kind), quoted(reason));
        Self {
            status,
            error,
            headers: vec![("x-elastic-product", "Elasticsearch".to_owned())],
        }
    }

    pub(super) fn argument(reason: &str) -> Self {
        Self::new(400, "illegal_argument_exception", reason)
    }

    pub(super) fn parse(reason: &str) -> Self {
        Self::new(400, "parse_exception", reason)
    }

    /// A broken action line.
    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        let kind = if error.is_eof() {
            "x_content_e_o_f_exception"
        } else {
            "x_content_parse_exception"
        };
        let what = if error.is_eof() {
            "Unexpected end of file".to_owned()
        } else {
            error.to_string()
        };
        Self::new(
            400,
            kind,
            &format!("[{}:{}] {what}", error.line(), error.column() + 1),
        )
    }

    pub(super) fn validation(problems: &[String]) -> Self {
        let mut reason = "Validation Failed: ".to_owned();
        for (number, problem) in problems.iter().enumerate() {
            write!(reason, "{}: {problem};", number + 1).expect("a String takes every write");
        }
        Self::new(400, "action_request_validation_exception", &reason)
    }

    /// Adds raw JSON fields to the error.
    pub(super) fn with_raw(mut self, fields: &str) -> Self {
        self.error.push_str(fields);
        self
    }

    /// Security answers come without the product header.
    pub(super) fn without_product(mut self) -> Self {
        self.headers.clear();
        self
    }

    /// No credentials were given.
    pub(super) fn unauthorized() -> Self {
        Self::authenticate("missing authentication credentials for REST request [/_bulk]", "")
    }

    /// An API key was given that is none, is expired or was taken back.
    pub(super) fn unknown_api_key() -> Self {
        Self::authenticate(
            "unable to authenticate with provided credentials and anonymous access is not allowed for this request",
            ",\"additional_unsuccessful_credentials\":\"API key: unable to find apikey with id VuaCfGcBCdbkQm-e5aOx\"",
        )
    }

    fn authenticate(reason: &str, fields: &str) -> Self {
        let schemes = [
            "Basic realm=\"security\", charset=\"UTF-8\"",
            "Bearer realm=\"security\"",
            "ApiKey",
        ];
        let list = schemes.map(quoted).join(",");
        let mut refusal = Self::new(401, "security_exception", reason)
            .with_raw(&format!("{fields},\"header\":{{\"WWW-Authenticate\":[{list}]}}"))
            .without_product();
        refusal
            .headers
            .extend(schemes.map(|scheme| ("www-authenticate", scheme.to_owned())));
        refusal
    }

    pub(super) fn response(self) -> Response {
        let Self {
            status,
            error,
            mut headers,
        } = self;
        headers.push(("content-type", "application/json".to_owned()));
        let body = format!("{{\"error\":{{\"root_cause\":[{{{error}}}],{error}}},\"status\":{status}}}");
        Response {
            status,
            headers,
            body: body.into_bytes(),
            close: false,
        }
    }
}

/// An answer of the short form `{"error":"…","status":…}`.
pub(super) fn plain_error(status: u16, error: &str) -> Response {
    json(
        status,
        format!("{{\"error\":{},\"status\":{status}}}", quoted(error)).into_bytes(),
    )
}

/// A JSON answer with Elasticsearch's product header.
pub(super) fn json(status: u16, body: Vec<u8>) -> Response {
    let headers = vec![
        ("x-elastic-product", "Elasticsearch".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    Response {
        status,
        headers,
        body,
        close: false,
    }
}

/// What `?pretty` makes of a JSON text: two spaces per level, spaces around colons.
pub(super) fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, &byte) in json.iter().enumerate() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    break_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(json[at - 1], b'{' | b'[') {
                    break_line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                break_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b" : "),
            _ => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
    out.push(b'\n');
    out
}

fn break_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}
