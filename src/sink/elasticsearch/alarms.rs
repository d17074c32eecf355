//! The sink's state enters, what a person should be told leaves: once when something changes, never
//! per request, and never a word out of a document.

use super::flight::{Flight, Health};
use super::response::{Diverted, Problem};
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// Documents that a pipeline of the server drops are told of this often.
const DROPPED_INTERVAL: Duration = Duration::from_secs(60);
/// That there is no room for copies is told this often.
const COPIES_INTERVAL: Duration = Duration::from_secs(600);

/// Of so many indices it is told that their documents are in another, at most.
const MAX_OTHER_INDICES: usize = 20;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Somebody has to do something.
    Alarm,
    /// It heals by itself, or not at all.
    Warning,
    /// It is over.
    Relief,
}

/// One sentence or two: what, why, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// How bad it is.
    pub severity: Severity,
    /// The words.
    pub text: String,
}

/// What was told last.
#[derive(Debug, Default)]
pub struct Alarms {
    /// Status and type of the failure that was told.
    down: Option<(u16, String, bool)>,
    holds: BTreeSet<String>,
    dead_letter_full: bool,
    spool_full: bool,
    dropped: u64,
    dropped_told: Option<Instant>,
    /// Documents in a failure store.
    stored_as_failed: u64,
    stored_as_failed_told: Option<Instant>,
    /// Documents with an id that is not ours.
    other_ids: u64,
    other_ids_told: Option<Instant>,
    /// Where documents for an index are in another; the ones that were not told stand last.
    other_indices: Vec<(String, String)>,
    other_indices_told: usize,
    copies_told: Option<Instant>,
}

impl Alarms {
    /// Documents were dropped by a pipeline of the server.
    pub fn on_dropped_by_server(&mut self, documents: u64) {
        self.dropped += documents;
    }

    /// Documents were put into the failure store of their stream.
    pub fn on_stored_as_failed(&mut self, documents: u64) {
        self.stored_as_failed += documents;
    }

    /// Documents are not where they were sent to.
    pub fn on_diverted(&mut self, diverted: Diverted) {
        self.other_ids += diverted.ids;
        if let Some(example) = diverted.example
            && self.other_indices.len() < MAX_OTHER_INDICES
            && !self.other_indices.contains(&example)
        {
            self.other_indices.push(example);
        }
    }

    /// What changed since the last call.
    pub fn look(&mut self, flight: &Flight, now: Instant) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        self.look_at_health(flight.health(), &mut alarms);
        self.look_at_holds(flight, &mut alarms);
        let full = flight.is_dead_letter_full();
        if std::mem::replace(&mut self.dead_letter_full, full) != full {
            let what = match flight.drops_refused() {
                true => DEAD_LETTER_DROPS,
                false => DEAD_LETTER_FULL,
            };
            alarms.push(full_or_not(
                full,
                what,
                "the dead-letter file takes refused documents again",
            ));
        }
        let full = flight.is_spool_full();
        if std::mem::replace(&mut self.spool_full, full) != full {
            alarms.push(full_or_not(
                full,
                SPOOL_FULL,
                "nothing waits for room in the spool any more",
            ));
        }
        let is_due = |told: Option<Instant>, interval| {
            told.is_none_or(|told| now.saturating_duration_since(told) >= interval)
        };
        if flight.are_copies_refused() && !full && is_due(self.copies_told, COPIES_INTERVAL) {
            self.copies_told = Some(now);
            alarms.push(Alarm {
                severity: Severity::Warning,
                text: COPIES_REFUSED.to_owned(),
            });
        }
        let due = is_due(self.dropped_told, DROPPED_INTERVAL);
        if self.dropped > 0 && due {
            self.dropped_told = Some(now);
            let dropped = std::mem::take(&mut self.dropped);
            alarms.push(alarm(format_args!(
                "an ingest pipeline of the server dropped {dropped} documents (status 200, noop): they are in no \
                 index; look for a drop processor in the default or final pipeline of the index"
            )));
        }
        if self.stored_as_failed > 0 && is_due(self.stored_as_failed_told, DROPPED_INTERVAL) {
            self.stored_as_failed_told = Some(now);
            let documents = std::mem::take(&mut self.stored_as_failed);
            alarms.push(alarm(format_args!(
                "the server put {documents} documents that it refuses into the failure store of their data stream, without ids of \
                 ours: each is sent once more, poorer; switch data_stream_options.failure_store off in the template of the stream"
            )));
        }
        if self.other_ids > 0 && is_due(self.other_ids_told, DROPPED_INTERVAL) {
            self.other_ids_told = Some(now);
            let documents = std::mem::take(&mut self.other_ids);
            alarms.push(alarm(format_args!(
                "an ingest pipeline of the server gave {documents} documents ids that are not ours: what is sent again is indexed \
                 again; look for a processor that sets _id in the default or final pipeline of the index"
            )));
        }
        for (sent, found) in &self.other_indices[self.other_indices_told..] {
            alarms.push(Alarm {
                severity: Severity::Warning,
                text: format!(
                    "documents for the index {sent} are in {found}: that is an alias, or an ingest pipeline sends them there"
                ),
            });
        }
        self.other_indices_told = self.other_indices.len();
        alarms
    }

    fn look_at_health(&mut self, health: &Health, alarms: &mut Vec<Alarm>) {
        match health {
            Health::Up if self.down.take().is_some() => alarms.push(Alarm {
                severity: Severity::Relief,
                text: "Elasticsearch takes documents again; what was spooled is being sent".to_owned(),
            }),
            Health::Up => {}
            Health::Down { problem, hold, .. } => {
                let seen = (problem.status, problem.kind.clone(), *hold);
                if self.down.as_ref() != Some(&seen) {
                    let severity = if *hold { Severity::Alarm } else { Severity::Warning };
                    alarms.push(Alarm {
                        severity,
                        text: sentence(problem, *hold),
                    });
                    self.down = Some(seen);
                }
            }
        }
    }

    fn look_at_holds(&mut self, flight: &Flight, alarms: &mut Vec<Alarm>) {
        let mut holds = BTreeSet::new();
        for hold in flight.holds() {
            if !self.holds.contains(hold.index) {
                let Problem { status, kind, .. } = hold.problem;
                alarms.push(alarm(format_args!(
                    "the index {} is on hold ({status} {kind}): its documents are kept in the spool and tried again; {}",
                    hold.index,
                    index_fix(hold.problem)
                )));
            }
            holds.insert(hold.index.to_owned());
        }
        if flight.is_spool_full() {
            // Documents on hold may be in memory, without a lane.
            self.holds.append(&mut holds);
            return;
        }
        for index in self.holds.difference(&holds) {
            let text = format!("the index {index} takes documents again");
            alarms.push(Alarm {
                severity: Severity::Relief,
                text,
            });
        }
        self.holds = holds;
    }
}

const DEAD_LETTER_FULL: &str = "the dead-letter file is full: refused documents are kept and block what comes after them; \
    read it with `longshore inspect dead-letter`, move it away, or raise sink.elasticsearch.dead_letter.max_bytes";
const DEAD_LETTER_DROPS: &str = "the dead-letter file is full: refused documents are dropped and counted as dead_letter_full; read it \
    with `longshore inspect dead-letter`, move it away, or raise sink.elasticsearch.dead_letter.max_bytes";
const COPIES_REFUSED: &str = "the spool has no room for copies of what Elasticsearch has not answered within a second: after a crash \
    more lines are sent again than otherwise; raise spool.max_bytes, or look why Elasticsearch is slow";
const SPOOL_FULL: &str = "the spool is full (its quota, or the free space of its disk): what cannot be sent stays in memory and \
    reading stops when that is full; bring Elasticsearch back, or raise spool.max_bytes";

/// What is wrong with whole requests, why, and what to do.
pub fn sentence(problem: &Problem, hold: bool) -> String {
    let Problem { status, kind, reason } = problem;
    match (status, hold) {
        // A failure on the way: the reason is our own, with cause and fix.
        (0, _) => format!("cannot talk to Elasticsearch; documents go to the spool. {reason}"),
        // The reason is our own here, too: which file to look at.
        (401, true) => format!(
            "Elasticsearch refuses the credentials ({status} {kind}); documents go to the spool. {reason}"
        ),
        (_, false) => format!(
            "Elasticsearch is not available ({status} {kind}); documents go to the spool. {}",
            request_fix(problem)
        ),
        (_, true) => format!(
            "Elasticsearch refuses all requests ({status} {kind}); documents go to the spool. {}",
            request_fix(problem)
        ),
    }
}

/// What to do about a whole request that failed.
fn request_fix(problem: &Problem) -> &'static str {
    match problem.status {
        200 => {
            "something else answers in its place: check sink.elasticsearch.hosts for a proxy or a sign-in page"
        }
        403 => {
            "Give the role create_doc and auto_configure on the indices, or take the block off the cluster"
        }
        404 | 405 | 406 | 415 => {
            "Check sink.elasticsearch.hosts: is that an Elasticsearch, and the path in front of it right?"
        }
        300..=399 => "It redirects: put the address it leads to into sink.elasticsearch.hosts",
        429 => "It has no capacity: give it more, or send less",
        _ => "Look at the log of the server, and of what stands before it",
    }
}

/// What to do about an index that takes no documents.
fn index_fix(problem: &Problem) -> &'static str {
    match (problem.kind.as_str(), problem.status) {
        ("cluster_block_exception", 429) => {
            "free disk space on the data nodes: the flood stage takes the block off by itself"
        }
        ("cluster_block_exception", _) => "take the write block off the index",
        ("index_closed_exception", _) => "open the index",
        ("index_not_found_exception", _) | (_, 404) => {
            "make the index, or let action.auto_create_index make it"
        }
        ("security_exception", _) | (_, 401 | 403) => "give the role create_doc and auto_configure on it",
        ("invalid_index_name_exception" | "invalid_alias_name_exception", _) => {
            "correct sink.elasticsearch.index"
        }
        ("validation_exception", _) => "delete old indices, or raise cluster.max_shards_per_node",
        _ => "look at the settings of the index: its ingest pipelines, its alias, the shard limit",
    }
}

fn full_or_not(full: bool, alarm_text: &str, relief: &str) -> Alarm {
    if full {
        alarm(format_args!("{alarm_text}"))
    } else {
        Alarm {
            severity: Severity::Relief,
            text: relief.to_owned(),
        }
    }
}

fn alarm(text: fmt::Arguments<'_>) -> Alarm {
    Alarm {
        severity: Severity::Alarm,
        text: text.to_string(),
    }
}

#[cfg(test)]
mod tests;
