#![expect(
    clippy::disallowed_methods,
    reason = "tests compare with golden files, and write them when they are asked to"
)]

use super::mappings::{Labels, Wishes, aliases, mappings};
use super::objects::{Object, Purpose, Sort, VERSION, objects, shortcomings, stamp};
use super::plan::{Change, Found, change, found};
use super::privileges::{agent_api_key, agent_role};
use super::server::Server;
use super::views::{Application, name_of, ndjson, queries};
use crate::config::{IndexPattern, Schema};
use crate::record::Flags;
use serde_json::{Value, json};
use std::path::PathBuf;

const SERVERS: [&str; 6] = [
    "elasticsearch-7.17",
    "elasticsearch-8.19",
    "elasticsearch-9.2",
    "opensearch-2.19",
    "opensearch-3.8",
    "serverless",
];
const SCHEMAS: [(Schema, &str, &str); 3] = [
    (Schema::Fluentd, "fluentd", "logstash-%Y.%m.%d"),
    (Schema::Ecs, "ecs", "logs-k8s.container-default"),
    (Schema::Otel, "otel", "logs-k8s.otel-default"),
];

fn server(name: &str) -> Server {
    Server::from_name(name).unwrap()
}

fn purpose(schema: Schema, index: &str) -> Purpose {
    Purpose {
        wishes: Wishes {
            schema,
            labels: Labels::Keyword,
            merges_json: false,
        },
        index: IndexPattern::parse(index).unwrap(),
        retention: Some("14d".to_owned()),
        looks_up: false,
    }
}

fn fluentd() -> Purpose {
    purpose(Schema::Fluentd, "logstash-%Y.%m.%d")
}

/// The mapping of a field, in the mappings of a template.
fn of<'a>(mappings: &'a Value, path: &str) -> &'a Value {
    let pointer = path.replace('.', "/properties/");
    mappings
        .pointer(&format!("/properties/{pointer}"))
        .unwrap_or(&Value::Null)
}

/// `UPDATE=1 cargo test --lib setup` writes the files anew.
#[test]
fn objects_of_each_server_and_schema_are_those_on_record() {
    for name in SERVERS {
        for (schema, schema_name, index) in SCHEMAS {
            let objects = objects(&server(name), &purpose(schema, index)).unwrap();
            let bodies = objects.iter().map(|object| (object.path(), object.body.clone()));
            let have = format!("{:#}\n", Value::Object(bodies.collect()));
            assert_golden(&format!("{name}-{schema_name}.json"), &have);
        }
    }
}

/// Compares with a file of `tests/golden/setup`.
#[track_caller]
fn assert_golden(name: &str, have: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden/setup"]
        .iter()
        .collect();
    let file = path.join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(&file, have).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == have, "{} differs", file.display());
}

#[test]
fn each_server_gets_what_it_can_do() {
    let of_server = |name: &str, schema| mappings(purpose(schema, "x").wishes, &server(name).abilities());
    let es9 = of_server("elasticsearch-9.2", Schema::Fluentd);
    assert_eq!(of(&es9, "message")["type"], "match_only_text");
    assert_eq!(of(&es9, "@timestamp")["type"], "date_nanos");
    assert_eq!(of(&es9, "parsed")["type"], "flattened");
    let old = of_server("opensearch-2.0", Schema::Ecs);
    assert_eq!(of(&old, "message")["type"], "text");
    assert_eq!(of(&old, "data_stream.dataset")["type"], "keyword");
    assert_eq!(of(&old, "app"), &json!({"type": "object", "enabled": false}));
    let os3 = of_server("opensearch-3.8", Schema::Otel);
    assert_eq!(of(&os3, "resource.attributes"), &json!({"type": "flat_object"}));
    let otel = of_server("elasticsearch-9.2", Schema::Otel);
    let attributes = of(&otel, "resource.attributes");
    assert_eq!(attributes["type"], "passthrough");
    assert_eq!(attributes["properties"]["k8s.pod.name"]["type"], "keyword");
    // Every label is a keyword, whatever its first value looks like.
    let labels = &es9["dynamic_templates"][0]["kubernetes_labels"];
    assert_eq!(
        (&labels["path_match"], &labels["mapping"]["type"]),
        (&json!("kubernetes.labels.*"), &json!("keyword"))
    );
    let one_field = Wishes {
        labels: Labels::Flattened,
        ..fluentd().wishes
    };
    let flattened = mappings(one_field, &server("elasticsearch-9.2").abilities());
    assert_eq!(of(&flattened, "kubernetes.labels")["type"], "flattened");
    assert_eq!(flattened["dynamic_templates"].as_array().unwrap().len(), 1);
}

/// Red when an alias is lost to a field of the same name, or leads nowhere.
#[test]
fn old_names_find_new_documents_and_new_names_old_ones() {
    let able = server("elasticsearch-9.2").abilities();
    for (schema, name, path) in [
        (Schema::Ecs, "kubernetes.pod_name", "kubernetes.pod.name"),
        (Schema::Ecs, "kubernetes.namespace_name", "kubernetes.namespace"),
        (
            Schema::Ecs,
            "kubernetes.container_name",
            "kubernetes.container.name",
        ),
        (Schema::Ecs, "kubernetes.host", "kubernetes.node.name"),
        (Schema::Ecs, "docker.container_id", "container.id"),
        (Schema::Fluentd, "kubernetes.pod.name", "kubernetes.pod_name"),
        (
            Schema::Fluentd,
            "kubernetes.namespace",
            "kubernetes.namespace_name",
        ),
        (Schema::Fluentd, "container.id", "docker.container_id"),
        (
            Schema::Otel,
            "kubernetes.pod_name",
            "resource.attributes.k8s.pod.name",
        ),
        (Schema::Otel, "message", "body.text"),
    ] {
        let wishes = purpose(schema, "x").wishes;
        let mappings = mappings(wishes, &able);
        assert_eq!(
            of(&mappings, name),
            &json!({"type": "alias", "path": path}),
            "{schema:?}"
        );
        for (name, path) in aliases(wishes) {
            assert_eq!(of(&mappings, name)["path"], path, "{schema:?}: {name}");
        }
    }
    // An application's own member must not meet an alias: such a document would be refused.
    let merging = Wishes {
        merges_json: true,
        ..fluentd().wishes
    };
    let mappings = mappings(merging, &able);
    assert_eq!(of(&mappings, "container"), &Value::Null);
    assert_eq!(of(&mappings, "kubernetes.pod.name")["type"], "alias");
}

#[test]
fn indices_and_streams_are_matched_by_their_names() {
    let patterns = |schema, index: &str| purpose(schema, index).patterns();
    assert_eq!(patterns(Schema::Fluentd, "logstash-%Y.%m.%d"), ["logstash-*"]);
    assert_eq!(patterns(Schema::Fluentd, "k8s-%Y%m-logs"), ["k8s-*-logs"]);
    assert_eq!(patterns(Schema::Fluentd, "logs"), ["logs"]);
    assert_eq!(
        patterns(Schema::Ecs, "logs-k8s.container-default"),
        ["logs-k8s.container-*"]
    );
}

#[test]
fn streams_are_managed_and_have_no_failure_store_of_ours() {
    let template = |name: &str| {
        let all = objects(&server(name), &purpose(Schema::Ecs, "logs-k8s.container-default")).unwrap();
        all.last().unwrap().body.clone()
    };
    let failure_store =
        |body: Value| body["template"]["data_stream_options"]["failure_store"]["enabled"].clone();
    assert_eq!(failure_store(template("elasticsearch-8.19")), false);
    assert_eq!(failure_store(template("elasticsearch-9.2")), false);
    assert_eq!(failure_store(template("elasticsearch-8.18")), Value::Null);
    assert_eq!(failure_store(template("opensearch-3.8")), Value::Null);
    assert_eq!(
        template("serverless")["template"]["lifecycle"]["data_retention"],
        "14d"
    );
    let policies = |name: &str, purpose: &Purpose| -> Vec<Sort> {
        let all = objects(&server(name), purpose).unwrap().into_iter();
        all.map(|object| object.sort)
            .filter(|sort| matches!(sort, Sort::IlmPolicy | Sort::IsmPolicy))
            .collect()
    };
    assert_eq!(policies("elasticsearch-8.19", &fluentd()), [Sort::IlmPolicy]);
    assert_eq!(policies("opensearch-2.19", &fluentd()), [Sort::IsmPolicy]);
    assert_eq!(policies("serverless", &fluentd()), []);
    assert!(shortcomings(&server("serverless"), &fluentd())[0].contains("no policies"));
    let forever = Purpose {
        retention: None,
        ..fluentd()
    };
    assert_eq!(policies("elasticsearch-8.19", &forever), []);
    assert!(shortcomings(&server("elasticsearch-8.19"), &forever)[0].contains("nothing is ever deleted"));
    let bare =
        server("elasticsearch-7.17").with_modules(br#"{"nodes":{"n":{"modules":[{"name":"x-pack-core"}]}}}"#);
    assert!(
        objects(&bare, &purpose(Schema::Ecs, "a-b-c"))
            .unwrap_err()
            .contains("no data streams")
    );
    assert!(objects(&bare, &fluentd()).is_ok());
}

#[test]
fn agents_can_add_documents_and_nothing_else() {
    let purpose = fluentd();
    let role = agent_role(&server("elasticsearch-9.2"), &purpose);
    assert_eq!(
        role["indices"],
        json!([{"names": ["logstash-*"], "privileges": ["auto_configure", "create_doc"]}])
    );
    let key = agent_api_key(&server("elasticsearch-9.2"), &purpose).unwrap();
    assert_eq!(key["role_descriptors"]["longshore"], role);
    assert_eq!(agent_api_key(&server("opensearch-2.19"), &purpose), None);
    let role = agent_role(&server("opensearch-2.19"), &purpose).to_string();
    assert!(
        !["delete", "manage", "read"]
            .iter()
            .any(|right| role.contains(right)),
        "{role}"
    );
    let asks = Purpose {
        looks_up: true,
        ..purpose
    };
    let role = agent_role(&server("elasticsearch-9.2"), &asks);
    assert_eq!(
        role["indices"][0]["privileges"],
        json!(["auto_configure", "create_doc", "read"])
    );
    let role = agent_role(&server("opensearch-2.19"), &asks).to_string();
    assert!(role.contains("indices:data/read/search"), "{role}");
}

/// An object as a server writes it: settings as texts below `index`, defaults of its own.
fn as_told(object: &Object) -> Value {
    let mut body = object.body.clone();
    if let Some(settings) = body.pointer_mut("/template/settings/index") {
        settings["refresh_interval"] = json!("5s");
        settings["mapping"]["ignore_malformed"] = json!("true");
        settings["mapping"]["total_fields"]["limit"] = json!("1000");
        settings["number_of_replicas"] = json!("1");
    }
    if let Some(mappings) = body.pointer_mut("/template/mappings") {
        mappings["dynamic"] = mappings["dynamic"].to_string().into();
    }
    match object.sort {
        Sort::ComponentTemplate => {
            json!({"component_templates": [{"name": object.name, "component_template": body}]})
        }
        Sort::IndexTemplate => {
            body["data_stream"]["hidden"] = json!(false);
            json!({"index_templates": [{"name": "other"}, {"name": object.name, "index_template": body}]})
        }
        Sort::IlmPolicy => {
            body["policy"]["phases"]["delete"]["actions"]["delete"]["delete_searchable_snapshot"] =
                json!(true);
            json!({&object.name: {"version": 3, "modified_date": "2026-01-01", "policy": body["policy"]}})
        }
        Sort::IsmPolicy => {
            body["policy"]["last_updated_time"] = json!(17);
            json!({"_id": object.name, "_seq_no": 7, "_primary_term": 2, "policy": body["policy"]})
        }
    }
}

fn told(object: &Object) -> Found {
    found(object, as_told(object).to_string().as_bytes()).unwrap()
}

/// Red when what a server adds, or writes in another way, counts as a difference: then no second run would change nothing.
#[test]
fn what_was_put_is_found_unchanged_however_the_server_writes_it() {
    for name in ["elasticsearch-8.19", "opensearch-2.19", "elasticsearch-7.17"] {
        for (schema, _, index) in SCHEMAS {
            for object in objects(&server(name), &purpose(schema, index)).unwrap() {
                assert_eq!(change(&object, None), Change::Create);
                let found = told(&object);
                assert_eq!(
                    change(&object, Some(&found)),
                    Change::Unchanged,
                    "{name} {}",
                    object.path()
                );
                assert_eq!(found.at, (object.sort == Sort::IsmPolicy).then_some((7, 2)));
            }
        }
    }
}

#[test]
fn what_differs_is_told_leaf_by_leaf() {
    let all = objects(&server("elasticsearch-8.19"), &fluentd()).unwrap();
    let [policy, settings, fields, template] = all.as_slice() else {
        panic!("{all:?}");
    };
    let update = |object: &Object, pointer: &str, value: Value| {
        let mut found = told(object);
        *found.body.pointer_mut(pointer).unwrap() = value;
        match change(object, Some(&found)) {
            Change::Update(differences) => differences.join("\n"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        update(
            settings,
            "/template/settings/index/mapping/total_fields/limit",
            json!("2000")
        ),
        "~ template.settings.index.mapping.total_fields.limit: \"2000\" becomes \"1000\""
    );
    assert_eq!(
        update(fields, "/template/mappings/properties/message", json!({})),
        "+ template.mappings.properties.message.type: \"match_only_text\""
    );
    assert!(update(template, "/index_patterns", json!(["other-*"])).contains("index_patterns.0"));
    assert!(update(policy, "/policy/phases/delete/min_age", json!("7d")).contains("\"7d\" becomes \"14d\""));
    // All leaves are there, but what was put by another version had more.
    let stale = update(fields, "/_meta/digest", json!("0"));
    assert_eq!(stale, "something that should not be there any more");
}

#[test]
fn what_others_made_and_what_newer_versions_made_stays() {
    for name in ["elasticsearch-8.19", "opensearch-2.19"] {
        for object in objects(&server(name), &fluentd()).unwrap() {
            let mut found = told(&object);
            let ours = stamp(object.sort, &found.body).unwrap();
            assert_eq!(ours.version, VERSION);
            let (newer, foreign) = match object.sort {
                Sort::IsmPolicy => (
                    json!({"policy": {"description": "longshore, version 99, digest x"}}),
                    json!({"policy": {"description": "ours"}}),
                ),
                Sort::IlmPolicy => (
                    json!({"policy": {"_meta": {"managed_by": "longshore", "version": 99, "digest": "x"}}}),
                    json!({"policy": {}}),
                ),
                _ => (
                    json!({"_meta": {"managed_by": "longshore", "version": 99, "digest": "x"}}),
                    json!({"_meta": {"managed_by": "fleet", "version": 1, "digest": ours.digest}}),
                ),
            };
            found.body = newer;
            assert_eq!(change(&object, Some(&found)), Change::Newer(99));
            found.body = foreign;
            assert_eq!(change(&object, Some(&found)), Change::Foreign);
        }
    }
}

const APPLICATIONS: [(Application, &str); 2] = [
    (Application::Kibana, "kibana"),
    (Application::OpenSearchDashboards, "opensearch-dashboards"),
];

/// The file for an application and the server that it stands on.
fn file(application: Application, schema: Schema, index: &str) -> String {
    let server = match application {
        Application::Kibana => server("elasticsearch-8.19"),
        Application::OpenSearchDashboards => server("opensearch-2.19"),
    };
    ndjson(application, &purpose(schema, index), &server.abilities())
}

fn views(application: Application, schema: Schema, index: &str) -> Vec<Value> {
    let text = file(application, schema, index);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn files_for_both_applications_are_those_on_record() {
    for (application, application_name) in APPLICATIONS {
        for (schema, schema_name, index) in SCHEMAS {
            let have = file(application, schema, index);
            assert_golden(&format!("{application_name}-{schema_name}.ndjson"), &have);
        }
    }
}

/// Red when a reference leads to no object of the file, or when the JSON within an attribute is none: the import would fail.
#[test]
fn every_reference_leads_to_an_object_of_the_file() {
    for (application, _) in APPLICATIONS {
        for (schema, _, index) in SCHEMAS {
            let all = views(application, schema, index);
            let ids: Vec<(&Value, &Value)> = all
                .iter()
                .map(|object| (&object["type"], &object["id"]))
                .collect();
            for object in &all {
                for reference in object["references"].as_array().unwrap() {
                    assert!(
                        ids.contains(&(&reference["type"], &reference["id"])),
                        "{reference}"
                    );
                }
                let texts = ["panelsJSON", "optionsJSON", "visState", "uiStateJSON"]
                    .map(|name| &object["attributes"][name]);
                let source = &object["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"];
                for text in texts.into_iter().chain([source]).filter_map(Value::as_str) {
                    serde_json::from_str::<Value>(text).unwrap();
                }
            }
            let dashboard = all.iter().find(|object| object["type"] == "dashboard").unwrap();
            let shown: Value =
                serde_json::from_str(dashboard["attributes"]["panelsJSON"].as_str().unwrap()).unwrap();
            let references = dashboard["references"].as_array().unwrap();
            for (panel, reference) in shown.as_array().unwrap().iter().zip(references) {
                let (looked_up, name) = (
                    panel["panelRefName"].as_str().unwrap(),
                    reference["name"].as_str().unwrap(),
                );
                let expected = match application {
                    Application::Kibana => format!("{}:{looked_up}", panel["panelIndex"].as_str().unwrap()),
                    Application::OpenSearchDashboards => looked_up.to_owned(),
                };
                assert_eq!(name, expected);
            }
        }
    }
}

/// Red when a search is written for one of the applications only, or names a field that the schema has not.
#[test]
fn both_applications_get_the_same_searches_in_names_that_documents_have() {
    for (schema, _, index) in SCHEMAS {
        let searches = |application| -> Vec<(Value, Value)> {
            let all = views(application, schema, index).into_iter();
            all.filter(|object| object["type"] == "search")
                .map(|object| (object["id"].clone(), object["attributes"].clone()))
                .collect()
        };
        let kibana = searches(Application::Kibana);
        assert_eq!(kibana, searches(Application::OpenSearchDashboards));
        assert_eq!(kibana.len(), queries(schema).len());
        for (id, attributes) in kibana {
            let columns = attributes["columns"].as_array().unwrap();
            assert!(columns.len() >= 4, "{id}: {columns:?}");
        }
    }
    let of = |schema, id: &str| {
        let found = queries(schema).into_iter().find(|(name, _)| *name == id);
        found.map(|(_, query)| query)
    };
    assert_eq!(of(Schema::Fluentd, "errors"), None);
    assert_eq!(
        of(Schema::Ecs, "errors").unwrap(),
        "log.level: (\"error\" or \"critical\" or \"alert\" or \"fatal\")"
    );
    // The texts of levels are others there, and in capitals.
    assert_eq!(of(Schema::Otel, "errors").unwrap(), "severity_number >= 17");
    assert_eq!(of(Schema::Otel, "no-probes").unwrap(), "not body.text: *healthz*");
    let unusual = of(Schema::Ecs, "unusual").unwrap();
    let all = [
        Flags::TRUNCATED,
        Flags::PARTIAL,
        Flags::UNPARSED,
        Flags::REPLACED_UTF8,
    ];
    for flag in all.into_iter().flat_map(Flags::names).chain(["shortened"]) {
        assert!(unusual.contains(&format!("\"{flag}\"")), "{flag}");
    }
    assert_eq!(
        name_of(Schema::Fluentd, "kubernetes.pod.name"),
        Some("kubernetes.pod_name")
    );
    assert_eq!(name_of(Schema::Fluentd, "stream"), Some("stream"));
    assert_eq!(name_of(Schema::Fluentd, "log.level"), None);
}
