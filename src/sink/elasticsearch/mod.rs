//! Records become documents, bodies are posted to `_bulk`, answers become verdicts.

pub mod alarms;
pub mod client;
pub mod encode;
pub mod flight;
pub mod hosts;
pub mod reduce;
pub mod response;
pub mod schema;
pub mod task;
