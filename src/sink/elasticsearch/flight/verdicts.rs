//! What becomes of the documents of one answered body.

use super::{Flight, Parcel};
use crate::batch::{document, pick};
use crate::codec::gzip;
use crate::record::{Fate, Row};
use crate::sink::dead_letter;
use crate::sink::elasticsearch::response::{Problem, Verdict};
use crate::sink::settlement::Origin;
use std::collections::BTreeMap;
use std::time::Instant;

/// The documents of a body by what is to be done with them.
#[derive(Default)]
struct Sorted {
    resting: BTreeMap<&'static str, (Fate, Vec<usize>)>,
    retry: Vec<usize>,
    refused: Vec<(usize, Problem)>,
    hold: Vec<(usize, Problem)>,
}

impl Sorted {
    fn new(verdicts: &[Verdict]) -> Sorted {
        let mut sorted = Sorted::default();
        for (at, verdict) in verdicts.iter().enumerate() {
            match verdict {
                Verdict::Accepted => sorted.rest("accepted", Fate::Accepted, at),
                Verdict::Duplicate => sorted.rest("duplicate", Fate::Duplicate, at),
                Verdict::DroppedByServer => sorted.rest("dropped", Fate::DroppedByServer, at),
                Verdict::Retry(_) => sorted.retry.push(at),
                Verdict::Refused(problem) => sorted.refused.push((at, problem.clone())),
                Verdict::Hold(problem) => sorted.hold.push((at, problem.clone())),
            }
        }
        sorted
    }

    fn rest(&mut self, name: &'static str, fate: Fate, at: usize) {
        self.resting.entry(name).or_insert((fate, Vec::new())).1.push(at);
    }
}

fn bytes_of(rows: &[Row], picked: &[usize]) -> u64 {
    picked.iter().map(|at| u64::from(rows[*at].source_bytes)).sum()
}

impl Flight {
    pub(super) fn on_verdicts(
        &mut self,
        parcel: Parcel,
        verdicts: &[Verdict],
        now: Instant,
        unix: i64,
        random: u64,
    ) {
        let sorted = Sorted::new(verdicts);
        self.on_lane_probe(&parcel, &sorted, now, random);
        for (fate, picked) in sorted.resting.values() {
            self.rest(&parcel, *fate, picked.len(), bytes_of(&parcel.body.rows, picked));
        }
        // The first child inherits the parent's share of the budget, the others ride along.
        let mut permit = parcel.permit;
        if !sorted.retry.is_empty() {
            let attempt = parcel.attempt + 1;
            if let Some(mut child) = self.child(&parcel, &sorted.retry, &mut permit) {
                child.attempt = attempt;
                self.delayed.push((now + self.config.backoff.delay(attempt, random), child));
            }
        }
        if !sorted.refused.is_empty() {
            self.dead_letter(&parcel, &sorted.refused, &mut permit, unix);
        }
        if !sorted.hold.is_empty() {
            self.hold(&parcel, &sorted.hold, &mut permit, now, random);
        }
        self.release(permit);
    }

    /// A whole request was too large: halves, or the end of a single document.
    pub(super) fn split(&mut self, parcel: Parcel, problem: Problem, unix: i64) {
        let count = parcel.body.documents();
        let mut permit = parcel.permit;
        if count <= 1 {
            self.dead_letter(&parcel, &[(0, problem)], &mut permit, unix);
        } else {
            let all: Vec<usize> = (0..count).collect();
            let (first, second) = all.split_at(count / 2);
            for half in [second, first] {
                if let Some(child) = self.child(&parcel, half, &mut permit) {
                    self.ready.push_front(child);
                }
            }
        }
        self.release(permit);
    }

    /// A parcel of the documents at `picked`. A body that cannot be taken apart (which its CRC rules
    /// out) goes back whole: the ids make that safe.
    fn child(&mut self, parcel: &Parcel, picked: &[usize], permit: &mut u64) -> Option<Parcel> {
        match pick(&parcel.body, picked, self.config.compression) {
            Ok(body) => {
                let share = std::mem::take(permit);
                Some(self.parcel(parcel.origin, body, share))
            }
            Err(_) => {
                let share = std::mem::take(permit);
                let mut again = self.parcel(parcel.origin, parcel.body.clone(), share);
                again.attempt = parcel.attempt;
                self.ready.push_back(again);
                None
            }
        }
    }

    fn dead_letter(&mut self, parcel: &Parcel, refused: &[(usize, Problem)], permit: &mut u64, unix: i64) {
        let Ok(text) = gzip::inflate(&parcel.body) else { return };
        let mut rows = Vec::new();
        for (at, problem) in refused {
            let lines = document(&parcel.body, &text, *at);
            let split = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
            let source = lines.get(split + 1..).unwrap_or_default().trim_ascii_end();
            let Problem { status, kind, reason } = problem;
            rows.extend(dead_letter::row(unix, &lines[..split], source, *status, kind, reason));
        }
        let picked: Vec<usize> = refused.iter().map(|(at, _)| *at).collect();
        if let Some(child) = self.child(parcel, &picked, permit) {
            self.write_dead_letter(child, rows);
        }
    }

    /// Moves documents on hold into the lanes of their indices.
    fn hold(&mut self, parcel: &Parcel, held: &[(usize, Problem)], permit: &mut u64, now: Instant, random: u64) {
        let Ok(text) = gzip::inflate(&parcel.body) else { return };
        let mut by_index: BTreeMap<String, (Problem, Vec<usize>)> = BTreeMap::new();
        for (at, problem) in held {
            let lines = document(&parcel.body, &text, *at);
            let split = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
            let (index, _) = dead_letter::target(&lines[..split]);
            by_index.entry(index).or_insert_with(|| (problem.clone(), Vec::new())).1.push(*at);
        }
        let whole = by_index.len() == 1 && held.len() == parcel.body.documents();
        for (index, (problem, picked)) in by_index {
            let delay = self.config.backoff.delay(1, random);
            let is_new = !self.lanes.contains_key(&index);
            let lane = self.lane_of(&index, now);
            if is_new {
                lane.until = now + delay;
                lane.attempt = 1;
            }
            lane.problem = problem.clone();
            if let (true, Origin::Frame(frame)) = (whole, parcel.origin) {
                // The frame holds nothing else: it stays where it is.
                lane.frames.push_front(frame);
                self.settlement.abandon(parcel.origin);
            } else if let Some(child) = self.child(parcel, &picked, permit) {
                let action = self.write_spool(child, Some((index, problem)));
                self.actions.push_back(action);
            }
        }
    }

    /// A frame that probed a lane was answered: the lane opens, or waits longer.
    fn on_lane_probe(&mut self, parcel: &Parcel, sorted: &Sorted, now: Instant, random: u64) {
        let Origin::Frame(frame) = parcel.origin else { return };
        let Some(name) = self.probes.remove(&frame) else { return };
        if sorted.hold.is_empty() {
            if let Some(lane) = self.lanes.remove(&name) {
                for frame in lane.frames.into_iter().rev() {
                    self.frames.push_front(frame);
                }
            }
        } else if let Some(lane) = self.lanes.get_mut(&name) {
            lane.attempt += 1;
            lane.until = now + self.config.backoff.delay(lane.attempt, random);
        }
    }
}
