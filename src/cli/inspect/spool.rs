//! `longshore inspect spool`: segments enter; their frames, what waits in which lane, and damaged places leave.

use super::{Damage, Format, names, read, write_json};
use crate::cli::console::{Console, Failure};
use crate::cli::table::{Flush, Table, visible};
use crate::spool::{frame, segment};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

pub(super) const HELP: &str = "\
A segment is one file of the spool, a frame is one batch in it, a lane is the index for which a
frame is on hold (- for none). SOURCE BYTES are bytes of the log files. A segment is removed when
all its frames are delivered. A torn frame at the end of the last segment may be one that is being
written now: look again.

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
    for name in names(folder)? {
        let number = name
            .strip_suffix(".segment")
            .and_then(|number| number.parse().ok());
        let Some(number) = number else { continue };
        let path = folder.join(&name);
        match read(&path) {
            // Delivered and removed since it was listed.
            Ok(None) => {}
            Ok(Some((bytes, _))) => report.add(number, &path, &bytes, &delivered),
            Err(error) => report.damage.push(Damage::new(&path, None, error)),
        }
    }
    report.lanes = lanes(&report.frames);
    Ok(report)
}

impl Report {
    fn add(&mut self, number: u64, path: &Path, bytes: &[u8], delivered: &BTreeSet<u64>) {
        let scan = segment::scan(bytes);
        for at in &scan.damaged {
            let rest = bytes.get(*at as usize..).unwrap_or_default();
            let reason = frame::decode(rest).map_or_else(|damage| damage.to_string(), |_| String::new());
            self.damage.push(Damage::new(path, Some(*at), reason));
        }
        let sequences = || scan.frames.iter().map(|found| found.sequence);
        self.segments.push(Segment {
            number,
            bytes: bytes.len(),
            frames: scan.frames.len(),
            waiting: sequences()
                .filter(|sequence| !delivered.contains(sequence))
                .count(),
            first_sequence: sequences().min(),
            last_sequence: sequences().max(),
            damaged: scan.damaged.len(),
        });
        self.frames.extend(scan.frames.into_iter().map(|found| Frame {
            waiting: !delivered.contains(&found.sequence),
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

/// Frames that are delivered and whose segments are still needed. Without the file, or when it is damaged, there are
/// none: such frames are sent again, and Elasticsearch knows their ids.
fn delivered(folder: &Path, damage: &mut Vec<Damage>) -> BTreeSet<u64> {
    let path = folder.join("delivered");
    let bytes = match read(&path) {
        Ok(found) => found.map(|(bytes, _)| bytes),
        Err(error) => {
            damage.push(Damage::new(&path, None, error));
            None
        }
    };
    let Some(bytes) = bytes else {
        return BTreeSet::new();
    };
    parse_delivered(&bytes).unwrap_or_else(|| {
        let reason = "not a whole list of delivered frames; some may be sent twice";
        damage.push(Damage::new(&path, None, reason));
        BTreeSet::new()
    })
}

/// `longshore-delivered 1 <crc32 of the rest, in hex>`, then one sequence a line.
fn parse_delivered(bytes: &[u8]) -> Option<BTreeSet<u64>> {
    let (head, rest) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let crc = u32::from_str_radix(head.strip_prefix("longshore-delivered 1 ")?, 16).ok()?;
    let sequences = rest.lines().filter_map(|line| line.parse().ok());
    (crc == crc32fast::hash(rest.as_bytes())).then(|| sequences.collect())
}

fn table(report: &Report, with_frames: bool, out: &mut dyn io::Write) -> io::Result<()> {
    if report.segments.is_empty() && report.damage.is_empty() {
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
        return writeln!(out, "no frame waits");
    }
    waiting(&report.lanes).write(out)
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
