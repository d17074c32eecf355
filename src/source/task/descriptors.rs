//! More files than descriptors: which ones are closed enters, room for others leaves.
//!
//! A closed file is looked at by name and opened again by its inode, or goes on in its `.gz`. Never closed: files with
//! unread bytes, and deleted ones, whose descriptor is the only way to their bytes.

use super::Source;
use super::files::Descriptor;
use crate::source::tail::TailKey;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A container that has found no free descriptor is polled again after this.
const STARVED_WAIT: Duration = Duration::from_millis(10);

/// The open files of one instance. A list: there are few, mostly one or none, and thousands of instances.
#[derive(Debug, Default)]
pub(super) struct Descriptors(Vec<(TailKey, Descriptor)>);

impl Descriptors {
    pub(super) fn get(&self, key: &TailKey) -> Option<&Descriptor> {
        let found = self.0.iter().find(|(other, _)| other == key);
        found.map(|(_, descriptor)| descriptor)
    }

    pub(super) fn get_mut(&mut self, key: &TailKey) -> Option<&mut Descriptor> {
        let found = self.0.iter_mut().find(|(other, _)| other == key);
        found.map(|(_, descriptor)| descriptor)
    }

    pub(super) fn contains_key(&self, key: &TailKey) -> bool {
        self.get(key).is_some()
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = TailKey> + '_ {
        self.0.iter().map(|(key, _)| *key)
    }

    /// The one that it replaces is returned.
    pub(super) fn insert(&mut self, key: TailKey, descriptor: Descriptor) -> Option<Descriptor> {
        if let Some(found) = self.get_mut(&key) {
            return Some(std::mem::replace(found, descriptor));
        }
        self.0.reserve_exact(1);
        self.0.push((key, descriptor));
        None
    }

    pub(super) fn remove(&mut self, key: &TailKey) -> Option<Descriptor> {
        let at = self.0.iter().position(|(other, _)| other == key)?;
        let (_, descriptor) = self.0.swap_remove(at);
        self.0.shrink_to_fit();
        Some(descriptor)
    }
}

impl Source {
    /// When a container has found the limit of descriptors reached, others are closed at once, and it is polled again soon.
    pub(super) fn make_room(&mut self, path: &str) {
        if !std::mem::take(&mut self.desk.starved) {
            return;
        }
        if let Some(container) = self.containers.get_mut(path) {
            container.wake(self.desk.now + STARVED_WAIT);
        }
        // Where nothing could be closed in this turn there is nothing to be closed.
        if self.crowded_turn != self.desk.turns && !self.trim_descriptors() {
            self.crowded_turn = self.desk.turns;
        }
    }

    /// Closes the descriptors that were not used for longest: an eighth of all. Never one with unread bytes, nor that of a
    /// deleted file. False when there is none to close.
    fn trim_descriptors(&mut self) -> bool {
        let mut idle: Vec<(Instant, Arc<str>, u32, u64)> = Vec::new();
        for (path, container) in &self.containers {
            idle.extend(
                container
                    .idle_descriptors()
                    .map(|(used, restart, key)| (used, Arc::clone(path), restart, key)),
            );
        }
        idle.sort();
        // An eighth is closed at once, so that this is not done for each file. After EMFILE the limit
        // of the process is what counts, wherever it lies.
        let room = self.desk.max_open_files / 8 + 1;
        let over = (self.desk.open_files + room).saturating_sub(self.desk.max_open_files);
        let surplus = if self.desk.open_files < self.desk.max_open_files {
            room
        } else {
            over
        };
        let any = !idle.is_empty();
        for (_, path, restart, key) in idle.into_iter().take(surplus) {
            if let Some(container) = self.containers.get_mut(&path) {
                container.close(restart, key, &mut self.desk);
            }
        }
        any
    }
}
