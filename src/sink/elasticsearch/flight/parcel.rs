//! A body on its way: what is known of it besides its bytes.

use super::copies::REST_WAIT;
use super::doubts::Doubt;
use super::refused::Trial;
use super::{Flight, ParcelId};
use crate::record::{Body, FrameSeq, Origin, Row, Share};
use crate::sink::elasticsearch::hosts::HostId;
use std::ops::Range;
use std::time::Instant;

/// A body on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) id: ParcelId,
    pub(super) parts: Parts,
    pub(super) body: Body,
    /// The documents are poorer than they were.
    pub(super) trial: Option<Trial>,
    /// All documents of its one origin, none of which rests anywhere.
    pub(super) whole: bool,
    /// Some documents of a body that was taken: others like it may share a request with it.
    pub(super) rides: bool,
    /// Its connection broke, and it was sent again at once: that is done once.
    pub(super) sent_twice: bool,
    /// Who had it last, and did not answer or refused all of it: another host is asked first.
    pub(super) failed_on: Option<HostId>,
    /// Who had it last and refused all of it for something in it.
    pub(super) refused_by: Option<HostId>,
    /// Look-ups that failed, one after the other.
    pub(super) failed_look_ups: u32,
    /// Attempts that left these documents where they are.
    pub(super) attempt: u32,
    /// A server has answered for each of these documents before, and left them where they are.
    pub(super) judged: bool,
    /// Some server may know these documents: they were in a request.
    pub(super) sent: bool,
    /// A document of it is suspected to make the server refuse whole requests: the passes when that began.
    pub(super) suspected: Option<u64>,
    /// The server may have them under another index or id.
    pub(super) doubt: Doubt,
    /// Its part of the memory budget; none for what came from the spool.
    pub(super) permit: u64,
    /// Whose part that is.
    pub(super) share: Share,
    /// When it came into memory.
    pub(super) since: Instant,
    /// When it is to rest somewhere, or else to have a copy in the spool.
    pub(super) rest_by: Instant,
}

impl Parcel {
    /// The frame that lies in the spool and holds the same documents.
    pub(super) fn kept(&self) -> Option<FrameSeq> {
        match self.parts.0[..] {
            [(Origin::Frame(frame), _)] if self.whole => Some(frame),
            _ => None,
        }
    }

    /// Documents and source bytes by origin.
    pub(super) fn sums(&self) -> impl Iterator<Item = (Origin, usize, u64)> {
        let bytes = |rows: &[Row]| rows.iter().map(|row| u64::from(row.source_bytes)).sum();
        let spans = self.parts.spans();
        spans.map(move |(origin, span)| (origin, span.len(), bytes(&self.body.rows[span])))
    }
}

/// Where the documents of a body came from, in the order of its rows: each origin with so many rows. There is one at least.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parts(Vec<(Origin, usize)>);

impl Parts {
    /// All rows are of one origin.
    pub(super) fn one(origin: Origin, rows: usize) -> Parts {
        Parts(vec![(origin, rows)])
    }

    /// Each origin and its rows.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Origin, Range<usize>)> {
        self.0.iter().scan(0, |end, (origin, rows)| {
            let start = *end;
            *end += rows;
            Some((*origin, start..*end))
        })
    }

    /// These rows (ascending) by origin.
    pub(super) fn split<'a>(&self, picked: &'a [usize]) -> impl Iterator<Item = (Origin, &'a [usize])> {
        let within = |span: &Range<usize>| {
            let at = |row: usize| picked.partition_point(|known| *known < row);
            &picked[at(span.start)..at(span.end)]
        };
        let split = self.spans().map(move |(origin, span)| (origin, within(&span)));
        split.filter(|(_, picked)| !picked.is_empty())
    }

    /// The parts of a body of these rows.
    pub(super) fn pick(&self, picked: &[usize]) -> Parts {
        let split = self.split(picked).map(|(origin, rows)| (origin, rows.len()));
        Parts(split.collect())
    }

    /// The frames among them.
    pub(super) fn frames(&self) -> impl Iterator<Item = FrameSeq> {
        self.0.iter().filter_map(|(origin, _)| match origin {
            Origin::Frame(frame) => Some(*frame),
            Origin::Batch(_) => None,
        })
    }

    /// The rows of another body follow.
    pub(super) fn append(&mut self, other: Parts) {
        self.0.extend(other.0);
    }
}

impl Flight {
    pub(super) fn parcel(
        &mut self,
        parts: Parts,
        body: Body,
        whole: bool,
        (permit, share): (u64, Share),
        since: Instant,
    ) -> Parcel {
        self.next_parcel += 1;
        Parcel {
            id: self.next_parcel,
            parts,
            body,
            trial: None,
            whole,
            rides: false,
            sent_twice: false,
            failed_on: None,
            refused_by: None,
            failed_look_ups: 0,
            attempt: 0,
            judged: false,
            sent: false,
            suspected: None,
            doubt: Doubt::None,
            permit,
            share,
            since,
            rest_by: since + REST_WAIT,
        }
    }

    /// A parcel of the documents of `parcel` at these rows, with as much of its part of the budget as it needs.
    pub(super) fn child(
        &mut self,
        parcel: &Parcel,
        picked: &[usize],
        body: Body,
        permit: &mut u64,
    ) -> Parcel {
        let part = body.resident_bytes().min(*permit);
        *permit -= part;
        let parts = parcel.parts.pick(picked);
        let mut child = self.parcel(parts, body, false, (part, parcel.share), parcel.since);
        child.attempt = parcel.attempt;
        child.judged = parcel.judged;
        child.sent = parcel.sent;
        child.suspected = parcel.suspected;
        child.doubt = parcel.doubt;
        child.rest_by = match parcel.kept() {
            Some(_) => self.rests_again(parcel),
            None => parcel.rest_by,
        };
        child
    }

    /// When documents are to have a frame of their own that lie in one with others.
    pub(super) fn rests_again(&self, parcel: &Parcel) -> Instant {
        self.polled.unwrap_or(parcel.since) + REST_WAIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_origin() {
        let mut parts = Parts::one(Origin::Batch(7), 3);
        parts.append(Parts::one(Origin::Frame(2), 2));
        parts.append(Parts::one(Origin::Batch(9), 1));
        let split: Vec<_> = parts.split(&[1, 2, 3, 5]).collect();
        assert_eq!(
            split,
            [
                (Origin::Batch(7), &[1, 2][..]),
                (Origin::Frame(2), &[3]),
                (Origin::Batch(9), &[5])
            ]
        );
        let few = parts.pick(&[0, 3, 4]);
        assert_eq!(few, Parts(vec![(Origin::Batch(7), 1), (Origin::Frame(2), 2)]));
        let spans: Vec<_> = few.spans().collect();
        assert_eq!(spans, [(Origin::Batch(7), 0..1), (Origin::Frame(2), 1..3)]);
    }
}
