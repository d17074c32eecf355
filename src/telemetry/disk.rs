//! What the kernel tells of this process, from `/proc/self` and two system calls. Read when somebody
//! asks for the metrics, never in the background.

use super::cgroup;
use super::metrics::Process;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::{fs, io};

/// The process as it is now.
///
/// # Errors
/// When `/proc` is not there or not as Linux writes it.
#[expect(clippy::disallowed_methods, reason = "disk.rs reads files")]
pub fn process() -> io::Result<Process> {
    let status = fs::read_to_string("/proc/self/status")?;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    // The listing itself holds one descriptor open.
    let open_fds = (fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1);
    Ok(Process {
        resident_bytes: resident_bytes(&status).ok_or(io::ErrorKind::InvalidData)?,
        cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        open_fds,
        max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    })
}

/// The memory limit of this process: the smallest of all its groups'. `None` when there is none, or when it is not told.
#[expect(clippy::disallowed_methods, reason = "disk.rs reads files")]
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let files = cgroup::limit_files(&groups).into_iter();
    files
        .filter_map(|file| cgroup::limit(&fs::read_to_string(file).ok()?))
        .min()
}

/// The line `VmRSS:   1234 kB`, in bytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn resident_memory_is_the_line_of_the_kernel() {
        let status = "Name:\tlongshore\nVmHWM:\t   99 kB\nVmRSS:\t    1234 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(1234 * 1024));
        assert_eq!(resident_bytes("VmHWM:\t99 kB\n"), None);
        assert_eq!(resident_bytes("VmRSS:\tmany kB\n"), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "descriptors to be counted")]
    fn descriptors_that_are_open_are_counted() {
        // More than other tests of this binary open and close meanwhile.
        let held: Vec<File> = (0..300)
            .map(|_| File::open("/proc/self/status").unwrap())
            .collect();
        let process = process().unwrap();
        assert!(process.open_fds >= held.len() as u64, "{process:?}");
        assert!(process.open_fds <= process.max_fds, "{process:?}");
        assert!(
            process.resident_bytes > 100 * 1024 && process.cpu_seconds > 0.0,
            "{process:?}"
        );
    }
}
