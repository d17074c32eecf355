//! What two threads meet through: channels, atomics, locks, threads, tasks, and the clock that ends their
//! waits. Plain re-exports of std and tokio.
//!
//! With the feature `model` the same names are those of the model checker (`shuttle`), which runs all
//! threads as coroutines, chooses the next one at every meeting, and so tries schedules by the thousand:
//! `tests/model` then runs the code of [`crate::agent::stages`] and of all threads as it is. Never for a
//! released binary.
//!
//! Whoever waits for another thread takes these names, not those of std or tokio. Not here: what never
//! waits for another thread of ours (the log, the HTTP client, the status server), and `Arc`, of which
//! nobody asks whether he is the last.

#[cfg(feature = "model")]
pub mod model;

#[cfg(not(feature = "model"))]
mod real {
    #![expect(
        clippy::disallowed_methods,
        reason = "the clock of all threads, so that a model can turn it"
    )]

    pub use ::tokio;
    pub use std::sync::{Mutex, MutexGuard, atomic, mpsc};
    pub use std::thread;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    /// The monotonic clock.
    pub fn now() -> Instant {
        Instant::now()
    }

    /// Since 1970; zero on a node whose clock is before that.
    pub fn unix() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The next message, waited for at most so long.
    ///
    /// # Errors
    /// When none came, or none will ever come.
    pub fn recv_timeout<T>(from: &mpsc::Receiver<T>, limit: Duration) -> Result<T, mpsc::RecvTimeoutError> {
        from.recv_timeout(limit)
    }

    /// Waits until then.
    pub async fn sleep_until(deadline: Instant) {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

#[cfg(not(feature = "model"))]
pub use self::real::*;

#[cfg(feature = "model")]
pub use self::model::{now, recv_timeout, sleep_until, unix};
#[cfg(feature = "model")]
pub use {
    shuttle::sync::{Mutex, MutexGuard, atomic, mpsc},
    shuttle::thread,
    shuttle_tokio as tokio,
};
