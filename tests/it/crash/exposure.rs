//! How many documents a kill may cause to be sent again: worked out from what the server was given and when, never from
//! what the agent says about itself.
//!
//! A checkpoint holds, per file, one offset before which everything is delivered, and it is saved once per interval. So at
//! a kill a document is *durable* when it and all before it in its stream were given to the server more than an interval
//! before; the others that are stored may be sent again. What a run never sent again, although it sent later lines of
//! the same stream, was durable before that run: streams are read in order.

use longshore_kit::lines::find_message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// What may be sent again after a kill.
#[derive(Default)]
pub(super) struct Exposure {
    streams: HashMap<String, Lineage>,
    /// Documents that were given more than once in this run of the agent.
    pub(super) repeated: u64,
}

#[derive(Default)]
struct Lineage {
    /// All below are durable.
    durable: u64,
    /// Stored and not durable.
    stored: BTreeSet<u64>,
    /// When the server was last given them, in this run of the agent.
    given: BTreeMap<u64, Instant>,
}

impl Exposure {
    /// The server takes a document, for the first time or again.
    pub(super) fn on_given(&mut self, source: &[u8], now: Instant) {
        let Ok((_, found)) = find_message(source) else {
            return;
        };
        let lineage = self.streams.entry(found.stream.to_owned()).or_default();
        self.repeated += u64::from(lineage.given.insert(found.seq, now).is_some());
        lineage.stored.insert(found.seq);
    }

    /// Before which line of each stream all are durable.
    pub(super) fn durable(&self) -> HashMap<String, u64> {
        let streams = self.streams.iter();
        streams
            .map(|(stream, lineage)| (stream.clone(), lineage.durable))
            .collect()
    }

    /// The agent is killed: how many stored documents it may send again.
    pub(super) fn on_kill(&mut self, now: Instant, interval: Duration) -> u64 {
        let lineages = self.streams.values_mut();
        lineages.map(|lineage| lineage.on_kill(now, interval)).sum()
    }
}

impl Lineage {
    fn on_kill(&mut self, now: Instant, interval: Duration) -> u64 {
        let given = std::mem::take(&mut self.given);
        if let Some((first, _)) = given.first_key_value() {
            self.durable = self.durable.max(*first);
        }
        let is_old = |given: &Instant| now.saturating_duration_since(*given) > interval;
        while given.get(&self.durable).is_some_and(is_old) {
            self.durable += 1;
        }
        self.stored = self.stored.split_off(&self.durable);
        self.stored.len() as u64
    }
}

#[test]
fn only_a_prefix_that_is_older_than_the_interval_is_durable() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut exposure = Exposure::default();
    let mut give = |seqs: &[u64], at: Instant| {
        for seq in seqs {
            let source = longshore_kit::lines::message("s", *seq, 1, 0);
            exposure.on_given(source.as_bytes(), at);
        }
    };
    give(&[0, 1, 3], start);
    give(&[4, 5], start + 2 * second);
    // 2 was not delivered: all from there on may come again, however old.
    assert_eq!(exposure.on_kill(start + 2 * second, second), 3);
    // A run that begins with 3 shows that 2 has come to rest elsewhere.
    let source = longshore_kit::lines::message("s", 3, 1, 0);
    exposure.on_given(source.as_bytes(), start + 3 * second);
    assert_eq!(exposure.on_kill(start + 5 * second, second), 2);
}
