//! The agent's own log. Events of `tracing` enter, lines on standard error leave.
//!
//! How it looks is a matter of the configuration alone, never of the environment. There are no
//! colours: the log of an agent is read in files. Standard output stays free for what commands print.
//!
//! [`Throttle`] keeps a fault that lasts from filling the log; whoever logs asks it first. What all faults together may
//! write is bounded by [`Capped`].
//!
//! Not done: files, rotation, changing the level while the agent runs.

mod capped;
#[cfg(test)]
mod tests;

pub use capped::Capped;

use crate::config::{Log, LogFormat, LogLevel};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tracing::Dispatch;
use tracing::dispatcher::{SetGlobalDefaultError, set_global_default};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// From now on events of the whole process go to standard error.
///
/// # Errors
/// When a log was started before.
pub fn start(
    log: &Log,
    clock: impl Fn() -> Instant + Send + Sync + 'static,
) -> Result<(), SetGlobalDefaultError> {
    set_global_default(dispatch(log, Capped::new(log, std::io::stderr, clock)))
}

/// Makes lines of events. Each line is one call of the writer; a line that cannot be written is lost
/// without a sound, because a broken standard error must not stop the agent.
pub fn dispatch<W>(log: &Log, writer: W) -> Dispatch
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(writer);
    let registry = tracing_subscriber::registry();
    match log.format {
        LogFormat::Text => Dispatch::new(registry.with(layer.with_filter(filter(log.level)))),
        LogFormat::Json => {
            let layer = layer
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false);
            Dispatch::new(registry.with(layer.with_filter(filter(log.level))))
        }
    }
}

/// Our own events down to `level`. Of libraries less: what they tell in detail drowns the rest, and
/// may hold what was sent.
fn filter(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::INFO),
    };
    Targets::new().with_default(theirs).with_target("longshore", ours)
}

/// How many keys a [`Throttle`] remembers.
pub const MAX_KEYS: usize = 1024;

/// Says which of many equal events are worth a line: the first of a key, and then one per interval.
///
/// It remembers [`MAX_KEYS`] keys. While there are more, the new ones share one interval.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    keys: HashMap<String, Quiet>,
    /// Shared by the keys that found no room.
    crowd: Option<Quiet>,
    forgot_at: Option<Instant>,
}

/// The time after a line.
#[derive(Debug)]
struct Quiet {
    since: Instant,
    suppressed: u64,
}

impl Throttle {
    /// At most one line per key and `interval`.
    pub fn new(interval: Duration) -> Throttle {
        Throttle {
            interval,
            keys: HashMap::new(),
            crowd: None,
            forgot_at: None,
        }
    }

    /// Whether an event of `key` is to be logged at `now`, and then how many of the same key were
    /// not, since the last one that was.
    pub fn admit(&mut self, key: &str, now: Instant) -> Option<u64> {
        if let Some(quiet) = self.keys.get_mut(key) {
            return quiet.admit(self.interval, now);
        }
        if self.keys.len() >= MAX_KEYS {
            self.forget(now);
        }
        if self.keys.len() < MAX_KEYS {
            self.keys.insert(key.to_owned(), Quiet::new(now));
            return Some(0);
        }
        match &mut self.crowd {
            Some(quiet) => quiet.admit(self.interval, now),
            None => {
                self.crowd = Some(Quiet::new(now));
                Some(0)
            }
        }
    }

    /// Makes room: keys whose interval is over go. Looks at all of them, so once per interval only.
    fn forget(&mut self, now: Instant) {
        let interval = self.interval;
        let over = |since: Instant| now.saturating_duration_since(since) >= interval;
        if self.forgot_at.is_none_or(over) {
            self.forgot_at = Some(now);
            self.keys.retain(|_, quiet| !over(quiet.since));
        }
    }
}

impl Quiet {
    fn new(since: Instant) -> Quiet {
        Quiet { since, suppressed: 0 }
    }

    fn admit(&mut self, interval: Duration, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) < interval {
            self.suppressed += 1;
            return None;
        }
        self.since = now;
        Some(std::mem::take(&mut self.suppressed))
    }
}
