//! End to end: log files in, documents of a real Elasticsearch out. Each test has index names and a node of its own.
//!
//! `tests/run e2e` starts the server; without one these tests fail and say so. The comment on each test names the line of
//! the agent whose loss turns it red.

mod again;
mod blocked;
mod conmon;
mod contracts;
mod cut;
mod cutters;
mod documents;
mod faults;
mod kibana;
mod outage;
mod pipelines;
mod prefix;
mod refused;
mod rollover;
mod secure;
mod setup;
mod verdicts;

use crate::agent::{Agent, Lodging};
use longshore_kit::lines::{Stream, message};
use longshore_kit::simkubelet::ContainerLog;
use longshore_kit::stack::RealElasticsearch;
use longshore_kit::verifier::Verifier;
use serde_json::Value;

/// 2026-03-04T09:15:27.123456789Z, in nanoseconds since 1970.
const MORNING_NS: u64 = 1_772_615_727_123_456_789;
const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// A count of the sink on the status page, such as `requests` that were to be tried again (`retry`).
fn sink(agent: &Agent, what: &str, which: &str) -> u64 {
    agent.status().0["sink"][what][which].as_u64().unwrap_or_default()
}

/// A node with an agent, and the indices that it ships to.
struct Scene {
    es: RealElasticsearch,
    /// How the names of all indices of this test begin.
    prefix: String,
    lodging: Lodging,
}

impl Scene {
    /// Documents go to `<prefix>-YYYY.MM.DD` of the server of the run.
    fn new(name: &str) -> Scene {
        Scene::on(RealElasticsearch::shared(), name)
    }

    /// As [`Scene::new`], on another server.
    fn on(es: RealElasticsearch, name: &str) -> Scene {
        let prefix = es.prefix(name);
        let lodging = Lodging::new(&es.url(), &format!("{prefix}-%Y.%m.%d"));
        Scene { es, prefix, lodging }
    }

    /// All documents of this test.
    fn documents(&self) -> Vec<Value> {
        let all = format!("{}*", self.prefix);
        self.es.refresh(&all);
        self.es.search_all(&all)
    }

    /// How many documents of this test there are.
    fn count(&self) -> u64 {
        let all = format!("{}*", self.prefix);
        self.es.refresh(&all);
        self.es.count(&all)
    }

    /// Panics unless each line of the talkers is in exactly one document, and no document holds anything else.
    #[track_caller]
    fn assert_exactly_once<'a>(&self, talkers: impl IntoIterator<Item = &'a Talker>) {
        let mut verifier = Verifier::new();
        for talker in talkers {
            verifier.sent_range(&talker.stream, 0..talker.lines);
        }
        for document in self.documents() {
            verifier.arrived(document["_source"].to_string().as_bytes());
        }
        verifier.assert_exactly_once();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // After a failure the documents stay to be looked at, until the server is stopped.
        if !std::thread::panicking() {
            self.es.delete_index(&self.prefix);
        }
    }
}

/// Writes lines that can be recognised again.
struct Talker {
    stream: String,
    /// Lines so far; their sequences begin at 0.
    lines: u64,
    /// Bytes that they take in the log files.
    bytes: u64,
}

impl Talker {
    fn new(stream: &str) -> Talker {
        Talker {
            stream: stream.to_owned(),
            lines: 0,
            bytes: 0,
        }
    }

    /// The next message, as long as `pad` bytes and a header.
    fn message(&mut self, pad: usize) -> String {
        self.lines += 1;
        message(&self.stream, self.lines - 1, MORNING_NS, pad)
    }

    /// Writes `lines` lines stamped with `unix_ns`.
    fn say(&mut self, log: &mut ContainerLog, unix_ns: u64, lines: u64) {
        for _ in 0..lines {
            let text = self.message(80);
            let before = log.size().unwrap();
            log.write_line(unix_ns, Stream::Stdout, text.as_bytes()).unwrap();
            self.bytes += log.size().unwrap() - before;
        }
    }
}
