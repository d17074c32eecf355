//! One container instance: its chain of files, its open groups, its metadata.

use super::container::Place;
use super::descriptors::Descriptors;
use super::desk::{Desk, QUANTUM};
use super::files::{Source, Step, is_about_the_file, on_error};
use crate::enrich::cache::Lookup;
use crate::flow::fair::Credit;
use crate::mutant::{self, Mutant};
use crate::parse::partial::{Group, Partials};
use crate::reader::{Cut, FileState, InstanceState};
use crate::record::Stream;
use crate::sink::elasticsearch::schema::fragment;
use crate::source::chain::{Chain, NAMELESS_QUIET, UNSEEN_QUIET};
use crate::source::pod_path::LogKind;
use crate::source::registry::InstanceKey;
use crate::source::tail::{Inode, Listed, Tail, TailKey};
use std::sync::Arc;
use std::time::Instant;
use tracing::info;

/// What an instance was given in one turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    pub(super) bytes: usize,
    /// The files did not end: when to go on. Now, when only the quantum is over; later, when what is left is over the
    /// container's share or its rate.
    pub(super) again: Option<Instant>,
    /// A name led elsewhere than at the last listing.
    pub(super) stale: bool,
}

/// Groups that are cut by time once the save is durable.
#[derive(Debug)]
struct PendingCut {
    save: u64,
    streams: Vec<Stream>,
}

/// One container instance.
pub(super) struct Instance {
    pub(super) key: InstanceKey,
    pub(super) chain: Chain<FileState>,
    pub(super) descriptors: Descriptors,
    /// There once the metadata is known or not worth waiting for.
    pub(super) state: Option<InstanceState>,
    pub(super) metadata: &'static str,
    found: Instant,
    /// Its directory was removed.
    gone: bool,
    cut: Option<PendingCut>,
}

impl Instance {
    pub(super) fn new(place: &Place, restart: u32, now: Instant) -> Instance {
        Instance {
            key: (Arc::clone(&place.pod.uid), Arc::clone(&place.container), restart),
            chain: Chain::default(),
            descriptors: Descriptors::default(),
            state: None,
            metadata: "waiting",
            found: now,
            gone: false,
            cut: None,
        }
    }

    pub(super) fn restart(&self) -> u32 {
        self.key.2
    }

    pub(super) fn waits_for_save(&self) -> bool {
        self.cut.is_some() || self.chain.tails().iter().any(|tail| tail.wait_for_save.is_some())
    }

    pub(super) fn knows_all(&self) -> bool {
        self.chain
            .tails()
            .iter()
            .all(|tail| tail.identity.is_some() || tail.finished)
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let unfinished = self
            .chain
            .tails()
            .iter()
            .filter_map(|tail| tail.state.as_ref())
            .map(FileState::held_bytes);
        let groups = self.state.as_ref().map_or(0, |state| state.partials.held_bytes());
        unfinished.sum::<u64>() + groups
    }

    pub(super) fn is_over(&self) -> bool {
        self.chain.tails().is_empty()
    }

    pub(super) fn on_metadata(&mut self, lookup: Lookup, place: &Place, desk: &mut Desk) {
        let (metadata, state) = match lookup {
            Lookup::Known(metadata) => (metadata, "known"),
            Lookup::Off(metadata) => (metadata, "off"),
            Lookup::Missing(metadata) => (metadata, "missing"),
            Lookup::Wait(metadata) => {
                let waited = desk.now.saturating_duration_since(self.found);
                if self.state.is_none() && waited < desk.metadata_wait {
                    return;
                }
                (metadata, "missing")
            }
        };
        // Labels that were known stay known while the server is away.
        if state == "missing" && self.metadata == "known" {
            return;
        }
        self.metadata = state;
        let live = format!("{}/{}.log", place.path, self.restart());
        let log_path = desk.folders.root.join(live);
        let fragment = fragment(&metadata, &desk.layout, &log_path.to_string_lossy());
        match &mut self.state {
            Some(state) => state.fragment = fragment,
            None => {
                self.state = Some(InstanceState {
                    partials: Partials::default(),
                    fragment,
                })
            }
        }
        desk.active = true;
    }

    pub(super) fn on_listing(&mut self, files: Vec<Listed>, skip_old: bool, place: &Place, desk: &mut Desk) {
        let fresh = self.chain.on_listing(files, &mut desk.next_key, desk.now);
        for tail in self
            .chain
            .tails_mut()
            .iter_mut()
            .filter(|tail| fresh.contains(&tail.key))
        {
            tail.skip_old = skip_old;
        }
        desk.dirty |= !fresh.is_empty();
        self.on_nameless(desk);
        for at in 0..self.chain.tails().len() {
            let has_descriptor = self.descriptors.contains_key(&self.chain.tails()[at].key);
            let tail = &mut self.chain.tails_mut()[at];
            let read_offset = tail.state.as_ref().map_or(0, FileState::read_offset);
            let is_gz = matches!(tail.kind, LogKind::Compressed { .. });
            if !tail.compressed && tail.finished && tail.name.is_some() && !is_gz && tail.size > read_offset {
                // Written after the rename and before the reopen, later than we thought possible.
                tail.finished = false;
            }
            if !tail.compressed && is_gz && tail.finished {
                self.compare_footer(at, place, desk);
            } else if !tail.compressed && is_gz && !has_descriptor {
                become_compressed(tail);
            } else if tail.finished && tail.name.is_none() && !has_descriptor {
                // Without a descriptor the inode may soon be another file's. With one it cannot, and
                // a name that only slipped through a listing leads back to it.
                tail.inode = Inode::default();
            }
        }
        if !fresh.is_empty() {
            self.learn_first_stamps(place, desk);
            self.chain.settle_order();
        }
    }

    /// Reads on, at most a quantum. `superseded`: there is a later instance, so that nobody writes to
    /// this one; `gone`: the directory was removed.
    pub(super) fn serve(
        &mut self,
        place: &Place,
        desk: &mut Desk,
        credit: &mut Credit,
        superseded: bool,
        gone: bool,
    ) -> Served {
        self.gone = gone;
        let mut served = Served::default();
        if self.state.is_none() || self.waits_for_cut(desk) {
            return served;
        }
        while let Some(at) = self.chain.active() {
            if served.bytes >= QUANTUM {
                served.again = Some(desk.now);
                break;
            }
            let complete = self.is_complete(at, superseded, desk.now);
            match self.step_by_share(at, QUANTUM - served.bytes, complete, place, credit, desk) {
                Step::Withheld(until) => {
                    served.again = Some(until);
                    break;
                }
                Step::Waits => break,
                Step::Stale => {
                    served.stale = true;
                    break;
                }
                Step::Bytes(bytes) => served.bytes += bytes,
                Step::Restarted => {}
                Step::End(bytes) => {
                    served.bytes += bytes;
                    if !complete {
                        break;
                    }
                    self.finish(at, place, desk);
                }
            }
        }
        if (superseded || gone) && self.chain.active().is_none() {
            self.close_groups(desk);
        }
        self.plan_cuts(desk);
        served
    }

    /// Whether the file at `at` gets no more bytes, so that its next end is the end.
    fn is_complete(&self, at: usize, superseded: bool, now: Instant) -> bool {
        self.chain.is_superseded(at, superseded)
            || self.chain.is_quiet(at, now) && !self.has_name(&self.chain.tails()[at], now)
    }

    /// No listing shows the file, and yet its descriptor says that a name leads to it. It may have been moved out of our
    /// sight, so this counts for [`UNSEEN_QUIET`] only.
    pub(super) fn has_name(&self, tail: &Tail<FileState>, now: Instant) -> bool {
        let recent = |since| now.saturating_duration_since(since) < UNSEEN_QUIET;
        match self.descriptors.get(&tail.key).map(|open| &open.source) {
            Some(Source::Plain(log)) => tail.nameless_since.is_some_and(recent) && log.has_name(),
            _ => false,
        }
    }

    /// A listing can be believed when it shows other files, or when the directory is known to be gone: one that cannot be
    /// listed right now may look like one that is empty.
    pub(super) fn is_listing_believed(&self) -> bool {
        self.gone || self.chain.is_seen()
    }

    /// Compressed files that nobody has looked into yet.
    pub(super) fn unknown_twins(&self) -> impl Iterator<Item = TailKey> + '_ {
        let unknown = |tail: &&Tail<FileState>| {
            tail.compressed && tail.identity.is_none() && tail.name.is_some() && !tail.finished
        };
        self.chain.tails().iter().filter(unknown).map(|tail| tail.key)
    }

    /// A file that has lost its name may get one again: what was forgotten would be read as a new file.
    fn may_come_back(&self, tail: &Tail<FileState>, now: Instant) -> bool {
        let within = |limit| {
            tail.nameless_since
                .is_some_and(|since| now.saturating_duration_since(since) < limit)
        };
        // A compressed file that nobody has looked into may be this one.
        within(NAMELESS_QUIET)
            || self.has_name(tail, now)
            || self.unknown_twins().next().is_some()
            || (!self.is_listing_believed() && within(UNSEEN_QUIET))
    }

    /// The file at `at` was read to its end and gets no more bytes.
    pub(super) fn finish(&mut self, at: usize, place: &Place, desk: &mut Desk) {
        let tail = &mut self.chain.tails_mut()[at];
        if let (Some(file), Some(state)) = (&mut tail.state, &mut self.state) {
            let urgent = tail.name.is_none() && file.held_bytes() > 0;
            desk.reader.set_urgent(urgent);
            desk.reader.on_file_end(file, state, desk.now);
        }
        if mutant::is(Mutant::PartialDroppedAtRotation)
            && let Some(state) = &mut self.state
        {
            state.partials = Partials::default();
        }
        tail.finished = true;
        desk.dirty = true;
        desk.active = true;
        let (key, is_gz) = (tail.key, matches!(tail.kind, LogKind::Compressed { .. }));
        if is_gz && !tail.compressed {
            self.compare_footer(at, place, desk);
        } else if tail.compressed {
            self.close(key, desk);
        }
    }

    /// A file that was read as plain text has come back compressed: was everything read?
    fn compare_footer(&mut self, at: usize, place: &Place, desk: &mut Desk) {
        let tail = &mut self.chain.tails_mut()[at];
        let Some(name) = &tail.name else { return };
        let read = tail.state.as_ref().map_or(0, FileState::read_offset);
        let path = format!("{}/{name}", place.path);
        match desk.folders.gzip_size(&path) {
            Ok(size) if size != read as u32 => {
                info!(
                    path,
                    read, "the compressed file has more than was read; going on there"
                );
                tail.finished = false;
            }
            Ok(_) => {}
            Err(error) if is_about_the_file(&error) => {}
            // Compared again at the next listing.
            Err(error) => {
                on_error(tail, place, desk, &error);
                return;
            }
        }
        become_compressed(tail);
        let key = tail.key;
        self.close(key, desk);
    }

    /// The process ends, or the file was given up: groups that began in a file without a name could not be read again.
    pub(super) fn close_lost_groups(&mut self, at: usize, desk: &mut Desk) {
        let Some(file) = self.chain.tails()[at].state.as_ref().map(FileState::id) else {
            return;
        };
        let Some(state) = &mut self.state else { return };
        let lost = |(stream, group): (Stream, &Group)| (group.span.file == file).then_some(stream);
        let streams: Vec<Stream> = state.partials.open().filter_map(lost).collect();
        for stream in streams {
            desk.reader.close_group(state, stream, desk.now);
            desk.dirty = true;
        }
    }

    fn close_groups(&mut self, desk: &mut Desk) {
        if let Some(state) = &mut self.state
            && state.partials.open().next().is_some()
        {
            desk.reader.on_instance_end(state, desk.now);
            desk.dirty = true;
        }
    }

    /// Records that groups without an end are cut here, and waits for that to be durable.
    fn plan_cuts(&mut self, desk: &mut Desk) {
        let Some(state) = self.state.as_ref().filter(|_| self.cut.is_none()) else {
            return;
        };
        let idle: Vec<_> = state.partials.idle(desk.partial_idle, desk.now).collect();
        if idle.is_empty() {
            return;
        }
        for (stream, last) in idle.iter().filter(|_| !mutant::is(Mutant::CutNotDurable)) {
            let files = self
                .chain
                .tails_mut()
                .iter_mut()
                .filter_map(|tail| tail.state.as_mut());
            for file in files.filter(|file| file.id() == last.file) {
                file.add_cut(Cut {
                    stream: *stream,
                    end: last.end,
                });
            }
        }
        let streams = idle.into_iter().map(|(stream, _)| stream).collect();
        self.cut = Some(PendingCut {
            save: desk.next_save(),
            streams,
        });
    }

    /// True while a cut is not durable; makes the cut when it is.
    fn waits_for_cut(&mut self, desk: &mut Desk) -> bool {
        let Some(cut) = &self.cut else { return false };
        if cut.save > desk.saved && !mutant::is(Mutant::CutNotDurable) {
            // A save that failed is asked for again.
            desk.dirty = true;
            desk.urgent = true;
            return true;
        }
        let streams = self.cut.take().map(|cut| cut.streams).unwrap_or_default();
        if let Some(state) = &mut self.state {
            for stream in streams {
                desk.reader.close_group(state, stream, desk.now);
            }
        }
        false
    }

    pub(super) fn forget_over(&mut self, desk: &mut Desk) {
        let now = desk.now;
        let (mut may_come_back, mut deleted) = (Vec::new(), Vec::new());
        for tail in self.chain.tails().iter().filter(|tail| tail.name.is_none()) {
            if self.may_come_back(tail, now) {
                may_come_back.push(tail.key);
            }
            let lately = |since| now.saturating_duration_since(since) < NAMELESS_QUIET;
            // One that was given up goes as soon as its loss is on record, and not before.
            let may_go = tail.wait_for_save.map_or_else(
                || !tail.nameless_since.is_some_and(lately),
                |save| save <= desk.saved,
            );
            if tail.finished && may_go && !self.has_name(tail, now) {
                deleted.push(tail.key);
            }
        }
        // A descriptor of a deleted file keeps its blocks on the disk.
        for key in deleted {
            self.close(key, desk);
        }
        let state = self.state.as_ref();
        let is_over = |tail: &Tail<FileState>| {
            !may_come_back.contains(&tail.key)
                && tail.wait_for_save.is_none_or(|save| save <= desk.saved)
                && tail.state.as_ref().is_none_or(|file| {
                    let id = file.id();
                    desk.tracker.lowest(id).is_none()
                        && !desk.tracker.has_part(id)
                        && desk.reader.open_range(id).is_none()
                        && state.is_none_or(|state| state.partials.lowest(id).is_none())
                })
        };
        for tail in self.chain.forget(is_over) {
            desk.dirty = true;
            if let Some(file) = tail.state {
                desk.acked_ms.remove(&file.id());
            }
            if self.descriptors.remove(&tail.key).is_some() {
                desk.open_files -= 1;
            }
        }
    }

    pub(super) fn idle_descriptors(&self) -> impl Iterator<Item = (Instant, TailKey)> + '_ {
        self.chain.tails().iter().filter_map(|tail| {
            let descriptor = self.descriptors.get(&tail.key)?;
            let at_end = tail
                .state
                .as_ref()
                .is_none_or(|file| file.read_offset() >= tail.size);
            ((tail.name.is_some() || tail.finished) && !tail.compressed && at_end)
                .then_some((descriptor.used, tail.key))
        })
    }

    pub(super) fn close(&mut self, key: TailKey, desk: &mut Desk) {
        if self.descriptors.remove(&key).is_some() {
            desk.open_files -= 1;
            // The inode of a file without name and descriptor may soon be another file's.
            let nameless = |tail: &&mut Tail<FileState>| tail.key == key && tail.name.is_none();
            if let Some(tail) = self.chain.tails_mut().iter_mut().find(nameless) {
                tail.inode = Inode::default();
            }
        }
    }
}

/// From now on its bytes come from the compressed file.
pub(super) fn become_compressed(tail: &mut Tail<FileState>) {
    tail.compressed = true;
    tail.inode = Inode::default();
}
