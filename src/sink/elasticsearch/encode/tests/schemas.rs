//! The same records in every schema: as they are known, and against whatever an application writes.

use super::*;
use crate::config::{DataStream, Schema};
use crate::record::Metadata;
use crate::sink::elasticsearch::reduce;
use crate::sink::elasticsearch::response::Problem;
use crate::sink::elasticsearch::schema::fields::{fields, reserved, steps};
use crate::sink::elasticsearch::schema::fragment;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SCHEMAS: [(&str, Schema); 3] = [
    ("fluentd", Schema::Fluentd),
    ("ecs", Schema::Ecs),
    ("otel", Schema::Otel),
];
/// `2026-03-04T09:15:28.002Z`
const READ: u64 = 1_772_615_728_002;
const CLASH: &str = r#"{"level":"WARNING","order":{"id":17},"log":"mine","kubernetes.pod.name":"x","k8s.pod.name":"y","attributes":{},"message":"m","_conflict":1}"#;

fn config_of(schema: Schema, json: JsonMode) -> EncodeConfig {
    let mut config = Config::default();
    config.sink.elasticsearch.schema = schema;
    config.parse.json = json;
    EncodeConfig::from(&config)
}

fn metadata() -> Metadata {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Metadata {
        namespace: "shop".into(),
        pod: "web-6d4cf-x7k2p".into(),
        pod_uid: "3f1c".into(),
        container: "nginx".into(),
        node: "node-a".into(),
        container_id: Some("9c2e41".into()),
        runtime: Some("containerd".into()),
        image: Some("docker.io/library/nginx:1.27".into()),
        image_id: Some("docker.io/library/nginx@sha256:ab12".into()),
        pod_ip: Some("10.244.1.17".into()),
        labels: vec![pair("app", "web"), pair("app.kubernetes.io/name", "web")],
        annotations: vec![pair("example.com/team", "checkout")],
        owner: Some(pair("ReplicaSet", "web-6d4cf")),
        deployment: Some("web".into()),
        namespace_uid: Some("77aa".into()),
        namespace_labels: vec![pair("kubernetes.io/metadata.name", "shop")],
        missing: false,
    }
}

/// The `_bulk` lines of a record.
fn lines(config: EncodeConfig, record: &Record<'_>, metadata: &Metadata) -> (String, String) {
    let path = "/var/log/pods/shop_web-6d4cf-x7k2p_3f1c/nginx/0.log";
    let fragment = fragment(metadata, &config.layout, path);
    let mut encoder = Encoder::new(config);
    encoder.set_read_time(READ);
    let mut out = Vec::new();
    encoder.push(&mut out, record, b"", FileKey::new(FileId(7)), &fragment);
    let text = String::from_utf8(out).unwrap();
    let (action, document) = text.trim_end().split_once('\n').unwrap();
    assert!(!document.contains('\n'));
    (action.to_owned(), document.to_owned())
}

fn flagged(message: &[u8], flags: Flags) -> Record<'_> {
    let mut record = record(message);
    record.flags = flags;
    record
}

fn at<'a>(stamp: &str, message: &'a [u8]) -> Record<'a> {
    let mut record = record(message);
    record.stamp = stamp::parse(stamp.as_bytes()).unwrap();
    record
}

/// Every kind of record that the agent makes.
fn records() -> Vec<(&'static str, JsonMode, Record<'static>)> {
    let mut joined = record(b"half a line, the other half");
    joined.stream = Some(Stream::Stderr);
    joined.second = Some(Span {
        file: FileId(8),
        start: 0,
        end: 40,
    });
    joined.last_part = joined.second.map(|second| (joined.stamp, second));
    let mut truncated = flagged(b"the beginning of a long one", Flags::TRUNCATED);
    truncated.skipped = 1_000_000;
    let mut unparsed = flagged(b"not CRI", Flags::UNPARSED);
    unparsed.stream = None;
    vec![
        ("a line", JsonMode::Off, record(br#""GET /cart HTTP/1.1" 500 17"#)),
        ("joined from two files", JsonMode::Off, joined),
        (
            "its end never came",
            JsonMode::Off,
            flagged(b"half a li", Flags::PARTIAL),
        ),
        ("cut", JsonMode::Off, truncated),
        ("no UTF-8", JsonMode::Off, record(b"\xc3( and a NUL \0")),
        ("neither CRI nor Docker", JsonMode::Off, unparsed),
        ("too early", JsonMode::Off, at("1960-01-01T00:00:00Z", b"x")),
        (
            "too late",
            JsonMode::Off,
            at("9999-12-31T23:59:59.999999999Z", b"x"),
        ),
        ("JSON that stays text", JsonMode::Off, record(CLASH.as_bytes())),
        ("JSON merged", JsonMode::Merge, record(CLASH.as_bytes())),
        ("JSON nested", JsonMode::Nest, record(CLASH.as_bytes())),
        (
            "JSON without clash",
            JsonMode::Merge,
            record(br#"{"severity":"bad","a.b":1}"#),
        ),
        ("JSON, not an object", JsonMode::Merge, record(b"[1]")),
    ]
}

fn golden_of(schema: Schema) -> String {
    let mut out = String::new();
    let mut add = |name: &str, action: &str, document: &str| {
        let document = document.replace(env!("CARGO_PKG_VERSION"), "{version}");
        out.push_str(&format!("# {name}\n{action}\n{document}\n"));
    };
    for (name, mode, record) in records() {
        let (action, document) = lines(config_of(schema, mode), &record, &metadata());
        add(name, &action, &document);
    }
    let nobody = Metadata {
        missing: true,
        pod: "web-6d4cf-x7k2p".into(),
        ..Metadata::default()
    };
    let (action, document) = lines(config_of(schema, JsonMode::Off), &record(b"x"), &nobody);
    add("metadata missing", &action, &document);
    let (action, document) = lines(
        config_of(schema, JsonMode::Merge),
        &record(CLASH.as_bytes()),
        &metadata(),
    );
    let problem = Problem {
        status: 400,
        kind: "document_parsing_exception".into(),
        reason: String::new(),
    };
    let field = match schema {
        Schema::Otel => "attributes.order",
        Schema::Fluentd | Schema::Ecs => "order",
    };
    for (name, poorer) in [
        (
            "without a field",
            reduce::without_field(document.as_bytes(), field, schema),
        ),
        ("reduced", reduce::reduced(document.as_bytes(), &problem, schema)),
    ] {
        add(name, &action, &String::from_utf8(poorer.unwrap()).unwrap());
    }
    out
}

/// `UPDATE=1` writes the goldens anew: people's saved searches stand on every line of them.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that writes its own golden file when it is asked to"
)]
fn every_kind_of_record_is_the_known_document_in_every_schema() {
    for (name, schema) in SCHEMAS {
        let path = format!(
            "{}/tests/golden/documents/schemas/{name}.txt",
            env!("CARGO_MANIFEST_DIR")
        );
        let have = golden_of(schema);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(&path, &have).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(have == golden, "{path} differs; this is what came:\n{have}");
    }
}

/// The table of fields is what templates are made of: it must have every field, and none that no document has.
#[test]
fn the_table_has_all_fields_of_all_documents() {
    for (_, schema) in SCHEMAS {
        let golden = golden_of(schema);
        let documents = golden.lines().filter(|line| line.starts_with("{\"@timestamp\""));
        let mut paths: BTreeSet<String> = BTreeSet::new();
        for document in documents {
            let document: Value = serde_json::from_str(document).unwrap();
            paths.extend(leaves(schema, &document).into_keys());
        }
        for path in &paths {
            let head = path.split('.').next().unwrap();
            let is_known = fields(schema)
                .map(|field| shown(schema, field.path))
                .any(|known| *path == known || path.starts_with(&format!("{known}.")));
            let is_applications = ["a", "order", "level", "severity", "attributes"].contains(&head)
                || ["k8s.pod.name", "kubernetes.pod.name"].contains(&path.as_str());
            assert!(is_known || is_applications, "{schema:?}: {path} is in no row");
        }
        // These come from other messages, containers and settings.
        let elsewhere = ["owner", "statefulset", "daemonset", "job"];
        for field in fields(schema) {
            let path = shown(schema, field.path);
            let is_there = paths
                .iter()
                .any(|have| *have == path || have.starts_with(&format!("{path}.")));
            let is_elsewhere = path == "log" || path.split('.').any(|part| elsewhere.contains(&part));
            assert!(is_there || is_elsewhere, "{schema:?}: no document has {path}");
        }
    }
}

#[test]
fn reduced_documents_keep_the_identity() {
    for (_, schema) in SCHEMAS {
        let mut record = record(CLASH.as_bytes());
        record.skipped = 5;
        record.flags = Flags::TRUNCATED;
        record.stamp = stamp::parse(b"9999-01-01T00:00:00Z").unwrap();
        let (action, document) = lines(config_of(schema, JsonMode::Merge), &record, &metadata());
        let action: Value = serde_json::from_str(&action).unwrap();
        let index = action["create"]["_index"].as_str().unwrap();
        assert_eq!(Schema::of_index(index), schema, "the index tells how to reduce");
        let problem = Problem {
            status: 400,
            kind: "k".into(),
            reason: String::new(),
        };
        let poor = reduce::reduced(document.as_bytes(), &problem, schema).unwrap();
        let (whole, poor): (Value, Value) = (
            serde_json::from_str(&document).unwrap(),
            serde_json::from_slice(&poor).unwrap(),
        );
        let get = |value: &Value, path: &str| {
            steps(path).try_fold(value.clone(), |value, key| value.get(key).cloned())
        };
        for path in [
            ("message", "message", "body.text"),
            (
                "kubernetes.pod_name",
                "kubernetes.pod.name",
                "resource.attributes.k8s.pod.name",
            ),
            (
                "kubernetes.namespace_name",
                "kubernetes.namespace",
                "resource.attributes.k8s.namespace.name",
            ),
            (
                "docker.container_id",
                "container.id",
                "resource.attributes.container.id",
            ),
            (
                "longshore.timestamp",
                "longshore.timestamp",
                "attributes.longshore.timestamp",
            ),
            (
                "longshore.skipped_bytes",
                "longshore.skipped_bytes",
                "attributes.longshore.skipped_bytes",
            ),
            ("stream", "stream", "attributes.log.iostream"),
        ] {
            let path = match schema {
                Schema::Fluentd => path.0,
                Schema::Ecs => path.1,
                Schema::Otel => path.2,
            };
            assert!(get(&poor, path).is_some(), "{schema:?}: {path}");
        }
        for field in fields(schema).filter(|field| field.is_identity) {
            assert_eq!(get(&poor, field.path), get(&whole, field.path), "{}", field.path);
        }
        let elsewhere = leaves(schema, &poor)
            .into_keys()
            .find(|path| path.contains("labels") || path.contains("order"));
        assert_eq!(elsewhere, None, "{schema:?}");
    }
}

/// A field as a server shows it: attributes without their objects.
fn shown(schema: Schema, path: &str) -> String {
    let attributes = ["resource.attributes.", "attributes."];
    let short = attributes.iter().find_map(|prefix| path.strip_prefix(prefix));
    short
        .filter(|_| schema == Schema::Otel)
        .unwrap_or(path)
        .to_owned()
}

/// All values of a document under the names by which a server finds them: dots in keys are steps, too.
fn leaves(schema: Schema, document: &Value) -> BTreeMap<String, Vec<Value>> {
    fn walk(schema: Schema, at: &str, value: &Value, found: &mut BTreeMap<String, Vec<Value>>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, value) in members {
                    let path = if at.is_empty() {
                        key.clone()
                    } else {
                        format!("{at}.{key}")
                    };
                    walk(schema, &path, value, found);
                }
            }
            _ => found.entry(shown(schema, at)).or_default().push(value.clone()),
        }
    }
    let mut found = BTreeMap::new();
    walk(schema, "", document, &mut found);
    found
}

/// JSON in which no object has a key twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Unique)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Unique;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value::<Unique>()?;
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format!("{key} stands there twice")));
            }
        }
        Ok(Unique)
    }
}

#[test]
fn a_key_that_stands_there_twice_is_seen() {
    assert!(serde_json::from_str::<Unique>(r#"{"a":[{"b":1,"b":2}]}"#).is_err());
}

/// Keys that an application may choose, ours among them.
fn key() -> impl Strategy<Value = String> {
    let ours = SCHEMAS.iter().flat_map(|(_, schema)| {
        let paths = fields(*schema).flat_map(|field| [field.path.to_owned(), shown(*schema, field.path)]);
        paths
            .chain(reserved(*schema).into_iter().map(str::to_owned))
            .collect::<Vec<_>>()
    });
    let ours: Vec<String> = ours.collect();
    prop_oneof![
        proptest::sample::select(ours.clone()),
        proptest::sample::select(ours).prop_map(|key| format!("{key}.x")),
        "[a-z]{1,3}(\\.[a-z]{1,3})?",
    ]
}

fn member() -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![
        Just(json!("error")),
        Just(json!(null)),
        any::<i32>().prop_map(Value::from),
        key().prop_map(|key| json!({key: {"name": "evil"}})),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    (key(), value)
}

proptest! {
    #[test]
    fn ours_win_and_no_key_is_there_twice(
        members in proptest::collection::vec(member(), 0..8),
        nest in any::<bool>(),
        which in 0..SCHEMAS.len(),
    ) {
        let (_, schema) = SCHEMAS[which];
        let message = Value::Object(members.into_iter().collect::<Map<_, _>>()).to_string();
        let record = flagged(message.as_bytes(), Flags::PARTIAL);
        let mode = if nest { JsonMode::Nest } else { JsonMode::Merge };
        let (_, document) = lines(config_of(schema, mode), &record, &metadata());
        prop_assert!(serde_json::from_str::<Unique>(&document).is_ok(), "{}", document);
        let (_, plain) = lines(config_of(schema, JsonMode::Off), &record, &metadata());
        // The application's members stand in an object of their own, and its word on the severity is taken over.
        let is_told = |path: &str| {
            let told = ["log.level", "severity_text", "severity_number"].contains(&path);
            let apart = ["parsed", "app", "body.structured"];
            told || apart.iter().any(|apart| path == *apart || path.starts_with(&format!("{apart}.")))
        };
        let heads = reserved(schema);
        let ours = |text: &str| {
            let mut leaves = leaves(schema, &serde_json::from_str(text).unwrap());
            leaves.retain(|path, _| heads.contains(&path.split('.').next().unwrap()) && !is_told(path));
            leaves
        };
        prop_assert_eq!(ours(&document), ours(&plain));
    }

    #[test]
    fn the_data_stream_of_a_document_is_the_one_it_goes_to(dataset in "[a-z][a-z.]{0,9}", namespace in "[a-z_]{1,9}", is_otel in any::<bool>()) {
        let (schema, dataset) = if is_otel { (Schema::Otel, dataset + ".otel") } else { (Schema::Ecs, dataset + "x") };
        let stream = DataStream { dataset, namespace };
        let name = stream.name();
        let mut config = Config::default();
        config.sink.elasticsearch.schema = schema;
        config.sink.elasticsearch.index = Some(IndexPattern::parse(&name).unwrap());
        let (action, document) = lines(EncodeConfig::from(&config), &record(b"x"), &metadata());
        let (action, document): (Value, Value) = (serde_json::from_str(&action).unwrap(), serde_json::from_str(&document).unwrap());
        prop_assert_eq!(action["create"]["_index"].as_str(), Some(&*name));
        let told = &document["data_stream"];
        prop_assert_eq!(told, &json!({"type": "logs", "dataset": stream.dataset, "namespace": stream.namespace}));
    }
}
