//! Refused documents: poorer forms, the dead letter, and when it is the index after all.

use super::*;
use crate::codec::gzip;

/// The documents of the next request, as text.
fn sent(world: &World) -> String {
    let body = world.flight.body(world.requests[0].id).unwrap();
    String::from_utf8(gzip::inflate(body).unwrap()).unwrap()
}

fn refused(reason: &str) -> Verdict {
    let problem = Problem {
        reason: reason.to_owned(),
        ..problem(400, "document_parsing_exception")
    };
    Verdict::Refused(problem.into())
}

#[test]
fn a_refused_document_is_sent_once_more_reduced_and_takes_nobody_along() {
    let mut world = world();
    world.batch(&["a", "a", "a"]);
    world.answer(0, |_, id| {
        if id == "id-2" {
            refuse("", "")
        } else {
            Verdict::Accepted
        }
    });
    assert_eq!(world.requests[0].documents, [("a".to_owned(), "id-2".to_owned())]);
    let text = sent(&world);
    assert!(
        text.contains("\"flags\":[\"reduced\"]") && text.contains("\"original\":"),
        "{text}"
    );
    world.accept_all();
    assert_eq!(
        (world.stored.len(), world.dead.len(), world.acked.len()),
        (3, 0, 1)
    );
    assert!(world.flight.is_idle());
}

/// Red when what is spooled, or goes to a lane, is the poorer form: then nobody could send the document as it was.
#[test]
fn only_this_process_knows_the_poorer_form() {
    let mut world = world();
    world.batch(&["b", "a"]);
    world.answer(0, refuse);
    assert!(sent(&world).contains("reduced"));
    world.answer(0, hold_b);
    world.step_disks();
    let kept: Vec<String> = world.frames.values().map(|kept| kept.text()).collect();
    assert!(kept.len() == 1 && !kept[0].contains("reduced"), "{kept:?}");
    world.batch(&["a"]);
    world.answer(0, refuse);
    world.advance(Duration::from_secs(2));
    world.step_disks();
    let kept: Vec<String> = world.frames.values().map(|kept| kept.text()).collect();
    assert!(
        kept.len() == 2 && kept.iter().all(|text| !text.contains("reduced")),
        "{kept:?}"
    );
    world.drain();
}

/// Red when the schema of a poorer document is not that of its index.
#[test]
fn how_a_document_becomes_poorer_its_index_tells() {
    for (index, reduced, shelved) in [
        (
            "a",
            r#"{"longshore":{"flags":["reduced"]"#,
            r#"{"_conflict":{"field":"n","value":"1"}}"#,
        ),
        (
            "logs-a-b",
            r#"{"longshore":{"flags":["reduced"]"#,
            r#"{"_conflict":{"field":"n","value":"1"}}"#,
        ),
        (
            "logs-a.otel-b",
            r#"{"attributes":{"longshore.flags":["reduced"]"#,
            r#"{"attributes":{"_conflict.field":"n","_conflict.value":"1"}}"#,
        ),
    ] {
        let mut world = world();
        world.batch(&[index]);
        world.answer(0, |_, _| refused("failed to parse field [n] of type [date]"));
        assert!(sent(&world).contains(shelved), "{}", sent(&world));
        world.answer(0, refuse);
        assert!(sent(&world).contains(reduced), "{}", sent(&world));
    }
    let mut world = world();
    world.batch(&["logs-long.otel-a"]);
    world.fail(0, false, RequestVerdict::Split(problem(413, "")));
    assert!(sent(&world).contains(r#""attributes":{"longshore.flags":["shortened"]}"#));
}

#[test]
fn what_is_refused_for_its_size_is_shortened_and_its_dead_letter_is_whole() {
    let mut world = world();
    world.batch(&["long"]);
    let too_large = || RequestVerdict::Split(problem(413, ""));
    for most in [2100, 1100] {
        world.fail(0, false, too_large());
        let text = sent(&world);
        assert!(
            text.contains("\"flags\":[\"shortened\"]") && text.len() < most,
            "{text}"
        );
    }
    world.batch(&["long"]);
    world.fail(1, false, too_large());
    world.accept_all();
    assert_eq!(
        (world.stored.len(), world.dead.len(), world.acked.len()),
        (2, 0, 2)
    );
    // In the end nothing is left to shorten.
    world.batch(&["long"]);
    while !world.requests.is_empty() {
        world.fail(0, false, too_large());
    }
    assert!(world.last_rows.contains(&"x".repeat(4000)));
    world.step_letters();
    assert_eq!((world.dead.len(), world.acked.len()), (1, 3));
}

#[test]
fn one_pod_whose_documents_are_all_poison_holds_nothing() {
    let mut world = world();
    world.batch(&["a"; 50]);
    world.answer(0, |_, _| refused("failed to parse field [n] of type [long]"));
    assert!(world.flight.holds().next().is_none());
    world.accept_all();
    assert_eq!((world.stored.len(), world.dead.len()), (50, 0));
    assert!(world.flight.is_idle() && world.flight.holds().next().is_none());
}

#[test]
fn what_is_refused_alike_in_every_form_is_a_fault_of_the_index() {
    let mut world = world();
    let batch = ["b"; 30].into_iter().chain(["a"; 30]).collect::<Vec<_>>();
    world.batch(&batch);
    let of_b = |index: &str, _: &str| {
        if index == "b" {
            refused("unheard of")
        } else {
            Verdict::Accepted
        }
    };
    world.answer(0, of_b);
    world.answer(0, of_b);
    world.step_disks();
    assert_eq!((world.stored.len(), world.dead.len()), (30, 0));
    let holds: Vec<&str> = world.flight.holds().map(|hold| hold.index).collect();
    assert_eq!(holds, ["b"]);
    world.drain();
    assert_eq!((world.stored.len(), world.dead.len()), (60, 0));
}

/// Red when a form between the first and the last forgets that all were refused alike: then they are dead letters.
#[test]
fn a_fault_of_the_index_that_names_a_field_is_one_in_every_form() {
    let mut world = world();
    world.batch(&["b"; 30]);
    for form in ["\"n\":1", "\"_conflict\":", "\"flags\":[\"reduced\"]"] {
        assert!(sent(&world).contains(form), "{form}");
        world.answer(0, |_, _| refused("failed to parse field [n] of type [long]"));
    }
    world.step_disks();
    let holds: Vec<&str> = world.flight.holds().map(|hold| hold.index).collect();
    assert_eq!((world.dead.len(), holds), (0, vec!["b"]));
    world.drain();
    assert_eq!((world.stored.len(), world.dead.len()), (30, 0));
}

/// Red without `taken` in `alike`: one poorer document that is taken shows that the index takes documents.
#[test]
fn when_one_poorer_document_is_taken_it_was_the_documents() {
    let mut world = world();
    world.batch(&["b"; 30]);
    world.answer(0, |_, _| refused("unheard of"));
    world.answer(0, |_, id| {
        if id == "id-7" {
            Verdict::Accepted
        } else {
            refused("unheard of")
        }
    });
    world.step_disks();
    assert!(world.flight.holds().next().is_none());
    assert_eq!((world.stored.len(), world.dead.len()), (1, 29));
}

/// Red when what was refused in every form once counts as new after a full dead-letter file: then the index would be on hold for
/// ever.
#[test]
fn what_waits_for_room_among_the_dead_letters_is_no_fault_of_the_index() {
    let mut world = world();
    world.letters_full = true;
    world.batch(&["b"; 30]);
    world.answer(0, |_, _| refused("unheard of"));
    let but_one = |_: &str, id: &str| match id {
        "id-7" => Verdict::Accepted,
        _ => refused("unheard of"),
    };
    for _ in 0..20 {
        while !world.requests.is_empty() {
            world.answer(0, but_one);
        }
        world.step_disks();
        assert!(world.flight.holds().next().is_none());
        world.advance_to_deadline();
    }
    world.letters_full = false;
    for _ in 0..20 {
        while !world.requests.is_empty() {
            world.answer(0, but_one);
        }
        world.step_disks();
        world.advance_to_deadline();
    }
    assert_eq!((world.stored.len(), world.dead.len()), (1, 29));
}

/// Red when an attempt of which no document was judged counts (`judged`).
#[test]
fn a_body_that_was_refused_as_a_whole_before_is_as_good_as_new() {
    let mut world = world();
    world.batch(&["b"; 30]);
    world.fail(0, false, unavailable());
    world.advance_to_deadline();
    for _ in 0..2 {
        world.answer(0, |_, _| refused("unheard of"));
    }
    world.step_disks();
    assert_eq!((world.flight.holds().count(), world.dead.len()), (1, 0));
    world.drain();
}

/// Red when the rule looks at fewer documents, at other attempts, or at all indices together.
#[test]
fn few_documents_or_different_reasons_are_no_fault_of_the_index() {
    let mut world = world();
    let refuse_all = |world: &mut World, verdict: fn(&str) -> Verdict| {
        for _ in 0..2 {
            world.answer(0, |_, id| verdict(id));
        }
        world.step_disks();
        assert!(world.flight.holds().next().is_none());
    };
    world.batch(&["a"; 19]);
    refuse_all(&mut world, |_| refused("alike"));
    assert_eq!(world.dead.len(), 19);
    world.batch(&["a"; 50]);
    refuse_all(&mut world, |id| {
        refused(if id.ends_with(['1', '2']) { "one" } else { "two" })
    });
    assert_eq!(world.dead.len(), 69);
    world.batch(&["a"; 50]);
    world.answer(0, |_, id| {
        if id.ends_with('1') {
            Verdict::Accepted
        } else {
            retry("", "")
        }
    });
    world.advance_to_deadline();
    refuse_all(&mut world, |_| refused("alike"));
    assert_eq!(world.dead.len(), 69 + 45);
}

/// Red when what the server has said of one body is not remembered for the next ones.
#[test]
fn what_was_too_large_once_is_halved_before_it_is_sent() {
    let mut world = world();
    let limit = 20_000;
    let mut too_large = 0;
    for _ in 0..10 {
        world.batch(&["long"; 16]);
        while !world.requests.is_empty() {
            if sent(&world).len() > limit {
                too_large += 1;
                world.fail(0, false, RequestVerdict::Split(problem(413, "")));
            } else {
                world.answer(0, |_, _| Verdict::Accepted);
            }
        }
    }
    assert_eq!((world.stored.len(), world.dead.len()), (160, 0));
    // 64 KB, then both halves of it, which were on their way together; all of 16 KB pass.
    assert_eq!(too_large, 3);
    world.drain();
}

/// Red when each poorer document rides for itself (`Flight::ride_later`, `Parcel::form`), when poorer ones ride with others,
/// and when what is kept of them in the end is the poorer form (`Trial::merged`).
#[test]
fn poorer_documents_that_find_no_room_ride_together() {
    let mut world = world();
    let begun = world.now;
    for round in 1..=4 {
        world.batch(&["a", "a", "a"]);
        let mut at = 0;
        world.answer(0, |index, id| {
            at += 1;
            match at {
                1 => refuse(index, id),
                2 => retry(index, id),
                _ => Verdict::Accepted,
            }
        });
        let poorer = sent(&world).matches("\"reduced\"").count();
        assert_eq!((world.requests[0].documents.len(), poorer), (round, round));
        world.answer(0, retry);
        assert!(world.requests.is_empty());
    }
    world.advance(Duration::from_secs(2));
    let (mut bodies, mut kept) = (Vec::new(), String::new());
    while !world.requests.is_empty() {
        bodies.push((
            world.requests[0].documents.len(),
            sent(&world).matches("\"reduced\"").count(),
        ));
        if bodies.ends_with(&[(4, 4)]) {
            world.answer(0, refuse);
            kept = world.last_rows.clone();
        } else {
            world.answer(0, |_, _| Verdict::Accepted);
        }
    }
    bodies.sort_unstable();
    assert_eq!(bodies, [(4, 0), (4, 4)]);
    assert!(kept.lines().count() == 4 && !kept.contains("reduced"), "{kept}");
    world.step_disks();
    assert!(world.now - begun == Duration::from_secs(2));
    assert_eq!(
        (world.dead.len(), world.acked.len(), world.stored.len()),
        (4, 4, 8)
    );
    world.drain();
}
