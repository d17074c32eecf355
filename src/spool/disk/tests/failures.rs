//! What one failing call costs: nothing that was confirmed, and no sync is asked for twice.

use super::rough::{Op, Rough};
use super::*;
use std::io::ErrorKind::{Other, StorageFull};

const STARTS_GROUP: frame::Marks = frame::Marks {
    starts_group: true,
    sent: false,
};

const ROOMY: Quota = Quota {
    max_bytes: 1024 * KIB,
    segment_bytes: 16 * KIB,
    when_full: WhenFull::Block,
};

fn rough(state: &Path, quota: Quota) -> (Rough, Spool) {
    let rough = Rough::new(state);
    let (spool, _) = Spool::open(&rough.disk(), state, quota, MinFree::Bytes(0)).unwrap();
    (rough, spool)
}

fn group(spool: &mut Spool, bodies: &[Body]) -> Vec<Appended> {
    let parcels: Vec<Parcel<'_>> = bodies
        .iter()
        .map(|body| Parcel {
            lane: None,
            body,
            keep: Keep::Unsent,
        })
        .collect();
    spool.append(&parcels, &mut Vec::new())
}

fn bodies() -> Vec<Body> {
    (1..=5).map(body).collect()
}

/// Red when a sync is tried again, and when a body is confirmed in a segment whose sync failed.
#[test]
fn after_a_failed_write_or_sync_the_group_is_written_again_elsewhere_and_comes_back_once() {
    for (op, place) in [(Op::Sync, 0), (Op::Append, 0), (Op::Append, 2)] {
        let state = tempfile::tempdir().unwrap();
        let (rough, mut spool) = rough(state.path(), ROOMY);
        let earlier = kept(&mut spool);
        let all = bodies();
        // Some of the group is written before the failure.
        if op == Op::Append && place > 0 {
            rough.fail(Op::Append, Other);
        } else {
            rough.fail(op, Other);
        }
        let outcomes = group(&mut spool, &all);
        assert_eq!(rough.failures_left(), 0);
        let frames: Vec<u64> = (earlier + 1..=earlier + 5).collect();
        let expected: Vec<Appended> = frames.iter().copied().map(Appended::Frame).collect();
        assert_eq!(outcomes, expected, "{op:?}");
        // The remains of the first attempt come back to life, as they may after a power cut.
        let remains: Vec<u8> = all
            .iter()
            .zip(&frames)
            .flat_map(|(body, frame)| frame::encode_marked(*frame, STARTS_GROUP, None, body))
            .collect();
        drop(spool);
        let first = state.path().join("spool/000000000001.segment");
        let whole_first = fs::read(&first).unwrap();
        for cut in [0, 30, 70, remains.len() / 2, remains.len()] {
            fs::write(&first, [&whole_first[..], &remains[..cut]].concat()).unwrap();
            let (mut spool, recovered) = open(state.path(), ROOMY);
            let expected: Vec<u64> = (earlier..=earlier + 5).collect();
            assert_eq!(sequences(&recovered), expected, "{op:?} {cut}");
            assert_eq!(recovered.damage, [""; 0], "{op:?} {cut}");
            assert_eq!(whole(spool.read(earlier)), body(3));
            for (frame, body) in frames.iter().zip(&all) {
                assert_eq!(whole(spool.read(*frame)), *body);
            }
            assert!(spool.losses().is_empty());
        }
    }
}

/// Even when the end of the first segment could not be put on record.
#[test]
fn remains_that_are_not_on_record_count_once() {
    let state = tempfile::tempdir().unwrap();
    let (rough, mut spool) = rough(state.path(), ROOMY);
    let earlier = kept(&mut spool);
    rough.fail(Op::Sync, Other);
    rough.fail(Op::Rename, Other);
    let all = bodies();
    let outcomes = group(&mut spool, &all);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Appended::Frame(_)))
    );
    assert_eq!(rough.failures_left(), 0);
    drop(spool);
    let first = state.path().join("spool/000000000001.segment");
    let remains: Vec<u8> = all
        .iter()
        .zip(earlier + 1..)
        .enumerate()
        .flat_map(|(at, (body, frame))| {
            frame::encode_marked(
                frame,
                frame::Marks {
                    starts_group: at == 0,
                    sent: false,
                },
                None,
                body,
            )
        })
        .collect();
    let whole_first = fs::read(&first).unwrap();
    for cut in (0..=remains.len()).step_by(7) {
        fs::write(&first, [&whole_first[..], &remains[..cut]].concat()).unwrap();
        let _ = fs::remove_file(state.path().join("spool/delivered"));
        let (spool, recovered) = open(state.path(), ROOMY);
        let expected: Vec<u64> = (earlier..=earlier + 5).collect();
        assert_eq!(sequences(&recovered), expected, "{cut}");
        assert!(spool.losses().is_empty(), "{cut}: {:?}", recovered.damage);
    }
}

#[test]
fn when_the_second_segment_fails_too_nothing_is_confirmed_and_nothing_earlier_is_lost() {
    let state = tempfile::tempdir().unwrap();
    let (rough, mut spool) = rough(state.path(), ROOMY);
    let earlier = kept(&mut spool);
    rough.fail(Op::Sync, Other);
    rough.fail(Op::Sync, Other);
    let outcomes = group(&mut spool, &bodies());
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Appended::Failed(_)))
    );
    let later = kept(&mut spool);
    assert!(later > earlier + 5);
    drop(spool);
    let (spool, recovered) = open(state.path(), ROOMY);
    assert_eq!(
        (sequences(&recovered), recovered.damage),
        (vec![earlier, later], vec![])
    );
    assert!(spool.losses().is_empty());
}

#[test]
fn a_disk_that_is_full_refuses_and_takes_again_when_it_is_not() {
    for op in [Op::Open, Op::Allocate] {
        let state = tempfile::tempdir().unwrap();
        let (rough, mut spool) = rough(state.path(), ROOMY);
        rough.fail(op, StorageFull);
        assert_eq!(append(&mut spool, None, &body(3)), Appended::Full, "{op:?}");
        assert_eq!(segments(state.path()), [""; 0]);
        let frame = kept(&mut spool);
        assert_eq!(whole(spool.read(frame)), body(3));
    }
    let state = tempfile::tempdir().unwrap();
    let (rough, mut spool) = rough(state.path(), ROOMY);
    kept(&mut spool);
    rough.fail(Op::Append, StorageFull);
    rough.fail(Op::Allocate, StorageFull);
    assert_eq!(append(&mut spool, None, &body(3)), Appended::Full);
    let frame = kept(&mut spool);
    assert_eq!(whole(spool.read(frame)), body(3));
}

#[test]
fn a_frame_that_cannot_be_read_now_is_read_later_and_lost_in_the_end() {
    let state = tempfile::tempdir().unwrap();
    let (rough, mut spool) = rough(state.path(), ROOMY);
    let (first, second) = (kept(&mut spool), kept(&mut spool));
    rough.fail(Op::Read, Other);
    assert!(matches!(spool.read(first), Reading::Postponed(_)));
    assert_eq!(spool.postponed(), [first]);
    assert_eq!(whole(spool.read(first)), body(3));
    assert_eq!(spool.postponed(), [0; 0]);
    // Once more for the spans that are lost with it.
    (0..=READ_ATTEMPTS + 1).for_each(|_| rough.fail(Op::Read, Other));
    for _ in 0..READ_ATTEMPTS {
        assert!(matches!(spool.read(second), Reading::Postponed(_)));
    }
    let Reading::Lost(lost) = spool.read(second) else {
        panic!("still not lost")
    };
    assert_eq!((lost.evicted.sequence, lost.evicted.source_bytes), (second, 300));
    assert_eq!(spool.postponed(), [0; 0]);
    assert!(matches!(spool.read(second), Reading::Gone));
    assert_eq!(spool.losses().totals(Reason::Damaged), Totals::one(3, 300));
}

/// Red when a frame is handed out before that is durable.
#[test]
fn a_frame_is_handed_out_only_when_that_is_on_record() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        when_full: WhenFull::DropOldest,
        ..ROOMY
    };
    let (rough, mut spool) = rough(state.path(), quota);
    let frame = kept(&mut spool);
    spool.save_delivered().unwrap();
    for op in [Op::Open, Op::Append, Op::Sync, Op::Rename, Op::SyncFolder] {
        rough.fail(op, StorageFull);
        assert!(matches!(spool.read(frame), Reading::Postponed(_)), "{op:?}");
    }
    let syncs = rough.syncs();
    assert_eq!(whole(spool.read(frame)), body(3));
    assert_eq!(rough.syncs() - syncs, 1);
    // One record covers many.
    let more: Vec<u64> = (0..20).map(|_| kept(&mut spool)).collect();
    let syncs = rough.syncs();
    more.iter().for_each(|frame| drop(whole(spool.read(*frame))));
    assert_eq!(rough.syncs(), syncs);
}

/// Red when a segment is removed before its loss is durable, and when an eviction that failed is kept.
#[test]
fn an_eviction_that_cannot_be_put_on_record_does_not_happen() {
    for op in [Op::Open, Op::Append, Op::Sync, Op::Rename, Op::SyncFolder] {
        let state = tempfile::tempdir().unwrap();
        let quota = Quota {
            max_bytes: 64 * KIB,
            segment_bytes: 4 * KIB,
            when_full: WhenFull::DropOldest,
        };
        let (rough, mut spool) = rough(state.path(), quota);
        let big = body(100);
        let parcel = Parcel {
            keep: Keep::Unsent,
            lane: None,
            body: &big,
        };
        let mut evicted = Vec::new();
        let plan_is_evict = |spool: &mut Spool| {
            matches!(
                spool.index.plan(4000, u64::MAX, false),
                crate::spool::index::Plan::Evict(_)
            )
        };
        while !plan_is_evict(&mut spool) {
            spool.append(&[parcel], &mut evicted);
        }
        let before = spool.index().frames();
        if op == Op::Open {
            // The table of the frame is read first, three times.
            (0..3).for_each(|_| rough.fail(Op::Open, Other));
        }
        rough.fail(op, Other);
        let mut outcome = Appended::Frame(0);
        while matches!(outcome, Appended::Frame(_)) && evicted.is_empty() {
            outcome = spool.append(&[parcel], &mut evicted).remove(0);
        }
        if op == Op::Open {
            rough.heal();
            continue;
        }
        assert!(matches!(outcome, Appended::Failed(_)), "{op:?} {outcome:?}");
        assert!(evicted.is_empty() && spool.losses().is_empty());
        assert!(spool.index().frames() >= before);
        assert_eq!(whole(spool.read(1)), big, "{op:?}");
        drop(spool);
        let (mut spool, recovered) = open(state.path(), quota);
        assert_eq!(recovered.frames[0].sequence, 1, "{op:?}");
        assert!(spool.losses().is_empty(), "{op:?}");
        assert_eq!(whole(spool.read(1)), big);
    }
}

#[test]
fn a_segment_that_cannot_be_removed_is_removed_later() {
    for op in [Op::Remove, Op::SyncFolder] {
        let state = tempfile::tempdir().unwrap();
        let (rough, mut spool) = rough(state.path(), QUOTA);
        let frames: Vec<u64> = (0..6).map(|_| kept(&mut spool)).collect();
        let many = segments(state.path()).len();
        assert!(many > 1);
        rough.fail(op, Other);
        let failed = frames.iter().filter(|frame| spool.done(**frame).is_err()).count();
        assert_eq!(failed, 1, "{op:?}");
        spool.close().unwrap();
        assert_eq!(segments(state.path()), [""; 0]);
        let (_, recovered) = open(state.path(), QUOTA);
        assert_eq!((sequences(&recovered), recovered.damage), (vec![], vec![]));
    }
}

/// Red when a start trusts the header of a frame that nothing has confirmed.
#[test]
fn a_frame_that_a_power_cut_tore_was_never_confirmed_and_is_no_loss() {
    let state = tempfile::tempdir().unwrap();
    let (_, mut spool) = rough(state.path(), ROOMY);
    let first = kept(&mut spool);
    drop(spool);
    let path = state.path().join("spool/000000000001.segment");
    let whole_first = fs::read(&path).unwrap();
    let record = state.path().join("spool/delivered");
    let whole_record = fs::read(&record).unwrap();
    let torn = frame::encode_marked(first + 1, STARTS_GROUP, None, &body(3));
    let later = frame::encode(first + 2, None, &body(2));
    for zeros in [frame::HEADER_LEN, torn.len() - 5] {
        let mut torn = torn.clone();
        torn[zeros..].fill(0);
        fs::write(&path, [&whole_first[..], &torn, &later].concat()).unwrap();
        fs::write(&record, &whole_record).unwrap();
        let (mut spool, recovered) = open(state.path(), ROOMY);
        assert_eq!(sequences(&recovered), [first, first + 2]);
        assert_eq!(recovered.damage.len(), 1);
        assert!(spool.losses().is_empty(), "{:?}", recovered.damage);
        assert!(kept(&mut spool) > first + 2);
        // Neither is it found, nor told again.
        spool.close().unwrap();
        let (spool, recovered) = open(state.path(), ROOMY);
        assert_eq!((recovered.frames.len(), recovered.damage), (3, vec![]));
        assert!(spool.losses().is_empty());
        drop(spool);
        fs::remove_dir_all(state.path().join("spool")).unwrap();
        fs::create_dir(state.path().join("spool")).unwrap();
    }
}

/// Red when a segment goes before what is lost in it is on record.
#[test]
fn a_segment_with_a_damaged_frame_stays_until_the_loss_is_on_record() {
    let state = tempfile::tempdir().unwrap();
    let (rough, mut spool) = rough(state.path(), ROOMY);
    let frame = kept(&mut spool);
    spool.save_delivered().unwrap();
    let path = state.path().join("spool/000000000001.segment");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.read(frame), Reading::Lost(_)));
    rough.fail(Op::Rename, Other);
    rough.fail(Op::Rename, Other);
    assert!(spool.close().is_err());
    assert_eq!(rough.failures_left(), 0);
    assert_eq!(segments(state.path()).len(), 1);
    drop(spool);
    let (mut spool, _) = open(state.path(), ROOMY);
    assert!(matches!(spool.read(frame), Reading::Lost(_)));
    spool.close().unwrap();
    assert_eq!(segments(state.path()).len(), 0);
    let (spool, _) = open(state.path(), ROOMY);
    assert_eq!(spool.losses().totals(Reason::Damaged), Totals::one(3, 300));
}
