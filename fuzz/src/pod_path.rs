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

/// `N.log`, `N.log.STAMP`, `N.log.STAMP.gz`; never what ends in `.tmp`, and no `.gz` without a stamp.
fn log_file(name: &str) -> Option<LogName> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let restart = name[..digits].parse().ok()?;
    let suffix = name[digits..].strip_prefix(".log")?;
    let kind = if suffix.is_empty() {
        LogKind::Live
    } else {
        let suffix = suffix.strip_prefix('.')?;
        let words: Vec<&str> = suffix.split('.').collect();
        match words[..] {
            [.., "tmp"] | [""] | ["gz"] | ["", "gz"] => return None,
            [.., "gz"] => LogKind::Compressed {
                stamp: words[..words.len() - 1].join("."),
            },
            _ => LogKind::Rotated { stamp: suffix.into() },
        }
    };
    Some(LogName { restart, kind })
}
