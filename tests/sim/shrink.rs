//! A failing script enters, a shorter one that fails alike leaves: parts are left out as long as it still fails.

use crate::script::{Op, Script};

/// What kind of violation it is, whatever its numbers.
pub(crate) fn class(violation: &str) -> String {
    let words = violation.chars().filter(|c| c.is_alphabetic() || *c == ' ');
    words.take(48).collect()
}

/// Leaves out what is not needed for a failure of the same class.
pub(crate) fn shrink(script: &Script, mut fails: impl FnMut(&Script) -> Option<String>) -> Script {
    let Some(wanted) = fails(script).map(|violation| class(&violation)) else {
        return script.clone();
    };
    let mut best = script.clone();
    let mut size = best.ops.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.ops.len() {
            let end = (at + size).min(best.ops.len());
            let mut candidate = best.clone();
            candidate.ops.drain(at..end);
            if candidate
                .ops
                .first()
                .is_some_and(|op| matches!(op, Op::NewPod { .. }))
                && fails(&candidate).is_some_and(|violation| class(&violation) == wanted)
            {
                best = candidate;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    best
}
