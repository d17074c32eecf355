//! The spool on a real folder: what survives a restart, what failures and damage cost, what it takes on disk.

#![expect(
    clippy::disallowed_methods,
    reason = "a test looks at the files and damages them"
)]

mod damage;
mod failures;
pub(crate) mod memory;
mod places;
mod room;
mod rough;
mod turns;

use super::*;
use crate::disk;
use crate::record::{Body, Keep};
use crate::spool::frame::tests::body;
use rough::Rough;
use std::fs;
use std::os::unix::fs::MetadataExt;

const KIB: u64 = 1024;

const QUOTA: Quota = Quota {
    max_bytes: 128 * KIB,
    segment_bytes: 500,
    when_full: WhenFull::Block,
};

fn open(state: &Path, quota: Quota) -> (Spool, Recovered) {
    Spool::open(&disk::kernel(), state, quota, MinFree::Bytes(0)).unwrap()
}

/// Appends one body by itself.
pub(crate) fn append(spool: &mut Spool, lane: Option<&str>, body: &Body) -> Appended {
    let mut evicted = Vec::new();
    let outcome = spool
        .append(
            &[Parcel {
                lane,
                body,
                keep: Keep::Unsent,
            }],
            &mut evicted,
        )
        .remove(0);
    assert_eq!(evicted, []);
    outcome
}

fn kept(spool: &mut Spool) -> u64 {
    match append(spool, None, &body(3)) {
        Appended::Frame(sequence) => sequence,
        other => panic!("{other:?}"),
    }
}

fn whole(reading: Reading) -> Body {
    match reading {
        Reading::Frame(frame) => frame.body,
        other => panic!("{other:?}"),
    }
}

fn sequences(recovered: &Recovered) -> Vec<u64> {
    recovered.frames.iter().map(|found| found.sequence).collect()
}

fn segments(state: &Path) -> Vec<String> {
    let names = fs::read_dir(state.join("spool")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".segment")).collect();
    names.sort_unstable();
    names
}

/// What the spool takes on disk, as `du` says.
fn du(state: &Path) -> u64 {
    let folder = state.join("spool");
    let blocks = |path: &Path| fs::metadata(path).map_or(0, |stat| stat.blocks() * 512);
    let files = fs::read_dir(&folder).unwrap();
    files.map(|entry| blocks(&entry.unwrap().path())).sum::<u64>() + blocks(&folder)
}

#[test]
fn undelivered_frames_are_found_again_in_order_and_delivered_ones_are_not() {
    let state = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(state.path(), QUOTA);
    let frames: Vec<u64> = (0..8).map(|_| kept(&mut spool)).collect();
    spool.done(frames[0]).unwrap();
    spool.done(frames[5]).unwrap();
    spool.save_delivered().unwrap();
    drop(spool);
    let (mut spool, recovered) = open(state.path(), QUOTA);
    let expected: Vec<u64> = frames
        .iter()
        .copied()
        .filter(|f| *f != frames[0] && *f != frames[5])
        .collect();
    assert_eq!((sequences(&recovered), recovered.damage), (expected, vec![]));
    assert_eq!(whole(spool.read(frames[1])), body(3));
    assert!(matches!(spool.read(frames[5]), Reading::Gone));
    assert!(kept(&mut spool) > frames[7]);
}

#[test]
fn frames_of_a_new_process_are_not_taken_for_delivered_ones_of_the_last() {
    let state = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(state.path(), QUOTA);
    let frames: Vec<u64> = (0..8).map(|_| kept(&mut spool)).collect();
    frames[..7].iter().for_each(|frame| spool.done(*frame).unwrap());
    spool.save_delivered().unwrap();
    // A crash after the last segment went, and before that was on record: the disk was full.
    let record = fs::read(state.path().join("spool/delivered")).unwrap();
    spool.done(frames[7]).unwrap();
    spool.close().unwrap();
    fs::write(state.path().join("spool/delivered"), record).unwrap();
    let (mut spool, recovered) = open(state.path(), QUOTA);
    assert_eq!((sequences(&recovered), recovered.damage.len()), (vec![], 1));
    let new: Vec<u64> = (0..8).map(|_| kept(&mut spool)).collect();
    drop(spool);
    let (_, recovered) = open(state.path(), QUOTA);
    assert_eq!(sequences(&recovered), new);
}

#[test]
fn a_group_shares_one_sync_and_each_body_has_its_own_number() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        segment_bytes: 16 * KIB,
        ..QUOTA
    };
    let rough = Rough::new(state.path());
    let (mut spool, _) = Spool::open(&rough.disk(), state.path(), quota, MinFree::Bytes(0)).unwrap();
    kept(&mut spool);
    let before = rough.syncs();
    let bodies: Vec<Body> = (1..=40).map(body).collect();
    let parcels: Vec<Parcel<'_>> = bodies
        .iter()
        .map(|body| Parcel {
            lane: None,
            body,
            keep: Keep::Unsent,
        })
        .collect();
    let outcomes = spool.append(&parcels[..20], &mut Vec::new());
    assert_eq!(rough.syncs() - before, 1);
    let frames: Vec<Appended> = (2..22).map(Appended::Frame).collect();
    assert_eq!(outcomes, frames);
    // Over several segments: one sync each, in which they end.
    let before = rough.syncs();
    let more = spool.append(&parcels, &mut Vec::new());
    let made = segments(state.path()).len() as u64;
    assert!(more.iter().all(|outcome| matches!(outcome, Appended::Frame(_))) && made > 1);
    assert_eq!(rough.syncs() - before, made);
    drop(spool);
    let (mut spool, recovered) = open(state.path(), quota);
    assert_eq!(recovered.frames.len(), 61);
    assert_eq!(whole(spool.read(21)), bodies[19]);
}

#[test]
fn an_empty_spool_leaves_no_segment() {
    let state = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(state.path(), QUOTA);
    let frame = kept(&mut spool);
    spool.done(frame).unwrap();
    spool.close().unwrap();
    assert_eq!(segments(state.path()), [""; 0]);
}

#[test]
fn room_that_was_set_aside_is_given_back_by_the_end_and_after_a_crash() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        segment_bytes: 64 * KIB,
        ..QUOTA
    };
    let (mut spool, _) = open(state.path(), quota);
    kept(&mut spool);
    assert!(du(state.path()) >= 64 * KIB && spool.index().bytes() >= 64 * KIB);
    drop(spool);
    let (mut spool, _) = open(state.path(), quota);
    assert!(du(state.path()) <= 12 * KIB && spool.index().bytes() == 4 * KIB);
    kept(&mut spool);
    spool.close().unwrap();
    assert!(du(state.path()) <= 16 * KIB, "{}", du(state.path()));
}

#[test]
fn what_is_lost_is_on_record_for_ever() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 64 * KIB,
        segment_bytes: 4 * KIB,
        when_full: WhenFull::DropOldest,
    };
    let (mut spool, _) = open(state.path(), quota);
    let mut evicted = Vec::new();
    let body = body(30);
    while evicted.is_empty() {
        let parcel = Parcel {
            keep: Keep::Unsent,
            lane: None,
            body: &body,
        };
        let outcome = spool.append(&[parcel], &mut evicted).remove(0);
        assert!(matches!(outcome, Appended::Frame(_)), "{outcome:?}");
    }
    assert_eq!((evicted[0].sequence, evicted[0].source_bytes), (1, 3000));
    drop(spool);
    let (spool, recovered) = open(state.path(), quota);
    let count = evicted.len() as u64;
    let total = Totals {
        frames: count,
        documents: 30 * count,
        source_bytes: 3000 * count,
    };
    assert_eq!(spool.losses().totals(Reason::Evicted), total);
    let record = spool.losses().records().next().unwrap();
    let span = LostSpan {
        file: crate::record::FileId(0xabcdef),
        start: 0,
        end: 3000,
    };
    assert_eq!((record.sequence, &record.spans[..]), (Some(1), &[span][..]));
    assert_eq!(recovered.frames[0].sequence, count + 1);
}

#[test]
fn frames_that_were_handed_out_are_not_evicted_by_the_next_process_either() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 256 * KIB,
        segment_bytes: 4 * KIB,
        when_full: WhenFull::DropOldest,
    };
    let big = body(100);
    let (mut spool, _) = open(state.path(), quota);
    // The first record that says which frames were handed out, and not just that any may have been.
    spool.save_delivered().unwrap();
    let fill = |spool: &mut Spool| -> (Vec<Evicted>, bool) {
        let mut evicted = Vec::new();
        for _ in 0..400 {
            let parcel = Parcel {
                keep: Keep::Unsent,
                lane: None,
                body: &big,
            };
            if spool.append(&[parcel], &mut evicted) == [Appended::Full] {
                return (evicted, true);
            }
        }
        (evicted, false)
    };
    let mut last = 0;
    for _ in 0..40 {
        let Appended::Frame(sequence) = append(&mut spool, None, &big) else {
            panic!("full")
        };
        last = sequence;
    }
    spool.save_delivered().unwrap();
    for frame in [3, 4] {
        whole(spool.read(frame));
    }
    drop(spool);
    let (mut spool, recovered) = open(state.path(), quota);
    assert_eq!(sequences(&recovered), (1..=last).collect::<Vec<_>>());
    let (evicted, full) = fill(&mut spool);
    assert!(!full && !evicted.is_empty());
    // Together with those that share their record.
    assert!(evicted.iter().all(|frame| frame.sequence >= 32), "{evicted:?}");
    assert_eq!(whole(spool.read(3)), big);
    // When only such frames are left there is no room.
    let waiting: Vec<u64> = (1..10_000)
        .filter(|frame| spool.index().contains(*frame))
        .collect();
    for frame in waiting {
        whole(spool.read(frame));
    }
    assert_eq!(fill(&mut spool), (vec![], true));
}

#[test]
fn another_policy_in_the_next_process_protects_all_frames() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 64 * KIB,
        segment_bytes: 4 * KIB,
        when_full: WhenFull::Block,
    };
    let (mut spool, _) = open(state.path(), quota);
    let big = body(100);
    while append(&mut spool, None, &big) != Appended::Full {}
    spool.close().unwrap();
    let drops = Quota {
        when_full: WhenFull::DropOldest,
        ..quota
    };
    let (mut spool, recovered) = open(state.path(), drops);
    assert!(recovered.frames.len() > 5);
    assert_eq!(append(&mut spool, None, &big), Appended::Full);
}

/// 1 GB in 2,000 frames. Red when bodies are read, or when something is done for each frame that looks at the others.
#[test]
#[ignore = "writes 1 GB: cargo test -- --ignored 1_gb --nocapture"]
#[expect(clippy::print_stdout, reason = "the figure is wanted")]
fn a_spool_of_1_gb_opens_within_a_second() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 2 << 30,
        segment_bytes: 16 << 20,
        when_full: WhenFull::Block,
    };
    let rough = Rough::new(state.path());
    let (mut spool, _) = Spool::open(&rough.disk(), state.path(), quota, MinFree::Bytes(0)).unwrap();
    let big = Body {
        bytes: vec![7; 420_000].into(),
        ..body(4000)
    };
    let parcels = [Parcel {
        keep: Keep::Unsent,
        lane: None,
        body: &big,
    }; 50];
    for _ in 0..40 {
        // Once a second. The bodies behind the last save are read: the 25 MB of the last group.
        spool.save_delivered().unwrap();
        let outcomes = spool.append(&parcels, &mut Vec::new());
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Appended::Frame(_)))
        );
    }
    drop(spool);
    assert!(du(state.path()) >= 1_000_000_000);
    let before = std::time::Instant::now();
    let (_, recovered) = open(state.path(), quota);
    let took = before.elapsed();
    println!(
        "a spool of {} MB opened in {took:?}",
        du(state.path()) / 1_000_000
    );
    assert_eq!(recovered.frames.len(), 2000);
    assert!(took.as_secs_f64() <= 1.0, "{took:?}");
}

/// Frame 2 is delivered, frame 3 was lost, frame 4 is on hold for an index; 6 was found behind the record.
fn write_golden(state: &Path) {
    let quota = Quota {
        segment_bytes: 900,
        ..QUOTA
    };
    let (mut spool, _) = open(state, quota);
    for number in 1..=5 {
        let lane = (number == 4).then_some("logs-b");
        assert!(matches!(
            append(&mut spool, lane, &body(number)),
            Appended::Frame(_)
        ));
    }
    spool.done(2).unwrap();
    let located = spool.index.take(3).unwrap();
    let path = spool.segment_path(located.segment);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(located.offset + located.len) as usize - 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.read(3), Reading::Lost(_)));
    spool.save_delivered().unwrap();
    append(&mut spool, None, &body(6));
}

/// What this version writes. In `state-v1` the frame of the lane lies among the others.
const GOLDEN: &str = "state-v1-lanes";

fn golden(name: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden.join(name).join("spool")
}

fn files(folder: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// A change of the format: give it a number, and keep reading this one.
#[test]
fn todays_code_writes_the_spool_of_this_version() {
    let state = tempfile::tempdir().unwrap();
    write_golden(state.path());
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(golden(GOLDEN)).unwrap();
        for (name, bytes) in files(&state.path().join("spool")) {
            fs::write(golden(GOLDEN).join(name), bytes).unwrap();
        }
    }
    assert!(files(&state.path().join("spool")) == files(&golden(GOLDEN)));
}

#[test]
fn todays_code_reads_the_spool_of_this_version() {
    ["state-v1", GOLDEN].into_iter().for_each(reads);
}

fn reads(name: &str) {
    let state = tempfile::tempdir().unwrap();
    fs::create_dir(state.path().join("spool")).unwrap();
    for (file, bytes) in files(&golden(name)) {
        fs::write(state.path().join("spool").join(file), bytes).unwrap();
    }
    let (mut spool, recovered) = open(state.path(), QUOTA);
    assert_eq!(recovered.damage, [""; 0]);
    let found: Vec<(u64, Option<&str>)> = recovered
        .frames
        .iter()
        .map(|found| (found.sequence, found.lane.as_deref()))
        .collect();
    assert_eq!(found, [(1, None), (4, Some("logs-b")), (5, None), (6, None)]);
    for found in &recovered.frames {
        assert_eq!(whole(spool.read(found.sequence)), body(found.sequence as u32));
    }
    let lost = spool.losses().totals(Reason::Damaged);
    assert_eq!(lost, Totals::one(3, 300));
    assert_eq!(spool.losses().records().next().unwrap().spans[0].end, 300);
}
