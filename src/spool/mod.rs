//! Our disk buffer: opaque bodies ⇄ framed, checksummed, numbered; bounded by a quota. Knows neither
//! JSON nor Elasticsearch nor pods.

pub mod delivered;
pub mod disk;
pub mod frame;
pub mod index;
pub mod losses;
pub mod protocol;
pub mod ranges;
pub mod segment;
pub mod task;
