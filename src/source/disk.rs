//! The log files of the node: list, open, read, look at. Contained: only regular files reached below
//! `pod_logs_dir` without a symbolic link are opened; the one exception is a `N.log` that links into
//! one of the configured docker roots. Nothing is ever written here, and nothing blocks (a FIFO or a
//! device in the place of a log is refused).

use super::pod_path::{self, LogKind};
use super::tail::{Inode, Listed};
use crate::disk::{Disk, Kind, OpenFile, Sequential, Stat};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Buffer in front of the inflater, in bytes.
const GZIP_BUFFER: usize = 32 * 1024;

/// So often a directory is listed that changes while it is listed.
const LISTINGS: usize = 8;

/// The folders that are read.
#[derive(Clone, Debug)]
pub struct LogFolders {
    /// Where they are.
    pub disk: Disk,
    /// `pod_logs_dir`; may itself be a link.
    pub root: PathBuf,
    /// Where kubelet keeps its links, whose names tell container ids.
    pub containers_dir: PathBuf,
    /// Where the links of docker's json-file driver may lead.
    pub docker_roots: Vec<PathBuf>,
}

/// The names in kubelet's directory of links, as last listed.
#[derive(Debug, Default)]
pub struct Links {
    names: Vec<Box<str>>,
    changed: Option<i128>,
    settled: bool,
    turn: Option<u64>,
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
    file: Box<dyn OpenFile>,
    /// Which file it is.
    pub inode: Inode,
}

type Inflater = MultiGzDecoder<BufReader<Sequential>>;

fn inflater(file: Box<dyn OpenFile>) -> Inflater {
    MultiGzDecoder::new(BufReader::with_capacity(GZIP_BUFFER, Sequential::new(file)))
}

/// An open compressed log file, read from its beginning.
pub struct GzipFile {
    /// None after damage was found.
    decoder: Option<Inflater>,
    /// Bytes that came out so far.
    pub inflated: u64,
    /// It was found damaged because it ends too early: its last bytes are no footer.
    pub cut_short: bool,
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
        let entries = self.disk.list(&self.root.join(relative))?.into_iter();
        let folders = entries.filter(|entry| entry.kind == Kind::Folder);
        Ok(folders
            .filter_map(|entry| entry.name.into_string().ok())
            .collect())
    }

    /// The log files of a container directory, as they were at one moment.
    ///
    /// A name that vanishes while it is looked at means that kubelet is at work: a file that is just
    /// being replaced by its `.gz` would be in this list under neither name. So it is listed again.
    ///
    /// # Errors
    /// What the file system says; a list without one of its files is an error, too.
    pub fn files(&self, relative: &str) -> io::Result<Vec<Listed>> {
        for _ in 0..LISTINGS {
            let (listed, whole) = self.files_now(relative)?;
            if whole {
                return Ok(listed);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "its files change while they are listed",
        ))
    }

    /// The files, and whether every name was still there when it was looked at.
    fn files_now(&self, relative: &str) -> io::Result<(Vec<Listed>, bool)> {
        let (mut listed, mut whole) = (Vec::new(), true);
        let folder = self.root.join(relative);
        for entry in self.disk.list(&folder)? {
            let Ok(name) = entry.name.into_string() else {
                continue;
            };
            let Some(log) = pod_path::log_file(&name) else {
                continue;
            };
            let may_link = log.kind == LogKind::Live;
            let Ok(place) = self.place(&format!("{relative}/{name}"), may_link) else {
                match self.disk.stat(&folder.join(&name)) {
                    // A link that is not followed, or leads nowhere.
                    Ok(stat) => whole &= stat.kind == Kind::Link,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => whole = false,
                    Err(error) => return Err(error),
                }
                continue;
            };
            if place.stat.kind == Kind::File {
                let (inode, size) = (inode(&place.stat), place.stat.len);
                listed.push(Listed {
                    name,
                    log,
                    inode,
                    size,
                });
            }
        }
        Ok((listed, whole))
    }

    /// When the directory was last changed.
    pub fn stamp(&self, relative: &str) -> io::Result<DirStamp> {
        let stat = self.disk.stat(&self.root.join(relative))?;
        Ok(DirStamp {
            inode: inode(&stat),
            changed: stat.changed,
        })
    }

    /// Opens a plain log file.
    pub fn open(&self, relative: &str) -> io::Result<LogFile> {
        let file = self.open_regular(relative)?;
        let inode = inode(&file.stat()?);
        Ok(LogFile { file, inode })
    }

    /// Opens a compressed log file.
    pub fn open_gzip(&self, relative: &str) -> io::Result<GzipFile> {
        Ok(GzipFile {
            decoder: Some(inflater(self.open_regular(relative)?)),
            inflated: 0,
            cut_short: false,
        })
    }

    /// Size of the uncompressed text, modulo 2³², from the footer (RFC 1952, ISIZE of the last member).
    pub fn gzip_size(&self, relative: &str) -> io::Result<u32> {
        let file = self.open_regular(relative)?;
        let footer = file.stat()?.len.checked_sub(4);
        let footer = footer.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut size = [0; 4];
        if file.read_at(&mut size, footer)? < size.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(u32::from_le_bytes(size))
    }

    /// The size of a file by name, without opening it, and which file it is.
    pub fn look(&self, relative: &str) -> io::Result<(u64, Inode)> {
        let stat = self.place(relative, true)?.stat;
        Ok((stat.len, inode(&stat)))
    }

    fn open_regular(&self, relative: &str) -> io::Result<Box<dyn OpenFile>> {
        let place = self.place(relative, true)?;
        self.disk.open_beneath(&place.root, &place.relative)
    }

    /// Where a name leads: to itself, or into a docker root when it is a link that may be followed.
    fn place(&self, relative: &str, may_link: bool) -> io::Result<Place> {
        let path = self.root.join(relative);
        let stat = self.disk.stat(&path)?;
        if stat.kind != Kind::Link {
            let (root, relative) = (self.root.clone(), relative.into());
            return Ok(Place { root, relative, stat });
        }
        if !may_link {
            return Err(io::ErrorKind::NotFound.into());
        }
        let target = self.disk.canonical(&path)?;
        for root in &self.docker_roots {
            if let Ok(root) = self.disk.canonical(root)
                && let Ok(relative) = target.strip_prefix(&root).map(Path::to_owned)
            {
                let stat = self.disk.stat(&target)?;
                return Ok(Place { root, relative, stat });
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Links {
    /// The container id in the name of kubelet's link to the log of this restart:
    /// `<pod>_<namespace>_<container>-<id>.log` (kubelet, `legacyLogSymlink`). In one `turn` the directory is listed once
    /// at most, and only when it has changed.
    pub fn container_id(
        &mut self,
        folders: &LogFolders,
        turn: u64,
        [pod, namespace, container, log]: [&str; 4],
    ) -> Option<String> {
        if self.turn != Some(turn) {
            self.turn = Some(turn);
            self.refresh(folders);
        }
        let prefix = format!("{pod}_{namespace}_{container}-");
        let from = self.names.partition_point(|name| name.as_ref() < prefix.as_str());
        let of_container = self.names[from..]
            .iter()
            .map_while(|name| Some((name, name.strip_prefix(&prefix)?.strip_suffix(".log")?)));
        for (name, id) in of_container {
            if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                continue;
            }
            let target = folders.disk.link(&folders.containers_dir.join(name.as_ref()));
            if target.is_ok_and(|target| target.ends_with(log)) {
                return Some(id.to_owned());
            }
        }
        None
    }

    fn refresh(&mut self, folders: &LogFolders) {
        let changed = folders
            .disk
            .stat(&folders.containers_dir)
            .map(|stat| stat.changed)
            .ok();
        let same = changed.is_some() && changed == self.changed;
        if same && self.settled {
            return;
        }
        // Listed once more in a later turn: two changes may have the same time.
        self.settled = same;
        let entries = folders.disk.list(&folders.containers_dir).unwrap_or_default();
        let names = entries
            .into_iter()
            .filter_map(|entry| entry.name.into_string().ok());
        self.names = names.map(String::into_boxed_str).collect();
        self.names.sort_unstable();
        self.changed = changed;
    }
}

/// Where a log file is, below a root that it may be opened under.
struct Place {
    root: PathBuf,
    relative: PathBuf,
    stat: Stat,
}

impl LogFile {
    /// Its size now, in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.stat()?.len)
    }

    /// Whether some name leads to it, here or elsewhere. One that cannot be asked is taken to have one.
    pub fn has_name(&self) -> bool {
        self.file.stat().map_or(true, |stat| stat.links > 0)
    }

    /// Reads at `offset` until the buffer is full or the file ends.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// Bytes of the hole that begins at `offset`; 0 where there is none, or nobody knows.
    pub fn hole_at(&self, offset: u64) -> u64 {
        let data = self.file.data_from(offset);
        data.map_or(0, |data| data.saturating_sub(offset))
    }
}

impl GzipFile {
    /// Inflates the next bytes until the buffer is full, the file ends, or it is found damaged.
    ///
    /// # Errors
    /// What the file system says; the file must be opened again then.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Inflated> {
        let mut filled = 0;
        let end = loop {
            if filled == buffer.len() {
                break Inflated::Bytes(filled);
            }
            let Some(decoder) = &mut self.decoder else {
                break Inflated::Damaged(filled);
            };
            match decoder.read(&mut buffer[filled..]) {
                Ok(0) => break Inflated::End(filled),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The disk's errors have a number, those of the inflater have none.
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Err(error) => {
                    self.cut_short = error.kind() == io::ErrorKind::UnexpectedEof;
                    filled += self.rest_before_damage(filled, &mut buffer[filled..])?;
                }
            }
        };
        self.inflated += filled as u64;
        Ok(end)
    }

    /// The bytes before damage that was just found, `filled` bytes into this read. The inflater keeps back
    /// what it made in the call that fails, so the file is inflated once more, at last byte by byte: then
    /// that is one byte at most.
    fn rest_before_damage(&mut self, filled: usize, room: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = self.decoder.take().filter(|_| !self.cut_short) else {
            return Ok(0);
        };
        let mut again = inflater(decoder.into_inner().into_inner().into_file());
        let known = self.inflated + filled as u64;
        io::copy(&mut again.by_ref().take(known), &mut io::sink())?;
        let mut rest = 0;
        while rest < room.len() {
            match again.read(&mut room[rest..=rest]) {
                Ok(1) => rest += 1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Ok(_) | Err(_) => break,
            }
        }
        Ok(rest)
    }
}

fn inode(stat: &Stat) -> Inode {
    Inode {
        dev: stat.dev,
        ino: stat.ino,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the files that are read")]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn folders(root: &Path) -> LogFolders {
        let docker_roots = vec![root.join("docker")];
        LogFolders {
            disk: crate::disk::kernel(),
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
        assert_eq!(file.read(&mut buffer).unwrap(), Inflated::End(text.len()));
        assert_eq!(
            folders.gzip_size("a_b_c/app/0.log.1.gz").unwrap() as usize,
            text.len()
        );
        let mut file = folders.open_gzip("a_b_c/app/0.log.2.gz").unwrap();
        let Inflated::Damaged(some) = file.read(&mut buffer).unwrap() else {
            panic!()
        };
        assert!(some > 1000 && buffer[..some] == text[..some]);
    }

    #[test]
    fn a_damaged_gzip_gives_all_that_stands_before_the_damage() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("pods/a_b_c/app");
        fs::create_dir_all(&dir).unwrap();
        let text: Vec<u8> = (0..5_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        let mut file = encoder.finish().unwrap();
        assert!(file.len() < GZIP_BUFFER, "the inflater gets all of it at once");
        let damage = file.len() * 3 / 4;
        file[damage..].fill(0xff);
        fs::write(dir.join("0.log.1.gz"), &file).unwrap();
        let mut file = folders(home.path()).open_gzip("a_b_c/app/0.log.1.gz").unwrap();
        let mut buffer = vec![0; text.len() * 2];
        let Inflated::Damaged(some) = file.read(&mut buffer).unwrap() else {
            panic!()
        };
        let same = text
            .iter()
            .zip(&buffer[..some])
            .take_while(|(a, b)| a == b)
            .count();
        assert!(same > text.len() / 2, "{same} of {some} bytes");
        assert_eq!(file.inflated, some as u64);
        assert_eq!(file.read(&mut buffer).unwrap(), Inflated::Damaged(0));
    }

    #[test]
    fn the_container_id_stands_in_the_name_of_the_link() {
        let home = tempfile::tempdir().unwrap();
        let folders = folders(home.path());
        fs::create_dir_all(&folders.containers_dir).unwrap();
        let id = "0123456789abcdef".repeat(4);
        let link = folders.containers_dir.join(format!("web_shop_app-{id}.log"));
        symlink("/var/log/pods/shop_web_u/app/3.log", link).unwrap();
        let mut links = Links::default();
        let mut find = |turn, log| links.container_id(&folders, turn, ["web", "shop", "app", log]);
        assert_eq!(find(1, "app/3.log"), Some(id));
        assert_eq!(find(1, "app/2.log"), None);
        let later = "fedcba9876543210".repeat(4);
        let link = folders.containers_dir.join(format!("web_shop_app-{later}.log"));
        symlink("/var/log/pods/shop_web_u/app/4.log", link).unwrap();
        assert_eq!(find(1, "app/4.log"), None, "listed once a turn");
        assert_eq!(find(2, "app/4.log"), Some(later));
    }
}
