//! Small file systems for a state directory, made and broken by the usual tools. They need root; where that is not to be had
//! the test says that it was left out, and `tests/run` passes it on.

use crate::agent::PATIENCE;
use crate::traffic::tell;
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Bytes of a file that holds a file system: the least that `mkfs.xfs` takes.
const IMAGE: u64 = 320 << 20;

/// Says that a test was not run, and why; `tests/run` looks for this line.
pub(super) fn left_out(test: &str, why: &str) {
    tell(&format!("crash: left out: {test}: {why}"));
}

/// Why these tools cannot be used by root, if so.
pub(super) fn missing(tools: &[&str]) -> Option<String> {
    if !geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let dirs: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let is_there = |tool: &str| dirs.iter().any(|dir| dir.join(tool).exists());
    let tool = tools.iter().find(|tool| !is_there(tool))?;
    Some(format!("{tool} is not installed"))
}

/// A mounted file system; dropping it unmounts it.
pub(super) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A file system in memory at `at`, which is made, with these options; `None` where nobody may mount.
    pub(super) fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(at).expect("a directory");
        let done = run("mount", ["-t", "tmpfs", "-o", options, "tmpfs"], at);
        done.then(|| Mount { at: at.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached: an agent of a test that failed may still be in it.
        run("umount", ["--lazy"], &self.at);
    }
}

/// A file system in a file, whose power can be cut.
pub(super) struct Disk {
    image: PathBuf,
    at: PathBuf,
    mount: Option<Mount>,
}

impl Disk {
    /// A new one of this kind at `at`, which is made; the file lies beside it. `None` where nobody may mount.
    pub(super) fn new(kind: &str, at: &Path) -> Option<Disk> {
        let image = at.with_extension("image");
        File::create(&image)
            .and_then(|file| file.set_len(IMAGE))
            .expect("a file");
        fs::create_dir_all(at).expect("a directory");
        let quiet = if kind == "xfs" { "-q" } else { "-qF" };
        assert!(run(&format!("mkfs.{kind}"), [quiet], &image), "mkfs.{kind}");
        let mut disk = Disk {
            image,
            at: at.to_owned(),
            mount: None,
        };
        disk.mount().then_some(disk)
    }

    /// Mounts it, which replays its journal.
    pub(super) fn mount(&mut self) -> bool {
        let options = [OsStr::new("-o"), OsStr::new("loop"), self.image.as_os_str()];
        let done = run("mount", options, &self.at);
        self.mount = done.then(|| Mount { at: self.at.clone() });
        done
    }

    /// From now on nothing reaches the disk, what is in memory included, and whoever tries gets an error.
    #[track_caller]
    pub(super) fn cut_power(&self) {
        assert!(run("xfs_io", ["-x", "-c", "shutdown"], &self.at), "shutdown");
    }

    /// Unmounts what nobody uses any more, and mounts it again. A process that another test starts holds our descriptors, or
    /// our mount, for a moment; until it is gone a mount would only lead to the file system that is shut down.
    #[track_caller]
    pub(super) fn power_returns(&mut self) {
        let patience = Instant::now() + PATIENCE;
        while !run("umount", [""; 0], &self.at) {
            assert!(Instant::now() < patience, "umount");
        }
        while self.is_attached() {
            assert!(Instant::now() < patience, "its loop device stays");
        }
        std::mem::forget(self.mount.take());
        assert!(self.mount(), "mount after the power returned");
    }

    /// Whether a loop device still has the file.
    fn is_attached(&self) -> bool {
        let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let files =
            devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        files
            .into_iter()
            .any(|file| Path::new(file.trim_end()) == self.image)
    }
}

/// Makes a directory, and its name, durable.
pub(super) fn sync(folder: &Path) {
    let above = folder.parent().expect("it lies in another");
    for folder in [folder, above] {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .expect("a sync");
    }
}

/// Makes all of a file system durable.
pub(super) fn sync_all(at: &Path) {
    let folder = File::open(at).expect("a directory");
    rustix::fs::syncfs(folder).expect("a sync");
}

/// Makes the kernel write a part of a file back, and no more than that: neither its size nor its name.
pub(super) fn write_back(file: &Path, at: u64, len: u64) {
    // One option a command: of several the last one counts.
    let (write, wait) = (
        format!("sync_range -w {at} {len}"),
        format!("sync_range -a {at} {len}"),
    );
    assert!(run("xfs_io", ["-c", &write, "-c", &wait], file), "{write}");
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>, path: &Path) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
