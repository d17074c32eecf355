//! The clock of a model, and its waits.
//!
//! Time stands still but for a nanosecond at each look, so that the same schedule is the same run. What a
//! limit of a wait means, [`set_limits`] says: [`Limits::NeverEnd`] proves that everything that is waited
//! for comes by itself (a lost wake-up then is a deadlock, and no timeout hides it); [`Limits::EndAnyTime`]
//! lets every limited wait end at any moment, with the clock put forward by the limit.

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Whether waits that have a limit come to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limits {
    /// None does.
    NeverEnd,
    /// Any may, at any moment.
    EndAnyTime,
}

/// One in so many looks at a limited wait ends it.
const PATIENCE: u32 = 24;
/// Seconds since 1970 when a model begins.
const BEGIN: Duration = Duration::from_secs(1_790_000_000);

thread_local! {
    static BASE: Instant = anchor();
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static LIMITS: Cell<Limits> = const { Cell::new(Limits::NeverEnd) };
}

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
fn anchor() -> Instant {
    Instant::now()
}

/// Begins a run: the clock is put back.
pub fn set_limits(limits: Limits) {
    PASSED.set(Duration::ZERO);
    LIMITS.set(limits);
}

/// The monotonic clock of the model.
pub fn now() -> Instant {
    PASSED.set(PASSED.get() + Duration::from_nanos(1));
    BASE.with(|base| *base) + PASSED.get()
}

/// Since 1970.
pub fn unix() -> Duration {
    BEGIN + PASSED.get()
}

/// The next message, waited for as [`Limits`] says.
///
/// # Errors
/// When none came, or none will ever come.
pub fn recv_timeout<T>(from: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
    if limit > Duration::ZERO && LIMITS.get() == Limits::NeverEnd {
        return from.recv().map_err(|_| RecvTimeoutError::Disconnected);
    }
    loop {
        match from.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        if limit == Duration::ZERO || ends() {
            PASSED.set(PASSED.get() + limit);
            return Err(RecvTimeoutError::Timeout);
        }
        shuttle::thread::yield_now();
    }
}

/// Waits as [`Limits`] says; what is due already is not waited for.
pub async fn sleep_until(deadline: Instant) {
    poll_fn(|context| {
        let left = deadline.saturating_duration_since(now());
        if left == Duration::ZERO || LIMITS.get() == Limits::EndAnyTime && ends() {
            PASSED.set(PASSED.get() + left);
            return Poll::Ready(());
        }
        if LIMITS.get() == Limits::EndAnyTime {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

fn ends() -> bool {
    thread_rng().gen_range(0..PATIENCE) == 0
}
