#![expect(clippy::disallowed_methods, reason = "a test starts at some moment")]

use super::*;
use crate::flow::backoff::Backoff;
use crate::record::{Batch, Body, Encoding, FileId, Keep, Row, Share};
use crate::sink::elasticsearch::flight::{Action, FlightConfig, Ids, Moment, RequestId};
use crate::sink::elasticsearch::response::{RequestVerdict, Verdict, Verdicts};

/// A flight whose requests are answered by hand.
struct Rig {
    flight: Flight,
    alarms: Alarms,
    now: Instant,
    batches: u64,
    next: Option<RequestId>,
}

impl Rig {
    fn new() -> Rig {
        let backoff = Backoff::SERVER;
        let config = FlightConfig {
            hosts: 1,
            first_slots: 1,
            max_in_flight: 1,
            backlog_share: 50,
            compression: 0,
            body_bytes: 1 << 20,
            memory: 1 << 20,
            backoff,
            hedge_after: None,
            lanes: true,
            lane_bytes: 1 << 20,
            when_letters_full: crate::config::WhenLettersFull::Block,
            letter_bytes: 1 << 20,
            ids: Ids::Ours,
        };
        Rig {
            flight: Flight::new(config),
            alarms: Alarms::default(),
            now: Instant::now(),
            batches: 0,
            next: None,
        }
    }

    fn batch(&mut self) {
        self.batches += 1;
        let text = "{\"create\":{\"_index\":\"logs\",\"_id\":\"x\"}}\n{\"secret\":\"payload\"}\n";
        let end = text.len() as u32;
        let body = Body {
            bytes: text.into(),
            encoding: Encoding::Identity,
            inflated_len: end,
            rows: vec![Row {
                end,
                file: 0,
                start: 0,
                source_bytes: 1,
            }],
            files: vec![FileId(1)],
        };
        self.flight.on_batch(
            Batch {
                seq: self.batches,
                share: Share::Within,
                urgent: false,
                body,
            },
            self.now,
        );
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            unix: 0,
            random: 0,
        }
    }

    /// Does what the flight asks for; returns the request, if one is due. Lanes find room in the
    /// spool, what was never sent does not, and for the rest the disk is too slow.
    fn poll(&mut self) -> Option<RequestId> {
        while let Some(action) = self.flight.poll(self.moment()) {
            match action {
                Action::Send { request, .. } => return Some(request),
                Action::Spool { keep: Keep::Copy, .. } => {}
                Action::Spool { parcel, lane, .. } => {
                    self.flight
                        .on_spooled(parcel, lane.map(|_| parcel), self.moment());
                }
                Action::DeadLetter { parcel, .. } => {
                    self.flight.on_dead_lettered(
                        parcel,
                        crate::sink::dead_letter::Appended::NoRoom,
                        self.moment(),
                    );
                }
                _ => {}
            }
        }
        None
    }

    fn look(&mut self) -> Vec<Alarm> {
        let alarms = self.alarms.look(&self.flight, self.now);
        assert!(
            alarms.iter().all(|alarm| !alarm.text.contains("payload")),
            "{alarms:?}"
        );
        alarms
    }

    /// Answers the next request, and tells what is told after that.
    fn answer(&mut self, verdict: RequestVerdict) -> Vec<Alarm> {
        let parcel = loop {
            match self.next.take().or_else(|| self.poll()) {
                Some(parcel) => break parcel,
                None => self.now = self.flight.next_deadline().expect("something is due some time"),
            }
        };
        self.flight.on_answer(parcel, verdict, self.moment());
        self.next = self.poll();
        self.look()
    }
}

fn problem(status: u16, kind: &str) -> Problem {
    // What a server says may quote the document.
    Problem {
        status,
        kind: kind.into(),
        reason: "payload".into(),
    }
}

fn items(verdict: Verdict) -> RequestVerdict {
    RequestVerdict::Items(Verdicts::from_iter([verdict]))
}

fn severities(alarms: &[Alarm]) -> Vec<Severity> {
    alarms.iter().map(|alarm| alarm.severity).collect()
}

#[test]
fn an_outage_is_told_once_again_when_its_cause_changes_and_when_it_is_over() {
    let mut rig = Rig::new();
    rig.batch();
    let first = rig.answer(RequestVerdict::Retry(problem(503, "cluster_block_exception")));
    assert_eq!(severities(&first), [Severity::Warning]);
    assert!(first[0].text.contains("503"));
    for _ in 0..3 {
        assert!(
            rig.answer(RequestVerdict::Retry(problem(503, "cluster_block_exception")))
                .is_empty()
        );
    }
    let why = Problem {
        reason: "Look at sink.elasticsearch.auth.api_key_file (/key)".into(),
        ..problem(401, "security_exception")
    };
    let refused = rig.answer(RequestVerdict::Hold(why));
    assert_eq!(severities(&refused), [Severity::Alarm]);
    assert!(
        refused[0]
            .text
            .contains("sink.elasticsearch.auth.api_key_file (/key)"),
        "{refused:?}"
    );
    let over = rig.answer(items(Verdict::Accepted));
    assert_eq!(severities(&over), [Severity::Relief]);
}

/// Red when copies that find no room are not told, or each time.
#[test]
fn that_there_is_no_room_for_copies_is_told_once_and_again_after_ten_minutes() {
    let mut rig = Rig::new();
    rig.batch();
    let mut told = Vec::new();
    let begun = rig.now;
    while rig.now < begun + Duration::from_secs(900) {
        while let Some(action) = rig.flight.poll(rig.moment()) {
            if let Action::Spool { parcel, .. } = action {
                rig.flight.on_spooled(parcel, None, rig.moment());
            }
        }
        told.extend(rig.look());
        rig.now += Duration::from_secs(1);
    }
    assert_eq!(severities(&told), [Severity::Warning; 2]);
    assert!(told[0].text.contains("spool.max_bytes"));
}

#[test]
fn a_failure_on_the_way_is_told_in_our_own_words() {
    let told = Problem {
        reason: "http://es:9200: refused; is it running?".into(),
        ..problem(0, "connect")
    };
    let text = sentence(&told, false);
    assert!(text.contains("http://es:9200: refused; is it running?"));
    assert!(!sentence(&problem(200, "ambiguous_answer"), false).contains("payload"));
}

#[test]
fn an_index_on_hold_is_named_with_the_fix_once_and_when_it_is_over() {
    let mut rig = Rig::new();
    rig.batch();
    let held = rig.answer(items(Verdict::Hold(
        problem(400, "index_closed_exception").into(),
    )));
    assert_eq!(severities(&held), [Severity::Alarm]);
    assert!(
        held[0].text.contains("index logs") && held[0].text.contains("open the index"),
        "{held:?}"
    );
    rig.batch();
    assert!(
        rig.answer(items(Verdict::Hold(
            problem(400, "index_closed_exception").into()
        )))
        .is_empty()
    );
    for frame in [1, 2, 3, 4] {
        rig.flight.on_frame_evicted(frame, rig.now);
    }
    let over = rig.look();
    assert_eq!(severities(&over), [Severity::Relief]);
}

#[test]
fn every_block_has_a_fix_of_its_own() {
    let kinds = [
        ("cluster_block_exception", 429),
        ("cluster_block_exception", 403),
        ("index_closed_exception", 400),
        ("index_not_found_exception", 404),
        ("security_exception", 403),
        ("invalid_index_name_exception", 400),
        ("validation_exception", 400),
        ("illegal_argument_exception", 400),
    ];
    let fixes: BTreeSet<&str> = kinds
        .iter()
        .map(|(kind, status)| index_fix(&problem(*status, kind)))
        .collect();
    assert_eq!(fixes.len(), kinds.len());
}

#[test]
fn a_full_dead_letter_file_is_told_once() {
    let mut rig = Rig::new();
    rig.batch();
    let refused = || {
        items(Verdict::Refused(
            problem(400, "document_parsing_exception").into(),
        ))
    };
    // First it is sent again, reduced.
    assert!(rig.answer(refused()).is_empty());
    let full = rig.answer(refused());
    assert_eq!(severities(&full), [Severity::Alarm]);
    assert!(full[0].text.contains("dead_letter.max_bytes"));
    assert!(rig.answer(refused()).is_empty());
    assert!(rig.answer(refused()).is_empty());
}

#[test]
fn documents_that_a_pipeline_drops_are_told_with_their_number_once_a_minute() {
    let mut rig = Rig::new();
    let dropped = |rig: &mut Rig, documents| {
        rig.alarms.on_dropped_by_server(documents);
        rig.look()
    };
    assert!(dropped(&mut rig, 3)[0].text.contains("dropped 3 documents"));
    assert!(dropped(&mut rig, 4).is_empty());
    rig.now += DROPPED_INTERVAL;
    assert!(dropped(&mut rig, 5)[0].text.contains("dropped 9 documents"));
    assert!(rig.look().is_empty());
}

/// Red without `on_stored_as_failed`, or when it is told at each answer.
#[test]
fn documents_in_a_failure_store_are_told_with_their_number_once_a_minute() {
    let mut rig = Rig::new();
    let stored = |rig: &mut Rig, documents| {
        rig.alarms.on_stored_as_failed(documents);
        rig.look()
    };
    assert!(stored(&mut rig, 0).is_empty());
    let first = stored(&mut rig, 3);
    assert_eq!(severities(&first), [Severity::Alarm]);
    assert!(first[0].text.contains("put 3 documents"), "{first:?}");
    assert!(stored(&mut rig, 4).is_empty());
    rig.now += DROPPED_INTERVAL;
    assert!(stored(&mut rig, 5)[0].text.contains("put 9 documents"));
}

/// Red when ids that are not ours are not told, or at each answer; or an index more than once.
#[test]
fn documents_that_a_pipeline_diverts_are_told() {
    let mut rig = Rig::new();
    let diverted = |ids, to: &str| Diverted {
        ids,
        indices: 1,
        example: Some(("logs".to_owned(), to.to_owned())),
    };
    let told = |rig: &mut Rig, diverted| {
        rig.alarms.on_diverted(diverted);
        rig.look()
    };
    let first = told(&mut rig, diverted(3, "elsewhere"));
    assert_eq!(severities(&first), [Severity::Alarm, Severity::Warning]);
    assert!(first[0].text.contains("gave 3 documents ids"), "{first:?}");
    assert!(first[1].text.contains("logs are in elsewhere"), "{first:?}");
    assert!(told(&mut rig, diverted(4, "elsewhere")).is_empty());
    rig.now += DROPPED_INTERVAL;
    let later = told(&mut rig, diverted(5, "elsewhere"));
    assert_eq!(severities(&later), [Severity::Alarm]);
    assert!(later[0].text.contains("gave 9 documents ids"), "{later:?}");
    let indices = |rig: &mut Rig, number: usize| told(rig, diverted(0, &format!("other-{number}"))).len();
    assert_eq!(
        (0..100).map(|number| indices(&mut rig, number)).sum::<usize>(),
        MAX_OTHER_INDICES - 1
    );
}

#[test]
fn a_full_spool_is_told_once_and_when_it_is_not_needed_any_more() {
    let mut rig = Rig::new();
    rig.batch();
    rig.batch();
    let told = rig.answer(RequestVerdict::Retry(problem(503, "")));
    assert_eq!(severities(&told), [Severity::Warning, Severity::Alarm]);
    assert!(told[1].text.contains("spool.max_bytes"), "{told:?}");
    assert!(rig.answer(RequestVerdict::Retry(problem(503, ""))).is_empty());
    rig.now += Duration::from_secs(2);
    // Two requests, one slot: the second one goes out with the answer of the first.
    let parcel = rig.poll().unwrap();
    rig.flight
        .on_answer(parcel, items(Verdict::Accepted), rig.moment());
    let parcel = rig.poll().unwrap();
    rig.flight
        .on_answer(parcel, items(Verdict::Accepted), rig.moment());
    rig.now += Duration::from_secs(2);
    assert_eq!(rig.poll(), None);
    assert_eq!(severities(&rig.look()), [Severity::Relief, Severity::Relief]);
}
