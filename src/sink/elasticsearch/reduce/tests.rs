use super::*;

const DOCUMENT: &str = r#"{"@timestamp":"2026-03-04T09:15:27.123456789+00:00","stream":"stdout","logtag":"F","message":"m","n":"abc",
    "a":{"b.c":{"d":1}},"l":[{"x":1},{"x":{}}],"docker":{"container_id":"9c"},
    "kubernetes":{"namespace_name":"shop","pod_name":"web-1","container_name":"app","labels":{"app":"web"}},"tag":"t"}"#;

fn problem(reason: &str) -> Problem {
    Problem {
        status: 400,
        kind: "document_parsing_exception".into(),
        reason: reason.into(),
    }
}

fn value(document: Option<Vec<u8>>) -> Value {
    serde_json::from_slice(&document.expect("a document")).expect("JSON")
}

#[test]
fn the_field_that_a_server_names_is_found() {
    let cases = [
        ("[1:6] failed to parse field [n] of type [long].", Some("n")),
        ("failed to parse field [lbl.app] of type [text]", Some("lbl.app")),
        (
            "[1:6] object mapping for [o] tried to parse field [o] as object, but found a concrete value",
            Some("o"),
        ),
        (
            "can't merge a non object mapping [lb2.app] with an object mapping",
            Some("lb2.app"),
        ),
        (
            "Document contains at least one immense term in field=\"k\" (whose UTF8 encoding",
            Some("k"),
        ),
        (
            "[1:7] mapping set to strict, dynamic introduction of [zz] within [_doc] is not allowed",
            Some("zz"),
        ),
        (
            "mapping set to strict, dynamic introduction of [zz] within [a] is not allowed",
            None,
        ),
        ("failed to parse", None),
        (
            "[1:35] failed to parse: Limit of total fields [5] has been exceeded",
            None,
        ),
        ("failed to parse field [] of type", None),
    ];
    for (reason, field) in cases {
        assert_eq!(field_in_the_way(&problem(reason)), field, "{reason}");
    }
}

#[test]
fn a_field_moves_into_a_note_as_text() {
    for (field, text) in [
        ("n", "abc"),
        ("a.b.c.d", "1"),
        ("a.b.c", r#"{"d":1}"#),
        ("l.x", r#"[{"x":1},{"x":{}}]"#),
        ("kubernetes.labels.app", "web"),
    ] {
        let without = value(without_field(DOCUMENT.as_bytes(), field, Schema::Fluentd));
        assert_eq!(without["_conflict"], json!({"field": field, "value": text}));
        assert_eq!(without["message"], "m");
        assert_eq!(without["n"].is_null(), field == "n");
    }
    let without = value(without_field(
        DOCUMENT.as_bytes(),
        "kubernetes.labels.app",
        Schema::Fluentd,
    ));
    assert_eq!(without["kubernetes"]["pod_name"], "web-1");
    // What a document cannot do without, and what it does not have.
    for field in [
        "@timestamp",
        "message",
        "kubernetes",
        "kubernetes.pod_name",
        "nothing",
        "_conflict.value",
    ] {
        assert_eq!(
            without_field(DOCUMENT.as_bytes(), field, Schema::Fluentd),
            None,
            "{field}"
        );
    }
    let once = without_field(DOCUMENT.as_bytes(), "n", Schema::Fluentd).unwrap();
    let twice = without_field(&once, "a", Schema::Fluentd);
    assert_eq!(twice, None, "one field, then nothing but the identity");
    assert_eq!(without_field(b"no JSON", "n", Schema::Fluentd), None);
}

#[test]
fn what_is_reduced_keeps_message_and_identity_and_all_of_it_as_text() {
    let poor = value(reduced(DOCUMENT.as_bytes(), &problem("x"), Schema::Fluentd));
    assert_eq!(
        poor,
        json!({
            "@timestamp": "2026-03-04T09:15:27.123456789+00:00", "stream": "stdout", "logtag": "F", "message": "m",
            "docker": {"container_id": "9c"}, "tag": "t",
            "kubernetes": {"namespace_name": "shop", "pod_name": "web-1", "container_name": "app"},
            "longshore": {"flags": ["reduced"], "refused": "document_parsing_exception", "original": DOCUMENT},
        })
    );
    let again = reduced(
        &serde_json::to_vec(&poor).unwrap(),
        &problem("x"),
        Schema::Fluentd,
    );
    assert_eq!(again, None, "it is reduced already");
}

#[test]
fn a_document_that_is_too_large_loses_the_end_of_its_message() {
    let message = "\"é\"".repeat(1000);
    let document = serde_json::to_vec(&json!({"message": message, "n": 1})).unwrap();
    let short = shortened(&document, 4000, Schema::Fluentd).unwrap();
    assert!((3900..=4000).contains(&short.len()), "{}", short.len());
    let short = value(Some(short));
    assert!(message.starts_with(short["message"].as_str().unwrap()));
    assert_eq!(
        (&short["n"], &short["longshore"]["flags"]),
        (&json!(1), &json!(["shortened"]))
    );
    // When nothing sensible remains of the message, it is not the message.
    assert_eq!(shortened(&document, 200, Schema::Fluentd), None);
    let other = serde_json::to_vec(&json!({"message": "m", "n": "x".repeat(5000)})).unwrap();
    assert_eq!(shortened(&other, 4000, Schema::Fluentd), None);
}

/// The names that a refusal gives to fields of `otel`, and the text of its message.
#[test]
fn documents_of_otel_keep_their_notes_among_the_attributes() {
    let document = r#"{"@timestamp":"t","body":{"text":"mmm"},"attributes":{"log.iostream":"stdout","a":{"b":1}},
        "resource":{"attributes":{"k8s.pod.name":"web-1","k8s.pod.label.app":"web"}}}"#;
    let shelve = |field: &str| without_field(document.as_bytes(), field, Schema::Otel);
    let without = value(shelve("resource.attributes.k8s.pod.label.app"));
    assert_eq!(
        without["attributes"],
        json!({"log.iostream": "stdout", "a": {"b": 1}, "_conflict.value": "web",
            "_conflict.field": "resource.attributes.k8s.pod.label.app"})
    );
    assert_eq!(
        without["resource"],
        json!({"attributes": {"k8s.pod.name": "web-1"}})
    );
    assert_eq!(
        value(shelve("attributes.a"))["attributes"]["_conflict.value"],
        r#"{"b":1}"#
    );
    for needed in [
        "resource.attributes.k8s.pod.name",
        "resource",
        "attributes",
        "body.text",
    ] {
        assert_eq!(shelve(needed), None, "{needed}");
    }
    let twice = shelve("attributes.a")
        .and_then(|once| without_field(&once, "resource.attributes.k8s.pod.label.app", Schema::Otel));
    assert_eq!(twice, None, "one field, then nothing but the identity");
    let poor = reduced(document.as_bytes(), &problem("x"), Schema::Otel);
    assert_eq!(
        value(poor.clone()),
        json!({"@timestamp": "t", "body": {"text": "mmm"},
            "attributes": {"log.iostream": "stdout", "longshore.flags": ["reduced"],
                "longshore.refused": "document_parsing_exception", "longshore.original": document},
            "resource": {"attributes": {"k8s.pod.name": "web-1"}}})
    );
    assert_eq!(reduced(&poor.unwrap(), &problem("x"), Schema::Otel), None);
    let long = document.replace("mmm", &"m".repeat(5000));
    let short = value(shortened(long.as_bytes(), 4000, Schema::Otel));
    assert!((3000..4000).contains(&short["body"]["text"].as_str().unwrap().len()));
    assert_eq!(short["attributes"]["longshore.flags"], json!(["shortened"]));
}

/// Red without `is_exact`: what is stored in a poorer form would have other numbers than its line.
#[test]
fn numbers_that_a_tree_would_change_keep_a_document_whole() {
    let with = |number: &str| {
        format!(r#"{{"n":"abc","text":"1e999 \" 12345678901234567890123","kept":[{number}],"message":"m"}}"#)
    };
    let kept = |number: &str| without_field(with(number).as_bytes(), "n", Schema::Fluentd);
    for number in [
        "0",
        "-1.5",
        "0.0",
        "1e3",
        "18446744073709551615",
        "-9223372036854775808",
        "0.123456789012345",
        "1E-20",
    ] {
        let written = value(kept(number))["kept"][0].to_string();
        assert_eq!(written.parse::<f64>(), number.parse::<f64>(), "{number}");
    }
    for number in [
        "18446744073709551616",
        "1e999",
        "1e-999",
        "1e-25",
        "3e23",
        "0.12345678901234567",
        "123456789012345678901234",
    ] {
        assert_eq!(kept(number), None, "{number}");
        assert_eq!(
            shortened(with(number).as_bytes(), 10, Schema::Fluentd),
            None,
            "{number}"
        );
    }
}
