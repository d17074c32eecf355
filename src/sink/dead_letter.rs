//! A refused document and the reason enter, one NDJSON row leaves.
//!
//! The row carries the id, so that a reader can tell documents that were written twice (a crash
//! between the write and the ack). Reasons may quote the document; the file is 0600.

use serde::{Deserialize, Serialize};

/// One refused document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    /// The document as it was sent.
    pub document: serde_json::Value,
}

/// The row of one refused document, newline included. A document that is no JSON (which the encoder
/// never makes) is kept as a string.
pub fn row(at: i64, action: &[u8], document: &[u8], status: u16, kind: &str, reason: &str) -> Vec<u8> {
    let (index, id) = target(action);
    let document = serde_json::from_slice(document)
        .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(document).into_owned()));
    let letter = DeadLetter {
        at,
        status,
        kind: kind.into(),
        reason: reason.into(),
        index,
        id,
        document,
    };
    let mut row = serde_json::to_vec(&letter).unwrap_or_default();
    row.push(b'\n');
    row
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
}
