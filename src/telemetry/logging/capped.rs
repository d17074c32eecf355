//! Lines of the log enter, at most [`RATE`] bytes of them per second leave; the next line says how many did not.
//!
//! Whatever fails, and however often: a log that others ship, or that fills a disk, stays small. Who asks for the levels
//! `debug` or `trace` wants every line and gets it. The few lines of the agent's beginning and end always come: whoever
//! reads the log after a storm must find how it ended.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes per second in the long run.
const RATE: u64 = 960;
/// Bytes that may come at once after a quiet time: the lines of a start, the first lines of a fault.
const BURST: u64 = 16 * 1024;

/// Who tells how the agent begins and ends.
const LIFE: &str = "longshore::agent";

/// A writer that leaves out lines beyond the rate.
#[expect(
    missing_debug_implementations,
    reason = "a clock and a writer have nothing to show"
)]
pub struct Capped<W> {
    writer: W,
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    allowance: Option<Arc<Mutex<Allowance>>>,
    format: LogFormat,
}

/// What may be written now.
#[derive(Debug)]
struct Allowance {
    bytes: u64,
    since: Instant,
    left_out: u64,
}

impl<W> Capped<W> {
    /// Nothing is written yet.
    pub fn new(log: &Log, writer: W, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Capped<W> {
        let allowance = Allowance {
            bytes: BURST,
            since: clock(),
            left_out: 0,
        };
        Capped {
            writer,
            clock: Arc::new(clock),
            allowance: (log.level <= LogLevel::Info).then(|| Arc::new(Mutex::new(allowance))),
            format: log.format,
        }
    }
}

impl Allowance {
    /// Whether a line of `bytes` may be written, and then how many before it were left out.
    fn admit(&mut self, bytes: u64, always: bool, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.since).as_millis() as u64;
        let earned = passed.saturating_mul(RATE) / 1000;
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(BURST);
            self.since = now;
        }
        if self.bytes < bytes.saturating_add(NOTICE) && !always {
            self.left_out += 1;
            return None;
        }
        let left_out = std::mem::take(&mut self.left_out);
        let notice = if left_out > 0 { NOTICE } else { 0 };
        self.bytes = self.bytes.saturating_sub(bytes + notice);
        Some(left_out)
    }
}

/// Bytes of the line that tells of those left out, at most.
const NOTICE: u64 = 128;

/// One line on its way.
pub struct Line<'a, T> {
    writer: T,
    clock: &'a (dyn Fn() -> Instant + Send + Sync),
    allowance: Option<&'a Mutex<Allowance>>,
    always: bool,
    format: LogFormat,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Capped<W> {
    type Writer = Line<'a, W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            writer: self.writer.make_writer(),
            clock: self.clock.as_ref(),
            allowance: self.allowance.as_deref(),
            always: false,
            format: self.format,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Line {
            always: metadata.target() == LIFE,
            ..self.make_writer()
        }
    }
}

impl<T: Write> Write for Line<'_, T> {
    /// Takes a whole line. One that is left out counts as written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(allowance) = self.allowance else {
            return self.writer.write(line);
        };
        let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = allowance.admit(line.len() as u64, self.always, (self.clock)());
        drop(allowance);
        let Some(left_out) = admitted else {
            return Ok(line.len());
        };
        if left_out > 0 {
            let text = format!("{left_out} lines of this log were left out: too many at once");
            let notice = match self.format {
                LogFormat::Text => format!("WARN {text}\n"),
                LogFormat::Json => format!("{{\"level\":\"WARN\",\"message\":\"{text}\"}}\n"),
            };
            self.writer.write_all(notice.as_bytes())?;
        }
        self.writer.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
