#![expect(
    clippy::disallowed_methods,
    reason = "recorded answers are read from the repository"
)]

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The recorded answer of a real server: status and body.
fn golden(case: &str) -> (u16, Vec<u8>, usize) {
    let path = format!("{}/tests/golden/es8/{case}.json", env!("CARGO_MANIFEST_DIR"));
    let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let response = &recorded["response"];
    let body = match &response["body"] {
        Value::String(text) => text.clone().into_bytes(),
        body => serde_json::to_vec(body).unwrap(),
    };
    let items = response["body"]["items"].as_array().map_or(0, Vec::len);
    (response["status"].as_u64().unwrap() as u16, body, items)
}

fn verdicts(case: &str) -> Vec<Verdict> {
    let (status, body, items) = golden(case);
    match judge(status, &body, items) {
        RequestVerdict::Items(verdicts) => verdicts.iter().cloned().collect(),
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
        ("item_unavailable_shards_503", "hold"),
        ("item_wait_for_active_shards_503", "hold"),
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
        "unknown_param_400",
        "bulk_ct_compat9",
    ] {
        assert!(matches!(judged(case), RequestVerdict::Hold(_)), "{case}");
    }
    for case in ["bulk_malformed_action_400", "bulk_id_too_long_item"] {
        assert!(matches!(judged(case), RequestVerdict::Bisect(_)), "{case}");
    }
    assert!(matches!(
        judge(400, b"<html>Bad Request</html>", 3),
        RequestVerdict::Hold(_)
    ));
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
        RequestVerdict::Items(verdicts) => name(verdicts.iter().next().unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!(judged(r#"{"status":201,"result":"created"}"#), "accepted");
    assert_eq!(judged(r#"{"status":200,"result":"noop"}"#), "dropped");
    assert_eq!(judged(r#"{"status":409}"#), "duplicate");
    for status in [200, 201] {
        let odd = format!(r#"{{"status":{status},"error":{{"reason":"?"}}}}"#);
        assert_eq!(judged(&odd), "refused", "{odd}");
    }
}

#[test]
fn spacing_key_order_and_long_reasons_do_not_matter() {
    let body = format!(
        "{{\n \"items\" : [ {{ \"create\" : {{ \"error\" : {{ \"reason\" : \"{}\", \"type\" : \"document_parsing_exception\" }}, \"status\" : 400 }} }} ],\n \"took\" : 1 }}",
        "é".repeat(20_000)
    );
    match judge(200, body.as_bytes(), 1) {
        RequestVerdict::Items(verdicts) => match verdicts.iter().next().unwrap() {
            Verdict::Refused(problem) => assert!(problem.reason.len() <= REASON_BYTES),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// One item as a server would tell it, and the verdict on it.
fn told_item() -> impl Strategy<Value = (Value, Verdict)> {
    let kinds = [
        "",
        "version_conflict_engine_exception",
        "document_parsing_exception",
        "cluster_block_exception",
        "es_rejected_execution_exception",
        "unheard_of",
    ];
    let error = ("[a-z \"é\\\\\n]{0,400}", prop::sample::select(kinds.to_vec()));
    let status = prop::sample::select(vec![200u16, 201, 201, 201, 400, 403, 404, 409, 429, 500, 503]);
    let stores = prop::sample::select(vec!["", "", "used", "not_enabled", "failed", "unheard_of"]);
    let told = (
        status,
        prop::option::of(error),
        stores,
        any::<bool>(),
        any::<bool>(),
    );
    told.prop_map(|(status, error, store, full, old)| {
        let error = error.filter(|_| status != 201);
        let mut item = json!({"status": status});
        if let Some((reason, kind)) = &error {
            item["error"] = json!({"type": kind, "reason": reason});
        }
        if !store.is_empty() {
            item["failure_store"] = store.into();
        }
        if full {
            item["_index"] = "logs-a".into();
            item["_shards"] = json!({"total": 2, "failed": [1, {"status": 400, "error": "x"}]});
            item["result"] = "created".into();
            item["zero"] = Value::Null;
        }
        let error = error.map(|(reason, kind)| ErrorBody {
            kind: kind.to_owned(),
            reason: reason::of_fault(&reason),
        });
        let name = if old { "index" } else { "create" };
        (
            json!({ name: item }),
            judge_item(status, error.as_ref(), FailureStore::of(store.as_bytes())),
        )
    })
}

/// The answer in pieces that end at `cuts`.
fn judge_pieces(text: &[u8], documents: usize, mut cuts: Vec<usize>) -> RequestVerdict {
    let mut scan = Scan::new(200, documents);
    cuts.sort_unstable();
    let mut at = 0;
    for cut in cuts.into_iter().chain([text.len()]) {
        let cut = cut.clamp(at, text.len());
        scan.push(&text[at..cut]);
        at = cut;
    }
    scan.finish()
}

proptest! {
    #[test]
    fn every_item_has_the_verdict_that_it_would_have_alone(
        items in prop::collection::vec(told_item(), 0..12), pretty: bool, took: bool,
        cuts in prop::collection::vec(0usize..4000, 0..6)
    ) {
        let (told, expected): (Vec<Value>, Vec<Verdict>) = items.into_iter().unzip();
        let mut answer = json!({"errors": true, "items": told});
        if took {
            answer["took"] = 7.into();
            answer["error"] = Value::Null;
        }
        let text = if pretty { serde_json::to_vec_pretty(&answer) } else { serde_json::to_vec(&answer) }.unwrap();
        let documents = expected.len();
        let verdicts = RequestVerdict::Items(expected.into_iter().collect());
        prop_assert_eq!(judge_pieces(&text, documents, cuts.clone()), verdicts);
        // Torn, or with another number of items, it is worth nothing.
        for (text, documents) in [(&text[..text.len() - 1], documents), (&text, documents + 1)] {
            let is_ambiguous = matches!(
                judge_pieces(text, documents, cuts.clone()),
                RequestVerdict::Retry(problem) if problem.kind == "ambiguous_answer"
            );
            prop_assert!(is_ambiguous);
        }
    }
}

#[test]
fn what_is_not_a_bulk_answer_is_ambiguous() {
    let texts = [
        "[]",
        "7",
        r#"{"items":{}}"#,
        r#"{"items":null}"#,
        r#"{"items":[7]}"#,
        r#"{"items":[[]]}"#,
        r#"{"items":[{}]}"#,
        r#"{"items":[{"update":{"status":200}}]}"#,
        r#"{"items":[{"create":7}]}"#,
        r#"{"items":[{"create":{}}]}"#,
        r#"{"items":[{"create":{"status":"201"}}]}"#,
        r#"{"items":[{"create":{"status":201.0}}]}"#,
        r#"{"items":[{"create":{"status":99999}}]}"#,
        r#"{"items":[{"create":{"status":201,"status":400}}]}"#,
        r#"{"items":[{"create":{"status":201},"index":{"status":400}}]}"#,
        r#"{"items":[{"create":{"status":400,"error":"text"}}]}"#,
        r#"{"items":[{"create":{"status":400,"error":{"type":7}}}]}"#,
        r#"{"items":[{"create":{"status":400,"error":{"reason":null}}}]}"#,
        r#"{"items":[{"create":{"status":201}}],"items":[]}"#,
        r#"{"items":[{"create":{"status":201}}]} x"#,
    ];
    for text in texts {
        let verdict = judge(200, text.as_bytes(), 1);
        assert!(
            matches!(&verdict, RequestVerdict::Retry(problem) if problem.kind == "ambiguous_answer"),
            "{text}: {verdict:?}"
        );
    }
    // Only what is looked for is looked at.
    let odd = r#"{"took":[{"items":{}}],"items":[{"x":[],"create":{"status":201,"y":{"status":400}}}]}"#;
    assert!(matches!(judge(200, odd.as_bytes(), 1), RequestVerdict::Items(_)));
}

/// Red when reasons are kept as long as they come.
#[test]
fn twenty_megabytes_of_errors_take_less_than_two() {
    const DOCUMENTS: usize = 10_000;
    let mut scan = Scan::new(200, DOCUMENTS);
    assert!(scan.push(br#"{"took":1,"errors":true,"items":["#));
    for at in 0..DOCUMENTS {
        let comma = if at > 0 { "," } else { "" };
        let reason = format!(
            "[1:{at}] failed to parse field [n{}] of type [long] in document with id 'id-{at}'. Preview of field's \
             value: '{}'",
            at % 7,
            "x".repeat(2000)
        );
        let item = format!(
            r#"{comma}{{"create":{{"status":400,"error":{{"type":"document_parsing_exception","reason":"{reason}"}}}}}}"#
        );
        assert!(scan.push(item.as_bytes()));
    }
    assert!(scan.held_bytes() < 2 << 20, "{} bytes", scan.held_bytes());
}

/// Red when the answer, or a verdict for each document, is kept.
#[test]
fn an_answer_of_ten_megabytes_takes_the_memory_of_its_failures() {
    const DOCUMENTS: usize = 400_000;
    let mut scan = Scan::new(200, DOCUMENTS);
    assert!(scan.push(br#"{"took":1,"errors":true,"items":["#));
    let mut bytes = 0;
    for at in 0..DOCUMENTS {
        let comma: &[u8] = if at > 0 { b"," } else { b"" };
        let item: &[u8] = match at {
            7 | 9 => br#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception"}}}"#,
            _ if at % 2 == 0 => br#"{"create":{"status":201}}"#,
            _ => br#"{ "create": { "result": "created", "status": 201 } }"#,
        };
        bytes += item.len();
        assert!(scan.push(&[comma, item].concat()));
    }
    assert!(scan.push(b"]}"));
    assert!(bytes > 10_000_000);
    assert!(scan.held_bytes() < 2000, "{} bytes", scan.held_bytes());
    let RequestVerdict::Items(verdicts) = scan.finish() else {
        panic!("it was whole")
    };
    assert_eq!(verdicts.documents(), DOCUMENTS);
    let [(7, Verdict::Retry(one)), (9, Verdict::Retry(two))] = verdicts.others() else {
        panic!("{:?}", verdicts.others())
    };
    assert!(Arc::ptr_eq(one, two), "the same problem is kept once");
}

#[test]
fn a_request_that_is_refused_tells_why_when_it_can() {
    let reason = |status, body: &str| match judge(status, body.as_bytes(), 3) {
        RequestVerdict::Hold(problem) | RequestVerdict::Retry(problem) => (problem.kind, problem.reason),
        other => panic!("{other:?}"),
    };
    let nested =
        r#"{"error":{"root_cause":[{"type":"a","reason":"b"}],"type":"t","reason":"r"},"status":403}"#;
    assert_eq!(reason(403, nested), ("t".to_owned(), "r".to_owned()));
    assert_eq!(
        reason(406, r#"{"error":"no such kind","status":406}"#),
        (String::new(), "no such kind".to_owned())
    );
    assert_eq!(reason(401, "Unauthorized"), <(String, String)>::default());
    assert_eq!(
        reason(503, &nested[..nested.len() - 2]),
        <(String, String)>::default()
    );
}

/// Red when places are taken from the wrong items, or an answer that names them is not understood.
#[test]
fn an_audit_finds_documents_that_are_elsewhere() {
    let answer = json!({"errors": true, "items": [
        {"create": {"_index": "logs-a", "_id": "1", "status": 201}},
        {"create": {"_index": "logs-a", "_id": null, "status": 400, "error": {"type": "x", "reason": "y"}}},
        {"create": {"_index": "other", "_id": "3", "status": 201}},
        {"create": {"_index": "logs-a", "_id": "made by a pipeline", "status": 201}},
        {"create": {"_index": "logs-a", "_id": "as it was before", "status": 409, "error": {"type": "version_conflict_engine_exception"}}},
    ]});
    let mut scan = Scan::new(200, 5).audited();
    scan.push(answer.to_string().as_bytes());
    let (verdict, places) = scan.finish_audited();
    let RequestVerdict::Items(verdicts) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        verdicts.iter().map(name).collect::<Vec<_>>(),
        ["accepted", "refused", "accepted", "accepted", "duplicate"]
    );
    let sent = ["1", "2", "3", "4", "5"].map(|id| ("logs-a", id));
    let diverted = places.unwrap().diverted(sent.into_iter());
    assert_eq!((diverted.ids, diverted.indices), (1, 1));
    // Nobody asked: nothing is kept.
    let mut scan = Scan::new(200, 5);
    scan.push(answer.to_string().as_bytes());
    assert_eq!(scan.finish_audited().1, None);
}
