//! What is known about pods: the API server's pod objects enter, the metadata of container instances leaves.
//!
//! In reading order: [`metadata`] maps a pod object into a small record, [`cache`] keeps the records and answers the
//! readers. Deliberately not here: what lines say, how a document looks, and how long a reader waits for an answer.

pub mod cache;
pub mod metadata;
