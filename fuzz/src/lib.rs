//! What each fuzz target does with one input: bytes enter, and it returns when every law held, or panics.
//!
//! The same functions run under libFuzzer (`fuzz_targets/`), over the checked-in corpus (`tests/corpus.rs`, where every crash
//! that was ever found stays a named file), and under a coverage build (`examples/replay.rs`). A target compares the
//! decoder with an independent reference wherever there is one; else it checks what must hold of any answer. None keeps
//! state from one input to the next that could change an outcome.

pub mod cri;
mod input;
pub mod json_payload;
mod tree;

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

/// All targets, in the order in which a line meets their decoders.
pub const TARGETS: [Target; 2] = [
    Target {
        name: "cri",
        run: cri::run,
        modules: &["parse/cri.rs", "codec/stamp.rs"],
    },
    Target {
        name: "json_payload",
        run: json_payload::run,
        modules: &["codec/json_scan.rs", "codec/escape.rs"],
    },
];
