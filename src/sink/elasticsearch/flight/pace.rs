//! How fast the backlog leaves when the server is back.
//!
//! A server that was away for long comes back to the backlog of every node of the fleet at once, beside the new lines, and
//! with cold caches. So for a tenth of the time that it was away, at most a minute, a frame leaves for every second new batch
//! only: with the nodes' probes spread over that minute, a fleet makes hardly more requests than it always does. After that
//! the limiters of the hosts alone say how much the server can take. An outage of less than two minutes leaves a small
//! backlog, and no pace.

use std::time::{Duration, Instant};

/// A shorter outage has no pace.
const LEAST_AWAY: Duration = Duration::from_secs(120);
/// Of the time that the server was away, its pace lasts so much.
const PART: u32 = 10;
const LONGEST: Duration = Duration::from_secs(60);
/// New batches for each frame.
const BATCHES: u32 = 2;

/// The pace of the frames.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Pace {
    down_since: Option<Instant>,
    lasts_until: Option<Instant>,
    /// New batches since the last frame, as far as they count.
    batches: u32,
}

impl Pace {
    /// Whole requests do not get through.
    pub(super) fn on_down(&mut self, now: Instant) {
        self.down_since.get_or_insert(now);
    }

    /// A request got through.
    pub(super) fn on_up(&mut self, now: Instant) {
        if let Some(since) = self.down_since.take() {
            let away = now.saturating_duration_since(since);
            if away >= LEAST_AWAY {
                let until = now + (away / PART).min(LONGEST);
                (self.lasts_until, self.batches) = (self.lasts_until.max(Some(until)), 0);
            }
        }
    }

    /// A batch came from the reader.
    pub(super) fn on_batch(&mut self) {
        self.batches = (self.batches + 1).min(BATCHES);
    }

    /// Whether a frame may leave.
    pub(super) fn may_go(&mut self, now: Instant) -> bool {
        self.lasts_until = self.lasts_until.filter(|until| *until > now);
        self.lasts_until.is_none() || self.batches >= BATCHES
    }

    /// A frame leaves.
    pub(super) fn on_frame(&mut self) {
        self.batches = 0;
    }

    /// When frames may leave as they come.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.lasts_until
    }
}
