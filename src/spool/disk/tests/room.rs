//! Property: whatever is done and whatever fails, the spool keeps within its quota and above the floor, as `du` says;
//! what was confirmed is found again or counted as lost, never both; what was sent is never evicted.

use super::rough::{Op, Rough};
use super::*;
use longshore_kit::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 60;
const STEPS: u64 = 120;
const FLOOR: u64 = 300 * KIB;

/// What the spool should know.
struct World {
    chance: Chance,
    rough: Rough,
    folder: tempfile::TempDir,
    quota: Quota,
    spool: Option<Spool>,
    /// Confirmed and not done, by number: its body.
    waiting: BTreeMap<u64, Body>,
    /// Done, and perhaps not durably.
    done: BTreeSet<u64>,
    sent: BTreeSet<u64>,
    /// Source bytes that were told to be lost.
    told: u64,
    bodies: u64,
    du: u64,
    /// The disk was full since the last start: then a segment may go before that is on record.
    was_full: bool,
    /// How often things happened, so that the test can tell that they did.
    tally: Tally,
}

#[derive(Default, Debug)]
struct Tally {
    confirmed: u64,
    evicted: u64,
    full: u64,
    failed: u64,
    crashes: u64,
    postponed: u64,
}

impl World {
    fn new(seed: u64, when_full: WhenFull) -> World {
        let folder = tempfile::tempdir().unwrap();
        let rough = Rough::new(folder.path());
        let mut world = World {
            chance: Chance::new(seed),
            rough,
            quota: Quota {
                max_bytes: 256 * KIB,
                segment_bytes: 16 * KIB,
                when_full,
            },
            folder,
            spool: None,
            waiting: BTreeMap::new(),
            done: BTreeSet::new(),
            sent: BTreeSet::new(),
            told: 0,
            bodies: 0,
            du: 0,
            was_full: false,
            tally: Tally::default(),
        };
        fs::create_dir(world.folder.path().join("spool")).unwrap();
        world.start();
        world
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().unwrap()
    }

    fn start(&mut self) {
        let state = self.folder.path().to_owned();
        let (spool, recovered) =
            Spool::open(&self.rough.disk(), &state, self.quota, MinFree::Bytes(FLOOR)).unwrap();
        self.spool = Some(spool);
        let found: BTreeSet<u64> = sequences(&recovered).into_iter().collect();
        assert_eq!(found.len(), recovered.frames.len(), "a frame came back twice");
        let missing: Vec<u64> = self
            .waiting
            .keys()
            .copied()
            .filter(|frame| !found.contains(frame))
            .collect();
        let lost: u64 = missing
            .iter()
            .filter_map(|frame| self.waiting.remove(frame))
            .map(|body| body.source_bytes())
            .sum();
        // An eviction may be durable though its sync failed.
        self.told += lost;
        if std::mem::take(&mut self.was_full) {
            let lost = self.lost();
            assert!(lost >= self.told, "{lost} of {}", self.told);
            self.told = lost;
        }
        self.assert_losses();
        assert!(
            missing.iter().all(|frame| !self.sent.contains(frame)),
            "sent and evicted: {missing:?}"
        );
        // What is found besides was written and not confirmed, or delivered and not saved: it goes as it came.
        for frame in found {
            if !self.waiting.contains_key(&frame) {
                let _ = self.spool().done(frame);
            }
        }
    }

    fn assert_losses(&mut self) {
        assert_eq!(self.lost(), self.told);
    }

    fn lost(&mut self) -> u64 {
        let losses = self.spool().losses();
        let lost = Reason::ALL.map(|reason| losses.totals(reason).source_bytes);
        lost.iter().sum()
    }

    fn body(&mut self) -> Body {
        self.bodies += 1;
        let filler = self.chance.below(9000) as usize;
        let text = format!("{:06}{}", self.bodies, "x".repeat(filler)).into_bytes();
        let mut body = body(1 + self.chance.below(40) as u32);
        body.inflated_len = text.len() as u32;
        body.rows.iter_mut().for_each(|row| row.end = 0);
        body.bytes = text.into();
        body
    }

    fn step(&mut self) {
        match self.chance.below(20) {
            0..=9 => self.append(),
            10..=12 => self.deliver(),
            13..=14 => self.read(),
            15 => {
                let _ = self.spool().save_delivered();
            }
            16 => {
                let op = Op::ALL[self.chance.below(Op::ALL.len() as u64) as usize];
                let full = self.chance.hit(0.3);
                let kind = if full {
                    io::ErrorKind::StorageFull
                } else {
                    io::ErrorKind::Other
                };
                self.was_full |= full;
                self.rough.fail(op, kind);
            }
            17 => self.rough.heal(),
            18 => self.crash(),
            _ => {
                let other_files = self.chance.below(400 * KIB);
                self.rough.set_capacity(FLOOR + 500 * KIB - other_files);
            }
        }
        let after = du(self.folder.path());
        assert!(after <= self.quota.max_bytes, "{after} bytes on disk");
        let floor_holds = self.rough.disk().space(self.folder.path()).unwrap().available >= FLOOR;
        // The file `delivered` is written even then, or nothing could be removed any more.
        assert!(
            floor_holds || after <= self.du + 2 * self.quota.delivered_bytes(),
            "{} → {after}",
            self.du
        );
        self.du = after;
    }

    /// Of every third body, one of more lanes than have segments of their own.
    fn lane(&mut self) -> Option<String> {
        let number = self.chance.below(12);
        self.chance.hit(0.3).then(|| format!("lane-{number}"))
    }

    fn append(&mut self) {
        let bodies: Vec<Body> = (0..1 + self.chance.below(5)).map(|_| self.body()).collect();
        let lanes: Vec<Option<String>> = bodies.iter().map(|_| self.lane()).collect();
        let parcels: Vec<Parcel<'_>> = bodies
            .iter()
            .zip(&lanes)
            .map(|(body, lane)| Parcel {
                lane: lane.as_deref(),
                body,
                keep: [Keep::Unsent, Keep::Within, Keep::Sent, Keep::Copy][self.chance.below(4) as usize],
            })
            .collect();
        let kept: Vec<Keep> = parcels.iter().map(|parcel| parcel.keep).collect();
        let mut evicted = Vec::new();
        let outcomes = self.spool.as_mut().unwrap().append(&parcels, &mut evicted);
        let only_copies = kept.iter().all(|keep| *keep == Keep::Copy);
        assert!(!only_copies || evicted.is_empty(), "evicted for copies");
        for ((body, outcome), keep) in bodies.into_iter().zip(outcomes).zip(kept) {
            match outcome {
                Appended::Frame(frame) => {
                    if keep.may_be_sent() {
                        self.sent.insert(frame);
                    }
                    assert!(self.waiting.insert(frame, body).is_none());
                    self.tally.confirmed += 1;
                }
                Appended::Full => self.tally.full += 1,
                Appended::Failed(_) => self.tally.failed += 1,
            }
        }
        for evicted in evicted {
            let body = self
                .waiting
                .remove(&evicted.sequence)
                .expect("evicted what was not there");
            assert!(!self.sent.contains(&evicted.sequence), "sent and evicted");
            assert_eq!(body.source_bytes(), evicted.source_bytes);
            self.told += evicted.source_bytes;
            self.tally.evicted += 1;
        }
        self.assert_losses();
    }

    fn any_waiting(&mut self) -> Option<u64> {
        // Mostly the oldest, as the sink does.
        let at = self.chance.below(self.waiting.len().min(6) as u64) as usize;
        self.waiting.keys().nth(at).copied()
    }

    fn read(&mut self) {
        let Some(frame) = self.any_waiting() else { return };
        match self.spool().read(frame) {
            Reading::Frame(read) => {
                assert_eq!(Some(&read.body), self.waiting.get(&frame));
                self.sent.insert(frame);
            }
            Reading::Postponed(_) => self.tally.postponed += 1,
            other => panic!("{other:?}"),
        }
    }

    fn deliver(&mut self) {
        for _ in 0..self.chance.below(6) {
            let Some(frame) = self.any_waiting() else { return };
            self.waiting.remove(&frame);
            self.done.insert(frame);
            let _ = self.spool().done(frame);
        }
    }

    fn crash(&mut self) {
        self.rough.heal();
        let mut spool = self.spool.take().unwrap();
        if self.chance.hit(0.3) {
            spool.close().unwrap();
        }
        drop(spool);
        self.rough.crash(&mut self.chance);
        self.tally.crashes += 1;
        self.start();
    }

    /// Everything that waits is there, whole.
    fn finish(mut self) -> Tally {
        self.crash();
        for (frame, body) in std::mem::take(&mut self.waiting) {
            assert_eq!(whole(self.spool().read(frame)), body);
        }
        self.tally
    }
}

#[test]
fn quota_floor_and_every_confirmed_frame_hold_at_every_step() {
    let mut sum = Tally::default();
    for seed in 0..SEEDS {
        let policy = [WhenFull::Block, WhenFull::DropOldest][seed as usize % 2];
        let mut world = World::new(seed, policy);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| world.step());
            world.finish()
        }));
        let tally = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        sum.confirmed += tally.confirmed;
        sum.evicted += tally.evicted;
        sum.full += tally.full;
        sum.failed += tally.failed;
        sum.crashes += tally.crashes;
        sum.postponed += tally.postponed;
    }
    // What is to be proved has happened.
    let Tally {
        confirmed,
        evicted,
        full,
        failed,
        crashes,
        postponed,
    } = sum;
    for count in [confirmed, evicted, full, failed, crashes, postponed] {
        assert!(count >= 20, "{sum:?}");
    }
}
