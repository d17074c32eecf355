//! The same requests that the real server was asked, and its recorded answers.

use super::*;

/// A recorded request and what the real server said.
struct Golden {
    name: String,
    request: Value,
    response: Value,
    raw: String,
}

fn golden(name: &str) -> Golden {
    let path = format!("{}/../golden/es8/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let raw = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let json: Value = serde_json::from_str(&raw).unwrap();
    Golden {
        name: name.to_owned(),
        request: json["request"].clone(),
        response: json["response"].clone(),
        raw,
    }
}

impl Golden {
    fn body(&self) -> Vec<u8> {
        match &self.request["body"] {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            lines => {
                let lines = lines.as_array().unwrap().iter();
                let lines =
                    lines.map(|line| line.as_str().map_or_else(|| line.to_string(), str::to_owned) + "\n");
                lines.collect::<String>().into_bytes()
            }
        }
    }

    fn ask(&self, server: &RudeElasticsearch) -> Answer {
        let text = |key: &str| self.request[key].as_str();
        let mut headers = Vec::new();
        headers.extend(text("content_type").map(|media| ("content-type", media)));
        let mut body = self.body();
        if self.request["gzip"] == true {
            body = gzip(&body);
            headers.push(("content-encoding", "gzip"));
        }
        Client::new(server)
            .ask(text("method").unwrap(), text("path").unwrap(), &headers, &body)
            .unwrap()
    }

    /// Asks, and compares status, product header, content type and body but for what varies per run.
    fn check(&self, server: &RudeElasticsearch) -> Answer {
        let answer = self.ask(server);
        assert_eq!(
            u64::from(answer.status),
            self.response["status"].as_u64().unwrap(),
            "{}",
            self.name
        );
        for header in ["x-elastic-product", "content-type", "allow", "connection"] {
            let expected = self.response["headers"][header].as_str();
            assert_eq!(answer.header(header), expected, "{} {header}", self.name);
        }
        let mut expected = self.response["body"].clone();
        if expected == "" {
            assert!(answer.body.is_empty(), "{}", self.name);
            return answer;
        }
        let mut got = answer.json();
        level(&mut expected);
        level(&mut got);
        assert_eq!(got, expected, "{}", self.name);
        answer
    }
}

/// Makes equal what differs from run to run, or is worded by the JSON parser.
fn level(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            for varying in [
                "index_uuid",
                "shard",
                "_seq_no",
                "took",
                "ingest_took",
                "caused_by",
            ] {
                fields.remove(varying);
            }
            fields.values_mut().for_each(level);
        }
        Value::Array(values) => values.iter_mut().for_each(level),
        _ => {}
    }
}

#[test]
fn stored_and_duplicate_items_look_like_the_real_ones() {
    let server = RudeElasticsearch::start();
    golden("bulk_ok_autocreate").check(&server);
    golden("bulk_create_dup_409").check(&server);
    golden("bulk_gzip").check(&server);
    golden("bulk_filter_path").check(&server);
    golden("bulk_filter_path_ok").check(&server);
    golden("bulk_index_dup_200_updated").check(&server);
    golden("bulk_invalid_index_name_item").check(&server);
}

#[test]
fn keys_come_in_the_order_of_the_real_server() {
    let server = RudeElasticsearch::start();
    for name in ["bulk_ok_autocreate", "bulk_create_dup_409"] {
        let golden = golden(name);
        let answer = String::from_utf8(golden.ask(&server).body).unwrap();
        let answer = answer.replace("\"took\":0", "");
        let raw = golden.raw.replace("\"took\":400", "").replace("\"took\":0", "");
        assert!(raw.contains(&answer), "{answer} is not in {raw}");
    }
}

#[test]
fn refused_requests_look_like_the_real_ones() {
    let server = RudeElasticsearch::start();
    for name in [
        "bulk_no_body_400",
        "bulk_empty_body_400",
        "bulk_no_trailing_newline_400",
        "bulk_unknown_action_400",
        "bulk_malformed_action_400",
        "bulk_id_too_long_item",
        "bulk_ct_text_406",
        "unknown_param_400",
        "bulk_head_405",
    ] {
        golden(name).check(&server);
    }
    assert_eq!(server.count(), 0);
}

#[test]
fn refused_documents_look_like_the_real_ones() {
    let server = RudeElasticsearch::start();
    golden("item_array_doc_400").check(&server);
    let answer = golden("bulk_malformed_doc_item").ask(&server);
    assert_eq!(answer.statuses(), [400, 201]);
    let answer = golden("bulk_dup_key_doc_item").ask(&server).json();
    let error = &answer["items"][0]["create"]["error"];
    assert_eq!(error["type"], "document_parsing_exception");
    assert!(
        error["reason"].as_str().unwrap().contains("Duplicate field 'a'"),
        "{error}"
    );
    server.fates(Fates {
        mapping_400: Some(Box::new(|source| source == b"{\"n\":\"abc\"}")),
        ..Fates::default()
    });
    golden("item_mapping_long_400").check(&server);
    let unavailable = |_: Item<'_>| Some(ItemFate::Unavailable503);
    server.fates(Fates {
        custom: Some(Box::new(unavailable)),
        ..Fates::default()
    });
    golden("item_unavailable_shards_503").check(&server);
}

#[test]
fn blocked_indices_look_like_the_real_ones() {
    for (name, index, kind) in [
        ("item_block_write_403", "blk", BlockKind::Write403),
        (
            "item_block_read_only_allow_delete_429",
            "blk",
            BlockKind::FloodStage429,
        ),
        ("item_index_closed", "blk", BlockKind::Closed400),
        ("item_auto_create_false_404", "no*", BlockKind::AutoCreate404),
        ("item_max_shards_400", "toomany", BlockKind::MaxShards400),
        ("item_pipeline_missing_400", "*", BlockKind::PipelineMissing400),
        ("sec_shipper_403_item_all", "secret-*", BlockKind::Security403),
    ] {
        let server = RudeElasticsearch::start();
        server.block_index(index, kind);
        golden(name).check(&server);
        server.unblock_index(index);
        assert_eq!(golden(name).ask(&server).statuses(), [201], "{name}");
    }
}

#[test]
fn whole_refusals_look_like_the_real_ones() {
    for (name, refused) in [
        ("req_429_circuit_breaker", Refused::Breaker429),
        ("req_429_indexing_pressure", Refused::Pressure429),
        ("req_413_plain", Refused::TooLarge413),
        ("sec_401_no_credentials", Refused::Unauthorized401),
        ("sec_401_bad_api_key", Refused::ApiKey401),
        ("sec_403_no_privileges_user", Refused::Forbidden403),
        ("cluster_block_read_only", Refused::ReadOnly403),
    ] {
        let server = RudeElasticsearch::start();
        server.fault(Fault::Refuse(refused), Odds::Next(1));
        golden(name).check(&server);
        assert_eq!(server.count(), 0);
        assert_eq!(
            Client::new(&server).bulk(&creates(0..1)).unwrap().statuses(),
            [201]
        );
    }
}

#[test]
fn a_body_over_the_limit_is_413_by_its_inflated_size() {
    let server = RudeElasticsearch::start();
    server.limit_body(500);
    golden("req_413_gzip_expanded").check(&server);
    golden("req_413_plain").check(&server);
    assert_eq!(server.count(), 0);
}

#[test]
fn health_has_the_fields_of_the_real_one() {
    let server = RudeElasticsearch::start();
    let answer = golden("health").ask(&server).json();
    let keys = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), keys(&golden("health").response["body"]));
}

/// What is left of an answer when words and numbers are taken out, but for statuses and types.
fn shape(json: &Value) -> Value {
    match json {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match key.as_str() {
                "status" | "type" => (key.clone(), value.clone()),
                _ => (key.clone(), shape(value)),
            })
            .collect(),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::String(_) | Value::Null => Value::from(""),
        Value::Number(_) => Value::from(0),
        Value::Bool(_) => json.clone(),
    }
}

/// Status, product header, content type and shape.
fn outline(status: u64, header: impl Fn(&str) -> Option<String>, body: &Value) -> Value {
    let mut body = body.clone();
    level(&mut body);
    let headers = ["x-elastic-product", "content-type"].map(header);
    serde_json::json!([status, headers, shape(&body)])
}

impl Golden {
    fn outline(&self) -> Value {
        let headers = &self.response["headers"];
        let header = |name: &str| headers[name].as_str().map(str::to_owned);
        let body = match &self.response["body"] {
            Value::String(text) if text.is_empty() => &Value::Null,
            body => body,
        };
        outline(self.response["status"].as_u64().unwrap(), header, body)
    }

    fn outline_of(&self, server: &RudeElasticsearch) -> Value {
        let answer = self.ask(server);
        let header = |name: &str| answer.header(name).map(str::to_owned);
        outline(u64::from(answer.status), header, &answer.json())
    }

    /// A server on which each item fails as it did when this was recorded.
    fn replayed(&self) -> RudeElasticsearch {
        let items = self.response["body"]["items"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut items = items.into_iter();
        let fate = move |_: Item<'_>| {
            let item = items.next()?;
            let item = item.as_object()?.values().next()?.clone();
            let error = item.get("error")?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            Some(ItemFate::Error {
                status: item["status"].as_u64()? as u16,
                kind: text(&error["type"]),
                reason: text(&error["reason"]),
                failure_store: None,
            })
        };
        let server = RudeElasticsearch::start();
        server.fates(Fates {
            custom: Some(Box::new(fate)),
            ..Fates::default()
        });
        server
    }
}

/// Recorded answers of a shape that the rude server has not, and why it does without.
const WITHOUT: [(&str, &str); 6] = [
    ("bulk_all_ops", "updates and removals are never sent"),
    ("bulk_ct_compat8", "bodies are plain NDJSON"),
    ("bulk_ct_compat9", "bodies are plain NDJSON"),
    (
        "bulk_index_dup_200_updated",
        "it takes two requests; compared above",
    ),
    ("bulk_list_executed_pipelines", "nobody asks for pipelines"),
    (
        "item_text_long_token",
        "the document was cut when it was recorded",
    ),
];

/// Whatever the real server was asked at `_bulk`, the rude one has an answer of that shape: by itself, with items that fail
/// in the recorded way, or as one of its refusals.
#[test]
fn every_recorded_answer_to_a_bulk_has_a_shape_of_the_rude_server() {
    const REFUSALS: [Refused; 8] = [
        Refused::Pressure429,
        Refused::Breaker429,
        Refused::Unavailable503,
        Refused::TooLarge413,
        Refused::Unauthorized401,
        Refused::ApiKey401,
        Refused::Forbidden403,
        Refused::ReadOnly403,
    ];
    let folder = format!("{}/../golden/es8", env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let goldens = names.map(|name| golden(name.trim_end_matches(".json")));
    let asks_bulk = |golden: &Golden| {
        golden.request["path"]
            .as_str()
            .is_some_and(|path| path.contains("/_bulk"))
    };
    let (mut compared, mut without) = (0, Vec::new());
    for golden in goldens.filter(asks_bulk) {
        let expected = golden.outline();
        let refused = |refused| {
            let server = RudeElasticsearch::start();
            server.fault(Fault::Refuse(refused), Odds::Next(1));
            golden.outline_of(&server)
        };
        let found = golden.outline_of(&RudeElasticsearch::start()) == expected
            || golden.outline_of(&golden.replayed()) == expected
            || REFUSALS.into_iter().any(|refusal| refused(refusal) == expected);
        compared += usize::from(found);
        if !found {
            without.push(golden.name);
        }
    }
    without.sort();
    assert_eq!(without, WITHOUT.map(|(name, _)| name));
    assert_eq!(compared, 88);
}
