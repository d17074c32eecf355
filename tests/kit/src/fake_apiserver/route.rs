//! From a request to what is answered: the paths, the parameters and their refusals. No sockets, no clock.

use std::time::Duration;

use serde_json::json;

use super::status;
use super::store::{Continue, Form, Kind, Page, Query, Selector, Store, Watch, single};
use super::wire::{Answer, Request};

/// What a request gets.
#[derive(Debug)]
pub(super) enum Reply {
    Whole(Answer),
    Watch(Opening),
}

/// A watch about to begin: its first lines, where it goes on, and how long it lasts.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) lines: Vec<serde_json::Value>,
    pub(super) watch: Watch,
    pub(super) timeout: Option<Duration>,
}

/// Which objects a path names.
#[derive(Debug)]
enum Target {
    Version,
    Object(Kind, String),
    Collection(Kind, Option<String>),
}

/// What a request asks for, as far as the counters are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    List,
    Watch,
    Other,
}

/// Whether it lists or watches pods. Namespaces do not count: tests look at the load that pods make.
pub(super) fn verb(request: &Request) -> Verb {
    match target(&request.path) {
        Some(Target::Collection(Kind::Pod, _)) if wants_watch(request) => Verb::Watch,
        Some(Target::Collection(Kind::Pod, _)) => Verb::List,
        _ => Verb::Other,
    }
}

/// Answers a request that was let in.
pub(super) fn route(store: &Store, request: &Request) -> Reply {
    if request.method != "GET" {
        return refuse(status::bad_request("this API server can only be read"));
    }
    match target(&request.path) {
        None => refuse(status::not_found("path", &request.path)),
        Some(Target::Version) => Reply::Whole(Answer::json(200, &version())),
        Some(Target::Object(kind, key)) => match store.get(kind, &key) {
            Some(object) => Reply::Whole(Answer::json(200, &single(kind, form(request), object))),
            None => refuse(status::not_found(
                resource(kind),
                key.rsplit('/').next().unwrap_or_default(),
            )),
        },
        Some(Target::Collection(kind, namespace)) => {
            collection(store, request, kind, namespace.as_deref()).unwrap_or_else(refuse)
        }
    }
}

fn target(path: &str) -> Option<Target> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments[..] {
        ["version"] => Some(Target::Version),
        ["api", "v1", "pods"] => Some(Target::Collection(Kind::Pod, None)),
        ["api", "v1", "namespaces"] => Some(Target::Collection(Kind::Namespace, None)),
        ["api", "v1", "namespaces", name] => Some(Target::Object(Kind::Namespace, name.to_owned())),
        ["api", "v1", "namespaces", name, "pods"] => {
            Some(Target::Collection(Kind::Pod, Some(name.to_owned())))
        }
        ["api", "v1", "namespaces", name, "pods", pod] => {
            Some(Target::Object(Kind::Pod, format!("{name}/{pod}")))
        }
        _ => None,
    }
}

fn collection(
    store: &Store,
    request: &Request,
    kind: Kind,
    namespace: Option<&str>,
) -> Result<Reply, serde_json::Value> {
    // Better refused than ignored: a test would believe that its selector selects.
    if request.parameter("labelSelector").is_some() {
        return Err(status::bad_request(
            "this API server is a test double and knows no labelSelector",
        ));
    }
    let selector = request.parameter("fieldSelector").unwrap_or_default();
    let mut selector = Selector::parse(&selector).map_err(|reason| status::bad_request(&reason))?;
    if let Some(namespace) = namespace {
        selector = selector.in_namespace(namespace);
    }
    let query = Query {
        kind,
        form: form(request),
        selector,
    };
    let wanted = number(request, "resourceVersion")?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted > store.version()) {
        return Err(status::too_new(wanted, store.version()));
    }
    if wants_watch(request) {
        open_watch(store, request, query, wanted)
    } else {
        list(store, request, &query, wanted)
    }
}

fn list(
    store: &Store,
    request: &Request,
    query: &Query,
    wanted: Option<u64>,
) -> Result<Reply, serde_json::Value> {
    let after = match request.parameter("continue") {
        Some(text) => {
            Some(Continue::parse(&text).ok_or_else(|| status::bad_request("continue key is not valid"))?)
        }
        None => None,
    };
    // The watch cache answers resourceVersion=0, and it knows no pages.
    let limit = number(request, "limit")?
        .filter(|_| wanted != Some(0))
        .map(|limit| limit as usize);
    let list = store.list(query, &Page { limit, after })?;
    Ok(Reply::Whole(Answer::json(200, &list)))
}

fn open_watch(
    store: &Store,
    request: &Request,
    query: Query,
    wanted: Option<u64>,
) -> Result<Reply, serde_json::Value> {
    let bookmarks = flag(request, "allowWatchBookmarks");
    let watch_list = flag(request, "sendInitialEvents");
    if watch_list && request.parameter("resourceVersionMatch").as_deref() != Some("NotOlderThan") {
        return Err(status::bad_request(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let timeout = number(request, "timeoutSeconds")?.map(Duration::from_secs);
    let (lines, position) = match wanted {
        Some(version) if version != 0 && !watch_list => (Vec::new(), version),
        _ => (
            store.initial_lines(&query, watch_list && bookmarks),
            store.version(),
        ),
    };
    Ok(Reply::Watch(Opening {
        lines,
        watch: Watch {
            query,
            position,
            bookmarks,
        },
        timeout,
    }))
}

fn refuse(status: serde_json::Value) -> Reply {
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())
        .unwrap_or(500);
    let mut answer = Answer::json(code, &status);
    answer.retry_after = status["details"]["retryAfterSeconds"]
        .as_u64()
        .map(Duration::from_secs);
    Reply::Whole(answer)
}

fn wants_watch(request: &Request) -> bool {
    flag(request, "watch")
}

fn flag(request: &Request, name: &str) -> bool {
    matches!(request.parameter(name).as_deref(), Some("1" | "true"))
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, serde_json::Value> {
    let Some(text) = request.parameter(name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(status::bad_request(&format!(
            "Invalid value: \"{text}\" for {name}"
        ))),
    }
}

/// `application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1` asks for metadata only.
fn form(request: &Request) -> Form {
    if request.accept.contains("as=PartialObjectMetadata") {
        Form::MetadataOnly
    } else {
        Form::Whole
    }
}

fn resource(kind: Kind) -> &'static str {
    match kind {
        Kind::Pod => "pods",
        Kind::Namespace => "namespaces",
    }
}

fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": "35", "gitVersion": "v1.35.4", "gitCommit": "0000000", "gitTreeState": "clean",
        "buildDate": "2026-04-15T00:00:00Z", "goVersion": "go1.25.0", "compiler": "gc", "platform": "linux/amd64",
    })
}
