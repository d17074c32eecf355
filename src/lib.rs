//! Longshore ships the container logs of a Kubernetes node to Elasticsearch, each line once.
//!
//! ```text
//!  files ─▶ source ─▶ parse ─▶ enrich ─▶ codec ─▶ batch ─▶ sink ─▶ settlement ─▶ checkpoint
//!             ▲          └──────── reader ────────┘         │ ▲        (the ack)
//!             └───────── flow::budget withholds ◀───────── spool, dead letter
//! ```
//!
//! In reading order:
//!
//! - [`record`]: the nouns. [`codec`], [`flow`]: bytes to bytes; delays and permits. [`disk`]: the file
//!   system as a trait.
//! - [`source`]: directories and bytes become lines; [`parse`]: lines become records; [`enrich`]:
//!   pods become the ready-made part of documents; [`batch`]: documents become bodies.
//! - [`reader`]: those stages as one pure function, driven by [`source::task`].
//! - [`sink`]: bodies become requests, answers become verdicts, verdicts become acks
//!   ([`sink::settlement`]); [`spool`]: bodies wait on disk; [`checkpoint`]: what is delivered.
//! - [`setup`]: the templates and policies that a server should have for our documents, as data.
//! - [`telemetry`], [`admin`]: the ledger, the status, the metrics.
//! - [`config`], [`cli`], [`lock`], [`agent`]: text becomes a running process; [`sync`]: what its threads meet
//!   through.
//!
//! `ARCHITECTURE.md` has the picture, the invariants and the decisions.

pub mod admin;
pub mod agent;
pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod codec;
pub mod config;
pub mod disk;
pub mod enrich;
pub mod flow;
pub mod lock;
pub mod mutant;
pub mod parse;
pub mod reader;
pub mod record;
pub mod setup;
pub mod sink;
pub mod source;
pub mod spool;
pub mod sync;
pub mod telemetry;
