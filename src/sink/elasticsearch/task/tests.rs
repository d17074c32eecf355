//! The whole sink (task, spool thread, dead-letter thread) against an Elasticsearch that misbehaves.

#![expect(
    clippy::disallowed_methods,
    reason = "a test starts the threads that agent.rs would start"
)]

use super::*;
use crate::batch::{Batcher, Limits};
use crate::codec::gzip::compressor;
use crate::config::{Elasticsearch, HostUrl};
use crate::flow::backoff::Backoff;
use crate::record::{FileId, FileRange, Share};
use crate::sink::dead_letter::DeadLetter;
use crate::sink::disk::{DeadLetterFile, dead_letter_path};
use crate::sink::elasticsearch::flight::{Ids, Unsaved};
use crate::spool::disk::{MinFree, Spool};
use crate::spool::index::{Quota, WhenFull};
use crate::telemetry::ledger::ReaderTotals;
use longshore_kit::rude_elasticsearch::{BlockKind, Fates, Fault, Odds, Refused, RudeElasticsearch};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const SOURCE_BYTES: u64 = 10;
const ROOMY: Quota = Quota {
    max_bytes: 64 << 20,
    segment_bytes: 1 << 20,
    when_full: WhenFull::Block,
};

/// A running sink and what a reader would hold.
struct Rig {
    batches: Option<mpsc::Sender<Batch>>,
    stop: watch::Sender<bool>,
    board: Arc<Board>,
    budget: Arc<Budget>,
    acked: Arc<Mutex<Vec<u64>>>,
    totals: ReaderTotals,
    sent_batches: u64,
    next_document: u64,
    sink: JoinHandle<Ended>,
    disks: Vec<JoinHandle<()>>,
}

fn config(server: &RudeElasticsearch) -> Elasticsearch {
    Elasticsearch {
        hosts: vec![HostUrl::parse(&server.url()).unwrap()],
        request_timeout: Duration::from_secs(20),
        ..Elasticsearch::default()
    }
}

impl Rig {
    fn start(state: &Path, elasticsearch: &Elasticsearch, quota: Quota) -> Rig {
        Rig::start_with(state, elasticsearch, quota, true)
    }

    fn start_with(state: &Path, elasticsearch: &Elasticsearch, quota: Quota, lanes: bool) -> Rig {
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::new(elasticsearch).unwrap();
        let (spool_disk, recovered) =
            Spool::open(&crate::disk::kernel(), state, quota, MinFree::Bytes(0)).unwrap();
        let letters =
            DeadLetterFile::open(&crate::disk::kernel(), state, elasticsearch.dead_letter.max_bytes).unwrap();
        let (batches, batches_in) = mpsc::channel(4);
        let (spool, spool_in) = std_mpsc::channel();
        let (spool_told, spool_reports) = mpsc::unbounded_channel();
        let (dead_letters, letters_in) = std_mpsc::channel();
        let (letters_told, dead_letter_reports) = mpsc::unbounded_channel();
        let (stop, stop_in) = watch::channel(false);
        let (board, budget) = (Arc::new(Board::default()), Arc::new(Budget::new(1 << 20)));
        let acked = Arc::new(Mutex::new(Vec::new()));
        let acks = Arc::clone(&acked);
        let wiring = Wiring {
            batches: batches_in,
            spool,
            spool_reports,
            dead_letters,
            dead_letter_reports,
            found: recovered.frames,
            acked: Box::new(move |ack| acks.lock().unwrap().push(ack.batch)),
            budget: Arc::clone(&budget),
            board: Arc::clone(&board),
            stop: stop_in,
        };
        let backoff = Backoff {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(100),
        };
        let flight = FlightConfig {
            hosts: elasticsearch.hosts.len(),
            first_slots: 4,
            max_in_flight: 4,
            backlog_share: 50,
            compression: 1,
            body_bytes: 1 << 20,
            memory: 1 << 20,
            backoff,
            hedge_after: None,
            lanes,
            lane_bytes: 1 << 30,
            when_letters_full: crate::config::WhenLettersFull::Block,
            letter_bytes: 1 << 20,
            ids: Ids::Ours,
        };
        let sink = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run(client, flight, wiring, 7))
        });
        let disks = vec![
            std::thread::spawn(move || crate::spool::task::run(spool_disk, &spool_in, &spool_told)),
            std::thread::spawn(move || dead_letters::run_dead_letters(letters, &letters_in, &letters_told)),
        ];
        Rig {
            batches: Some(batches),
            stop,
            board,
            budget,
            acked,
            totals: ReaderTotals::default(),
            sent_batches: 0,
            next_document: 0,
            sink,
            disks,
        }
    }

    /// Sends a batch of documents, to the given indices by turns.
    fn send(&mut self, documents: u64, indices: &[&str]) {
        let limits = Limits {
            max_bytes: 1 << 20,
            max_documents: 10_000,
            max_age: PATIENCE,
            seed: 0,
        };
        let mut batcher = Batcher::new(limits, compressor(1));
        let file = FileId(1);
        for _ in 0..documents {
            let number = self.next_document;
            let index = indices[number as usize % indices.len()];
            let lines = format!(
                "{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"id-{number}\"}}}}\n{{\"n\":{number}}}\n"
            );
            batcher.scratch().extend_from_slice(lines.as_bytes());
            let start = number * SOURCE_BYTES;
            let slot = batcher.file(FileRange {
                file,
                start,
                stamp_before: None,
            });
            batcher.document(slot, start, SOURCE_BYTES, Instant::now());
            self.next_document += 1;
        }
        let body = batcher.close().unwrap().body;
        self.budget.take(body.resident_bytes(), Share::Within);
        self.totals.read += body.source_bytes();
        self.totals.handed_out += body.source_bytes();
        self.board.ledger().on_reader(self.totals);
        self.sent_batches += 1;
        self.batches
            .as_ref()
            .unwrap()
            .blocking_send(Batch {
                seq: self.sent_batches,
                share: Share::Within,
                urgent: false,
                body,
            })
            .unwrap();
    }

    /// Waits for a condition on the sink.
    fn wait(&self, what: &str, condition: impl Fn(&Rig) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert_eq!(self.board.ledger().imbalance(), 0);
            assert!(
                Instant::now() < deadline,
                "{what}: {:?} {:?}",
                self.board.sink(),
                self.board.ledger()
            );
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn wait_for_acks(&self) {
        self.wait("acks", |rig| {
            rig.acked.lock().unwrap().len() as u64 == rig.sent_batches
        });
    }

    fn wait_for_empty_spool(&self) {
        self.wait("empty spool", |rig| rig.board.ledger().spooled == 0);
    }

    fn stop(mut self) -> (Ended, Arc<Board>) {
        // A sink that was told before may have ended.
        self.stop.send_replace(true);
        self.batches = None;
        let ended = self.sink.join().unwrap();
        self.disks.into_iter().for_each(|disk| disk.join().unwrap());
        assert_eq!(self.board.ledger().imbalance(), 0);
        (ended, self.board)
    }
}

/// Every document of `0..count` is stored; a server that got one twice would have it under one id.
fn assert_stored(server: &RudeElasticsearch, count: u64) {
    let stored: BTreeSet<String> = server
        .documents("*")
        .into_iter()
        .map(|document| document.id)
        .collect();
    let expected: BTreeSet<String> = (0..count).map(|number| format!("id-{number}")).collect();
    let missing: Vec<_> = expected.difference(&stored).collect();
    let strange: Vec<_> = stored.difference(&expected).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "missing {missing:?}, strange {strange:?}"
    );
    assert_eq!(server.count(), count);
}

#[test]
fn batches_reach_the_server_once_are_acked_once_and_give_their_budget_back() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..20).for_each(|_| rig.send(50, &["a", "b"]));
    rig.wait_for_acks();
    // What came too fast took the way over the spool.
    rig.wait_for_empty_spool();
    assert_eq!(rig.budget.used(), 0);
    let mut acked = rig.acked.lock().unwrap().clone();
    acked.sort_unstable();
    assert_eq!(acked, (1..=20).collect::<Vec<u64>>());
    let (ended, board) = rig.stop();
    assert!(ended.clean && ended.spooled_bytes == 0);
    assert_stored(&server, 1000);
    assert_eq!(
        (server.duplicates_409(), board.ledger().acked),
        (0, 1000 * SOURCE_BYTES)
    );
    let status = board.sink().clone();
    assert!(status.up && status.raw_bytes > status.wire_bytes);
    assert!(
        status.verdicts.contains(&("accepted", 1000))
            && status.requests.iter().any(|r| r.0 == "items" && r.1 > 0)
    );
    let seen = server.seen().pop().unwrap();
    let header = |name: &str| seen.headers.iter().find(|h| h.0 == name).map(|h| h.1.clone());
    assert_eq!(header("content-type").as_deref(), Some("application/x-ndjson"));
    assert_eq!(header("content-encoding").as_deref(), Some("gzip"));
}

#[test]
fn a_server_that_is_off_fills_the_spool_and_gets_everything_when_it_is_back() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.off();
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..10).for_each(|_| rig.send(20, &["a"]));
    rig.wait("most is spooled", |rig| rig.acked.lock().unwrap().len() >= 9);
    rig.wait("the status tells it", |rig| !rig.board.sink().up);
    let told = rig.board.sink().problem.clone().unwrap();
    assert!(told.contains(&server.url()) && told.contains("refused"), "{told}");
    assert_eq!(rig.budget.used() > 0, rig.acked.lock().unwrap().len() < 10);
    server.on();
    rig.wait_for_acks();
    rig.wait_for_empty_spool();
    rig.wait("the status tells it", |rig| rig.board.sink().up);
    assert!(rig.stop().0.clean);
    assert_stored(&server, 200);
}

#[test]
fn a_blocked_index_does_not_stop_the_others_and_gets_its_documents_later() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.block_index("b", BlockKind::Write403);
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..5).for_each(|_| rig.send(20, &["a", "b"]));
    rig.wait_for_acks();
    assert_eq!(server.indices(), [("a".to_owned(), 50)]);
    rig.wait("the status names the index", |rig| {
        rig.board
            .sink()
            .holds
            .iter()
            .any(|hold| hold.index == "b" && hold.status == 403 && hold.frames > 0)
    });
    assert!(rig.board.sink().up);
    assert_eq!(rig.board.ledger().spooled, 50 * SOURCE_BYTES);
    server.unblock_index("b");
    rig.wait_for_empty_spool();
    rig.wait("no index is on hold", |rig| rig.board.sink().holds.is_empty());
    assert!(rig.stop().0.clean);
    assert_stored(&server, 100);
}

#[test]
fn refused_documents_are_in_the_dead_letter_file_and_their_neighbours_in_the_index() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.fates(Fates {
        // However poor it is made.
        mapping_400: Some(Box::new(|source| {
            let text = String::from_utf8_lossy(source).replace('\\', "");
            text.contains("{\"n\":3}") || text.contains("\"value\":\"3\"")
        })),
        ..Fates::default()
    });
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    rig.send(6, &["a"]);
    rig.wait_for_acks();
    let (ended, board) = rig.stop();
    assert!(ended.clean);
    let ledger = board.ledger().clone();
    assert_eq!(
        (ledger.dead_lettered, ledger.acked),
        (SOURCE_BYTES, 5 * SOURCE_BYTES)
    );
    assert!(board.sink().verdicts.contains(&("refused", 3)));
    let text = std::fs::read_to_string(dead_letter_path(state.path())).unwrap();
    let letter: DeadLetter = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (letter.index.as_str(), letter.id.as_str(), letter.status),
        ("a", "id-3", 400)
    );
    assert_eq!(letter.document, serde_json::json!({"n": 3}));
    let mut stored: Vec<String> = server
        .documents("a")
        .into_iter()
        .map(|document| document.id)
        .collect();
    stored.sort();
    assert_eq!(stored, ["id-0", "id-1", "id-2", "id-4", "id-5"]);
}

#[test]
fn a_full_dead_letter_file_holds_back_the_ack_until_there_is_room() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.fates(Fates {
        mapping_400: Some(Box::new(|_| true)),
        ..Fates::default()
    });
    let mut elasticsearch = config(&server);
    elasticsearch.dead_letter.max_bytes = 10;
    let mut rig = Rig::start(state.path(), &elasticsearch, ROOMY);
    rig.send(1, &["a"]);
    rig.wait("the status tells it", |rig| rig.board.sink().dead_letter_full);
    assert!(rig.acked.lock().unwrap().is_empty() && rig.budget.used() > 0);
    server.fates(Fates::default());
    rig.wait_for_acks();
    assert_eq!(rig.budget.used(), 0);
    assert!(rig.stop().0.clean);
}

#[test]
fn every_fault_of_requests_and_items_ends_with_each_document_stored_once() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.seed(11);
    for fault in [
        Fault::CutBeforeCommit,
        Fault::CommitThenCut,
        Fault::CutMidAnswer,
        Fault::CommitHalfThen400,
        Fault::Refuse(Refused::Pressure429),
        Fault::Refuse(Refused::BadGateway502),
        Fault::Refuse(Refused::Unauthorized401),
        Fault::Html200,
        Fault::Empty200,
        Fault::ShortItems,
        Fault::Pretty,
    ] {
        server.fault(fault, Odds::Probability(0.05));
    }
    server.fates(Fates {
        reject_429: 0.1,
        unavailable_503: 0.02,
        ..Fates::default()
    });
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..40).for_each(|_| rig.send(25, &["a", "b"]));
    rig.wait_for_acks();
    rig.wait_for_empty_spool();
    assert!(rig.stop().0.clean);
    assert_stored(&server, 1000);
    assert!(
        server.duplicates_409() > 0,
        "some answers were cut after the commit"
    );
}

#[test]
fn a_stop_waits_for_answers_so_that_nothing_is_sent_again() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.fault(Fault::StallAfterCommit(PATIENCE), Odds::Always);
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..2).for_each(|_| rig.send(10, &["a"]));
    assert!(server.wait_for_stalled(2, PATIENCE));
    rig.stop.send(true).unwrap();
    rig.batches = None;
    server.clear_faults();
    server.release();
    let (ended, board) = rig.stop();
    assert!(ended.clean && ended.spooled_bytes == 0);
    assert_eq!(board.ledger().acked, 20 * SOURCE_BYTES);
    assert_stored(&server, 20);
}

#[test]
fn a_stop_while_the_server_stalls_spools_and_ends_in_time_and_the_next_start_delivers() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.fault(Fault::StallAfterCommit(PATIENCE), Odds::Next(2));
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..2).for_each(|_| rig.send(10, &["a"]));
    assert!(server.wait_for_stalled(2, PATIENCE));
    let asked = Instant::now();
    let (ended, board) = rig.stop();
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(ended.clean);
    assert_eq!(
        (ended.spooled_bytes, board.ledger().spooled),
        (20 * SOURCE_BYTES, 20 * SOURCE_BYTES)
    );
    server.release();
    let rig = Rig::start(state.path(), &config(&server), ROOMY);
    rig.wait("the frames are delivered", |rig| {
        rig.board.ledger().acked == 20 * SOURCE_BYTES
    });
    let (ended, board) = rig.stop();
    assert!(ended.clean);
    let ledger = board.ledger().clone();
    assert_eq!(
        (ledger.recovered, ledger.acked),
        (20 * SOURCE_BYTES, 20 * SOURCE_BYTES)
    );
    assert_stored(&server, 20);
    assert_eq!(server.duplicates_409(), 20);
}

#[test]
fn a_stop_that_finds_no_room_tells_what_is_not_saved() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.off();
    let tiny = Quota {
        max_bytes: 10,
        segment_bytes: 10,
        when_full: WhenFull::Block,
    };
    let mut rig = Rig::start(state.path(), &config(&server), tiny);
    (0..2).for_each(|_| rig.send(10, &["a"]));
    rig.wait("the status tells it", |rig| rig.board.spool().full);
    let (ended, board) = rig.stop();
    let bytes = 20 * SOURCE_BYTES;
    assert_eq!(
        ended,
        Ended {
            clean: false,
            spooled_bytes: 0,
            unsaved: Unsaved { documents: 20, bytes }
        }
    );
    assert!(
        board
            .ledger()
            .dropped()
            .any(|dropped| dropped == ("shutdown", bytes))
    );
}

#[test]
fn evicted_and_damaged_frames_are_counted_and_the_rest_is_delivered() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.off();
    let small = Quota {
        max_bytes: 28 << 10,
        segment_bytes: 4 << 10,
        when_full: WhenFull::DropOldest,
    };
    let mut rig = Rig::start(state.path(), &config(&server), small);
    (0..60).for_each(|_| rig.send(10, &["a"]));
    rig.wait("frames are evicted", |rig| rig.board.spool().evicted > 0);
    rig.wait("all is spooled", |rig| rig.acked.lock().unwrap().len() >= 59);
    server.on();
    rig.wait_for_acks();
    rig.wait_for_empty_spool();
    let (_, board) = rig.stop();
    let lost: u64 = board.ledger().dropped().map(|(_, bytes)| bytes).sum();
    assert!(lost > 0);
    assert_eq!(server.count() * SOURCE_BYTES + lost, 600 * SOURCE_BYTES);
}

#[test]
fn a_host_that_is_off_is_passed_over() {
    let (off, server) = (RudeElasticsearch::start(), RudeElasticsearch::start());
    let state = tempfile::tempdir().unwrap();
    off.off();
    let mut elasticsearch = config(&server);
    elasticsearch.hosts.insert(0, HostUrl::parse(&off.url()).unwrap());
    let mut rig = Rig::start(state.path(), &elasticsearch, ROOMY);
    (0..6).for_each(|_| rig.send(10, &["a"]));
    rig.wait_for_acks();
    let (_, board) = rig.stop();
    assert_eq!(board.sink().host.as_deref(), Some(server.url().as_str()));
    let requests = &board.sink().requests;
    let failed = requests
        .iter()
        .find(|(name, _)| *name == "retry")
        .map(|(_, count)| *count);
    assert!(failed.is_some_and(|failed| failed >= 1), "{requests:?}");
    assert_eq!(board.ledger().spooled, 0);
    assert_stored(&server, 60);
}

#[test]
fn bodies_that_are_too_large_are_halved_until_they_fit() {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    server.limit_body(400);
    let mut rig = Rig::start(state.path(), &config(&server), ROOMY);
    (0..3).for_each(|_| rig.send(50, &["a"]));
    rig.wait_for_acks();
    rig.wait_for_empty_spool();
    let (ended, board) = rig.stop();
    assert!(ended.clean && board.ledger().dead_lettered == 0);
    assert_stored(&server, 150);
    assert!(
        board
            .sink()
            .requests
            .iter()
            .any(|(name, count)| *name == "split" && *count >= 3)
    );
}

mod lanes;
mod table;
