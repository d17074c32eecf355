//! Damage, exhaustively: every cut and every flipped bit of every file of a small spool.

use super::memory::{Files, Memory};
use super::*;
use std::collections::BTreeSet;
use std::ops::Range;

const STATE: &str = "/state";
const SMALL: Quota = Quota {
    max_bytes: 1024 * KIB,
    segment_bytes: 500,
    when_full: WhenFull::DropOldest,
};

/// A frame of the spool that is damaged.
struct Frame {
    path: PathBuf,
    bytes: Range<usize>,
    lane: Range<usize>,
    body: Body,
}

/// A small spool in some segments: frames 1 to 10, of which 2 and 7 are delivered, 4 is lost and 6 is on hold. 9 and 10 were
/// written after the last save. Unless it is `closed` nothing tells that 10 was confirmed.
struct Example {
    files: Files,
    frames: BTreeMap<u64, Frame>,
    waiting: BTreeSet<u64>,
    closed: bool,
}

fn start(files: Files) -> (Spool, Recovered) {
    let disk = Memory::with(files).disk();
    Spool::open(&disk, Path::new(STATE), SMALL, MinFree::Bytes(0)).unwrap()
}

fn example(closed: bool) -> Example {
    let memory = Memory::default();
    let (mut spool, _) = Spool::open(&memory.disk(), Path::new(STATE), SMALL, MinFree::Bytes(0)).unwrap();
    let mut frames = BTreeMap::new();
    for number in 1..=10 {
        if number == 9 {
            [2, 7].iter().for_each(|frame| spool.done(*frame).unwrap());
            let located = spool.index.take(4).unwrap();
            let path = spool.segment_path(located.segment);
            let last = (located.offset + located.len) as usize - 1;
            memory.files().get_mut(&path).unwrap()[last] ^= 1;
            assert!(matches!(spool.read(4), Reading::Lost(_)));
            spool.save_delivered().unwrap();
        }
        let (body, lane) = (body(number % 3 + 1), (number == 6).then_some("logs-b"));
        let sequence = u64::from(number);
        assert_eq!(append(&mut spool, lane, &body), Appended::Frame(sequence));
        let active = spool.active.as_ref().unwrap();
        let (path, end) = (spool.segment_path(active.number), active.written as usize);
        let begin = end - frame::encoded_len(lane, &body) as usize;
        let lane_at = begin + frame::HEADER_LEN;
        let frame = Frame {
            path,
            bytes: begin..end,
            lane: lane_at..lane_at + lane.map_or(0, str::len),
            body,
        };
        frames.insert(sequence, frame);
    }
    if closed {
        spool.close().unwrap();
    }
    let files = memory.files().clone();
    assert!(files.len() > 3 && files.values().map(Vec::len).sum::<usize>() <= 16 << 10);
    Example {
        files,
        frames,
        waiting: [1, 3, 5, 6, 8, 9, 10].into(),
        closed,
    }
}

/// What became of frames that were not whole any more.
#[derive(Default)]
struct Outcome {
    /// Frames that came back whole.
    whole: BTreeSet<u64>,
    /// Damage: file and byte.
    places: Vec<String>,
    lost: Totals,
}

impl Example {
    /// Starts with damaged files, and reads everything.
    fn read(&self, files: Files, what: &str) -> Outcome {
        let (mut spool, recovered) = start(files);
        let mut outcome = Outcome {
            places: recovered.damage.clone(),
            ..Outcome::default()
        };
        for found in &recovered.frames {
            let frame = self
                .frames
                .get(&found.sequence)
                .unwrap_or_else(|| panic!("{what}: invented"));
            match spool.read(found.sequence) {
                Reading::Frame(read) => {
                    assert_eq!(read.body, frame.body, "{what}");
                    assert!(outcome.whole.insert(found.sequence), "{what}: twice");
                }
                Reading::Lost(lost) => {
                    let (path, byte) = (lost.path.display(), lost.byte);
                    outcome.places.push(format!("{path}: damage at byte {byte}:"));
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        outcome.lost = spool.losses().totals(Reason::Damaged).beyond(Totals::one(2, 200));
        assert!(
            spool.losses().totals(Reason::Damaged).frames >= 1 || !outcome.places.is_empty(),
            "{what}"
        );
        outcome
    }

    /// The segment at `path` is damaged in `bytes`: only the frames there may be gone.
    fn assert_segment(&self, files: Files, path: &Path, bytes: Range<usize>, what: &str) {
        let outcome = self.read(files, what);
        let is_hit = |frame: &Frame| {
            frame.path == path && frame.bytes.start < bytes.end && bytes.start < frame.bytes.end
        };
        let hit: Vec<(&u64, &Frame)> = self.frames.iter().filter(|(_, frame)| is_hit(frame)).collect();
        let whole: BTreeSet<u64> = self
            .waiting
            .iter()
            .copied()
            .filter(|sequence| !is_hit(&self.frames[sequence]))
            .collect();
        if hit
            .iter()
            .all(|(_, frame)| frame.lane.start <= bytes.start && bytes.end <= frame.lane.end)
        {
            // Its index is still named by its documents.
            assert_eq!(outcome.whole, self.waiting, "{what}");
            return;
        }
        assert_eq!(outcome.whole, whole, "{what}");
        let mut lost = Totals::default();
        let mut surely = Totals::default();
        for (sequence, frame) in hit
            .into_iter()
            .filter(|(sequence, _)| self.waiting.contains(sequence))
        {
            let totals = Totals::one(frame.body.documents() as u64, frame.body.source_bytes());
            lost.add(totals);
            if self.closed || *sequence < 9 {
                surely.add(totals);
            }
            let told = |place: &String| place.starts_with(&format!("{}: damage at byte", path.display()));
            // Frames that end where the file does now, and that nothing has confirmed, may never have been there.
            let unseen = !self.closed
                && *sequence >= 9
                && self.frames.values().any(|frame| frame.bytes.start == bytes.start);
            assert!(
                unseen || outcome.places.iter().any(told),
                "{what}: {:?}",
                outcome.places
            );
        }
        // To the byte where it is on record; never more than what there was.
        assert_eq!(
            surely.beyond(outcome.lost),
            Totals::default(),
            "{what}: {:?}",
            outcome.places
        );
        assert_eq!(
            outcome.lost.beyond(lost),
            Totals::default(),
            "{what}: {:?}",
            outcome.places
        );
        assert!(
            !self.closed || outcome.lost == lost,
            "{what}: {:?}",
            outcome.places
        );
    }

    /// The file `delivered` is damaged: everything that waits is there; besides come at most repeats.
    fn assert_delivered(&self, files: Files, what: &str) {
        let outcome = self.read(files.clone(), what);
        assert!(outcome.whole.is_superset(&self.waiting), "{what}");
        assert!(outcome.lost.frames <= 1, "{what}: {:?}", outcome.lost);
        let whole = delivered::decode(&self.files[&Path::new(STATE).join("spool/delivered")]).0;
        let read = delivered::decode(&files[&Path::new(STATE).join("spool/delivered")]).0;
        let told = |place: &String| place.starts_with("/state/spool/delivered: damage at byte");
        assert!(
            read == whole || outcome.places.iter().any(told),
            "{what}: {:?}",
            outcome.places
        );
    }

    fn check(&self, path: &Path, bytes: Vec<u8>, damaged: Range<usize>, what: &str) {
        let mut files = self.files.clone();
        files.insert(path.to_owned(), bytes);
        if path.ends_with("delivered") {
            self.assert_delivered(files, what);
        } else {
            self.assert_segment(files, path, damaged, what);
        }
    }
}

#[test]
fn the_example_is_whole() {
    for closed in [true, false] {
        let example = example(closed);
        let outcome = example.read(example.files.clone(), "whole");
        assert_eq!((outcome.whole, outcome.places), (example.waiting, vec![]));
        assert_eq!(outcome.lost, Totals::default());
    }
}

#[test]
fn every_cut_of_every_file_costs_what_was_cut() {
    for closed in [true, false] {
        let example = example(closed);
        for (path, bytes) in &example.files {
            for len in 0..bytes.len() {
                let what = format!("{} cut at {len}, closed {closed}", path.display());
                example.check(path, bytes[..len].to_vec(), len..bytes.len(), &what);
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_every_file_costs_one_frame_at_most() {
    for closed in [true, false] {
        let example = example(closed);
        for (path, bytes) in &example.files {
            let mut bytes = bytes.clone();
            for bit in 0..bytes.len() * 8 {
                let byte = bit / 8;
                bytes[byte] ^= 1 << (bit % 8);
                let what = format!("{} bit {bit} of byte {byte}, closed {closed}", path.display());
                example.check(path, bytes.clone(), byte..byte + 1, &what);
                bytes[byte] ^= 1 << (bit % 8);
            }
        }
    }
}

/// A place that was counted is not counted again by the next start.
#[test]
fn damage_is_told_and_counted_once() {
    let example = example(true);
    let path = &example.frames[&5].path;
    let mut files = example.files.clone();
    files.get_mut(path).unwrap()[example.frames[&5].bytes.start] ^= 1;
    let memory = Memory::with(files);
    let totals: Vec<(usize, Totals)> = (0..3)
        .map(|_| {
            let (mut spool, recovered) =
                Spool::open(&memory.disk(), Path::new(STATE), SMALL, MinFree::Bytes(0)).unwrap();
            spool.save_delivered().unwrap();
            (recovered.damage.len(), spool.losses().totals(Reason::Damaged))
        })
        .collect();
    let mut once = Totals::one(2, 200);
    once.add(Totals::one(3, 300));
    assert_eq!(totals, [(1, once), (0, once), (0, once)]);
}

impl Example {
    /// What waits in the segment of a frame.
    fn waiting_in(&self, path: &Path) -> Totals {
        let mut totals = Totals::default();
        for sequence in &self.waiting {
            let frame = &self.frames[sequence];
            if frame.path == path {
                totals.add(Totals::one(
                    frame.body.documents() as u64,
                    frame.body.source_bytes(),
                ));
            }
        }
        totals
    }
}

/// Red without `Spool::miss`, and when what was told is not saved.
#[test]
fn a_segment_that_is_gone_is_told_and_counted_once() {
    let example = example(true);
    let path = &example.frames[&5].path;
    let memory = Memory::with(example.files.clone());
    memory.files().remove(path);
    let starts: Vec<(Vec<String>, Totals)> = (0..3)
        .map(|_| {
            let (mut spool, recovered) =
                Spool::open(&memory.disk(), Path::new(STATE), SMALL, MinFree::Bytes(0)).unwrap();
            spool.save_delivered().unwrap();
            let lost = spool.losses().totals(Reason::Damaged);
            (recovered.damage, lost.beyond(Totals::one(2, 200)))
        })
        .collect();
    let lost = example.waiting_in(path);
    let Totals {
        frames,
        documents,
        source_bytes,
    } = lost;
    let told = format!(
        "{}: the file is gone: {frames} frames are lost, with {documents} documents of {source_bytes} source bytes",
        path.display()
    );
    assert!(documents > 0);
    assert_eq!(starts, [(vec![told], lost), (vec![], lost), (vec![], lost)]);
}

/// Red when a segment is removed before it is on record that nothing waits in it.
#[test]
fn a_segment_that_was_delivered_and_removed_is_no_loss_for_a_start_after_a_crash() {
    let example = example(true);
    let path = &example.frames[&5].path;
    let memory = Memory::with(example.files.clone());
    let (mut spool, _) = Spool::open(&memory.disk(), Path::new(STATE), SMALL, MinFree::Bytes(0)).unwrap();
    let ours = |sequence: &&u64| example.frames[*sequence].path == *path;
    for sequence in example.waiting.iter().filter(ours) {
        spool.done(*sequence).unwrap();
    }
    assert!(!memory.files().contains_key(path), "it was removed");
    let (spool, recovered) = start(memory.files().clone());
    assert_eq!(recovered.damage, Vec::<String>::new());
    assert_eq!(spool.losses().totals(Reason::Damaged), Totals::one(2, 200));
}

/// Red when a damaged segment without a record counts as one in which nothing was confirmed.
#[test]
fn what_waited_in_a_damaged_segment_is_unknown_when_its_record_is_damaged_too() {
    let example = example(true);
    let path = &example.frames[&5].path;
    let number: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut files = example.files.clone();
    files.get_mut(path).unwrap().fill(0);
    let record = files.get_mut(&Path::new(STATE).join("spool/delivered")).unwrap();
    let line = format!(" segment {number} ");
    let at = memchr::memmem::find(record, line.as_bytes()).unwrap();
    record[at + 1] ^= 1;
    let (spool, recovered) = start(files);
    let told = recovered
        .damage
        .iter()
        .find(|told| told.starts_with(path.to_str().unwrap()));
    let told = told.unwrap_or_else(|| panic!("{:?}", recovered.damage));
    assert!(
        told.ends_with("1 or more frames are lost, with an unknown number of documents"),
        "{told}"
    );
    assert_eq!(
        spool
            .losses()
            .totals(Reason::Damaged)
            .beyond(Totals::one(2, 200))
            .frames,
        1
    );
}

/// Red when a missing record counts as that of a first start; and when a first start leaves none.
#[test]
fn a_record_that_is_gone_is_told_and_a_first_start_has_one() {
    let mut files = example(true).files;
    files.remove(&Path::new(STATE).join("spool/delivered"));
    let told = start(files).1.damage;
    assert!(told[0].contains("spool/delivered: the file is gone"), "{told:?}");
    assert!(told[0].contains("an unknown number of documents"), "{told:?}");
    let memory = Memory::default();
    let (_, recovered) = Spool::open(&memory.disk(), Path::new(STATE), SMALL, MinFree::Bytes(0)).unwrap();
    assert_eq!(recovered.damage, Vec::<String>::new());
    assert!(
        memory
            .files()
            .contains_key(&Path::new(STATE).join("spool/delivered"))
    );
}
