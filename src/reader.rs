//! The hot path as one pure composition: a chunk of a file becomes lines, records, documents, and
//! batches.
//!
//! Chunks enter with the state of their file and of their container instance; closed batches leave
//! through [`Reader::take_ready`]. A line of a container that asks for nothing special is escaped
//! straight from the read buffer into the open body. There is one for documents within their
//! container's share and, once it is needed, one for those over it ([`Reader::set_share`]). The caller reads files, knows the time and
//! decides what an idle partial means; nothing here waits or does I/O.

mod bodies;
mod counts;
mod state;

pub use counts::Unusual;
pub use state::{Cut, FileState, InstanceState};

use crate::batch::{Batcher, Closed, Limits};
use crate::codec::gzip::Compressor;
use crate::parse::cri::{CriLine, CriParser, Tag};
use crate::parse::docker;
use crate::parse::partial::{Group, Part};
use crate::record::{
    Batch, BatchSeq, FileId, FileRange, Flags, Joined, Line, Record, Share, Span, Stamp, Stream,
};
use crate::sink::elasticsearch::encode::{EncodeConfig, Encoder, FileKey};
use crate::sink::elasticsearch::schema::Fragment;
use crate::source::lines::cut;
use bodies::Bodies;
use counts::Discarded;
use state::Format;
use std::time::Instant;

/// Room for stamp, stream and tag before the message of a line of the longest allowed length.
const HEADER_ROOM: usize = 128;

/// A batch and the ranges that it holds back in the checkpoint.
#[derive(Debug)]
pub struct Handout {
    /// To be sent or spooled.
    pub batch: Batch,
    /// For the tracker.
    pub ranges: Vec<FileRange>,
    /// Messages in it whose parts lie apart; for the tracker, too.
    pub joined: Vec<Joined>,
}

/// The hot path of one reader thread.
pub struct Reader {
    cri: CriParser,
    encoder: Encoder,
    bodies: Bodies,
    max_line: usize,
    next_seq: BatchSeq,
    ready: Vec<Handout>,
    unusual: Unusual,
    lines: u64,
    discard: bool,
    discarded: Discarded,
    urgent: bool,
}

impl Reader {
    /// A reader without any file. Batches are numbered from `first_seq`.
    pub fn new(
        encode: EncodeConfig,
        limits: Limits,
        compressor: Box<dyn Compressor>,
        max_line: usize,
    ) -> Reader {
        Reader {
            cri: CriParser::default(),
            encoder: Encoder::new(encode),
            bodies: Bodies::new(Batcher::new(limits, compressor)),
            max_line,
            next_seq: 1,
            ready: Vec::new(),
            unusual: Unusual::default(),
            lines: 0,
            discard: false,
            discarded: Discarded::default(),
            urgent: false,
        }
    }

    /// The next bytes of a file, without a gap after the ones before.
    pub fn on_chunk(
        &mut self,
        file: &mut FileState,
        instance: &mut InstanceState,
        chunk: &[u8],
        now: Instant,
    ) {
        let limit = self.max_line + HEADER_ROOM;
        let (first, rest) = file.cutter.resume(chunk, limit);
        if let Some(first) = first {
            self.on_line(file, instance, first.line(), false, now);
        }
        let (start, block) = file.cutter.whole_lines(rest, limit);
        let valid_utf8 = simdutf8::basic::from_utf8(block).is_ok();
        for line in cut(block, start, limit) {
            self.on_line(file, instance, line, valid_utf8, now);
        }
    }

    /// The file will not grow any more: its unfinished line is a line.
    pub fn on_file_end(&mut self, file: &mut FileState, instance: &mut InstanceState, now: Instant) {
        if let Some(last) = file.cutter.finish() {
            self.on_line(file, instance, last.line(), false, now);
        }
    }

    /// The instance will write no more: its open groups are records, flagged as partial.
    pub fn on_instance_end(&mut self, instance: &mut InstanceState, now: Instant) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.close_group(instance, stream, now);
        }
    }

    /// Closes the open group of `stream` although its end has not come: the caller has made the cut
    /// durable.
    pub fn close_group(&mut self, instance: &mut InstanceState, stream: Stream, now: Instant) {
        if let Some(mut group) = instance.partials.take(stream) {
            group.flags.insert(Flags::PARTIAL);
            self.push_group(stream, group, &instance.fragment, now);
        }
    }

    /// From now on documents go into the open body of `share`; each share has one of its own.
    pub fn set_share(&mut self, share: Share) {
        self.bodies.set_share(share);
    }

    /// When the chunks that follow were read, in milliseconds since 1970: some documents tell it.
    pub fn set_read_time(&mut self, unix_ms: u64) {
        self.encoder.set_read_time(unix_ms);
    }

    /// Whether records go nowhere from now on, but into [`Reader::discarded_bytes`].
    pub fn set_discard(&mut self, discard: bool) {
        self.discard = discard;
    }

    /// Source bytes of records that went nowhere, since the start.
    pub fn discarded_bytes(&self) -> u64 {
        self.discarded.bytes
    }

    /// Where the records lay that went nowhere since the last call.
    pub fn take_discarded(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.discarded.spans)
    }

    /// While others wait for the sink, bodies within the share are closed at a quarter of their age.
    pub fn hurry(&mut self, hurry: bool) {
        self.set_share(Share::Within);
        self.bodies.open.batcher.hurry(hurry);
    }

    /// Closes the open bodies that are too old.
    pub fn poll(&mut self, now: Instant) {
        for share in [Share::Over, Share::Within] {
            if self.bodies.is_late(share, now) {
                self.set_share(share);
                self.close();
            }
        }
    }

    /// When [`Reader::poll`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.bodies.next_deadline()
    }

    /// What comes now is of deleted files, perhaps: all bodies up to [`Reader::close_batch`] are to be durable soon.
    pub fn set_urgent(&mut self, urgent: bool) {
        self.urgent |= urgent;
    }

    /// Whether open bodies are to be durable soon.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Closes the open bodies.
    pub fn close_batch(&mut self) {
        for share in [Share::Over, Share::Within] {
            if self.is_open(share) {
                self.set_share(share);
                self.close();
            }
        }
        self.urgent = false;
    }

    /// Closes the open body of the present share.
    fn close(&mut self) {
        let share = self.bodies.share();
        if let Some((Closed { body, ranges }, joined)) = self.bodies.close() {
            let seq = self.next_seq;
            self.next_seq += 1;
            self.ready.push(Handout {
                batch: Batch {
                    seq,
                    share,
                    urgent: self.urgent,
                    body,
                },
                ranges,
                joined,
            });
        }
    }

    /// The batches that were closed since the last call.
    pub fn take_ready(&mut self) -> Vec<Handout> {
        std::mem::take(&mut self.ready)
    }

    /// Source bytes of documents in the open bodies.
    pub fn open_bytes(&self) -> u64 {
        self.bodies.source_bytes()
    }

    /// Whether the open body of `share` has documents.
    pub fn is_open(&self, share: Share) -> bool {
        self.bodies.is_open(share)
    }

    /// The lowest offset of `file` in the open bodies and in closed ones that were not taken yet, with the stamp before it.
    pub fn open_range(&self, file: FileId) -> Option<FileRange> {
        let ready = self.ready.iter().flat_map(|handout| &handout.ranges).copied();
        let ready = ready.filter(|range| range.file == file);
        ready
            .chain(self.bodies.range(file))
            .min_by_key(|range| range.start)
    }

    /// Counts of unusual records since the start.
    pub fn unusual(&self) -> Unusual {
        self.unusual
    }

    /// Lines since the start.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    #[inline]
    fn on_line(
        &mut self,
        file: &mut FileState,
        instance: &mut InstanceState,
        line: Line<'_>,
        valid_utf8: bool,
        now: Instant,
    ) {
        self.lines += 1;
        if file.format != Format::Docker
            && let Some(cri) = self.cri.parse(line.text)
        {
            file.format = Format::Cri;
            let straight = cri.tag == Tag::Full
                && line.skipped == 0
                && cri.content.len() <= self.max_line
                && !instance.partials.is_open(cri.stream);
            if straight {
                self.straight(file, instance, line, &cri, valid_utf8, now);
            } else {
                self.part(file, instance, line, &cri, now);
            }
            return;
        }
        self.on_other_line(file, instance, line, now);
    }

    /// The straight path: one whole line, one document.
    #[inline]
    fn straight(
        &mut self,
        file: &mut FileState,
        instance: &InstanceState,
        line: Line<'_>,
        cri: &CriLine<'_>,
        valid_utf8: bool,
        now: Instant,
    ) {
        let before = file.last_stamp.replace(cri.stamp);
        let record = Record {
            stamp: cri.stamp,
            stream: Some(cri.stream),
            message: cri.content,
            valid_utf8,
            flags: Flags::default(),
            span: Span {
                file: file.id,
                start: line.start,
                end: line.end,
            },
            second: None,
            last_part: None,
            source_bytes: line.end - line.start,
            skipped: 0,
        };
        self.push(
            &record,
            cri.stamp_text,
            file.key,
            before,
            None,
            &instance.fragment,
            now,
        );
    }

    fn part(
        &mut self,
        file: &mut FileState,
        instance: &mut InstanceState,
        line: Line<'_>,
        cri: &CriLine<'_>,
        now: Instant,
    ) {
        let stamp_before = file.last_stamp.replace(cri.stamp);
        let span = Span {
            file: file.id,
            start: line.start,
            end: line.end,
        };
        let part = Part {
            stamp: cri.stamp,
            stamp_before,
            content: cri.content,
            span,
            skipped: line.skipped,
        };
        let fragment = &instance.fragment;
        if let Some(mut cut_off) = instance.partials.push(cri.stream, part, self.max_line, now) {
            cut_off.flags.insert(Flags::PARTIAL);
            self.push_group(cri.stream, cut_off, fragment, now);
        }
        if cri.tag == Tag::Full {
            if let Some(group) = instance.partials.take(cri.stream) {
                self.push_group(cri.stream, group, fragment, now);
            }
        } else if file.cuts.contains(&Cut {
            stream: cri.stream,
            end: line.end,
        }) {
            self.close_group(instance, cri.stream, now);
        }
    }

    fn on_other_line(
        &mut self,
        file: &mut FileState,
        instance: &mut InstanceState,
        line: Line<'_>,
        now: Instant,
    ) {
        if file.format != Format::Cri
            && let Some(docker) = docker::parse(line.text)
        {
            file.format = Format::Docker;
            let docker::DockerLine {
                stamp,
                stream,
                tag,
                content,
            } = docker;
            let cri = CriLine {
                stamp_text: &[],
                stamp,
                stream,
                tag,
                content: content.as_bytes(),
            };
            self.part(file, instance, line, &cri, now);
            return;
        }
        let kept = line.text.len().min(self.max_line);
        let skipped = line.skipped + (line.text.len() - kept) as u64;
        let mut flags = Flags::UNPARSED;
        if skipped > 0 {
            flags.insert(Flags::TRUNCATED);
        }
        let record = Record {
            stamp: file.stamp_or_rule(),
            stream: None,
            message: &line.text[..kept],
            valid_utf8: false,
            flags,
            span: Span {
                file: file.id,
                start: line.start,
                end: line.end,
            },
            second: None,
            last_part: None,
            source_bytes: line.end - line.start - skipped,
            skipped,
        };
        self.push(
            &record,
            &[],
            file.key,
            file.last_stamp,
            None,
            &instance.fragment,
            now,
        );
    }

    fn push_group(&mut self, stream: Stream, group: Group, fragment: &Fragment, now: Instant) {
        self.bodies.open.joined.extend(group.apart());
        let record = Record {
            stamp: group.stamp,
            stream: Some(stream),
            message: &group.message,
            valid_utf8: false,
            flags: group.flags,
            span: group.span,
            second: group.second,
            last_part: Some(group.last_part),
            source_bytes: group.source_bytes,
            skipped: group.skipped,
        };
        let [before, second_before] = group.stamps_before;
        self.push(
            &record,
            &[],
            FileKey::new(group.last().file),
            before,
            second_before,
            fragment,
            now,
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the one funnel into the batch; a struct would be built per line"
    )]
    #[inline]
    fn push(
        &mut self,
        record: &Record<'_>,
        stamp_text: &[u8],
        key: FileKey,
        stamp_before: Option<Stamp>,
        second_before: Option<Stamp>,
        fragment: &Fragment,
        now: Instant,
    ) {
        if self.discard {
            self.discarded.push(record);
            return;
        }
        let encoded = self.encoder.push(
            self.bodies.open.batcher.scratch(),
            record,
            stamp_text,
            key,
            fragment,
        );
        let Span { file, start, .. } = record.span;
        let number = self.bodies.open.batcher.file(FileRange {
            file,
            start,
            stamp_before,
        });
        if let Some(Span { file, start, .. }) = record.second {
            self.bodies.open.batcher.file(FileRange {
                file,
                start,
                stamp_before: second_before,
            });
        }
        if !encoded.flags.is_empty() {
            self.unusual.count(encoded.flags, record.skipped);
        }
        if self
            .bodies
            .open
            .batcher
            .document(number, start, record.source_bytes, now)
        {
            self.close();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests;
