//! The agent's own log. Events of `tracing` enter, lines on standard error leave.
//!
//! How it looks is a matter of the configuration alone, never of the environment. There are no
//! colours: the log of an agent is read in files. Standard output stays free for what commands print.
//!
//! Whoever logs tells of a fault when it begins and when it is over. What all faults together may write is bounded by
//! [`Capped`].
//!
//! Not done: files, rotation, changing the level while the agent runs.

mod capped;
#[cfg(test)]
mod tests;

pub use capped::Capped;

use crate::config::{Log, LogFormat, LogLevel};
use std::time::Instant;
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
