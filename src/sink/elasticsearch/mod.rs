//! Records become documents, bodies are posted to `_bulk`, answers become verdicts.

pub mod encode;
pub mod flight;
pub mod response;
pub mod schema;
