//! What the next checkpoint says of every file.

use super::container::{Container, Place};
use super::desk::Desk;
use super::files::{Source, hint};
use super::identity::mark_of;
use super::instance::Instance;
use crate::checkpoint::snapshot::{CutEntry, Entry};
use crate::checkpoint::tracker::Offsets;
use crate::mutant::{self, Mutant};
use crate::reader::FileState;
use crate::record::{Stamp, Stream};
use crate::source::disk::LogFolders;
use crate::source::tail::{RECENT_BYTES, Tail};
use std::collections::BTreeMap;
use std::sync::Arc;
use twox_hash::XxHash3_64;

/// Everything before the offset is delivered or durably kept; the stamp is the last one before it.
pub(super) fn commit(instance: &Instance, file: &FileState, desk: &Desk) -> (u64, Option<Stamp>) {
    let id = file.id();
    let unacked = desk
        .tracker
        .lowest(id)
        .filter(|_| !mutant::is(Mutant::CheckpointAheadOfAck))
        .map(|range| (range.start, range.stamp_before));
    let open = desk
        .reader
        .open_range(id)
        .map(|range| (range.start, range.stamp_before));
    let partial = instance
        .state
        .as_ref()
        .and_then(|state| state.partials.lowest(id));
    let candidates = [Some(file.position()), unacked, open, partial];
    candidates
        .into_iter()
        .flatten()
        .min_by_key(|(offset, _)| *offset)
        .unwrap_or_default()
}

/// The entries of all files: those that are followed, and those that nobody has claimed.
pub(super) fn entries(containers: &mut BTreeMap<Arc<str>, Box<Container>>, desk: &mut Desk) -> Vec<Entry> {
    let offsets = offsets(containers, desk);
    let mut entries = Vec::with_capacity(offsets.len() + desk.registry.unclaimed().count());
    entries.extend(desk.registry.unclaimed().cloned());
    for container in containers.values() {
        for instance in container.instances.values() {
            for tail in instance.chain.tails() {
                entries.extend(entry(&container.place, instance, tail, &offsets, &desk.folders));
            }
        }
    }
    entries
}

fn offsets(containers: &BTreeMap<Arc<str>, Box<Container>>, desk: &mut Desk) -> Offsets {
    let mut offsets = Offsets::new();
    for instance in containers
        .values()
        .flat_map(|container| container.instances.values())
    {
        let files = instance
            .chain
            .tails()
            .iter()
            .filter_map(|tail| tail.state.as_ref());
        offsets.extend(files.map(|file| (file.id(), commit(instance, file, desk))));
    }
    if !mutant::is(Mutant::JoinedMessageCut) {
        desk.tracker.keep_whole(&mut offsets);
    }
    offsets
}

fn entry(
    place: &Place,
    instance: &Instance,
    tail: &Tail<FileState>,
    offsets: &Offsets,
    folders: &LogFolders,
) -> Option<Entry> {
    let identity = tail.identity?;
    let file = tail.state.as_ref()?;
    let (offset, last_stamp) = *offsets.get(&file.id())?;
    let inode = hint(tail);
    let cuts = file.cuts().iter().filter(|cut| cut.end > offset);
    Some(Entry {
        namespace: Arc::clone(&place.pod.namespace),
        pod: Arc::clone(&place.pod.pod),
        uid: Arc::clone(&place.pod.uid),
        container: Arc::clone(&place.container),
        restart: instance.restart(),
        fingerprint: identity.fingerprint.0,
        epoch: identity.epoch,
        offset,
        size: tail.size.max(file.read_offset()),
        finished: tail.finished,
        dev: inode.dev,
        ino: inode.ino,
        first_seen: identity.first_seen,
        last_stamp: last_stamp.map(|stamp| (stamp.secs, stamp.nanos)),
        mark: mark(instance, tail, file, offset)
            .or_else(|| mark_by_name(place, instance, tail, offset, folders)),
        cuts: cuts
            .map(|cut| CutEntry {
                stderr: cut.stream == Stream::Stderr,
                end: cut.end,
            })
            .collect(),
    })
}

/// Hash of the bytes before the offset; from memory when everything is committed.
fn mark(instance: &Instance, tail: &Tail<FileState>, file: &FileState, offset: u64) -> Option<u64> {
    if tail.mark.is_some() && offset == file.read_offset() {
        return tail.mark;
    }
    let recent = tail.recent.bytes();
    if offset == file.read_offset() && recent.len() as u64 == offset.min(RECENT_BYTES as u64) {
        return Some(XxHash3_64::oneshot(recent));
    }
    match &instance.descriptors.get(&tail.key)?.source {
        Source::Plain(log) => mark_of(log, offset),
        Source::Gzip(_) => None,
    }
}

/// The same of a file whose descriptor was closed while bytes of it were on their way: it is opened for that. Without a mark
/// nobody could tell, after a power cut, whether the bytes before the offset are still those that were read.
fn mark_by_name(
    place: &Place,
    instance: &Instance,
    tail: &Tail<FileState>,
    offset: u64,
    folders: &LogFolders,
) -> Option<u64> {
    if tail.compressed || instance.descriptors.contains_key(&tail.key) {
        return None;
    }
    let name = tail.name.as_deref()?;
    let log = folders.open(&format!("{}/{name}", place.path)).ok()?;
    (log.inode == tail.inode).then(|| mark_of(&log, offset))?
}
