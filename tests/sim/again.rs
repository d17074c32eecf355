//! What is sent again after a death: no more than was on its way, and what came to rest in the last moments before.
//!
//! A document of which the agent was told that it is stored is *known*. After a death it may be sent again only when it became
//! known shortly before: within [`BOUND`], in time in which the agent's threads ran. Where nobody can ask for that, nothing is
//! asked: behind faults of the disk and full disks, after the end of a log file was lost, and in containers with messages in
//! parts (an open group holds back the checkpoint until it is cut).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A second until what does not rest has a copy, a second until the next checkpoint, and as much again for steps of threads that
/// wait for each other.
const BOUND: Duration = Duration::from_secs(4);

/// Index and id.
pub(crate) type Name = (String, String);

#[derive(Default)]
pub(crate) struct Again {
    /// When a document became known, and in which life.
    known: BTreeMap<Name, (u64, Duration)>,
    /// How long the threads of the present agent have run.
    lived: Duration,
    life: u64,
    /// When lives have ended, and when the last fault of the disk was before that.
    ends: BTreeMap<u64, (Duration, Option<Duration>)>,
    troubles: u64,
    trouble: Option<Duration>,
    /// Documents that were sent by two agents: they may lie in the spool, and have been read again, too.
    repeated: BTreeSet<Name>,
    /// Which agent was the first to give a document to the spool.
    spooled: BTreeMap<Name, u64>,
    /// Which agent was the first to send it.
    senders: BTreeMap<Name, u64>,
}

impl Again {
    /// The threads have run for so long. `troubles`: faults of the disk so far; `full`: the spool or the dead-letter file is.
    pub(crate) fn on_time(&mut self, by: Duration, troubles: u64, full: bool) {
        self.lived += by;
        if self.troubles != troubles || full {
            self.troubles = troubles;
            self.trouble = Some(self.lived);
        }
    }

    /// A document is on its way to the spool.
    pub(crate) fn on_spooled(&mut self, name: Name) {
        self.spooled.entry(name).or_insert(self.life);
    }

    /// The agent was told that a document is stored.
    pub(crate) fn on_known(&mut self, name: Name) {
        self.known.entry(name).or_insert((self.life, self.lived));
    }

    /// The agent is dead, or has ended.
    pub(crate) fn on_end(&mut self) {
        self.ends.insert(self.life, (self.lived, self.trouble.take()));
        self.life += 1;
        self.lived = Duration::ZERO;
    }

    /// What was known is worth nothing: log files have lost their ends, or the checkpoint was not readable.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    /// A document is sent. Tells by how much too long it was known, if it was.
    pub(crate) fn on_sent(&mut self, name: &Name) -> Option<Duration> {
        let sender = *self.senders.entry(name.clone()).or_insert(self.life);
        let spooled_before = self.spooled.get(name).is_some_and(|life| *life < sender);
        if sender == self.life || spooled_before || !self.repeated.insert(name.clone()) {
            return None;
        }
        let (life, at) = *self.known.get(name)?;
        let (end, trouble) = *self.ends.get(&life)?;
        let troubled = trouble.is_some_and(|trouble| trouble + BOUND > at);
        (!troubled && end > at + BOUND).then(|| end - at)
    }
}
