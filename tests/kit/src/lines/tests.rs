use super::corpus::{JSON_LINE_BYTES, TEXT_LINE_BYTES};
use super::*;

const T: u64 = 1_767_225_600_123_450_000; // 2026-01-01T00:00:00.12345Z

#[test]
fn a_message_reads_back_as_it_was_written() {
    let text = message("pod-1/app", 42, T, 17);
    let read = parse_message(&text).unwrap();
    assert_eq!(
        (read.stream, read.seq, read.sent_ns, read.len),
        ("pod-1/app", 42, T, text.len())
    );
    assert!(
        text.starts_with("LS s=pod-1/app n=42 t=1767225600123450000 p=17 h="),
        "{text}"
    );
}

#[test]
fn every_changed_or_missing_byte_is_noticed() {
    for pad in [0, 1, 40] {
        let text = message("s", 7, T, pad);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            assert!(
                std::str::from_utf8(&changed).is_ok_and(|changed| parse_message(changed).is_err()),
                "byte {at} of {text}"
            );
            assert!(parse_message(&text[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(parse_message(&format!("{text}x")), Err(Corrupt::Trailing));
    }
}

#[test]
fn messages_are_found_inside_documents_and_one_by_one() {
    let (one, two) = (message("a", 1, T, 5), message("b", 2, T, 0));
    let document = format!("{{\"log\":\"{{\\\"msg\\\":\\\"{one}\\\"}}\\n{two}\"}}");
    let found: Vec<_> = find_messages(document.as_bytes())
        .map(|found| found.map(|read| (read.stream, read.seq)))
        .collect();
    assert_eq!(found, [Ok(("a", 1)), Ok(("b", 2))]);
    assert_eq!(find_message(document.as_bytes()).unwrap().1.seq, 1);
    assert_eq!(find_message(b"nothing here"), Err(Corrupt::NoMark));
}

#[test]
fn stamps_follow_the_runtime() {
    assert_eq!(CriDialect::Containerd.stamp(T), "2026-01-01T00:00:00.12345Z");
    assert_eq!(CriDialect::Conmon.stamp(T), "2026-01-01T00:00:00.123450000+00:00");
    assert_eq!(
        CriDialect::Containerd.stamp(1_709_251_199_000_000_000),
        "2024-02-29T23:59:59Z"
    );
    assert_eq!(CriDialect::Containerd.stamp(0), "1970-01-01T00:00:00Z");
    assert_eq!(cri::rotation_stamp(4_102_444_799), "20991231-235959");
    assert_eq!(cri::rotation_stamp(0), "19700101-000000");
    assert_eq!(cri::rotation_stamp(951_827_696), "20000229-123456", "a leap day");
}

fn tags(dialect: CriDialect, bytes: usize) -> Vec<(String, usize)> {
    let lines = dialect.lines(T, Stream::Stderr, &vec![b'x'; bytes]);
    let lines = String::from_utf8(lines).unwrap();
    let parts = lines.lines().map(|line| {
        let mut parts = line.splitn(4, ' ').skip(1);
        assert_eq!(parts.next(), Some("stderr"));
        (parts.next().unwrap().to_owned(), parts.next().unwrap().len())
    });
    parts.collect()
}

fn expected(parts: &[(&str, usize)]) -> Vec<(String, usize)> {
    parts
        .iter()
        .map(|&(tag, bytes)| (tag.to_owned(), bytes))
        .collect()
}

#[test]
fn conmon_splits_at_its_read_and_closes_with_an_empty_line() {
    // The real conmon for 9,000 bytes and a newline.
    assert_eq!(
        tags(CriDialect::Conmon, 9_000),
        expected(&[("P", 8_192), ("P", 808), ("F", 0)])
    );
    assert_eq!(
        tags(CriDialect::Conmon, 8_192),
        expected(&[("P", 8_192), ("F", 0)])
    );
    assert_eq!(tags(CriDialect::Conmon, 8_191), expected(&[("F", 8_191)]));
    assert_eq!(tags(CriDialect::Conmon, 0), expected(&[("F", 0)]));
}

#[test]
fn containerd_splits_at_16_kib() {
    assert_eq!(tags(CriDialect::Containerd, 16_384), expected(&[("F", 16_384)]));
    assert_eq!(
        tags(CriDialect::Containerd, 16_385),
        expected(&[("P", 16_384), ("F", 1)])
    );
    assert_eq!(
        tags(CriDialect::Containerd, 40_000),
        expected(&[("P", 16_384), ("P", 16_384), ("F", 7_232)])
    );
}

#[test]
fn an_unfinished_line_has_no_closing_tag() {
    let left = CriDialect::Containerd.unfinished(T, Stream::Stdout, b"last words");
    assert_eq!(
        left,
        cri_line("2026-01-01T00:00:00.12345Z", Stream::Stdout, "P", b"last words")
    );
}

#[test]
fn corpora_have_equal_lines_that_the_verifier_recognises() {
    for (mut corpus, mut again, bytes) in [
        (
            Corpus::json(7, "bench-00000000ff"),
            Corpus::json(7, "bench-00000000ff"),
            JSON_LINE_BYTES,
        ),
        (Corpus::text(7, "t"), Corpus::text(7, "t"), TEXT_LINE_BYTES),
        (
            Corpus::text(7, "bench-00000000ff"),
            Corpus::text(7, "bench-00000000ff"),
            TEXT_LINE_BYTES,
        ),
        (Corpus::json(7, "t"), Corpus::json(7, "t"), JSON_LINE_BYTES),
    ] {
        corpus = corpus.starting_at(9_999_000);
        again = again.starting_at(9_999_000);
        for wanted in 9_999_000..10_001_000u64 {
            let (mut line, mut twin) = (Vec::new(), Vec::new());
            assert_eq!(corpus.push_line(&mut line, T + wanted * 1_000_000), wanted);
            again.push_line(&mut twin, T + wanted * 1_000_000);
            assert_eq!(line, twin, "the seed decides everything");
            assert_eq!(line.len(), bytes, "{}", String::from_utf8_lossy(&line));
            assert_eq!(find_message(&line).unwrap().1.seq, wanted);
            if bytes == JSON_LINE_BYTES {
                let json: serde_json::Value = serde_json::from_slice(&line[40..]).unwrap();
                assert!(parse_message(json["msg"].as_str().unwrap()).is_ok());
            }
        }
    }
}
