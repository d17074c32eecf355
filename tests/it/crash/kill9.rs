//! SIGKILL at random points, again and again, while files rotate and the server misbehaves.

use super::exposure::Exposure;
use crate::agent::{Agent, Lodging, PATIENCE};
use crate::traffic::{Arrivals, Containers, Traffic, seed, tell};
use longshore_kit::chance::{Chance, mix, unit};
use longshore_kit::rude_elasticsearch::{Fates, Fault, Item, ItemFate, Keeping, Odds, RudeElasticsearch};
use longshore_kit::simkubelet::{Node, NodeConfig};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const KILLS: u32 = 50;
/// A kill strikes so many ms after the agent began to read, or after it had caught up: by turns, because an agent that
/// always dies while it repeats what it did before gets nowhere.
const LIFE_MS: Range<u64> = 50..800;
/// How often the agent saves what it knows.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// A small batch, so that each life has many requests.
const BATCH_DOCUMENTS: u64 = 200;
const REFUSED_FOR_NOW: f64 = 0.1;
const CUT: f64 = 0.02;

/// Red without: `on_joined` in `Source::collect` (halves of messages arrive), `on_delivered_found` in `Spool::recover` (lines
/// lost), the `unacked` candidate in `checkpoints::commit` (lines lost), `Registry::claim` in `Instance::identify` (lines
/// twice), `Note::Acked` in `Source::on_note` (far more is sent again than the bound).
#[test]
fn crash_kill9() {
    let mut stage = Stage::new(seed("crash_kill9"));
    let traffic = Traffic::start(stage.containers());
    for kill in 1..=KILLS {
        stage.life(kill, &traffic);
    }
    let mut agent = stage.lodging.start();
    let containers = traffic.stop();
    stage.wait_for_all(&mut agent, "after the last kill");
    stage.arrivals.assert_exactly_once();
    let (rotations, restarts) = containers.turned_over();
    let bytes = containers.bytes();
    tell(&format!(
        "{rotations} rotations, {restarts} container restarts, {bytes} bytes"
    ));
    stage.assert_bounded();
    stage.end_clean(agent, containers);
}

struct Stage {
    seed: u64,
    chance: Chance,
    server: RudeElasticsearch,
    arrivals: Arc<Arrivals>,
    exposure: Arc<Mutex<Exposure>>,
    lodging: Lodging,
    node: Node,
    /// Documents that the kills so far may have caused to be sent again.
    bound: u64,
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let server = RudeElasticsearch::start();
        server.seed(seed);
        server.keep(Keeping::Ids);
        let exposure = Arc::<Mutex<Exposure>>::default();
        server.fates(fates(seed, &exposure));
        server.fault(Fault::CommitThenCut, Odds::Probability(CUT));
        let arrivals = Arrivals::of(&server);
        let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
        lodging.config["batch"]["max_documents"] = BATCH_DOCUMENTS.into();
        let config = NodeConfig {
            max_size_bytes: 48 << 10,
            ..NodeConfig::default()
        };
        let node = Node::with(lodging.root(), config).expect("a node");
        Stage {
            seed,
            chance: Chance::new(seed),
            server,
            arrivals,
            exposure,
            lodging,
            node,
            bound: 0,
        }
    }

    fn containers(&self) -> Containers {
        Containers::new(&self.node, 3, self.seed, &self.arrivals)
    }

    /// The agent starts, reads (every second time until it has caught up), and is killed.
    fn life(&mut self, kill: u32, traffic: &Traffic) {
        let again_before = self.server.duplicates_409();
        let written = self.arrivals.written();
        let mut agent = self.lodging.start();
        agent.wait_for("it to read", |agent| agent.status().ledger("read") > 0);
        if kill.is_multiple_of(2) {
            agent.wait_for("it to catch up", |_| self.arrivals.has(&written));
        }
        let life = Duration::from_millis(LIFE_MS.start + self.chance.below(LIFE_MS.end - LIFE_MS.start));
        traffic.run_for(life);
        let killed = Instant::now();
        agent.kill();
        // What the dead agent had written into its sockets is still stored.
        assert!(
            self.server.wait_for_disconnection(PATIENCE),
            "connections of a dead agent"
        );
        let mut exposure = lock(&self.exposure);
        let exposed = exposure.on_kill(killed, CHECKPOINT_INTERVAL);
        let twice = std::mem::take(&mut exposure.repeated);
        self.arrivals.let_go(exposure.durable());
        self.bound += exposed;
        let (stored, again) = (self.server.count(), self.server.duplicates_409() - again_before);
        tell(&format!(
            "kill {kill}: after {life:?}, {stored} stored, {again} sent again in this life ({twice} of them twice), \
             {exposed} exposed by this kill"
        ));
    }

    /// Until everything has arrived and nothing is under way.
    fn wait_for_all(&self, agent: &mut Agent, when: &str) {
        agent.wait_for(&format!("all lines, {when}"), |agent| {
            self.arrivals.is_complete() && agent.status().is_at_rest()
        });
    }

    /// Until the agent keeps up with new lines.
    fn wait_for_more(&self, agent: &mut Agent) {
        let wanted = self.arrivals.report().indexed + 1_000;
        agent.wait_for("new lines", |_| self.arrivals.report().indexed >= wanted);
    }

    /// What was sent again is bounded by what the kills exposed and by the answers that were cut.
    fn assert_bounded(&self) {
        let again = self.server.duplicates_409();
        let seen = self.server.seen();
        assert_eq!(
            seen.len() as u64,
            self.server.requests(),
            "every request is remembered"
        );
        let cut = seen.iter().filter(|request| request.status.is_none()).count() as u64;
        let (exposed, bound) = (self.bound, self.bound + cut * BATCH_DOCUMENTS);
        tell(&format!(
            "sent again: {again} documents; bound: {bound} ({exposed} exposed by {KILLS} kills, {cut} answers cut with at \
             most {BATCH_DOCUMENTS} documents each)"
        ));
        assert!(
            again <= bound,
            "{again} documents sent again are more than {bound}"
        );
    }

    /// After a clean end nothing is sent again, though the containers write on all the time.
    fn end_clean(&self, mut agent: Agent, containers: Containers) {
        self.server.clear_faults();
        self.server.fates(Fates::default());
        let traffic = Traffic::start(containers);
        self.wait_for_more(&mut agent);
        let before = self.server.duplicates_409();
        agent.terminate().assert_clean();
        let mut agent = self.lodging.start();
        self.wait_for_more(&mut agent);
        drop(traffic.stop());
        self.wait_for_all(&mut agent, "after a clean end");
        agent.terminate().assert_clean();
        let again = self.server.duplicates_409() - before;
        tell(&format!("sent again after a clean end: {again} documents"));
        assert_eq!(again, 0, "documents sent again after a clean end");
        self.arrivals.assert_exactly_once();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.arrivals.tell_lost();
        }
    }
}

/// One item in ten is refused for now, by its id and how often it was tried; the others are noted.
fn fates(seed: u64, exposure: &Arc<Mutex<Exposure>>) -> Fates {
    let exposure = Arc::clone(exposure);
    let decide = move |item: Item<'_>| {
        let mut hasher = DefaultHasher::new();
        (seed, item.id, item.attempt).hash(&mut hasher);
        if unit(mix(hasher.finish())) < REFUSED_FOR_NOW {
            return Some(ItemFate::Reject429);
        }
        lock(&exposure).on_given(item.source, Instant::now());
        None
    };
    Fates {
        custom: Some(Box::new(decide)),
        ..Fates::default()
    }
}

fn lock(exposure: &Mutex<Exposure>) -> MutexGuard<'_, Exposure> {
    exposure.lock().unwrap_or_else(PoisonError::into_inner)
}
