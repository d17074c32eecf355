//! The agent's process: started, killed, started again, stopped.

use crate::{AGENT, Failure};
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// After SIGTERM; the agent promises to end within 5 s.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Where the agent's files are, and its process while there is one. Dropping it kills the process.
pub(crate) struct Agent {
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// An agent that will run with the config file at `config` and log to a file beside it.
    pub(crate) fn new(config: &Path) -> Agent {
        Agent {
            config: config.to_owned(),
            log: config.with_file_name("agent.log"),
            child: None,
        }
    }

    /// Where it logs to.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Starts this program as the agent.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(AGENT).arg(&self.config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Whether there is a process; an error when it has ended by itself.
    pub(crate) fn runs(&mut self) -> Result<bool, Failure> {
        let Some(child) = &mut self.child else {
            return Ok(false);
        };
        match child.try_wait()? {
            None => Ok(true),
            Some(status) => Err(format!(
                "the agent ended by itself ({status}); its last words:\n{}",
                self.last_words()
            )
            .into()),
        }
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let deadline = Instant::now() + STOP_PATIENCE;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(format!("the agent ended with {status}:\n{}", self.last_words()).into());
                }
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                None => {
                    child.kill()?;
                    child.wait()?;
                    return Err(format!("the agent did not end within {STOP_PATIENCE:?} of SIGTERM").into());
                }
            }
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It is gone already, or goes now: nothing is left to do about an error.
        let _gone = self.kill();
    }
}
