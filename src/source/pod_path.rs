//! Names under `pod_logs_dir` enter; pod, container, restart number and kind of file leave.
//!
//! The grammar is kubelet's: `<namespace>_<pod>_<uid>/<container>/<N>.log`, rotated
//! `<N>.log.<YYYYMMDD-HHMMSS>`, compressed `….gz`; `….tmp` is compression or a reopen under way and
//! is never read. Nor is what has another suffix: `<N>.log.1` is a copy that somebody's logrotate made
//! of the live file (`copytruncate`), and read as a file of its own it would double every line.
//! `_` cannot occur in the names, so the first and the last one separate.

use std::sync::Arc;

/// Who a pod directory belongs to. Names are shared: the status page, the checkpoint and the registry have the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PodName {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Pod name.
    pub pod: Arc<str>,
    /// Pod uid; for a static pod the hash of its config (32 hex digits).
    pub uid: Arc<str>,
}

/// Parses the name of a pod directory.
pub fn pod_dir(name: &str) -> Option<PodName> {
    let (namespace, rest) = name.split_once('_')?;
    let (pod, uid) = rest.rsplit_once('_')?;
    let valid = !namespace.is_empty() && !pod.is_empty() && !uid.is_empty();
    valid.then(|| PodName {
        namespace: namespace.into(),
        pod: pod.into(),
        uid: uid.into(),
    })
}

/// What a file name in a container directory says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogName {
    /// Restart number of the container.
    pub restart: u32,
    /// Which file of that instance.
    pub kind: LogKind,
}

/// Which file of an instance a name means.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogKind {
    /// `N.log.<stamp>.gz`
    Compressed {
        /// The rotation stamp, in the node's local time: good for order by name only.
        stamp: String,
    },
    /// `N.log.<stamp>`
    Rotated {
        /// As above.
        stamp: String,
    },
    /// `N.log`
    Live,
}

/// Parses a file name; `None` for what is not ours to read.
pub fn log_file(name: &str) -> Option<LogName> {
    let (number, rest) = name.split_once(".log")?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let restart = number.parse().ok()?;
    let kind = match rest.strip_prefix('.') {
        None if rest.is_empty() => LogKind::Live,
        None => return None,
        Some(suffix) => match suffix.strip_suffix(".gz") {
            Some(stamp) if is_stamp(stamp) => LogKind::Compressed { stamp: stamp.into() },
            None if is_stamp(suffix) => LogKind::Rotated { stamp: suffix.into() },
            _ => return None,
        },
    };
    Some(LogName { restart, kind })
}

/// `YYYYMMDD-HHMMSS` (`timestampFormat` in kubelet's `container_log_manager.go`).
fn is_stamp(text: &str) -> bool {
    let digit = |(at, byte): (usize, u8)| {
        if at == 8 {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    text.len() == 15 && text.bytes().enumerate().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_directories_split_at_the_first_and_last_underscore() {
        let pod = pod_dir("kube-system_etcd-node.a_0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!((&*pod.namespace, &*pod.pod), ("kube-system", "etcd-node.a"));
        for name in ["", "a", "a_b", "_b_c", "a__c", "a_b_"] {
            assert_eq!(pod_dir(name), None, "{name}");
        }
    }

    #[test]
    fn log_names_tell_live_rotated_and_compressed() {
        let kind = |name| log_file(name).map(|log| (log.restart, log.kind));
        let stamp = || "20261121-091527".to_string();
        assert_eq!(kind("0.log"), Some((0, LogKind::Live)));
        assert_eq!(
            kind("12.log.20261121-091527"),
            Some((12, LogKind::Rotated { stamp: stamp() }))
        );
        assert_eq!(
            kind("12.log.20261121-091527.gz"),
            Some((12, LogKind::Compressed { stamp: stamp() }))
        );
        for name in [
            "0.log.tmp",
            "0.log.20261121-091527.tmp",
            "0.logx",
            "a.log",
            ".log",
            "0.log.",
            "0.log..gz",
            "0.log.gz",
            "0.log.1",
            "0.log.1.gz",
            "0.log.20261121",
            "0.log.20261121-0915270",
            "0.log.20261121_091527",
            "0.txt",
            "99999999999.log",
        ] {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
