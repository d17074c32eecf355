//! The plan by itself: sums, quota, eviction.

use super::*;

const KIB: u64 = 1024;

fn index(when_full: WhenFull) -> Index {
    let quota = Quota {
        max_bytes: 128 * KIB,
        segment_bytes: 16 * KIB,
        when_full,
    };
    Index::new(quota, 1, 1)
}

/// A segment with so many frames of 1 KiB, with 10 source bytes each.
fn segment(index: &mut Index, frames: u64) -> Vec<u64> {
    segment_of(index, frames, false)
}

fn segment_of(index: &mut Index, frames: u64, within: bool) -> Vec<u64> {
    let Plan::Create { segment, allocate } = index.plan(frames * KIB, u64::MAX, false) else {
        panic!("no room")
    };
    index.on_created(segment, allocate);
    let append = |at| {
        let sequence = index.next_sequence();
        let located = Located {
            segment,
            offset: at * KIB,
            len: KIB,
            documents: 1,
            source_bytes: 10,
            taken: false,
            within,
        };
        index.on_appended(sequence, located);
        sequence
    };
    (0..frames).map(append).collect()
}

#[test]
fn a_sealed_segment_goes_when_its_last_frame_is_done() {
    let mut index = index(WhenFull::Block);
    let frames = segment(&mut index, 2);
    assert!(index.on_done(frames[1]) && !index.on_done(frames[1]));
    assert_eq!((index.frames(), index.source_bytes()), (1, 10));
    index.on_sealed(1, Some(2 * KIB));
    assert_eq!((index.removable(), index.bytes()), (vec![], 4 * KIB));
    index.on_done(frames[0]);
    assert_eq!(index.removable(), [1]);
    index.on_removed(1, true);
    assert_eq!(
        (index.bytes(), index.source_bytes(), index.segment_records().len()),
        (0, 0, 0)
    );
    assert_eq!(index.next_numbers(), (3, 2));
}

#[test]
fn a_segment_that_may_come_back_takes_no_room_and_is_kept_in_mind() {
    let mut index = index(WhenFull::DropOldest);
    let frames = segment(&mut index, 2);
    index.on_sealed(1, None);
    frames.iter().for_each(|frame| assert!(index.on_done(*frame)));
    index.on_removed(1, false);
    assert_eq!((index.bytes(), index.removable()), (0, vec![]));
    assert!(index.segment_records()[&1].done.contains(frames[1]));
}

#[test]
fn room_is_set_aside_until_quota_or_free_space_end() {
    let mut filled = index(WhenFull::Block);
    let mut last = filled.quota().segment_bytes;
    while let Plan::Create { segment, allocate } = filled.plan(KIB, u64::MAX, false) {
        assert!(allocate <= last && allocate >= KIB);
        filled.on_created(segment, allocate);
        last = allocate;
    }
    // What is left is for lanes alone.
    let common = filled.bytes();
    while let Plan::Create { segment, allocate } = filled.plan(KIB, u64::MAX, true) {
        assert!((KIB..=2 * KIB).contains(&allocate), "{allocate}");
        filled.on_created(segment, allocate);
    }
    assert!(
        filled.bytes() >= common + 12 * KIB,
        "{common} of {}",
        filled.bytes()
    );
    let all = filled.bytes() + filled.quota().reserve(filled.segments.len());
    assert!(all <= 128 * KIB && all > 120 * KIB, "{all}");
    let mut index = index(WhenFull::Block);
    let reserve = index.quota().reserve(1);
    assert_eq!(index.plan(KIB, reserve + BLOCK - 1, false), Plan::Full);
    let allocate = BLOCK;
    assert_eq!(
        index.plan(KIB, reserve + BLOCK, false),
        Plan::Create { segment: 1, allocate }
    );
}

#[test]
fn drop_oldest_never_takes_a_segment_of_which_a_frame_was_handed_out() {
    let mut index = index(WhenFull::DropOldest);
    let frames: Vec<Vec<u64>> = (1..=3)
        .map(|number| {
            let frames = segment(&mut index, 4);
            index.on_sealed(number, None);
            frames
        })
        .collect();
    index.take(frames[0][2]);
    assert_eq!(index.plan(KIB, 0, false), Plan::Evict(2));
    let waiting = index.waiting_in(2);
    assert_eq!(
        waiting.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
        frames[1]
    );
    index.take(frames[1][0]);
    index.take(frames[2][0]);
    assert_eq!(index.plan(KIB, 0, false), Plan::Full);
    // Delivered, so that the others of its segment may be given up.
    index.on_done(frames[1][0]);
    assert_eq!(index.plan(KIB, 0, false), Plan::Evict(2));
}

#[test]
fn what_is_within_its_share_is_evicted_last() {
    let mut index = index(WhenFull::DropOldest);
    let calm = segment_of(&mut index, 1, true);
    let loud = segment(&mut index, 1);
    let mixed = [segment_of(&mut index, 1, true), segment(&mut index, 1)];
    let segments: Vec<SegmentNumber> = index.segments.keys().copied().collect();
    segments.iter().for_each(|number| index.on_sealed(*number, None));
    let mut evicted = Vec::new();
    while let Some(number) = index.evictable() {
        for (sequence, _) in index.waiting_in(number) {
            index.on_done(sequence);
            evicted.push(sequence);
        }
    }
    assert_eq!(evicted, [loud[0], mixed[1][0], calm[0], mixed[0][0]]);
}

#[test]
fn what_is_found_keeps_its_place_and_is_evictable_when_it_was_never_sent() {
    let mut index = index(WhenFull::DropOldest);
    let found = |sequence| Found {
        sequence,
        offset: sequence * KIB,
        len: KIB,
        lane: None,
        documents: 1,
        source_bytes: 10,
        starts_group: true,
        sent: false,
    };
    let record = SegmentRecord {
        end: 10 * KIB,
        ..SegmentRecord::default()
    };
    index.on_segment_found(4, 10 * KIB, record.clone(), &[found(8), found(9)], |sequence| {
        sequence < 9
    });
    index.on_segment_found(6, 10 * KIB, record.clone(), &[found(12)], |sequence| sequence < 9);
    index.on_segment_found(7, 10 * KIB, record.clone(), &[], |_| false);
    index.on_sequence_seen(12);
    assert_eq!(index.plan(KIB, 0, false), Plan::Evict(6));
    assert_eq!((index.removable(), index.next_numbers()), (vec![7], (13, 8)));
    index.on_segment_unreadable(9, 10 * KIB, record);
    assert_eq!(index.removable(), [7]);
    assert_eq!(index.segment_records()[&9].end, 10 * KIB);
}

#[test]
fn what_fits_is_charged_no_more_than_the_room() {
    for room in (0..4096).map(|at| at * 1031) {
        let fits = capacity(room);
        assert!(charge(fits) <= room, "{room}");
        assert!(fits + fits / 128 + 3 * BLOCK > room, "{room}: only {fits}");
    }
}
