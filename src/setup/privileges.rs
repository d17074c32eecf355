//! Recipes for rights: the least that agents need, and what `longshore setup` needs. They are printed, never applied: who may do
//! what is not for a tool to decide.

use super::objects::Purpose;
use super::server::{Kind, Server};
use serde_json::{Value, json};

/// The role of an agent: it can add documents and nothing else. Who finds its key can neither read nor delete nor overwrite.
///
/// OpenSearch has one right for adding and for replacing (`indices:data/write/index`, seen on 2.19.1): there whoever knows the id of
/// a document can overwrite it.
///
/// With `sink.elasticsearch.look_up_after` it can read, too: a server has no right to ask for ids alone.
pub fn agent_role(server: &Server, purpose: &Purpose) -> Value {
    let with = |rights: &[&str], read| {
        let read = purpose.looks_up.then_some(read);
        json!(rights.iter().copied().chain(read).collect::<Vec<_>>())
    };
    let patterns = purpose.patterns();
    match server.kind {
        Kind::Elasticsearch | Kind::Serverless => json!({
            "cluster": [],
            "indices": [{"names": patterns, "privileges": with(&["auto_configure", "create_doc"], "read")}],
        }),
        Kind::OpenSearch => {
            let rights = [
                "indices:data/write/bulk*",
                "indices:data/write/index",
                "indices:admin/create",
                "indices:admin/mapping/put",
            ];
            json!({
                "cluster_permissions": ["indices:data/write/bulk"],
                "index_permissions": [{
                    "index_patterns": patterns,
                    "allowed_actions": with(&rights, "indices:data/read/search"),
                }],
            })
        }
    }
}

/// The body of `POST /_security/api_key`: a key of that role. For OpenSearch there is none: it knows users and roles.
pub fn agent_api_key(server: &Server, purpose: &Purpose) -> Option<Value> {
    let has_keys = server.kind != Kind::OpenSearch;
    has_keys.then(|| {
        json!({
            "name": "longshore",
            "expiration": "90d",
            "role_descriptors": {"longshore": agent_role(server, purpose)},
        })
    })
}

/// The role of whoever runs `longshore setup --apply`.
pub fn setup_role(server: &Server) -> Value {
    match server.kind {
        Kind::Elasticsearch => {
            json!({"cluster": ["monitor", "manage_index_templates", "manage_ilm"], "indices": []})
        }
        Kind::Serverless => json!({"cluster": ["monitor", "manage_index_templates"], "indices": []}),
        Kind::OpenSearch => json!({
            "cluster_permissions": [
                "cluster_monitor",
                "cluster_manage_index_templates",
                "cluster:admin/opendistro/ism/policy/*",
            ],
            "index_permissions": [],
        }),
    }
}
