//! A kube-apiserver's double: pods and namespaces to list and to watch, over plain HTTP on a loopback port.
//!
//! It answers with the shapes and the words of a real one (goldens in `tests/golden/kube`, compared in the tests) and
//! misbehaves on demand as real ones do: versions expire (410), tokens are refused (401), requests are throttled
//! (429), answers stall, watches close, the server goes away and comes back on the same port. It counts what clients
//! ask for, because agents that list too much bring control planes down.
//!
//! [`pod::pod`] makes the objects. Not simulated: writes, label selectors, other resources, protobuf.

pub mod pod;
mod route;
mod serve;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

pub use pod::pod;

use route::Verb;
use serve::Running;
use store::{Kind, Store};

/// A running double. Dropping it closes its port and every connection.
#[derive(Debug)]
pub struct FakeApiserver {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

impl FakeApiserver {
    /// Starts an empty one on a free loopback port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::new());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let running = Running::start(any, Arc::clone(&shared));
        Self {
            address: running.address(),
            shared,
            running: Mutex::new(Some(running)),
        }
    }

    /// `http://127.0.0.1:<port>`, the same for its whole life.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig, as YAML, for a client with the token that is required now (or with a made-up one).
    pub fn kubeconfig(&self) -> String {
        let token = self
            .shared
            .lock()
            .token
            .clone()
            .unwrap_or_else(|| "any-token".to_owned());
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: fake\n\
             clusters:\n- name: fake\n  cluster:\n    server: {url}\n\
             users:\n- name: fake\n  user:\n    token: {token}\n\
             contexts:\n- name: fake\n  context:\n    cluster: fake\n    user: fake\n",
            url = self.url(),
        )
    }

    /// Adds a pod (and its namespace, if that is new): watches see `ADDED`.
    pub fn add_pod(&self, pod: impl Into<Value>) {
        let pod = pod.into();
        self.shared.change(|state| {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            if state.store.get(Kind::Namespace, namespace).is_none() {
                state.store.put(Kind::Namespace, pod::namespace(namespace, &[]));
            }
            state.store.put(Kind::Pod, pod);
        });
    }

    /// Replaces the pod of the same namespace and name: watches see `MODIFIED`.
    ///
    /// # Panics
    /// When there is no such pod: the test has got its names wrong.
    pub fn modify_pod(&self, pod: impl Into<Value>) {
        let pod = pod.into();
        self.shared.change(|state| {
            let key = store::key(&pod);
            assert!(
                state.store.get(Kind::Pod, &key).is_some(),
                "no pod {key} to modify"
            );
            state.store.put(Kind::Pod, pod);
        });
    }

    /// Deletes a pod: watches see `DELETED` with its last state.
    ///
    /// # Panics
    /// When there is no such pod.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        let key = format!("{namespace}/{name}");
        self.shared.change(|state| {
            assert!(
                state.store.remove(Kind::Pod, &key).is_some(),
                "no pod {key} to delete"
            )
        });
    }

    /// Adds a namespace, or gives it other labels.
    pub fn add_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        self.shared
            .change(|state| state.store.put(Kind::Namespace, pod::namespace(name, labels)));
    }

    /// Sends a bookmark with a newer version to each open watch that allowed bookmarks.
    pub fn bookmark(&self) {
        self.shared.change(|state| state.store.bookmark());
    }

    /// Forgets the history: open watches get `ERROR` 410 and end, older versions are refused, lists work.
    pub fn expire(&self) {
        self.shared.change(|state| state.store.expire());
    }

    /// From now on only this bearer token is let in (`None`: everybody). Open watches stay, as in a real one.
    pub fn require_token(&self, token: Option<&str>) {
        self.shared.change(|state| state.token = token.map(str::to_owned));
    }

    /// Ends every open watch properly, as a real server does after some minutes.
    pub fn close_watches(&self) {
        self.shared.change(|state| state.watch_era += 1);
    }

    /// Answers the next `requests` with 429 and `Retry-After` (whole seconds, at least one).
    pub fn respond_429(&self, requests: u32, retry_after: Duration) {
        self.shared
            .change(|state| state.throttle = Some((requests, retry_after)));
    }

    /// Takes connections and requests, but answers nothing and feeds no watch until [`FakeApiserver::resume`].
    pub fn stall(&self) {
        self.shared.change(|state| state.stalled = true);
    }

    /// Ends a stall; what was held back is answered now.
    pub fn resume(&self) {
        self.shared.change(|state| state.stalled = false);
    }

    /// Closes the port and cuts every connection, watches in mid-stream. Objects and counters stay.
    pub fn off(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running);
    }

    /// Opens the same port again, after [`FakeApiserver::off`].
    pub fn on(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get_or_insert_with(|| Running::start(self.address, Arc::clone(&self.shared)));
    }

    /// The resource version that counts now.
    pub fn resource_version(&self) -> u64 {
        self.shared.lock().store.version()
    }

    /// How many lists of pods were asked for, refused ones and every page included.
    pub fn lists(&self) -> u64 {
        self.shared.lock().counters.lists
    }

    /// How many watches of pods were asked for, refused ones included.
    pub fn watches(&self) -> u64 {
        self.shared.lock().counters.watches
    }

    /// How many watches (of anything) are open now.
    pub fn open_watches(&self) -> u64 {
        self.shared.lock().counters.open_watches
    }

    /// How many requests came in all, whatever they asked for.
    pub fn requests(&self) -> u64 {
        self.shared.lock().counters.requests
    }

    /// The query string of the last list of pods, percent-encoded as it came; empty before the first.
    pub fn last_list_query(&self) -> String {
        self.shared.lock().counters.last_list_query.clone()
    }

    /// The query string of the last watch of pods, percent-encoded as it came; empty before the first.
    pub fn last_watch_query(&self) -> String {
        self.shared.lock().counters.last_watch_query.clone()
    }
}

/// What the test's thread and the server's thread share; every change rings a bell that connections listen to.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    store: Store,
    token: Option<String>,
    throttle: Option<(u32, Duration)>,
    stalled: bool,
    /// Grows by one when all watches are to end; a watch belongs to the era it began in.
    watch_era: u64,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    requests: u64,
    lists: u64,
    watches: u64,
    open_watches: u64,
    last_list_query: String,
    last_watch_query: String,
}

impl Counters {
    fn count(&mut self, verb: Verb, query: &str) {
        self.requests += 1;
        match verb {
            Verb::List => {
                self.lists += 1;
                query.clone_into(&mut self.last_list_query);
            }
            Verb::Watch => {
                self.watches += 1;
                query.clone_into(&mut self.last_watch_query);
            }
            Verb::Other => {}
        }
    }
}

impl Shared {
    fn new() -> Self {
        let state = State {
            store: Store::new(),
            token: None,
            throttle: None,
            stalled: false,
            watch_era: 0,
            counters: Counters::default(),
        };
        Self {
            state: Mutex::new(state),
            bell: watch::Sender::new(0),
        }
    }

    /// A test that panicked in a change has said so already; the others go on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.bell.send_modify(|rung| *rung += 1);
    }
}
