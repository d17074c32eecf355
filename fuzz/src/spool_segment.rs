//! Segments: any bytes; frames that are written and then damaged. Frames that were not touched come back byte for byte.

use crate::input::Input;
use bytes::Bytes;
use longshore::codec::gzip::{compressor, inflate};
use longshore::record::{Body, FileId, Row};
use longshore::spool::frame::{self, Frame, Marks};
use longshore::spool::segment::{self, Found, Scan};
use std::io;
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
        check(input.rest(), &(0..0));
    } else {
        damaged(input);
    }
}

/// A segment in memory, as a scan reads it; there may be a range that the disk fails to read.
fn reader<'a>(
    bytes: &'a [u8],
    bad: &Range<usize>,
) -> impl FnMut(&mut [u8], u64) -> io::Result<usize> + use<'a> {
    let bad = bad.clone();
    move |buffer, at| {
        if bad.start < at as usize + buffer.len() && (at as usize) < bad.end {
            return Err(io::ErrorKind::Other.into());
        }
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// The scan of a segment, after it was checked: frames and gaps lie side by side, and what it tells is true.
fn check(bytes: &[u8], bad: &Range<usize>) -> Scan {
    let len = bytes.len() as u64;
    let scan = segment::scan(&mut reader(bytes, bad), len, &[]);
    let frames = scan.frames.iter().map(|found| (found.offset, found.end()));
    let mut places: Vec<(u64, u64)> = frames
        .chain(scan.damaged.iter().map(|gap| (gap.from, gap.to)))
        .collect();
    places.sort_unstable();
    let end = places.iter().fold(0, |at, (from, to)| {
        assert!(at == *from && from < to, "{places:?}");
        *to
    });
    assert_eq!(end, len, "bytes that nobody accounts for");
    // What cannot be read counts as zeros.
    let mut seen = bytes.to_vec();
    seen[bad.start.min(bytes.len())..bad.end.min(bytes.len())].fill(0);
    for found in &scan.frames {
        let frame = &seen[found.offset as usize..found.end() as usize];
        told(found, frame);
        assert_eq!(
            segment::is_whole(&mut reader(bytes, bad), found),
            frame::decode(frame).is_ok()
        );
    }
    let again = segment::scan(&mut reader(bytes, bad), len, &scan.damaged);
    assert_eq!(again.frames, scan.frames);
    assert_eq!(again.damaged, []);
    scan
}

/// What a scan tells of a frame, by its header, is what the frame says when all of it is read.
fn told(found: &Found, bytes: &[u8]) {
    let Ok(frame) = frame::decode(bytes) else {
        return;
    };
    let documents = frame.body.documents() as u64;
    assert_eq!(
        (found.sequence, &found.lane, found.documents),
        (frame.sequence, &frame.lane, documents)
    );
    let marks = Marks {
        starts_group: found.starts_group,
        sent: found.sent,
    };
    let again = frame::encode_marked(frame.sequence, marks, frame.lane.as_deref(), &frame.body);
    assert_eq!(frame::decode(&again).as_ref(), Ok(&frame));
    assert_eq!(
        frame::encoded_len(frame.lane.as_deref(), &frame.body),
        again.len() as u64
    );
    if let Ok(text) = inflate(&frame.body) {
        assert_eq!(text.len(), frame.body.inflated_len as usize);
    }
}

fn damaged(mut input: Input<'_>) {
    let mut bytes = Vec::new();
    let frames: Vec<Written> = (0..1 + input.below(4))
        .map(|_| write(&mut input, &mut bytes))
        .collect();
    assert_eq!(check(&bytes, &(0..0)).frames.len(), frames.len());
    let (mut touched, mut bad) = (Vec::new(), 0..0);
    for _ in 0..input.below(8) {
        touched.push(damage(&mut input, &mut bytes));
    }
    if input.byte() & 1 == 1 {
        // A disk fails by the sector.
        let at = usize::from(input.short()) % (bytes.len() + 1) / 512 * 512;
        bad = at..at + 512;
        touched.push(bad.clone());
    }
    misfit(&mut input, &frames[0]);
    let scan = check(&bytes, &bad);
    // A whole header in the wrong place is believed: it is passed over by the length that it tells.
    let misplaced = |found: &&Found| {
        !frames
            .iter()
            .any(|frame| frame.place.start as u64 == found.offset)
    };
    let others = |found: &&Found| {
        let place = frames
            .iter()
            .find(|frame| frame.place.start as u64 == found.offset);
        place.is_some_and(|frame| frame.place.end as u64 != found.end())
    };
    if scan
        .frames
        .iter()
        .any(|found| misplaced(&found) || others(&found))
    {
        return;
    }
    for Written { place, frame, text } in &frames {
        let hit = |touched: &Range<usize>| touched.start < place.end && place.start < touched.end;
        if touched.iter().any(hit) || place.end > bytes.len() {
            continue;
        }
        let found = scan
            .frames
            .iter()
            .find(|found| found.offset == place.start as u64);
        let Some(found) = found else {
            panic!(
                "lost frame {} at {place:?}, though damage is at {touched:?}",
                frame.sequence
            )
        };
        assert!(segment::is_whole(&mut reader(&bytes, &bad), found));
        assert_eq!(found.source_bytes, frame.body.source_bytes());
        assert_eq!(frame::decode(&bytes[place.start..]).as_ref(), Ok(frame));
        assert_eq!(inflate(&frame.body).as_ref(), Ok(text));
    }
}

/// A body that went wrong before its checksum was made, as memory does it, is told from a whole one.
fn misfit(input: &mut Input<'_>, Written { frame, text, .. }: &Written) {
    let whole = &frame.body;
    let len = whole.bytes.len() - usize::from(input.short()) % (whole.bytes.len() + 1);
    let body = Body {
        bytes: whole.bytes.slice(..len),
        inflated_len: u32::from(input.short()),
        ..whole.clone()
    };
    match inflate(&body) {
        Ok(found) => {
            assert_eq!(found.len(), body.inflated_len as usize);
            assert!(text.starts_with(&found));
        }
        Err(told) => assert_eq!((told.bytes, told.expected), (len, body.inflated_len)),
    }
}

/// Appends one frame.
fn write(input: &mut Input<'_>, bytes: &mut Vec<u8>) -> Written {
    let mut compressor = compressor(input.byte() % 10).another();
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
    let shape = input.byte();
    let marks = Marks {
        starts_group: shape & 1 == 1,
        sent: shape & 2 == 2,
    };
    bytes.extend(frame::encode_marked(sequence, marks, lane.as_deref(), &body));
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
