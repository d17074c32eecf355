//! What was never read, and never will be: reasons, files and spans enter, sums since the first start
//! and the last records leave.
//!
//! They are part of the checkpoint: the one that moves past a span, or forgets a file, is the one that
//! records its loss, so that no crash makes a loss count twice or not at all.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// So many records are kept; older ones live on in the sums.
pub const RECORDS_MAX: usize = 100;

/// A span of a file that was never read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LossRecord {
    /// Why, as in the metrics.
    pub reason: String,
    /// The container: `<namespace>_<pod>_<uid>/<container>`.
    pub container: String,
    /// Identity of the file, in hex; empty when it was never known.
    #[serde(default)]
    pub file: String,
    /// Offset of the first byte that was not read.
    pub start: u64,
    /// Offset after the last byte that is known of.
    pub end: u64,
    /// There may have been more bytes than anybody saw.
    #[serde(default)]
    pub at_least: bool,
}

/// The losses of one reason since the first start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LossTotal {
    /// Files.
    pub files: u64,
    /// Bytes that are known of.
    pub bytes: u64,
    /// Files of which more may be lost.
    #[serde(default)]
    pub at_least: u64,
}

/// All losses since the first start.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Losses {
    /// Sums by reason.
    pub totals: BTreeMap<String, LossTotal>,
    /// The last ones, oldest first.
    pub records: VecDeque<LossRecord>,
}

impl Losses {
    /// One more.
    pub fn push(&mut self, record: LossRecord) {
        let total = self.totals.entry(record.reason.clone()).or_default();
        total.bytes += record.end.saturating_sub(record.start);
        let same = |known: &&mut LossRecord| {
            known.reason == record.reason && known.file == record.file && !known.file.is_empty()
        };
        let known = self.records.iter_mut().rev().find(same);
        // What goes on where the last one ended is one loss.
        if let Some(known) = known {
            if known.end == record.start && !record.at_least {
                known.end = record.end;
                return;
            }
        } else {
            total.files += 1;
        }
        total.at_least += u64::from(record.at_least);
        self.records.push_back(record);
        if self.records.len() > RECORDS_MAX {
            self.records.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_outlive_records() {
        let mut losses = Losses::default();
        for start in 0..RECORDS_MAX as u64 + 5 {
            losses.push(LossRecord {
                reason: "deleted_unread".into(),
                container: "shop_web_u/app".into(),
                file: String::new(),
                start,
                end: start + 10,
                at_least: start == 0,
            });
        }
        assert_eq!(losses.records.len(), RECORDS_MAX);
        assert_eq!(losses.records[0].start, 5);
        let total = LossTotal {
            files: 105,
            bytes: 1050,
            at_least: 1,
        };
        assert_eq!(losses.totals["deleted_unread"], total);
    }
}
