//! A turn: what is told for commands that come together, and once a second.

use super::rough::{Op, Rough};
use super::*;
use crate::spool::protocol::{Command, Report};

fn told(spool: &mut Spool, commands: Vec<Command>) -> Vec<String> {
    let mut told = Vec::new();
    turn::execute(spool, commands, &mut |report| told.push(short(&report)));
    told
}

fn short(report: &Report) -> String {
    match report {
        Report::Appended { parcel, frame } => format!("appended {parcel} {frame:?}"),
        Report::Frame { frame, body } => format!("frame {frame} {}", body.is_ok()),
        Report::Evicted(evicted) => format!("evicted {}", evicted.sequence),
        Report::Size { frames, .. } => format!("{frames} wait"),
        Report::Closed => "closed".to_owned(),
    }
}

fn append(parcel: u64) -> Command {
    Command::Append {
        parcel,
        body: body(100),
        lane: None,
        keep: Keep::Unsent,
    }
}

#[test]
fn appends_that_come_together_share_a_sync_behind_everything_else() {
    let state = tempfile::tempdir().unwrap();
    let rough = Rough::new(state.path());
    let quota = Quota {
        segment_bytes: 32 * KIB,
        ..QUOTA
    };
    let (mut spool, _) = Spool::open(&rough.disk(), state.path(), quota, MinFree::Bytes(0)).unwrap();
    assert_eq!(
        told(&mut spool, vec![append(7), append(8)]),
        ["appended 7 Some(1)", "appended 8 Some(2)", "2 wait"]
    );
    let syncs = rough.syncs();
    let commands = vec![
        append(9),
        Command::Read(1),
        Command::Done(2),
        append(10),
        Command::Close,
        append(11),
    ];
    let expected = [
        "frame 1 true",
        "appended 9 Some(3)",
        "appended 10 Some(4)",
        "3 wait",
    ];
    assert_eq!(told(&mut spool, commands), expected);
    assert_eq!(rough.syncs() - syncs, 1);
    assert_eq!(
        told(&mut spool, vec![Command::Read(2)]),
        ["frame 2 false", "3 wait"]
    );
}

/// Red when an eviction is told before the confirmation of the frame that it takes.
#[test]
fn a_frame_is_confirmed_before_its_eviction_is_told() {
    let state = tempfile::tempdir().unwrap();
    let quota = Quota {
        max_bytes: 32 * KIB,
        segment_bytes: 4 * KIB,
        when_full: WhenFull::DropOldest,
    };
    let (mut spool, _) = open(state.path(), quota);
    let told = told(&mut spool, (0..30).map(append).collect());
    let of = |what: &str| told.iter().position(|told| told == what);
    let (confirmed, evicted) = (of("appended 0 Some(1)").unwrap(), of("evicted 1").unwrap());
    assert!(confirmed < evicted, "{told:?}");
}

#[test]
fn a_read_that_failed_is_told_with_a_later_tick() {
    let state = tempfile::tempdir().unwrap();
    let rough = Rough::new(state.path());
    let (mut spool, _) = Spool::open(&rough.disk(), state.path(), QUOTA, MinFree::Bytes(0)).unwrap();
    told(&mut spool, vec![append(7)]);
    rough.fail(Op::Read, io::ErrorKind::Other);
    assert_eq!(told(&mut spool, vec![Command::Read(1)]), ["1 wait"]);
    let mut later = Vec::new();
    turn::tick(&mut spool, &mut |report| later.push(short(&report)));
    assert_eq!(later, ["frame 1 true", "1 wait"]);
}
