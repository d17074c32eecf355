//! Where a node's log directories are: a real directory, or the virtual disk of a simulator.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The operations of kubelet and of a runtime on names.
pub trait NodeDisk: fmt::Debug + Send + Sync {
    /// Makes a directory and those above it.
    fn make_dirs(&self, path: &Path) -> io::Result<()>;
    /// Opens a file to append to it; makes it with this mode when it is not there.
    fn open_append(&self, path: &Path, mode: u32) -> io::Result<Box<dyn NodeFile>>;
    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Makes a file of these bytes, with the mode of `like`.
    fn write(&self, path: &Path, bytes: &[u8], like: &Path) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything below it.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    /// Whether a name is there.
    fn exists(&self, path: &Path) -> bool;
    /// Makes a symbolic link.
    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// Where a link leads.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Names in a directory, sorted as kubelet sorts them; none when it does not exist.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
}

/// A log file that a runtime has open.
pub trait NodeFile: fmt::Debug + Send {
    /// Appends bytes in one write.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Bytes in the file.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Waits until what was written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// A real directory.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

impl NodeDisk for RealDisk {
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn open_append(&self, path: &Path, mode: u32) -> io::Result<Box<dyn NodeFile>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(mode).open(path)?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
        let mode = fs::metadata(like)?.permissions().mode();
        fs::write(path, bytes)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        symlink(target, link)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

impl NodeFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}
