//! Directory snapshots and bytes enter, lines with spans leave. Knows neither parse nor sink.

pub mod chain;
pub mod disk;
pub mod fingerprint;
pub mod lines;
pub mod pod_path;
pub mod registry;
pub mod tail;
pub mod task;
