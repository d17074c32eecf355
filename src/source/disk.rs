//! The log files of the node: list, open, read, look at. Contained: only regular files reached below
//! `pod_logs_dir` without a symbolic link are opened; the one exception is a `N.log` that links into
//! one of the configured docker roots. Nothing is ever written here, and nothing blocks (a FIFO or a
//! device in the place of a log is refused).

#![expect(
    clippy::disallowed_methods,
    reason = "this file is where the log folders are read"
)]

use super::pod_path::{self, LogKind};
use super::tail::{Inode, Listed};
use flate2::read::MultiGzDecoder;
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Buffer in front of the inflater, in bytes.
const GZIP_BUFFER: usize = 32 * 1024;

/// So often a directory is listed that changes while it is listed.
const LISTINGS: usize = 8;

/// The folders that are read.
#[derive(Clone, Debug)]
pub struct LogFolders {
    /// `pod_logs_dir`; may itself be a link.
    pub root: PathBuf,
    /// Where kubelet keeps its links, whose names tell container ids.
    pub containers_dir: PathBuf,
    /// Where the links of docker's json-file driver may lead.
    pub docker_roots: Vec<PathBuf>,
}

/// When a directory was last changed: device, inode, and mtime in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DirStamp {
    inode: Inode,
    /// Nanoseconds since 1970.
    pub changed: i128,
}

/// An open plain log file.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    /// Which file it is.
    pub inode: Inode,
}

/// An open compressed log file, read from its beginning.
pub struct GzipFile {
    decoder: MultiGzDecoder<BufReader<File>>,
    /// Bytes that came out so far.
    pub inflated: u64,
}

impl std::fmt::Debug for GzipFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GzipFile")
            .field("inflated", &self.inflated)
            .finish_non_exhaustive()
    }
}

/// How a read of a compressed file ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Inflated {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// So many bytes, and the file is at its end.
    End(usize),
    /// So many bytes, and the rest does not inflate.
    Damaged(usize),
}

impl LogFolders {
    /// Names of the real directories below the root (`relative` empty) or below a pod.
    pub fn directories(&self, relative: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(relative))? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The log files of a container directory, as they were at one moment.
    ///
    /// A name that vanishes while it is looked at means that kubelet is at work: a file that is just
    /// being replaced by its `.gz` would be in this list under neither name. So it is listed again.
    pub fn files(&self, relative: &str) -> io::Result<Vec<Listed>> {
        let folder = self.root.join(relative);
        let (mut listed, mut whole) = self.files_now(&folder)?;
        for _ in 1..LISTINGS {
            if whole {
                break;
            }
            (listed, whole) = self.files_now(&folder)?;
        }
        Ok(listed)
    }

    /// The files, and whether every name was still there when it was looked at.
    fn files_now(&self, folder: &Path) -> io::Result<(Vec<Listed>, bool)> {
        let (mut listed, mut whole) = (Vec::new(), true);
        for entry in fs::read_dir(folder)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            let Some(log) = pod_path::log_file(&name) else {
                continue;
            };
            let path = folder.join(&name);
            let is_live = log.kind == LogKind::Live;
            let Some(metadata) = self
                .resolve(&path, is_live)
                .and_then(|path| fs::symlink_metadata(path).ok())
            else {
                whole &= fs::symlink_metadata(&path).is_ok();
                continue;
            };
            if metadata.is_file() {
                listed.push(Listed {
                    name,
                    log,
                    inode: inode(&metadata),
                    size: metadata.len(),
                });
            }
        }
        Ok((listed, whole))
    }

    /// When the directory was last changed.
    pub fn stamp(&self, relative: &str) -> io::Result<DirStamp> {
        let metadata = fs::metadata(self.root.join(relative))?;
        let changed = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(DirStamp {
            inode: inode(&metadata),
            changed,
        })
    }

    /// Opens a plain log file.
    pub fn open(&self, relative: &str) -> io::Result<LogFile> {
        let file = self.open_regular(relative)?;
        let inode = inode(&file.metadata()?);
        Ok(LogFile { file, inode })
    }

    /// Opens a compressed log file.
    pub fn open_gzip(&self, relative: &str) -> io::Result<GzipFile> {
        let file = self.open_regular(relative)?;
        Ok(GzipFile {
            decoder: MultiGzDecoder::new(BufReader::with_capacity(GZIP_BUFFER, file)),
            inflated: 0,
        })
    }

    /// Size of the uncompressed text, modulo 2³², from the footer (RFC 1952, ISIZE of the last member).
    pub fn gzip_size(&self, relative: &str) -> io::Result<u32> {
        let mut file = self.open_regular(relative)?;
        file.seek(SeekFrom::End(-4))?;
        let mut size = [0; 4];
        file.read_exact(&mut size)?;
        Ok(u32::from_le_bytes(size))
    }

    /// The size of a file by name, without opening it, and which file it is.
    pub fn look(&self, relative: &str) -> io::Result<(u64, Inode)> {
        let path = self.root.join(relative);
        let path = self.resolve(&path, true).ok_or(io::ErrorKind::NotFound)?;
        let metadata = fs::symlink_metadata(path)?;
        Ok((metadata.len(), inode(&metadata)))
    }

    /// The container id in the name of kubelet's link to the log of this restart:
    /// `<pod>_<namespace>_<container>-<id>.log` (kubelet, `legacyLogSymlink`).
    pub fn container_id(&self, pod: &str, namespace: &str, container: &str, log: &str) -> Option<String> {
        let prefix = format!("{pod}_{namespace}_{container}-");
        for entry in fs::read_dir(&self.containers_dir).ok()? {
            let Ok(name) = entry.ok()?.file_name().into_string() else {
                continue;
            };
            let id = name
                .strip_prefix(&prefix)
                .and_then(|rest| rest.strip_suffix(".log"));
            let Some(id) = id.filter(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
            else {
                continue;
            };
            let target = fs::read_link(self.containers_dir.join(&name)).ok()?;
            if target.ends_with(log) {
                return Some(id.to_owned());
            }
        }
        None
    }

    fn open_regular(&self, relative: &str) -> io::Result<File> {
        let path = self.root.join(relative);
        let path = self.resolve(&path, true).ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// The path itself, or where it leads when it is a link that may be followed.
    fn resolve(&self, path: &Path, may_link: bool) -> Option<PathBuf> {
        if !fs::symlink_metadata(path).ok()?.file_type().is_symlink() {
            return Some(path.to_owned());
        }
        let target = fs::canonicalize(path).ok().filter(|_| may_link)?;
        let allowed = |root: &PathBuf| fs::canonicalize(root).is_ok_and(|root| target.starts_with(root));
        self.docker_roots.iter().any(allowed).then_some(target)
    }
}

impl LogFile {
    /// Its size now, in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads at `offset` until the buffer is full or the file ends.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl GzipFile {
    /// Inflates the next bytes until the buffer is full, the file ends, or it is found damaged.
    pub fn read(&mut self, buffer: &mut [u8]) -> Inflated {
        let mut filled = 0;
        let end = loop {
            if filled == buffer.len() {
                break Inflated::Bytes(filled);
            }
            match self.decoder.read(&mut buffer[filled..]) {
                Ok(0) => break Inflated::End(filled),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break Inflated::Damaged(filled),
            }
        };
        self.inflated += filled as u64;
        end
    }
}

fn inode(metadata: &Metadata) -> Inode {
    Inode {
        dev: metadata.dev(),
        ino: metadata.ino(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn folders(root: &Path) -> LogFolders {
        let docker_roots = vec![root.join("docker")];
        LogFolders {
            root: root.join("pods"),
            containers_dir: root.join("containers"),
            docker_roots,
        }
    }

    #[test]
    fn links_are_followed_only_into_docker_roots() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("pods/a_b_c/app");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(home.path().join("docker/id")).unwrap();
        fs::write(home.path().join("docker/id/x-json.log"), "docker").unwrap();
        fs::write(home.path().join("secret"), "secret").unwrap();
        symlink(home.path().join("docker/id/x-json.log"), dir.join("0.log")).unwrap();
        symlink(home.path().join("secret"), dir.join("1.log")).unwrap();
        symlink(
            home.path().join("docker/id/x-json.log"),
            dir.join("2.log.20260101-000000"),
        )
        .unwrap();
        let folders = folders(home.path());
        let names: Vec<_> = folders
            .files("a_b_c/app")
            .unwrap()
            .into_iter()
            .map(|listed| listed.name)
            .collect();
        assert_eq!(names, ["0.log"]);
        assert!(folders.open("a_b_c/app/0.log").is_ok());
        assert!(folders.open("a_b_c/app/1.log").is_err());
    }

    #[test]
    fn a_fifo_and_a_directory_are_refused_without_waiting() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("pods/a_b_c/app");
        fs::create_dir_all(dir.join("1.log")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.join("0.log"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let folders = folders(home.path());
        assert_eq!(folders.files("a_b_c/app").unwrap(), []);
        assert!(folders.open("a_b_c/app/0.log").is_err());
        assert!(folders.open("a_b_c/app/1.log").is_err());
    }

    #[test]
    fn a_cut_gzip_gives_what_inflates() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("pods/a_b_c/app");
        fs::create_dir_all(&dir).unwrap();
        let text: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        let whole = encoder.finish().unwrap();
        fs::write(dir.join("0.log.1.gz"), &whole).unwrap();
        fs::write(dir.join("0.log.2.gz"), &whole[..whole.len() / 2]).unwrap();
        let folders = folders(home.path());
        let mut buffer = vec![0; text.len() + 1];
        let mut file = folders.open_gzip("a_b_c/app/0.log.1.gz").unwrap();
        assert_eq!(file.read(&mut buffer), Inflated::End(text.len()));
        assert_eq!(
            folders.gzip_size("a_b_c/app/0.log.1.gz").unwrap() as usize,
            text.len()
        );
        let mut file = folders.open_gzip("a_b_c/app/0.log.2.gz").unwrap();
        let Inflated::Damaged(some) = file.read(&mut buffer) else {
            panic!()
        };
        assert!(some > 1000 && buffer[..some] == text[..some]);
    }

    #[test]
    fn the_container_id_stands_in_the_name_of_the_link() {
        let home = tempfile::tempdir().unwrap();
        let folders = folders(home.path());
        fs::create_dir_all(&folders.containers_dir).unwrap();
        let id = "0123456789abcdef".repeat(4);
        let link = folders.containers_dir.join(format!("web_shop_app-{id}.log"));
        symlink("/var/log/pods/shop_web_u/app/3.log", link).unwrap();
        assert_eq!(folders.container_id("web", "shop", "app", "app/3.log"), Some(id));
        assert_eq!(folders.container_id("web", "shop", "app", "app/2.log"), None);
    }
}
