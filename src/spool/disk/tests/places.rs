//! Which segments frames of lanes lie in, and whose room that is.

use super::*;

const LARGE: Quota = Quota {
    max_bytes: 512 * KIB,
    segment_bytes: 16 * KIB,
    when_full: WhenFull::Block,
};

fn large(byte: u8, len: u64) -> Body {
    Body {
        bytes: vec![byte; len as usize].into(),
        ..body(3)
    }
}

fn keep(spool: &mut Spool, lane: Option<&str>, body: &Body) -> u64 {
    match append(spool, lane, body) {
        Appended::Frame(sequence) => sequence,
        other => panic!("{other:?}"),
    }
}

fn home(spool: &mut Spool, sequence: u64) -> SegmentNumber {
    spool.index.take(sequence).unwrap().segment
}

/// Red when a lane's frames lie among the others: then a few of them keep every segment (`Spool::turn_to`).
#[test]
fn a_blocked_index_keeps_no_room_but_its_own() {
    let state = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(state.path(), LARGE);
    let mut held = Vec::new();
    for _ in 0..100 {
        let common = keep(&mut spool, None, &large(1, 6 * KIB));
        held.push(keep(&mut spool, Some("blocked"), &large(2, 100)));
        spool.done(common).unwrap();
    }
    let homes: BTreeSet<SegmentNumber> = held.iter().map(|frame| home(&mut spool, *frame)).collect();
    assert!(homes.len() <= 16, "{homes:?}");
    assert!(du(state.path()) < 100 * KIB, "{} bytes", du(state.path()));
    // They are found again, and their segments end with the last of them.
    drop(spool);
    let (mut spool, recovered) = open(state.path(), LARGE);
    let unfinished = sequences(&recovered);
    assert!(held.iter().all(|frame| unfinished.contains(frame)));
    for frame in unfinished {
        spool.done(frame).unwrap();
    }
    assert_eq!(segments(state.path()), [""; 0]);
    held.push(keep(&mut spool, Some("blocked"), &large(2, 100)));
    held.into_iter().for_each(|frame| spool.done(frame).unwrap());
    assert_eq!(segments(state.path()), [""; 0]);
}

#[test]
fn the_first_lanes_have_segments_of_their_own_and_the_others_share_one() {
    let state = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(state.path(), LARGE);
    let names: Vec<String> = (0..12).map(|number| format!("lane-{number:02}")).collect();
    let bodies = large(1, 100);
    let parcels = names.iter().chain(&names).map(|name| Parcel {
        lane: Some(name),
        body: &bodies,
        keep: Keep::Sent,
    });
    let outcomes = spool.append(&parcels.collect::<Vec<_>>(), &mut Vec::new());
    let homes: Vec<SegmentNumber> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Appended::Frame(frame) => home(&mut spool, *frame),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(homes[..12], homes[12..]);
    assert_eq!(homes[..8].iter().collect::<BTreeSet<_>>().len(), 8);
    assert!(
        homes[8..12]
            .iter()
            .all(|home| *home == homes[8] && !homes[..8].contains(home))
    );
    // A lane that has ended leaves its place to another one.
    let Appended::Frame(first) = outcomes[0] else {
        unreachable!()
    };
    let Appended::Frame(second) = outcomes[12] else {
        unreachable!()
    };
    [first, second]
        .into_iter()
        .for_each(|frame| spool.done(frame).unwrap());
    let new = keep(&mut spool, Some("lane-99"), &bodies);
    assert!(!homes.contains(&home(&mut spool, new)));
}

/// Red when room that is set aside for one place is lost for the others (`Spool::seal_others`).
#[test]
fn room_that_one_place_does_not_use_is_there_for_another() {
    for lane_first in [false, true] {
        let state = tempfile::tempdir().unwrap();
        let quota = Quota {
            max_bytes: 64 * KIB,
            segment_bytes: 32 * KIB,
            when_full: WhenFull::Block,
        };
        let (mut spool, _) = open(state.path(), quota);
        let lanes = if lane_first {
            [Some("blocked"), None]
        } else {
            [None, Some("blocked")]
        };
        let (mut kept, mut full) = (0, 0);
        keep(&mut spool, lanes[0], &large(1, 500));
        while let Appended::Frame(_) = append(&mut spool, lanes[1], &large(2, 3 * KIB)) {
            kept += 3 * KIB;
        }
        while let Appended::Frame(_) = append(&mut spool, lanes[0], &large(2, 500)) {
            full += 1;
        }
        // The file of what is delivered is set aside twice, and each segment takes whole blocks.
        assert!(kept >= 24 * KIB, "{kept} bytes, then {full} frames");
        assert!(du(state.path()) <= quota.max_bytes);
    }
}

/// Red when a lane closes the common segment each time that it needs room in a full spool.
#[test]
fn a_full_spool_that_drops_the_oldest_is_not_cut_into_small_segments() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 256 * KIB,
        segment_bytes: 32 * KIB,
        when_full: WhenFull::DropOldest,
    };
    let (mut spool, _) = open(state.path(), quota);
    let (mut evicted, mut most) = (Vec::new(), 0);
    for round in 0..600 {
        let (common, held) = (large(1, 500), large(2, 500));
        let parcel = |lane, body, keep| Parcel { lane, body, keep };
        let parcels = [
            parcel(None, &common, Keep::Unsent),
            parcel(Some("blocked"), &held, Keep::Unsent),
        ];
        let outcomes = spool.append(&parcels, &mut evicted);
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Appended::Frame(_))),
            "{round}: {outcomes:?}"
        );
        most = most.max(segments(state.path()).len());
    }
    assert!(!evicted.is_empty() && most <= 64, "{most} segments");
}

/// Red when lanes find no room in a full spool: then nothing that is for them can leave the oldest segment (`Index::room`).
#[test]
fn what_is_for_a_lane_leaves_the_segments_of_a_full_spool() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 16384 * KIB,
        segment_bytes: 1024 * KIB,
        ..LARGE
    };
    let (mut spool, _) = open(state.path(), quota);
    let mut frames = Vec::new();
    while let Appended::Frame(frame) = append(&mut spool, None, &large(1, 60 * KIB)) {
        frames.push(frame);
    }
    let before = segments(state.path()).len();
    assert!(frames.len() > 100, "{}", frames.len());
    // As the sink does with frames for a blocked index: a copy in the lane, then the frame is done; or it stays.
    let mut moved = 0;
    for frame in frames {
        let body = whole(spool.read(frame));
        let copy = Parcel {
            lane: Some("blocked"),
            body: &body,
            keep: Keep::Copy,
        };
        if let [Appended::Frame(_)] = spool.append(&[copy], &mut Vec::new())[..] {
            spool.done(frame).unwrap();
            moved += 1;
        }
    }
    // Several segments, until what smaller segments take besides has used up the part of the lanes.
    assert!(
        moved > 4 * 17 && before > 10,
        "{moved} moved, of {before} segments"
    );
    assert!(du(state.path()) <= quota.max_bytes);
}
