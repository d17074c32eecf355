#![expect(
    clippy::disallowed_methods,
    reason = "recorded answers are read from the repository"
)]

use super::*;

/// The recorded answer of a real server: status and body.
fn golden(case: &str) -> (u16, Vec<u8>, usize) {
    let path = format!("{}/tests/golden/es8/{case}.json", env!("CARGO_MANIFEST_DIR"));
    let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let response = &recorded["response"];
    let body = match &response["body"] {
        serde_json::Value::String(text) => text.clone().into_bytes(),
        body => serde_json::to_vec(body).unwrap(),
    };
    let items = response["body"]["items"].as_array().map_or(0, Vec::len);
    (response["status"].as_u64().unwrap() as u16, body, items)
}

fn verdicts(case: &str) -> Vec<Verdict> {
    let (status, body, items) = golden(case);
    match judge(status, &body, items) {
        RequestVerdict::Items(verdicts) => verdicts,
        other => panic!("{case}: {other:?}"),
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Duplicate => "duplicate",
        Verdict::DroppedByServer => "dropped",
        Verdict::Retry(_) => "retry",
        Verdict::Refused(_) => "refused",
        Verdict::Hold(_) => "hold",
    }
}

#[test]
fn every_recorded_item_has_its_verdict() {
    let cases = [
        ("bulk_ok_autocreate", "accepted"),
        ("bulk_create_dup_409", "duplicate"),
        ("item_429_write_queue", "retry"),
        ("item_unavailable_shards_503", "retry"),
        ("item_wait_for_active_shards_503", "retry"),
        ("item_mapping_long_400", "refused"),
        ("item_total_fields_400", "refused"),
        ("item_strict_400", "refused"),
        ("item_depth_400", "refused"),
        ("item_keyword_too_long_400", "refused"),
        ("item_block_write_403", "hold"),
        ("item_block_read_only_allow_delete_429", "hold"),
        ("item_index_closed", "hold"),
        ("item_auto_create_false_404", "hold"),
        ("item_max_shards_400", "hold"),
        ("item_pipeline_missing_400", "hold"),
        ("item_alias_no_write_index_400", "hold"),
        ("sec_403_item_no_auto_configure", "hold"),
    ];
    for (case, expected) in cases {
        assert_eq!(name(&verdicts(case)[0]), expected, "{case}");
    }
    assert_eq!(name(&verdicts("item_mapping_long_400")[1]), "accepted");
}

#[test]
fn every_recorded_refusal_of_a_request_has_its_verdict() {
    let judged = |case| {
        let (status, body, _) = golden(case);
        judge(status, &body, 3)
    };
    for case in ["req_429_circuit_breaker", "req_429_indexing_pressure"] {
        assert!(matches!(judged(case), RequestVerdict::Retry(_)), "{case}");
    }
    assert!(matches!(judged("req_413_plain"), RequestVerdict::Split(_)));
    for case in [
        "sec_401_no_credentials",
        "sec_403_no_privileges_user",
        "cluster_block_read_only",
        "bulk_malformed_action_400",
    ] {
        assert!(matches!(judged(case), RequestVerdict::Hold(_)), "{case}");
    }
}

#[test]
fn an_answer_that_is_not_whole_is_ambiguous() {
    let whole = br#"{"errors":false,"took":0,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
    assert!(matches!(judge(200, whole, 2), RequestVerdict::Items(_)));
    for (body, documents) in [
        (&whole[..], 3),
        (&whole[..whole.len() - 1], 2),
        (b"".as_slice(), 2),
        (b"<html>please sign in</html>".as_slice(), 2),
        (b"{\"errors\":false}".as_slice(), 2),
    ] {
        let verdict = judge(200, body, documents);
        assert!(
            matches!(&verdict, RequestVerdict::Retry(problem) if problem.kind == "ambiguous_answer"),
            "{verdict:?}"
        );
    }
}

#[test]
fn only_201_is_accepted() {
    let judged = |item: &str| match judge(200, format!(r#"{{"items":[{{"create":{item}}}]}}"#).as_bytes(), 1)
    {
        RequestVerdict::Items(verdicts) => name(&verdicts[0]),
        other => panic!("{other:?}"),
    };
    assert_eq!(judged(r#"{"status":201,"result":"created"}"#), "accepted");
    assert_eq!(judged(r#"{"status":200,"result":"noop"}"#), "dropped");
    assert_eq!(judged(r#"{"status":409}"#), "duplicate");
}

#[test]
fn spacing_key_order_and_long_reasons_do_not_matter() {
    let body = format!(
        "{{\n \"items\" : [ {{ \"create\" : {{ \"error\" : {{ \"reason\" : \"{}\", \"type\" : \"document_parsing_exception\" }}, \"status\" : 400 }} }} ],\n \"took\" : 1 }}",
        "é".repeat(20_000)
    );
    match judge(200, body.as_bytes(), 1) {
        RequestVerdict::Items(verdicts) => match &verdicts[0] {
            Verdict::Refused(problem) => assert!(problem.reason.len() <= REASON_BYTES),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
