//! Fills a [`Config`] from the values of a text, and notes every value that does not fit.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Node, Shape};
use super::form::Form;
use super::keys::Keys;
use super::mistake::Mistake;
use super::names::shown;
use super::variables::fill_in;

/// A walk over the keys that reads their values.
pub(super) struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// The default file's values: they matter where they hold variables.
    defaults: BTreeMap<String, &'a Node>,
    written: BTreeMap<String, &'a Node>,
    refused: BTreeSet<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Reader<'a> {
    /// Reads what is written, and else what the default file says.
    pub(super) fn new(
        env: &'a dyn Fn(&str) -> Option<String>,
        defaults: BTreeMap<String, &'a Node>,
        written: BTreeMap<String, &'a Node>,
        mistakes: &'a mut Vec<Mistake>,
    ) -> Self {
        Self {
            env,
            defaults,
            written,
            refused: BTreeSet::new(),
            mistakes,
        }
    }

    /// Notes a mistake that lies between several keys, unless one of them is refused already.
    ///
    /// It is put on the first of them that was written: a default is never the one to blame.
    pub(super) fn blame(&mut self, keys: &[&'static str], allowed: &str, hint: &str) {
        if keys.iter().any(|key| self.refused.contains(key)) {
            return;
        }
        let written = keys
            .iter()
            .find_map(|key| self.written.get(*key).map(|node| (*key, *node)));
        let Some((key, node)) =
            written.or_else(|| Some((*keys.first()?, *self.defaults.get(*keys.first()?)?)))
        else {
            return;
        };
        self.mistakes.push(Mistake {
            value: shown(key, node),
            allowed: allowed.to_owned(),
            hint: hint.to_owned(),
            ..Mistake::at(node.line, key)
        });
    }

    fn node(&self, path: &str) -> Option<&'a Node> {
        self.written
            .get(path)
            .or_else(|| self.defaults.get(path))
            .copied()
    }

    fn refuse(&mut self, path: &'static str, mistake: Mistake) {
        self.refused.insert(path);
        self.mistakes.push(mistake);
    }

    /// Reads one text; `key` is the path, or the path and a place in a list.
    fn scalar<F: Form>(&self, key: &str, node: &Node, form: &F) -> Result<F::Value, Mistake> {
        let wrong = |hint: String| Mistake {
            value: shown(key, node),
            allowed: form.allowed(),
            hint,
            ..Mistake::at(node.line, key)
        };
        let Shape::Scalar { text, .. } = &node.shape else {
            return Err(wrong("write one value, not several".to_owned()));
        };
        if node.is_null() {
            return Err(wrong(
                "write a value, or take the key out to get its default".to_owned(),
            ));
        }
        let filled = fill_in(text, self.env).map_err(&wrong)?;
        form.read(&filled).map_err(|hint| {
            let mut mistake = wrong(hint);
            if filled != *text {
                mistake.hint.push_str(" (variables were filled in)");
            }
            mistake
        })
    }

    /// Whether a text is empty once variables are filled in; a mistake in it is found when it is read.
    fn is_blank(&self, node: &Node) -> bool {
        let Shape::Scalar { text, .. } = &node.shape else {
            return false;
        };
        node.is_null() || fill_in(text, self.env).is_ok_and(|filled| filled.is_empty())
    }

    fn read<F: Form>(&mut self, path: &'static str, node: &Node, form: &F) -> Option<F::Value> {
        if matches!(node.shape, Shape::Refused) {
            self.refused.insert(path);
            return None;
        }
        match self.scalar(path, node, form) {
            Ok(value) => Some(value),
            Err(mistake) => {
                self.refuse(path, mistake);
                None
            }
        }
    }
}

impl Keys for Reader<'_> {
    fn one<F: Form>(&mut self, path: &'static str, form: F, place: &mut F::Value) {
        let Some(node) = self.node(path) else { return };
        if let Some(value) = self.read(path, node, &form) {
            *place = value;
        }
    }

    fn maybe<F: Form>(&mut self, path: &'static str, form: F, place: &mut Option<F::Value>) {
        let Some(node) = self.node(path) else { return };
        *place = if self.is_blank(node) {
            None
        } else {
            self.read(path, node, &form)
        };
    }

    fn list<F: Form>(&mut self, path: &'static str, form: F, place: &mut Vec<F::Value>) {
        let Some(node) = self.node(path) else { return };
        let items = match &node.shape {
            Shape::List(items) => items,
            Shape::Refused => {
                self.refused.insert(path);
                return;
            }
            Shape::Scalar { .. } | Shape::Section(_) => {
                let mistake = Mistake {
                    value: shown(path, node),
                    allowed: format!("a list; each item: {}", form.allowed()),
                    hint: "put brackets around it: [a, b], or [] for an empty list".to_owned(),
                    ..Mistake::at(node.line, path)
                };
                return self.refuse(path, mistake);
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            match self.scalar(&format!("{path}[{number}]"), item, &form) {
                Ok(value) => values.push(value),
                Err(_) if matches!(item.shape, Shape::Refused) => _ = self.refused.insert(path),
                Err(mistake) => self.refuse(path, mistake),
            }
        }
        *place = values;
    }
}
