//! Answers and the flight's state enter, the sink's part of the status board leaves.

use crate::record::Body;
use crate::sink::elasticsearch::alarms::sentence;
use crate::sink::elasticsearch::client::Answer;
use crate::sink::elasticsearch::flight::{Flight, Health};
use crate::sink::elasticsearch::response::{Diverted, FAILURE_STORE, RequestVerdict, Verdict, Verdicts};
use crate::telemetry::board::{HoldStatus, MAX_REFUSALS, RefusalStatus, SinkStatus};
use std::time::{Duration, Instant};

/// The status is published this often at most.
const INTERVAL: Duration = Duration::from_millis(250);

/// How documents are diverted, besides to a failure store.
const ID: &str = "id";
const INDEX: &str = "index";

/// Counters since the start, and when they were published last.
#[derive(Debug)]
pub(super) struct Tally {
    status: SinkStatus,
    published: Option<Instant>,
    changed: bool,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let zeros = |names: &[&'static str]| names.iter().map(|name| (*name, 0)).collect();
        let status = SinkStatus {
            requests: zeros(&["items", "split", "bisect", "retry", "hold"]),
            verdicts: zeros(&["accepted", "duplicate", "dropped", "retry", "refused", "hold"]),
            diverted: zeros(&[ID, INDEX, FAILURE_STORE]),
            ..SinkStatus::default()
        };
        Tally {
            status,
            published: None,
            changed: true,
        }
    }

    /// Something happened that the status may show.
    pub(super) fn on_change(&mut self) {
        self.changed = true;
    }

    /// A request went out.
    pub(super) fn on_sent(&mut self, wire_bytes: usize, raw_bytes: u32) {
        self.status.wire_bytes += wire_bytes as u64;
        self.status.raw_bytes += u64::from(raw_bytes);
    }

    /// A request was answered. Returns how many documents the server dropped, and how many it put into a failure store.
    pub(super) fn on_answer(&mut self, answer: &Answer) -> (u64, u64) {
        if let Some(host) = &answer.host {
            self.status.host = Some(host.to_string());
        }
        let (mut dropped, mut stored_as_failed) = (0, 0);
        let outcome = match &answer.verdict {
            RequestVerdict::Items(verdicts) => {
                let accepted = verdicts.documents() - verdicts.others().len();
                count(
                    &mut self.status.verdicts,
                    name_of(&Verdict::Accepted),
                    accepted as u64,
                );
                for (_, verdict) in verdicts.others() {
                    count(&mut self.status.verdicts, name_of(verdict), 1);
                    dropped += u64::from(*verdict == Verdict::DroppedByServer);
                    if matches!(verdict, Verdict::Refused(problem) if problem.kind == FAILURE_STORE) {
                        stored_as_failed += 1;
                    }
                }
                "items"
            }
            RequestVerdict::Split(_) => "split",
            RequestVerdict::Bisect(_) => "bisect",
            RequestVerdict::Retry(_) => "retry",
            RequestVerdict::Hold(_) => "hold",
        };
        count(&mut self.status.diverted, FAILURE_STORE, stored_as_failed);
        count(&mut self.status.requests, outcome, 1);
        (dropped, stored_as_failed)
    }

    /// An audit has shown documents that are not where they were sent to.
    pub(super) fn on_diverted(&mut self, diverted: &Diverted) {
        count(&mut self.status.diverted, ID, diverted.ids);
        count(&mut self.status.diverted, INDEX, diverted.indices);
    }

    /// Remembers, per file, the last document that the server did not take.
    pub(super) fn on_refusals(&mut self, body: &Body, verdicts: &Verdicts, at_ms: u64) {
        for (row, verdict) in verdicts.others() {
            let (kind, reason) = match verdict {
                Verdict::Refused(problem) | Verdict::Hold(problem) => {
                    (problem.kind.clone(), problem.reason.clone())
                }
                Verdict::DroppedByServer => ("noop".to_owned(), "an ingest pipeline dropped it".to_owned()),
                Verdict::Accepted | Verdict::Duplicate | Verdict::Retry(_) => continue,
            };
            let row = body.rows.get(*row as usize);
            let Some(file) = row.and_then(|row| body.files.get(row.file as usize)) else {
                continue;
            };
            let identity = format!("{:032x}", file.0);
            let verdict = name_of(verdict);
            let refusals = &mut self.status.refusals;
            refusals.retain(|refusal| refusal.identity != identity);
            if refusals.len() == MAX_REFUSALS {
                refusals.remove(0);
            }
            refusals.push(RefusalStatus {
                identity,
                verdict,
                kind,
                reason,
                at_ms,
            });
        }
    }

    /// The dead-letter file has this size.
    pub(super) fn on_dead_letter_bytes(&mut self, bytes: u64) {
        self.status.dead_letter_bytes = bytes;
    }

    /// When a change that was held back is to be published.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.published
            .filter(|_| self.changed)
            .map(|last| last + INTERVAL)
    }

    /// The status, when it changed and is due; `urgent` makes it due.
    pub(super) fn publish(&mut self, flight: &Flight, now: Instant, urgent: bool) -> Option<&SinkStatus> {
        let due = urgent || self.published.is_none_or(|last| now >= last + INTERVAL);
        if !(self.changed && due) {
            return None;
        }
        self.published = Some(now);
        self.changed = false;
        let status = &mut self.status;
        (status.up, status.hold, status.problem) = match flight.health() {
            Health::Up => (true, false, None),
            Health::Down { problem, hold, .. } => (false, *hold, Some(sentence(problem, *hold))),
        };
        status.in_flight_requests = flight.flying();
        status.hedged_requests = flight.hedged();
        status.possible_duplicates = flight.possible_duplicates();
        status.poorer = flight.poorer().to_vec();
        status.dead_letter_full = flight.is_dead_letter_full();
        let holds = flight.holds().map(|hold| HoldStatus {
            index: hold.index.to_owned(),
            frames: hold.frames,
            status: hold.problem.status,
            kind: hold.problem.kind.clone(),
            reason: hold.problem.reason.clone(),
        });
        status.holds = holds.collect();
        Some(status)
    }
}

fn name_of(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Duplicate => "duplicate",
        Verdict::DroppedByServer => "dropped",
        Verdict::Retry(_) => "retry",
        Verdict::Refused(_) => "refused",
        Verdict::Hold(_) => "hold",
    }
}

fn count(counts: &mut [(&'static str, u64)], name: &str, more: u64) {
    if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == name) {
        *count += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Encoding, FileId, Row};
    use crate::sink::elasticsearch::response::Problem;

    #[test]
    fn the_last_refusal_of_each_file_is_told() {
        let row = |file| Row {
            end: 1,
            file,
            start: 0,
            source_bytes: 1,
        };
        let body = Body {
            bytes: bytes::Bytes::new(),
            encoding: Encoding::Identity,
            inflated_len: 4,
            rows: vec![row(0), row(1), row(0), row(0)],
            files: vec![FileId(7), FileId(8)],
        };
        let problem = std::sync::Arc::new(Problem {
            status: 400,
            kind: "document_parsing_exception".into(),
            reason: "failed to parse field [n].".to_owned(),
        });
        let verdicts = [
            Verdict::DroppedByServer,
            Verdict::Accepted,
            Verdict::Refused(problem.clone()),
            Verdict::Retry(problem),
        ];
        let mut tally = Tally::new();
        tally.on_refusals(&body, &verdicts.into_iter().collect(), 5);
        let [refusal] = &tally.status.refusals[..] else {
            panic!("{:?}", tally.status.refusals)
        };
        assert_eq!((refusal.verdict, refusal.at_ms), ("refused", 5));
        assert_eq!(refusal.identity, format!("{:032x}", 7));
        assert_eq!(refusal.reason, "failed to parse field [n].");
    }
}
