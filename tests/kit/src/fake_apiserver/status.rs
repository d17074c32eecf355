//! The `Status` objects that a kube-apiserver refuses with, in its own words (compared with goldens in `tests.rs`).

use serde_json::{Value, json};

/// 401, for no token or a wrong one.
pub(super) fn unauthorized() -> Value {
    status("Unauthorized", "Unauthorized", 401)
}

/// 400, for a request that makes no sense to it.
pub(super) fn bad_request(message: &str) -> Value {
    status(message, "BadRequest", 400)
}

/// 404, for an object that is not there.
pub(super) fn not_found(resource: &str, name: &str) -> Value {
    let mut status = status(&format!("{resource} \"{name}\" not found"), "NotFound", 404);
    status["details"] = json!({ "name": name, "kind": resource });
    status
}

/// 410, for a `continue` from before the last compaction; `fresh` goes on without consistency.
pub(super) fn continue_expired(fresh: &str) -> Value {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a \
                   new list without the continue parameter, or use the continue token in this response to retrieve \
                   the remainder of the results. Continuing with the provided token results in an inconsistent list \
                   - objects that were created, modified, or deleted between the time the first chunk was returned \
                   and now may show up in the list.";
    let mut status = status(message, "Expired", 410);
    status["metadata"]["continue"] = fresh.into();
    status
}

/// The `ERROR` line of a watch from before the last compaction.
pub(super) fn watch_expired(wanted: u64, current: u64) -> Value {
    let message = format!("too old resource version: {wanted} ({current})");
    json!({ "type": "ERROR", "object": status(&message, "Expired", 410) })
}

/// 504, for a version that this server has not seen yet.
pub(super) fn too_new(wanted: u64, current: u64) -> Value {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut status = status(&message, "Timeout", 504);
    let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
    status["details"] = json!({ "causes": [cause], "retryAfterSeconds": 1 });
    status
}

fn status(message: &str, reason: &str, code: u16) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}
