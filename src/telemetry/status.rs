//! What people and kubelet ask the agent. A copy of the board and `now` enter; whether the agent is
//! alive, whether it is ready, and the status page leave.
//!
//! Alive means that the reader makes turns: it goes on making them while it is blocked, because to
//! wait for room is part of its work. Ready means that every file of the first listing was looked at.
//! Neither asks whether Elasticsearch can be reached: no restart heals that.

#[cfg(test)]
mod tests;

use super::board::{
    Board, Facts, FileStatus, ReaderStatus, RefusalStatus, SinkStatus, Snapshot, SpoolStatus, VERSION,
    WatchStatus,
};
use super::ledger::Ledger;
use crate::config::Glob;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a turn of the reader may take before it counts as a hang.
pub const TURN_LIMIT: Duration = Duration::from_secs(60);

/// How long the start may take: the spool is looked through before the first turn.
pub const START_LIMIT: Duration = Duration::from_secs(300);

/// How many files one status page tells.
pub const MAX_FILES: usize = 1000;

/// The longest pattern of a filter: no name in Kubernetes is longer.
pub const MAX_PATTERN: usize = 253;

/// A sentence that says yes, or one that says no.
pub type Answer = Result<String, String>;

/// Whether the agent is alive at `now_ms`, milliseconds since 1970. When the clock of the node was
/// set back, a hang is seen that much later.
pub fn alive(board: &Board, facts: &Facts, now_ms: u64) -> Answer {
    if let Some(reason) = &board.agent().waits_for {
        return Ok(format!("waits: {reason}"));
    }
    let (turns, last_turn_ms, blocked) = {
        let reader = board.reader();
        (reader.turns, reader.last_turn_ms, reader.blocked)
    };
    if turns == 0 {
        let (age, limit) = (age(facts.started_ms, now_ms), START_LIMIT.as_secs());
        return within(
            age,
            limit,
            format!("the reader has made no turn in the {age} s since the start"),
        );
    }
    let (age, limit) = (
        age(last_turn_ms, now_ms),
        TURN_LIMIT.max(2 * facts.turn_interval).as_secs(),
    );
    let waits = if blocked {
        "; it waits for room in memory or in the spool"
    } else {
        ""
    };
    within(
        age,
        limit,
        format!("the reader's last turn ended {age} s ago{waits}"),
    )
}

fn within(age: u64, limit: u64, sentence: String) -> Answer {
    if age <= limit {
        Ok(sentence)
    } else {
        Err(format!(
            "{sentence}; after {limit} s that is a hang, and only a restart helps"
        ))
    }
}

/// Whether the agent has begun its work on every file that was there when it started.
pub fn ready(board: &Board) -> Answer {
    if let Some(reason) = &board.agent().waits_for {
        return Err(format!("waits: {reason}"));
    }
    if board.reader().started {
        Ok(String::from("the files of the first listing are being read"))
    } else {
        Err(String::from(
            "not every file of the first listing was looked at yet",
        ))
    }
}

/// Whole seconds from one time to another; 0 when the clock went back.
fn age(since_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(since_ms) / 1000
}

/// Which files a status page is to tell. Patterns are names with `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of which namespaces.
    pub namespace: Option<Glob>,
    /// Of which pods.
    pub pod: Option<Glob>,
    /// Of which containers.
    pub container: Option<Glob>,
}

impl Filter {
    /// Takes one pattern.
    ///
    /// # Errors
    /// A sentence, when it is longer than [`MAX_PATTERN`] bytes.
    pub fn pattern(text: &str) -> Result<Glob, String> {
        if text.len() > MAX_PATTERN {
            return Err(format!(
                "a pattern of {} bytes; names have {MAX_PATTERN} at most",
                text.len()
            ));
        }
        Ok(Glob::new(text))
    }

    fn admits(&self, file: &FileStatus) -> bool {
        let fits = |glob: &Option<Glob>, name: &str| glob.as_ref().is_none_or(|glob| glob.matches(name));
        fits(&self.namespace, &file.namespace)
            && fits(&self.pod, &file.pod)
            && fits(&self.container, &file.container)
    }
}

/// The status page: one JSON object, indented. Files that lag most come first; those beyond
/// [`MAX_FILES`] are only counted, and a filter brings them up.
pub fn page(board: &Board, facts: &Facts, filter: &Filter, now_ms: u64) -> String {
    let snapshot = board.snapshot();
    let (alive, ready) = (alive(board, facts, now_ms), ready(board));
    let page = Page {
        version: VERSION,
        node: &facts.node_name,
        uptime_seconds: age(facts.started_ms, now_ms),
        memory_limit: facts.memory_limit,
        alive: Told::of(&alive),
        ready: Told::of(&ready),
        ledger: ledger(&snapshot.ledger),
        reader: reader(&snapshot, filter),
        sink: &snapshot.sink,
        spool: &snapshot.spool,
        watch: &snapshot.watch,
    };
    serde_json::to_string_pretty(&page).expect("BUG: the page has only string keys") + "\n"
}

#[derive(Serialize)]
struct Page<'a> {
    version: &'static str,
    node: &'a str,
    uptime_seconds: u64,
    /// `null` when there is none.
    memory_limit: Option<u64>,
    alive: Told<'a>,
    ready: Told<'a>,
    ledger: LedgerPart,
    reader: ReaderPart<'a>,
    sink: &'a SinkStatus,
    spool: &'a SpoolStatus,
    watch: &'a WatchStatus,
}

#[derive(Serialize)]
struct Told<'a> {
    yes: bool,
    why: &'a str,
}

impl Told<'_> {
    fn of(answer: &Answer) -> Told<'_> {
        let (Ok(why) | Err(why)) = answer;
        Told {
            yes: answer.is_ok(),
            why,
        }
    }
}

#[derive(Serialize)]
struct LedgerPart {
    read: u64,
    recovered: u64,
    acked: u64,
    dead_lettered: u64,
    dropped: BTreeMap<&'static str, u64>,
    held: u64,
    in_flight: u64,
    spooled: u64,
    imbalance: i128,
    lost_unread: BTreeMap<&'static str, Lost>,
    lost_unknown_files: BTreeMap<&'static str, u64>,
    documents: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Lost {
    bytes: u64,
    files: u64,
}

fn ledger(ledger: &Ledger) -> LedgerPart {
    LedgerPart {
        read: ledger.read(),
        recovered: ledger.recovered,
        acked: ledger.acked,
        dead_lettered: ledger.dead_lettered,
        dropped: ledger.dropped().collect(),
        held: ledger.held(),
        in_flight: ledger.in_flight(),
        spooled: ledger.spooled,
        imbalance: ledger.imbalance(),
        lost_unread: ledger
            .lost_unread()
            .map(|(reason, bytes, files)| (reason, Lost { bytes, files }))
            .collect(),
        lost_unknown_files: ledger.lost_unknown_files().collect(),
        documents: ledger.documents().collect(),
    }
}

#[derive(Serialize)]
struct ReaderPart<'a> {
    #[serde(flatten)]
    status: &'a ReaderStatus,
    /// Files that the filter admits.
    files_found: usize,
    /// Of these, files that are not told.
    files_left_out: usize,
    files: Vec<FilePart<'a>>,
}

#[derive(Serialize)]
struct FilePart<'a> {
    #[serde(flatten)]
    file: &'a FileStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refusal: Option<&'a RefusalStatus>,
}

fn reader<'a>(snapshot: &'a Snapshot, filter: &Filter) -> ReaderPart<'a> {
    let status = &snapshot.reader;
    let mut found: Vec<&FileStatus> = status.files.iter().filter(|file| filter.admits(file)).collect();
    let files_found = found.len();
    found.sort_by(|a, b| {
        let by_place = || (&a.path.folder, &a.path.name).cmp(&(&b.path.folder, &b.path.name));
        b.lag_bytes.cmp(&a.lag_bytes).then_with(by_place)
    });
    found.truncate(MAX_FILES);
    let files = found
        .into_iter()
        .map(|file| FilePart {
            file,
            last_refusal: last_refusal(&snapshot.sink, file),
        })
        .collect::<Vec<_>>();
    ReaderPart {
        status,
        files_found,
        files_left_out: files_found - files.len(),
        files,
    }
}

fn last_refusal<'a>(sink: &'a SinkStatus, file: &FileStatus) -> Option<&'a RefusalStatus> {
    if sink.refusals.is_empty() {
        return None;
    }
    let identity = file.identity?.to_string();
    sink.refusals
        .iter()
        .rev()
        .find(|refusal| refusal.identity == identity)
}
