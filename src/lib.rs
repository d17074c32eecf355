//! Longshore ships the container logs of a Kubernetes node to Elasticsearch, each line once.

pub mod admin;
pub mod agent;
pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod codec;
pub mod config;
pub mod enrich;
pub mod flow;
pub mod lock;
pub mod parse;
pub mod reader;
pub mod record;
pub mod sink;
pub mod source;
pub mod spool;
pub mod telemetry;
