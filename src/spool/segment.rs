//! A segment is read, header by header; where its frames lie, and where it is damaged, leaves.
//!
//! Bodies are not read here (a 1 GB spool opens in a moment): their checksums are verified when they
//! are read, or by [`is_whole`]. A frame is skipped by its length; only where a header is damaged, so
//! that there is no length, the next header is searched for. Later frames always survive.
//! Frames of version 1 are read whole: their headers do not tell the source bytes.

use super::frame::{self, HEADER_LEN, Header, MAGIC};
use std::io;

/// Reads at an offset until the buffer is full or the segment ends.
pub type ReadAt<'a> = dyn FnMut(&mut [u8], u64) -> io::Result<usize> + 'a;

/// How much is read at once to find a header.
const CHUNK: usize = 64 << 10;
/// Lanes are index names: at most 255 bytes.
const LANE_GUESS: usize = 256;
/// What a disk fails to read by.
const SECTOR: usize = 512;

/// A frame in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The frame's number.
    pub sequence: u64,
    /// Where it starts.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// The index on hold for which it was written.
    pub lane: Option<String>,
    /// Its documents.
    pub documents: u64,
    /// Their source bytes.
    pub source_bytes: u64,
    /// Everything before it in the segment was synced.
    pub starts_group: bool,
    /// Its documents were in a request before they were spooled.
    pub sent: bool,
}

impl Found {
    /// Offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// A byte range of a segment that is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Offset of the first byte.
    pub from: u64,
    /// Offset after the last byte.
    pub to: u64,
}

/// What a segment holds.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Scan {
    /// Its frames, in order.
    pub frames: Vec<Found>,
    /// What is damaged, in order.
    pub damaged: Vec<Gap>,
}

/// Looks through the first `len` bytes of a segment. `known` are gaps that are passed over.
pub fn scan(read: &mut ReadAt<'_>, len: u64, known: &[Gap]) -> Scan {
    let mut scan = Scan::default();
    let mut at = 0;
    while at < len {
        if let Some(gap) = known.iter().find(|gap| gap.from <= at && at < gap.to) {
            at = gap.to;
        } else if let Some(found) = frame_at(read, at, len) {
            at = found.end();
            scan.frames.push(found);
        } else {
            let to = next_header(read, at + 1, len);
            scan.damaged.push(Gap { from: at, to });
            at = to;
        }
    }
    scan
}

/// Whether the bytes of a frame are those that were written.
pub fn is_whole(read: &mut ReadAt<'_>, found: &Found) -> bool {
    let bytes = bytes_at(read, found.offset, found.len as usize);
    frame::decode(&bytes).is_ok_and(|frame| frame.sequence == found.sequence)
}

/// The frame that begins at `at`, when its header is whole and it ends before `len`.
fn frame_at(read: &mut ReadAt<'_>, at: u64, len: u64) -> Option<Found> {
    let mut bytes = bytes_at(read, at, HEADER_LEN + LANE_GUESS);
    let header = frame::header(&bytes).ok()?;
    if header.frame_len() > len - at {
        return None;
    }
    let lane_at = header.header_len() as usize;
    let lane_end = lane_at + header.lane_len() as usize;
    if lane_end > bytes.len() {
        bytes = bytes_at(read, at, lane_end);
    }
    Some(Found {
        sequence: header.sequence,
        offset: at,
        len: header.frame_len(),
        lane: header.lane(bytes.get(lane_at..).unwrap_or_default()),
        documents: header.documents(),
        source_bytes: source_bytes(read, at, &header)?,
        starts_group: header.starts_group(),
        sent: header.was_sent(),
    })
}

fn source_bytes(read: &mut ReadAt<'_>, at: u64, header: &Header) -> Option<u64> {
    header.source_bytes().or_else(|| {
        let frame = frame::decode(&bytes_at(read, at, header.frame_len() as usize)).ok()?;
        Some(frame.body.source_bytes())
    })
}

/// Up to `len` bytes from `at`; zeros where they cannot be read.
fn bytes_at(read: &mut ReadAt<'_>, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let filled = read(&mut bytes, at).unwrap_or_else(|_| {
        let mut filled = 0;
        while filled < len {
            // A disk fails by the sector: what lies beside a bad one is still there.
            let piece = SECTOR - (at as usize + filled) % SECTOR;
            let piece = &mut bytes[filled..(filled + piece).min(len)];
            match read(piece, at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(_) => {
                    piece.fill(0);
                    filled += piece.len();
                }
            }
        }
        filled
    });
    bytes.truncate(filled);
    bytes
}

/// Where the next whole header begins, at or after `from`; `len` when there is none.
fn next_header(read: &mut ReadAt<'_>, from: u64, len: u64) -> u64 {
    let mut chunk_at = from;
    while chunk_at < len {
        let bytes = bytes_at(read, chunk_at, CHUNK + HEADER_LEN - 1);
        let found = memchr::memmem::find_iter(&bytes, &MAGIC).find(|at| frame::header(&bytes[*at..]).is_ok());
        if let Some(at) = found {
            return (chunk_at + at as u64).min(len);
        }
        chunk_at += CHUNK as u64;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::body;
    use super::*;

    fn scan_all(bytes: &[u8]) -> Scan {
        scan(
            &mut |buffer, at| Ok(slice_at(bytes, buffer, at)),
            bytes.len() as u64,
            &[],
        )
    }

    fn slice_at(bytes: &[u8], buffer: &mut [u8], at: u64) -> usize {
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        len
    }

    fn segment(frames: u64) -> (Vec<u8>, usize) {
        let one = frame::encode(0, None, &body(2)).len();
        (
            (0..frames)
                .flat_map(|sequence| frame::encode(sequence, None, &body(2)))
                .collect(),
            one,
        )
    }

    fn sequences(scan: &Scan) -> Vec<u64> {
        scan.frames.iter().map(|found| found.sequence).collect()
    }

    #[test]
    fn a_torn_tail_is_cut() {
        let (bytes, one) = segment(3);
        for cut in 1..one {
            let scan = scan_all(&bytes[..bytes.len() - cut]);
            assert_eq!(sequences(&scan), [0, 1]);
            let (from, to) = (2 * one as u64, (bytes.len() - cut) as u64);
            assert_eq!(scan.damaged, [Gap { from, to }]);
        }
    }

    #[test]
    fn frames_after_any_flipped_bit_survive() {
        let (bytes, one) = segment(3);
        for bit in 0..one * 8 {
            let mut flipped = bytes.clone();
            flipped[one + bit / 8] ^= 1 << (bit % 8);
            let scan = scan_all(&flipped);
            if bit / 8 < HEADER_LEN {
                assert_eq!(sequences(&scan), [0, 2], "bit {bit}");
                let (from, to) = (one as u64, 2 * one as u64);
                assert_eq!(scan.damaged, [Gap { from, to }]);
            } else {
                assert_eq!(sequences(&scan), [0, 1, 2], "bit {bit}");
                let mut read = |buffer: &mut [u8], at| Ok(slice_at(&flipped, buffer, at));
                let whole: Vec<bool> = scan
                    .frames
                    .iter()
                    .map(|found| is_whole(&mut read, found))
                    .collect();
                assert_eq!(whole, [true, false, true], "bit {bit}");
            }
        }
    }

    #[test]
    fn bodies_are_not_read() {
        let big = crate::record::Body {
            bytes: vec![7; 1 << 20].into(),
            ..body(2)
        };
        let bytes: Vec<u8> = (0..4)
            .flat_map(|sequence| frame::encode(sequence, Some("logs-a"), &big))
            .collect();
        let mut total = 0;
        let mut read = |buffer: &mut [u8], at| {
            let len = slice_at(&bytes, buffer, at);
            total += len;
            Ok(len)
        };
        let scan = scan(&mut read, bytes.len() as u64, &[]);
        assert_eq!(sequences(&scan), [0, 1, 2, 3]);
        assert_eq!(scan.frames[3].lane.as_deref(), Some("logs-a"));
        assert_eq!((scan.frames[3].documents, scan.frames[3].source_bytes), (2, 200));
        assert!(total < 2000, "{total}");
    }

    #[test]
    fn frames_of_version_1_are_found_and_known_gaps_are_passed_over() {
        let old = include_bytes!("../../tests/golden/spool/frame-v1");
        let bytes = [&old[..], &[0; 10], &frame::encode(8, None, &body(2))].concat();
        let scan = scan_all(&bytes);
        assert_eq!(sequences(&scan), [7, 8]);
        assert_eq!(
            (scan.frames[0].lane.as_deref(), scan.frames[0].source_bytes),
            (Some("logs-a"), 300)
        );
        let known = [
            Gap {
                from: 0,
                to: old.len() as u64,
            },
            scan.damaged[0],
        ];
        let mut read = |buffer: &mut [u8], at| Ok(slice_at(&bytes, buffer, at));
        let again = super::scan(&mut read, bytes.len() as u64, &known);
        assert_eq!((sequences(&again), again.damaged), (vec![8], vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_damage_and_what_follows_is_found() {
        let (bytes, one) = segment(20);
        let broken = 512..1024;
        let mut read = |buffer: &mut [u8], at: u64| {
            if at < broken.end && broken.start < at + buffer.len() as u64 {
                return Err(io::Error::other("a bad sector"));
            }
            Ok(slice_at(&bytes, buffer, at))
        };
        let scan = scan(&mut read, bytes.len() as u64, &[]);
        let header_is_readable = |at: &u64| {
            let at = at * one as u64;
            at + HEADER_LEN as u64 <= broken.start || broken.end <= at
        };
        assert_eq!(
            sequences(&scan),
            (0..20).filter(header_is_readable).collect::<Vec<_>>()
        );
        assert!(scan.damaged.len() == 1 && scan.frames.len() < 20);
        let whole = scan
            .frames
            .iter()
            .filter(|found| is_whole(&mut read, found))
            .count();
        assert!(whole >= scan.frames.len() - 1 && whole > 10, "{whole}");
    }
}
