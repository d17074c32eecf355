//! Orders and questions of another process: JSON bodies enter, changes of the script and JSON answers leave.
//!
//! A misspelt key must not pass for a fault that never strikes, so everything unknown is refused with 400. Not offered:
//! fates that need code (those are for tests in the same process).

use super::answers::{json, plain_error, quoted};
use super::faults::{BlockKind, Fates, Fault, Odds, Script};
use super::http::{Request, Response};
use super::server::{Shared, lock};
use super::store::Keeping;
use memchr::memmem;
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Orders {
    keep: Option<Keeping>,
    seed: Option<u64>,
    clear_faults: bool,
    faults: Vec<FaultOrder>,
    fates: Option<FatesOrder>,
    block: Option<Block>,
    unblock: Option<String>,
    limit_body: Option<usize>,
    throttle: Option<u64>,
    authorization: Option<String>,
    release: bool,
    cut_connections: bool,
    off_ms: Option<u64>,
}

/// Without odds it strikes always.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    fault: Fault,
    #[serde(default = "always")]
    odds: Odds,
}

fn always() -> Odds {
    Odds::Always
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FatesOrder {
    mapping_400_if_contains: Option<String>,
    reject_429: f64,
    unavailable_503: f64,
    noop_200: f64,
    failure_store_used: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    index: String,
    kind: BlockKind,
}

/// The counters.
pub(super) fn stats(shared: &Shared) -> Response {
    let stats = shared.stats();
    json(200, serde_json::to_vec(&stats).expect("counters are JSON"))
}

/// What is stored, `{"_index":…,"_id":…,"_source":…}` per line, the source as it came.
pub(super) fn documents(shared: &Shared, request: &Request) -> Response {
    let index = request.parameters().find(|(key, _)| key == "index");
    let glob = index.map_or_else(|| "*".to_owned(), |(_, glob)| glob);
    let mut out = Vec::new();
    for document in lock(&shared.store).documents(&glob) {
        let (index, id) = (quoted(&document.index), quoted(&document.id));
        out.extend_from_slice(format!("{{\"_index\":{index},\"_id\":{id},\"_source\":").as_bytes());
        out.extend_from_slice(&document.source);
        out.extend_from_slice(b"}\n");
    }
    json(200, out)
}

/// Does what the body asks for; the second part is for how long the server is to be off after the answer.
pub(super) fn obey(shared: &Shared, body: &[u8]) -> (Response, Option<Duration>) {
    match serde_json::from_slice::<Orders>(body) {
        Ok(orders) => {
            let off = orders.off_ms.map(Duration::from_millis);
            orders.carry_out(shared);
            (json(200, b"{\"acknowledged\":true}".to_vec()), off)
        }
        Err(error) => (plain_error(400, &format!("no such order: {error}")), None),
    }
}

impl Orders {
    fn carry_out(self, shared: &Shared) {
        if let Some(keep) = self.keep {
            lock(&shared.store).keeping = keep;
        }
        let (release, cut) = (self.release, self.cut_connections);
        shared.with_script(|script| self.write(script));
        if release {
            shared.release();
        }
        if cut {
            shared.cut_all();
        }
    }

    fn write(self, script: &mut Script) {
        if let Some(seed) = self.seed {
            *script = Script::new(seed);
        }
        if self.clear_faults {
            script.faults.clear();
        }
        script
            .faults
            .extend(self.faults.iter().map(|order| (order.fault, order.odds)));
        if let Some(fates) = self.fates {
            script.fates = Some(fates.fates());
        }
        if let Some(block) = self.block {
            script.blocks.push((block.index, block.kind));
        }
        if let Some(index) = self.unblock {
            script.blocks.retain(|(name, _)| *name != index);
        }
        if let Some(bytes) = self.limit_body {
            script.limit_bytes = bytes;
        }
        if let Some(bytes) = self.throttle {
            script.bytes_per_second = bytes;
        }
        if self.authorization.is_some() {
            script.authorization = self.authorization;
        }
    }
}

impl FatesOrder {
    fn fates(self) -> Fates {
        let contains = self.mapping_400_if_contains.map(|needle| {
            let test: super::SourceTest =
                Box::new(move |source| memmem::find(source, needle.as_bytes()).is_some());
            test
        });
        Fates {
            custom: None,
            mapping_400: contains,
            reject_429: self.reject_429,
            unavailable_503: self.unavailable_503,
            noop_200: self.noop_200,
            failure_store_used: self.failure_store_used,
        }
    }
}
