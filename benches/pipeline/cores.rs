//! Which core the agent runs on, and which one everything else.
//!
//! Threads and processes inherit the affinity of the thread that starts them; so the main thread pins itself before it
//! starts anything, and changes over for the moment in which it starts the agent.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fmt;

/// Two cores, when the machine has them and lets us choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The sink's and the agent's.
    pair: Option<(usize, usize)>,
}

impl Cores {
    /// Takes the first and the last core that we may use, and moves this thread to the first.
    pub(crate) fn choose() -> Cores {
        let pair = allowed().and_then(|cores| Some((*cores.first()?, *cores.last()?)));
        let pair = pair.filter(|(sink, agent)| sink != agent && pin(*sink));
        Cores { pair }
    }

    /// Runs `start` on the agent's core; what it starts stays there.
    pub(crate) fn on_agent_core<T>(self, start: impl FnOnce() -> T) -> T {
        let Some((sink, agent)) = self.pair else {
            return start();
        };
        pin(agent);
        let started = start();
        pin(sink);
        started
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pair {
            Some((sink, agent)) => write!(
                out,
                "pinned: agent and floor on core {agent}, sink on core {sink}"
            ),
            None => write!(out, "not pinned: fewer than two cores, or affinity not allowed"),
        }
    }
}

fn allowed() -> Option<Vec<usize>> {
    let set = sched_getaffinity(None).ok()?;
    Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).is_ok()
}
