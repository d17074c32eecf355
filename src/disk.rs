//! The file system as Longshore uses it: a trait, and the kernel behind it.
//!
//! Paths and bytes enter, bytes and facts leave. Every file that a core depends on (logs, checkpoints,
//! spool, dead letters) is reached through [`FileSystem`], so that a simulator can put a disk in its
//! place that tears, fills up, fails and forgets what was not synced. The trait has no more than what
//! is used, and promises no more than POSIX: what [`OpenFile::append`] wrote is durable only after
//! [`OpenFile::sync`], a name only after [`FileSystem::sync_folder`].
//!
//! Not here: secrets, configs and the lock of the state directory, which no simulation needs.

#![expect(
    clippy::disallowed_methods,
    reason = "this file is where the kernel's file system is called"
)]

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A file system that several threads use.
pub type Disk = Arc<dyn FileSystem>;

/// The kernel's file system.
pub fn kernel() -> Disk {
    Arc::new(Kernel)
}

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO, a socket, a device.
    Other,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it leads to; a link is not followed.
    pub kind: Kind,
}

/// What is known of a file or directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Device.
    pub dev: u64,
    /// Inode on it.
    pub ino: u64,
    /// Bytes.
    pub len: u64,
    /// Names that lead to it.
    pub links: u64,
    /// Nanoseconds since 1970 of its last change.
    pub changed: i128,
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// All there is.
    pub total: u64,
    /// What may still be written.
    pub available: u64,
}

/// How a file of our own is opened. New files are only for us (0600).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// To be read; it must be there.
    Read,
    /// To be appended to; made when it is not there.
    Append,
    /// To be appended to; it must not be there.
    New,
    /// To be written anew; what was there is gone.
    Replace,
}

/// The operations on names.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// The names in a directory, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// What a name leads to; a link at its end is not followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Where a link leads, as it is written in it.
    fn link(&self, path: &Path) -> io::Result<PathBuf>;
    /// The path without links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Opens a regular file to be read that is reached from `root` without a link and without leaving
    /// it. Never waits, and never opens anything else.
    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>>;
    /// Opens a file of our own.
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>>;
    /// Makes a directory and those above it, where they are not there; only for us (0700).
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name; what had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Room on the file system of a directory.
    fn space(&self, folder: &Path) -> io::Result<Space>;
}

/// The operations on an open file.
pub trait OpenFile: fmt::Debug + Send {
    /// What is known of it now.
    fn stat(&self) -> io::Result<Stat>;
    /// Reads at `offset` until the buffer is full or the file ends.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Where the next bytes are from `offset` on that may be other than NUL: what lies before is a hole (`SEEK_DATA`). The
    /// size of the file when nothing follows but a hole; `offset` itself where nobody knows of holes.
    fn data_from(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }
    /// Writes all bytes at the end. After an error some of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Sets room aside for the first `len` bytes; the size stays as it is. Where the file system cannot,
    /// nothing happens.
    fn allocate(&mut self, len: u64) -> io::Result<()>;
    /// Makes what was written durable. Must not be tried again after an error: the kernel may have
    /// forgotten the bytes, and the next sync then succeeds without them.
    fn sync(&mut self) -> io::Result<()>;
}

/// So often the reading of a whole file is tried: what may be read at the second attempt must not be
/// taken for damage.
const ATTEMPTS: usize = 5;

/// The whole file.
///
/// # Errors
/// What the file system says, several times in a row.
pub fn read(disk: &dyn FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    let mut attempt = 1;
    loop {
        match read_once(disk, path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn read_once(disk: &dyn FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, How::Read)?;
    let mut bytes = vec![0; file.stat()?.len as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// An open file, read from one place to its end.
#[derive(Debug)]
pub struct Sequential {
    file: Box<dyn OpenFile>,
    at: u64,
}

impl Sequential {
    /// Nothing is read yet.
    pub fn new(file: Box<dyn OpenFile>) -> Sequential {
        Sequential::starting_at(file, 0)
    }

    /// All before this byte counts as read.
    pub fn starting_at(file: Box<dyn OpenFile>, at: u64) -> Sequential {
        Sequential { file, at }
    }

    /// The file, to be read in another way.
    pub fn into_file(self) -> Box<dyn OpenFile> {
        self.file
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The kernel's file system.
#[derive(Clone, Copy, Debug)]
struct Kernel;

impl FileSystem for Kernel {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        fs::read_dir(folder)?
            .map(|entry| {
                let entry = entry?;
                let kind = kind(entry.file_type()?);
                Ok(Entry {
                    name: entry.file_name(),
                    kind,
                })
            })
            .collect()
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        fs::symlink_metadata(path).map(|metadata| stat(&metadata))
    }

    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
        // First without an effect on what is there: opening a device may already be one.
        let looked_at = File::from(beneath(root, relative, OFlags::PATH)?);
        if !looked_at.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::from(beneath(
            root,
            relative,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        )?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        let mut options = OpenOptions::new();
        options.mode(0o600);
        match how {
            How::Read => options.read(true),
            How::Append => options.read(true).append(true).create(true),
            How::New => options.read(true).append(true).create_new(true),
            // The standard library refuses to truncate what it appends to.
            How::Replace => options
                .read(true)
                .append(true)
                .create(true)
                .custom_flags(OFlags::TRUNC.bits() as i32),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(Space {
            total: stat.f_blocks * stat.f_frsize,
            available: stat.f_bavail * stat.f_frsize,
        })
    }
}

impl OpenFile for File {
    fn stat(&self) -> io::Result<Stat> {
        self.metadata().map(|metadata| stat(&metadata))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn data_from(&self, offset: u64) -> io::Result<u64> {
        match rustix::fs::seek(self, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) => Ok(data),
            // Nothing but a hole, or nothing at all.
            Err(Errno::NXIO) => Ok(OpenFile::stat(self)?.len.max(offset)),
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(offset),
            Err(error) => Err(error.into()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&*self, FallocateFlags::KEEP_SIZE, 0, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Opens what is reached from `root` without a link and without leaving it (`openat2`, Linux 5.6).
fn beneath(root: &Path, relative: &Path, flags: OFlags) -> io::Result<rustix::fd::OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let root_path = root;
    let root = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    loop {
        match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
            // A rename somewhere made the kernel unsure.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Kernels and sandboxes without this call: what is known to be a link is refused.
            Err(Errno::NOSYS | Errno::PERM) => return beneath_by_steps(root_path, relative, flags),
            opened => return Ok(opened?),
        }
    }
}

fn beneath_by_steps(root: &Path, relative: &Path, flags: OFlags) -> io::Result<rustix::fd::OwnedFd> {
    let mut path = root.to_owned();
    for component in relative.components() {
        let Component::Normal(name) = component else {
            return Err(Errno::XDEV.into());
        };
        path.push(name);
        if fs::symlink_metadata(&path)?.is_symlink() {
            return Err(Errno::LOOP.into());
        }
    }
    Ok(rustix::fs::openat(CWD, &path, flags, Mode::empty())?)
}

fn kind(kind: fs::FileType) -> Kind {
    if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Folder
    } else if kind.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}

fn stat(metadata: &Metadata) -> Stat {
    Stat {
        kind: kind(metadata.file_type()),
        dev: metadata.dev(),
        ino: metadata.ino(),
        len: metadata.len(),
        links: metadata.nlink(),
        changed: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn nothing_but_regular_files_beneath_the_root_is_opened() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("pods");
        fs::create_dir_all(root.join("pod/app")).unwrap();
        fs::create_dir_all(root.join("pod/folder.log")).unwrap();
        fs::write(root.join("pod/app/0.log"), "ours").unwrap();
        fs::write(home.path().join("secret"), "secret").unwrap();
        symlink(home.path().join("secret"), root.join("pod/app/1.log")).unwrap();
        symlink("../../../secret", root.join("pod/app/2.log")).unwrap();
        symlink("0.log", root.join("pod/app/3.log")).unwrap();
        symlink("app", root.join("pod/other")).unwrap();
        symlink("/proc/self/root", root.join("pod/magic")).unwrap();
        rustix::fs::mknodat(
            CWD,
            root.join("pod/app/4.log"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        for open in [beneath, beneath_by_steps] {
            let read = |relative: &str| open(&root, Path::new(relative), OFlags::RDONLY | OFlags::NONBLOCK);
            assert!(read("pod/app/0.log").is_ok());
            for link in [
                "pod/app/1.log",
                "pod/app/2.log",
                "pod/app/3.log",
                "pod/other/0.log",
            ] {
                assert!(read(link).is_err(), "{link}");
            }
            assert!(read("../secret").is_err());
            assert!(read("pod/magic/etc/hostname").is_err());
        }
        let disk = kernel();
        for other in ["pod/app/4.log", "pod/folder.log", "pod/app/1.log"] {
            assert!(disk.open_beneath(&root, Path::new(other)).is_err(), "{other}");
        }
        let mut bytes = [0; 8];
        let file = disk.open_beneath(&root, Path::new("pod/app/0.log")).unwrap();
        assert_eq!(
            (file.read_at(&mut bytes, 1).unwrap(), &bytes[..3]),
            (3, &b"urs"[..])
        );
    }

    #[test]
    fn our_own_files_are_for_us_alone_and_are_appended_to() {
        let home = tempfile::tempdir().unwrap();
        let (disk, folder) = (kernel(), home.path().join("a/b"));
        disk.make_folder(&folder).unwrap();
        let path = folder.join("file");
        disk.open(&path, How::New).unwrap().append(b"one").unwrap();
        assert_eq!(
            disk.open(&path, How::New).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let mut file = disk.open(&path, How::Append).unwrap();
        file.allocate(1 << 16).unwrap();
        file.append(b"two").unwrap();
        file.sync().unwrap();
        assert_eq!(read(disk.as_ref(), &path).unwrap(), b"onetwo");
        file.cut(3).unwrap();
        file.append(b"3").unwrap();
        assert_eq!(read(disk.as_ref(), &path).unwrap(), b"one3");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(disk.open(&path, How::Replace).unwrap());
        assert_eq!(disk.stat(&path).unwrap().len, 0);
    }
}
