//! Answers that are cut off after the server has stored the documents, and agents that are killed meanwhile.

use super::cutters::{Cut, Cutters};
use super::{MORNING_NS, Scene, Talker};
use crate::agent::Agent;
use crate::traffic::tell;
use longshore_kit::simkubelet::Node;
use serde_json::json;
use std::time::Instant;

const CUTS: u64 = 1_000;
const KILLS: u64 = 20;
const LINES_PER_BATCH: u64 = 20;

/// Bytes that are not delivered.
fn behind(agent: &Agent) -> u64 {
    let status = agent.status();
    let unread = status.0["reader"]["unread_bytes"].as_u64().unwrap();
    unread + status.ledger("in_flight") + status.ledger("spooled")
}

/// Red when a document that is sent again has another id, when an answer without an end is taken for a refusal, or when an ack
/// goes out before the answer.
#[test]
fn e2e_a_thousand_cut_answers_and_twenty_kills_lose_and_double_nothing() {
    let mut scene = Scene::new("cut");
    let cutters = Cutters::new(3, &scene.es.url());
    cutters.order(Cut::EverySecond { at_most: CUTS });
    scene.lodging.config["sink"]["elasticsearch"]["hosts"] = json!(cutters.urls);
    scene.lodging.config["batch"] = json!({"max_documents": LINES_PER_BATCH, "max_age": "50ms"});
    let node = Node::new(scene.lodging.root()).unwrap();
    let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
    let mut talker = Talker::new("cut");
    let begun = Instant::now();
    let mut agent = scene.lodging.start();
    let (mut kills, mut again) = (0, 0);
    while cutters.cuts() < CUTS || kills < KILLS {
        talker.say(&mut log, MORNING_NS, LINES_PER_BATCH);
        // No more than some batches ahead, so that cuts strike what is new as well as what is sent again.
        agent.wait_for("the agent has caught up, nearly", |agent| behind(agent) < 100_000);
        if kills < KILLS && cutters.cuts() >= (kills + 1) * CUTS / (KILLS + 1) {
            again += agent.status().documents("duplicate");
            agent.kill();
            agent = scene.lodging.start();
            kills += 1;
        }
    }
    agent.wait_for("all is there", |agent| {
        scene.count() >= talker.lines && agent.status().is_at_rest()
    });
    again += agent.status().documents("duplicate");
    agent.terminate().assert_clean();
    scene.assert_exactly_once([&talker]);
    assert_eq!(scene.count(), talker.lines);
    assert!(again >= CUTS, "{again} documents were sent again");
    tell(&format!(
        "{} answers cut after the commit, {kills} kills: {} lines, {again} documents were there already when they came; {:.1?}",
        cutters.cuts(),
        talker.lines,
        begun.elapsed(),
    ));
}
