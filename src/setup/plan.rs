//! What should be there and what a server says is there enter; what is to be done leaves.
//!
//! Servers write things in their own way (settings as texts below `index.`, defaults that nobody set). So an object is as it
//! should be when its stamp is ours and each leaf that we put is there; what a server or a person added does not count.

use super::objects::{Object, Sort, VERSION, stamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An object as a server has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// In the form in which it can be put again.
    pub body: Value,
    /// What a change must name, with Index State Management: sequence number and primary term.
    pub at: Option<(u64, u64)>,
}

/// What is to be done about an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is not there.
    Create,
    /// It is not as it should be: a line for each difference.
    Update(Vec<String>),
    /// Nothing.
    Unchanged,
    /// A newer Longshore has made it, in this version: it stays.
    Newer(u64),
    /// Somebody else has made it: it stays, and nothing else is done either.
    Foreign,
}

/// The object in the answer to `GET`.
///
/// # Errors
/// When the answer has none of this name.
pub fn found(object: &Object, answer: &[u8]) -> Result<Found, String> {
    let answer: Value =
        serde_json::from_slice(answer).map_err(|_| format!("GET {}: no JSON", object.path()))?;
    let named = |list: &str| {
        let mut all = answer[list].as_array().into_iter().flatten();
        all.find(|entry| entry["name"] == *object.name).cloned()
    };
    let body = match object.sort {
        Sort::ComponentTemplate => {
            named("component_templates").map(|entry| entry["component_template"].clone())
        }
        Sort::IndexTemplate => named("index_templates").map(|entry| entry["index_template"].clone()),
        Sort::IlmPolicy => answer
            .get(&object.name)
            .map(|entry| serde_json::json!({"policy": entry["policy"]})),
        Sort::IsmPolicy => answer
            .get("policy")
            .map(|policy| serde_json::json!({ "policy": policy })),
    };
    #[derive(Deserialize)]
    struct At {
        #[serde(rename = "_seq_no")]
        seq_no: u64,
        #[serde(rename = "_primary_term")]
        primary_term: u64,
    }
    let at = At::deserialize(&answer)
        .ok()
        .map(|at| (at.seq_no, at.primary_term));
    match body {
        Some(body) => Ok(Found { body, at }),
        None => Err(format!("GET {}: the answer has no such object", object.path())),
    }
}

/// What is to be done.
pub fn change(object: &Object, found: Option<&Found>) -> Change {
    let Some(found) = found else {
        return Change::Create;
    };
    let Some(theirs) = stamp(object.sort, &found.body) else {
        return Change::Foreign;
    };
    if theirs.version > VERSION {
        return Change::Newer(theirs.version);
    }
    let mut differences = Vec::new();
    differ("", &normal(&object.body), &normal(&found.body), &mut differences);
    let is_ours = stamp(object.sort, &object.body).is_some_and(|ours| ours == theirs);
    if is_ours && differences.is_empty() {
        return Change::Unchanged;
    }
    if differences.is_empty() {
        differences.push("something that should not be there any more".to_owned());
    }
    Change::Update(differences)
}

/// The body with its settings as texts by full names, and without what only stamps it.
fn normal(body: &Value) -> Value {
    let mut body = body.clone();
    let Some(members) = body.as_object_mut() else {
        return body;
    };
    members.remove("_meta");
    members.remove("version");
    if let Some(policy) = members.get_mut("policy").and_then(Value::as_object_mut) {
        policy.remove("_meta");
        policy.remove("description");
    }
    if let Some(settings) = body.pointer_mut("/template/settings") {
        let mut flat = BTreeMap::new();
        flatten("", settings, &mut flat);
        let named = flat.into_iter().map(|(name, text)| {
            let name = match name.strip_prefix("index.") {
                Some(_) => name,
                None => format!("index.{name}"),
            };
            (name, Value::String(text))
        });
        *settings = Value::Object(named.collect::<Map<String, Value>>());
    }
    body
}

fn flatten(path: &str, value: &Value, flat: &mut BTreeMap<String, String>) {
    let Some(members) = value.as_object() else {
        flat.insert(path.to_owned(), text(value));
        return;
    };
    for (name, value) in members {
        let path = match path {
            "" => name.clone(),
            _ => format!("{path}.{name}"),
        };
        flatten(&path, value, flat);
    }
}

/// A line for each leaf of `ours` that `theirs` has not.
fn differ(path: &str, ours: &Value, theirs: &Value, told: &mut Vec<String>) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in ours {
                differ(
                    &below(name),
                    value,
                    theirs.get(name).unwrap_or(&Value::Null),
                    told,
                );
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differ(&below(&at.to_string()), ours, theirs, told);
            }
        }
        _ if text(ours) == text(theirs) => {}
        (_, Value::Null) => told.push(format!("+ {path}: {ours}")),
        _ => told.push(format!("~ {path}: {theirs} becomes {ours}")),
    }
}

/// A scalar as a server may write it, too: `1000` and `"1000"` are the same.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
