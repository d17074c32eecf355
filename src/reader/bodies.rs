//! The open bodies of a reader: one for documents within their containers' share and, once it is
//! needed, one for those over it.
//!
//! Documents go into the present one; [`Bodies::set_share`] changes places, which costs nothing. Each
//! keeps the messages in it whose parts lie apart, because they leave with it.

use crate::batch::{Batcher, Closed};
use crate::record::{FileId, FileRange, Joined, Share};
use std::time::Instant;

/// An open body.
pub(super) struct Open {
    pub(super) batcher: Batcher,
    pub(super) joined: Vec<Joined>,
}

impl Open {
    fn new(batcher: Batcher) -> Open {
        Open {
            batcher,
            joined: Vec::new(),
        }
    }
}

/// The open bodies.
pub(super) struct Bodies {
    /// The one of `share`.
    pub(super) open: Open,
    share: Share,
    /// That of the other share, once there was one.
    other: Option<Open>,
}

impl Bodies {
    pub(super) fn new(batcher: Batcher) -> Bodies {
        Bodies {
            open: Open::new(batcher),
            share: Share::Within,
            other: None,
        }
    }

    pub(super) fn share(&self) -> Share {
        self.share
    }

    pub(super) fn set_share(&mut self, share: Share) {
        if share != self.share {
            let other = self.other.take();
            let mut next = other.unwrap_or_else(|| Open::new(self.open.batcher.another()));
            std::mem::swap(&mut self.open, &mut next);
            self.other = Some(next);
            self.share = share;
        }
    }

    /// The body of the present share leaves, with its messages in parts.
    pub(super) fn close(&mut self) -> Option<(Closed, Vec<Joined>)> {
        let closed = self.open.batcher.close()?;
        Some((closed, std::mem::take(&mut self.open.joined)))
    }

    /// Whether the body of `share` is too old.
    pub(super) fn is_late(&self, share: Share, now: Instant) -> bool {
        let deadline = self.of(share).and_then(|open| open.batcher.deadline());
        deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.both().filter_map(|open| open.batcher.deadline()).min()
    }

    pub(super) fn source_bytes(&self) -> u64 {
        self.both().map(|open| open.batcher.source_bytes()).sum()
    }

    pub(super) fn is_open(&self, share: Share) -> bool {
        self.of(share).is_some_and(|open| open.batcher.documents() > 0)
    }

    pub(super) fn range(&self, file: FileId) -> Option<FileRange> {
        let ranges = self.both().filter_map(|open| open.batcher.range(file));
        ranges.min_by_key(|range| range.start)
    }

    fn of(&self, share: Share) -> Option<&Open> {
        if share == self.share {
            Some(&self.open)
        } else {
            self.other.as_ref()
        }
    }

    fn both(&self) -> impl Iterator<Item = &Open> {
        std::iter::once(&self.open).chain(&self.other)
    }
}
