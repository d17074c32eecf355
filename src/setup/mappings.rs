//! The fields of a schema and the abilities of a server enter, the `mappings` of a template leave.
//!
//! Field by field from the table of our documents. What other agents, and our other schemas, call the same fact is an alias: so
//! a search for `kubernetes.pod_name` finds documents of `ecs`, and one for `kubernetes.pod.name` those of `fluentd`.

use super::server::Abilities;
use crate::config::Schema;
use crate::sink::elasticsearch::schema::fields::{Field, Kind, fields, renamed, steps};
use serde_json::{Map, Value, json};

/// A longer value of a keyword is kept, and not found: a term may not be longer than 32,766 bytes, and few are useful that are
/// longer than this.
const IGNORE_ABOVE: u64 = 1024;
/// Of the `.keyword` that Elasticsearch makes by itself, and old dashboards use.
const SUBFIELD_IGNORE_ABOVE: u64 = 256;

/// How labels and annotations are mapped. The documents are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Labels {
    /// A keyword for each key: Kibana lists and groups them. The number of fields has a limit.
    #[default]
    Keyword,
    /// One field for all keys: any number of them, searchable, not listed.
    Flattened,
}

/// What the mappings are to be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wishes {
    /// The layout of documents.
    pub schema: Schema,
    /// How labels are mapped.
    pub labels: Labels,
    /// Members of applications' JSON become fields of the document: no alias may stand in their way.
    pub merges_json: bool,
}

/// The mappings of a template.
pub fn mappings(wishes: Wishes, able: &Abilities) -> Value {
    let schema = wishes.schema;
    let mut tree = Tree::default();
    if schema == Schema::Otel {
        tree.insert(&["attributes"], attributes(able, 20));
        tree.insert(&["resource", "attributes"], attributes(able, 40));
    }
    for field in fields(schema) {
        if field.kind == Kind::Keywords && schema == Schema::Otel {
            continue;
        }
        let mut mapping = mapping(field.kind, wishes, able);
        if field.path == "@timestamp" {
            // A document without its time must not get into a stream; some servers insist that this is said.
            mapping["ignore_malformed"] = false.into();
        }
        tree.insert(&steps(field.path).collect::<Vec<_>>(), mapping);
    }
    for (name, path) in aliases(wishes) {
        let is_mapped = tree.has(&steps(path).collect::<Vec<_>>());
        if is_mapped {
            tree.insert(
                &name.split('.').collect::<Vec<_>>(),
                json!({"type": "alias", "path": path}),
            );
        }
    }
    json!({
        "date_detection": false,
        "dynamic": schema != Schema::Otel,
        "dynamic_templates": dynamic_templates(wishes, able),
        "properties": tree.0,
    })
}

/// Names of other schemas, and the names in this one.
pub fn aliases(wishes: Wishes) -> Vec<(&'static str, &'static str)> {
    let schema = wishes.schema;
    let root = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
    let roots: Vec<String> = fields(schema).map(|field| root(field.path)).collect();
    let can_be_led_to = |path: &str| {
        let kind = fields(schema)
            .find(|field| field.path == path)
            .map(|field| field.kind);
        !matches!(
            kind,
            None | Some(Kind::Keywords | Kind::Flattened | Kind::Unindexed)
        )
    };
    // Below a passthrough object this name is there already.
    let is_passed_through = |name: &str, path: &str| path.ends_with(&format!("attributes.{name}"));
    // Nobody searches other agents' documents by OpenTelemetry's names.
    [Schema::Fluentd, Schema::Ecs]
        .into_iter()
        .filter(|other| *other != schema)
        .flat_map(|other| renamed(other, schema))
        .filter(|(name, path)| can_be_led_to(path) && !is_passed_through(name, path))
        .filter(|(name, _)| !wishes.merges_json || roots.contains(&root(name)))
        .collect()
}

fn attributes(able: &Abilities, priority: u32) -> Value {
    if able.passthrough {
        return json!({"type": "passthrough", "dynamic": true, "priority": priority, "properties": {}});
    }
    any_object(able)
}

/// One field for an object of any shape.
fn any_object(able: &Abilities) -> Value {
    match able.flattened {
        // Only Elasticsearch's knows the limit.
        Some("flattened") => json!({"type": "flattened", "ignore_above": IGNORE_ABOVE}),
        Some(kind) => json!({ "type": kind }),
        None => json!({"type": "object", "enabled": false}),
    }
}

fn mapping(kind: Kind, wishes: Wishes, able: &Abilities) -> Value {
    match kind {
        Kind::Nanos => json!({"type": "date_nanos"}),
        Kind::Keyword => keyword(wishes.schema),
        Kind::Constant if able.constant_keyword => json!({"type": "constant_keyword"}),
        Kind::Constant => json!({"type": "keyword"}),
        Kind::Text if able.match_only_text => json!({"type": "match_only_text"}),
        Kind::Text => json!({"type": "text"}),
        Kind::Long => json!({"type": "long"}),
        Kind::Ip => json!({"type": "ip", "ignore_malformed": true}),
        Kind::Keywords if wishes.labels == Labels::Flattened => any_object(able),
        Kind::Keywords => json!({"type": "object", "dynamic": true}),
        Kind::Flattened => any_object(able),
        Kind::Unindexed => json!({"type": "text", "index": false}),
    }
}

/// With schema `fluentd` also as `.keyword`: the name under which dashboards know the fields that had no template.
fn keyword(schema: Schema) -> Value {
    let mut mapping = json!({"type": "keyword", "ignore_above": IGNORE_ABOVE});
    if schema == Schema::Fluentd {
        mapping["fields"] = json!({"keyword": {"type": "keyword", "ignore_above": SUBFIELD_IGNORE_ABOVE}});
    }
    mapping
}

/// Labels, and then every other text that nobody knows: keywords, so that one value decides nothing about the next.
fn dynamic_templates(wishes: Wishes, able: &Abilities) -> Vec<Value> {
    let is_dynamic = |field: &Field| {
        let one_by_one = wishes.schema != Schema::Otel && wishes.labels == Labels::Keyword
            || wishes.schema == Schema::Otel && able.passthrough;
        field.kind == Kind::Keywords && one_by_one
    };
    let of_strings = |name: &str, path: Option<String>| {
        let mut template = json!({"match_mapping_type": "string", "mapping": keyword(wishes.schema)});
        if let Some(path) = path {
            template["path_match"] = path.into();
        }
        json!({ name: template })
    };
    fields(wishes.schema)
        .filter(is_dynamic)
        .map(|field| of_strings(&field.path.replace('.', "_"), Some(format!("{}.*", field.path))))
        .chain([of_strings("other_strings", None)])
        .collect()
}

/// Properties below properties.
#[derive(Default)]
struct Tree(Map<String, Value>);

impl Tree {
    /// Adds a mapping; not where there is another one, nor below what is no object.
    fn insert(&mut self, steps: &[&str], mapping: Value) {
        let Some((name, folders)) = steps.split_last() else {
            return;
        };
        let mut properties = &mut self.0;
        for folder in folders {
            let object = properties
                .entry(*folder)
                .or_insert_with(|| json!({"properties": {}}));
            match object.get_mut("properties").and_then(Value::as_object_mut) {
                Some(below) => properties = below,
                None => return,
            }
        }
        properties.entry(*name).or_insert(mapping);
    }

    fn has(&self, steps: &[&str]) -> bool {
        let mut properties = Some(&self.0);
        let mut found = None;
        for step in steps {
            found = properties.and_then(|properties| properties.get(*step));
            properties = found
                .and_then(|object| object.get("properties"))
                .and_then(Value::as_object);
        }
        found.is_some()
    }
}
