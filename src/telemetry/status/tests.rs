use super::*;
use crate::telemetry::example::{self, NOW_MS};
use serde_json::{Value, json};

fn alive_at(board: &Board, now_ms: u64) -> Answer {
    alive(board, &example::facts(), now_ms)
}

fn status(board: &Board, filter: &Filter) -> Value {
    serde_json::from_str(&page(board, &example::facts(), filter, NOW_MS)).unwrap()
}

#[test]
fn alive_until_turns_stop_for_a_minute() {
    let board = example::board();
    assert!(alive_at(&board, NOW_MS).is_ok());
    let last = board.reader().last_turn_ms;
    assert!(alive_at(&board, last + 60_999).is_ok());
    let told = alive_at(&board, last + 61_000).unwrap_err();
    assert!(told.contains("61 s ago") && told.contains("restart"), "{told}");
    board.reader().last_turn_ms = last + 61_000;
    assert!(alive_at(&board, last + 61_000).is_ok());
}

#[test]
fn a_clock_that_went_back_is_no_hang() {
    assert!(alive_at(&example::board(), NOW_MS - 3_600_000).is_ok());
}

#[test]
fn a_reader_that_looks_rarely_is_given_time() {
    let board = example::board();
    let facts = Facts {
        turn_interval: Duration::from_secs(3600),
        ..example::facts()
    };
    let last = board.reader().last_turn_ms;
    assert!(alive(&board, &facts, last + 7_200_000).is_ok());
    assert!(alive(&board, &facts, last + 7_201_000).is_err());
}

#[test]
fn a_blocked_reader_is_alive_and_says_why() {
    let board = example::board();
    board.reader().blocked = true;
    assert!(alive_at(&board, NOW_MS).unwrap().contains("waits for room"));
}

#[test]
fn a_start_may_take_minutes_and_not_more() {
    let (board, started) = (Board::default(), example::facts().started_ms);
    assert!(alive_at(&board, started + 300_999).is_ok());
    assert!(alive_at(&board, started + 301_000).is_err());
}

#[test]
fn an_agent_that_waits_for_the_lock_is_alive_and_not_ready() {
    let board = Board::default();
    board.agent().waits_for = Some(String::from("another agent holds the lock"));
    assert!(alive_at(&board, u64::MAX).unwrap().contains("holds the lock"));
    assert!(ready(&board).unwrap_err().contains("holds the lock"));
}

#[test]
fn ready_when_started_whatever_elasticsearch_does() {
    let board = example::board();
    board.sink().up = false;
    board.sink().hold = true;
    assert!(ready(&board).is_ok());
    board.reader().started = false;
    assert!(ready(&board).is_err());
}

#[test]
fn the_page_has_every_part() {
    let page = status(&example::board(), &Filter::default());
    let object = page.as_object().unwrap();
    let parts = [
        "alive",
        "ledger",
        "memory_limit",
        "node",
        "reader",
        "ready",
        "sink",
        "spool",
        "uptime_seconds",
        "version",
        "watch",
    ];
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, parts);
    assert_eq!(
        (&page["node"], &page["uptime_seconds"]),
        (&json!("node-1"), &json!(600))
    );
    assert_eq!(page["alive"]["yes"], true);
    assert_eq!(
        page["sink"]["verdicts"],
        json!({"accepted": 9, "duplicate": 1, "refused": 1})
    );
    assert_eq!(page["sink"]["holds"][0]["kind"], "cluster_block_exception");
    assert_eq!(page["spool"]["max_bytes"], 1 << 30);
    assert_eq!(page["watch"]["state"], "live");
}

#[test]
fn the_page_has_the_ledger_with_its_balance() {
    let board = example::board();
    let page = status(&board, &Filter::default());
    let ledger = &page["ledger"];
    assert_eq!((&ledger["read"], &ledger["acked"]), (&json!(1120), &json!(1000)));
    assert_eq!(ledger["dropped"]["spool_full"], 30);
    assert_eq!(
        ledger["lost_unread"]["deleted_unread"],
        json!({"bytes": 777, "files": 1})
    );
    assert_eq!(ledger["imbalance"], 0);
    board.ledger().spooled += 1;
    assert_eq!(status(&board, &Filter::default())["ledger"]["imbalance"], -1);
}

#[test]
fn files_that_lag_come_first_and_tell_what_was_refused() {
    let page = status(&example::board(), &Filter::default());
    let files = page["reader"]["files"].as_array().unwrap();
    assert_eq!(page["reader"]["files_found"], 3);
    assert_eq!(page["reader"]["turns"], 99);
    assert_eq!(files[0]["problem"], "permission denied");
    assert!(files[0].get("last_refusal").is_none() && files[0].get("identity").is_none());
    assert_eq!(files[1]["pod"], "web-7d9f");
    assert_eq!(
        (&files[1]["read_offset"], &files[1]["commit_offset"]),
        (&json!(800), &json!(600))
    );
    assert_eq!(files[1]["last_refusal"]["kind"], "mapper_parsing_exception");
    assert_eq!(files[2]["lag_bytes"], 0);
}

#[test]
fn a_filter_leaves_the_files_of_one_pod() {
    let only = |namespace, pod| Filter {
        namespace: Some(Filter::pattern(namespace).unwrap()),
        pod: Some(Filter::pattern(pod).unwrap()),
        container: None,
    };
    let found = |filter: &Filter| status(&example::board(), filter)["reader"]["files_found"].clone();
    assert_eq!(found(&only("shop", "web-*")), 2);
    assert_eq!(found(&only("kube-*", "dns-0")), 1);
    assert_eq!(found(&only("shop", "web")), 0);
    assert!(Filter::pattern(&"*".repeat(254)).is_err());
}

#[test]
fn files_beyond_the_limit_are_counted_and_a_filter_finds_them() {
    let board = example::board();
    board.reader().files = (0..MAX_FILES + 5)
        .map(|at| FileStatus {
            lag_bytes: 10_000 - at as u64,
            ..example::file("ns", &format!("p{at}"), "c", 0)
        })
        .collect::<Vec<_>>()
        .into();
    let page = status(&board, &Filter::default());
    assert_eq!(page["reader"]["files"].as_array().unwrap().len(), MAX_FILES);
    assert_eq!(page["reader"]["files_left_out"], 5);
    let last = Filter {
        pod: Some(Filter::pattern("p1004").unwrap()),
        ..Filter::default()
    };
    assert_eq!(status(&board, &last)["reader"]["files"][0]["pod"], "p1004");
}
