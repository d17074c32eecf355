//! Schema `fluentd`: the document that the stock Fluentd DaemonSet image makes of a CRI line
//! (`@timestamp, stream, logtag, message | log, docker.container_id, kubernetes.*, tag`).

use super::members::Members;
use crate::config::LabelDots;
use crate::record::Metadata;

/// From the comma after the message to the last field.
pub(super) fn push_tail(out: &mut Vec<u8>, metadata: &Metadata, include_tag: bool, dots: LabelDots) {
    let mut fields = Members::more(out);
    fields.object("docker", |docker| {
        docker.text("container_id", metadata.container_id.as_deref());
    });
    fields.object("kubernetes", |fields| push_kubernetes(fields, metadata, dots));
    if include_tag {
        fields.text("tag", Some(&tag(metadata)));
    }
}

fn push_kubernetes(fields: &mut Members<'_>, metadata: &Metadata, dots: LabelDots) {
    fields.text("container_name", Some(&metadata.container));
    fields.text("namespace_name", Some(&metadata.namespace));
    fields.text("pod_name", Some(&metadata.pod));
    fields.text("pod_id", Some(&metadata.pod_uid));
    fields.text("pod_ip", metadata.pod_ip.as_deref());
    fields.text("container_image", metadata.image.as_deref());
    fields.text("container_image_id", metadata.image_id.as_deref());
    fields.text("host", Some(&metadata.node));
    fields.pairs("labels", &metadata.labels, dots);
    fields.pairs("annotations", &metadata.annotations, dots);
    if let Some((kind, name)) = &metadata.owner {
        fields.object("owner", |owner| {
            owner.text("kind", Some(kind));
            owner.text("name", Some(name));
        });
    }
    fields.text("deployment_name", metadata.deployment.as_deref());
    fields.text("namespace_id", metadata.namespace_uid.as_deref());
    fields.pairs("namespace_labels", &metadata.namespace_labels, dots);
}

/// The tag that Fluentd derives from the name of the link in `/var/log/containers`.
fn tag(metadata: &Metadata) -> String {
    let Metadata {
        pod,
        namespace,
        container,
        ..
    } = metadata;
    let id = metadata
        .container_id
        .as_deref()
        .map(|id| format!("-{id}"))
        .unwrap_or_default();
    format!("kubernetes.var.log.containers.{pod}_{namespace}_{container}{id}.log")
}
