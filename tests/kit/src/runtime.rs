//! What the launchers of real container runtimes share: why there is none, where its programs are, and what a container's
//! root directory holds.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How often a fact is asked for.
const POLL: Duration = Duration::from_millis(5);

/// What a container finds in `/bin`, all of them busybox.
const APPLETS: [&str; 20] = [
    "sh", "awk", "cat", "date", "dd", "echo", "false", "grep", "head", "kill", "ls", "printf", "sed", "seq",
    "sleep", "tr", "true", "usleep", "wc", "yes",
];

/// Why there is no container, or what went wrong with it.
#[derive(Debug)]
pub enum RuntimeError {
    /// A program or the privilege is missing; the text says which and what to do.
    Missing(String),
    /// A step failed; the text says which, with the runtime's own words where it has some.
    Failed(String),
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) | Self::Failed(what) => f.write_str(what),
        }
    }
}

impl Error for RuntimeError {}

pub(crate) fn failed(step: &str, error: &io::Error) -> RuntimeError {
    RuntimeError::Failed(format!("{step}: {error}"))
}

/// # Errors
/// [`RuntimeError::Missing`] for anybody but root.
pub(crate) fn needs_root(runtime: &str) -> Result<(), RuntimeError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let why = format!("{runtime} needs root to run a container");
    Err(RuntimeError::Missing(why))
}

/// Looks in PATH and in the sbin directories, which a service's PATH may lack.
///
/// # Errors
/// [`RuntimeError::Missing`], with what installs the runtime.
pub(crate) fn find(tool: &str, runtime: &str) -> Result<PathBuf, RuntimeError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut candidates = std::env::split_paths(&path).chain(more).map(|dir| dir.join(tool));
    candidates.find(|file| file.is_file()).ok_or_else(|| {
        RuntimeError::Missing(format!(
            "{runtime} not installed ({tool} is missing); run: tests/stack install {runtime}"
        ))
    })
}

/// Makes a container's root directory: a static busybox under all its names, and room for mounts.
///
/// # Errors
/// What the file system says.
pub(crate) fn make_root(root: &Path, busybox: &Path) -> io::Result<()> {
    for made in ["bin", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(root.join(made))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    Ok(())
}

/// Asks again and again until it is `Some`, or until the deadline.
pub(crate) fn poll_until<T>(deadline: Instant, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let late = Instant::now() >= deadline;
        match ask() {
            None if !late => thread::sleep(POLL),
            answer => return answer,
        }
    }
}
