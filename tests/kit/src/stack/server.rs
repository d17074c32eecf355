//! A server that one test has for itself, with settings of its own: limits that provoke faults, an end in the middle of work.

use super::{RealElasticsearch, StackError, run_stack};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

/// Product and version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Elasticsearch 8.19, the one that tests use when it does not matter.
    Elasticsearch8,
    /// Elasticsearch 9.2.
    Elasticsearch9,
    /// Elasticsearch 7.17.
    Elasticsearch7,
    /// OpenSearch 2.19.
    OpenSearch2,
    /// OpenSearch 3.8.
    OpenSearch3,
}

impl Kind {
    /// All that `tests/stack` can start.
    pub const ALL: [Kind; 5] = [
        Kind::Elasticsearch8,
        Kind::Elasticsearch9,
        Kind::Elasticsearch7,
        Kind::OpenSearch2,
        Kind::OpenSearch3,
    ];

    /// What `tests/stack` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Elasticsearch8 => "elasticsearch",
            Kind::Elasticsearch9 => "elasticsearch-9.2",
            Kind::Elasticsearch7 => "elasticsearch-7.17",
            Kind::OpenSearch2 => "opensearch-2.19",
            Kind::OpenSearch3 => "opensearch-3.8",
        }
    }

    /// Whether it is an OpenSearch.
    pub fn is_opensearch(self) -> bool {
        matches!(self, Kind::OpenSearch2 | Kind::OpenSearch3)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running server of one test, and a client for it. It is stopped, and its files are gone, when this is dropped.
#[derive(Debug)]
pub struct RealServer {
    kind: Kind,
    /// What `tests/stack` knows it by.
    name: String,
    client: RealElasticsearch,
}

impl RealServer {
    /// Starts a server with these settings (`http.max_content_length=64kb`) beside those that `tests/stack` gives each.
    ///
    /// # Errors
    /// When it cannot be fetched or started here; the text is the script's own reason.
    pub fn start(kind: Kind, settings: &[&str]) -> Result<Self, StackError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{kind}-{}-{n}", std::process::id());
        let mut arguments = vec!["start", kind.name(), "--name", &name];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let client = RealElasticsearch::at(&run_stack(&arguments)?)?;
        Ok(Self { kind, name, client })
    }

    /// Product and version.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// It goes no step further until [`RealServer::resume`]: connections are accepted by the kernel, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// It ends at once: nothing is flushed, connections are cut.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// It starts again, with the same URL, data and settings; one that still runs is stopped before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        if let Err(error) = run_stack(&["restart", &self.name]) {
            panic!("{error}");
        }
    }

    /// The server's process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<Pid, StackError> {
        let pid = run_stack(&["pid", &self.name])?.parse().ok();
        pid.and_then(Pid::from_raw)
            .ok_or_else(|| StackError(format!("{}: no pid", self.name)))
    }

    fn signal(&self, signal: Signal) {
        let told = self.pid().and_then(|pid| {
            kill_process(pid, signal).map_err(|error| StackError(format!("{}: {error}", self.name)))
        });
        if let Err(error) = told {
            panic!("{signal:?}: {error}");
        }
    }
}

impl Deref for RealServer {
    type Target = RealElasticsearch;

    fn deref(&self) -> &RealElasticsearch {
        &self.client
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        // What stays is stopped by `tests/stack stop all`.
        let _stopped = run_stack(&["stop", &self.name]);
    }
}
