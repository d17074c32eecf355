//! The phase in which a kill struck: facts of a moment enter, one phase leaves; and the histogram over all kills.

use super::threads::Busy;
use std::fmt;

/// What the agent was doing, the first of these that is true. (It does several things at once: the rarer one counts.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// It had been told to end, and had not.
    Drain,
    /// It had not opened its state directory: no thread reads yet.
    Start,
    /// The dead-letter thread was at work: rows are written and synced.
    DeadLetter,
    /// The checkpoint thread was at work: written, synced, renamed.
    Checkpoint,
    /// The spool thread was at work: frames are written and synced, or read back, or segments removed.
    Spool,
    /// The server had a whole request and had not answered.
    Request,
    /// The reader thread was at work.
    Reading,
    /// Documents that were refused for now waited for their next attempt.
    Retry,
    /// Lines were read and not sent.
    OpenBatch,
    /// Nothing of this: no line came, and what had come was delivered or waited in the spool with nobody at work on it.
    Idle,
}

/// All phases that a run must reach.
pub(super) const PHASES: [Phase; 10] = [
    Phase::Start,
    Phase::Reading,
    Phase::OpenBatch,
    Phase::Request,
    Phase::Retry,
    Phase::Spool,
    Phase::Checkpoint,
    Phase::DeadLetter,
    Phase::Drain,
    Phase::Idle,
];

/// The facts of one moment.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Look {
    /// SIGTERM was sent before.
    pub(super) told_to_end: bool,
    /// The agent's threads.
    pub(super) busy: Busy,
    /// Requests that the server has whole and has not answered.
    pub(super) open_requests: u64,
    /// Documents that the server has refused for now in this life and has not seen since.
    pub(super) refused_for_now: usize,
    /// Bytes that the last status page counted as held or in flight.
    pub(super) in_memory: u64,
    /// Bytes that it counted as spooled.
    pub(super) spooled: u64,
}

impl Look {
    pub(super) fn phase(&self) -> Phase {
        let Look { busy, .. } = self;
        let facts = [
            (self.told_to_end, Phase::Drain),
            (!busy.started, Phase::Start),
            (busy.dead_letters, Phase::DeadLetter),
            (busy.checkpoints, Phase::Checkpoint),
            (busy.spool, Phase::Spool),
            (self.open_requests > 0, Phase::Request),
            (busy.reader, Phase::Reading),
            (self.refused_for_now > 0, Phase::Retry),
            (self.in_memory > 0, Phase::OpenBatch),
        ];
        let first = facts.iter().find(|(is_true, _)| *is_true);
        first.map_or(Phase::Idle, |(_, phase)| *phase)
    }

    /// Whether a document was on its way: read, and at rest neither in the index nor in the dead-letter file.
    pub(super) fn has_documents_in_flight(&self) -> bool {
        self.open_requests > 0 || self.refused_for_now > 0 || self.in_memory > 0 || self.spooled > 0
    }
}

/// How often kills struck in which phase.
#[derive(Default)]
pub(super) struct Histogram {
    rows: std::collections::BTreeMap<Phase, Row>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    kills: u64,
    in_flight: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, look: &Look) {
        let row = self.rows.entry(look.phase()).or_default();
        row.kills += 1;
        row.in_flight += u64::from(look.has_documents_in_flight());
    }

    fn total(&self) -> Row {
        self.rows.values().fold(Row::default(), |sum, row| Row {
            kills: sum.kills + row.kills,
            in_flight: sum.in_flight + row.in_flight,
        })
    }

    /// The share of kills that struck with documents in flight.
    pub(super) fn in_flight_share(&self) -> f64 {
        let total = self.total();
        total.in_flight as f64 / total.kills.max(1) as f64
    }

    /// Phases that have less than this share of the kills.
    pub(super) fn rarer_than(&self, share: f64) -> Vec<Phase> {
        let total = self.total().kills as f64;
        let kills = |phase: &Phase| self.rows.get(phase).map_or(0, |row| row.kills) as f64;
        let rare = PHASES.into_iter().filter(|phase| kills(phase) < share * total);
        rare.collect()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let percent = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
        for (phase, row) in &self.rows {
            let share = percent(row.kills, total.kills);
            writeln!(
                out,
                "{:<11} {:>5} kills {share:>5.1} %, with documents in flight {:>5.1} %  {}",
                format!("{phase:?}"),
                row.kills,
                percent(row.in_flight, row.kills),
                "#".repeat((share * 2.0).round() as usize),
            )?;
        }
        write!(
            out,
            "all         {:>5} kills, with documents in flight {:.1} %",
            total.kills,
            percent(total.in_flight, total.kills)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_lab_the_rarer_phase_counts() {
        let mut look = Look::default();
        assert_eq!(look.phase(), Phase::Start);
        look.busy.started = true;
        assert_eq!(
            (look.phase(), look.has_documents_in_flight()),
            (Phase::Idle, false)
        );
        look.in_memory = 1;
        look.busy.reader = true;
        assert_eq!(
            (look.phase(), look.has_documents_in_flight()),
            (Phase::Reading, true)
        );
        look.open_requests = 1;
        look.busy.checkpoints = true;
        assert_eq!(look.phase(), Phase::Checkpoint);
        look.told_to_end = true;
        assert_eq!(look.phase(), Phase::Drain);
    }

    #[test]
    fn crash_lab_a_phase_that_no_kill_reached_is_rare() {
        let mut histogram = Histogram::default();
        let started = Busy {
            started: true,
            ..Busy::default()
        };
        for in_memory in [0, 5] {
            histogram.add(&Look {
                in_memory,
                busy: started,
                ..Look::default()
            });
        }
        assert!(histogram.rarer_than(0.5).contains(&Phase::Drain));
        assert!(histogram.rarer_than(0.6).contains(&Phase::Idle));
        assert!(!histogram.rarer_than(0.5).contains(&Phase::OpenBatch));
        assert!((histogram.in_flight_share() - 0.5).abs() < 1e-9);
    }
}
