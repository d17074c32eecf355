//! What is known about pods: the API server's pod objects enter, the metadata of container instances leaves.
//!
//! In reading order: [`metadata`] maps a pod object into a small record, [`cache`] keeps the records and answers the
//! readers, [`failure`] says what went wrong and what to do about it, [`watch`] decides what the API server is asked
//! next, [`client`] asks it, [`task`] is the loop around all of them. Deliberately not here: what lines say, how a
//! document looks, and how long a reader waits for an answer.

pub mod cache;
pub mod client;
pub mod failure;
pub mod metadata;
pub mod task;
pub mod watch;
