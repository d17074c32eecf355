//! Everything fails at once, again and again: what the agent itself writes stays small, and quotes nothing of what it reads.

use super::Ground;
use crate::traffic::tell;
use longshore_kit::fake_apiserver::FakeApiserver;
use longshore_kit::rude_elasticsearch::{BlockKind, Fates, Fault, ItemFate, Odds, Refused};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// In every line that is read, and in what the server says of it.
const SECRET: &str = "hush-hush-4711";
const STEP: Duration = Duration::from_millis(100);
/// Pods that come with each step, and go with a later one: enough for a log that is too long without its cap.
const ODD_PODS: usize = 5;
/// What the log may have at once, what it may have for each second, and the few lines of the beginning and the end.
const BURST: u64 = 16 << 10;
const RATE: u64 = 960;
const LIFE: u64 = 2 << 10;

/// Something else goes wrong with each step.
fn spoil(ground: &Ground, apiserver: &FakeApiserver, step: usize) {
    let server = &ground.server;
    server.clear_faults();
    // In between requests get through, and each document fails for itself.
    match step / 10 % 16 {
        0 => server.fault(Fault::Refuse(Refused::Unauthorized401), Odds::Always),
        4 => server.fault(Fault::Refuse(Refused::Unavailable503), Odds::Always),
        7 => server.fault(Fault::CutMidAnswer, Odds::Always),
        9 => server.fault(Fault::Html200, Odds::Always),
        11 => server.off(),
        13 => server.block_index("*", BlockKind::Write403),
        _ => {
            server.on();
            server.unblock_index("*");
        }
    }
    match step % 20 {
        3 => apiserver.off(),
        13 => apiserver.on(),
        _ => {}
    }
    let checkpoints = ground.lodging.state().join("checkpoints");
    let away = ground.lodging.state().join("away");
    match step % 30 {
        7 => drop(fs::rename(&checkpoints, &away)),
        17 => drop(fs::rename(&away, &checkpoints)),
        27 => drop(fs::write(
            ground.lodging.state().join("dead-letter/dead-letter.ndjson"),
            "",
        )),
        _ => {}
    }
    let app = |number: usize| {
        ground
            .lodging
            .pods()
            .join(format!("shop_odd-{number}_uid-{number}/app"))
    };
    for number in step * ODD_PODS..(step + 1) * ODD_PODS {
        fs::create_dir_all(app(number)).expect("a pod's directory");
        plant(&app(number), number);
        let _ = fs::remove_dir_all(app(number.wrapping_sub(15 * ODD_PODS)));
    }
}

/// What no log directory should have.
fn plant(app: &Path, number: usize) {
    let log = app.join("0.log");
    let line = format!("2026-03-04T09:15:27.123456789Z stdout F {SECRET} {number}\n");
    match number % 6 {
        0 => symlink("/etc/shadow", &log).expect("a link"),
        1 => fs::create_dir(&log).expect("a directory"),
        2 => fs::write(app.join("0.log.20260304-091527.gz"), format!("no gzip {SECRET}")).expect("a file"),
        3 => {
            fs::write(&log, line.repeat(50)).expect("a file");
            File::create(&log).expect("it is truncated");
        }
        4 => fs::write(&log, format!("{SECRET} is no line of a container\n").repeat(20)).expect("a file"),
        _ => fs::write(&log, line.repeat(200)).expect("a file"),
    }
}

fn log_of(time: Duration) {
    let mut ground = Ground::new();
    let apiserver = FakeApiserver::start();
    ground.lodging.use_apiserver(&apiserver.kubeconfig());
    ground.lodging.config["sink"]["elasticsearch"]["dead_letter"] = json!({"max_bytes": "4KiB"});
    ground.lodging.config["spool"] = json!({"max_bytes": "256KiB", "segment_bytes": "64KiB", "min_free": "0%", "when_full": "drop_oldest"});
    ground.lodging.config["batch"] = json!({"max_bytes": "64KiB", "max_age": "50ms"});
    ground.lodging.config["source"]["max_line"] = "16KiB".into();
    let mut count = 0_u64;
    ground.server.fates(Fates {
        custom: Some(Box::new(move |item| {
            count += 1;
            let error = |status, kind: &str, reason: String| ItemFate::Error {
                status,
                kind: kind.to_owned(),
                reason,
                failure_store: None,
            };
            let quote = String::from_utf8_lossy(item.source);
            if count.is_multiple_of(7) {
                return Some(error(403, "security_exception", format!("unauthorized {quote}")));
            }
            Some(match item.attempt % 3 {
                0 => error(
                    429,
                    "es_rejected_execution_exception",
                    format!("rejected {quote}"),
                ),
                1 => error(503, "unavailable_shards_exception", format!("request: [{quote}]")),
                _ => error(
                    400,
                    "document_parsing_exception",
                    format!("[1:6] failed to parse {quote}"),
                ),
            })
        })),
        ..Fates::default()
    });
    let steady = ground.node.pod("shop", "steady", "uid-steady");
    drop(steady.container("app").expect("a container"));
    let steady = ground.lodging.pods().join("shop_steady_uid-steady/app/0.log");
    let begun = Instant::now();
    let agent = ground.lodging.start();
    let (_nobody, pace) = channel::<()>();
    for step in 0.. {
        if begun.elapsed() >= time {
            break;
        }
        spoil(&ground, &apiserver, step);
        let line = format!("2026-03-04T09:15:27.123456789Z stdout F {SECRET} steady {step}\n");
        let mut log = File::options().append(true).open(&steady).expect("the log");
        log.write_all(line.repeat(100).as_bytes())
            .expect("lines are written");
        let _ = pace.recv_timeout(STEP);
    }
    let (log, took, status) = (agent.log(), begun.elapsed(), agent.status());
    let failed = |of: &str, what: &str| status.0["sink"][of][what].as_u64().unwrap_or_default();
    let requests = failed("requests", "retry") + failed("requests", "hold");
    let documents = failed("verdicts", "retry") + failed("verdicts", "refused") + failed("verdicts", "hold");
    let checkpoints = status.0["reader"]["checkpoint_errors"]
        .as_u64()
        .unwrap_or_default();
    let watches = status.0["watch"]["errors"].as_u64().unwrap_or_default();
    let bytes: u64 = log.iter().map(|line| line.len() as u64 + 1).sum();
    tell(&format!(
        "own noise: {requests} requests and {documents} documents failed, {checkpoints} checkpoints, {watches} watches: {} lines, \
         {bytes} bytes of log in {took:.0?}, {:.0} a second",
        log.len(),
        bytes as f64 / took.as_secs_f64()
    ));
    let fewest = [requests, documents, checkpoints, watches].into_iter().min();
    assert!(fewest > Some(2), "not all of it failed");
    let quoted = log.iter().filter(|line| line.contains(SECRET)).count();
    assert_eq!(quoted, 0, "lines of the log quote what was read");
    assert!(
        bytes <= BURST + LIFE + RATE * (took.as_secs() + 1),
        "{bytes} bytes"
    );
    for part in ["elasticsearch", "enrich", "source", "checkpoint"] {
        let tells = |line: &String| line.contains(&format!("longshore::{part}")) || line.contains(part);
        assert!(log.iter().any(tells), "nothing of {part}:\n{}", log.join("\n"));
    }
}

/// Red when the alarm of an index on hold has the reason that the server gave, and without the cap of the log.
#[test]
fn when_everything_fails_the_log_stays_small_and_quotes_nothing() {
    log_of(Duration::from_secs(20));
}

#[test]
#[ignore = "ten minutes: tests/run --long"]
fn long_ten_minutes_in_which_everything_fails_are_a_log_of_one_kib_a_second() {
    log_of(Duration::from_secs(600));
}
