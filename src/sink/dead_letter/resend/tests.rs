use super::*;
use crate::sink::elasticsearch::response::Verdicts;
use std::sync::Arc;

fn letter(n: u64, index: &str) -> Letter {
    Letter {
        at: n * 10,
        len: 10,
        index: index.to_owned(),
        lines: format!("action {n}\ndocument {n}\n").into_bytes(),
    }
}

fn letters(numbers: std::ops::Range<u64>) -> Vec<Letter> {
    numbers.map(|n| letter(n, "logs")).collect()
}

fn problem(status: u16, kind: &str) -> Problem {
    Problem {
        status,
        kind: kind.to_owned(),
        reason: "secret words of a document".to_owned(),
    }
}

fn items(verdicts: Vec<Verdict>) -> RequestVerdict {
    RequestVerdict::Items(verdicts.into_iter().collect::<Verdicts>())
}

fn kept(resend: &Resend) -> Vec<(&str, u64)> {
    let kept = resend.tally().kept.iter();
    kept.map(|(reason, count)| (reason.as_str(), *count)).collect()
}

/// How many documents each body has, when the same thing is answered to bodies of more than `limit` documents and all of a
/// smaller one is stored.
fn bodies_until_done(resend: &mut Resend, limit: usize, answer: &RequestVerdict) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let Some((_, documents)) = resend.next_body() {
        sizes.push(documents);
        let verdict = match documents > limit {
            true => answer.clone(),
            false => items(vec![Verdict::Accepted; documents]),
        };
        assert_eq!(resend.on_answer(verdict, None, 0), After::Go);
    }
    sizes
}

/// Red when any other verdict delivers, or one of these two does not.
#[test]
fn only_201_and_409_deliver_a_row() {
    let mut resend = Resend::default();
    resend.push(letters(0..5));
    let (body, documents) = resend.next_body().unwrap();
    assert!(body.starts_with(b"action 0\ndocument 0\naction 1\n") && documents == 5);
    let refused = |kind| Arc::new(problem(400, kind));
    let answer = items(vec![
        Verdict::Duplicate,
        Verdict::Refused(refused("document_parsing_exception")),
        Verdict::DroppedByServer,
        Verdict::Hold(refused("index_closed_exception")),
        Verdict::Accepted,
    ]);
    assert_eq!(resend.on_answer(answer, None, 0), After::Go);
    assert_eq!(resend.next_body(), None);
    assert_eq!(resend.take_delivered(), [(0, 10), (40, 10)]);
    assert_eq!(resend.take_delivered(), []);
    let tally = resend.tally();
    assert_eq!((tally.stored, tally.known), (1, 1));
    assert_eq!((tally.delivered(), tally.undelivered()), (2, 3));
    assert_eq!(
        kept(&resend),
        [
            ("400 document_parsing_exception", 1),
            ("dropped by an ingest pipeline of the server", 1),
            ("index logs is on hold: 400 index_closed_exception", 1),
        ]
    );
}

#[test]
fn an_index_on_hold_gets_nothing_more_and_the_others_do() {
    let mut resend = Resend::default();
    resend.push(vec![letter(0, "blocked")]);
    resend.next_body().unwrap();
    let hold = Verdict::Hold(Arc::new(problem(403, "cluster_block_exception")));
    resend.on_answer(items(vec![hold]), None, 0);
    resend.push(vec![letter(1, "blocked"), letter(2, "open")]);
    assert_eq!(resend.next_body().unwrap().0, b"action 2\ndocument 2\n");
    resend.on_answer(items(vec![Verdict::Accepted]), None, 0);
    resend.push(vec![letter(3, "blocked")]);
    assert_eq!(resend.next_body(), None);
    assert_eq!(resend.tally().kept["not tried: index blocked is on hold"], 2);
    assert_eq!(resend.take_delivered(), [(20, 10)]);
}

/// Red when the attempts are not counted, when a delivered row does not reset them, or when the rest of a body is forgotten.
#[test]
fn what_the_server_cannot_take_now_comes_again_until_it_is_enough() {
    let mut resend = Resend::default();
    resend.push(letters(0..2));
    let busy = || Verdict::Retry(Arc::new(problem(429, "es_rejected_execution_exception")));
    resend.next_body().unwrap();
    let After::Wait(first, _) = resend.on_answer(items(vec![busy(), Verdict::Accepted]), None, 7) else {
        panic!("no wait");
    };
    assert!(first < Duration::from_secs(2), "{first:?}");
    assert_eq!(resend.next_body().unwrap().0, b"action 0\ndocument 0\n");
    let rest = Some(Duration::from_secs(40));
    assert_eq!(
        resend.on_answer(RequestVerdict::Retry(problem(503, "")), rest, 7),
        After::Wait(Duration::from_secs(40), "503".to_owned())
    );
    resend.next_body().unwrap();
    assert_eq!(
        resend.on_answer(items(vec![Verdict::Accepted]), None, 7),
        After::Go
    );
    resend.push(letters(2..3));
    for attempt in 1..=ATTEMPTS_MAX {
        assert_eq!(resend.next_body().unwrap().1, 1);
        let after = resend.on_answer(RequestVerdict::Retry(problem(503, "")), None, 7);
        let ends = attempt == ATTEMPTS_MAX;
        assert_eq!(matches!(after, After::Stop(_)), ends, "{attempt}: {after:?}");
    }
    assert_eq!(resend.take_delivered(), [(0, 10), (10, 10)]);
}

#[test]
fn a_body_that_is_too_large_is_halved_and_a_document_that_is_stays() {
    let mut resend = Resend::default();
    resend.push(letters(0..5));
    let too_large = RequestVerdict::Split(problem(413, ""));
    assert_eq!(bodies_until_done(&mut resend, 2, &too_large), [5, 2, 3, 1, 2]);
    assert_eq!(resend.tally().stored, 5);
    resend.push(letters(5..6));
    resend.next_body().unwrap();
    assert_eq!(resend.on_answer(too_large, None, 0), After::Go);
    assert_eq!((resend.next_body(), kept(&resend)), (None, vec![("413", 1)]));
}

#[test]
fn one_poisoned_document_is_found_by_halves_and_a_server_that_refuses_all_ends_it() {
    let malformed = RequestVerdict::Bisect(problem(400, "action_request_validation_exception"));
    let mut resend = Resend::default();
    resend.push(letters(0..4));
    let mut sent = 0;
    while let Some((body, documents)) = resend.next_body() {
        sent += 1;
        let poisoned = memchr::memmem::find(&body, b"document 2\n").is_some();
        let verdict = match poisoned {
            true => malformed.clone(),
            false => items(vec![Verdict::Accepted; documents]),
        };
        assert_eq!(resend.on_answer(verdict, None, 0), After::Go);
    }
    assert_eq!((sent, resend.tally().stored), (5, 3));
    assert_eq!(kept(&resend), [("400 action_request_validation_exception", 1)]);

    let mut resend = Resend::default();
    resend.push(letters(0..1_000));
    let mut requests = 0;
    let last = loop {
        resend.next_body().unwrap();
        requests += 1;
        match resend.on_answer(malformed.clone(), None, 0) {
            After::Go => {}
            after => break after,
        }
    };
    assert!(matches!(last, After::Stop(_)) && requests < 20, "{requests}");
    assert_eq!(resend.tally().delivered(), 0);
}

#[test]
fn what_no_request_gets_through_ends_it_at_once() {
    let mut resend = Resend::default();
    resend.push(letters(0..2));
    resend.next_body().unwrap();
    let refused = problem(401, "security_exception");
    assert_eq!(
        resend.on_answer(RequestVerdict::Hold(refused.clone()), None, 0),
        After::Stop(refused)
    );
    assert_eq!(resend.take_delivered(), []);
}
