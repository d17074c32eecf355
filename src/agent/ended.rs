//! How an agent ended, as its last log line tells it.

use std::fmt;

/// How the agent ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub(super) clean: bool,
    pub(super) spooled_bytes: u64,
    pub(super) unsaved_bytes: u64,
    pub(super) reason: String,
}

impl Ended {
    /// Everything that was read has come to rest, in the index or on disk.
    pub fn is_clean(&self) -> bool {
        self.clean
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.clean { "clean" } else { "not clean" };
        write!(
            f,
            "ended {how} ({}); {} source bytes stay in the spool",
            self.reason, self.spooled_bytes
        )?;
        if self.unsaved_bytes > 0 {
            write!(
                f,
                "; {} source bytes could not be saved and are counted as dropped",
                self.unsaved_bytes
            )?;
        }
        Ok(())
    }
}
