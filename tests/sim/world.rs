//! A run: the script happens to node, disk, server and agent, one step after the other.

use crate::again::{Again, Name};
use crate::agent::{Agent, Ending, Request, Time};
use crate::disk::{DeathAt, SimDisk};
use crate::node::Kubelet;
use crate::script::{INDICES, Op, Script};
use longshore::sink::elasticsearch::flight::RequestId;
use longshore::sink::elasticsearch::response::{FILTER_PATH, Problem, RequestVerdict, Verdict, judge};
use longshore_kit::chance::Chance;
use longshore_kit::lines::{Corrupt, MARK, Sequenced, find_messages};
use longshore_kit::rude_elasticsearch::{DirectElasticsearch, Fates, Fault, Outlet};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When the clock of every run begins, in seconds since 1970: a little before a day ends, and with it an index.
const UNIX_START: u64 = 1_767_225_600 - 8;
/// How long a node is down when its power was cut.
const BOOT: Duration = Duration::from_secs(3);
/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A run.
pub(crate) struct World {
    pub(crate) script: Script,
    base: Instant,
    pub(crate) now: Duration,
    skew: i64,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) kubelet: Kubelet,
    pub(crate) server: DirectElasticsearch,
    pub(crate) agent: Option<Agent>,
    /// Requests on their way, and since when.
    requests: Vec<(Request, Duration)>,
    power: bool,
    outage: bool,
    /// The request that has waited longest gets no answer.
    stalls: bool,
    starts: u64,
    /// A hash of everything that happened, in order.
    happened: DefaultHasher,
    /// Agents that have ended, in whatever way.
    pub(crate) lives: u64,
    pub(crate) deaths: u64,
    pub(crate) reached: BTreeMap<String, u64>,
    pub(crate) violation: Option<String>,
    pub(crate) trace: bool,
    /// Documents that were sent, by index and id, to find collisions.
    pub(crate) sent: BTreeMap<(String, String), Vec<u8>>,
    /// Longer or shorter messages that were sent under an id.
    pub(crate) variants: BTreeSet<((String, String), Vec<u8>)>,
    pub(crate) conflicts_allowed: bool,
    again: Again,
    /// Sizes that checkpoints know, by their number and by the uid of the file; and those of durable ones.
    saves: BTreeMap<u64, BTreeMap<u64, u64>>,
    durable_sizes: BTreeMap<u64, u64>,
}

impl World {
    pub(crate) fn new(script: Script, base: Instant) -> World {
        let disk = SimDisk::new(script.seed ^ 0xd15c);
        let mut kubelet = Kubelet::new(&disk, script.max_files, script.conmon);
        (kubelet.poison, kubelet.habit) = (script.poison, script.habit);
        kubelet.unix_ns = UNIX_START * 1_000_000_000;
        let mut server = DirectElasticsearch::new(script.seed);
        server.fates(fates(0));
        World {
            base,
            now: Duration::ZERO,
            skew: 0,
            disk,
            kubelet,
            server,
            agent: None,
            requests: Vec::new(),
            power: false,
            outage: false,
            stalls: false,
            starts: 0,
            happened: DefaultHasher::new(),
            lives: 0,
            deaths: 0,
            reached: BTreeMap::new(),
            violation: None,
            trace: false,
            sent: BTreeMap::new(),
            variants: BTreeSet::new(),
            conflicts_allowed: true,
            again: Again::default(),
            saves: BTreeMap::new(),
            durable_sizes: BTreeMap::new(),
            script,
        }
    }

    /// Everything in the script happens; then the faults end, and everything comes to rest.
    pub(crate) fn run(&mut self) {
        let ops = self.script.ops.clone();
        for (at, op) in ops.into_iter().enumerate() {
            if self.trace {
                println!("{at:4} {:>9.3} {op:?}", self.now.as_secs_f64());
            }
            let (pieces, steps) = (self.kubelet.truth.pieces.len(), self.kubelet.steps.clone());
            self.apply(op);
            (at, self.now, self.disk.all_bytes()).hash(&mut self.happened);
            if self.trace {
                for (step, count) in &self.kubelet.steps {
                    if steps.get(step) != Some(count) {
                        println!("          {step}");
                    }
                }
                for piece in &self.kubelet.truth.pieces[pieces..] {
                    println!("          {piece:?}");
                }
                for path in self.disk.paths("/var/log/pods") {
                    println!("          {path}");
                }
            }
            if self.violation.is_some() {
                return;
            }
        }
    }

    /// The same for two runs when the same happened in both, and they ended alike.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = self.happened.clone();
        (self.now, self.disk.all_bytes(), &self.violation).hash(&mut hasher);
        (&self.reached, self.disk.reached(), &self.kubelet.steps).hash(&mut hasher);
        for document in self.server.documents() {
            (&document.index, &document.id, &document.source[..]).hash(&mut hasher);
        }
        if let Some(agent) = &self.agent {
            format!("{:?}", *agent.board.ledger()).hash(&mut hasher);
        }
        hasher.finish()
    }

    pub(crate) fn time(&self) -> Time {
        let unix = Duration::from_secs(UNIX_START) + self.now;
        let unix = if self.skew < 0 {
            unix - Duration::from_secs(self.skew.unsigned_abs() * 3600)
        } else {
            unix + Duration::from_secs(self.skew.unsigned_abs() * 3600)
        };
        Time {
            now: self.base + self.now,
            unix,
        }
    }

    pub(crate) fn reach(&mut self, what: &str) {
        *self.reached.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write { container, random } => self.on_container(container, |kubelet, at| {
                kubelet.write(at, &mut Chance::new(random));
            }),
            Op::Kubelet { container, random } => self.on_container(container, |kubelet, at| {
                kubelet.step(at, &mut Chance::new(random));
            }),
            Op::KubeletCrash { container } => self.on_container(container, Kubelet::crash),
            Op::Restart { container } => self.on_container(container, Kubelet::restart),
            Op::Truncate { container } => self.on_container(container, Kubelet::truncate),
            Op::CopyTruncate { container } => self.on_container(container, Kubelet::copytruncate),
            Op::NewPod { containers, again } => {
                if self.kubelet.pods.len() < 4 {
                    self.kubelet.new_pod(containers as usize, again);
                    self.changed();
                }
            }
            Op::DeletePod { pod } => {
                let pod = pod as usize % self.kubelet.pods.len().max(1);
                self.kubelet.delete_pod(pod);
            }
            Op::RemoveDir { pod } => {
                let pod = pod as usize % self.kubelet.pods.len().max(1);
                self.kubelet.remove_dir(pod);
                self.changed();
            }
            Op::Agent { random } => self.agent_steps(&mut Chance::new(random)),
            Op::Answer { request, fault } => self.answer(request, fault),
            Op::Pass { millis, random } => self.pass(Duration::from_millis(millis), &mut Chance::new(random)),
            Op::Stall { millis, random } => {
                self.stalls = true;
                self.pass(Duration::from_millis(millis), &mut Chance::new(random));
                self.stalls = false;
            }
            Op::Freeze { millis } => {
                self.advance(Duration::from_millis(millis));
                self.reach("agent frozen");
            }
            Op::Crash { power, at } => self.crash_at(power, at),
            Op::Start => self.start(),
            Op::Stop => self.stop(),
            Op::Fail(failure) => self.disk.fail(failure),
            Op::Full { room } => self.disk.set_capacity(self.disk.state_bytes() + room),
            Op::Heal => self.heal(),
            Op::Reject { percent } => {
                self.server.fates(fates(percent));
                self.reach("server: items rejected");
            }
            Op::Block { index, kind } => {
                self.server.block_index(index, kind);
                self.reach("server: index blocked");
            }
            Op::Unblock => self.unblock(),
            Op::Outage { on } => {
                self.outage = on;
                if on {
                    self.reach("server: outage");
                }
            }
            Op::Skew { hours } => {
                self.skew = hours;
                self.reach("clock skewed");
            }
        }
        self.check_law();
    }

    fn on_container(&mut self, container: u64, act: impl FnOnce(&mut Kubelet, usize)) {
        let running = self.kubelet.running();
        if let Some(at) = running.get(container as usize % running.len().max(1)) {
            act(&mut self.kubelet, *at);
        }
    }

    fn changed(&mut self) {
        if let (true, Some(agent)) = (self.script.watch, &mut self.agent) {
            agent.on_changed();
        }
    }

    fn unblock(&mut self) {
        INDICES.iter().for_each(|index| self.server.unblock_index(index));
    }

    pub(crate) fn heal(&mut self) {
        self.disk.heal();
        self.outage = false;
        self.unblock();
        self.server.fates(fates(0));
        self.skew = 0;
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.kubelet.unix_ns = self
            .kubelet
            .unix_ns
            .max((Duration::from_secs(UNIX_START) + self.now).as_nanos() as u64);
        // The kernel and the agent have one clock.
        self.disk
            .set_now(self.time().unix.as_nanos() as i128, self.now.as_nanos() as u64);
    }

    // The agent's life.

    pub(crate) fn start(&mut self) {
        if self.agent.is_some() {
            return;
        }
        let disk = self.disk.agent();
        self.starts += 1;
        let seed = self.script.seed ^ self.starts;
        tracing::info!("the agent starts at {:?}", self.now);
        let started = Agent::start(disk, self.script.knobs, self.time(), seed);
        let failed = started.is_err();
        self.agent = started.ok();
        if self.agent.as_ref().is_some_and(|agent| agent.began_unread) {
            self.reach("start without a generation of the checkpoint");
            self.durable_sizes.clear();
            self.disk.forget_sizes(&self.durable_sizes);
            self.again.forget();
        }
        if self.dies("start: ") {
            return;
        }
        if failed {
            self.reach("start fails");
            self.disk.kill();
        }
    }

    /// Buries the agent when it has died in an operation on the disk, and counts which one it was.
    fn dies(&mut self, when: &str) -> bool {
        let Some((kind, on_state)) = self.disk.dead_in() else {
            return false;
        };
        let place = if on_state { "state" } else { "logs" };
        let how = if self.power { "power cut" } else { "kill" };
        if self.agent.as_ref().is_some_and(Agent::was_writing_a_lane) {
            self.reach(&format!("{how} x lane write"));
        }
        self.reach(&format!("{when}{how} x {place} {kind:?}"));
        self.die();
        true
    }

    /// Lets the agent do something; it may die in it.
    fn with_agent(&mut self, act: impl FnOnce(&mut Agent, Time)) {
        let time = self.time();
        let Some(agent) = &mut self.agent else { return };
        act(agent, time);
        let over_share = std::mem::take(&mut agent.over_share);
        let spooled = std::mem::take(&mut agent.spooled);
        let saves = agent.new_saves();
        for (number, checkpoint) in saves {
            let sizes = checkpoint.entries.iter().filter_map(|entry| {
                if agent
                    .of_before
                    .contains(&(entry.fingerprint, entry.ino, entry.size))
                {
                    return None;
                }
                let file = self.disk.uid_of(entry.ino)?;
                // The inode may be another file's by now.
                Some((file, entry.size.min(self.disk.seen(file))))
            });
            self.saves.insert(number, sizes.collect());
        }
        if over_share {
            self.reach("over its share");
        }
        for body in spooled {
            let text = longshore::codec::gzip::inflate(&body).unwrap_or_default();
            for (name, _) in documents_in(&text) {
                self.again.on_spooled(name);
            }
        }
        if self.dies("") {
            return;
        }
        if let Some(agent) = &mut self.agent {
            let requests = std::mem::take(&mut agent.requests);
            let forgotten = std::mem::take(&mut agent.forgotten);
            for request in requests {
                for (name, document) in documents_of(&request) {
                    self.check_again(&name, &document);
                }
                self.requests.push((request, self.now));
            }
            for id in forgotten {
                self.forget(id);
            }
        }
    }

    fn crash_at(&mut self, power: bool, at: Option<DeathAt>) {
        self.power = power;
        match at {
            Some(at) => self.disk.die(at),
            None if self.agent.is_some() => {
                self.reach(if power {
                    "power cut between steps"
                } else {
                    "kill between steps"
                });
                self.die();
            }
            None if power => {
                self.reach("power cut without an agent");
                self.lose_power();
            }
            None => {}
        }
    }

    /// The node goes down and comes up again, later.
    fn lose_power(&mut self) {
        let cuts = self.disk.power_cut();
        self.again.forget();
        self.advance(BOOT);
        let mut chance = Chance::new(self.now.as_nanos() as u64 ^ self.script.seed);
        self.kubelet.power_cut(&cuts, &mut chance);
        for cut in cuts {
            if let Some(size) = self.durable_sizes.get_mut(&cut.file) {
                *size = cut.kept.min(*size);
            }
        }
        self.disk.forget_sizes(&self.durable_sizes);
        self.changed();
    }

    fn die(&mut self) {
        self.deaths += 1;
        tracing::info!("the agent is dead at {:?}", self.now);
        let stages: Vec<_> = self
            .kubelet
            .containers
            .iter()
            .map(|container| container.stage)
            .collect();
        for stage in stages {
            self.reach(&format!("crash x kubelet {stage:?}"));
        }
        if self.kubelet.containers.iter().any(|container| container.copied) {
            self.reach("crash x copytruncate");
        }
        self.lives += u64::from(self.agent.take().is_some());
        self.again.on_end();
        self.saves.clear();
        self.disk.forget_sizes(&self.durable_sizes);
        if self.power {
            self.lose_power();
        } else {
            self.disk.kill();
        }
        // What is on its way may still be stored.
        let mut chance = Chance::new(self.now.as_nanos() as u64 ^ self.script.seed);
        for (request, _) in std::mem::take(&mut self.requests) {
            if chance.hit(0.5) && !self.outage {
                self.commit(&request, Some(Fault::CommitThenCut));
            }
        }
    }

    /// SIGTERM. Faults may still strike, and the agent may die in the middle of it.
    pub(crate) fn stop(&mut self) {
        if self.agent.is_none() {
            return;
        }
        self.reach("orderly stop");
        self.with_agent(|agent, time| {
            agent.stop();
            agent.turn(time);
        });
        let mut ending = Ending::Draining;
        for _ in 0..2000 {
            if ending == Ending::Over || self.agent.is_none() {
                break;
            }
            self.with_agent(|agent, time| ending = agent.end_step(ending, time));
            self.with_agent(|agent, time| {
                agent.sink(8, time);
                agent.spool(8, time);
                agent.letter();
                agent.sink(8, time);
            });
            self.save();
            if !self.outage {
                self.answer(0, None);
            }
            self.time_out();
            self.advance(Duration::from_millis(10));
        }
        if let Some(agent) = self.agent.take() {
            if ending != Ending::Over {
                self.fail(format!("the agent did not end within 20 s; it is {ending:?}"));
            }
            self.lives += 1;
            self.again.on_end();
            // An end whose checkpoint cannot be saved is like a death.
            self.deaths += u64::from(!agent.is_saved);
            drop(agent);
            self.disk.kill();
            self.requests.clear();
            self.saves.clear();
            self.disk.forget_sizes(&self.durable_sizes);
        }
    }

    /// A few steps of the threads, in any order.
    fn agent_steps(&mut self, chance: &mut Chance) {
        if self.agent.is_none() {
            if chance.hit(0.3) {
                self.start();
            }
            return;
        }
        for _ in 0..1 + chance.below(6) {
            let limit = 1 + chance.below(6) as usize;
            match chance.below(6) {
                0 | 1 => self.with_agent(Agent::turn),
                2 => self.with_agent(|agent, time| agent.sink(limit, time)),
                3 => self.with_agent(|agent, time| agent.spool(limit, time)),
                4 => self.with_agent(|agent, _| agent.letter()),
                _ => self.save(),
            }
            self.advance(Duration::from_micros(chance.below(5000)));
        }
    }

    fn save(&mut self) {
        let mut saved = None;
        self.with_agent(|agent, _| saved = agent.save());
        // A process that died in it has made it durable, or not: nothing is expected of it then.
        if let (Some(number), true) = (saved, self.agent.is_some()) {
            for (file, size) in self.saves.remove(&number).unwrap_or_default() {
                let known = self.durable_sizes.entry(file).or_default();
                *known = size.max(*known);
            }
        }
    }

    /// Time passes as for a healthy process: threads run when they have something to do.
    pub(crate) fn pass(&mut self, time: Duration, chance: &mut Chance) {
        let end = self.now + time;
        while self.now < end {
            if self.agent.is_none() && chance.hit(0.2) {
                self.start();
            }
            self.with_agent(Agent::turn);
            self.with_agent(|agent, time| agent.sink(64, time));
            self.with_agent(|agent, time| agent.spool(64, time));
            self.with_agent(|agent, _| agent.letter());
            self.save();
            if chance.hit(0.8) {
                let request = chance.below(8);
                match self.requests.len() as u64 {
                    0 => {}
                    1 if self.stalls => self.reach("server: a request stalls"),
                    waiting if self.stalls => self.answer(1 + request % (waiting - 1), None),
                    _ => self.answer(request, None),
                }
            }
            self.with_agent(|agent, time| agent.sink(64, time));
            self.time_out();
            let step = self.agent.as_ref().map_or(Duration::from_millis(100), |agent| {
                agent.reader_waits(self.time())
            });
            let step = step.clamp(Duration::from_millis(5), Duration::from_millis(200));
            self.advance(step);
            self.live(step);
            if self.violation.is_some() {
                return;
            }
        }
    }

    // The server.

    fn answer(&mut self, request: u64, fault: Option<Fault>) {
        if self.requests.is_empty() {
            return;
        }
        let at = request as usize % self.requests.len();
        let (request, _) = self.requests.remove(at);
        if let Some(fault) = fault {
            self.reach(&format!("server: {fault:?}"));
        }
        let verdict = if self.outage {
            unreachable_host()
        } else {
            self.commit(&request, fault)
        };
        if let (RequestVerdict::Items(verdicts), Some(_)) = (&verdict, &self.agent) {
            for ((name, _), verdict) in documents_of(&request).into_iter().zip(verdicts.iter()) {
                if matches!(verdict, Verdict::Accepted | Verdict::Duplicate) {
                    self.again.on_known(name);
                }
            }
        }
        self.with_agent(|agent, time| agent.on_answer(request.id, verdict, time));
    }

    fn time_out(&mut self) {
        let now = self.now;
        let late = self
            .requests
            .iter()
            .position(|(_, since)| now >= *since + REQUEST_TIMEOUT);
        if let Some(at) = late {
            let (request, _) = self.requests.remove(at);
            self.reach("server: no answer in time");
            let stored = Chance::new(self.now.as_nanos() as u64).hit(0.5) && !self.outage;
            if stored {
                self.commit(&request, Some(Fault::CommitThenCut));
            }
            self.with_agent(|agent, time| agent.on_answer(request.id, unreachable_host(), time));
        }
    }

    /// The agent waits no longer, since another host has answered: the server may have the request, or never gets it.
    fn forget(&mut self, id: RequestId) {
        let Some(at) = self.requests.iter().position(|(request, _)| request.id == id) else {
            return;
        };
        let (request, _) = self.requests.remove(at);
        self.reach("server: another host was quicker");
        if Chance::new(self.now.as_nanos() as u64 ^ id).hit(0.5) && !self.outage {
            self.commit(&request, Some(Fault::CommitThenCut));
        }
    }

    fn commit(&mut self, request: &Request, fault: Option<Fault>) -> RequestVerdict {
        (&request.bytes, self.now).hash(&mut self.happened);
        self.remember(request);
        let before = self.server.conflicts();
        let filter = FILTER_PATH.trim_start_matches("filter_path=");
        let outlet = self.server.bulk(&request.bytes, request.is_gzip, filter, fault);
        if !self.conflicts_allowed && self.server.conflicts() > before {
            self.fail("documents were sent again although nothing called for it".into());
        }
        match outlet {
            Outlet::Answer(status, body) => judge(status, &body, request.documents),
            Outlet::Cut => unreachable_host(),
        }
    }

    /// An id belongs to one document for ever.
    fn remember(&mut self, request: &Request) {
        for ((index, id), document) in documents_of(request) {
            let document = &document[..];
            let known = self
                .sent
                .entry((index.clone(), id.clone()))
                .or_insert_with(|| document.to_vec());
            if known != document {
                self.variants
                    .insert(((index.clone(), id.clone()), document.to_vec()));
            }
            // Of a message whose first parts are gone by now, the rest has its id.
            let (was, is) = (message_of(known), message_of(document));
            // Nor when what was between them is gone with a truncated file or the power, and earlier parts have come next to
            // it; and a line may have become NUL bytes.
            let last = |message: &str| message.rsplit_once(MARK).map(|(_, last)| last.to_owned());
            let truth = &self.kubelet.truth;
            let whole = truth.truncated.is_empty() && truth.pieces.iter().all(|piece| !piece.cut);
            let nul = !whole && (was.contains('\0') || is.contains('\0'));
            let apart = whole || last(&was) != last(&is);
            // Or another line, glued to what the power left of the one before.
            let glued = |found: Sequenced<'_>| {
                let mut pieces = truth.pieces.iter().filter(|piece| piece.glued);
                pieces.any(|piece| piece.token.0 == found.stream && piece.token.1 == found.seq)
            };
            // What is damaged was cut, and glued, or both.
            let odd = |found: Result<Sequenced<'_>, Corrupt>| match found {
                Ok(found) => glued(found),
                Err(corrupt) => corrupt != Corrupt::NoMark,
            };
            let apart = apart && (whole || !find_messages(document).any(odd));
            if apart && !nul && !was.ends_with(&is) && !is.ends_with(&was) {
                let (was, is) = (
                    String::from_utf8_lossy(known).into_owned(),
                    String::from_utf8_lossy(document).into_owned(),
                );
                self.fail(format!("two documents have the id {id} in {index}:\n{was}\n{is}"));
                return;
            }
        }
    }

    /// The threads have run for so long.
    fn live(&mut self, by: Duration) {
        let Some(agent) = &mut self.agent else { return };
        let refused = std::mem::take(&mut agent.refused);
        let full = refused || agent.board.spool().full || agent.board.sink().dead_letter_full;
        let troubles = self.disk.troubles();
        self.again.on_time(by, troubles, full);
    }

    /// A document is sent, again perhaps.
    fn check_again(&mut self, name: &Name, document: &[u8]) {
        let Some(long) = self.again.on_sent(name) else {
            return;
        };
        let truth = &self.kubelet.truth;
        // Names of streams end in `o` or `e`, those of lines that are refused in `X` behind it.
        let of_container = |stream: &str| {
            let stream = stream.trim_end_matches('X');
            stream[..stream.len() - 1].to_owned()
        };
        let containers: BTreeSet<String> = find_messages(document)
            .flatten()
            .map(|found| of_container(found.stream))
            .collect();
        let mut pieces = truth.pieces.iter();
        let excused = pieces.any(|piece| {
            let odd = piece.partial || piece.torn || piece.split || piece.cut || piece.glued;
            let odd = odd || truth.truncated.contains(&piece.file) || truth.renewed.contains(&piece.file);
            odd && containers.contains(&of_container(&piece.token.0))
        });
        if !excused && !containers.is_empty() {
            self.fail(format!(
                "{name:?} is sent again; the agent knew for {long:?} that it is stored"
            ));
        }
    }

    /// The ledger's law holds at every moment.
    fn check_law(&mut self) {
        let Some(agent) = &self.agent else { return };
        let imbalance = agent.board.ledger().imbalance();
        if imbalance != 0 {
            let ledger = agent.board.ledger().clone();
            self.fail(format!("the ledger is out by {imbalance}: {ledger:?}"));
        }
    }
}

/// The documents of a request, by index and id.
fn documents_of(request: &Request) -> Vec<(Name, Vec<u8>)> {
    let mut text = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(&request.bytes[..]);
    if !request.is_gzip || std::io::Read::read_to_end(&mut decoder, &mut text).is_err() {
        text = request.bytes.clone();
    }
    documents_in(&text)
}

fn documents_in(text: &[u8]) -> Vec<(Name, Vec<u8>)> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut documents = Vec::new();
    while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
        documents.push((longshore::sink::dead_letter::target(action), document.to_vec()));
    }
    documents
}

fn message_of(document: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(document).ok();
    let message = document
        .as_ref()
        .and_then(|document| document.get("message")?.as_str());
    message.unwrap_or_default().to_owned()
}

fn unreachable_host() -> RequestVerdict {
    RequestVerdict::Retry(Problem {
        status: 0,
        kind: "connection".into(),
        reason: "no answer".into(),
    })
}

fn fates(percent: u64) -> Fates {
    Fates {
        reject_429: percent as f64 / 100.0,
        // Poison lines have a stream of their own.
        mapping_400: Some(Box::new(|source: &[u8]| {
            source.windows(4).any(|window| window == b"X n=")
        })),
        ..Fates::default()
    }
}
