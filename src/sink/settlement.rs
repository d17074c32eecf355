//! Fates of documents enter; that a batch or a frame is done leaves.
//!
//! **This is the one place where it is decided that a span is acked**: when each document of its
//! batch is stored, was stored before, is *durably* spooled, dead-lettered, or dropped and counted.
//! The callers report a fate only after the disk or the server has confirmed it.

use crate::record::{Ack, Fate};
pub use crate::record::{FrameSeq, Origin};
use std::collections::HashMap;

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The reader may move its checkpoint.
    Batch(Ack),
    /// The spool may forget the frame.
    Frame(FrameSeq),
}

/// Documents of each origin that have not come to rest.
#[derive(Debug, Default)]
pub struct Settlement {
    open: HashMap<Origin, usize>,
}

impl Settlement {
    /// `documents` of `origin` are on their way.
    pub fn open(&mut self, origin: Origin, documents: usize) {
        let before = self.open.insert(origin, documents);
        debug_assert!(before.is_none(), "BUG: {origin:?} was opened twice");
    }

    /// `documents` of `origin` have come to rest. Returns what is due when they were the last.
    pub fn settle(&mut self, origin: Origin, fate: Fate, documents: usize) -> Option<Settled> {
        let left = self.open.get_mut(&origin)?;
        debug_assert!(
            *left >= documents,
            "BUG: {documents} {fate:?} of {left} documents of {origin:?}"
        );
        *left = left.saturating_sub(documents);
        if *left > 0 {
            return None;
        }
        self.open.remove(&origin);
        Some(match origin {
            Origin::Batch(batch) => Settled::Batch(Ack { batch }),
            Origin::Frame(frame) => Settled::Frame(frame),
        })
    }

    /// Takes a frame back unsettled: it stays in the spool and will be read again.
    pub fn abandon(&mut self, origin: Origin) {
        self.open.remove(&origin);
    }

    /// Origins with documents on their way.
    pub fn unsettled(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_acked_when_its_last_document_rests_and_only_once() {
        let mut settlement = Settlement::default();
        let origin = Origin::Batch(7);
        settlement.open(origin, 3);
        assert_eq!(settlement.settle(origin, Fate::Accepted, 1), None);
        assert_eq!(settlement.settle(origin, Fate::Spooled, 1), None);
        let due = settlement.settle(origin, Fate::DeadLettered, 1);
        assert_eq!(due, Some(Settled::Batch(Ack { batch: 7 })));
        assert_eq!(settlement.settle(origin, Fate::Accepted, 1), None);
        assert_eq!(settlement.unsettled(), 0);
    }

    #[test]
    fn an_abandoned_frame_is_never_done() {
        let mut settlement = Settlement::default();
        settlement.open(Origin::Frame(1), 2);
        settlement.abandon(Origin::Frame(1));
        assert_eq!(settlement.settle(Origin::Frame(1), Fate::Accepted, 2), None);
    }
}
