//! Names of directories and files against the grammar, written down a second time.

use longshore::source::pod_path::{self, LogKind, LogName};

/// Each line of the input is a name.
pub fn run(bytes: &[u8]) {
    for name in bytes.split(|byte| *byte == b'\n') {
        if let Ok(name) = std::str::from_utf8(name) {
            directory(name);
            assert_eq!(pod_path::log_file(name), log_file(name), "{name:?}");
        }
    }
}

/// The parts make the name again, and only the pod may have a `_` in it.
fn directory(name: &str) {
    let parts: Vec<&str> = name.split('_').collect();
    let inner = parts
        .len()
        .checked_sub(2)
        .and_then(|last| parts.get(1..=last))
        .map(|pod| pod.join("_"));
    let expected = inner.filter(|pod| {
        parts.len() > 2
            && !pod.is_empty()
            && !parts[0].is_empty()
            && parts.last().is_some_and(|uid| !uid.is_empty())
    });
    let found = pod_path::pod_dir(name);
    assert_eq!(
        found.as_ref().map(|found| &*found.pod),
        expected.as_deref(),
        "{name:?}"
    );
    if let Some(found) = found {
        assert_eq!(format!("{}_{}_{}", found.namespace, found.pod, found.uid), name);
        assert!(!found.namespace.contains('_') && !found.uid.contains('_'));
    }
}

/// `N.log`, `N.log.STAMP`, `N.log.STAMP.gz`, and a stamp is eight digits, `-`, six digits.
fn log_file(name: &str) -> Option<LogName> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let restart = name[..digits].parse().ok()?;
    let suffix = name[digits..].strip_prefix(".log")?;
    let kind = if suffix.is_empty() {
        LogKind::Live
    } else {
        let suffix = suffix.strip_prefix('.')?;
        let words: Vec<&str> = suffix.split('.').collect();
        let stamp = words[0].to_owned();
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        match (stamp.split_once('-'), &words[1..]) {
            (Some((day, time)), rest) if digits(day, 8) && digits(time, 6) => match rest {
                [] => LogKind::Rotated { stamp },
                ["gz"] => LogKind::Compressed { stamp },
                _ => return None,
            },
            _ => return None,
        }
    };
    Some(LogName { restart, kind })
}
