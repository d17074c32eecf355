//! The hosts of the sink: which one the next request goes to, and how many each may have. Outcomes and `now` enter, a
//! host or nothing leaves.
//!
//! Hosts are used in turn, each up to the slots of its limiter. One whose requests fail one after the other is left
//! alone for a while ([`crate::flow::breaker`]) and then tried with one request. When all are left alone, the one that
//! failed longest ago is tried first. There is no sniffing: the addresses are those of the config, and behind a name that
//! several servers share, new connections find the new ones.

use crate::flow::backoff::Backoff;
use crate::flow::breaker::Breaker;
use crate::flow::limiter::{Answered, Limiter, Room};
use std::time::Instant;

/// Place of a host in the config.
pub type HostId = usize;

/// How a request ended, for the host that had it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was answered; nothing was to be stored.
    LookedUp,
    /// It was answered; nothing was to be stored, and that could not be looked up. Others may be able to store.
    NotLookedUp,
    /// It was answered: the host has no capacity for this part of its documents (above 0, at most 1).
    Refused(f64),
    /// The host has no capacity for it.
    Congested,
    /// Nobody answered, or the host is not able to carry anything out.
    Failed,
    /// Not answered so far, and that takes too long.
    Overdue,
    /// Nobody waits for it any more, through no fault of the host.
    Forgotten,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// To whom.
    pub host: HostId,
    /// Since when.
    pub at: Instant,
    /// Bytes of the body before compression.
    pub bytes: u64,
}

#[derive(Debug)]
struct Host {
    breaker: Breaker,
    limiter: Limiter,
    flying: usize,
    /// It has said when it wants to be asked again.
    rests_until: Option<Instant>,
    /// All slots were in use since the last answer.
    was_full: bool,
    answered_at: Option<Instant>,
    /// It had no capacity for all of the last request that it answered.
    is_congested: bool,
}

/// All hosts.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    /// Who is next.
    turn: usize,
}

impl Hosts {
    /// So many hosts (at least one), each with `first` requests at once at the start, and at most `most`.
    pub fn new(hosts: usize, first: usize, most: usize, backoff: Backoff) -> Hosts {
        let host = || Host {
            breaker: Breaker::new(backoff),
            limiter: Limiter::new(first, most),
            flying: 0,
            rests_until: None,
            was_full: false,
            answered_at: None,
            is_congested: false,
        };
        Hosts {
            hosts: (0..hosts.max(1)).map(|_| host()).collect(),
            turn: 0,
        }
    }

    /// The host of the next request; `not` is one that shall not have it. None: no host has a free slot.
    pub fn next(&self, now: Instant, not: Option<HostId>) -> Option<HostId> {
        let in_turn = (0..self.hosts.len()).map(|step| (self.turn + step) % self.hosts.len());
        let mut free = in_turn.filter(|id| Some(*id) != not && self.hosts[*id].is_free(now));
        // One that is tried comes first: with all others healthy its turn would come as well, but later.
        let tried = free.clone().find(|id| !self.hosts[*id].breaker.is_closed());
        tried.or_else(|| free.next())
    }

    /// True when no host takes requests as they come.
    pub fn are_all_open(&self) -> bool {
        self.hosts.iter().all(|host| !host.breaker.is_closed())
    }

    /// Whether there is another host that takes requests as they come, and has capacity as far as is known.
    pub fn has_others(&self, host: HostId) -> bool {
        let mut others = self.hosts.iter().enumerate().filter(|(id, _)| *id != host);
        others.any(|(_, other)| other.breaker.is_closed() && !other.is_congested)
    }

    /// Whether there is another host that takes requests as they come, with or without capacity.
    pub fn has_open_others(&self, host: HostId) -> bool {
        let mut others = self.hosts.iter().enumerate().filter(|(id, _)| *id != host);
        others.any(|(_, other)| other.breaker.is_closed())
    }

    /// Other hosts with a free slot that are able to answer, as far as is known: they have answered something since the
    /// request was sent, or have nothing to do.
    pub fn responsive(&self, late: Sent, now: Instant) -> impl Iterator<Item = HostId> {
        let others = self
            .hosts
            .iter()
            .enumerate()
            .filter(move |(id, _)| *id != late.host);
        let able = others.filter(move |(_, host)| host.breaker.is_closed() && host.is_free(now));
        let responsive = able.filter(move |(_, host)| {
            host.flying == 0 || host.answered_at.is_some_and(|answered| answered > late.at)
        });
        responsive.map(|(id, _)| id)
    }

    /// When a host may be tried again.
    pub fn next_deadline(&self) -> Option<Instant> {
        let idle = self.hosts.iter().filter(|host| host.flying == 0);
        let breakers = idle.filter_map(|host| host.breaker.next_deadline());
        let rests = self.hosts.iter().filter_map(|host| host.rests_until);
        breakers.chain(rests).min()
    }

    /// The host wants nothing before `until`.
    pub fn rest(&mut self, host: HostId, until: Instant) {
        let rests = &mut self.hosts[host].rests_until;
        *rests = Some(rests.map_or(until, |known| known.max(until)));
    }

    /// Until when the host wants nothing, if it has said so.
    pub fn rests_until(&self, host: HostId) -> Option<Instant> {
        self.hosts[host].rests_until
    }

    /// Rests that are over are forgotten.
    pub fn wake(&mut self, now: Instant) {
        for host in &mut self.hosts {
            host.rests_until = host.rests_until.filter(|until| *until > now);
        }
    }

    /// The host to try when all are left alone and there is a reason not to wait: the one that failed longest ago.
    pub fn least_recently_failed(&self) -> HostId {
        let failed = |id: &usize| self.hosts[*id].breaker.failed_at();
        (0..self.hosts.len()).min_by_key(failed).unwrap_or(0)
    }

    /// A request goes to `host`.
    pub fn on_sent(&mut self, host: HostId) {
        self.turn = (host + 1) % self.hosts.len();
        let host = &mut self.hosts[host];
        host.breaker.on_try();
        host.flying += 1;
        host.was_full |= host.flying >= host.limiter.slots();
    }

    /// A request ended. `random`: any number.
    pub fn on_ended(&mut self, sent: Sent, outcome: Outcome, now: Instant, random: u64) {
        let host = &mut self.hosts[sent.host];
        host.flying = host.flying.saturating_sub(1);
        let room = match outcome {
            Outcome::Answered => Room::All,
            Outcome::Refused(part) => Room::Refused(part),
            Outcome::Congested | Outcome::Failed | Outcome::Overdue => Room::None,
            Outcome::LookedUp => return host.breaker.on_success(),
            Outcome::NotLookedUp if host.breaker.is_closed() => return,
            Outcome::NotLookedUp => return host.breaker.on_failure(now, random),
            Outcome::Forgotten => return,
        };
        match outcome {
            Outcome::Answered | Outcome::Refused(_) | Outcome::Congested => {
                host.breaker.on_success();
                host.answered_at = Some(now);
                host.is_congested = outcome == Outcome::Congested;
            }
            _ => host.breaker.on_failure(now, random),
        }
        host.limiter.on_answered(Answered {
            sent: sent.at,
            now,
            bytes: sent.bytes,
            was_full: host.was_full,
            room,
        });
        host.was_full = host.flying >= host.limiter.slots();
    }

    /// Requests that all hosts together may have now.
    pub fn slots(&self) -> usize {
        let closed = self.hosts.iter().filter(|host| host.breaker.is_closed());
        closed.map(|host| host.limiter.slots()).sum()
    }
}

impl Host {
    fn is_free(&self, now: Instant) -> bool {
        if self.rests_until.is_some_and(|until| until > now) {
            return false;
        }
        if self.breaker.is_closed() {
            self.flying < self.limiter.slots()
        } else {
            self.flying == 0 && self.breaker.may_try(now)
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn hosts(count: usize) -> (Hosts, Instant) {
        (Hosts::new(count, 1, 4, Backoff::SERVER), Instant::now())
    }

    fn send(hosts: &mut Hosts, now: Instant) -> Option<Sent> {
        let host = hosts.next(now, None)?;
        hosts.on_sent(host);
        Some(Sent {
            host,
            at: now,
            bytes: 1 << 20,
        })
    }

    #[test]
    fn hosts_are_used_in_turn_up_to_their_slots() {
        let (mut hosts, now) = hosts(3);
        let sent: Vec<Sent> = std::iter::from_fn(|| send(&mut hosts, now)).collect();
        let ids: Vec<HostId> = sent.iter().map(|sent| sent.host).collect();
        assert_eq!(ids, [0, 1, 2], "each begins with one slot");
        hosts.on_ended(sent[1], Outcome::Answered, now + SECOND, 0);
        let more: Vec<HostId> = std::iter::from_fn(|| send(&mut hosts, now + SECOND))
            .map(|sent| sent.host)
            .collect();
        assert_eq!((more, hosts.slots()), (vec![1, 1], 4));
        assert_eq!(hosts.next(now, None), None);
    }

    #[test]
    fn a_host_that_fails_is_left_alone_and_then_tried_with_one_request() {
        let (mut hosts, mut now) = hosts(2);
        for _ in 0..3 {
            while let Some(sent) = send(&mut hosts, now) {
                let outcome = if sent.host == 1 {
                    Outcome::Failed
                } else {
                    Outcome::Answered
                };
                hosts.on_ended(sent, outcome, now, 0);
                if sent.host == 1 {
                    break;
                }
            }
        }
        assert!(!hosts.are_all_open());
        let mut alone = Vec::new();
        for _ in 0..4 {
            let sent = send(&mut hosts, now).unwrap();
            alone.push(sent.host);
            hosts.on_ended(sent, Outcome::Answered, now, 0);
        }
        assert_eq!(alone, [0; 4]);
        now = hosts.next_deadline().unwrap();
        let tried = send(&mut hosts, now).unwrap();
        assert_eq!(tried.host, 1);
        let others: Vec<HostId> = std::iter::from_fn(|| send(&mut hosts, now))
            .map(|sent| sent.host)
            .collect();
        assert!(
            !others.is_empty() && others.iter().all(|host| *host == 0),
            "{others:?}"
        );
        hosts.on_ended(tried, Outcome::Answered, now, 0);
        assert_eq!(hosts.next(now, Some(0)), Some(1));
    }

    #[test]
    fn a_host_that_says_when_to_come_again_is_left_alone_until_then() {
        let (mut hosts, now) = hosts(2);
        hosts.rest(0, now + SECOND * 5);
        hosts.rest(0, now + SECOND);
        let sent = send(&mut hosts, now).unwrap();
        assert_eq!((sent.host, send(&mut hosts, now).is_none()), (1, true));
        hosts.on_ended(sent, Outcome::Answered, now, 0);
        hosts.rest(1, now + SECOND * 9);
        assert_eq!(hosts.next(now, None), None);
        assert_eq!(hosts.next_deadline(), Some(now + SECOND * 5));
        hosts.wake(now + SECOND * 5);
        assert_eq!(hosts.next(now + SECOND * 5, None), Some(0));
        assert_eq!(hosts.next_deadline(), Some(now + SECOND * 9));
    }

    #[test]
    fn when_all_are_left_alone_the_one_that_failed_longest_ago_is_tried() {
        let (mut hosts, mut now) = hosts(2);
        for _ in 0..6 {
            now += Duration::from_millis(1);
            let sent = send(&mut hosts, now).unwrap();
            hosts.on_ended(sent, Outcome::Failed, now, u64::MAX - 6);
        }
        assert!(hosts.are_all_open() && hosts.slots() == 0);
        assert_eq!(hosts.least_recently_failed(), 0);
    }
}
