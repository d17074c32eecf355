//! Container metadata enters, the ready-made tail of its documents leaves.
//!
//! Schema `fluentd`: the document that the stock Fluentd DaemonSet image makes of a CRI line
//! (`@timestamp, stream, logtag, message | log, docker.container_id, kubernetes.*, tag`). The
//! fields before the message differ per line and are written by [`super::encode`]; everything after
//! it is the same for a container instance until its metadata changes, and is made here once.

use crate::codec::escape::push_string;
use crate::config::{LabelDots, MessageKey};
use crate::record::Metadata;

/// Top-level keys of our documents: fields of an application's JSON never overwrite them.
pub const RESERVED_KEYS: [&str; 10] = [
    "@timestamp",
    "docker",
    "kubernetes",
    "log",
    "logtag",
    "longshore",
    "message",
    "parsed",
    "stream",
    "tag",
];

/// How documents are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The field that holds the message.
    pub message_key: MessageKey,
    /// Whether documents carry Fluentd's `tag`.
    pub include_tag: bool,
    /// What happens to dots in label keys.
    pub label_dots: LabelDots,
}

/// The part of a document that is the same for all records of a container instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// From the comma after the message to the last field, without the closing brace.
    pub tail: Vec<u8>,
    /// The metadata had not arrived; documents say so.
    pub metadata_missing: bool,
}

/// Makes the fragment of a container instance.
pub fn fragment(metadata: &Metadata, layout: Layout) -> Fragment {
    let mut out = Vec::with_capacity(768);
    if let Some(id) = &metadata.container_id {
        out.extend_from_slice(b",\"docker\":{\"container_id\":");
        push_string(&mut out, id);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"kubernetes\":{");
    push_kubernetes(&mut out, metadata, layout);
    out.push(b'}');
    if layout.include_tag {
        out.extend_from_slice(b",\"tag\":");
        push_string(&mut out, &tag(metadata));
    }
    // There is one for each container instance.
    out.shrink_to_fit();
    Fragment {
        tail: out,
        metadata_missing: metadata.missing,
    }
}

fn push_kubernetes(out: &mut Vec<u8>, metadata: &Metadata, layout: Layout) {
    let mut fields = Fields { out, first: true };
    fields.text("container_name", Some(&metadata.container));
    fields.text("namespace_name", Some(&metadata.namespace));
    fields.text("pod_name", Some(&metadata.pod));
    fields.text("pod_id", Some(&metadata.pod_uid));
    fields.text("pod_ip", metadata.pod_ip.as_deref());
    fields.text("container_image", metadata.image.as_deref());
    fields.text("container_image_id", metadata.image_id.as_deref());
    fields.text(
        "host",
        Some(&metadata.node)
            .filter(|node| !node.is_empty())
            .map(String::as_str),
    );
    fields.pairs("labels", &metadata.labels, layout.label_dots);
    fields.pairs("annotations", &metadata.annotations, layout.label_dots);
    if let Some((kind, name)) = &metadata.owner {
        fields.pairs(
            "owner",
            &[("kind".into(), kind.clone()), ("name".into(), name.clone())],
            LabelDots::Keep,
        );
    }
    fields.text("deployment_name", metadata.deployment.as_deref());
    fields.text("namespace_id", metadata.namespace_uid.as_deref());
    fields.pairs("namespace_labels", &metadata.namespace_labels, layout.label_dots);
}

/// Members of one JSON object.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Fields<'_> {
    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        push_string(self.out, key);
        self.out.push(b':');
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(key);
            push_string(self.out, value);
        }
    }

    fn pairs(&mut self, key: &str, pairs: &[(String, String)], dots: LabelDots) {
        if pairs.is_empty() {
            return;
        }
        self.key(key);
        self.out.push(b'{');
        let mut inner = Fields {
            out: self.out,
            first: true,
        };
        for (key, value) in label_keys(pairs, dots) {
            inner.text(&key, Some(value));
        }
        self.out.push(b'}');
    }
}

/// Keys as they stand in documents, each once: where replacing dots makes two keys equal, the one
/// that was written so keeps it and the other gets a number.
fn label_keys(pairs: &[(String, String)], dots: LabelDots) -> Vec<(String, &str)> {
    let mut keys: Vec<(String, &str)> = Vec::with_capacity(pairs.len());
    let literal = |key: &str| dots == LabelDots::Keep || !key.contains('.');
    for (key, value) in pairs.iter().filter(|(key, _)| literal(key)) {
        keys.push((key.clone(), value));
    }
    for (key, value) in pairs.iter().filter(|(key, _)| !literal(key)) {
        let plain = key.replace('.', "_");
        let mut name = plain.clone();
        let mut number = 2;
        while keys.iter().any(|(taken, _)| *taken == name) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        keys.push((name, value));
    }
    keys
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        message_key: MessageKey::Message,
        include_tag: true,
        label_dots: LabelDots::Replace,
    };

    fn value(metadata: &Metadata, layout: Layout) -> serde_json::Value {
        let tail = fragment(metadata, layout).tail;
        let text = [b"{\"a\":1".as_slice(), &tail, b"}"].concat();
        serde_json::from_slice(&text).unwrap()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn the_path_alone_gives_the_four_names() {
        let metadata = Metadata {
            namespace: "shop".into(),
            pod: "web-1".into(),
            pod_uid: "u".into(),
            container: "nginx".into(),
            node: "node-a".into(),
            ..Metadata::default()
        };
        assert_eq!(
            value(&metadata, LAYOUT),
            serde_json::json!({"a": 1, "kubernetes": {"container_name": "nginx", "namespace_name": "shop",
                "pod_name": "web-1", "pod_id": "u", "host": "node-a"},
                "tag": "kubernetes.var.log.containers.web-1_shop_nginx.log"})
        );
    }

    #[test]
    fn dots_in_labels_are_replaced_and_collisions_numbered() {
        let labels = vec![
            pair("a.b", "1"),
            pair("a_b", "2"),
            pair("app.kubernetes.io/name", "3"),
            pair("app", "4"),
        ];
        let metadata = Metadata {
            labels,
            ..Metadata::default()
        };
        let replaced = &value(&metadata, LAYOUT)["kubernetes"]["labels"];
        let expected =
            serde_json::json!({"a_b": "2", "a_b_2": "1", "app_kubernetes_io/name": "3", "app": "4"});
        assert_eq!(replaced, &expected);
        let kept = &value(
            &metadata,
            Layout {
                label_dots: LabelDots::Keep,
                ..LAYOUT
            },
        )["kubernetes"]["labels"];
        assert_eq!(kept["app.kubernetes.io/name"], "3");
    }
}
