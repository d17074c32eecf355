//! Deleted files that only our descriptors keep: what they hold enters; which of them are given up leaves.
//!
//! Such a file takes room on the node's disk that nobody sees and kubelet cannot free, so there is a limit for each pod
//! (`source.max_deleted_bytes_per_pod`) and one for the node (`source.max_deleted_bytes`), both in unread bytes. They are
//! read before all other files. Beyond a limit the file that was deleted first is given up: its compressed twin is taken in
//! its place when there is one; otherwise its rest is counted as lost, and its descriptor is closed once that is durable.

use super::Source;
use super::container::{Container, Place};
use super::desk::{Desk, QUANTUM};
use super::files::{self, Step, span};
use super::instance::Instance;
use crate::reader::FileState;
use crate::source::tail::TailKey;
use crate::telemetry::ledger::LostReason;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// What deleted files hold is looked at this often, because they may still be written to; and at once when one was deleted.
const INTERVAL: Duration = Duration::from_secs(1);

/// A deleted file with unread bytes.
struct Held {
    since: Instant,
    uid: Arc<str>,
    bytes: u64,
    path: Arc<str>,
    restart: u32,
    key: TailKey,
}

impl Source {
    /// Keeps what deleted files hold within its limits.
    pub(super) fn limit_deleted(&mut self) {
        if self.desk.deleted_at > self.desk.now {
            return;
        }
        self.desk.deleted_at = self.desk.now + INTERVAL;
        let mut held: Vec<Held> = self
            .containers
            .values()
            .flat_map(|container| container.deleted())
            .collect();
        held.sort_by_key(|held| held.since);
        self.desk.deleted_bytes = held.iter().map(|held| held.bytes).sum();
        let config = &self.config;
        for at in surplus(&held, config.max_deleted_bytes_per_pod, config.max_deleted_bytes) {
            let Held {
                bytes,
                path,
                restart,
                key,
                ..
            } = &held[at];
            self.desk.deleted_bytes -= bytes;
            if let Some(container) = self.containers.get_mut(path) {
                container.give_up_deleted(*restart, *key, &mut self.desk);
            }
        }
    }

    /// Containers with deleted files come first: nobody else can give their lines a second time.
    pub(super) fn deleted_first(&self, due: &mut [Arc<str>]) {
        let holds = |path: &Arc<str>| {
            let container = self.containers.get(path);
            container.is_some_and(|container| container.holds_deleted())
        };
        due.sort_by_key(|path| !holds(path));
    }
}

/// Which of these files, the one that was deleted first in front, are to be given up so that no pod and not the node is
/// beyond its limit.
fn surplus(held: &[Held], per_pod: u64, per_node: u64) -> Vec<usize> {
    let mut pods: HashMap<&str, u64> = HashMap::new();
    for held in held {
        *pods.entry(&held.uid).or_default() += held.bytes;
    }
    let mut all: u64 = held.iter().map(|held| held.bytes).sum();
    let mut surplus = Vec::new();
    // Pods beyond their own limit first: the others keep what they have.
    for limit_of_pods in [true, false] {
        for (at, held) in held.iter().enumerate() {
            let of_pod = pods.entry(&held.uid).or_default();
            let over = if limit_of_pods {
                *of_pod > per_pod
            } else {
                all > per_node && !surplus.contains(&at)
            };
            if over {
                *of_pod -= held.bytes;
                all -= held.bytes;
                surplus.push(at);
            }
        }
    }
    surplus
}

impl Container {
    fn deleted(&self) -> impl Iterator<Item = Held> + '_ {
        self.instances.iter().flat_map(|(restart, instance)| {
            instance.deleted().map(|(key, since, bytes)| Held {
                since,
                uid: Arc::clone(&self.place.pod.uid),
                bytes,
                path: Arc::clone(&self.place.path),
                restart: *restart,
                key,
            })
        })
    }

    fn holds_deleted(&self) -> bool {
        let mut instances = self.instances.values();
        instances.any(|instance| instance.nameless().next().is_some())
    }

    fn give_up_deleted(&mut self, restart: u32, key: TailKey, desk: &mut Desk) {
        self.wake(desk.now);
        if let Some(instance) = self.instances.get_mut(&restart) {
            instance.give_up_deleted(key, &self.place, desk);
        }
    }
}

impl Instance {
    /// Reads a quantum of a file without a name; true when there is more.
    pub(super) fn drain_deleted(&mut self, place: &Place, desk: &mut Desk) -> bool {
        if self.state.is_none() {
            return false;
        }
        let Some(at) = self.chain.active() else {
            return false;
        };
        let tail = &self.chain.tails()[at];
        if tail.name.is_some() || self.has_name(tail, desk.now) {
            return false;
        }
        match self.step(at, QUANTUM, true, place, desk) {
            Step::Bytes(_) | Step::Restarted => true,
            Step::End(_) => {
                self.finish(at, place, desk);
                self.close_lost_groups(at, desk);
                true
            }
            Step::Waits | Step::Stale | Step::Withheld(_) => false,
        }
    }

    /// Files without a name that are not read to their end.
    fn nameless(&self) -> impl Iterator<Item = usize> + '_ {
        let tails = self.chain.tails().iter().enumerate();
        tails
            .filter(|(_, tail)| tail.name.is_none() && !tail.finished && !tail.compressed)
            .map(|(at, _)| at)
    }

    /// Deleted files, since when they are, and how many bytes of them are unread.
    fn deleted(&self) -> impl Iterator<Item = (TailKey, Instant, u64)> + '_ {
        self.nameless().filter_map(|at| {
            let tail = &self.chain.tails()[at];
            let files::Source::Plain(log) = &self.descriptors.get(&tail.key)?.source else {
                return None;
            };
            let read = tail.state.as_ref().map_or(0, FileState::read_offset);
            let bytes = log.size().unwrap_or(tail.size).saturating_sub(read);
            (bytes > 0 && !log.has_name()).then_some((tail.key, tail.nameless_since?, bytes))
        })
    }

    /// Files have just lost their names: how much of them is unread belongs on record, so that the next start knows what is
    /// lost if this process dies before it has read them.
    pub(super) fn on_nameless(&mut self, desk: &mut Desk) {
        let nameless: Vec<usize> = self.nameless().collect();
        for at in nameless {
            let tail = &mut self.chain.tails_mut()[at];
            if tail.nameless_since != Some(desk.now) {
                continue;
            }
            if let Some(files::Source::Plain(log)) = self.descriptors.get(&tail.key).map(|open| &open.source)
            {
                tail.size = log.size().map_or(tail.size, |size| size.max(tail.size));
            }
            desk.next_save();
            desk.deleted_at = desk.now;
            desk.reader.set_urgent(true);
        }
    }

    fn give_up_deleted(&mut self, key: TailKey, place: &Place, desk: &mut Desk) {
        let position = self.chain.tails().iter().position(|tail| tail.key == key);
        let Some(at) = position else { return };
        if self.take_twin(at, place, desk) {
            return;
        }
        let may_grow = !self.chain.is_superseded(at, false);
        let descriptor = self.descriptors.get(&key).map(|open| &open.source);
        let size = match descriptor {
            Some(files::Source::Plain(log)) => log.size().ok(),
            _ => None,
        };
        let tail = &mut self.chain.tails_mut()[at];
        let read = tail.state.as_ref().map_or(0, FileState::read_offset);
        let lost = span(tail, read, size.unwrap_or(tail.size).max(read));
        warn!(
            path = &*place.path,
            bytes = lost.len(),
            "too many bytes of deleted files are unread (source.max_deleted_bytes, max_deleted_bytes_per_pod); \
             giving up the one that was deleted first"
        );
        desk.on_lost(LostReason::DeletedOverLimit, &place.path, lost, may_grow);
        if let (Some(file), Some(state)) = (&mut tail.state, &mut self.state) {
            desk.reader.set_urgent(true);
            desk.reader.on_file_end(file, state, desk.now);
        }
        // It is on record, and must not be counted again by the next start.
        tail.size = read;
        tail.finished = true;
        tail.wait_for_save = Some(desk.next_save());
        self.close_lost_groups(at, desk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(files: &[(u8, u64)], now: Instant) -> Vec<Held> {
        let files = files.iter().map(|(uid, bytes)| Held {
            since: now,
            uid: uid.to_string().into(),
            bytes: *bytes,
            path: Arc::default(),
            restart: 0,
            key: 0,
        });
        files.collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
    fn the_first_deleted_goes_first_and_another_pod_keeps_its_own() {
        let files = held(&[(1, 30), (2, 30), (1, 30), (2, 5), (1, 30)], Instant::now());
        assert!(surplus(&files, 90, 125).is_empty());
        assert_eq!(surplus(&files, 60, 1000), [0]);
        assert_eq!(surplus(&files, 89, 60), [0, 1, 2]);
        assert_eq!(surplus(&files, 10, 1000), [0, 1, 2, 4]);
        assert_eq!(surplus(&files, 0, 0).len(), 5);
    }

    proptest! {
        #[test]
        #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
        fn what_stays_is_within_both_limits_and_nothing_is_given_up_within_them(
            files in proptest::collection::vec((0u8..4, 1u64..100), 0..30),
            per_pod in 0u64..300,
            per_node in 0u64..600,
        ) {
            let gone = surplus(&held(&files, Instant::now()), per_pod, per_node);
            let stays = |at: &usize| !gone.contains(at);
            let of = |pod: Option<u8>| -> u64 {
                let at = (0..files.len()).filter(stays);
                at.map(|at| files[at]).filter(|(uid, _)| pod.is_none_or(|pod| pod == *uid)).map(|(_, bytes)| bytes).sum()
            };
            prop_assert!(of(None) <= per_node);
            for pod in 0..4 {
                prop_assert!(of(Some(pod)) <= per_pod);
            }
            let all: u64 = files.iter().map(|(_, bytes)| bytes).sum();
            prop_assert!(gone.is_empty() || all > per_pod.min(per_node));
            let mut once = gone.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), gone.len());
        }
    }
}
