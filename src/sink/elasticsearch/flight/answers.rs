//! An answer enters: what it says of the host and of all requests, and who looks at its documents.

use super::doubts::Doubt;
use super::{Flight, Health, Moment, Parcel, RequestId};
use crate::sink::elasticsearch::hosts::{HostId, Outcome};
use crate::sink::elasticsearch::response::{CONNECTION_BROKE, Problem, RequestVerdict, Verdict};
use std::time::{Duration, Instant};

impl Flight {
    /// A request was answered, or failed on the way (the shell turns transport errors into
    /// [`RequestVerdict::Retry`]).
    pub fn on_answer(&mut self, request: RequestId, verdict: RequestVerdict, at: Moment) {
        let Some(request) = self.requests.remove(&request) else {
            return;
        };
        let host = request.sent.host;
        if !request.is_overdue {
            let outcome = outcome(&verdict, request.looks_up);
            self.hosts.on_ended(request.sent, outcome, at.now, at.random);
        }
        let fails = matches!(verdict, RequestVerdict::Retry(_));
        if fails && self.has_another(request.parcel) {
            return;
        }
        let Some(mut parcel) = self.flying.remove(&request.parcel) else {
            return;
        };
        self.forget_others(parcel.id, at);
        let rest = self.hosts.rests_until(host);
        let is_probe = self.probe == Some(parcel.id);
        if is_probe {
            self.probe = None;
        }
        // Of those that were only looked up, nothing is there that was not before.
        if let (Some(problem), Doubt::None) = (may_be_stored(&verdict), parcel.doubt) {
            self.doubt(&mut parcel, problem, at);
        }
        match verdict {
            RequestVerdict::Items(verdicts) => {
                self.health = Health::Up;
                self.pace.on_up(at.now);
                // That documents could be looked up does not say that any could be stored.
                self.passes += u64::from(!request.looks_up);
                self.answered.push_back((parcel, verdicts));
            }
            RequestVerdict::Retry(problem)
                if request.looks_up && (problem.status > 0 || problem.kind == "timeout" && self.is_up()) =>
            {
                parcel.failed_on = Some(host);
                self.on_look_up_failed(parcel, problem, is_probe, at);
            }
            RequestVerdict::Split(problem) => {
                self.on_too_large(&parcel);
                self.split(parcel, problem, at);
            }
            RequestVerdict::Bisect(problem) => {
                let others_asked = parcel.refused_by != Some(host) || !self.hosts.has_open_others(host);
                (parcel.failed_on, parcel.refused_by) = (Some(host), Some(host));
                self.bisect(parcel, problem, is_probe, others_asked, at);
            }
            // A server, or what stands before it, may end a connection that was idle just when we use it again.
            RequestVerdict::Retry(problem)
                if problem.kind == CONNECTION_BROKE && !parcel.sent_twice && self.is_up() =>
            {
                parcel.sent_twice = true;
                self.due.push_front(parcel);
            }
            RequestVerdict::Retry(problem) if self.hosts.has_others(host) && !is_probe => {
                self.try_another(parcel, host, &problem, at);
            }
            RequestVerdict::Retry(problem) => {
                self.on_down(parcel, problem, false, is_probe, at);
                self.wait_at_least(rest);
            }
            RequestVerdict::Hold(problem) => self.on_down(parcel, problem, true, is_probe, at),
        }
    }

    /// The host that answers this request has said (`Retry-After`) how long it wants nothing; it is told before
    /// [`Flight::on_answer`].
    pub fn on_retry_after(&mut self, request: RequestId, wait: Duration, now: Instant) {
        if let Some(request) = self.requests.get(&request) {
            self.hosts.rest(request.sent.host, now + wait);
        }
    }

    /// No probe before that.
    fn wait_at_least(&mut self, rest: Option<Instant>) {
        if let (Health::Down { until, .. }, Some(rest)) = (&mut self.health, rest) {
            *until = rest.max(*until);
        }
    }

    /// One host of several failed, or has no capacity.
    fn try_another(&mut self, mut parcel: Parcel, host: HostId, problem: &Problem, at: Moment) {
        parcel.failed_on = Some(host);
        if is_congestion(problem) {
            self.later(parcel, at);
        } else {
            self.due.push_front(parcel);
        }
    }

    /// Whole requests do not get through, or all are refused.
    pub(super) fn on_down(
        &mut self,
        mut parcel: Parcel,
        problem: Problem,
        hold: bool,
        is_probe: bool,
        at: Moment,
    ) {
        let (until, attempt) = match &self.health {
            // A request that was sent before the server was known to be down tells nothing new.
            Health::Down { until, attempt, .. } if !is_probe => (*until, *attempt),
            health => {
                let attempt = if let Health::Down { attempt, .. } = health {
                    attempt + 1
                } else {
                    1
                };
                (at.now + self.config.backoff.delay(attempt, at.random), attempt)
            }
        };
        self.pace.on_down(at.now);
        self.health = Health::Down {
            until,
            attempt,
            problem,
            hold,
        };
        parcel.attempt += 1;
        self.delayed.push((until, parcel));
    }
}

/// The problem of a request of which any part may have been carried out: Elasticsearch from 9 on stores a bulk while it comes,
/// whatever it says of all of it in the end. What credentials decide, they decide before that.
fn may_be_stored(verdict: &RequestVerdict) -> Option<&Problem> {
    match verdict {
        RequestVerdict::Items(_) => None,
        RequestVerdict::Hold(problem) if matches!(problem.status, 401 | 403) => None,
        RequestVerdict::Retry(problem)
        | RequestVerdict::Bisect(problem)
        | RequestVerdict::Split(problem)
        | RequestVerdict::Hold(problem) => Some(problem),
    }
}

/// Whether a server says that it has no capacity for more.
fn is_congestion(problem: &Problem) -> bool {
    matches!(problem.status, 429 | 503)
}

/// What an answer says of the host. Of single documents it takes one in a hundred.
fn outcome(verdict: &RequestVerdict, looks_up: bool) -> Outcome {
    match verdict {
        RequestVerdict::Retry(problem) if looks_up && problem.status == 0 => Outcome::Failed,
        RequestVerdict::Retry(_) if looks_up => Outcome::NotLookedUp,
        _ if looks_up => Outcome::LookedUp,
        RequestVerdict::Items(verdicts) => {
            let no_room =
                |verdict: &Verdict| matches!(verdict, Verdict::Retry(problem) if is_congestion(problem));
            let refused = verdicts
                .others()
                .iter()
                .filter(|(_, verdict)| no_room(verdict))
                .count();
            if refused > 0 && refused * 100 >= verdicts.documents() {
                Outcome::Refused(refused as f64 / verdicts.documents() as f64)
            } else {
                Outcome::Answered
            }
        }
        RequestVerdict::Retry(problem) if problem.status == 429 => Outcome::Congested,
        // 503 is what a proxy says that has no server left, and a server without a master.
        RequestVerdict::Retry(_) => Outcome::Failed,
        RequestVerdict::Split(_) | RequestVerdict::Bisect(_) | RequestVerdict::Hold(_) => Outcome::Answered,
    }
}
