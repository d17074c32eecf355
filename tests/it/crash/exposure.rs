//! How many documents a kill may cause to be sent again, and which lines the node need not keep for the next start: worked
//! out from what the server was given and when, never from what the agent says about itself.
//!
//! A checkpoint holds, per file, one offset before which everything is delivered, and it is saved once per interval. So at
//! a kill a document is *durable* when it and all before it in its stream were given to the server long enough before, and
//! the server had nothing to complain of since (a batch is acked as a whole, so one document that is refused for now keeps
//! others from being durable); the rest of what is stored may be sent again. What a run never sent again, although it sent later lines of the same stream,
//! was durable before that run: streams are read in order. That is only trusted when the spool was empty at the start of
//! the run (its frames go out in between), when the server refused no request as a whole (nobody saw what was in it), and
//! some time after a stream was seen first (requests may overtake each other).

use longshore_kit::lines::Sequenced;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// No request is under way for so long without being stored.
const OVERTAKEN: Duration = Duration::from_millis(500);

/// What the server does with a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// It is stored, or it was before.
    Stored,
    /// It is refused for good.
    Refused,
    /// It is refused for now: the agent has to keep it.
    NotNow,
}

/// What may be sent again after a kill.
#[derive(Default)]
pub(super) struct Exposure {
    streams: HashMap<String, Lineage>,
    /// Documents that came again although they were durable.
    pub(super) forgotten: u64,
    /// The spool was empty when this run began: it does not send what was durable as a frame.
    without_frames: bool,
    /// The server refused whole requests in this run.
    outage: bool,
    /// Since when it takes everything at once, and nothing waits for another attempt.
    calm_since: Option<Instant>,
}

#[derive(Default)]
struct Lineage {
    /// All below are durable.
    durable: u64,
    /// Stored and not durable.
    stored: BTreeSet<u64>,
    /// When the server was last given them, in this run of the agent.
    given: BTreeMap<u64, Instant>,
    /// The first of this run, whatever the server did with it; and when any of the run came first.
    first: Option<(u64, Instant)>,
    /// Refused for now, in this run, and not given since.
    not_now: HashSet<u64>,
}

impl Exposure {
    /// The agent starts, with frames in its spool or without.
    pub(super) fn on_start(&mut self, without_frames: bool) {
        (self.without_frames, self.outage, self.calm_since) = (without_frames, false, None);
    }

    /// From now on the server takes everything at once, and nothing waits for another attempt.
    pub(super) fn on_calm(&mut self, now: Instant) {
        self.calm_since = Some(now);
    }

    /// From now on the server refuses whole requests.
    pub(super) fn on_outage(&mut self) {
        self.outage = true;
    }

    /// The server takes a document, for the first time or again, or does not.
    pub(super) fn on_given(&mut self, found: &Sequenced<'_>, given: Given, now: Instant) {
        let lineage = self.streams.entry(found.stream.to_owned()).or_default();
        self.forgotten += u64::from(self.without_frames && found.seq < lineage.durable);
        let (first, since) = lineage.first.unwrap_or((found.seq, now));
        lineage.first = Some((first.min(found.seq), since));
        if given == Given::NotNow {
            lineage.not_now.insert(found.seq);
            return;
        }
        lineage.not_now.remove(&found.seq);
        lineage.given.insert(found.seq, now);
        if given == Given::Stored {
            lineage.stored.insert(found.seq);
        }
    }

    /// How many documents were refused for now in this run and have not come again: the agent holds them.
    pub(super) fn refused_for_now(&self) -> usize {
        self.streams.values().map(|lineage| lineage.not_now.len()).sum()
    }

    /// Before which line of each stream all are durable.
    pub(super) fn durable(&self) -> HashMap<String, u64> {
        let streams = self.streams.iter();
        streams
            .map(|(stream, lineage)| (stream.clone(), lineage.durable))
            .collect()
    }

    /// The agent is killed: how many stored documents it may send again. What was given `interval` before is durable, when
    /// it was calm since; so is all before the first document of the run, if that can be trusted.
    pub(super) fn on_kill(&mut self, now: Instant, interval: Duration) -> u64 {
        let trusted = self.without_frames && !self.outage;
        let calm = self
            .calm_since
            .filter(|since| now.saturating_duration_since(*since) > interval);
        let old = calm.and_then(|_| now.checked_sub(interval));
        let lineages = self.streams.values_mut();
        lineages.map(|lineage| lineage.on_kill(now, old, trusted)).sum()
    }
}

impl Lineage {
    /// What was given before `old` is durable.
    fn on_kill(&mut self, now: Instant, old: Option<Instant>, trusted: bool) -> u64 {
        let given = std::mem::take(&mut self.given);
        self.not_now.clear();
        if let (Some((first, since)), true) = (self.first.take(), trusted)
            && now.saturating_duration_since(since) > OVERTAKEN
        {
            self.durable = self.durable.max(first);
        }
        let is_old = |given: &Instant| old.is_some_and(|old| *given < old);
        while given.get(&self.durable).is_some_and(is_old) {
            self.durable += 1;
        }
        self.stored = self.stored.split_off(&self.durable);
        self.stored.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn give(exposure: &mut Exposure, seqs: &[u64], given: Given, at: Instant) {
        for &seq in seqs {
            let found = Sequenced {
                stream: "s",
                seq,
                sent_ns: 1,
                len: 0,
            };
            exposure.on_given(&found, given, at);
        }
    }

    #[test]
    fn crash_lab_only_a_prefix_that_is_older_than_the_interval_is_durable() {
        let start = Instant::now();
        let mut exposure = Exposure::default();
        exposure.on_start(true);
        give(&mut exposure, &[0, 1, 3], Given::Stored, start);
        give(&mut exposure, &[4, 5], Given::Stored, start + 2 * SECOND);
        // Nobody knows what the batches of those had to wait for.
        assert_eq!(exposure.on_kill(start + 2 * SECOND, SECOND), 5);
        exposure.on_start(true);
        exposure.on_calm(start);
        give(&mut exposure, &[0, 1, 3], Given::Stored, start);
        // 2 was not delivered: all from there on may come again, however old.
        assert_eq!(exposure.on_kill(start + 2 * SECOND, SECOND), 3);
    }

    #[test]
    fn crash_lab_what_a_run_begins_with_shows_what_was_durable_before() {
        let start = Instant::now();
        // Whether it began without frames, whether there was an outage, how long the stream was seen; and how many of 0, 3,
        // 4 and 5 may come again.
        let runs = [
            (false, false, SECOND, 4),
            (true, true, SECOND, 4),
            (true, false, OVERTAKEN, 4),
            (true, false, SECOND, 2),
        ];
        for (without_frames, outage, seen_for, exposed) in runs {
            let mut exposure = Exposure::default();
            give(&mut exposure, &[0, 3, 4, 5], Given::Stored, start);
            assert_eq!(exposure.on_kill(start, SECOND), 4);
            exposure.on_start(without_frames);
            give(&mut exposure, &[4], Given::Stored, start);
            if outage {
                exposure.on_outage();
            }
            assert_eq!(exposure.on_kill(start + seen_for, 9 * SECOND), exposed);
        }
    }

    #[test]
    fn crash_lab_what_is_refused_rests_and_what_is_refused_for_now_does_not() {
        let start = Instant::now();
        let mut exposure = Exposure::default();
        exposure.on_start(true);
        exposure.on_calm(start);
        give(&mut exposure, &[0, 3], Given::Stored, start);
        give(&mut exposure, &[1], Given::Refused, start);
        give(&mut exposure, &[2], Given::NotNow, start);
        assert_eq!(exposure.refused_for_now(), 1);
        // Only 3 may come again as a duplicate: 0 is durable, 1 is no document of the index, 2 was not taken.
        assert_eq!(exposure.on_kill(start + 2 * SECOND, SECOND), 1);
        assert_eq!((exposure.durable()["s"], exposure.refused_for_now()), (2, 0));
    }

    #[test]
    fn crash_lab_what_is_durable_comes_again_from_the_spool_only() {
        let start = Instant::now();
        let mut exposure = Exposure::default();
        exposure.on_start(true);
        exposure.on_calm(start);
        give(&mut exposure, &[0, 1, 2], Given::Stored, start);
        exposure.on_kill(start + 2 * SECOND, SECOND);
        for (without_frames, forgotten) in [(false, 0), (true, 2)] {
            exposure.on_start(without_frames);
            give(&mut exposure, &[1, 2, 3], Given::Stored, start + 2 * SECOND);
            assert_eq!(exposure.forgotten, forgotten);
            exposure.on_kill(start + 2 * SECOND, SECOND);
        }
    }
}
