//! What the server does wrong, scripted: faults of whole requests, fates of single items, blocks of indices.
//!
//! Everything random hangs on the seed. The fate of an item hangs on the seed, its id and how often that id was tried,
//! so that it does not depend on the order in which connections are served.

use super::answers::{Failure, Refusal};
use super::bulk::{Action, Op};
use super::glob;
use crate::chance::{Chance, mix, unit};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What goes wrong with a whole `_bulk` request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection is cut before anything is stored.
    CutBeforeCommit,
    /// Everything is stored, then the connection is cut without an answer: only ids keep a retry from duplicating.
    CommitThenCut,
    /// Everything is stored, the answer ends in its middle.
    CutMidAnswer,
    /// The first half is stored, then the whole request is refused with 400: 9.x does this to a body whose end is broken.
    CommitHalfThen400,
    /// Nothing is stored; the request is refused.
    Refuse(Refused),
    /// Nothing is stored; a proxy answers 200 with an HTML page.
    Html200,
    /// Everything is stored; a proxy answers 200 with nothing.
    Empty200,
    /// Everything is stored; the answer lacks its last item.
    ShortItems,
    /// Everything is stored; the answer is spread over lines and spaced, as `?pretty` makes it.
    Pretty,
    /// Nothing happens until [`super::RudeElasticsearch::release`] or until this time is over; then the request goes on.
    StallBeforeCommit(Duration),
    /// Everything is stored; the answer waits in the same way.
    StallAfterCommit(Duration),
}

/// How a whole request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// 429, indexing pressure.
    Pressure429,
    /// 429, circuit breaker.
    Breaker429,
    /// 503, no master.
    Unavailable503,
    /// 502, an HTML page of a proxy.
    BadGateway502,
    /// 413, no body, no content type, no product header.
    TooLarge413,
    /// 401, no credentials.
    Unauthorized401,
    /// 401, an API key that is none.
    ApiKey401,
    /// 403, the role allows nothing.
    Forbidden403,
    /// 403, the cluster is read-only.
    ReadOnly403,
    /// Any other error.
    #[serde(skip)]
    Error(Said),
}

/// An error as a server tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// HTTP status.
    pub status: u16,
    /// `error.type`; when it is empty, a proxy answers with a page.
    pub kind: &'static str,
    /// `error.reason`.
    pub reason: &'static str,
}

impl Refused {
    pub(super) fn response(self) -> super::http::Response {
        use super::http::Response;
        match self {
            Self::Pressure429 => Refusal::new(
                429,
                "es_rejected_execution_exception",
                "rejected execution of coordinating operation [coordinating_and_primary_bytes=0, replica_bytes=0, \
                 all_bytes=0, coordinating_operation_bytes=48088, max_coordinating_bytes=8192]",
            ),
            Self::Breaker429 => Refusal::new(
                429,
                "circuit_breaking_exception",
                "[inflight_requests] Data too large, data for [<http_request>] would be [125620/122.6kb], which is larger \
                 than the limit of [20480/20kb]",
            )
            .with_raw(",\"bytes_wanted\":125620,\"bytes_limit\":20480,\"durability\":\"TRANSIENT\""),
            Self::Unavailable503 => Refusal::new(
                503,
                "cluster_block_exception",
                "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];",
            ),
            Self::Unauthorized401 => Refusal::unauthorized(),
            Self::ApiKey401 => Refusal::unknown_api_key(),
            Self::Forbidden403 => Refusal::new(
                403,
                "security_exception",
                "action [indices:data/write/bulk] is unauthorized for user [nopriv] with effective roles [], this action \
                 is granted by the index privileges [create_doc,create,delete,index,write,all]",
            )
            .without_product(),
            Self::ReadOnly403 => Refusal::new(
                403,
                "cluster_block_exception",
                "blocked by: [FORBIDDEN/6/cluster read-only (api)];",
            )
            .without_product(),
            Self::TooLarge413 => return Response { status: 413, ..Response::default() },
            Self::BadGateway502 => return html(502),
            Self::Error(Said { status, kind: "", .. }) => return html(status),
            Self::Error(Said { status, kind, reason }) => Refusal::new(status, kind, reason),
        }
        .response()
    }
}

/// A proxy's page.
pub(super) fn html(status: u16) -> super::http::Response {
    super::http::Response {
        status,
        headers: vec![("content-type", "text/html".to_owned())],
        body: b"<html><head><title>proxy</title></head><body><h1>something is wrong</h1></body></html>"
            .to_vec(),
        close: false,
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odds {
    /// Every request.
    Always,
    /// Each request with this probability.
    Probability(f64),
    /// This many requests from now on, then never again.
    Next(u32),
}

/// What an index answers to every item for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// `index.blocks.write`: 403 `cluster_block_exception`.
    Write403,
    /// Flood stage (`read_only_allow_delete`): 429 `cluster_block_exception`.
    FloodStage429,
    /// The index is closed: 400 `index_closed_exception`.
    Closed400,
    /// The index is missing and `action.auto_create_index` is false: 404 `index_not_found_exception`.
    AutoCreate404,
    /// The cluster has as many shards as it may have: 400 `validation_exception`.
    MaxShards400,
    /// Its ingest pipeline `nopipe` does not exist: 400 `illegal_argument_exception`.
    PipelineMissing400,
    /// The role may not write there: 403 `security_exception`.
    Security403,
}

impl BlockKind {
    pub(super) fn failure(self, index: &str) -> Failure {
        const GUIDE: &str = "https://www.elastic.co/guide/en/elasticsearch/reference/8.19";
        let blocked = |status, by: &str| {
            Failure::new(
                status,
                "cluster_block_exception",
                &format!("index [{index}] blocked by: [{by}];"),
            )
        };
        match self {
            Self::Write403 => blocked(403, "FORBIDDEN/8/index write (api)"),
            Self::FloodStage429 => blocked(
                429,
                &format!(
                    "TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete \
                     block; for more information, see {GUIDE}/fix-watermark-errors.html"
                ),
            ),
            Self::Closed400 => Failure::new(400, "index_closed_exception", "closed")
                .with("index_uuid", "rP0OLgi0Rpe7Xp7MU7G6gw")
                .with("index", index),
            Self::AutoCreate404 => Failure::new(
                404,
                "index_not_found_exception",
                &format!("no such index [{index}] and [action.auto_create_index] is [false]"),
            )
            .with("index_uuid", "_na_")
            .with("index", index),
            Self::MaxShards400 => Failure::new(
                400,
                "validation_exception",
                &format!(
                    "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [16]/[1] \
                     maximum normal shards open; for more information, see \
                     {GUIDE}/size-your-shards.html#troubleshooting-max-shards-open;"
                ),
            ),
            Self::PipelineMissing400 => Failure::new(
                400,
                "illegal_argument_exception",
                "pipeline with id [nopipe] does not exist",
            ),
            Self::Security403 => Failure::new(
                403,
                "security_exception",
                &format!(
                    "action [indices:admin/auto_create] is unauthorized for user [shipper] with effective roles [shipper] \
                     on indices [{index}], this action is granted by the index privileges \
                     [auto_configure,create_index,manage,all]"
                ),
            ),
        }
    }
}

/// What happens to one item instead of being stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemFate {
    /// The write queue is full.
    Reject429,
    /// The primary shard is not there.
    Unavailable503,
    /// The document does not fit the mapping.
    Mapping400,
    /// Status 200, nothing stored: an ingest pipeline dropped it.
    Noop200,
    /// Status 201 and stored, but in the failure store (`failure_store: "used"`).
    FailureStoreUsed,
    /// Any other error.
    Error {
        /// HTTP status of the item.
        status: u16,
        /// `error.type`.
        kind: String,
        /// `error.reason`.
        reason: String,
        /// `failure_store` (`not_enabled`, `failed`), if the item is to have one.
        failure_store: Option<&'static str>,
    },
}

/// Errors that name their index in a field of its own.
const NAMES_INDEX: [&str; 3] = [
    "index_closed_exception",
    "index_not_found_exception",
    "version_conflict_engine_exception",
];

impl ItemFate {
    /// The failure that the item shows, or none when the fate is no failure.
    pub(super) fn failure(&self, action: &Action<'_>) -> Option<Failure> {
        let (index, id) = (&action.index, &action.id);
        Some(match self {
            Self::Reject429 => Failure::new(
                429,
                "es_rejected_execution_exception",
                "rejected execution of TimedRunnable on TaskExecutionTimeTrackingEsThreadPoolExecutor[name = n1/write, queue \
                 capacity = 1, active threads = 1, queued tasks = 1, completed tasks = 23]",
            ),
            Self::Unavailable503 => Failure::new(
                503,
                "unavailable_shards_exception",
                &format!(
                    "[{index}][0] primary shard is not active Timeout: [1s], request: [BulkShardRequest [[{index}][0]] \
                     containing [index {{[{index}][{id}], source[{}]}}]]",
                    String::from_utf8_lossy(action.source)
                ),
            ),
            Self::Mapping400 => Failure::new(
                400,
                "document_parsing_exception",
                &format!(
                    "[1:6] failed to parse field [n] of type [long] in document with id '{id}'. Preview of field's value: 'abc'"
                ),
            )
            .with_raw(
                "caused_by",
                "{\"type\":\"illegal_argument_exception\",\"reason\":\"For input string: \\\"abc\\\"\"}".to_owned(),
            ),
            Self::Error { status, kind, reason, failure_store } => {
                let failure = Failure { failure_store: *failure_store, ..Failure::new(*status, kind, reason) };
                if NAMES_INDEX.contains(&kind.as_str()) { failure.with("index", index) } else { failure }
            }
            Self::Noop200 | Self::FailureStoreUsed => return None,
        })
    }
}

/// What a custom fate looks at.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The operation.
    pub op: Op,
    /// The index in the action line (or the URL).
    pub index: &'a str,
    /// The id; empty when the server is to make one.
    pub id: &'a str,
    /// The document's bytes.
    pub source: &'a [u8],
    /// How often this id was tried before, counted while any fate is set.
    pub attempt: u32,
}

/// A predicate on a document's bytes.
pub type SourceTest = Box<dyn Fn(&[u8]) -> bool + Send>;
/// A fate decided by the test itself. It runs under the server's lock and must not call the server.
pub type CustomFate = Box<dyn FnMut(Item<'_>) -> Option<ItemFate> + Send>;

/// The fates of items; the default stores everything. Looked at in the order of the fields.
#[derive(Default)]
pub struct Fates {
    /// Decided by the test.
    pub custom: Option<CustomFate>,
    /// Documents for which this is true never fit the mapping.
    pub mapping_400: Option<SourceTest>,
    /// Probability of 429.
    pub reject_429: f64,
    /// Probability of 503.
    pub unavailable_503: f64,
    /// Probability of 200 without storing.
    pub noop_200: f64,
    /// Probability of the failure store.
    pub failure_store_used: f64,
}

impl fmt::Debug for Fates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fates")
            .field("custom", &self.custom.is_some())
            .field("mapping_400", &self.mapping_400.is_some())
            .field("reject_429", &self.reject_429)
            .field("unavailable_503", &self.unavailable_503)
            .field("noop_200", &self.noop_200)
            .field("failure_store_used", &self.failure_store_used)
            .finish()
    }
}

/// Everything that is scripted.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) chance: Chance,
    pub(super) faults: Vec<(Fault, Odds)>,
    pub(super) fates: Option<Fates>,
    pub(super) blocks: Vec<(String, BlockKind)>,
    pub(super) authorization: Option<String>,
    /// `http.max_content_length`, of the inflated body.
    pub(super) limit_bytes: usize,
    /// Of inflated bodies; 0 is no limit.
    pub(super) bytes_per_second: u64,
    /// When the last request before has been taken in.
    pub(super) free_at: Option<Instant>,
    attempts: HashMap<u64, u32>,
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            chance: Chance::new(seed),
            faults: Vec::new(),
            fates: None,
            blocks: Vec::new(),
            authorization: None,
            limit_bytes: 100 << 20,
            bytes_per_second: 0,
            free_at: None,
            attempts: HashMap::new(),
        }
    }

    /// The fault of the next request: the first one in the list that strikes.
    pub(super) fn draw(&mut self) -> Option<Fault> {
        let chance = &mut self.chance;
        let struck = self.faults.iter_mut().find_map(|(fault, odds)| {
            let strikes = match odds {
                Odds::Always => true,
                Odds::Probability(probability) => chance.hit(*probability),
                Odds::Next(left) => {
                    let strikes = *left > 0;
                    *left = left.saturating_sub(1);
                    strikes
                }
            };
            strikes.then_some(*fault)
        });
        self.faults.retain(|(_, odds)| *odds != Odds::Next(0));
        struck
    }

    pub(super) fn block(&self, index: &str) -> Option<BlockKind> {
        self.blocks
            .iter()
            .find(|(name, _)| glob(name, index))
            .map(|&(_, kind)| kind)
    }

    pub(super) fn fate(&mut self, action: &Action<'_>, id_hash: u64) -> Option<ItemFate> {
        let fates = self.fates.as_mut()?;
        let attempts = self.attempts.entry(id_hash).or_default();
        let attempt = *attempts;
        *attempts += 1;
        let item = Item {
            op: action.op,
            index: &action.index,
            id: &action.id,
            source: action.source,
            attempt,
        };
        if let Some(fate) = fates.custom.as_mut().and_then(|custom| custom(item)) {
            return Some(fate);
        }
        if fates
            .mapping_400
            .as_ref()
            .is_some_and(|never_fits| never_fits(action.source))
        {
            return Some(ItemFate::Mapping400);
        }
        let mut drawn = unit(mix(self.seed ^ id_hash ^ mix(u64::from(attempt) + 1)));
        for (probability, fate) in [
            (fates.reject_429, ItemFate::Reject429),
            (fates.unavailable_503, ItemFate::Unavailable503),
            (fates.noop_200, ItemFate::Noop200),
            (fates.failure_store_used, ItemFate::FailureStoreUsed),
        ] {
            if drawn < probability {
                return Some(fate);
            }
            drawn -= probability;
        }
        None
    }
}
