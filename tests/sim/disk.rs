//! A disk in memory that is as bad as a real one may be.
//!
//! What is written is in the page cache; what was synced is on the disk; names are durable when their
//! directory was synced. A [`SimDisk::power_cut`] keeps what is durable and any part of the rest, by the
//! rules of [`power`]. Without faults it answers as the kernel does, errors included; `crash::real_disk`
//! compares both. Operations of the agent go through an [`AgentDisk`], which fails and crashes
//! when it is told to; kubelet and runtimes ([`NodeDisk`]) never see a fault. Nobody syncs log files: what
//! was appended to one in the last [`WRITEBACK_NS`] may be gone after a power cut, or be NUL bytes. Names
//! and compressed files of the node are kept.

#[path = "disk/power.rs"]
pub(crate) mod power;

use longshore::disk::{Entry, FileSystem, How, Kind, OpenFile, Space, Stat};
use longshore_kit::chance::Chance;
use longshore_kit::simkubelet::disk::{NodeDisk, NodeFile};
use power::{Change, Images, NameOp, Names, Permitted, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Two changes of a directory within so many nanoseconds have one mtime (a kernel's tick).
const TICK_NS: i128 = 4_000_000;
/// The kernel writes back what was written so many nanoseconds ago (`dirty_expire_centisecs`).
const WRITEBACK_NS: u64 = 30_000_000_000;
/// What the kernel says where a descriptor is not for that.
const EBADF: i32 = 9;
/// Where the agent keeps its state; everything else is the node's.
pub(crate) const STATE_DIR: &str = "/state";

/// Operations of the agent that can fail, or in which it can die.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum OpKind {
    List,
    Stat,
    Open,
    Read,
    Create,
    Append,
    Cut,
    Sync,
    Rename,
    Remove,
    SyncFolder,
}

impl OpKind {
    pub(crate) const ALL: [OpKind; 11] = [
        OpKind::List,
        OpKind::Stat,
        OpKind::Open,
        OpKind::Read,
        OpKind::Create,
        OpKind::Append,
        OpKind::Cut,
        OpKind::Sync,
        OpKind::Rename,
        OpKind::Remove,
        OpKind::SyncFolder,
    ];
}

/// When the agent dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeathAt {
    /// In the operation after so many others.
    Count(u64),
    /// In the next operation of this kind on the state directory (on any file for kinds that only read).
    Kind(OpKind),
}

/// An operation that is to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// Of this kind.
    pub(crate) kind: OpKind,
    /// On the state directory, or on the node's files.
    pub(crate) on_state: bool,
    /// How often.
    pub(crate) times: u32,
}

#[derive(Clone, Debug)]
struct Node {
    /// Never used again, unlike the inode.
    uid: u64,
    kind: Kind,
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What was done to it since it was synced.
    changes: Vec<Change>,
    target: PathBuf,
    links: u64,
    /// Descriptors of the agent.
    held: u64,
    /// Descriptors of runtimes.
    open: u64,
    changed: i128,
    /// When runtimes appended (uptime), and the size before that; what is older than [`WRITEBACK_NS`] is forgotten.
    appended: Vec<(u64, usize)>,
}

/// What a power cut has left of a log file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutLog {
    pub(crate) file: u64,
    /// So many bytes of it are the ones that were written.
    pub(crate) kept: u64,
    /// Its size; the rest are NUL bytes.
    pub(crate) len: u64,
}

#[derive(Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    names: Names,
    durable: Names,
    pending: Vec<NameOp>,
    free: Vec<u64>,
    next_ino: u64,
    next_uid: u64,
    now_ns: i128,
    uptime_ns: u64,
    chance: Chance,
    failures: Vec<Failure>,
    death: Option<DeathAt>,
    dead_in: Option<(OpKind, bool)>,
    generation: u64,
    capacity: u64,
    reached: BTreeMap<String, u64>,
    last_append: (u64, u64),
    /// The largest size of each file that the agent has seen, by uid.
    sizes: BTreeMap<u64, u64>,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct SimDisk {
    state: Mutex<State>,
}

/// The disk as one process sees it: when the process dies, so does this.
#[derive(Debug)]
pub(crate) struct AgentDisk {
    disk: Arc<SimDisk>,
    generation: u64,
}

#[derive(Debug)]
struct AgentFile {
    disk: Arc<SimDisk>,
    generation: u64,
    ino: u64,
    on_state: bool,
    writable: bool,
}

#[derive(Debug)]
struct RuntimeFile {
    disk: Arc<SimDisk>,
    ino: u64,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Arc<SimDisk> {
        let state = State {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            free: Vec::new(),
            next_ino: 10,
            next_uid: 1,
            now_ns: 0,
            uptime_ns: 0,
            chance: Chance::new(seed),
            failures: Vec::new(),
            death: None,
            dead_in: None,
            generation: 0,
            capacity: u64::MAX,
            reached: BTreeMap::new(),
            last_append: (0, 0),
            sizes: BTreeMap::new(),
        };
        let disk = Arc::new(SimDisk {
            state: Mutex::new(state),
        });
        let mut state = disk.lock();
        state.make_dirs(Path::new(STATE_DIR));
        state.durable = state.names.clone();
        state.durable.retain(|path, _| is_state(path));
        state.pending.clear();
        drop(state);
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The disk for a process that starts now. A death that waits for a process strikes this one.
    pub(crate) fn agent(self: &Arc<Self>) -> Arc<AgentDisk> {
        let mut state = self.lock();
        state.generation += 1;
        state.dead_in = None;
        Arc::new(AgentDisk {
            disk: Arc::clone(self),
            generation: state.generation,
        })
    }

    /// What the wall clock says, and for how long the world has been there.
    pub(crate) fn set_now(&self, now_ns: i128, uptime_ns: u64) {
        let mut state = self.lock();
        (state.now_ns, state.uptime_ns) = (now_ns, uptime_ns);
    }

    pub(crate) fn die(&self, at: DeathAt) {
        self.lock().death = Some(at);
    }

    /// In which operation the process has died, and whether on the state directory.
    pub(crate) fn dead_in(&self) -> Option<(OpKind, bool)> {
        self.lock().dead_in
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().failures.push(failure);
    }

    /// Room for the state directory, in bytes.
    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.failures.clear();
        state.death = None;
        state.capacity = u64::MAX;
    }

    /// Bytes of the state directory.
    pub(crate) fn state_bytes(&self) -> u64 {
        self.lock().used()
    }

    /// What was reached, and how often.
    pub(crate) fn reached(&self) -> BTreeMap<String, u64> {
        self.lock().reached.clone()
    }

    /// Operations of the agent that have failed so far.
    pub(crate) fn troubles(&self) -> u64 {
        let state = self.lock();
        let of_agent = |what: &&String| what.starts_with("state: ") || what.starts_with("logs: ");
        let reached = state.reached.iter().filter(|(what, _)| of_agent(what));
        reached.map(|(_, count)| count).sum()
    }

    /// The process is gone, the kernel is not: everything that was written stays.
    pub(crate) fn kill(&self) {
        self.lock().bury();
    }

    /// The power is gone: what was not synced stays in parts, or not. Returns the log files that have lost something.
    pub(crate) fn power_cut(&self) -> Vec<CutLog> {
        let mut state = self.lock();
        state.bury();
        state.cut_power();
        state.cut_logs()
    }

    /// What may be seen of the state directory when the power fails now.
    pub(crate) fn permitted(&self) -> Permitted {
        self.lock().permitted()
    }

    /// All that is to be seen of the state directory.
    pub(crate) fn tree(&self) -> Tree {
        let state = self.lock();
        let ours = state.names.iter().filter(|(path, _)| is_state(path));
        ours.map(|(path, ino)| {
            let node = &state.nodes[ino];
            (
                path.clone(),
                (node.kind == Kind::File).then(|| node.bytes.clone()),
            )
        })
        .collect()
    }

    /// The file that was appended to last by the node: its uid, and the offset after that.
    pub(crate) fn last_append(&self) -> (u64, u64) {
        self.lock().last_append
    }

    /// The uid of the file with this name.
    pub(crate) fn uid(&self, path: &Path) -> Option<u64> {
        let state = self.lock();
        state.names.get(path).map(|ino| state.nodes[ino].uid)
    }

    /// The file's bytes are others from now on: it gets another uid, which is returned, and keeps its inode.
    pub(crate) fn renew(&self, uid: u64) -> u64 {
        let mut state = self.lock();
        state.next_uid += 1;
        let fresh = state.next_uid;
        if let Some(node) = state.nodes.values_mut().find(|node| node.uid == uid) {
            node.uid = fresh;
        }
        fresh
    }

    /// Whether a name leads to the file.
    pub(crate) fn has_name(&self, uid: u64) -> bool {
        let state = self.lock();
        state.nodes.values().any(|node| node.uid == uid && node.links > 0)
    }

    /// The largest size of the file that the agent has ever seen.
    pub(crate) fn seen(&self, uid: u64) -> u64 {
        self.lock().sizes.get(&uid).copied().unwrap_or(0)
    }

    /// The files below a folder, with inode, uid and size: for traces.
    pub(crate) fn paths(&self, below: &str) -> Vec<String> {
        let state = self.lock();
        let files = state.names.iter().filter(|(path, _)| path.starts_with(below));
        let text = |(path, ino): (&PathBuf, &u64)| {
            let node = &state.nodes[ino];
            let file = node.kind == Kind::File;
            file.then(|| {
                format!(
                    "{} ino={ino} uid={} len={}",
                    path.display(),
                    node.uid,
                    node.bytes.len()
                )
            })
        };
        files.filter_map(text).collect()
    }

    /// A hash of every name and every byte.
    pub(crate) fn all_bytes(&self) -> u64 {
        let state = self.lock();
        let mut hasher = DefaultHasher::new();
        for (path, ino) in &state.names {
            (path, ino, &state.nodes[ino].bytes).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What the agent knows of sizes from now on: what it had made durable.
    pub(crate) fn forget_sizes(&self, durable: &BTreeMap<u64, u64>) {
        self.lock().sizes.clone_from(durable);
    }

    /// The uid of the file with this inode.
    pub(crate) fn uid_of(&self, ino: u64) -> Option<u64> {
        self.lock().nodes.get(&ino).map(|node| node.uid)
    }

    /// The bytes of a file, if it is there.
    pub(crate) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        state.names.get(path).map(|ino| state.nodes[ino].bytes.clone())
    }
}

fn is_state(path: &Path) -> bool {
    path.starts_with(STATE_DIR)
}

fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl State {
    /// Why a name leads nowhere.
    fn nowhere(&self, path: &Path) -> io::Error {
        let above = path.ancestors().skip(1).find_map(|above| self.names.get(above));
        match above.map(|ino| self.nodes[ino].kind) {
            Some(Kind::File | Kind::Other) => ErrorKind::NotADirectory.into(),
            _ => missing(),
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| self.nowhere(path))
    }

    /// The directory with this name.
    fn folder(&self, path: &Path) -> io::Result<u64> {
        let ino = self.find(path)?;
        match self.nodes[&ino].kind {
            Kind::File | Kind::Other => Err(ErrorKind::NotADirectory.into()),
            Kind::Folder | Kind::Link => Ok(ino),
        }
    }

    /// The directory in which a name is to be.
    fn parent(&self, path: &Path) -> io::Result<u64> {
        self.folder(path.parent().ok_or_else(missing)?)
    }

    /// The changes of names in a directory are durable, and those before them that they go on from.
    fn sync_names(&mut self, folder: &Path) {
        let mut durable = Vec::new();
        let mut needed: BTreeSet<PathBuf> = BTreeSet::new();
        for at in (0..self.pending.len()).rev() {
            let (path, from) = self.pending[at].paths();
            let paths: Vec<PathBuf> = std::iter::once(path).chain(from).map(Path::to_owned).collect();
            if path.parent() == Some(folder) || paths.iter().any(|path| needed.contains(path)) {
                needed.extend(paths);
                durable.push(self.pending.remove(at));
            }
        }
        durable.iter().rev().for_each(|op| op.apply(&mut self.durable));
        let inodes: Vec<u64> = self.nodes.keys().copied().collect();
        inodes.into_iter().for_each(|ino| self.free_if_unused(ino));
    }

    /// The bytes of a file are changed, in the page cache.
    fn change(&mut self, ino: u64, change: Change) {
        let node = self.nodes.get_mut(&ino).expect("it is there");
        power::apply(&change, &mut node.bytes);
        node.changes.push(change);
    }

    fn touch_parent(&mut self, path: &Path) {
        let now = self.now_ns / TICK_NS * TICK_NS;
        if let Some(ino) = path.parent().and_then(|parent| self.names.get(parent))
            && let Some(node) = self.nodes.get_mut(ino)
        {
            node.changed = now;
        }
    }

    fn make_node(&mut self, kind: Kind) -> u64 {
        // An inode that is free is used again at once, as ext4 likes to.
        let ino = match self.free.pop() {
            Some(ino) if self.chance.hit(0.7) => {
                *self.reached.entry("inode reused".into()).or_default() += 1;
                ino
            }
            _ => {
                self.next_ino += 1;
                self.next_ino
            }
        };
        self.next_uid += 1;
        let node = Node {
            uid: self.next_uid,
            kind,
            bytes: Vec::new(),
            durable: Vec::new(),
            changes: Vec::new(),
            target: PathBuf::new(),
            links: 0,
            held: 0,
            open: 0,
            changed: self.now_ns / TICK_NS * TICK_NS,
            appended: Vec::new(),
        };
        self.nodes.insert(ino, node);
        ino
    }

    fn add_name(&mut self, path: &Path, ino: u64) {
        if let Some(old) = self.names.insert(path.to_owned(), ino) {
            self.unlink(old);
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.links += 1;
        }
        self.touch_parent(path);
    }

    fn unlink(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.links -= 1;
        }
        self.free_if_unused(ino);
    }

    fn free_if_unused(&mut self, ino: u64) {
        let unused = self
            .nodes
            .get(&ino)
            .is_some_and(|node| node.links == 0 && node.open == 0 && node.held == 0);
        // What the durable names lead to comes back with the power.
        if unused && !self.durable.values().any(|kept| *kept == ino) && !self.is_pending(ino) {
            self.nodes.remove(&ino);
            self.free.push(ino);
        }
    }

    fn is_pending(&self, ino: u64) -> bool {
        self.pending.iter().any(|op| match op {
            NameOp::Add(_, other) | NameOp::Rename(_, _, other) => *other == ino,
            NameOp::Remove(_) => false,
        })
    }

    fn remove_name(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.names.remove(path).ok_or_else(missing)?;
        self.touch_parent(path);
        self.unlink(ino);
        Ok(())
    }

    fn move_name(&mut self, from: &Path, to: &Path) -> io::Result<u64> {
        let ino = self.names.remove(from).ok_or_else(missing)?;
        if let Some(old) = self.names.insert(to.to_owned(), ino) {
            self.unlink(old);
        }
        self.touch_parent(from);
        self.touch_parent(to);
        Ok(ino)
    }

    fn make_dirs(&mut self, path: &Path) {
        let mut folder = PathBuf::new();
        for part in path.components() {
            folder.push(part);
            if !self.names.contains_key(&folder) {
                let ino = self.make_node(Kind::Folder);
                self.add_name(&folder, ino);
                if is_state(&folder) {
                    self.pending.push(NameOp::Add(folder.clone(), ino));
                }
            }
        }
    }

    fn children(&self, folder: &Path) -> Vec<(PathBuf, u64)> {
        self.names
            .range(folder.to_owned()..)
            .skip_while(|(path, _)| *path == folder)
            .take_while(|(path, _)| path.starts_with(folder))
            .filter(|(path, _)| path.parent() == Some(folder))
            .map(|(path, ino)| (path.clone(), *ino))
            .collect()
    }

    fn used(&self) -> u64 {
        let in_state = self.names.iter().filter(|(path, _)| is_state(path));
        in_state.map(|(_, ino)| self.nodes[ino].bytes.len() as u64).sum()
    }

    fn stat(&mut self, ino: u64, seen: bool) -> Stat {
        let node = self.nodes.get_mut(&ino).expect("a node that somebody holds");
        if seen && node.kind == Kind::File {
            let len = node.bytes.len() as u64;
            let known = self.sizes.entry(node.uid).or_default();
            *known = len.max(*known);
        }
        Stat {
            kind: node.kind,
            dev: 1,
            ino,
            // Directories have a size, too: one block on most file systems.
            len: if node.kind == Kind::Folder {
                4096
            } else {
                node.bytes.len() as u64
            },
            links: node.links,
            changed: node.changed,
        }
    }

    /// An operation of the agent begins. It may be its last one.
    fn enter(&mut self, generation: u64, kind: OpKind, on_state: bool) -> io::Result<()> {
        if generation != self.generation || self.dead_in.is_some() {
            return Err(dead());
        }
        let dies = match &mut self.death {
            Some(DeathAt::Count(0)) => true,
            Some(DeathAt::Count(left)) => {
                *left -= 1;
                false
            }
            Some(DeathAt::Kind(wanted)) => *wanted == kind && (on_state || kind <= OpKind::Read),
            None => false,
        };
        if dies {
            self.death = None;
            self.dead_in = Some((kind, on_state));
            // It may have got through just before.
            return if self.chance.hit(0.5) { Ok(()) } else { Err(dead()) };
        }
        let failure = self
            .failures
            .iter()
            .position(|failure| failure.kind == kind && failure.on_state == on_state);
        if let Some(at) = failure {
            self.failures[at].times -= 1;
            if self.failures[at].times == 0 {
                self.failures.remove(at);
            }
            let place = if on_state { "state" } else { "logs" };
            *self
                .reached
                .entry(format!("{place}: {kind:?} fails"))
                .or_default() += 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn bury(&mut self) {
        self.generation += 1;
        self.death = None;
        self.dead_in = None;
        let inodes: Vec<u64> = self.nodes.keys().copied().collect();
        for ino in inodes {
            if let Some(node) = self.nodes.get_mut(&ino) {
                node.held = 0;
            }
            self.free_if_unused(ino);
        }
    }

    /// What may be seen of the state directory when the power fails now.
    fn permitted(&self) -> Permitted {
        let images = |node: &Node| Images::new(&node.durable, &node.changes);
        let of_kind = |kind: Kind| self.nodes.iter().filter(move |(_, node)| node.kind == kind);
        Permitted {
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            files: of_kind(Kind::File)
                .map(|(ino, node)| (*ino, images(node)))
                .collect(),
            folders: of_kind(Kind::Folder).map(|(ino, _)| *ino).collect(),
        }
    }

    fn cut_power(&mut self) {
        let drawn = self.permitted().draw(&mut self.chance);
        for what in drawn.lost {
            *self.reached.entry(what.into()).or_default() += 1;
        }
        self.pending.clear();
        // The node's own names stay.
        self.names.retain(|path, _| !is_state(path));
        self.names
            .extend(drawn.names.iter().map(|(path, ino)| (path.clone(), *ino)));
        self.durable = drawn.names;
        for node in self.nodes.values_mut() {
            node.links = 0;
        }
        for ino in self.names.values() {
            if let Some(node) = self.nodes.get_mut(ino) {
                node.links += 1;
            }
        }
        for (ino, bytes) in drawn.bytes {
            if let Some(node) = self.nodes.get_mut(&ino) {
                node.changes.clear();
                node.durable.clone_from(&bytes);
                node.bytes = bytes;
            }
        }
        let inodes: Vec<u64> = self.nodes.keys().copied().collect();
        inodes.into_iter().for_each(|ino| self.free_if_unused(ino));
    }

    /// Nobody syncs log files: each keeps any part of what was appended lately, maybe with NUL bytes behind it.
    fn cut_logs(&mut self) -> Vec<CutLog> {
        let (mut cuts, uptime) = (Vec::new(), self.uptime_ns);
        // What kubelet compresses is older than that.
        let compressed = |path: &PathBuf| {
            let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
            self.names.contains_key(&with(".gz")) || self.names.contains_key(&with(".tmp"))
        };
        let safe: BTreeSet<u64> = self
            .names
            .iter()
            .filter(|(path, _)| compressed(path))
            .map(|(_, ino)| *ino)
            .collect();
        for (_, node) in self.nodes.iter_mut().filter(|(ino, _)| !safe.contains(ino)) {
            node.appended.retain(|(at, _)| at + WRITEBACK_NS > uptime);
            let Some((_, least)) = node.appended.first().copied() else {
                continue;
            };
            node.appended.clear();
            let unsynced = node.bytes.len().saturating_sub(least);
            if unsynced == 0 || self.chance.hit(0.4) {
                continue;
            }
            let kept = least + self.chance.below(unsynced as u64) as usize;
            let lost = node.bytes.len() - kept;
            node.bytes.truncate(kept);
            let mut what = "power cut: the end of a log file is lost";
            if self.chance.hit(0.25) {
                node.bytes
                    .resize(kept + 1 + self.chance.below(lost as u64) as usize, 0);
                what = "power cut: the end of a log file is NUL";
            }
            *self.reached.entry(what.into()).or_default() += 1;
            cuts.push(CutLog {
                file: node.uid,
                kept: kept as u64,
                len: node.bytes.len() as u64,
            });
        }
        cuts
    }
}

impl AgentDisk {
    fn enter(&self, kind: OpKind, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.lock();
        state.enter(self.generation, kind, is_state(path))?;
        Ok(state)
    }

    fn open_ino(&self, state: &mut State, ino: u64, path: &Path, how: How) -> Box<dyn OpenFile> {
        state.nodes.get_mut(&ino).expect("it has a name").held += 1;
        Box::new(AgentFile {
            disk: Arc::clone(&self.disk),
            generation: self.generation,
            ino,
            on_state: is_state(path),
            writable: how != How::Read,
        })
    }
}

impl FileSystem for AgentDisk {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.enter(OpKind::List, folder)?;
        state.folder(folder)?;
        let entry = |(path, ino): (PathBuf, u64)| {
            Some(Entry {
                name: path.file_name()?.to_owned(),
                kind: state.nodes[&ino].kind,
            })
        };
        Ok(state.children(folder).into_iter().filter_map(entry).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let mut state = self.enter(OpKind::Stat, path)?;
        let ino = state.find(path)?;
        Ok(state.stat(ino, true))
    }

    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.enter(OpKind::Stat, path)?;
        let node = &state.nodes[&state.find(path)?];
        if node.kind != Kind::Link {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(node.target.clone())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.enter(OpKind::Stat, path)?;
        state.find(path).map(|_| path.to_owned())
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
        let path = root.join(relative);
        let mut state = self.enter(OpKind::Open, &path)?;
        let ino = state.find(&path)?;
        if state.nodes[&ino].kind != Kind::File {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(self.open_ino(&mut state, ino, &path, How::Read))
    }

    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        let exists = self.disk.lock().names.contains_key(path);
        let kind = if exists || how == How::Read {
            OpKind::Open
        } else {
            OpKind::Create
        };
        let mut state = self.enter(kind, path)?;
        let ino = match (state.names.get(path).copied(), how) {
            (None, How::Read) => return Err(state.nowhere(path)),
            (Some(_), How::New) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(ino), How::Append | How::Replace) if state.nodes[&ino].kind == Kind::Folder => {
                return Err(ErrorKind::IsADirectory.into());
            }
            (Some(ino), How::Replace) => {
                state.change(ino, Change::Cut(0));
                ino
            }
            (Some(ino), _) => ino,
            (None, _) => {
                state.parent(path)?;
                let ino = state.make_node(Kind::File);
                state.add_name(path, ino);
                state.pending.push(NameOp::Add(path.to_owned(), ino));
                ino
            }
        };
        Ok(self.open_ino(&mut state, ino, path, how))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(OpKind::Create, path)?;
        match state.names.get(path).map(|ino| state.nodes[ino].kind) {
            Some(Kind::Folder) => {}
            Some(_) => return Err(ErrorKind::AlreadyExists.into()),
            None if state.nowhere(path).kind() == ErrorKind::NotADirectory => return Err(state.nowhere(path)),
            None => state.make_dirs(path),
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter(OpKind::Rename, from)?;
        state.parent(from)?;
        state.parent(to)?;
        state.find(from)?;
        if state
            .names
            .get(to)
            .is_some_and(|ino| state.nodes[ino].kind == Kind::Folder)
        {
            let into_itself = from.starts_with(to);
            let why = if into_itself {
                ErrorKind::DirectoryNotEmpty
            } else {
                ErrorKind::IsADirectory
            };
            return Err(why.into());
        }
        let ino = state.move_name(from, to)?;
        let op = NameOp::Rename(from.to_owned(), to.to_owned(), ino);
        state.pending.push(op);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(OpKind::Remove, path)?;
        let ino = state.find(path)?;
        if state.nodes[&ino].kind == Kind::Folder {
            return Err(ErrorKind::IsADirectory.into());
        }
        // First, or the inode would be free too early.
        state.pending.push(NameOp::Remove(path.to_owned()));
        state.remove_name(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.enter(OpKind::SyncFolder, folder)?;
        state.find(folder)?;
        state.sync_names(folder);
        Ok(())
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let state = self.enter(OpKind::Stat, folder)?;
        let used = state.used();
        let total = state.capacity.min(1 << 40);
        Ok(Space {
            total,
            available: total.saturating_sub(used),
        })
    }
}

impl AgentFile {
    fn enter(&self, kind: OpKind) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.lock();
        state.enter(self.generation, kind, self.on_state)?;
        Ok(state)
    }
}

impl OpenFile for AgentFile {
    fn stat(&self) -> io::Result<Stat> {
        let mut state = self.enter(OpKind::Stat)?;
        Ok(state.stat(self.ino, true))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.enter(OpKind::Read)?;
        if state.stat(self.ino, true).kind == Kind::Folder && !buffer.is_empty() {
            return Err(ErrorKind::IsADirectory.into());
        }
        let bytes = &state.nodes[&self.ino].bytes;
        let start = (offset as usize).min(bytes.len());
        let read = buffer.len().min(bytes.len() - start);
        buffer[..read].copy_from_slice(&bytes[start..start + read]);
        Ok(read)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let entered = state.enter(self.generation, OpKind::Append, self.on_state);
        if !self.writable && !bytes.is_empty() {
            return Err(io::Error::from_raw_os_error(EBADF));
        }
        let room = state.capacity.saturating_sub(state.used());
        let mut len = bytes.len() as u64;
        // What fails or dies may have written a part.
        let mut result = Ok(());
        if let Err(error) = entered {
            if state.generation != self.generation {
                return Err(error);
            }
            len = state.chance.below(len + 1);
            result = Err(error);
        }
        if len > room {
            len = room;
            *state.reached.entry("state: disk full".into()).or_default() += 1;
            result = Err(ErrorKind::StorageFull.into());
        }
        let end = state.nodes[&self.ino].bytes.len();
        state.change(self.ino, Change::Write(end, bytes[..len as usize].to_vec()));
        result
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.enter(OpKind::Cut)?;
        if !self.writable {
            return Err(ErrorKind::InvalidInput.into());
        }
        state.change(self.ino, Change::Cut(len as usize));
        Ok(())
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        match (self.writable, len) {
            (false, _) => Err(io::Error::from_raw_os_error(EBADF)),
            (true, 0) => Err(ErrorKind::InvalidInput.into()),
            (true, _) => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock();
        if let Err(error) = state.enter(self.generation, OpKind::Sync, self.on_state) {
            // The kernel forgets the pages that it could not write: the next sync succeeds without them.
            if state.generation == self.generation && state.dead_in.is_none() {
                let evicted = state.chance.hit(0.5);
                let node = state.nodes.get_mut(&self.ino).expect("it is open");
                node.changes.clear();
                if evicted {
                    let len = node.bytes.len();
                    node.bytes = node.durable.clone();
                    node.bytes.resize(len, 0);
                }
            }
            return Err(error);
        }
        let node = state.nodes.get_mut(&self.ino).expect("it is open");
        for change in std::mem::take(&mut node.changes) {
            power::apply(&change, &mut node.durable);
        }
        Ok(())
    }
}

impl Drop for AgentFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        // The descriptors of a dead process are closed already.
        if state.generation == self.generation
            && let Some(node) = state.nodes.get_mut(&self.ino)
        {
            node.held = node.held.saturating_sub(1);
            state.free_if_unused(self.ino);
        }
    }
}

/// The node's side.
#[derive(Debug)]
pub(crate) struct NodeSide(pub(crate) Arc<SimDisk>);

impl NodeDisk for NodeSide {
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.0.lock().make_dirs(path);
        Ok(())
    }

    fn open_append(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn NodeFile>> {
        let mut state = self.0.lock();
        let ino = match state.names.get(path) {
            Some(ino) => *ino,
            None => {
                let ino = state.make_node(Kind::File);
                state.add_name(path, ino);
                ino
            }
        };
        state.nodes.get_mut(&ino).expect("it has a name").open += 1;
        Ok(Box::new(RuntimeFile {
            disk: Arc::clone(&self.0),
            ino,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.bytes(path).ok_or_else(missing)
    }

    fn write(&self, path: &Path, bytes: &[u8], _like: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let ino = state.make_node(Kind::File);
        state.add_name(path, ino);
        state.nodes.get_mut(&ino).expect("just made").bytes = bytes.to_vec();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().move_name(from, to).map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove_name(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let below: Vec<PathBuf> = state
            .names
            .keys()
            .filter(|name| name.starts_with(path))
            .cloned()
            .collect();
        below.iter().rev().try_for_each(|name| state.remove_name(name))
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.lock().names.contains_key(path)
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.names.contains_key(link) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let ino = state.make_node(Kind::Link);
        state.nodes.get_mut(&ino).expect("just made").target = target.to_owned();
        state.add_name(link, ino);
        Ok(())
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.0.lock();
        let ino = state.names.get(path).ok_or_else(missing)?;
        Ok(state.nodes[ino].target.clone())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let children = self.0.lock().children(dir);
        let names = children.iter().filter_map(|(path, _)| path.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }
}

impl NodeFile for RuntimeFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let (now, uptime) = (state.now_ns / TICK_NS * TICK_NS, state.uptime_ns);
        let node = state.nodes.get_mut(&self.ino).expect("it is open");
        node.appended.retain(|(at, _)| at + WRITEBACK_NS > uptime);
        node.appended.push((uptime, node.bytes.len()));
        node.bytes.extend_from_slice(bytes);
        node.changed = now;
        let end = node.bytes.len() as u64;
        state.last_append = (node_uid(&state, self.ino), end);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().nodes[&self.ino].bytes.len() as u64)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let node = state.nodes.get_mut(&self.ino).expect("it is open");
        node.bytes.truncate(len as usize);
        node.appended.clear();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn node_uid(state: &State, ino: u64) -> u64 {
    state.nodes[&ino].uid
}

impl Drop for RuntimeFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if let Some(node) = state.nodes.get_mut(&self.ino) {
            node.open = node.open.saturating_sub(1);
        }
        state.free_if_unused(self.ino);
    }
}
