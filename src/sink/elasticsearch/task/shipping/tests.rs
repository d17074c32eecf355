//! What the reader is told of the sink: room.

#![expect(clippy::disallowed_methods, reason = "a test reads the clock")]

use super::*;
use crate::flow::backoff::Backoff;
use crate::record::Share;
use crate::sink::elasticsearch::flight::{Ids, ParcelId};
use crate::sink::elasticsearch::response::{Problem, Verdict};
use crate::spool::frame::tests::body;
use crate::telemetry::ledger::ReaderTotals;

/// A sink with one request on its way, and the budget of its reader. Bodies are of `one` resident bytes.
struct Desk {
    shipping: Shipping,
    budget: Arc<Budget>,
    board: Arc<Board>,
    totals: ReaderTotals,
    clock: Clock,
    one: u64,
    batches: u64,
    /// What was sent last.
    sent: Option<RequestId>,
    /// What the spool has not taken yet.
    parcels: Vec<ParcelId>,
    acked: usize,
    /// What the server asks for with each answer.
    retry_after: Option<Duration>,
}

impl Desk {
    /// The budget has room for `bodies`.
    fn new(bodies: u64) -> Desk {
        let one = body(1).resident_bytes();
        let config = FlightConfig {
            hosts: 1,
            first_slots: 1,
            max_in_flight: 1,
            backlog_share: 50,
            compression: 1,
            body_bytes: 1 << 20,
            memory: one * bodies,
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(1),
            },
            hedge_after: None,
            lanes: true,
            lane_bytes: 1 << 20,
            when_letters_full: crate::config::WhenLettersFull::Block,
            letter_bytes: 1 << 20,
            ids: Ids::Ours,
        };
        let budget = Arc::new(Budget::new(one * bodies));
        let board = Arc::new(Board::default());
        let shipping = Shipping::new(config, Arc::clone(&budget), Arc::clone(&board), 1);
        let clock = Clock {
            now: Instant::now(),
            unix: Duration::ZERO,
        };
        Desk {
            shipping,
            budget,
            board,
            totals: ReaderTotals::default(),
            clock,
            one,
            batches: 0,
            sent: None,
            parcels: Vec::new(),
            acked: 0,
            retry_after: None,
        }
    }

    fn batch(&mut self) {
        self.batches += 1;
        self.budget.take(self.one, Share::Within);
        self.totals.read += body(1).source_bytes();
        self.totals.handed_out += body(1).source_bytes();
        self.board.ledger().on_reader(self.totals);
        let batch = Batch {
            seq: self.batches,
            share: Share::Within,
            urgent: false,
            body: body(1),
        };
        self.shipping.on_batch(batch, self.clock);
        self.settle();
    }

    /// Batches until there is no room.
    fn fill(&mut self) -> u64 {
        let before = self.batches;
        while self.budget.has_room(Share::Within) {
            self.batch();
        }
        self.batches - before
    }

    /// Does what is ordered, but for spool writes, which stay unanswered.
    fn settle(&mut self) {
        while let Some(order) = self.shipping.poll(self.clock) {
            match order {
                Order::Send { request, .. } => self.sent = Some(request),
                Order::Spool(spool::Command::Append { parcel, .. }) => self.parcels.push(parcel),
                Order::Ack(_) => {
                    self.acked += 1;
                    // The reader wakes now.
                    assert!(self.budget.has_room(Share::Within));
                }
                _ => {}
            }
        }
    }

    fn refuse(&mut self, status: u16) {
        let verdict = RequestVerdict::Retry(Problem {
            status,
            kind: String::new(),
            reason: String::new(),
        });
        self.answer(self.sent.expect("a request"), verdict);
    }

    fn answer(&mut self, request: RequestId, verdict: RequestVerdict) {
        let answer = Answer {
            verdict,
            host: None,
            retry_after: self.retry_after,
            places: None,
        };
        self.shipping.on_answer(request, answer, self.clock);
        self.settle();
    }

    fn spooled(&mut self) {
        let parcel = self.parcels.remove(0);
        let report = spool::Report::Appended {
            parcel,
            frame: Some(parcel),
        };
        self.shipping.on_spool(report, self.clock);
        self.settle();
    }
}

/// Red without `set_ceiling` in `poll`: then a slow disk lets the whole budget fill up.
#[test]
fn while_the_server_is_down_the_reader_waits_for_the_disk_with_a_sixteenth_of_the_budget() {
    let mut desk = Desk::new(160);
    desk.batch();
    desk.refuse(503);
    // One stays, to see whether the server is back.
    assert_eq!(desk.fill(), 10);
    // A frame can do that as well: now the body is on its way to the disk with the others.
    desk.spooled();
    assert_eq!((desk.acked, desk.fill()), (1, 0));
    desk.spooled();
    assert_eq!((desk.acked, desk.fill()), (2, 1));
    for _ in 0..10 {
        desk.spooled();
    }
    assert_eq!((desk.acked, desk.fill()), (12, 10));
}

/// Red when what a server asks for with its answer does not come to the flight (`on_retry_after`).
#[test]
fn a_server_that_asks_for_a_rest_gets_it() {
    let mut desk = Desk::new(40);
    desk.retry_after = Some(Duration::from_secs(60));
    desk.batch();
    desk.refuse(503);
    desk.sent = None;
    desk.clock.now += Duration::from_secs(59);
    desk.settle();
    assert_eq!(desk.sent, None);
    desk.clock.now += Duration::from_secs(1);
    desk.settle();
    assert!(desk.sent.is_some());
}

/// Red without `set_ceiling` in `order`: then whoever wakes up on the ack still finds the ceiling of a server that is down, and
/// goes back to sleep.
#[test]
fn a_server_that_is_back_gives_the_whole_budget_before_the_ack_wakes_the_reader() {
    let mut desk = Desk::new(40);
    assert_eq!(desk.fill(), 40);
    desk.refuse(503);
    assert!(!desk.budget.has_room(Share::Within));
    desk.clock.now += Duration::from_secs(2);
    desk.settle();
    let probe = desk.sent.expect("one is sent again");
    desk.answer(
        probe,
        RequestVerdict::Items([Verdict::Accepted].into_iter().collect()),
    );
    assert_eq!(desk.acked, 1);
}
