//! The two benchmark corpora, endless, deterministic from a seed, and every line of them sequenced.
//!
//! *json*: CRI lines of 272 bytes (newline included) around a JSON message of 231. *text*: CRI lines of 496 bytes around
//! an access-log line with random hex ids (`research/performance.md` §2 measured the peers with these).

use super::cri::{Stream, rfc3339};
use super::{message, push_message};
use crate::chance::Chance;
use std::fmt::Write as _;

/// Bytes of a line of the *json* corpus, newline included.
pub const JSON_LINE_BYTES: usize = 272;
/// Bytes of a line of the *text* corpus, newline included.
pub const TEXT_LINE_BYTES: usize = 496;

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const PATHS: [&str; 6] = [
    "/api/v1/cart",
    "/api/v1/orders",
    "/healthz",
    "/login",
    "/search",
    "/assets/app.js",
];
const LEVELS: [&str; 4] = ["info", "info", "warn", "error"];
const STATUSES: [u16; 6] = [200, 200, 201, 304, 404, 503];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Text,
}

/// A source of lines for one writer.
#[derive(Debug, Clone)]
pub struct Corpus {
    shape: Shape,
    stream: String,
    next_seq: u64,
    chance: Chance,
    scratch: String,
}

impl Corpus {
    /// The *json* corpus. The stream id may have 16 bytes at most, so that all lines come out equally long.
    pub fn json(seed: u64, stream: &str) -> Self {
        Self::new(Shape::Json, seed, stream)
    }

    /// The *text* corpus, under the same limit.
    pub fn text(seed: u64, stream: &str) -> Self {
        Self::new(Shape::Text, seed, stream)
    }

    fn new(shape: Shape, seed: u64, stream: &str) -> Self {
        assert!(stream.len() <= 16, "stream id {stream:?} is longer than 16 bytes");
        Self {
            shape,
            stream: stream.to_owned(),
            next_seq: 0,
            chance: Chance::new(seed),
            scratch: String::new(),
        }
    }

    /// The same corpus with sequences from `seq` on: for a writer that continues another's stream.
    pub fn starting_at(self, seq: u64) -> Self {
        Self {
            next_seq: seq,
            ..self
        }
    }

    /// The sequence that the next line will carry; also how many lines were made.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Bytes of every line, newline included.
    pub fn line_bytes(&self) -> usize {
        match self.shape {
            Shape::Json => JSON_LINE_BYTES,
            Shape::Text => TEXT_LINE_BYTES,
        }
    }

    /// Appends the next CRI line (containerd dialect) as sent at `sent_ns`, and returns its sequence.
    pub fn push_line(&mut self, out: &mut Vec<u8>, sent_ns: u64) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        // An odd last digit is never a trailing zero: the stamp keeps its nine digits and the line its length.
        out.extend_from_slice(rfc3339(sent_ns | 1).as_bytes());
        out.extend_from_slice(b"Z ");
        out.extend_from_slice(Stream::Stdout.as_str().as_bytes());
        out.extend_from_slice(b" F ");
        self.scratch.clear();
        match self.shape {
            Shape::Json => self.fill_json(seq, sent_ns),
            Shape::Text => self.fill_text(seq, sent_ns),
        }
        out.extend_from_slice(self.scratch.as_bytes());
        out.push(b'\n');
        seq
    }

    /// `{"level":…,"msg":"LS …","method":…,"path":…,"status":…,"duration_us":…,"trace":…}` of 231 bytes.
    fn fill_json(&mut self, seq: u64, sent_ns: u64) {
        let chance = &mut self.chance;
        let mut tail = String::with_capacity(128);
        write!(
            tail,
            "\",\"method\":\"{}\",\"path\":\"{}\",\"status\":{},\"duration_us\":{},\"trace\":\"{:016x}\"}}",
            pick(chance, &METHODS),
            pick(chance, &PATHS),
            pick(chance, &STATUSES),
            chance.below(90_000),
            chance.next_u64()
        )
        .expect("a String takes every write");
        write!(
            self.scratch,
            "{{\"level\":\"{}\",\"msg\":\"",
            pick(chance, &LEVELS)
        )
        .expect("a String takes every write");
        self.finish(seq, sent_ns, &tail);
    }

    /// A combined access-log line with request and trace ids, of 455 bytes.
    fn fill_text(&mut self, seq: u64, sent_ns: u64) {
        let chance = &mut self.chance;
        write!(
            self.scratch,
            "10.{}.{}.{} - - [{}+0000] \"{} {}?id={:x} HTTP/1.1\" {} {} \"https://shop.example/{}\" \"Mozilla/5.0 (X11; Linux x86_64) \
             Gecko/20100101 Firefox/128.0\" rid={:016x}{:016x} trace={:016x}{:016x} ",
            chance.below(256),
            chance.below(256),
            chance.below(256),
            &rfc3339(sent_ns)[..19],
            pick(chance, &METHODS),
            pick(chance, &PATHS),
            chance.below(1 << 20),
            pick(chance, &STATUSES),
            chance.below(100_000),
            pick(chance, &PATHS),
            chance.next_u64(),
            chance.next_u64(),
            chance.next_u64(),
            chance.next_u64()
        )
        .expect("a String takes every write");
        self.finish(seq, sent_ns, "");
    }

    /// Appends the sequenced message, padded so that the line gets its length, and `tail`.
    fn finish(&mut self, seq: u64, sent_ns: u64, tail: &str) {
        // 41 bytes: the CRI head of 40 and the newline.
        let wanted = self.line_bytes() - 41;
        let taken = self.scratch.len() + tail.len();
        let bare = message(&self.stream, seq, sent_ns, 0).len();
        let mut pad = wanted.saturating_sub(taken + bare);
        // The padding's own length is written in digits.
        pad = pad.saturating_sub(pad.to_string().len() - 1);
        push_message(&mut self.scratch, &self.stream, seq, sent_ns, pad);
        self.scratch.push_str(tail);
        // One byte may be missing where the length of the number of digits changed (10 or 100 bytes of padding).
        let missing = wanted.saturating_sub(self.scratch.len());
        let end = self.scratch.len() - usize::from(tail.ends_with('}'));
        self.scratch.insert_str(end, &" "[..missing.min(1)]);
    }
}

fn pick<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    from[chance.below(from.len() as u64) as usize]
}
