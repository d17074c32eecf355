//! Schema and index patterns enter; a data view, saved searches and a dashboard leave, as files that Kibana and OpenSearch
//! Dashboards import.
//!
//! Both files come from the same [`Search`]es and [`Chart`]s, so that they cannot drift apart: Kibana draws charts with Lens
//! (objects of 8.9, which every later version imports), OpenSearch Dashboards with its classic visualizations. Names of fields
//! are those of the schema, from the table of our documents. What a schema has no field for is left out.

use super::objects::Purpose;
use super::server::Abilities;
use crate::config::Schema;
use crate::sink::elasticsearch::schema::fields::{fields, renamed};
use serde_json::{Value, json};

/// The application that imports a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Application {
    /// Kibana 8.9 and later.
    Kibana,
    /// OpenSearch Dashboards 1 to 3.
    OpenSearchDashboards,
}

/// A saved search, in words of `ecs`.
struct Search {
    id: &'static str,
    title: &'static str,
    /// What to know before one wonders.
    description: &'static str,
    /// Kibana's query language; fields in braces. The first whose fields the schema has.
    queries: &'static [&'static str],
}

/// A chart over time.
struct Chart {
    id: &'static str,
    title: &'static str,
    /// What each bar is split by.
    split: &'static str,
}

/// Columns of all searches.
const COLUMNS: [&str; 5] = [
    "kubernetes.namespace",
    "kubernetes.pod.name",
    "kubernetes.container.name",
    "log.level",
    "message",
];

const SEARCHES: [Search; 8] = [
    Search {
        id: "all",
        title: "All lines",
        description: "",
        queries: &[""],
    },
    Search {
        id: "errors",
        title: "Errors by level",
        description: "Levels come from lines in JSON, with parse.json: nest or merge in the agents' config.",
        queries: &[
            "{severity_number} >= 17",
            "{log.level}: (\"error\" or \"critical\" or \"alert\" or \"fatal\")",
        ],
    },
    Search {
        id: "stderr",
        title: "Standard error",
        description: "",
        queries: &["{stream}: \"stderr\""],
    },
    Search {
        id: "trouble",
        title: "Refused connections and killed containers",
        description: "",
        queries: &["{message}: \"connection refused\" or {message}: *OOMKilled*"],
    },
    Search {
        id: "no-probes",
        title: "Without health checks",
        description: "",
        queries: &["not {message}: *healthz*"],
    },
    Search {
        id: "ignored",
        title: "Documents with fields that could not be indexed",
        description: "Values that do not fit the type of their field, such as a name that is too long: they are shown, and not found.",
        queries: &["_ignored: *"],
    },
    Search {
        id: "reduced",
        title: "Documents that were refused and stored poorer",
        description: "The field in the way, or the whole document, stands in them as a text.",
        queries: &["{longshore.flags}: \"reduced\" or {_conflict.field}: *"],
    },
    Search {
        id: "unusual",
        title: "Lines that were cut, torn or no log lines",
        description: "longshore.flags says what is unusual.",
        // One by one: whether a key is there at all, OpenSearch cannot tell where it keeps attributes as one field.
        queries: &[
            "{longshore.flags}: (\"truncated\" or \"shortened\" or \"partial\" or \"unparsed\" or \"replaced_utf8\")",
        ],
    },
];

const CHARTS: [Chart; 3] = [
    Chart {
        id: "by-level",
        title: "Lines by level",
        split: "log.level",
    },
    Chart {
        id: "by-stream",
        title: "Lines by stream",
        split: "stream",
    },
    Chart {
        id: "by-namespace",
        title: "Lines by namespace",
        split: "kubernetes.namespace",
    },
];

/// Columns of a dashboard's grid.
const GRID: u64 = 48;
/// The height of a chart, and of the lines below them.
const HEIGHTS: (u64, u64) = (12, 20);

/// The file to import: one object a line.
///
/// Without a chart that the server cannot count for: where it keeps attributes as one field, they can be searched only.
pub fn ndjson(application: Application, purpose: &Purpose, able: &Abilities) -> String {
    let maker = Maker {
        application,
        schema: purpose.wishes.schema,
        patterns: purpose.patterns().join(","),
        counts_attributes: able.passthrough,
    };
    let mut objects = vec![maker.data_view()];
    objects.extend(SEARCHES.iter().filter_map(|search| maker.search(search)));
    let charts: Vec<(&Chart, Value)> = CHARTS
        .iter()
        .filter_map(|chart| Some((chart, maker.chart(chart)?)))
        .collect();
    objects.push(maker.dashboard(&charts.iter().map(|(chart, _)| chart.id).collect::<Vec<_>>()));
    objects.extend(charts.into_iter().map(|(_, object)| object));
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// The name in a schema of what `ecs` calls so; none where documents of the schema do not tell it.
pub fn name_of(schema: Schema, ecs: &'static str) -> Option<&'static str> {
    let other = renamed(Schema::Ecs, schema).find(|(from, _)| *from == ecs);
    match other {
        Some((_, name)) => Some(name),
        None => fields(schema).map(|field| field.path).find(|path| *path == ecs),
    }
}

/// The query of each search in a schema, with the search's name.
pub fn queries(schema: Schema) -> Vec<(&'static str, String)> {
    let searches = SEARCHES.iter();
    searches
        .filter_map(|search| Some((search.id, query(schema, search)?)))
        .collect()
}

/// The search's query in a schema; none where the schema lacks a field of each.
fn query(schema: Schema, search: &Search) -> Option<String> {
    search.queries.iter().find_map(|text| in_names_of(schema, text))
}

/// The query with the schema's names in place of the braces.
fn in_names_of(schema: Schema, text: &'static str) -> Option<String> {
    let mut query = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) = after.split_once('}')?;
        query += before;
        query += name_of(schema, field)?;
        rest = after;
    }
    Some(query + rest)
}

struct Maker {
    application: Application,
    schema: Schema,
    patterns: String,
    counts_attributes: bool,
}

impl Maker {
    fn id(&self, id: &str) -> String {
        let schema = match self.schema {
            Schema::Fluentd => "fluentd",
            Schema::Ecs => "ecs",
            Schema::Otel => "otel",
        };
        format!("longshore-{schema}-{id}")
    }

    /// An object with the versions that its importer asks for.
    fn object(&self, kind: &str, id: &str, attributes: Value, references: Value) -> Value {
        let mut object = json!({
            "type": kind,
            "id": self.id(id),
            "attributes": attributes,
            "references": references,
        });
        match self.application {
            Application::Kibana => {
                object["coreMigrationVersion"] = "8.8.0".into();
                if kind == "lens" {
                    object["typeMigrationVersion"] = "8.9.0".into();
                }
            }
            // Later ones are refused: the fork knows versions up to 7.
            Application::OpenSearchDashboards => {
                let version = match kind {
                    "index-pattern" => "7.6.0",
                    "visualization" => "7.10.0",
                    _ => "7.9.3",
                };
                object["migrationVersion"] = json!({ kind: version });
            }
        }
        object
    }

    fn data_view(&self) -> Value {
        let mut attributes = json!({"title": self.patterns, "timeFieldName": "@timestamp"});
        if self.application == Application::Kibana {
            attributes["name"] = format!("Kubernetes logs ({})", self.patterns).into();
        }
        self.object("index-pattern", "logs", attributes, json!([]))
    }

    fn search(&self, search: &Search) -> Option<Value> {
        let columns: Vec<&str> = COLUMNS
            .iter()
            .filter_map(|name| name_of(self.schema, name))
            .collect();
        let name = "kibanaSavedObjectMeta.searchSourceJSON.index";
        let source = json!({
            "query": {"query": query(self.schema, search)?, "language": "kuery"},
            "filter": [],
            "indexRefName": name,
        });
        let attributes = json!({
            "title": search.title,
            "description": search.description,
            "columns": columns,
            "sort": [["@timestamp", "desc"]],
            "kibanaSavedObjectMeta": {"searchSourceJSON": source.to_string()},
        });
        Some(self.object("search", search.id, attributes, self.to_data_view(name)))
    }

    fn chart(&self, chart: &Chart) -> Option<Value> {
        let split = name_of(self.schema, chart.split)?;
        if split.contains("attributes.") && !self.counts_attributes {
            return None;
        }
        Some(match self.application {
            Application::Kibana => self.lens(chart, split),
            Application::OpenSearchDashboards => self.visualization(chart, split),
        })
    }

    fn lens(&self, chart: &Chart, split: &str) -> Value {
        let columns = json!({
            "time": {"dataType": "date", "isBucketed": true, "label": "time", "operationType": "date_histogram",
                "params": {"interval": "auto"}, "scale": "interval", "sourceField": "@timestamp"},
            "split": {"dataType": "string", "isBucketed": true, "label": split, "operationType": "terms",
                "params": {"size": 8, "orderBy": {"type": "column", "columnId": "count"}, "orderDirection": "desc",
                    "otherBucket": true},
                "scale": "ordinal", "sourceField": split},
            "count": {"dataType": "number", "isBucketed": false, "label": "lines", "operationType": "count",
                "scale": "ratio", "sourceField": "___records___"},
        });
        let layer =
            json!({"columnOrder": ["split", "time", "count"], "columns": columns, "incompleteColumns": {}});
        let visualization = json!({
            "preferredSeriesType": "bar_stacked",
            "legend": {"isVisible": true, "position": "right"},
            "valueLabels": "hide",
            "layers": [{"layerId": "lines", "layerType": "data", "seriesType": "bar_stacked",
                "xAccessor": "time", "splitAccessor": "split", "accessors": ["count"]}],
        });
        let attributes = json!({
            "title": chart.title,
            "visualizationType": "lnsXY",
            "state": {
                "datasourceStates": {"formBased": {"layers": {"lines": layer}}},
                "visualization": visualization,
                "query": {"query": "", "language": "kuery"},
                "filters": [],
            },
        });
        let references = self.to_data_view("indexpattern-datasource-layer-lines");
        self.object("lens", chart.id, attributes, references)
    }

    fn visualization(&self, chart: &Chart, split: &str) -> Value {
        let name = "kibanaSavedObjectMeta.searchSourceJSON.index";
        let state = json!({
            "title": chart.title,
            "type": "histogram",
            "params": {"type": "histogram", "addLegend": true, "addTooltip": true, "legendPosition": "right",
                "seriesParams": [{"type": "histogram", "mode": "stacked", "show": true, "valueAxis": "ValueAxis-1",
                    "data": {"id": "1", "label": "lines"}}]},
            "aggs": [
                {"id": "1", "enabled": true, "type": "count", "schema": "metric", "params": {"customLabel": "lines"}},
                {"id": "2", "enabled": true, "type": "date_histogram", "schema": "segment",
                    "params": {"field": "@timestamp", "interval": "auto", "min_doc_count": 1}},
                {"id": "3", "enabled": true, "type": "terms", "schema": "group",
                    "params": {"field": split, "size": 8, "order": "desc", "orderBy": "1", "otherBucket": true}},
            ],
        });
        let source = json!({"query": {"query": "", "language": "kuery"}, "filter": [], "indexRefName": name});
        let attributes = json!({
            "title": chart.title,
            "visState": state.to_string(),
            "uiStateJSON": "{}",
            "description": "",
            "version": 1,
            "kibanaSavedObjectMeta": {"searchSourceJSON": source.to_string()},
        });
        self.object("visualization", chart.id, attributes, self.to_data_view(name))
    }

    /// Charts beside each other, and below them all lines.
    fn dashboard(&self, charts: &[&str]) -> Value {
        let kind = match self.application {
            Application::Kibana => "lens",
            Application::OpenSearchDashboards => "visualization",
        };
        let width = GRID / charts.len().max(1) as u64;
        let (chart_height, lines_height) = HEIGHTS;
        let at_top = charts.iter().enumerate().map(|(at, id)| {
            let grid = json!({"x": at as u64 * width, "y": 0, "w": width, "h": chart_height});
            (kind, *id, grid)
        });
        let lines = json!({"x": 0, "y": chart_height, "w": GRID, "h": lines_height});
        let panels = at_top.chain([("search", "all", lines)]);
        let (mut shown, mut references) = (Vec::new(), Vec::new());
        for (at, (kind, id, mut grid)) in panels.enumerate() {
            let index = format!("{}", at + 1);
            // Where Kibana looks a reference up by panel and name, its older relative has the name alone.
            let (name, referred) = match self.application {
                Application::Kibana => (format!("panel_{index}"), format!("{index}:panel_{index}")),
                Application::OpenSearchDashboards => (format!("panel_{at}"), format!("panel_{at}")),
            };
            grid["i"] = index.clone().into();
            shown.push(
                json!({"type": kind, "panelIndex": index, "panelRefName": name, "gridData": grid,
                "embeddableConfig": {}}),
            );
            references.push(json!({"type": kind, "id": self.id(id), "name": referred}));
        }
        let source = json!({"query": {"query": "", "language": "kuery"}, "filter": []});
        let attributes = json!({
            "title": format!("Kubernetes logs ({})", self.patterns),
            "description": "",
            "panelsJSON": Value::Array(shown).to_string(),
            "optionsJSON": "{\"useMargins\":true}",
            "timeRestore": false,
            "version": 1,
            "kibanaSavedObjectMeta": {"searchSourceJSON": source.to_string()},
        });
        self.object("dashboard", "overview", attributes, Value::Array(references))
    }

    fn to_data_view(&self, name: &str) -> Value {
        json!([{"type": "index-pattern", "id": self.id("logs"), "name": name}])
    }
}
