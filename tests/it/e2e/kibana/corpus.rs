//! What the containers of a small cluster wrote, and what the API server says about them. Each line carries a mark, `#` and
//! some letters, by which a document is known again in whatever form it comes back.

use crate::agent::Lodging;
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::lines::{CriDialect, Stream};
use longshore_kit::simkubelet::{ContainerLog, Node};
use serde_json::Value;

/// A container and its pod.
pub(super) struct Container {
    pub(super) namespace: &'static str,
    pub(super) pod: &'static str,
    pub(super) name: &'static str,
    pub(super) labels: &'static [(&'static str, &'static str)],
    pub(super) ip: &'static str,
}

/// A line of a container.
pub(super) struct Line {
    pub(super) mark: String,
    pub(super) container: &'static Container,
    pub(super) unix_ns: u64,
    /// None for a line that is not in the format of the runtime.
    pub(super) stream: Option<Stream>,
    /// The level of its JSON, in the words of `ecs`.
    pub(super) level: Option<&'static str>,
    pub(super) text: Vec<u8>,
}

impl Line {
    /// An unremarkable line.
    pub(super) fn new(mark: &str, container: &'static Container, unix_ns: u64, text: &str) -> Line {
        Line {
            mark: mark.to_owned(),
            container,
            unix_ns,
            stream: Some(Stream::Stdout),
            level: None,
            text: format!("#{mark} {text}").into_bytes(),
        }
    }

    /// The same on standard error.
    pub(super) fn on_stderr(self) -> Line {
        Line {
            stream: Some(Stream::Stderr),
            ..self
        }
    }

    /// The line as JSON with a level, as the application writes it and as `ecs` does.
    pub(super) fn with_level(self, written: &str, level: &'static str) -> Line {
        let text = String::from_utf8(self.text).unwrap();
        let json = serde_json::json!({"level": written, "text": text});
        Line {
            level: Some(level),
            text: json.to_string().into_bytes(),
            ..self
        }
    }
}

/// The logs of a node and what is known about its pods.
pub(super) struct Writer {
    apiserver: FakeApiserver,
    node: Node,
    logs: Vec<(String, ContainerLog)>,
    /// Bytes of all log files.
    pub(super) bytes: u64,
}

impl Writer {
    pub(super) fn new(lodging: &mut Lodging) -> Writer {
        let apiserver = FakeApiserver::start();
        lodging.use_apiserver(&apiserver.kubeconfig());
        Writer {
            apiserver,
            node: Node::new(lodging.root()).unwrap(),
            logs: Vec::new(),
            bytes: 0,
        }
    }

    /// Writes lines in their order; containers come into being with their first line.
    pub(super) fn write(&mut self, lines: &[Line]) {
        for line in lines {
            let bytes = match line.stream {
                Some(stream) => CriDialect::Containerd.lines(line.unix_ns, stream, &line.text),
                None => [line.text.as_slice(), b"\n"].concat(),
            };
            self.log(line.container).write(&bytes).unwrap();
            self.bytes += bytes.len() as u64;
        }
    }

    fn log(&mut self, container: &Container) -> &mut ContainerLog {
        let uid = uid(container);
        if let Some(at) = self.logs.iter().position(|(known, _)| *known == uid) {
            return &mut self.logs[at].1;
        }
        let log = self
            .node
            .pod(container.namespace, container.pod, &uid)
            .container(container.name)
            .unwrap();
        let mut object = pod(container.namespace, container.pod, &uid, "node-a").ip(container.ip);
        for (key, value) in container.labels {
            object = object.label(key, value);
        }
        let id = format!("containerd://{}", log.container_id());
        self.apiserver
            .add_pod(object.container(container.name, "app:1", "app@sha256:1", &id, 0));
        self.logs.push((uid, log));
        &mut self.logs.last_mut().unwrap().1
    }
}

fn uid(container: &Container) -> String {
    format!("uid-{}-{}-{}", container.namespace, container.pod, container.name)
}

/// The mark in a hit of a search, whichever of its fields the server sent.
pub(super) fn mark_of(hit: &Value) -> String {
    let text = hit.to_string();
    let (_, rest) = text
        .split_once('#')
        .unwrap_or_else(|| panic!("no mark in {text}"));
    rest.chars().take_while(char::is_ascii_alphanumeric).collect()
}
