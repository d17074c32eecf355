//! The agent's own log. Events of `tracing` enter, lines on standard error leave.
//!
//! How it looks is a matter of the configuration alone, never of the environment. There are no
//! colours: the log of an agent is read in files. Standard output stays free for what commands print.
//!
//! [`Throttle`] keeps a fault that lasts from filling the log; whoever logs asks it first.
//!
//! Not done: files, rotation, changing the level while the agent runs.

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
pub fn start(log: &Log) -> Result<(), SetGlobalDefaultError> {
    set_global_default(dispatch(log, std::io::stderr))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing::dispatcher::with_default;
    use tracing::{debug, error, info, trace, warn};

    const MINUTE: Duration = Duration::from_secs(60);

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        with_default(&dispatch(&Log { level, format }, move || writer.clone()), events);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "some instant to count from")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn text_has_level_words_and_fields_and_no_colour() {
        let text = written(LogLevel::Info, LogFormat::Text, || {
            warn!(path = "/var/log/pods", "cannot read");
        });
        assert!(text.contains(" WARN longshore::telemetry::logging"), "{text}");
        assert!(text.ends_with("cannot read path=\"/var/log/pods\"\n"), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = written(LogLevel::Info, LogFormat::Json, || {
            error!(bytes = 7, "lost");
            info!("second\nline");
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[0]["message"], "lost");
        assert_eq!(lines[0]["bytes"], 7);
        assert!(lines[1]["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn libraries_are_quieter_than_we_are() {
        let lines = |level| {
            written(level, LogFormat::Text, || {
                error!("ours");
                warn!("ours");
                info!("ours");
                debug!("ours");
                trace!("ours");
                error!(target: "hyper", "theirs");
                warn!(target: "hyper", "theirs");
                info!(target: "hyper", "theirs");
                debug!(target: "hyper", "theirs");
            })
        };
        let count = |level| {
            let text = lines(level);
            (text.matches(" ours").count(), text.matches(" theirs").count())
        };
        assert_eq!(count(LogLevel::Error), (1, 1));
        assert_eq!(count(LogLevel::Warn), (2, 2));
        assert_eq!(count(LogLevel::Info), (3, 2));
        assert_eq!(count(LogLevel::Debug), (4, 3));
        assert_eq!(count(LogLevel::Trace), (5, 3));
    }

    #[test]
    fn one_event_per_key_and_interval_and_the_rest_is_counted() {
        let (mut throttle, start) = (Throttle::new(MINUTE), some_instant());
        assert_eq!(throttle.admit("a", start), Some(0));
        assert_eq!(throttle.admit("b", start), Some(0));
        assert_eq!(throttle.admit("a", start + MINUTE / 2), None);
        assert_eq!(
            throttle.admit("a", start + MINUTE - Duration::from_millis(1)),
            None
        );
        assert_eq!(throttle.admit("a", start + MINUTE), Some(2));
        assert_eq!(throttle.admit("a", start + MINUTE), None);
        assert_eq!(throttle.admit("b", start + MINUTE * 3), Some(0));
    }

    #[test]
    fn too_many_keys_share_one_interval_and_take_no_more_memory() {
        let (mut throttle, start) = (Throttle::new(MINUTE), some_instant());
        let admitted = |throttle: &mut Throttle, from: usize, now| {
            let keys = from..from + 3 * MAX_KEYS;
            keys.filter(|key| throttle.admit(&key.to_string(), now).is_some())
                .count()
        };
        assert_eq!(admitted(&mut throttle, 0, start), MAX_KEYS + 1);
        assert_eq!(throttle.keys.len(), MAX_KEYS);
        let later = start + MINUTE;
        assert_eq!(admitted(&mut throttle, 1_000_000, later), MAX_KEYS + 1);
        assert_eq!(throttle.keys.len(), MAX_KEYS);
    }
}
