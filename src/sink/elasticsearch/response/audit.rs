//! Where documents went, by the answer that names their places: a pipeline of the server can change the index of a document,
//! or its id, and answer 201 all the same.
//!
//! An id that is not ours makes a double of each document that is sent again; so it has to be seen. But naming every document
//! would make answers larger than the requests, so answers are audited now and then (the sink's task says when).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Longer names than Elasticsearch takes (ids 512 bytes, indices 255) are cut.
pub(super) const NAME_BYTES: usize = 512;

/// Documents that are not where they were sent to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Diverted {
    /// They have an id that is not ours.
    pub ids: u64,
    /// They are in another index.
    pub indices: u64,
    /// Which index they were sent to, and in which one of them is.
    pub example: Option<(String, String)>,
}

/// The places of the documents of one answer, in their order; 12 bytes for each.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Places {
    indices: Vec<String>,
    numbers: HashMap<String, u32>,
    /// The number of its index and a hash of its id; none: the answer does not tell, or the document is not stored by it.
    documents: Vec<Option<(u32, u64)>>,
}

impl Places {
    /// The place of the next document.
    pub(super) fn push(&mut self, place: Option<(String, String)>) {
        let place = place.map(|(index, id)| (self.number(index), hash(&id)));
        self.documents.push(place);
    }

    /// Compares with where the documents were sent to (index and id, in their order). Without an id the server makes one.
    pub fn diverted<'a>(&self, sent: impl Iterator<Item = (&'a str, &'a str)>) -> Diverted {
        let mut diverted = Diverted::default();
        for (place, (index, id)) in self.documents.iter().zip(sent) {
            let Some((number, found)) = place else {
                continue;
            };
            let there = self.indices.get(*number as usize).map_or("", String::as_str);
            if !is_within(there, index) {
                diverted.indices += 1;
                diverted
                    .example
                    .get_or_insert_with(|| (index.to_owned(), there.to_owned()));
            }
            diverted.ids += u64::from(!id.is_empty() && *found != hash(id));
        }
        diverted
    }

    fn number(&mut self, index: String) -> u32 {
        let next = self.indices.len() as u32;
        *self.numbers.entry(index).or_insert_with_key(|index| {
            self.indices.push(index.clone());
            next
        })
    }
}

/// Whether an index is the one that was asked for, one of its data stream (`.ds-NAME-…`), or of an alias that rolls over
/// (`NAME-000001`).
fn is_within(index: &str, asked: &str) -> bool {
    let name = index.strip_prefix(".ds-").unwrap_or(index);
    name.strip_prefix(asked)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_right_or_wrong_by_index_and_by_id() {
        let stored = |index: &str, id: &str| Some((index.to_owned(), id.to_owned()));
        let mut places = Places::default();
        for place in [
            stored("logs-a", "1"),
            stored(".ds-logs-b-2026.11.22-000001", "2"),
            stored("logs-c-000004", "3"),
            None,
            stored("elsewhere", "5"),
            stored("logs-f", "generated"),
            stored("elsewhere", "generated too"),
            stored("logs-hello", "8"),
            stored("logs-i", "generated"),
        ] {
            places.push(place);
        }
        let sent = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| format!("logs-{name}"));
        let ids = ["1", "2", "3", "4", "5", "6", "7", "8", ""];
        let diverted = places.diverted(sent.iter().map(String::as_str).zip(ids));
        assert_eq!((diverted.ids, diverted.indices), (2, 3));
        assert_eq!(
            diverted.example,
            Some(("logs-e".to_owned(), "elsewhere".to_owned()))
        );
    }
}
