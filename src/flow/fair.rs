//! Who is within its share: bytes that containers read enter, [`Share`]s leave.
//!
//! Deficit round robin over containers, by bytes, as in Shreedhar and Varghese's paper of 1995, with
//! the round ended by the sink: in each round every container may read a quantum within its share,
//! and a new round begins when what was read within the shares of the rounds before is acked. So the
//! bodies within the shares never queue for long, however many containers want more; and a container
//! that wants less than its quantum never waits behind one that wants more. What is read beyond the
//! quantum is over the share: it goes into bodies of its own, which get the rest of what the sink
//! takes, and which wait in the spool; the others do so only when memory runs out without any of these.
//!
//! While nothing waits for the sink, or the server is down, there are no shares: whoever calls does not ask. No clock, no
//! list of containers: each one keeps its [`Credit`].

use crate::record::{BatchSeq, Share};
use std::collections::BTreeMap;

/// Bytes that a container may read within its share in one round: some hundred lines, and little
/// enough for a thousand containers to have a round of a few seconds on a slow sink.
pub const ROUND_BYTES: u64 = 64 * 1024;

/// What a container has read within its share.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Credit {
    round: u64,
    used: u64,
}

/// The rounds of one reader.
#[derive(Debug)]
pub struct Rounds {
    quantum: u64,
    round: u64,
    /// The first round that has bytes in the open body.
    open: Option<u64>,
    /// Bodies that are not acked, with the first round that has bytes in them.
    unacked: BTreeMap<BatchSeq, u64>,
}

impl Rounds {
    /// Rounds in which each container may read `quantum` bytes within its share.
    pub fn new(quantum: u64) -> Rounds {
        Rounds {
            quantum,
            round: 0,
            open: None,
            unacked: BTreeMap::new(),
        }
    }

    /// Bytes that the container may still read within its share.
    pub fn left(&self, credit: &Credit) -> u64 {
        self.quantum.saturating_sub(self.carried(credit).used)
    }

    /// The container has read so many bytes within its share. It may overdraw: the next rounds take it off.
    pub fn on_read(&mut self, credit: &mut Credit, bytes: u64) {
        *credit = self.carried(credit);
        credit.used += bytes;
        if bytes > 0 {
            self.open.get_or_insert(self.round);
        }
    }

    /// The open body was closed and handed out.
    pub fn on_handed_out(&mut self, batch: BatchSeq, share: Share) {
        if share == Share::Within
            && let Some(round) = self.open.take()
        {
            self.unacked.insert(batch, round);
        }
    }

    /// A body is safe.
    pub fn on_acked(&mut self, batch: BatchSeq) {
        self.unacked.remove(&batch);
    }

    /// Begins the next round when everything of the rounds before this one is acked. `is_open`: the
    /// open body within the shares has documents.
    pub fn advance(&mut self, is_open: bool) {
        if !is_open {
            // What was read made no document: half a line.
            self.open = None;
        }
        let before = |round: &u64| *round < self.round;
        if !self.open.as_ref().is_some_and(before) && !self.unacked.values().any(before) {
            self.round += 1;
        }
    }

    /// The credit in this round: an overdraft is paid off by a quantum a round, what was left is not kept.
    fn carried(&self, credit: &Credit) -> Credit {
        let paid = (self.round - credit.round).saturating_mul(self.quantum);
        Credit {
            round: self.round,
            used: credit.used.saturating_sub(paid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_its_quantum_in_each_round_and_an_overdraft_is_taken_off() {
        let (mut rounds, mut credit) = (Rounds::new(ROUND_BYTES), Credit::default());
        assert_eq!(rounds.left(&credit), ROUND_BYTES);
        rounds.on_read(&mut credit, ROUND_BYTES + 10);
        assert_eq!(rounds.left(&credit), 0);
        rounds.advance(true);
        assert_eq!(rounds.left(&credit), ROUND_BYTES - 10);
        // What is left is not kept for the next round.
        rounds.on_handed_out(1, Share::Within);
        rounds.on_acked(1);
        rounds.advance(false);
        rounds.advance(false);
        assert_eq!(rounds.left(&credit), ROUND_BYTES);
    }

    #[test]
    fn a_round_ends_when_the_bodies_of_the_one_before_are_acked() {
        let (mut rounds, mut credit) = (Rounds::new(ROUND_BYTES), Credit::default());
        rounds.on_read(&mut credit, ROUND_BYTES);
        rounds.advance(true);
        rounds.on_read(&mut credit, ROUND_BYTES);
        let all_used = |rounds: &mut Rounds, is_open| {
            rounds.advance(is_open);
            rounds.left(&credit) == 0
        };
        assert!(all_used(&mut rounds, true), "open");
        rounds.on_handed_out(1, Share::Within);
        assert!(all_used(&mut rounds, false), "on its way");
        rounds.on_handed_out(2, Share::Over);
        rounds.on_acked(2);
        assert!(all_used(&mut rounds, false), "the other one came back");
        rounds.on_acked(1);
        assert!(!all_used(&mut rounds, false));
    }

    #[test]
    fn a_round_that_made_no_document_does_not_last_for_ever() {
        let (mut rounds, mut credit) = (Rounds::new(ROUND_BYTES), Credit::default());
        rounds.on_read(&mut credit, 10);
        rounds.advance(false);
        rounds.advance(false);
        assert_eq!(rounds.left(&credit), ROUND_BYTES);
    }
}
