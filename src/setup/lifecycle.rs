//! What should become of old data enters, the policy that a server understands leaves.

use crate::config::Schema;
use serde_json::{Value, json};

/// When a stream begins its next index: large enough that there are few of them, small enough that one can be moved.
const ROLLOVER_SIZE: &str = "50gb";
const ROLLOVER_AGE: &str = "7d";

/// A policy of Elasticsearch's index lifecycle management. Indices of one day each are not rolled over.
pub fn ilm(schema: Schema, retention: Option<&str>) -> Value {
    let actions = match schema {
        Schema::Fluentd => json!({}),
        Schema::Ecs | Schema::Otel => {
            json!({"rollover": {"max_primary_shard_size": ROLLOVER_SIZE, "max_age": ROLLOVER_AGE}})
        }
    };
    let mut phases = json!({"hot": {"min_age": "0ms", "actions": actions}});
    if let Some(retention) = retention {
        phases["delete"] = json!({"min_age": retention, "actions": {"delete": {}}});
    }
    json!({"policy": {"phases": phases}})
}

/// A policy of OpenSearch's Index State Management, for the indices of these patterns.
pub fn ism(schema: Schema, patterns: &[String], retention: Option<&str>) -> Value {
    let actions = match schema {
        Schema::Fluentd => json!([]),
        Schema::Ecs | Schema::Otel => {
            json!([{"rollover": {"min_primary_shard_size": ROLLOVER_SIZE, "min_index_age": ROLLOVER_AGE}}])
        }
    };
    let mut states = vec![json!({"name": "hot", "actions": actions, "transitions": []})];
    if let Some(retention) = retention {
        states[0]["transitions"] =
            json!([{"state_name": "delete", "conditions": {"min_index_age": retention}}]);
        states.push(json!({"name": "delete", "actions": [{"delete": {}}], "transitions": []}));
    }
    json!({"policy": {
        "description": "",
        "default_state": "hot",
        "ism_template": [{"index_patterns": patterns, "priority": 100}],
        "states": states,
    }})
}

/// The member `lifecycle` of a template, for servers without policies.
pub fn data_stream(retention: Option<&str>) -> Value {
    match retention {
        Some(retention) => json!({"enabled": true, "data_retention": retention}),
        None => json!({"enabled": true}),
    }
}
