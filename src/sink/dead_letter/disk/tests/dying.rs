//! The kernel's disk, on which a process dies after so many changes.

use crate::disk::{Disk, Entry, FileSystem, How, OpenFile, Space, Stat, kernel};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct Dying {
    disk: Disk,
    left: Arc<AtomicUsize>,
}

impl Dying {
    pub(super) fn new(changes: usize) -> Dying {
        Dying {
            disk: kernel(),
            left: Arc::new(AtomicUsize::new(changes)),
        }
    }
}

fn change(left: &AtomicUsize) -> io::Result<()> {
    let less = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    less.map(drop).map_err(|_| io::Error::other("dead"))
}

#[derive(Debug)]
struct DyingFile {
    file: Box<dyn OpenFile>,
    left: Arc<AtomicUsize>,
}

impl OpenFile for DyingFile {
    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Half of it gets through.
        self.file.append(&bytes[..bytes.len() / 2])?;
        change(&self.left)?;
        self.file.append(&bytes[bytes.len() / 2..])
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        change(&self.left)?;
        self.file.cut(len)
    }
    fn allocate(&mut self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        change(&self.left)?;
        self.file.sync()
    }
}

impl FileSystem for Dying {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(folder)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.disk.stat(path)
    }
    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.link(path)
    }
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.canonical(path)
    }
    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
        self.disk.open_beneath(root, relative)
    }
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        if how != How::Read {
            change(&self.left)?;
        }
        Ok(Box::new(DyingFile {
            file: self.disk.open(path, how)?,
            left: Arc::clone(&self.left),
        }))
    }
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        change(&self.left)?;
        self.disk.make_folder(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        change(&self.left)?;
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        change(&self.left)?;
        self.disk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        change(&self.left)?;
        self.disk.sync_folder(folder)
    }
    fn space(&self, folder: &Path) -> io::Result<Space> {
        self.disk.space(folder)
    }
}
