//! Whether one server of several is asked at all: outcomes enter, leave to try leaves.
//!
//! Closed until several requests in a row have failed. Then it is open: nothing goes there, until a delay with full
//! jitter is over and one request tries (half open). That one closes it, or opens it for longer.

use super::backoff::Backoff;
use std::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, attempt: u32 },
    HalfOpen { attempt: u32 },
}

/// The breaker of one server.
#[derive(Clone, Debug)]
pub struct Breaker {
    backoff: Backoff,
    state: State,
    failed_at: Option<Instant>,
}

impl Breaker {
    /// Closed. `backoff` is how long it stays open.
    pub fn new(backoff: Backoff) -> Breaker {
        Breaker {
            backoff,
            state: State::Closed { failures: 0 },
            failed_at: None,
        }
    }

    /// Whether requests go there as they come.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether one request may try.
    pub fn may_try(&self, now: Instant) -> bool {
        matches!(self.state, State::Open { until, .. } if until <= now)
    }

    /// When one may try.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// When a request failed last.
    pub fn failed_at(&self) -> Option<Instant> {
        self.failed_at
    }

    /// The request that tries is on its way, be it time for that or not.
    pub fn on_try(&mut self) {
        if let State::Open { attempt, .. } = self.state {
            self.state = State::HalfOpen { attempt };
        }
    }

    /// A request was answered, whatever the answer says of the documents.
    pub fn on_success(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A request was not answered, or the server said that it is not able to. `random`: any number.
    pub fn on_failure(&mut self, now: Instant, random: u64) {
        self.failed_at = Some(now);
        let attempt = match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                return;
            }
            State::Closed { .. } => 1,
            State::HalfOpen { attempt } => attempt + 1,
            // It was sent before.
            State::Open { .. } => return,
        };
        self.state = State::Open {
            until: now + self.backoff.delay(attempt, random),
            attempt,
        };
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn breaker() -> Breaker {
        Breaker::new(Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        })
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_closes_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..2 {
            breaker.on_failure(now, 7);
            breaker.on_failure(now, 7);
            assert!(breaker.is_closed());
            breaker.on_success();
        }
        (0..3).for_each(|_| breaker.on_failure(now, 7));
        assert!(!breaker.is_closed() && !breaker.may_try(now));
        let until = breaker.next_deadline().unwrap();
        assert!(breaker.may_try(until) && until <= now + Duration::from_secs(1));
        breaker.on_try();
        assert!(!breaker.may_try(until), "one request, not more");
        breaker.on_success();
        assert!(breaker.is_closed() && breaker.failed_at() == Some(now));
    }

    #[test]
    fn it_stays_open_for_longer_after_each_attempt_up_to_a_minute() {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        (0..3).for_each(|_| breaker.on_failure(now, u64::MAX));
        let mut waits = Vec::new();
        for random in 0..9u64 {
            // What was sent before it opened changes nothing.
            breaker.on_failure(now, 0);
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let until = breaker.next_deadline().unwrap();
            waits.push(until - now);
            now = until;
            breaker.on_try();
            breaker.on_failure(now, random);
        }
        let bound = |at: usize| Duration::from_secs(1 << at.min(6)).min(Duration::from_secs(60));
        assert!(
            waits.iter().enumerate().all(|(at, wait)| *wait <= bound(at)),
            "{waits:?}"
        );
        assert!(
            waits.iter().max().unwrap() > &Duration::from_secs(16),
            "{waits:?}"
        );
    }
}
