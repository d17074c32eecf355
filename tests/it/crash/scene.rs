//! A node whose state directory is about to suffer: containers that write and rotate, a server that refuses one line in a
//! hundred for good, and files that stay, so that whatever the agent forgets it can read again.

use super::poison::{assert_dead_letters, is_poison};
use crate::agent::{Agent, Lodging};
use crate::traffic::{Arrivals, Containers, Traffic, Writes, seed, tell};
use longshore_kit::chance::Chance;
use longshore_kit::lines::find_message;
use longshore_kit::rude_elasticsearch::{Fates, Fault, ItemFate, Keeping, Odds, Refused, RudeElasticsearch};
use longshore_kit::simkubelet::{Node, NodeConfig};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the tests of damage have in common.
pub(super) struct Scene<W = Containers> {
    pub(super) chance: Chance,
    pub(super) server: RudeElasticsearch,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) lodging: Lodging,
    pub(super) node: Node,
    seed: u64,
    refusals: Arc<AtomicU64>,
    traffic: Option<Traffic<W>>,
}

impl Scene {
    /// Containers that write from now on.
    pub(super) fn new(test: &str) -> Scene {
        Scene::of(test, |root, seed, arrivals| {
            let node = Node::with(root, node_config())?;
            let containers = Containers::new(&node, 3, seed, arrivals);
            Ok((node, containers))
        })
    }
}

/// Files rotate often, and stay.
pub(super) fn node_config() -> NodeConfig {
    NodeConfig {
        max_size_bytes: 48 << 10,
        max_files: 10_000,
        ..NodeConfig::default()
    }
}

impl<W: Writes> Scene<W> {
    /// A node below the directory that `make` is given, and what writes there from now on: by its seed, and saying to the
    /// arrivals what it writes.
    ///
    /// # Panics
    /// When the node's files cannot be written.
    pub(super) fn of(
        test: &str,
        make: impl FnOnce(&Path, u64, &Arc<Arrivals>) -> io::Result<(Node, W)>,
    ) -> Scene<W> {
        let seed = seed(test);
        let server = RudeElasticsearch::start();
        server.keep(Keeping::Ids);
        let arrivals = Arrivals::of(&server);
        // What the agent has delivered may still be the beginning of what it has not.
        arrivals.let_go(HashMap::new());
        let refusals = Arc::<AtomicU64>::default();
        server.fates(fates(seed, &arrivals, &refusals));
        let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
        lodging.config["batch"]["max_documents"] = 200.into();
        let (node, writers) = make(lodging.root(), seed, &arrivals).expect("a node and its containers");
        let traffic = Traffic::start(writers);
        Scene {
            chance: Chance::new(seed),
            server,
            arrivals,
            lodging,
            node,
            seed,
            refusals,
            traffic: Some(traffic),
        }
    }

    /// The server refuses whole requests: what is read goes to the spool.
    pub(super) fn outage(&self) {
        self.server
            .fault(Fault::Refuse(Refused::Unavailable503), Odds::Always);
    }

    /// It does not any more.
    pub(super) fn outage_ends(&self) {
        self.server.clear_faults();
    }

    /// The containers go on for this long.
    #[track_caller]
    pub(super) fn run_for(&self, time: Duration) {
        self.traffic
            .as_ref()
            .expect("containers that write")
            .run_for(time);
    }

    /// Or for a random part of it.
    #[track_caller]
    pub(super) fn run_for_some_of(&mut self, time: Duration) {
        let micros = self.chance.below(time.as_micros() as u64);
        self.run_for(Duration::from_micros(micros));
    }

    /// Waits until the agent delivers new lines.
    #[track_caller]
    pub(super) fn wait_for_lines(&self, agent: &mut Agent, count: u64) {
        let wanted = self.server.count() + count;
        agent.wait_for("new lines", |_| self.server.count() >= wanted);
    }

    /// The containers stop, and the agent comes to rest: each line is in the index once, or in the dead-letter file; it ends
    /// clean, and has counted no loss.
    #[track_caller]
    pub(super) fn assert_all_arrive(&mut self, mut agent: Agent) {
        self.wait_for_all(&mut agent);
        agent.status().assert_nothing_lost();
        self.assert_ends_with_all(agent);
    }

    /// The containers stop, and the agent comes to rest.
    #[track_caller]
    pub(super) fn wait_for_all(&mut self, agent: &mut Agent) {
        if let Some(traffic) = self.traffic.take() {
            tell(&traffic.stop().told());
        }
        let written = self.arrivals.written();
        agent.wait_for("all lines", |agent| {
            self.arrivals.has(&written) && agent.status().is_at_rest()
        });
    }

    /// It ends clean, and each line is where it belongs.
    #[track_caller]
    pub(super) fn assert_ends_with_all(&self, agent: Agent) {
        agent.terminate().assert_clean();
        let refusals = self.refusals.load(Ordering::SeqCst);
        assert_dead_letters(self.seed, &self.lodging, &self.arrivals, refusals);
        self.arrivals.assert_exactly_once();
        tell(&format!("sent again: {} documents", self.server.duplicates_409()));
    }
}

impl<W> Drop for Scene<W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.arrivals.tell_lost();
        }
    }
}

fn fates(seed: u64, arrivals: &Arc<Arrivals>, refusals: &Arc<AtomicU64>) -> Fates {
    let (arrivals, refusals) = (Arc::clone(arrivals), Arc::clone(refusals));
    let refuses = move |source: &[u8]| {
        let found = find_message(source).ok().map(|(_, found)| found);
        let poison = found.filter(|found| is_poison(seed, found.stream, found.seq));
        if let Some(found) = poison {
            refusals.fetch_add(1, Ordering::SeqCst);
            arrivals.on_refused(found.stream, found.seq);
        }
        poison.is_some()
    };
    Fates {
        custom: Some(Box::new(move |item| {
            refuses(item.source).then_some(ItemFate::Mapping400)
        })),
        ..Fates::default()
    }
}
