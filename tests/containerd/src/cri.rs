//! The messages of the Container Runtime Interface, v1, that a kubelet needs to run a container and to rotate its log.
//!
//! Only the fields that are used, with the numbers of `api.proto` (`k8s.io/cri-api`, package `runtime.v1`): protobuf skips
//! what it does not know, in both directions. So neither `protoc` nor the whole API has to be built.

use prost::Message;

/// `VersionRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct VersionRequest {}

/// `VersionResponse`: who answers.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct VersionResponse {
    #[prost(string, tag = "2")]
    pub(crate) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(crate) runtime_version: String,
}

/// `PodSandboxMetadata`: the names of a pod.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
}

/// `NamespaceOption`: see [`NODE`] and [`CONTAINER`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub(crate) struct NamespaceOption {
    #[prost(int32, tag = "1")]
    pub(crate) network: i32,
    #[prost(int32, tag = "2")]
    pub(crate) pid: i32,
    #[prost(int32, tag = "3")]
    pub(crate) ipc: i32,
}

/// `NamespaceMode`: a namespace of the container's own.
pub(crate) const CONTAINER: i32 = 1;
/// `NamespaceMode`: the one of the node.
pub(crate) const NODE: i32 = 2;

/// `LinuxSandboxSecurityContext`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    pub(crate) namespace_options: Option<NamespaceOption>,
}

/// `LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct LinuxPodSandboxConfig {
    #[prost(message, optional, tag = "2")]
    pub(crate) security_context: Option<LinuxSandboxSecurityContext>,
}

/// `PodSandboxConfig`: a pod, and the directory of its logs.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "3")]
    pub(crate) log_directory: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<LinuxPodSandboxConfig>,
}

/// `RunPodSandboxRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<PodSandboxConfig>,
}

/// An id alone: all requests about one sandbox or container, and both answers that make one, have it as their first field
/// (`StopPodSandboxRequest`, `RemovePodSandboxRequest`, `StartContainerRequest`, `ReopenContainerLogRequest`,
/// `ContainerStatusRequest`, `RunPodSandboxResponse`, `CreateContainerResponse`).
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Id {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// Any answer in which nothing is of interest.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Done {}

/// `ContainerMetadata`: name and restart number.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) attempt: u32,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ImageSpec {
    #[prost(string, tag = "1")]
    pub(crate) image: String,
}

/// `ImageStatusRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) image: Option<ImageSpec>,
}

/// `ImageStatusResponse`: none when the image is not there. Of `Image` the id is enough.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) image: Option<Id>,
}

/// `Mount`: a directory of the node in the container.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub(crate) container_path: String,
    #[prost(string, tag = "2")]
    pub(crate) host_path: String,
}

/// `LinuxContainerSecurityContext`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct LinuxContainerSecurityContext {
    #[prost(message, optional, tag = "3")]
    pub(crate) namespace_options: Option<NamespaceOption>,
}

/// `LinuxContainerConfig`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    pub(crate) security_context: Option<LinuxContainerSecurityContext>,
}

/// `ContainerConfig`: what runs, and where its log goes, below the pod's directory.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) mounts: Vec<Mount>,
    #[prost(string, tag = "11")]
    pub(crate) log_path: String,
    #[prost(message, optional, tag = "15")]
    pub(crate) linux: Option<LinuxContainerConfig>,
}

/// `CreateContainerRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub(crate) sandbox_config: Option<PodSandboxConfig>,
}

/// `ContainerStatusResponse`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<ContainerStatus>,
}

/// `ContainerStatus`: see [`EXITED`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct ContainerStatus {
    #[prost(int32, tag = "3")]
    pub(crate) state: i32,
    #[prost(int32, tag = "7")]
    pub(crate) exit_code: i32,
}

/// `ContainerState`: its program has ended.
pub(crate) const EXITED: i32 = 2;
