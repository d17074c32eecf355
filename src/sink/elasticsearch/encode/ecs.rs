//! A record as a document of the Elastic Common Schema.

use super::{Encoder, push_message, push_notes, push_read_time};
use crate::codec::escape::push_string;
use crate::record::{Flags, Record};
use crate::sink::elasticsearch::schema::Fragment;
use std::io::Write as _;

/// The object `event` of the documents that are read at this time.
pub(super) fn event(dataset: &str, unix_ms: Option<u64>) -> Vec<u8> {
    let mut out = b",\"event\":{".to_vec();
    if let Some(unix_ms) = unix_ms {
        out.extend_from_slice(b"\"created\":");
        push_read_time(&mut out, unix_ms);
        out.push(b',');
    }
    out.extend_from_slice(b"\"dataset\":");
    push_string(&mut out, dataset);
    out.push(b'}');
    out
}

impl Encoder {
    /// All after the digits of the time.
    pub(super) fn push_ecs(
        &self,
        event: &[u8],
        out: &mut Vec<u8>,
        record: &Record<'_>,
        fragment: &Fragment,
        flags: &mut Flags,
    ) {
        let application = self.application(record);
        out.extend_from_slice(b"Z\",\"message\":");
        push_message(out, record, flags);
        if let Some(stream) = record.stream {
            out.extend_from_slice(b",\"stream\":\"");
            out.extend_from_slice(stream.as_str().as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(event);
        out.extend_from_slice(b",\"log\":{");
        if let Some((level, ..)) = application.as_ref().and_then(|application| application.level()) {
            out.extend_from_slice(b"\"level\":\"");
            out.extend_from_slice(level.as_bytes());
            out.extend_from_slice(b"\",");
        }
        // Writing into memory does not fail.
        let _ = write!(out, "\"offset\":{}", record.span.start);
        out.extend_from_slice(&fragment.tail);
        if let Some(application) = application {
            application.push_beside(out);
            application.push_apart(out, b",\"app\":{");
        }
        if !flags.is_empty() || fragment.metadata_missing {
            push_notes(out, record, *flags, fragment.metadata_missing);
        }
    }
}
