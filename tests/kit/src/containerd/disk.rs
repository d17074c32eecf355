//! A disk whose live logs are written by real containers.
//!
//! Each container runs two `cat`s, one for each output, which read from FIFOs that the node shares with it: what a test
//! writes there, in whatever parts, is what the program prints. The rest is a real directory.

use super::{Client, STEP_TIMEOUT, image::IMAGE};
use crate::lines::Stream;
use crate::runtime::poll_until;
use crate::simkubelet::disk::{NodeDisk, NodeFile, RealDisk};
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Where a node's pods run in a real containerd; clones are the same disk. Pods and containers begin with their first log.
#[derive(Clone)]
pub struct ContainerdDisk {
    shared: Arc<Shared>,
}

struct Shared {
    client: Arc<Client>,
    pod_logs_dir: PathBuf,
    /// The directory that the containers see as `/node`.
    pipes: PathBuf,
    /// The running container by its directory of logs.
    running: Mutex<HashMap<PathBuf, Running>>,
    /// The sandbox by the pod's directory.
    sandboxes: Mutex<HashMap<PathBuf, String>>,
}

/// One container, and the ends of its pipes.
#[derive(Debug)]
struct Running {
    restart: u32,
    id: String,
    out: File,
    err: File,
}

/// What the path of a live log says.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    pod_dir: &'a Path,
    /// Namespace, name and uid.
    pod: [&'a str; 3],
    container: &'a str,
    restart: u32,
}

impl fmt::Debug for ContainerdDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ContainerdDisk")
            .field("pod_logs_dir", &self.shared.pod_logs_dir)
            .finish_non_exhaustive()
    }
}

impl ContainerdDisk {
    pub(super) fn new(client: Arc<Client>, pod_logs_dir: PathBuf, pipes: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            client,
            pod_logs_dir,
            pipes,
            running: Mutex::default(),
            sandboxes: Mutex::default(),
        });
        Self { shared }
    }

    /// The container that logs into `dir` prints these bytes, as they are.
    ///
    /// # Errors
    /// When no container logs there, or when it has ended.
    pub fn print(&self, dir: &Path, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let running = self.running();
        let Some(container) = running.get(dir) else {
            return Err(io::Error::other(format!(
                "no container logs into {}",
                dir.display()
            )));
        };
        let mut pipe = match stream {
            Stream::Stdout => &container.out,
            Stream::Stderr => &container.err,
        };
        pipe.write_all(bytes)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<PathBuf, Running>> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, command: &[&str]) -> io::Result<String> {
        self.shared.client.call(command).map_err(io::Error::other)
    }

    /// The log of this path is to be there: reopens it, or ends the container before this one and starts this one.
    fn open_live(&self, path: &Path) -> io::Result<()> {
        let place = place(&self.shared.pod_logs_dir, path)?;
        let dir = place.pod_dir.join(place.container);
        let before = self.running().remove(&dir);
        let now = match before {
            Some(container) if container.restart == place.restart => {
                let reopened = self.call(&["reopen", &container.id]);
                // It runs on, whatever became of the reopening.
                self.running().insert(dir, container);
                return reopened.map(drop);
            }
            Some(Running { id, out, err, .. }) => {
                drop((out, err));
                let code = self.call(&["wait", &id])?;
                if code != "0" {
                    return Err(io::Error::other(format!("container {id} ended with {code}")));
                }
                self.run(&place)?
            }
            None => self.run(&place)?,
        };
        self.running().insert(dir, now);
        Ok(())
    }

    fn run(&self, place: &Place<'_>) -> io::Result<Running> {
        let Shared { client, pipes, .. } = &*self.shared;
        let sandbox = self.sandbox(place)?;
        let name = format!("{}-{}-{}", sandbox, place.container, place.restart);
        let (out, err) = (format!("{name}.out"), format!("{name}.err"));
        for pipe in [&out, &err] {
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, pipes.join(pipe), FileType::Fifo, mode, 0)?;
        }
        let script = format!("cat /node/{out} & cat /node/{err} >&2; wait");
        let mut command = self.pod_command("run", place)?;
        command.extend([
            sandbox,
            place.container.to_owned(),
            place.restart.to_string(),
            IMAGE.to_owned(),
            utf8(pipes)?.to_owned(),
        ]);
        command.extend(["/bin/sh", "-c", &script].map(str::to_owned));
        let id = client.call(&command).map_err(io::Error::other)?;
        client.ids().containers.insert(id.clone());
        Ok(Running {
            restart: place.restart,
            id,
            out: open_pipe(&pipes.join(out))?,
            err: open_pipe(&pipes.join(err))?,
        })
    }

    /// The pod's sandbox, which is made with its first container.
    fn sandbox(&self, place: &Place<'_>) -> io::Result<String> {
        let sandboxes = self.shared.sandboxes.lock();
        let mut sandboxes = sandboxes.unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = sandboxes.get(place.pod_dir) {
            return Ok(id.clone());
        }
        let client = &self.shared.client;
        let command = self.pod_command("sandbox", place)?;
        let id = client.call(&command).map_err(io::Error::other)?;
        client.ids().sandboxes.insert(id.clone());
        sandboxes.insert(place.pod_dir.to_owned(), id.clone());
        Ok(id)
    }

    fn pod_command(&self, command: &str, place: &Place<'_>) -> io::Result<Vec<String>> {
        let [namespace, name, uid] = place.pod;
        let logs = utf8(&self.shared.pod_logs_dir)?;
        Ok([command, logs, namespace, name, uid].map(str::to_owned).to_vec())
    }
}

impl NodeDisk for ContainerdDisk {
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_dirs(path)
    }

    /// Has the container of this log opened it; it is the runtime that chooses the mode.
    fn open_append(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn NodeFile>> {
        self.open_live(path)?;
        Ok(Box::new(LiveLog {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
        RealDisk.write(path, bytes, like)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_tree(path)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        RealDisk.symlink(target, link)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.read_link(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.names(dir)
    }
}

/// The log of a running container.
#[derive(Debug)]
struct LiveLog {
    disk: ContainerdDisk,
    path: PathBuf,
}

impl NodeFile for LiveLog {
    /// The container prints these bytes to its standard output: they arrive in the file with a stamp, line by line.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(&self.path);
        self.disk.print(dir, Stream::Stdout, bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path)?.len())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        File::options().write(true).open(&self.path)?.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Takes `<pod_logs_dir>/<namespace>_<pod>_<uid>/<container>/<restart>.log` apart.
fn place<'a>(pod_logs_dir: &Path, path: &'a Path) -> io::Result<Place<'a>> {
    let parse = || {
        let dir = path.parent()?;
        let pod_dir = dir.parent().filter(|pod| pod.parent() == Some(pod_logs_dir))?;
        let mut pod = pod_dir.file_name()?.to_str()?.splitn(3, '_');
        Some(Place {
            pod_dir,
            pod: [pod.next()?, pod.next()?, pod.next()?],
            container: dir.file_name()?.to_str()?,
            restart: path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()?,
        })
    };
    parse().ok_or_else(|| io::Error::other(format!("{} is no live log of a pod", path.display())))
}

/// Opens a FIFO for writing once the container reads it. Without the container this fails in time; and a write fails
/// when the container has gone, instead of waiting for ever.
fn open_pipe(path: &Path) -> io::Result<File> {
    // Without a reader a blocking open would wait for ever; non-blocking it says ENXIO instead.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = poll_until(Instant::now() + STEP_TIMEOUT, || {
        rustix::fs::open(path, flags, Mode::empty()).ok()
    });
    let pipe =
        opened.ok_or_else(|| io::Error::other(format!("the container does not read {}", path.display())))?;
    rustix::fs::fcntl_setfl(&pipe, OFlags::WRONLY)?;
    Ok(File::from(pipe))
}

fn utf8(path: &Path) -> io::Result<&str> {
    let text = path.to_str();
    text.ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_logs_of_a_pod_have_a_place() {
        let root = Path::new("/pods");
        let path = Path::new("/pods/shop_web-0_36eda95a/app/7.log");
        let expected = Place {
            pod_dir: Path::new("/pods/shop_web-0_36eda95a"),
            pod: ["shop", "web-0", "36eda95a"],
            container: "app",
            restart: 7,
        };
        assert_eq!(place(root, path).unwrap(), expected);
        for other in [
            "/pods/shop_web-0_36eda95a/app/7.log.20260304-091510",
            "/pods/shop_web-0_36eda95a/app/x.log",
            "/pods/shop_web-0/app/7.log",
            "/pods/shop_web-0_36eda95a/7.log",
            "/else/shop_web-0_36eda95a/app/7.log",
        ] {
            assert!(place(root, Path::new(other)).is_err(), "{other}");
        }
    }
}
