//! Requests on their way, and bodies that a second host has, too, because the first one does not answer.
//!
//! A host that is frozen, or whose network swallows what it is sent, says nothing until the request times out, and the lines
//! in the body would be late by that. So a body without an answer for [`FlightConfig::hedge_after`] goes to another host
//! as well (it is *hedged*), and the host that kept it waiting has failed as if the time were over: its slot is free, and
//! after a few of these it is left alone. Whoever answers first says what becomes of the documents; the other request is
//! forgotten. Ids make that safe: what both stored is there once, and the second of them is told so (409). In a data stream
//! that rolls over between the two it is there twice: what is taken is counted as in doubt then ([`super::doubts`]).
//!
//! A cluster that is slow as a whole is not asked twice: only a host that has answered something since the body went out, or
//! that has nothing to do, gets it, one for each host at a time, and each body once for each attempt.
//!
//! The time runs from the sending to the whole answer. Elasticsearch answers a bulk when the last document is done, and
//! what is left of the answer by `filter_path` is short, so its first byte comes hardly earlier.
//!
//! [`FlightConfig::hedge_after`]: super::FlightConfig::hedge_after

use super::{Action, Flight, Moment, Parcel, ParcelId, Phase};
use crate::record::Body;
use crate::sink::elasticsearch::hosts::{HostId, Outcome, Sent};
use std::time::Instant;

/// Number of a request on its way.
pub type RequestId = u64;

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) parcel: ParcelId,
    pub(super) sent: Sent,
    /// It took too long: another host has the body, too, and the slot is free.
    pub(super) is_overdue: bool,
    /// It was not the first with this body.
    is_hedge: bool,
    /// It asks which documents are there, and takes none.
    pub(super) looks_up: bool,
}

impl Flight {
    /// The body of a request that is not answered.
    pub fn body(&self, request: RequestId) -> Option<&Body> {
        let request = self.requests.get(&request)?;
        self.flying.get(&request.parcel).map(|parcel| &parcel.body)
    }

    /// A body goes to a host. It has to be among those that are flying, then.
    pub(super) fn post(&mut self, parcel: &Parcel, host: HostId, is_hedge: bool, now: Instant) -> Action {
        self.hosts.on_sent(host);
        self.next_request += 1;
        let looks_up = self.looks_up(parcel);
        let request = Request {
            parcel: parcel.id,
            sent: Sent {
                host,
                at: now,
                bytes: u64::from(parcel.body.inflated_len),
            },
            is_overdue: false,
            is_hedge,
            looks_up,
        };
        self.requests.insert(self.next_request, request);
        Action::Send {
            request: self.next_request,
            host,
            bytes: parcel.body.bytes.clone(),
            encoding: parcel.body.encoding,
            documents: parcel.body.documents(),
            inflated_len: parcel.body.inflated_len,
            looks_up,
        }
    }

    /// Sends a body that was not answered in time to another host, too, if one is able to take it.
    pub(super) fn hedge(&mut self, at: Moment) -> Option<Action> {
        let after = self.config.hedge_after?;
        if self.phase == Phase::Saving || !self.is_up() {
            return None;
        }
        let is_late = |request: &Request| request.may_be_hedged() && request.sent.at + after <= at.now;
        let late = self.requests.iter().filter(|(_, request)| is_late(request));
        let (id, host) = late
            .filter_map(|(id, request)| Some((*id, self.host_for_hedge(request, at.now)?)))
            .next()?;
        let request = self.requests.get_mut(&id)?;
        request.is_overdue = true;
        let late = *request;
        self.hosts
            .on_ended(late.sent, Outcome::Overdue, at.now, at.random);
        let mut parcel = self.flying.get(&late.parcel)?.clone();
        self.doubt_hedged(&mut parcel);
        self.flying.insert(parcel.id, parcel.clone());
        self.hedged += 1;
        Some(self.post(&parcel, host, true, at.now))
    }

    /// When a request is late.
    pub(super) fn hedge_due(&self) -> Option<Instant> {
        let after = self.config.hedge_after.filter(|_| self.config.hosts > 1)?;
        let waiting = self.requests.values().filter(|request| request.may_be_hedged());
        waiting.map(|request| request.sent.at + after).min()
    }

    /// Whether another request with the same body may still be answered.
    pub(super) fn has_another(&self, parcel: ParcelId) -> bool {
        self.requests.values().any(|request| request.parcel == parcel)
    }

    /// The body was answered: what other hosts say of it, nobody waits for.
    pub(super) fn forget_others(&mut self, parcel: ParcelId, at: Moment) {
        let others = self
            .requests
            .extract_if(.., |_, request| request.parcel == parcel);
        for (id, request) in others {
            if !request.is_overdue {
                self.hosts
                    .on_ended(request.sent, Outcome::Forgotten, at.now, at.random);
            }
            self.actions.push_back(Action::Forget(id));
        }
    }

    fn host_for_hedge(&self, late: &Request, now: Instant) -> Option<HostId> {
        let has_hedge = |host| {
            let mut requests = self.requests.values();
            requests.any(|request| request.is_hedge && request.sent.host == host)
        };
        self.hosts
            .responsive(late.sent, now)
            .find(|host| !has_hedge(*host))
    }
}

impl Request {
    fn may_be_hedged(&self) -> bool {
        !self.is_overdue && !self.is_hedge
    }
}
