//! Whether a document is one that Elasticsearch takes: one JSON object, no key twice in an object.
//!
//! A parser that keeps the last of two equal keys would call a document good that the real server refuses.

use super::answers::{Failure, quoted};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// The failure of an item whose document is not acceptable, or nothing.
pub(super) fn refuse(source: &[u8]) -> Option<Failure> {
    if source.trim_ascii_start().first() != Some(&b'{') {
        return Some(Failure::new(
            400,
            "document_parsing_exception",
            "Malformed content, must start with an object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(source);
    let error = Strict.deserialize(&mut json).and_then(|()| json.end()).err()?;
    let (kind, what) = if error.is_eof() {
        ("x_content_e_o_f_exception", "Unexpected end of file".to_owned())
    } else {
        let text = error.to_string();
        (
            "x_content_parse_exception",
            text.split(" at line ").next().unwrap_or("").to_owned(),
        )
    };
    let place = format!("[{}:{}] {what}", error.line(), error.column() + 1);
    let cause = format!("{{\"type\":{},\"reason\":{}}}", quoted(kind), quoted(&place));
    let reason = format!("[1:2] failed to parse: {place}");
    Some(Failure::new(400, "document_parsing_exception", &reason).with_raw("caused_by", cause))
}

/// Walks a value and keeps nothing of it but the keys of the open objects.
#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(Key(key)) = fields.next_key()? {
            fields.next_value_seed(self)?;
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("Duplicate field '{key}'")));
            }
            seen.insert(key);
        }
        Ok(())
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
