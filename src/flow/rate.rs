//! Rate limits: bytes and times enter, what may still be read leaves.
//!
//! A token bucket for each pod and for each namespace, with room for one second: nothing is held back
//! of what is written slower than the limit, and a burst of a second passes. What is read may overdraw
//! a bucket, by a line or a chunk; the time until it is paid off is the delay. Buckets that are full
//! say nothing and are forgotten ([`Rates::sweep`]), so there are never more than containers that
//! write. Who delays and who drops is not decided here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Bytes a second; 0 is no limit.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct RateLimits {
    /// Of all containers of a pod together.
    pub pod: u64,
    /// Of all pods of a namespace together.
    pub namespace: u64,
}

/// What has been read lately against one limit.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: u64,
    /// Bytes; below 0 it is overdrawn.
    left: i64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Bucket {
        Bucket {
            rate,
            left: i64::try_from(rate).unwrap_or(i64::MAX),
            at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        let bytes = since.as_nanos().saturating_mul(u128::from(self.rate)) / 1_000_000_000;
        if bytes > 0 {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            let full = i64::try_from(self.rate).unwrap_or(i64::MAX);
            self.left = self.left.saturating_add(bytes).min(full);
            self.at = now;
        }
    }

    /// When there is something to be had: a tenth of a second's bytes, so that nobody reads byte by byte.
    fn ready_at(&self) -> Instant {
        let wanted = i64::try_from(self.rate / 10).unwrap_or(i64::MAX).max(1);
        let missing = wanted.saturating_sub(self.left).max(0);
        self.at + Duration::from_secs_f64(missing as f64 / self.rate.max(1) as f64)
    }
}

/// Whom a bucket is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Whose {
    Pod(String),
    Namespace(String),
}

/// The buckets of all pods and namespaces that wrote lately.
#[derive(Debug)]
pub struct Rates {
    limits: RateLimits,
    buckets: HashMap<Whose, Bucket>,
}

impl Rates {
    /// No bucket yet.
    pub fn new(limits: RateLimits) -> Rates {
        Rates {
            limits,
            buckets: HashMap::new(),
        }
    }

    /// Bytes that a container of this pod (by uid) and namespace may read now, or when it may again.
    ///
    /// # Errors
    /// The time at which there is something to be had.
    pub fn left(&mut self, pod: &str, namespace: &str, now: Instant) -> Result<u64, Instant> {
        let mut least = Ok(u64::MAX);
        self.for_each(pod, namespace, now, |bucket| {
            let this = u64::try_from(bucket.left).ok().filter(|left| *left > 0);
            let this = this.ok_or_else(|| bucket.ready_at());
            least = match (least, this) {
                (Ok(before), Ok(left)) => Ok(left.min(before)),
                (Err(before), Err(ready)) => Err(ready.max(before)),
                (Err(ready), Ok(_)) | (Ok(_), Err(ready)) => Err(ready),
            };
        });
        least
    }

    /// So many bytes were read of it.
    pub fn on_read(&mut self, pod: &str, namespace: &str, bytes: u64, now: Instant) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.for_each(pod, namespace, now, |bucket| {
            bucket.left = bucket.left.saturating_sub(bytes);
        });
    }

    /// Forgets buckets that are full.
    pub fn sweep(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| {
            bucket.fill(now);
            bucket.left < i64::try_from(bucket.rate).unwrap_or(i64::MAX)
        });
    }

    fn for_each(&mut self, pod: &str, namespace: &str, now: Instant, mut act: impl FnMut(&mut Bucket)) {
        let RateLimits {
            pod: of_pod,
            namespace: of_namespace,
        } = self.limits;
        let of_pod = (of_pod > 0).then(|| (of_pod, Whose::Pod(pod.to_owned())));
        let of_namespace = (of_namespace > 0).then(|| (of_namespace, Whose::Namespace(namespace.to_owned())));
        for (rate, whose) in [of_pod, of_namespace].into_iter().flatten() {
            let bucket = self.buckets.entry(whose);
            let bucket = bucket.or_insert_with(|| Bucket::new(rate, now));
            bucket.fill(now);
            act(bucket);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's clock starts at some moment")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_of_a_second_passes_and_then_the_rate_holds() {
        let limits = RateLimits {
            pod: 1000,
            namespace: 0,
        };
        let (mut rates, begun) = (Rates::new(limits), Instant::now());
        let mut passed = 0;
        for step in 0..10_000u32 {
            let now = begun + SECOND * step / 1000;
            if let Ok(left) = rates.left("u1", "shop", now) {
                assert!(left <= 1000);
                let bytes = left.min(70);
                rates.on_read("u1", "shop", bytes, now);
                passed += bytes;
            }
        }
        assert!((10_900..=11_000).contains(&passed), "{passed}");
        assert_eq!(rates.left("u2", "shop", begun), Ok(1000), "another pod");
    }

    #[test]
    fn an_overdraft_is_a_delay() {
        let limits = RateLimits {
            pod: 0,
            namespace: 1000,
        };
        let (mut rates, now) = (Rates::new(limits), Instant::now());
        rates.on_read("u1", "shop", 3000, now);
        assert_eq!(rates.left("u2", "shop", now), Err(now + SECOND * 21 / 10));
        assert_eq!(rates.left("u2", "shop", now + SECOND * 5 / 2), Ok(500));
        assert_eq!(rates.left("u2", "other", now), Ok(1000));
    }

    #[test]
    fn who_writes_nothing_is_forgotten() {
        let limits = RateLimits {
            pod: 1000,
            namespace: 1000,
        };
        let (mut rates, now) = (Rates::new(limits), Instant::now());
        rates.on_read("u1", "shop", 500, now);
        rates.sweep(now + SECOND / 4);
        assert_eq!(rates.buckets.len(), 2);
        rates.sweep(now + SECOND);
        assert!(rates.buckets.is_empty());
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let (mut rates, now) = (Rates::new(RateLimits::default()), Instant::now());
        rates.on_read("u1", "shop", u64::MAX, now);
        assert_eq!(rates.left("u1", "shop", now), Ok(u64::MAX));
        assert!(rates.buckets.is_empty());
    }
}
