//! Drives a containerd over its CRI socket, one command per call, with the calls and the log paths of a kubelet.
//!
//! The launcher in `tests/kit/src/containerd.rs` is its only user; `cri` alone prints the commands. What is made is printed
//! as an id; a call that fails ends with exit code 1 and the runtime's own words.

mod cri;

use anyhow::{Context as _, Result, anyhow, bail};
use http::uri::PathAndQuery;
use prost::Message;
use std::process::ExitCode;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const USAGE: &str = "\
usage: cri SOCKET version                                 who answers, and which version
       cri SOCKET image IMAGE                             fails unless it is there
       cri SOCKET sandbox LOGS NAMESPACE POD UID          makes the pod's sandbox, prints its id
       cri SOCKET run LOGS NAMESPACE POD UID SANDBOX CONTAINER RESTART IMAGE DIRECTORY COMMAND...
                                                          runs a container in it, prints its id; its log is
                                                          LOGS/NAMESPACE_POD_UID/CONTAINER/RESTART.log, and DIRECTORY
                                                          of the node is /node in it
       cri SOCKET reopen CONTAINER-ID                     after the log was renamed
       cri SOCKET wait CONTAINER-ID                       until its program has ended, prints the exit code
       cri SOCKET remove SANDBOX-ID                       stops and removes the sandbox and all of its containers
";

/// No call takes longer on a machine that works.
const CALL: Duration = Duration::from_secs(60);
/// `wait` asks so often.
const POLL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")
        .and_then(|runtime| runtime.block_on(obey(&arguments)));
    match done {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cri: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Carries out one command; gives what it prints.
async fn obey(arguments: &[&str]) -> Result<String> {
    let [socket, command, rest @ ..] = arguments else {
        bail!("no command\n{USAGE}");
    };
    let mut runtime = Runtime::connect(socket).await?;
    match (*command, rest) {
        ("version", []) => runtime.version().await,
        ("image", [image]) => runtime.image(image).await,
        ("sandbox", [logs, pod @ ..]) => runtime.sandbox(pod_config(logs, pod)?).await,
        (
            "run",
            [
                logs,
                namespace,
                pod,
                uid,
                sandbox,
                name,
                restart,
                image,
                directory,
                command @ ..,
            ],
        ) => {
            let pod = pod_config(logs, &[namespace, pod, uid])?;
            let restart = restart.parse().context("RESTART is a number")?;
            let container = container_config(name, restart, image, directory, command);
            runtime.run(sandbox, pod, container).await
        }
        ("reopen", [id]) => runtime.reopen(id).await,
        ("wait", [id]) => runtime.wait(id).await,
        ("remove", [id]) => runtime.remove(id).await,
        _ => bail!("no such command: {}\n{USAGE}", arguments[1..].join(" ")),
    }
}

/// A pod whose containers share network and IPC with the node: so no CNI plugin is needed.
fn pod_config(logs: &str, names: &[&str]) -> Result<cri::PodSandboxConfig> {
    let [namespace, name, uid] = *names else {
        bail!("a pod has NAMESPACE, POD and UID\n{USAGE}");
    };
    Ok(cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
        }),
        log_directory: format!("{logs}/{namespace}_{name}_{uid}"),
        linux: Some(cri::LinuxPodSandboxConfig {
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
    })
}

fn container_config(
    name: &str,
    restart: u32,
    image: &str,
    directory: &str,
    command: &[&str],
) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: name.to_owned(),
            attempt: restart,
        }),
        image: Some(cri::ImageSpec {
            image: image.to_owned(),
        }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        mounts: vec![cri::Mount {
            container_path: "/node".to_owned(),
            host_path: directory.to_owned(),
        }],
        log_path: format!("{name}/{restart}.log"),
        linux: Some(cri::LinuxContainerConfig {
            security_context: Some(cri::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
    }
}

fn namespaces() -> cri::NamespaceOption {
    cri::NamespaceOption {
        network: cri::NODE,
        pid: cri::CONTAINER,
        ipc: cri::NODE,
    }
}

/// The services behind a socket.
struct Runtime {
    grpc: Grpc<Channel>,
}

impl Runtime {
    async fn connect(socket: &str) -> Result<Runtime> {
        let channel = Endpoint::try_from(format!("unix://{socket}"))
            .with_context(|| format!("{socket} is no path"))?
            .timeout(CALL)
            .connect()
            .await
            .with_context(|| format!("connect to {socket}"))?;
        Ok(Runtime {
            grpc: Grpc::new(channel),
        })
    }

    /// One unary call, of `Service/Method`.
    async fn call<Question, Answer>(&mut self, method: &'static str, question: Question) -> Result<Answer>
    where
        Question: Message + 'static,
        Answer: Message + Default + 'static,
    {
        self.grpc
            .ready()
            .await
            .with_context(|| format!("{method}: the connection is gone"))?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.{method}"))?;
        let codec = ProstCodec::<Question, Answer>::default();
        let answer = self.grpc.unary(tonic::Request::new(question), path, codec).await;
        let answer = answer.map_err(|status| anyhow!("{method}: {}: {}", status.code(), status.message()))?;
        Ok(answer.into_inner())
    }

    async fn version(&mut self) -> Result<String> {
        let answer: cri::VersionResponse = self
            .call("RuntimeService/Version", cri::VersionRequest {})
            .await?;
        Ok(format!("{} {}", answer.runtime_name, answer.runtime_version))
    }

    async fn image(&mut self, image: &str) -> Result<String> {
        let request = cri::ImageStatusRequest {
            image: Some(cri::ImageSpec {
                image: image.to_owned(),
            }),
        };
        let answer: cri::ImageStatusResponse = self.call("ImageService/ImageStatus", request).await?;
        let there = answer.image.with_context(|| format!("no image {image}"))?;
        Ok(there.id)
    }

    async fn sandbox(&mut self, pod: cri::PodSandboxConfig) -> Result<String> {
        let request = cri::RunPodSandboxRequest { config: Some(pod) };
        let answer: cri::Id = self.call("RuntimeService/RunPodSandbox", request).await?;
        Ok(answer.id)
    }

    async fn run(
        &mut self,
        sandbox: &str,
        pod: cri::PodSandboxConfig,
        container: cri::ContainerConfig,
    ) -> Result<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(container),
            sandbox_config: Some(pod),
        };
        let made: cri::Id = self.call("RuntimeService/CreateContainer", request).await?;
        let _: cri::Done = self.call("RuntimeService/StartContainer", made.clone()).await?;
        Ok(made.id)
    }

    async fn reopen(&mut self, container: &str) -> Result<String> {
        let _: cri::Done = self
            .call("RuntimeService/ReopenContainerLog", id(container))
            .await?;
        Ok("reopened".to_owned())
    }

    async fn wait(&mut self, container: &str) -> Result<String> {
        let ended = async {
            loop {
                let answer: cri::ContainerStatusResponse =
                    self.call("RuntimeService/ContainerStatus", id(container)).await?;
                let status = answer.status.context("ContainerStatus: no status")?;
                if status.state == cri::EXITED {
                    return Ok(status.exit_code.to_string());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let in_time = tokio::time::timeout(CALL, ended).await;
        in_time.unwrap_or_else(|_| bail!("container {container} has not ended within {CALL:?}"))
    }

    async fn remove(&mut self, sandbox: &str) -> Result<String> {
        let _: cri::Done = self.call("RuntimeService/StopPodSandbox", id(sandbox)).await?;
        let _: cri::Done = self.call("RuntimeService/RemovePodSandbox", id(sandbox)).await?;
        Ok("removed".to_owned())
    }
}

fn id(id: &str) -> cri::Id {
    cri::Id { id: id.to_owned() }
}
