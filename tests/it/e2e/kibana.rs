//! What people see: the queries that Kibana and OpenSearch Dashboards make of what `longshore setup` ships, and of what people
//! type, find exactly the documents that they should, among those that an agent has shipped to a real server.
//!
//! No Kibana is needed: its own compiler turns queries into the server's language (`tests/kibana`), and the requests of its
//! pages are written down in [`view`]. `UPDATE=1 tests/run e2e` writes `tests/golden/kibana` anew: what the compilers make of
//! each query.

mod cluster;
mod corpus;
mod view;

use super::{DAY_NS, MORNING_NS, SECOND_NS};
use cluster::Cluster;
use corpus::{Container, Line, mark_of};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use view::{Application, DataView, Filter};

const WEB_0: Container = Container {
    namespace: "shop",
    pod: "web-0",
    name: "nginx",
    labels: &[("app", "web"), ("app.kubernetes.io/name", "web")],
    ip: "10.244.1.17",
};
const WEB_1: Container = Container {
    pod: "web-1",
    name: "app",
    labels: &[("app", "web"), ("app.kubernetes.io/name", "cart")],
    ..WEB_0
};
/// The same name of a pod in another namespace.
const DATA: Container = Container {
    namespace: "data",
    name: "postgres",
    labels: &[("app.kubernetes.io/name", "db")],
    ..WEB_0
};
const ODD: Container = Container {
    pod: "odd-0",
    name: "app",
    labels: &[],
    ip: "not an address",
    ..WEB_0
};
const TORN: Container = Container {
    ip: "10.244.1.18",
    pod: "torn-0",
    ..ODD
};
/// Its port is a text.
const LATE_0: Container = Container {
    pod: "late-0",
    labels: &[("port", "http")],
    ..TORN
};
/// Its port and its weight are.
const LATE_1: Container = Container {
    pod: "late-1",
    labels: &[("port", "http"), ("weight", "heavy")],
    ..TORN
};
/// The field of the pod's name.
const POD: [&str; 3] = [
    "kubernetes.pod_name",
    "kubernetes.pod.name",
    "resource.attributes.k8s.pod.name",
];
/// The longest line, in bytes.
const MAX_LINE: usize = 256;

/// Who wrote what, in the order of time.
fn lines() -> Vec<Line> {
    let mut next = MORNING_NS;
    let mut at = |container: &'static Container, mark: &str, text: &str| {
        next += SECOND_NS / 3;
        // That namespace spoke the day before.
        let day = if container.namespace == "data" { DAY_NS } else { 0 };
        Line::new(mark, container, next - day, text)
    };
    let mut lines = vec![
        at(&WEB_0, "a1", "10.1.2.3 \"GET /healthz HTTP/1.1\" 200 2"),
        at(&WEB_0, "a2", "10.1.2.3 \"GET /cart HTTP/1.1\" 500 17"),
        at(
            &WEB_0,
            "a3",
            "connect() failed (111: Connection refused) while connecting",
        )
        .on_stderr(),
        at(&WEB_0, "a4", "no stock").with_level("error", "error"),
        at(&WEB_0, "a5", "going down")
            .with_level("FATAL", "fatal")
            .on_stderr(),
        at(&WEB_0, "a6", "it gets late").with_level("Warning", "warn"),
        at(&WEB_0, "a7", "took 1500 ms"),
        at(&WEB_1, "b1", "refused the connection").on_stderr(),
        at(&WEB_1, "b2", "Container app was OOMKilled"),
        at(&WEB_1, "b3", "HEAD /HEALTHZ"),
        at(&WEB_1, "b4", "internal error 500 !"),
        at(&DATA, "c1", "no disk")
            .with_level("crit", "critical")
            .on_stderr(),
        at(&DATA, "c2", "connection refused by peer"),
        at(&ODD, "d1", "fine"),
        at(&TORN, "e1", &"long ".repeat(MAX_LINE)),
        at(&TORN, "e2", "not in the format of the runtime"),
        at(&TORN, "e3", "bytes"),
    ];
    for line in &mut lines {
        match line.mark.as_str() {
            "e2" => line.stream = None,
            "e3" => line.text.extend(b" \xff\xfe"),
            _ => {}
        }
    }
    // A line without a stamp has the time of the one before it.
    let before = lines.iter().position(|line| line.mark == "e2").unwrap() - 1;
    lines[before + 1].unix_ns = lines[before].unix_ns;
    lines.sort_by_key(|line| line.unix_ns);
    lines
}

/// A query and what it must find.
struct Ask {
    query: String,
    filters: Vec<Filter>,
    finds: Vec<String>,
}

/// All that was shipped, and what is to be found in it.
struct Expected {
    lines: Vec<Line>,
    /// Whether the server refuses labels that it expects to be something else.
    refuses: bool,
    /// Whether an address that is none is left out of the index.
    ignores: bool,
    /// Whether an application's JSON can be searched in `parsed`.
    opens_json: bool,
}

impl Expected {
    /// The marks of the lines that are so, sorted.
    fn those(&self, is_so: impl Fn(&Line) -> bool) -> Vec<String> {
        let mut marks: Vec<String> = self
            .lines
            .iter()
            .filter(|line| is_so(line))
            .map(|line| line.mark.clone())
            .collect();
        marks.sort();
        marks
    }

    /// How many lines have each value, sorted.
    fn counted(&self, value: impl Fn(&Line) -> Option<String>) -> Vec<(String, u64)> {
        let mut counted = BTreeMap::new();
        for value in self.lines.iter().filter_map(value) {
            *counted.entry(value).or_insert(0) += 1;
        }
        counted.into_iter().collect()
    }

    /// What the saved search of this name must find.
    fn of_search(&self, name: &str) -> Vec<String> {
        let one_of = |marks: &[&str]| self.those(|line| marks.contains(&line.mark.as_str()));
        match name {
            "all" => self.those(|_| true),
            "errors" => one_of(&["a4", "a5", "c1"]),
            "stderr" => one_of(&["a3", "a5", "b1", "c1"]),
            "trouble" => one_of(&["a3", "b2", "c2"]),
            "no-probes" => self.those(|line| !["a1", "b3"].contains(&line.mark.as_str())),
            "ignored" if self.ignores => one_of(&["d1"]),
            "reduced" if self.refuses => one_of(&["f1", "g1"]),
            "ignored" | "reduced" => Vec::new(),
            "unusual" => one_of(&["e1", "e2", "e3"]),
            other => panic!("nobody knows what the search {other} must find"),
        }
    }
}

/// What people type, in the names of each schema, and whether a line is to be found.
type Typed = ([&'static str; 3], fn(&Line) -> bool);

/// Whether a line has one of these marks.
macro_rules! marked {
    ($($mark:literal),*) => { |line: &Line| [$($mark),*].contains(&line.mark.as_str()) };
}

const TYPED: [Typed; 16] = [
    (
        [
            "kubernetes.namespace_name: \"shop\" and parsed.level: (\"error\" or \"FATAL\")",
            "kubernetes.namespace: \"shop\" and log.level: (\"error\" or \"fatal\")",
            "resource.attributes.k8s.namespace.name: \"shop\" and severity_number >= 17",
        ],
        marked!("a4", "a5"),
    ),
    (
        [
            "kubernetes.pod_name: web-* and not message: *healthz*",
            "kubernetes.pod.name: web-* and not message: *healthz*",
            "resource.attributes.k8s.pod.name: web-* and not body.text: *healthz*",
        ],
        |line| line.container.pod.starts_with("web-") && !["a1", "b3"].contains(&line.mark.as_str()),
    ),
    (
        [
            "kubernetes.labels.app_kubernetes_io/name: \"web\" and stream: \"stderr\"",
            "kubernetes.labels.app_kubernetes_io/name: \"web\" and stream: \"stderr\"",
            "resource.attributes.k8s.pod.label.app.kubernetes.io/name: \"web\" and attributes.log.iostream: \"stderr\"",
        ],
        marked!("a3", "a5"),
    ),
    (
        [
            "message: \"connection refused\" or message: *OOMKilled*",
            "message: \"connection refused\" or message: *OOMKilled*",
            "body.text: \"connection refused\" or body.text: *OOMKilled*",
        ],
        marked!("a3", "b2", "c2"),
    ),
    (
        [
            "kubernetes.container_name: nginx and message: \" 500 \"",
            "kubernetes.container.name: nginx and message: \" 500 \"",
            "resource.attributes.k8s.container.name: nginx and body.text: \" 500 \"",
        ],
        marked!("a2"),
    ),
    (["_ignored: *"; 3], marked!("d1")),
    (
        [
            "longshore.refused: *",
            "longshore.refused: *",
            "attributes.longshore.refused: *",
        ],
        marked!("g1"),
    ),
    (
        [
            "longshore.flags: (truncated or replaced_utf8)",
            "longshore.flags: (truncated or replaced_utf8)",
            "attributes.longshore.flags: (truncated or replaced_utf8)",
        ],
        marked!("e1", "e3"),
    ),
    // The names of Fluentd, whatever the schema.
    (["kubernetes.pod_name: web-*"; 3], |line| {
        line.container.pod.starts_with("web-")
    }),
    (
        ["kubernetes.pod_name: \"web-0\" and kubernetes.namespace_name: \"data\""; 3],
        |line| line.container.namespace == "data",
    ),
    (["kubernetes.container_name: \"nginx\""; 3], |line| {
        line.container.name == "nginx"
    }),
    (["kubernetes.host: node-a and docker.container_id: *"; 3], |_| {
        true
    }),
    // The names of the Elastic Common Schema, whatever the schema.
    (
        ["kubernetes.pod.name: \"web-0\" and not kubernetes.namespace: shop"; 3],
        |line| line.container.namespace == "data",
    ),
    (
        ["kubernetes.container.name: app and kubernetes.node.name: \"node-a\" and message: 500"; 3],
        marked!("b4"),
    ),
    // Words, wherever they stand, and nothing at all.
    (
        ["\"refused\" and not message: \"connection refused\""; 3],
        marked!("b1"),
    ),
    (["message: \"no such words\""; 3], |_| false),
];

/// Ships everything, and looks at it with both applications.
fn show(schema: &'static str) {
    let Some(mut cluster) = Cluster::new(schema) else {
        return;
    };
    let mut lines = lines();
    cluster.ship(&lines);
    let refuses = cluster.redefine_labels();
    let after = lines.iter().map(|line| line.unix_ns).max().unwrap();
    let late = vec![
        Line::new("f1", &LATE_0, after + SECOND_NS, "without its port"),
        Line::new("g1", &LATE_1, after + 2 * SECOND_NS, "without all its labels"),
    ];
    cluster.ship(&late);
    lines.extend(late);
    let expected = Expected {
        lines,
        refuses,
        ignores: !cluster.has_one_field_for_attributes(),
        opens_json: cluster.view(Application::Kibana).kind("parsed").is_some(),
    };
    for application in cluster.applications() {
        let view = cluster.view(*application);
        check_fields(&cluster, &view);
        let asks = asks(&cluster, &view, &expected);
        check_asks(&cluster, &view, &expected, &asks);
        check_charts(&cluster, &view, &expected);
        check_pages(&cluster, &view, &expected);
    }
}

/// All times of the test.
fn always() -> Filter {
    Filter::Range(
        "2026-03-03T00:00:00.000Z".to_owned(),
        "2026-03-04T23:59:59.999Z".to_owned(),
    )
}

/// Every field that the shipped objects show has one type: messages are texts, all others can be grouped.
fn check_fields(cluster: &Cluster, view: &DataView<'_>) {
    let is_flat = cluster.has_one_field_for_attributes();
    let mut seen = 0;
    for object in cluster.saved_objects(view.application) {
        for column in object["attributes"]["columns"].as_array().into_iter().flatten() {
            let column = column.as_str().unwrap();
            if is_flat && column.contains("attributes.") {
                continue;
            }
            let kind = view
                .kind(column)
                .unwrap_or_else(|| panic!("{column} has no type, or several"));
            let is_text = ["message", "body.text"].contains(&column);
            let kinds: &[&str] = if is_text {
                &["text", "match_only_text"]
            } else {
                &["keyword"]
            };
            assert!(kinds.contains(&kind), "{column}: {kind}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
    assert_eq!(view.kind("@timestamp"), Some("date_nanos"));
}

/// The shipped searches, and what people type and click.
fn asks(cluster: &Cluster, view: &DataView<'_>, expected: &Expected) -> Vec<Ask> {
    let mut asks = Vec::new();
    for object in cluster.saved_objects(view.application) {
        let id = object["id"].as_str().unwrap();
        let name = id
            .strip_prefix(&format!("longshore-{}-", cluster.schema))
            .unwrap();
        let finds = match object["type"].as_str().unwrap() {
            "search" => expected.of_search(name),
            // Its panels are looked at one by one; all of it shows what is there.
            "dashboard" => expected.those(|_| true),
            "index-pattern" => {
                assert_eq!(object["attributes"]["title"], cluster.title.as_str());
                continue;
            }
            "lens" | "visualization" => continue,
            other => panic!("nobody looks at objects of type {other}"),
        };
        asks.push(Ask {
            query: query_of(&object),
            filters: vec![always()],
            finds,
        });
    }
    let is_flat = cluster.has_one_field_for_attributes();
    for (names, is_found) in &TYPED {
        let query = cluster.name(*names);
        // A name of another schema cannot lead into one field.
        if is_flat && query.contains("kubernetes.") && names[0] == names[2] {
            continue;
        }
        let finds = match query {
            "_ignored: *" => expected.of_search("ignored"),
            _ if query.contains("longshore.refused") && !expected.refuses => Vec::new(),
            _ if query.contains("parsed.") && !expected.opens_json => Vec::new(),
            _ => expected.those(is_found),
        };
        asks.push(Ask {
            query: query.to_owned(),
            filters: vec![always()],
            finds,
        });
    }
    asks.extend(clicks(cluster, expected));
    asks
}

/// Filters for a value and for a field, and a shorter range of time.
fn clicks(cluster: &Cluster, expected: &Expected) -> Vec<Ask> {
    let name = |names: [&str; 3]| cluster.name(names).to_owned();
    let pod = name(POD);
    let stream = name(["stream", "stream", "attributes.log.iostream"]);
    let later = Filter::Range(
        "2026-03-04T00:00:00.000Z".to_owned(),
        "2026-03-04T23:59:59.999Z".to_owned(),
    );
    let ask = |filters: Vec<Filter>, is_found: &dyn Fn(&Line) -> bool| Ask {
        query: String::new(),
        filters,
        finds: expected.those(is_found),
    };
    let mut asks = vec![
        ask(
            vec![later.clone(), Filter::Phrase(pod, "web-0".to_owned())],
            &|line| line.container.pod == "web-0" && line.container.namespace == "shop",
        ),
        ask(vec![later], &|line| line.container.namespace != "data"),
    ];
    // What is not listed is not clicked.
    if !cluster.has_one_field_for_attributes() {
        asks.push(ask(vec![always(), Filter::Exists(stream)], &|line| {
            line.stream.is_some()
        }));
    }
    asks
}

/// The query of a saved object: texts within texts.
fn query_of(object: &Value) -> String {
    let source = object["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"].as_str();
    let query = match source {
        Some(source) => serde_json::from_str::<Value>(source).unwrap()["query"].take(),
        None => object["attributes"]["state"]["query"].clone(),
    };
    assert_eq!(query["language"], "kuery", "{object}");
    query["query"].as_str().unwrap().to_owned()
}

/// Each query finds what it must, in the order of time, and counts as much.
fn check_asks(cluster: &Cluster, view: &DataView<'_>, expected: &Expected, asks: &[Ask]) {
    let searches: Vec<_> = asks
        .iter()
        .map(|ask| (ask.query.as_str(), ask.filters.clone()))
        .collect();
    let compiled = view.compile(&searches);
    let wrong: Vec<String> = asks
        .iter()
        .zip(&compiled)
        .filter_map(|(ask, query)| what_is_wrong(view, expected, ask, query))
        .collect();
    assert!(wrong.is_empty(), "{:?}:\n{}", view.application, wrong.join("\n"));
    assert_golden(cluster, view, asks, &compiled);
}

/// What a query finds or counts that it should not, or the other way round.
fn what_is_wrong(view: &DataView<'_>, expected: &Expected, ask: &Ask, query: &Value) -> Option<String> {
    let problem = |what: &str, have: &dyn Debug, want: &dyn Debug| {
        let Ask {
            query: typed,
            filters,
            ..
        } = ask;
        Some(format!(
            "{typed:?} with {filters:?} {what} {have:?} in place of {want:?}; compiled: {query}"
        ))
    };
    let time = |mark: &String| {
        expected
            .lines
            .iter()
            .find(|line| line.mark == *mark)
            .map(|line| line.unix_ns)
    };
    let mut found = view.marks(query);
    if !found.is_sorted_by_key(|mark| Reverse(time(mark))) {
        return problem("shows", &found, &"the newest first");
    }
    found.sort();
    if found != ask.finds {
        return problem("finds", &found, &ask.finds);
    }
    let (total, buckets) = view.histogram(query, "30s");
    let counted = expected.counted(|line| {
        let bucket = line.unix_ns / (30 * SECOND_NS) * 30_000;
        ask.finds.contains(&line.mark).then(|| bucket.to_string())
    });
    let buckets: Vec<(String, u64)> = buckets
        .iter()
        .map(|(start, count)| (start.to_string(), *count))
        .collect();
    if (total, &buckets) != (ask.finds.len() as u64, &counted) {
        return problem("counts", &(total, buckets), &counted);
    }
    None
}

/// The charts of the dashboard count every line under its value.
fn check_charts(cluster: &Cluster, view: &DataView<'_>, expected: &Expected) {
    let mut charts = 0;
    for object in cluster.saved_objects(view.application) {
        let (field, size) = match object["type"].as_str().unwrap() {
            "lens" => split_of_lens(&object),
            "visualization" => split_of_visualization(&object),
            _ => continue,
        };
        charts += 1;
        let query = &view.compile(&[(&query_of(&object), vec![always()])])[0];
        let is_otel = cluster.schema == "otel";
        let counted =
            expected.counted(
                |line| match object["id"].as_str().unwrap().rsplit_once("-by-").unwrap().1 {
                    // OpenTelemetry writes levels in capitals. A document that was stored poorer has none.
                    "level" if is_otel => line.level.map(str::to_uppercase),
                    "level" => line.level.map(str::to_owned),
                    "stream" => line.stream.map(|stream| stream.as_str().to_owned()),
                    "namespace" => Some(line.container.namespace.to_owned()),
                    other => panic!("nobody knows what the chart by {other} must show"),
                },
            );
        assert_eq!(view.chart(query, &field, size), counted, "{field}");
    }
    let shown = match (cluster.schema, view.application) {
        ("fluentd", _) => 2,
        // OpenSearch cannot count attributes.
        ("otel", Application::OpenSearchDashboards) => 1,
        _ => 3,
    };
    assert_eq!(charts, shown);
}

/// By what a chart of Kibana splits its bars, and how many kinds of bars it has.
fn split_of_lens(object: &Value) -> (String, u64) {
    let column = &object["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]["lines"]["columns"]
        ["split"];
    (
        column["sourceField"].as_str().unwrap().to_owned(),
        column["params"]["size"].as_u64().unwrap(),
    )
}

/// The same of OpenSearch Dashboards.
fn split_of_visualization(object: &Value) -> (String, u64) {
    let state: Value = serde_json::from_str(object["attributes"]["visState"].as_str().unwrap()).unwrap();
    let split = state["aggs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["schema"] == "group");
    let params = &split.unwrap()["params"];
    (
        params["field"].as_str().unwrap().to_owned(),
        params["size"].as_u64().unwrap(),
    )
}

/// The commonest values of every field can be shown, and those of the pod's namespace are all lines.
fn check_pages(cluster: &Cluster, view: &DataView<'_>, expected: &Expected) {
    let query = &view.compile(&[("", vec![always()])])[0];
    let values = view.commonest_values(query);
    let all = expected.lines.len() as u64;
    if cluster.has_one_field_for_attributes() {
        return;
    }
    let of_namespace = values.iter().find(|(name, _)| {
        [
            "kubernetes.namespace_name",
            "kubernetes.namespace",
            "resource.attributes.k8s.namespace.name",
        ]
        .contains(&name.as_str())
    });
    assert_eq!(of_namespace.map(|(_, count)| *count), Some(all), "{values:?}");
}

/// Compares what the compiler makes of the queries with `tests/golden/kibana`; `UPDATE=1` writes it anew.
fn assert_golden(cluster: &Cluster, view: &DataView<'_>, asks: &[Ask], compiled: &[Value]) {
    let rows = asks.iter().zip(compiled);
    let have: String = rows
        .map(|(ask, query)| format!("{}\n", json!({"query": ask.query, "compiled": query})))
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kibana");
    let is_flat = cluster.has_one_field_for_attributes();
    let kind = if is_flat { "-flat" } else { "" };
    let file = folder.join(format!(
        "{}-{}{kind}.ndjson",
        view.application.name(),
        cluster.schema
    ));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, &have).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    let other = have
        .lines()
        .zip(golden.lines())
        .find(|(have, golden)| have != golden);
    assert!(
        have == golden,
        "{} differs; the first row that does: {other:?}",
        file.display()
    );
}

/// Red when a query that is shipped names a field or a value that documents do not have, when a field is mapped so that it
/// cannot be searched or counted, or without the aliases of `mappings`.
#[test]
fn e2e_kibana_finds_lines_of_fluentd() {
    show("fluentd");
}

/// As above.
#[test]
fn e2e_kibana_finds_lines_of_ecs() {
    show("ecs");
}

/// As above.
#[test]
fn e2e_kibana_finds_lines_of_otel() {
    show("otel");
}

/// Two containers that talk to each other, with many lines in one millisecond, in the order in which they are written: one that
/// writes to both its streams at once has lines in its file whose stamps are not in order.
fn conversation() -> Vec<Line> {
    let mut lines = Vec::new();
    for n in 0..100_u64 {
        let moment = match n {
            20..80 => MORNING_NS + 20 * SECOND_NS + (n ^ 1) * 7,
            // A coarse clock: these have one stamp.
            85..90 => MORNING_NS + 85 * SECOND_NS,
            _ => MORNING_NS + n * SECOND_NS,
        };
        lines.push(Line::new(&format!("q{n}"), &WEB_0, moment, "question"));
        lines.push(Line::new(&format!("r{n}"), &WEB_1, moment + 3, "answer"));
    }
    lines
}

/// Discover shows the lines of one container in the order of time, and so does the view of what surrounds one of them, with
/// lines of one stamp in the order of the file.
fn surround(schema: &'static str) {
    let Some(mut cluster) = Cluster::new(schema) else {
        return;
    };
    let lines = conversation();
    cluster.ship(&lines);
    let mut questions: Vec<&Line> = lines
        .iter()
        .filter(|line| line.container.pod == "web-0")
        .collect();
    questions.sort_by_key(|line| line.unix_ns);
    questions.reverse();
    let view = cluster.view(cluster.applications()[0]);
    let pod = cluster.name(POD);
    let container = cluster.name([
        "kubernetes.container_name",
        "kubernetes.container.name",
        "resource.attributes.k8s.container.name",
    ]);
    let one = |value: &str, field: &str| Filter::Phrase(field.to_owned(), value.to_owned());
    let pinned = vec![one("web-0", pod), one("nginx", container)];
    let compiled = view.compile(&[("", pinned.clone()), ("", [pinned, vec![always()]].concat())]);
    let hits = view.documents(&compiled[1]);
    let time_of = |mark: &str| lines.iter().find(|line| line.mark == mark).unwrap().unix_ns;
    let shown: Vec<u64> = hits.iter().map(|hit| time_of(&mark_of(hit))).collect();
    let expected: Vec<u64> = questions.iter().map(|line| line.unix_ns).collect();
    assert_eq!(shown, expected);
    // What README.md says to set for `ecs`; the others have Kibana's default.
    let tie_breaker = if schema == "ecs" { "log.offset" } else { "_doc" };
    for mark in ["q50", "q5", "q25", "q79", "q87", "q95"] {
        let hit = hits.iter().find(|hit| mark_of(hit) == mark).unwrap();
        let id = hit["_id"].as_str().unwrap();
        let around = view.surrounding((id, time_of(mark)), &compiled[0], tie_breaker, 10);
        let at = questions.iter().position(|line| line.mark == mark).unwrap();
        let expected = &questions[at.saturating_sub(10)..(at + 11).min(questions.len())];
        let expected: Vec<&str> = expected.iter().map(|line| line.mark.as_str()).collect();
        assert_eq!(around, expected, "around {mark}");
    }
}

/// Red when times lose digits on their way or in the mapping, or when a field of the filters has another name.
#[test]
fn e2e_kibana_shows_what_surrounds_a_line_of_fluentd() {
    surround("fluentd");
}

/// As above; red without `log.offset`, too.
#[test]
fn e2e_kibana_shows_what_surrounds_a_line_of_ecs() {
    surround("ecs");
}

/// As above.
#[test]
fn e2e_kibana_shows_what_surrounds_a_line_of_otel() {
    surround("otel");
}

/// Red when README.md shows a query that nobody has tried.
#[test]
fn e2e_kibana_is_asked_what_the_readme_shows() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- queries -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- /queries -->").unwrap();
    let mut shown = 0;
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row
            .trim_matches('|')
            .split(" | ")
            .skip(1)
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let cells = <[&str; 3]>::try_from(cells).unwrap();
        assert!(TYPED.iter().any(|(queries, _)| *queries == cells), "{row}");
        shown += 1;
    }
    assert!(shown >= 5, "{shown}");
}
