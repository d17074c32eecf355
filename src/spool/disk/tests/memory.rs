//! A disk in memory: fast enough for a hundred thousand starts.

use crate::disk::{Disk, Entry, FileSystem, How, Kind, OpenFile, Space, Stat};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Files by path.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The disk.
#[derive(Clone, Default, Debug)]
pub(crate) struct Memory {
    files: Arc<Mutex<Files>>,
}

impl Memory {
    pub(crate) fn with(files: Files) -> Memory {
        Memory {
            files: Arc::new(Mutex::new(files)),
        }
    }

    pub(crate) fn disk(&self) -> Disk {
        Arc::new(self.clone())
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }
}

impl FileSystem for Memory {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let files = self.files();
        let names = files.keys().filter(|path| path.parent() == Some(folder));
        let entry = |path: &PathBuf| Entry {
            name: path.file_name().unwrap().to_owned(),
            kind: Kind::File,
        };
        Ok(names.map(entry).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.open(path, How::Read)?.stat()
    }

    fn link(&self, _: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
        self.open(&root.join(relative), How::Read)
    }

    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        let mut files = self.files();
        match (how, files.contains_key(path)) {
            (How::Read, false) => return Err(io::ErrorKind::NotFound.into()),
            (How::New, true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (How::Append, false) | (How::New, false) | (How::Replace, _) => {
                files.insert(path.to_owned(), Vec::new());
            }
            (How::Read | How::Append, true) => {}
        }
        Ok(Box::new(MemoryFile {
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.files().remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space {
            total: 1 << 40,
            available: 1 << 40,
        })
    }
}

#[derive(Debug)]
struct MemoryFile {
    path: PathBuf,
    disk: Memory,
}

impl MemoryFile {
    /// A file that was removed reads as empty: the spool does not keep descriptors over a removal.
    fn with<T>(&self, look: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        look(self.disk.files().entry(self.path.clone()).or_default())
    }
}

impl OpenFile for MemoryFile {
    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            kind: Kind::File,
            dev: 1,
            ino: 1,
            len: self.with(|bytes| bytes.len()) as u64,
            links: 1,
            changed: 0,
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.with(|bytes| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            len
        }))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| file.extend_from_slice(bytes));
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.with(|bytes| bytes.truncate(len as usize));
        Ok(())
    }

    fn allocate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
