//! What becomes of the documents of one answered body.

use super::doubts::Doubt;
use super::lanes::Probe;
use super::refused::Trial;
use super::{Action, Flight, Health, Ids, Moment, Parcel, Writing};
use crate::codec::body::{document, pick};
use crate::codec::gzip::{self, Damaged};
use crate::record::{Body, Fate, FileId, FrameSeq, Origin};
use crate::sink::dead_letter;
use crate::sink::elasticsearch::response::{Problem, Verdict, Verdicts};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Frames that are remembered as suspected. What is beyond is suspected anew, and takes longer.
const MAX_SUSPECTS: usize = 1000;

/// Dead letters come into the file together up to this part of what it may hold: more of them might never find room.
const LETTER_PARTS: u64 = 8;

/// A server that takes no body of this size takes none: then it is not the size.
const LEAST_BODY: u32 = 4096;

/// The documents of a body by what is to be done with them.
#[derive(Default)]
pub(super) struct Sorted<'a> {
    resting: Vec<(Fate, Vec<usize>)>,
    retry: Vec<usize>,
    pub(super) refused: Vec<(usize, &'a Problem)>,
    hold: Vec<(usize, &'a Problem)>,
}

impl<'a> Sorted<'a> {
    fn new(verdicts: &'a Verdicts) -> Sorted<'a> {
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

    /// Rows that the server took, now or before.
    pub(super) fn taken(&self) -> impl Iterator<Item = usize> {
        let taken = self
            .resting
            .iter()
            .filter(|(fate, _)| matches!(fate, Fate::Accepted | Fate::Duplicate));
        taken.flat_map(|(_, picked)| picked.iter().copied())
    }

    /// What the answer says about the index that the body is for.
    fn probe(&self) -> Probe {
        if !self.hold.is_empty() {
            Probe::Held
        } else if self.resting.is_empty() {
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
pub(super) struct Apart<'a> {
    body: &'a Body,
    text: Vec<u8>,
    level: u8,
}

impl<'a> Apart<'a> {
    pub(super) fn new(body: &'a Body, level: u8) -> Result<Apart<'a>, Damaged> {
        Ok(Apart {
            body,
            text: gzip::inflate(body)?,
            level,
        })
    }

    pub(super) fn body(&self) -> &Body {
        self.body
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Action line and source of a document.
    pub(super) fn lines(&self, at: usize) -> (&[u8], &[u8]) {
        let lines = document(self.body, &self.text, at);
        let split = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
        (
            &lines[..split],
            lines.get(split + 1..).unwrap_or_default().trim_ascii_end(),
        )
    }

    /// Where a document is to go.
    pub(super) fn index_of(&self, at: usize) -> String {
        dead_letter::target(self.lines(at).0).0
    }

    pub(super) fn pick(&self, picked: &[usize]) -> Body {
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
    pub(super) fn on_verdicts(&mut self, mut parcel: Parcel, verdicts: &Verdicts, at: Moment) {
        let sorted = Sorted::new(verdicts);
        let (probe, backoff) = (sorted.probe(), self.config.backoff);
        for frame in parcel.parts.frames() {
            self.lanes.on_probe(frame, probe, backoff, at.now, at.random);
        }
        let others = verdicts.others().iter();
        let why = others.filter_map(|(_, verdict)| match verdict {
            Verdict::Retry(problem) => Some(&**problem),
            _ => None,
        });
        let (looked_up, why) = (self.looks_up(&parcel), why.max_by_key(|why| why.status));
        let doubt = self.doubt_left(&parcel, why, at);
        if !sorted.takes_apart() && !sorted.retry.is_empty() {
            parcel.doubt = doubt;
            if looked_up {
                parcel.failed_look_ups = 0;
                self.due.push_back(parcel);
            } else {
                parcel.judged = true;
                self.ride_later(parcel, at);
            }
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
            Ok(apart) => self.take_apart(&parcel, &apart, &sorted, doubt, at),
            // Nothing rests yet, so the whole body may ride again: the ids make that safe.
            Err(_) => self.later(parcel, at),
        }
    }

    /// `doubt`: what is left of it for those that are sent again.
    fn take_apart(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        sorted: &Sorted<'_>,
        doubt: Doubt,
        at: Moment,
    ) {
        let mut permit = parcel.permit;
        for (fate, picked) in &sorted.resting {
            if *fate == Fate::Accepted {
                self.taken_at = Some(at.now);
                self.on_taken(parcel, picked.len());
                self.count_doubt(parcel, picked.len());
            }
            for (origin, picked) in parcel.parts.split(picked) {
                self.rest(origin, *fate, picked.len(), apart.bytes_of(picked), at.now);
            }
        }
        if !sorted.retry.is_empty() {
            let body = apart.pick(&sorted.retry);
            let mut child = self.child(parcel, &sorted.retry, body, &mut permit);
            child.judged |= !self.looks_up(parcel);
            child.trial = self.trial_of(parcel, &sorted.retry);
            child.doubt = doubt;
            if sorted.resting.is_empty() {
                child.rides = parcel.rides;
                self.ride_later(child, at);
            } else {
                self.ride(child, at);
            }
        }
        if !sorted.refused.is_empty() {
            self.refuse(parcel, apart, sorted, &mut permit, at);
        }
        if self.lanes.has_paused() {
            self.resume_files(parcel, sorted);
        }
        if !sorted.hold.is_empty() {
            match parcel
                .trial
                .as_ref()
                .map(|_| Apart::new(parcel.original(), self.config.compression))
            {
                Some(Ok(originals)) => self.hold(parcel, &originals, &sorted.hold, &mut permit, at),
                Some(Err(_)) | None => self.hold(parcel, apart, &sorted.hold, &mut permit, at),
            }
        }
        self.release(permit, parcel.share);
    }

    /// Files that are paused and had documents in this body, none of which is on hold, go on.
    fn resume_files(&mut self, parcel: &Parcel, sorted: &Sorted<'_>) {
        let body = &parcel.body;
        let file_of = |row: &usize| body.files.get(body.rows.get(*row)?.file as usize).copied();
        let resting = sorted.resting.iter().flat_map(|(_, picked)| picked);
        let mut files: BTreeSet<FileId> = resting.filter_map(file_of).collect();
        for (row, _) in &sorted.hold {
            file_of(row).inspect(|file| {
                files.remove(file);
            });
        }
        self.lanes.resume(&files);
    }

    fn trial_of(&self, parcel: &Parcel, picked: &[usize]) -> Option<Trial> {
        let trial = parcel.trial.as_ref()?;
        trial.pick(picked, self.config.compression)
    }

    /// A whole request was too large: halves, or the end of a single document.
    pub(super) fn split(&mut self, parcel: Parcel, problem: Problem, at: Moment) {
        let Ok(apart) = Apart::new(&parcel.body, self.config.compression) else {
            self.later(parcel, at);
            return;
        };
        if parcel.body.documents() > 1 {
            return self.halve(&parcel, &apart);
        }
        let mut permit = parcel.permit;
        self.refuse_whole(&parcel, &apart, &problem, &mut permit, at);
        self.release(permit, parcel.share);
    }

    /// A whole request was refused for something in it that cannot be found.
    fn refuse_for_good(&mut self, parcel: &Parcel, problem: &Problem, at: Moment) {
        let Ok(apart) = Apart::new(&parcel.body, self.config.compression) else {
            return self.later(parcel.clone(), at);
        };
        let mut permit = parcel.permit;
        if parcel.body.documents() == 1 {
            self.refuse_whole(parcel, &apart, problem, &mut permit, at);
        } else {
            let all: Vec<_> = (0..parcel.body.documents()).map(|row| (row, problem)).collect();
            self.bury(parcel, &apart, &all, &mut permit, at);
        }
        self.release(permit, parcel.share);
    }

    /// Two parcels in place of one, to be sent next.
    pub(super) fn halve(&mut self, parcel: &Parcel, apart: &Apart<'_>) {
        let mut permit = parcel.permit;
        let all: Vec<usize> = (0..parcel.body.documents()).collect();
        let (first, second) = all.split_at(all.len() / 2);
        for half in [second, first] {
            let mut child = self.child(parcel, half, apart.pick(half), &mut permit);
            child.trial = self.trial_of(parcel, half);
            (child.failed_on, child.refused_by) = (parcel.failed_on, parcel.refused_by);
            self.due.push_front(child);
        }
        self.release(permit, parcel.share);
    }

    /// The server took a body for too large: what it takes is learned. It is forgotten with the process.
    pub(super) fn on_too_large(&mut self, parcel: &Parcel) {
        let less = parcel.body.inflated_len / 10 * 8;
        let known = self.largest.unwrap_or(u32::MAX);
        self.largest = Some(known.min(less).max(LEAST_BODY));
    }

    /// A whole request was refused for something in its body, or for a fault of all requests. Halves show which: the
    /// first goes first, so that a fault of all requests is known after as many requests as there are halvings.
    /// `others_asked`: no other host is left that has not refused it.
    pub(super) fn bisect(
        &mut self,
        mut parcel: Parcel,
        problem: Problem,
        is_probe: bool,
        others_asked: bool,
        at: Moment,
    ) {
        let since = *parcel.suspected.get_or_insert(self.passes);
        for frame in parcel.parts.frames() {
            self.suspect(frame, Some(since));
        }
        // Halves of what may be there already would double it, when only the server knows its ids.
        let may_halve = self.config.ids != Ids::OfTheServer;
        if parcel.body.documents() > 1 && may_halve {
            if let Health::Down { until, .. } = &mut self.health
                && is_probe
            {
                *until = at.now;
            }
            return self.split(parcel, problem, at);
        }
        // Twice, because a server that ends may say anything once; and by two hosts, because there may be a proxy before one.
        let others_pass = self.passes > since;
        if others_pass && parcel.attempt > 0 && others_asked {
            self.refuse_for_good(&parcel, &problem, at);
        } else if others_pass {
            self.later(parcel, at);
        } else {
            self.on_down(parcel, problem, true, is_probe, at);
        }
    }

    /// Remembers that a frame has a document that is suspected, for the time in which it is not in memory.
    pub(super) fn suspect(&mut self, frame: FrameSeq, since: Option<u64>) {
        if let Some(since) = since
            && self.suspects.len() < MAX_SUSPECTS
        {
            self.suspects.insert(frame, since);
        }
    }

    /// Documents have their last place in the dead-letter file.
    pub(super) fn bury(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        refused: &[(usize, &Problem)],
        permit: &mut u64,
        at: Moment,
    ) {
        let most = self.config.letter_bytes / LETTER_PARTS;
        let (mut rows, mut picked) = (Vec::new(), Vec::new());
        for (row, Problem { status, kind, reason }) in refused {
            let (action, source) = apart.lines(*row);
            let letter = dead_letter::row(at.unix, action, source, *status, kind, reason);
            if !picked.is_empty() && (rows.len() + letter.len()) as u64 > most {
                let (rows, picked) = (std::mem::take(&mut rows), std::mem::take(&mut picked));
                self.bury_rows(parcel, apart, rows, &picked, permit);
            }
            rows.extend(letter);
            picked.push(*row);
        }
        self.bury_rows(parcel, apart, rows, &picked, permit);
    }

    fn bury_rows(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        rows: Vec<u8>,
        picked: &[usize],
        permit: &mut u64,
    ) {
        let mut child = self.child(parcel, picked, apart.pick(picked), permit);
        child.judged = true;
        self.actions.push_back(Action::DeadLetter {
            parcel: child.id,
            rows,
        });
        self.writing.insert(child.id, Writing::DeadLetter(child));
    }

    /// Moves documents on hold into the lanes of their indices.
    pub(super) fn hold(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        held: &[(usize, &Problem)],
        permit: &mut u64,
        at: Moment,
    ) {
        if !self.config.lanes {
            let picked: Vec<usize> = held.iter().map(|(row, _)| *row).collect();
            let child = self.child(parcel, &picked, apart.pick(&picked), permit);
            return self.later(child, at);
        }
        let mut by_index: BTreeMap<String, (&Problem, Vec<usize>)> = BTreeMap::new();
        for (row, problem) in held {
            by_index
                .entry(apart.index_of(*row))
                .or_insert_with(|| (problem, Vec::new()))
                .1
                .push(*row);
        }
        let one_index = by_index.len() == 1 && held.len() == parcel.body.documents();
        for (index, (problem, picked)) in by_index {
            let until = at.now + self.config.backoff.delay(1, at.random);
            self.lanes.on_held(&index, problem, until);
            let body = parcel.original();
            let files = picked.iter().filter_map(|row| {
                let file = body.rows.get(*row)?.file;
                body.files.get(file as usize).copied()
            });
            self.lanes.pause(&index, files, self.config.lane_bytes);
            let frame = parcel.kept().filter(|_| one_index);
            match frame {
                // It lies in the lane's own segments already, and holds nothing else.
                Some(frame) if self.lanes.owns(&index, frame) => self.stay(&index, frame, parcel, at.now),
                _ => {
                    let mut child = self.child(parcel, &picked, apart.pick(&picked), permit);
                    child.judged = true;
                    child.whole = frame.is_some();
                    let action = self.write_spool(child, Some((index, problem.clone())));
                    self.actions.push_back(action);
                }
            }
        }
    }

    /// A frame for an index on hold waits where it lies.
    pub(super) fn stay(&mut self, index: &str, frame: FrameSeq, parcel: &Parcel, now: Instant) {
        self.settlement.abandon(Origin::Frame(frame));
        let bytes = parcel.original().bytes.len() as u64;
        self.lanes.keep(index, (frame, bytes), now);
    }
}
