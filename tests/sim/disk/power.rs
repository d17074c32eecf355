//! What the disk may show when the power comes back: one set of rules, from which the simulator draws a state, and by
//! which `tests/it/crash/real_disk.rs` judges what ext4 and xfs have shown.
//!
//! *Names.* Changes of names that were not synced with their directory are there or not: as far as one of them (a journal),
//! or any of them. A rename is there whole or not at all. What lies in a directory that is gone is gone.
//!
//! *Bytes.* Since its last sync a file has had several images: the synced one, and one after each write and each truncation.
//! Its size is that of one of them, or a multiple of a [`SECTOR`] between the least and the greatest of them. Each sector
//! is as it was in one of them, filled up with NUL bytes where that one ends. So a write may be lost, torn, or be a hole; a
//! truncation may be lost; and a size may be there without the bytes.

use super::is_state;
use longshore_kit::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What reaches the disk whole or not at all, counted from the beginning of a file. Small, so that small bodies tear.
const SECTOR: usize = 64;

/// Names, and the inodes that they lead to.
pub(super) type Names = BTreeMap<PathBuf, u64>;

/// What can be seen below a directory, itself included: directories are `None`, files have their bytes.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A change of the bytes of a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// These bytes were written there.
    Write(usize, Vec<u8>),
    /// It has this size from now on.
    Cut(usize),
}

/// A change of names.
#[derive(Clone, Debug)]
pub(super) enum NameOp {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameOp {
    /// The names that it changes; the one in whose directory it lies comes first.
    pub(super) fn paths(&self) -> (&Path, Option<&Path>) {
        match self {
            NameOp::Add(path, _) | NameOp::Remove(path) => (path, None),
            NameOp::Rename(from, to, _) => (to, Some(from)),
        }
    }

    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            NameOp::Add(path, ino) => drop(names.insert(path.clone(), *ino)),
            NameOp::Remove(path) => drop(names.remove(path)),
            NameOp::Rename(from, to, ino) => {
                names.remove(from);
                names.insert(to.clone(), *ino);
            }
        }
    }

    fn verb(&self, folders: &BTreeSet<u64>) -> &'static str {
        match self {
            NameOp::Add(_, ino) if folders.contains(ino) => "folder made",
            NameOp::Add(..) => "file made",
            NameOp::Remove(_) => "removal",
            NameOp::Rename(..) => "rename",
        }
    }
}

/// What a file has been since its last sync, the synced image first.
#[derive(Clone, Debug)]
pub(super) struct Images(Vec<Vec<u8>>);

impl Images {
    pub(super) fn new(durable: &[u8], changes: &[Change]) -> Images {
        let mut images = vec![durable.to_vec()];
        for change in changes {
            let mut image = images[images.len() - 1].clone();
            apply(change, &mut image);
            images.push(image);
        }
        Images(images)
    }

    fn last(&self) -> &[u8] {
        &self.0[self.0.len() - 1]
    }

    /// The least and the greatest size.
    fn sizes(&self) -> (usize, usize) {
        let sizes = || self.0.iter().map(Vec::len);
        (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0))
    }

    fn may_have_size(&self, size: usize) -> bool {
        let (least, greatest) = self.sizes();
        let between = size.is_multiple_of(SECTOR) && (least..=greatest).contains(&size);
        between || self.0.iter().any(|image| image.len() == size)
    }

    /// The part of an image in a sector, filled up with NUL bytes.
    fn sector(image: &[u8], at: usize, len: usize) -> impl Iterator<Item = u8> {
        let rest = image.get(at..).unwrap_or_default();
        rest.iter().copied().chain(std::iter::repeat(0)).take(len)
    }

    /// A file of this size, each sector taken from the image that is picked for it.
    fn show(&self, size: usize, mut pick: impl FnMut(usize, usize) -> usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size);
        for at in (0..size).step_by(SECTOR) {
            let len = SECTOR.min(size - at);
            bytes.extend(Images::sector(&self.0[pick(at, len)], at, len));
        }
        bytes
    }

    /// Whether this may be seen.
    fn may_be(&self, seen: &[u8]) -> bool {
        let as_seen = |at: usize, len: usize| {
            let same =
                |image: &Vec<u8>| Images::sector(image, at, len).eq(seen[at..at + len].iter().copied());
            self.0.iter().position(same).unwrap_or(0)
        };
        self.may_have_size(seen.len()) && self.show(seen.len(), as_seen) == seen
    }

    /// Something that may be seen.
    fn draw(&self, chance: &mut Chance) -> Vec<u8> {
        let images = self.0.len() as u64;
        if images == 1 {
            return self.last().to_vec();
        }
        match chance.below(4) {
            0 => self.0[0].clone(),
            1 => {
                let (least, greatest) = self.sizes();
                let sector = chance.below((greatest / SECTOR + 1) as u64) as usize * SECTOR;
                let image = self.0[chance.below(images) as usize].len();
                let size = if (least..=greatest).contains(&sector) && chance.hit(0.5) {
                    sector
                } else {
                    image
                };
                self.show(size, |_, _| chance.below(images) as usize)
            }
            2 => self.0[chance.below(images) as usize].clone(),
            _ => self.last().to_vec(),
        }
    }

    /// What became of what was not synced; `None` where all was.
    fn outcome(&self, seen: &[u8]) -> Option<&'static str> {
        let last = self.last();
        if self.0.len() == 1 {
            return None;
        }
        let shrank = self.0.windows(2).any(|pair| pair[1].len() < pair[0].len());
        Some(if seen == last {
            "bytes: whole"
        } else if shrank && seen.len() > last.len() {
            "bytes: a truncation is lost"
        } else if seen == self.0[0] {
            "bytes: lost"
        } else if self.0.iter().any(|image| image == seen) {
            "bytes: as far as one of the writes"
        } else if last.starts_with(seen) {
            "bytes: torn, a prefix"
        } else if seen.last() == Some(&0) {
            "bytes: the end is NUL"
        } else {
            "bytes: mixed"
        })
    }
}

pub(super) fn apply(change: &Change, image: &mut Vec<u8>) {
    match change {
        Change::Write(at, written) => {
            let end = at + written.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at..end].copy_from_slice(written);
        }
        Change::Cut(len) => image.resize(*len, 0),
    }
}

/// All that may be seen of the state directory after a power cut at one moment.
pub(crate) struct Permitted {
    pub(super) durable: Names,
    pub(super) pending: Vec<NameOp>,
    pub(super) files: BTreeMap<u64, Images>,
    pub(super) folders: BTreeSet<u64>,
}

/// One of the states after a power cut.
pub(super) struct Drawn {
    pub(super) names: Names,
    pub(super) bytes: BTreeMap<u64, Vec<u8>>,
    /// What happened, and how often.
    pub(super) lost: Vec<&'static str>,
}

impl Permitted {
    /// The names after those changes that have survived.
    fn names(&self, mut survives: impl FnMut(usize) -> bool) -> Names {
        let mut names = self.durable.clone();
        for (at, op) in self.pending.iter().enumerate() {
            if survives(at) {
                op.apply(&mut names);
            }
        }
        let is_reached = |path: &Path, names: &Names| {
            let above = path.ancestors().skip(1).take_while(|above| is_state(above));
            above.into_iter().all(|above| names.contains_key(above))
        };
        let reached = names.iter().filter(|(path, _)| is_reached(path, &names));
        reached.map(|(path, ino)| (path.clone(), *ino)).collect()
    }

    /// A state that may be seen.
    pub(super) fn draw(&self, chance: &mut Chance) -> Drawn {
        let mut lost = Vec::new();
        let kept = chance.below(self.pending.len() as u64 + 1) as usize;
        let any = chance.hit(0.3);
        let names = self.names(|at| {
            let survives = if any { chance.hit(0.5) } else { at < kept };
            if !survives {
                lost.push("power cut: a name is lost");
                if self.pending[at].verb(&self.folders) == "folder made" {
                    lost.push("power cut: a folder is lost");
                }
            }
            survives
        });
        let mut bytes = BTreeMap::new();
        let inodes: BTreeSet<u64> = names.values().copied().collect();
        for (ino, images) in inodes.iter().filter_map(|ino| Some((*ino, self.files.get(ino)?))) {
            let drawn = images.draw(chance);
            match images.outcome(&drawn) {
                None | Some("bytes: whole") => {}
                Some("bytes: a truncation is lost") => lost.push("power cut: a truncation is lost"),
                Some("bytes: the end is NUL") => lost.push("power cut: the end of a file is NUL"),
                Some(_) => lost.push("power cut: a write is lost or torn"),
            }
            bytes.insert(ino, drawn);
        }
        Drawn { names, bytes, lost }
    }

    /// Which choice leads to what is seen, told as what became of each name and file; or that none does.
    pub(crate) fn explain(&self, seen: &Tree) -> Result<Vec<String>, String> {
        let ops = self.pending.len();
        for kept in (0..=ops).rev() {
            if self.agrees(&self.names(|at| at < kept), seen) {
                return Ok(self.tell(seen, |at| at < kept));
            }
        }
        for choice in 0..1_u64 << ops.min(20) {
            let survives = |at: usize| choice >> at & 1 == 1;
            if self.agrees(&self.names(survives), seen) {
                let mut told = self.tell(seen, survives);
                told.push("names: not in their order".to_owned());
                return Ok(told);
            }
        }
        Err(format!("no power cut shows {}; there was {self:?}", told(seen)))
    }

    fn agrees(&self, names: &Names, seen: &Tree) -> bool {
        let agrees = |(path, ino): (&PathBuf, &u64)| match seen.get(path) {
            Some(Some(bytes)) => self.files.get(ino).is_some_and(|images| images.may_be(bytes)),
            Some(None) => self.folders.contains(ino),
            None => false,
        };
        names.len() == seen.len() && names.iter().all(agrees)
    }

    fn tell(&self, seen: &Tree, survives: impl Fn(usize) -> bool) -> Vec<String> {
        let verdict = |kept: bool| if kept { "kept" } else { "lost" };
        let ops = self.pending.iter().enumerate();
        let ops = ops.map(|(at, op)| format!("{}: {}", op.verb(&self.folders), verdict(survives(at))));
        let names = self.names(&survives);
        let files = names.iter().filter_map(|(path, ino)| {
            let bytes = seen.get(path)?.as_ref()?;
            self.files.get(ino)?.outcome(bytes).map(str::to_owned)
        });
        ops.chain(files).collect()
    }

    /// Names that no power cut may take, and files whose bytes no power cut may change.
    pub(crate) fn certain(&self) -> Vec<PathBuf> {
        let touched: BTreeSet<&Path> = self
            .pending
            .iter()
            .flat_map(|op| {
                let (path, from) = op.paths();
                std::iter::once(path).chain(from)
            })
            .collect();
        let is_certain = |path: &Path, ino: u64| {
            let images = self.files.get(&ino);
            !path.ancestors().any(|above| touched.contains(above))
                && images.is_some_and(|images| images.0.len() == 1)
        };
        let kept = self.names(|_| false);
        let certain = kept.iter().filter(|(path, ino)| is_certain(path, **ino));
        certain.map(|(path, _)| path.clone()).collect()
    }

    /// How many changes of names are not synced.
    pub(crate) fn unsynced_names(&self) -> usize {
        self.pending.len()
    }
}

impl fmt::Debug for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = |images: &Images| images.0.iter().map(Vec::len).collect::<Vec<_>>();
        let files: BTreeMap<&u64, Vec<usize>> = self
            .files
            .iter()
            .map(|(ino, images)| (ino, sizes(images)))
            .collect();
        write!(
            f,
            "durable {:?}, then {:?}; sizes {files:?}",
            self.durable, self.pending
        )
    }
}

/// Names and sizes.
fn told(tree: &Tree) -> String {
    let sizes: BTreeMap<_, _> = tree
        .iter()
        .map(|(path, bytes)| (path, bytes.as_ref().map(Vec::len)))
        .collect();
    format!("{sizes:?}")
}
