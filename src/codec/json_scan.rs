//! A message that is one JSON object enters, its members leave as raw text.
//!
//! Values are passed on byte for byte, never rebuilt. Where a key occurs twice the last one counts,
//! as in most parsers, because Elasticsearch refuses documents with duplicate keys. Objects whose
//! keys Elasticsearch would refuse in any place (empty, only dots, a dot at an end) stay text.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Objects with more members than this stay text: they would blow up the mapping.
const MAX_MEMBERS: usize = 256;

/// One member: its key, decoded, and its value as written.
pub type Member<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The members of `message`, in order, each key once; `None` when it is not one JSON object.
pub fn members(message: &[u8]) -> Option<Vec<Member<'_>>> {
    let trimmed = message.trim_ascii();
    if trimmed.first() != Some(&b'{') || trimmed.last() != Some(&b'}') {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(trimmed);
    let members = (&mut reader).deserialize_map(Members).ok()?;
    reader.end().ok()?;
    members.iter().all(|(key, _)| is_allowed(key)).then_some(members)
}

fn is_allowed(key: &str) -> bool {
    !key.is_empty() && !key.starts_with('.') && !key.ends_with('.') && !key.contains("..")
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<Member<'de>> = Vec::new();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            let value = without_newlines(value.get());
            match members.iter().position(|(known, _)| *known == key) {
                Some(at) => members[at].1 = value,
                None if members.len() == MAX_MEMBERS => {
                    return Err(serde::de::Error::custom("too many members"));
                }
                None => members.push((key, value)),
            }
        }
        Ok(members)
    }
}

/// Raw values may hold newlines between tokens, which would end the `_bulk` line. Inside strings
/// JSON has no raw newline, so each one is white space.
fn without_newlines(value: &str) -> Cow<'_, str> {
    if value.contains(['\n', '\r']) {
        Cow::Owned(value.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(value)
    }
}

/// A key, borrowed when it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str) -> Option<Vec<(String, String)>> {
        let members = members(message.as_bytes())?;
        Some(
            members
                .into_iter()
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn values_are_passed_on_as_written() {
        let found = text(r#" {"a": 1.50, "b\u0021":{"x":[1, 2]}, "c":"é\n"} "#).unwrap();
        assert_eq!(
            found,
            [
                pair("a", "1.50"),
                pair("b!", r#"{"x":[1, 2]}"#),
                pair("c", r#""é\n""#)
            ]
        );
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(
            text(r#"{"a":1,"b":2,"a":3}"#).unwrap(),
            [pair("a", "3"), pair("b", "2")]
        );
    }

    #[test]
    fn what_cannot_be_fields_stays_text() {
        for message in [
            "",
            "[1]",
            "{",
            "{}x",
            r#"{"":1}"#,
            r#"{".":1}"#,
            r#"{"a.":1}"#,
            r#"{"a..b":1}"#,
            "{\"a\":1",
            "{\"a\":}",
        ] {
            assert_eq!(text(message), None, "{message}");
        }
        let many: Vec<String> = (0..300).map(|at| format!("\"k{at}\":1")).collect();
        assert_eq!(text(&format!("{{{}}}", many.join(","))), None);
    }

    #[test]
    fn no_newline_leaves() {
        assert_eq!(text("{\"a\":[1,\r\n2]}").unwrap(), [pair("a", "[1,  2]")]);
    }
}
