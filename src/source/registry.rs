//! Which identities a container's files have: what the last checkpoint knew, and what was given out
//! since.
//!
//! Fingerprints enter, epochs and the positions to resume at leave. An epoch counts the files of one
//! container instance that begin alike; it is never given out twice.

use super::fingerprint::Fingerprint;
use super::tail::Inode;
use crate::checkpoint::snapshot::Entry;
use crate::mutant::{self, Mutant};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A container instance: pod uid, container name, restart number.
pub type InstanceKey = (Arc<str>, Arc<str>, u32);

/// The fingerprints of an instance, in order: a list, because most instances have few.
type Prints = Vec<(Fingerprint, Epochs)>;

/// Identities that were given out or are remembered.
#[derive(Debug, Default)]
pub struct Registry {
    instances: BTreeMap<InstanceKey, Prints>,
    /// The highest restart number that the checkpoint knew, by pod uid and container.
    highest: BTreeMap<(Arc<str>, Arc<str>), u32>,
}

#[derive(Debug, Default)]
struct Epochs {
    next: u32,
    /// Entries of the checkpoint that no file has claimed.
    unclaimed: Vec<Entry>,
}

impl Registry {
    /// What the checkpoint knew.
    pub fn new(entries: Vec<Entry>) -> Registry {
        let mut registry = Registry::default();
        for entry in entries {
            let of_container = (entry.uid.clone(), entry.container.clone());
            let highest = registry.highest.entry(of_container).or_default();
            *highest = entry.restart.max(*highest);
            let key = (entry.uid.clone(), entry.container.clone(), entry.restart);
            let epochs = registry.epochs(key, Fingerprint(entry.fingerprint));
            epochs.next = epochs.next.max(entry.epoch + 1);
            epochs.unclaimed.push(entry);
        }
        registry
    }

    /// The entry of a file that begins with `fingerprint`, if the checkpoint has one that `fits`:
    /// the same inode first, else the oldest.
    pub fn claim(
        &mut self,
        instance: &InstanceKey,
        fingerprint: Fingerprint,
        inode: Inode,
        mut fits: impl FnMut(&Entry) -> bool,
    ) -> Option<Entry> {
        if mutant::is(Mutant::OffsetOfTheInode) {
            let known = self.instances.get_mut(instance)?.iter_mut();
            return known.into_iter().find_map(|(_, epochs)| {
                let same = |entry: &Entry| (entry.dev, entry.ino) == (inode.dev, inode.ino);
                let at = epochs.unclaimed.iter().position(same)?;
                Some(epochs.unclaimed.remove(at))
            });
        }
        let prints = self.instances.get_mut(instance)?;
        let at = position(prints, fingerprint).ok()?;
        let epochs = &mut prints[at].1;
        let same = |entry: &Entry| entry.ino != 0 && (entry.dev, entry.ino) == (inode.dev, inode.ino);
        epochs.unclaimed.sort_by_key(|entry| (!same(entry), entry.epoch));
        let at = epochs.unclaimed.iter().position(&mut fits)?;
        Some(epochs.unclaimed.remove(at))
    }

    /// The highest restart number of a container that the checkpoint knew. Told once.
    pub fn take_highest(&mut self, uid: &Arc<str>, container: &Arc<str>) -> Option<u32> {
        self.highest.remove(&(Arc::clone(uid), Arc::clone(container)))
    }

    /// Where the unclaimed entries of files that begin with `fingerprint` go on.
    pub fn offsets(&self, instance: &InstanceKey, fingerprint: Fingerprint) -> Vec<u64> {
        let epochs = self
            .instances
            .get(instance)
            .and_then(|prints| Some(&prints[position(prints, fingerprint).ok()?].1));
        let entries = epochs.into_iter().flat_map(|epochs| &epochs.unclaimed);
        entries.map(|entry| entry.offset).collect()
    }

    /// A new epoch for a file that begins with `fingerprint`.
    pub fn fresh(&mut self, instance: &InstanceKey, fingerprint: Fingerprint) -> u32 {
        let epochs = self.epochs(instance.clone(), fingerprint);
        epochs.next += 1;
        epochs.next - 1
    }

    /// Entries that no file has claimed.
    pub fn unclaimed(&self) -> impl Iterator<Item = &Entry> {
        self.instances
            .values()
            .flatten()
            .flat_map(|(_, epochs)| &epochs.unclaimed)
    }

    /// Takes out the unclaimed entries whose file `is_gone`.
    pub fn expire(&mut self, mut is_gone: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let mut gone = Vec::new();
        for (_, epochs) in self.instances.values_mut().flatten() {
            gone.extend(epochs.unclaimed.extract_if(.., |entry| is_gone(entry)));
        }
        gone
    }

    /// Forgets a container instance: its files are gone and delivered, but for those whose entries are
    /// returned, which no file has claimed.
    pub fn forget(&mut self, instance: &InstanceKey) -> Vec<Entry> {
        let known = self.instances.remove(instance).unwrap_or_default();
        known
            .into_iter()
            .flat_map(|(_, epochs)| epochs.unclaimed)
            .collect()
    }

    fn epochs(&mut self, instance: InstanceKey, fingerprint: Fingerprint) -> &mut Epochs {
        let prints = self.instances.entry(instance).or_default();
        let at = position(prints, fingerprint).unwrap_or_else(|at| {
            prints.reserve_exact(1);
            prints.insert(at, (fingerprint, Epochs::default()));
            at
        });
        &mut prints[at].1
    }
}

fn position(prints: &Prints, fingerprint: Fingerprint) -> Result<usize, usize> {
    prints.binary_search_by_key(&fingerprint, |(print, _)| *print)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u32, ino: u64, offset: u64) -> Entry {
        Entry {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: "c".into(),
            restart: 0,
            fingerprint: 7,
            epoch,
            offset,
            size: offset,
            finished: false,
            dev: 1,
            ino,
            first_seen: 0,
            last_stamp: None,
            mark: None,
            cuts: vec![],
        }
    }

    fn instance() -> InstanceKey {
        ("u".into(), "c".into(), 0)
    }

    #[test]
    fn the_same_inode_claims_first_then_the_oldest() {
        let mut registry = Registry::new(vec![entry(0, 10, 1), entry(1, 11, 2)]);
        let mut claim = |ino| {
            registry
                .claim(&instance(), Fingerprint(7), Inode { dev: 1, ino }, |_| true)
                .map(|entry| entry.epoch)
        };
        assert_eq!([claim(11), claim(99), claim(10)], [Some(1), Some(0), None]);
    }

    #[test]
    fn who_forgets_an_instance_is_told_what_nobody_claimed() {
        let mut registry = Registry::new(vec![entry(0, 10, 1), entry(1, 11, 2)]);
        let claimed = registry.claim(&instance(), Fingerprint(7), Inode { dev: 1, ino: 11 }, |_| true);
        assert_eq!(claimed.map(|entry| entry.epoch), Some(1));
        assert_eq!(registry.forget(&instance()), [entry(0, 10, 1)]);
        assert_eq!(registry.unclaimed().count(), 0);
    }

    #[test]
    fn an_epoch_is_never_given_out_twice() {
        let mut registry = Registry::new(vec![entry(3, 10, 1)]);
        assert_eq!(registry.fresh(&instance(), Fingerprint(7)), 4);
        assert_eq!(registry.fresh(&instance(), Fingerprint(7)), 5);
        assert_eq!(registry.fresh(&instance(), Fingerprint(8)), 0);
    }

    #[test]
    fn an_entry_that_does_not_fit_is_left_and_expires() {
        let mut registry = Registry::new(vec![entry(0, 10, 100)]);
        let claimed = registry.claim(&instance(), Fingerprint(7), Inode::default(), |entry| {
            entry.offset <= 50
        });
        assert_eq!(claimed, None);
        assert_eq!(registry.unclaimed().count(), 1);
        assert_eq!(registry.expire(|_| true).len(), 1);
        assert_eq!(registry.unclaimed().count(), 0);
        assert_eq!(registry.fresh(&instance(), Fingerprint(7)), 1);
    }
}
