//! A real container log writer: conmon and runc run a busybox container whose output conmon writes to a CRI log
//! file, as it does under CRI-O and Podman.
//!
//! Its dialect is the rude one: stamps with an offset (`+00:00`) instead of `Z`, many lines with one identical
//! stamp, lines cut at 8,192 bytes into `P` pieces that may end in an empty `F`, and a `P` wherever a read of the
//! pipe ended in mid-line. No daemon, no image: a container is there within a second. Needs root and the
//! packages that `tests/stack install conmon` installs; it tells so where they are missing.

use std::cell::Cell;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lines::cri::rotation_stamp;
use crate::runtime::{RuntimeError, failed, find, make_root, needs_root, poll_until};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// For things that take milliseconds on an idle machine: a container's birth, a reopened log, a reaped process.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// `<pod_logs_dir>/<namespace>_<pod>_<uid>/<container>/<restart>.log`, as the kubelet names it.
pub fn log_path(pod_logs_dir: &Path, pod: [&str; 3], container: &str, restart: u32) -> PathBuf {
    let [namespace, name, uid] = pod;
    pod_logs_dir
        .join(format!("{namespace}_{name}_{uid}"))
        .join(container)
        .join(format!("{restart}.log"))
}

/// A container whose output conmon writes to a log file. Dropping it removes the container; the logs stay.
#[derive(Debug)]
pub struct Conmon {
    tools: Tools,
    id: String,
    log: PathBuf,
    /// The stamp of the last rotation, in seconds since 1970; 0 before the first.
    last_rotation: Cell<u64>,
    dir: TempDir,
}

impl Conmon {
    /// Starts `/bin/sh -c script` in a container of its own and logs to `log`; see [`Conmon::run`].
    ///
    /// # Errors
    /// As [`Conmon::run`].
    pub fn run_script(log: &Path, script: &str) -> Result<Self, RuntimeError> {
        Self::run(log, &["/bin/sh", "-c", script])
    }

    /// Starts `argv` in a container of its own and logs to `log`, whose directory is made if it is missing.
    ///
    /// It returns when the program runs; lines may follow at any time after.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`] where conmon, runc, a static busybox or root is missing.
    pub fn run(log: &Path, argv: &[&str]) -> Result<Self, RuntimeError> {
        let tools = Tools::find()?;
        let container = prepare(tools, log, argv).map_err(|e| failed("prepare container", &e))?;
        container.launch()?;
        Ok(container)
    }

    /// The file that the container's lines go to now.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Rotates as the kubelet does: renames the log, then has conmon reopen it. Gives the rotated file's path.
    ///
    /// When conmon does not answer (the container has ended), the file gets its name back, again as the kubelet
    /// does it. Compressing and removing rotated files is left to the caller.
    ///
    /// # Errors
    /// When the rename fails or conmon does not reopen the log in time.
    pub fn rotate(&self) -> Result<PathBuf, RuntimeError> {
        let rotated = self.next_rotated_name();
        fs::rename(&self.log, &rotated).map_err(|e| failed("rename log", &e))?;
        let reopened = self.reopen();
        if reopened.is_err() && !self.log.exists() {
            fs::rename(&rotated, &self.log).map_err(|e| failed("rename log back", &e))?;
        }
        reopened.map(|()| rotated)
    }

    /// Waits until the container has ended and conmon has gone, so that the log is complete. Gives the exit code.
    ///
    /// # Errors
    /// When it has not ended within `timeout`.
    pub fn wait(&self, timeout: Duration) -> Result<i32, RuntimeError> {
        let deadline = Instant::now() + timeout;
        let exit_file = self.dir.path().join("exit").join(&self.id);
        poll_until(deadline, || {
            exit_code(&exit_file).filter(|_| !self.conmon_lives())
        })
        .ok_or_else(|| RuntimeError::Failed(format!("container {} has not ended in {timeout:?}", self.id)))
    }

    /// Whether the container's program has ended. The log may still lack its last lines: see [`Conmon::wait`].
    pub fn has_ended(&self) -> bool {
        self.dir.path().join("exit").join(&self.id).exists()
    }

    fn launch(&self) -> Result<(), RuntimeError> {
        let dir = self.dir.path();
        let said = dir.join("said");
        let output = fs::File::create(&said).map_err(|e| failed("prepare container", &e))?;
        let second = output.try_clone().map_err(|e| failed("prepare container", &e))?;
        let status = Command::new(&self.tools.conmon)
            .args([
                "--api-version",
                "1",
                "-c",
                &self.id,
                "-u",
                &self.id,
                "-n",
                &self.id,
            ])
            .arg("-r")
            .arg(&self.tools.runc)
            .arg("--runtime-arg=--root")
            .arg(format!("--runtime-arg={}", dir.join("runc").display()))
            .arg("-b")
            .arg(dir.join("b"))
            .arg("-l")
            .arg(format!("k8s-file:{}", self.log.display()))
            .arg("-p")
            .arg(dir.join("ct.pid"))
            .arg("-P")
            .arg(dir.join("conmon.pid"))
            .arg("--exit-dir")
            .arg(dir.join("exit"))
            .arg("--socket-dir-path")
            .arg(dir.join("sock"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(second)
            .status()
            .map_err(|e| failed("start conmon", &e))?;
        // conmon forks before it has made the container: only its pid file says that `runc start` may come.
        let made = || {
            fs::metadata(dir.join("ct.pid"))
                .is_ok_and(|m| m.len() > 0)
                .then_some(())
        };
        if !status.success() || poll_until(Instant::now() + STEP_TIMEOUT, made).is_none() {
            let said = fs::read_to_string(&said).unwrap_or_default();
            return Err(RuntimeError::Failed(format!(
                "conmon made no container ({status}): {}",
                said.trim()
            )));
        }
        self.runc(&["start", &self.id])
    }

    fn runc(&self, args: &[&str]) -> Result<(), RuntimeError> {
        let answer = Command::new(&self.tools.runc)
            .arg("--root")
            .arg(self.dir.path().join("runc"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| failed("run runc", &e))?;
        if answer.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&answer.stderr);
        Err(RuntimeError::Failed(format!(
            "runc {}: {}",
            args.join(" "),
            said.trim()
        )))
    }

    /// The kubelet's rotated name. Its stamps are whole seconds and it rotates every ten at most; whoever rotates faster
    /// gets later ones, so that no name comes twice, not even that of a file which is compressed or gone.
    fn next_rotated_name(&self) -> PathBuf {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let second = now.max(self.last_rotation.get() + 1);
        self.last_rotation.set(second);
        let mut name = self.log.clone().into_os_string();
        name.push(format!(".{}", rotation_stamp(second)));
        PathBuf::from(name)
    }

    fn reopen(&self) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        let ctl = self.dir.path().join("b/ctl");
        // A FIFO without a reader blocks its writer for ever; non-blocking it says ENXIO instead.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = rustix::fs::open(&ctl, flags, Mode::empty())
            .map_err(|e| failed("open conmon's ctl", &e.into()))?;
        fs::File::from(fifo)
            .write_all(b"2 0 0\n")
            .map_err(|e| failed("write conmon's ctl", &e))?;
        // A conmon on its way out has a reader still, and will not read: its end is an answer, too.
        poll_until(deadline, || {
            (self.log.exists() || !self.conmon_lives()).then_some(())
        });
        if self.log.exists() {
            return Ok(());
        }
        Err(RuntimeError::Failed(format!(
            "conmon did not reopen {}",
            self.log.display()
        )))
    }

    fn conmon_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.path().join("conmon.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Whether our conmon runs. A zombie, or another process with its pid, does not count.
    fn conmon_lives(&self) -> bool {
        let Some(pid) = self.conmon_pid() else {
            return false;
        };
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        command
            .windows(self.id.len())
            .any(|part| part == self.id.as_bytes())
    }
}

impl Drop for Conmon {
    fn drop(&mut self) {
        // Failures have nobody to go to; at worst a stopped container's files stay until the next boot.
        let _ = self.runc(&["delete", "-f", &self.id]);
        let gone = poll_until(Instant::now() + STEP_TIMEOUT, || {
            (!self.conmon_lives()).then_some(())
        });
        if let (None, Some(pid)) = (gone, self.conmon_pid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[derive(Debug)]
struct Tools {
    conmon: PathBuf,
    runc: PathBuf,
    busybox: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, RuntimeError> {
        needs_root("conmon")?;
        let find = |tool| find(tool, "conmon");
        Ok(Self {
            conmon: find("conmon")?,
            runc: find("runc")?,
            busybox: find("busybox")?,
        })
    }
}

fn prepare(tools: Tools, log: &Path, argv: &[&str]) -> io::Result<Conmon> {
    // Short: the attach socket's path must fit into 108 bytes.
    let dir = tempfile::Builder::new().prefix("cm").tempdir()?;
    for made in ["exit", "sock", "runc"] {
        fs::create_dir(dir.path().join(made))?;
    }
    make_root(&dir.path().join("b/rootfs"), &tools.busybox)?;
    fs::write(dir.path().join("b/config.json"), bundle(argv).to_string())?;
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(Conmon {
        tools,
        id: fresh_id(),
        log: std::path::absolute(log)?,
        last_rotation: Cell::new(0),
        dir,
    })
}

/// An id that no run had before: with a stale one conmon makes an empty log and says that all went well.
fn fresh_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!(
        "kit-{}-{:x}-{}",
        std::process::id(),
        now.as_micros(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The OCI bundle: no terminal (conmon is to see pipes), no rlimits and the host's network (both may be refused).
fn bundle(argv: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": argv,
            "env": ["PATH=/bin", "TERM=dumb"], "noNewPrivileges": true,
            "capabilities": { "bounding": [], "effective": [], "permitted": [] },
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "kit",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

fn exit_code(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
