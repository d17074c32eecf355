//! The fields of our documents: one row for each fact, with its name in every schema.
//!
//! Everything that speaks of fields comes from these rows: what an application may not overwrite, what a reduced
//! document keeps, the index templates, and which name of one schema means which of another. Names as Elastic's
//! Kubernetes integration (`ecs`) and the OpenTelemetry collector (`otel`) write them.

use crate::config::Schema;

/// What a field holds, for whoever maps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A time with nine fraction digits, of 1970 to 2262.
    Nanos,
    /// A short text that is searched as a whole, or several.
    Keyword,
    /// The same in all documents of an index: the server may keep it once.
    Constant,
    /// A text that is searched by its words.
    Text,
    /// A whole number.
    Long,
    /// An IPv4 or IPv6 address.
    Ip,
    /// Any number of members whose names others choose, each a keyword: labels. In `otel` the path is a prefix of their
    /// names, in the others an object.
    Keywords,
    /// Any JSON object that an application wrote: as one field, because nobody knows its members.
    Flattened,
    /// A text of any length that is kept and shown, and not searched.
    Unindexed,
}

/// A field of the documents of one schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its place: in `otel`, everything after `attributes.` and `resource.attributes.` is one key with dots in it;
    /// in the others each dot is a step into an object.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether a reduced document keeps it: the time, the message, and whose it is.
    pub is_identity: bool,
}

/// One fact and its names in `fluentd`, `ecs` and `otel`; a schema without the fact has an empty name.
struct Row {
    kind: Kind,
    is_identity: bool,
    names: [&'static str; 3],
}

const fn identity(kind: Kind, names: [&'static str; 3]) -> Row {
    Row {
        kind,
        is_identity: true,
        names,
    }
}

const fn more(kind: Kind, names: [&'static str; 3]) -> Row {
    Row {
        kind,
        is_identity: false,
        names,
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The record.
    identity(Kind::Nanos, ["@timestamp", "@timestamp", "@timestamp"]),
    identity(Kind::Text, ["message", "message", "body.text"]),
    // With `message_key: log`.
    identity(Kind::Text, ["log", "", ""]),
    identity(Kind::Keyword, ["stream", "stream", "attributes.log.iostream"]),
    identity(Kind::Keyword, ["logtag", "", ""]),
    more(Kind::Nanos, ["", "event.created", "observed_timestamp"]),
    more(Kind::Constant, ["", "event.dataset", ""]),
    more(Kind::Keyword, ["", "log.level", "severity_text"]),
    more(Kind::Long, ["", "", "severity_number"]),
    identity(Kind::Long, ["", "log.offset", ""]),
    identity(Kind::Keyword, ["", "log.file.path", "attributes.log.file.path"]),
    more(Kind::Flattened, ["parsed", "app", "body.structured"]),
    // The container.
    identity(Kind::Keyword, ["docker.container_id", "container.id", "resource.attributes.container.id"]),
    more(Kind::Keyword, ["", "container.runtime", "resource.attributes.container.runtime"]),
    identity(Kind::Keyword, ["kubernetes.container_name", "kubernetes.container.name", "resource.attributes.k8s.container.name"]),
    more(Kind::Keyword, ["kubernetes.container_image", "container.image.name", "resource.attributes.container.image.name"]),
    more(Kind::Keyword, ["", "", "resource.attributes.container.image.tags"]),
    more(Kind::Keyword, ["kubernetes.container_image_id", "container.image.hash.all", "resource.attributes.container.image.repo_digests"]),
    // The pod and its node.
    identity(Kind::Keyword, ["kubernetes.pod_name", "kubernetes.pod.name", "resource.attributes.k8s.pod.name"]),
    identity(Kind::Keyword, ["kubernetes.pod_id", "kubernetes.pod.uid", "resource.attributes.k8s.pod.uid"]),
    more(Kind::Ip, ["kubernetes.pod_ip", "kubernetes.pod.ip", "resource.attributes.k8s.pod.ip"]),
    identity(Kind::Keyword, ["kubernetes.host", "kubernetes.node.name", "resource.attributes.k8s.node.name"]),
    identity(Kind::Keyword, ["", "host.name", "resource.attributes.host.name"]),
    more(Kind::Keywords, ["kubernetes.labels", "kubernetes.labels", "resource.attributes.k8s.pod.label"]),
    more(Kind::Keywords, ["kubernetes.annotations", "kubernetes.annotations", "resource.attributes.k8s.pod.annotation"]),
    // Its workload: of a kind that has no field of its own, the owner.
    more(Kind::Keyword, ["kubernetes.deployment_name", "kubernetes.deployment.name", "resource.attributes.k8s.deployment.name"]),
    more(Kind::Keyword, ["", "kubernetes.replicaset.name", "resource.attributes.k8s.replicaset.name"]),
    more(Kind::Keyword, ["", "kubernetes.statefulset.name", "resource.attributes.k8s.statefulset.name"]),
    more(Kind::Keyword, ["", "kubernetes.daemonset.name", "resource.attributes.k8s.daemonset.name"]),
    more(Kind::Keyword, ["", "kubernetes.job.name", "resource.attributes.k8s.job.name"]),
    more(Kind::Keyword, ["kubernetes.owner.kind", "kubernetes.owner.kind", "resource.attributes.k8s.owner.kind"]),
    more(Kind::Keyword, ["kubernetes.owner.name", "kubernetes.owner.name", "resource.attributes.k8s.owner.name"]),
    // Its namespace.
    identity(Kind::Keyword, ["kubernetes.namespace_name", "kubernetes.namespace", "resource.attributes.k8s.namespace.name"]),
    more(Kind::Keyword, ["kubernetes.namespace_id", "kubernetes.namespace_uid", "resource.attributes.k8s.namespace.uid"]),
    more(Kind::Keywords, ["kubernetes.namespace_labels", "kubernetes.namespace_labels", "resource.attributes.k8s.namespace.label"]),
    // Where the document belongs, and who made it.
    identity(Kind::Constant, ["", "data_stream.type", "data_stream.type"]),
    identity(Kind::Constant, ["", "data_stream.dataset", "data_stream.dataset"]),
    identity(Kind::Constant, ["", "data_stream.namespace", "data_stream.namespace"]),
    identity(Kind::Keyword, ["tag", "", ""]),
    more(Kind::Keyword, ["", "ecs.version", ""]),
    more(Kind::Keyword, ["", "agent.type", "scope.name"]),
    more(Kind::Keyword, ["", "agent.version", "scope.version"]),
    more(Kind::Keyword, ["", "agent.name", ""]),
    // What was unusual.
    more(Kind::Keyword, ["longshore.flags", "longshore.flags", "attributes.longshore.flags"]),
    identity(Kind::Long, ["longshore.skipped_bytes", "longshore.skipped_bytes", "attributes.longshore.skipped_bytes"]),
    identity(Kind::Keyword, ["longshore.timestamp", "longshore.timestamp", "attributes.longshore.timestamp"]),
    more(Kind::Keyword, ["longshore.refused", "longshore.refused", "attributes.longshore.refused"]),
    more(Kind::Unindexed, ["longshore.original", "longshore.original", "attributes.longshore.original"]),
    more(Kind::Keyword, ["_conflict.field", "_conflict.field", "attributes._conflict.field"]),
    more(Kind::Unindexed, ["_conflict.value", "_conflict.value", "attributes._conflict.value"]),
];

/// Fields of the server about a document, which cannot be in it.
const SERVERS: [&str; 12] = [
    "_doc_count",
    "_field_names",
    "_id",
    "_ignored",
    "_index",
    "_nested_path",
    "_routing",
    "_seq_no",
    "_source",
    "_tier",
    "_type",
    "_version",
];

const fn column(schema: Schema) -> usize {
    match schema {
        Schema::Fluentd => 0,
        Schema::Ecs => 1,
        Schema::Otel => 2,
    }
}

/// All fields that documents of a schema can have, apart from what applications write.
pub fn fields(schema: Schema) -> impl Iterator<Item = Field> {
    let fields = ROWS.iter().map(move |row| Field {
        path: row.names[column(schema)],
        kind: row.kind,
        is_identity: row.is_identity,
    });
    fields.filter(|field| !field.path.is_empty())
}

/// The facts that two schemas have by different names: of the one, of the other.
pub fn renamed(from: Schema, to: Schema) -> impl Iterator<Item = (&'static str, &'static str)> {
    let pairs = ROWS
        .iter()
        .map(move |row| (row.names[column(from)], row.names[column(to)]));
    pairs.filter(|(from, to)| !from.is_empty() && !to.is_empty() && from != to)
}

/// What each fact is called in `fluentd`, `ecs` and `otel`, in the order of the documents; empty where there is none.
pub fn names() -> impl Iterator<Item = [&'static str; 3]> {
    ROWS.iter().map(|row| row.names)
}

/// The keys that lead to a field: attributes are single keys with dots in them.
pub fn steps(path: &str) -> impl Iterator<Item = &str> {
    let (objects, key) = ["resource.attributes.", "attributes."]
        .into_iter()
        .find_map(|objects| Some((objects, path.strip_prefix(objects)?)))
        .map_or((path, None), |(objects, key)| {
            (objects.trim_end_matches('.'), Some(key))
        });
    objects.split('.').chain(key)
}

/// What the keys of an application's members may not begin with, up to their first dot, to stand beside our fields.
///
/// A server reads dots in keys as steps into objects, so `kubernetes.pod_name` is a field of ours, too. In `otel` it also
/// shows attributes without their objects, so these names are ours as well, and `message` is another name of the text.
/// At the top of a document a server refuses its own names, or, with `_doc_count`, takes them for more than a field.
pub fn reserved(schema: Schema) -> Vec<&'static str> {
    let mut heads: Vec<&str> = fields(schema)
        .filter_map(|field| steps(field.path).next())
        .collect();
    if schema == Schema::Otel {
        let attributes = fields(schema).filter(|field| field.path.contains("attributes."));
        let keys = attributes.filter_map(|field| steps(field.path).last());
        heads.extend(keys.filter_map(|key| key.split('.').next()));
        heads.push("message");
    } else {
        heads.extend(SERVERS);
    }
    heads.sort_unstable();
    heads.dedup();
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Schema; 3] = [Schema::Fluentd, Schema::Ecs, Schema::Otel];

    #[test]
    fn a_name_means_one_thing_and_none_is_part_of_another() {
        for schema in ALL {
            let paths: Vec<&str> = fields(schema).map(|field| field.path).collect();
            for (at, path) in paths.iter().enumerate() {
                let others = paths.iter().enumerate().filter(|(other, _)| *other != at);
                for (_, other) in others {
                    assert_ne!(path, other);
                    assert!(
                        !other.starts_with(&format!("{path}.")),
                        "{schema:?}: {other} lies within {path}, which is no object"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_ours_is_reserved() {
        let mut fluentd = vec![
            "@timestamp",
            "_conflict",
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
        fluentd.extend(SERVERS);
        fluentd.sort_unstable();
        assert_eq!(reserved(Schema::Fluentd), fluentd);
        assert!(reserved(Schema::Ecs).contains(&"_id") && !reserved(Schema::Otel).contains(&"_id"));
        for (schema, heads) in [
            (Schema::Ecs, ["app", "log", "host", "data_stream", "container"]),
            (Schema::Otel, ["k8s", "log", "host", "message", "body"]),
        ] {
            let reserved = reserved(schema);
            assert!(
                heads.iter().all(|head| reserved.contains(head)),
                "{schema:?}: {reserved:?}"
            );
            assert!(!reserved.contains(&"name"), "{schema:?}");
        }
    }

    #[test]
    fn attributes_are_single_keys() {
        let steps = |path| steps(path).collect::<Vec<_>>();
        assert_eq!(steps("kubernetes.pod.name"), ["kubernetes", "pod", "name"]);
        assert_eq!(steps("body.text"), ["body", "text"]);
        assert_eq!(steps("attributes.log.iostream"), ["attributes", "log.iostream"]);
        let pod = steps("resource.attributes.k8s.pod.name");
        assert_eq!(pod, ["resource", "attributes", "k8s.pod.name"]);
    }

    #[test]
    fn names_of_one_schema_lead_to_those_of_another() {
        let to_ecs: Vec<_> = renamed(Schema::Fluentd, Schema::Ecs).collect();
        assert!(to_ecs.contains(&("kubernetes.pod_name", "kubernetes.pod.name")));
        assert!(to_ecs.contains(&("docker.container_id", "container.id")));
        // What has the same name, or none, needs no other.
        assert!(!to_ecs.iter().any(|(from, _)| ["message", "tag"].contains(from)));
        assert!(renamed(Schema::Otel, Schema::Fluentd).any(|pair| pair == ("body.text", "message")));
    }
}
