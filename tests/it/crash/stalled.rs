//! A request that stays without an answer while the others are answered.

use crate::agent::Lodging;
use crate::traffic::{Arrivals, Solo, tell};
use longshore_kit::rude_elasticsearch::{Fault, Odds, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use std::fs;
use std::time::Duration;

/// Longer than the test takes.
const STALL: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(20);
const STALLED: u64 = 100;
const BEHIND: u64 = 4_000;

/// What is delivered behind the request that stalls is not sent again after a kill: its body has a copy in the spool, so that
/// the checkpoint moves on. Red when `Flight::copy` does nothing: the checkpoint stays where the stalled request begins.
#[test]
fn crash_behind_a_request_that_stalls() {
    let server = RudeElasticsearch::start();
    let arrivals = Arrivals::of(&server);
    let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
    lodging.config["sink"]["elasticsearch"]["request_timeout"] = "50s".into();
    let node = Node::new(lodging.root()).expect("a node");
    let mut solo = Solo::new(&node, "web", &arrivals);
    let mut agent = lodging.start();

    server.fault(Fault::StallBeforeCommit(STALL), Odds::Next(1));
    let mut written = solo.write(STALLED, 50);
    assert!(server.wait_for_stalled(1, PATIENCE), "no request has stalled");
    let mut delivered = 0;
    while delivered < BEHIND {
        written += solo.write(200, 50);
        delivered += 200;
        agent.wait_for("what is behind it", |_| arrivals.report().indexed >= delivered);
    }
    let checkpoint = lodging.state().join("checkpoints/current");
    let everything = format!("\"offset\":{written},");
    agent.wait_for("a checkpoint behind it", |_| {
        fs::read_to_string(&checkpoint).is_ok_and(|text| text.contains(&everything))
    });
    let before = arrivals.report().indexed;
    agent.kill();

    let mut agent = lodging.start();
    agent.wait_for("everything", |agent| {
        arrivals.is_complete() && agent.status().is_at_rest()
    });
    let ended = agent.terminate();
    ended.assert_clean();
    arrivals.assert_exactly_once();
    let again = server.duplicates_409();
    tell(&format!(
        "a request of {STALLED} lines stalls, {before} were delivered behind it before the kill: {again} were sent again"
    ));
    assert!(again <= STALLED, "{again}");
}
