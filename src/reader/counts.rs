//! What was unusual, and what went nowhere.

use crate::record::{Flags, Record, Span};

/// Counts of unusual records since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Unusual {
    /// Records cut at the limit.
    pub truncated: u64,
    /// Source bytes skipped for it.
    pub truncated_bytes: u64,
    /// Records with replaced bytes.
    pub replaced_utf8: u64,
    /// Lines that are neither CRI nor docker JSON.
    pub unparsed: u64,
    /// Partial records whose end never came.
    pub partial: u64,
    /// Stamps outside 1970–2262.
    pub time_clamped: u64,
}

impl Unusual {
    /// A record with these flags and skipped bytes.
    pub(super) fn count(&mut self, flags: Flags, skipped: u64) {
        for (flag, counter) in [
            (Flags::TRUNCATED, &mut self.truncated),
            (Flags::REPLACED_UTF8, &mut self.replaced_utf8),
            (Flags::UNPARSED, &mut self.unparsed),
            (Flags::PARTIAL, &mut self.partial),
            (Flags::TIME_CLAMPED, &mut self.time_clamped),
        ] {
            *counter += u64::from(flags.contains(flag));
        }
        self.truncated_bytes += skipped;
    }
}

/// Records that went nowhere, for a rate limit.
#[derive(Default)]
pub(super) struct Discarded {
    /// Source bytes since the start.
    pub(super) bytes: u64,
    /// Where they lay, since somebody asked.
    pub(super) spans: Vec<Span>,
}

impl Discarded {
    #[cold]
    pub(super) fn push(&mut self, record: &Record<'_>) {
        self.bytes += record.source_bytes + record.skipped;
        for span in std::iter::once(record.span).chain(record.second) {
            match self.spans.last_mut() {
                Some(last) if last.file == span.file && last.end == span.start => last.end = span.end,
                _ => self.spans.push(span),
            }
        }
    }
}
