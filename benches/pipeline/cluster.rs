//! A node for the agent: pods in the API server's double, their log files in a temporary directory, a config to read
//! them with.
//!
//! Pods look like those of an ordinary deployment; their labels are chosen so that the part of a document that comes
//! from metadata is about 600 bytes. The floor gets the very same metadata.

use crate::Failure;
use crate::cores::Cores;
use crate::options::Options;
use crate::process::Process;
use longshore::enrich::metadata::{PodObject, PodRecord, Selection};
use longshore::record::Metadata;
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::simkubelet::{ContainerLog, Node, NodeConfig};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const NODE: &str = "bench-node-1";
const NAMESPACE: &str = "shop";
const WORKLOAD: &str = "cart-6d4cf56db6";
/// The container that each pod has.
pub(crate) const CONTAINER: &str = "app";

/// One container and what is known about it.
pub(crate) struct Container {
    /// Its writer.
    pub(crate) log: ContainerLog,
    /// The id under which its lines are counted.
    pub(crate) stream: String,
    /// What the API server says of it.
    pub(crate) metadata: Metadata,
}

/// The node; its directory is removed with it.
pub(crate) struct Cluster {
    /// The containers that have a log file.
    pub(crate) containers: Vec<Container>,
    apiserver: FakeApiserver,
    node: Node,
    dir: TempDir,
    runs: u32,
}

impl Cluster {
    /// A node of `pods` pods, of which the first `files` have a log file, empty so far.
    pub(crate) fn new(pods: usize, files: usize) -> Result<Cluster, Failure> {
        let dir = tempfile::tempdir()?;
        // Nothing rotates here: the files are as large as the scenario writes them.
        let node = Node::with(
            dir.path().join("log"),
            NodeConfig {
                max_size_bytes: u64::MAX,
                ..NodeConfig::default()
            },
        )?;
        let apiserver = FakeApiserver::start();
        let mut containers = Vec::new();
        for number in 0..pods {
            let (name, uid) = (pod_name(number), pod_uid(number));
            let log = (number < files)
                .then(|| node.pod(NAMESPACE, &name, &uid).container(CONTAINER))
                .transpose()?;
            let id = log
                .as_ref()
                .map_or_else(|| "0".repeat(64), ContainerLog::container_id);
            let object = pod_object(number, &id);
            apiserver.add_pod(object.clone());
            if let Some(log) = log {
                let metadata = metadata(object)?;
                containers.push(Container {
                    log,
                    stream: format!("c{number:03}"),
                    metadata,
                });
            }
        }
        Ok(Cluster {
            containers,
            apiserver,
            node,
            dir,
            runs: 0,
        })
    }

    /// Starts an agent with an empty state directory that ships to the sink at `port`.
    pub(crate) fn start_agent(
        &mut self,
        options: &Options,
        cores: Cores,
        port: u16,
    ) -> Result<Process, Failure> {
        self.runs += 1;
        let run = self.dir.path().join(format!("run-{}", self.runs));
        let state = run.join("state");
        fs::create_dir_all(&state)?;
        let kubeconfig = run.join("kubeconfig");
        fs::write(&kubeconfig, self.apiserver.kubeconfig())?;
        let command = match &options.agent {
            None => self.our_agent(&run, &state, &kubeconfig, port)?,
            Some(template) => self.other_agent(template, &state, &kubeconfig, port),
        };
        Process::start(command, cores, &run.join("agent.log"))
    }

    fn our_agent(&self, run: &Path, state: &Path, kubeconfig: &Path, port: u16) -> Result<Command, Failure> {
        let config = run.join("longshore.yaml");
        let text = format!(
            "node_name: {NODE}\nstate_dir: {state}\n\
             source: {{pod_logs_dir: {logs}, containers_dir: {links}}}\n\
             enrich: {{kubernetes: {{kubeconfig: {kubeconfig}}}}}\n\
             sink: {{elasticsearch: {{hosts: [\"http://127.0.0.1:{port}\"]}}}}\n\
             admin: {{listen: \"127.0.0.1:{admin}\"}}\n",
            state = state.display(),
            logs = self.node.pod_logs_dir().display(),
            links = self.node.containers_dir().display(),
            kubeconfig = kubeconfig.display(),
            admin = free_port()?,
        );
        fs::write(&config, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.args(["run", "--config"]).arg(config);
        Ok(command)
    }

    fn other_agent(&self, template: &str, state: &Path, kubeconfig: &Path, port: u16) -> Command {
        let line = template
            .replace("{logs}", &self.node.pod_logs_dir().display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{state}", &state.display().to_string())
            .replace("{kubeconfig}", &kubeconfig.display().to_string());
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        command
    }
}

impl Container {
    /// The live file.
    pub(crate) fn path(&self) -> PathBuf {
        self.log.live_path()
    }
}

fn pod_name(number: usize) -> String {
    format!("{WORKLOAD}-{number:05}")
}

fn pod_uid(number: usize) -> String {
    format!("7f1a3c52-0b1e-4a55-9f38-{number:012}")
}

/// Without an owner, whose kind, name and deployment would exceed the 600 bytes that peers were measured with.
fn pod_object(number: usize, container_id: &str) -> Value {
    pod(NAMESPACE, &pod_name(number), &pod_uid(number), NODE)
        .label("app.kubernetes.io/name", "cart")
        .ip(&format!("10.42.{}.{}", number / 200, number % 200 + 10))
        .container(
            CONTAINER,
            "registry.example/cart:1.42",
            &format!("sha256:{}", "5e".repeat(32)),
            &format!("containerd://{container_id}"),
            0,
        )
        .build()
}

/// What the agent makes of a pod object, by the agent's own mapping.
fn metadata(object: Value) -> Result<Metadata, Failure> {
    let object: PodObject = serde_json::from_value(object)?;
    let selection = Selection {
        labels: true,
        ..Selection::default()
    };
    let record = PodRecord::new(object, &selection).ok_or("a pod without uid")?;
    Ok(Metadata {
        node: NODE.to_owned(),
        ..record.metadata(CONTAINER, 0)
    })
}

/// A loopback port that nobody listens on just now.
fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
