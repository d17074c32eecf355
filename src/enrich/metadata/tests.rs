use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const LIST: &str = include_str!("../../../tests/golden/kube/pods-list.json");
const WATCH: &str = include_str!("../../../tests/golden/kube/watch-pods.jsonl");
const NAMESPACES: &str = include_str!("../../../tests/golden/kube/namespaces-list.json");

fn everything() -> Selection {
    Selection {
        labels: true,
        annotations: vec![Glob::new("*")],
        namespace_labels: true,
    }
}

fn record(pod: Value) -> PodRecord {
    PodRecord::new(serde_json::from_value(pod).unwrap(), &everything()).unwrap()
}

fn pod(parts: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1"}});
    for (key, value) in parts.as_object().unwrap() {
        match pod[key].as_object_mut() {
            Some(there) => there.extend(value.as_object().unwrap().clone()),
            None => pod[key] = value.clone(),
        }
    }
    pod
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// A pod whose container `app` has the given status.
fn with_status(status: Value) -> PodRecord {
    let mut status = status;
    status["name"] = "app".into();
    record(pod(json!({
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        "status": {"containerStatuses": [status]},
    })))
}

#[test]
fn a_list_of_a_real_server_is_read() {
    let list: PodList = serde_json::from_str(LIST).unwrap();
    assert!(!list.resource_version().is_empty());
    let pods: Vec<_> = list
        .items
        .into_iter()
        .filter_map(|pod| PodRecord::new(pod, &everything()))
        .collect();
    let [pod] = &pods[..] else {
        panic!("one pod, not {}", pods.len())
    };
    let metadata = pod.metadata("sidecar", 0);
    assert_eq!(
        (metadata.namespace.as_str(), metadata.pod.as_str()),
        ("shop", "web-0")
    );
    assert_eq!(metadata.pod_uid, "36eda95a-1a50-4e01-999e-48ba509b7d29");
    assert_eq!(
        metadata.labels,
        [pair("app", "web-0"), pair("app.kubernetes.io/name", "web-0")]
    );
    assert_eq!(metadata.annotations, [pair("example.com/team", "blue")]);
    // It has no status yet: the image is that of the spec, and more is to come.
    assert_eq!(
        (metadata.image.as_deref(), metadata.container_id),
        (Some("localhost/side:1"), None)
    );
    assert!(!pod.has_told("sidecar", 0));
}

#[test]
fn the_watch_of_a_real_server_tells_of_start_and_restart() {
    let events: Vec<Value> = WATCH
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let pods: Vec<PodRecord> = events
        .iter()
        .filter(|event| event["type"] != "BOOKMARK")
        .map(|event| record(event["object"].clone()))
        .collect();
    let told: Vec<_> = pods
        .iter()
        .map(|pod| (pod.has_told("app", 0), pod.has_told("app", 1)))
        .collect();
    assert_eq!(told[..3], [(false, false), (true, false), (true, true)]);
    let id = pods[1].metadata("app", 0).container_id.unwrap();
    assert_eq!(id, "1".repeat(64), "the scheme is no part of the id");
    assert_eq!(
        pods[1].metadata("app", 0).image_id.as_deref(),
        Some("localhost/app@sha256:0")
    );
    let bookmark = events.iter().find(|event| event["type"] == "BOOKMARK").unwrap();
    let object: PodObject = serde_json::from_value(bookmark["object"].clone()).unwrap();
    assert_eq!(object.resource_version(), "214");
    assert_eq!(
        PodRecord::new(object, &everything()),
        None,
        "a bookmark is no pod"
    );
}

#[test]
fn namespaces_of_a_real_server_are_read() {
    let list: Value = serde_json::from_str(NAMESPACES).unwrap();
    let shop = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["metadata"]["name"] == "shop")
        .unwrap();
    let object: NamespaceObject = serde_json::from_value(shop.clone()).unwrap();
    let mut metadata = Metadata::default();
    NamespaceRecord::from(object).add_to(&mut metadata);
    assert_eq!(
        metadata.namespace_uid.as_deref(),
        shop["metadata"]["uid"].as_str()
    );
    assert!(
        metadata
            .namespace_labels
            .contains(&pair("kubernetes.io/metadata.name", "shop"))
    );
}

#[test]
fn ids_go_by_restart_number() {
    let pod = with_status(json!({
        "restartCount": 3, "containerID": "cri-o://now", "image": "app:1", "imageID": "app@sha256:1",
        "lastState": {"terminated": {"containerID": "cri-o://before", "exitCode": 1}},
    }));
    let id = |restart| pod.metadata("app", restart).container_id;
    assert_eq!(
        (id(3).as_deref(), id(2).as_deref()),
        (Some("now"), Some("before"))
    );
    assert_eq!((id(1), id(4)), (None, None));
    // What is older is never told; what is newer will be.
    assert_eq!(
        [1, 2, 3, 4].map(|restart| pod.has_told("app", restart)),
        [true, true, true, false]
    );
    assert!(!pod.has_told("other", 0));
}

#[test]
fn a_crash_loop_names_the_same_instance_twice() {
    let waiting = json!({
        "restartCount": 3, "containerID": "docker://c3", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"containerID": "docker://c3"}},
    });
    let mut pod = with_status(waiting);
    assert_eq!(pod.metadata("app", 3).container_id.as_deref(), Some("c3"));
    assert_eq!(
        pod.metadata("app", 2).container_id,
        None,
        "c3 was never instance 2"
    );
    let running = json!({
        "restartCount": 2, "containerID": "docker://c2", "lastState": {"terminated": {"containerID": "docker://c1"}},
    });
    pod.inherit(&with_status(running));
    let id = |restart| pod.metadata("app", restart).container_id;
    assert_eq!(
        (id(3).as_deref(), id(2).as_deref(), id(1)),
        (Some("c3"), Some("c2"), None)
    );
}

#[test]
fn init_and_ephemeral_containers_are_found() {
    let pod = record(pod(json!({
        "spec": {
            "containers": null,
            "initContainers": [{"name": "prepare", "image": "busybox"}],
            "ephemeralContainers": [{"name": "debugger", "image": "busybox"}],
        },
        "status": {
            "initContainerStatuses": [{"name": "prepare", "containerID": "containerd://i"}],
            "ephemeralContainerStatuses": [{"name": "debugger", "containerID": "containerd://e"}],
        },
    })));
    assert_eq!(pod.metadata("prepare", 0).container_id.as_deref(), Some("i"));
    assert_eq!(pod.metadata("debugger", 0).container_id.as_deref(), Some("e"));
    assert_eq!(pod.metadata("debugger", 0).image.as_deref(), Some("busybox"));
}

#[test]
fn owners_and_the_deployment_behind_them() {
    let owned = |kind: &str, name: &str, labels: Value| {
        let owners =
            json!([{"kind": "Other", "name": "x"}, {"kind": kind, "name": name, "controller": true}]);
        let pod = record(pod(
            json!({"metadata": {"ownerReferences": owners, "labels": labels}}),
        ));
        let metadata = pod.metadata("app", 0);
        assert_eq!(metadata.owner, Some(pair(kind, name)));
        metadata.deployment
    };
    let hash = json!({"pod-template-hash": "5d4f8"});
    assert_eq!(
        owned("ReplicaSet", "web-5d4f8", hash.clone()).as_deref(),
        Some("web")
    );
    assert_eq!(
        owned("ReplicaSet", "web-5d4f8", json!({})),
        None,
        "a set that a person made"
    );
    assert_eq!(owned("ReplicaSet", "web-other", hash.clone()), None);
    assert_eq!(owned("ReplicaSet", "5d4f8", hash.clone()), None);
    assert_eq!(owned("StatefulSet", "web-5d4f8", hash), None);
}

#[test]
fn labels_can_be_left_out_without_losing_the_deployment() {
    let owners = json!([{"kind": "ReplicaSet", "name": "web-5d4f8", "controller": true}]);
    let object = pod(json!({"metadata": {
        "labels": {"pod-template-hash": "5d4f8"}, "ownerReferences": owners, "annotations": {"a": "1"},
    }}));
    let pod = PodRecord::new(serde_json::from_value(object).unwrap(), &Selection::default()).unwrap();
    let metadata = pod.metadata("app", 0);
    assert_eq!(metadata.deployment.as_deref(), Some("web"));
    assert!(metadata.labels.is_empty() && metadata.annotations.is_empty());
}

#[test]
fn a_static_pod_has_a_second_key() {
    let hash = "0123456789abcdef0123456789abcdef";
    let mirror = pod(
        json!({"metadata": {"annotations": {"kubernetes.io/config.hash": hash}}, "status": {"podIP": "10.0.0.7"}}),
    );
    let pod = record(mirror);
    assert_eq!(pod.config_hash.as_deref(), Some(hash));
    assert_eq!(pod.metadata("etcd", 0).pod_ip.as_deref(), Some("10.0.0.7"));
}

proptest! {
    #[test]
    fn labels_arrive_whole_and_annotations_as_selected(
        labels in proptest::collection::btree_map("[a-z./]{1,12}", "\\PC{0,12}", 0..8),
        annotations in proptest::collection::btree_map("[ab]{1,4}", "\\PC{0,12}", 0..8),
    ) {
        let object = pod(json!({"metadata": {"labels": labels, "annotations": annotations}}));
        let selection = Selection { annotations: vec![Glob::new("a*"), Glob::new("bb")], ..everything() };
        let record = PodRecord::new(serde_json::from_value(object).unwrap(), &selection).unwrap();
        let metadata = record.metadata("app", 0);
        prop_assert_eq!(metadata.labels, labels.into_iter().collect::<Vec<_>>());
        let wanted = |key: &str| key.starts_with('a') || key == "bb";
        let selected: Vec<_> = annotations.into_iter().filter(|(key, _)| wanted(key)).collect();
        prop_assert_eq!(metadata.annotations, selected);
    }
}
