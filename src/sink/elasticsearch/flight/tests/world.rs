//! Everything around a [`Flight`], in memory: a server that remembers ids, a spool, a dead-letter
//! file, a ledger, a clock. After every step it checks what must always hold.

use super::super::*;
use crate::codec::gzip;
use crate::record::{Encoding, FileId, Keep, Row};
use crate::sink::dead_letter::Appended;
use crate::sink::elasticsearch::hosts::HostId;
use crate::sink::elasticsearch::response::{RequestVerdict, Verdict, Verdicts};
use crate::telemetry::ledger::{DropReason, Ledger, ReaderTotals};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

pub(super) const SOURCE_BYTES: u64 = 10;
pub(super) const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};

/// Requests without an answer that a host may have beside those in its slots: it is left alone after three, and tried
/// now and then.
const OVERDUE: usize = 64;

/// A request without an answer.
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) host: HostId,
    pub(super) looks_up: bool,
    /// Index and id of each document.
    pub(super) documents: Vec<(String, String)>,
}

/// A frame on the model's disk.
pub(super) struct Kept {
    body: Body,
    pub(super) lane: Option<String>,
    ids: Vec<String>,
    damaged: bool,
    pub(super) taken: bool,
    /// It was in a request before it was spooled.
    sent: bool,
}

impl Kept {
    /// The documents.
    pub(super) fn text(&self) -> String {
        String::from_utf8(gzip::inflate(&self.body).unwrap()).unwrap()
    }
}

enum SpoolCommand {
    Write {
        parcel: ParcelId,
        body: Body,
        lane: Option<String>,
        keep: Keep,
    },
    Read(FrameSeq),
}

pub(super) struct World {
    pub(super) flight: Flight,
    pub(super) now: Instant,
    random: u64,
    pub(super) ledger: Ledger,
    totals: ReaderTotals,
    /// Documents of each batch that is not acked.
    unacked: BTreeMap<u64, Vec<String>>,
    pub(super) acked: Vec<u64>,
    moved: HashMap<Origin, u64>,
    /// Of the next batches.
    pub(super) share: Share,
    pub(super) urgent: bool,
    taken_bytes: u64,
    taken_over: u64,
    pub(super) released_bytes: u64,
    released_over: u64,
    pub(super) requests: VecDeque<Request>,
    commands: VecDeque<SpoolCommand>,
    letters: VecDeque<(ParcelId, Vec<String>)>,
    /// The rows that were last to be written.
    pub(super) last_rows: String,
    pub(super) frames: BTreeMap<FrameSeq, Kept>,
    next_frame: FrameSeq,
    next_batch: u64,
    next_document: u64,
    pub(super) stored: BTreeSet<String>,
    /// In an index that takes no writes any more.
    pub(super) older: BTreeSet<String>,
    /// May be read.
    pub(super) readable: bool,
    pub(super) dead: BTreeSet<String>,
    pub(super) dropped: BTreeSet<String>,
    pub(super) lost: BTreeSet<String>,
    pub(super) spool_full: bool,
    pub(super) letters_full: bool,
    /// The disk of the dead letters fails.
    pub(super) letters_fail: bool,
    /// Documents for which the file has room at once.
    pub(super) letters_most: usize,
    pub(super) spool_writes: u64,
    pub(super) sent: u64,
}

pub(super) fn config() -> FlightConfig {
    FlightConfig {
        hosts: 1,
        first_slots: 8,
        max_in_flight: 2,
        backlog_share: 50,
        compression: 0,
        body_bytes: 1 << 20,
        memory: 1 << 20,
        backoff: BACKOFF,
        hedge_after: None,
        lanes: true,
        lane_bytes: 1 << 20,
        when_letters_full: WhenLettersFull::Block,
        letter_bytes: 1 << 20,
        ids: Ids::Ours,
    }
}

pub(super) fn problem(status: u16, kind: &str) -> Problem {
    Problem {
        status,
        kind: kind.into(),
        reason: String::new(),
    }
}

/// A body of documents with these indices and ids.
fn body(documents: &[(String, String)], level: u8) -> Body {
    let (mut text, mut rows) = (Vec::new(), Vec::new());
    for (at, (index, id)) in documents.iter().enumerate() {
        let message = match index.as_str() {
            "long" => format!(",\"message\":\"{}\"", "x".repeat(4000)),
            "logs-long.otel-a" => format!(",\"body\":{{\"text\":\"{}\"}}", "x".repeat(4000)),
            _ => String::new(),
        };
        let lines =
            format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n{{\"n\":1{message}}}\n");
        text.extend_from_slice(lines.as_bytes());
        let source_bytes = SOURCE_BYTES as u32;
        rows.push(Row {
            end: text.len() as u32,
            file: 0,
            start: at as u64,
            source_bytes,
        });
    }
    let mut compressor = gzip::compressor(level);
    let mut out = Vec::new();
    compressor.push(&text, &mut out);
    compressor.finish(&mut out);
    rows.shrink_to_fit();
    Body {
        bytes: out.into(),
        encoding: compressor.encoding(),
        inflated_len: text.len() as u32,
        rows,
        files: vec![FileId(1)],
    }
}

/// Index and id of each document of a body.
fn documents_of(body: &Body) -> Vec<(String, String)> {
    let text = String::from_utf8(gzip::inflate(body).unwrap()).unwrap();
    text.lines()
        .step_by(2)
        .map(|action| crate::sink::dead_letter::target(action.as_bytes()))
        .collect()
}

fn ids_of(body: &Body) -> Vec<String> {
    documents_of(body).into_iter().map(|(_, id)| id).collect()
}

impl World {
    pub(super) fn new(config: FlightConfig) -> World {
        World {
            flight: Flight::new(config),
            now: Instant::now(),
            random: 1,
            ledger: Ledger::default(),
            totals: ReaderTotals::default(),
            unacked: BTreeMap::new(),
            acked: Vec::new(),
            moved: HashMap::new(),
            share: Share::Within,
            urgent: false,
            taken_bytes: 0,
            taken_over: 0,
            released_bytes: 0,
            released_over: 0,
            requests: VecDeque::new(),
            commands: VecDeque::new(),
            letters: VecDeque::new(),
            last_rows: String::new(),
            frames: BTreeMap::new(),
            next_frame: 1,
            next_batch: 1,
            next_document: 0,
            stored: BTreeSet::new(),
            older: BTreeSet::new(),
            readable: true,
            dead: BTreeSet::new(),
            dropped: BTreeSet::new(),
            lost: BTreeSet::new(),
            spool_full: false,
            letters_full: false,
            letters_fail: false,
            letters_most: usize::MAX,
            spool_writes: 0,
            sent: 0,
        }
    }

    pub(super) fn moment(&mut self) -> Moment {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Moment {
            now: self.now,
            unix: 0,
            random: self.random >> 8,
        }
    }

    pub(super) fn reseed(&mut self, random: u64) {
        self.random = random;
    }

    /// A batch with one document for each index named.
    pub(super) fn batch(&mut self, indices: &[&str]) -> u64 {
        let documents: Vec<(String, String)> = indices
            .iter()
            .map(|index| {
                self.next_document += 1;
                ((*index).to_owned(), format!("id-{}", self.next_document))
            })
            .collect();
        let batch = self.next_batch;
        self.next_batch += 1;
        self.hand_over(batch, &documents);
        batch
    }

    /// Frames of one document each that a former process has left in the spool.
    pub(super) fn recover(&mut self, frames: usize) {
        for _ in 0..frames {
            self.next_document += 1;
            let documents = [("a".to_owned(), format!("id-{}", self.next_document))];
            let body = body(&documents, self.flight.config.compression);
            self.ledger.recover(body.source_bytes());
            let frame = self.next_frame;
            self.next_frame += 1;
            self.frames.insert(
                frame,
                Kept {
                    ids: ids_of(&body),
                    body,
                    lane: None,
                    damaged: false,
                    taken: true,
                    sent: false,
                },
            );
            self.flight.on_frame_found(frame, None, 0, false, self.now);
        }
    }

    fn hand_over(&mut self, batch: u64, documents: &[(String, String)]) {
        let body = body(documents, self.flight.config.compression);
        self.totals.read += body.source_bytes();
        self.totals.handed_out += body.source_bytes();
        self.ledger.on_reader(self.totals);
        self.taken_bytes += body.resident_bytes();
        if self.share == Share::Over {
            self.taken_over += body.resident_bytes();
        }
        self.unacked.insert(batch, ids_of(&body));
        self.flight.on_batch(
            Batch {
                seq: batch,
                share: self.share,
                urgent: self.urgent,
                body,
            },
            self.now,
        );
        self.settle();
    }

    /// Executes what the flight asks for, and checks that it has no more to do at this moment.
    pub(super) fn settle(&mut self) {
        loop {
            let at = self.moment();
            let Some(action) = self.flight.poll(at) else {
                break;
            };
            self.execute(action);
        }
        let deadline = self.flight.next_deadline();
        assert!(
            deadline.is_none_or(|at| at > self.now),
            "a deadline that has passed would spin"
        );
        assert_eq!(self.ledger.imbalance(), 0);
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Send {
                request: id,
                host,
                bytes,
                encoding,
                documents,
                inflated_len,
                looks_up,
            } => {
                // A test may have given a plain body a wrong length.
                let plain = encoding == Encoding::Identity;
                let inflated_len = if plain { bytes.len() as u32 } else { inflated_len };
                let body = Body {
                    bytes,
                    encoding,
                    inflated_len,
                    rows: vec![],
                    files: vec![],
                };
                let request = Request {
                    host,
                    id,
                    looks_up,
                    documents: documents_of(&body),
                };
                assert_eq!(request.documents.len(), documents);
                self.requests.push_back(request);
                self.sent += 1;
                let config = &self.flight.config;
                // What is overdue has no slot.
                assert!(self.requests.len() <= (config.max_in_flight + OVERDUE) * config.hosts);
            }
            Action::Forget(id) => self.forget(id),
            Action::Spool {
                parcel,
                body,
                lane,
                keep,
            } => {
                self.spool_writes += 1;
                self.commands.push_back(SpoolCommand::Write {
                    parcel,
                    body,
                    lane,
                    keep,
                });
            }
            Action::ReadFrame(frame) => self.commands.push_back(SpoolCommand::Read(frame)),
            Action::FrameDone(frame) => self.on_frame_done(frame),
            Action::DeadLetter { parcel, rows } => {
                self.letters.push_back((parcel, ids_of_rows(&rows)));
                self.last_rows = String::from_utf8(rows).unwrap();
            }
            Action::Ack(ack) => self.on_ack(ack.batch),
            Action::Release { bytes, share } => {
                self.released_bytes += bytes;
                if share == Share::Over {
                    self.released_over += bytes;
                }
            }
            Action::Moved(moved) => {
                assert_eq!(moved.bytes, moved.documents * SOURCE_BYTES);
                self.ledger
                    .on_moved(moved.origin, moved.fate, moved.documents, moved.bytes);
                *self.moved.entry(moved.origin).or_default() += moved.documents;
            }
        }
    }

    /// Nobody waits for the answer: some of these get in nevertheless.
    fn forget(&mut self, id: RequestId) {
        let at = self.requests.iter().position(|request| request.id == id);
        if let Some(request) = at.and_then(|at| self.requests.remove(at))
            && request.id % 2 == 0
        {
            self.stored
                .extend(request.documents.into_iter().map(|(_, id)| id));
        }
    }

    /// An ack is due once, and only when every document rests somewhere that outlives the process.
    fn on_ack(&mut self, batch: u64) {
        let ids = self
            .unacked
            .remove(&batch)
            .unwrap_or_else(|| panic!("batch {batch} was acked twice"));
        assert_eq!(self.moved.get(&Origin::Batch(batch)), Some(&(ids.len() as u64)));
        assert!(
            ids.iter().all(|id| self.rests(id)),
            "batch {batch} was acked too early"
        );
        self.acked.push(batch);
    }

    fn on_frame_done(&mut self, frame: FrameSeq) {
        let kept = self
            .frames
            .remove(&frame)
            .unwrap_or_else(|| panic!("frame {frame} was done twice"));
        let ids = kept.ids;
        let settled = self.moved.get(&Origin::Frame(frame)).copied();
        // The copy of a body that was answered before: its batch knows what became of every document.
        let unused = settled.is_none();
        assert!(unused || settled == Some(ids.len() as u64));
        let of_a_batch = |id: &String| unused && self.unacked.values().flatten().any(|other| other == id);
        assert!(
            ids.iter().all(|id| self.rests(id) || of_a_batch(id)),
            "frame {frame} was done too early"
        );
    }

    fn rests(&self, id: &str) -> bool {
        let sets = [&self.stored, &self.older, &self.dead, &self.dropped, &self.lost];
        sets.iter().any(|set| set.contains(id))
            || self
                .frames
                .values()
                .any(|kept| kept.ids.iter().any(|other| other == id))
    }

    /// The oldest request is answered as a whole; `stores` tells whether the documents got in.
    pub(super) fn fail(&mut self, at: usize, stores: bool, verdict: RequestVerdict) {
        let Some(request) = self.requests.remove(at % self.requests.len().max(1)) else {
            return;
        };
        if stores {
            self.stored
                .extend(request.documents.into_iter().map(|(_, id)| id));
        }
        let moment = self.moment();
        self.flight.on_answer(request.id, verdict, moment);
        self.settle();
    }

    /// A request is answered item by item; what is there already is a duplicate.
    pub(super) fn answer(&mut self, at: usize, mut verdict: impl FnMut(&str, &str) -> Verdict) {
        let Some(request) = self.requests.remove(at % self.requests.len().max(1)) else {
            return;
        };
        let mut verdicts = Verdicts::default();
        for (index, id) in &request.documents {
            if request.looks_up {
                verdicts.push(self.look_up(id));
                continue;
            }
            let mut verdict = verdict(index, id);
            if self.stored.contains(id) {
                verdict = Verdict::Duplicate;
            }
            match &verdict {
                Verdict::Accepted => drop(self.stored.insert(id.clone())),
                Verdict::DroppedByServer => drop(self.dropped.insert(id.clone())),
                // Somebody stored it who had the same id.
                Verdict::Duplicate => drop(self.stored.insert(id.clone())),
                Verdict::Retry(_) | Verdict::Refused(_) | Verdict::Hold(_) => {}
            }
            verdicts.push(verdict);
        }
        let moment = self.moment();
        self.flight
            .on_answer(request.id, RequestVerdict::Items(verdicts), moment);
        self.settle();
    }

    fn look_up(&self, id: &str) -> Verdict {
        let is_there = self.stored.contains(id) || self.older.contains(id);
        match (self.readable, is_there) {
            (false, _) => Verdict::Retry(problem(403, NO_LOOK_UP).into()),
            (true, false) => Verdict::Retry(problem(404, NOT_FOUND).into()),
            (true, true) => Verdict::Duplicate,
        }
    }

    /// The index takes no writes any more; another one does, under the same name.
    pub(super) fn roll_over(&mut self) {
        self.older.append(&mut self.stored);
    }

    /// Documents that are there twice.
    pub(super) fn doubled(&self) -> usize {
        self.stored.intersection(&self.older).count()
    }

    pub(super) fn accept_all(&mut self) {
        while !self.requests.is_empty() {
            self.answer(0, |_, _| Verdict::Accepted);
        }
    }

    /// The spool's thread does one thing. False when it has nothing to do.
    pub(super) fn step_spool(&mut self) -> bool {
        let Some(command) = self.commands.pop_front() else {
            return false;
        };
        let moment = self.moment();
        match command {
            SpoolCommand::Write {
                parcel,
                body,
                lane,
                keep,
            } => {
                let frame = (!self.spool_full).then_some(self.next_frame);
                if let Some(frame) = frame {
                    let in_lane = lane.is_some();
                    self.next_frame += 1;
                    self.frames.insert(
                        frame,
                        Kept {
                            ids: ids_of(&body),
                            body,
                            lane,
                            damaged: false,
                            // Frames of lanes may go, to see what becomes of their probes.
                            taken: keep.may_be_sent() && !in_lane,
                            sent: keep.may_be_sent(),
                        },
                    );
                }
                self.flight.on_spooled(parcel, frame, moment);
            }
            SpoolCommand::Read(frame) => self.read(frame),
        }
        self.settle();
        true
    }

    fn read(&mut self, frame: FrameSeq) {
        let body = match self.frames.get_mut(&frame) {
            Some(kept) if !kept.damaged => {
                kept.taken = true;
                Some(kept.body.clone())
            }
            Some(_) => {
                self.lose(frame, DropReason::DamagedFrame);
                None
            }
            None => None,
        };
        self.flight.on_frame(frame, body, self.now);
    }

    fn lose(&mut self, frame: FrameSeq, reason: DropReason) {
        let kept = self.frames.remove(&frame).unwrap();
        self.ledger.on_frame_lost(reason, kept.body.source_bytes());
        self.lost.extend(kept.ids);
    }

    pub(super) fn letters_waiting(&self) -> usize {
        self.letters.len()
    }

    /// The dead-letter file's thread does one thing.
    pub(super) fn step_letters(&mut self) -> bool {
        let Some((parcel, ids)) = self.letters.pop_front() else {
            return false;
        };
        let appended = match () {
            () if self.letters_fail => Appended::Failed,
            () if self.letters_full || ids.len() > self.letters_most => Appended::NoRoom,
            () => Appended::Synced,
        };
        if appended == Appended::Synced {
            self.dead.extend(ids);
        } else if appended == Appended::NoRoom && self.flight.drops_refused() {
            self.dropped.extend(ids);
        }
        let moment = self.moment();
        self.flight.on_dead_lettered(parcel, appended, moment);
        self.settle();
        true
    }

    pub(super) fn step_disks(&mut self) {
        while self.step_spool() || self.step_letters() {}
    }

    /// A frame that was never read is evicted.
    pub(super) fn evict(&mut self, at: usize) {
        let free: Vec<FrameSeq> = self
            .frames
            .iter()
            .filter(|(_, kept)| !kept.taken)
            .map(|(frame, _)| *frame)
            .collect();
        if let Some(frame) = free.get(at % free.len().max(1)).copied() {
            self.lose(frame, DropReason::SpoolFull);
            self.flight.on_frame_evicted(frame, self.now);
            self.settle();
        }
    }

    /// A frame that was never read goes bad on the disk.
    pub(super) fn damage(&mut self, at: usize) {
        let mut free: Vec<&mut Kept> = self.frames.values_mut().filter(|kept| !kept.taken).collect();
        let len = free.len().max(1);
        if let Some(kept) = free.get_mut(at % len) {
            kept.damaged = true;
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.settle();
    }

    /// Goes on until there is a request.
    pub(super) fn advance_to_request(&mut self) {
        while self.requests.is_empty() {
            assert!(
                self.advance_to_deadline(),
                "nothing will be sent: {:#?}",
                self.flight
            );
        }
    }

    /// Goes to the flight's next deadline. False when it has none.
    pub(super) fn advance_to_deadline(&mut self) -> bool {
        let Some(deadline) = self.flight.next_deadline() else {
            return false;
        };
        self.now = self.now.max(deadline);
        self.settle();
        true
    }

    /// All faults stop: everything that is anywhere leaves, within a bounded number of steps.
    pub(super) fn drain(&mut self) {
        (self.spool_full, self.letters_full) = (false, false);
        for _ in 0..100_000 {
            self.step_disks();
            if !self.requests.is_empty() {
                self.answer(0, |_, _| Verdict::Accepted);
            } else if self.flight.is_idle() && self.frames.is_empty() {
                self.assert_drained();
                return;
            } else if self.commands.is_empty() && self.letters.is_empty() {
                assert!(
                    self.advance_to_deadline(),
                    "stalled with {} frames: {:#?}",
                    self.frames.len(),
                    self.flight
                );
            }
        }
        panic!("did not drain: {:#?}", self.flight);
    }

    fn assert_drained(&self) {
        assert!(self.unacked.is_empty(), "never acked: {:?}", self.unacked);
        assert_eq!((self.ledger.spooled, self.ledger.in_flight()), (0, 0));
        assert_eq!(self.flight.settlement.unsettled(), 0);
        assert_eq!(self.flight.holds().count(), 0);
        assert_eq!(self.released_bytes, self.taken_bytes);
        assert_eq!(self.released_over, self.taken_over);
        assert!((1..=self.next_document).all(|number| self.rests(&format!("id-{number}"))));
    }

    /// The process ends and the next one starts: batches that were not acked are read again.
    pub(super) fn restart(&mut self) {
        self.flight.on_stop();
        self.settle();
        let moment = self.moment();
        self.flight.on_shutdown(moment);
        self.settle();
        self.step_disks();
        assert!(self.flight.is_idle(), "{:#?}", self.flight);
        let unsaved = self.flight.unsaved();
        let before = self.requests.len();
        let at = self.moment();
        assert!(self.flight.poll(at).is_none() && self.requests.len() == before);
        self.ledger.on_unsaved(unsaved.bytes);
        assert_eq!((self.ledger.imbalance(), self.ledger.in_flight()), (0, 0));
        self.start_again();
    }

    fn start_again(&mut self) {
        let config = self.flight.config;
        let again: Vec<(u64, Vec<String>)> = std::mem::take(&mut self.unacked).into_iter().collect();
        self.flight = Flight::new(config);
        self.ledger = Ledger::default();
        self.totals = ReaderTotals::default();
        self.moved.clear();
        // Some of the requests that nobody waits for got in.
        for request in self.requests.drain(..).filter(|request| request.id % 2 == 0) {
            self.stored
                .extend(request.documents.into_iter().map(|(_, id)| id));
        }
        (self.taken_bytes, self.released_bytes) = (0, 0);
        self.ledger
            .recover(self.frames.values().map(|kept| kept.body.source_bytes()).sum());
        for (frame, kept) in &mut self.frames {
            // The spool never evicts what a former process may have sent.
            kept.taken = true;
            let bytes = kept.body.bytes.len() as u64;
            self.flight
                .on_frame_found(*frame, kept.lane.as_deref(), bytes, kept.sent, self.now);
        }
        for (batch, ids) in again {
            let documents: Vec<(String, String)> = ids.into_iter().map(|id| ("a".to_owned(), id)).collect();
            self.hand_over(batch, &documents);
        }
        self.settle();
    }
}

fn ids_of_rows(rows: &[u8]) -> Vec<String> {
    let letter = |row: &[u8]| {
        serde_json::from_slice::<crate::sink::dead_letter::DeadLetter>(row)
            .unwrap()
            .id
    };
    rows.split(|byte| *byte == b'\n')
        .filter(|row| !row.is_empty())
        .map(letter)
        .collect()
}
