//! What an API server may say: lists of pods, and events line by line, into the cache of pods. Against what a tree of the
//! same JSON says, and a list of the pods that are there.

use crate::input::Input;
use crate::tree::Tree;
use kube::core::WatchEvent;
use longshore::config::Glob;
use longshore::enrich::cache::{Cache, Instance, Lookup, State};
use longshore::enrich::client::{News, news};
use longshore::enrich::failure::{Failure, Kind};
use longshore::enrich::metadata::{NamespaceObject, PodList, PodObject, PodRecord, Selection};
use longshore::enrich::watch::{Action, PodWatch};
use longshore::record::Metadata;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Deleted pods that the cache may still know.
const MAX_DELETED: usize = 1000;

/// The first byte chooses what is selected. Lines are events as they come, or what else happens: `list JSON`,
/// `drained UID`, `ended SECONDS`, `state down`.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = input.byte();
    let selection = Selection {
        labels: shape & 1 == 0,
        annotations: vec![Glob::new("*a*")],
        namespace_labels: shape & 2 == 2,
    };
    let mut world = World {
        cache: Cache::new("n", State::Live, selection.namespace_labels),
        plan: PodWatch::new(),
        selection,
        present: BTreeSet::new(),
        now: Instant::now(),
    };
    for line in input.rest().split(|byte| *byte == b'\n') {
        if let Ok(line) = std::str::from_utf8(line) {
            world.line(line);
            world.check();
        }
    }
}

struct World {
    cache: Cache,
    plan: PodWatch,
    selection: Selection,
    /// Uids of the pods that are there.
    present: BTreeSet<String>,
    now: Instant,
}

impl World {
    fn line(&mut self, line: &str) {
        if let Ok(object) = serde_json::from_str::<NamespaceObject>(line) {
            self.cache.on_namespace("default", Some(object.into()));
        }
        let version = self.cache.version();
        match line.split_once(' ') {
            Some(("list", list)) => self.list(list),
            // Deleted or not, as long as it is there it is known.
            Some(("drained", uid)) => self.cache.forget(uid),
            Some(("ended", seconds)) => self.ended(seconds.parse().unwrap_or_default()),
            Some(("state", "down")) => self.cache.on_state(State::Down),
            Some(("state", _)) => self.cache.on_state(State::Live),
            _ => self.event(line),
        }
        assert!(self.cache.version() >= version);
    }

    fn list(&mut self, text: &str) {
        let Ok(list) = serde_json::from_str::<PodList>(text) else {
            return;
        };
        self.plan.on_listed(list.resource_version());
        assert!(matches!(
            self.plan.poll(self.now + Duration::from_secs(600)),
            Some(Action::Watch { .. })
        ));
        let pods = list.items.into_iter();
        let records: Vec<PodRecord> = pods
            .filter_map(|pod| PodRecord::new(pod, &self.selection))
            .collect();
        self.present = records.iter().map(|record| record.uid.clone()).collect();
        self.cache.on_list(records);
    }

    /// A watch was opened, and ended after so many seconds: the next one comes, at last, without a list.
    fn ended(&mut self, seconds: u8) {
        self.plan.on_opened(self.now);
        self.now += Duration::from_secs(seconds.into());
        self.plan.on_ended(self.now, 7);
        let due = self.plan.next_deadline().expect("a moment");
        assert!(due >= self.now && due <= self.now + Duration::from_secs(600));
        if due > self.now {
            assert_eq!(self.plan.poll(self.now), None);
        }
        assert!(self.plan.poll(due).is_some());
    }

    fn event(&mut self, line: &str) {
        let event: Result<WatchEvent<PodObject>, _> = serde_json::from_str(line);
        let tree = Tree::parse(line.as_bytes()).filter(|tree| !tree.has_twins());
        let kind = tree.as_ref().and_then(|tree| tree.get("type")?.text());
        match news(event.map_err(kube::Error::SerdeError), "watching") {
            Ok(News::Applied(pod)) => {
                assert!(kind.is_none_or(|kind| ["ADDED", "MODIFIED"].contains(&kind)));
                if let Some(record) = self.record(pod, tree.as_ref()) {
                    self.present.insert(record.uid.clone());
                    self.cache.on_applied(record);
                }
            }
            Ok(News::Deleted(pod)) => {
                assert!(kind.is_none_or(|kind| kind == "DELETED"));
                if let Some(record) = self.record(pod, tree.as_ref()) {
                    self.present.remove(&record.uid);
                    self.cache.on_deleted(&record.uid);
                }
            }
            Ok(News::Bookmark(version)) => self.plan.on_version(&version),
            Err(failure) => self.failed(&failure),
        }
    }

    /// The record of a pod, compared with the tree of the event.
    fn record(&mut self, pod: PodObject, tree: Option<&Tree>) -> Option<PodRecord> {
        self.plan.on_version(pod.resource_version());
        let record = PodRecord::new(pod, &self.selection);
        // As a list of values, which serde takes as well: no server writes that.
        let object = tree
            .and_then(|tree| tree.get("object"))
            .filter(|object| object.members().is_some());
        match (&record, object) {
            (Some(record), Some(object)) => told(record, object, &self.selection),
            (None, Some(object)) => assert!(text(object, &["metadata", "uid"]).is_none_or(str::is_empty)),
            _ => {}
        }
        record
    }

    /// No failure makes requests without a pause, and what cannot be gone on from is not gone on from.
    fn failed(&mut self, failure: &Failure) {
        assert!(!failure.to_string().is_empty() && failure.cause.len() < 4096);
        self.plan.on_failure(failure, self.now, 7);
        let later = self.now + Duration::from_secs(1 << 33);
        let action = self.plan.poll(later);
        if matches!(failure.kind, Kind::Expired | Kind::Nonsense) {
            assert_eq!(action, Some(Action::List));
        }
        if failure.kind != Kind::Expired {
            assert!(self.plan.next_deadline().is_some_and(|due| due > self.now));
        }
        assert!(action.is_some());
    }

    fn check(&mut self) {
        assert_eq!(self.cache.len(), self.present.len());
        let instance = |uid| Instance {
            namespace: "default",
            pod: "p",
            uid,
            container: "c",
            restart: 1,
        };
        if !self.present.contains("absent") {
            let down = self.cache.state() == State::Down;
            match self.cache.lookup(&instance("absent")) {
                Lookup::Wait(metadata) if !down => assert!(metadata.missing),
                Lookup::Missing(metadata) if down => assert!(metadata.missing),
                // The last that was deleted, or one that is believed to be its mirror.
                lookup => assert!(matches!(lookup, Lookup::Known(_)), "{lookup:?}"),
            }
        }
        for uid in &self.present {
            let instance = instance(uid);
            let (Lookup::Known(metadata) | Lookup::Wait(metadata)) = self.cache.lookup(&instance) else {
                panic!("pod {uid} is there, and the cache does not know it")
            };
            assert_eq!(
                (metadata.pod_uid.as_str(), metadata.node.as_str()),
                (uid.as_str(), "n")
            );
            assert!(!metadata.missing);
        }
        assert!(self.cache.namespaces_in_use().len() <= self.present.len());
        assert!(self.present.len() <= MAX_DELETED);
    }
}

/// What the record says of a container is what the object says.
fn told(record: &PodRecord, object: &Tree, selection: &Selection) {
    let field = |path: &[&str]| text(object, path).unwrap_or_default();
    assert_eq!(record.uid, field(&["metadata", "uid"]));
    assert_eq!(record.namespace, field(&["metadata", "namespace"]));
    assert_eq!(record.name, field(&["metadata", "name"]));
    let metadata: Metadata = record.metadata("c", 1);
    assert_eq!(
        metadata.pod_ip.as_deref().unwrap_or_default(),
        field(&["status", "podIP"])
    );
    let labels = at(object, &["metadata", "labels"])
        .and_then(Tree::members)
        .unwrap_or_default();
    let mut labels: Vec<(&str, &str)> = labels
        .iter()
        .filter_map(|(key, value)| Some((key.as_str(), value.text()?)))
        .collect();
    labels.sort_unstable();
    labels.truncate(if selection.labels { labels.len() } else { 0 });
    let found: Vec<(&str, &str)> = metadata
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(found, labels);
    let hash = text(object, &["metadata", "annotations", "kubernetes.io/config.hash"]);
    assert_eq!(record.config_hash.as_deref(), hash);
}

fn at<'a>(tree: &'a Tree, path: &[&str]) -> Option<&'a Tree> {
    path.iter().try_fold(tree, |tree, name| tree.get(name))
}

fn text<'a>(tree: &'a Tree, path: &[&str]) -> Option<&'a str> {
    at(tree, path)?.text()
}
