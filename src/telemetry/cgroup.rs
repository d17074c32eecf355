//! How much memory the kernel lets this process have: the lines of `/proc/self/cgroup` enter, the files that hold the limits
//! leave; the text of such a file enters, its limit leaves.
//!
//! Version 2 has `memory.max` in the group and in each group above it, of which the smallest counts; version 1 has
//! `memory.limit_in_bytes`. A container sees its own group as the root of `/sys/fs/cgroup`, whatever path is told to it, so
//! the root is looked at, too. Reads nothing itself.

use std::path::{Path, PathBuf};

/// Where the groups are mounted, on every Linux with systemd and in every container.
const ROOT: &str = "/sys/fs/cgroup";
/// Groups lie in groups; more than so many are not looked at.
const DEPTH: usize = 32;
/// Version 1 writes "no limit" as the largest number of pages; nothing that large is a limit.
const NO_LIMIT: u64 = 1 << 60;

/// The files that may hold a limit of the process that `groups` (`/proc/self/cgroup`) is of. Those that do not exist limit
/// nothing.
pub fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, name) = if controllers.is_empty() {
            (PathBuf::from(ROOT), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (Path::new(ROOT).join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(path.trim_start_matches('/'));
        // A path from outside of the container's view goes up; there is nothing below the root for it.
        let above = group
            .ancestors()
            .take(DEPTH)
            .filter(|path| !path.starts_with(".."));
        files.extend(above.map(|path| root.join(path).join(name)));
    }
    files
}

/// The limit in the text of such a file; `None` when it is no limit.
pub fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(groups: &str) -> Vec<String> {
        let files = limit_files(groups).into_iter();
        files.map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn version_2_counts_the_group_and_all_above_it() {
        let found = files("0::/kubepods.slice/pod7.slice/cri-1.scope\n");
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/kubepods.slice/pod7.slice/cri-1.scope/memory.max",
                "/sys/fs/cgroup/kubepods.slice/pod7.slice/memory.max",
                "/sys/fs/cgroup/kubepods.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(files("0::/../other\n"), ["/sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn version_1_counts_the_group_of_the_memory_controller() {
        let found = files("12:cpu,cpuacct:/a\n7:hugetlb,memory:/kubepods/pod7\n1:name=systemd:/b\n");
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/memory/kubepods/pod7/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/kubepods/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert!(files("\nnonsense\n5:memory\n").is_empty());
        assert!(files(&format!("0::{}", "/a".repeat(10_000))).len() <= DEPTH);
    }

    #[test]
    fn max_and_the_largest_number_of_pages_are_no_limits() {
        assert_eq!(limit("268435456\n"), Some(256 << 20));
        assert_eq!(limit("0\n"), Some(0));
        for none in ["max\n", "9223372036854771712\n", "", "-1", "many"] {
            assert_eq!(limit(none), None, "{none}");
        }
    }
}
