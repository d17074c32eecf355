//! The file `delivered`: what was written is read, damage costs no more than its line, nothing is invented.

use super::*;
use proptest::prelude::*;

fn ranges(text: &str) -> Ranges {
    Ranges::parse(text.split_whitespace()).unwrap()
}

fn loss(sequence: Option<u64>, reason: Reason, files: u128) -> Loss {
    let span = |file| LostSpan {
        file: FileId(file),
        start: 10,
        end: 310,
    };
    Loss {
        reason,
        sequence,
        totals: Totals::one(3, 300),
        spans: (0..files).map(span).collect(),
        more_files: 0,
    }
}

fn example() -> Delivered {
    let mut losses = Losses::default();
    losses.push(loss(Some(1), Reason::Evicted, 2));
    losses.push(loss(None, Reason::Damaged, 0));
    losses.push(loss(Some(9), Reason::Damaged, 1));
    let sealed = SegmentRecord {
        sealed: true,
        end: 4096,
        waiting: Totals {
            frames: 2,
            documents: 6,
            source_bytes: 600,
        },
        gaps: vec![Gap { from: 200, to: 400 }],
        done: ranges("2-4 9"),
    };
    let open = SegmentRecord {
        end: 300,
        ..SegmentRecord::default()
    };
    Delivered {
        next_sequence: 20,
        next_segment: 4,
        handed_out: HandedOut::Only(ranges("0-31")),
        segments: BTreeMap::from([(2, sealed), (3, open)]),
        losses,
    }
}

#[test]
fn what_was_written_is_read() {
    let delivered = Delivered {
        next_sequence: 32,
        ..example()
    };
    assert_eq!(decode(&encode(&delivered, 1 << 20)), (delivered, vec![]));
    let unknown = Delivered::default();
    assert_eq!(decode(&encode(&unknown, 1 << 20)), (unknown, vec![]));
    assert_eq!(example().done(), ranges("1-4 9"));
}

#[test]
fn version_1_is_read() {
    let text = "3\n5\n";
    let crc = crc32fast::hash(text.as_bytes());
    let (delivered, damage) = decode(format!("longshore-delivered 1 {crc:08x}\n{text}").as_bytes());
    assert_eq!((delivered.done(), delivered.next_sequence), (ranges("3 5"), 6));
    assert_eq!((delivered.handed_out, damage), (HandedOut::All, vec![]));
    let (delivered, damage) = decode(b"longshore-delivered 1 00000000\n3\n");
    assert!(delivered.done().is_empty() && damage.len() == 1);
}

/// Whatever is damaged: it is told, the numbers never go back, no frame becomes evictable or done that
/// was not, and no loss is invented.
fn assert_nothing_invented(bytes: &[u8], what: &str) {
    let whole = example();
    let (read, damage) = decode(bytes);
    if damage.is_empty() {
        let whole = decode(&encode(&whole, 1 << 20)).0;
        assert_eq!(read, whole, "{what}: unseen");
        return;
    }
    let done = whole.done();
    assert!(
        read.done()
            .iter()
            .all(|(first, last)| (first..=last).all(|n| done.contains(n))),
        "{what}"
    );
    assert!((0..32).all(|n| read.handed_out.contains(n)), "{what}");
    for reason in Reason::ALL {
        let beyond = read.losses.totals(reason).beyond(whole.losses.totals(reason));
        assert_eq!(beyond, Totals::default(), "{what}");
    }
    assert!(
        read.losses
            .records()
            .all(|loss| whole.losses.records().any(|other| other == loss)),
        "{what}"
    );
    for (number, segment) in &read.segments {
        let whole = &whole.segments[number];
        assert!(
            *segment == *whole
                || segment.end == 0
                || segment.gaps != whole.gaps
                || segment.done != whole.done
        );
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_told_and_costs_little() {
    let bytes = encode(&example(), 1 << 20);
    for len in 0..bytes.len() {
        assert_nothing_invented(&bytes[..len], &format!("cut at {len}"));
        let (_, damage) = decode(&bytes[..len]);
        assert!(!damage.is_empty() || len == 0, "cut at {len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_nothing_invented(&flipped, &format!("bit {bit}"));
        // All but one line survive, so that at most one of the three losses is forgotten.
        if bit / 8 > 40 {
            assert!(decode(&flipped).0.losses.records().count() >= 1, "bit {bit}");
        }
    }
}

#[test]
fn beyond_the_limit_the_oldest_losses_leave_and_the_totals_stay() {
    let mut delivered = example();
    for sequence in 100..200 {
        delivered.losses.push(loss(Some(sequence), Reason::Evicted, 4));
    }
    let bytes = encode(&delivered, 4096);
    assert!(bytes.len() <= 4096 && bytes.len() > 3000, "{}", bytes.len());
    let (read, damage) = decode(&bytes);
    assert_eq!(damage, []);
    assert_eq!(
        read.losses.totals(Reason::Evicted),
        delivered.losses.totals(Reason::Evicted)
    );
    let kept: Vec<_> = read.losses.records().map(|loss| loss.sequence).collect();
    let newest: Vec<_> = delivered.losses.records().map(|loss| loss.sequence).collect();
    assert_eq!(kept, newest[newest.len() - kept.len()..]);
    assert!(kept.len() < 20, "{}", kept.len());
}

#[test]
fn many_ranges_that_were_handed_out_protect_what_lies_between() {
    let mut delivered = example();
    let mut many = Ranges::default();
    (1..=100).for_each(|number| many.insert(number * 10));
    delivered.handed_out = HandedOut::Only(many);
    let (read, _) = decode(&encode(&delivered, 1 << 20));
    assert_eq!(read.handed_out, HandedOut::Only(ranges("10-1000")));
}

#[test]
fn a_later_version_is_not_guessed_at() {
    let head = "longshore-delivered 3 1";
    let crc = crc32fast::hash(head.as_bytes());
    let (delivered, damage) = decode(format!("{head} {crc:08x}\n00000000 new\n").as_bytes());
    assert_eq!((delivered, damage.len()), (Delivered::default(), 1));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), lines in proptest::collection::vec("[a-z0-9 :-]{0,40}", 0..6)) {
        decode(&bytes);
        let text: String = lines.iter().map(|line| format!("{:08x} {line}\n", crc32fast::hash(line.as_bytes()))).collect();
        decode(format!("longshore-delivered 2 6 00000000\n{text}").as_bytes());
    }
}
