//! What nodes do to a reader: too few descriptors, no watches, holes, bombs, lines without an end, pods that live a moment.
//! The real binary each time; what it costs is printed.

mod away;
mod deleted;
mod descriptors;
mod long_lines;
mod memory;
mod noise;
mod rotation;
mod small_files;
mod watches;

use crate::agent::{Agent, Lodging};
use crate::traffic::Arrivals;
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use std::process::Command;
use std::sync::Arc;

/// A node, an Elasticsearch, and what has arrived there.
struct Ground {
    lodging: Lodging,
    server: RudeElasticsearch,
    node: Node,
    arrivals: Arc<Arrivals>,
}

impl Ground {
    /// The server keeps no documents, only what has arrived of their sequences.
    fn new() -> Ground {
        let server = RudeElasticsearch::start();
        server.keep(Keeping::Ids);
        let lodging = Lodging::new(&server.url(), "logstash-%Y.%m.%d");
        Ground {
            node: Node::new(lodging.root()).unwrap(),
            arrivals: Arrivals::of(&server),
            lodging,
            server,
        }
    }
}

/// The most memory that the agent has had, in KiB (`VmHWM`).
fn peak_kib(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("the kernel tells the peak")
}

/// User and system time of the agent so far, in seconds.
fn cpu_seconds(agent: &Agent) -> f64 {
    agent.metric("process_cpu_seconds_total")
}

/// A shell that does this first, and then runs the command that follows it.
fn after(first: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]);
    command
}
