//! Two agents, one state directory.

use super::signals::signal;
use crate::agent::Lodging;
use crate::traffic::{Arrivals, Containers, Traffic, seed, tell};
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The second agent is at work so soon after the first one has died.
const TAKE_OVER: Duration = Duration::from_secs(1);
/// The first agent stands still for so long: the second one tries the lock several times.
const STANDSTILL: Duration = Duration::from_secs(2);

/// Red without: the retry in `Agent::lock` (it never takes over); `waits_for` in `status::ready` (the second is ready);
/// `flock` in `lock/disk.rs` (both work at once).
#[test]
fn crash_second_agent() {
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    let arrivals = Arrivals::of(&server);
    let lodging = Lodging::new(&server.url(), "logs");
    let node = Node::new(lodging.root()).unwrap();
    let containers = Containers::new(&node, 2, seed("crash_second_agent"), &arrivals);

    let mut first = lodging.start();
    let traffic = Traffic::start(containers);
    first.wait_for("the first agent's lines", |_| arrivals.report().indexed > 200);
    let mut second = lodging.start();
    second.wait_for("it to meet the lock", |agent| {
        agent.log_line("another agent holds").is_some()
    });
    let (ready, why) = second.get("/ready").unwrap();
    assert_eq!(ready, 503, "{why}");
    assert!(why.contains("another agent holds"), "{why}");
    assert_eq!(second.get("/healthz").unwrap().0, 200);
    assert_eq!(second.status().ledger("read"), 0, "the second agent keeps still");
    assert_eq!(first.get("/ready").unwrap().0, 200);

    // Who stands still is not dead: there must not be two who write.
    signal(&first, Signal::STOP);
    traffic.run_for(STANDSTILL);
    assert_eq!(second.get("/ready").unwrap().0, 503, "it waits on");
    assert_eq!(second.status().ledger("read"), 0, "it keeps still");
    signal(&first, Signal::CONT);
    let before = arrivals.report().indexed;
    first.wait_for("it to go on", |_| arrivals.report().indexed > before + 200);
    assert_eq!(second.status().ledger("read"), 0, "it still keeps still");

    signal(&first, Signal::STOP);
    let at_the_kill = arrivals.report().indexed;
    first.kill();
    let died = Instant::now();
    second.wait_for("it to take over", |agent| agent.get("/ready").unwrap().0 == 200);
    let took = died.elapsed();
    tell(&format!("it took over {took:.2?} after the first one had died"));
    assert!(took <= TAKE_OVER, "it took {took:?} to take over");
    second.wait_for("its lines", |_| arrivals.report().indexed > at_the_kill + 200);
    drop(traffic.stop());
    second.wait_for("all lines", |agent| {
        arrivals.is_complete() && agent.status().is_at_rest()
    });
    second.terminate().assert_clean();
    arrivals.assert_exactly_once();
}
