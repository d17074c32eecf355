//! A record as a document of OpenTelemetry. What was unusual stands among the record's attributes: the server refuses
//! members at the top that it does not know.

use super::{Encoder, push_flags, push_message, push_read_time};
use crate::codec::escape::push_string;
use crate::codec::stamp;
use crate::record::{Flags, Record};
use crate::sink::elasticsearch::schema::Fragment;
use std::io::Write as _;

/// The member `observed_timestamp` of the documents that are read at this time.
pub(super) fn observed(unix_ms: u64) -> Vec<u8> {
    let mut out = b",\"observed_timestamp\":".to_vec();
    push_read_time(&mut out, unix_ms);
    out
}

impl Encoder {
    /// All after the digits of the time.
    pub(super) fn push_otel(
        &self,
        observed: &[u8],
        out: &mut Vec<u8>,
        record: &Record<'_>,
        fragment: &Fragment,
        flags: &mut Flags,
    ) {
        let application = self.application(record);
        out.extend_from_slice(b"Z\"");
        out.extend_from_slice(observed);
        if let Some((_, text, number)) = application.as_ref().and_then(|application| application.level()) {
            // Writing into memory does not fail.
            let _ = write!(out, ",\"severity_text\":\"{text}\",\"severity_number\":{number}");
        }
        out.extend_from_slice(b",\"body\":{\"text\":");
        push_message(out, record, flags);
        if let Some(application) = &application {
            application.push_apart(out, b",\"structured\":{");
        }
        out.extend_from_slice(b"},\"attributes\":{");
        if let Some(stream) = record.stream {
            out.extend_from_slice(b"\"log.iostream\":\"");
            out.extend_from_slice(stream.as_str().as_bytes());
            out.extend_from_slice(b"\",");
        }
        if let Some(application) = &application {
            application.push_before(out);
        }
        if !flags.is_empty() || fragment.metadata_missing {
            push_notes(out, record, *flags, fragment.metadata_missing);
        }
        out.extend_from_slice(&fragment.tail);
    }
}

fn push_notes(out: &mut Vec<u8>, record: &Record<'_>, flags: Flags, metadata_missing: bool) {
    out.extend_from_slice(b"\"longshore.flags\":");
    push_flags(out, flags, metadata_missing);
    if record.skipped > 0 {
        let _ = write!(out, ",\"longshore.skipped_bytes\":{}", record.skipped);
    }
    if flags.contains(Flags::TIME_CLAMPED) {
        out.extend_from_slice(b",\"longshore.timestamp\":");
        push_string(out, &stamp::text(record.stamp));
    }
    out.push(b',');
}
