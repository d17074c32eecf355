//! Dead letters go to the server again: rows and answers enter; bodies, waits and the rows that are delivered leave.
//!
//! A row is delivered when its document is stored now (201) or was stored before (409 of its own id), and for no other
//! answer: what a pipeline throws away, what is refused again, and what waits for an index on hold, stays.
//!
//! ```text
//!  push ─▶ groups ─ next_body ─▶ flying ─ on_answer ─┬─▶ delivered: take_delivered
//!            ▲  (halves of it, its rest, all of it)  ├─▶ stays, with a reason
//!            └──────────────────────────────────────┘
//! ```
//!
//! One body is on its way at a time. Documents are sent as they are: poorer forms were tried before they became dead
//! letters. Not done here: files ([`super::disk`]), HTTP, the choice of rows.

use crate::flow::backoff::Backoff;
use crate::sink::elasticsearch::response::{Problem, RequestVerdict, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// So many times in a row a body gets no document delivered for want of capacity, or of an answer; then it is enough.
const ATTEMPTS_MAX: u32 = 6;
/// So many single documents in a row that the server calls no `_bulk` body: then it is not the documents.
const MALFORMED_MAX: u32 = 3;

/// A row that is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Where the row begins in its file.
    pub at: u64,
    /// Bytes of the row there.
    pub len: u64,
    /// The index of its document.
    pub index: String,
    /// Its two lines of a body, newlines included.
    pub lines: Vec<u8>,
}

/// What came of rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Stored now.
    pub stored: u64,
    /// Stored before.
    pub known: u64,
    /// Not delivered, by reason.
    pub kept: BTreeMap<String, u64>,
}

impl Tally {
    /// Rows that are delivered.
    pub fn delivered(&self) -> u64 {
        self.stored + self.known
    }

    /// Rows that are not.
    pub fn undelivered(&self) -> u64 {
        self.kept.values().sum()
    }
}

/// What is to be done after an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// Ask for the next body.
    Go,
    /// The same, after this time, for this reason.
    Wait(Duration, String),
    /// No request has a chance: end. What is not delivered stays.
    Stop(Problem),
}

/// Rows on their way to the server.
#[derive(Debug, Default)]
pub struct Resend {
    groups: VecDeque<Vec<Letter>>,
    flying: Vec<Letter>,
    /// Bodies in a row of which nothing was delivered.
    attempt: u32,
    malformed: u32,
    on_hold: BTreeSet<String>,
    delivered: Vec<(u64, u64)>,
    tally: Tally,
}

impl Resend {
    /// Rows that make one body. Those for an index that is known to be on hold stay, unsent.
    pub fn push(&mut self, letters: Vec<Letter>) {
        let (held, letters): (Vec<Letter>, Vec<Letter>) = letters
            .into_iter()
            .partition(|letter| self.on_hold.contains(&letter.index));
        for letter in held {
            self.keep(&format!("not tried: index {} is on hold", letter.index));
        }
        if !letters.is_empty() {
            self.groups.push_back(letters);
        }
    }

    /// The text of the next body and the number of its documents; `None` when all rows that were pushed are dealt with.
    pub fn next_body(&mut self) -> Option<(Vec<u8>, usize)> {
        self.flying = self.groups.pop_front()?;
        let lines = self.flying.iter().map(|letter| letter.lines.as_slice());
        Some((lines.collect::<Vec<_>>().concat(), self.flying.len()))
    }

    /// The answer to the last body. `random` is any number: it jitters the waits.
    pub fn on_answer(&mut self, verdict: RequestVerdict, rest: Option<Duration>, random: u64) -> After {
        let letters = std::mem::take(&mut self.flying);
        match verdict {
            RequestVerdict::Items(verdicts) => {
                self.malformed = 0;
                let again = self.judge(letters, verdicts.iter());
                let Some((problem, again)) = again else {
                    return After::Go;
                };
                self.groups.push_front(again);
                self.later(problem, rest, random)
            }
            RequestVerdict::Retry(problem) => {
                self.groups.push_front(letters);
                self.later(problem, rest, random)
            }
            RequestVerdict::Hold(problem) => After::Stop(problem),
            RequestVerdict::Split(_) | RequestVerdict::Bisect(_) if letters.len() > 1 => {
                let (left, right) = letters.split_at(letters.len() / 2);
                self.groups.push_front(right.to_vec());
                self.groups.push_front(left.to_vec());
                After::Go
            }
            RequestVerdict::Split(problem) => {
                self.keep(&class(&problem));
                After::Go
            }
            RequestVerdict::Bisect(problem) => {
                self.malformed += 1;
                if self.malformed == MALFORMED_MAX {
                    return After::Stop(problem);
                }
                self.keep(&class(&problem));
                After::Go
            }
        }
    }

    /// Where the rows begin that were delivered since the last call, and how long they are, ascending.
    pub fn take_delivered(&mut self) -> Vec<(u64, u64)> {
        let mut delivered = std::mem::take(&mut self.delivered);
        delivered.sort_unstable();
        delivered
    }

    /// A row stays, for this reason.
    pub fn keep(&mut self, reason: &str) {
        *self.tally.kept.entry(reason.to_owned()).or_default() += 1;
    }

    /// What came of the rows so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Deals with the items of an answer; what is to be sent again, and why, is left.
    fn judge<'a>(
        &mut self,
        letters: Vec<Letter>,
        verdicts: impl Iterator<Item = &'a Verdict>,
    ) -> Option<(Problem, Vec<Letter>)> {
        let mut again: Option<(Problem, Vec<Letter>)> = None;
        for (letter, verdict) in letters.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Accepted => {
                    self.tally.stored += 1;
                    self.deliver(&letter);
                }
                Verdict::Duplicate => {
                    self.tally.known += 1;
                    self.deliver(&letter);
                }
                Verdict::DroppedByServer => self.keep("dropped by an ingest pipeline of the server"),
                Verdict::Refused(problem) => self.keep(&class(problem)),
                Verdict::Hold(problem) => {
                    self.keep(&format!("index {} is on hold: {}", letter.index, class(problem)));
                    self.on_hold.insert(letter.index);
                }
                Verdict::Retry(problem) => {
                    let (_, letters) = again.get_or_insert_with(|| (Problem::clone(problem), Vec::new()));
                    letters.push(letter);
                }
            }
        }
        again
    }

    fn deliver(&mut self, letter: &Letter) {
        self.attempt = 0;
        self.delivered.push((letter.at, letter.len));
    }

    fn later(&mut self, problem: Problem, rest: Option<Duration>, random: u64) -> After {
        self.attempt += 1;
        if self.attempt == ATTEMPTS_MAX {
            return After::Stop(problem);
        }
        let delay = Backoff::SERVER.delay(self.attempt, random);
        After::Wait(delay.max(rest.unwrap_or_default()), class(&problem))
    }
}

/// What a problem is, without what its reason quotes of a document. (Where no server spoke, the reason is our own.)
fn class(problem: &Problem) -> String {
    match problem.status {
        0 => problem.reason.clone(),
        _ => format!("{} {}", problem.status, problem.kind)
            .trim_end()
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
