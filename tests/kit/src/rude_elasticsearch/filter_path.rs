//! `filter_path`: which fields of an answer the client wants to see.
//!
//! Comma-separated paths of dot-separated names; `*` stands for any part of a name, `**` for any number of names, a path
//! with a leading `-` excludes. As in the real server, objects and items in which nothing is left vanish altogether: ask
//! for `items.*.error` alone, and the successes are gone from the array.

/// A parsed `filter_path`; the default lets everything through.
#[derive(Debug, Clone, Default)]
pub(super) struct FilterPath {
    include: Vec<Vec<String>>,
    exclude: Vec<Vec<String>>,
}

/// The fields of a `_bulk` item that the filter lets through, for one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemFields {
    pub(super) index: bool,
    pub(super) id: bool,
    pub(super) version: bool,
    pub(super) result: bool,
    pub(super) shards: bool,
    pub(super) seq_no: bool,
    pub(super) primary_term: bool,
    pub(super) status: bool,
    pub(super) failure_store: bool,
}

impl FilterPath {
    pub(super) fn parse(text: &str) -> Self {
        let mut filter = Self::default();
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            let (list, path) = match path.strip_prefix('-') {
                Some(path) => (&mut filter.exclude, path),
                None => (&mut filter.include, path),
            };
            list.push(path.split('.').map(str::to_owned).collect());
        }
        filter
    }

    /// Whether the leaf (or whole subtree) at `path` is let through.
    pub(super) fn lets(&self, path: &[&str]) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|pattern| covers(pattern, path));
        included && !self.exclude.iter().any(|pattern| covers(pattern, path))
    }

    pub(super) fn item_fields(&self, op: &str) -> ItemFields {
        let lets = |name| self.lets(&["items", op, name]);
        ItemFields {
            index: lets("_index"),
            id: lets("_id"),
            version: lets("_version"),
            result: lets("result"),
            shards: lets("_shards"),
            seq_no: lets("_seq_no"),
            primary_term: lets("_primary_term"),
            status: lets("status"),
            failure_store: lets("failure_store"),
        }
    }
}

/// True when the pattern names the path or something above it.
fn covers(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((name, rest)), Some((_, below))) if name == "**" => {
            covers(rest, path) || covers(pattern, below) || rest.is_empty()
        }
        (Some((name, rest)), Some((head, below))) => super::glob(name, head) && covers(rest, below),
    }
}
