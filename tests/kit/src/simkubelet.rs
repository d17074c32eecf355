//! A node without a node: pod log directories written, rotated, compressed and removed exactly as kubelet does it.
//!
//! ```text
//! <root>/pods/<ns>_<pod>_<uid>/<container>/<N>.log                      live
//!                                         /<N>.log.<YYYYMMDD-HHMMSS>     rotated, plain (the youngest one)
//!                                         /<N>.log.<YYYYMMDD-HHMMSS>.gz  rotated, compressed
//!                                         /<N>.log.<…>.tmp               compression under way
//! <root>/containers/<pod>_<ns>_<container>-<64 hex>.log                  link to the live file
//! ```
//!
//! The rules come from kubelet's `pkg/kubelet/logs/container_log_manager.go` and `kuberuntime_container.go`. Every step
//! of a rotation can be made alone, so that a test can look (or crash) between any two of them: see [`rotation`].
//! Between rename and reopen a writer still writes to the old inode, as a runtime does. Nothing here waits, and the
//! clock is read for rotation stamps only ([`Node::set_clock`] replaces it).

pub mod disk;
pub mod rotation;

use self::disk::{NodeDisk, NodeFile, RealDisk};
use crate::chance::mix;
use crate::lines::{CriDialect, Stream};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a kubelet and a runtime are configured to do.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// `containerLogMaxFiles`: files per container instance, the live one included. kubelet's default is 5, its minimum 2.
    pub max_files: usize,
    /// `containerLogMaxSize` in bytes; kubelet's default is 10 MiB. Looked at by [`ContainerLog::rotate_if_full`] only.
    pub max_size_bytes: u64,
    /// How lines are written and files are reopened.
    pub dialect: CriDialect,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            max_files: 5,
            max_size_bytes: 10 << 20,
            dialect: CriDialect::Containerd,
        }
    }
}

/// A node's log directories.
#[derive(Debug, Clone)]
pub struct Node {
    disk: Arc<dyn NodeDisk>,
    root: PathBuf,
    config: NodeConfig,
    clock: Arc<AtomicU64>,
}

/// One pod's directory.
#[derive(Debug, Clone)]
pub struct Pod {
    node: Node,
    namespace: String,
    name: String,
    uid: String,
}

/// The writer of one container: its live file, its rotated ones and its restart number.
#[derive(Debug)]
pub struct ContainerLog {
    pod: Pod,
    container: String,
    restart: u32,
    /// What the runtime writes to; after a rename it is the rotated file until the reopen.
    out: Box<dyn NodeFile>,
    /// Where the live file went in a rename that was not followed by a reopen yet.
    renamed_to: Option<PathBuf>,
}

impl Node {
    /// A node below `root` with kubelet's defaults; makes `root/pods` and `root/containers`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::with(root, NodeConfig::default())
    }

    /// A node below `root`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with(root: impl Into<PathBuf>, config: NodeConfig) -> io::Result<Self> {
        Self::on(Arc::new(RealDisk), root, config)
    }

    /// A node below `root` of a disk.
    ///
    /// # Errors
    /// What the file system says.
    pub fn on(disk: Arc<dyn NodeDisk>, root: impl Into<PathBuf>, config: NodeConfig) -> io::Result<Self> {
        let node = Self {
            disk,
            root: root.into(),
            config,
            clock: Arc::default(),
        };
        node.disk.make_dirs(&node.pod_logs_dir())?;
        node.disk.make_dirs(&node.containers_dir())?;
        Ok(node)
    }

    /// What kubelet calls `podLogsDir`: the directory that an agent is told to read.
    pub fn pod_logs_dir(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The directory of links that older agents read.
    pub fn containers_dir(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The configuration of this node.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The next rotation is stamped with this moment (Unix seconds), later ones at least a second later each.
    pub fn set_clock(&self, unix_seconds: u64) {
        self.clock
            .store(unix_seconds.saturating_sub(1), Ordering::Relaxed);
    }

    /// A pod from the API server; its directory is made with its first container.
    pub fn pod(&self, namespace: &str, name: &str, uid: &str) -> Pod {
        Pod {
            node: self.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// A static pod: its directory carries the hash of its manifest where others have their uid, and its mirror in the
    /// API has another uid (annotations `kubernetes.io/config.hash` and `.mirror` carry the hash).
    ///
    /// # Panics
    /// When the hash is not of 32 hex digits.
    pub fn static_pod(&self, namespace: &str, name: &str, config_hash: &str) -> Pod {
        let is_hash = config_hash.len() == 32 && config_hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash, "a config hash has 32 hex digits, not {config_hash:?}");
        self.pod(namespace, name, config_hash)
    }

    /// The moment for a rotation stamp. kubelet's stamps have one second of resolution and it looks every ten; who
    /// rotates faster gets artificial seconds, so that no name is used twice.
    fn next_stamp(&self) -> u64 {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let last = self.clock.load(Ordering::Relaxed);
        let stamp = if last == 0 { now } else { last + 1 };
        self.clock.store(stamp, Ordering::Relaxed);
        stamp
    }
}

impl Pod {
    /// `<pod_logs_dir>/<namespace>_<pod>_<uid>`.
    pub fn dir(&self) -> PathBuf {
        self.node
            .pod_logs_dir()
            .join(format!("{}_{}_{}", self.namespace, self.name, self.uid))
    }

    /// The uid, or the config hash of a static pod.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Starts a container at restart number 0.
    ///
    /// # Errors
    /// What the file system says.
    pub fn container(&self, name: &str) -> io::Result<ContainerLog> {
        self.container_at(name, 0)
    }

    /// Starts a container at a given restart number; appends when its live file is already there, as a runtime may after
    /// a reboot.
    ///
    /// # Errors
    /// What the file system says.
    pub fn container_at(&self, name: &str, restart: u32) -> io::Result<ContainerLog> {
        self.node.disk.make_dirs(&self.dir().join(name))?;
        let out = open_log(
            self.node.disk.as_ref(),
            &self.dir().join(name).join(format!("{restart}.log")),
            self.node.config.dialect,
        )?;
        let log = ContainerLog {
            pod: self.clone(),
            container: name.to_owned(),
            restart,
            out,
            renamed_to: None,
        };
        log.link()?;
        Ok(log)
    }

    /// Starts a container as kubelet does when the runtime lost its state in a reboot: at the highest restart number on
    /// disk plus one (`calcRestartCountByLogDir`).
    ///
    /// # Errors
    /// What the file system says.
    pub fn container_after_reboot(&self, name: &str) -> io::Result<ContainerLog> {
        let files = self.node.disk.names(&self.dir().join(name))?;
        let restarts = files
            .iter()
            .filter_map(|file| file.split_once(".log")?.0.parse::<u32>().ok());
        self.container_at(name, restarts.max().map_or(0, |highest| highest + 1))
    }

    /// The pod was deleted and its workers ended: all log files of all containers go, and their links. The directories
    /// stay until [`Pod::remove_dir`]; a runtime that still has a file open keeps writing into nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_files(&self) -> io::Result<()> {
        let disk = &self.node.disk;
        for container in disk.names(&self.dir())? {
            for file in disk.names(&self.dir().join(&container))? {
                disk.remove(&self.dir().join(&container).join(file))?;
            }
        }
        let links = format!("{}_{}_", self.name, self.namespace);
        for link in disk
            .names(&self.node.containers_dir())?
            .iter()
            .filter(|link| link.starts_with(&links))
        {
            let link = self.node.containers_dir().join(link);
            // Another pod of the same name (a StatefulSet's successor) keeps its links.
            if disk.read_link(&link)?.starts_with(self.dir()) {
                disk.remove(&link)?;
            }
        }
        Ok(())
    }

    /// The container garbage collection, up to a minute later: the directory goes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_dir(&self) -> io::Result<()> {
        self.node.disk.remove_tree(&self.dir())
    }

    /// Both steps of a deletion at once.
    ///
    /// # Errors
    /// What the file system says.
    pub fn delete_pod(&self) -> io::Result<()> {
        self.remove_files()?;
        self.remove_dir()
    }
}

impl ContainerLog {
    /// The restart number of the running instance.
    pub fn restart_number(&self) -> u32 {
        self.restart
    }

    /// The container's directory.
    pub fn dir(&self) -> PathBuf {
        self.pod.dir().join(&self.container)
    }

    /// `<N>.log` of the running instance (which may not exist between rename and reopen).
    pub fn live_path(&self) -> PathBuf {
        self.dir().join(format!("{}.log", self.restart))
    }

    /// The runtime's id of the running instance, 64 hex digits: another one for each restart.
    pub fn container_id(&self) -> String {
        let mut seed = u64::from(self.restart) + 1;
        for byte in self.pod.uid.bytes().chain(self.container.bytes()) {
            seed = mix(seed ^ u64::from(byte));
        }
        (1..5)
            .map(|part| format!("{:016x}", mix(seed.wrapping_add(part))))
            .collect()
    }

    /// The link in `containers/`.
    pub fn link_path(&self) -> PathBuf {
        self.pod
            .node
            .containers_dir()
            .join(format!("{}{}.log", self.link_prefix(), self.container_id()))
    }

    /// Appends bytes as they are, in one `write`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.append(bytes)
    }

    /// Appends one message in the node's dialect, long ones as `P…F`, in one `write`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_line(&mut self, unix_ns: u64, stream: Stream, content: &[u8]) -> io::Result<()> {
        let lines = self.dialect().lines(unix_ns, stream, content);
        self.write(&lines)
    }

    /// Bytes in the file that is being written.
    ///
    /// # Errors
    /// What the file system says.
    pub fn size(&self) -> io::Result<u64> {
        self.out.size()
    }

    /// Waits until what was written is on the disk: what a test does before it cuts the power.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> io::Result<()> {
        self.out.sync()
    }

    /// The container died and was started again: N+1 is written from now on, and kubelet keeps one dead instance, so
    /// everything of the one before that goes, log files before the link.
    ///
    /// # Errors
    /// What the file system says.
    pub fn restart(&mut self) -> io::Result<()> {
        self.restart += 1;
        self.out = open_log(self.disk(), &self.live_path(), self.dialect())?;
        self.renamed_to = None;
        if let Some(old) = self.restart.checked_sub(2) {
            self.remove_instance(old)?;
        }
        self.link()
    }

    /// Empties the live file in place: what is left of `logrotate copytruncate`, and of conmon's own limit on some
    /// versions. Returns how many bytes went.
    ///
    /// # Errors
    /// What the file system says.
    pub fn truncate(&mut self) -> io::Result<u64> {
        let went = self.size()?;
        self.out.cut(0)?;
        Ok(went)
    }

    /// An outside `logrotate` with `copytruncate`: copies the live file to `<N>.log.1`, then empties it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn copytruncate(&mut self) -> io::Result<PathBuf> {
        let copy = self.copy_live()?;
        self.truncate()?;
        Ok(copy)
    }

    /// The first half of [`ContainerLog::copytruncate`]: what is written between it and [`ContainerLog::truncate`] is in
    /// no file afterwards.
    ///
    /// # Errors
    /// What the file system says.
    pub fn copy_live(&mut self) -> io::Result<PathBuf> {
        let copy = self.dir().join(format!("{}.log.1", self.restart));
        let bytes = self.disk().read(&self.live_path())?;
        self.disk().write(&copy, &bytes, &self.live_path())?;
        Ok(copy)
    }

    /// conmon's own `log_size_max`: a new file takes the live one's name, and the old one is gone at once.
    ///
    /// # Errors
    /// What the file system says.
    pub fn replace_live(&mut self) -> io::Result<()> {
        self.out = open_log(self.disk(), &self.live_path(), CriDialect::Conmon)?;
        Ok(())
    }

    fn disk(&self) -> &dyn NodeDisk {
        self.pod.node.disk.as_ref()
    }

    fn dialect(&self) -> CriDialect {
        self.pod.node.config.dialect
    }

    fn link_prefix(&self) -> String {
        format!("{}_{}_{}-", self.pod.name, self.pod.namespace, self.container)
    }

    fn link(&self) -> io::Result<()> {
        match self.disk().symlink(&self.live_path(), &self.link_path()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    fn remove_instance(&self, restart: u32) -> io::Result<()> {
        let prefix = format!("{restart}.log");
        for file in self
            .disk()
            .names(&self.dir())?
            .iter()
            .filter(|file| file.starts_with(&prefix))
        {
            self.disk().remove(&self.dir().join(file))?;
        }
        let target = self.dir().join(prefix);
        for link in self.disk().names(&self.pod.node.containers_dir())? {
            let link = self.pod.node.containers_dir().join(link);
            if self.disk().read_link(&link)? == target {
                self.disk().remove(&link)?;
            }
        }
        Ok(())
    }
}

/// Opens a log as the runtime does: containerd appends under 0640, conmon makes `<N>.log.tmp` under 0600 and renames it
/// onto the name.
fn open_log(disk: &dyn NodeDisk, path: &Path, dialect: CriDialect) -> io::Result<Box<dyn NodeFile>> {
    match dialect {
        CriDialect::Containerd => disk.open_append(path, 0o640),
        CriDialect::Conmon => {
            let new = PathBuf::from(format!("{}.tmp", path.display()));
            let file = disk.open_append(&new, 0o600)?;
            disk.rename(&new, path)?;
            Ok(file)
        }
    }
}

#[cfg(test)]
mod tests;
