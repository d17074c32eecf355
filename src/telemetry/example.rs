//! A board with something in every part, for the tests of what is made of boards.

use super::board::*;
use super::ledger::{DropReason, LostReason, ReaderTotals};
use super::metrics::Process;
use crate::record::FileId;
use crate::record::{Fate, Origin};
use std::time::Duration;

/// Milliseconds since 1970 at which the example was taken.
pub(crate) const NOW_MS: u64 = 1_790_000_600_250;

pub(crate) fn facts() -> Facts {
    Facts {
        node_name: String::from("node-1"),
        started_ms: NOW_MS - 600_000,
        turn_interval: Duration::from_secs(5),
        memory_limit: Some(256 << 20),
        dead_letter_max_bytes: 104_857_600,
        exposures: vec!["secrets_over_http"],
    }
}

pub(crate) fn process() -> Process {
    Process {
        resident_bytes: 25_165_824,
        cpu_seconds: 1.25,
        open_fds: 31,
        max_fds: 1_048_576,
    }
}

pub(crate) fn board() -> Board {
    let board = Board::default();
    ledger(&board);
    *board.reader() = reader();
    *board.sink() = sink();
    *board.spool() = SpoolStatus {
        bytes: 4096,
        frames: 2,
        source_bytes: 40,
        max_bytes: 1 << 30,
        evicted: 1,
        damaged: 1,
        full: false,
        lost_on_record: Some([
            SpoolOnRecord {
                reason: "evicted",
                frames: 3,
                documents: 30,
                source_bytes: 3000,
            },
            SpoolOnRecord {
                reason: "damaged",
                frames: 1,
                documents: 2,
                source_bytes: 20,
            },
        ]),
    };
    *board.watch() = WatchStatus {
        state: "live",
        pods: 3,
        lists: 1,
        watches: 2,
        errors: 1,
        problem: None,
    };
    board
}

fn ledger(board: &Board) {
    let mut ledger = board.ledger();
    ledger.recover(50);
    ledger.on_reader(ReaderTotals {
        read: 1120,
        held: 10,
        open: 20,
        handed_out: 1080,
        skipped: 10,
        discarded: 0,
    });
    ledger.on_moved(Origin::Batch(1), Fate::Accepted, 9, 900);
    ledger.on_moved(Origin::Batch(2), Fate::Duplicate, 1, 100);
    ledger.on_moved(Origin::Batch(3), Fate::Spooled, 1, 40);
    ledger.on_moved(Origin::Batch(4), Fate::DeadLettered, 1, 10);
    ledger.on_frame_lost(DropReason::SpoolFull, 30);
    ledger.on_frame_lost(DropReason::DamagedFrame, 20);
    ledger.on_lost_unread(LostReason::DeletedUnread, 777);
    ledger.on_unknown(LostReason::DeletedUnread);
}

/// Two files of one container, of which the older is finished, and one of another.
fn reader() -> ReaderStatus {
    let web = file("shop", "web-7d9f", "app", 0);
    let rotated = FileStatus {
        path: FilePath {
            folder: "shop_web-7d9f_u-0/app".into(),
            name: Some("0.log.20260921-101500".into()),
        },
        finished: true,
        lag_bytes: 0,
        ..web.clone()
    };
    let broken = FileStatus {
        problem: Some(String::from("permission denied")),
        identity: None,
        metadata: "missing",
        ..file("kube-system", "dns-0", "dns", 2)
    };
    ReaderStatus {
        containers: vec![container(&web, 800), container(&broken, 320)].into(),
        files: vec![rotated, web, broken].into(),
        unread_bytes: 5000,
        oldest_unread_seconds: 7,
        lines: 12,
        flagged: vec![("invalid_utf8", 1), ("no_stamp", 2)],
        open_files: 2,
        deleted_bytes: 64,
        watching: true,
        forced_rescans: 1,
        read_errors: 4,
        reopened_files: 2,
        budget_used: 2048,
        budget_limit: 16 << 20,
        started: true,
        turns: 99,
        last_turn_ms: NOW_MS - 1250,
        last_checkpoint_ms: NOW_MS - 2250,
        lost_on_record: vec![UnreadOnRecord {
            reason: "deleted_unread",
            files: 2,
            bytes: 1777,
            unknown_files: 1,
        }],
        ..ReaderStatus::default()
    }
}

pub(crate) fn file(namespace: &str, pod: &str, container: &str, restart: u32) -> FileStatus {
    FileStatus {
        namespace: namespace.into(),
        pod: pod.into(),
        uid: format!("u-{restart}").into(),
        container: container.into(),
        restart,
        path: FilePath {
            folder: format!("{namespace}_{pod}_u-{restart}/{container}").into(),
            name: Some(format!("{restart}.log").into()),
        },
        identity: Some(FileId(0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff)),
        read_offset: 800,
        commit_offset: 600,
        size: 1000,
        lag_bytes: 400,
        last_ack_ms: NOW_MS - 3000,
        finished: false,
        metadata: "known",
        problem: None,
    }
}

pub(crate) fn container(file: &FileStatus, read_bytes: u64) -> ContainerStatus {
    ContainerStatus {
        namespace: file.namespace.clone(),
        pod: file.pod.clone(),
        container: file.container.clone(),
        read_bytes,
    }
}

fn sink() -> SinkStatus {
    SinkStatus {
        up: true,
        host: Some(String::from("http://elasticsearch:9200")),
        in_flight_requests: 1,
        requests: vec![("answered", 8), ("timeout", 1)],
        verdicts: vec![("accepted", 9), ("duplicate", 1), ("refused", 1)],
        diverted: vec![("id", 2), ("index", 3), ("failure_store", 1)],
        poorer: vec![("shelved", 2), ("reduced", 1), ("shortened", 1)],
        hedged_requests: 1,
        possible_duplicates: 4,
        wire_bytes: 1000,
        raw_bytes: 9000,
        holds: vec![HoldStatus {
            index: String::from("logs-\"odd\""),
            frames: 2,
            status: 403,
            kind: String::from("cluster_block_exception"),
            reason: String::from("index is read-only"),
        }],
        refusals: vec![RefusalStatus {
            identity: String::from("00ff00ff00ff00ff00ff00ff00ff00ff"),
            verdict: "refused",
            kind: String::from("mapper_parsing_exception"),
            reason: String::from("failed to parse field [status]"),
            at_ms: NOW_MS - 9000,
        }],
        dead_letter_bytes: 512,
        ..SinkStatus::default()
    }
}
