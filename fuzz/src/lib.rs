//! What each fuzz target does with one input: bytes enter, and it returns when every law held, or panics.
//!
//! The same functions run under libFuzzer (`fuzz_targets/`), over the checked-in corpus (`tests/corpus.rs`, where every crash
//! that was ever found stays a named file), and under a coverage build (`examples/replay.rs`). A target compares the
//! decoder with an independent reference wherever there is one; else it checks what must hold of any answer. None keeps
//! state from one input to the next that could change an outcome.

pub mod admin_http;
pub mod bulk_response;
pub mod checkpoint;
pub mod config_text;
pub mod cri;
pub mod docker_json;
pub mod gzip_chain;
mod input;
pub mod json_payload;
mod memory;
pub mod partial_joiner;
pub mod pod_path;
pub mod spool_segment;
mod tree;
pub mod watch_events;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the binary, of the corpus folder and of the module.
    pub name: &'static str,
    /// Runs one input; panics when a law is broken.
    pub run: fn(&[u8]),
    /// The modules that it is there for.
    pub modules: &'static [Module],
}

/// A module whose lines the corpus is to run through.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its file, below `src/`.
    pub path: &'static str,
    /// What in it no bytes from outside can reach, where that is more than a seventh; else empty.
    pub unreachable: &'static str,
}

/// A module of which nearly all is reached.
const fn all(path: &'static str) -> Module {
    Module {
        path,
        unreachable: "",
    }
}

/// A module with a part that bytes cannot reach.
const fn but(path: &'static str, unreachable: &'static str) -> Module {
    Module { path, unreachable }
}

/// All targets, in the order in which a line meets their decoders; then those that it does not meet.
pub const TARGETS: [Target; 12] = [
    Target {
        name: "cri",
        run: cri::run,
        modules: &[all("parse/cri.rs"), all("codec/stamp.rs")],
    },
    Target {
        name: "docker_json",
        run: docker_json::run,
        modules: &[all("parse/docker.rs")],
    },
    Target {
        name: "partial_joiner",
        run: partial_joiner::run,
        modules: &[all("parse/partial.rs")],
    },
    Target {
        name: "json_payload",
        run: json_payload::run,
        modules: &[all("codec/json_scan.rs"), all("codec/escape.rs")],
    },
    Target {
        name: "gzip_chain",
        run: gzip_chain::run,
        modules: &[but(
            "source/disk.rs",
            "listing, naming and opening of files: `source` tests and the hostile log tree",
        )],
    },
    Target {
        name: "pod_path",
        run: pod_path::run,
        modules: &[all("source/pod_path.rs")],
    },
    Target {
        name: "checkpoint",
        run: checkpoint::run,
        modules: &[all("checkpoint/snapshot.rs"), all("checkpoint/losses.rs")],
    },
    Target {
        name: "spool_segment",
        run: spool_segment::run,
        modules: &[
            all("spool/frame.rs"),
            all("spool/segment.rs"),
            all("codec/gzip.rs"),
        ],
    },
    Target {
        name: "bulk_response",
        run: bulk_response::run,
        modules: &[all("sink/elasticsearch/response.rs")],
    },
    Target {
        name: "watch_events",
        run: watch_events::run,
        modules: &[
            all("enrich/metadata.rs"),
            but(
                "enrich/cache.rs",
                "the shared directory around it, and metadata that nobody is asked for",
            ),
            all("enrich/watch.rs"),
            but(
                "enrich/failure.rs",
                "failures before there is an answer: no cluster, no connection, silence",
            ),
        ],
    },
    Target {
        name: "config_text",
        run: config_text::run,
        modules: &[
            all("config/file.rs"),
            but("config/form.rs", "its JSON schema, which is for editors"),
            all("config/keys.rs"),
            all("config/check.rs"),
            all("config/names.rs"),
            all("config/reader.rs"),
            all("config/variables.rs"),
            all("config/units.rs"),
            all("config/host.rs"),
            all("config/index.rs"),
            all("config/glob.rs"),
            all("config/spelling.rs"),
        ],
    },
    Target {
        name: "admin_http",
        run: admin_http::run,
        modules: &[
            but(
                "admin.rs",
                "places and lifetimes of TCP connections, the end of the server: its own tests over loopback",
            ),
            all("telemetry/status.rs"),
            but("telemetry/metrics.rs", "the table for the manual"),
        ],
    },
];
