//! The known names, flat and as sections, and what to say about a name that is not known.

use std::collections::BTreeMap;

use super::file::{Entry, Node, Shape};
use super::form::Form;
use super::keys::{Keys, walk};
use super::mistake::Mistake;
use super::spelling::nearest;
use super::types::Config;

/// All known keys, as dotted paths, in the order of the default file.
pub(super) struct Names {
    pub(super) keys: Vec<&'static str>,
}

impl Names {
    /// Collects the names from the list of keys.
    pub(super) fn new() -> Self {
        let mut names = Self { keys: Vec::new() };
        walk(&mut Config::default(), &mut names);
        names
    }

    /// Sorts the values of a tree by the path of their key; what is no known key becomes a mistake.
    pub(super) fn flatten<'n>(
        &self,
        root: &'n Node,
        mistakes: &mut Vec<Mistake>,
    ) -> BTreeMap<String, &'n Node> {
        let mut leaves = BTreeMap::new();
        self.flatten_into("", root, &mut leaves, mistakes);
        leaves
    }

    fn flatten_into<'n>(
        &self,
        section: &str,
        node: &'n Node,
        leaves: &mut BTreeMap<String, &'n Node>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let entries = match &node.shape {
            Shape::Section(entries) => entries,
            Shape::Refused => return,
            // A section whose keys are all commented out: everything in it has its default.
            _ if node.is_null() => return,
            _ => {
                mistakes.push(Mistake {
                    allowed: self.members(section).join(", "),
                    hint: "write keys and values below it, indented".to_owned(),
                    ..Mistake::at(node.line, section)
                });
                return;
            }
        };
        for entry in entries {
            let path = join(section, &entry.key);
            // A dotted key would be a second way to write the same thing, and could contradict the first.
            let one_word = !entry.key.contains('.');
            if one_word && self.keys.contains(&path.as_str()) {
                leaves.insert(path, &entry.value);
            } else if one_word && self.is_section(&path) {
                self.flatten_into(&path, &entry.value, leaves, mistakes);
            } else {
                mistakes.push(self.unknown(section, entry));
            }
        }
    }

    fn is_section(&self, path: &str) -> bool {
        self.keys
            .iter()
            .any(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The names directly below a section, each once.
    fn members(&self, section: &str) -> Vec<&'static str> {
        let mut members = Vec::new();
        for key in &self.keys {
            let rest = match section {
                "" => Some(*key),
                _ => key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')),
            };
            let Some(name) = rest.and_then(|rest| rest.split('.').next()) else {
                continue;
            };
            if !members.contains(&name) {
                members.push(name);
            }
        }
        members
    }

    fn unknown(&self, section: &str, entry: &Entry) -> Mistake {
        let path = join(section, &printable(&entry.key));
        let mistake = Mistake::at(entry.line, &path);
        if let Some(file) = secret_file(&entry.key) {
            return Mistake {
                hint: format!(
                    "secrets do not belong into this file: put it into a file of its own, and name that with {file}"
                ),
                ..mistake
            };
        }
        let members = self.members(section);
        if let Some((first, rest)) = entry.key.split_once('.')
            && members.contains(&first)
        {
            let hint = format!(
                "write `{first}:`, and indented on the line below `{}:`",
                printable(rest)
            );
            return Mistake {
                value: shown(&path, &entry.value),
                hint,
                ..mistake
            };
        }
        let hint = match (
            nearest(&entry.key, members.iter().copied()),
            self.elsewhere(&entry.key),
        ) {
            (Some(name), _) => format!("this key is not known; did you mean `{}`?", join(section, name)),
            (None, Some(key)) => format!("this key is not known here; did you mean `{key}`?"),
            (None, None) => "this key is not known; take it out".to_owned(),
        };
        Mistake {
            value: shown(&path, &entry.value),
            allowed: members.join(", "),
            hint,
            ..mistake
        }
    }

    /// The key of that name in another section: a wrong indentation is a common slip.
    fn elsewhere(&self, name: &str) -> Option<&'static str> {
        let last = |key: &'static str| key.rsplit('.').next().unwrap_or(key);
        let near = nearest(name, self.keys.iter().map(|key| last(key)))?;
        self.keys.iter().find(|key| last(key) == near).copied()
    }
}

impl Keys for Names {
    fn one<F: Form>(&mut self, path: &'static str, _: F, _: &mut F::Value) {
        self.keys.push(path);
    }

    fn maybe<F: Form>(&mut self, path: &'static str, _: F, _: &mut Option<F::Value>) {
        self.keys.push(path);
    }

    fn list<F: Form>(&mut self, path: &'static str, _: F, _: &mut Vec<F::Value>) {
        self.keys.push(path);
    }
}

/// A value as a mistake shows it: short, on one line, and not at all where somebody may have written a secret.
pub(super) fn shown(key: &str, node: &Node) -> String {
    match &node.shape {
        // In `auth` the secret itself in place of its file, in an address a password before the `@`.
        Shape::Scalar { text, .. } if !key.contains(".auth.") && !text.contains('@') => printable(text),
        _ => String::new(),
    }
}

fn printable(text: &str) -> String {
    /// Enough to recognise a value by.
    const MAX: usize = 60;
    let mut short: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        short.push('…');
    }
    short
}

/// The key to use in place of one that would hold a secret.
fn secret_file(key: &str) -> Option<&'static str> {
    let key = key.to_lowercase().replace(['-', '_'], "");
    for (word, file) in [
        (
            "secretaccesskey",
            "sink.elasticsearch.auth.aws.secret_access_key_file",
        ),
        ("sessiontoken", "sink.elasticsearch.auth.aws.session_token_file"),
    ] {
        if key.contains(word) {
            return Some(file);
        }
    }
    if ["apikey", "token", "bearer"]
        .iter()
        .any(|word| key.contains(word))
    {
        return Some("sink.elasticsearch.auth.api_key_file");
    }
    let password = ["pass", "pwd", "secret", "credential"]
        .iter()
        .any(|word| key.contains(word))
        || nearest(&key, ["password"]).is_some();
    password.then_some("sink.elasticsearch.auth.password_file")
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}
