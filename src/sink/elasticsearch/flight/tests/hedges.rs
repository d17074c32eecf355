//! A host that does not answer, beside others that do.

use super::*;
use crate::sink::elasticsearch::response::CONNECTION_BROKE;
use std::collections::BTreeMap;

const HEDGE_AFTER: Duration = Duration::from_secs(5);

fn hosts(hosts: usize, slots: usize) -> World {
    World::new(FlightConfig {
        hosts,
        first_slots: slots,
        max_in_flight: slots,
        hedge_after: Some(HEDGE_AFTER),
        ..config()
    })
}

/// Where the request of this host is.
fn at(world: &World, host: usize) -> usize {
    let mut requests = world.requests.iter();
    requests.position(|request| request.host == host).unwrap()
}

/// Red when `Flight::hedge` sends nothing, or `forget_others` forgets nobody.
#[test]
fn what_a_host_does_not_answer_soon_another_one_gets_too() {
    let mut world = hosts(2, 1);
    world.batch(&["a", "b"]);
    let documents = world.requests[0].documents.clone();
    world.advance(HEDGE_AFTER - Duration::from_millis(1));
    assert_eq!(hosts_of(&world), [0]);
    world.advance(Duration::from_millis(1));
    assert_eq!(hosts_of(&world), [0, 1]);
    assert_eq!(world.requests[1].documents, documents);
    // Neither once more nor a third time.
    world.advance(4 * HEDGE_AFTER);
    assert_eq!(hosts_of(&world), [0, 1]);
    world.answer(1, |_, _| Verdict::Accepted);
    assert_eq!((hosts_of(&world), world.stored.len()), (vec![], 2));
    world.drain();
    assert_eq!(world.frames.len(), 0);
}

/// Red when the slot of a late request stays in use, or that of a forgotten one.
#[test]
fn whoever_answers_first_counts_and_both_slots_are_free() {
    for first in [0, 1] {
        let mut world = hosts(2, 1);
        world.batch(&["a"]);
        world.advance(HEDGE_AFTER);
        world.answer(first, |_, _| Verdict::Accepted);
        assert!(world.requests.is_empty());
        world.batch(&["a"]);
        world.batch(&["a"]);
        let mut both = hosts_of(&world);
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
        world.drain();
    }
}

/// Red when a failure of one of two requests is taken for that of both.
#[test]
fn one_of_two_fails_and_the_other_is_still_waited_for() {
    for first in [0, 1] {
        let mut world = hosts(3, 1);
        world.batch(&["a"]);
        world.advance(HEDGE_AFTER);
        assert_eq!(world.requests.len(), 2);
        world.fail(first, false, RequestVerdict::Retry(problem(0, "timeout")));
        assert_eq!((world.requests.len(), world.stored.len()), (1, 0));
        world.answer(0, |_, _| Verdict::Accepted);
        assert_eq!((world.requests.len(), world.stored.len()), (0, 1));
        world.drain();
        assert_eq!(world.sent, 2);
    }
}

/// Red when both have failed and nobody sends it again.
#[test]
fn when_both_fail_a_third_host_gets_it() {
    let mut world = hosts(3, 1);
    world.batch(&["a"]);
    world.advance(HEDGE_AFTER);
    for _ in 0..2 {
        world.fail(0, false, RequestVerdict::Retry(problem(0, "timeout")));
    }
    assert_eq!(hosts_of(&world), [2]);
    world.drain();
}

/// Red when a host that is slow like all others is taken for frozen: each body would be sent twice when there is least room.
#[test]
fn while_all_are_slow_nothing_is_sent_twice() {
    let mut world = hosts(2, 2);
    for _ in 0..4 {
        world.batch(&["a"]);
    }
    world.advance(3 * HEDGE_AFTER);
    assert_eq!((world.requests.len(), world.sent), (4, 4));
    // One has answered: it is able to take what the other one still has, but one at a time.
    for _ in 0..2 {
        world.answer(at(&world, 1), |_, _| Verdict::Accepted);
    }
    assert_eq!((hosts_of(&world), world.sent), (vec![0, 0, 1], 5));
    world.drain();
}

/// Red when late answers do not count as failures of their host: every third body would be late for ever.
#[test]
fn a_frozen_host_is_left_alone_after_three_bodies() {
    let mut world = hosts(2, 1);
    let mut late = 0;
    for _ in 0..20 {
        world.batch(&["a"]);
        if hosts_of(&world) == [0] {
            world.advance(HEDGE_AFTER);
            late += 1;
        }
        let of_other = at(&world, 1);
        world.answer(of_other, |_, _| Verdict::Accepted);
    }
    assert_eq!((late, world.stored.len()), (3, 20));
    world.drain();
}

#[test]
fn the_end_forgets_all_requests() {
    let mut world = hosts(2, 1);
    world.batch(&["a"]);
    world.advance(HEDGE_AFTER);
    world.restart();
    world.drain();
}

/// Red when a connection that was ended while it was idle counts as an outage, or when one that always breaks never does.
#[test]
fn what_was_on_a_connection_that_broke_is_sent_again_at_once_but_once() {
    let broke = || RequestVerdict::Retry(problem(0, CONNECTION_BROKE));
    let mut world = world();
    world.batch(&["a"]);
    world.fail(0, true, broke());
    assert_eq!((world.requests.len(), world.flight.health()), (1, &Health::Up));
    world.fail(0, true, broke());
    assert!(world.requests.is_empty());
    assert!(matches!(world.flight.health(), Health::Down { .. }));
    world.drain();
    assert_eq!(world.stored.len(), 1);
}

/// Documents that arrive in each second, when hosts answer after 100 ms, never, or fail at once.
fn per_second(dead: Option<usize>, frozen: Option<usize>, all: usize, slots: usize) -> Vec<usize> {
    const ANSWER: Duration = Duration::from_millis(100);
    let mut world = hosts(all, slots);
    let begun = world.now;
    let mut since = BTreeMap::new();
    let mut stored = Vec::new();
    while world.now < begun + Duration::from_secs(90) {
        while world.flight.in_memory().count() < 2 * all * slots {
            world.batch(&["a"; 20]);
        }
        while let Some(at) = world
            .requests
            .iter()
            .position(|request| Some(request.host) == dead)
        {
            world.fail(at, false, RequestVerdict::Retry(problem(0, "connect")));
        }
        for request in &world.requests {
            since.entry(request.id).or_insert(world.now);
        }
        let answered = |request: &world::Request| {
            Some(request.host) != frozen && since[&request.id] + ANSWER <= world.now
        };
        match world.requests.iter().position(answered) {
            Some(at) => world.answer(at, |_, _| Verdict::Accepted),
            None => world.advance(Duration::from_millis(10)),
        }
        world.step_disks();
        let second = (world.now - begun).as_secs() as usize;
        stored.resize(second + 1, 0);
        stored[second] = world.stored.len();
    }
    let before = [0].into_iter().chain(stored.clone());
    stored
        .iter()
        .zip(before)
        .map(|(now, before)| now - before)
        .collect()
}

/// One of three hosts is dead, one frozen: what one can take is taken, in every second.
#[test]
fn one_of_three_hosts_that_works_gets_what_it_can_take() {
    for slots in [1, 4] {
        let alone = per_second(None, None, 1, slots);
        let one = per_second(Some(0), Some(1), 3, slots);
        let least = one[2..89].iter().min().unwrap();
        let rate = alone[2..89].iter().sum::<usize>() / 87;
        assert!(rate >= 190 * slots, "{alone:?}");
        assert!(least * 10 >= rate * 9, "{slots} slots: {rate} alone, {one:?}");
    }
}
