//! What was stored: actions enter, outcomes leave. An id exists once per index, whatever happens around it.

use super::answers::{Failure, Outcome};
use super::bulk::{Action, Op};
use super::faults::{ItemFate, Script};
use super::{glob, strict_json};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};

/// What the server remembers of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeping {
    /// All of it; every document is checked to be strict JSON. For tests.
    #[default]
    Documents,
    /// A hash of its id, so that duplicates are still known. For benches.
    Ids,
    /// Nothing: the body is only cut into lines, no action line is read, every item is answered `created`, and neither
    /// fates nor blocks apply. For benches that measure the sender alone.
    Nothing,
}

/// A stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The index it was sent to.
    pub index: String,
    /// Its id, sent or generated.
    pub id: String,
    /// Its bytes as they were sent.
    pub source: Vec<u8>,
    /// 1, or more when an `index` action replaced it.
    pub version: u64,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) keeping: Keeping,
    indices: HashMap<String, Index>,
    generated: u64,
    pub(super) stored: u64,
    pub(super) conflicts: u64,
    pub(super) replaced: u64,
}

#[derive(Debug, Default)]
struct Index {
    seq_no: u64,
    documents: Vec<Document>,
    by_id: HashMap<u64, Place, BuildHasherDefault<Passed>>,
}

/// Where a document is, and its version.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    version: u32,
}

impl Store {
    /// Decides about one action and stores it if it may be stored. A generated id is put into the action.
    pub(super) fn commit(&mut self, action: &mut Action<'_>, script: &mut Script) -> Outcome {
        let hash = id_hash(&action.index, &action.id);
        if action.index.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Outcome::Failed(bad_index_name(&action.index));
        }
        if let Some(kind) = script.block(&action.index) {
            return Outcome::Failed(kind.failure(&action.index));
        }
        if self.keeping == Keeping::Documents
            && let Some(failure) = strict_json::refuse(action.source)
        {
            return Outcome::Failed(failure);
        }
        match script.fate(action, hash) {
            None => self.put(action, hash, false),
            Some(ItemFate::Noop200) => Outcome::Noop,
            Some(ItemFate::FailureStoreUsed) => self.put(action, hash, true),
            Some(fate) => Outcome::Failed(fate.failure(action).expect("only the two above are no failures")),
        }
    }

    fn put(&mut self, action: &mut Action<'_>, mut hash: u64, redirected: bool) -> Outcome {
        // A failure store is an index of its own, and gives ids of its own.
        if redirected {
            action.index = format!(".fs-{}", action.index).into();
        }
        if action.id.is_empty() || redirected {
            self.generated += 1;
            action.id = format!("generated-{:010}", self.generated).into();
            hash = id_hash(&action.index, &action.id);
        }
        if !self.indices.contains_key(&*action.index) {
            self.indices.insert(action.index.to_string(), Index::default());
        }
        let index = self.indices.get_mut(&*action.index).expect("inserted above");
        match index.by_id.get_mut(&hash) {
            None => {}
            Some(place) if action.op == Op::Create => {
                self.conflicts += 1;
                return Outcome::Failed(Failure::conflict(
                    &action.index,
                    &action.id,
                    u64::from(place.version),
                ));
            }
            Some(place) => {
                place.version += 1;
                let version = u64::from(place.version);
                if let Some(document) = index.documents.get_mut(place.at as usize) {
                    document.source = action.source.to_vec();
                    document.version = version;
                }
                self.replaced += 1;
                index.seq_no += 1;
                return Outcome::Updated {
                    version,
                    seq_no: index.seq_no - 1,
                };
            }
        }
        let at = u32::try_from(index.documents.len()).expect("fewer than 2^32 documents");
        index.by_id.insert(hash, Place { at, version: 1 });
        if self.keeping == Keeping::Documents {
            let (name, id) = (action.index.to_string(), action.id.to_string());
            index.documents.push(Document {
                index: name,
                id,
                source: action.source.to_vec(),
                version: 1,
            });
        }
        self.stored += 1;
        index.seq_no += 1;
        Outcome::Created {
            seq_no: index.seq_no - 1,
            redirected,
        }
    }

    /// Documents of all indices that match, indices in order of their names, documents in order of arrival.
    pub(super) fn documents(&self, index_glob: &str) -> Vec<Document> {
        let mut names: Vec<_> = self
            .indices
            .keys()
            .filter(|name| glob(index_glob, name))
            .collect();
        names.sort();
        names
            .into_iter()
            .flat_map(|name| self.indices[name].documents.iter().cloned())
            .collect()
    }

    /// How many documents each index has, in order of names.
    pub(super) fn indices(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> = self
            .indices
            .iter()
            .map(|(name, index)| (name.clone(), index.by_id.len() as u64))
            .collect();
        counts.sort();
        counts
    }
}

/// Equal for equal ids in equal indices, in every run: fates hang on it. At ten million documents, the chance that any two
/// different ones collide is below one in 100,000.
fn id_hash(index: &str, id: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((index, id))
}

/// Ids are hashed already.
#[derive(Debug, Default)]
struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn bad_index_name(index: &str) -> Failure {
    let reason = format!("Invalid index name [{index}], must be lowercase");
    Failure::new(400, "invalid_index_name_exception", &reason)
        .with("index_uuid", "_na_")
        .with("index", index)
}
