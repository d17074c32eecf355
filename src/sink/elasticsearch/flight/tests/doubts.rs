//! Documents that the server may have under another index or id.

use super::*;

const LOOK_UP_AFTER: Duration = Duration::from_secs(10);

fn world_of(ids: Ids) -> World {
    World::new(FlightConfig { ids, ..config() })
}

fn rolls_over(look_up_after: Option<Duration>) -> World {
    world_of(Ids::RollOver { look_up_after })
}

fn cut() -> RequestVerdict {
    RequestVerdict::Retry(problem(0, "timeout"))
}

/// Goes on until all is delivered; how many requests only asked.
fn finish(world: &mut World) -> usize {
    let mut looks = 0;
    for _ in 0..1000 {
        world.step_disks();
        if let Some(request) = world.requests.front() {
            looks += usize::from(request.looks_up);
            world.answer(0, |_, _| Verdict::Accepted);
        } else if !world.advance_to_deadline() {
            break;
        }
    }
    world.drain();
    looks
}

/// Red when what is taken after a request without an answer is not counted.
#[test]
fn what_is_taken_after_a_request_without_an_answer_may_be_there_twice() {
    for (ids, counted) in [
        (Ids::Ours, 0),
        (Ids::RollOver { look_up_after: None }, 3),
        (Ids::OfTheServer, 3),
    ] {
        let mut world = world_of(ids);
        world.batch(&["a", "a", "a"]);
        world.fail(0, true, cut());
        world.roll_over();
        assert_eq!(finish(&mut world), 0);
        assert_eq!(
            (world.doubled(), world.flight.possible_duplicates()),
            (3, counted)
        );
    }
}

#[test]
fn what_never_left_is_in_no_doubt_and_what_is_told_to_be_there_neither() {
    let mut world = rolls_over(None);
    world.batch(&["a"]);
    world.fail(0, false, RequestVerdict::Retry(problem(0, "connect")));
    finish(&mut world);
    world.batch(&["a"]);
    world.fail(0, true, cut());
    finish(&mut world);
    assert_eq!((world.stored.len(), world.flight.possible_duplicates()), (2, 0));
}

/// Red when something is sent before it was looked up, or looked up before a refresh, or sent although it was found.
#[test]
fn what_can_be_looked_up_is_not_there_twice() {
    for stores in [true, false] {
        let mut world = rolls_over(Some(LOOK_UP_AFTER));
        world.batch(&["a", "a"]);
        let sent = world.now;
        world.fail(0, stores, cut());
        world.roll_over();
        world.step_disks();
        world.advance_to_request();
        assert!(world.requests[0].looks_up && world.now >= sent + LOOK_UP_AFTER);
        assert_eq!(finish(&mut world), 1);
        assert_eq!((world.doubled(), world.flight.possible_duplicates()), (0, 0));
        assert_eq!(world.stored.len() + world.older.len(), 2);
    }
}

/// Red when a half of a body that is there is sent again with the other one.
#[test]
fn of_a_part_that_is_there_nothing_is_sent_again() {
    let mut world = rolls_over(Some(LOOK_UP_AFTER));
    world.batch(&["a", "a", "a", "a"]);
    let half: Vec<String> = world.requests[0].documents[..2]
        .iter()
        .map(|(_, id)| id.clone())
        .collect();
    world.fail(0, false, cut());
    world.stored.extend(half);
    world.roll_over();
    finish(&mut world);
    assert_eq!(
        (world.doubled(), world.stored.len(), world.older.len()),
        (0, 2, 2)
    );
}

/// Red when the spool forgets the doubt.
#[test]
fn doubt_outlasts_the_way_over_the_spool() {
    let mut world = rolls_over(Some(LOOK_UP_AFTER));
    world.batch(&["a"]);
    world.batch(&["a"]);
    assert_eq!(world.requests.len(), 2);
    world.fail(0, true, cut());
    world.fail(0, true, cut());
    world.roll_over();
    world.step_disks();
    assert!(
        world.frames.values().any(|kept| kept.lane.is_none()),
        "one is spooled, one stays to probe"
    );
    assert_eq!(finish(&mut world), 2);
    assert_eq!((world.doubled(), world.flight.possible_duplicates()), (0, 0));
}

#[test]
fn what_may_not_be_looked_up_is_sent_and_counted() {
    let mut world = rolls_over(Some(LOOK_UP_AFTER));
    world.readable = false;
    world.batch(&["a"]);
    world.fail(0, true, cut());
    world.roll_over();
    assert_eq!(finish(&mut world), 1);
    assert_eq!((world.doubled(), world.flight.possible_duplicates()), (1, 1));
}

/// Red when a look-up that is answered counts as a request that got through: then a server that refuses all bulks for something in
/// them would seem to take others, and all documents would be dead letters.
#[test]
fn a_look_up_is_no_request_that_got_through() {
    let mut world = rolls_over(Some(LOOK_UP_AFTER));
    world.batch(&["a"; 16]);
    for _ in 0..200 {
        world.step_disks();
        match world.requests.front().map(|request| request.looks_up) {
            Some(true) => world.answer(0, |_, _| Verdict::Accepted),
            Some(false) => {
                let typed = problem(400, "parsing_exception");
                world.fail(0, false, RequestVerdict::Bisect(typed));
            }
            None if !world.advance_to_deadline() => break,
            None => {}
        }
    }
    assert!(matches!(world.flight.health(), Health::Down { .. }));
    assert_eq!((world.dead.len(), world.letters_waiting()), (0, 0));
    finish(&mut world);
    assert_eq!((world.stored.len(), world.dead.len()), (16, 0));
}

/// Red when a look-up that fails takes the server for down, or is repeated for ever.
#[test]
fn what_cannot_be_looked_up_holds_up_nothing_and_is_sent_in_the_end() {
    let mut world = rolls_over(Some(LOOK_UP_AFTER));
    world.batch(&["a", "a"]);
    world.fail(0, true, cut());
    world.roll_over();
    // The server is back, as others show.
    world.batch(&["b"]);
    let mut looks = 0;
    for _ in 0..1000 {
        world.step_disks();
        match world.requests.front().map(|request| request.looks_up) {
            Some(true) => {
                looks += 1;
                assert_eq!(world.flight.health(), &Health::Up);
                fail_look_up(&mut world);
                assert_eq!(world.flight.health(), &Health::Up);
            }
            Some(false) => world.answer(0, |_, _| Verdict::Accepted),
            None if !world.advance_to_deadline() => break,
            None => {}
        }
    }
    assert!((5..=12).contains(&looks), "{looks} look-ups");
    assert!(world.flight.is_idle());
    assert_eq!((world.doubled(), world.flight.possible_duplicates()), (2, 2));
}

fn fail_look_up(world: &mut World) {
    let shard_failed = problem(503, "search_phase_execution_exception");
    world.fail(0, false, RequestVerdict::Retry(shard_failed));
}

/// Red when look-ups that probe a server are repeated without a delay, or for ever, while nothing else tells that it is back.
#[test]
fn a_server_that_only_cannot_search_is_found_to_be_back() {
    let mut world = rolls_over(Some(LOOK_UP_AFTER));
    for _ in 0..3 {
        world.batch(&["a"]);
    }
    while !world.requests.is_empty() {
        world.fail(0, true, cut());
    }
    world.roll_over();
    let (begun, mut looks) = (world.now, 0);
    for _ in 0..1000 {
        world.step_disks();
        match world.requests.front().map(|request| request.looks_up) {
            Some(true) => {
                looks += 1;
                fail_look_up(&mut world);
            }
            Some(false) => world.answer(0, |_, _| Verdict::Accepted),
            None if !world.advance_to_deadline() => break,
            None => {}
        }
    }
    assert!(world.flight.is_idle(), "{looks} look-ups");
    assert!((10..60).contains(&looks), "{looks} look-ups");
    assert!(world.now >= begun + Duration::from_secs(60));
    assert_eq!(world.flight.possible_duplicates(), world.doubled() as u64);
}

/// Red when documents of which a server says itself that it does not know are sent again as if it had not had them.
#[test]
fn a_failure_of_the_server_in_the_middle_of_a_document_leaves_a_doubt() {
    for (status, counted) in [(429, 0), (503, 1)] {
        let mut world = rolls_over(None);
        world.batch(&["a", "a"]);
        world.answer(0, |_, id| match id {
            "id-1" => Verdict::Accepted,
            _ => Verdict::Retry(problem(status, "").into()),
        });
        finish(&mut world);
        assert_eq!(world.flight.possible_duplicates(), counted, "{status}");
    }
}

/// Red when a body without ids of ours is halved: its first half may be there already, under ids that nobody knows.
#[test]
fn a_body_without_ids_is_never_halved_for_what_is_in_it() {
    let mut world = world_of(Ids::OfTheServer);
    let malformed = || RequestVerdict::Bisect(problem(400, "illegal_argument_exception"));
    world.batch(&["a", "a", "a"]);
    while world.dead.is_empty() {
        match world.requests.front().map(|request| request.documents.len()) {
            Some(3) => {
                world.fail(0, false, malformed());
                // Others get through.
                world.batch(&["b"]);
            }
            Some(one) => {
                assert_eq!(one, 1, "of the three none goes alone");
                assert_eq!(world.requests[0].documents[0].0, "b");
                world.answer(0, |_, _| Verdict::Accepted);
            }
            None => assert!(world.advance_to_deadline()),
        }
        world.step_disks();
    }
    assert_eq!(world.dead.len(), 3);
    world.drain();
}

/// Red when a body that two hosts have is in no doubt (`Flight::doubt_hedged`): the first carries it out, the stream rolls over, the
/// second does it again.
#[test]
fn what_two_hosts_have_may_be_there_twice() {
    for (ids, counted) in [(Ids::Ours, 0), (Ids::RollOver { look_up_after: None }, 2)] {
        let mut world = World::new(FlightConfig {
            ids,
            hosts: 2,
            hedge_after: Some(Duration::from_secs(1)),
            ..config()
        });
        world.batch(&["a", "a"]);
        world.advance(Duration::from_secs(2));
        assert_eq!(world.requests.len(), 2);
        // The first one has it stored, and says so when nobody listens any more.
        let ids = world.requests[0].documents.iter().map(|(_, id)| id.clone());
        world.stored.extend(ids);
        world.roll_over();
        world.answer(1, |_, _| Verdict::Accepted);
        assert_eq!(
            (world.doubled(), world.flight.possible_duplicates()),
            (2, counted)
        );
        world.drain();
    }
}

/// Red when only requests without an answer are in doubt (`may_be_stored`).
#[test]
fn a_server_that_refuses_a_request_may_have_stored_a_part_of_it() {
    let hold = |status| RequestVerdict::Hold(problem(status, ""));
    let split = || RequestVerdict::Split(problem(413, ""));
    for (verdict, counted) in [(hold(404), 2), (hold(401), 0), (hold(403), 0), (split(), 2)] {
        let mut world = rolls_over(None);
        world.batch(&["a", "a"]);
        world.fail(0, false, verdict);
        finish(&mut world);
        assert_eq!(
            (world.stored.len(), world.flight.possible_duplicates()),
            (2, counted)
        );
    }
}

/// Red when a frame of documents that were in a request is sent again by the next agent as if they never were
/// (`Flight::on_frame_found`).
#[test]
fn what_a_former_agent_had_sent_is_in_doubt() {
    for (look_up_after, doubled) in [(None, 2), (Some(LOOK_UP_AFTER), 0)] {
        let mut world = rolls_over(look_up_after);
        world.batch(&["a", "a"]);
        // Its copy is in the spool while the request is unanswered; both documents got in.
        world.advance(Duration::from_secs(2));
        world.step_disks();
        let ids = world.requests[0].documents.iter().map(|(_, id)| id.clone());
        world.stored.extend(ids);
        world.restart();
        world.roll_over();
        finish(&mut world);
        assert_eq!(
            (world.doubled(), world.flight.possible_duplicates()),
            (doubled, doubled as u64)
        );
    }
}
