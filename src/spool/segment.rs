//! The bytes of a segment enter; where its whole frames lie, and how much is damaged, leaves.
//!
//! A torn tail is cut. A frame whose content is damaged is skipped by its length; when the length
//! itself is damaged, the next frame is found by its magic. Later frames always survive.

use super::frame::{self, Damage};

/// A whole frame in a segment.
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
}

/// What a segment holds.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Scan {
    /// Its whole frames, in order.
    pub frames: Vec<Found>,
    /// Places where damage begins.
    pub damaged: Vec<u64>,
    /// Where the last whole frame ends.
    pub end: u64,
}

/// Looks through the bytes of a whole segment.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut at = 0;
    while at < bytes.len() {
        match frame::decode(&bytes[at..]) {
            Ok(frame) => {
                let len = frame::header(&bytes[at..]).map_or(0, |header| header.frame_len());
                scan.frames.push(Found {
                    sequence: frame.sequence,
                    offset: at as u64,
                    len,
                    documents: frame.body.documents() as u64,
                    source_bytes: frame.body.source_bytes(),
                    lane: frame.lane,
                });
                at += len as usize;
                scan.end = at as u64;
            }
            Err(damage) => {
                scan.damaged.push(at as u64);
                at = next_frame(bytes, at, damage);
            }
        }
    }
    scan
}

/// Where to go on after damage at `at`.
fn next_frame(bytes: &[u8], at: usize, damage: Damage) -> usize {
    if damage == Damage::Content
        && let Ok(header) = frame::header(&bytes[at..])
    {
        return at + header.frame_len() as usize;
    }
    memchr::memmem::find(&bytes[at + 1..], &frame::MAGIC).map_or(bytes.len(), |found| at + 1 + found)
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::body;
    use super::*;

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
            let scan = scan(&bytes[..bytes.len() - cut]);
            assert_eq!(sequences(&scan), [0, 1]);
            assert_eq!((scan.end as usize, scan.damaged.len()), (2 * one, 1));
        }
    }

    #[test]
    fn frames_after_any_flipped_bit_survive() {
        let (bytes, one) = segment(3);
        for bit in 0..one * 8 {
            let mut flipped = bytes.clone();
            flipped[one + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sequences(&scan(&flipped)), [0, 2], "bit {bit}");
        }
    }

    #[test]
    fn a_whole_segment_has_no_damage() {
        let (bytes, _) = segment(3);
        let scan = scan(&bytes);
        assert_eq!(
            (scan.frames.len(), scan.damaged.len(), scan.end as usize),
            (3, 0, bytes.len())
        );
        assert_eq!(scan.frames[0].source_bytes, 200);
    }
}
