//! The same server without sockets, threads or time, for a simulator: a `_bulk` body enters, an [`Outlet`] leaves.

use super::Document;
use super::bulk;
use super::faults::{Fates, Fault, Script};
use super::filter_path::FilterPath;
use super::store::Store;
use super::{BlockKind, answers::Items};

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// Status and body.
    Answer(u16, Vec<u8>),
    /// The connection is cut.
    Cut,
}

/// A server that is called.
#[derive(Debug)]
pub struct DirectElasticsearch {
    store: Store,
    script: Script,
}

impl DirectElasticsearch {
    /// An empty one. Fates hang on `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            store: Store::default(),
            script: Script::new(seed),
        }
    }

    /// The fates of items from now on.
    pub fn fates(&mut self, fates: Fates) {
        self.script.fates = Some(fates);
    }

    /// Blocks all indices that match.
    pub fn block_index(&mut self, index_glob: &str, kind: BlockKind) {
        self.script.blocks.retain(|(glob, _)| glob != index_glob);
        self.script.blocks.push((index_glob.to_owned(), kind));
    }

    /// Takes a block away.
    pub fn unblock_index(&mut self, index_glob: &str) {
        self.script.blocks.retain(|(glob, _)| glob != index_glob);
    }

    /// A request with a body in gzip or plain, and what goes wrong with it. Stalls are the caller's to make.
    pub fn bulk(&mut self, wire: &[u8], is_gzip: bool, filter_path: &str, fault: Option<Fault>) -> Outlet {
        match fault {
            Some(Fault::CutBeforeCommit) => return Outlet::Cut,
            Some(Fault::Refuse(refused)) => return outlet(refused.response()),
            Some(Fault::Html200) => return outlet(super::faults::html(200)),
            _ => {}
        }
        let mut inflated = Vec::new();
        let body = if is_gzip {
            if bulk::inflate(wire, &mut inflated, self.script.limit_bytes).is_err() {
                return Outlet::Answer(400, b"{}".to_vec());
            }
            &inflated[..]
        } else {
            wire
        };
        let mut actions = match bulk::parse(body, None) {
            Ok(actions) => actions,
            Err(refusal) => return outlet(refusal.response()),
        };
        let half = fault == Some(Fault::CommitHalfThen400);
        if half {
            actions.truncate(actions.len() / 2);
        }
        let mut items = Items::new(FilterPath::parse(filter_path));
        for action in &mut actions {
            let outcome = self.store.commit(action, &mut self.script);
            items.push(action.op, &action.index, &action.id, &outcome);
        }
        if half {
            return outlet(
                super::answers::Refusal::argument("Malformed content after the first half").response(),
            );
        }
        if fault == Some(Fault::ShortItems) {
            items.drop_last(1);
        }
        let (status, mut answer) = (200, items.finish());
        match fault {
            Some(Fault::CommitThenCut) => return Outlet::Cut,
            Some(Fault::CutMidAnswer) => answer.truncate(answer.len() / 2),
            Some(Fault::Empty200) => answer.clear(),
            Some(Fault::Pretty) => answer = super::answers::pretty(&answer),
            _ => {}
        }
        Outlet::Answer(status, answer)
    }

    /// Everything that is stored, indices in order of their names.
    pub fn documents(&self) -> Vec<Document> {
        self.store.documents("*")
    }

    /// How often an id was there already.
    pub fn conflicts(&self) -> u64 {
        self.store.conflicts
    }

    /// How many documents are stored.
    pub fn stored(&self) -> u64 {
        self.store.stored
    }
}

fn outlet(response: super::http::Response) -> Outlet {
    Outlet::Answer(response.status, response.body)
}
