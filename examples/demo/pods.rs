//! The node's pods: who they are to the API server, what they write, when their files rotate.

use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::lines::corpus::TEXT_LINE_BYTES;
use longshore_kit::lines::{Corpus, CriDialect, Stream, message};
use longshore_kit::simkubelet::{ContainerLog, Node, NodeConfig};
use std::io;
use std::path::Path;

/// The node's name.
pub(crate) const NODE: &str = "demo-node-1";
const CONTAINER: &str = "app";
const WORKLOADS: [(&str, &str); 4] = [
    ("shop", "cart"),
    ("shop", "checkout"),
    ("mail", "relay"),
    ("ops", "report"),
];

/// What the pods do: how much, how fast, and how often their files rotate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Pods on the node.
    pub(crate) pods: u16,
    /// Lines of all pods.
    pub(crate) lines: u64,
    /// Lines of all pods in a second.
    pub(crate) pace: f64,
}

/// Fast enough to be work, slow enough that an agent on half a core keeps up.
const LINES_PER_SECOND: f64 = 12_500.0;
/// The shortest time to write: rotation and crash want to be seen.
const WRITE_SECONDS_MIN: f64 = 6.0;
/// kubelet keeps five files of a container: the fifth rotation removes the first file. More rotations, or a shorter time
/// between them, would let files vanish before an agent that was just killed could have read them.
const ROTATIONS: (f64, f64) = (2.0, 5.0);
const ROTATION_SECONDS_MIN: f64 = 3.0;
/// One line in so many is longer than the runtime writes at once: it comes in parts, on stderr. A prime, so that every
/// pod has its share.
const LONG_EVERY: u64 = 997;
const LONG_BYTES: usize = 40_000;
/// Bytes of an average line of the larger corpus, long ones included: they decide at which size files rotate.
const AVERAGE_BYTES: u64 = TEXT_LINE_BYTES as u64 + LONG_BYTES as u64 / LONG_EVERY;

/// All pods of the node.
pub(crate) struct Pods {
    pods: Vec<Pod>,
    written: u64,
    rotated: u64,
}

struct Pod {
    log: ContainerLog,
    corpus: Corpus,
    stream: String,
    long_stream: String,
    long_lines: u64,
}

impl Plan {
    /// So many pods and lines, at a pace at which the demo is neither too short nor a race.
    pub(crate) fn new(pods: u16, lines: u64) -> Plan {
        let pace = (lines as f64 / WRITE_SECONDS_MIN).min(LINES_PER_SECOND);
        Plan { pods, lines, pace }
    }

    fn bytes_per_file(self) -> u64 {
        let seconds = self.lines as f64 / self.pace;
        let rotations = (seconds / ROTATION_SECONDS_MIN)
            .floor()
            .clamp(ROTATIONS.0, ROTATIONS.1);
        let bytes = self.lines as f64 / f64::from(self.pods) * AVERAGE_BYTES as f64;
        ((bytes / (rotations + 1.0)) as u64).max(4096)
    }
}

impl Pods {
    /// A node below `root` with the pods of the plan; the API server gets to know them.
    pub(crate) fn new(root: &Path, plan: Plan, apiserver: &FakeApiserver) -> io::Result<Pods> {
        let max_size_bytes = plan.bytes_per_file();
        let node = Node::with(
            root,
            NodeConfig {
                max_size_bytes,
                ..NodeConfig::default()
            },
        )?;
        let pods = (0..plan.pods)
            .map(|number| Pod::new(&node, number, apiserver))
            .collect::<io::Result<_>>()?;
        Ok(Pods {
            pods,
            written: 0,
            rotated: 0,
        })
    }

    /// The next line of the next pod; rotates its file when it is full.
    pub(crate) fn write_line(&mut self, now_ns: u64) -> io::Result<()> {
        let number = self.written;
        let turn = (number % self.pods.len() as u64) as usize;
        let pod = &mut self.pods[turn];
        if number % LONG_EVERY == LONG_EVERY / 2 {
            pod.write_long(now_ns)?;
        } else {
            let mut line = Vec::with_capacity(512);
            pod.corpus.push_line(&mut line, now_ns);
            pod.log.write(&line)?;
        }
        self.written += 1;
        self.rotated += u64::from(pod.log.rotate_if_full()?.is_some());
        Ok(())
    }

    /// Lines so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Rotations so far.
    pub(crate) fn rotated(&self) -> u64 {
        self.rotated
    }

    /// Rotated files that are compressed and still there.
    pub(crate) fn compressed(&self) -> io::Result<usize> {
        let mut count = 0;
        for pod in &self.pods {
            count += pod
                .log
                .rotated_files()?
                .iter()
                .filter(|file| file.extension().is_some_and(|end| end == "gz"))
                .count();
        }
        Ok(count)
    }

    /// Every stream with the number of its lines.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.pods.iter().flat_map(|pod| {
            [
                (pod.stream.clone(), pod.corpus.next_seq()),
                (pod.long_stream.clone(), pod.long_lines),
            ]
        })
    }
}

impl Pod {
    fn new(node: &Node, number: u16, apiserver: &FakeApiserver) -> io::Result<Pod> {
        let (namespace, workload) = WORKLOADS[usize::from(number) % WORKLOADS.len()];
        let name = format!("{workload}-6d4cf56db6-{number:05}");
        let uid = format!("7f1a3c52-0b1e-4a55-9f38-{number:012}");
        let log = node.pod(namespace, &name, &uid).container(CONTAINER)?;
        let image = format!("registry.example/{workload}:1.42");
        let id = format!("containerd://{}", log.container_id());
        apiserver.add_pod(
            pod(namespace, &name, &uid, NODE)
                .label("app.kubernetes.io/name", workload)
                .label("pod-template-hash", "6d4cf56db6")
                .owner("ReplicaSet", &format!("{workload}-6d4cf56db6"))
                .ip(&format!("10.42.{}.{}", number / 200, number % 200 + 10))
                .container(CONTAINER, &image, &format!("sha256:{}", "5e".repeat(32)), &id, 0),
        );
        let is_json = number.is_multiple_of(2);
        let stream = format!("{}-{number}", if is_json { "json" } else { "text" });
        let corpus = if is_json {
            Corpus::json(u64::from(number), &stream)
        } else {
            Corpus::text(u64::from(number), &stream)
        };
        Ok(Pod {
            log,
            corpus,
            long_stream: format!("long-{number}"),
            long_lines: 0,
            stream,
        })
    }

    fn write_long(&mut self, now_ns: u64) -> io::Result<()> {
        let text = message(&self.long_stream, self.long_lines, now_ns, LONG_BYTES);
        self.long_lines += 1;
        self.log
            .write(&CriDialect::Containerd.lines(now_ns, Stream::Stderr, text.as_bytes()))
    }
}
