//! Where documents go: Elasticsearch, and the dead-letter file for what it refuses.

pub mod dead_letter;
pub mod disk;
pub mod elasticsearch;
pub mod settlement;
pub mod task;
