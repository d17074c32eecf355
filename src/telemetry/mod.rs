//! What the agent tells about itself. Facts of the stages enter; the ledger, the status board, the
//! metrics and the throttled log leave. Knows no stage.

pub mod board;
pub mod ledger;
