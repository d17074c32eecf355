//! One body ⇄ the bytes of one frame. Little-endian. Version 2 is written, version 1 can be read.
//!
//! ```text
//! version 2, 64 bytes:
//!  0       8       10      12       20       28     32      36     40     44      48     52      56     60
//!  | magic | vers. | flags | seq.   | source | lane | files | rows | body | infl. | crc  | crc   | crc  | crc    |
//!  |  8 B  |  u16  |  u16  |  u64   |  u64   | u32  | u32   | u32  | u32  | u32   | lane | table | body | header |
//! version 1, 48 bytes:
//!  0       8       10      12       20     24      28     32     36      40     44
//!  | magic | vers. | flags | seq.   | lane | files | rows | body | infl. | crc  | crc    |
//!  |  8 B  |  u16  |  u16  |  u64   | u32  | u32   | u32  | u32  | u32   | rest | header |
//! then: lane (UTF-8) · table: files (16 B each), rows (20 B each) · body
//! ```
//!
//! `source` is the sum of the documents' source bytes. `lane`, `body`, `infl.` are lengths in bytes,
//! `files` and `rows` are counts. The header's CRC covers what stands before it; each part has its own,
//! so that a start reads headers only, and what is lost can be named when a body is damaged.
//! Flag 1: the body is gzip. Flag 2: everything before this frame in its segment was synced. Flag 4: the
//! documents were in a request before they came here.
//!
//! A frame whose lane is damaged is whole: it has no lane then, and its documents name their index.

use crate::record::{Body, Encoding, FileId, Row};
use bytes::Bytes;

/// First bytes of every frame; not valid UTF-8, so no lane or text body holds them by chance.
pub const MAGIC: [u8; 8] = [0x89, b'L', b'S', b'H', 0xf3, b'F', b'R', 0x0a];
/// Length of the header that is written; none is longer.
pub const HEADER_LEN: usize = 64;

const HEADER_LEN_V1: usize = 48;
const VERSION: u16 = 2;
const GZIP: u16 = 1;
const STARTS_GROUP: u16 = 2;
const SENT: u16 = 4;
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
    source_bytes: Option<u64>,
    lane_len: u32,
    files: u32,
    rows: u32,
    body_len: u32,
    inflated_len: u32,
    checks: Checks,
}

/// The checksums of what follows the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checks {
    /// Version 1: one for everything.
    Rest(u32),
    Parts {
        lane: u32,
        table: u32,
        body: u32,
    },
}

impl Header {
    /// Length of the header itself: where the lane begins.
    pub fn header_len(&self) -> u64 {
        match self.checks {
            Checks::Rest(_) => HEADER_LEN_V1 as u64,
            Checks::Parts { .. } => HEADER_LEN as u64,
        }
    }

    /// Length of the lane.
    pub fn lane_len(&self) -> u64 {
        u64::from(self.lane_len)
    }

    /// Length of the table, which follows the lane.
    pub fn table_len(&self) -> u64 {
        u64::from(self.files) * FILE_LEN as u64 + u64::from(self.rows) * ROW_LEN as u64
    }

    /// Length of the whole frame.
    pub fn frame_len(&self) -> u64 {
        self.header_len() + self.lane_len() + self.table_len() + u64::from(self.body_len)
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        u64::from(self.rows)
    }

    /// Source bytes of all documents; `None` in version 1, where only the table tells them.
    pub fn source_bytes(&self) -> Option<u64> {
        self.source_bytes
    }

    /// True when its documents were in a request before they were spooled.
    pub fn was_sent(&self) -> bool {
        self.flags & SENT != 0
    }

    /// True when everything before this frame in its segment was synced when it was written.
    pub fn starts_group(&self) -> bool {
        self.flags & STARTS_GROUP != 0
    }

    /// The lane, from the bytes that follow the header; none when they are damaged.
    pub fn lane(&self, bytes: &[u8]) -> Option<String> {
        let lane = bytes.get(..self.lane_len as usize)?;
        if let Checks::Parts { lane: crc, .. } = self.checks
            && crc32fast::hash(lane) != crc
        {
            return None;
        }
        let lane = std::str::from_utf8(lane).ok()?;
        (!lane.is_empty()).then(|| lane.to_owned())
    }

    /// The files and rows, from the bytes of the table; `None` when they are damaged.
    pub fn table(&self, bytes: &[u8]) -> Option<(Vec<FileId>, Vec<Row>)> {
        let table = bytes.get(..self.table_len() as usize)?;
        if let Checks::Parts { table: crc, .. } = self.checks
            && crc32fast::hash(table) != crc
        {
            return None;
        }
        let (files, rows) = table.split_at(self.files as usize * FILE_LEN);
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
            .all(|row| row.end <= self.inflated_len && (row.file as usize) < files.len());
        (ends_ascend && in_range).then_some((files, rows))
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

/// How long the frame of a body will be.
pub fn encoded_len(lane: Option<&str>, body: &Body) -> u64 {
    let table = body.files.len() * FILE_LEN + body.rows.len() * ROW_LEN;
    (HEADER_LEN + lane.map_or(0, str::len) + table + body.bytes.len()) as u64
}

/// The bytes of a frame that shares its sync with the one before.
pub fn encode(sequence: u64, lane: Option<&str>, body: &Body) -> Vec<u8> {
    encode_marked(sequence, Marks::default(), lane, body)
}

/// What a frame says of itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Marks {
    /// Everything before it in its segment is synced.
    pub starts_group: bool,
    /// Its documents were in a request before.
    pub sent: bool,
}

/// The bytes of a frame.
pub fn encode_marked(sequence: u64, marks: Marks, lane: Option<&str>, body: &Body) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_len(lane, body) as usize);
    out.resize(HEADER_LEN, 0);
    let lane = lane.unwrap_or_default().as_bytes();
    out.extend_from_slice(lane);
    let table = out.len();
    for file in &body.files {
        out.extend_from_slice(&file.0.to_le_bytes());
    }
    for row in &body.rows {
        out.extend_from_slice(&row.end.to_le_bytes());
        out.extend_from_slice(&row.file.to_le_bytes());
        out.extend_from_slice(&row.start.to_le_bytes());
        out.extend_from_slice(&row.source_bytes.to_le_bytes());
    }
    let checks = [
        crc32fast::hash(lane),
        crc32fast::hash(&out[table..]),
        crc32fast::hash(&body.bytes),
    ];
    out.extend_from_slice(&body.bytes);
    let gzip = if body.encoding == Encoding::Gzip { GZIP } else { 0 };
    let group = if marks.starts_group { STARTS_GROUP } else { 0 };
    let sent = if marks.sent { SENT } else { 0 };
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(gzip | group | sent).to_le_bytes());
    header.extend_from_slice(&sequence.to_le_bytes());
    header.extend_from_slice(&body.source_bytes().to_le_bytes());
    let lengths = [lane.len(), body.files.len(), body.rows.len(), body.bytes.len()];
    for value in lengths
        .map(|length| length as u32)
        .into_iter()
        .chain([body.inflated_len])
        .chain(checks)
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
    let whole = |len: usize| {
        let head = bytes.get(..len).ok_or(Damage::Torn)?;
        let (head, crc) = head.split_at(len - 4);
        if crc32fast::hash(head).to_le_bytes() == crc {
            Ok(head)
        } else {
            Err(Damage::Header)
        }
    };
    let start = bytes.get(..10).ok_or(Damage::Torn)?;
    let header = match (start.starts_with(&MAGIC), start[8], start[9]) {
        (true, 1, 0) => header_v1(whole(HEADER_LEN_V1)?),
        (true, 2, 0) => header_v2(whole(HEADER_LEN)?),
        _ => return Err(Damage::Header),
    };
    if header.frame_len() > MAX_LEN {
        Err(Damage::Header)
    } else {
        Ok(header)
    }
}

fn header_v1(head: &[u8]) -> Header {
    Header {
        sequence: u64_at(head, 12),
        flags: u16_at(head, 10) & GZIP,
        source_bytes: None,
        lane_len: u32_at(head, 20),
        files: u32_at(head, 24),
        rows: u32_at(head, 28),
        body_len: u32_at(head, 32),
        inflated_len: u32_at(head, 36),
        checks: Checks::Rest(u32_at(head, 40)),
    }
}

fn header_v2(head: &[u8]) -> Header {
    Header {
        sequence: u64_at(head, 12),
        flags: u16_at(head, 10),
        source_bytes: Some(u64_at(head, 20)),
        lane_len: u32_at(head, 28),
        files: u32_at(head, 32),
        rows: u32_at(head, 36),
        body_len: u32_at(head, 40),
        inflated_len: u32_at(head, 44),
        checks: Checks::Parts {
            lane: u32_at(head, 48),
            table: u32_at(head, 52),
            body: u32_at(head, 56),
        },
    }
}

/// The frame at the start of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Frame, Damage> {
    let header = header(bytes)?;
    let rest = bytes
        .get(header.header_len() as usize..header.frame_len() as usize)
        .ok_or(Damage::Torn)?;
    let (lane, content) = rest.split_at(header.lane_len as usize);
    let (table, body) = content.split_at(header.table_len() as usize);
    let is_whole = match header.checks {
        Checks::Rest(crc) => crc32fast::hash(rest) == crc,
        Checks::Parts { body: crc, .. } => crc32fast::hash(body) == crc,
    };
    let (files, rows) = header.table(table).filter(|_| is_whole).ok_or(Damage::Content)?;
    let encoding = if header.flags & GZIP == GZIP {
        Encoding::Gzip
    } else {
        Encoding::Identity
    };
    let body = Body {
        bytes: Bytes::copy_from_slice(body),
        encoding,
        inflated_len: header.inflated_len,
        rows,
        files,
    };
    Ok(Frame {
        sequence: header.sequence,
        lane: header.lane(lane),
        body,
    })
}

fn row(bytes: &[u8; ROW_LEN]) -> Row {
    Row {
        end: u32_at(bytes, 0),
        file: u32_at(bytes, 4),
        start: u64_at(bytes, 8),
        source_bytes: u32_at(bytes, 16),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
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
        let lane = HEADER_LEN..HEADER_LEN + "logs-a".len();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match decode(&flipped) {
                Err(_) => assert!(!lane.contains(&(bit / 8)), "bit {bit}"),
                Ok(frame) => {
                    assert!(lane.contains(&(bit / 8)), "bit {bit}");
                    assert_eq!((frame.lane, frame.body), (None, body(3)), "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn version_1_is_read_as_released() {
        let frame = decode(include_bytes!("../../tests/golden/spool/frame-v1")).unwrap();
        assert_eq!(
            (frame.sequence, frame.lane.as_deref(), frame.body),
            (7, Some("logs-a"), body(3))
        );
    }

    #[test]
    fn version_2_is_as_released() {
        let golden = include_bytes!("../../tests/golden/spool/frame-v2");
        let marks = Marks {
            starts_group: true,
            sent: false,
        };
        assert_eq!(&encode_marked(7, marks, Some("logs-a"), &body(3)), golden);
        let header = header(golden).unwrap();
        assert!(header.starts_group());
        assert_eq!((header.documents(), header.source_bytes()), (3, Some(300)));
        assert_eq!(header.frame_len(), encoded_len(Some("logs-a"), &body(3)));
        assert_eq!(golden.len() as u64, header.frame_len());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&[&MAGIC[..], &bytes].concat());
        }
    }
}
