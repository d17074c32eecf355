//! Every rule of `layering.rs` refuses a sample that breaks it, and lets its nearest good neighbour pass.

use super::{FILE_LINES_MAX, FUNCTION_LINES_MAX, violations};

/// What is said of one file.
fn said(path: &str, text: &str) -> Vec<String> {
    violations(&[(path, text)], &[])
}

fn refused(path: &str, text: &str, because: &str) {
    let said = said(path, text);
    let right = |sentence: &String| sentence.contains(because) && sentence.contains(path);
    assert!(
        !said.is_empty() && said.iter().all(right),
        "{path}: {text}\nsaid {said:?}, not {because:?}"
    );
}

fn fine(path: &str, text: &str) {
    assert_eq!(said(path, text), [""; 0], "{path}: {text}");
}

#[test]
fn only_some_names_may_name_the_network() {
    let why = "may name the network";
    for forbidden in [
        "use tokio::sync::mpsc;",
        "use reqwest::Client;",
        "use notify::Watcher;",
        "use kube::Client;",
        "use axum::Router;",
        "use std::net::TcpStream;",
        "use std::{fmt, net::{SocketAddr, UdpSocket}};",
        "fn f(x: tokio::sync::Notify) {}",
    ] {
        for pure in [
            "record.rs",
            "reader.rs",
            "source/tail.rs",
            "sink/elasticsearch/flight.rs",
            "lib.rs",
        ] {
            refused(pure, forbidden, why);
        }
        for disk in ["source/disk.rs", "cli/run.rs"] {
            refused(disk, forbidden, why);
        }
        for shell in [
            "source/task.rs",
            "enrich/client.rs",
            "enrich/client/wire.rs",
            "cli/client.rs",
            "agent.rs",
            "admin.rs",
            "main.rs",
        ] {
            fine(shell, forbidden);
        }
    }
    fine("config/host.rs", "use std::net::{IpAddr, SocketAddr};");
}

#[test]
fn only_some_names_may_touch_files() {
    let why = "may touch files";
    for forbidden in [
        "use std::fs;",
        "use std::fs::{self, File};",
        "use std::{io, fs::OpenOptions as Open};",
        "use std::os::unix::fs::FileExt;",
        "use rustix::fs::OFlags;",
        "fn f() { let _ = std::fs::read(\"x\"); }",
        "pub use std::fs::File;",
    ] {
        for file in [
            "record.rs",
            "source/tail.rs",
            "source/task.rs",
            "enrich/client.rs",
            "agent.rs",
            "admin.rs",
        ] {
            refused(file, forbidden, why);
        }
        for file in [
            "source/disk.rs",
            "spool/disk.rs",
            "cli/inspect/spool.rs",
            "main.rs",
        ] {
            fine(file, forbidden);
        }
    }
}

#[test]
fn pure_files_know_no_clock_thread_environment_or_waiting() {
    for (forbidden, why) in [
        ("fn f() { Instant::now(); }", "told the time"),
        (
            "fn f() { let t = std::time::SystemTime::now(); }",
            "told the time",
        ),
        ("use std::thread;", "no thread"),
        ("use std::process::Command;", "no thread"),
        ("use std::env;", "no thread"),
        ("use rustix::time::clock_gettime;", "no thread"),
        ("async fn f() {}", "does not wait"),
    ] {
        for pure in [
            "flow/backoff.rs",
            "reader.rs",
            "spool/index.rs",
            "telemetry/board.rs",
        ] {
            refused(pure, forbidden, why);
        }
        fine("spool/task.rs", forbidden);
    }
    fine(
        "reader.rs",
        "use std::time::{Duration, Instant};\nconst NAME: &str = env!(\"CARGO_PKG_NAME\");",
    );
}

#[test]
fn only_cli_main_and_the_log_speak_to_a_terminal() {
    for forbidden in ["use std::io::stdout;", "fn f() { std::io::stderr(); }"] {
        refused("agent.rs", forbidden, "speak to a terminal");
        refused("spool/disk.rs", forbidden, "speak to a terminal");
        fine("main.rs", forbidden);
        fine("telemetry/logging.rs", forbidden);
    }
}

#[test]
fn sibling_stages_never_import_each_other() {
    for (file, forbidden) in [
        ("source/tail.rs", "use crate::parse::cri;"),
        ("parse/cri.rs", "use crate::source::lines::cut;"),
        (
            "spool/frame.rs",
            "use crate::sink::elasticsearch::schema::Fragment;",
        ),
        (
            "checkpoint/tracker.rs",
            "use crate::{record::FileId, batch::FileRange};",
        ),
        (
            "sink/elasticsearch/flight.rs",
            "use super::super::super::spool::frame;",
        ),
        ("batch.rs", "fn f(x: crate::enrich::cache::Cache) {}"),
        ("spool/disk.rs", "use crate::checkpoint::snapshot;"),
    ] {
        refused(file, forbidden, "may not know");
    }
    fine(
        "source/task.rs",
        "use crate::checkpoint::tracker::Tracker;\nuse crate::reader::Reader;",
    );
    refused(
        "source/task.rs",
        "use crate::checkpoint::disk::CheckpointFolder;",
        "may not know",
    );
    refused(
        "sink/elasticsearch/task.rs",
        "use crate::spool::task::run;",
        "may not know",
    );
}

#[test]
fn arrows_never_point_up() {
    for (file, forbidden) in [
        ("record.rs", "use crate::codec::gzip;"),
        ("codec/gzip.rs", "use crate::flow::backoff;"),
        ("codec/gzip.rs", "use crate::config::Config;"),
        ("flow/budget.rs", "use crate::telemetry::ledger::Ledger;"),
        ("config/types.rs", "use crate::record::Stamp;"),
        ("telemetry/board.rs", "use crate::source::tail::Tail;"),
        ("source/tail.rs", "use crate::telemetry::board::Board;"),
        ("source/tail.rs", "use crate::reader::Reader;"),
        ("reader.rs", "use crate::telemetry::ledger::Ledger;"),
        ("reader.rs", "use crate::source::task::Source;"),
        ("reader.rs", "use crate::source::disk::LogFile;"),
        ("reader.rs", "use crate::disk::Disk;"),
        ("spool/index.rs", "use crate::disk::Disk;"),
        ("disk.rs", "use crate::record::Body;"),
        ("reader.rs", "use crate::sink::elasticsearch::response;"),
        ("reader/state.rs", "use crate::agent::Agent;"),
        ("admin.rs", "use crate::spool::index::Index;"),
        ("agent.rs", "use crate::cli::console;"),
        ("main.rs", "use longshore::sink::dead_letter;"),
    ] {
        refused(file, forbidden, "may not know");
    }
    refused("source/tail.rs", "use super::disk::LogFile;", "its own shell");
    refused(
        "enrich/watch.rs",
        "use crate::enrich::client::ApiServer;",
        "its own shell",
    );
}

#[test]
fn arrows_down_are_fine() {
    for (file, allowed) in [
        ("main.rs", "use longshore::{agent, cli, config};"),
        ("cli/run.rs", "use crate::agent; use crate::reader::Reader;"),
        (
            "agent.rs",
            "use crate::source::task; use crate::sink::elasticsearch::client; use crate::admin;",
        ),
        (
            "source/task/desk.rs",
            "use super::super::tail; use crate::telemetry::board; use crate::flow::budget;",
        ),
        (
            "reader.rs",
            "use crate::sink::elasticsearch::{encode::Encoder, schema}; use crate::parse::cri; use crate::batch;",
        ),
        (
            "sink/elasticsearch/encode.rs",
            "use super::schema; use crate::codec::escape; use crate::config::Config;",
        ),
        ("codec/gzip.rs", "use crate::record::Body;"),
        ("spool/disk.rs", "use crate::disk::{Disk, How};"),
        ("source/task.rs", "use crate::disk::Disk;"),
        ("lib.rs", "pub mod agent; pub use agent::Agent;"),
    ] {
        fine(file, allowed);
    }
}

#[test]
fn a_new_module_needs_a_row() {
    refused("misc.rs", "use crate::record::Body;", "DESIGN §4");
}

#[test]
fn functions_and_files_have_an_end() {
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    f();\n".repeat(lines - 2));
    fine("reader.rs", &function(FUNCTION_LINES_MAX));
    refused("reader.rs", &function(FUNCTION_LINES_MAX + 1), "fn long has");
    fine("reader.rs", &"\n".repeat(FILE_LINES_MAX));
    refused(
        "reader.rs",
        &"\n".repeat(FILE_LINES_MAX + 1),
        "lines without tests",
    );
    let with_tests = format!(
        "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
        "\n".repeat(FILE_LINES_MAX),
        function(200)
    );
    fine("reader.rs", &with_tests);
}

#[test]
fn tests_comments_and_strings_do_not_count() {
    fine(
        "record.rs",
        r##"
//! use std::fs;
/* use std::fs; /* nested */ use tokio::x; */
const A: &str = "use std::fs; \" fn";
const B: &str = r#"use std::fs; " std::fs::read "#;
const C: char = '"'; const D: &'static str = "x"; const E: u8 = b'"';
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test { reads the clock")]
mod tests {
    use std::fs;
    fn now() { Instant::now(); }
}
#[cfg(test)]
use std::env;
"##,
    );
    refused(
        "record.rs",
        "const C: char = '\\''; use std::fs;",
        "may touch files",
    );
    refused(
        "record.rs",
        "#[cfg(test)]\nmod tests;\nuse std::fs;",
        "may touch files",
    );
    let files = [
        ("telemetry/mod.rs", "#[cfg(test)]\npub(crate) mod example;"),
        ("telemetry/example.rs", "use std::fs;"),
        ("telemetry/example/more.rs", "use std::fs;"),
    ];
    assert_eq!(violations(&files, &[]), [""; 0]);
    assert_eq!(violations(&files[1..], &[]).len(), 2);
}

#[test]
fn an_agreed_exception_counts_only_while_it_is_needed() {
    let agreed = [("source/tail.rs", "crate::parse::cri", "for now")];
    let breaks = [("source/tail.rs", "use crate::parse::cri::Tag;")];
    assert_eq!(violations(&breaks, &agreed), [""; 0]);
    let keeps = [("source/tail.rs", "use crate::record::Line;")];
    assert!(violations(&keeps, &agreed)[0].contains("take it out of AGREED"));
}
