//! SIGKILL in every phase of the agent's work, again and again, while files rotate and the server misbehaves.
//!
//! Each life of the agent has an aim: a phase in which it is to die. The lab waits for that phase to be *seen* (in `/proc`,
//! at the server, on the status page) and kills at once; what counts is the phase in which the kill struck.

mod phase;
mod threads;

use super::exposure::{Exposure, Given};
use super::poison::{assert_dead_letters, chance_of, is_poison};
use super::signals::signal;
use crate::agent::{Agent, Lodging, PATIENCE, binary};
use crate::traffic::{Arrivals, Containers, Traffic, seed, tell};
use longshore_kit::chance::Chance;
use longshore_kit::lines::find_message;
use longshore_kit::rude_elasticsearch::{
    Fates, Fault, Item, ItemFate, Keeping, Odds, Refused, RudeElasticsearch,
};
use longshore_kit::simkubelet::{Node, NodeConfig};
use phase::{Histogram, Look, Phase};
use rustix::process::Signal;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use threads::Threads;

/// Kills, unless `LONGSHORE_KILLS` says otherwise.
const KILLS: u32 = 50;
/// A run of at least so many kills must reach every phase in more than [`RARE`] of them.
const MANY_KILLS: u32 = 1_000;
const RARE: f64 = 0.01;
/// The least share of kills that strike with documents in flight.
const IN_FLIGHT: f64 = 0.9;
/// Of so many lives each aim has its share, in random order.
const AIMS: [(Phase, usize); 10] = [
    (Phase::Start, 2),
    (Phase::Reading, 7),
    (Phase::OpenBatch, 4),
    (Phase::Request, 9),
    (Phase::Retry, 6),
    (Phase::Spool, 6),
    (Phase::Checkpoint, 7),
    (Phase::DeadLetter, 5),
    (Phase::Drain, 4),
    (Phase::Idle, 1),
];
/// The lab watches for its aim after so many answers.
const ANSWERS: u64 = 24;
/// When the aim is not seen within this, the agent dies as it is.
const AIM_PATIENCE: Duration = Duration::from_millis(1_500);
/// So long may an agent take until it has nothing to do.
const IDLE_PATIENCE: Duration = Duration::from_secs(8);
/// A status page older than this is asked for again.
const PAGE_AGE: Duration = Duration::from_millis(25);
/// The kill of an agent that has to start, or to end, comes within this.
const START: Duration = Duration::from_millis(15);
const DRAIN: Duration = Duration::from_millis(60);
/// Every so many kills an agent lives until all that was stored is durable, so that the bound on what is sent again bites.
const LONG_LIFE: u32 = 20;
/// More than the time after which the agent saves what it knows.
const DURABLE_AFTER: Duration = Duration::from_millis(2_500);
/// A small batch, so that each life has many requests.
const BATCH_DOCUMENTS: u64 = 200;
const REFUSED_FOR_NOW: f64 = 0.1;
const CUT: f64 = 0.02;

/// Red without: `on_joined` in `Source::collect` (halves of messages arrive), `on_delivered_found` in `Spool::recover` (lines
/// lost), the `unacked` candidate in `checkpoints::commit` (lines lost), `Registry::claim` in `Instance::identify` (lines
/// twice), `Note::Acked` in `Source::on_note` (far more is sent again than the bound).
#[test]
fn crash_kill9() {
    let kills =
        std::env::var("LONGSHORE_KILLS").map_or(KILLS, |kills| kills.parse().expect("LONGSHORE_KILLS"));
    let mut stage = Stage::new(seed("crash_kill9"));
    let traffic = Traffic::start(stage.containers());
    let mut deck = Vec::new();
    while stage.kills < kills {
        let aim = deck.pop().unwrap_or_else(|| {
            deck = stage.shuffled_aims();
            deck.pop().expect("aims")
        });
        stage.life(aim, &traffic);
    }
    let mut agent = stage.lodging.start();
    let containers = traffic.stop();
    stage.wait_for_all(&mut agent, "after the last kill");
    let refusals = stage.ward.refusals.load(Ordering::SeqCst);
    assert_dead_letters(stage.seed, &stage.lodging, &stage.arrivals, refusals);
    stage.arrivals.assert_exactly_once();
    let (rotations, restarts) = containers.turned_over();
    let bytes = containers.bytes();
    tell(&format!(
        "{rotations} rotations, {restarts} container restarts, {bytes} bytes"
    ));
    stage.assert_bounded();
    stage.assert_phases(kills);
    stage.end_clean(agent, containers);
}

struct Stage {
    seed: u64,
    began: Instant,
    chance: Chance,
    server: RudeElasticsearch,
    arrivals: Arc<Arrivals>,
    ward: Arc<Ward>,
    lodging: Lodging,
    node: Node,
    kills: u32,
    histogram: Histogram,
    /// Agents that had ended before the kill came.
    escaped: u32,
    /// Documents that the kills so far may have caused to be sent again.
    bound: u64,
}

/// What the server decides about items, and what it remembers of them.
#[derive(Default)]
struct Ward {
    exposure: Mutex<Exposure>,
    /// Nothing is refused for now.
    calm: AtomicBool,
    refusals: AtomicU64,
}

impl Ward {
    fn exposure(&self) -> MutexGuard<'_, Exposure> {
        self.exposure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let server = RudeElasticsearch::start();
        server.seed(seed);
        server.keep(Keeping::Ids);
        let arrivals = Arrivals::of(&server);
        let ward = Arc::<Ward>::default();
        server.fates(fates(seed, &ward, &arrivals));
        server.fault(Fault::CommitThenCut, Odds::Probability(CUT));
        let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
        lodging.config["batch"]["max_documents"] = BATCH_DOCUMENTS.into();
        let config = NodeConfig {
            max_size_bytes: 48 << 10,
            ..NodeConfig::default()
        };
        let node = Node::with(lodging.root(), config).expect("a node");
        Stage {
            seed,
            began: Instant::now(),
            chance: Chance::new(seed),
            server,
            arrivals,
            ward,
            lodging,
            node,
            kills: 0,
            histogram: Histogram::default(),
            escaped: 0,
            bound: 0,
        }
    }

    fn containers(&self) -> Containers {
        Containers::new(&self.node, 3, self.seed, &self.arrivals)
    }

    /// All aims, so often as each is wanted, in random order; the first one is not a start, since nothing is there yet.
    fn shuffled_aims(&mut self) -> Vec<Phase> {
        let mut aims: Vec<Phase> = AIMS
            .iter()
            .flat_map(|(aim, count)| [*aim].repeat(*count))
            .collect();
        for at in (1..aims.len()).rev() {
            aims.swap(at, self.chance.below(at as u64 + 1) as usize);
        }
        if let Some(other) = aims.iter().position(|aim| *aim != Phase::Start) {
            let last = aims.len() - 1;
            aims.swap(other, last);
        }
        aims
    }

    /// The agent starts, works until its aim is seen, and is killed.
    fn life(&mut self, aim: Phase, traffic: &Traffic) {
        self.ward.exposure().on_start(!self.has_frames());
        let (look, killed) = if aim == Phase::Start {
            self.kill_while_it_starts(traffic)
        } else {
            self.kill_at_work(aim, traffic)
        };
        // What the dead agent had written into its sockets is still stored.
        let silent = self.server.wait_for_disconnection(PATIENCE);
        assert!(silent, "connections of a dead agent");
        self.rude_as_ever();
        let durable = {
            let mut exposure = self.ward.exposure();
            self.bound += exposure.on_kill(killed, DURABLE_AFTER);
            exposure.durable()
        };
        let arrived = |(stream, seq): &(String, u64)| self.arrivals.has_all_before(stream, *seq);
        self.arrivals
            .let_go(durable.into_iter().filter(arrived).collect());
        if let Some(look) = look {
            self.kills += 1;
            self.histogram.add(&look);
            self.tell_now_and_then();
        } else {
            self.escaped += 1;
        }
    }

    /// Whether the spool holds anything for the next start.
    fn has_frames(&self) -> bool {
        let entries = std::fs::read_dir(self.lodging.state().join("spool"));
        let mut entries = entries.into_iter().flatten().flatten();
        entries.any(|entry| {
            entry.file_name().to_string_lossy().ends_with(".segment")
                && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
        })
    }

    /// Nobody waits for this agent to answer.
    fn kill_while_it_starts(&mut self, traffic: &Traffic) -> (Option<Look>, Instant) {
        let mut child = Command::new(binary())
            .args(["run", "--config"])
            .arg(self.lodging.root().join("longshore.yaml"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent's binary can be started");
        let mut threads = Threads::of(child.id());
        traffic.run_for(self.random(START));
        let look = self.look(&mut threads, None);
        child.kill().expect("our child");
        let killed = Instant::now();
        child.wait().expect("our child");
        (Some(look), killed)
    }

    fn kill_at_work(&mut self, aim: Phase, traffic: &Traffic) -> (Option<Look>, Instant) {
        let mut agent = self.lodging.start();
        let mut threads = Threads::of(agent.pid());
        agent.wait_for("it to read", |agent| agent.status().ledger("read") > 0);
        if self.kills % LONG_LIFE == LONG_LIFE - 1 {
            let written = self.arrivals.written();
            self.ward.calm.store(true, Ordering::SeqCst);
            self.server.clear_faults();
            agent.wait_for("it to catch up", |_| {
                self.arrivals.has(&written) && self.ward.exposure().refused_for_now() == 0
            });
            self.ward.exposure().on_calm(Instant::now());
            traffic.run_for(DURABLE_AFTER + DURABLE_AFTER / 2);
        }
        let answers = self.server.answered() + 1 + self.chance.below(ANSWERS);
        let came = self
            .server
            .wait_until(PATIENCE, |server| server.answered() >= answers);
        assert!(came, "answers; log:\n{}", agent.log().join("\n"));
        let look = if aim == Phase::Drain {
            self.drain(&agent, &mut threads, traffic)
        } else {
            traffic.pause(aim == Phase::Idle);
            let look = self.await_aim(aim, &agent, &mut threads);
            traffic.pause(false);
            look
        };
        let ended = agent.kill();
        // It may have ended by itself while it drained.
        let look = (!ended.status.success()).then_some(look);
        (look, Instant::now())
    }

    /// Tells the agent to end, and looks at it a moment later.
    fn drain(&mut self, agent: &Agent, threads: &mut Threads, traffic: &Traffic) -> Look {
        let mut look = self.look(threads, Some(agent));
        signal(agent, Signal::TERM);
        traffic.run_for(self.random(DRAIN));
        look.told_to_end = true;
        look
    }

    /// Until the agent is in this phase, with documents in flight unless it is to have none, or long enough.
    fn await_aim(&mut self, aim: Phase, agent: &Agent, threads: &mut Threads) -> Look {
        match aim {
            Phase::Spool => {
                self.ward.exposure().on_outage();
                self.server
                    .fault(Fault::Refuse(Refused::Unavailable503), Odds::Always);
            }
            Phase::OpenBatch => self.ward.calm.store(true, Ordering::SeqCst),
            Phase::Idle => {
                self.ward.calm.store(true, Ordering::SeqCst);
                self.server.clear_faults();
            }
            _ => {}
        }
        let patience = if aim == Phase::Idle {
            IDLE_PATIENCE
        } else {
            AIM_PATIENCE
        };
        let deadline = Instant::now() + patience;
        let mut page = self.look(threads, Some(agent));
        let mut asked = Instant::now();
        loop {
            let now = Instant::now();
            if now - asked > PAGE_AGE {
                page = self.look(threads, Some(agent));
                asked = now;
            }
            let look = Look {
                in_memory: page.in_memory,
                spooled: page.spooled,
                ..self.look(threads, None)
            };
            let is_seen = look.phase() == aim && look.has_documents_in_flight() == (aim != Phase::Idle);
            if is_seen || now > deadline {
                return look;
            }
            std::thread::yield_now();
        }
    }

    fn look(&self, threads: &mut Threads, page_of: Option<&Agent>) -> Look {
        let status = page_of.map(Agent::status);
        let ledger = |place| status.as_ref().map_or(0, |status| status.ledger(place));
        if let Some(status) = &status {
            status.assert_nothing_lost();
        }
        Look {
            told_to_end: false,
            busy: threads.look(),
            open_requests: self.server.open_requests(),
            refused_for_now: self.ward.exposure().refused_for_now(),
            in_memory: ledger("held") + ledger("in_flight"),
            spooled: ledger("spooled"),
        }
    }

    fn random(&mut self, below: Duration) -> Duration {
        Duration::from_micros(self.chance.below(below.as_micros() as u64))
    }

    fn rude_as_ever(&self) {
        self.ward.calm.store(false, Ordering::SeqCst);
        self.server.clear_faults();
        self.server.fault(Fault::CommitThenCut, Odds::Probability(CUT));
    }

    fn tell_now_and_then(&self) {
        if self.kills.is_multiple_of(50) {
            tell(&format!(
                "{} kills after {:.0?}: {} documents stored, {} sent again ({} of them durable), {} requests",
                self.kills,
                self.began.elapsed(),
                self.server.count(),
                self.server.duplicates_409(),
                self.ward.exposure().forgotten,
                self.server.requests(),
            ));
        }
    }

    /// Until everything has arrived and nothing is under way.
    fn wait_for_all(&self, agent: &mut Agent, when: &str) {
        let written = self.arrivals.written();
        agent.wait_for(&format!("all lines, {when}"), |agent| {
            self.arrivals.has(&written) && agent.status().is_at_rest()
        });
    }

    /// Until the agent keeps up with new lines.
    fn wait_for_more(&self, agent: &mut Agent) {
        let wanted = self.server.count() + 1_000;
        agent.wait_for("new lines", |_| self.server.count() >= wanted);
    }

    /// What was sent again is bounded by what the kills exposed and by the answers that were cut; and nothing came again that
    /// was delivered long before a kill.
    fn assert_bounded(&self) {
        let again = self.server.duplicates_409();
        let cut = self.server.cut();
        let (exposed, bound) = (self.bound, self.bound + cut * BATCH_DOCUMENTS);
        tell(&format!(
            "sent again: {again} documents; bound: {bound} ({exposed} exposed by {} kills, {cut} answers cut with at most \
             {BATCH_DOCUMENTS} documents each)",
            self.kills + self.escaped
        ));
        assert!(
            again <= bound,
            "{again} documents sent again are more than {bound}"
        );
        let forgotten = self.ward.exposure().forgotten;
        assert_eq!(forgotten, 0, "documents came again that were durable");
    }

    fn assert_phases(&self, kills: u32) {
        let time = self.began.elapsed();
        tell(&format!(
            "{kills} kills in {time:.0?} ({:.2?} each), {} agents had ended before the kill; the phases:\n{}",
            time / kills.max(1),
            self.escaped,
            self.histogram
        ));
        let share = self.histogram.in_flight_share();
        assert!(share >= IN_FLIGHT, "only {share} with documents in flight");
        if kills >= MANY_KILLS {
            assert_eq!(
                self.histogram.rarer_than(RARE),
                [],
                "phases that were hardly reached"
            );
        }
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
            tell(&format!("after {} kills:\n{}", self.kills, self.histogram));
            self.arrivals.tell_lost();
        }
    }
}

/// One line in a hundred is refused for good; one item in ten is refused for now, by its id and how often it was tried. All
/// are noted.
fn fates(seed: u64, ward: &Arc<Ward>, arrivals: &Arc<Arrivals>) -> Fates {
    let (ward, arrivals) = (Arc::clone(ward), Arc::clone(arrivals));
    let decide = move |item: Item<'_>| {
        let Ok((_, found)) = find_message(item.source) else {
            return None;
        };
        let (given, fate) = if is_poison(seed, found.stream, found.seq) {
            ward.refusals.fetch_add(1, Ordering::SeqCst);
            arrivals.on_refused(found.stream, found.seq);
            (Given::Refused, Some(ItemFate::Mapping400))
        } else if !ward.calm.load(Ordering::SeqCst)
            && chance_of(&(seed, item.id, item.attempt)) < REFUSED_FOR_NOW
        {
            (Given::NotNow, Some(ItemFate::Reject429))
        } else {
            (Given::Stored, None)
        };
        ward.exposure().on_given(&found, given, Instant::now());
        fate
    };
    Fates {
        custom: Some(Box::new(decide)),
        ..Fates::default()
    }
}
