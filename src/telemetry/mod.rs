//! What the agent tells about itself. Facts of the stages enter; the ledger, the status board, the
//! metrics, the status page and the throttled log leave. Knows no stage.

pub mod board;
pub mod cgroup;
pub mod disk;
#[cfg(test)]
pub(crate) mod example;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod status;
