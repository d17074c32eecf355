//! The floor: what one thread needs, at the least, to make the same bodies of the same files.
//!
//! `pread` → split → CRI → escape → fragment → gzip at the agent's level, over whole files one after the other, and
//! nothing else: no discovery, no offsets, no tables, no checkpoint, no budget, no HTTP, no answers. The steps are the
//! agent's own pure functions; how they are put together is not its code, so that slack in the agent's composition
//! shows. The bodies must come out as long as the agent's, byte for byte, which the caller checks.

use longshore::codec::{escape, gzip};
use longshore::config::{IndexPattern, LabelDots, MessageKey};
use longshore::parse::cri::{CriLine, CriParser};
use longshore::record::{FileId, Flags, Line, Metadata, Record, Span};
use longshore::sink::elasticsearch::encode::{FileKey, document_id, index_name};
use longshore::sink::elasticsearch::schema::{Layout, fragment};
use longshore::source::{fingerprint, lines};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The agent's defaults: bytes of one read, of the chunk that is compressed at once, and the limits of a body.
const READ_BYTES: usize = 256 * 1024;
const SCRATCH_BYTES: usize = 128 * 1024;
const BODY_BYTES: usize = 4 << 20;
const BODY_DOCUMENTS: u32 = 5_000;
const GZIP_LEVEL: u8 = 1;

const LAYOUT: Layout = Layout::Fluentd {
    message_key: MessageKey::Message,
    include_tag: true,
    label_dots: LabelDots::Replace,
};

/// What the floor took and made.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Floor {
    /// CPU time of the thread.
    pub(crate) cpu: Duration,
    /// Log lines.
    pub(crate) lines: u64,
    /// NDJSON before compression, in bytes.
    pub(crate) body_bytes: u64,
    /// After it.
    pub(crate) wire_bytes: u64,
}

/// Runs over the files, each with its container's metadata.
pub(crate) fn measure(files: &[(PathBuf, Metadata)]) -> io::Result<Floor> {
    let mut pass = Pass::new();
    let mut buffer = vec![0; READ_BYTES];
    let before = thread_cpu();
    for (path, metadata) in files {
        pass.file(path, metadata, &mut buffer)?;
    }
    pass.close_body();
    pass.floor.cpu = thread_cpu() - before;
    Ok(pass.floor)
}

/// Bytes that the metadata adds to each document.
pub(crate) fn fragment_bytes(metadata: &Metadata) -> usize {
    fragment(metadata, &LAYOUT, "").tail.len()
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The parts of documents that are the same for all lines of a file.
struct Source {
    id: FileId,
    key: FileKey,
    tail: Vec<u8>,
}

struct Pass {
    cri: CriParser,
    compressor: Box<dyn gzip::Compressor>,
    day: i64,
    action: Vec<u8>,
    scratch: Vec<u8>,
    wire: Vec<u8>,
    open_bytes: usize,
    open_documents: u32,
    floor: Floor,
}

impl Pass {
    fn new() -> Pass {
        Pass {
            cri: CriParser::default(),
            compressor: gzip::compressor(GZIP_LEVEL),
            day: i64::MIN,
            action: Vec::new(),
            scratch: Vec::with_capacity(2 * SCRATCH_BYTES),
            wire: Vec::new(),
            open_bytes: 0,
            open_documents: 0,
            floor: Floor::default(),
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata, buffer: &mut [u8]) -> io::Result<()> {
        let file = File::open(path)?;
        let mut at = 0;
        let mut source = None;
        loop {
            let read = file.read_at(buffer, at)?;
            // The unfinished line at the end is simply read again.
            let whole = memchr::memrchr(b'\n', &buffer[..read]).map_or(0, |newline| newline + 1);
            if whole == 0 {
                return Ok(());
            }
            let block = &buffer[..whole];
            let source = source.get_or_insert_with(|| Source::new(block, metadata));
            for line in lines::cut(block, at, usize::MAX) {
                self.line(&line, source);
            }
            at += whole as u64;
        }
    }

    #[inline]
    fn line(&mut self, line: &Line<'_>, source: &Source) {
        let cri = self.cri.parse(line.text).expect("the corpora are CRI");
        self.document(line, &cri, source);
        self.floor.lines += 1;
        self.open_documents += 1;
        if self.scratch.len() >= SCRATCH_BYTES {
            self.compress();
        }
        if self.open_documents == BODY_DOCUMENTS || self.open_bytes + self.scratch.len() >= BODY_BYTES {
            self.close_body();
        }
    }

    /// Action line and document, straight from the line.
    #[inline]
    fn document(&mut self, line: &Line<'_>, cri: &CriLine<'_>, source: &Source) {
        let record = Record {
            stamp: cri.stamp,
            stream: Some(cri.stream),
            message: cri.content,
            valid_utf8: true,
            flags: Flags::default(),
            span: Span {
                file: source.id,
                start: line.start,
                end: line.end,
            },
            second: None,
            last_part: None,
            source_bytes: line.end - line.start,
            skipped: 0,
        };
        self.turn_day(&record);
        let out = &mut self.scratch;
        out.extend_from_slice(&self.action);
        out.extend_from_slice(&document_id(cri.stamp, source.key, record.span));
        out.extend_from_slice(b"\"}}\n{\"@timestamp\":\"");
        out.extend_from_slice(&cri.stamp_text[..cri.stamp_text.len() - 1]);
        out.extend_from_slice(b"+00:00\",\"stream\":\"");
        out.extend_from_slice(cri.stream.as_str().as_bytes());
        out.extend_from_slice(b"\",\"logtag\":\"F\",\"message\":");
        escape::push_lossy(out, cri.content);
        out.extend_from_slice(&source.tail);
    }

    #[inline]
    fn turn_day(&mut self, record: &Record<'_>) {
        let day = record.stamp.secs.div_euclid(86_400);
        if day != self.day {
            self.day = day;
            let index = index_name(&IndexPattern::default(), record.stamp);
            self.action = format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"").into_bytes();
        }
    }

    fn compress(&mut self) {
        self.compressor.push(&self.scratch, &mut self.wire);
        self.open_bytes += self.scratch.len();
        self.scratch.clear();
    }

    fn close_body(&mut self) {
        if self.open_documents > 0 {
            self.compress();
            self.compressor.finish(&mut self.wire);
            self.floor.body_bytes += self.open_bytes as u64;
            self.floor.wire_bytes += self.wire.len() as u64;
            self.wire.clear();
            self.open_bytes = 0;
            self.open_documents = 0;
        }
    }
}

impl Source {
    fn new(head: &[u8], metadata: &Metadata) -> Source {
        let print = fingerprint::fingerprint(head, true).expect("the file is not empty");
        let id = fingerprint::file_id(&metadata.pod_uid, &metadata.container, 0, print, 0);
        let mut tail = fragment(metadata, &LAYOUT, "").tail;
        tail.extend_from_slice(b"}\n");
        Source {
            id,
            key: FileKey::new(id),
            tail,
        }
    }
}
