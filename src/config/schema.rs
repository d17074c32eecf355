//! The JSON Schema of the file, from the list of keys; its texts and defaults come from the default file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::file::{Entry, Node, Shape, read_tree};
use super::form::Form;
use super::keys::{Keys, walk};
use super::types::Config;

/// The JSON Schema (2020-12) of the config file, for editors and `longshore schema`.
pub fn schema() -> Value {
    let mut describer = Describer {
        leaves: BTreeMap::new(),
    };
    walk(&mut Config::default(), &mut describer);
    let text = Config::default_yaml();
    let mut root = match read_tree(text, &mut Vec::new()) {
        Some(Node {
            shape: Shape::Section(entries),
            ..
        }) => describer.section("", &entries, text),
        _ => json!({}),
    };
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Longshore");
    root["description"] = json!("The config file of the log agent Longshore.");
    root["$defs"] = json!({"variable": {
        "description": "Filled in from the environment: ${NAME} or ${NAME:-default}.",
        "type": "string",
        "pattern": "\\$\\{",
    }});
    root
}

/// A walk over the keys that collects their forms.
struct Describer {
    leaves: BTreeMap<&'static str, Value>,
}

impl Describer {
    fn section(&self, path: &str, entries: &[Entry], text: &str) -> Value {
        let mut members = Map::new();
        for entry in entries {
            let path = if path.is_empty() {
                entry.key.clone()
            } else {
                format!("{path}.{}", entry.key)
            };
            let mut member = match (&entry.value.shape, self.leaves.get(path.as_str())) {
                (Shape::Section(inner), None) => self.section(&path, inner, text),
                (_, Some(leaf)) => leaf.clone(),
                (_, None) => continue,
            };
            if !matches!(entry.value.shape, Shape::Section(_)) {
                member["default"] = plain_value(&entry.value);
            }
            member["description"] = json!(comment_above(text, entry.line));
            members.insert(entry.key.clone(), member);
        }
        json!({"type": ["object", "null"], "additionalProperties": false, "properties": members})
    }
}

impl Keys for Describer {
    fn one<F: Form>(&mut self, path: &'static str, form: F, _: &mut F::Value) {
        self.leaves.insert(path, with_variables(form.schema()));
    }

    fn maybe<F: Form>(&mut self, path: &'static str, form: F, _: &mut Option<F::Value>) {
        self.leaves.insert(
            path,
            json!({"anyOf": [with_variables(form.schema()), {"type": "null"}]}),
        );
    }

    fn list<F: Form>(&mut self, path: &'static str, form: F, _: &mut Vec<F::Value>) {
        self.leaves.insert(
            path,
            json!({"type": "array", "items": with_variables(form.schema())}),
        );
    }
}

/// Any value may be a variable; a form that is free text anyhow need not say so.
fn with_variables(form: Value) -> Value {
    if form == json!({"type": "string"}) {
        return form;
    }
    json!({"anyOf": [form, {"$ref": "#/$defs/variable"}]})
}

/// A value of the default file as JSON.
fn plain_value(node: &Node) -> Value {
    match &node.shape {
        _ if node.is_null() => Value::Null,
        Shape::List(items) => items.iter().map(plain_value).collect(),
        Shape::Scalar { text, plain: true } => match text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            _ => text
                .parse::<u64>()
                .map_or_else(|_| json!(text), |number| json!(number)),
        },
        Shape::Scalar { text, .. } => json!(text),
        Shape::Section(_) | Shape::Refused => Value::Null,
    }
}

/// The comment that stands directly above a line, as one text.
pub(super) fn comment_above(text: &str, line: usize) -> String {
    let above: Vec<&str> = text.lines().take(line.saturating_sub(1)).collect();
    let comments = above.iter().rev().map_while(|line| line.trim().strip_prefix('#'));
    let mut words: Vec<&str> = comments.map(str::trim).collect();
    words.reverse();
    words.join(" ")
}
