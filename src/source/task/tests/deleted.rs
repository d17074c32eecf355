//! Deleted files that nobody reads yet: how much they may hold, and what becomes of the rest.

use super::*;

const ROTATED: &str = "0.log.20261121-100000";

/// Room in memory is used up, so that nothing is read.
fn block(bench: &mut Bench) {
    bench.source.budget.take(64 << 20, Share::Within);
}

fn unblock(bench: &mut Bench) {
    bench.source.budget.give(64 << 20, Share::Within);
}

fn open_files(bench: &Bench) -> usize {
    bench.source.desk.open_files
}

/// The losses in the last durable checkpoint, in bytes.
fn on_record(bench: &Bench) -> u64 {
    let checkpoint = snapshot::decode(&bench.checkpoint).unwrap();
    checkpoint.losses.totals.values().map(|total| total.bytes).sum()
}

/// Two files that were deleted before they were read, the older one larger than the limit leaves room for.
fn over_the_limit() -> (Bench, u64) {
    let mut bench = Bench::with(|source| source.max_deleted_bytes = 200);
    bench.log("0.log", 0..1);
    bench.expect(1);
    block(&mut bench);
    bench.log("0.log", 1..4);
    bench.turn();
    bench.rename("0.log", ROTATED);
    bench.log("0.log", 4..6);
    bench.turn();
    assert_eq!(open_files(&bench), 2);
    let lost = 3 * line(1).len() as u64;
    (bench, lost)
}

/// Red without `limit_deleted`, or when a descriptor is closed before the loss is durable.
#[test]
fn beyond_the_limit_the_first_deleted_is_given_up_once_its_loss_is_durable() {
    let (mut bench, lost) = over_the_limit();
    bench.saving = false;
    fs::remove_file(bench.path(ROTATED)).unwrap();
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.until("the older one is given up", |bench| {
        bench.lost() == [("deleted_over_limit", lost, 1)]
    });
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!(
        (open_files(&bench), on_record(&bench)),
        (2, 0),
        "not on record yet"
    );
    bench.saving = true;
    bench.until("its descriptor is closed", |bench| open_files(bench) == 1);
    assert_eq!(on_record(&bench), lost);
    assert_eq!(bench.source.desk.deleted_bytes, 2 * line(4).len() as u64);
    unblock(&mut bench);
    bench.until("the newer one is read", |bench| bench.came.len() == 3);
    assert_eq!(bench.messages(), ["m0", "m4", "m5"]);
    // Counted once, by this start and by the next.
    assert_eq!(bench.lost(), [("deleted_over_limit", lost, 1)]);
}

#[test]
fn what_is_within_the_limits_is_kept_and_read() {
    let (mut bench, _) = over_the_limit();
    bench.source.config.max_deleted_bytes = 1 << 20;
    fs::remove_file(bench.path(ROTATED)).unwrap();
    fs::remove_file(bench.path("0.log")).unwrap();
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!((open_files(&bench), bench.lost()), (2, vec![]));
    assert_eq!(bench.source.desk.deleted_bytes, 5 * line(1).len() as u64);
    unblock(&mut bench);
    bench.expect(6);
}

#[test]
fn a_pod_has_a_limit_of_its_own() {
    let (mut bench, lost) = over_the_limit();
    bench.source.config.max_deleted_bytes = 1 << 20;
    bench.source.config.max_deleted_bytes_per_pod = 200;
    fs::remove_file(bench.path(ROTATED)).unwrap();
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.until("the older one is given up", |bench| {
        bench.lost() == [("deleted_over_limit", lost, 1)]
    });
}

/// Red without `take_twin` in `give_up_deleted`.
#[test]
fn a_file_that_is_there_as_gz_is_not_lost() {
    let (mut bench, _) = over_the_limit();
    bench.source.config.max_deleted_bytes = 0;
    // Under another stamp, so that only its content tells which file it is.
    let other = "0.log.20261121-100009";
    bench.rename(ROTATED, other);
    bench.gzip(other);
    bench.until("its descriptor is closed", |bench| open_files(bench) == 1);
    assert_eq!(bench.lost(), []);
    unblock(&mut bench);
    bench.expect(6);
}

/// Red when the turn that reads a deleted file leaves its lines in the open body.
#[test]
fn what_is_read_of_a_deleted_file_is_urgent() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..1);
    bench.expect(1);
    block(&mut bench);
    bench.log("0.log", 1..4);
    bench.turn();
    assert_eq!(bench.urgent, 0);
    fs::remove_file(bench.path("0.log")).unwrap();
    unblock(&mut bench);
    bench.expect(4);
    assert_eq!(bench.urgent, 3);
    bench.log("1.log", 4..5);
    bench.expect(5);
    assert_eq!(bench.urgent, 3);
}

/// Red when a file is forgotten although a message that begins in it may be read again without its beginning.
#[test]
fn the_lost_beginning_of_a_message_is_on_record_while_its_end_may_be_read_again() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..1);
    bench.expect(1);
    let first = "2026-11-21T10:00:00.000000001Z stdout P m\n";
    bench.append("0.log", first);
    bench.rename("0.log", ROTATED);
    // What holds the checkpoint back ahead of the message's end.
    bench.append("0.log", "2026-11-21T10:00:00.000000002Z stderr P open\n");
    bench.append("0.log", "2026-11-21T10:00:00.000000003Z stdout F 1\n");
    bench.expect(2);
    fs::remove_file(bench.path(ROTATED)).unwrap();
    bench.until("its descriptor is closed", |bench| open_files(bench) == 1);
    for _ in 0..5 {
        bench.turn();
    }
    bench.save();
    bench.crash();
    bench.until("its loss is counted", |bench| {
        bench.lost() == [("deleted_unread", first.len() as u64, 1)]
    });
}

/// Red without `on_nameless`: the size of the last look would be on record.
#[test]
fn what_a_deleted_file_has_left_is_on_record_when_the_process_dies() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..1);
    bench.expect(1);
    block(&mut bench);
    bench.turn();
    bench.log("0.log", 1..8);
    let left = 7 * line(1).len() as u64;
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.until("the deletion is seen and on record", |bench| {
        let checkpoint = snapshot::decode(&bench.checkpoint).unwrap();
        checkpoint
            .entries
            .iter()
            .any(|entry| entry.size - entry.offset == left)
    });
    bench.crash();
    bench.until("the loss is counted", |bench| {
        bench.lost() == [("deleted_unread", left, 1)]
    });
}
