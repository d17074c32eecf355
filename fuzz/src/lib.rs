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
    /// The modules that it is there for, below `src/`.
    pub modules: &'static [&'static str],
}

/// All targets, in the order in which a line meets their decoders; then those that it does not meet.
pub const TARGETS: [Target; 12] = [
    Target {
        name: "cri",
        run: cri::run,
        modules: &["parse/cri.rs", "codec/stamp.rs"],
    },
    Target {
        name: "docker_json",
        run: docker_json::run,
        modules: &["parse/docker.rs"],
    },
    Target {
        name: "partial_joiner",
        run: partial_joiner::run,
        modules: &["parse/partial.rs"],
    },
    Target {
        name: "json_payload",
        run: json_payload::run,
        modules: &["codec/json_scan.rs", "codec/escape.rs"],
    },
    Target {
        name: "gzip_chain",
        run: gzip_chain::run,
        modules: &["source/disk.rs"],
    },
    Target {
        name: "pod_path",
        run: pod_path::run,
        modules: &["source/pod_path.rs"],
    },
    Target {
        name: "checkpoint",
        run: checkpoint::run,
        modules: &["checkpoint/snapshot.rs", "checkpoint/losses.rs"],
    },
    Target {
        name: "spool_segment",
        run: spool_segment::run,
        modules: &["spool/frame.rs", "spool/segment.rs", "codec/gzip.rs"],
    },
    Target {
        name: "bulk_response",
        run: bulk_response::run,
        modules: &["sink/elasticsearch/response.rs"],
    },
    Target {
        name: "watch_events",
        run: watch_events::run,
        modules: &[
            "enrich/metadata.rs",
            "enrich/cache.rs",
            "enrich/watch.rs",
            "enrich/failure.rs",
        ],
    },
    Target {
        name: "config_text",
        run: config_text::run,
        modules: &[
            "config/file.rs",
            "config/form.rs",
            "config/keys.rs",
            "config/check.rs",
            "config/names.rs",
            "config/reader.rs",
            "config/variables.rs",
            "config/units.rs",
            "config/host.rs",
            "config/index.rs",
            "config/glob.rs",
            "config/spelling.rs",
        ],
    },
    Target {
        name: "admin_http",
        run: admin_http::run,
        modules: &["admin.rs", "telemetry/status.rs", "telemetry/metrics.rs"],
    },
];
