//! One body ⇄ the bytes of one frame. Little-endian, version 1.
//!
//! ```text
//!  0       8       10      12       20       24       28       32       36      40      44
//!  | magic | vers. | flags | sequence | lane | files  | rows   | body   | infl. | crc   | crc    |
//!  |  8 B  |  u16  |  u16  |   u64    | u32  | u32    | u32    | u32    | u32   | rest  | header |
//!  then: lane (UTF-8) · files (16 B each) · rows (20 B each) · body
//! ```
//!
//! `lane`, `body`, `infl.` are lengths in bytes, `files` and `rows` are counts. The header's CRC
//! covers bytes 0..44, the other one everything after the header. Flag 1: the body is gzip.

use crate::record::{Body, Encoding, FileId, Row};
use bytes::Bytes;

/// First bytes of every frame; not valid UTF-8, so no lane or text body holds them by chance.
pub const MAGIC: [u8; 8] = [0x89, b'L', b'S', b'H', 0xf3, b'F', b'R', 0x0a];
/// Length of the header.
pub const HEADER_LEN: usize = 48;

const VERSION: u16 = 1;
const GZIP: u16 = 1;
const FILE_LEN: usize = 16;
const ROW_LEN: usize = 20;
/// A frame longer than this is damage: bodies are bounded by the batch limits.
const MAX_LEN: u64 = 1 << 30;

/// What the header of a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The frame's number.
    pub sequence: u64,
    flags: u16,
    lane_len: u32,
    files: u32,
    rows: u32,
    body_len: u32,
    inflated_len: u32,
    crc: u32,
}

impl Header {
    /// Length of the whole frame.
    pub fn frame_len(&self) -> u64 {
        HEADER_LEN as u64
            + u64::from(self.lane_len)
            + u64::from(self.files) * FILE_LEN as u64
            + u64::from(self.rows) * ROW_LEN as u64
            + u64::from(self.body_len)
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The bytes end too early.
    #[error("the frame is torn")]
    Torn,
    /// Magic, version, header checksum or lengths are wrong.
    #[error("the frame's header is damaged")]
    Header,
    /// The header is whole and what follows is not.
    #[error("checksum mismatch in the frame")]
    Content,
}

/// A decoded frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its number.
    pub sequence: u64,
    /// The index on hold for which it was written.
    pub lane: Option<String>,
    /// The documents.
    pub body: Body,
}

/// The bytes of a frame.
pub fn encode(sequence: u64, lane: Option<&str>, body: &Body) -> Vec<u8> {
    let lane = lane.unwrap_or_default().as_bytes();
    let mut out = Vec::with_capacity(
        HEADER_LEN + lane.len() + body.files.len() * FILE_LEN + body.rows.len() * ROW_LEN + body.bytes.len(),
    );
    out.resize(HEADER_LEN, 0);
    out.extend_from_slice(lane);
    for file in &body.files {
        out.extend_from_slice(&file.0.to_le_bytes());
    }
    for row in &body.rows {
        out.extend_from_slice(&row.end.to_le_bytes());
        out.extend_from_slice(&row.file.to_le_bytes());
        out.extend_from_slice(&row.start.to_le_bytes());
        out.extend_from_slice(&row.source_bytes.to_le_bytes());
    }
    out.extend_from_slice(&body.bytes);
    let crc = crc32fast::hash(&out[HEADER_LEN..]);
    let flags = if body.encoding == Encoding::Gzip { GZIP } else { 0 };
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&flags.to_le_bytes());
    header.extend_from_slice(&sequence.to_le_bytes());
    let lengths = [lane.len(), body.files.len(), body.rows.len(), body.bytes.len()];
    for value in lengths
        .map(|length| length as u32)
        .into_iter()
        .chain([body.inflated_len, crc])
    {
        header.extend_from_slice(&value.to_le_bytes());
    }
    let header_crc = crc32fast::hash(&header);
    header.extend_from_slice(&header_crc.to_le_bytes());
    out[..HEADER_LEN].copy_from_slice(&header);
    out
}

/// The header at the start of `bytes`.
pub fn header(bytes: &[u8]) -> Result<Header, Damage> {
    let head: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Damage::Torn)?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let whole = head[..8] == MAGIC && u32_at(44) == crc32fast::hash(&head[..44]) && u16_at(8) == VERSION;
    if !whole {
        return Err(Damage::Header);
    }
    let sequence = u64::from(u32_at(12)) | u64::from(u32_at(16)) << 32;
    let header = Header {
        sequence,
        flags: u16_at(10),
        lane_len: u32_at(20),
        files: u32_at(24),
        rows: u32_at(28),
        body_len: u32_at(32),
        inflated_len: u32_at(36),
        crc: u32_at(40),
    };
    if header.frame_len() > MAX_LEN {
        Err(Damage::Header)
    } else {
        Ok(header)
    }
}

/// The frame at the start of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Frame, Damage> {
    let header = header(bytes)?;
    let rest = bytes
        .get(HEADER_LEN..header.frame_len() as usize)
        .ok_or(Damage::Torn)?;
    if crc32fast::hash(rest) != header.crc {
        return Err(Damage::Content);
    }
    let (lane, rest) = rest.split_at(header.lane_len as usize);
    let (files, rest) = rest.split_at(header.files as usize * FILE_LEN);
    let (rows, body) = rest.split_at(header.rows as usize * ROW_LEN);
    let lane = std::str::from_utf8(lane).map_err(|_| Damage::Content)?;
    let files: Vec<FileId> = files
        .as_chunks()
        .0
        .iter()
        .map(|id| FileId(u128::from_le_bytes(*id)))
        .collect();
    let rows: Vec<Row> = rows.as_chunks::<ROW_LEN>().0.iter().map(row).collect();
    let ends_ascend = rows.windows(2).all(|pair| pair[0].end <= pair[1].end);
    let in_range = rows
        .iter()
        .all(|row| row.end <= header.inflated_len && (row.file as usize) < files.len());
    if !ends_ascend || !in_range {
        return Err(Damage::Content);
    }
    let encoding = if header.flags & GZIP == GZIP {
        Encoding::Gzip
    } else {
        Encoding::Identity
    };
    let bytes = Bytes::copy_from_slice(body);
    let body = Body {
        bytes,
        encoding,
        inflated_len: header.inflated_len,
        rows,
        files,
    };
    let lane = (!lane.is_empty()).then(|| lane.to_owned());
    Ok(Frame {
        sequence: header.sequence,
        lane,
        body,
    })
}

fn row(bytes: &[u8; ROW_LEN]) -> Row {
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let start = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
    Row {
        end: u32_at(0),
        file: u32_at(4),
        start,
        source_bytes: u32_at(16),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small body with `documents` documents of 100 source bytes each.
    pub(crate) fn body(documents: u32) -> Body {
        let text: Vec<u8> = (0..documents)
            .flat_map(|at| format!("doc {at:04}\n").into_bytes())
            .collect();
        let rows = (0..documents).map(|at| Row {
            end: (at + 1) * 9,
            file: 0,
            start: u64::from(at) * 100,
            source_bytes: 100,
        });
        Body {
            inflated_len: text.len() as u32,
            bytes: Bytes::from(text),
            encoding: Encoding::Identity,
            rows: rows.collect(),
            files: vec![FileId(0xabcdef)],
        }
    }

    #[test]
    fn a_frame_is_read_as_written() {
        let frame = decode(&encode(7, Some("logs-a"), &body(3))).unwrap();
        assert_eq!(
            frame,
            Frame {
                sequence: 7,
                lane: Some("logs-a".into()),
                body: body(3)
            }
        );
        assert_eq!(decode(&encode(u64::MAX, None, &body(0))).unwrap().lane, None);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_damage() {
        let bytes = encode(7, Some("logs-a"), &body(3));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn version_1_is_read_as_released() {
        let golden = include_bytes!("../../tests/golden/spool/frame-v1");
        assert_eq!(&encode(7, Some("logs-a"), &body(3)), golden);
        assert!(decode(golden).is_ok());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&[&MAGIC[..], &bytes].concat());
        }
    }
}
