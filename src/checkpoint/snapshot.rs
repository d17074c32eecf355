//! Positions of files ⇄ the bytes of a checkpoint.
//!
//! ```text
//! longshore-checkpoint 1 <crc32 of everything after this line, 8 hex digits> <entries>\n
//! {"namespace":…,"pod":…,"uid":…,"container":…,"restart":…,"fingerprint":…,"epoch":…,"offset":…,…}\n
//! …one line per file…
//! {"total":{"reason":…,"files":…,"bytes":…}}\n     …one line per reason of losses…
//! {"loss":{"reason":…,"container":…,"start":…,"end":…}}\n     …the last losses…
//! ```
//!
//! Version 1. A checkpoint is whole or it is damage: there is nothing in between to trust. Fields
//! are never renamed or given another meaning; new ones have defaults.

use super::losses::{LossRecord, LossTotal, Losses};
use crate::record::{Stamp, Stream};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;

const MAGIC: &str = "longshore-checkpoint";
const VERSION: u32 = 1;
/// So many bytes are written at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What is known of one file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Kubernetes namespace, from the path.
    pub namespace: Arc<str>,
    /// Pod name, from the path.
    pub pod: Arc<str>,
    /// Pod uid, from the path.
    pub uid: Arc<str>,
    /// Container name.
    pub container: Arc<str>,
    /// Restart number.
    pub restart: u32,
    /// Hash of the first line.
    pub fingerprint: u64,
    /// Which of the files that begin alike.
    pub epoch: u32,
    /// Everything before this offset (uncompressed bytes) is delivered or durably kept.
    pub offset: u64,
    /// The size when it was last looked at, in uncompressed bytes.
    pub size: u64,
    /// The file was read to its end and will not grow.
    pub finished: bool,
    /// Device when last seen: a hint.
    pub dev: u64,
    /// Inode when last seen: a hint; 0 for a compressed file.
    pub ino: u64,
    /// Seconds since 1970 when the file was first seen: the time of lines before any stamp.
    pub first_seen: i64,
    /// The last valid stamp before `offset`: seconds and nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stamp: Option<(i64, u32)>,
    /// Hash of the up to 64 bytes before `offset`, when they could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u64>,
    /// Ends of partial groups that were closed by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<CutEntry>,
}

/// Everything that a checkpoint says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Of each file.
    pub entries: Vec<Entry>,
    /// What was never read, since the first start.
    pub losses: Losses,
}

impl From<Vec<Entry>> for Checkpoint {
    fn from(entries: Vec<Entry>) -> Checkpoint {
        Checkpoint {
            entries,
            losses: Losses::default(),
        }
    }
}

/// The lines after the entries.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Total {
        reason: String,
        #[serde(flatten)]
        total: LossTotal,
    },
    Loss(LossRecord),
}

/// What was found at the start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The newest whole generation.
    pub checkpoint: Checkpoint,
    /// True when there was no checkpoint at all: the first start ever.
    pub first_start: bool,
    /// One sentence per generation that was damaged.
    pub damage: Vec<String>,
}

/// A partial group that was closed by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CutEntry {
    /// True for standard error.
    pub stderr: bool,
    /// End of the group's last part in the file.
    pub end: u64,
}

impl CutEntry {
    /// The stream that was cut.
    pub fn stream(self) -> Stream {
        if self.stderr {
            Stream::Stderr
        } else {
            Stream::Stdout
        }
    }
}

impl Entry {
    /// The last valid stamp before the offset.
    pub fn last_stamp(&self) -> Option<Stamp> {
        self.last_stamp.map(|(secs, nanos)| Stamp { secs, nanos })
    }
}

/// Why bytes are not a checkpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Damage {
    /// The first line is not ours.
    #[error("not a checkpoint, or its first line is damaged")]
    Head,
    /// Written by a later version.
    #[error("checkpoint of version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// Bytes differ from those written.
    #[error("checksum mismatch: the checkpoint is torn or damaged")]
    Checksum,
    /// The checksum is right and a line is not an entry.
    #[error("entry {0} cannot be read")]
    Entry(usize),
}

/// The bytes of a checkpoint.
pub fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(()) = write(checkpoint, |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), Infallible>(())
    });
    bytes
}

/// The bytes of a checkpoint, a piece at a time: those of ten thousand files never lie in memory at once. Each line is made
/// twice, because its checksum stands before it.
///
/// # Errors
/// The first one of `out`.
pub fn write<E>(checkpoint: &Checkpoint, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut crc = crc32fast::Hasher::new();
    let Ok(()) = pieces(checkpoint, |piece| {
        crc.update(piece);
        Ok::<(), Infallible>(())
    });
    let (crc, entries) = (crc.finalize(), checkpoint.entries.len());
    out(format!("{MAGIC} {VERSION} {crc:08x} {entries}\n").as_bytes())?;
    pieces(checkpoint, out)
}

/// The lines after the first, in pieces of about [`PIECE_BYTES`].
fn pieces<E>(checkpoint: &Checkpoint, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let Checkpoint { entries, losses } = checkpoint;
    let mut text = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
    for entry in entries {
        push_line(&mut text, entry);
        if text.len() >= PIECE_BYTES {
            out(&text)?;
            text.clear();
        }
    }
    for (reason, total) in &losses.totals {
        let (reason, total) = (reason.clone(), *total);
        push_line(&mut text, &Line::Total { reason, total });
    }
    for record in &losses.records {
        push_line(&mut text, &Line::Loss(record.clone()));
    }
    out(&text)
}

fn push_line(text: &mut Vec<u8>, line: &impl Serialize) {
    // Serialising into memory cannot fail: every field has a JSON form.
    let _ = serde_json::to_writer(&mut *text, line);
    text.push(b'\n');
}

/// What a checkpoint says.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, Damage> {
    let newline = memchr::memchr(b'\n', bytes).ok_or(Damage::Head)?;
    let head = std::str::from_utf8(&bytes[..newline]).map_err(|_| Damage::Head)?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Damage::Head);
    }
    let version: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(Damage::Head)?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let crc = words
        .next()
        .and_then(|word| u32::from_str_radix(word, 16).ok())
        .ok_or(Damage::Head)?;
    let count: usize = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(Damage::Head)?;
    let text = &bytes[newline + 1..];
    if crc32fast::hash(text) != crc {
        return Err(Damage::Checksum);
    }
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut checkpoint = Checkpoint::default();
    for (at, line) in lines.enumerate() {
        if at < count {
            let entry = serde_json::from_slice(line).map_err(|_| Damage::Entry(at))?;
            checkpoint.entries.push(entry);
            continue;
        }
        match serde_json::from_slice(line).map_err(|_| Damage::Entry(at))? {
            Line::Total { reason, total } => drop(checkpoint.losses.totals.insert(reason, total)),
            Line::Loss(record) => checkpoint.losses.records.push_back(record),
        }
    }
    if checkpoint.entries.len() == count {
        Ok(checkpoint)
    } else {
        Err(Damage::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64) -> Entry {
        Entry {
            namespace: "shop".into(),
            pod: "web".into(),
            uid: "u-1".into(),
            container: "app".into(),
            restart: 0,
            fingerprint: 0xfeed,
            epoch: 1,
            offset,
            size: 1000,
            finished: false,
            dev: 1,
            ino: 2,
            first_seen: 1_700_000_000,
            last_stamp: Some((5, 6)),
            mark: Some(u64::MAX),
            cuts: vec![CutEntry {
                stderr: true,
                end: 77,
            }],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let mut checkpoint = Checkpoint::from(vec![entry(1), entry(2)]);
        assert_eq!(decode(&encode(&checkpoint)), Ok(checkpoint.clone()));
        for (reason, start) in [("truncated", 5), ("deleted_unread", 7), ("truncated", 9)] {
            checkpoint.losses.push(LossRecord {
                reason: reason.into(),
                container: "shop_web_u/app".into(),
                file: "ab".into(),
                start,
                end: 10,
                at_least: true,
            });
        }
        assert_eq!(decode(&encode(&checkpoint)), Ok(checkpoint));
        assert_eq!(decode(&encode(&Checkpoint::default())), Ok(Checkpoint::default()));
    }

    #[test]
    fn thousands_of_files_are_written_in_small_pieces() {
        let checkpoint = Checkpoint::from((0..2_000).map(entry).collect::<Vec<_>>());
        let (mut bytes, mut largest) = (Vec::new(), 0);
        let written = write(&checkpoint, |piece| {
            largest = largest.max(piece.len());
            bytes.extend_from_slice(piece);
            Ok::<(), ()>(())
        });
        assert_eq!((written, decode(&bytes)), (Ok(()), Ok(checkpoint.clone())));
        assert!(
            bytes.len() > 5 * largest && largest < 2 * PIECE_BYTES,
            "{largest}"
        );
        let mut room = 3;
        let full = write(&checkpoint, |_| {
            room -= 1;
            if room > 0 { Ok(()) } else { Err("full") }
        });
        assert_eq!((full, room), (Err("full"), 0));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_damage() {
        let bytes = encode(&vec![entry(1), entry(2)].into());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The case of a hex digit is the only thing that may change unseen.
            if let Ok(checkpoint) = decode(&flipped) {
                assert_eq!(checkpoint.entries, [entry(1), entry(2)], "bit {bit}");
            }
        }
    }

    #[test]
    fn version_1_is_read_as_released() {
        let golden = include_bytes!("../../tests/golden/checkpoint/v1");
        assert_eq!(decode(golden), Ok(vec![entry(1), entry(2)].into()));
    }
}
