//! How many log files may be open: the configured number enters, what the process limit leaves of it comes back.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors that are not for log files: requests and their connections, the status server, the watch, the spool, the
/// checkpoint, the log itself, and the directory that is being listed.
const RESERVE: u64 = 64;

/// Raises the process limit as far as it may be raised for `wanted` files, and gives what is left for them.
pub(super) fn for_log_files(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + RESERVE;
    let most = limit.maximum.unwrap_or(u64::MAX);
    let mut current = limit.current.unwrap_or(u64::MAX);
    let raised = needed.min(most);
    if current < raised {
        let raise = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(raised),
                maximum: limit.maximum,
            },
        );
        current = raise.map_or(current, |()| raised);
    }
    let share = share(current, wanted);
    if share < wanted {
        warn!(
            limit = current,
            wanted,
            files = share,
            "the limit of open files (RLIMIT_NOFILE) is below source.max_open_files and the reserve for sockets and state; \
             fewer log files are kept open"
        );
    }
    share
}

/// What a limit leaves for log files: sockets and state go first, but never more than half.
fn share(limit: u64, wanted: usize) -> usize {
    let left = limit - RESERVE.min(limit / 2);
    usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_state_go_first() {
        assert_eq!(share(256, 1024), 192);
        assert_eq!(share(65_536, 1024), 1024);
        assert_eq!(share(1088, 1024), 1024);
        assert_eq!(share(1087, 1024), 1023);
        assert_eq!(share(64, 1024), 32);
    }
}
