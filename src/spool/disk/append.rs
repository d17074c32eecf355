//! Bodies enter as a group; frames under one sync, and what was evicted for them, leave.

use super::places::Place;
use super::{Active, Spool, is_full};
use crate::disk::How;
use crate::mutant::{self, Mutant};
use crate::record::{Body, Keep};
use crate::spool::delivered::SegmentRecord;
use crate::spool::frame;
use crate::spool::index::{Located, Plan, SegmentNumber};
use crate::spool::losses::{Reason, Totals};
use crate::spool::protocol::Evicted;
use std::collections::BTreeMap;
use std::io;

/// Segments that may fail under one group before it is given up: the first, and the one in its place.
const FAILURES_MAX: usize = 2;

/// A body to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// The index on hold, if it is kept for one.
    pub lane: Option<&'a str>,
    /// The body.
    pub body: &'a Body,
    /// Why it is kept, and so what may be evicted for it.
    pub keep: Keep,
}

/// What became of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It is on disk, synced, under this number.
    Frame(u64),
    /// There is no room.
    Full,
    /// The disk failed, for this reason.
    Failed(String),
}

/// A body on its way into a segment.
#[derive(Clone, Copy)]
struct Item<'a> {
    /// Its place in the group.
    at: usize,
    parcel: Parcel<'a>,
    sequence: u64,
    len: u64,
}

/// What is known of a group that is being written.
struct Group<'a> {
    outcomes: Vec<Appended>,
    /// In the active segment, not synced: each with its offset.
    written: Vec<(Item<'a>, u64)>,
    /// Their segment failed.
    failed: Vec<Item<'a>>,
    failures: usize,
    evicted: &'a mut Vec<Evicted>,
}

impl Spool {
    /// Appends bodies and syncs them together, those of each place. Evictions that were needed are added to `evicted`.
    /// Gives one outcome per body, in order.
    pub fn append(&mut self, parcels: &[Parcel<'_>], evicted: &mut Vec<Evicted>) -> Vec<Appended> {
        let items: Vec<Item<'_>> = parcels
            .iter()
            .enumerate()
            .map(|(at, parcel)| Item {
                at,
                parcel: *parcel,
                sequence: self.index.next_sequence(),
                len: frame::encoded_len(parcel.lane, parcel.body),
            })
            .collect();
        let mut group = Group {
            outcomes: vec![Appended::Failed("two segments failed before it".to_owned()); items.len()],
            written: Vec::new(),
            failed: Vec::new(),
            failures: 0,
            evicted,
        };
        if self.write_by_place(&items, &mut group) {
            // What lies behind the end of a segment that failed must not come back: best before anything is confirmed.
            // When it cannot be saved it is still only a repeat, which Elasticsearch knows by its ids.
            let _ = self.save_delivered();
        }
        group.outcomes
    }

    /// Writes bodies place by place. True when a segment has failed.
    fn write_by_place<'a>(&mut self, items: &[Item<'a>], group: &mut Group<'a>) -> bool {
        let mut has_failed = false;
        let mut lanes: Vec<Option<&str>> = items.iter().map(|item| item.parcel.lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        for lane in lanes {
            let of_lane = |item: &&Item<'a>| item.parcel.lane == lane;
            let items: Vec<Item<'a>> = items.iter().filter(of_lane).copied().collect();
            self.turn_to(lane);
            group.failures = 0;
            self.write_all(&items, group);
            let again = std::mem::take(&mut group.failed);
            has_failed |= !again.is_empty();
            // Under the numbers that they have: should both copies survive, they count as one.
            self.write_all(&again, group);
            group.failed.clear();
        }
        has_failed
    }

    /// Writes bodies one after the other, and syncs each segment that gets some of them.
    fn write_all<'a>(&mut self, items: &[Item<'a>], group: &mut Group<'a>) {
        for item in items {
            if group.failures >= FAILURES_MAX {
                continue;
            }
            let fits = |active: &Active| active.written + item.len <= active.allocated;
            if !self.active.as_ref().is_some_and(fits) {
                self.sync_written(group);
                let may_evict = item.parcel.keep != Keep::Copy;
                match self.make_room(item.len, may_evict, group.evicted) {
                    Ok(true) => {}
                    Ok(false) => {
                        group.outcomes[item.at] = Appended::Full;
                        continue;
                    }
                    Err(error) => {
                        group.outcomes[item.at] = Appended::Failed(error.to_string());
                        continue;
                    }
                }
            }
            let written = self.write(item);
            group.written.push((*item, *written.as_ref().unwrap_or(&0)));
            if let Err(error) = written {
                self.on_failed(group, &error);
            }
        }
        self.sync_written(group);
    }

    /// Writes a frame at the end of the active segment, and tells where it begins.
    fn write(&mut self, item: &Item<'_>) -> io::Result<u64> {
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("BUG: no active segment"));
        };
        let Item {
            sequence,
            parcel,
            len,
            ..
        } = *item;
        let starts_group = active.written == active.confirmed;
        let marks = frame::Marks {
            starts_group,
            sent: parcel.keep.may_be_sent(),
        };
        let bytes = frame::encode_marked(sequence, marks, parcel.lane, parcel.body);
        active.file.append(&bytes)?;
        let offset = active.written;
        active.written += len;
        Ok(offset)
    }

    /// Confirms what was written to the active segment.
    fn sync_written(&mut self, group: &mut Group<'_>) {
        if group.written.is_empty() {
            return;
        }
        let Some(active) = &mut self.active else { return };
        let mut synced = if mutant::is(Mutant::AckBeforeSync) {
            Ok(())
        } else {
            active.file.sync()
        };
        if synced.is_err() && mutant::is(Mutant::SyncRetried) {
            synced = active.file.sync();
        }
        if let Err(error) = synced {
            self.on_failed(group, &error);
            return;
        }
        active.confirmed = active.written;
        let segment = active.number;
        for (item, offset) in group.written.drain(..) {
            let located = Located {
                segment,
                offset,
                len: item.len,
                documents: item.parcel.body.documents() as u64,
                source_bytes: item.parcel.body.source_bytes(),
                taken: item.parcel.keep.may_be_sent(),
                within: item.parcel.keep == Keep::Within,
            };
            self.index.on_appended(item.sequence, located);
            group.outcomes[item.at] = Appended::Frame(item.sequence);
        }
        self.saved.dirty = true;
    }

    /// A write or a sync failed: nothing is appended to the active segment any more, and what was not
    /// confirmed in it does not count.
    fn on_failed(&mut self, group: &mut Group<'_>, error: &io::Error) {
        group.failures += 1;
        for (item, _) in group.written.drain(..) {
            group.outcomes[item.at] = if is_full(error) {
                Appended::Full
            } else {
                Appended::Failed(error.to_string())
            };
            group.failed.push(item);
        }
        self.seal_active();
        self.saved.urgent = true;
    }

    /// Makes a segment that takes `len` bytes. False when there is no room for it.
    fn make_room(&mut self, len: u64, may_evict: bool, evicted: &mut Vec<Evicted>) -> io::Result<bool> {
        self.seal_active();
        loop {
            let reaped = self.reap();
            let free = self.free_bytes()?;
            match self.index.plan(len, free, self.place != Place::Common) {
                plan @ (Plan::Full | Plan::Evict(_)) if self.seal_others(plan, len, free) => {}
                Plan::Full => return Ok(false),
                Plan::Evict(_) if !may_evict => return Ok(false),
                Plan::Evict(segment) => {
                    // A segment that cannot be removed makes no room: no more are evicted then.
                    reaped?;
                    self.evict(segment, evicted)?;
                }
                Plan::Create { segment, allocate } => {
                    return match self.create(segment, allocate) {
                        Ok(()) => Ok(true),
                        Err(error) if is_full(&error) => Ok(false),
                        Err(error) => Err(error),
                    };
                }
            }
        }
    }

    fn create(&mut self, number: SegmentNumber, allocated: u64) -> io::Result<()> {
        let mut file = self.disk.open(&self.segment_path(number), How::New)?;
        self.index.on_created(number, allocated);
        let made = file.allocate(allocated).and_then(|()| self.sync_folder());
        if made.is_err() {
            // Nothing is in it: it can be removed.
            self.index.on_sealed(number, None);
            let _ = self.reap();
            return made;
        }
        self.active = Some(Active {
            number,
            file,
            confirmed: 0,
            written: 0,
            allocated,
        });
        Ok(())
    }

    /// Gives up the frames of a segment, durably, before it is removed. On an error they are all still
    /// there.
    fn evict(&mut self, number: SegmentNumber, evicted: &mut Vec<Evicted>) -> io::Result<()> {
        let frames = self.index.waiting_in(number);
        let before = self.losses.clone();
        let mut record = self.index.segment_records().remove(&number).unwrap_or_default();
        for (sequence, located) in &frames {
            self.losses.push(self.loss(Reason::Evicted, *sequence, located));
            record.done.insert(*sequence);
        }
        let record = SegmentRecord {
            waiting: Totals::default(),
            ..record
        };
        if let Err(error) = self.save(&BTreeMap::from([(number, record)])) {
            self.losses = before;
            return Err(error);
        }
        for (sequence, located) in frames {
            self.index.on_done(sequence);
            evicted.push(Evicted {
                sequence,
                documents: located.documents,
                source_bytes: located.source_bytes,
            });
        }
        Ok(())
    }

    /// Ends the active segment, and gives back the room that it does not need.
    pub(super) fn seal_active(&mut self) {
        if let Some(active) = self.active.take() {
            self.seal(active);
        }
    }

    /// Ends a segment, and gives back the room that it does not need.
    pub(super) fn seal(&mut self, mut active: Active) {
        let cut = active.file.cut(active.confirmed);
        self.index
            .on_sealed(active.number, cut.is_ok().then_some(active.confirmed));
        self.saved.dirty = true;
    }
}
