use super::*;
use crate::lines::message;

fn arrive(verifier: &mut Verifier, stream: &str, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        verifier.arrived(message(stream, seq, 1, 3).as_bytes());
    }
}

#[test]
fn each_line_once_is_the_promise() {
    let mut verifier = Verifier::new();
    verifier.sent_range("a", 0..100);
    arrive(&mut verifier, "a", (0..100).rev());
    verifier.assert_exactly_once();
    assert_eq!(
        verifier.report().to_string(),
        "written=100 indexed=100 duplicate=0 lost=0 corrupt=0"
    );
}

#[test]
fn a_duplicate_does_not_hide_a_loss() {
    let mut verifier = Verifier::new();
    verifier.sent_range("a", 0..10);
    arrive(&mut verifier, "a", [0, 1, 2, 3, 4, 5, 6, 7, 9, 9]);
    let report = verifier.report();
    assert_eq!((report.indexed, report.lost, report.duplicate), (9, 1, 1));
    assert_eq!(verifier.lost(9), [("a".to_owned(), 8..9)]);
    assert_eq!(verifier.duplicates(9), [("a".to_owned(), 9..10)]);
}

#[test]
fn an_arrival_may_come_before_its_announcement() {
    let mut verifier = Verifier::new();
    arrive(&mut verifier, "a", [3]);
    assert_eq!(verifier.report().unexpected, 1);
    verifier.sent("a", 3);
    verifier.assert_exactly_once();
}

#[test]
fn foreign_and_damaged_arrivals_are_told_apart() {
    let mut verifier = Verifier::new();
    verifier.sent("a", 0);
    arrive(&mut verifier, "a", [0]);
    arrive(&mut verifier, "b", [0, u64::MAX]);
    verifier.arrived(b"no message in this line");
    verifier.arrived(&message("a", 1, 1, 9).as_bytes()[..30]);
    let report = verifier.report();
    assert_eq!((report.unexpected, report.corrupt, report.indexed), (2, 2, 1));
    assert_eq!(
        verifier.first_corrupt(),
        Some((Corrupt::NoMark, "no message in this line"))
    );
}

#[test]
fn multiplicities_stay_exact_beyond_seven_bits() {
    let mut verifier = Verifier::new();
    verifier.sent("a", 5);
    arrive(&mut verifier, "a", std::iter::repeat_n(5, 300));
    arrive(&mut verifier, "a", std::iter::repeat_n(4, 200));
    let report = verifier.report();
    assert_eq!(
        (report.duplicate, report.unexpected, report.indexed),
        (299, 200, 1)
    );
}
