//! One container directory: its instances, its listing, its poll.

use super::TICK;
use super::desk::Desk;
use super::instance::{Instance, Served};
use crate::enrich::cache::{self, Lookup};
use crate::flow::fair::Credit;
use crate::record::Metadata;
use crate::source::disk::DirStamp;
use crate::source::pod_path::PodName;
use crate::source::tail::{Listed, TailKey};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// Quiet containers are polled at least this often.
const LONGEST_POLL: Duration = Duration::from_secs(1);
/// Containers that gave so much in one poll are polled at the next tick, slower ones at every second.
const HOT_BYTES: usize = 64 * 1024;
/// So many instances may have come and gone between two listings.
const MOST_MISSED: u32 = 1_000;
/// A directory that was changed so shortly before a listing may change again within the same mtime.
const MTIME_GRAIN_MS: i128 = 50;

/// Where a container's files are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) pod: PodName,
    pub(super) container: Arc<str>,
    /// Below `pod_logs_dir`.
    pub(super) path: Arc<str>,
}

/// One container directory.
pub(super) struct Container {
    pub(super) place: Place,
    /// In boxes: a node of the map has room for eleven, and most containers have one.
    pub(super) instances: BTreeMap<u32, Box<Instance>>,
    pub(super) next_poll: Instant,
    /// Nothing was read for want of room: due as soon as there is some.
    pub(super) waits_for_room: bool,
    pub(super) read_bytes: u64,
    credit: Credit,
    interval: Duration,
    stamp: Option<DirStamp>,
    listed_at: Option<Instant>,
    pub(super) must_list: bool,
    /// It was there when the agent started.
    initial: bool,
    /// The highest restart number that was ever seen.
    highest: Option<u32>,
    gone: bool,
    problem: Option<String>,
}

impl Container {
    pub(super) fn new(
        pod: PodName,
        container: Arc<str>,
        path: Arc<str>,
        initial: bool,
        now: Instant,
    ) -> Container {
        Container {
            place: Place { pod, container, path },
            instances: BTreeMap::new(),
            next_poll: now,
            waits_for_room: false,
            read_bytes: 0,
            credit: Credit::default(),
            interval: TICK,
            stamp: None,
            listed_at: None,
            must_list: true,
            initial,
            highest: None,
            gone: false,
            problem: None,
        }
    }

    pub(super) fn must_list(&mut self) {
        self.must_list = true;
    }

    pub(super) fn wake(&mut self, now: Instant) {
        self.next_poll = self.next_poll.min(now);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_poll <= now
    }

    /// The rescan saw the directory, or did not.
    pub(super) fn on_presence(&mut self, present: bool) {
        if self.gone == present {
            self.gone = !present;
            self.must_list = true;
            self.interval = TICK;
        }
    }

    pub(super) fn waits_for_save(&self) -> bool {
        self.instances.values().any(|instance| instance.waits_for_save())
    }

    /// The directory is gone and nothing of it is needed.
    pub(super) fn is_over(&self) -> bool {
        self.gone && self.listed_at.is_some() && !self.must_list && self.instances.is_empty()
    }

    /// No log file was ever listed in it.
    pub(super) fn is_unseen(&self) -> bool {
        self.highest.is_none()
    }

    /// Every file of the instance has its identity, as of the last listing.
    pub(super) fn knows_all(&self, restart: u32) -> bool {
        self.listed_at.is_some()
            && !self.must_list
            && self.problem.is_none()
            && self
                .instances
                .get(&restart)
                .is_none_or(|instance| instance.knows_all())
    }

    /// How many files it has.
    pub(super) fn files(&self) -> usize {
        let instances = self.instances.values();
        instances.map(|instance| instance.chain.tails().len()).sum()
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.instances
            .values()
            .map(|instance| instance.held_bytes())
            .sum()
    }

    /// Lists when due, reads a quantum of each instance when allowed, and sets the next poll.
    pub(super) fn poll(&mut self, desk: &mut Desk, may_read: bool) {
        self.list_when_due(desk);
        self.find_metadata(desk);
        let mut served = Served::default();
        if may_read {
            desk.last_served.clone_from(&self.place.path);
            let newest = self.instances.keys().next_back().copied();
            for (restart, instance) in &mut self.instances {
                let superseded = newest.is_some_and(|newest| newest > *restart);
                let now_served = instance.serve(&self.place, desk, &mut self.credit, superseded, self.gone);
                served.bytes += now_served.bytes;
                served.again = [served.again, now_served.again].into_iter().flatten().min();
                self.must_list |= now_served.stale;
            }
        }
        self.read_bytes += served.bytes as u64;
        desk.active |= served.bytes > 0;
        self.forget_over(desk);
        self.schedule(&served, may_read, desk);
    }

    fn schedule(&mut self, served: &Served, may_read: bool, desk: &Desk) {
        self.interval = match served.bytes {
            0 => (self.interval * 2).min(LONGEST_POLL),
            bytes if bytes < HOT_BYTES => TICK * 2,
            _ => TICK,
        };
        self.waits_for_room = !may_read;
        if !may_read {
            self.interval = TICK;
        }
        if let Some(again) = served.again {
            self.next_poll = again;
            return;
        }
        let since = (desk.now + self.interval).saturating_duration_since(desk.epoch);
        let ticks = since.as_nanos() / TICK.as_nanos();
        self.next_poll = desk.epoch + TICK * u32::try_from(ticks).unwrap_or(u32::MAX);
        if self.next_poll <= desk.now {
            self.next_poll = desk.now + TICK;
        }
    }

    /// Lists the files when the directory has changed since, or long ago.
    pub(super) fn list_when_due(&mut self, desk: &mut Desk) {
        let interval = desk.rescan_interval;
        let stale = self
            .listed_at
            .is_none_or(|at| desk.now.saturating_duration_since(at) >= interval);
        let stamp = desk.folders.stamp(&self.place.path).ok();
        let unix_ms = i128::from(desk.unix_ms);
        let settled = |stamp: &DirStamp| unix_ms - stamp.changed / 1_000_000 > MTIME_GRAIN_MS;
        // Neither a directory that is gone nor one that was just changing can be said to be the same.
        let same = stamp.is_some() && stamp == self.stamp;
        if !stale && !self.must_list && same {
            return;
        }
        match desk.folders.files(&self.place.path) {
            Ok(files) => self.on_listing(files, desk),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.on_listing(Vec::new(), desk),
            Err(error) => return desk.on_problem(&mut self.problem, &self.place.path, &error),
        }
        self.problem = None;
        self.must_list = false;
        self.listed_at = Some(desk.now);
        self.stamp = stamp.filter(settled);
    }

    fn on_listing(&mut self, files: Vec<Listed>, desk: &mut Desk) {
        let mut by_restart: BTreeMap<u32, Vec<Listed>> = BTreeMap::new();
        for restart in self.instances.keys() {
            by_restart.insert(*restart, Vec::new());
        }
        for file in files {
            by_restart.entry(file.log.restart).or_default().push(file);
        }
        if self.listed_at.is_none() {
            let PodName { uid, .. } = &self.place.pod;
            self.highest = desk.registry.take_highest(uid, &self.place.container);
        }
        self.count_missed(by_restart.keys().copied(), desk);
        for (restart, files) in by_restart {
            let instance = self
                .instances
                .entry(restart)
                .or_insert_with(|| Box::new(Instance::new(&self.place, restart, desk.now)));
            let skip_old = desk.start_at_end && self.initial && self.listed_at.is_none();
            instance.on_listing(files, skip_old, &self.place, desk);
        }
    }

    /// Restart numbers between the highest that was known and those that are there now: such instances came and went.
    fn count_missed(&mut self, present: impl Iterator<Item = u32>, desk: &mut Desk) {
        for restart in present {
            let missed = self
                .highest
                .map_or(0, |highest| restart.saturating_sub(highest).saturating_sub(1));
            if missed > 0 {
                warn!(
                    path = &*self.place.path,
                    missed, "container instances came and went before their logs were seen"
                );
            }
            // A number out of all proportion is no kubelet's.
            desk.on_never_seen(missed.min(MOST_MISSED) as usize);
            self.highest = self.highest.max(Some(restart));
        }
    }

    /// Metadata changed: fragments are made anew, and those who wait may go on.
    pub(super) fn on_metadata(&mut self, desk: &mut Desk) {
        let mut waits = false;
        for instance in self.instances.values_mut() {
            waits |= instance.state.is_none();
            if instance.state.is_some() {
                let lookup = lookup(&self.place, instance.restart(), desk);
                instance.on_metadata(lookup, &self.place, desk);
            }
        }
        if waits {
            self.wake(desk.now);
        }
    }

    fn find_metadata(&mut self, desk: &mut Desk) {
        for instance in self
            .instances
            .values_mut()
            .filter(|instance| instance.state.is_none())
        {
            let lookup = lookup(&self.place, instance.restart(), desk);
            instance.on_metadata(lookup, &self.place, desk);
        }
    }

    /// Files that nothing holds any more, and instances without files.
    fn forget_over(&mut self, desk: &mut Desk) {
        let newest = self.instances.keys().next_back().copied();
        let gone = self.gone;
        self.instances.retain(|restart, instance| {
            instance.forget_over(desk);
            let may_go = gone || newest.is_some_and(|newest| newest > *restart);
            let over = may_go && instance.is_over();
            if over {
                for entry in desk.registry.forget(&instance.key) {
                    desk.on_expired(&entry);
                }
                desk.dirty = true;
            }
            !over
        });
    }

    /// Descriptors that may be closed: their files have a name and were read to the end.
    pub(super) fn idle_descriptors(&self) -> impl Iterator<Item = (Instant, u32, TailKey)> + '_ {
        self.instances.iter().flat_map(|(restart, instance)| {
            instance
                .idle_descriptors()
                .map(|(used, key)| (used, *restart, key))
        })
    }

    pub(super) fn close(&mut self, restart: u32, key: TailKey, desk: &mut Desk) {
        if let Some(instance) = self.instances.get_mut(&restart) {
            instance.close(key, desk);
        }
    }

    /// Reads a quantum of files without a name; true when there is more.
    pub(super) fn drain_deleted(&mut self, desk: &mut Desk) -> bool {
        let mut more = false;
        for instance in self.instances.values_mut() {
            more |= instance.drain_deleted(&self.place, desk);
        }
        more
    }
}

/// What is known of an instance; the container id may come from the name of kubelet's link.
fn lookup(place: &Place, restart: u32, desk: &mut Desk) -> Lookup {
    let asked = cache::Instance {
        namespace: &place.pod.namespace,
        pod: &place.pod.pod,
        uid: &place.pod.uid,
        container: &place.container,
        restart,
    };
    let mut found = desk.directory.lookup(&asked);
    let (Lookup::Known(metadata)
    | Lookup::Wait(metadata)
    | Lookup::Missing(metadata)
    | Lookup::Off(metadata)) = &mut found;
    link_id(metadata, place, restart, desk);
    found
}

fn link_id(metadata: &mut Metadata, place: &Place, restart: u32, desk: &mut Desk) {
    if metadata.container_id.is_none() {
        let log = format!("{}/{restart}.log", place.path);
        let PodName { namespace, pod, .. } = &place.pod;
        let asked: [&str; 4] = [pod, namespace, &place.container, &log];
        metadata.container_id = desk.links.container_id(&desk.folders, desk.turns, asked);
    }
}
