//! Every path but `_bulk`: as little as Longshore may rely on, or what other agents ask before they send.

use super::answers::{json, plain_error};
use super::http::{Request, Response};
use super::server::{Shared, lock};
use std::sync::atomic::Ordering;

/// What an Elasticsearch answers that has little more than `_bulk`.
pub(super) fn answer(shared: &Shared, request: &Request) -> Response {
    let announced = shared.announced.load(Ordering::Relaxed);
    if let Some(route) = lock(&shared.routes).get(&request.path).cloned() {
        return json(200, route(&request.query).into_bytes());
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/") if announced => json(200, ROOT.to_owned().into_bytes()),
        ("GET", "/_license") if announced => json(200, LICENSE.to_owned().into_bytes()),
        ("PUT" | "POST", _) if announced => json(200, b"{\"acknowledged\":true}".to_vec()),
        (_, "/") => wrong_method(request, "POST"),
        ("GET", "/_cluster/health") => json(200, HEALTH.to_owned().into_bytes()),
        _ => plain_error(
            404,
            &format!("no such path [{}] in the rude server", request.path),
        ),
    }
}

/// 405, as the real server words it.
pub(super) fn wrong_method(request: &Request, allowed: &str) -> Response {
    let (path, method) = (&request.path, &request.method);
    let mut response = plain_error(
        405,
        &format!("Incorrect HTTP method for uri [{path}] and method [{method}], allowed: [{allowed}]"),
    );
    response.headers.push(("allow", allowed.replace(", ", ",")));
    if method == "HEAD" {
        response.body.clear();
    }
    response
}

const HEALTH: &str = r#"{"cluster_name":"rude","status":"green","timed_out":false,"number_of_nodes":1,"number_of_data_nodes":1,"active_primary_shards":0,"active_shards":0,"relocating_shards":0,"initializing_shards":0,"unassigned_shards":0,"unassigned_primary_shards":0,"delayed_unassigned_shards":0,"number_of_pending_tasks":0,"number_of_in_flight_fetch":0,"task_max_waiting_in_queue_millis":0,"active_shards_percent_as_number":100.0}"#;
const ROOT: &str = r#"{"name":"rude","cluster_name":"rude","cluster_uuid":"a_TTbYxbQD2kfM4b4uCNFQ","version":{"number":"8.19.21","build_flavor":"default","build_type":"zip","lucene_version":"9.12.2","minimum_wire_compatibility_version":"7.17.0","minimum_index_compatibility_version":"7.0.0"},"tagline":"You Know, for Search"}"#;
const LICENSE: &str = r#"{"license":{"status":"active","uid":"00000000-0000-0000-0000-000000000000","type":"basic","mode":"basic"}}"#;
