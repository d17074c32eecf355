//! One example per rule of the module's docs; `laws` has what must hold whatever happens.

#![expect(
    clippy::disallowed_methods,
    reason = "the model's clock starts at some moment"
)]

mod doubts;
mod fleet;
mod hedges;
mod lanes;
mod laws;
mod refused;
mod world;

use super::*;
use crate::sink::elasticsearch::response::{RequestVerdict, Verdict};
use std::time::Duration;
use world::{World, config, problem};

fn world() -> World {
    World::new(config())
}

fn retry(_: &str, _: &str) -> Verdict {
    Verdict::Retry(problem(429, "es_rejected_execution_exception").into())
}

fn refuse(_: &str, _: &str) -> Verdict {
    Verdict::Refused(problem(400, "document_parsing_exception").into())
}

/// Index `b` is blocked, everything else is taken.
fn hold_b(index: &str, _: &str) -> Verdict {
    if index == "b" {
        Verdict::Hold(problem(403, "cluster_block_exception").into())
    } else {
        Verdict::Accepted
    }
}

fn unavailable() -> RequestVerdict {
    RequestVerdict::Retry(problem(503, ""))
}

/// One batch is on hold for `b` and lies in its lane.
fn world_with_lane() -> World {
    let mut world = world();
    world.batch(&["b"]);
    world.answer(0, hold_b);
    world.step_disks();
    assert_eq!(
        world
            .flight
            .holds()
            .map(|hold| (hold.index, hold.frames))
            .collect::<Vec<_>>(),
        [("b", 1)]
    );
    world
}

/// The server was away and is back; frames for `index` wait in the spool, and one is read.
fn world_with_backlog(config: FlightConfig, frames: usize, index: &str) -> World {
    let mut world = World::new(config);
    world.batch(&["a"]);
    world.fail(0, false, unavailable());
    for _ in 0..frames {
        world.batch(&[index]);
    }
    world.step_disks();
    world.advance_to_deadline();
    world.step_disks();
    world
}

#[test]
fn a_batch_goes_out_at_once_when_a_slot_is_free() {
    let mut world = world();
    let batch = world.batch(&["a", "b"]);
    assert_eq!((world.requests.len(), world.spool_writes), (1, 0));
    world.accept_all();
    assert_eq!(world.acked, [batch]);
}

#[test]
fn batches_that_find_no_slot_for_a_second_go_to_the_spool_newest_first() {
    let mut world = world();
    for _ in 0..6 {
        world.batch(&["a"]);
    }
    assert_eq!((world.requests.len(), world.spool_writes), (2, 0));
    world.advance(Duration::from_millis(999));
    assert_eq!(world.spool_writes, 0);
    assert!(world.advance_to_deadline());
    // Two are flying and two wait for their slots: of these there are copies.
    assert_eq!((world.spool_writes, world.flight.waiting_frames()), (6, 0));
    world.step_disks();
    assert_eq!((&world.acked[..2], world.acked.len()), (&[6, 5][..], 6));
    assert_eq!(world.frames.len(), 6);
    world.drain();
}

#[test]
fn waiting_batches_are_spooled_before_the_reader_is_stopped_by_the_budget() {
    let mut world = World::new(FlightConfig {
        memory: 2,
        ..config()
    });
    world.batch(&["a"]);
    world.batch(&["a"]);
    assert_eq!((world.requests.len(), world.spool_writes), (1, 1));
    world.drain();
}

#[test]
fn frames_and_fresh_batches_get_slots_by_turns() {
    let mut world = world_with_backlog(
        FlightConfig {
            max_in_flight: 1,
            ..config()
        },
        8,
        "old",
    );
    let mut order = String::new();
    for _ in 0..8 {
        world.batch(&["new"]);
        world.step_disks();
        order.push_str(&world.requests[0].documents[0].0[..1]);
        world.answer(0, |_, _| Verdict::Accepted);
        world.step_disks();
    }
    assert!(order.matches('n').count() >= 3, "new lines starve: {order}");
    assert!(order.matches('o').count() >= 3, "the spool starves: {order}");
    world.drain();
}

/// Red when `next_unsent` takes turns whatever `backlog_share` says.
#[test]
fn the_backlog_has_the_share_of_the_slots_that_is_configured() {
    for (share, expected) in [(10, 4), (25, 10), (50, 20), (75, 30), (90, 36)] {
        let mut world = world_with_backlog(
            FlightConfig {
                max_in_flight: 1,
                backlog_share: share,
                ..config()
            },
            50,
            "old",
        );
        let mut old = 0;
        for _ in 0..40 {
            world.batch(&["new"]);
            world.step_disks();
            old += usize::from(world.requests[0].documents[0].0.starts_with('o'));
            world.answer(0, |_, _| Verdict::Accepted);
            world.step_disks();
        }
        assert!(old.abs_diff(expected) <= 2, "{share} %: {old} of 40");
    }
}

#[test]
fn a_batch_within_the_shares_finds_a_slot_among_those_over_them() {
    let mut world = World::new(FlightConfig {
        max_in_flight: 4,
        ..config()
    });
    world.share = Share::Over;
    for _ in 0..10 {
        world.batch(&["loud"]);
    }
    assert_eq!(world.requests.len(), 3);
    assert!(world.flight.is_pressed());
    world.share = Share::Within;
    world.batch(&["calm"]);
    assert_eq!(world.requests[3].documents[0].0, "calm");
    // Those before it wait on; a slot that becomes free is theirs again.
    world.answer(0, |_, _| Verdict::Accepted);
    assert_eq!(world.requests.len(), 3);
    world.answer(2, |_, _| Verdict::Accepted);
    assert!(world.requests.len() == 3 && world.requests[2].documents[0].0 == "loud");
    world.drain();
    assert!(!world.flight.is_pressed());
    world.batch(&["calm"]);
    world.fail(0, false, unavailable());
    world.batch(&["calm"]);
    assert!(
        !world.flight.is_pressed(),
        "nobody is served, so nobody has a share"
    );
    world.drain();
}

#[test]
fn batches_over_their_shares_leave_for_the_spool_before_the_others() {
    let mut world = World::new(FlightConfig {
        memory: 2000,
        max_in_flight: 1,
        ..config()
    });
    let calm = [world.batch(&["calm"]), world.batch(&["calm"])];
    world.share = Share::Over;
    while world.spool_writes < 5 {
        world.batch(&["loud"]);
    }
    world.step_disks();
    assert!(world.acked.len() >= 5 && world.acked.iter().all(|acked| !calm.contains(acked)));
    world.drain();
}

/// Red without `keeps_fresh`: a quiet container's lines are spooled between those of the loud one, and evicted with them;
/// and red when nothing wakes the flight at the end of that time.
#[test]
fn while_frames_are_evicted_what_is_within_its_share_waits_in_memory() {
    let spooled = |evicts: bool| {
        let mut world = World::new(FlightConfig {
            memory: 2000,
            max_in_flight: 1,
            ..config()
        });
        world.share = Share::Over;
        while world.spool_writes < 3 {
            world.batch(&["loud"]);
        }
        world.step_disks();
        if evicts {
            world.evict(0);
        }
        let may_be_lost = |world: &World| world.frames.values().filter(|kept| !kept.taken).count();
        let before = may_be_lost(&world);
        world.share = Share::Within;
        for _ in 0..30 {
            world.batch(&["calm"]);
        }
        world.step_disks();
        let after = may_be_lost(&world);
        let begun = world.now;
        while world.advance_to_deadline() {}
        world.step_disks();
        let later = (may_be_lost(&world) - before, world.now - begun);
        world.drain();
        (after - before, later)
    };
    assert!(spooled(false).0 > 0);
    let (at_once, later) = spooled(true);
    assert_eq!(at_once, 0);
    assert!(later.0 > 0 && later.1 == Duration::from_secs(10), "{later:?}");
}

#[test]
fn a_server_that_says_when_to_come_again_is_not_asked_before() {
    let mut world = World::new(config());
    world.batch(&["a"]);
    let (request, now) = (world.requests[0].id, world.moment().now);
    world
        .flight
        .on_retry_after(request, Duration::from_secs(200), now);
    world.fail(0, false, unavailable());
    world.step_disks();
    world.advance(Duration::from_secs(199));
    assert!(world.requests.is_empty());
    world.advance(Duration::from_secs(1));
    assert_eq!(world.requests.len(), 1);
    world.drain();
}

#[test]
fn one_host_of_two_that_says_when_to_come_again_leaves_all_to_the_other() {
    let mut world = World::new(FlightConfig { hosts: 2, ..config() });
    world.batch(&["a"]);
    let (request, host) = (world.requests[0].id, world.requests[0].host);
    let now = world.moment().now;
    world
        .flight
        .on_retry_after(request, Duration::from_secs(200), now);
    world.fail(0, false, unavailable());
    for _ in 0..6 {
        world.advance_to_request();
        assert_ne!(world.requests[0].host, host);
        world.accept_all();
        world.batch(&["a"]);
    }
    world.drain();
}

#[test]
fn a_server_that_is_down_leaves_use_for_a_sixteenth_of_the_memory_beside_what_stays() {
    let mut world = World::new(FlightConfig {
        memory: 2000,
        ..config()
    });
    world.batch(&["a"]);
    let one = world.flight.body(world.requests[0].id).unwrap().resident_bytes();
    assert_eq!(world.flight.ceiling(), 2000);
    world.fail(0, false, unavailable());
    for _ in 0..3 {
        world.batch(&["a"]);
        // What is on its way to the disk does not count; the one that probes does.
        assert_eq!(world.flight.ceiling(), one + 125);
    }
    assert_eq!(world.spool_writes, 3);
    world.drain();
    assert_eq!(world.flight.ceiling(), 2000);
}

#[test]
fn one_frame_is_read_ahead_and_no_more() {
    let mut world = world();
    world.batch(&["a"]);
    world.fail(0, false, unavailable());
    for _ in 0..20 {
        world.batch(&["a"]);
        world.step_disks();
    }
    world.advance_to_deadline();
    world.step_disks();
    world.accept_all();
    world.step_disks();
    // Two fly, one waits for its slot.
    let in_memory = world.flight.parcels().count();
    assert_eq!((world.requests.len(), in_memory), (2, 3));
    world.drain();
}

#[test]
fn retried_documents_ride_again_alone_and_later() {
    let mut world = world();
    world.batch(&["a", "a", "a"]);
    world.answer(0, |_, id| {
        if id == "id-2" {
            retry("", "")
        } else {
            Verdict::Accepted
        }
    });
    assert!(world.requests.is_empty() && world.acked.is_empty());
    world.advance_to_deadline();
    assert_eq!(world.requests[0].documents, [("a".to_owned(), "id-2".to_owned())]);
    world.accept_all();
    assert_eq!(world.acked, [1]);
}

/// Red when each rides for itself, when the delay grows with each attempt, and when a body becomes larger than it may.
#[test]
fn what_a_server_has_no_room_for_rides_with_others_in_few_bodies() {
    let mut world = World::new(FlightConfig {
        compression: 1,
        ..config()
    });
    let refuse_third = |world: &mut World| {
        let mut count = 0;
        world.answer(0, |index, id| {
            count += 1;
            if count % 3 == 0 {
                retry(index, id)
            } else {
                Verdict::Accepted
            }
        });
    };
    for _ in 0..10 {
        world.batch(&["a"; 9]);
        refuse_third(&mut world);
    }
    let (begun, sent) = (world.now, world.sent);
    let mut riding = Vec::new();
    world.advance(Duration::from_millis(300));
    while !world.requests.is_empty() {
        riding.push(world.requests[0].documents.len());
        refuse_third(&mut world);
    }
    // One that finds a slot before the others come goes alone; no more slots are there than two.
    assert!(
        riding.iter().sum::<usize>() == 30 && riding.len() <= 2,
        "{riding:?}"
    );
    while world.advance_to_deadline() {
        refuse_third(&mut world);
    }
    assert_eq!(world.acked.len(), 10);
    let (took, requests) = (world.now - begun, world.sent - sent);
    assert!(
        took < Duration::from_secs(3) && requests < 12,
        "{took:?}, {requests}"
    );
}

/// Red when anything is given up after so many attempts or so much time.
#[test]
fn an_outage_of_three_days_loses_nothing_and_ends_within_a_minute() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut world = world();
    let begun = world.now;
    for hour in 1..=72 {
        world.batch(&["a", "b", "a"]);
        while world.now < begun + hour * HOUR {
            world.step_disks();
            match world.requests.is_empty() {
                true => assert!(world.advance_to_deadline(), "nothing would try again"),
                false => world.fail(0, false, unavailable()),
            }
        }
    }
    // One body each time, after 6 to 60 s.
    let attempts = world.sent;
    assert!((72 * 60..72 * 600).contains(&attempts), "{attempts}");
    let back = world.now;
    while world.stored.len() < 72 * 3 {
        world.accept_all();
        world.step_disks();
        if world.requests.is_empty() && world.stored.len() < 72 * 3 {
            assert!(world.advance_to_deadline());
        }
    }
    assert!(
        world.now - back <= Duration::from_secs(120),
        "{:?}",
        world.now - back
    );
    assert_eq!(
        (world.acked.len(), world.lost.len(), world.dead.len()),
        (72, 0, 0)
    );
    world.drain();
}

/// Red when the last few documents that find no room wait as long as bodies that find none (`Flight::ride_later`), and when
/// they are sent that often to a server that takes nothing.
#[test]
fn the_last_that_rides_waits_little_while_others_are_taken() {
    for is_open in [true, false] {
        let mut world = world();
        world.batch(&["a", "a"]);
        let mut at = 0;
        world.answer(0, |index, id| {
            at += 1;
            match at {
                1 => Verdict::Accepted,
                _ => retry(index, id),
            }
        });
        let begun = world.now;
        for _ in 0..40 {
            assert!(world.advance_to_deadline());
            world.answer(0, retry);
            if is_open {
                world.batch(&["b"]);
                world.answer(0, |_, _| Verdict::Accepted);
            }
        }
        let took = world.now - begun;
        assert_eq!(took < Duration::from_secs(25), is_open, "{took:?}");
        world.drain();
    }
}

#[test]
fn bodies_that_are_put_together_are_no_larger_than_others() {
    let mut world = World::new(FlightConfig {
        body_bytes: 200,
        ..config()
    });
    for _ in 0..6 {
        world.batch(&["a"; 3]);
        let mut first = true;
        world.answer(0, |index, id| match std::mem::take(&mut first) {
            true => Verdict::Accepted,
            false => retry(index, id),
        });
    }
    world.advance(Duration::from_millis(300));
    let mut together = Vec::new();
    while !world.requests.is_empty() {
        together.push(world.requests[0].documents.len());
        world.answer(0, |_, _| Verdict::Accepted);
    }
    // A document has about 45 bytes with its action.
    assert!(together.iter().all(|documents| *documents <= 4), "{together:?}");
    assert!(together.contains(&4), "{together:?}");
    world.drain();
}

#[test]
fn delays_grow_while_a_body_is_retried() {
    let mut world = world();
    world.batch(&["a"]);
    let start = world.now;
    for _ in 0..12 {
        world.answer(0, retry);
        world.advance_to_deadline();
    }
    // Twelve delays of at least a tenth of 1, 2, 4, … 60 s.
    assert!(world.now - start > Duration::from_secs(40));
    world.drain();
}

#[test]
fn nothing_new_is_sent_while_too_much_waits_for_another_attempt() {
    let mut world = World::new(FlightConfig {
        memory: 800,
        ..config()
    });
    for _ in 0..3 {
        world.batch(&["a"]);
        world.answer(0, retry);
    }
    let sent = world.sent;
    world.batch(&["a"]);
    assert_eq!((world.sent, world.requests.len()), (sent, 0));
    world.drain();
}

#[test]
fn a_refused_document_is_acked_after_the_dead_letter_is_synced() {
    let mut world = world();
    world.batch(&["a", "a"]);
    world.answer(0, |_, id| {
        if id == "id-1" {
            refuse("", "")
        } else {
            Verdict::Accepted
        }
    });
    world.answer(0, refuse);
    assert!(world.acked.is_empty());
    world.step_letters();
    assert_eq!(
        (world.acked.len(), world.dead.len(), world.stored.len()),
        (1, 1, 1)
    );
}

#[test]
fn parts_of_a_body_share_its_part_of_the_budget_and_give_back_what_they_do_not_need() {
    let mut world = world();
    world.letters_full = true;
    world.batch(&["a"; 40]);
    world.answer(0, |_, id| match id {
        "id-1" => retry("", ""),
        "id-2" => refuse("", ""),
        _ => Verdict::Accepted,
    });
    world.answer(0, refuse);
    world.step_letters();
    let permits: Vec<u64> = world.flight.parcels().map(|parcel| parcel.permit).collect();
    assert!(
        permits.len() == 2 && permits.iter().all(|permit| *permit > 0),
        "{permits:?}"
    );
    assert!(world.released_bytes > permits.iter().sum());
    world.drain();
}

#[test]
fn a_full_dead_letter_file_keeps_the_document_and_its_share_of_the_budget() {
    let mut world = world();
    world.letters_full = true;
    world.batch(&["a"]);
    for _ in 0..3 {
        world.answer(0, refuse);
        world.answer(0, refuse);
        world.step_letters();
        assert!(world.flight.is_dead_letter_full() && world.acked.is_empty());
        assert_eq!((world.requests.len(), world.released_bytes), (0, 0));
        world.advance_to_request();
    }
    world.letters_full = false;
    world.answer(0, refuse);
    world.answer(0, refuse);
    world.step_letters();
    assert!(!world.flight.is_dead_letter_full());
    assert_eq!((world.acked.len(), world.dead.len()), (1, 1));
}

/// Red when a disk that fails counts as one without room: then refused documents are gone for an error that passes.
#[test]
fn a_dead_letter_file_whose_disk_fails_is_not_full() {
    let mut world = World::new(FlightConfig {
        when_letters_full: WhenLettersFull::Drop,
        ..config()
    });
    world.letters_fail = true;
    world.batch(&["a"]);
    for _ in 0..2 {
        world.answer(0, refuse);
    }
    world.step_letters();
    assert!(!world.flight.is_dead_letter_full() && world.acked.is_empty());
    world.letters_fail = false;
    world.advance_to_request();
    for _ in 0..2 {
        world.answer(0, refuse);
    }
    world.step_letters();
    assert_eq!((world.acked.len(), world.dead.len()), (1, 1));
}

/// Red without `LETTER_PARTS`: a body of which nothing is taken is more than a small file holds, and would come again for ever.
#[test]
fn more_dead_letters_than_the_file_may_hold_are_written_in_parts() {
    let mut world = World::new(FlightConfig {
        letter_bytes: 8 * 200,
        ..config()
    });
    world.letters_most = 2;
    world.batch(&["a"; 9]);
    for _ in 0..100 {
        while !world.requests.is_empty() {
            world.answer(0, refuse);
        }
        world.step_letters();
        world.advance(Duration::from_secs(1));
    }
    assert_eq!((world.acked.len(), world.dead.len()), (1, 9));
    assert!(world.flight.is_idle());
}

/// Red when it is kept all the same, or leaves without its reason (`Flight::on_dead_lettered`).
#[test]
fn what_a_full_dead_letter_file_has_no_room_for_is_dropped_where_that_is_asked_for() {
    let mut world = World::new(FlightConfig {
        when_letters_full: WhenLettersFull::Drop,
        ..config()
    });
    world.letters_full = true;
    world.batch(&["a", "a"]);
    world.answer(0, |index, id| match id {
        "id-1" => refuse(index, id),
        _ => Verdict::Accepted,
    });
    world.answer(0, refuse);
    world.step_letters();
    assert!(world.flight.is_dead_letter_full() && world.flight.is_idle());
    assert_eq!(
        (world.acked.len(), world.dead.len(), world.stored.len()),
        (1, 0, 1)
    );
    let dropped: Vec<_> = world.ledger.dropped().filter(|(_, bytes)| *bytes > 0).collect();
    assert_eq!(dropped, [("dead_letter_full", world::SOURCE_BYTES)]);
}

#[test]
fn a_blocked_index_leaves_for_its_lane_and_the_others_flow() {
    let mut world = world();
    world.batch(&["a", "b", "a"]);
    world.answer(0, hold_b);
    world.step_disks();
    assert_eq!((world.acked.len(), world.stored.len()), (1, 2));
    for _ in 0..20 {
        world.batch(&["a"]);
        world.answer(0, hold_b);
    }
    assert_eq!((world.stored.len(), world.frames.len()), (22, 1));
    assert_eq!(world.frames.values().next().unwrap().lane.as_deref(), Some("b"));
    world.drain();
}

#[test]
fn a_lane_is_probed_with_one_frame_and_waits_longer_after_each_refusal() {
    let mut world = world_with_lane();
    for _ in 0..3 {
        world.batch(&["b"]);
        world.answer(0, hold_b);
        world.step_disks();
    }
    let mut probes = 0;
    let start = world.now;
    while world.now - start < Duration::from_secs(300) && world.advance_to_deadline() {
        world.step_disks();
        assert!(world.requests.len() <= 1);
        probes += world.requests.len();
        world.answer(0, hold_b);
    }
    // Delays between 6 and 60 s at the cap; without growth there would be hundreds.
    assert!((5..=60).contains(&probes), "{probes} probes");
    assert_eq!(world.spool_writes, 4, "a whole frame is never written again");
    world.drain();
}

#[test]
fn an_open_lane_closes_at_the_next_refusal_with_its_frames() {
    let mut world = world_with_lane();
    for _ in 0..5 {
        world.batch(&["b"]);
        world.answer(0, hold_b);
        world.step_disks();
    }
    world.advance_to_deadline();
    world.step_disks();
    world.accept_all();
    assert_eq!(world.flight.holds().count(), 0);
    world.step_disks();
    let sent = world.sent;
    while !world.requests.is_empty() {
        world.answer(0, hold_b);
        world.step_disks();
    }
    assert!(
        world.sent - sent <= 2,
        "a closed lane sends no more than was read"
    );
    assert_eq!(world.flight.holds().next().unwrap().frames, world.frames.len());
    world.drain();
}

#[test]
fn a_damaged_probe_is_followed_by_the_next_frame_at_once() {
    let mut world = world_with_lane();
    world.batch(&["b"]);
    world.answer(0, hold_b);
    world.step_disks();
    world.damage(0);
    world.advance_to_deadline();
    world.step_disks();
    assert_eq!((world.lost.len(), world.requests.len()), (1, 1));
    world.drain();
}

#[test]
fn an_evicted_probe_is_followed_by_the_next_frame_at_once() {
    let mut world = world_with_lane();
    world.batch(&["b"]);
    world.answer(0, hold_b);
    world.step_disks();
    // The read is asked for; the spool evicts before it gets to it.
    world.advance_to_deadline();
    world.evict(0);
    world.step_disks();
    assert_eq!((world.lost.len(), world.requests.len()), (1, 1));
    world.drain();
}

#[test]
fn a_lane_with_nothing_left_is_no_hold() {
    let mut world = world_with_lane();
    world.evict(0);
    assert_eq!(world.flight.holds().count(), 0);
    world.drain();
}

#[test]
fn a_probe_that_is_too_large_or_has_no_capacity_leaves_no_lane_behind() {
    for verdict in [RequestVerdict::Split(problem(413, "")), unavailable()] {
        let mut world = world_with_lane();
        world.batch(&["b"]);
        world.answer(0, hold_b);
        world.step_disks();
        world.advance_to_deadline();
        world.step_disks();
        world.fail(0, false, verdict);
        world.drain();
    }
    let mut world = world_with_lane();
    world.advance_to_deadline();
    world.step_disks();
    world.answer(0, retry);
    world.drain();
}

#[test]
fn a_document_on_hold_that_finds_the_spool_full_rides_again_with_growing_delays() {
    let mut world = world();
    world.spool_full = true;
    world.batch(&["b"]);
    let start = world.now;
    while world.now - start < Duration::from_secs(120) {
        world.answer(0, hold_b);
        world.step_disks();
        assert!(world.acked.is_empty() && world.flight.is_spool_full());
        world.advance_to_deadline();
    }
    assert!(world.sent < 40, "{} requests in two minutes", world.sent);
    world.drain();
}

#[test]
fn a_failed_request_sends_everything_to_the_spool_and_one_body_probes() {
    let mut world = world();
    for _ in 0..4 {
        world.batch(&["a"]);
    }
    world.fail(0, false, unavailable());
    world.fail(0, false, unavailable());
    world.step_disks();
    assert_eq!(
        (world.acked.len(), world.requests.len(), world.frames.len()),
        (4, 0, 4)
    );
    world.advance_to_deadline();
    world.step_disks();
    assert_eq!(world.requests.len(), 1);
    world.batch(&["a"]);
    assert_eq!(world.requests.len(), 1);
    world.drain();
}

#[test]
fn a_single_body_stays_in_memory_to_probe() {
    let mut world = world();
    world.batch(&["a"]);
    for _ in 0..5 {
        world.fail(0, false, unavailable());
        world.advance_to_request();
    }
    world.accept_all();
    assert_eq!(*world.flight.health(), Health::Up);
    assert_eq!(world.acked, [1]);
    // Nothing but the copy that is made after a second, and of no use now.
    assert_eq!(world.spool_writes, 1);
    world.step_disks();
    assert!(world.frames.is_empty());
}

#[test]
fn failures_of_requests_sent_together_count_once() {
    let mut world = World::new(FlightConfig {
        max_in_flight: 4,
        ..config()
    });
    for _ in 0..4 {
        world.batch(&["a"]);
    }
    for _ in 0..4 {
        world.fail(0, false, unavailable());
    }
    assert!(matches!(world.flight.health(), Health::Down { attempt: 1, .. }));
    world.step_disks();
    world.advance_to_deadline();
    world.step_disks();
    world.fail(0, false, RequestVerdict::Hold(problem(401, "security_exception")));
    assert!(matches!(
        world.flight.health(),
        Health::Down {
            attempt: 2,
            hold: true,
            ..
        }
    ));
    world.drain();
}

#[test]
fn a_body_that_always_fails_does_not_stop_the_others() {
    let mut world = world();
    for index in ["poison", "a", "a", "a"] {
        world.batch(&[index]);
    }
    for _ in 0..200 {
        world.step_disks();
        match world
            .requests
            .iter()
            .position(|request| request.documents[0].0 == "poison")
        {
            Some(at) => world.fail(at, false, RequestVerdict::Hold(problem(403, ""))),
            None if !world.requests.is_empty() => world.answer(0, |_, _| Verdict::Accepted),
            None => drop(world.advance_to_deadline()),
        }
    }
    assert_eq!(world.stored.len(), 3);
    assert_eq!(world.acked.len(), 4);
    assert!(
        world.spool_writes <= 4,
        "the frame of the poison is only put back"
    );
    world.drain();
}

#[test]
fn only_lanes_left_they_find_out_that_the_server_is_back() {
    let mut world = world_with_lane();
    world.advance_to_deadline();
    world.step_disks();
    world.fail(0, false, unavailable());
    world.drain();
}

#[test]
fn a_whole_frame_is_put_back_and_a_part_of_one_is_written_anew() {
    let mut world = world();
    world.batch(&["a", "a"]);
    world.batch(&["a"]);
    world.fail(0, false, unavailable());
    world.fail(0, false, unavailable());
    world.step_disks();
    assert_eq!(world.spool_writes, 2);
    // Whole: back to its place.
    world.advance_to_deadline();
    world.step_disks();
    world.fail(0, false, unavailable());
    world.step_disks();
    assert_eq!((world.spool_writes, world.frames.len()), (2, 2));
    // One of its two documents gets in, the other one is retried: when the server fails then, that
    // one needs a frame of its own.
    while !world.requests.iter().any(|request| request.documents.len() == 2) {
        assert!(world.advance_to_deadline());
        world.step_disks();
        if world
            .requests
            .front()
            .is_some_and(|request| request.documents.len() == 1)
        {
            world.fail(0, false, unavailable());
        }
    }
    world.answer(0, |_, id| {
        if id == "id-1" {
            Verdict::Accepted
        } else {
            retry("", "")
        }
    });
    world.step_disks();
    world.fail(0, false, unavailable());
    world.step_disks();
    assert_eq!((world.spool_writes, world.stored.len()), (3, 1));
    world.drain();
    assert_eq!(world.ledger.acked, 3 * world::SOURCE_BYTES);
}

#[test]
fn a_full_spool_is_asked_once_a_second_and_with_one_body() {
    let mut world = world();
    world.spool_full = true;
    for _ in 0..20 {
        world.batch(&["a"]);
    }
    world.fail(0, false, RequestVerdict::Hold(problem(401, "")));
    world.fail(0, false, RequestVerdict::Hold(problem(401, "")));
    world.step_disks();
    let (writes, start) = (world.spool_writes, world.now);
    while world.now - start < Duration::from_secs(10) && world.advance_to_deadline() {
        world.step_disks();
        world.fail(0, false, RequestVerdict::Hold(problem(401, "")));
    }
    assert!(
        world.spool_writes - writes <= 11,
        "{} writes in ten seconds",
        world.spool_writes - writes
    );
    assert!(world.flight.is_spool_full() && world.acked.is_empty());
    world.drain();
}

#[test]
fn a_request_that_is_too_large_is_halved_down_to_the_document_that_is_refused() {
    let mut world = world();
    world.batch(&["a", "big", "a", "a", "a"]);
    for _ in 0..20 {
        match world.requests.front() {
            Some(request) if request.documents.iter().any(|(index, _)| index == "big") => {
                world.fail(0, false, RequestVerdict::Split(problem(413, "")));
            }
            _ => world.answer(0, |_, _| Verdict::Accepted),
        }
        world.step_disks();
    }
    assert_eq!(
        (world.stored.len(), world.dead.len(), world.acked.len()),
        (4, 1, 1)
    );
    world.drain();
}

fn bisect() -> RequestVerdict {
    RequestVerdict::Bisect(problem(400, "action_request_validation_exception"))
}

/// Answers for ten minutes: requests with a document for an index in `bad` are refused as a whole.
fn refuse_requests_with(world: &mut World, bad: &[&str]) -> usize {
    let mut refused = 0;
    let end = world.now + Duration::from_secs(600);
    while world.now < end && !(world.flight.is_idle() && world.frames.is_empty()) {
        match world.requests.front() {
            Some(request) => {
                let is_bad = |(index, _): &(String, String)| bad.contains(&index.as_str());
                if request.documents.iter().any(is_bad) {
                    refused += 1;
                    world.fail(0, false, bisect());
                } else {
                    world.answer(0, |_, _| Verdict::Accepted);
                }
            }
            None => drop(world.advance_to_deadline()),
        }
        world.step_disks();
    }
    refused
}

#[test]
fn the_document_that_makes_a_server_refuse_whole_requests_is_found() {
    let mut world = world();
    let mut indices = vec!["a"; 1000];
    indices[700] = "bad";
    world.batch(&indices);
    let refused = refuse_requests_with(&mut world, &["bad"]);
    assert_eq!((world.stored.len(), world.dead.len()), (999, 1));
    // Ten halvings, and the document once more.
    assert!(refused <= 12, "{refused}");
    world.drain();
}

/// Red when a single document is refused before anything else has passed.
#[test]
fn when_all_requests_are_refused_alike_nothing_is_given_up() {
    let mut world = world();
    world.batch(&["bad"; 100]);
    world.batch(&["bad"]);
    let refused = refuse_requests_with(&mut world, &["bad"]);
    assert!(matches!(world.flight.health(), Health::Down { hold: true, .. }));
    assert!(refused < 100, "{refused}");
    assert_eq!((world.stored.len(), world.dead.len()), (0, 0));
    world.drain();
    assert_eq!((world.stored.len(), world.dead.len()), (101, 0));
}

/// Red when one host alone may say that it is the document: here it is what stands before that host.
#[test]
fn what_one_host_of_two_refuses_as_a_whole_the_other_one_gets() {
    let mut world = World::new(FlightConfig {
        hosts: 2,
        first_slots: 1,
        max_in_flight: 1,
        ..config()
    });
    let mut answers = 0;
    for _ in 0..20 {
        world.batch(&["a"; 3]);
        for _ in 0..20 {
            while let Some(request) = world.requests.front() {
                answers += 1;
                if request.host == 0 {
                    let refused = problem(400, "parsing_exception");
                    world.fail(0, false, RequestVerdict::Bisect(refused));
                } else if answers % 3 == 0 {
                    let full = problem(429, "");
                    world.fail(0, false, RequestVerdict::Retry(full));
                } else {
                    world.answer(0, |_, _| Verdict::Accepted);
                }
            }
            world.step_disks();
            world.advance(Duration::from_millis(100));
        }
    }
    world.drain();
    assert_eq!((world.stored.len(), world.dead.len()), (60, 0));
}

/// A quiet node: nothing else tells whether it is the document.
#[test]
fn a_lone_suspect_waits_for_another_document_to_pass() {
    let mut world = world();
    world.batch(&["bad"]);
    refuse_requests_with(&mut world, &["bad"]);
    assert_eq!(world.dead.len(), 0);
    world.batch(&["a"]);
    refuse_requests_with(&mut world, &["bad"]);
    assert_eq!((world.stored.len(), world.dead.len()), (1, 1));
    world.drain();
}

#[test]
fn a_body_that_cannot_be_taken_apart_rides_again_whole() {
    let mut world = world();
    world.batch(&["a", "a"]);
    for parcel in world.flight.flying.values_mut() {
        parcel.body.inflated_len += 1;
    }
    for verdict in [refuse, hold_b, retry] {
        world.answer(0, |_, id| {
            if id == "id-1" {
                verdict("b", id)
            } else {
                Verdict::Accepted
            }
        });
        assert!(world.acked.is_empty() && world.letters_waiting() == 0);
        world.advance_to_request();
    }
    world.fail(0, false, RequestVerdict::Split(problem(413, "")));
    world.advance_to_request();
    world.accept_all();
    assert_eq!(world.acked, [1]);
}

/// Red when `copy` does nothing, or when its confirmation acks nothing.
#[test]
fn a_request_that_stays_unanswered_holds_back_no_checkpoint_for_more_than_a_second() {
    let mut world = world();
    world.batch(&["a", "b"]);
    world.advance(copies::REST_WAIT - Duration::from_millis(1));
    assert_eq!(world.spool_writes, 0);
    assert!(world.advance_to_deadline());
    world.step_disks();
    assert_eq!((world.acked.as_slice(), world.requests.len()), (&[1][..], 1));
    assert_eq!(world.ledger.spooled, 2 * world::SOURCE_BYTES);
    // Until the body leaves memory it keeps its part of the budget.
    assert_eq!(world.released_bytes, 0);
    world.accept_all();
    assert_eq!((world.frames.len(), world.ledger.spooled), (0, 0));
    assert!(world.released_bytes > 0);
    world.drain();
    assert_eq!((world.spool_writes, world.sent), (1, 1));
}

/// Red when the copy of an answered body is not done at once: it would be sent a second time.
#[test]
fn a_copy_that_comes_after_the_answer_has_no_use() {
    let mut world = world();
    world.batch(&["a", "a"]);
    assert!(world.advance_to_deadline());
    world.answer(0, |_, id| {
        if id == "id-1" {
            Verdict::Accepted
        } else {
            retry("", id)
        }
    });
    world.step_disks();
    // What rides again has a copy of its own.
    assert_eq!((world.spool_writes, world.frames.len()), (2, 1));
    assert_eq!(world.acked, [1]);
    world.drain();
    assert_eq!(world.sent, 2);
}

/// Red when `on_batch` does not look at `urgent`.
#[test]
fn lines_of_deleted_files_are_copied_at_once() {
    let mut world = world();
    world.urgent = true;
    world.batch(&["a"]);
    world.step_disks();
    assert_eq!((world.acked.as_slice(), world.requests.len()), (&[1][..], 1));
    world.accept_all();
    assert!(world.frames.is_empty());
}

/// Red when a copied body that leaves memory is written once more.
#[test]
fn a_body_with_a_copy_leaves_memory_without_another_write() {
    let mut world = world();
    world.batch(&["a"]);
    world.batch(&["a"]);
    assert!(world.advance_to_deadline());
    // One copy is confirmed when the server goes down, the other is on its way.
    world.step_spool();
    world.fail(0, false, unavailable());
    world.fail(0, false, unavailable());
    world.step_disks();
    assert_eq!((world.acked.len(), world.spool_writes), (2, 2));
    assert_eq!((world.frames.len(), world.flight.waiting_frames()), (2, 2));
    world.drain();
    assert_eq!(world.spool_writes, 2);
}

/// Red when whose turn it is goes by where a body came from, and not by where it waited.
#[test]
fn frames_and_copied_bodies_over_their_shares_get_slots_by_turns() {
    let mut world = world_with_backlog(
        FlightConfig {
            max_in_flight: 1,
            ..config()
        },
        4,
        "frame",
    );
    world.share = Share::Over;
    world.answer(0, |_, _| Verdict::Accepted);
    world.batch(&["over"]);
    world.advance(copies::REST_WAIT);
    world.step_disks();
    let mut order = String::new();
    for _ in 0..4 {
        // One that was copied waits all the time.
        world.batch(&["over"]);
        world.advance(copies::REST_WAIT);
        world.step_disks();
        order.push_str(&world.requests[0].documents[0].0[..1]);
        world.answer(0, |_, _| Verdict::Accepted);
        world.step_disks();
    }
    assert!(order.contains("fo") || order.contains("of"), "{order}");
    assert!(!order.contains("ooo"), "frames starve: {order}");
    world.drain();
}

/// Red when a body that leaves memory is given up because its copy found no room.
#[test]
fn a_copy_that_finds_no_room_leaves_its_body_to_be_written_itself() {
    let mut world = world();
    world.batch(&["a"]);
    assert!(world.advance_to_deadline());
    let moment = world.moment();
    world.flight.on_shutdown(moment);
    world.settle();
    assert_eq!(world.spool_writes, 1);
    // What evicts nothing finds no room, what may do so does.
    world.spool_full = true;
    world.step_spool();
    world.spool_full = false;
    world.step_disks();
    assert_eq!((world.spool_writes, world.acked.as_slice()), (2, &[1][..]));
    assert_eq!(world.flight.unsaved(), Unsaved::default());
}

/// Red when the rest of an urgent body waits for its copy like others.
#[test]
fn what_rides_again_of_an_urgent_body_is_copied_at_once() {
    let mut world = world();
    world.urgent = true;
    world.batch(&["a", "a"]);
    world.answer(0, |_, id| {
        if id == "id-1" {
            Verdict::Accepted
        } else {
            retry("", id)
        }
    });
    world.step_disks();
    assert_eq!((world.acked.as_slice(), world.frames.len()), (&[1][..], 1));
    world.drain();
}

/// Red when copies for a disk that hangs are not bounded.
#[test]
fn no_more_copies_are_on_their_way_than_twice_the_slots() {
    let mut world = world();
    for _ in 0..20 {
        world.batch(&["a"]);
        assert!(world.advance_to_deadline());
        world.accept_all();
    }
    assert_eq!(world.spool_writes, 4);
    world.drain();
}

/// Red when a copy is tried again and again while the spool is full, or when that is told as a full spool.
#[test]
fn a_full_spool_is_asked_for_a_copy_once_a_second() {
    let mut world = world();
    world.spool_full = true;
    world.batch(&["a"]);
    let begun = world.now;
    while world.now < begun + Duration::from_secs(10) {
        assert!(world.advance_to_deadline());
        world.step_disks();
    }
    assert!((9..=11).contains(&world.spool_writes), "{}", world.spool_writes);
    assert!(!world.flight.is_spool_full() && world.acked.is_empty());
    world.drain();
}

#[test]
fn a_document_that_a_pipeline_drops_is_counted_and_acked() {
    let mut world = world();
    world.batch(&["a"]);
    world.answer(0, |_, _| Verdict::DroppedByServer);
    assert_eq!(world.acked, [1]);
    assert!(
        world
            .ledger
            .dropped()
            .any(|dropped| dropped == ("server_pipeline", world::SOURCE_BYTES))
    );
}

#[test]
fn at_the_end_bodies_in_flight_are_spooled_and_their_late_answers_change_nothing() {
    let mut world = world();
    for _ in 0..4 {
        world.batch(&["a"]);
    }
    world.flight.on_stop();
    let moment = world.moment();
    world.flight.on_shutdown(moment);
    world.settle();
    world.accept_all();
    assert!(world.acked.is_empty() && !world.flight.is_idle());
    world.step_disks();
    assert_eq!((world.acked.len(), world.frames.len()), (4, 4));
    assert!(world.flight.is_idle() && world.flight.unsaved() == Unsaved::default());
    world.restart();
    world.drain();
    assert_eq!(world.ledger.acked, 4 * world::SOURCE_BYTES);
}

#[test]
fn while_stopping_memory_is_sent_but_nothing_is_read_and_nothing_waits_for_another_attempt() {
    // An answer without capacity takes half of the slots.
    let mut world = World::new(FlightConfig {
        max_in_flight: 4,
        ..config()
    });
    world.batch(&["a"]);
    world.answer(0, retry);
    world.batch(&["a"]);
    world.flight.on_stop();
    world.settle();
    world.batch(&["a"]);
    assert_eq!(world.requests.len(), 2);
    world.accept_all();
    world.step_disks();
    assert!(world.flight.is_idle());
    assert_eq!((world.acked.len(), world.frames.len()), (3, 1));
    world.restart();
    world.drain();
}

#[test]
fn what_finds_no_place_at_the_end_is_told() {
    let mut world = world();
    world.spool_full = true;
    world.batch(&["a", "a"]);
    let moment = world.moment();
    world.flight.on_shutdown(moment);
    world.settle();
    world.step_disks();
    assert!(world.flight.is_idle());
    let bytes = 2 * world::SOURCE_BYTES;
    assert_eq!(world.flight.unsaved(), Unsaved { documents: 2, bytes });
    world.restart();
    world.drain();
}

#[test]
fn bodies_without_documents_are_done_at_once() {
    let mut world = world();
    let empty = |world: &World| {
        let flying = world.flight.flying.values().next().unwrap();
        Body {
            rows: vec![],
            ..flying.body.clone()
        }
    };
    world.batch(&["a"]);
    let body = empty(&world);
    world.flight.on_batch(
        Batch {
            seq: 99,
            share: Share::Within,
            urgent: false,
            body: body.clone(),
        },
        world.now,
    );
    let at = world.moment();
    // The ack wakes the reader: it must find the room.
    assert!(matches!(world.flight.poll(at), Some(Action::Release { .. })));
    assert!(matches!(
        world.flight.poll(at),
        Some(Action::Ack(Ack { batch: 99 }))
    ));
    world.flight.on_frame(99, Some(body), world.now);
    assert!(matches!(world.flight.poll(at), Some(Action::FrameDone(99))));
}

#[test]
fn while_one_host_fails_another_takes_its_bodies_at_once() {
    let mut world = World::new(FlightConfig {
        hosts: 2,
        first_slots: 1,
        ..config()
    });
    world.batch(&["a"]);
    world.batch(&["a"]);
    assert_eq!(hosts_of(&world), [0, 1]);
    // The other one has its slot in use, so the first gets two more chances.
    for expected in [vec![1, 0], vec![1, 0], vec![1]] {
        let of_first = hosts_of(&world).iter().position(|host| *host == 0).unwrap();
        world.fail(of_first, false, RequestVerdict::Retry(problem(0, "connect")));
        assert_eq!(hosts_of(&world), expected);
    }
    world.answer(0, |_, _| Verdict::Accepted);
    assert_eq!((hosts_of(&world), world.flight.health()), (vec![1], &Health::Up));
    world.drain();
    assert_eq!(world.frames.len(), 0, "nothing had to be spooled");
}

#[test]
fn when_all_hosts_fail_the_server_is_down() {
    let mut world = World::new(FlightConfig { hosts: 2, ..config() });
    for _ in 0..12 {
        world.batch(&["a"]);
        if !world.requests.is_empty() {
            world.fail(0, false, RequestVerdict::Retry(problem(0, "connect")));
        }
    }
    assert!(matches!(world.flight.health(), Health::Down { .. }));
    world.drain();
    assert_eq!((world.stored.len(), world.flight.health()), (12, &Health::Up));
}

/// Red when 503 counts as an answer of the host, or when hosts without capacity count as others to go to.
#[test]
fn when_no_host_has_capacity_the_server_is_down() {
    for status in [429, 503] {
        let mut world = World::new(FlightConfig { hosts: 3, ..config() });
        for _ in 0..12 {
            world.batch(&["a"]);
            if !world.requests.is_empty() {
                world.fail(0, false, RequestVerdict::Retry(problem(status, "")));
            }
        }
        assert!(matches!(world.flight.health(), Health::Down { .. }), "{status}");
        world.drain();
        assert_eq!((world.stored.len(), world.flight.health()), (12, &Health::Up));
    }
}

/// Red when a host without capacity counts for all of them.
#[test]
fn one_host_of_three_without_capacity_is_not_the_server() {
    for status in [429, 503] {
        let mut world = World::new(FlightConfig { hosts: 3, ..config() });
        for _ in 0..40 {
            world.batch(&["a"]);
            while let Some(request) = world.requests.front() {
                if request.host == 1 {
                    world.fail(0, false, RequestVerdict::Retry(problem(status, "")));
                } else {
                    world.answer(0, |_, _| Verdict::Accepted);
                }
                assert_eq!(world.flight.health(), &Health::Up, "{status}");
            }
            world.advance(Duration::from_millis(200));
        }
        world.drain();
        assert_eq!((world.stored.len(), world.frames.len()), (40, 0));
    }
}

/// Slots of a host that had four, after a request of a hundred documents of 4 KB.
fn slots_after(act: impl FnOnce(&mut World)) -> usize {
    let mut world = World::new(FlightConfig {
        first_slots: 4,
        max_in_flight: 4,
        ..config()
    });
    world.batch(&["long"; 100]);
    act(&mut world);
    world.flight.hosts.slots()
}

/// Red when an answer does not come to the limiter as what it is (`outcome`).
#[test]
fn slots_go_by_429_503_timeouts_and_one_document_in_a_hundred() {
    let whole = |status, kind: &'static str| {
        slots_after(move |world| world.fail(0, false, RequestVerdict::Retry(problem(status, kind))))
    };
    assert_eq!([whole(429, ""), whole(503, ""), whole(0, "timeout")], [2, 2, 2]);
    // A part of the documents takes half of that part: 4 becomes 3.98, of which three can be used.
    let of_items = |refused: usize, verdict: fn(&str, &str) -> Verdict| {
        slots_after(move |world| {
            let mut left = refused;
            world.answer(0, |index, id| {
                if left == 0 {
                    return Verdict::Accepted;
                }
                left -= 1;
                verdict(index, id)
            });
        })
    };
    assert_eq!([0, 1, 100].map(|refused| of_items(refused, retry)), [4, 3, 2]);
    // A block is no congestion, whatever its status is.
    let block = |_: &str, _: &str| Verdict::Hold(problem(429, "cluster_block_exception").into());
    assert_eq!(of_items(100, block), 4);
    let mut few = World::new(FlightConfig {
        first_slots: 4,
        max_in_flight: 4,
        ..config()
    });
    few.batch(&["long"; 200]);
    few.answer(0, |_, id| {
        if id == "id-7" {
            retry("", "")
        } else {
            Verdict::Accepted
        }
    });
    assert_eq!(few.flight.hosts.slots(), 4, "one in two hundred says nothing");
}

/// To whom the requests without an answer went.
fn hosts_of(world: &World) -> Vec<usize> {
    world.requests.iter().map(|request| request.host).collect()
}
