//! Pod records and the states of the watch enter; what a reader may know about a container instance leaves.
//!
//! The cache never asks and never waits: it says *known*, *wait* (it will be told soon) or *missing*, and a version
//! that changes whenever an answer may have changed. Deleted pods stay until their files are drained. Deliberately
//! not done: remembering pods over a restart, and knowing which files exist.

use super::metadata::{NamespaceRecord, PodRecord};
use crate::record::Metadata;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Deleted pods that are kept for readers, at most; with more, the one that was deleted first goes.
pub const MAX_DELETED: usize = 1_000;

/// One container instance, as the path of its file names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instance<'a> {
    /// Kubernetes namespace.
    pub namespace: &'a str,
    /// Pod name.
    pub pod: &'a str,
    /// Pod uid; for a static pod the hash of its config.
    pub uid: &'a str,
    /// Container name.
    pub container: &'a str,
    /// Restart number of the container.
    pub restart: u32,
}

impl Instance<'_> {
    fn metadata(&self) -> Metadata {
        Metadata {
            namespace: self.namespace.to_owned(),
            pod: self.pod.to_owned(),
            pod_uid: self.uid.to_owned(),
            container: self.container.to_owned(),
            ..Metadata::default()
        }
    }
}

/// What the cache says about a container instance. The metadata always has the fields of the path and the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// All that there is to know.
    Known(Metadata),
    /// More is to come soon; with what is known so far, for a reader that has waited long enough.
    Wait(Metadata),
    /// Nobody can tell now: the API server is down. Nothing is worth waiting for.
    Missing(Metadata),
    /// Nobody is asked.
    Off(Metadata),
}

/// How the watch is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// There is none.
    Off,
    /// The first answer is under way.
    Starting,
    /// News arrive as they happen.
    Live,
    /// The API server does not answer, or refuses.
    Down,
}

impl State {
    /// As it stands on the status board.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Off => "off",
            State::Starting => "starting",
            State::Live => "live",
            State::Down => "down",
        }
    }
}

/// The pods of the node.
#[derive(Debug)]
pub struct Cache {
    node: String,
    /// Whether lookups also want the pod's namespace.
    namespace_labels: bool,
    state: State,
    pods: HashMap<String, Entry>,
    /// Config hashes of static pods → uid of their mirror.
    hashes: HashMap<String, String>,
    /// Uids of deleted pods, in the order of their deletion.
    deleted: VecDeque<String>,
    /// `None` for a namespace that could not be read.
    namespaces: HashMap<String, Option<NamespaceRecord>>,
    version: u64,
}

#[derive(Debug)]
struct Entry {
    pod: PodRecord,
    deleted: bool,
    /// Its files were drained before the API server deleted it.
    drained: bool,
}

impl Cache {
    /// An empty one, in state `starting` or `off`; `node` stands in all metadata.
    pub fn new(node: &str, state: State, namespace_labels: bool) -> Self {
        Self {
            node: node.to_owned(),
            namespace_labels,
            state,
            pods: HashMap::new(),
            hashes: HashMap::new(),
            deleted: VecDeque::new(),
            namespaces: HashMap::new(),
            version: 0,
        }
    }

    /// All pods of the node at one moment: those that are not among them are deleted.
    pub fn on_list(&mut self, pods: Vec<PodRecord>) {
        let listed: BTreeSet<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
        for pod in pods {
            self.on_applied(pod);
        }
        let present = self.pods.iter().filter(|(_, entry)| !entry.deleted);
        let gone: Vec<String> = present
            .map(|(uid, _)| uid.clone())
            .filter(|uid| !listed.contains(uid))
            .collect();
        for uid in gone {
            self.on_deleted(&uid);
        }
    }

    /// A pod is new or has changed.
    pub fn on_applied(&mut self, mut pod: PodRecord) {
        let older = self.pods.get(&pod.uid);
        if let Some(older) = older {
            pod.inherit(&older.pod);
            if !older.deleted && older.pod == pod {
                return;
            }
        }
        let drained = older.is_some_and(|older| older.drained);
        if older.is_some_and(|older| older.deleted) {
            self.deleted.retain(|uid| *uid != pod.uid);
        }
        if let Some(hash) = &pod.config_hash {
            self.hashes.insert(hash.clone(), pod.uid.clone());
        }
        self.pods.insert(
            pod.uid.clone(),
            Entry {
                pod,
                deleted: false,
                drained,
            },
        );
        self.version += 1;
    }

    /// A pod is deleted; it is still known until [`Cache::forget`].
    pub fn on_deleted(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid).filter(|entry| !entry.deleted) else {
            return;
        };
        entry.deleted = true;
        self.version += 1;
        if entry.drained {
            return self.remove(uid);
        }
        self.deleted.push_back(uid.to_owned());
        if self.deleted.len() > MAX_DELETED
            && let Some(oldest) = self.deleted.pop_front()
        {
            self.remove(&oldest);
        }
    }

    /// The watch is in another state now.
    pub fn on_state(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.version += 1;
        }
    }

    /// A namespace was read, or (`None`) could not be read: then what was read earlier stands.
    pub fn on_namespace(&mut self, name: &str, record: Option<NamespaceRecord>) {
        let known = self.namespaces.get(name);
        if known.is_none() || (record.is_some() && known != Some(&record)) {
            self.namespaces.insert(name.to_owned(), record);
            self.version += 1;
        }
    }

    /// The files of a pod are drained; `uid` as in the name of its directory. It is dropped as soon as it is deleted.
    pub fn forget(&mut self, uid: &str) {
        let mirror = self.hashes.get(uid).filter(|_| !self.pods.contains_key(uid));
        let uid = mirror.map_or(uid, String::as_str).to_owned();
        let Some(entry) = self.pods.get_mut(&uid) else {
            return;
        };
        entry.drained = true;
        if entry.deleted {
            self.deleted.retain(|deleted| *deleted != uid);
            self.remove(&uid);
        }
    }

    /// What is known about a container instance.
    pub fn lookup(&mut self, instance: &Instance<'_>) -> Lookup {
        let mut lookup = self.answer(instance);
        let (Lookup::Known(metadata)
        | Lookup::Wait(metadata)
        | Lookup::Missing(metadata)
        | Lookup::Off(metadata)) = &mut lookup;
        metadata.node.clone_from(&self.node);
        lookup
    }

    fn answer(&mut self, instance: &Instance<'_>) -> Lookup {
        if self.state == State::Off {
            return Lookup::Off(instance.metadata());
        }
        let waiting = self.state != State::Down;
        let Some(uid) = self.uid_of(instance) else {
            let metadata = Metadata {
                missing: true,
                ..instance.metadata()
            };
            return if waiting {
                Lookup::Wait(metadata)
            } else {
                Lookup::Missing(metadata)
            };
        };
        let Some(entry) = self.pods.get_mut(&uid) else {
            unreachable!("uid_of gives uids of pods that are there");
        };
        // Somebody reads its files (again).
        entry.drained = false;
        let mut metadata = entry.pod.metadata(instance.container, instance.restart);
        let mut complete = entry.deleted || entry.pod.has_told(instance.container, instance.restart);
        if self.namespace_labels {
            match self.namespaces.get(instance.namespace) {
                Some(Some(namespace)) => namespace.add_to(&mut metadata),
                Some(None) => {}
                None => complete = false,
            }
        }
        if complete || !waiting {
            Lookup::Known(metadata)
        } else {
            Lookup::Wait(metadata)
        }
    }

    /// The uid by which the API knows the pod. A config hash is only believed from the pod of that name: any pod may
    /// carry any annotation.
    fn uid_of(&self, instance: &Instance<'_>) -> Option<String> {
        if self.pods.contains_key(instance.uid) {
            return Some(instance.uid.to_owned());
        }
        let uid = self.hashes.get(instance.uid)?;
        let pod = &self.pods.get(uid)?.pod;
        (pod.namespace == instance.namespace && pod.name == instance.pod).then(|| uid.clone())
    }

    /// Namespaces of pods that nobody has asked for yet.
    pub fn namespaces_wanted(&self) -> Vec<String> {
        self.namespaces_in_use()
            .into_iter()
            .filter(|name| !self.namespaces.contains_key(name))
            .collect()
    }

    /// Namespaces of all pods that are not deleted; none when their labels are not asked for.
    pub fn namespaces_in_use(&self) -> Vec<String> {
        let pods = self
            .pods
            .values()
            .filter(|entry| self.namespace_labels && !entry.deleted);
        let names: BTreeSet<&String> = pods.map(|entry| &entry.pod.namespace).collect();
        names.into_iter().cloned().collect()
    }

    /// How the watch is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// Pods that are not deleted.
    pub fn len(&self) -> usize {
        self.pods.len() - self.deleted.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows with every change that may change an answer.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn remove(&mut self, uid: &str) {
        let Some(Entry { pod, .. }) = self.pods.remove(uid) else {
            return;
        };
        if let Some(hash) = pod.config_hash
            && self.hashes.get(&hash).is_some_and(|holder| holder == uid)
        {
            self.hashes.remove(&hash);
        }
        if !self
            .pods
            .values()
            .any(|other| other.pod.namespace == pod.namespace)
        {
            self.namespaces.remove(&pod.namespace);
        }
    }
}

/// The cache as readers and the watch share it: an `Arc` of it goes to each.
#[derive(Debug)]
pub struct Directory {
    cache: Mutex<Cache>,
    version: AtomicU64,
}

impl Directory {
    /// For metadata from the API server: state `starting`.
    pub fn new(node: &str, namespace_labels: bool) -> Self {
        Self::of(Cache::new(node, State::Starting, namespace_labels))
    }

    /// For `source: none`: it knows what paths tell.
    pub fn off(node: &str) -> Self {
        Self::of(Cache::new(node, State::Off, false))
    }

    fn of(cache: Cache) -> Self {
        Self {
            cache: Mutex::new(cache),
            version: AtomicU64::new(0),
        }
    }

    /// What is known about a container instance.
    pub fn lookup(&self, instance: &Instance<'_>) -> Lookup {
        self.locked().lookup(instance)
    }

    /// The files of a pod are drained; `uid` as in the name of its directory.
    pub fn forget(&self, uid: &str) {
        self.locked().forget(uid);
    }

    /// Answers given at the same version are still true. Takes no lock.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Reads or changes the cache, and publishes its version.
    pub fn with<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> T {
        let mut cache = self.locked();
        let value = act(&mut cache);
        self.version.store(cache.version(), Ordering::Release);
        value
    }

    /// A change of the cache is one insertion or removal: a panic in the middle leaves nothing half done.
    fn locked(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
