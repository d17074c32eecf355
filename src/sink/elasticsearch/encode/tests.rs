mod schemas;

use super::*;
use crate::config::LabelDots;
use crate::record::{Span, Stream};
use proptest::prelude::*;

fn config(json: JsonMode) -> EncodeConfig {
    EncodeConfig {
        layout: Layout::Fluentd {
            message_key: MessageKey::Message,
            include_tag: true,
            label_dots: LabelDots::Replace,
        },
        index: IndexPattern::parse("logstash-%Y.%m.%d").unwrap(),
        document_id: DocumentId::Deterministic,
        json,
    }
}

const STAMP: &[u8] = b"2026-03-04T09:15:27.123456789Z";

fn record(message: &[u8]) -> Record<'_> {
    Record {
        stamp: stamp::parse(STAMP).unwrap(),
        stream: Some(Stream::Stdout),
        message,
        valid_utf8: std::str::from_utf8(message).is_ok(),
        flags: Flags::default(),
        span: Span {
            file: FileId(7),
            start: 100,
            end: 200,
        },
        second: None,
        last_part: None,
        source_bytes: 100,
        skipped: 0,
    }
}

fn encode(
    config: EncodeConfig,
    record: &Record<'_>,
    stamp_text: &[u8],
) -> (serde_json::Value, serde_json::Value) {
    let fragment = Fragment {
        tail: b",\"kubernetes\":{\"pod_name\":\"p\"}".to_vec(),
        metadata_missing: false,
    };
    let mut out = Vec::new();
    Encoder::new(config).push(&mut out, record, stamp_text, FileKey::new(FileId(7)), &fragment);
    let mut lines = out.split_inclusive(|byte| *byte == b'\n');
    let action = serde_json::from_slice(lines.next().unwrap()).unwrap();
    let document = serde_json::from_slice(lines.next().unwrap()).unwrap();
    assert_eq!(lines.next(), None);
    (action, document)
}

#[test]
fn a_line_becomes_the_fluentd_document() {
    let (action, document) = encode(config(JsonMode::Off), &record(b"say \"hi\""), STAMP);
    assert_eq!(action["create"]["_index"], "logstash-2026.03.04");
    assert_eq!(action["create"]["_id"].as_str().unwrap().len(), ID_LEN);
    assert_eq!(
        document,
        serde_json::json!({"@timestamp": "2026-03-04T09:15:27.123456789+00:00", "stream": "stdout",
            "logtag": "F", "message": "say \"hi\"", "kubernetes": {"pod_name": "p"}})
    );
}

#[test]
fn a_zone_offset_is_turned_into_utc() {
    let mut record = record(b"x");
    let text = b"2026-03-05T07:15:27.1+08:00";
    record.stamp = stamp::parse(text).unwrap();
    let (action, document) = encode(config(JsonMode::Off), &record, text);
    assert_eq!(document["@timestamp"], "2026-03-04T23:15:27.100000000+00:00");
    assert_eq!(action["create"]["_index"], "logstash-2026.03.04");
}

#[test]
fn unusual_records_say_so() {
    let mut record = record(b"ab\xff");
    record.flags.insert(Flags::TRUNCATED);
    record.skipped = 17;
    let (_, document) = encode(config(JsonMode::Off), &record, STAMP);
    assert_eq!(document["message"], "ab\u{fffd}");
    let expected = serde_json::json!({"flags": ["truncated", "replaced_utf8"], "skipped_bytes": 17});
    assert_eq!(document["longshore"], expected);
}

#[test]
fn a_time_out_of_range_is_clamped_kept_and_flagged() {
    let mut record = record(b"x");
    record.stamp = stamp::parse(b"9999-01-01T00:00:00.5Z").unwrap();
    let (action, document) = encode(config(JsonMode::Off), &record, b"9999-01-01T00:00:00.500000000Z");
    assert_eq!(document["@timestamp"], "2262-04-11T23:47:16.000000000+00:00");
    assert_eq!(action["create"]["_index"], "logstash-2262.04.11");
    let expected =
        serde_json::json!({"flags": ["time_clamped"], "timestamp": "9999-01-01T00:00:00.500000000Z"});
    assert_eq!(document["longshore"], expected);
}

/// Whether bytes were checked before is chance: it hangs on the neighbours that were read with them.
#[test]
fn json_is_parsed_whoever_checked_its_bytes() {
    let mut record = record(br#"{"level":"warn"}"#);
    record.valid_utf8 = false;
    let (_, document) = encode(config(JsonMode::Merge), &record, STAMP);
    assert_eq!(document["level"], "warn");
    record.message = b"{\"level\":\"\xff\"}";
    let (_, document) = encode(config(JsonMode::Merge), &record, STAMP);
    assert_eq!(document.get("level"), None);
}

#[test]
fn a_dot_does_not_lead_into_our_fields() {
    let message = br#"{"kubernetes.pod_name":"evil","kubernetes_":1,"message.x":2,"a.b":3}"#;
    let (_, document) = encode(config(JsonMode::Merge), &record(message), STAMP);
    let expected = serde_json::json!({"kubernetes.pod_name": "evil", "message.x": 2});
    assert_eq!(document["parsed"], expected);
    assert_eq!(
        (&document["kubernetes_"], &document["a.b"]),
        (&1.into(), &3.into())
    );
}

/// Red when a server would refuse the document for a name of its own.
#[test]
fn names_of_the_server_stand_apart() {
    let message = br#"{"_id":"5f1c","_doc_count":9,"_facility":"gelf"}"#;
    let (_, document) = encode(config(JsonMode::Merge), &record(message), STAMP);
    assert_eq!(
        document["parsed"],
        serde_json::json!({"_id": "5f1c", "_doc_count": 9})
    );
    assert_eq!(document["_facility"], "gelf");
}

#[test]
fn json_members_never_overwrite_ours() {
    let message = br#"{"level":"warn","kubernetes":"evil","@timestamp":1,"level":"error","message":"m"}"#;
    let (_, merged) = encode(config(JsonMode::Merge), &record(message), STAMP);
    assert_eq!(merged["level"], "error");
    assert_eq!(merged["kubernetes"]["pod_name"], "p");
    assert_eq!(
        merged["parsed"],
        serde_json::json!({"kubernetes": "evil", "@timestamp": 1, "message": "m"})
    );
    let (_, nested) = encode(config(JsonMode::Nest), &record(message), STAMP);
    assert_eq!(nested["parsed"]["level"], "error");
    assert_eq!(nested.get("level"), None);
    let (_, text) = encode(config(JsonMode::Merge), &record(b"{not json"), STAMP);
    assert_eq!(text.get("parsed"), None);
}

#[test]
fn ids_sort_by_time_and_differ_by_every_part() {
    let base = record(b"x");
    let key = FileKey::new(FileId(7));
    let id = |record: &Record<'_>, key| document_id(record.stamp, key, record.span);
    let mut later = base.clone();
    later.stamp.nanos += 1_000_000;
    assert!(id(&later, FileKey::new(FileId(1))) > id(&base, key));
    let mut longer = base.clone();
    longer.span.end += 1;
    let mut moved = base.clone();
    moved.span.start += 1;
    moved.span.end += 1;
    let ids = [
        id(&base, key),
        id(&longer, key),
        id(&moved, key),
        id(&base, FileKey::new(FileId(8))),
    ];
    for (at, one) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(one), "{at}");
    }
}

#[test]
fn every_date_part_is_utc() {
    let pattern = IndexPattern::parse("a-%Y.%m.%d-%H-%j").unwrap();
    let event = stamp::parse(b"2024-12-31T23:59:59Z").unwrap();
    assert_eq!(index_name(&pattern, event), "a-2024.12.31-23-366");
}

proptest! {
    #[test]
    fn any_message_is_one_valid_document(message in proptest::collection::vec(any::<u8>(), 0..200), merge in any::<bool>()) {
        let mode = if merge { JsonMode::Merge } else { JsonMode::Off };
        let (_, document) = encode(config(mode), &record(&message), STAMP);
        let expected = String::from_utf8_lossy(&message);
        prop_assert_eq!(document["message"].as_str(), Some(expected.as_ref()));
    }
}
