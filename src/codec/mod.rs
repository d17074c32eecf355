//! Bytes to bytes: JSON escapes and gzip. The only place where `unsafe` may be allowed; it knows no
//! other module.

pub mod escape;
pub mod gzip;
