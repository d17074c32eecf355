//! The server's threads: one accepts, one per connection reads requests and answers them.

use super::answers::{Items, Outcome, Refusal, json, plain_error, pretty};
use super::bulk;
use super::control;
use super::faults::{Fault, Refused, Script, html};
use super::filter_path::FilterPath;
use super::http::{Connection, Request, Response};
use super::other::{self, wrong_method};
use super::store::{Keeping, Store};
use super::{Arrival, Gatekeeper, Route, Seen, Stats};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many requests are remembered in full.
const SEEN_MAX: usize = 4_096;

/// What the threads and the test's handle share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) script: Mutex<Option<Script>>,
    pub(super) store: Mutex<Store>,
    pub(super) arrival: Mutex<Option<Arc<Arrival>>>,
    pub(super) routes: Mutex<HashMap<String, Arc<Route>>>,
    pub(super) seen: Mutex<VecDeque<Seen>>,
    pub(super) gatekeeper: Mutex<Option<Arc<Gatekeeper>>>,
    pub(super) announced: AtomicBool,
    pub(super) requests: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) wire_bytes: AtomicU64,
    pub(super) body_bytes: AtomicU64,
    pub(super) connected: AtomicU64,
    connections: Mutex<HashMap<u64, TcpStream>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    stopping: AtomicBool,
    /// The handle is gone: nobody may switch it on again.
    closed: AtomicBool,
    /// Counts what may end somebody's waiting: finished requests, releases, switching off.
    progress: Mutex<u64>,
    changed: Condvar,
    released: AtomicU64,
    /// How many requests are stalled just now.
    pub(super) stalled: AtomicU64,
    /// How many `_bulk` requests came whole and are not answered yet.
    pub(super) open: AtomicU64,
    /// How many `_bulk` requests got an answer.
    pub(super) answered: AtomicU64,
    /// How many connections were cut in place of an answer.
    pub(super) cut: AtomicU64,
}

/// What is left to do after a request was dealt with.
enum Reply {
    Answer(Response),
    Half(Response),
    Cut,
    /// The answer, and after it nobody answers for this long.
    AnswerThenOff(Response, Duration),
}

impl Shared {
    /// Waits until the condition is true; false when it is not within `patience`. It is looked at after every request.
    pub(super) fn wait(&self, patience: Duration, condition: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut progress = lock(&self.progress);
        while !condition() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            progress = self
                .changed
                .wait_timeout(progress, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    pub(super) fn progressed(&self) {
        *lock(&self.progress) += 1;
        self.changed.notify_all();
    }

    /// Ends all stalls that are under way.
    pub(super) fn release(&self) {
        self.released.fetch_add(1, Ordering::SeqCst);
        self.progressed();
    }

    /// Runs with the script, which exists from the start to the end.
    pub(super) fn with_script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(lock(&self.script).get_or_insert_with(|| Script::new(0)))
    }

    /// Starts to accept.
    pub(super) fn listen(listener: TcpListener) -> Arc<Self> {
        let shared = Arc::<Self>::default();
        shared.start_accepting(listener);
        shared
    }

    fn start_accepting(self: &Arc<Self>, listener: TcpListener) {
        let shared = Arc::clone(self);
        *lock(&self.accepting) = Some(std::thread::spawn(move || shared.accept(listener)));
    }

    /// Closes the port at `address` and cuts all connections; returns when nobody listens any more.
    pub(super) fn off(&self, address: SocketAddr) {
        let Some(accepting) = lock(&self.accepting).take() else {
            return;
        };
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread. It fails only when the listener is gone, which is what is wanted.
        let _woken = TcpStream::connect(address);
        // The thread's own panic, if any, was printed already.
        let _joined = accepting.join();
    }

    /// Off for good.
    pub(super) fn close(&self, address: SocketAddr) {
        self.closed.store(true, Ordering::SeqCst);
        self.off(address);
    }

    /// Listens again, at the same address.
    pub(super) fn on(self: &Arc<Self>, address: SocketAddr) {
        if self.closed.load(Ordering::SeqCst) || lock(&self.accepting).is_some() {
            return;
        }
        self.stopping.store(false, Ordering::SeqCst);
        self.start_accepting(TcpListener::bind(address).expect("the port that was ours"));
    }

    /// All counters.
    pub(super) fn stats(&self) -> Stats {
        let store = lock(&self.store);
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            documents: store.stored,
            duplicates_409: store.conflicts,
            replaced: store.replaced,
            connections: self.connected.load(Ordering::Relaxed),
            wire_bytes: self.wire_bytes.load(Ordering::Relaxed),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            indices: store.indices().into_iter().collect(),
        }
    }

    /// Accepts until told to stop; then the listener is closed and all connections are cut.
    fn accept(self: Arc<Self>, listener: TcpListener) {
        for stream in listener.incoming() {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else { continue };
            let number = self.connected.fetch_add(1, Ordering::Relaxed);
            let Ok(kept) = stream.try_clone() else { continue };
            lock(&self.connections).insert(number, kept);
            let shared = Arc::clone(&self);
            std::thread::spawn(move || {
                // A client that goes away in the middle of a request is what tests are about.
                let _gone = Connection::new(stream).and_then(|mut connection| shared.serve(&mut connection));
                if let Some(stream) = lock(&shared.connections).remove(&number) {
                    let _gone = stream.shutdown(Shutdown::Both);
                }
                shared.progressed();
            });
        }
        drop(listener);
        self.cut_all();
    }

    /// How many connections are open.
    pub(super) fn open_connections(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Cuts every open connection.
    pub(super) fn cut_all(&self) {
        for (_, stream) in lock(&self.connections).drain() {
            // It may be gone already.
            let _gone = stream.shutdown(Shutdown::Both);
        }
        self.release();
    }

    fn serve(self: &Arc<Self>, connection: &mut Connection) -> io::Result<()> {
        let (mut request, mut inflated) = (Request::default(), Vec::new());
        while connection.read(&mut request)? {
            let is_bulk = request.path.ends_with("/_bulk");
            let reply = if is_bulk {
                self.open.fetch_add(1, Ordering::SeqCst);
                self.bulk(&request, &mut inflated)
            } else {
                self.other(&request)
            };
            self.remember(&request, &reply, if is_bulk { inflated.len() } else { 0 });
            let done = match &reply {
                Reply::Answer(response) => connection.write(response).map(|()| response.close),
                Reply::Half(response) => connection.write_half(response).map(|()| true),
                Reply::Cut => Ok(true),
                Reply::AnswerThenOff(response, time) => {
                    connection.write(response)?;
                    self.off_for(*time, connection.local_address()?);
                    Ok(true)
                }
            };
            if is_bulk {
                self.count_end(&reply);
            }
            self.progressed();
            if done? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A `_bulk` request has got what it gets.
    fn count_end(&self, reply: &Reply) {
        let ended = if matches!(reply, Reply::Cut) {
            &self.cut
        } else {
            &self.answered
        };
        ended.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Off now, on again later; the connection that asked for it is told before.
    fn off_for(self: &Arc<Self>, time: Duration, address: SocketAddr) {
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            shared.off(address);
            std::thread::sleep(time);
            shared.on(address);
        });
    }

    fn remember(&self, request: &Request, reply: &Reply, body_bytes: usize) {
        let mut seen = lock(&self.seen);
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(Seen {
            body_bytes: body_bytes as u64,
            status: match reply {
                Reply::Answer(response) | Reply::Half(response) | Reply::AnswerThenOff(response, _) => {
                    Some(response.status)
                }
                Reply::Cut => None,
            },
            ..head_of(request)
        });
    }

    fn bulk(&self, request: &Request, inflated: &mut Vec<u8>) -> Reply {
        inflated.clear();
        if !matches!(request.method.as_str(), "POST" | "PUT") {
            return Reply::Answer(wrong_method(request, "POST, PUT"));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.wire_bytes
            .fetch_add(request.body.len() as u64, Ordering::Relaxed);
        if let Some(refused) = self.refuse_head(request) {
            return Reply::Answer(refused);
        }
        let limit = self.with_script(|script| script.limit_bytes);
        let body = match body_of(request, inflated, limit) {
            Ok(body) => body,
            Err(refused) => return Reply::Answer(refused),
        };
        self.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        if !self.take_in(body.len()) {
            return Reply::Cut;
        }
        let fault = self.with_script(Script::draw);
        match fault {
            Some(Fault::CutBeforeCommit) => return Reply::Cut,
            Some(Fault::Refuse(refused)) => return Reply::Answer(refused.response()),
            Some(Fault::Html200) => return Reply::Answer(html(200)),
            Some(Fault::StallBeforeCommit(time)) if self.stall(time) => {}
            Some(Fault::StallBeforeCommit(_)) => return Reply::Cut,
            _ => {}
        }
        let items = match self.commit(request, body, fault) {
            Ok(items) => items,
            Err(refusal) => return Reply::Answer(refusal.response()),
        };
        self.answer(items, fault, request.query.contains("pretty"))
    }

    /// Waits for as long as a throttled server needs for a body, those before it included; false when the connection is
    /// cut meanwhile.
    fn take_in(&self, bytes: usize) -> bool {
        let until = self.with_script(|script| {
            let time = Duration::from_secs(1).mul_f64(bytes as f64 / script.bytes_per_second.max(1) as f64);
            if script.bytes_per_second == 0 {
                return None;
            }
            let now = Instant::now();
            let free_at = script.free_at.unwrap_or(now).max(now) + time;
            script.free_at = Some(free_at);
            Some(free_at)
        });
        until.is_none_or(|until| self.stall(until.saturating_duration_since(Instant::now())))
    }

    /// What is wrong before the body is looked at.
    fn refuse_head(&self, request: &Request) -> Option<Response> {
        const KNOWN: [&str; 15] = [
            "filter_path",
            "pretty",
            "human",
            "error_trace",
            "refresh",
            "timeout",
            "pipeline",
            "routing",
            "wait_for_active_shards",
            "require_alias",
            "require_data_stream",
            "list_executed_pipelines",
            "include_source_on_error",
            "_source",
            "type",
        ];
        let wanted = self.with_script(|script| script.authorization.clone());
        if wanted.is_some() && wanted.as_deref() != request.header("authorization") {
            return Some(Refused::Unauthorized401.response());
        }
        let gatekeeper = lock(&self.gatekeeper).clone();
        if gatekeeper.is_some_and(|admits| !admits(&head_of(request), &request.body)) {
            return Some(Refused::Unauthorized401.response());
        }
        if let Some((unknown, _)) = request
            .parameters()
            .find(|(key, _)| !KNOWN.contains(&key.as_str()))
        {
            let reason = format!(
                "request [{}] contains unrecognized parameter: [{unknown}]",
                request.path
            );
            return Some(Refusal::argument(&reason).response());
        }
        let media = request.header("content-type").unwrap_or("");
        let is_json = media.starts_with("application/json")
            || media.starts_with("application/x-ndjson")
            || media.starts_with("application/vnd.elasticsearch+");
        let has_body = !request.body.is_empty();
        (has_body && !is_json)
            .then(|| plain_error(406, &format!("Content-Type header [{media}] is not supported")))
    }

    /// Stores what is to be stored, and tells the test's hook.
    fn commit(&self, request: &Request, body: &[u8], fault: Option<Fault>) -> Result<Items, Refusal> {
        let filter = request
            .parameters()
            .find(|(key, _)| key == "filter_path")
            .map(|(_, value)| value);
        let mut items =
            Items::new(filter.map_or_else(FilterPath::default, |filter| FilterPath::parse(&filter)));
        let arrival = lock(&self.arrival).clone();
        if lock(&self.store).keeping == Keeping::Nothing {
            let count = bulk::scan(body, |document| {
                if let Some(arrival) = &arrival {
                    arrival("", "", document);
                }
            });
            lock(&self.store).stored += count;
            self.items.fetch_add(count, Ordering::Relaxed);
            let (op, created) = (
                bulk::first_op(body),
                Outcome::Created {
                    seq_no: 0,
                    redirected: false,
                },
            );
            (0..count).for_each(|_| items.push(op, "", "", &created));
            return Ok(items);
        }
        let index = request
            .path
            .strip_suffix("/_bulk")
            .map(|path| path.trim_start_matches('/'));
        let mut actions = bulk::parse(body, index.filter(|index| !index.is_empty()))?;
        let half = fault == Some(Fault::CommitHalfThen400);
        if half {
            actions.truncate(actions.len() / 2);
        }
        self.items.fetch_add(actions.len() as u64, Ordering::Relaxed);
        let mut stored = Vec::new();
        {
            let (mut script, mut store) = (lock(&self.script), lock(&self.store));
            let script = script.get_or_insert_with(|| Script::new(0));
            for (at, action) in actions.iter_mut().enumerate() {
                let outcome = store.commit(action, script);
                items.push(action.op, &action.index, &action.id, &outcome);
                if arrival.is_some() && matches!(outcome, Outcome::Created { .. } | Outcome::Updated { .. }) {
                    stored.push(at);
                }
            }
        }
        if let Some(arrival) = arrival {
            for action in stored.into_iter().map(|at| &actions[at]) {
                arrival(&action.index, &action.id, action.source);
            }
        }
        if half {
            Err(Refusal::argument("Malformed content after the first half"))
        } else {
            Ok(items)
        }
    }

    fn answer(&self, mut items: Items, fault: Option<Fault>, asked_pretty: bool) -> Reply {
        if fault == Some(Fault::ShortItems) {
            items.drop_last(1);
        }
        let mut response = json(200, items.finish());
        match fault {
            Some(Fault::CommitThenCut) => return Reply::Cut,
            Some(Fault::CutMidAnswer) => return Reply::Half(response),
            Some(Fault::Empty200) => response.body.clear(),
            Some(Fault::StallAfterCommit(time)) if !self.stall(time) => return Reply::Cut,
            _ => {}
        }
        if asked_pretty || fault == Some(Fault::Pretty) {
            response.body = pretty(&response.body);
        }
        Reply::Answer(response)
    }

    /// Waits for the release; false when the server was switched off meanwhile, so that the request must not go on.
    fn stall(&self, time: Duration) -> bool {
        let before = self.released.load(Ordering::SeqCst);
        self.stalled.fetch_add(1, Ordering::SeqCst);
        // Whoever waits for the stall, or for documents stored before it, is to look now.
        self.progressed();
        self.wait(time, || self.released.load(Ordering::SeqCst) != before);
        self.stalled.fetch_sub(1, Ordering::SeqCst);
        !self.stopping.load(Ordering::SeqCst)
    }

    fn other(&self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/_kit/stats") => Reply::Answer(control::stats(self)),
            ("GET", "/_kit/documents") => Reply::Answer(control::documents(self, request)),
            ("POST", "/_kit/control") => match control::obey(self, &request.body) {
                (response, Some(off)) => Reply::AnswerThenOff(response, off),
                (response, None) => Reply::Answer(response),
            },
            _ => Reply::Answer(other::answer(self, request)),
        }
    }
}

/// What is known of a request before it is answered.
fn head_of(request: &Request) -> Seen {
    Seen {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        wire_bytes: request.body.len() as u64,
        body_bytes: 0,
        status: None,
    }
}

/// The plain bytes of a body, or the answer when there are more than the limit allows.
fn body_of<'a>(request: &'a Request, inflated: &'a mut Vec<u8>, limit: usize) -> Result<&'a [u8], Response> {
    let too_large = |close| Response {
        close,
        ..Refused::TooLarge413.response()
    };
    match request.header("content-encoding") {
        None | Some("identity") => {}
        Some("gzip") => {
            return match bulk::inflate(&request.body, inflated, limit) {
                Ok(()) => Ok(inflated),
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(too_large(true)),
                Err(error) => Err(Refusal::parse(&format!("cannot inflate the body: {error}")).response()),
            };
        }
        Some(coding) => {
            return Err(Refusal::argument(&format!("unknown content encoding [{coding}]")).response());
        }
    }
    if request.body.len() > limit {
        return Err(too_large(false));
    }
    // So that the log of requests knows the size without asking how it came.
    inflated.extend_from_slice(&request.body);
    Ok(inflated)
}

/// A panic in one connection's thread (a failed assertion in a test's hook) must not hide behind poisoned locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
