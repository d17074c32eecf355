//! An Elasticsearch that misbehaves on command: `_bulk` requests enter over real sockets, answers in the words of the
//! real server (8.19) leave, and in between everything goes wrong that a test has scripted.
//!
//! Promised: an id is stored once per index; what is answered follows the recorded answers in `tests/golden/es8`; with
//! one seed and one client the same faults strike. Not done: mappings, pipelines, data streams, search.
//!
//! ```no_run
//! use longshore_kit::rude_elasticsearch::{Fault, Odds, RudeElasticsearch};
//! use std::time::Duration;
//!
//! let elasticsearch = RudeElasticsearch::start();
//! elasticsearch.fault(Fault::CommitThenCut, Odds::Probability(0.2));
//! // … run an agent against elasticsearch.url() …
//! assert!(elasticsearch.wait_for_documents(1_000, Duration::from_secs(30)));
//! ```
//!
//! It runs on threads of its own with blocking sockets, so synchronous tests, tests inside a tokio runtime and the binary
//! `sink` use it alike. Dropping the handle stops it. Another process asks and orders by HTTP:
//!
//! - `GET /_kit/stats`: the [`Stats`] as JSON; `GET /_kit/documents?index=<glob>`: what is stored, one JSON object a line
//! - `POST /_kit/control`: what is to go wrong, as one JSON object; every key may be left out, an unknown one is 400:
//!
//! ```json
//! {"seed": 7, "keep": "ids", "clear_faults": true,
//!  "faults": [{"fault": "commit_then_cut", "odds": {"probability": 0.02}},
//!             {"fault": {"refuse": "unavailable503"}, "odds": {"next": 3}},
//!             {"fault": {"stall_before_commit": {"secs": 5, "nanos": 0}}}],
//!  "fates": {"reject_429": 0.1, "mapping_400_if_contains": "poison"},
//!  "block": {"index": "logstash-*", "kind": "write403"}, "unblock": "logstash-*",
//!  "limit_body": 1048576, "throttle": 20000000, "authorization": "ApiKey x",
//!  "release": true, "cut_connections": true, "off_ms": 3000}
//! ```

mod answers;
mod bulk;
mod control;
mod direct;
mod faults;
mod filter_path;
mod http;
mod other;
mod server;
mod store;
mod strict_json;

pub use bulk::Op;
pub use direct::{DirectElasticsearch, Outlet};
pub use faults::{BlockKind, CustomFate, Fates, Fault, Item, ItemFate, Odds, Refused, Said, SourceTest};
pub use store::{Document, Keeping};

use faults::Script;
use server::{Shared, lock};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Told about every stored document: index, id, source. Runs on a connection's thread, before the answer is written.
pub type Arrival = dyn Fn(&str, &str, &[u8]) + Send + Sync;
/// Answers `GET` on a path of the test's own: query in, JSON out.
pub type Route = dyn Fn(&str) -> String + Send + Sync;

/// Says whether a `_bulk` request is let in: its head (without status and sizes of the inflated body), and its body as it came
/// over the wire.
pub type Gatekeeper = dyn Fn(&Seen, &[u8]) -> bool + Send + Sync;

/// A request as the server saw it (the last 4,096 are kept).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `POST`, …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// As it was sent, without the question mark.
    pub query: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body on the wire.
    pub wire_bytes: u64,
    /// Bytes of the inflated body.
    pub body_bytes: u64,
    /// What was answered; none when the connection was cut.
    pub status: Option<u16>,
}

/// A running server; dropping it stops it.
pub struct RudeElasticsearch {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// Everything that is counted, as `GET /_kit/stats` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Stats {
    /// `_bulk` requests, refused ones included.
    pub requests: u64,
    /// Items that an answer was made for: stored, failed or dropped. A request that is refused whole has none.
    pub items: u64,
    /// Documents that are stored.
    pub documents: u64,
    /// `create` items answered 409 because their id was there.
    pub duplicates_409: u64,
    /// `index` items that replaced a document.
    pub replaced: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Bytes of `_bulk` bodies on the wire.
    pub wire_bytes: u64,
    /// Bytes of `_bulk` bodies after inflating.
    pub body_bytes: u64,
    /// Documents by index.
    pub indices: std::collections::BTreeMap<String, u64>,
}

impl fmt::Debug for RudeElasticsearch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RudeElasticsearch")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl RudeElasticsearch {
    /// Starts on a free loopback port, with seed 0 and no faults.
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub fn start() -> Self {
        Self::start_on(0).expect("a free loopback port")
    }

    /// Starts on a given loopback port (0: any free one).
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start_on(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let shared = Shared::listen(listener);
        Ok(Self { shared, address })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens; stays the same across [`off`](Self::off) and [`on`](Self::on).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    // What it keeps.

    /// What is remembered of documents; to be said before the first request.
    pub fn keep(&self, keeping: Keeping) {
        lock(&self.shared.store).keeping = keeping;
    }

    /// Calls this for every document that is stored (with [`Keeping::Nothing`]: for every document that came, without index
    /// and id). It must not call the server.
    pub fn on_document(&self, arrival: impl Fn(&str, &str, &[u8]) + Send + Sync + 'static) {
        *lock(&self.shared.arrival) = Some(Arc::new(arrival));
    }

    /// Answers `GET <path>` with what this makes of the query.
    pub fn route(&self, path: &str, answer: impl Fn(&str) -> String + Send + Sync + 'static) {
        lock(&self.shared.routes).insert(path.to_owned(), Arc::new(answer));
    }

    /// Answers `GET /`, `/_license` and template calls as an 8.19 would, for agents that ask before they send. Without it
    /// `GET /` is 405, because Longshore must not need it.
    pub fn announce(&self) {
        self.shared.announced.store(true, Ordering::Relaxed);
    }

    // What goes wrong.

    /// Starts all chance anew from this seed; faults, fates and blocks that were set are forgotten.
    pub fn seed(&self, seed: u64) {
        *lock(&self.shared.script) = Some(Script::new(seed));
    }

    /// Adds a fault of whole requests. The first one that strikes, in the order they were added, is the request's.
    pub fn fault(&self, fault: Fault, odds: Odds) {
        self.shared
            .with_script(|script| script.faults.push((fault, odds)));
    }

    /// No request faults any more.
    pub fn clear_faults(&self) {
        self.shared.with_script(|script| script.faults.clear());
    }

    /// Sets what happens to single items; `Fates::default()` stores all again.
    pub fn fates(&self, fates: Fates) {
        self.shared.with_script(|script| script.fates = Some(fates));
    }

    /// From now on items for this index (a name, or a glob with `*`) fail like this.
    pub fn block_index(&self, index_glob: &str, kind: BlockKind) {
        self.shared
            .with_script(|script| script.blocks.push((index_glob.to_owned(), kind)));
    }

    /// Takes back every block that was set with exactly this name.
    pub fn unblock_index(&self, index_glob: &str) {
        self.shared
            .with_script(|script| script.blocks.retain(|(name, _)| name != index_glob));
    }

    /// Answers 413 when the inflated body is larger (`http.max_content_length`; 100 MiB at the start).
    pub fn limit_body(&self, bytes: usize) {
        self.shared.with_script(|script| script.limit_bytes = bytes);
    }

    /// Takes so many bytes of inflated bodies a second, one request after the other, as a server with one slow disk;
    /// 0 takes them as they come.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.shared
            .with_script(|script| script.bytes_per_second = bytes_per_second);
    }

    /// Answers 401 unless the `Authorization` header is exactly this.
    pub fn require_authorization(&self, header: &str) {
        self.shared
            .with_script(|script| script.authorization = Some(header.to_owned()));
    }

    /// Answers 401 to each `_bulk` request that this does not let in.
    pub fn admit(&self, gatekeeper: impl Fn(&Seen, &[u8]) -> bool + Send + Sync + 'static) {
        *lock(&self.shared.gatekeeper) = Some(Arc::new(gatekeeper));
    }

    /// Ends all stalls that are under way. (The fault that makes them stays: see [`clear_faults`](Self::clear_faults).)
    pub fn release(&self) {
        self.shared.release();
    }

    /// Refuses connections and cuts the open ones, until [`on`](Self::on).
    pub fn off(&self) {
        self.shared.off(self.address);
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Panics
    /// When somebody else took the port meanwhile.
    pub fn on(&self) {
        self.shared.on(self.address);
    }

    /// Cuts all open connections; new ones are welcome.
    pub fn cut_connections(&self) {
        self.shared.cut_all();
    }

    // What came of it.

    /// Stored documents of all indices that match the glob, in order of arrival per index. Empty unless
    /// [`Keeping::Documents`].
    pub fn documents(&self, index_glob: &str) -> Vec<Document> {
        lock(&self.shared.store).documents(index_glob)
    }

    /// How many documents each index has, in order of names.
    pub fn indices(&self) -> Vec<(String, u64)> {
        lock(&self.shared.store).indices()
    }

    /// How many documents are stored.
    pub fn count(&self) -> u64 {
        lock(&self.shared.store).stored
    }

    /// How many `create` items were answered 409 because their id was there.
    pub fn duplicates_409(&self) -> u64 {
        lock(&self.shared.store).conflicts
    }

    /// How many `index` items replaced a document.
    pub fn replaced(&self) -> u64 {
        lock(&self.shared.store).replaced
    }

    /// How many `_bulk` requests came.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many `_bulk` requests have come whole and wait for their answer at this moment.
    pub fn open_requests(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many `_bulk` requests were answered, refusals included.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::SeqCst)
    }

    /// How many `_bulk` requests had their connection cut in place of an answer.
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// How many items were answered.
    pub fn items(&self) -> u64 {
        self.shared.items.load(Ordering::Relaxed)
    }

    /// All counters at once.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Bytes of `_bulk` bodies as they came over the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.shared.wire_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of `_bulk` bodies after inflating.
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::Relaxed)
    }

    /// The last requests, `_bulk` and others, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).iter().cloned().collect()
    }

    /// Waits until the condition holds; false when it does not within `patience`. The condition is looked at when a request
    /// is done, so it must be about the server.
    pub fn wait_until(&self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.shared.wait(patience, || condition(self))
    }

    /// Waits until so many documents are stored.
    pub fn wait_for_documents(&self, count: u64, patience: Duration) -> bool {
        self.wait_until(patience, |server| server.count() >= count)
    }

    /// Waits until so many `_bulk` requests came.
    pub fn wait_for_requests(&self, count: u64, patience: Duration) -> bool {
        self.wait_until(patience, |server| server.requests() >= count)
    }

    /// Waits until no connection is open: after a client has died, what it had sent is then stored.
    pub fn wait_for_disconnection(&self, patience: Duration) -> bool {
        self.wait_until(patience, |server| server.shared.open_connections() == 0)
    }

    /// Waits until so many requests are stalled at once.
    pub fn wait_for_stalled(&self, count: u64, patience: Duration) -> bool {
        self.wait_until(patience, |server| {
            server.shared.stalled.load(Ordering::SeqCst) >= count
        })
    }
}

impl Drop for RudeElasticsearch {
    fn drop(&mut self) {
        self.shared.close(self.address);
    }
}

/// Whether a name matches a pattern in which `*` stands for any part.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            let Some(left) = name.strip_prefix(start) else {
                return false;
            };
            (0..=left.len()).any(|at| left.is_char_boundary(at) && glob(rest, &left[at..]))
        }
    }
}

#[cfg(test)]
mod tests;
