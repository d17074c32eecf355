use super::*;
use serde_json::{Value, json};

fn fluentd(label_dots: LabelDots) -> Layout {
    Layout::Fluentd {
        message_key: MessageKey::Message,
        include_tag: true,
        label_dots,
    }
}

fn value(metadata: &Metadata, layout: &Layout) -> Value {
    let tail = fragment(metadata, layout, "/logs/0.log").tail;
    let open: &[u8] = match layout {
        Layout::Fluentd { .. } => b"{\"a\":1",
        Layout::Ecs { .. } => b"{\"log\":{\"offset\":1",
        Layout::Otel { .. } => b"{\"attributes\":{",
    };
    let text = [open, &tail, b"}"].concat();
    serde_json::from_slice(&text)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)))
}

fn stream(dataset: &str) -> DataStream {
    DataStream {
        dataset: dataset.into(),
        namespace: "prod".into(),
    }
}

fn ecs() -> Layout {
    Layout::Ecs {
        stream: stream("k8s.container"),
        label_dots: LabelDots::Replace,
    }
}

fn otel() -> Layout {
    Layout::Otel {
        stream: stream("k8s.otel"),
    }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

fn named() -> Metadata {
    Metadata {
        namespace: "shop".into(),
        pod: "web-1".into(),
        pod_uid: "u".into(),
        container: "nginx".into(),
        node: "node-a".into(),
        ..Metadata::default()
    }
}

#[test]
fn the_path_alone_gives_the_four_names() {
    assert_eq!(
        value(&named(), &fluentd(LabelDots::Replace)),
        json!({"a": 1, "kubernetes": {"container_name": "nginx", "namespace_name": "shop",
            "pod_name": "web-1", "pod_id": "u", "host": "node-a"},
            "tag": "kubernetes.var.log.containers.web-1_shop_nginx.log"})
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        value(&named(), &ecs()),
        json!({"log": {"offset": 1, "file": {"path": "/logs/0.log"}}, "host": {"name": "node-a"},
            "kubernetes": {"namespace": "shop", "node": {"name": "node-a"}, "pod": {"name": "web-1", "uid": "u"},
                "container": {"name": "nginx"}},
            "data_stream": {"type": "logs", "dataset": "k8s.container", "namespace": "prod"},
            "ecs": {"version": "8.11.0"}, "agent": {"type": "longshore", "version": version, "name": "node-a"}})
    );
    assert_eq!(
        value(&named(), &otel()),
        json!({"attributes": {"log.file.path": "/logs/0.log"},
            "resource": {"attributes": {"k8s.namespace.name": "shop", "k8s.pod.name": "web-1", "k8s.pod.uid": "u",
                "k8s.container.name": "nginx", "k8s.node.name": "node-a", "host.name": "node-a"}},
            "scope": {"name": "longshore", "version": version},
            "data_stream": {"type": "logs", "dataset": "k8s.otel", "namespace": "prod"}})
    );
}

#[test]
fn what_nobody_knows_leaves_no_empty_object() {
    assert_eq!(value(&Metadata::default(), &ecs()).get("kubernetes"), None);
    assert_eq!(value(&Metadata::default(), &otel()).get("resource"), None);
}

#[test]
fn dots_in_labels_are_replaced_and_collisions_numbered() {
    let labels = vec![
        pair("a.b", "1"),
        pair("a_b", "2"),
        pair("app.kubernetes.io/name", "3"),
        pair("app", ""),
    ];
    let metadata = Metadata {
        labels,
        ..Metadata::default()
    };
    let expected = json!({"a_b": "2", "a_b_2": "1", "app_kubernetes_io/name": "3", "app": ""});
    for layout in [fluentd(LabelDots::Replace), ecs()] {
        assert_eq!(value(&metadata, &layout)["kubernetes"]["labels"], expected);
    }
    let kept = &value(&metadata, &fluentd(LabelDots::Keep))["kubernetes"]["labels"];
    assert_eq!(kept["app.kubernetes.io/name"], "3");
    let attributes = &value(&metadata, &otel())["resource"]["attributes"];
    assert_eq!(attributes["k8s.pod.label.app.kubernetes.io/name"], "3");
    assert_eq!(attributes["k8s.pod.label.a.b"], "1");
}

#[test]
fn images_are_told_as_each_schema_wants_them() {
    let image = |image: &str, id: &str| Metadata {
        image: Some(image.into()),
        image_id: Some(id.into()),
        ..Metadata::default()
    };
    for (name, id, short, tags, hash, digests) in [
        (
            "reg:5000/shop/cart:1.42",
            "reg:5000/shop/cart@sha256:ab",
            "reg:5000/shop/cart",
            json!(["1.42"]),
            json!(["sha256:ab"]),
            json!(["reg:5000/shop/cart@sha256:ab"]),
        ),
        (
            "reg:5000/cart",
            "sha256:ab",
            "reg:5000/cart",
            Value::Null,
            json!(["sha256:ab"]),
            Value::Null,
        ),
        (
            "cart@sha256:cd",
            "docker-pullable://cart@sha256:cd",
            "cart",
            Value::Null,
            json!(["sha256:cd"]),
            json!(["cart@sha256:cd"]),
        ),
        (
            "cart",
            "docker.io/library/cart:1",
            "cart",
            Value::Null,
            Value::Null,
            Value::Null,
        ),
    ] {
        let ecs = &value(&image(name, id), &ecs())["container"]["image"];
        assert_eq!(
            (&ecs["name"], &ecs["hash"]["all"]),
            (&name.into(), &hash),
            "{name}"
        );
        let otel = &value(&image(name, id), &otel())["resource"]["attributes"];
        assert_eq!(otel["container.image.name"], short);
        assert_eq!(otel["container.image.tags"], tags, "{name}");
        assert_eq!(otel["container.image.repo_digests"], digests, "{id}");
    }
}

#[test]
fn a_workload_has_the_field_of_its_kind_and_others_are_owners() {
    let owned = |kind: &str| Metadata {
        owner: Some((kind.into(), "o".into())),
        ..Metadata::default()
    };
    for kind in ["ReplicaSet", "StatefulSet", "DaemonSet", "Job"] {
        let key = kind.to_lowercase();
        assert_eq!(
            value(&owned(kind), &ecs())["kubernetes"],
            json!({key.clone(): {"name": "o"}})
        );
        let attributes = value(&owned(kind), &otel())["resource"]["attributes"].clone();
        assert_eq!(attributes, json!({format!("k8s.{key}.name"): "o"}));
    }
    let owner = json!({"kind": "Rollout", "name": "o"});
    assert_eq!(
        value(&owned("Rollout"), &ecs())["kubernetes"],
        json!({"owner": owner})
    );
    let attributes = value(&owned("Rollout"), &otel())["resource"]["attributes"].clone();
    assert_eq!(
        attributes,
        json!({"k8s.owner.kind": "Rollout", "k8s.owner.name": "o"})
    );
}
