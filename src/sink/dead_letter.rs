//! A refused document and the reason enter, one NDJSON row leaves; and a row becomes a line of a `_bulk` body again.
//!
//! The row carries the id, so that a reader can tell documents that were written twice (a crash
//! between the write and the ack). Reasons may quote the document; the file is 0600.
//!
//! What becomes of rows that are sent again, [`resend`] decides; their files are in [`disk`] and in [`super::disk`].

pub mod disk;
pub mod resend;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;

/// What became of rows that were to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// They are on the disk.
    Synced,
    /// There is no room for them now: the file, or its disk, is full.
    NoRoom,
    /// The disk failed: another time it may not.
    Failed,
}

/// One refused document.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct DeadLetter {
    /// When it was refused, seconds since 1970.
    pub at: i64,
    /// HTTP status of the item.
    pub status: u16,
    /// Elasticsearch's error type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first bytes of the reason.
    pub reason: String,
    /// The target index.
    pub index: String,
    /// The document id; empty when the server makes the ids.
    pub id: String,
    /// The document as it was sent; null when it is more than a tree can hold (a number beyond `f64`, or too deep).
    #[serde(deserialize_with = "tree_or_null")]
    pub document: Value,
}

fn tree_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let document = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(document.get()).unwrap_or_default())
}

/// A [`DeadLetter`] on its way to the file.
#[derive(Serialize)]
struct Row<'a> {
    at: i64,
    status: u16,
    #[serde(rename = "type")]
    kind: &'a str,
    reason: &'a str,
    index: &'a str,
    id: &'a str,
    document: &'a RawValue,
}

/// The row of one refused document, newline included. The document is as it was sent, byte by byte; one that is no JSON (which
/// the encoder never makes) is kept as a string.
pub fn row(at: i64, action: &[u8], document: &[u8], status: u16, kind: &str, reason: &str) -> Vec<u8> {
    let (index, id) = target(action);
    let text;
    let document = match serde_json::from_slice(document) {
        Ok(document) => document,
        Err(_) => {
            text = to_raw_value(&String::from_utf8_lossy(document)).unwrap_or_default();
            &*text
        }
    };
    let row = Row {
        at,
        status,
        kind,
        reason,
        index: &index,
        id: &id,
        document,
    };
    let mut row = serde_json::to_vec(&row).unwrap_or_default();
    row.push(b'\n');
    row
}

impl DeadLetter {
    /// Namespace and pod that the document tells, in any of our schemas.
    pub fn origin(&self) -> (Option<&str>, Option<&str>) {
        let kubernetes = &self.document["kubernetes"];
        let resource = &self.document["resource"]["attributes"];
        (
            text([
                &kubernetes["namespace_name"],
                &kubernetes["namespace"],
                &resource["k8s.namespace.name"],
            ]),
            text([
                &kubernetes["pod_name"],
                &kubernetes["pod"]["name"],
                &resource["k8s.pod.name"],
            ]),
        )
    }
}

fn text(values: [&Value; 3]) -> Option<&str> {
    values.into_iter().find_map(Value::as_str)
}

/// The index of a row's document, and the two lines of a `_bulk` body that send it again under its own id. The document is the
/// row's, byte by byte. `None` for what is no row, or names no index.
pub fn bulk_lines(row: &[u8]) -> Option<(String, Vec<u8>)> {
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        index: Cow<'a, str>,
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        document: &'a RawValue,
    }
    #[derive(Serialize)]
    struct Action<'a> {
        create: Target<'a>,
    }
    #[derive(Serialize)]
    struct Target<'a> {
        _index: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        _id: &'a str,
    }
    let parts: Parts<'_> = serde_json::from_slice(row).ok()?;
    if parts.index.is_empty() {
        return None;
    }
    let create = Target {
        _index: &parts.index,
        _id: &parts.id,
    };
    let mut lines = serde_json::to_vec(&Action { create }).ok()?;
    lines.push(b'\n');
    lines.extend_from_slice(parts.document.get().as_bytes());
    lines.push(b'\n');
    Some((parts.index.into_owned(), lines))
}

/// Index and id of an action line.
pub fn target(action: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Action {
        create: Target,
    }
    #[derive(Deserialize)]
    struct Target {
        #[serde(rename = "_index", default)]
        index: String,
        #[serde(rename = "_id", default)]
        id: String,
    }
    match serde_json::from_slice::<Action>(action) {
        Ok(Action {
            create: Target { index, id },
        }) => (index, id),
        Err(_) => (String::new(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_document_id_and_reason() {
        let action = br#"{"create":{"_index":"logs","_id":"abc"}}"#;
        let row = row(
            5,
            action,
            br#"{"n":"x"}"#,
            400,
            "document_parsing_exception",
            "because",
        );
        let letter: DeadLetter = serde_json::from_slice(&row).unwrap();
        assert_eq!(
            (letter.index.as_str(), letter.id.as_str(), letter.status),
            ("logs", "abc", 400)
        );
        assert_eq!(letter.document, serde_json::json!({"n": "x"}));
        assert_eq!(row.last(), Some(&b'\n'));
    }

    /// Red when a document is parsed into a tree on its way: the order of members, digits, and what no tree can hold would be lost.
    #[test]
    fn a_row_has_the_document_byte_by_byte_and_gives_it_back() {
        let action = br#"{"create":{"_index":"logs","_id":"abc"}}"#;
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for document in [
            r#"{"z":123456789012345678901234,"a":1.50,"z":{"b":1,"b":2}}"#,
            r#"{"n":1e999,"message":"m"}"#,
            &format!(r#"{{"deep":{deep}}}"#),
        ] {
            let row = row(5, action, document.as_bytes(), 400, "kind", "because");
            let (_, lines) = bulk_lines(&row).unwrap();
            let given_back = String::from_utf8(lines).unwrap();
            assert_eq!(given_back.lines().nth(1), Some(document));
            let letter: DeadLetter = serde_json::from_slice(&row).unwrap();
            assert_eq!(letter.id, "abc");
        }
        let torn: DeadLetter = serde_json::from_slice(&row(5, action, b"{\"n\":", 400, "kind", "")).unwrap();
        assert_eq!(torn.document, "{\"n\":");
    }

    /// Red when a row is parsed into a tree on its way: the order of members and the digits of numbers would change.
    #[test]
    fn a_row_becomes_the_lines_of_a_bulk_body_byte_by_byte() {
        let row = br#"{"index":"logs-\u00e4","id":"a\"b","at":1,"document":{"z":1.50,"a":1e3,"z":"\u00e4"}}"#;
        let (index, lines) = bulk_lines(row).unwrap();
        assert_eq!(index, "logs-ä");
        let expected = "{\"create\":{\"_index\":\"logs-ä\",\"_id\":\"a\\\"b\"}}\n{\"z\":1.50,\"a\":1e3,\"z\":\"\\u00e4\"}\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        let auto = bulk_lines(br#"{"index":"logs","id":"","document":{}}"#)
            .unwrap()
            .1;
        assert_eq!(auto, b"{\"create\":{\"_index\":\"logs\"}}\n{}\n");
        assert_eq!(bulk_lines(br#"{"index":"","id":"x","document":{}}"#), None);
        assert_eq!(bulk_lines(br#"{"index":"logs","id":"x","docu"#), None);
    }

    #[test]
    fn namespace_and_pod_are_found_in_each_schema() {
        let of = |document: Value| {
            let letter = DeadLetter {
                at: 0,
                status: 400,
                kind: String::new(),
                reason: String::new(),
                index: String::new(),
                id: String::new(),
                document,
            };
            let (namespace, pod) = letter.origin();
            (namespace.map(str::to_owned), pod.map(str::to_owned))
        };
        let found = (Some("shop".to_owned()), Some("web-1".to_owned()));
        let fluentd = serde_json::json!({"kubernetes": {"namespace_name": "shop", "pod_name": "web-1"}});
        let ecs = serde_json::json!({"kubernetes": {"namespace": "shop", "pod": {"name": "web-1"}}});
        let otel = serde_json::json!({"resource": {"attributes": {"k8s.namespace.name": "shop", "k8s.pod.name": "web-1"}}});
        for document in [fluentd, ecs, otel] {
            assert_eq!(of(document), found);
        }
        assert_eq!(of(serde_json::json!("no object")), (None, None));
    }
}
