//! The files of one container instance, oldest first: `gz < rotated < live`.
//!
//! Listings enter; which file is read next, and whether it can still grow, leaves. A file is known by
//! its inode while it has a plain name, and by its rotation stamp when it comes back as `.gz`
//! (kubelet compresses `N.log.<stamp>` to `N.log.<stamp>.gz` and removes the plain one; while both
//! exist the plain one counts). Does no I/O and knows no offsets.

use super::pod_path::LogKind;
use super::tail::{Listed, Tail, TailKey};
use crate::mutant::{self, Mutant};
use std::time::{Duration, Instant};

/// A file without a name and without a successor is at its end after so long without a byte.
pub const NAMELESS_QUIET: Duration = Duration::from_secs(5);
/// The same for a file of which nobody can say that it was deleted: its names may only be out of sight.
pub const UNSEEN_QUIET: Duration = Duration::from_secs(60);

/// The files of one container instance.
#[derive(Debug)]
pub struct Chain<S> {
    tails: Vec<Tail<S>>,
}

impl<S> Default for Chain<S> {
    fn default() -> Self {
        Chain { tails: Vec::new() }
    }
}

impl<S> Chain<S> {
    /// The files, oldest first.
    pub fn tails(&self) -> &[Tail<S>] {
        &self.tails
    }

    /// The files, oldest first.
    pub fn tails_mut(&mut self) -> &mut [Tail<S>] {
        &mut self.tails
    }

    /// The instance's files as they are listed now. `next_key` names new ones; their keys are
    /// returned.
    pub fn on_listing(
        &mut self,
        mut listed: Vec<Listed>,
        next_key: &mut TailKey,
        now: Instant,
    ) -> Vec<TailKey> {
        if mutant::is(Mutant::GzSkipped) {
            listed.retain(|file| !matches!(file.log.kind, LogKind::Compressed { .. }));
        }
        listed.sort_by(|a, b| order(&a.log.kind).cmp(&order(&b.log.kind)));
        listed.dedup_by(|next, plain| {
            !mutant::is(Mutant::GzAndPlainRead)
                && stamp_of(&next.log.kind).is_some()
                && stamp_of(&next.log.kind) == stamp_of(&plain.log.kind)
        });
        let mut seen = vec![false; self.tails.len()];
        let mut fresh = Vec::new();
        for file in listed {
            match self.find(&file, &seen) {
                Some(at) => {
                    let already = std::mem::replace(&mut seen[at], true);
                    if !already {
                        self.tails[at].on_listed(file);
                    }
                }
                None => fresh.push(file),
            }
        }
        for (tail, seen) in self.tails.iter_mut().zip(&seen) {
            if !seen && tail.name.take().is_some() {
                tail.nameless_since = Some(now);
                tail.finished |= mutant::is(Mutant::DeletedForgotten);
            }
        }
        fresh
            .into_iter()
            .map(|file| self.insert(file, next_key, now))
            .collect()
    }

    /// Puts files that were not begun into the order of their first stamps: name stamps are local
    /// time and may jump. Nothing moves unless all of them have one.
    pub fn settle_order(&mut self) {
        let from = self
            .tails
            .iter()
            .take_while(|tail| tail.finished || !tail.is_unbegun())
            .count();
        let to = from
            + self.tails[from..]
                .iter()
                .take_while(|tail| !tail.is_live())
                .count();
        let rotated = &mut self.tails[from..to];
        if rotated.iter().all(|tail| tail.first_stamp.is_some()) {
            rotated.sort_by_key(|tail| tail.first_stamp);
        }
    }

    /// The file to be read next: the oldest that is not finished.
    pub fn active(&self) -> Option<usize> {
        self.tails.iter().position(|tail| !tail.finished)
    }

    /// Whether the file at `at` has a successor, so that it gets no more bytes and its next end is the
    /// end. To be asked *before* the read that finds the end.
    pub fn is_superseded(&self, at: usize, newer_instance: bool) -> bool {
        newer_instance
            || matches!(self.tails[at].kind, LogKind::Compressed { .. })
            || self.tails[at + 1..].iter().any(Tail::has_content)
    }

    /// Whether the file at `at` has had no name and no new byte for [`NAMELESS_QUIET`]: its next end is
    /// the end, unless a name still leads to it. To be asked *before* the read that finds the end.
    pub fn is_quiet(&self, at: usize, now: Instant) -> bool {
        let tail = &self.tails[at];
        tail.nameless_since
            .is_some_and(|since| now.saturating_duration_since(since.max(tail.last_growth)) >= NAMELESS_QUIET)
    }

    /// Whether the last listing showed any of the files.
    pub fn is_seen(&self) -> bool {
        self.tails.iter().any(|tail| tail.name.is_some())
    }

    /// Replaces the file at `at`, whose bytes are not the ones that were read, by a new beginning of
    /// the same inode; the old one stays before it, finished and without a name.
    pub fn restart(&mut self, at: usize, next_key: &mut TailKey, now: Instant) -> TailKey {
        let old = &mut self.tails[at];
        // Name and inode are the new one's from now on.
        let listed = Listed {
            name: old.name.take().unwrap_or_default(),
            log: super::pod_path::LogName {
                restart: 0,
                kind: old.kind.clone(),
            },
            inode: std::mem::take(&mut old.inode),
            size: old.size,
        };
        old.finished = true;
        old.nameless_since = Some(now);
        // Nor will it come back compressed: what has its rotation stamp is the new one.
        old.kind = LogKind::Live;
        let key = take_key(next_key);
        let mut new = Tail::new(key, listed, now);
        new.name = new.name.filter(|name| !name.is_empty());
        // Without a name it ends when it is quiet, or it would keep all that come after it waiting for ever.
        new.nameless_since = new.name.is_none().then_some(now);
        self.insert_at(at + 1, new);
        key
    }

    /// Takes the file at `at` out: another one has taken its name.
    pub fn remove(&mut self, at: usize) -> Tail<S> {
        self.tails.remove(at)
    }

    /// Removes the files that `is_over` says nothing holds any more.
    pub fn forget(&mut self, mut is_over: impl FnMut(&Tail<S>) -> bool) -> Vec<Tail<S>> {
        let mut gone = Vec::new();
        let mut at = 0;
        while at < self.tails.len() {
            let tail = &self.tails[at];
            if tail.finished && tail.name.is_none() && is_over(tail) {
                gone.push(self.tails.remove(at));
            } else {
                at += 1;
            }
        }
        gone
    }

    fn find(&self, file: &Listed, seen: &[bool]) -> Option<usize> {
        match &file.log.kind {
            LogKind::Compressed { .. } if mutant::is(Mutant::GzAndPlainRead) => None,
            LogKind::Compressed { stamp } => {
                self.tails.iter().position(|tail| tail.rotation() == Some(stamp))
            }
            _ => {
                // A file does not become the live one again once there is a younger one: another file has got its inode.
                let live = file.log.kind == LogKind::Live;
                let is_other = |at: usize| live && seen[at + 1..].contains(&true);
                let by_inode = |(at, tail): (usize, &Tail<S>)| {
                    let same = !tail.compressed && tail.inode == file.inode && !seen[at];
                    (same && !is_other(at)).then_some(at)
                };
                self.tails.iter().enumerate().rev().find_map(by_inode)
            }
        }
    }

    fn insert(&mut self, file: Listed, next_key: &mut TailKey, now: Instant) -> TailKey {
        let key = take_key(next_key);
        let tail = Tail::new(key, file, now);
        // A file that has lost its name under our eyes was there before one that is new to us, whatever
        // its last name was: kubelet removes the oldest first.
        let later = |other: &Tail<S>| {
            other.name.is_some()
                && match (tail.rotation(), other.rotation()) {
                    (None, _) => false,
                    (Some(_), None) => other.is_live() || other.is_unbegun(),
                    (Some(ours), Some(theirs)) => theirs > ours,
                }
        };
        let from = self
            .tails
            .iter()
            .take_while(|tail| tail.finished || !tail.is_unbegun() && !tail.is_live())
            .count();
        let at = self.tails[from..]
            .iter()
            .position(later)
            .map_or(self.tails.len(), |at| from + at);
        self.insert_at(at, tail);
        key
    }

    /// Most chains have one file, on a node with thousands of them: room is made for one at a time.
    fn insert_at(&mut self, at: usize, tail: Tail<S>) {
        self.tails.reserve_exact(1);
        self.tails.insert(at, tail);
    }
}

impl<S> Tail<S> {
    fn is_unbegun(&self) -> bool {
        self.recent.bytes().is_empty()
    }

    fn on_listed(&mut self, file: Listed) {
        if !matches!(file.log.kind, LogKind::Compressed { .. }) {
            // Read to its end, closed, removed, and its inode is another file's by now: it is to be looked at.
            self.finished &= self.compressed || file.size == self.size;
            self.size = file.size;
        }
        self.name = Some(file.name);
        self.kind = file.log.kind;
        self.nameless_since = None;
    }
}

fn take_key(next_key: &mut TailKey) -> TailKey {
    *next_key += 1;
    *next_key
}

fn stamp_of(kind: &LogKind) -> Option<&str> {
    match kind {
        LogKind::Live => None,
        LogKind::Rotated { stamp } | LogKind::Compressed { stamp } => Some(stamp),
    }
}

/// Plain before compressed of the same stamp, live last.
fn order(kind: &LogKind) -> (bool, &str, bool) {
    match kind {
        LogKind::Rotated { stamp } => (false, stamp, false),
        LogKind::Compressed { stamp } => (false, stamp, true),
        LogKind::Live => (true, "", false),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests {
    use super::*;
    use crate::record::Stamp;
    use crate::source::pod_path::log_file;
    use crate::source::tail::Inode;

    /// `0.log.<digit>` stands for a stamp that ends so.
    fn listed(name: &str, ino: u64, size: u64) -> Listed {
        let stamped = name.replace(".log.", ".log.20261121-00000");
        Listed {
            name: name.into(),
            log: log_file(&stamped).unwrap(),
            inode: Inode { dev: 1, ino },
            size,
        }
    }

    struct Bench {
        chain: Chain<()>,
        key: TailKey,
        now: Instant,
    }

    impl Bench {
        fn new() -> Bench {
            Bench {
                chain: Chain::default(),
                key: 0,
                now: Instant::now(),
            }
        }

        fn list(&mut self, files: &[(&str, u64, u64)]) -> usize {
            let files = files
                .iter()
                .map(|(name, ino, size)| listed(name, *ino, *size))
                .collect();
            self.chain.on_listing(files, &mut self.key, self.now).len()
        }

        fn names(&self) -> Vec<&str> {
            self.chain
                .tails()
                .iter()
                .map(|tail| tail.name.as_deref().unwrap_or("-"))
                .collect()
        }

        fn complete(&self, at: usize) -> bool {
            self.chain.is_superseded(at, false) || self.chain.is_quiet(at, self.now)
        }
    }

    /// Red when what was finished stays so whatever its inode is used for (`on_listed`).
    #[test]
    fn a_finished_file_whose_inode_is_used_again_is_looked_at() {
        let mut bench = Bench::new();
        bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 3)]);
        bench.chain.tails_mut()[0].finished = true;
        bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 4)]);
        assert!(bench.chain.tails()[0].finished);
        bench.list(&[("0.log", 1, 0)]);
        let reused = bench.chain.tails().iter().find(|tail| tail.inode.ino == 1);
        assert!(reused.is_some_and(|tail| !tail.finished));
    }

    #[test]
    fn the_first_listing_is_read_oldest_first_and_a_plain_file_hides_its_gz() {
        let mut bench = Bench::new();
        bench.list(&[
            ("0.log", 9, 5),
            ("0.log.2.gz", 7, 9),
            ("0.log.3", 8, 9),
            ("0.log.1.gz", 6, 9),
            ("0.log.3.gz", 5, 9),
        ]);
        assert_eq!(bench.names(), ["0.log.1.gz", "0.log.2.gz", "0.log.3", "0.log"]);
    }

    #[test]
    fn a_rotated_file_is_complete_when_its_successor_has_content() {
        let mut bench = Bench::new();
        bench.list(&[("0.log", 1, 5)]);
        assert!(!bench.complete(0));
        assert_eq!(bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 0)]), 1);
        assert_eq!(bench.names(), ["0.log.1", "0.log"]);
        assert!(!bench.complete(0), "the writer has not reopened yet");
        bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 3)]);
        assert!(bench.complete(0) && !bench.complete(1));
    }

    #[test]
    fn a_failed_reopen_that_renames_back_is_the_same_file() {
        let mut bench = Bench::new();
        bench.list(&[("0.log", 1, 5)]);
        bench.list(&[("0.log.1", 1, 5)]);
        assert_eq!(bench.list(&[("0.log", 1, 9)]), 0);
        assert_eq!(bench.names(), ["0.log"]);
        assert!(!bench.complete(0));
    }

    /// Red without `is_other`: the live file would take the place of the removed one, before the younger one, and count as
    /// complete.
    #[test]
    fn a_live_file_with_the_inode_of_a_removed_one_is_the_youngest() {
        for removal_is_seen in [false, true] {
            let mut bench = Bench::new();
            bench.list(&[("0.log.1", 1, 0), ("0.log", 2, 5)]);
            if removal_is_seen {
                bench.list(&[("0.log", 2, 5)]);
            }
            assert_eq!(bench.list(&[("0.log.2", 2, 5), ("0.log", 1, 7)]), 1);
            assert_eq!(bench.names(), ["-", "0.log.2", "0.log"]);
            assert!(bench.complete(1) && !bench.complete(2));
        }
    }

    #[test]
    fn a_file_that_comes_back_compressed_is_known_and_complete() {
        let mut bench = Bench::new();
        bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 0)]);
        assert_eq!(bench.list(&[("0.log.1.gz", 3, 4), ("0.log", 2, 0)]), 0);
        assert_eq!(bench.names(), ["0.log.1.gz", "0.log"]);
        assert!(bench.complete(0));
        assert!(
            !bench.chain.tails()[0].compressed,
            "its bytes still come from the plain descriptor"
        );
    }

    #[test]
    fn two_rotations_between_two_listings_keep_the_order() {
        let mut bench = Bench::new();
        bench.list(&[("0.log", 1, 5)]);
        bench.chain.tails_mut()[0].recent.push(b"x");
        bench.list(&[("0.log", 3, 5), ("0.log.1", 1, 9), ("0.log.2", 2, 9)]);
        assert_eq!(bench.names(), ["0.log.1", "0.log.2", "0.log"]);
    }

    #[test]
    fn a_deleted_file_is_complete_after_a_quiet_time() {
        let mut bench = Bench::new();
        bench.list(&[("0.log", 1, 5)]);
        bench.list(&[]);
        assert_eq!(bench.names(), ["-"]);
        assert!(!bench.complete(0));
        bench.now += NAMELESS_QUIET;
        assert!(bench.complete(0));
        bench.chain.tails_mut()[0].finished = true;
        assert_eq!(bench.chain.forget(|_| false).len(), 0);
        assert_eq!(bench.chain.forget(|_| true).len(), 1);
    }

    #[test]
    fn order_follows_the_first_stamps_when_all_are_known() {
        let mut bench = Bench::new();
        bench.list(&[("0.log.1", 1, 5), ("0.log.2", 2, 5), ("0.log", 3, 5)]);
        bench.chain.tails_mut()[0].first_stamp = Some(Stamp { secs: 9, nanos: 0 });
        bench.chain.settle_order();
        assert_eq!(bench.names(), ["0.log.1", "0.log.2", "0.log"]);
        bench.chain.tails_mut()[1].first_stamp = Some(Stamp { secs: 8, nanos: 0 });
        bench.chain.settle_order();
        assert_eq!(bench.names(), ["0.log.2", "0.log.1", "0.log"]);
    }

    #[test]
    fn a_name_that_slipped_through_a_listing_leads_back_to_its_file() {
        let mut bench = Bench::new();
        bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 3)]);
        bench.chain.tails_mut()[0].finished = true;
        bench.list(&[("0.log", 2, 3)]);
        assert_eq!(bench.names(), ["-", "0.log"]);
        assert_eq!(bench.list(&[("0.log.1", 1, 9), ("0.log", 2, 3)]), 0);
        assert_eq!(bench.names(), ["0.log.1", "0.log"]);
    }

    /// Red when its new beginning is not known to be without a name: it would never be complete.
    #[test]
    fn a_truncated_file_without_a_name_ends_when_it_is_quiet() {
        let mut bench = Bench::new();
        bench.list(&[("0.log", 1, 5)]);
        bench.list(&[]);
        bench.chain.restart(0, &mut bench.key, bench.now);
        assert_eq!((bench.names(), bench.chain.active()), (vec!["-", "-"], Some(1)));
        assert!(!bench.chain.is_quiet(1, bench.now));
        assert!(bench.chain.is_quiet(1, bench.now + NAMELESS_QUIET));
    }

    #[test]
    fn a_truncated_file_begins_anew_and_keeps_its_name() {
        let mut bench = Bench::new();
        bench.list(&[("0.log", 1, 5)]);
        bench.chain.restart(0, &mut bench.key, bench.now);
        assert_eq!(bench.names(), ["-", "0.log"]);
        assert_eq!(bench.list(&[("0.log", 1, 9)]), 0);
        assert_eq!(
            (bench.names(), bench.chain.active()),
            (vec!["-", "0.log"], Some(1))
        );
    }
}
