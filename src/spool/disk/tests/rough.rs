//! A disk that fails as it is told, forgets what was not synced, and has an end. It lies on a real
//! folder, so that `du` can be asked.

use super::du;
use crate::disk::{self, Disk, Entry, FileSystem, How, OpenFile, Space, Stat};
use longshore_kit::chance::Chance;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Open,
    Append,
    Cut,
    Allocate,
    Sync,
    Rename,
    Remove,
    SyncFolder,
    Read,
}

impl Op {
    pub(super) const ALL: [Op; 9] = [
        Op::Open,
        Op::Append,
        Op::Cut,
        Op::Allocate,
        Op::Sync,
        Op::Rename,
        Op::Remove,
        Op::SyncFolder,
        Op::Read,
    ];
}

#[derive(Debug, Default)]
struct State {
    fail: VecDeque<(Op, io::ErrorKind)>,
    /// Bytes of each file that survive a crash for sure.
    synced: HashMap<PathBuf, u64>,
    syncs: u64,
    capacity: Option<u64>,
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct Rough {
    kernel: Disk,
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Rough {
    pub(super) fn new(folder: &Path) -> Rough {
        Rough {
            kernel: disk::kernel(),
            folder: folder.to_owned(),
            state: Arc::default(),
        }
    }

    pub(super) fn disk(&self) -> Disk {
        Arc::new(self.clone())
    }

    /// The next operation of this kind fails; those told before it come first.
    pub(super) fn fail(&self, op: Op, kind: io::ErrorKind) {
        self.state().fail.push_back((op, kind));
    }

    /// No failure is waited for any more.
    pub(super) fn heal(&self) {
        self.state().fail.clear();
    }

    pub(super) fn failures_left(&self) -> usize {
        self.state().fail.len()
    }

    /// How often a file was synced.
    pub(super) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub(super) fn set_capacity(&self, bytes: u64) {
        self.state().capacity = Some(bytes);
    }

    /// A power cut: of what was not synced, any part is gone, and any part is zeros.
    pub(super) fn crash(&self, chance: &mut Chance) {
        let synced = std::mem::take(&mut self.state().synced);
        for (path, synced) in synced {
            let Ok(file) = fs::File::options().write(true).open(&path) else {
                continue;
            };
            let len = file.metadata().unwrap().len();
            if len <= synced {
                continue;
            }
            let keep = synced + chance.below(len - synced + 1);
            file.set_len(keep).unwrap();
            let from = synced + chance.below(keep - synced + 1);
            let zeros = vec![0; chance.below(keep - from + 1) as usize];
            file.write_all_at(&zeros, from).unwrap();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn may(&self, op: Op) -> io::Result<()> {
        let mut state = self.state();
        match state.fail.front() {
            Some((next, kind)) if *next == op => {
                let error = io::Error::from(*kind);
                state.fail.pop_front();
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

impl FileSystem for Rough {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.kernel.list(folder)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.kernel.stat(path)
    }

    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        self.kernel.link(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.kernel.canonical(path)
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
        self.kernel.open_beneath(root, relative)
    }

    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        self.may(Op::Open)?;
        let file = self.kernel.open(path, how)?;
        if matches!(how, How::New | How::Replace) {
            self.state().synced.insert(path.to_owned(), 0);
        }
        Ok(Box::new(RoughFile {
            file,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.kernel.make_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may(Op::Rename)?;
        let mut state = self.state();
        if let Some(synced) = state.synced.remove(from) {
            state.synced.insert(to.to_owned(), synced);
        }
        self.kernel.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.may(Op::Remove)?;
        self.state().synced.remove(path);
        self.kernel.remove(path)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.may(Op::SyncFolder)
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let capacity = self.state().capacity;
        match capacity {
            Some(total) => Ok(Space {
                total,
                available: total.saturating_sub(du(&self.folder)),
            }),
            None => self.kernel.space(folder),
        }
    }
}

#[derive(Debug)]
struct RoughFile {
    file: Box<dyn OpenFile>,
    path: PathBuf,
    disk: Rough,
}

impl OpenFile for RoughFile {
    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.may(Op::Read)?;
        self.file.read_at(buffer, offset)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.disk.may(Op::Append) {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.append(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.disk.may(Op::Cut)?;
        self.file.cut(len)
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        self.disk.may(Op::Allocate)?;
        self.file.allocate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().syncs += 1;
        let len = self.file.stat()?.len;
        if let Err(error) = self.disk.may(Op::Sync) {
            // The kernel forgets the pages that it could not write.
            let synced = self.disk.state().synced.get(&self.path).copied().unwrap_or(0);
            let file = fs::File::options().write(true).open(&self.path).unwrap();
            let zeros = vec![0; len.saturating_sub(synced) as usize];
            file.write_all_at(&zeros, synced).unwrap();
            return Err(error);
        }
        // No real sync: what a crash takes is decided in `crash`.
        self.disk.state().synced.insert(self.path.clone(), len);
        Ok(())
    }
}
