//! What becomes of the documents of one answered body.

use super::lanes::Probe;
use super::{Action, Flight, Moment, Parcel, Writing};
use crate::codec::body::{document, pick};
use crate::codec::gzip::{self, Damaged};
use crate::record::{Body, Fate, Origin};
use crate::sink::dead_letter;
use crate::sink::elasticsearch::response::{Problem, Verdict};
use std::collections::BTreeMap;

/// The documents of a body by what is to be done with them.
#[derive(Default)]
struct Sorted<'a> {
    resting: Vec<(Fate, Vec<usize>)>,
    retry: Vec<usize>,
    refused: Vec<(usize, &'a Problem)>,
    hold: Vec<(usize, &'a Problem)>,
}

impl<'a> Sorted<'a> {
    fn new(verdicts: &'a [Verdict]) -> Sorted<'a> {
        let mut sorted = Sorted::default();
        for (at, verdict) in verdicts.iter().enumerate() {
            match verdict {
                Verdict::Accepted => sorted.rest(Fate::Accepted, at),
                Verdict::Duplicate => sorted.rest(Fate::Duplicate, at),
                Verdict::DroppedByServer => sorted.rest(Fate::DroppedByServer, at),
                Verdict::Retry(_) => sorted.retry.push(at),
                Verdict::Refused(problem) => sorted.refused.push((at, problem)),
                Verdict::Hold(problem) => sorted.hold.push((at, problem)),
            }
        }
        sorted
    }

    fn rest(&mut self, fate: Fate, at: usize) {
        match self.resting.iter_mut().find(|(known, _)| *known == fate) {
            Some((_, picked)) => picked.push(at),
            None => self.resting.push((fate, vec![at])),
        }
    }

    /// What the answer says about the index that the body is for.
    fn probe(&self) -> Probe {
        if !self.hold.is_empty() {
            Probe::Held
        } else if self.resting.is_empty() && self.refused.is_empty() {
            Probe::Unknown
        } else {
            Probe::Passed
        }
    }

    /// Whether single documents leave the body: not when all rest, nor when all ride again.
    fn takes_apart(&self) -> bool {
        let rides_whole = self.resting.is_empty() && self.refused.is_empty() && self.hold.is_empty();
        !(rides_whole || self.retry.is_empty() && self.refused.is_empty() && self.hold.is_empty())
    }
}

/// A body and its text, for the time in which documents are picked out of it.
struct Apart<'a> {
    body: &'a Body,
    text: Vec<u8>,
    level: u8,
}

impl<'a> Apart<'a> {
    fn new(body: &'a Body, level: u8) -> Result<Apart<'a>, Damaged> {
        Ok(Apart {
            body,
            text: gzip::inflate(body)?,
            level,
        })
    }

    /// Action line and source of a document.
    fn lines(&self, at: usize) -> (&[u8], &[u8]) {
        let lines = document(self.body, &self.text, at);
        let split = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
        (
            &lines[..split],
            lines.get(split + 1..).unwrap_or_default().trim_ascii_end(),
        )
    }

    fn pick(&self, picked: &[usize]) -> Body {
        if picked.len() == self.body.documents() {
            return self.body.clone();
        }
        pick(self.body, &self.text, picked, self.level)
    }

    fn bytes_of(&self, picked: &[usize]) -> u64 {
        picked
            .iter()
            .map(|at| u64::from(self.body.rows[*at].source_bytes))
            .sum()
    }
}

impl Flight {
    pub(super) fn on_verdicts(&mut self, parcel: Parcel, verdicts: &[Verdict], at: Moment) {
        let sorted = Sorted::new(verdicts);
        if let Origin::Frame(frame) = parcel.origin {
            self.lanes
                .on_probe(frame, sorted.probe(), self.config.backoff, at.now, at.random);
        }
        if !sorted.takes_apart() && !sorted.retry.is_empty() {
            self.later(parcel, at);
            return;
        }
        let apart = if sorted.takes_apart() {
            Apart::new(&parcel.body, self.config.compression)
        } else {
            Ok(Apart {
                body: &parcel.body,
                text: Vec::new(),
                level: 0,
            })
        };
        match apart {
            Ok(apart) => self.take_apart(&parcel, &apart, &sorted, at),
            // Nothing rests yet, so the whole body may ride again: the ids make that safe.
            Err(_) => self.later(parcel, at),
        }
    }

    fn take_apart(&mut self, parcel: &Parcel, apart: &Apart<'_>, sorted: &Sorted<'_>, at: Moment) {
        let mut permit = parcel.permit;
        for (fate, picked) in &sorted.resting {
            self.rest(parcel.origin, *fate, picked.len(), apart.bytes_of(picked), at.now);
        }
        if !sorted.retry.is_empty() {
            let child = self.child(parcel, apart.pick(&sorted.retry), &mut permit);
            self.later(child, at);
        }
        if !sorted.refused.is_empty() {
            self.dead_letter(parcel, apart, &sorted.refused, &mut permit, at);
        }
        if !sorted.hold.is_empty() {
            self.hold(parcel, apart, &sorted.hold, &mut permit, at);
        }
        self.release(permit, parcel.share);
    }

    /// A whole request was too large: halves, or the end of a single document.
    pub(super) fn split(&mut self, parcel: Parcel, problem: Problem, at: Moment) {
        let Ok(apart) = Apart::new(&parcel.body, self.config.compression) else {
            self.later(parcel, at);
            return;
        };
        let mut permit = parcel.permit;
        let count = parcel.body.documents();
        if count <= 1 {
            self.dead_letter(&parcel, &apart, &[(0, &problem)], &mut permit, at);
        } else {
            let all: Vec<usize> = (0..count).collect();
            let (first, second) = all.split_at(count / 2);
            for half in [second, first] {
                let child = self.child(&parcel, apart.pick(half), &mut permit);
                self.due.push_front(child);
            }
        }
        self.release(permit, parcel.share);
    }

    /// A parcel of some documents of `parcel`, with as much of its part of the budget as it needs.
    fn child(&mut self, parcel: &Parcel, body: Body, permit: &mut u64) -> Parcel {
        let part = body.resident_bytes().min(*permit);
        *permit -= part;
        let mut child = self.parcel(parcel.origin, body, false, (part, parcel.share), parcel.since);
        child.attempt = parcel.attempt;
        child.sent = parcel.sent;
        child.rest_by = parcel.rest_by;
        child
    }

    fn dead_letter(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        refused: &[(usize, &Problem)],
        permit: &mut u64,
        at: Moment,
    ) {
        let mut rows = Vec::new();
        for (row, Problem { status, kind, reason }) in refused {
            let (action, source) = apart.lines(*row);
            rows.extend(dead_letter::row(at.unix, action, source, *status, kind, reason));
        }
        let picked: Vec<usize> = refused.iter().map(|(row, _)| *row).collect();
        let child = self.child(parcel, apart.pick(&picked), permit);
        self.actions.push_back(Action::DeadLetter {
            parcel: child.id,
            rows,
        });
        self.writing.insert(child.id, Writing::DeadLetter(child));
    }

    /// Moves documents on hold into the lanes of their indices.
    fn hold(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        held: &[(usize, &Problem)],
        permit: &mut u64,
        at: Moment,
    ) {
        let mut by_index: BTreeMap<String, (&Problem, Vec<usize>)> = BTreeMap::new();
        for (row, problem) in held {
            let (index, _) = dead_letter::target(apart.lines(*row).0);
            by_index
                .entry(index)
                .or_insert_with(|| (problem, Vec::new()))
                .1
                .push(*row);
        }
        let one_index = by_index.len() == 1 && held.len() == parcel.body.documents();
        for (index, (problem, picked)) in by_index {
            let until = at.now + self.config.backoff.delay(1, at.random);
            self.lanes.on_held(&index, problem, until);
            match parcel.origin {
                // The frame holds nothing else: it stays where it is.
                Origin::Frame(frame) if one_index && parcel.whole => {
                    self.settlement.abandon(parcel.origin);
                    self.lanes.put_back(&index, frame, at.now);
                }
                Origin::Frame(_) | Origin::Batch(_) => {
                    let child = self.child(parcel, apart.pick(&picked), permit);
                    let action = self.write_spool(child, Some((index, problem.clone())));
                    self.actions.push_back(action);
                }
            }
        }
    }
}
