//! The law at every moment of a run in which everything goes wrong at once.

use super::{assert_ends, assert_law_of_metrics};
use crate::agent::{Agent, Lodging, Status};
use crate::traffic::{Arrivals, Containers, Solo, Traffic, seed, tell};
use longshore_kit::lines::{CriDialect, Stream, cri_line};
use longshore_kit::rude_elasticsearch::{Fates, Fault, Keeping, Odds, RudeElasticsearch};
use longshore_kit::simkubelet::{Node, NodeConfig};

/// The longest message; those of the containers are shorter.
const MAX_LINE: usize = 32 << 10;
/// Bytes that an over-long line has beyond it.
const BEYOND: usize = 5_000;
const POISON: &str = "poison";

/// Red without: `publish_ledger` in `Source::collect` (bytes move on before they are known), the reader's totals under one
/// lock in `publish_ledger`, `take` in `Ledger::on_moved`, or when a document that rides again rests twice.
#[test]
fn the_law_holds_at_every_moment_of_a_storm() {
    let seed = seed("the_law_holds_at_every_moment_of_a_storm");
    let server = RudeElasticsearch::start();
    server.seed(seed);
    server.keep(Keeping::Ids);
    server.fates(Fates {
        mapping_400: Some(Box::new(|source| {
            memchr::memmem::find(source, POISON.as_bytes()).is_some()
        })),
        reject_429: 0.1,
        ..Fates::default()
    });
    server.fault(Fault::CommitThenCut, Odds::Probability(0.02));
    let arrivals = Arrivals::of(&server);
    let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
    lodging.config["source"]["max_line"] = MAX_LINE.into();
    lodging.config["batch"]["max_documents"] = 200.into();
    let config = NodeConfig {
        max_size_bytes: 48 << 10,
        ..NodeConfig::default()
    };
    let node = Node::with(lodging.root(), config).expect("a node");

    let traffic = Traffic::start(Containers::new(&node, 3, seed, &arrivals));
    let mut watch = Watch {
        agent: lodging.start(),
        odd: Odd::new(&node, &arrivals),
        looks: 0,
    };
    let far = watch.until("a start", |status| status.ledger("read") > 200_000);
    server.off();
    let far = watch.until("a full outage", |status| {
        status.ledger("read") > far + 400_000 && status.ledger("spooled") > 100_000
    });
    server.on();
    watch.until("all of it to be caught up with", |status| {
        status.ledger("read") > far + 200_000 && status.ledger("spooled") == 0
    });
    let Watch {
        mut agent,
        odd,
        looks,
    } = watch;
    let containers = traffic.stop();
    let written = containers.bytes() + odd.solo.bytes;
    let status = agent.wait_until_delivered(written);

    let (rotations, restarts) = containers.turned_over();
    tell(&format!(
        "{looks} looks, {rotations} rotations, {restarts} restarts: {}",
        status.0["ledger"]
    ));
    assert_ends(&status, written);
    assert_eq!(status.ledger("dead_lettered"), odd.poison_bytes);
    assert_eq!(status.dropped(), odd.beyond_bytes);
    assert_eq!(lodging.dead_letters().len() as u64, odd.poison);
    arrivals.assert_exactly_once();
    agent.terminate().assert_clean();
}

/// A container with lines that cannot end in the index as they are.
struct Odd {
    solo: Solo,
    poison: u64,
    poison_bytes: u64,
    beyond_bytes: u64,
}

impl Odd {
    fn new(node: &Node, arrivals: &std::sync::Arc<Arrivals>) -> Odd {
        Odd {
            solo: Solo::new(node, "odd", arrivals),
            poison: 0,
            poison_bytes: 0,
            beyond_bytes: 0,
        }
    }

    /// One that the index refuses, one that is longer than it may be, and one that is as it should be.
    fn write(&mut self) {
        let poison = cri_line(
            &CriDialect::Containerd.stamp(crate::traffic::unix_ns()),
            Stream::Stderr,
            "F",
            POISON.as_bytes(),
        );
        self.solo.write_raw(&poison);
        self.poison += 1;
        self.poison_bytes += poison.len() as u64;
        let content = self.solo.write_message(10, &"x".repeat(MAX_LINE + BEYOND));
        self.beyond_bytes += (content - MAX_LINE) as u64;
        self.solo.write_message(10, "");
    }
}

/// Looks at both pages again and again, while the odd container writes.
struct Watch {
    agent: Agent,
    odd: Odd,
    looks: u64,
}

impl Watch {
    /// Until `done`; returns how much was read by then.
    fn until(&mut self, what: &str, done: impl Fn(&Status) -> bool) -> u64 {
        let (odd, looks) = (&mut self.odd, &mut self.looks);
        self.agent.wait_for_some(what, |agent| {
            assert_law_of_metrics(agent);
            let status = agent.status();
            *looks += 1;
            odd.write();
            done(&status).then(|| status.ledger("read"))
        })
    }
}
