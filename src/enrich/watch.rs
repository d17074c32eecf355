//! Answers, ends and failures of requests enter; what to ask the API server next, and when, leaves.
//!
//! One list, then one watch from its version, and from then on watches only: a watch that ends goes on where it was.
//! Listing again is for a version that the server does not have any more. No answer, however often it comes, makes
//! requests without a pause. Deliberately not done: a streaming list (not every server has it) and pages.

use super::failure::{Failure, Kind};
use crate::flow::backoff::Backoff;
use std::time::{Duration, Instant};

/// A watch that lasted this long was a good one; one that ended sooner may be the next of many.
const STEADY: Duration = Duration::from_secs(5);
/// What a kube-apiserver asks for when it refuses a request with 429: it always says one second.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// The version that means: begin with whatever you have. For servers that number nothing.
const ANY_VERSION: &str = "0";

/// What to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// All pods of the node.
    List,
    /// What happened after this version.
    Watch {
        /// A resource version, which only the server understands.
        version: String,
    },
}

/// Where the conversation with the API server stands.
#[derive(Debug, Default)]
pub struct PodWatch {
    /// `None`: list first.
    version: Option<String>,
    /// Failures since a watch was opened.
    failures: u32,
    /// Watches that ended soon, since one that did not.
    short_watches: u32,
    opened: Option<Instant>,
    not_before: Option<Instant>,
}

impl PodWatch {
    const BACKOFF: Backoff = Backoff::SERVER;

    /// At the start: nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to ask now; `None` before [`PodWatch::next_deadline`].
    pub fn poll(&self, now: Instant) -> Option<Action> {
        if self.not_before.is_some_and(|moment| moment > now) {
            return None;
        }
        Some(match &self.version {
            None => Action::List,
            Some(version) => Action::Watch {
                version: version.clone(),
            },
        })
    }

    /// When to ask next, if not now.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.not_before
    }

    /// The list is here; it is as of `version`.
    pub fn on_listed(&mut self, version: &str) {
        self.version = Some(if version.is_empty() { ANY_VERSION } else { version }.to_owned());
    }

    /// The server has accepted the watch.
    pub fn on_opened(&mut self, now: Instant) {
        self.failures = 0;
        self.opened = Some(now);
    }

    /// An event or a bookmark moved the watch on.
    pub fn on_version(&mut self, version: &str) {
        if !version.is_empty() {
            self.version = Some(version.to_owned());
        }
    }

    /// The watch has ended or its connection was cut, as happens every few minutes. The first time it is watched again
    /// at once; watches that keep ending soon are spaced out.
    pub fn on_ended(&mut self, now: Instant, random: u64) {
        let lasted = self
            .opened
            .take()
            .is_some_and(|opened| now.duration_since(opened) >= STEADY);
        let short_before = if lasted { 0 } else { self.short_watches };
        self.short_watches = if lasted { 0 } else { short_before.saturating_add(1) };
        let pause = if short_before == 0 {
            Duration::ZERO
        } else {
            Self::BACKOFF.delay(short_before, random)
        };
        self.not_before = Some(now + pause);
    }

    /// A request failed, or the server ended a watch with an error.
    pub fn on_failure(&mut self, failure: &Failure, now: Instant, random: u64) {
        if failure.kind == Kind::Expired {
            self.version = None;
            return self.on_ended(now, random);
        }
        // An event that cannot be read would come again from the same version.
        if failure.kind == Kind::Nonsense {
            self.version = None;
        }
        self.opened = None;
        self.failures = self.failures.saturating_add(1);
        let busy = (failure.kind == Kind::Busy).then_some(BUSY_PAUSE);
        let least = failure.retry_after.or(busy).unwrap_or_default();
        self.not_before = Some(now + Self::BACKOFF.delay(self.failures, random).max(least));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn watch(version: &str) -> Option<Action> {
        Some(Action::Watch {
            version: version.to_owned(),
        })
    }

    fn failure(kind: Kind) -> Failure {
        Failure::new(kind, "listing", "no")
    }

    #[test]
    fn one_list_and_then_watches_only() {
        let (mut plan, now) = (PodWatch::new(), start());
        assert_eq!(plan.poll(now), Some(Action::List));
        plan.on_listed("7");
        assert_eq!(plan.poll(now), watch("7"));
        plan.on_opened(now);
        plan.on_version("9");
        plan.on_ended(now + seconds(240), 1);
        assert_eq!(plan.poll(now + seconds(240)), watch("9"));
        plan.on_opened(now + seconds(240));
        let cut = failure(Kind::Unreachable);
        plan.on_failure(&cut, now + seconds(250), 1);
        assert_eq!(plan.poll(now + seconds(250)), None);
        assert_eq!(plan.poll(now + seconds(251)), watch("9"));
    }

    #[test]
    fn an_expired_version_is_listed_again_at_once_but_not_for_ever() {
        let (mut plan, now) = (PodWatch::new(), start());
        plan.on_listed("7");
        plan.on_opened(now);
        plan.on_failure(&failure(Kind::Expired), now + seconds(60), 1);
        assert_eq!(plan.poll(now + seconds(60)), Some(Action::List));
        plan.on_listed("8");
        plan.on_failure(&failure(Kind::Expired), now + seconds(61), 1);
        assert_eq!(plan.poll(now + seconds(61)), Some(Action::List));
        plan.on_listed("8");
        plan.on_failure(&failure(Kind::Expired), now + seconds(62), 1);
        assert_eq!(plan.poll(now + seconds(62)), None);
        assert_eq!(plan.poll(now + seconds(63)), Some(Action::List));
    }

    #[test]
    fn the_server_says_how_long_it_wants_to_be_left_alone() {
        let (mut plan, now) = (PodWatch::new(), start());
        plan.on_failure(&failure(Kind::Busy), now, 0);
        assert!(plan.next_deadline() >= Some(now + BUSY_PAUSE));
        plan.on_failure(
            &Failure {
                retry_after: Some(seconds(90)),
                ..failure(Kind::Broken)
            },
            now,
            0,
        );
        assert_eq!(plan.next_deadline(), Some(now + seconds(90)));
    }

    #[test]
    fn what_cannot_be_read_is_not_asked_for_from_the_same_version() {
        let (mut plan, now) = (PodWatch::new(), start());
        plan.on_listed("7");
        plan.on_failure(&failure(Kind::Nonsense), now, 0);
        assert_eq!(plan.poll(now + seconds(2)), Some(Action::List));
    }

    #[test]
    fn a_server_without_versions_is_watched_from_any() {
        let mut plan = PodWatch::new();
        plan.on_listed("");
        plan.on_version("");
        assert_eq!(plan.poll(start()), watch(ANY_VERSION));
    }

    proptest! {
        /// Whatever the server does to each request in no time, a minute sees few of them.
        #[test]
        fn no_answer_makes_it_hammer(answers in proptest::collection::vec(0..4u8, 200), random in any::<u64>()) {
            let (mut plan, begin) = (PodWatch::new(), start());
            let (mut now, mut requests) = (begin, 0);
            for answer in answers {
                let Some(action) = plan.poll(now) else { unreachable!("it is never asked too early") };
                requests += 1;
                match (answer, action) {
                    (0, _) => plan.on_failure(&failure(Kind::Broken), now, random),
                    (1, _) => plan.on_failure(&failure(Kind::Expired), now, random),
                    (_, Action::List) => plan.on_listed("1"),
                    (_, Action::Watch { .. }) => {
                        plan.on_opened(now);
                        plan.on_ended(now, random);
                    }
                }
                now = plan.next_deadline().unwrap_or(now).max(now);
                if now > begin + seconds(60) {
                    break;
                }
            }
            prop_assert!(requests < 100, "{} requests in {:?}", requests, now - begin);
        }
    }
}
