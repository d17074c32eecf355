//! A real containerd of one's own: root, state, socket and containers below a temporary directory, driven over CRI as
//! kubelet does it.
//!
//! [`Containerd`] is the daemon; [`Containerd::disk`] is a [`NodeDisk`] on which [`simkubelet`](crate::simkubelet) is the
//! kubelet of real containers: to open a live log is to run the container or to have its log reopened, and what is appended
//! there the container prints. All calls go through the program `cri` (`tests/containerd`, a workspace of its own), which
//! the caller has built.
//!
//! Its dialect: stamps end in `Z`, lines are cut at 16,384 bytes, and a line that was written in two parts is one line.
//! Needs root and the packages that `tests/stack install containerd` installs; it tells so where they are missing. What
//! stays on the machine is what any containerd leaves: empty cgroups `k8s.io` and an empty `/run/containerd/s`. A test
//! process that is killed cannot end anything: its containerd stays, too.

mod disk;
mod image;

pub use disk::ContainerdDisk;

use crate::runtime::{RuntimeError, failed, find, needs_root, poll_until};
use image::IMAGE;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For things that take less than a second on an idle machine: the daemon's start, a container's birth, an end.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// A running containerd. Dropping it ends it and everything that it has started; the logs stay.
#[derive(Debug)]
pub struct Containerd {
    client: Arc<Client>,
    daemon: Child,
    version: String,
    is_stopped: bool,
    dir: TempDir,
}

impl Containerd {
    /// Starts a containerd with an image of busybox; `client` is the program `cri`.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] where containerd, runc, a static busybox, the client or root is missing;
    /// [`RuntimeError::Failed`] when it does not answer, with what it said.
    pub fn start(client: &Path) -> Result<Self, RuntimeError> {
        needs_root("containerd")?;
        let tool = |name| find(name, "containerd");
        let (daemon, ctr, busybox) = (tool("containerd")?, tool("ctr")?, tool("busybox")?);
        for needed in ["containerd-shim-runc-v2", "runc"] {
            tool(needed)?;
        }
        if !client.is_file() {
            return Err(RuntimeError::Missing(format!(
                "the client of containerd was not built ({} is missing); run: tests/run crash",
                client.display()
            )));
        }
        // Short: a socket's path must fit into 108 bytes.
        let dir = tempfile::Builder::new()
            .prefix("cd")
            .tempdir()
            .map_err(|e| failed("prepare containerd", &e))?;
        let client = Client {
            program: client.to_owned(),
            socket: dir.path().join("c.sock"),
            ids: Mutex::default(),
        };
        let daemon = launch(&daemon, dir.path()).map_err(|e| failed("start containerd", &e))?;
        let mut containerd = Self {
            client: Arc::new(client),
            daemon,
            version: String::new(),
            is_stopped: false,
            dir,
        };
        containerd.await_answer()?;
        containerd.import(&ctr, &busybox)?;
        Ok(containerd)
    }

    /// `containerd` and its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A disk on which the logs of a node's pods are written by containers of this containerd; those of one disk end with
    /// the daemon. The directory `pod_logs_dir` is the one that the node's kubelet uses.
    ///
    /// # Errors
    /// What the file system says.
    pub fn disk(&self, pod_logs_dir: &Path) -> std::io::Result<ContainerdDisk> {
        let pipes = self.dir.path().join("pipes");
        fs::create_dir_all(&pipes)?;
        Ok(ContainerdDisk::new(
            Arc::clone(&self.client),
            std::path::absolute(pod_logs_dir)?,
            pipes,
        ))
    }

    /// Ends the containers, the daemon and its shims. Says what could only be ended by force, which is nothing when all is
    /// well.
    pub fn stop(mut self) -> Vec<String> {
        self.shut_down()
    }

    /// Until the CRI service answers.
    fn await_answer(&mut self) -> Result<(), RuntimeError> {
        let socket = self.client.socket.clone();
        let mut last = Err(RuntimeError::Failed("containerd makes no socket".to_owned()));
        let answered = poll_until(Instant::now() + STEP_TIMEOUT, || {
            let has_ended = self.daemon.try_wait().is_ok_and(|status| status.is_some());
            if socket.exists() {
                last = self.client.call(["version"]);
            }
            (has_ended || last.is_ok()).then_some(())
        });
        match (answered, last) {
            (Some(()), Ok(version)) => {
                self.version = version;
                Ok(())
            }
            (_, last) => {
                let said = fs::read_to_string(self.dir.path().join("said")).unwrap_or_default();
                let why = last.err().map_or(String::new(), |error| error.to_string());
                Err(RuntimeError::Failed(format!(
                    "containerd does not answer: {why}\n{said}"
                )))
            }
        }
    }

    /// Makes the image and gives it to containerd, whose CRI service learns of it a moment later.
    fn import(&self, ctr: &Path, busybox: &Path) -> Result<(), RuntimeError> {
        let archive = image::make(self.dir.path(), busybox)?;
        let mut command = Command::new(ctr);
        command.arg("-a").arg(&self.client.socket);
        // The CRI service unpacks it when it needs it, with its own snapshotter.
        command.args(["-n", "k8s.io", "images", "import", "--no-unpack"]);
        command.arg(archive);
        run(&mut command)?;
        let mut last = Ok(String::new());
        let known = poll_until(Instant::now() + STEP_TIMEOUT, || {
            last = self.client.call(["image", IMAGE]);
            last.is_ok().then_some(())
        });
        known.map_or_else(|| last.map(drop), Ok)
    }

    fn shut_down(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.is_stopped, true) {
            return Vec::new();
        }
        let mut complaints = Vec::new();
        let ids = self.client.ids().clone();
        for sandbox in &ids.sandboxes {
            if let Err(error) = self.client.call(["remove", sandbox]) {
                complaints.push(error.to_string());
            }
        }
        // It is our child and not reaped yet, so the id is still its own.
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let ended = poll_until(Instant::now() + STEP_TIMEOUT, || {
            self.daemon.try_wait().ok().flatten().map(drop)
        });
        if ended.is_none() {
            complaints.push("containerd had to be killed".to_owned());
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        complaints.extend(end_processes(self.dir.path(), &ids));
        complaints.extend(unmount_below(self.dir.path()));
        complaints
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Failures have nobody to go to: whoever wants to know calls `stop`.
        self.shut_down();
    }
}

/// Sandboxes and containers that were made.
#[derive(Debug, Default, Clone)]
struct Ids {
    sandboxes: BTreeSet<String>,
    containers: BTreeSet<String>,
}

/// The program `cri` on one socket.
#[derive(Debug)]
struct Client {
    program: PathBuf,
    socket: PathBuf,
    ids: Mutex<Ids>,
}

impl Client {
    /// One command; gives what it prints.
    fn call<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Result<String, RuntimeError> {
        run(Command::new(&self.program).arg(&self.socket).args(command))
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a program to its end; gives what it prints.
fn run(command: &mut Command) -> Result<String, RuntimeError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let answer = command.stdin(Stdio::null()).output();
    let answer = answer.map_err(|e| failed(&format!("run {program}"), &e))?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(RuntimeError::Failed(format!("{program}: {}", said.trim())))
}

/// Everything of it lies below `dir`, and what it says in the file `said`.
fn launch(containerd: &Path, dir: &Path) -> std::io::Result<Child> {
    let at = dir.display();
    let config = format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"

[grpc]
  address = "{at}/c.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  # Both may be refused, and neither has to do with logs.
  restrict_oom_score_adj = true
  disable_apparmor = true
  max_container_log_line_size = 16384

  [plugins."io.containerd.grpc.v1.cri".containerd]
    # Copies in place of overlays: works on every file system.
    snapshotter = "native"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{at}/runc"
"#
    );
    fs::write(dir.join("config.toml"), config)?;
    let said = fs::File::create(dir.join("said"))?;
    Command::new(containerd)
        .arg("--config")
        .arg(dir.join("config.toml"))
        .args(["--log-level", "warn"])
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()
}

/// Kills what is left: shims, which name the directory in their arguments, and containers, which are in cgroups named by
/// their ids. Says what that was.
fn end_processes(dir: &Path, ids: &Ids) -> Vec<String> {
    let mut found = Vec::new();
    let none_left = poll_until(Instant::now() + STEP_TIMEOUT, || {
        let left = processes(dir, ids);
        for (pid, name) in &left {
            let complaint = format!("process {name} was left");
            if !found.contains(&complaint) {
                found.push(complaint);
            }
            // It may have ended by now.
            let _ = kill_process(*pid, Signal::KILL);
        }
        left.is_empty().then_some(())
    });
    if none_left.is_none() {
        found.push("processes are left".to_owned());
    }
    found
}

/// Our processes that run, zombies left out, with their names.
fn processes(dir: &Path, ids: &Ids) -> Vec<(Pid, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ours = numbers.filter_map(|number: i32| {
        let file = |name| fs::read_to_string(format!("/proc/{number}/{name}")).unwrap_or_default();
        let arguments = file("cmdline");
        let is_shim = arguments
            .split('\0')
            .any(|argument| Path::new(argument).starts_with(dir));
        let cgroups = file("cgroup");
        let mut all_ids = ids.sandboxes.iter().chain(&ids.containers);
        let is_ours = is_shim || all_ids.any(|id| cgroups.contains(id.as_str()));
        let is_zombie = file("stat").rsplit(") ").next()?.starts_with('Z');
        (is_ours && !is_zombie).then(|| Some((Pid::from_raw(number)?, file("comm").trim().to_owned())))?
    });
    ours.collect()
}

/// Unmounts what is left below a directory, so that it can be removed. Says what that was.
fn unmount_below(dir: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut ours: Vec<&str> = points.filter(|at| Path::new(at).starts_with(dir)).collect();
    ours.reverse();
    let complaints = ours.iter().map(|at| {
        let done = run(Command::new("umount").arg("--lazy").arg(at));
        done.map_or_else(
            |error| error.to_string(),
            |_| format!("mount {} was left", at.strip_prefix("/").unwrap_or(at)),
        )
    });
    complaints.collect()
}
