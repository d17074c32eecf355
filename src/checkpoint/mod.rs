//! What is durably known of every file: how far it is delivered. Acks enter in any order, the lowest
//! safe offset leaves; positions become bytes and back. Does not know why something was acked.

pub mod disk;
pub mod losses;
pub mod snapshot;
pub mod task;
pub mod tracker;
