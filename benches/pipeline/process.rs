//! The process under test: started with its own group, measured through `/proc`, stopped in order.
//!
//! Whatever it forks stays in the group and is counted with it, so that an agent of several processes gets no discount.

use crate::Failure;
use crate::cores::Cores;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of `/proc/*/stat` in a second: part of the kernel's interface, whatever its own timer does.
const TICKS_PER_SECOND: u64 = 100;
/// An agent that needs longer after SIGTERM is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Memory of all processes of the group.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Memory {
    /// Resident now, in bytes.
    pub(crate) resident: u64,
    /// The most that was resident since the start, in bytes.
    pub(crate) peak: u64,
}

/// A running agent; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on the agent's core; what it prints goes to the file `log`.
    pub(crate) fn start(mut command: Command, cores: Cores, log: &Path) -> Result<Process, Failure> {
        let out = fs::File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0);
        let child = cores
            .on_agent_core(|| command.spawn())
            .map_err(|e| format!("cannot start {command:?}: {e}"))?;
        let group = Pid::from_child(&child);
        Ok(Process {
            child,
            group,
            log: log.to_owned(),
        })
    }

    /// User and system time of the group since the start, to 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks: u64 = self.members().map(|member| member.ticks).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Memory of the group.
    pub(crate) fn memory(&self) -> Memory {
        let mut all = Memory::default();
        for member in self.members() {
            let status = fs::read_to_string(member.dir.join("status")).unwrap_or_default();
            all.resident += kibibytes(&status, "VmRSS:") * 1024;
            all.peak += kibibytes(&status, "VmHWM:") * 1024;
        }
        all
    }

    /// An error when it has ended although nobody stopped it.
    pub(crate) fn still_runs(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(format!("the agent ended by itself ({status}):\n{}", self.last_words()).into())
            }
        }
    }

    /// SIGTERM, then SIGKILL when that is not enough.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.still_runs()?;
        kill_process_group(self.group, Signal::TERM)?;
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("the agent did not end within {STOP_PATIENCE:?} of SIGTERM").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The end of what it printed.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn members(&self) -> impl Iterator<Item = Member> {
        let group = self.group.as_raw_pid();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Member::read(entry.path()))
            .filter(move |member| member.group == group)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then both fail, and that is fine.
        let _gone = kill_process_group(self.group, Signal::KILL);
        let _gone = self.child.wait();
    }
}

/// One process as `/proc` tells of it.
struct Member {
    dir: PathBuf,
    group: i32,
    ticks: u64,
}

impl Member {
    fn read(dir: PathBuf) -> Option<Member> {
        let stat = fs::read_to_string(dir.join("stat")).ok()?;
        // The name in parentheses may hold anything; state is the first field after it, as field 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        // User and system time, of itself (14, 15) and of children that it waited for (16, 17).
        let ticks = (14..=17)
            .filter_map(|number| field(number)?.parse::<u64>().ok())
            .sum();
        Some(Member {
            group: field(5)?.parse().ok()?,
            dir,
            ticks,
        })
    }
}

fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
