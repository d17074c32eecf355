//! What the threads of a process are doing, from `/proc`, without stopping it: a look costs microseconds, so that a kill
//! may strike inside a system call that was just seen.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// The number of the system call in which a thread waits for another one.
const FUTEX: &str = if cfg!(target_arch = "aarch64") {
    "98"
} else {
    "202"
};
/// Threads of the agent that are looked at, by the names that it gives them.
const NAMES: [&str; 4] = ["reader", "spool", "checkpoints", "dead-letter"];

/// The threads of one process that are looked at.
pub(super) struct Threads {
    tasks: PathBuf,
    calls: [Option<File>; 4],
}

/// Which of them have work at this moment.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Busy {
    /// The reader thread was started: the state directory is open.
    pub(super) started: bool,
    pub(super) reader: bool,
    pub(super) spool: bool,
    pub(super) checkpoints: bool,
    pub(super) dead_letters: bool,
}

impl Threads {
    /// Of the process with this id.
    pub(super) fn of(pid: u32) -> Threads {
        Threads {
            tasks: PathBuf::from(format!("/proc/{pid}/task")),
            calls: [const { None }; 4],
        }
    }

    /// Looks at them now. A thread that cannot be looked at has no work.
    pub(super) fn look(&mut self) -> Busy {
        if self.calls.iter().any(Option::is_none) {
            self.find();
        }
        let [reader, spool, checkpoints, dead_letters] = [0, 1, 2, 3].map(|at| self.is_busy(at));
        Busy {
            started: self.calls[0].is_some(),
            reader,
            spool,
            checkpoints,
            dead_letters,
        }
    }

    fn find(&mut self) {
        for task in fs::read_dir(&self.tasks).into_iter().flatten().flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if let Some(at) = NAMES.iter().position(|known| *known == name.trim_end())
                && self.calls[at].is_none()
            {
                self.calls[at] = File::open(task.path().join("syscall")).ok();
            }
        }
    }

    /// It has work unless it waits for another thread. (A thread that runs, or that waits for the disk, does not.)
    fn is_busy(&self, at: usize) -> bool {
        let mut text = [0; 16];
        let read = self.calls[at]
            .as_ref()
            .and_then(|file| file.read_at(&mut text, 0).ok());
        let text = &text[..read.unwrap_or(0)];
        let call = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        !call.is_empty() && call != FUTEX.as_bytes()
    }
}
