//! Schema `otel`: what the OpenTelemetry collector's Elasticsearch exporter makes in its mode `otel`. The names of
//! attributes are single keys with dots in them, as OpenTelemetry's semantic conventions give them.

use super::ecs::push_data_stream;
use super::members::Members;
use super::workload;
use crate::codec::escape::push_string;
use crate::config::DataStream;
use crate::record::Metadata;

/// From the path, the last of the record's attributes, to the last field: the object `attributes` is open.
pub(super) fn push_tail(out: &mut Vec<u8>, metadata: &Metadata, log_path: &str, stream: &DataStream) {
    out.extend_from_slice(b"\"log.file.path\":");
    push_string(out, log_path);
    out.push(b'}');
    let mut fields = Members::more(out);
    fields.object("resource", |resource| {
        resource.object("attributes", |attributes| push_resource(attributes, metadata));
    });
    fields.object("scope", |scope| {
        scope.text("name", Some(env!("CARGO_PKG_NAME")));
        scope.text("version", Some(env!("CARGO_PKG_VERSION")));
    });
    push_data_stream(&mut fields, stream);
}

fn push_resource(attributes: &mut Members<'_>, metadata: &Metadata) {
    attributes.text("k8s.namespace.name", Some(&metadata.namespace));
    attributes.text("k8s.namespace.uid", metadata.namespace_uid.as_deref());
    attributes.prefixed("k8s.namespace.label", &metadata.namespace_labels);
    attributes.text("k8s.pod.name", Some(&metadata.pod));
    attributes.text("k8s.pod.uid", Some(&metadata.pod_uid));
    attributes.text("k8s.pod.ip", metadata.pod_ip.as_deref());
    attributes.text("k8s.container.name", Some(&metadata.container));
    attributes.text("k8s.node.name", Some(&metadata.node));
    attributes.text("k8s.deployment.name", metadata.deployment.as_deref());
    if let Some((kind, name)) = &metadata.owner {
        match workload(kind) {
            Some(workload) => attributes.text(&format!("k8s.{workload}.name"), Some(name)),
            None => {
                attributes.text("k8s.owner.kind", Some(kind));
                attributes.text("k8s.owner.name", Some(name));
            }
        }
    }
    attributes.prefixed("k8s.pod.label", &metadata.labels);
    attributes.prefixed("k8s.pod.annotation", &metadata.annotations);
    attributes.text("container.id", metadata.container_id.as_deref());
    attributes.text("container.runtime", metadata.runtime.as_deref());
    if let Some((name, tag)) = metadata.image.as_deref().map(name_and_tag) {
        attributes.text("container.image.name", Some(name));
        attributes.list("container.image.tags", tag);
    }
    let digest = metadata.image_id.as_deref().and_then(repository_digest);
    attributes.list("container.image.repo_digests", digest);
    attributes.text("host.name", Some(&metadata.node));
}

/// `registry:5000/shop/cart:1.42` → `registry:5000/shop/cart` and `1.42`; a digest is left out.
fn name_and_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

/// The image id without the scheme that old kubelets put before it, when it names a repository.
fn repository_digest(image_id: &str) -> Option<&str> {
    let id = image_id.split_once("://").map_or(image_id, |(_, id)| id);
    id.contains('@').then_some(id)
}
