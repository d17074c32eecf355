//! The recorded logs of real runtimes (`tests/corpus/cri`) give the messages that their container printed.

use longshore::parse::cri::{CriLine, CriParser, Tag};
use longshore::parse::partial::{Part, Partials};
use longshore::record::{FileId, Span, Stamp, Stream};
use longshore_kit::lines::{self, CriDialect};
use std::time::Instant;

const CONMON: &[u8] = include_bytes!("../corpus/cri/conmon.log");
const CONTAINERD: &[u8] = include_bytes!("../corpus/cri/containerd.log");

/// What `workload.sh` printed on standard output, line by line, as far as a runtime lets it through: containerd takes a
/// line's `\r` for a part of its end.
fn printed(carriage_return: &[u8]) -> Vec<Vec<u8>> {
    let text = [
        "plain line",
        "",
        "  spaces, a tab\there, \"quotes\", back\\slash  ",
        "umlaut \u{fc}, ship \u{1f6a2}",
    ];
    let mut lines: Vec<Vec<u8>> = text.iter().map(|line| line.as_bytes().to_vec()).collect();
    lines.push(b"broken \xff utf-8".to_vec());
    lines.push(carriage_return.to_vec());
    for bytes in [8191, 8192, 8193, 16383, 16384, 16385, 20000, 40000, 100, 8190] {
        lines.push(format!("{bytes:0bytes$}").into_bytes());
    }
    lines.push(b"half of stdout, other half of stdout".to_vec());
    lines
}

/// The whole messages of a log by stream, in order, and what is left open at its end.
#[derive(Debug, Default)]
struct Messages {
    stdout: Vec<Vec<u8>>,
    stderr: Vec<Vec<u8>>,
    unfinished: Vec<Vec<u8>>,
}

fn lines_of(log: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    log.split_inclusive(|&byte| byte == b'\n').scan(0, |start, line| {
        let at = *start;
        *start += line.len();
        Some((at, line.strip_suffix(b"\n").expect("a runtime ends every line")))
    })
}

fn parsed(log: &[u8]) -> Vec<CriLine<'_>> {
    let mut parser = CriParser::default();
    lines_of(log)
        .map(|(at, line)| {
            parser
                .parse(line)
                .unwrap_or_else(|| panic!("no CRI at {at}: {}", String::from_utf8_lossy(line)))
        })
        .collect()
}

fn messages(log: &[u8]) -> Messages {
    let (mut parser, mut partials, mut out) =
        (CriParser::default(), Partials::default(), Messages::default());
    let now = Instant::now();
    for (start, text) in lines_of(log) {
        let line = parser.parse(text).expect("CRI");
        let span = Span {
            file: FileId(1),
            start: start as u64,
            end: (start + text.len() + 1) as u64,
        };
        let part = Part {
            stamp: line.stamp,
            stamp_before: None,
            content: line.content,
            span,
            skipped: 0,
        };
        assert_eq!(
            partials.push(line.stream, part, 1 << 20, now),
            None,
            "one file closes no group"
        );
        if line.tag == Tag::Full {
            let message = partials.take(line.stream).expect("a part was just added").message;
            match line.stream {
                Stream::Stdout => out.stdout.push(message),
                Stream::Stderr => out.stderr.push(message),
            }
        }
    }
    out.unfinished = partials.open().map(|(_, group)| group.message.clone()).collect();
    out
}

#[test]
fn both_runtimes_give_the_messages_that_were_printed() {
    for (runtime, log, carriage_return) in [
        ("conmon", CONMON, &b"carriage return\r"[..]),
        ("containerd", CONTAINERD, b"carriage return"),
    ] {
        let (found, printed) = (messages(log), printed(carriage_return));
        assert_eq!(found.stdout.len(), printed.len(), "{runtime}");
        for (found, printed) in found.stdout.iter().zip(&printed) {
            assert!(
                found == printed,
                "{runtime}: {}",
                String::from_utf8_lossy(printed)
            );
        }
        assert_eq!(
            found.stderr,
            [&b"from stderr"[..], b"stderr in between"],
            "{runtime}"
        );
        assert_eq!(found.unfinished, [b"no newline at the end"], "{runtime}");
    }
}

#[test]
fn stamps_rise_within_a_stream_and_lie_within_the_recording() {
    // 2026-11-21, from 08:21:00 to 08:23:00.
    let recorded = 1_795_249_260..1_795_249_380;
    for log in [CONMON, CONTAINERD] {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let stamps: Vec<Stamp> = parsed(log)
                .iter()
                .filter(|line| line.stream == stream)
                .map(|line| line.stamp)
                .collect();
            assert!(
                stamps.iter().all(|stamp| recorded.contains(&stamp.secs)),
                "{stamps:?}"
            );
            assert!(
                stamps.is_sorted_by_key(|stamp| (stamp.secs, stamp.nanos)),
                "{stamps:?}"
            );
        }
    }
}

#[test]
fn the_recordings_show_what_tells_the_dialects_apart() {
    let (conmon, containerd) = (parsed(CONMON), parsed(CONTAINERD));
    let parts = |log: &[CriLine<'_>]| -> Vec<usize> {
        log.iter()
            .filter(|line| line.tag == Tag::Partial)
            .map(|line| line.content.len())
            .collect()
    };
    let sizes = (parts(&conmon), parts(&containerd));
    assert!(
        sizes.0.iter().all(|&bytes| bytes <= 8_192)
            && sizes.0.iter().filter(|&&bytes| bytes == 8_192).count() > 3
    );
    assert!(
        sizes.0.iter().any(|&bytes| bytes > 100 && bytes < 8_192),
        "a read that ended early"
    );
    let unfinished = "no newline at the end".len();
    assert!(
        sizes
            .1
            .iter()
            .all(|&bytes| bytes == 16_384 || bytes == unfinished)
            && sizes.1.len() > 3
    );

    assert!(
        conmon
            .iter()
            .all(|line| line.stamp_text.len() == 35 && line.stamp_text.ends_with(b"+00:00"))
    );
    assert!(containerd.iter().all(|line| line.stamp_text.ends_with(b"Z")));
    assert!(
        containerd.iter().any(|line| line.stamp_text.len() < 30),
        "a fraction without its last zeros"
    );

    // The empty line that was printed, and the one that closes the message of 8,192 bytes.
    let empty_ends = |log: &[CriLine<'_>]| {
        log.iter()
            .filter(|line| line.tag == Tag::Full && line.content.is_empty())
            .count()
    };
    assert_eq!((empty_ends(&conmon), empty_ends(&containerd)), (2, 1));
    let ends_half = |log: &[CriLine<'_>]| log.iter().any(|line| line.content == b"other half of stdout");
    assert!(
        ends_half(&conmon) && !ends_half(&containerd),
        "only containerd joins two writes"
    );
}

#[test]
fn the_kit_imitates_the_recorded_containerd() {
    let imitated: Vec<u8> = printed(b"carriage return")
        .iter()
        .flat_map(|message| CriDialect::Containerd.lines(0, lines::Stream::Stdout, message))
        .collect();
    let parts = |log| -> Vec<(Tag, &[u8])> {
        let lines = parsed(log)
            .into_iter()
            .filter(|line| line.stream == Stream::Stdout);
        lines.map(|line| (line.tag, line.content)).collect()
    };
    let (imitated, mut recorded) = (parts(&imitated), parts(CONTAINERD));
    let unfinished = recorded.pop();
    assert_eq!(unfinished, Some((Tag::Partial, &b"no newline at the end"[..])));
    assert!(imitated == recorded);
}
