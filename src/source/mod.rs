//! Directory snapshots and bytes enter, lines with spans leave. Knows neither parse nor sink.

pub mod fingerprint;
pub mod lines;
pub mod pod_path;
