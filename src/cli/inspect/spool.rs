//! `longshore inspect spool`: segments enter; their frames, what waits in which lane, and damaged places leave.

use super::{Damage, Format, names, read, write_json};
use crate::cli::console::{Console, Failure};
use crate::cli::table::{Flush, Table, visible};
use crate::spool::delivered::{self, Delivered};
use crate::spool::losses::{Reason, Totals};
use crate::spool::ranges::Ranges;
use crate::spool::segment::{self, Found, Gap};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub(super) const HELP: &str = "\
A segment is one file of the spool, a frame is one batch in it, a lane is the index for which a
frame is on hold (- for none). SOURCE BYTES are bytes of the log files. A segment is removed when
all its frames are delivered. LOST is what the spool gave up since the first start. A damaged place
at the end of the last segment may be a frame that is being written now: look again.

Examples:
  longshore inspect spool --frames
  longshore inspect spool --format json | jq '[.frames[] | select(.waiting)] | length'";

#[derive(Debug, clap::Args)]
pub(super) struct SpoolOptions {
    /// List each frame, too (json always does)
    #[arg(long)]
    frames: bool,
    #[command(flatten)]
    shared: super::Options,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    segments: Vec<Segment>,
    frames: Vec<Frame>,
    /// What waits, by lane.
    lanes: Vec<Lane>,
    /// What was given up since the first start, by reason.
    lost: Vec<Lost>,
    damage: Vec<Damage>,
}

#[derive(Debug, Serialize)]
struct Segment {
    number: u64,
    bytes: usize,
    frames: usize,
    waiting: usize,
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    /// Places of damage.
    damaged: usize,
}

#[derive(Debug, Serialize)]
struct Frame {
    sequence: u64,
    segment: u64,
    /// Where it begins in its segment.
    byte: u64,
    bytes: u64,
    lane: Option<String>,
    documents: u64,
    source_bytes: u64,
    /// Whether it is not delivered yet.
    waiting: bool,
}

#[derive(Debug, Serialize)]
struct Lost {
    reason: &'static str,
    frames: u64,
    documents: u64,
    source_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Lane {
    lane: Option<String>,
    frames: usize,
    bytes: u64,
    documents: u64,
    source_bytes: u64,
}

pub(super) fn show(options: &SpoolOptions, console: &mut Console<'_>) -> Result<(), Failure> {
    let folder = options.shared.folder("spool", console)?;
    let report = look(&folder)?;
    match options.shared.format {
        Format::Json => write_json(console.out, &report)?,
        Format::Table => table(&report, options.frames, console.out)?,
    }
    Ok(())
}

fn look(folder: &Path) -> Result<Report, Failure> {
    let mut report = Report::default();
    let delivered = delivered(folder, &mut report.damage);
    let done = delivered.done();
    for name in names(folder)? {
        let number = name
            .strip_suffix(".segment")
            .and_then(|number| number.parse().ok());
        let Some(number) = number else { continue };
        let path = folder.join(&name);
        match read(&path) {
            // Delivered and removed since it was listed.
            Ok(None) => {}
            Ok(Some((bytes, _))) => report.add(number, &path, &bytes, &delivered, &done),
            Err(error) => report.damage.push(Damage::new(&path, None, error)),
        }
    }
    report.lanes = lanes(&report.frames);
    report.lost = lost(&delivered);
    Ok(report)
}

impl Report {
    fn add(&mut self, number: u64, path: &Path, bytes: &[u8], delivered: &Delivered, done: &Ranges) {
        let (frames, damaged) = scan(number, bytes, delivered);
        for (gap, reason) in &damaged {
            self.damage.push(Damage::new(path, Some(gap.from), reason));
        }
        let sequences = || frames.iter().map(|found| found.sequence);
        self.segments.push(Segment {
            number,
            bytes: bytes.len(),
            frames: frames.len(),
            waiting: sequences().filter(|sequence| !done.contains(*sequence)).count(),
            first_sequence: sequences().min(),
            last_sequence: sequences().max(),
            damaged: damaged.len(),
        });
        self.frames.extend(frames.into_iter().map(|found| Frame {
            waiting: !done.contains(found.sequence),
            sequence: found.sequence,
            segment: number,
            byte: found.offset,
            bytes: found.len,
            lane: found.lane,
            documents: found.documents,
            source_bytes: found.source_bytes,
        }));
    }
}

/// The whole frames of a segment, as far as it counts, and what is damaged in it.
fn scan(number: u64, bytes: &[u8], delivered: &Delivered) -> (Vec<Found>, Vec<(Gap, &'static str)>) {
    let mut read = |buffer: &mut [u8], at: u64| {
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    };
    let len = bytes.len() as u64;
    let record = delivered.segments.get(&number);
    let sealed = record.filter(|record| record.sealed);
    let counts = sealed.map_or(len, |record| record.end.min(len));
    let scan = segment::scan(&mut read, counts, &[]);
    // A frame that ends behind the file's end is told once.
    let torn = scan.damaged.last().is_some_and(|gap| gap.to == len);
    let no_frame = |gap: Gap| (gap, "no whole frame begins here");
    let mut damaged: Vec<_> = scan.damaged.into_iter().map(no_frame).collect();
    let (whole, wrong): (Vec<Found>, Vec<Found>) = scan
        .frames
        .into_iter()
        .partition(|found| segment::is_whole(&mut read, found));
    damaged.extend(wrong.into_iter().map(|found| {
        let (from, to) = (found.offset, found.end());
        (Gap { from, to }, "checksum mismatch in the frame")
    }));
    if let Some(record) = record.filter(|record| record.end > len && !torn) {
        let (from, to) = (len, record.end);
        damaged.push((Gap { from, to }, "the segment was longer"));
    }
    damaged.sort_by_key(|(gap, _)| gap.from);
    (whole, damaged)
}

fn lost(delivered: &Delivered) -> Vec<Lost> {
    let lost = Reason::ALL.map(|reason| (reason, delivered.losses.totals(reason)));
    let lost = lost
        .into_iter()
        .filter(|(_, totals)| *totals != Totals::default());
    lost.map(|(reason, totals)| Lost {
        reason: reason.as_str(),
        frames: totals.frames,
        documents: totals.documents,
        source_bytes: totals.source_bytes,
    })
    .collect()
}

fn lanes(frames: &[Frame]) -> Vec<Lane> {
    let mut lanes: BTreeMap<&Option<String>, Lane> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.waiting) {
        let lane = lanes.entry(&frame.lane).or_default();
        lane.lane.clone_from(&frame.lane);
        lane.frames += 1;
        lane.bytes += frame.bytes;
        lane.documents += frame.documents;
        lane.source_bytes += frame.source_bytes;
    }
    lanes.into_values().collect()
}

/// The file `delivered`. Without it, or where it is damaged, frames count as waiting: they are sent again, and
/// Elasticsearch knows their ids.
fn delivered(folder: &Path, damage: &mut Vec<Damage>) -> Delivered {
    let path = folder.join("delivered");
    let bytes = match read(&path) {
        Ok(found) => found.map(|(bytes, _)| bytes),
        Err(error) => {
            damage.push(Damage::new(&path, None, error));
            None
        }
    };
    let Some(bytes) = bytes else {
        return Delivered::default();
    };
    let (delivered, places) = delivered::decode(&bytes);
    damage.extend(
        places
            .iter()
            .map(|place| Damage::new(&path, Some(place.byte), place.what)),
    );
    delivered
}

fn table(report: &Report, with_frames: bool, out: &mut dyn io::Write) -> io::Result<()> {
    if report.segments.is_empty() && report.damage.is_empty() && report.lost.is_empty() {
        return writeln!(out, "the spool is empty");
    }
    for damage in &report.damage {
        writeln!(out, "{}", visible(&damage.to_string()))?;
    }
    segments(&report.segments).write(out)?;
    writeln!(out)?;
    if with_frames {
        frames(&report.frames).write(out)?;
        writeln!(out)?;
    }
    if report.lanes.is_empty() {
        writeln!(out, "no frame waits")?;
    } else {
        waiting(&report.lanes).write(out)?;
    }
    if report.lost.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    losses(&report.lost).write(out)
}

fn losses(lost: &[Lost]) -> Table {
    let mut table = Table::new(&[
        ("LOST", Flush::Left),
        ("FRAMES", Flush::Right),
        ("DOCUMENTS", Flush::Right),
        ("SOURCE BYTES", Flush::Right),
    ]);
    for lost in lost {
        table.push([
            lost.reason.to_owned(),
            lost.frames.to_string(),
            lost.documents.to_string(),
            lost.source_bytes.to_string(),
        ]);
    }
    table
}

fn segments(segments: &[Segment]) -> Table {
    let mut table = Table::new(&[
        ("SEGMENT", Flush::Right),
        ("BYTES", Flush::Right),
        ("FRAMES", Flush::Right),
        ("WAITING", Flush::Right),
        ("SEQUENCES", Flush::Left),
        ("DAMAGED PLACES", Flush::Right),
    ]);
    for segment in segments {
        let ends = segment.first_sequence.zip(segment.last_sequence);
        table.push([
            segment.number.to_string(),
            segment.bytes.to_string(),
            segment.frames.to_string(),
            segment.waiting.to_string(),
            ends.map_or("-".to_owned(), |(first, last)| format!("{first}..{last}")),
            segment.damaged.to_string(),
        ]);
    }
    table
}

fn frames(frames: &[Frame]) -> Table {
    let mut table = Table::new(&[
        ("SEQUENCE", Flush::Right),
        ("SEGMENT", Flush::Right),
        ("BYTE", Flush::Right),
        ("BYTES", Flush::Right),
        ("DOCUMENTS", Flush::Right),
        ("SOURCE BYTES", Flush::Right),
        ("STATE", Flush::Left),
        ("LANE", Flush::Left),
    ]);
    for frame in frames {
        table.push([
            frame.sequence.to_string(),
            frame.segment.to_string(),
            frame.byte.to_string(),
            frame.bytes.to_string(),
            frame.documents.to_string(),
            frame.source_bytes.to_string(),
            if frame.waiting { "waiting" } else { "delivered" }.to_owned(),
            lane_name(&frame.lane),
        ]);
    }
    table
}

fn waiting(lanes: &[Lane]) -> Table {
    let mut table = Table::new(&[
        ("WAITING IN LANE", Flush::Left),
        ("FRAMES", Flush::Right),
        ("BYTES", Flush::Right),
        ("DOCUMENTS", Flush::Right),
        ("SOURCE BYTES", Flush::Right),
    ]);
    for lane in lanes {
        table.push([
            lane_name(&lane.lane),
            lane.frames.to_string(),
            lane.bytes.to_string(),
            lane.documents.to_string(),
            lane.source_bytes.to_string(),
        ]);
    }
    table
}

fn lane_name(lane: &Option<String>) -> String {
    lane.clone().unwrap_or_else(|| "-".to_owned())
}
