//! Real servers for end-to-end tests: `tests/stack` starts them (`tests/run e2e` calls it), this module speaks to them.
//!
//! A test asks for [`RealElasticsearch::shared`] and gets the server of the whole run, whichever product and version it is.
//! Tests keep apart by index names, not by servers: each takes its own [`RealElasticsearch::prefix`]. A test whose faults would
//! disturb others starts a [`RealServer`] for itself. The client is small and blocking on purpose: one connection per request,
//! no retries, every wait bounded, so that what a test sees is what the server said.

mod server;

pub use server::{Kind, RealServer};

use std::error::Error;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// URL of an Elasticsearch that somebody else (tests/run) already started for us.
pub const ELASTICSEARCH_ENV: &str = "LONGSHORE_TEST_ELASTICSEARCH";

/// Longer than any answer of a one-node server on a loaded machine, shorter than a CI job's patience.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// `index.max_result_window` of a fresh index: the largest page that `_search` gives.
const PAGE_SIZE: usize = 10_000;

/// What kept us from a server, with the way to it.
#[derive(Clone, Debug)]
pub struct StackError(String);

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for StackError {}

/// A running Elasticsearch and a client for it.
#[derive(Clone, Debug)]
pub struct RealElasticsearch {
    base: Base,
}

impl RealElasticsearch {
    /// The server that [`ELASTICSEARCH_ENV`] names.
    ///
    /// # Panics
    /// When it names none: a test that needs the real server must not pass without one.
    pub fn shared() -> Self {
        match std::env::var(ELASTICSEARCH_ENV) {
            Ok(url) if !url.is_empty() => {
                Self::at(&url).unwrap_or_else(|error| panic!("{ELASTICSEARCH_ENV}: {error}"))
            }
            _ => panic!(
                "{ELASTICSEARCH_ENV} is not set, so there is no real server to test against: run `tests/run e2e`, or \
                 export {ELASTICSEARCH_ENV}=$(tests/stack start elasticsearch)"
            ),
        }
    }

    /// A server of `tests/stack`, for programs that may start one (it stays: `tests/stack stop elasticsearch`).
    ///
    /// # Errors
    /// When it cannot be fetched or started here; the text is the script's own reason.
    pub fn start() -> Result<Self, StackError> {
        Self::at(&run_stack(&["start", "elasticsearch"])?)
    }

    /// A client for the server at `url`, which must be `http://host:port`.
    ///
    /// # Errors
    /// When `url` is anything else.
    pub fn at(url: &str) -> Result<Self, StackError> {
        Ok(Self {
            base: Base::parse(url)?,
        })
    }

    /// The server's base URL, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.base.authority)
    }

    /// Product and version, as the server tells them. (The builds of Elasticsearch 8 and 9 that tests use have no `GET /`.)
    ///
    /// # Panics
    /// When it is none of [`Kind::ALL`].
    pub fn kind(&self) -> Kind {
        let is_opensearch = self.get("/").1.contains("\"opensearch\"");
        let nodes = expect_ok("versions", &self.get("/_nodes?filter_path=nodes.*.version"));
        let nodes = nodes["nodes"].as_object().into_iter().flatten();
        let version: String = nodes.filter_map(|(_, node)| node["version"].as_str()).collect();
        let major = version.split('.').next().unwrap_or_default();
        match (is_opensearch, major) {
            (false, "7") => Kind::Elasticsearch7,
            (false, "8") => Kind::Elasticsearch8,
            (false, "9") => Kind::Elasticsearch9,
            (true, "2") => Kind::OpenSearch2,
            (true, "3") => Kind::OpenSearch3,
            _ => panic!("{} has an unknown version: {version}", self.url()),
        }
    }

    /// An index-name prefix that no other test, process or run has: `name-<pid>-<time>-<n>`.
    pub fn prefix(&self, name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = name
            .to_ascii_lowercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        format!("{name}-{}-{:x}-{n}", std::process::id(), started.as_micros())
    }

    /// `GET path`: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.base.request("GET", path, "")
    }

    /// `PUT path` with a JSON or NDJSON body: status and body.
    pub fn put(&self, path: &str, body: &str) -> (u16, String) {
        self.base.request("PUT", path, body)
    }

    /// `POST path` with a JSON or NDJSON body: status and body.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.base.request("POST", path, body)
    }

    /// `DELETE path`, usually without a body: status and body.
    pub fn delete(&self, path: &str, body: &str) -> (u16, String) {
        self.base.request("DELETE", path, body)
    }

    /// Makes everything indexed so far visible to searches. A missing index has nothing to show: no failure.
    pub fn refresh(&self, index: &str) {
        let path = format!("/{index}/_refresh?ignore_unavailable=true&allow_no_indices=true");
        expect_ok("refresh", &self.post(&path, ""));
    }

    /// How many documents searches see in `index` (0 when there is none by that name or pattern).
    pub fn count(&self, index: &str) -> u64 {
        let path = format!("/{index}/_count?ignore_unavailable=true&allow_no_indices=true");
        expect_ok("count", &self.get(&path))["count"]
            .as_u64()
            .unwrap_or_default()
    }

    /// Every document that searches see in `index` as `{"_id", "_index", "_source"}`, in index order.
    ///
    /// It scrolls through a snapshot, page by page, so that documents arriving meanwhile neither repeat nor hide any. (Points in
    /// time would do, too, but Elasticsearch and OpenSearch have different calls for them.)
    pub fn search_all(&self, index: &str) -> Vec<Value> {
        let path = format!("/{index}/_search?scroll=2m&ignore_unavailable=true&allow_no_indices=true");
        let query = json!({"size": PAGE_SIZE, "sort": ["_doc"]}).to_string();
        let mut page = expect_ok("search", &self.post(&path, &query));
        let mut hits = Vec::new();
        loop {
            assert_eq!(page["_shards"]["failed"], 0, "search: {page}");
            let (next, found) = (page["_scroll_id"].take(), page["hits"]["hits"].take());
            let scroll = json!({"scroll_id": next, "scroll": "2m"}).to_string();
            match found {
                Value::Array(found) if !found.is_empty() => {
                    hits.extend(found.into_iter().map(identity_and_source));
                    page = expect_ok("scroll", &self.post("/_search/scroll", &scroll));
                }
                _ => {
                    // Without an index to search there is nothing to clear.
                    let _cleared = self.delete("/_search/scroll", &json!({ "scroll_id": next }).to_string());
                    return hits;
                }
            }
        }
    }

    /// Blocks or unblocks writes to `index`: each item then answers 403 `cluster_block_exception`.
    pub fn block_write(&self, index: &str, blocked: bool) {
        let body = json!({ "index.blocks.write": blocked }).to_string();
        expect_ok("block writes", &self.put(&format!("/{index}/_settings"), &body));
    }

    /// Deletes every index whose name begins with `prefix` (a `*` at its end may be written or not).
    ///
    /// The names are looked up first: servers refuse to delete by wildcard.
    pub fn delete_index(&self, prefix: &str) {
        let prefix = prefix.trim_end_matches('*');
        assert!(!prefix.is_empty(), "an empty prefix would delete every index");
        let names = expect_ok(
            "list indices",
            &self.get(&format!("/_cat/indices/{prefix}*?format=json&h=index")),
        );
        for name in names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| row["index"].as_str())
        {
            let (status, body) = self.delete(&format!("/{name}"), "");
            assert!(status == 200 || status == 404, "delete {name}: {status} {body}");
        }
    }
}

fn identity_and_source(mut hit: Value) -> Value {
    json!({ "_id": hit["_id"].take(), "_index": hit["_index"].take(), "_source": hit["_source"].take() })
}

/// The JSON of a good answer; a test cannot go on after any other.
fn expect_ok(what: &str, (status, body): &(u16, String)) -> Value {
    assert!((200..300).contains(status), "{what}: {status} {body}");
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{what}: {e} in {body}"))
}

/// Runs `tests/stack` and gives what it printed, trimmed.
///
/// # Errors
/// When it fails; the text is the last lines of its stderr.
pub fn run_stack(args: &[&str]) -> Result<String, StackError> {
    let script = workspace_root().join("tests/stack");
    let answer = Command::new(&script)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| StackError(format!("{}: {e}", script.display())))?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    let mut reason: Vec<&str> = said.lines().rev().take(10).collect();
    reason.reverse();
    Err(StackError(format!(
        "tests/stack {}: {}\n{}",
        args.join(" "),
        answer.status,
        reason.join("\n")
    )))
}

fn workspace_root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where requests go.
#[derive(Clone, Debug)]
struct Base {
    authority: String,
}

impl Base {
    fn parse(url: &str) -> Result<Self, StackError> {
        let authority = url
            .trim_end_matches('/')
            .strip_prefix("http://")
            .filter(|a| a.contains(':') && !a.contains('/'));
        match authority {
            Some(authority) => Ok(Self {
                authority: authority.to_owned(),
            }),
            None => Err(StackError(format!("{url:?} is no http://host:port"))),
        }
    }

    /// One request on its own connection. A server that cannot be reached ends the test: panics say what failed.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.try_request(method, path, body)
            .unwrap_or_else(|e| panic!("{method} http://{}{path}: {e}", self.authority))
    }

    fn try_request(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let address = self
            .authority
            .to_socket_addrs()?
            .next()
            .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let media_type = if path.contains("_bulk") {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
            self.authority
        );
        if !body.is_empty() {
            request.push_str(&format!("content-type: {media_type}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(request.as_bytes())?;
        read_answer(&mut BufReader::new(stream))
    }
}

/// Reads status line, headers and body; the body ends by length, by its last chunk, or with the connection.
fn read_answer(stream: &mut impl BufRead) -> std::io::Result<(u16, String)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| broken(&line))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<u64>().ok(),
            "transfer-encoding" => chunked = value.to_ascii_lowercase().contains("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    match (chunked, length) {
        (true, _) => read_chunks(stream, &mut body)?,
        (false, Some(length)) => {
            stream.take(length).read_to_end(&mut body)?;
            if body.len() as u64 != length {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        (false, None) => drop(stream.read_to_end(&mut body)?),
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| broken(&line))?;
        let start = body.len();
        body.resize(start + size + 2, 0); // a chunk is followed by CR LF
        stream.read_exact(&mut body[start..])?;
        body.truncate(start + size);
        if size == 0 {
            return Ok(());
        }
    }
}

fn broken(line: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}

#[cfg(test)]
mod tests;
