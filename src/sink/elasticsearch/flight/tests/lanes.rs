//! A lane has a share of the spool, and beyond it pauses the files that go there.

use super::*;
use crate::record::FileId;
use std::collections::BTreeSet;

/// The file of all documents here.
const FILE: FileId = FileId(1);

/// What the reader is told, as the task asks for it.
fn told(world: &mut World) -> Option<BTreeSet<FileId>> {
    world.flight.take_paused()
}

/// A world in which the lane of `b` has used up its share.
fn with_full_lane() -> World {
    let mut world = World::new(FlightConfig {
        lane_bytes: 1,
        ..config()
    });
    world.batch(&["b"]);
    world.answer(0, hold_b);
    assert_eq!(told(&mut world), None, "there is room");
    world.step_disks();
    world.batch(&["a", "b"]);
    world.answer(0, hold_b);
    world.step_disks();
    world
}

/// Red when a full lane pauses nothing, or what is on its way is not kept.
#[test]
fn a_full_lane_pauses_the_files_that_go_there_until_its_index_takes_documents() {
    let mut world = with_full_lane();
    assert_eq!(told(&mut world), Some(BTreeSet::from([FILE])));
    assert_eq!(told(&mut world), None, "nothing has changed since");
    assert_eq!(world.flight.holds().map(|hold| hold.frames).sum::<usize>(), 2);
    while world.requests.is_empty() {
        assert!(world.step_spool() || world.advance_to_deadline());
    }
    assert_eq!(told(&mut world), None, "it is only probed");
    world.accept_all();
    assert_eq!(told(&mut world), Some(BTreeSet::new()));
    world.drain();
}

/// Red when a lane that ends by loss keeps its files paused for ever.
#[test]
fn a_lane_that_is_gone_pauses_nothing() {
    let mut world = with_full_lane();
    assert!(told(&mut world).is_some());
    while !world.frames.is_empty() {
        world.evict(0);
    }
    assert_eq!(told(&mut world), Some(BTreeSet::new()));
    world.drain();
}

/// Red when the sizes of frames that were found at the start are not counted.
#[test]
fn a_lane_that_was_full_before_the_start_is_full() {
    let mut world = with_full_lane();
    world.restart();
    world.step_disks();
    world.advance_to_request();
    world.answer(0, hold_b);
    assert_eq!(told(&mut world), Some(BTreeSet::from([FILE])));
    world.drain();
}

/// Red when a frame of the backlog that is for a blocked index waits among the others and keeps their room (`Flight::hold`),
/// when it is written anew with each probe (`Lanes::owns`), and when it stays in memory where there is no room for it
/// (`Flight::on_no_room`).
#[test]
fn a_frame_of_the_backlog_moves_to_the_lane_once_or_waits_where_it_lies() {
    let hold = |_: &str, _: &str| Verdict::Hold(problem(403, "cluster_block_exception").into());
    for is_full in [false, true] {
        let mut world = world();
        world.spool_full = is_full;
        world.recover(1);
        world.advance(Duration::from_millis(1));
        let before = *world.frames.keys().next().unwrap();
        for _ in 0..4 {
            while world.requests.is_empty() {
                assert!(world.step_spool() || world.advance_to_deadline());
            }
            world.answer(0, hold);
            world.step_disks();
            assert_eq!(world.flight.parcels().count(), 0);
        }
        let frames: Vec<_> = world
            .frames
            .iter()
            .map(|(frame, kept)| (*frame, kept.lane.clone()))
            .collect();
        let moved = [(before + 1, Some("a".to_owned()))];
        assert_eq!(frames, if is_full { [(before, None)] } else { moved });
        let told: Vec<_> = world
            .flight
            .holds()
            .map(|hold| (hold.frames, hold.problem.status))
            .collect();
        assert_eq!(told, [(1, 403)]);
        world.spool_full = false;
        world.drain();
    }
}

/// Red when a file whose lines go to another index by now stays paused as long as the old one is on hold (`Lanes::resume`), and
/// when one document for the old index does not keep it paused.
#[test]
fn a_file_whose_lines_go_to_another_index_by_now_goes_on() {
    let mut world = with_full_lane();
    assert_eq!(told(&mut world), Some(BTreeSet::from([FILE])));
    world.batch(&["a", "b"]);
    world.answer(0, hold_b);
    world.step_disks();
    assert_eq!(told(&mut world), None, "it still has lines for the old one");
    world.batch(&["a", "a"]);
    world.answer(0, hold_b);
    assert_eq!(told(&mut world), Some(BTreeSet::new()));
    assert_eq!(world.flight.holds().count(), 1);
    world.drain();
}
