//! Signals to an agent, and an agent that stands still now and then.

use crate::agent::{Agent, Lodging};
use crate::traffic::{Arrivals, Containers, Traffic, seed, tell};
use longshore_kit::chance::Chance;
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::{Node, NodeConfig};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// Sends a signal to an agent that runs.
#[track_caller]
pub(super) fn signal(agent: &Agent, signal: Signal) {
    let pid = Pid::from_raw(agent.pid().cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("the agent is there");
}

/// How often it stands still.
const STOPS: u32 = 25;
/// It stands still, and runs, for so many ms.
const LONGEST_MS: u64 = 400;

/// Files rotate while the agent stands still, and connections stay open: what was sent again would be seen. Red when a
/// rotated file is taken for another one, or when a request that waited for longer than its deadline is counted twice.
#[test]
fn crash_sigstop_and_sigcont() {
    let seed = seed("crash_sigstop_and_sigcont");
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    let arrivals = Arrivals::of(&server);
    let lodging = Lodging::new(&server.url(), "logs");
    let config = NodeConfig {
        max_size_bytes: 16 << 10,
        ..NodeConfig::default()
    };
    let node = Node::with(lodging.root(), config).expect("a node");
    let traffic = Traffic::start(Containers::new(&node, 3, seed, &arrivals));
    let mut agent = lodging.start();
    let mut chance = Chance::new(seed);
    let mut some_time = || Duration::from_millis(chance.below(LONGEST_MS));
    for _ in 0..STOPS {
        traffic.run_for(some_time());
        signal(&agent, Signal::STOP);
        traffic.run_for(some_time());
        signal(&agent, Signal::CONT);
    }
    let containers = traffic.stop();
    let status = agent.wait_until_delivered(containers.bytes());
    status.assert_nothing_lost();
    agent.terminate().assert_clean();
    arrivals.assert_exactly_once();
    let (rotations, restarts) = containers.turned_over();
    tell(&format!(
        "{STOPS} times stopped, {rotations} rotations, {restarts} container restarts"
    ));
    assert!(u64::from(STOPS) < rotations, "files rotated while it stood still");
    assert_eq!(server.duplicates_409(), 0, "nothing was sent again");
}
