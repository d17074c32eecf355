//! What the API server knows: objects, their history, and what of it a list or a watch may see.
//!
//! One resource version counts for everything, as etcd's revision does. The history is forgotten only when told
//! (`expire`). Deviation from the real one: a continued list shows the *present* rest, not that of its first page.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::status;

/// The resources served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Namespace,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Namespace => "Namespace",
        }
    }
}

/// How objects are written: whole, or as `PartialObjectMetadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    MetadataOnly,
}

/// Which objects a request is about: one term is a JSON pointer, the value wanted, and whether it must be equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    terms: Vec<(&'static str, String, bool)>,
}

impl Selector {
    /// Parses `spec.nodeName=a,metadata.name!=b`; an unknown field is refused in the server's own words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (field, value) = term
                .split_once('=')
                .ok_or_else(|| format!("invalid selector: '{term}'"))?;
            let (field, equal) = field
                .strip_suffix('!')
                .map_or((field, true), |field| (field, false));
            let pointer = match field {
                "spec.nodeName" => "/spec/nodeName",
                "metadata.name" => "/metadata/name",
                "metadata.namespace" => "/metadata/namespace",
                "status.phase" => "/status/phase",
                _ => return Err(format!("field label not supported: {field}")),
            };
            terms.push((pointer, value.trim_start_matches('=').to_owned(), equal));
        }
        Ok(Self { terms })
    }

    /// Narrows it to one namespace.
    pub(super) fn in_namespace(mut self, namespace: &str) -> Self {
        self.terms
            .push(("/metadata/namespace", namespace.to_owned(), true));
        self
    }

    fn matches(&self, object: &Value) -> bool {
        let found = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        self.terms
            .iter()
            .all(|(pointer, value, equal)| (found(pointer) == value) == *equal)
    }
}

/// What both lists and watches ask for.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) kind: Kind,
    pub(super) form: Form,
    pub(super) selector: Selector,
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) limit: Option<usize>,
    pub(super) after: Option<Continue>,
}

/// Where a page ended: the version of the list and the last key shown. The client sees it as opaque text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Continue {
    version: u64,
    key: String,
}

impl Continue {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (version, key) = text.split_once('.')?;
        Some(Self {
            version: version.parse().ok()?,
            key: key.to_owned(),
        })
    }

    fn to_text(&self) -> String {
        format!("{}.{}", self.version, self.key)
    }
}

/// A watch and how far it has come.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) query: Query,
    pub(super) position: u64,
    pub(super) bookmarks: bool,
}

/// What a watch is told next.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) lines: Vec<Value>,
    pub(super) ended: bool,
}

#[derive(Debug)]
struct Change {
    version: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Object {
        kind: Kind,
        before: Option<Value>,
        after: Option<Value>,
    },
    Bookmark,
}

/// Objects by kind and `namespace/name`, and their history.
#[derive(Debug)]
pub(super) struct Store {
    version: u64,
    oldest: u64,
    pods: BTreeMap<String, Value>,
    namespaces: BTreeMap<String, Value>,
    changes: Vec<Change>,
}

impl Store {
    pub(super) fn new() -> Self {
        // Not 0 and not 1: clients must not take versions for small counters.
        Self {
            version: 200,
            oldest: 200,
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Adds or replaces an object.
    pub(super) fn put(&mut self, kind: Kind, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let before = self.objects_mut(kind).insert(key(&object), object.clone());
        self.record(What::Object {
            kind,
            before,
            after: Some(object),
        });
    }

    /// Removes an object. The last state that watchers see carries the version of the removal, as the real one does.
    pub(super) fn remove(&mut self, kind: Kind, key: &str) -> Option<Value> {
        let mut before = self.objects_mut(kind).remove(key)?;
        self.version += 1;
        before["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.record(What::Object {
            kind,
            before: Some(before.clone()),
            after: None,
        });
        Some(before)
    }

    pub(super) fn get(&self, kind: Kind, key: &str) -> Option<&Value> {
        self.objects(kind).get(key)
    }

    /// Time goes on elsewhere in the cluster, and watches hear of it.
    pub(super) fn bookmark(&mut self) {
        self.version += 1;
        self.record(What::Bookmark);
    }

    /// Compaction: every version handed out so far is too old.
    pub(super) fn expire(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.changes.clear();
    }

    /// One page of a list, or the 410 of a `continue` from before the last compaction.
    pub(super) fn list(&self, query: &Query, page: &Page) -> Result<Value, Value> {
        let version = match &page.after {
            Some(after) if after.version != 0 && after.version < self.oldest => {
                let fresh = Continue {
                    version: 0,
                    key: after.key.clone(),
                };
                return Err(status::continue_expired(&fresh.to_text()));
            }
            Some(after) if after.version != 0 => after.version,
            _ => self.version,
        };
        let start = page.after.as_ref().map_or("", |after| after.key.as_str());
        let found: Vec<(&String, &Value)> = (self.objects(query.kind).iter())
            .filter(|(key, object)| key.as_str() > start && query.selector.matches(object))
            .collect();
        let shown = page
            .limit
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX)
            .min(found.len());
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if shown < found.len() {
            let next = Continue {
                version,
                key: found[shown - 1].0.clone(),
            };
            metadata["continue"] = next.to_text().into();
            if query.selector.terms.is_empty() {
                metadata["remainingItemCount"] = (found.len() - shown).into();
            }
        }
        let (kind, api_version) = match query.form {
            Form::Whole => (format!("{}List", query.kind.name()), "v1"),
            Form::MetadataOnly => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
        };
        let items: Vec<Value> = found[..shown]
            .iter()
            .map(|(_, object)| list_item(query.form, object))
            .collect();
        Ok(json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items }))
    }

    /// The present state as a watch's first lines; `closing` adds the bookmark that ends a watch-list's beginning.
    pub(super) fn initial_lines(&self, query: &Query, closing: bool) -> Vec<Value> {
        let objects = self
            .objects(query.kind)
            .values()
            .filter(|object| query.selector.matches(object));
        let mut lines: Vec<Value> = objects.map(|object| line("ADDED", query, object)).collect();
        if closing {
            let mut end = self.bookmark_line(query);
            end["object"]["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
            lines.push(end);
        }
        lines
    }

    /// Everything that happened after the watch's position, which moves on.
    pub(super) fn news(&self, watch: &mut Watch) -> News {
        if watch.position < self.oldest {
            return News {
                lines: vec![status::watch_expired(watch.position, self.version)],
                ended: true,
            };
        }
        let begin = self
            .changes
            .partition_point(|change| change.version <= watch.position);
        let lines = self.changes[begin..]
            .iter()
            .filter_map(|change| self.seen(watch, change))
            .collect();
        watch.position = self.version;
        News { lines, ended: false }
    }

    /// A change as the watch sees it: an object that leaves its selection is deleted, one that enters it is new.
    fn seen(&self, watch: &Watch, change: &Change) -> Option<Value> {
        let query = &watch.query;
        let selected = |object: &Option<Value>| {
            object
                .as_ref()
                .is_some_and(|object| query.selector.matches(object))
        };
        match &change.what {
            What::Bookmark => watch.bookmarks.then(|| {
                let mut line = self.bookmark_line(query);
                line["object"]["metadata"]["resourceVersion"] = change.version.to_string().into();
                line
            }),
            What::Object { kind, .. } if *kind != query.kind => None,
            What::Object { before, after, .. } => match (selected(before), selected(after)) {
                (false, false) => None,
                (false, true) => Some(line("ADDED", query, after.as_ref()?)),
                (true, true) => Some(line("MODIFIED", query, after.as_ref()?)),
                (true, false) => {
                    let mut last = before.clone()?;
                    last["metadata"]["resourceVersion"] = change.version.to_string().into();
                    Some(line("DELETED", query, &last))
                }
            },
        }
    }

    fn bookmark_line(&self, query: &Query) -> Value {
        let mut empty = json!({ "metadata": { "resourceVersion": self.version.to_string() } });
        if query.kind == Kind::Pod {
            empty["spec"] = json!({ "containers": null });
            empty["status"] = json!({});
        }
        line("BOOKMARK", query, &empty)
    }

    fn record(&mut self, what: What) {
        self.changes.push(Change {
            version: self.version,
            what,
        });
    }

    fn objects(&self, kind: Kind) -> &BTreeMap<String, Value> {
        match kind {
            Kind::Pod => &self.pods,
            Kind::Namespace => &self.namespaces,
        }
    }

    fn objects_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Value> {
        match kind {
            Kind::Pod => &mut self.pods,
            Kind::Namespace => &mut self.namespaces,
        }
    }
}

/// `namespace/name`, or the bare name of what has no namespace.
pub(super) fn key(object: &Value) -> String {
    let name = object["metadata"]["name"]
        .as_str()
        .expect("an object needs metadata.name");
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

fn line(event: &str, query: &Query, object: &Value) -> Value {
    json!({ "type": event, "object": single(query.kind, query.form, object) })
}

/// An object standing alone names its kind; in a list of whole objects only the list does.
pub(super) fn single(kind: Kind, form: Form, object: &Value) -> Value {
    match form {
        Form::MetadataOnly => list_item(form, object),
        Form::Whole => {
            let mut named = object.clone();
            named["kind"] = kind.name().into();
            named["apiVersion"] = "v1".into();
            named
        }
    }
}

fn list_item(form: Form, object: &Value) -> Value {
    match form {
        Form::Whole => object.clone(),
        Form::MetadataOnly => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
    }
}
