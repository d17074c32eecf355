//! How much a container may read now, and what becomes of it: shares while the sink is slow, rate limits, and files that are
//! paused.

use super::BLOCKED_WAIT;
use super::container::Place;
use super::desk::Desk;
use super::files::Step;
use super::instance::Instance;
use crate::config;
use crate::flow::fair::{Credit, Rounds};
use crate::flow::rate::{RateLimits, Rates};
use crate::reader::FileState;
use crate::record::{FileId, Share};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A paused file is tried this often.
const TRY_INTERVAL: Duration = Duration::from_secs(10);
/// So much of it is read then.
const TRY_BYTES: usize = 16 * 1024;

/// What a container may do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Allowance {
    /// Read at most `limit` bytes, into the body of `share`.
    Read {
        /// Whose body.
        share: Share,
        /// In bytes.
        limit: usize,
        /// The rate limit is used up and drops: what is read goes nowhere, and is counted.
        discard: bool,
    },
    /// Wait until then.
    Wait(Instant),
}

/// Shares and rate limits of all containers of a reader thread.
#[derive(Debug)]
pub(super) struct Shares {
    /// Bodies wait for the sink: what a container reads beyond its share goes into bodies of its own.
    kept: bool,
    /// Whether these have room.
    over_has_room: bool,
    pub(super) rounds: Rounds,
    rates: Rates,
    drops: bool,
}

impl Shares {
    pub(super) fn new(round_bytes: u64, limit: &config::RateLimit) -> Shares {
        let config::RateLimit {
            pod,
            namespace,
            when_exceeded,
        } = *limit;
        Shares {
            kept: false,
            over_has_room: true,
            rounds: Rounds::new(round_bytes),
            rates: Rates::new(RateLimits { pod, namespace }),
            drops: when_exceeded == config::WhenExceeded::Drop,
        }
    }

    /// Whether shares are kept from now on. `is_open`: the open body within the shares has documents.
    pub(super) fn keep(&mut self, kept: bool, is_open: bool) {
        self.kept = kept;
        self.rounds.advance(is_open);
    }

    /// Whether bodies over their shares have room.
    pub(super) fn set_over_has_room(&mut self, over_has_room: bool) {
        self.over_has_room = over_has_room;
    }

    /// Forgets who wrote nothing lately.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.rates.sweep(now);
    }

    /// What a container of `place` may do next; at most `limit` bytes.
    pub(super) fn allowance(
        &mut self,
        place: &Place,
        credit: &Credit,
        limit: usize,
        now: Instant,
    ) -> Allowance {
        let (limit, discard) = match self.rates.left(&place.pod.uid, &place.pod.namespace, now) {
            Ok(left) => (limit.min(usize::try_from(left).unwrap_or(limit)), false),
            Err(_) if self.drops => (limit, true),
            Err(ready_at) => return Allowance::Wait(ready_at.max(now + BLOCKED_WAIT)),
        };
        let left = usize::try_from(self.rounds.left(credit)).unwrap_or(limit);
        let (share, limit) = match left {
            _ if !self.kept || discard => (Share::Within, limit),
            0 if self.over_has_room => (Share::Over, limit),
            0 => return Allowance::Wait(now + BLOCKED_WAIT),
            _ => (Share::Within, limit.min(left)),
        };
        Allowance::Read {
            share,
            limit,
            discard,
        }
    }

    /// So many bytes were read into the body of `share`.
    pub(super) fn on_read(
        &mut self,
        place: &Place,
        credit: &mut Credit,
        share: Share,
        bytes: u64,
        now: Instant,
    ) {
        if share == Share::Within {
            self.rounds.on_read(credit, bytes);
        }
        self.rates
            .on_read(&place.pod.uid, &place.pod.namespace, bytes, now);
    }
}

/// Files of which the sink wants nothing more, since the index that they go to has used up its share of the spool.
///
/// Which index the next line goes to is known only when it is read (at midnight another one), so a little of each is tried
/// now and then.
#[derive(Debug, Default)]
pub(super) struct Paused {
    files: Arc<BTreeSet<FileId>>,
    tried: BTreeMap<FileId, Instant>,
}

impl Paused {
    /// The sink has said of which files it wants nothing.
    pub(super) fn set(&mut self, files: Arc<BTreeSet<FileId>>) {
        if !Arc::ptr_eq(&files, &self.files) {
            self.tried.retain(|file, _| files.contains(file));
            self.files = files;
        }
    }

    /// At most how many bytes of a file may be read: nothing, a little, or all that the caller may. Only those that are tried
    /// begin to wait anew.
    fn limit(&mut self, file: FileId, limit: usize, now: Instant) -> Option<usize> {
        if !self.files.contains(&file) {
            return Some(limit);
        }
        let tried = self.tried.entry(file).or_insert(now);
        if now.saturating_duration_since(*tried) < TRY_INTERVAL {
            return None;
        }
        *tried = now;
        Some(limit.min(TRY_BYTES))
    }
}

impl Instance {
    /// Reads as much of the file at `at` as share and rate allow, at most `limit` bytes.
    pub(super) fn step_by_share(
        &mut self,
        at: usize,
        limit: usize,
        complete: bool,
        place: &Place,
        credit: &mut Credit,
        desk: &mut Desk,
    ) -> Step {
        let tail = &mut self.chain.tails_mut()[at];
        let file = tail.state.as_ref().map(FileState::id);
        let allowed = file.map_or(Some(limit), |file| desk.paused.limit(file, limit, desk.now));
        tail.paused = allowed.is_none();
        let Some(limit) = allowed else {
            return Step::Withheld(desk.now + BLOCKED_WAIT);
        };
        let (share, limit, discard) = match desk.shares.allowance(place, credit, limit, desk.now) {
            Allowance::Wait(until) => return Step::Withheld(until),
            Allowance::Read {
                share,
                limit,
                discard,
            } => (share, limit, discard),
        };
        desk.reader.set_share(share);
        desk.reader.set_discard(discard);
        let before = desk.read;
        let step = self.step(at, limit, complete, place, desk);
        if discard {
            desk.reader.set_discard(false);
            desk.on_discarded(&place.path);
        } else {
            let bytes = desk.read - before;
            desk.shares.on_read(place, credit, share, bytes, desk.now);
        }
        step
    }
}
