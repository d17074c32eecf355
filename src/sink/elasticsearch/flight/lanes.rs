//! Indices on hold: which frames wait for which index, and when the next one may try.
//!
//! A lane is *held* until its time, then *probing* with one frame, and *open* when a document of that
//! frame got through: its frames then leave oldest first like all others, and the lane ends with the
//! last one. A refusal closes an open lane at once, with its frames still in it. Whatever becomes of
//! the probe (answered, damaged, evicted, put back), the lane gets a new time.
//!
//! Frames of a lane lie in segments of its own ([`crate::spool::disk`]), so that a blocked index keeps no other frame's room:
//! what is found to be for it in a frame of others moves there, and the frame is done when that is synced. Where there is no
//! room, a frame that holds nothing else waits where it lies, until its next probe.
//!
//! A lane has a share of the spool. What comes for one that is full is still kept (it is in memory by then), but the files that
//! it came from are *paused*: no more is read of them until the index takes documents again, but for a little now and then.
//! When nothing of that is for an index on hold, the file goes on. So a blocked index neither fills the spool nor stops the
//! lines of other indices.

use crate::flow::backoff::Backoff;
use crate::record::{FileId, FrameSeq};
use crate::sink::elasticsearch::response::Problem;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// When a lane tries again whose probe was put back unsent or unanswered.
const PUT_BACK_PAUSE: Duration = Duration::from_secs(1);

/// Files that are remembered as paused, of all lanes. What is beyond is read on.
const MAX_PAUSED: usize = 10_000;

/// Whether frames of a lane may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    Held { until: Instant, attempt: u32 },
    Probing { frame: FrameSeq, attempt: u32 },
    Open,
}

/// One index.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Lane {
    frames: VecDeque<FrameSeq>,
    /// Bytes of its frames, and all of them together.
    sizes: BTreeMap<FrameSeq, u64>,
    bytes: u64,
    /// Those that lie in its own segments.
    own: BTreeSet<FrameSeq>,
    /// Files of which nothing more is wanted.
    paused: BTreeSet<FileId>,
    gate: Gate,
    problem: Problem,
}

/// An index on hold, for the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold<'a> {
    /// Its name.
    pub index: &'a str,
    /// Frames that wait for it, the probing one included.
    pub frames: usize,
    /// Why.
    pub problem: &'a Problem,
}

/// How a probe was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Probe {
    /// The index takes documents again.
    Passed,
    /// Still on hold.
    Held,
    /// No capacity: nothing is learned about the index.
    Unknown,
}

/// All lanes, by index name.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<String, Lane>,
    /// The paused files have changed.
    changed: bool,
}

impl Lanes {
    /// A frame of a lane was found at the start: it may try at once.
    pub(super) fn on_found(&mut self, index: &str, frame: FrameSeq, bytes: u64, now: Instant) {
        let lane = self.lane(index, now);
        lane.frames.push_back(frame);
        lane.add(frame, bytes);
        lane.own.insert(frame);
    }

    /// Documents of an index were refused for now, first until `until`.
    pub(super) fn on_held(&mut self, index: &str, problem: &Problem, until: Instant) {
        let is_new = !self.lanes.contains_key(index);
        let lane = self.lane(index, until);
        if is_new || lane.gate == Gate::Open {
            lane.gate = Gate::Held { until, attempt: 1 };
        }
        lane.problem = problem.clone();
    }

    /// A side body is in the spool.
    pub(super) fn on_spooled(
        &mut self,
        index: &str,
        (frame, bytes): (FrameSeq, u64),
        problem: Problem,
        now: Instant,
    ) {
        let lane = self.lane(index, now);
        lane.frames.push_back(frame);
        lane.add(frame, bytes);
        lane.own.insert(frame);
        lane.problem = problem;
    }

    /// A side body found no room: a lane that has nothing else ends.
    pub(super) fn on_not_spooled(&mut self, index: &str) {
        self.end_if_empty(index);
    }

    /// Whether a frame was written for this index, so that it lies in the lane's own segments.
    pub(super) fn owns(&self, index: &str, frame: FrameSeq) -> bool {
        let lane = self.lanes.get(index);
        lane.is_some_and(|lane| lane.own.contains(&frame))
    }

    /// A frame that holds nothing but documents of this index stays where it is.
    pub(super) fn keep(&mut self, index: &str, (frame, bytes): (FrameSeq, u64), now: Instant) {
        let lane = self.lane(index, now);
        lane.frames.push_front(frame);
        lane.add(frame, bytes);
    }

    /// Documents of these files are on hold. Of files for a lane with `most` bytes or more nothing is wanted any more.
    pub(super) fn pause(&mut self, index: &str, files: impl Iterator<Item = FileId>, most: u64) {
        let paused: usize = self.lanes.values().map(|lane| lane.paused.len()).sum();
        if let Some(lane) = self.lanes.get_mut(index)
            && lane.bytes >= most
            && lane.gate != Gate::Open
        {
            let before = lane.paused.len();
            lane.paused.extend(files.take(MAX_PAUSED.saturating_sub(paused)));
            self.changed |= lane.paused.len() != before;
        }
    }

    /// All that a body had of these files was taken or refused for good: what comes next of them goes to another index than that
    /// on hold, as when a day is over and with it the index of that day.
    pub(super) fn resume(&mut self, files: &BTreeSet<FileId>) {
        for lane in self.lanes.values_mut() {
            let before = lane.paused.len();
            lane.paused.retain(|file| !files.contains(file));
            self.changed |= lane.paused.len() != before;
        }
    }

    /// Whether any file is paused.
    pub(super) fn has_paused(&self) -> bool {
        self.lanes.values().any(|lane| !lane.paused.is_empty())
    }

    /// The paused files, when they have changed since the last call.
    pub(super) fn take_paused(&mut self) -> Option<BTreeSet<FileId>> {
        let lanes = self.lanes.values();
        std::mem::take(&mut self.changed)
            .then(|| lanes.flat_map(|lane| lane.paused.iter().copied()).collect())
    }

    /// The probe was answered. False when the frame is no probe.
    pub(super) fn on_probe(
        &mut self,
        frame: FrameSeq,
        probe: Probe,
        backoff: Backoff,
        now: Instant,
        random: u64,
    ) -> bool {
        let Some((index, attempt)) = self.probed(frame) else {
            return false;
        };
        let attempt = if probe == Probe::Held {
            attempt + 1
        } else {
            attempt
        };
        let until = now + backoff.delay(attempt, random);
        let gate = match probe {
            Probe::Passed => Gate::Open,
            Probe::Held | Probe::Unknown => Gate::Held { until, attempt },
        };
        self.set_gate(&index, gate);
        true
    }

    /// A probe goes back unanswered. False when the frame is no probe.
    pub(super) fn on_probe_put_back(&mut self, frame: FrameSeq, now: Instant) -> bool {
        let Some((index, attempt)) = self.probed(frame) else {
            return false;
        };
        let until = now + PUT_BACK_PAUSE;
        self.set_gate(&index, Gate::Held { until, attempt });
        self.lane(&index, now).frames.push_front(frame);
        true
    }

    /// A frame is no more: evicted, damaged, or settled without an answer to its probe. Its lane may
    /// try the next one at once.
    pub(super) fn on_gone(&mut self, frame: FrameSeq, now: Instant) {
        if let Some((index, attempt)) = self.probed(frame) {
            self.set_gate(&index, Gate::Held { until: now, attempt });
        }
        for lane in self.lanes.values_mut() {
            lane.frames.retain(|waiting| *waiting != frame);
            lane.remove(frame);
        }
        let changed = &mut self.changed;
        self.lanes.retain(|_, lane| {
            let stays = !lane.frames.is_empty() || matches!(lane.gate, Gate::Probing { .. });
            *changed |= !stays && !lane.paused.is_empty();
            stays
        });
    }

    /// The first frame of a held lane whose time has come; it becomes the lane's probe.
    pub(super) fn start_probe(&mut self, now: Instant) -> Option<FrameSeq> {
        self.start_probe_if(|until| until <= now)
    }

    /// The first frame of any held lane, to see whether the server is back when nothing else can tell.
    pub(super) fn start_any_probe(&mut self) -> Option<FrameSeq> {
        self.start_probe_if(|_| true)
    }

    fn start_probe_if(&mut self, may: impl Fn(Instant) -> bool) -> Option<FrameSeq> {
        self.lanes.values_mut().find_map(|lane| {
            let Gate::Held { until, attempt } = lane.gate else {
                return None;
            };
            let frame = if may(until) {
                lane.frames.pop_front()?
            } else {
                return None;
            };
            lane.gate = Gate::Probing { frame, attempt };
            Some(frame)
        })
    }

    /// Takes the oldest frame of the open lanes when it is older than `other`.
    pub(super) fn pop_open(&mut self, other: Option<FrameSeq>) -> Option<FrameSeq> {
        let open = self.lanes.iter().filter(|(_, lane)| lane.gate == Gate::Open);
        let oldest = open
            .filter_map(|(index, lane)| Some((*lane.frames.front()?, index)))
            .min()?;
        let (frame, index) = (oldest.0, oldest.1.clone());
        if other.is_some_and(|other| other < frame) {
            return None;
        }
        if let Some(lane) = self.lanes.get_mut(&index) {
            lane.frames.pop_front();
        }
        self.end_if_empty(&index);
        Some(frame)
    }

    /// When the next held lane may try.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.lanes.values().filter(|lane| !lane.frames.is_empty());
        waiting
            .filter_map(|lane| match lane.gate {
                Gate::Held { until, .. } => Some(until),
                Gate::Probing { .. } | Gate::Open => None,
            })
            .min()
    }

    /// True when a frame waits in any lane.
    pub(super) fn has_frames(&self) -> bool {
        self.lanes.values().any(|lane| !lane.frames.is_empty())
    }

    /// Frames that wait in open lanes.
    pub(super) fn open_frames(&self) -> usize {
        self.lanes
            .values()
            .filter(|lane| lane.gate == Gate::Open)
            .map(|lane| lane.frames.len())
            .sum()
    }

    /// The lanes that are not open.
    pub(super) fn holds(&self) -> impl Iterator<Item = Hold<'_>> {
        self.lanes
            .iter()
            .filter(|(_, lane)| lane.gate != Gate::Open)
            .map(|(index, lane)| Hold {
                index,
                frames: lane.frames.len() + usize::from(matches!(lane.gate, Gate::Probing { .. })),
                problem: &lane.problem,
            })
    }

    fn lane(&mut self, index: &str, until: Instant) -> &mut Lane {
        self.lanes.entry(index.to_owned()).or_insert_with(|| Lane {
            frames: VecDeque::new(),
            sizes: BTreeMap::new(),
            bytes: 0,
            own: BTreeSet::new(),
            paused: BTreeSet::new(),
            gate: Gate::Held { until, attempt: 1 },
            problem: Problem {
                status: 0,
                kind: String::new(),
                reason: String::new(),
            },
        })
    }

    /// The lane that `frame` probes, and its attempts.
    fn probed(&self, frame: FrameSeq) -> Option<(String, u32)> {
        self.lanes.iter().find_map(|(index, lane)| match lane.gate {
            Gate::Probing {
                frame: probe,
                attempt,
            } if probe == frame => Some((index.clone(), attempt)),
            _ => None,
        })
    }

    fn set_gate(&mut self, index: &str, gate: Gate) {
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.gate = gate;
            if gate == Gate::Open {
                self.changed |= !lane.paused.is_empty();
                lane.paused.clear();
            }
        }
    }

    fn end_if_empty(&mut self, index: &str) {
        let ended = |lane: &Lane| lane.frames.is_empty() && !matches!(lane.gate, Gate::Probing { .. });
        if self.lanes.get(index).is_some_and(ended)
            && let Some(lane) = self.lanes.remove(index)
        {
            self.changed |= !lane.paused.is_empty();
        }
    }
}

impl Lane {
    fn add(&mut self, frame: FrameSeq, bytes: u64) {
        if self.sizes.insert(frame, bytes).is_none() {
            self.bytes += bytes;
        }
    }

    fn remove(&mut self, frame: FrameSeq) {
        self.bytes -= self.sizes.remove(&frame).unwrap_or(0);
        self.own.remove(&frame);
    }
}
