//! Segments: any bytes; frames that are written and then damaged. Frames that were not touched come back byte for byte.

use crate::input::Input;
use bytes::Bytes;
use longshore::codec::gzip::{compressor, inflate};
use longshore::record::{Body, FileId, Row};
use longshore::spool::frame::{self, Frame};
use longshore::spool::segment::{self, Scan};
use std::ops::Range;

/// A frame as it was written.
struct Written {
    place: Range<usize>,
    frame: Frame,
    text: Vec<u8>,
}

/// The first byte chooses the kind of input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() & 1 == 0 {
        let rest = input.rest();
        check(&segment::scan(rest), rest);
    } else {
        damaged(input);
    }
}

/// What a scan tells is true.
fn check(scan: &Scan, bytes: &[u8]) {
    let mut end = 0;
    for found in &scan.frames {
        assert!(found.offset >= end, "frames overlap");
        end = found.offset + found.len;
        let frame = frame::decode(&bytes[found.offset as usize..]).expect("a frame that was found is whole");
        let told = (found.sequence, &found.lane, found.documents, found.source_bytes);
        let held = (frame.body.documents() as u64, frame.body.source_bytes());
        assert_eq!(told, (frame.sequence, &frame.lane, held.0, held.1));
        let again = frame::encode(frame.sequence, frame.lane.as_deref(), &frame.body);
        assert_eq!(frame::decode(&again).as_ref(), Ok(&frame));
        assert_eq!(again.len() as u64, found.len);
        if let Ok(text) = inflate(&frame.body) {
            assert_eq!(text.len(), frame.body.inflated_len as usize);
        }
    }
    assert_eq!(scan.end, end);
    assert!(scan.damaged.is_sorted() && scan.damaged.iter().all(|at| *at < bytes.len() as u64));
    let whole: u64 = scan.frames.iter().map(|found| found.len).sum();
    assert_eq!(
        scan.damaged.is_empty(),
        whole == bytes.len() as u64,
        "bytes that nobody accounts for"
    );
}

fn damaged(mut input: Input<'_>) {
    let mut bytes = Vec::new();
    let frames: Vec<Written> = (0..1 + input.below(4))
        .map(|_| write(&mut input, &mut bytes))
        .collect();
    let mut touched = Vec::new();
    while !input.is_empty() && touched.len() < 8 {
        touched.push(damage(&mut input, &mut bytes));
    }
    let scan = segment::scan(&bytes);
    check(&scan, &bytes);
    for Written { place, frame, text } in &frames {
        let hit = |touched: &Range<usize>| touched.start < place.end && place.start < touched.end;
        if touched.iter().any(hit) || place.end > bytes.len() {
            continue;
        }
        let found = scan
            .frames
            .iter()
            .find(|found| found.offset == place.start as u64);
        assert!(
            found.is_some(),
            "lost frame {} at {place:?}, though damage is at {touched:?}",
            frame.sequence
        );
        assert_eq!(frame::decode(&bytes[place.start..]).as_ref(), Ok(frame));
        assert_eq!(inflate(&frame.body).as_ref(), Ok(text));
    }
}

/// Appends one frame.
fn write(input: &mut Input<'_>, bytes: &mut Vec<u8>) -> Written {
    let mut compressor = compressor(input.byte() % 10);
    let (mut text, mut packed, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let files: Vec<FileId> = (0..1 + input.below(3))
        .map(|_| FileId(input.long().into()))
        .collect();
    for _ in 0..input.below(6) {
        let document = input.bytes();
        text.extend_from_slice(document);
        compressor.push(document, &mut packed);
        rows.push(Row {
            end: text.len() as u32,
            file: input.below(files.len() as u8) as u32,
            start: input.long(),
            source_bytes: input.short().into(),
        });
    }
    compressor.finish(&mut packed);
    let body = Body {
        bytes: Bytes::from(packed),
        encoding: compressor.encoding(),
        inflated_len: text.len() as u32,
        rows,
        files,
    };
    let lane = Some(input.text()).filter(|lane| !lane.is_empty());
    let sequence = input.long();
    let start = bytes.len();
    bytes.extend(frame::encode(sequence, lane.as_deref(), &body));
    let frame = Frame { sequence, lane, body };
    let place = start..bytes.len();
    Written { place, frame, text }
}

/// Damages some bytes where they are, as disks do: the range is returned.
fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) -> Range<usize> {
    let kind = input.byte() % 4;
    let at = usize::from(input.short()) % (bytes.len() + 1);
    let room = bytes.len() - at;
    match kind {
        // A torn tail.
        0 => {
            bytes.truncate(at);
            at..at
        }
        // Blocks that were never written.
        1 => {
            let len = usize::from(input.short()).min(room);
            bytes[at..at + len].fill(0);
            at..at + len
        }
        // A block of another place.
        2 => {
            let from = usize::from(input.short()) % (bytes.len() + 1);
            let len = usize::from(input.short()).min(room).min(bytes.len() - from);
            bytes.copy_within(from..from + len, at);
            at..at + len
        }
        _ => {
            let other = input.bytes();
            let len = other.len().min(room);
            bytes[at..at + len].copy_from_slice(&other[..len]);
            at..at + len
        }
    }
}
