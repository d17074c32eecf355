//! A fault that never strikes proves nothing: what runs have reached enters, what they should have leaves.

use crate::disk::OpKind;
use crate::node::Stage;
use std::collections::BTreeMap;

/// So many seeds must reach everything.
pub(crate) const SEEDS: u64 = 2000;
/// Each fault so often.
const FAULT: u64 = 20;
/// Each pair of a death and what it struck so often.
const PAIR: u64 = 1;

/// What every start does with the state directory.
const AT_A_START: [OpKind; 7] = [
    OpKind::List,
    OpKind::Stat,
    OpKind::Open,
    OpKind::Read,
    OpKind::Create,
    OpKind::Sync,
    OpKind::SyncFolder,
];

/// Faults by their names.
const FAULTS: [&str; 42] = [
    "agent frozen",
    "clock skewed",
    "inode reused",
    "kill between steps",
    "kubelet: compress to .tmp",
    "kubelet: container restart",
    "kubelet: copytruncate: copy",
    "kubelet: copytruncate: truncate",
    "kubelet: crash",
    "kubelet: partial line",
    "kubelet: pod deleted",
    "kubelet: pod directory removed",
    "kubelet: remove excess",
    "kubelet: remove plain",
    "kubelet: rename",
    "kubelet: rename .tmp to .gz",
    "kubelet: rename back",
    "kubelet: reopen",
    "kubelet: torn write",
    "kubelet: truncate",
    "orderly stop",
    "over its share",
    "power cut between steps",
    "power cut without an agent",
    "power cut: a name is lost",
    "power cut: a write is lost or torn",
    "power cut: the end of a log file is NUL",
    "power cut: the end of a log file is lost",
    "server: CommitHalfThen400",
    "server: CommitThenCut",
    "server: CutBeforeCommit",
    "server: CutMidAnswer",
    "server: Empty200",
    "server: Html200",
    "server: another host was quicker",
    "server: a request stalls",
    "server: ShortItems",
    "server: index blocked",
    "server: items rejected",
    "server: outage",
    "start fails",
    "state: disk full",
];

/// What was not reached often enough.
pub(crate) fn missing(reached: &BTreeMap<String, u64>) -> Vec<String> {
    let mut wanted: Vec<(String, u64)> = FAULTS.map(|fault| (fault.to_owned(), FAULT)).into();
    for kind in OpKind::ALL {
        wanted.push((format!("state: {kind:?} fails"), FAULT));
        // The state directory is listed at a start only; a start does not do everything.
        for how in ["kill", "power cut"] {
            if kind != OpKind::List {
                wanted.push((format!("{how} x state {kind:?}"), PAIR));
            }
            if AT_A_START.contains(&kind) {
                wanted.push((format!("start: {how} x state {kind:?}"), PAIR));
            }
        }
        if kind <= OpKind::Read {
            wanted.push((format!("logs: {kind:?} fails"), FAULT));
            wanted.push((format!("kill x logs {kind:?}"), PAIR));
        }
    }
    let stages = [
        Stage::Idle,
        Stage::Cleaned,
        Stage::Compressing,
        Stage::Committed,
        Stage::Compressed,
        Stage::Renamed,
    ];
    for seldom in [
        "a folder is lost",
        "a truncation is lost",
        "the end of a file is NUL",
    ] {
        wanted.push((format!("power cut: {seldom}"), PAIR));
    }
    wanted.push(("crash x copytruncate".to_owned(), PAIR));
    for how in ["kill", "power cut"] {
        wanted.push((format!("{how} x lane write"), PAIR));
    }
    wanted.extend(stages.map(|stage| (format!("crash x kubelet {stage:?}"), PAIR)));
    let seldom = wanted.into_iter().filter_map(|(what, least)| {
        let count = reached.get(&what).copied().unwrap_or(0);
        (count < least).then(|| format!("{what}: {count} times, not {least}"))
    });
    seldom.collect()
}
