//! Bytes to bytes: JSON escapes, JSON members, time stamps, gzip, and bodies taken apart again. The only place where `unsafe` may be allowed; of the
//! other modules it knows `record` alone.

pub mod body;
pub mod escape;
pub mod gzip;
pub mod json_scan;
pub mod json_walk;
pub mod stamp;
