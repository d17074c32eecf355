//! Each row of the tables of verdicts: what becomes of a document, or of a request, when a server says so.
//!
//! Red without its row: the class of the row that fits next does something else with the document.

use super::*;
use crate::sink::elasticsearch::response::table::{
    ITEMS, ItemClass, REQUESTS, RequestClass, item_row_of, request_row_of,
};
use longshore_kit::rude_elasticsearch as rude;
use longshore_kit::rude_elasticsearch::{Item, ItemFate};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What a server says: status, error type, reason, failure store.
type Said = (u16, &'static str, &'static str, Option<&'static str>);

/// The document of which it is said, and its neighbour.
const VICTIM: &str = "id-0";
const NEIGHBOUR: &str = "id-1";

fn fate((status, kind, reason, failure_store): Said) -> Option<ItemFate> {
    Some(match (status, failure_store) {
        (201, None) => return None,
        (200, None) => ItemFate::Noop200,
        (_, Some("used")) => ItemFate::FailureStoreUsed,
        _ => ItemFate::Error {
            status,
            kind: kind.to_owned(),
            reason: reason.to_owned(),
            failure_store,
        },
    })
}

/// A server that says `said` of the victim while `lasts` and its index is `a`, and the sink before it.
struct Scene {
    server: RudeElasticsearch,
    rig: Rig,
    lasts: Arc<AtomicBool>,
    attempts: Arc<AtomicU32>,
    _state: tempfile::TempDir,
}

impl Scene {
    fn new(said: Said, once: bool) -> Scene {
        let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
        let (lasts, attempts) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicU32>::default());
        let (is_on, tried) = (Arc::clone(&lasts), Arc::clone(&attempts));
        let custom = move |item: Item<'_>| {
            if item.id != VICTIM {
                return None;
            }
            let attempt = tried.fetch_add(1, Ordering::SeqCst);
            let strikes = is_on.load(Ordering::SeqCst) && (attempt == 0 || !once);
            strikes.then(|| fate(said)).flatten()
        };
        server.fates(Fates {
            custom: Some(Box::new(custom)),
            ..Fates::default()
        });
        let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
        rig.send(2, &["a", "b"]);
        Scene {
            server,
            rig,
            lasts,
            attempts,
            _state: state,
        }
    }

    /// The sink ends well; gives what the server has of the victim, and the ledger.
    fn end(self) -> (Option<serde_json::Value>, Arc<Board>) {
        let (ended, board) = self.rig.stop();
        assert!(ended.clean, "{ended:?}");
        let documents = self.server.documents("*");
        let of = |id: &str| {
            let mut of_id = documents.iter().filter(|document| document.id == id);
            let found = of_id
                .next()
                .map(|found| serde_json::from_slice(&found.source).unwrap());
            assert!(of_id.next().is_none(), "{id} is stored twice");
            found
        };
        assert_eq!(of(NEIGHBOUR), Some(serde_json::json!({"n": 1})));
        (of(VICTIM), board)
    }
}

/// The victim's way after `said`, by the class of the row.
fn item_row(name: &str, class: ItemClass, said: Said) {
    let (status, kind, reason, failure_store) = said;
    assert_eq!(
        item_row_of(status, kind, reason, failure_store.unwrap_or_default()),
        name
    );
    let whole = Some(serde_json::json!({"n": 0}));
    match class {
        ItemClass::Accepted => {
            let scene = Scene::new(said, false);
            scene.rig.wait_for_acks();
            assert_eq!(scene.end().0, whole);
        }
        ItemClass::Duplicate | ItemClass::Dropped => {
            let scene = Scene::new(said, false);
            scene.rig.wait_for_acks();
            assert_eq!(scene.attempts.load(Ordering::SeqCst), 1);
            let (stored, board) = scene.end();
            let ledger = board.ledger();
            assert_eq!(stored, None);
            let acked = if class == ItemClass::Duplicate { 2 } else { 1 };
            assert_eq!(ledger.acked, acked * SOURCE_BYTES);
            assert_eq!(ledger.dead_lettered, 0);
        }
        ItemClass::Retry => {
            let scene = Scene::new(said, true);
            scene.rig.wait_for_acks();
            assert_eq!(scene.attempts.load(Ordering::SeqCst), 2);
            assert_eq!(scene.end().0, whole);
        }
        ItemClass::Refused => {
            // Poorer, it is taken.
            let scene = Scene::new(said, true);
            scene.rig.wait_for_acks();
            assert!(scene.attempts.load(Ordering::SeqCst) >= 2);
            let (stored, board) = scene.end();
            let stored = stored.expect("the poorer document");
            // Only the copy in a failure store is somewhere else than it was sent to.
            let diverted: Vec<u64> = board
                .sink()
                .diverted
                .iter()
                .map(|(_, documents)| *documents)
                .collect();
            let in_store = u64::from(failure_store == Some("used"));
            assert_eq!(diverted, [0, 0, in_store]);
            assert_eq!(stored["longshore"]["original"], r#"{"n":0}"#, "{stored}");
            // If not, it is a dead letter.
            let scene = Scene::new(said, false);
            scene.rig.wait_for_acks();
            let board = scene.end().1;
            assert_eq!(board.ledger().dead_lettered, SOURCE_BYTES);
        }
        ItemClass::Hold => {
            let mut scene = Scene::new(said, false);
            scene.rig.wait("the index is on hold", |rig| {
                let sink = rig.board.sink();
                sink.holds.iter().any(|hold| hold.index == "a" && hold.frames > 0)
            });
            scene.rig.send(2, &["b"]);
            scene.rig.wait_for_acks();
            assert!(scene.rig.board.sink().up);
            scene.lasts.store(false, Ordering::SeqCst);
            scene.rig.wait_for_empty_spool();
            let (stored, board) = scene.end();
            assert_eq!(stored, whole);
            assert_eq!(board.ledger().dead_lettered, 0);
        }
    }
}

/// The way of two documents whose request is refused with `said`.
fn request_row(name: &str, class: RequestClass, (status, kind, reason): (u16, &'static str, &'static str)) {
    assert_eq!(request_row_of(status, kind, reason), name);
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let refused = Fault::Refuse(Refused::Error(rude::Said { status, kind, reason }));
    let odds = match class {
        RequestClass::Retry | RequestClass::Hold => Odds::Always,
        RequestClass::Split | RequestClass::Bisect => Odds::Next(1),
    };
    server.fault(refused, odds);
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    rig.send(2, &["a"]);
    match class {
        RequestClass::Retry | RequestClass::Hold => {
            rig.wait("the status tells it", |rig| {
                let sink = rig.board.sink();
                !sink.up && sink.hold == (class == RequestClass::Hold)
            });
            assert!(server.wait_for_requests(2, PATIENCE));
            server.clear_faults();
            rig.wait_for_acks();
            rig.wait_for_empty_spool();
        }
        RequestClass::Split | RequestClass::Bisect => {
            rig.wait_for_acks();
            // The whole, and its halves.
            assert_eq!(server.requests(), 3);
        }
    }
    let (ended, board) = rig.stop();
    assert!(ended.clean);
    assert_eq!(board.ledger().dead_lettered, 0);
    assert_stored(&server, 2);
}

macro_rules! rows {
    ($all:ident, $run:ident, $class:ident: $($name:ident $expected:ident $said:expr;)*) => {
        const $all: &[(&str, $class)] = &[$((stringify!($name), $class::$expected)),*];
        $(#[test] fn $name() { $run(stringify!($name), $class::$expected, $said); })*
    };
}

mod item {
    use super::{ITEMS, ItemClass, item_row};

    const ARGUMENT: &str = "illegal_argument_exception";

    rows! { ALL, item_row, ItemClass:
        in_the_failure_store Refused (201, "", "", Some("used"));
        stored Accepted (201, "", "", None);
        dropped_by_a_pipeline Dropped (200, "", "", None);
        stored_before Duplicate (409, "version_conflict_engine_exception", "[id-0]: version conflict, document already exists (current version [1])", None);
        stored_before_without_a_type Duplicate (409, "", "", None);
        index_blocked Hold (429, "cluster_block_exception", "index [a] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];", None);
        index_closed Hold (400, "index_closed_exception", "closed", None);
        index_missing Hold (404, "index_not_found_exception", "no such index [a] and [action.auto_create_index] is [false]", None);
        not_allowed Hold (403, "security_exception", "action [indices:admin/auto_create] is unauthorized for user [noauto]", None);
        shard_not_active Hold (503, "unavailable_shards_exception", "[a][0] primary shard is not active Timeout: [1s]", None);
        index_name_invalid Hold (400, "invalid_index_name_exception", "Invalid index name [A], must be lowercase", None);
        alias_name_invalid Hold (400, "invalid_alias_name_exception", "Invalid alias name [A]: an index or data stream exists with the same name as the alias", None);
        shard_limit Hold (400, "validation_exception", "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1]/[1] maximum normal shards open;", None);
        shard_limit_before_7_17 Hold (400, ARGUMENT, "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1]/[1] maximum shards open;", None);
        pipeline_missing Hold (400, ARGUMENT, "pipeline with id [nopipe] does not exist", None);
        alias_without_write_index Hold (400, ARGUMENT, "no write index is defined for alias [al]. The write index may be explicitly disabled", None);
        not_created_in_a_data_stream Hold (400, ARGUMENT, "only write ops with an op_type of create are allowed in data streams", None);
        failed_in_a_pipeline Refused (500, "fail_processor_exception", "boom", None);
        no_capacity Retry (429, "es_rejected_execution_exception", "rejected execution of TimedRunnable", None);
        server_error Retry (503, "process_cluster_event_timeout_exception", "failed to process cluster event (put-mapping) within 30s", None);
        no_credentials Hold (401, "", "", None);
        forbidden Hold (403, "unheard_of", "no", None);
        not_found Hold (404, "unheard_of", "no", None);
        failure_store_off Refused (400, "document_parsing_exception", "[1:6] failed to parse", Some("not_enabled"));
        failure_store_failed Refused (400, "document_parsing_exception", "[1:6] failed to parse", Some("failed"));
        malformed_document Refused (400, "document_parsing_exception", "[1:6] failed to parse", None);
        refused_otherwise Refused (418, "unheard_of", "no", None);
    }

    #[test]
    fn every_row_of_the_table_of_items_has_a_test() {
        let rows: Vec<_> = ITEMS.iter().map(|row| (row.name, row.class)).collect();
        assert_eq!(rows, ALL);
    }
}

mod request {
    use super::{REQUESTS, RequestClass, request_row};

    const ARGUMENT: &str = "illegal_argument_exception";

    rows! { ALL, request_row, RequestClass:
        too_large Split (413, "", "");
        blocked Hold (429, "cluster_block_exception", "blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark];");
        no_capacity Retry (429, "circuit_breaking_exception", "[parent] Data too large");
        timeout Retry (408, "", "");
        client_gave_up Retry (499, "", "");
        server_error Retry (503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];");
        refused_by_a_proxy Hold (400, "", "");
        media_type_refused Hold (400, "media_type_header_exception", "Invalid media-type value on headers [Accept, Content-Type]");
        parameter_unknown Hold (400, ARGUMENT, "request [/_bulk] contains unrecognized parameter: [foo]");
        index_not_allowed_here Hold (400, ARGUMENT, "explicit index in bulk is not allowed");
        something_in_it Bisect (400, "action_request_validation_exception", "Validation Failed: 1: id [x] is too long;");
        no_credentials Hold (401, "security_exception", "missing authentication credentials for REST request [/_bulk]");
        forbidden Hold (403, "security_exception", "action [indices:data/write/bulk] is unauthorized for user [nopriv]");
        not_found Hold (404, "", "");
        method_not_allowed Hold (405, "", "");
        not_acceptable Hold (406, "", "");
        media_type_unknown Hold (415, "", "");
        redirected Hold (302, "", "");
        refused_otherwise Hold (418, "", "");
    }

    #[test]
    fn every_row_of_the_table_of_requests_has_a_test() {
        let rows: Vec<_> = REQUESTS.iter().map(|row| (row.name, row.class)).collect();
        assert_eq!(rows, ALL);
    }
}
