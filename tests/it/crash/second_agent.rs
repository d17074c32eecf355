//! Two agents, one state directory.

use crate::agent::Lodging;
use crate::traffic::{Arrivals, Containers, Traffic, seed};
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::Node;

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

    first.kill();
    let at_the_kill = arrivals.report().indexed;
    second.wait_for("it to take over", |agent| agent.get("/ready").unwrap().0 == 200);
    second.wait_for("its lines", |_| arrivals.report().indexed > at_the_kill + 200);
    drop(traffic.stop());
    second.wait_for("all lines", |agent| {
        arrivals.is_complete() && agent.status().is_at_rest()
    });
    second.terminate().assert_clean();
    arrivals.assert_exactly_once();
}
