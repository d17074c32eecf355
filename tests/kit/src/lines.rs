//! Log lines that can be recognised again.
//!
//! A *message* carries its stream, its sequence in that stream, when it was sent and a checksum of itself:
//!
//! ```text
//! LS s=<stream> n=<sequence> t=<unix ns> p=<padding bytes> h=<8 hex> <padding>
//! ```
//!
//! It consists of characters that neither JSON nor a log format escapes, so it may sit inside a JSON field of a line, inside
//! the `log` field of a document, or be one of several in a multiline document: [`find_message`] still finds it and proves
//! that not a byte of it changed. [`cri`] puts messages into CRI lines, [`corpus`] makes the benchmark corpora of them.

pub mod corpus;
pub mod cri;

pub use corpus::Corpus;
pub use cri::{CriDialect, Stream, cri_line, rfc3339};

use memchr::memmem;
use std::fmt;

/// How every message begins.
pub const MARK: &str = "LS s=";

/// Longer headers than this are no headers: the parser stops looking for the end.
const HEADER_BYTES_MAX: usize = 512;

/// Padding is cut out of this, from an offset that depends on the sequence, so that lines differ.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.-_";

/// What a message says about itself, after its checksum was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced<'a> {
    /// Who wrote it.
    pub stream: &'a str,
    /// Its number in the stream; writers count from 0.
    pub seq: u64,
    /// When it was written, in Unix nanoseconds.
    pub sent_ns: u64,
    /// Bytes of the whole message, from the mark to the end of the padding.
    pub len: usize,
}

/// Why bytes are not one of our messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corrupt {
    /// There is no mark at all.
    NoMark,
    /// There is a mark, but no readable header after it.
    Header,
    /// The text ends before the padding does.
    Truncated,
    /// The checksum does not fit the rest.
    Checksum,
    /// More bytes follow the message (only [`parse_message`] minds).
    Trailing,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoMark => "no mark in the text",
            Self::Header => "unreadable header after the mark",
            Self::Truncated => "the text ends inside the message",
            Self::Checksum => "checksum mismatch",
            Self::Trailing => "bytes after the end of the message",
        })
    }
}

impl std::error::Error for Corrupt {}

/// Writes one message with `pad` bytes of padding. The stream id must be of letters, digits, `-`, `_`, `.` or `/`.
pub fn message(stream: &str, seq: u64, sent_ns: u64, pad: usize) -> String {
    let mut out = String::with_capacity(stream.len() + 64 + pad);
    push_message(&mut out, stream, seq, sent_ns, pad);
    out
}

/// Appends what [`message`] returns.
pub fn push_message(out: &mut String, stream: &str, seq: u64, sent_ns: u64, pad: usize) {
    use fmt::Write as _;
    debug_assert!(
        !stream.is_empty() && stream.bytes().all(is_stream_byte),
        "stream id {stream:?} would be escaped"
    );
    let start = out.len();
    write!(out, "{MARK}{stream} n={seq} t={sent_ns} p={pad}").expect("a String takes every write");
    let header_end = out.len();
    out.push_str(" h=00000000 ");
    push_padding(out, seq, pad);
    let sum = checksum(
        &out.as_bytes()[start..header_end],
        &out.as_bytes()[header_end + 12..],
    );
    out.replace_range(header_end + 3..header_end + 11, &format!("{sum:08x}"));
}

/// Reads a text that is exactly one message.
///
/// # Errors
/// [`Corrupt`] when the text is anything else, however small the difference.
pub fn parse_message(text: &str) -> Result<Sequenced<'_>, Corrupt> {
    if !text.starts_with(MARK) {
        return Err(Corrupt::NoMark);
    }
    let found = read_at_mark(text.as_bytes())?;
    if found.len == text.len() {
        Ok(found)
    } else {
        Err(Corrupt::Trailing)
    }
}

/// Finds the first message anywhere in `bytes` and where it begins.
///
/// # Errors
/// [`Corrupt`] when there is no mark, or when what follows the first mark is damaged.
pub fn find_message(bytes: &[u8]) -> Result<(usize, Sequenced<'_>), Corrupt> {
    let at = memmem::find(bytes, MARK.as_bytes()).ok_or(Corrupt::NoMark)?;
    read_at_mark(&bytes[at..]).map(|found| (at, found))
}

/// All messages in `bytes`, damaged ones as errors, in order. A multiline document holds several.
pub fn find_messages(bytes: &[u8]) -> impl Iterator<Item = Result<Sequenced<'_>, Corrupt>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let at = memmem::find(rest, MARK.as_bytes())?;
        let found = read_at_mark(&rest[at..]);
        let step = found.as_ref().map_or(MARK.len(), |sequenced| sequenced.len);
        rest = &rest[at + step..];
        Some(found)
    })
}

fn read_at_mark(bytes: &[u8]) -> Result<Sequenced<'_>, Corrupt> {
    let mut at = MARK.len();
    let stream = field(bytes, &mut at, b"")?;
    let seq = number(field(bytes, &mut at, b"n=")?)?;
    let sent_ns = number(field(bytes, &mut at, b"t=")?)?;
    let pad = number(field(bytes, &mut at, b"p=")?)?;
    let header = &bytes[..at - 1];
    let sum = field(bytes, &mut at, b"h=")?;
    let pad = usize::try_from(pad).map_err(|_| Corrupt::Header)?;
    let padding = bytes.get(at..at.saturating_add(pad)).ok_or(Corrupt::Truncated)?;
    if sum.len() != 8 || hex(sum)? != checksum(header, padding) {
        return Err(Corrupt::Checksum);
    }
    let stream = std::str::from_utf8(stream).map_err(|_| Corrupt::Header)?;
    Ok(Sequenced {
        stream,
        seq,
        sent_ns,
        len: at + pad,
    })
}

/// The bytes from `at`, after `key`, to the next space; moves `at` behind that space.
fn field<'a>(bytes: &'a [u8], at: &mut usize, key: &[u8]) -> Result<&'a [u8], Corrupt> {
    let rest = bytes.get(*at..).ok_or(Corrupt::Truncated)?;
    let rest = &rest[..rest.len().min(HEADER_BYTES_MAX)];
    let end = rest
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or(Corrupt::Truncated)?;
    let value = rest[..end].strip_prefix(key).ok_or(Corrupt::Header)?;
    if value.is_empty() || !value.iter().copied().all(is_stream_byte) {
        return Err(Corrupt::Header);
    }
    *at += end + 1;
    Ok(value)
}

fn is_stream_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/')
}

fn number(digits: &[u8]) -> Result<u64, Corrupt> {
    digits.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte
            .is_ascii_digit()
            .then(|| u64::from(byte - b'0'))
            .ok_or(Corrupt::Header)?;
        sum.checked_mul(10)
            .and_then(|tens| tens.checked_add(digit))
            .ok_or(Corrupt::Header)
    })
}

fn hex(digits: &[u8]) -> Result<u32, Corrupt> {
    let text = std::str::from_utf8(digits).map_err(|_| Corrupt::Header)?;
    u32::from_str_radix(text, 16).map_err(|_| Corrupt::Header)
}

/// FNV-1a over words of eight bytes instead of single ones: the sink verifies hundreds of MB per second.
fn checksum(header: &[u8], padding: &[u8]) -> u32 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    for part in [header, padding] {
        let mut words = part.chunks_exact(8);
        for word in &mut words {
            sum = (sum ^ u64::from_le_bytes(word.try_into().expect("eight bytes"))).wrapping_mul(PRIME);
            sum ^= sum >> 29;
        }
        for &byte in words.remainder() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        sum = (sum ^ part.len() as u64).wrapping_mul(PRIME);
    }
    (crate::chance::mix(sum) >> 32) as u32
}

fn push_padding(out: &mut String, seq: u64, pad: usize) {
    let mut from = (seq % PADDING.len() as u64) as usize;
    let mut left = pad;
    while left > 0 {
        let take = left.min(PADDING.len() - from);
        out.push_str(&PADDING[from..from + take]);
        left -= take;
        from = 0;
    }
}

#[cfg(test)]
mod tests;
