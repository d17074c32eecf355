//! The reader thread's turns on real directories: what a kubelet does to files, and what must come out.
#![expect(
    clippy::disallowed_methods,
    reason = "tests write the log files that are read"
)]

mod away;
mod deleted;
mod faults;

use super::*;
use crate::checkpoint::snapshot;
use crate::config::{DocumentId, IndexPattern, JsonMode, LabelDots, MessageKey};
use crate::sink::elasticsearch::schema::Layout;
use crate::sync::mpsc::channel;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// A node directory, a reader on it, and the sink that acks what comes (unless told otherwise).
struct Bench {
    home: tempfile::TempDir,
    source: Source,
    batches: mpsc::Receiver<Batch>,
    saves: Receiver<(u64, Checkpoint)>,
    /// Documents that came, as (id, message).
    came: Vec<(String, String)>,
    /// The last body that came.
    text: Vec<u8>,
    /// How many of them in urgent batches.
    urgent: usize,
    acking: bool,
    saving: bool,
    unacked: Vec<Ack>,
    checkpoint: Vec<u8>,
    config: config::Source,
    disk: Disk,
}

fn config_of(home: &tempfile::TempDir) -> config::Source {
    config::Source {
        pod_logs_dir: home.path().join("pods"),
        containers_dir: home.path().join("containers"),
        rescan_interval: Duration::ZERO,
        ..config::Source::default()
    }
}

/// What the reader thread asked to be saved.
type Saves = Receiver<(u64, Checkpoint)>;

fn setup(config: &config::Source, disk: &Disk, loaded: Loaded) -> (Source, mpsc::Receiver<Batch>, Saves) {
    let (batches, batches_out) = mpsc::channel(1000);
    let (saves, saves_out) = channel();
    let layout = Layout::Fluentd {
        message_key: MessageKey::Message,
        include_tag: false,
        label_dots: LabelDots::Replace,
    };
    let setup = Setup {
        source: config.clone(),
        metadata_wait: Duration::ZERO,
        limits: Limits {
            max_bytes: 1 << 20,
            max_documents: 5000,
            max_age: Duration::from_millis(1),
            seed: 0,
        },
        round_bytes: 500,
        encode: EncodeConfig {
            layout,
            index: IndexPattern::default(),
            document_id: DocumentId::Deterministic,
            json: JsonMode::Off,
        },
        compression: 0,
        disk: Disk::clone(disk),
        loaded,
        directory: Arc::new(Directory::off("node")),
        budget: Arc::new(Budget::new(64 << 20)),
        board: Arc::new(Board::default()),
        batches,
        saves,
        notes: None,
    };
    let source = Source::new(setup, clock().now);
    (source, batches_out, saves_out)
}

impl Bench {
    fn new() -> Bench {
        Bench::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut config::Source)) -> Bench {
        Bench::on(crate::disk::kernel(), change)
    }

    fn on(disk: Disk, change: impl FnOnce(&mut config::Source)) -> Bench {
        let home = tempfile::tempdir().unwrap();
        let mut config = config_of(&home);
        change(&mut config);
        fs::create_dir_all(home.path().join("pods/shop_web_u1/app")).unwrap();
        let (source, batches, saves) = setup(
            &config,
            &disk,
            Loaded {
                first_start: true,
                ..Loaded::default()
            },
        );
        Bench {
            home,
            source,
            batches,
            saves,
            came: Vec::new(),
            text: Vec::new(),
            urgent: 0,
            acking: true,
            saving: true,
            unacked: Vec::new(),
            checkpoint: snapshot::encode(&Checkpoint::default()),
            config,
            disk,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("pods/shop_web_u1/app").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Appends whole CRI lines with these messages.
    fn log(&self, name: &str, messages: std::ops::Range<u32>) {
        self.append(name, &messages.map(line).collect::<String>());
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn gzip(&self, name: &str) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&fs::read(self.path(name)).unwrap()).unwrap();
        let tmp = self.path(&format!("{name}.tmp"));
        fs::write(&tmp, encoder.finish().unwrap()).unwrap();
        fs::rename(tmp, self.path(&format!("{name}.gz"))).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    /// One turn of everything.
    fn turn(&mut self) {
        self.source
            .containers
            .values_mut()
            .for_each(|container| container.wake(clock().now));
        self.turn_at(clock());
    }

    /// One turn of what is due then.
    fn turn_at(&mut self, clock: Clock) {
        self.source.turn(clock);
        while let Ok((number, entries)) = self.saves.try_recv() {
            if self.saving {
                self.checkpoint = snapshot::encode(&entries);
            }
            self.source.on_note(Note::Saved {
                number,
                durable: self.saving,
            });
        }
        while let Ok(batch) = self.batches.try_recv() {
            let text = crate::codec::gzip::inflate(&batch.body).unwrap();
            self.came.extend(documents(&text));
            self.text = text;
            self.urgent += if batch.urgent { batch.body.documents() } else { 0 };
            self.source.budget.give(batch.body.resident_bytes(), batch.share);
            self.unacked.push(Ack { batch: batch.seq });
            let board = Arc::clone(&self.source.desk.board);
            let origin = crate::record::Origin::Batch(batch.seq);
            let (documents, bytes) = (batch.body.documents() as u64, batch.body.source_bytes());
            board
                .ledger()
                .on_moved(origin, crate::record::Fate::Accepted, documents, bytes);
        }
        if self.acking {
            for ack in std::mem::take(&mut self.unacked) {
                self.source.on_note(Note::Acked(ack));
            }
        }
        assert_eq!(self.source.desk.board.ledger().imbalance(), 0, "the ledger law");
    }

    /// Turns until `done` says so.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Bench) -> bool) {
        let deadline = clock().now + Duration::from_secs(20);
        while !done(self) {
            assert!(
                clock().now < deadline,
                "never came: {what}; came {:?}",
                self.messages()
            );
            self.turn();
        }
    }

    /// Turns until `count` documents came, and a little longer to see whether more come.
    fn expect(&mut self, count: u32) {
        self.until(&format!("{count} documents"), |bench| {
            bench.came.len() >= count as usize
        });
        for _ in 0..5 {
            self.turn();
        }
        let expected: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
        assert_eq!(self.messages(), expected);
    }

    fn messages(&self) -> Vec<String> {
        self.came.iter().map(|(_, message)| message.clone()).collect()
    }

    /// The process dies and starts again from its last durable checkpoint.
    fn crash(&mut self) {
        let checkpoint = snapshot::decode(&self.checkpoint).unwrap();
        let (source, batches, saves) = setup(
            &self.config,
            &self.disk,
            Loaded {
                checkpoint,
                ..Loaded::default()
            },
        );
        (self.source, self.batches, self.saves) = (source, batches, saves);
        self.unacked.clear();
    }

    fn lost(&self) -> Vec<(&'static str, u64, u64)> {
        let ledger = self.source.desk.board.ledger().clone();
        ledger.lost_unread().filter(|(_, _, files)| *files > 0).collect()
    }

    fn save(&mut self) {
        self.source.desk.next_save();
        self.turn();
    }
}

fn line(number: u32) -> String {
    format!("2026-11-21T10:00:00.{number:09}Z stdout F m{number}\n")
}

fn documents(text: &[u8]) -> Vec<(String, String)> {
    let lines: Vec<serde_json::Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines
        .chunks(2)
        .map(|pair| (text(&pair[0]["create"]["_id"]), text(&pair[1]["message"])))
        .collect()
}

#[test]
fn lines_come_once_through_rotation_and_gzip() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..10);
    bench.expect(10);
    bench.log("0.log", 10..12);
    bench.rename("0.log", "0.log.20261121-100000");
    bench.log("0.log.20261121-100000", 12..14);
    bench.expect(14);
    bench.log("0.log", 14..20);
    bench.expect(20);
    bench.rename("0.log", "0.log.20261121-100010");
    bench.log("0.log", 20..30);
    bench.gzip("0.log.20261121-100000");
    bench.expect(30);
    fs::remove_file(bench.path("0.log.20261121-100000.gz")).unwrap();
    bench.turn();
    bench.until("the removed file is forgotten", |bench| {
        bench.source.containers.values().next().unwrap().instances[&0]
            .chain
            .tails()
            .len()
            == 2
    });
    assert_eq!(bench.lost(), []);
}

#[test]
fn a_file_without_a_name_for_a_moment_is_not_read_again() {
    const ROTATED: &str = "0.log.20261121-100000";
    let mut bench = Bench::new();
    bench.log("0.log", 0..10);
    bench.rename("0.log", ROTATED);
    bench.log("0.log", 10..12);
    bench.expect(12);
    bench.gzip(ROTATED);
    // What a listing sees that comes between the looks at the plain name and at the compressed one: neither.
    let (name, hidden) = (format!("{ROTATED}.gz"), format!("{ROTATED}.tmp"));
    bench.rename(&name, &hidden);
    bench.expect(12);
    bench.rename(&hidden, &name);
    bench.until(
        "the compressed file is known, and nothing is under way",
        |bench| {
            let tails = bench.source.containers.values().next().unwrap().instances[&0]
                .chain
                .tails();
            let known = tails.len() == 2 && tails[0].finished && tails[0].name.is_some();
            known && bench.source.desk.reader.open_bytes() == 0
        },
    );
    bench.expect(12);
}

#[test]
fn a_backlog_with_gz_is_read_oldest_first() {
    let mut bench = Bench::new();
    bench.log("0.log.20261121-090000", 0..5);
    bench.gzip("0.log.20261121-090000");
    bench.log("0.log.20261121-093000", 5..9);
    bench.gzip("0.log.20261121-093000");
    bench.log("0.log.20261121-100000", 9..12);
    bench.log("0.log", 12..20);
    bench.expect(20);
}

#[test]
fn a_restart_resumes_where_acks_ended_and_makes_the_same_ids() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..10);
    bench.expect(10);
    bench.save();
    bench.acking = false;
    bench.log("0.log", 10..20);
    bench.expect(20);
    bench.save();
    let first: Vec<_> = std::mem::take(&mut bench.came);
    bench.crash();
    bench.acking = true;
    bench.until("the unacked ones come again", |bench| bench.came.len() >= 10);
    for _ in 0..5 {
        bench.turn();
    }
    assert_eq!(bench.came, first[10..]);
}

#[test]
fn a_file_that_was_rotated_and_compressed_while_we_were_away_goes_on_at_its_offset() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..10);
    bench.expect(10);
    bench.save();
    bench.log("0.log", 10..13);
    bench.rename("0.log", "0.log.20261121-100000");
    bench.gzip("0.log.20261121-100000");
    bench.log("0.log", 13..15);
    bench.crash();
    bench.expect(15);
    assert_eq!(bench.lost(), []);
}

#[test]
fn a_file_that_is_rotated_and_compressed_before_its_first_read_is_one_file() {
    for opened in [true, false] {
        let mut bench = Bench::new();
        bench.source.budget.take(64 << 20, Share::Within);
        bench.log("0.log", 0..3);
        if opened {
            bench.turn();
        }
        bench.rename("0.log", "0.log.20261121-100000");
        bench.gzip("0.log.20261121-100000");
        bench.log("0.log", 3..5);
        bench.turn();
        bench.source.budget.give(64 << 20, Share::Within);
        bench.expect(5);
    }
}

#[test]
fn a_file_that_is_rotated_and_compressed_between_two_reads_is_one_file() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..3);
    bench.expect(3);
    bench.source.budget.take(64 << 20, Share::Within);
    bench.log("0.log", 3..5);
    bench.rename("0.log", "0.log.20261121-100000");
    bench.gzip("0.log.20261121-100000");
    bench.log("0.log", 5..7);
    bench.turn();
    bench.source.budget.give(64 << 20, Share::Within);
    bench.expect(7);
}

#[test]
fn a_truncated_file_begins_anew_even_when_it_has_grown_past_the_offset() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..5);
    bench.expect(5);
    fs::write(bench.path("0.log"), "").unwrap();
    bench.log("0.log", 5..20);
    bench.expect(20);
    fs::write(bench.path("0.log"), line(20)).unwrap();
    bench.expect(21);
    assert_eq!(bench.lost(), [("truncated", 0, 2)]);
}

/// Red when `pass_hole` does not look at the bytes before the hole: the truncation is never noticed.
#[test]
fn a_truncation_in_an_over_long_line_is_noticed_although_a_hole_takes_its_place() {
    let mut bench = Bench::with(|source| source.max_line = 1024);
    bench.log("0.log", 0..1);
    bench.append("0.log", &"x".repeat(100_000));
    bench.expect(1);
    bench.until("the long line is read", |bench| {
        bench.source.desk.board.ledger().read() > 100_000
    });
    // The program goes on behind the old end of the file.
    let file = OpenOptions::new().write(true).open(bench.path("0.log")).unwrap();
    file.set_len(0).unwrap();
    file.set_len(4 << 20).unwrap();
    bench.append("0.log", "\n");
    bench.log("0.log", 1..2);
    bench.until("the line behind the hole", |bench| {
        bench.came.iter().any(|(_, message)| message == "m1")
    });
    assert_eq!(bench.lost(), [("truncated", 0, 1)]);
}

/// Red when a file is read under an identity that its first line has not (`is_another`).
#[test]
fn a_file_that_is_truncated_before_its_first_read_gets_the_identity_of_its_new_first_line() {
    let mut bench = Bench::new();
    // Without a stamp it is not read before its identity is durable.
    bench.append("0.log", "no stamp\n");
    bench.turn();
    fs::write(bench.path("0.log"), line(7)).unwrap();
    bench.save();
    bench.until("the new line", |bench| bench.came.len() == 1);
    bench.save();
    bench.crash();
    for _ in 0..5 {
        bench.turn();
    }
    assert_eq!((bench.came.len(), bench.came[0].1.as_str()), (1, "m7"));
}

#[test]
fn the_same_first_line_in_a_truncated_file_gets_other_ids() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..2);
    bench.expect(2);
    fs::write(bench.path("0.log"), line(0)).unwrap();
    bench.until("the new file's line", |bench| bench.came.len() == 3);
    assert_eq!(bench.came[2].1, "m0");
    assert_ne!(bench.came[2].0, bench.came[0].0);
}

#[test]
fn a_partial_line_is_joined_across_rotation() {
    let mut bench = Bench::new();
    bench.append("0.log", "2026-11-21T10:00:00.000000000Z stdout P m\n");
    bench.until("the part is held", |bench| bench.source.desk.read > 0);
    bench.rename("0.log", "0.log.20261121-100000");
    bench.append("0.log", "2026-11-21T10:00:00.000000001Z stdout F 0\n");
    bench.expect(1);
}

#[test]
fn a_message_joined_across_rotation_is_read_again_as_a_whole() {
    for interleaved in [false, true] {
        let mut bench = Bench::new();
        bench.acking = false;
        bench.log("0.log", 0..1);
        bench.expect(1);
        bench.append("0.log", "2026-11-21T10:00:00.000000001Z stdout P m\n");
        if interleaved {
            // In one file, with a line of the other stream between the parts.
            bench.append("0.log", "2026-11-21T10:00:00.000000002Z stderr F m1\n");
            bench.until("the line between", |bench| bench.came.len() == 2);
            bench.append("0.log", "2026-11-21T10:00:00.000000003Z stdout F 2\n");
        } else {
            bench.rename("0.log", "0.log.20261121-100000");
            bench.append("0.log", "2026-11-21T10:00:00.000000002Z stdout F 1\n");
        }
        bench.log("0.log", 3..5);
        bench.until("all of them", |bench| {
            bench.came.len() == if interleaved { 5 } else { 4 }
        });
        // All but one batch are delivered: the one before the message, or the one with the line between.
        let late = bench.unacked.remove(usize::from(interleaved));
        for ack in std::mem::take(&mut bench.unacked) {
            bench.source.on_note(Note::Acked(ack));
        }
        bench.save();
        let first: Vec<_> = std::mem::take(&mut bench.came);
        bench.crash();
        bench.acking = true;
        let expected = &first[late.batch as usize - 1];
        bench.until("the unacked one", |bench| bench.came.contains(expected));
        for _ in 0..5 {
            bench.turn();
        }
        let strangers = bench.came.iter().filter(|came| !first.contains(came));
        assert_eq!(strangers.collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    }
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_a_torn_line_ships() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..1);
    bench.expect(1);
    let mut writer = OpenOptions::new().append(true).open(bench.path("0.log")).unwrap();
    fs::remove_dir_all(bench.home.path().join("pods/shop_web_u1")).unwrap();
    bench.turn();
    writer
        .write_all((line(1) + line(2).trim_end()).as_bytes())
        .unwrap();
    bench.expect(3);
    bench.until("the container is forgotten", |bench| {
        bench.source.containers.is_empty()
    });
    assert_eq!((bench.source.desk.open_files, bench.lost()), (0, vec![]));
}

#[test]
fn what_vanished_while_we_were_away_is_counted() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..4);
    bench.expect(4);
    bench.acking = false;
    bench.log("0.log", 4..6);
    bench.expect(6);
    bench.save();
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.crash();
    let two_lines = 2 * line(4).len() as u64;
    bench.until("the loss is counted", |bench| {
        bench.lost() == [("deleted_unread", two_lines, 1)]
    });
    // The next process has lost nothing, and still tells what is on record.
    bench.save();
    bench.crash();
    bench.until("the record is told", |bench| {
        let status = bench.source.desk.board.reader().lost_on_record.clone();
        let told = status.iter().find(|lost| lost.files > 0);
        told.is_some_and(|told| (told.reason, told.bytes) == ("deleted_unread", two_lines))
    });
    assert_eq!(bench.lost(), []);
}

#[test]
fn an_older_restart_ends_with_its_torn_line_and_its_open_group() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..1);
    bench.append("0.log", "2026-11-21T10:00:01.000000000Z stdout P m1\n");
    bench.expect(1);
    bench.log("1.log", 2..3);
    bench.until("all three", |bench| bench.came.len() == 3);
    let mut messages = bench.messages();
    messages.sort();
    assert_eq!(messages, ["m0", "m1", "m2"]);
}

#[test]
fn start_at_end_holds_for_the_first_listing_of_the_first_start() {
    let mut bench = Bench::with(|config| config.start_at = config::StartAt::End);
    bench.append(
        "0.log",
        "2026-11-21T09:00:00.000000000Z stdout F old\n2026-11-21T09:00:00.0000",
    );
    bench.until("the position is durable", |bench| {
        bench.checkpoint != snapshot::encode(&Checkpoint::default())
    });
    bench.append("0.log", "00001Z stdout F m0\n");
    bench.expect(1);
    bench.rename("0.log", "0.log.20261121-100000");
    bench.log("0.log", 1..3);
    bench.expect(3);
    assert_eq!(bench.lost().len(), 1);
}

#[test]
fn a_line_without_a_stamp_waits_for_the_checkpoint() {
    let mut bench = Bench::new();
    bench.saving = false;
    bench.append("0.log", "m0\n");
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!(bench.messages(), Vec::<String>::new());
    bench.saving = true;
    bench.expect(1);
    let id = bench.came[0].0.clone();
    bench.crash();
    bench.came.clear();
    bench.turn();
    bench.append("0.log", "m1\n");
    bench.until("the next line", |bench| {
        bench.messages().contains(&"m1".to_owned())
    });
    assert!(
        bench
            .came
            .iter()
            .all(|(came, message)| message != "m0" || *came == id)
    );
}

/// Red without `save_hurries`: each save that fails begins the next one at once while a file waits for one.
#[test]
fn saves_that_fail_are_a_second_apart_however_urgent_they_are() {
    let mut bench = Bench::new();
    bench.saving = false;
    let mut at = clock();
    for second in 1..4 {
        for _ in 0..20 {
            bench.source.desk.next_save();
            bench.turn_at(at);
        }
        assert_eq!(bench.source.desk.counts.checkpoint_errors, second);
        at.now += Duration::from_secs(1);
    }
    bench.saving = true;
    bench.turn_at(at);
    let saved = bench.source.desk.saved;
    bench.save();
    assert_eq!(
        bench.source.desk.saved,
        saved + 1,
        "a disk that is well is asked at once"
    );
}

#[test]
fn a_cut_by_time_is_durable_before_its_document_leaves() {
    let mut bench = Bench::with(|config| config.partial_idle = Duration::from_millis(20));
    bench.log("0.log", 0..1);
    bench.expect(1);
    bench.saving = false;
    bench.append("0.log", "2026-11-21T10:00:01.000000000Z stdout P m1\n");
    bench.until("a save is asked for", |bench| {
        bench.source.containers.values().next().unwrap().waits_for_save()
    });
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!(bench.came.len(), 1);
    bench.saving = true;
    bench.acking = false;
    bench.expect(2);
    let id = bench.came[1].0.clone();
    bench.came.truncate(1);
    bench.crash();
    bench.append("0.log", "2026-11-21T10:00:02.000000000Z stdout F m2\n");
    bench.acking = true;
    bench.expect(3);
    assert_eq!(bench.came[1].0, id, "the cut is at the same byte after a restart");
}

#[test]
fn more_files_than_descriptors_are_all_followed() {
    let mut bench = Bench::with(|config| config.max_open_files = 3);
    let dir = |number: u32| bench.home.path().join(format!("pods/shop_web_u{number}/app"));
    let paths: Vec<PathBuf> = (10..30).map(|number| dir(number).join("0.log")).collect();
    for round in 0..3u32 {
        for path in &paths {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap()
                .write_all(line(round).as_bytes())
                .unwrap();
        }
        bench.until("a line of each", |bench| {
            bench.came.len() == (round as usize + 1) * 20
        });
        assert!(bench.source.desk.open_files <= 3);
    }
}

#[test]
fn the_own_pod_and_excluded_ones_are_never_opened() {
    let mut bench = Bench::with(|config| {
        config.own_namespace = "kube-system".into();
        config.own_pod = "longshore-x".into();
        config.own_uid = "own-uid".into();
        config.exclude.containers = vec![config::Glob::new("side*")];
    });
    for dir in [
        "kube-system_longshore-x_u9/agent",
        "shop_other_own-uid/agent",
        "shop_web_u1/sidecar",
    ] {
        let dir = bench.home.path().join("pods").join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("0.log"), line(7)).unwrap();
    }
    bench.log("0.log", 0..1);
    bench.expect(1);
}

#[test]
fn a_damaged_gz_gives_what_inflates_and_the_chain_goes_on() {
    let mut bench = Bench::new();
    bench.log("0.log.20261121-090000", 0..2000);
    bench.gzip("0.log.20261121-090000");
    let path = bench.path("0.log.20261121-090000.gz");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    bench.log("0.log", 2000..2001);
    bench.until("the live file's line", |bench| {
        bench.messages().contains(&"m2000".to_owned())
    });
    assert!(
        bench.came.len() > 500 && bench.came.len() < 2000,
        "{}",
        bench.came.len()
    );
    assert_eq!(
        bench
            .lost()
            .iter()
            .map(|(reason, ..)| *reason)
            .collect::<Vec<_>>(),
        ["damaged_gzip"]
    );
}

#[test]
fn while_the_sink_is_slow_a_loud_container_waits_and_a_quiet_one_is_read() {
    let mut bench = Bench::new();
    let calm = bench.home.path().join("pods/shop_calm_u2/app");
    fs::create_dir_all(&calm).unwrap();
    bench.log("0.log", 0..100);
    fs::write(calm.join("0.log"), line(1000)).unwrap();
    bench.source.budget.set_pressed(true);
    bench.source.budget.take(32 << 20, Share::Over);
    bench.acking = false;
    bench.turn();
    bench.until("the quiet line", |bench| {
        bench.came.iter().any(|(_, text)| text.contains("1000"))
    });
    // A quantum in each of two rounds, and no more before these are acked.
    for _ in 0..10 {
        bench.turn();
    }
    let read = bench.source.desk.read as usize - line(1000).len();
    assert_eq!(read, 1000);
    // Beyond its share, into bodies of its own.
    bench.source.budget.give(32 << 20, Share::Over);
    bench.until("the loud lines", |bench| bench.came.len() == 101);
    bench.acking = true;
    bench.turn();
}

/// Red when a paused file is read on, when it is never tried, or when its audit takes it for one that stands still.
#[test]
fn of_a_paused_file_a_little_is_read_now_and_then_and_others_are_read() {
    let mut bench = Bench::new();
    let begun = clock();
    bench.log("0.log", 0..1);
    bench.turn_at(begun);
    let state = bench.source.containers.values().next().unwrap();
    let file = state.instances[&0].chain.tails()[0].state.as_ref().unwrap().id();
    bench.source.budget.set_paused(BTreeSet::from([file]));
    bench.log("0.log", 1..3000);
    let calm = bench.home.path().join("pods/shop_calm_u2/app");
    fs::create_dir_all(&calm).unwrap();
    fs::write(calm.join("0.log"), line(5000)).unwrap();
    let read = |bench: &Bench| bench.source.desk.read as usize - line(0).len();
    for second in 1..10 {
        bench.turn_at(after(begun, second * 1000));
    }
    assert_eq!(read(&bench), line(5000).len());
    for second in 10..60 {
        bench.turn_at(after(begun, second * 1000));
    }
    let tried = read(&bench) - line(5000).len();
    assert!((4 * 16_000..6 * 16_500).contains(&tried), "{tried}");
    let tail = &bench
        .source
        .containers
        .values()
        .find(|container| !container.place.path.contains("calm"))
        .unwrap()
        .instances[&0]
        .chain
        .tails()[0];
    assert!(tail.problem.is_none() && tail.standstill.is_none_or(|still| !still.told));
    bench.source.budget.set_paused(BTreeSet::new());
    for second in 60..70 {
        bench.turn_at(after(begun, second * 1000));
    }
    assert_eq!(bench.came.len(), 3001);
}

/// A bench whose pods may give a thousand bytes a second, and a clock that stands at its start.
fn limited(when_exceeded: config::WhenExceeded) -> (Bench, Clock) {
    let bench = Bench::with(|source| {
        source.rate_limit.pod = 1000;
        source.rate_limit.when_exceeded = when_exceeded;
    });
    let now = clock();
    (bench, now)
}

fn after(clock: Clock, millis: u64) -> Clock {
    Clock {
        now: clock.now + Duration::from_millis(millis),
        unix_ms: clock.unix_ms + millis,
    }
}

#[test]
fn a_rate_limit_delays_what_is_over_it() {
    let (mut bench, begun) = limited(config::WhenExceeded::Delay);
    bench.log("0.log", 0..100);
    let bytes = fs::metadata(bench.path("0.log")).unwrap().len();
    for at in 0..50 {
        bench.turn_at(after(begun, at * 10));
    }
    let read = bench.source.desk.read;
    assert!((1000..1600).contains(&read), "{read} bytes in half a second");
    for at in 5..200 {
        bench.turn_at(after(begun, at * 100));
    }
    assert_eq!(bench.source.desk.read, bytes);
    bench.turn_at(after(begun, 30_000));
    assert_eq!(bench.came.len(), 100);
}

#[test]
fn a_rate_limit_that_drops_counts_each_byte_and_keeps_it_on_record() {
    let (mut bench, begun) = limited(config::WhenExceeded::Drop);
    bench.log("0.log", 0..100);
    let bytes = fs::metadata(bench.path("0.log")).unwrap().len();
    bench.turn_at(begun);
    bench.turn_at(after(begun, 100));
    assert_eq!(bench.source.desk.read, bytes, "nothing waits");
    for at in 1..20 {
        bench.turn_at(after(begun, at * 1000));
    }
    let came = bench.came.len();
    let kept: usize = (0..came as u32).map(|number| line(number).len()).sum();
    assert!(came > 0 && came < 100, "{came}");
    let ledger = bench.source.desk.board.ledger();
    let dropped: u64 = ledger.dropped().map(|(_, bytes)| bytes).sum();
    drop(ledger);
    assert_eq!(dropped, bytes - kept as u64);
    // A new second, a new line; then a start that knows what the last one dropped.
    bench.log("0.log", 100..101);
    bench.turn_at(after(begun, 30_000));
    bench.turn_at(after(begun, 32_000));
    assert_eq!(bench.came.len(), came + 1);
    let checkpoint = snapshot::decode(&bench.checkpoint).unwrap();
    let total = checkpoint.losses.totals["rate_limit"];
    assert_eq!((total.files, total.bytes), (1, dropped));
}

#[test]
fn nothing_is_read_while_the_budget_is_used_up() {
    let mut bench = Bench::new();
    bench.source.budget.take(64 << 20, Share::Within);
    bench.log("0.log", 0..3);
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!(bench.source.desk.read, 0);
    assert!(bench.source.desk.board.reader().blocked);
    bench.source.budget.give(64 << 20, Share::Within);
    bench.expect(3);
}

/// Red when the reader is not told when it reads, or the fragment not which file.
#[test]
fn documents_tell_the_live_file_and_the_time_of_reading() {
    let mut bench = Bench::new();
    let mut config = config::Config::default();
    config.sink.elasticsearch.schema = config::Schema::Ecs;
    let (limits, compressor) = (Limits::from(&config.batch), compressor(0));
    bench.source.desk.reader = Reader::new(EncodeConfig::from(&config), limits, compressor, 1 << 20);
    bench.source.desk.layout = EncodeConfig::from(&config).layout;
    let before = clock().unix_ms;
    bench.log("3.log.20260304-091510", 0..1);
    bench.log("3.log", 1..2);
    bench.until("both lines", |bench| bench.came.len() == 2);
    let document = bench.text.split(|byte| *byte == b'\n').nth(1).unwrap();
    let document: serde_json::Value = serde_json::from_slice(document).unwrap();
    let live = bench.path("3.log").display().to_string();
    assert_eq!(document["log"]["file"]["path"], live.as_str());
    let created = document["event"]["created"].as_str().unwrap();
    let created = crate::codec::stamp::parse(created.as_bytes()).unwrap();
    let created = created.secs as u64 * 1000 + u64::from(created.nanos) / 1_000_000;
    assert!(
        (before..=clock().unix_ms).contains(&created),
        "{before} {created}"
    );
}
