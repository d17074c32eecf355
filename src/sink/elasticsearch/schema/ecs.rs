//! Schema `ecs`: the Elastic Common Schema, with the names that Elastic's Kubernetes integration gives to container logs.

use super::members::Members;
use super::workload;
use crate::config::{DataStream, LabelDots};
use crate::record::Metadata;

/// The version of the Elastic Common Schema whose names these are.
const ECS_VERSION: &str = "8.11.0";

/// From the comma after `log.offset` to the last field: the object `log` is open.
pub(super) fn push_tail(
    out: &mut Vec<u8>,
    metadata: &Metadata,
    log_path: &str,
    stream: &DataStream,
    dots: LabelDots,
) {
    Members::more(out).object("file", |file| file.text("path", Some(log_path)));
    out.push(b'}');
    let mut fields = Members::more(out);
    let node = Some(metadata.node.as_str());
    fields.object("host", |host| host.text("name", node));
    fields.object("container", |container| {
        container.text("id", metadata.container_id.as_deref());
        container.text("runtime", metadata.runtime.as_deref());
        container.object("image", |image| {
            image.text("name", metadata.image.as_deref());
            let digest = metadata.image_id.as_deref().and_then(digest);
            image.object("hash", |hash| hash.list("all", digest));
        });
    });
    fields.object("kubernetes", |fields| push_kubernetes(fields, metadata, dots));
    push_data_stream(&mut fields, stream);
    fields.object("ecs", |ecs| ecs.text("version", Some(ECS_VERSION)));
    fields.object("agent", |agent| {
        agent.text("type", Some(env!("CARGO_PKG_NAME")));
        agent.text("version", Some(env!("CARGO_PKG_VERSION")));
        agent.text("name", node);
    });
}

/// Where the document belongs, as its index is named.
pub(super) fn push_data_stream(fields: &mut Members<'_>, stream: &DataStream) {
    fields.object("data_stream", |fields| {
        fields.text("type", Some("logs"));
        fields.text("dataset", Some(&stream.dataset));
        fields.text("namespace", Some(&stream.namespace));
    });
}

fn push_kubernetes(fields: &mut Members<'_>, metadata: &Metadata, dots: LabelDots) {
    let name = |fields: &mut Members<'_>, key: &str, name: Option<&str>| {
        fields.object(key, |object| object.text("name", name));
    };
    fields.text("namespace", Some(&metadata.namespace));
    fields.text("namespace_uid", metadata.namespace_uid.as_deref());
    fields.pairs("namespace_labels", &metadata.namespace_labels, dots);
    name(fields, "node", Some(&metadata.node));
    fields.object("pod", |pod| {
        pod.text("name", Some(&metadata.pod));
        pod.text("uid", Some(&metadata.pod_uid));
        pod.text("ip", metadata.pod_ip.as_deref());
    });
    name(fields, "container", Some(&metadata.container));
    name(fields, "deployment", metadata.deployment.as_deref());
    if let Some((kind, owner)) = &metadata.owner {
        match workload(kind) {
            Some(workload) => name(fields, workload, Some(owner)),
            None => fields.object("owner", |fields| {
                fields.text("kind", Some(kind));
                fields.text("name", Some(owner));
            }),
        }
    }
    fields.pairs("labels", &metadata.labels, dots);
    fields.pairs("annotations", &metadata.annotations, dots);
}

/// `docker.io/library/nginx@sha256:5e5e` → `sha256:5e5e`, and the same when it stands alone.
fn digest(image_id: &str) -> Option<&str> {
    let id = image_id.split_once("://").map_or(image_id, |(_, id)| id);
    let digest = id.split_once('@').map_or(id, |(_, digest)| digest);
    (digest.contains(':') && !digest.contains('/')).then_some(digest)
}
