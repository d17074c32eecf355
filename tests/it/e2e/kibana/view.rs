//! A data view, and the requests that Kibana and OpenSearch Dashboards make of it when a person looks at logs.
//!
//! Queries are compiled by the applications' own code (`tests/kibana/compile.js`). The requests around them are written here, as
//! Discover sends them: Kibana by `_async_search`, which takes the same body as `_search`.

use super::super::DAY_NS;
use super::corpus::mark_of;
use longshore_kit::lines::rfc3339;
use longshore_kit::stack::{RealElasticsearch, run_stack};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What Discover shows at most.
const PAGE: u64 = 500;
/// How far the view of surrounding documents looks, step by step.
const LOOKUP_DAYS: [u64; 6] = [0, 1, 7, 30, 365, 10_000];

/// The application that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Application {
    Kibana,
    OpenSearchDashboards,
}

impl Application {
    pub(super) fn name(self) -> &'static str {
        match self {
            Application::Kibana => "kibana",
            Application::OpenSearchDashboards => "opensearch-dashboards",
        }
    }
}

/// Restricts what is found, as a click in Discover does.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    /// From and to, both included.
    Range(String, String),
    /// A field has this value.
    Phrase(String, String),
    /// A field is there.
    Exists(String),
}

impl Filter {
    fn to_json(&self) -> Value {
        match self {
            Filter::Range(from, to) => json!({"range": [from, to]}),
            Filter::Phrase(field, value) => json!({"phrase": [field, value]}),
            Filter::Exists(field) => json!({"exists": field}),
        }
    }
}

/// A data view in one of the applications.
pub(super) struct DataView<'a> {
    pub(super) application: Application,
    es: &'a RealElasticsearch,
    title: String,
    /// By name, with what each can do.
    pub(super) fields: Value,
}

impl<'a> DataView<'a> {
    /// Reads the list of fields, as the application does when the view is opened.
    pub(super) fn open(application: Application, es: &'a RealElasticsearch, title: &str) -> DataView<'a> {
        let path = format!("/{title}/_field_caps?fields=*&ignore_unavailable=true&allow_no_indices=false");
        let mut answer = good(&path, &es.get(&path));
        DataView {
            application,
            es,
            title: title.to_owned(),
            fields: answer["fields"].take(),
        }
    }

    /// The type of a field, when it has one only.
    pub(super) fn kind(&self, field: &str) -> Option<&str> {
        let kinds = self.fields[field].as_object()?;
        match kinds.len() {
            1 => kinds.keys().next().map(String::as_str),
            _ => None,
        }
    }

    /// The query DSL of each query with its filters.
    ///
    /// # Panics
    /// When the application's compiler refuses one.
    pub(super) fn compile(&self, searches: &[(&str, Vec<Filter>)]) -> Vec<Value> {
        let searches: Vec<Value> = searches
            .iter()
            .map(|(query, filters)| {
                let filters: Vec<Value> = filters.iter().map(Filter::to_json).collect();
                json!({"query": query, "filters": filters})
            })
            .collect();
        let request = json!({
            "application": self.application.name(), "title": self.title, "fields": self.fields, "searches": searches,
        });
        let compiled = run_compiler(&request.to_string());
        for one in &compiled {
            assert_eq!(one["error"], Value::Null, "{:?}", self.application);
        }
        compiled
    }

    /// The hits that Discover shows, newest first.
    pub(super) fn documents(&self, query: &Value) -> Vec<Value> {
        let highlight = json!({
            "pre_tags": ["@kibana-highlighted-field@"], "post_tags": ["@/kibana-highlighted-field@"],
            "fields": {"*": {}}, "fragment_size": 2_147_483_647,
        });
        let mut body = json!({
            "size": PAGE, "version": true, "script_fields": {}, "stored_fields": ["*"], "query": query, "highlight": highlight,
        });
        match self.application {
            Application::Kibana => {
                let mut by_time = self.by_time("desc");
                by_time["@timestamp"]["unmapped_type"] = "boolean".into();
                body["sort"] = json!([by_time]);
                body["track_total_hits"] = false.into();
                body["runtime_mappings"] = json!({});
                body["_source"] = false.into();
                body["fields"] = self.shown_fields();
            }
            Application::OpenSearchDashboards => {
                body["sort"] = json!([{"@timestamp": {"order": "desc", "unmapped_type": "boolean"}}]);
                body["docvalue_fields"] = json!([{"field": "@timestamp", "format": "date_time"}]);
                body["_source"] = json!({"excludes": []});
            }
        }
        self.hits(&body)
    }

    /// The marks of all documents that a query finds, newest first.
    pub(super) fn marks(&self, query: &Value) -> Vec<String> {
        self.documents(query).iter().map(mark_of).collect()
    }

    /// How many documents a query finds, and how many in each interval (its start in milliseconds), as the chart above the
    /// documents says.
    pub(super) fn histogram(&self, query: &Value, interval: &str) -> (u64, Vec<(i64, u64)>) {
        let body = json!({
            "size": 0, "track_total_hits": true, "query": query, "_source": {"excludes": []}, "stored_fields": ["*"],
            "aggs": {"2": {"date_histogram":
                {"field": "@timestamp", "fixed_interval": interval, "time_zone": "UTC", "min_doc_count": 1}}},
        });
        let answer = self.search(&body);
        let total = answer["hits"]["total"]["value"].as_u64().unwrap();
        let buckets = answer["aggregations"]["2"]["buckets"].as_array().unwrap();
        let counted = buckets.iter().map(|bucket| {
            (
                bucket["key"].as_i64().unwrap(),
                bucket["doc_count"].as_u64().unwrap(),
            )
        });
        (total, counted.collect())
    }

    /// How many documents have each of the commonest values of a field, and how many of these lie in intervals of a day: a
    /// chart of the dashboard.
    pub(super) fn chart(&self, query: &Value, field: &str, size: u64) -> Vec<(String, u64)> {
        let over_time = json!({"date_histogram":
            {"field": "@timestamp", "fixed_interval": "1d", "time_zone": "UTC", "min_doc_count": 1}});
        let body = json!({
            "size": 0, "query": query,
            "aggs": {"split": {
                "terms": {"field": field, "size": size, "order": {"_count": "desc"}},
                "aggs": {"time": over_time},
            }},
        });
        let answer = self.search(&body);
        let split = answer["aggregations"]["split"]["buckets"].as_array().unwrap();
        let mut counted: Vec<(String, u64)> = Vec::new();
        for bucket in split {
            let days = bucket["time"]["buckets"].as_array().unwrap();
            let in_days = days.iter().map(|day| day["doc_count"].as_u64().unwrap()).sum();
            assert_eq!(bucket["doc_count"], in_days, "{field}: {bucket}");
            counted.push((bucket["key"].as_str().unwrap().to_owned(), in_days));
        }
        counted.sort();
        counted
    }

    /// The commonest values of all keywords at once: what the field list of Discover offers.
    pub(super) fn commonest_values(&self, query: &Value) -> Vec<(String, u64)> {
        let keywords = self.fields.as_object().unwrap().iter().filter(|(name, kinds)| {
            !name.starts_with('_')
                && kinds["keyword"]["aggregatable"] == true
                && kinds.as_object().unwrap().len() == 1
        });
        let aggregations: serde_json::Map<String, Value> = keywords
            .map(|(name, _)| (name.clone(), json!({"terms": {"field": name, "size": 5}})))
            .collect();
        let answer = self.search(&json!({"size": 0, "query": query, "aggs": aggregations}));
        let aggregated = answer["aggregations"].as_object().unwrap().iter();
        let counted = aggregated.map(|(name, values)| {
            let buckets = values["buckets"].as_array().unwrap().iter();
            (
                name.clone(),
                buckets.map(|bucket| bucket["doc_count"].as_u64().unwrap()).sum(),
            )
        });
        counted.collect()
    }

    /// "View surrounding documents" of the document with this id and time: the marks of `size` newer documents, its own, and
    /// those of `size` older ones, newest first. `filters` are the pinned ones; `tie_breaker` orders documents of one time.
    pub(super) fn surrounding(
        &self,
        (id, unix_ns): (&str, u64),
        filters: &Value,
        tie_breaker: &str,
        size: usize,
    ) -> Vec<String> {
        let anchor = json!({"bool": {"must": {"constant_score": {"filter": {"ids": {"values": [id]}}}}}});
        let query = json!({"bool": {"must": [anchor], "filter": [], "should": [], "must_not": []}});
        let body = self.context_request(1, &query, ["desc", tie_breaker]);
        let [anchor] = <[Value; 1]>::try_from(self.hits(&body)).unwrap();
        let side = |is_newer| self.neighbours((&anchor, unix_ns), filters, tie_breaker, size, is_newer);
        let (newer, older) = (side(true), side(false));
        let around = newer.iter().rev().chain([&anchor]).chain(&older);
        around.map(mark_of).collect()
    }

    /// Documents on one side of the anchor, the nearest first.
    fn neighbours(
        &self,
        (anchor, unix_ns): (&Value, u64),
        filters: &Value,
        tie_breaker: &str,
        size: usize,
        is_newer: bool,
    ) -> Vec<Value> {
        let (order, near, far) = if is_newer {
            ("asc", "gte", "lte")
        } else {
            ("desc", "lte", "gte")
        };
        // A bound keeps the fraction of the anchor's second.
        let fraction = match self.kept_time(anchor) {
            Some(text) => text.split_once('.').unwrap().1.replacen('Z', "", 1),
            None => format!("{:03}", unix_ns / 1_000_000 % 1_000),
        };
        let bound = |days: &u64| {
            let away = days * DAY_NS;
            let moment = if is_newer { unix_ns + away } else { unix_ns - away };
            format!("{}{fraction:0<3}Z", &rfc3339(moment)[..20])
        };
        let mut found: Vec<Value> = Vec::new();
        for (at, days) in LOOKUP_DAYS.iter().enumerate() {
            let left = size - found.len();
            if left == 0 {
                break;
            }
            let mut range = json!({"format": "strict_date_optional_time", near: bound(days)});
            if let Some(days) = LOOKUP_DAYS.get(at + 1) {
                range[far] = bound(days).into();
            }
            let mut query = filters.clone();
            query["bool"]["must"] = json!([{"bool": {
                "must": {"constant_score": {"filter": {"range": {"@timestamp": range}}}},
                "must_not": {"ids": {"values": [anchor["_id"]]}},
            }}]);
            let mut body = self.context_request(left, &query, [order, tie_breaker]);
            let last = found.last().unwrap_or(anchor);
            body["search_after"] = last["sort"].clone();
            if self.application == Application::OpenSearchDashboards
                && let Some(text) = self.kept_time(last)
            {
                body["search_after"][0] = text.into();
            }
            found.extend(self.hits(&body));
        }
        found
    }

    fn context_request(&self, size: usize, query: &Value, [order, tie_breaker]: [&str; 2]) -> Value {
        match self.application {
            Application::Kibana => json!({
                "size": size, "version": true, "track_total_hits": false, "query": query,
                "_source": false, "fields": self.shown_fields(),
                "sort": [self.by_time(order), {tie_breaker: {"order": order}}],
            }),
            Application::OpenSearchDashboards => json!({
                "size": size, "version": true, "query": query, "_source": {"excludes": []}, "stored_fields": ["*"],
                "docvalue_fields": [{"field": "@timestamp", "format": "date_time"}],
                "sort": [{"@timestamp": order}, {tie_breaker: order}],
            }),
        }
    }

    /// The time of a hit as a text, where it is kept to the nanosecond: a number of a browser cannot hold it. Kibana takes what
    /// the server makes of it, OpenSearch Dashboards what stands in the document.
    fn kept_time<'h>(&self, hit: &'h Value) -> Option<&'h str> {
        if self.kind("@timestamp") != Some("date_nanos") {
            return None;
        }
        match self.application {
            Application::Kibana => hit["fields"]["@timestamp"][0].as_str(),
            Application::OpenSearchDashboards => hit["_source"]["@timestamp"].as_str(),
        }
    }

    /// All fields, and the time to the nanosecond where it is kept so.
    fn shown_fields(&self) -> Value {
        let format = match self.kind("@timestamp") {
            Some("date_nanos") => "strict_date_optional_time_nanos",
            _ => "date_time",
        };
        json!([{"field": "*", "include_unmapped": "true"}, {"field": "@timestamp", "format": format}])
    }

    fn by_time(&self, order: &str) -> Value {
        match self.kind("@timestamp") {
            Some("date_nanos") => json!({"@timestamp":
                {"order": order, "format": "strict_date_optional_time_nanos", "numeric_type": "date_nanos"}}),
            _ => json!({"@timestamp": {"order": order, "format": "strict_date_optional_time"}}),
        }
    }

    fn hits(&self, body: &Value) -> Vec<Value> {
        match self.search(body)["hits"]["hits"].take() {
            Value::Array(hits) => hits,
            other => panic!("no hits: {other}"),
        }
    }

    fn search(&self, body: &Value) -> Value {
        let path = format!("/{}/_search?ignore_unavailable=true", self.title);
        let answer = good(&path, &self.es.post(&path, &body.to_string()));
        assert_eq!(answer["_shards"]["failed"], 0, "{body}: {answer}");
        answer
    }
}

#[track_caller]
fn good(what: &str, (status, body): &(u16, String)) -> Value {
    assert_eq!(*status, 200, "{what}: {body}");
    serde_json::from_str(body).unwrap()
}

/// Runs `tests/kibana/compile.js`.
fn run_compiler(request: &str) -> Vec<Value> {
    let modules = run_stack(&["install", "kql"]).unwrap_or_else(|error| panic!("{error}"));
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/kibana/compile.js"]
        .iter()
        .collect();
    let mut child = Command::new("node")
        .arg(script)
        .arg(modules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "compile.js: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
