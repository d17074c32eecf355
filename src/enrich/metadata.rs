//! Pod objects, as the API server writes them, enter; small records, and from them [`Metadata`], leave.
//!
//! Only the parts that documents may need are read at all: a whole pod costs a hundred kilobytes of heap, its record
//! two or three. Absent and `null` parts are the same as empty ones, as in Go. Deliberately not done: guessing (a
//! workload from a pod's name, an image from a tag).

use crate::config::{Glob, Kubernetes};
use crate::record::Metadata;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The annotation in which a mirror pod names its static pod; the directory of its logs has this for a uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The label by which a deployment tells its replica sets apart.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Ids that are kept of a container: that of its current instance and that of the one before, as kubelet does.
const INSTANCES: usize = 2;

/// The parts of a pod object that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodObject {
    metadata: ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
}

impl PodObject {
    /// The version that a watch goes on from; empty when the object has none.
    pub fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// A list of pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodList {
    metadata: ListMeta,
    /// The pods.
    #[serde(deserialize_with = "or_empty")]
    pub items: Vec<PodObject>,
}

impl PodList {
    /// The version that a watch goes on from; empty when the server gave none.
    pub fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// A namespace object, of which the metadata is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceObject {
    metadata: ObjectMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    #[serde(deserialize_with = "or_empty")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_empty")]
    owner_references: Vec<OwnerReference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    kind: String,
    name: String,
    controller: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    #[serde(deserialize_with = "or_empty")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "or_empty")]
    init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_empty")]
    ephemeral_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(deserialize_with = "or_empty")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_empty")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_empty")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    restart_count: u32,
    image: String,
    #[serde(rename = "imageID")]
    image_id: String,
    #[serde(rename = "containerID")]
    container_id: String,
    last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: String,
}

/// `null` where a list or a map belongs is what Go writes for an empty one.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Which parts of the metadata the config asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Pod labels.
    pub labels: bool,
    /// Keys of pod annotations.
    pub annotations: Vec<Glob>,
    /// Labels of the pod's namespace.
    pub namespace_labels: bool,
}

impl From<&Kubernetes> for Selection {
    fn from(config: &Kubernetes) -> Self {
        Self {
            labels: config.labels,
            annotations: config.annotations.clone(),
            namespace_labels: config.namespace_labels,
        }
    }
}

/// What is kept of a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodRecord {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Uid as the API knows it.
    pub uid: String,
    /// For the mirror of a static pod: the uid in the name of its log directory.
    pub config_hash: Option<String>,
    ip: Option<String>,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    owner: Option<(String, String)>,
    deployment: Option<String>,
    containers: Vec<ContainerRecord>,
}

/// What is kept of a container, be it an ordinary, an init or an ephemeral one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct ContainerRecord {
    name: String,
    /// Number of the current instance; unknown while kubelet has not told.
    restart: Option<u32>,
    /// Restart numbers and container ids, the newest first.
    ids: Vec<(u32, String)>,
    runtime: Option<String>,
    image: Option<String>,
    image_id: Option<String>,
}

/// What is kept of a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamespaceRecord {
    uid: Option<String>,
    labels: Vec<(String, String)>,
}

impl From<NamespaceObject> for NamespaceRecord {
    fn from(object: NamespaceObject) -> Self {
        let metadata = object.metadata;
        Self {
            uid: some(metadata.uid),
            labels: metadata.labels.into_iter().collect(),
        }
    }
}

impl PodRecord {
    /// Maps a pod object; `None` for one without a uid, which is no pod.
    pub fn new(pod: PodObject, selection: &Selection) -> Option<Self> {
        let PodObject {
            metadata,
            spec,
            status,
        } = pod;
        let uid = some(metadata.uid)?;
        let config_hash = metadata.annotations.get(CONFIG_HASH).cloned();
        let wanted = |key: &str| selection.annotations.iter().any(|glob| glob.matches(key));
        let owner = metadata
            .owner_references
            .into_iter()
            .find(|owner| owner.controller);
        let deployment = owner
            .as_ref()
            .and_then(|owner| deployment(owner, &metadata.labels));
        Some(Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid,
            config_hash,
            ip: some(status.pod_ip.clone()),
            annotations: metadata
                .annotations
                .into_iter()
                .filter(|(key, _)| wanted(key))
                .collect(),
            owner: owner.map(|owner| (owner.kind, owner.name)),
            deployment,
            containers: containers(spec, status),
            labels: if selection.labels {
                metadata.labels.into_iter().collect()
            } else {
                Vec::new()
            },
        })
    }

    /// Takes over the container ids that `older`, an earlier state of the same pod, knew and this one does not tell
    /// any more: between two starts of a crashing container its status names the last instance twice.
    pub fn inherit(&mut self, older: &PodRecord) {
        for container in &mut self.containers {
            if let Some(known) = older.containers.iter().find(|known| known.name == container.name) {
                container.inherit(known);
            }
        }
    }

    /// Whether everything is told that will ever be told about this container instance.
    pub fn has_told(&self, container: &str, restart: u32) -> bool {
        let Some(known) = self.container(container) else {
            return false;
        };
        let Some(current) = known.restart else {
            return false;
        };
        restart < current || (restart == current && known.id(restart).is_some())
    }

    /// The metadata of a container instance, as far as it is known.
    pub fn metadata(&self, container: &str, restart: u32) -> Metadata {
        let known = self.container(container);
        Metadata {
            namespace: self.namespace.clone(),
            pod: self.name.clone(),
            pod_uid: self.uid.clone(),
            container: container.to_owned(),
            container_id: known.and_then(|known| known.id(restart)).map(str::to_owned),
            runtime: known.and_then(|known| known.runtime.clone()),
            image: known.and_then(|known| known.image.clone()),
            image_id: known.and_then(|known| known.image_id.clone()),
            pod_ip: self.ip.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            owner: self.owner.clone(),
            deployment: self.deployment.clone(),
            ..Metadata::default()
        }
    }

    fn container(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().find(|container| container.name == name)
    }
}

impl NamespaceRecord {
    /// Adds what is known about the namespace.
    pub fn add_to(&self, metadata: &mut Metadata) {
        metadata.namespace_uid.clone_from(&self.uid);
        metadata.namespace_labels.clone_from(&self.labels);
    }
}

impl ContainerRecord {
    fn new(container: Container, status: Option<ContainerStatus>) -> Self {
        let Some(status) = status else {
            let image = some(container.image);
            return Self {
                name: container.name,
                restart: None,
                ids: Vec::new(),
                runtime: None,
                image,
                image_id: None,
            };
        };
        let current = some(without_scheme(&status.container_id));
        // While a crashed container waits for its next start, the last state is that of the current id.
        let last = status
            .last_state
            .terminated
            .and_then(|last| some(without_scheme(&last.container_id)));
        let last = last.filter(|last| Some(last) != current.as_ref());
        let restart = status.restart_count;
        let before = restart.checked_sub(1);
        let ids = current
            .map(|id| (restart, id))
            .into_iter()
            .chain(before.zip(last))
            .collect();
        Self {
            name: container.name,
            restart: Some(restart),
            ids,
            runtime: runtime(&status.container_id),
            image: some(status.image).or_else(|| some(container.image)),
            image_id: some(status.image_id),
        }
    }

    fn id(&self, restart: u32) -> Option<&str> {
        self.ids
            .iter()
            .find(|(number, _)| *number == restart)
            .map(|(_, id)| id.as_str())
    }

    fn inherit(&mut self, older: &ContainerRecord) {
        let Some(restart) = self.restart else { return };
        for (number, id) in &older.ids {
            if *number < restart && self.id(*number).is_none() {
                self.ids.push((*number, id.clone()));
            }
        }
        self.ids.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        self.ids.truncate(INSTANCES);
    }
}

/// Containers of all three sorts with their statuses. Their names differ within a pod.
fn containers(spec: PodSpec, status: PodStatus) -> Vec<ContainerRecord> {
    let statuses = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ];
    let mut statuses: BTreeMap<String, ContainerStatus> = statuses
        .into_iter()
        .flatten()
        .map(|status| (status.name.clone(), status))
        .collect();
    let specs = [spec.containers, spec.init_containers, spec.ephemeral_containers]
        .into_iter()
        .flatten();
    specs
        .map(|container| {
            let status = statuses.remove(&container.name);
            ContainerRecord::new(container, status)
        })
        .collect()
}

/// The deployment behind a replica set that a deployment made. Without the label, a person made the set.
fn deployment(owner: &OwnerReference, labels: &BTreeMap<String, String>) -> Option<String> {
    if owner.kind != "ReplicaSet" {
        return None;
    }
    let name = owner
        .name
        .strip_suffix(labels.get(TEMPLATE_HASH)?.as_str())?
        .strip_suffix('-')?;
    some(name.to_owned())
}

/// `containerd://4f1c…` → `containerd`
fn runtime(id: &str) -> Option<String> {
    let (runtime, _) = id.split_once("://")?;
    some(runtime.to_owned())
}

/// `containerd://4f1c…` → `4f1c…`
fn without_scheme(id: &str) -> String {
    id.split_once("://").map_or(id, |(_, rest)| rest).to_owned()
}

/// The API leaves out what is empty, or writes it empty: both mean unknown.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
