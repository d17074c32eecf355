//! Pod objects as a kube-apiserver gives them, made from the few facts that a test cares about.
//!
//! The rest (phase, restart policy, creation time …) is filled in as for a running pod. The shape is compared with
//! goldens of a real server in `tests.rs` beside this file.

use serde_json::{Map, Value, json};

/// Begins a running pod without containers.
pub fn pod(namespace: &str, name: &str, uid: &str, node: &str) -> PodBuilder {
    PodBuilder {
        object: json!({
            "metadata": {
                "name": name, "namespace": namespace, "uid": uid, "generation": 1,
                "creationTimestamp": "2026-11-21T02:58:54Z",
            },
            "spec": {
                "containers": [], "nodeName": node, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "terminationGracePeriodSeconds": 30, "securityContext": {}, "schedulerName": "default-scheduler",
                "serviceAccountName": "default", "priority": 0, "enableServiceLinks": true,
                "preemptionPolicy": "PreemptLowerPriority",
            },
            "status": { "phase": "Running", "qosClass": "BestEffort", "startTime": "2026-11-21T02:58:54Z" },
        }),
    }
}

/// A pod in the making; see [`pod`]. It is a [`Value`] by [`PodBuilder::build`] or `into()`.
#[derive(Clone, Debug)]
pub struct PodBuilder {
    object: Value,
}

impl PodBuilder {
    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["labels"][key] = value.into();
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Adds the controlling owner, such as `("ReplicaSet", "web-5d4f8")`.
    #[must_use]
    pub fn owner(mut self, kind: &str, name: &str) -> Self {
        let api_version = match kind {
            "Job" | "CronJob" => "batch/v1",
            "Node" | "ReplicationController" => "v1",
            _ => "apps/v1",
        };
        let owner = json!({
            "apiVersion": api_version, "kind": kind, "name": name, "uid": format!("uid-of-{name}"),
            "controller": true, "blockOwnerDeletion": true,
        });
        push(&mut self.object["metadata"], "ownerReferences", owner);
        self
    }

    /// Adds a running container with its status. `container_id` carries its scheme: `containerd://…`.
    #[must_use]
    pub fn container(
        self,
        name: &str,
        image: &str,
        image_id: &str,
        container_id: &str,
        restart_count: u32,
    ) -> Self {
        self.add_container(
            ["containers", "containerStatuses"],
            [name, image, image_id, container_id],
            restart_count,
        )
    }

    /// Adds an init container; the arguments are those of [`PodBuilder::container`].
    #[must_use]
    pub fn init_container(
        self,
        name: &str,
        image: &str,
        image_id: &str,
        container_id: &str,
        restart_count: u32,
    ) -> Self {
        let lists = ["initContainers", "initContainerStatuses"];
        self.add_container(lists, [name, image, image_id, container_id], restart_count)
    }

    /// Gives the pod its address.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.object["status"]["podIP"] = ip.into();
        self.object["status"]["podIPs"] = json!([{ "ip": ip }]);
        self
    }

    /// Makes it the mirror of a static pod: its log directory on the node is named by `hash`, not by the uid.
    #[must_use]
    pub fn static_pod(self, hash: &str) -> Self {
        let node = self.object["spec"]["nodeName"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.annotation("kubernetes.io/config.hash", hash)
            .annotation("kubernetes.io/config.mirror", hash)
            .annotation("kubernetes.io/config.seen", "2026-11-21T02:58:50.000000000Z")
            .annotation("kubernetes.io/config.source", "file")
            .owner("Node", &node)
    }

    /// The finished object, as an item of a list (without `kind` and `apiVersion`).
    pub fn build(self) -> Value {
        self.object
    }

    fn add_container(mut self, [specs, statuses]: [&str; 2], facts: [&str; 4], restart_count: u32) -> Self {
        let [name, image, image_id, container_id] = facts;
        let spec = json!({
            "name": name, "image": image, "resources": {}, "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
        });
        let status = json!({
            "name": name, "image": image, "imageID": image_id, "containerID": container_id,
            "restartCount": restart_count, "ready": true, "started": true, "lastState": {},
            "state": { "running": { "startedAt": "2026-11-21T02:58:55Z" } },
        });
        push(&mut self.object["spec"], specs, spec);
        push(&mut self.object["status"], statuses, status);
        self
    }
}

impl From<PodBuilder> for Value {
    fn from(pod: PodBuilder) -> Self {
        pod.build()
    }
}

/// A namespace as the control plane makes it.
pub(super) fn namespace(name: &str, labels: &[(&str, &str)]) -> Value {
    let mut all = Map::from_iter([("kubernetes.io/metadata.name".to_owned(), name.into())]);
    all.extend(
        labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value))),
    );
    json!({
        "metadata": {
            "name": name, "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-11-21T02:58:52Z", "labels": all,
        },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

fn push(object: &mut Value, list: &str, item: Value) {
    match object[list].as_array_mut() {
        Some(items) => items.push(item),
        None => object[list] = Value::Array(vec![item]),
    }
}
