//! Members of one JSON object, written one after the other.

use crate::codec::escape::push_string;
use crate::config::LabelDots;

/// Writes members of an object whose braces somebody else writes.
pub(super) struct Members<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Members<'a> {
    /// There are some already: each of these has a comma before it.
    pub(super) fn more(out: &'a mut Vec<u8>) -> Self {
        Self { out, first: false }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        push_string(self.out, key);
        self.out.push(b':');
    }

    /// A text, when there is one.
    pub(super) fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.key(key);
            push_string(self.out, value);
        }
    }

    /// A list of one text, when there is one.
    pub(super) fn list(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.key(key);
            self.out.push(b'[');
            push_string(self.out, value);
            self.out.push(b']');
        }
    }

    /// An object, unless `write` adds nothing to it.
    pub(super) fn object(&mut self, key: &str, write: impl FnOnce(&mut Members<'_>)) {
        let (len, first) = (self.out.len(), self.first);
        self.key(key);
        self.out.push(b'{');
        let mut inner = Members {
            out: self.out,
            first: true,
        };
        write(&mut inner);
        if inner.first {
            self.out.truncate(len);
            self.first = first;
        } else {
            self.out.push(b'}');
        }
    }

    /// An object of pairs, when there are some.
    pub(super) fn pairs(&mut self, key: &str, pairs: &[(String, String)], dots: LabelDots) {
        self.object(key, |object| {
            for (key, value) in label_keys(pairs, dots) {
                object.key(&key);
                push_string(object.out, value);
            }
        });
    }

    /// Pairs whose keys follow a prefix and a dot.
    pub(super) fn prefixed(&mut self, prefix: &str, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            self.key(&format!("{prefix}.{key}"));
            push_string(self.out, value);
        }
    }
}

/// Keys as they stand in documents, each once: where replacing dots makes two keys equal, the one
/// that was written so keeps it and the other gets a number.
fn label_keys(pairs: &[(String, String)], dots: LabelDots) -> Vec<(String, &str)> {
    let mut keys: Vec<(String, &str)> = Vec::with_capacity(pairs.len());
    let literal = |key: &str| dots == LabelDots::Keep || !key.contains('.');
    for (key, value) in pairs.iter().filter(|(key, _)| literal(key)) {
        keys.push((key.clone(), value));
    }
    for (key, value) in pairs.iter().filter(|(key, _)| !literal(key)) {
        let plain = key.replace('.', "_");
        let mut name = plain.clone();
        let mut number = 2;
        while keys.iter().any(|(taken, _)| *taken == name) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        keys.push((name, value));
    }
    keys
}
