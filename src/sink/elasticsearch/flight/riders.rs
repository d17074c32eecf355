//! Documents that a server has no capacity for while it takes others of the same body: they ride in a later request.
//!
//! Such an answer shows that the way is open, so the delay begins anew; it is short, and long enough for others to come.
//! When the first of them is due, all that ride go out in one body, up to
//! [`FlightConfig::body_bytes`](super::FlightConfig): a server that refuses a third of all documents gets a few more bodies, not
//! many small ones for each. Poorer documents ride with such as are as poor.
//!
//! A body of which nothing was taken says more about the server the more documents it had. Those that ride are few in the
//! end, so their delay grows from the short one: a little while other documents are taken, and else up to that of every
//! other body. Those that wait for longer than a little go when they are due, not with the next that is.

use super::doubts::Doubt;
use super::parcel::Parcel;
use super::refused::Trial;
use super::verdicts::Apart;
use super::{Flight, Moment, Phase};
use crate::codec::body::merge;
use std::collections::VecDeque;
use std::time::Duration;

/// The longest first delay; the shortest is a third of it.
const RIDE_WAIT: Duration = Duration::from_millis(150);
/// The delay doubles at most so often while other documents are taken: within [`OPEN`].
const DOUBLINGS_WHILE_OPEN: u32 = 2;
const OPEN: Duration = Duration::from_secs(10);
/// Of a larger body it is no chance that nothing is taken: it may be one index that has no room, and its delay doubles on.
const FEW_BYTES: u32 = 64 << 10;
/// And else. Then the delay of every other body is the shorter one.
const MAX_DOUBLINGS: u32 = 10;

impl Flight {
    /// Some documents of a body that was taken ride again.
    pub(super) fn ride(&mut self, mut parcel: Parcel, at: Moment) {
        if self.phase == Phase::Saving {
            self.due.push_back(parcel);
            return;
        }
        parcel.attempt = 1;
        parcel.rides = parcel.suspected.is_none();
        self.wait_to_ride(parcel, at);
    }

    /// The first delay.
    pub(super) fn wait_to_ride(&mut self, parcel: Parcel, at: Moment) {
        let until = at.now + ride_wait(1, at.random);
        self.delayed.push((until, parcel));
    }

    /// No document of a body was taken, for lack of room.
    pub(super) fn ride_later(&mut self, mut parcel: Parcel, at: Moment) {
        if !parcel.rides || self.phase == Phase::Saving {
            return self.later(parcel, at);
        }
        parcel.attempt += 1;
        let is_small = parcel.body.inflated_len <= FEW_BYTES;
        let is_open = is_small && self.taken_at.is_some_and(|taken| at.now < taken + OPEN);
        let most = if is_open {
            DOUBLINGS_WHILE_OPEN
        } else {
            MAX_DOUBLINGS
        };
        let wait = ride_wait(parcel.attempt.min(most + 1), at.random);
        let until = at.now + wait.min(self.config.backoff.delay(parcel.attempt, at.random));
        self.delayed.push((until, parcel));
    }

    /// The parcel, and in the same body those that wait and may share it.
    pub(super) fn with_others(&mut self, parcel: Parcel) -> Parcel {
        let limit = self.largest.unwrap_or(u32::MAX).min(self.config.body_bytes);
        let mut bytes = parcel.body.inflated_len;
        let rides = |parcel: &Parcel| {
            let known = parcel.suspected.is_none() && parcel.doubt == Doubt::None;
            parcel.rides && known
        };
        let mut may_share = |other: &Parcel| {
            let together = bytes.saturating_add(other.body.inflated_len);
            let alike = rides(other) && other.share == parcel.share && other.form() == parcel.form();
            let may = alike && together <= limit;
            if may {
                bytes = together;
            }
            may
        };
        if !rides(&parcel) {
            return parcel;
        }
        let (mut others, due): (VecDeque<Parcel>, _) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(&mut may_share);
        self.due = due;
        let is_early = |parcel: &Parcel| parcel.attempt <= 1 + DOUBLINGS_WHILE_OPEN;
        let delayed = self
            .delayed
            .extract_if(.., |(_, parcel)| is_early(parcel) && may_share(parcel));
        others.extend(delayed.map(|(_, parcel)| parcel));
        if others.is_empty() {
            return parcel;
        }
        self.merged(parcel, others)
    }

    fn merged(&mut self, first: Parcel, others: VecDeque<Parcel>) -> Parcel {
        let all = || std::iter::once(&first).chain(&others);
        let level = self.config.compression;
        let texts: Result<Vec<Apart<'_>>, _> = all().map(|parcel| Apart::new(&parcel.body, level)).collect();
        let trials: Option<Vec<&Trial>> = all().map(|parcel| parcel.trial.as_ref()).collect();
        let trial = trials.map(|trials| Trial::merged(&trials, level)).transpose();
        let (Ok(texts), Ok(trial)) = (texts, trial) else {
            // They were made here, so this does not happen; each goes for itself then.
            self.due.extend(others);
            return first;
        };
        let body = merge(texts.iter().map(|apart| (apart.body(), apart.text())), level);
        drop(texts);
        let mut parts = first.parts.clone();
        let held: u64 = all().map(|parcel| parcel.permit).sum();
        let permit = body.resident_bytes().min(held);
        let share = first.share;
        let since = all().map(|parcel| parcel.since).min().unwrap_or(first.since);
        let unkept = all().filter(|parcel| parcel.kept().is_none());
        let rest_by = unkept.map(|parcel| parcel.rest_by).min();
        let rest_by = rest_by.unwrap_or_else(|| self.rests_again(&first));
        for other in &others {
            parts.append(other.parts.clone());
        }
        let mut merged = self.parcel(parts, body, false, (permit, share), since);
        merged.attempt = all().map(|parcel| parcel.attempt).max().unwrap_or(first.attempt);
        merged.judged = true;
        merged.trial = trial;
        merged.rides = true;
        merged.sent = true;
        merged.rest_by = rest_by;
        self.release(held - permit, share);
        merged
    }
}

/// Between a third of a bound and the bound, which doubles with each attempt.
fn ride_wait(attempt: u32, random: u64) -> Duration {
    let bound = RIDE_WAIT * (1 << attempt.saturating_sub(1));
    let least = bound / 3;
    let spread = (bound - least).as_nanos() as u64;
    least + Duration::from_nanos(random % spread)
}
