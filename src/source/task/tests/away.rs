//! What happened while the agent was away: all that is still on the disk comes once, all that can be known of the rest is counted.
#![expect(clippy::print_stdout, reason = "the figures are the test's result")]

use super::*;

/// kubelet's default: files of one instance, the live one included.
const MAX_FILES: usize = 5;
/// Lines of one file.
const LINES: u32 = 10;

impl Bench {
    fn rotated(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("0.log."))
            .collect();
        names.sort();
        names
    }

    /// One pass of kubelet over a full live file.
    fn rotate_as_kubelet(&self, number: usize) {
        let rotated = self.rotated();
        let excess = rotated.len().saturating_sub(MAX_FILES - 2);
        for name in &rotated[..excess] {
            fs::remove_file(self.path(name)).unwrap();
        }
        for name in rotated[excess..].iter().filter(|name| !name.ends_with(".gz")) {
            self.gzip(name);
        }
        self.rename("0.log", &format!("0.log.20261121-1000{number:02}"));
        self.append("0.log", "");
    }

    fn unknown(&self) -> Vec<(&'static str, u64)> {
        let ledger = self.source.desk.board.ledger().clone();
        ledger
            .lost_unknown_files()
            .filter(|(_, files)| *files > 0)
            .collect()
    }

    fn seconds(&mut self, seconds: f64) {
        let end = clock().now + Duration::from_secs_f64(seconds);
        while clock().now < end {
            self.turn();
        }
    }
}

fn bytes_of(lines: std::ops::Range<u32>) -> u64 {
    lines.map(|number| line(number).len() as u64).sum()
}

/// Red when a file that a power cut has set back goes on at its old offset (`claim_set_back`, `set_back`), or begins under a
/// new identity.
#[test]
fn a_file_that_lost_its_end_with_the_power_is_neither_doubled_nor_lost() {
    for (compressed, grown) in [(false, 2), (false, 20), (true, 2), (true, 20)] {
        let mut bench = Bench::new();
        bench.log("0.log", 0..10);
        bench.expect(10);
        bench.save();
        let shipped = std::mem::take(&mut bench.came);
        let file = OpenOptions::new().write(true).open(bench.path("0.log")).unwrap();
        file.set_len(bytes_of(0..4)).unwrap();
        bench.log("0.log", 20..20 + grown);
        if compressed {
            bench.rename("0.log", "0.log.20261121-100000");
            bench.gzip("0.log.20261121-100000");
            bench.log("0.log", 50..51);
        }
        bench.crash();
        let expected = 4 + grown as usize + usize::from(compressed);
        bench.until("what is on the disk", |bench| bench.came.len() >= expected);
        for _ in 0..5 {
            bench.turn();
        }
        assert_eq!(bench.came.len(), expected);
        assert_eq!(bench.came[..4], shipped[..4]);
        let messages = bench.came[4..].iter().map(|(_, message)| message.clone());
        let last = compressed.then_some(50);
        let numbers = (20..20 + grown).chain(last);
        assert!(
            messages.eq(numbers.map(|number| format!("m{number}"))),
            "{:?}",
            bench.came
        );
    }
}

/// Red when a `.gz` is not matched with its checkpoint entry, when it is read beside its plain twin, or when
/// `Desk::on_expired` forgets the rest.
#[test]
fn zero_to_six_rotations_away_all_that_is_on_the_disk_comes_once_and_the_rest_is_counted() {
    for rotations in 0..=6_usize {
        // Of the first file the agent has read all, and half of it is delivered; or it grew after the last look.
        for grew in [false, true] {
            let mut bench = Bench::new();
            let half = LINES / 2;
            bench.log("0.log", 0..half);
            bench.expect(half);
            bench.acking = false;
            bench.log("0.log", half..LINES - 2);
            bench.expect(LINES - 2);
            bench.save();
            let mut next = if grew { LINES } else { LINES - 2 };
            bench.log("0.log", LINES - 2..next);
            for number in 0..rotations {
                bench.rotate_as_kubelet(number);
                bench.log("0.log", next..next + LINES);
                next += LINES;
            }
            let gone = rotations.saturating_sub(MAX_FILES - 1) as u32;
            bench.crash();
            bench.came.clear();
            bench.acking = true;
            let first = match gone {
                0 => half,
                _ => next - LINES * (MAX_FILES as u32),
            };
            let expected: Vec<String> = (first..next).map(|number| format!("m{number}")).collect();
            bench.until("all that is there", |bench| bench.came.len() >= expected.len());
            bench.seconds(0.05);
            assert_eq!(bench.messages(), expected, "{rotations} rotations, grew: {grew}");
            let (lost, unknown) = match gone {
                0 => (vec![], vec![]),
                _ => (
                    vec![("deleted_unread", bytes_of(half..LINES - 2), 1)],
                    vec![("deleted_unread", 1)],
                ),
            };
            assert_eq!((bench.lost(), bench.unknown()), (lost, unknown), "{rotations}");
            println!(
                "away: {rotations} rotations, {gone} files removed, {} lines came once, lost {:?}, of unknown size {:?}",
                expected.len(),
                bench.lost(),
                bench.unknown()
            );
        }
    }
}

#[test]
fn instances_that_came_and_went_while_we_were_away_are_counted() {
    let mut bench = Bench::new();
    bench.log("0.log", 0..1);
    bench.expect(1);
    bench.save();
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.log("4.log", 1..2);
    bench.log("5.log", 2..3);
    bench.crash();
    bench.expect(3);
    bench.until("the counts", |bench| bench.unknown().len() == 2);
    assert_eq!(bench.unknown(), [("deleted_unread", 1), ("never_seen", 3)]);
    assert_eq!(bench.lost(), [("never_seen", 0, 3)]);
}

#[test]
fn a_log_directory_that_is_missing_or_empty_at_the_start_forgets_nothing() {
    for missing in [true, false] {
        let mut bench = Bench::new();
        bench.log("0.log", 0..5);
        bench.expect(5);
        bench.save();
        bench.log("0.log", 5..7);
        let (pods, away) = (bench.home.path().join("pods"), bench.home.path().join("away"));
        fs::rename(&pods, &away).unwrap();
        if !missing {
            fs::create_dir(&pods).unwrap();
        }
        bench.crash();
        let start = clock();
        for second in 0..60 {
            bench.turn_at(Clock {
                now: start.now + Duration::from_secs(second),
                unix_ms: start.unix_ms + second * 1000,
            });
        }
        bench.save();
        if !missing {
            fs::remove_dir(&pods).unwrap();
        }
        fs::rename(&away, &pods).unwrap();
        bench.crash();
        bench.expect(7);
        assert_eq!((bench.lost(), bench.unknown()), (vec![], vec![]));
    }
}

/// Red when damage at the head is not counted, or when `GzipFile::read` gives an end for damage.
#[test]
fn every_prefix_of_a_gz_gives_what_inflates_counts_the_rest_and_ends() {
    let whole = Bench::new();
    whole.log("0.log.20261121-090000", 0..200);
    whole.gzip("0.log.20261121-090000");
    let bytes = fs::read(whole.path("0.log.20261121-090000.gz")).unwrap();
    let (mut runs, mut turns) = (0, 0);
    for cut in (0..bytes.len()).filter(|cut| *cut < 40 || cut % 23 == 0 || cut + 12 > bytes.len()) {
        let mut bench = Bench::new();
        fs::write(bench.path("0.log.20261121-090000.gz"), &bytes[..cut]).unwrap();
        bench.log("0.log", 200..201);
        turns += ends_with_the_live_line(&mut bench, 200, cut);
        let mut messages = bench.messages();
        messages.retain(|message| message != "m200");
        // The last one may be torn.
        messages.pop();
        let whole = (0..messages.len()).map(|number| format!("m{number}"));
        assert!(whole.eq(messages), "cut at {cut}");
        assert_eq!(bench.unknown(), [("damaged_gzip", 1)], "cut at {cut}");
        assert_eq!(bench.lost(), [("damaged_gzip", 0, 1)], "cut at {cut}");
        runs += 1;
    }
    println!(
        "damaged gz: {runs} prefixes of {} bytes, {turns} turns in all",
        bytes.len()
    );
}

#[test]
fn every_damaged_byte_of_a_gz_gives_what_inflates_counts_the_rest_and_ends() {
    let whole = Bench::new();
    whole.log("0.log.20261121-090000", 0..200);
    whole.gzip("0.log.20261121-090000");
    let bytes = fs::read(whole.path("0.log.20261121-090000.gz")).unwrap();
    let size = bytes_of(0..200);
    let (mut runs, mut damaged, mut most) = (0, 0, 0);
    for at in (0..bytes.len()).filter(|at| *at < 40 || at % 23 == 0 || at + 9 > bytes.len()) {
        let mut bench = Bench::new();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        fs::write(bench.path("0.log.20261121-090000.gz"), &bytes).unwrap();
        bench.log("0.log", 200..201);
        ends_with_the_live_line(&mut bench, 200, at);
        runs += 1;
        damaged += usize::from(bench.unknown() == [("damaged_gzip", 1)]);
        let counted: u64 = bench.lost().iter().map(|(_, bytes, _)| bytes).sum();
        // A footer that is damaged itself lies, within what deflate can hold.
        assert!(counted <= size || at + 4 >= bytes.len(), "{at}: {counted}");
        most = most.max(counted);
    }
    println!("damaged gz: {runs} flipped bytes, {damaged} told as damage, {most} bytes counted at most");
    assert!(damaged * 10 > runs * 8, "{damaged} of {runs}");
}

/// The file of before the loss is known from the checkpoint: what its `.gz` does not give is counted to the byte.
#[test]
fn the_damaged_rest_of_a_known_file_is_counted_to_the_byte() {
    const ROTATED: &str = "0.log.20261121-100000";
    let mut bench = Bench::new();
    bench.acking = false;
    bench.log("0.log", 0..300);
    bench.until("all is read", |bench| bench.came.len() == 300);
    bench.save();
    bench.rename("0.log", ROTATED);
    bench.gzip(ROTATED);
    let name = format!("{ROTATED}.gz");
    let bytes = fs::read(bench.path(&name)).unwrap();
    fs::write(bench.path(&name), &bytes[..bytes.len() / 2]).unwrap();
    bench.log("0.log", 300..301);
    bench.crash();
    bench.came.clear();
    bench.acking = true;
    ends_with_the_live_line(&mut bench, 300, bytes.len() / 2);
    let read = bench.source.desk.read - bytes_of(300..301);
    assert_eq!(bench.lost(), [("damaged_gzip", bytes_of(0..300) - read, 1)]);
}

/// The chain goes on to the live file's line. Gives the turns that it took.
fn ends_with_the_live_line(bench: &mut Bench, live: u32, case: usize) -> u32 {
    let last = format!("m{live}");
    let mut turns = 0;
    while !bench.messages().contains(&last) {
        bench.turn();
        turns += 1;
        assert!(turns < 20_000, "case {case}: no end; came {:?}", bench.came.len());
    }
    for _ in 0..3 {
        bench.turn();
    }
    assert!(
        bench.came.len() < 100_000,
        "case {case}: more than its bytes can hold"
    );
    turns
}

/// Red when the compressed twin is looked for only once the closed file is given up.
#[test]
fn a_file_that_is_rotated_and_compressed_while_it_is_closed_goes_on_in_its_gz() {
    const ROTATED: &str = "0.log.20261121-100000";
    for read in [true, false] {
        let mut bench = Bench::new();
        bench.log("0.log", 0..3);
        if read {
            bench.expect(3);
        } else {
            // Seen, and not a byte of it read.
            bench.source.budget.take(64 << 20, Share::Within);
            bench.turn();
        }
        let source = &mut bench.source;
        let app = source.containers.get_mut("shop_web_u1/app").unwrap();
        let keys: Vec<u64> = app.instances[&0].descriptors.keys().collect();
        assert_eq!(keys.len(), 1);
        app.close(0, keys[0], &mut source.desk);
        bench.log("0.log", 3..5);
        bench.rename("0.log", ROTATED);
        bench.log("0.log", 5..7);
        bench.gzip(ROTATED);
        if !read {
            bench.source.budget.give(64 << 20, Share::Within);
        }
        bench.expect(7);
        assert_eq!((bench.lost(), bench.unknown()), (vec![], vec![]));
    }
}

/// Red without `on_file_end` where a closed file is given up: the ledger would miss the bytes of the torn line.
#[test]
fn the_torn_line_of_a_file_that_is_deleted_while_it_is_closed_ships() {
    const ROTATED: &str = "0.log.20261121-100000";
    let mut bench = Bench::new();
    bench.log("0.log", 0..2);
    bench.append("0.log", line(2).trim_end());
    bench.expect(2);
    let source = &mut bench.source;
    let app = source.containers.get_mut("shop_web_u1/app").unwrap();
    let keys: Vec<u64> = app.instances[&0].descriptors.keys().collect();
    app.close(0, keys[0], &mut source.desk);
    // An empty file in its place does not end it.
    // A successor that is still empty does not end it.
    bench.rename("0.log", ROTATED);
    bench.append("0.log", "");
    bench.turn();
    fs::remove_file(bench.path(ROTATED)).unwrap();
    bench.expect(3);
    assert_eq!(bench.lost(), []);
    assert_eq!(bench.unknown().len(), 1, "it may have grown");
}
