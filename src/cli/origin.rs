//! The path of a log file enters; the container instance that wrote it leaves.

use crate::source::pod_path::{self, LogName, PodName};
use std::path::{Path, PathBuf};

/// As many links as Linux follows itself.
const MAX_LINKS: usize = 40;

/// Who wrote a file, and which of the files of that container instance it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub(super) pod: PodName,
    pub(super) container: String,
    pub(super) log: LogName,
}

impl Origin {
    /// Whether both files were written by the same run of the same container.
    pub(super) fn is_same_instance(&self, other: &Origin) -> bool {
        (&self.pod, &self.container, self.log.restart) == (&other.pod, &other.container, other.log.restart)
    }
}

/// Whose file it is, by its path or by one that its links lead over; `None` when none of them is kubelet's.
///
/// The links are walked one by one: with Docker, kubelet's own path is a link, too.
pub(super) fn of_file(path: &Path) -> Option<Origin> {
    let mut path = std::path::absolute(path).ok()?;
    for _ in 0..MAX_LINKS {
        if let Some(origin) = of_path(&path) {
            return Some(origin);
        }
        path = linked(&path)?;
    }
    None
}

/// `…/<namespace>_<pod>_<uid>/<container>/<N>.log…`
fn of_path(path: &Path) -> Option<Origin> {
    let mut names = path.iter().rev().map(|name| name.to_str());
    let log = pod_path::log_file(names.next()??)?;
    let container = names.next()??.to_owned();
    let pod = pod_path::pod_dir(names.next()??)?;
    Some(Origin { pod, container, log })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a link among the log files is looked up"
)]
fn linked(path: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(path).ok()?;
    Some(path.parent()?.join(target))
}
