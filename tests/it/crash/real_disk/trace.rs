//! A trace: random operations of the trait of `src/disk.rs`, on few names and few descriptors, so that they meet.

use super::write_journal;
use crate::crash::mounts;
use longshore::disk::{Disk, How, Kind, OpenFile, Stat};
use longshore_kit::chance::Chance;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The directories that a trace makes and uses; the first one is there.
pub(super) const FOLDERS: [&str; 4] = ["", "a", "b", "a/c"];
const FILES: [&str; 3] = ["x", "y", "z"];
/// Descriptors that may be open at a time.
const SLOTS: usize = 4;
const HOW: [How; 4] = [How::Read, How::Append, How::New, How::Replace];
/// Most bytes of a write: several pages.
const WRITE: u64 = 20_000;

/// An operation. Names are relative; descriptors are numbers.
#[derive(Clone, Debug)]
pub(super) enum Op {
    MakeFolder(PathBuf),
    Open(usize, PathBuf, How),
    OpenBeneath(usize, &'static str, PathBuf),
    Close(usize),
    /// So many bytes that begin with this one.
    Append(usize, u64, u8),
    Cut(usize, u64),
    Allocate(usize, u64),
    Sync(usize),
    ReadAt(usize, u64, u64),
    /// Whether what is passed over as a hole is NUL; which holes are known is the file system's own affair.
    DataFrom(usize, u64),
    StatFile(usize),
    /// Whether a descriptor and a name lead to the same file.
    SameFile(usize, PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncFolder(&'static str),
    List(PathBuf),
    Stat(PathBuf),
    Link(PathBuf),
    Canonical(PathBuf),
    Read(PathBuf),
}

impl Op {
    pub(super) fn draw(chance: &mut Chance) -> Op {
        let slot = chance.below(SLOTS as u64) as usize;
        match chance.below(40) {
            0..=1 => Op::MakeFolder(folder(chance)),
            2..=9 => Op::Open(slot, file(chance), pick(chance, HOW)),
            10 => Op::OpenBeneath(slot, pick(chance, FOLDERS), file(chance)),
            11 => Op::Close(slot),
            12..=18 => Op::Append(slot, len(chance, WRITE), chance.below(256) as u8),
            19..=20 => Op::Cut(slot, len(chance, WRITE)),
            21 => Op::Allocate(slot, len(chance, 4 * WRITE)),
            22..=24 => Op::Sync(slot),
            25 if chance.hit(0.3) => Op::DataFrom(slot, len(chance, WRITE)),
            25 => Op::ReadAt(slot, len(chance, WRITE), len(chance, WRITE)),
            26 => Op::StatFile(slot),
            27 => Op::SameFile(slot, file(chance)),
            28..=30 => Op::Rename(file(chance), file(chance)),
            31..=32 => Op::Remove(file(chance)),
            33..=34 => Op::SyncFolder(pick(chance, FOLDERS)),
            35 => Op::List(folder(chance)),
            36 => Op::Stat(file(chance)),
            37 => Op::Link(file(chance)),
            38 => Op::Canonical(file(chance)),
            _ => Op::Read(file(chance)),
        }
    }
}

/// Most traces begin with directories and files that are there, in parts durable.
pub(super) fn beginning(chance: &mut Chance) -> Vec<Op> {
    let mut ops = Vec::new();
    for folder in FOLDERS.into_iter().filter(|_| chance.hit(0.6)) {
        ops.push(Op::MakeFolder(PathBuf::from(folder)));
    }
    for slot in 0..SLOTS {
        ops.push(Op::Open(slot, file(chance), How::Append));
        ops.push(Op::Append(slot, len(chance, WRITE), chance.below(256) as u8));
        if chance.hit(0.5) {
            ops.push(Op::Sync(slot));
        }
    }
    let synced = FOLDERS.into_iter().filter(|_| chance.hit(0.7));
    ops.extend(synced.map(Op::SyncFolder));
    ops
}

fn pick<T: Copy, const N: usize>(chance: &mut Chance, from: [T; N]) -> T {
    from[chance.below(N as u64) as usize]
}

/// Small ones as often as large ones.
fn len(chance: &mut Chance, most: u64) -> u64 {
    if chance.hit(0.5) {
        chance.below(200)
    } else {
        chance.below(most)
    }
}

/// The name of a file, mostly. Sometimes it is a directory, or lies below a file.
fn file(chance: &mut Chance) -> PathBuf {
    let (folder, file) = (Path::new(pick(chance, FOLDERS)), pick(chance, FILES));
    match chance.below(20) {
        0 => PathBuf::from("a/c"),
        1 => folder.join(file).join("below"),
        _ => folder.join(file),
    }
}

/// The name of a directory, mostly.
fn folder(chance: &mut Chance) -> PathBuf {
    match chance.below(10) {
        0 => file(chance),
        _ => PathBuf::from(pick(chance, FOLDERS)),
    }
}

/// What the kernel does by itself when it has time.
#[derive(Clone, Debug)]
pub(super) enum Nudge {
    /// Writes back a part of a file: an offset, and so many bytes.
    File(PathBuf, u64, u64),
    /// Writes its journal.
    Journal,
    /// Writes all back.
    All,
}

impl Nudge {
    /// One of those that can be given to these files.
    pub(super) fn draw(chance: &mut Chance, files: &[PathBuf]) -> Nudge {
        match chance.below(10) {
            0..=5 if !files.is_empty() => {
                let file = files[chance.below(files.len() as u64) as usize].clone();
                let at = if chance.hit(0.7) { 0 } else { chance.below(WRITE) };
                Nudge::File(file, at, 1 + chance.below(WRITE))
            }
            9 => Nudge::All,
            _ => Nudge::Journal,
        }
    }

    pub(super) fn give(&self, mount: &Path) {
        match self {
            Nudge::File(path, at, len) => mounts::write_back(path, *at, *len),
            Nudge::Journal => write_journal(mount),
            Nudge::All => mounts::sync_all(mount),
        }
    }
}

/// What was done to the disks.
#[derive(Debug)]
pub(super) enum Step {
    Op(#[expect(dead_code, reason = "it is printed")] Op),
    Nudge(#[expect(dead_code, reason = "it is printed")] Nudge),
}

/// What an operation has given.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Given {
    Done,
    /// The descriptor is not open.
    NotOpen,
    Names(BTreeSet<(OsString, &'static str)>),
    /// What it is; and size and links of a file.
    Stat(Kind, Option<(u64, u64)>),
    Bytes(Vec<u8>),
    Path(PathBuf),
    Same(bool),
}

/// One of the disks, with descriptors of its own.
pub(super) struct Side {
    disk: Disk,
    pub(super) root: PathBuf,
    open: [Option<Box<dyn OpenFile>>; SLOTS],
}

impl Side {
    pub(super) fn new(disk: Disk, root: &Path) -> Side {
        Side {
            disk,
            root: root.to_owned(),
            open: [const { None }; SLOTS],
        }
    }

    /// Closes all descriptors.
    pub(super) fn close(&mut self) {
        self.open = [const { None }; SLOTS];
    }

    /// Which the virtual disk cannot do: nobody needs it.
    pub(super) fn renames_a_folder(&self, op: &Op) -> bool {
        matches!(op, Op::Rename(from, _) if self.root.join(from).is_dir())
    }

    /// Does it, and says what came of it: what was given, or the kind of the error.
    pub(super) fn answer(&mut self, op: &Op) -> Result<Given, io::ErrorKind> {
        self.try_op(op).map_err(|error| error.kind())
    }

    fn try_op(&mut self, op: &Op) -> io::Result<Given> {
        match op {
            Op::Open(slot, path, how) => {
                self.open[*slot] = None;
                self.open[*slot] = Some(self.disk.open(&self.root.join(path), *how)?);
            }
            Op::OpenBeneath(slot, below, path) => {
                self.open[*slot] = None;
                self.open[*slot] = Some(self.disk.open_beneath(&self.root.join(below), path)?);
            }
            Op::Close(slot) => self.open[*slot] = None,
            Op::Append(slot, ..)
            | Op::Cut(slot, _)
            | Op::Allocate(slot, _)
            | Op::Sync(slot)
            | Op::ReadAt(slot, ..)
            | Op::DataFrom(slot, _)
            | Op::StatFile(slot)
            | Op::SameFile(slot, _) => return self.use_file(*slot, op),
            _ => return self.use_names(op),
        }
        Ok(Given::Done)
    }

    fn use_file(&mut self, slot: usize, op: &Op) -> io::Result<Given> {
        let Some(file) = &mut self.open[slot] else {
            return Ok(Given::NotOpen);
        };
        match op {
            Op::Append(_, len, first) => {
                let bytes: Vec<u8> = (0..*len).map(|at| first.wrapping_add(at as u8) | 1).collect();
                file.append(&bytes)?;
            }
            Op::Cut(_, len) => file.cut(*len)?,
            Op::Allocate(_, len) => file.allocate(*len)?,
            Op::Sync(_) => file.sync()?,
            Op::ReadAt(_, at, len) => {
                let mut bytes = vec![0; *len as usize];
                let read = file.read_at(&mut bytes, *at)?;
                bytes.truncate(read);
                return Ok(Given::Bytes(bytes));
            }
            Op::DataFrom(_, at) if file.stat()?.kind == Kind::File => {
                let data = file.data_from(*at)?;
                let mut hole = vec![0; data.saturating_sub(*at) as usize];
                let read = file.read_at(&mut hole, *at)?;
                return Ok(Given::Same(
                    data >= *at && hole[..read].iter().all(|byte| *byte == 0),
                ));
            }
            Op::SameFile(_, path) => {
                let named = self.disk.stat(&self.root.join(path))?;
                return Ok(Given::Same(named.ino == file.stat()?.ino));
            }
            _ => return file.stat().map(known),
        }
        Ok(Given::Done)
    }

    fn use_names(&self, op: &Op) -> io::Result<Given> {
        let at = |path: &Path| {
            if path.as_os_str().is_empty() {
                self.root.clone()
            } else {
                self.root.join(path)
            }
        };
        match op {
            Op::MakeFolder(path) => self.disk.make_folder(&at(path))?,
            Op::Rename(from, to) => self.disk.rename(&at(from), &at(to))?,
            Op::Remove(path) => self.disk.remove(&at(path))?,
            Op::SyncFolder(path) => self.disk.sync_folder(&at(Path::new(path)))?,
            Op::List(path) => {
                let names = self.disk.list(&at(path))?.into_iter();
                let names = names.map(|entry| (entry.name, kind(entry.kind)));
                return Ok(Given::Names(names.collect()));
            }
            Op::Stat(path) => return self.disk.stat(&at(path)).map(known),
            Op::Link(path) => return self.disk.link(&at(path)).map(Given::Path),
            Op::Canonical(path) => {
                let whole = self.disk.canonical(&at(path))?;
                let relative = whole.strip_prefix(&self.root).expect("no links here");
                return Ok(Given::Path(relative.to_owned()));
            }
            Op::Read(path) => return longshore::disk::read(&*self.disk, &at(path)).map(Given::Bytes),
            _ => {}
        }
        Ok(Given::Done)
    }
}

/// Size and links of a directory are the file system's own affair.
fn known(stat: Stat) -> Given {
    let of_file = (stat.kind == Kind::File).then_some((stat.len, stat.links));
    Given::Stat(stat.kind, of_file)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Link => "link",
        Kind::Other => "other",
    }
}
