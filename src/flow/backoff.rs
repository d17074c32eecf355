//! Attempts enter, delays leave: exponential with full jitter.

use std::time::Duration;

/// Bounds of the delays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub base: Duration,
    /// Upper bound of every delay.
    pub cap: Duration,
}

impl Backoff {
    /// For a server that refuses or does not answer: 1 s doubling to 60 s.
    pub const SERVER: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
    };

    /// The delay before attempt number `attempt` (the first repetition is 1). `random` is any
    /// number; the delay is uniform between a tenth of the bound and the bound, so that a fleet
    /// whose server returns does not come back in step, and never hammers.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let floor = bound / 10;
        let spread = (bound - floor).as_nanos() as u64;
        floor + Duration::from_nanos(if spread == 0 { 0 } else { random % spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_delay_is_between_its_floor_and_its_bound(attempt in 0u32..100, random in any::<u64>()) {
            let backoff = Backoff::SERVER;
            let delay = backoff.delay(attempt, random);
            prop_assert!(delay >= backoff.base / 10 && delay <= backoff.cap);
        }
    }

    #[test]
    fn bounds_double_up_to_the_cap() {
        let most = |attempt| Backoff::SERVER.delay(attempt, u64::MAX - 7).as_secs();
        assert!(most(1) < 1 && most(3) < 4 && most(50) < 60);
    }
}
