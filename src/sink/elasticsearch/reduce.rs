//! A refused document enters, a poorer one that the index may take leaves: without the one field that is in the way, or with
//! nothing but the message and whose it is. Nothing is lost: what is taken out stands in it as a text.
//!
//! - [`without_field`]: the field moves, as text, into `_conflict`, which names it.
//! - [`reduced`]: time, message and identity remain; the document as it was stands in `longshore.original`.
//! - [`shortened`]: a document that alone is larger than the server takes loses the end of its message.
//!
//! Where these fields are is the schema's business; which one a document has, its index tells ([`Schema::of_index`]): a
//! document in the spool may be older than the config.
//!
//! All keep the document's id and index: those stand in the action line, which is not touched.

use super::response::Problem;
use super::schema::fields::{Kind, fields, steps};
use crate::config::Schema;
use serde_json::{Map, Value, json};

/// What a field path is made of at most; deeper ones are not looked for.
const MAX_DEPTH: usize = 32;
/// Decimal digits that each `f64` keeps (`f64::DIGITS`).
const EXACT_DIGITS: usize = 15;
/// A document keeps at least so much of its message when it is shortened.
const MIN_MESSAGE: usize = 256;

/// The field that a refusal names, as Elasticsearch 7.17 to 9.2 and OpenSearch 2 and 3 do.
pub fn field_in_the_way(problem: &Problem) -> Option<&str> {
    const SHAPES: [(&str, &str); 6] = [
        ("failed to parse field [", "]"),
        ("object mapping for [", "]"),
        ("can't merge a non object mapping [", "]"),
        ("can't merge a object mapping [", "]"),
        ("immense term in field=\"", "\""),
        ("dynamic introduction of [", "]"),
    ];
    SHAPES.iter().find_map(|(before, after)| {
        let (_, rest) = problem.reason.split_once(before)?;
        let (field, rest) = rest.split_once(after)?;
        // Of a strict object only the last part is named, and the object behind it.
        let is_whole = *before != "dynamic introduction of [" || rest.starts_with(" within [_doc]");
        (is_whole && !field.is_empty()).then_some(field)
    })
}

/// The document with the field as a text in `_conflict`; none when it has no such field, or cannot do without it, or when the
/// rest of it would not stay as it is ([`is_exact`]).
pub fn without_field(document: &[u8], field: &str, schema: Schema) -> Option<Vec<u8>> {
    let conflict = own(schema, "_conflict");
    let holds = |kept: &str| kept == field || kept.starts_with(&format!("{field}."));
    if field.starts_with(&conflict) || identity(schema).any(holds) {
        return None;
    }
    if !is_exact(document) {
        return None;
    }
    let mut document = object(document)?;
    let [name, text] = ["_conflict.field", "_conflict.value"].map(|path| own(schema, path));
    if get(&document, &name).is_some() || document.contains_key("_conflict") {
        return None;
    }
    let value = take(&mut document, field, 0)?;
    put(&mut document, &name, field.into())?;
    put(&mut document, &text, text_of(value).into())?;
    bytes(document)
}

/// Time, message and identity of the document, and all of it as one text. None when it is that already.
pub fn reduced(document: &[u8], problem: &Problem, schema: Schema) -> Option<Vec<u8>> {
    let whole = object(document)?;
    let mut flags = flags(&whole, schema);
    if flags.iter().any(|flag| flag == "reduced") {
        return None;
    }
    flags.push("reduced".into());
    let mut poor = Map::new();
    for path in identity(schema) {
        if let Some(value) = get(&whole, path) {
            put(&mut poor, path, value.clone())?;
        }
    }
    let original = std::str::from_utf8(document).ok()?.trim_end();
    for (path, value) in [
        ("longshore.flags", flags.into()),
        ("longshore.refused", problem.kind.clone().into()),
        ("longshore.original", original.into()),
    ] {
        put(&mut poor, &own(schema, path), value)?;
    }
    bytes(poor)
}

/// The document with so much of its message that it has at most `limit` bytes. None when the message is not what
/// makes it large, or when the rest of it would not stay as it is ([`is_exact`]).
pub fn shortened(document: &[u8], limit: usize, schema: Schema) -> Option<Vec<u8>> {
    if !is_exact(document) {
        return None;
    }
    let mut whole = object(document)?;
    let mut messages = fields(schema).filter(|field| field.kind == Kind::Text);
    let is_there = |path| get(&whole, path).is_some_and(Value::is_string);
    let key = messages.find(|field| is_there(field.path))?.path;
    let mut flags = flags(&whole, schema);
    if !flags.iter().any(|flag| flag == "shortened") {
        flags.push("shortened".into());
    }
    put(&mut whole, &own(schema, "longshore.flags"), flags.into())?;
    loop {
        let len = serde_json::to_vec(&whole).ok()?.len();
        if len <= limit {
            return bytes(whole);
        }
        let Some(Value::String(message)) = get_mut(&mut whole, key) else {
            return None;
        };
        // What is cut has escapes about as often as the rest; when it has fewer, another round follows.
        let escaped = serde_json::to_vec(message).ok()?.len();
        let excess = ((len - limit) * message.len()).div_ceil(escaped);
        let keep = message.len().saturating_sub(excess.max(1));
        if keep < MIN_MESSAGE {
            return None;
        }
        message.truncate(message.floor_char_boundary(keep));
    }
}

/// Whether all numbers keep their value when they are parsed and written again: whole ones of 64 bits, and others of so few digits
/// that an `f64` tells them apart.
fn is_exact(document: &[u8]) -> bool {
    let mut rest = document;
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))
    {
        rest = &rest[at..];
        let is_text = rest[0] == b'"';
        let len = if is_text { text_len(rest) } else { number_len(rest) };
        let (token, after) = rest.split_at(len);
        if !is_text && !is_exact_number(token) {
            return false;
        }
        rest = after;
    }
    true
}

/// Of the string literal at the start.
fn text_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = rest.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if rest[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    rest.len()
}

fn number_len(rest: &[u8]) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len())
}

fn is_exact_number(token: &[u8]) -> bool {
    let text = std::str::from_utf8(token).unwrap_or_default();
    let is_whole = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = digits.trim_start_matches(['-', '0', '.']);
    let few = digits.bytes().filter(u8::is_ascii_digit).count() <= EXACT_DIGITS;
    let is_zero = digits.is_empty();
    // A tree is made by a quicker way than this, which is right for few exponents.
    let is_kept = |number: f64| {
        let in_tree = serde_json::from_str::<f64>(text).ok();
        (number.is_normal() || is_zero) && in_tree == Some(number)
    };
    is_whole || few && text.parse().is_ok_and(is_kept)
}

fn object(document: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(document).ok()
}

fn bytes(document: Map<String, Value>) -> Option<Vec<u8>> {
    serde_json::to_vec(&document).ok()
}

/// Takes a field out: its path may be spread over objects, dots in keys, or both. Of a list it is the whole list.
fn take(object: &mut Map<String, Value>, path: &str, depth: usize) -> Option<Value> {
    if let Some(value) = object.remove(path) {
        return Some(value);
    }
    if depth == MAX_DEPTH {
        return None;
    }
    let splits = path
        .match_indices('.')
        .map(|(at, _)| (&path[..at], &path[at + 1..]));
    for (key, rest) in splits {
        match object.get_mut(key) {
            Some(Value::Object(inner)) => {
                if let Some(value) = take(inner, rest, depth + 1) {
                    return Some(value);
                }
            }
            Some(Value::Array(_)) => return object.remove(key),
            _ => {}
        }
    }
    None
}

/// The fields that a reduced document keeps.
fn identity(schema: Schema) -> impl Iterator<Item = &'static str> {
    fields(schema)
        .filter(|field| field.is_identity)
        .map(|field| field.path)
}

/// Where a note of ours stands: in `otel` among the attributes.
fn own(schema: Schema, path: &str) -> String {
    match schema {
        Schema::Fluentd | Schema::Ecs => path.to_owned(),
        Schema::Otel => format!("attributes.{path}"),
    }
}

fn flags(document: &Map<String, Value>, schema: Schema) -> Vec<Value> {
    let flags = get(document, &own(schema, "longshore.flags"));
    flags.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The value of a field of ours.
fn get<'a>(document: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut keys = steps(path);
    let first = document.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}

fn get_mut<'a>(document: &'a mut Map<String, Value>, path: &str) -> Option<&'a mut Value> {
    let mut keys = steps(path);
    let first = document.get_mut(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get_mut(key))
}

/// Sets a field of ours; none when something that is no object stands in its way.
fn put(document: &mut Map<String, Value>, path: &str, value: Value) -> Option<()> {
    let mut keys = steps(path);
    let mut place = document.entry(keys.next()?).or_insert(Value::Null);
    for key in keys {
        if place.is_null() {
            *place = json!({});
        }
        place = place.as_object_mut()?.entry(key).or_insert(Value::Null);
    }
    *place = value;
    Some(())
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
