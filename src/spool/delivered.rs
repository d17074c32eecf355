//! The file `delivered` ⇄ what must survive a restart beside the frames themselves. Text, version 2.
//!
//! ```text
//! longshore-delivered 2 <lines below> <crc of this line before it>
//! <crc> next <sequence> <segment>                     numbers that were never given out
//! <crc> handed-out all | <ranges>                     frames that may have been sent: never evicted
//! <crc> segment <number> open|sealed <end> <frames> <documents> <source bytes>
//! <crc> gap <number> <from> <to>                      a damaged place that is already counted
//! <crc> done <number> <ranges>                        frames of a segment that are delivered or lost
//! <crc> total evicted|damaged <frames> <documents> <source bytes>
//! <crc> lost evicted|damaged <sequence|-> <frames> <documents> <source bytes> <more files> <file>:<start>-<end>…
//! ```
//!
//! Each CRC (8 hex digits) covers the rest of its line, so a damaged line costs only what it says. What
//! stands in an *open* segment behind `<end>` may be confirmed, too; in a *sealed* one nothing behind it
//! counts. The counts are those of the frames that wait. Ranges are `first-last`, both inside.
//! Version 1 can be read: `longshore-delivered 1 <crc of the rest>`, then one delivered sequence a line.

use super::losses::{Loss, Losses, LostSpan, Reason, Totals};
use super::ranges::Ranges;
use super::segment::Gap;
use crate::record::FileId;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

const MAGIC: &str = "longshore-delivered";
/// More ranges of frames that were handed out become one: it only protects more frames.
const HANDED_OUT_RANGES_MAX: usize = 64;

/// Frames that may have been sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandedOut {
    /// Any of them.
    All,
    /// No others than these.
    Only(Ranges),
}

impl HandedOut {
    /// Whether a frame may have been sent.
    pub fn contains(&self, sequence: u64) -> bool {
        match self {
            HandedOut::All => true,
            HandedOut::Only(ranges) => ranges.contains(sequence),
        }
    }
}

/// What is on record of a segment.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SegmentRecord {
    /// Nothing is appended any more, and nothing behind `end` counts.
    pub sealed: bool,
    /// Everything before this offset was synced.
    pub end: u64,
    /// The frames before `end` that wait.
    pub waiting: Totals,
    /// Damaged places whose loss is counted.
    pub gaps: Vec<Gap>,
    /// Frames that are delivered or lost.
    pub done: Ranges,
}

/// What the file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// No frame has had this number or a higher one.
    pub next_sequence: u64,
    /// No segment has had this number or a higher one.
    pub next_segment: u64,
    /// Frames that may have been sent.
    pub handed_out: HandedOut,
    /// The segments that are still there.
    pub segments: BTreeMap<u64, SegmentRecord>,
    /// What was given up since the first start.
    pub losses: Losses,
}

impl Default for Delivered {
    /// What is known without the file: any frame may have been sent.
    fn default() -> Delivered {
        Delivered {
            next_sequence: 1,
            next_segment: 1,
            handed_out: HandedOut::All,
            segments: BTreeMap::new(),
            losses: Losses::default(),
        }
    }
}

impl Delivered {
    /// The segments in which something waits.
    pub fn waiting(&self) -> impl Iterator<Item = u64> {
        let waits = |(number, segment): (&u64, &SegmentRecord)| {
            (segment.waiting != Totals::default()).then_some(*number)
        };
        self.segments.iter().filter_map(waits)
    }

    /// Frames that are delivered or lost, wherever they lie.
    pub fn done(&self) -> Ranges {
        let mut done = Ranges::default();
        for segment in self.segments.values() {
            done.extend(&segment.done);
        }
        let lost = self.losses.records().filter_map(|loss| loss.sequence);
        lost.for_each(|sequence| done.insert(sequence));
        done
    }
}

/// A place of the file that cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where it begins.
    pub byte: u64,
    /// What it means.
    pub what: &'static str,
}

/// The bytes of the file. Losses that would make it longer than `limit` bytes are left out, oldest
/// first, and then frames that are delivered: they are sent again after a crash.
pub fn encode(delivered: &Delivered, limit: usize) -> Vec<u8> {
    let mut lines = Lines {
        // Room for the first line.
        limit: limit.saturating_sub(64),
        ..Lines::default()
    };
    lines.push(format_args!(
        "next {} {}",
        delivered.next_sequence, delivered.next_segment
    ));
    match &delivered.handed_out {
        HandedOut::Only(ranges) if ranges.len() <= HANDED_OUT_RANGES_MAX => {
            lines.push(format_args!("handed-out {ranges}"));
        }
        HandedOut::Only(ranges) => {
            let mut hull = Ranges::default();
            let first = ranges.iter().next().map_or(0, |(first, _)| first);
            hull.insert_range(first, ranges.last().unwrap_or(first));
            lines.push(format_args!("handed-out {hull}"));
        }
        HandedOut::All => lines.push(format_args!("handed-out all")),
    }
    for (number, segment) in &delivered.segments {
        push_segment(&mut lines, *number, segment);
    }
    for reason in Reason::ALL {
        let total = delivered.losses.totals(reason);
        if total != Totals::default() {
            lines.push(format_args!("total {} {}", reason.as_str(), Sum(total)));
        }
    }
    for (number, segment) in &delivered.segments {
        if !segment.done.is_empty() {
            lines.push_when_it_fits(format_args!("done {number} {}", segment.done));
        }
    }
    let records = lines.text.len();
    for loss in delivered.losses.records().rev() {
        if !push_loss(&mut lines, loss) {
            break;
        }
    }
    // The last loss came first, so that the oldest are left out; the file has them in their order.
    let newest_first = lines.text.split_off(records);
    newest_first.lines().rev().for_each(|line| {
        lines.text.push_str(line);
        lines.text.push('\n');
    });
    let head = format!("{MAGIC} 2 {}", lines.count);
    let crc = crc32fast::hash(head.as_bytes());
    format!("{head} {crc:08x}\n{}", lines.text).into_bytes()
}

fn push_segment(lines: &mut Lines, number: u64, segment: &SegmentRecord) {
    let state = if segment.sealed { "sealed" } else { "open" };
    let (end, waiting) = (segment.end, Sum(segment.waiting));
    lines.push(format_args!("segment {number} {state} {end} {waiting}"));
    for gap in &segment.gaps {
        lines.push(format_args!("gap {number} {} {}", gap.from, gap.to));
    }
}

fn push_loss(lines: &mut Lines, loss: &Loss) -> bool {
    let reason = loss.reason.as_str();
    let sequence = loss
        .sequence
        .map_or("-".to_owned(), |sequence| sequence.to_string());
    let mut line = format!(
        "lost {reason} {sequence} {} {}",
        Sum(loss.totals),
        loss.more_files
    );
    for LostSpan { file, start, end } in &loss.spans {
        // Writing to memory cannot fail.
        let _ = write!(line, " {:032x}:{start}-{end}", file.0);
    }
    lines.push_when_it_fits(format_args!("{line}"))
}

/// The three counts, as they stand in a line.
struct Sum(Totals);

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Totals {
            frames,
            documents,
            source_bytes,
        } = self.0;
        write!(f, "{frames} {documents} {source_bytes}")
    }
}

/// Lines with their checksums.
#[derive(Default)]
struct Lines {
    text: String,
    count: usize,
    limit: usize,
}

impl Lines {
    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        let line = line.to_string();
        let crc = crc32fast::hash(line.as_bytes());
        // Writing to memory cannot fail.
        let _ = writeln!(self.text, "{crc:08x} {line}");
        self.count += 1;
    }

    fn push_when_it_fits(&mut self, line: std::fmt::Arguments<'_>) -> bool {
        let len = self.text.len();
        self.push(line);
        let fits = self.text.len() <= self.limit;
        if !fits {
            self.text.truncate(len);
            self.count -= 1;
        }
        fits
    }
}

/// What the bytes of the file say, and which places of them say nothing.
pub fn decode(bytes: &[u8]) -> (Delivered, Vec<Damage>) {
    let head_end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let head = std::str::from_utf8(&bytes[..head_end]).unwrap_or_default();
    let rest = bytes.get(head_end + 1..).unwrap_or_default();
    if let Some(crc) = head.strip_prefix(MAGIC).and_then(|head| head.strip_prefix(" 1 ")) {
        return decode_v1(crc, rest);
    }
    let mut damage = Vec::new();
    let lines = head_v2(head);
    match lines {
        // What a later version means is not guessed at.
        Some((version, _)) if version != 2 => {
            damage.push(Damage {
                byte: 0,
                what: "written by a later version; frames may be sent twice",
            });
            return (Delivered::default(), damage);
        }
        Some(_) => {}
        None => damage.push(Damage {
            byte: 0,
            what: "the first line is damaged",
        }),
    }
    decode_v2(rest, head_end as u64 + 1, lines.map(|(_, lines)| lines), damage)
}

/// Version and number of lines.
fn head_v2(head: &str) -> Option<(u32, usize)> {
    let (covered, crc) = head.rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(covered.as_bytes()) {
        return None;
    }
    let (version, lines) = covered.strip_prefix(MAGIC)?.trim_start().split_once(' ')?;
    Some((version.parse().ok()?, lines.parse().ok()?))
}

fn decode_v1(crc: &str, rest: &[u8]) -> (Delivered, Vec<Damage>) {
    let mut delivered = Delivered::default();
    if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(rest)) {
        let what = "damaged; frames may be sent twice";
        return (delivered, vec![Damage { byte: 0, what }]);
    }
    let text = String::from_utf8_lossy(rest);
    let done = &mut delivered.segments.entry(0).or_default().done;
    text.lines()
        .filter_map(|line| line.parse().ok())
        .for_each(|sequence| done.insert(sequence));
    delivered.next_sequence = done.last().map_or(1, |last| last.saturating_add(1));
    (delivered, Vec::new())
}

fn decode_v2(
    rest: &[u8],
    mut at: u64,
    expected: Option<usize>,
    mut damage: Vec<Damage>,
) -> (Delivered, Vec<Damage>) {
    let mut read = Reader::default();
    let mut count = 0;
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        count += 1;
        if checked(line).and_then(|line| read.line(line)).is_none() {
            let what = "a damaged line; frames may be sent twice, losses may be forgotten";
            damage.push(Damage { byte: at, what });
        }
        at += line.len() as u64;
    }
    if expected.is_some_and(|expected| expected != count) {
        damage.push(Damage {
            byte: at,
            what: "lines are missing; frames may be sent twice, losses may be forgotten",
        });
    }
    (read.finish(), damage)
}

/// The line without its checksum, when it is whole.
fn checked(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (crc, line) = line.split_once(' ')?;
    (u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(line.as_bytes())).then_some(line)
}

#[derive(Default)]
struct Reader {
    next: (u64, u64),
    handed_out: Option<HandedOut>,
    segments: BTreeMap<u64, SegmentRecord>,
    totals: BTreeMap<Reason, Totals>,
    records: VecDeque<Loss>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        match words.next()? {
            "next" => self.next = (number(words.next()?)?, number(words.next()?)?),
            "handed-out" => {
                self.handed_out = Some(match line.strip_prefix("handed-out all") {
                    Some(_) => HandedOut::All,
                    None => HandedOut::Only(Ranges::parse(words)?),
                });
            }
            "segment" => {
                let segment = self.segment(words.next()?)?;
                segment.sealed = words.next()? == "sealed";
                segment.end = number(words.next()?)?;
                segment.waiting = sum(&mut words)?;
            }
            "gap" => {
                let segment = self.segment(words.next()?)?;
                let (from, to) = (number(words.next()?)?, number(words.next()?)?);
                segment.gaps.push(Gap { from, to });
            }
            "done" => {
                let segment = self.segment(words.next()?)?;
                segment.done = Ranges::parse(words)?;
            }
            "total" => {
                self.totals.insert(reason(words.next()?)?, sum(&mut words)?);
            }
            "lost" => self.records.push_back(loss(&mut words)?),
            _ => return None,
        }
        Some(())
    }

    fn segment(&mut self, word: &str) -> Option<&mut SegmentRecord> {
        Some(self.segments.entry(number(word)?).or_default())
    }

    fn finish(mut self) -> Delivered {
        let mut recorded: BTreeMap<Reason, Totals> = BTreeMap::new();
        for loss in &self.records {
            recorded.entry(loss.reason).or_default().add(loss.totals);
        }
        for (reason, recorded) in recorded {
            // The line with the total may be the one that is damaged.
            let total = self.totals.entry(reason).or_default();
            total.add(recorded.beyond(*total));
        }
        // The line with the next numbers may be the one that is damaged, too.
        let lost = self.records.iter().filter_map(|loss| loss.sequence);
        let done = self.segments.values().filter_map(|segment| segment.done.last());
        let handed_out = match &self.handed_out {
            Some(HandedOut::Only(ranges)) => ranges.last(),
            _ => None,
        };
        let last = lost.chain(done).chain(handed_out).max().unwrap_or(0);
        let last_segment = self.segments.last_key_value().map_or(0, |(number, _)| *number);
        Delivered {
            next_sequence: self.next.0.max(last.saturating_add(1)),
            next_segment: self.next.1.max(last_segment.saturating_add(1)),
            handed_out: self.handed_out.unwrap_or(HandedOut::All),
            segments: self.segments,
            losses: Losses::restored(self.records, self.totals),
        }
    }
}

fn number(word: &str) -> Option<u64> {
    word.parse().ok()
}

fn reason(word: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == word)
}

fn sum<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Totals> {
    Some(Totals {
        frames: number(words.next()?)?,
        documents: number(words.next()?)?,
        source_bytes: number(words.next()?)?,
    })
}

fn loss<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Loss> {
    let reason = reason(words.next()?)?;
    let sequence = match words.next()? {
        "-" => None,
        word => Some(number(word)?),
    };
    let totals = sum(words)?;
    let more_files = number(words.next()?)?;
    let spans = words.map(span).collect::<Option<Vec<LostSpan>>>()?;
    Some(Loss {
        reason,
        sequence,
        totals,
        spans,
        more_files,
    })
}

fn span(word: &str) -> Option<LostSpan> {
    let (file, range) = word.split_once(':')?;
    let (start, end) = range.split_once('-')?;
    Some(LostSpan {
        file: FileId(u128::from_str_radix(file, 16).ok()?),
        start: number(start)?,
        end: number(end)?,
    })
}

#[cfg(test)]
mod tests;
