//! The lock file: taken with `flock`, so that the kernel gives it back however the process ends.
//!
//! Two agents with one state directory would send lines twice and overwrite each other's
//! checkpoints. The second one waits, and goes on from what the first one left durable.

#![expect(clippy::disallowed_methods, reason = "the shell of the lock file")]

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the state directory when it is not there, and takes its lock. `None` while another
    /// process holds it.
    ///
    /// # Errors
    /// When the directory cannot be made or written to: it is read-only, or not ours.
    pub fn take(state_dir: &Path) -> io::Result<Option<Lock>> {
        fs::create_dir_all(state_dir)?;
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(state_dir.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_waits_until_the_first_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("new");
        let first = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_state_dir_that_is_a_file_is_an_error() {
        let state = tempfile::NamedTempFile::new().unwrap();
        assert!(Lock::take(state.path()).is_err());
    }
}
