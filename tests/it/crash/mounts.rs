//! Small file systems for a state directory, made and broken by the usual tools. They need root; where that is not to be had
//! the test says that it was left out, and `tests/run` passes it on.

use crate::traffic::tell;
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

    /// Unmounts what nobody uses any more, and mounts it again.
    #[track_caller]
    pub(super) fn power_returns(&mut self) {
        assert!(run("umount", [""; 0], &self.at), "umount");
        std::mem::forget(self.mount.take());
        assert!(self.mount(), "mount after the power returned");
    }
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
