//! A [`Record`] enters, its two `_bulk` lines leave: the action and the document.
//!
//! Index, id and `@timestamp` are a pure function of the file's bytes (event time, file identity,
//! offsets): a line that is sent again gets the same id in the same index, and the server answers
//! 409. Of a message in several lines the last one gives id and index: should the lines before it be
//! gone when it is read again, the server still knows it. The id is event time in ms ‖ file identity ‖ start offset ‖ length in an alphabet whose byte
//! order is its numeric order, so that fresh ids sort after old segments and neighbours share a
//! prefix.

mod application;
mod ecs;
mod otel;

use super::schema::{Fragment, Layout, fields};
use crate::codec::escape::{push_lossy, push_string};
use crate::codec::stamp;
use crate::config::{Config, DocumentId, IndexPart, IndexPattern, JsonMode, MessageKey};
use crate::record::{FileId, Flags, Record, Span, Stamp};
use application::Application;

/// Digits of ids, in ASCII order.
const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// Six bits a digit: 48 bits of ms, 66 of identity, 42 of offset (4 TiB), 24 of length.
const MS_DIGITS: usize = 8;
const FILE_DIGITS: usize = 11;
const START_DIGITS: usize = 7;
const LENGTH_DIGITS: usize = 4;

/// Length of a document id.
pub const ID_LEN: usize = MS_DIGITS + FILE_DIGITS + START_DIGITS + LENGTH_DIGITS;

/// How documents are made.
#[derive(Clone, Debug)]
pub struct EncodeConfig {
    /// Field names.
    pub layout: Layout,
    /// Index name by event time.
    pub index: IndexPattern,
    /// Whether we make the ids.
    pub document_id: DocumentId,
    /// What happens to JSON messages.
    pub json: JsonMode,
}

impl From<&Config> for EncodeConfig {
    fn from(config: &Config) -> EncodeConfig {
        let elasticsearch = &config.sink.elasticsearch;
        EncodeConfig {
            layout: elasticsearch.into(),
            index: elasticsearch.index_pattern(),
            document_id: elasticsearch.document_id,
            json: config.parse.json,
        }
    }
}

/// The id part of a file, made once per file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileKey([u8; FILE_DIGITS]);

impl FileKey {
    /// The digits that stand for `file` in ids.
    pub fn new(file: FileId) -> FileKey {
        let mut digits = [0; FILE_DIGITS];
        push_base64(&mut digits, file.0 as u64);
        FileKey(digits)
    }
}

/// What the encoder made of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// Flags that the document carries.
    pub flags: Flags,
}

/// Writes documents; remembers the action prefix of the current hour.
pub struct Encoder {
    config: EncodeConfig,
    form: Form,
    /// The names, up to a dot, that an application's members may not have beside our fields.
    reserved: Vec<&'static str>,
    hour: i64,
    action_prefix: Vec<u8>,
}

/// The schema, and what it has ready.
#[derive(Debug)]
enum Form {
    /// The key of the message.
    Fluentd(&'static [u8]),
    /// The object `event`: when the line was read.
    Ecs(Vec<u8>),
    /// The member `observed_timestamp`, the same.
    Otel(Vec<u8>),
}

impl From<&Layout> for Form {
    fn from(layout: &Layout) -> Form {
        match layout {
            Layout::Fluentd { message_key, .. } => Form::Fluentd(match message_key {
                MessageKey::Log => b",\"log\":",
                MessageKey::Message => b",\"message\":",
            }),
            Layout::Ecs { stream, .. } => Form::Ecs(ecs::event(&stream.dataset, None)),
            Layout::Otel { .. } => Form::Otel(Vec::new()),
        }
    }
}

impl Encoder {
    /// An encoder for one reader.
    pub fn new(config: EncodeConfig) -> Encoder {
        Encoder {
            form: Form::from(&config.layout),
            reserved: fields::reserved(config.layout.schema()),
            config,
            hour: i64::MIN,
            action_prefix: Vec::new(),
        }
    }

    /// When the lines that follow were read, in milliseconds since 1970; `ecs` and `otel` tell it.
    pub fn set_read_time(&mut self, unix_ms: u64) {
        match (&mut self.form, &self.config.layout) {
            (Form::Ecs(event), Layout::Ecs { stream, .. }) => {
                *event = ecs::event(&stream.dataset, Some(unix_ms));
            }
            (Form::Otel(observed), _) => *observed = otel::observed(unix_ms),
            _ => {}
        }
    }

    /// Appends action line and document of `record` to `out`.
    ///
    /// `stamp_text` is the record's stamp as written, when there is one.
    #[inline]
    pub fn push(
        &mut self,
        out: &mut Vec<u8>,
        record: &Record<'_>,
        stamp_text: &[u8],
        file: FileKey,
        fragment: &Fragment,
    ) -> Encoded {
        let (event, clamped) = stamp::clamp(record.stamp);
        self.push_action(out, event, file, record);
        out.extend_from_slice(b"{\"@timestamp\":\"");
        if !clamped && stamp::is_canonical(stamp_text) {
            out.extend_from_slice(&stamp_text[..stamp::TEXT_LEN]);
        } else {
            stamp::push_text(out, event);
        }
        let mut flags = record.flags;
        if clamped {
            flags.insert(Flags::TIME_CLAMPED);
        }
        match &self.form {
            Form::Fluentd(message_field) => {
                self.push_fluentd(message_field, out, record, fragment, &mut flags);
            }
            Form::Ecs(read) => self.push_ecs(read, out, record, fragment, &mut flags),
            Form::Otel(read) => self.push_otel(read, out, record, fragment, &mut flags),
        }
        out.extend_from_slice(b"}\n");
        Encoded { flags }
    }

    /// All after the digits of the time.
    #[inline]
    fn push_fluentd(
        &self,
        message_field: &[u8],
        out: &mut Vec<u8>,
        record: &Record<'_>,
        fragment: &Fragment,
        flags: &mut Flags,
    ) {
        out.extend_from_slice(b"+00:00\"");
        push_stream(out, record);
        out.extend_from_slice(message_field);
        push_message(out, record, flags);
        if let Some(application) = self.application(record) {
            application.push_beside(out);
            application.push_apart(out, b",\"parsed\":{");
        }
        out.extend_from_slice(&fragment.tail);
        if !flags.is_empty() || fragment.metadata_missing {
            push_notes(out, record, *flags, fragment.metadata_missing);
        }
    }

    /// What an application wrote, when it is one JSON object and the config wants to know.
    #[inline]
    fn application<'a>(&'a self, record: &Record<'a>) -> Option<Application<'a>> {
        if self.config.json == JsonMode::Off {
            return None;
        }
        Application::new(record, self.config.json, &self.reserved)
    }

    #[inline]
    fn push_action(&mut self, out: &mut Vec<u8>, event: Stamp, file: FileKey, record: &Record<'_>) {
        let (event, span) = match record.last_part {
            None => (event, record.span),
            Some((stamp, span)) => (stamp::clamp(stamp).0, span),
        };
        let hour = event.secs.div_euclid(3600);
        if hour != self.hour {
            self.hour = hour;
            self.action_prefix.clear();
            self.action_prefix.extend_from_slice(b"{\"create\":{\"_index\":");
            push_string(&mut self.action_prefix, &index_name(&self.config.index, event));
        }
        out.extend_from_slice(&self.action_prefix);
        if self.config.document_id == DocumentId::Deterministic {
            out.extend_from_slice(b",\"_id\":\"");
            out.extend_from_slice(&document_id(event, file, span));
            out.push(b'"');
        }
        out.extend_from_slice(b"}}\n");
    }
}

/// The id of a record whose last line has this time and lies there.
#[inline]
pub fn document_id(event: Stamp, file: FileKey, line: Span) -> [u8; ID_LEN] {
    let mut id = [0; ID_LEN];
    let ms = event.secs as u64 * 1000 + u64::from(event.nanos) / 1_000_000;
    let length = line.len().min((1 << (6 * LENGTH_DIGITS)) - 1);
    let (time, rest) = id.split_at_mut(MS_DIGITS);
    let (identity, rest) = rest.split_at_mut(FILE_DIGITS);
    let (start, len) = rest.split_at_mut(START_DIGITS);
    push_base64(time, ms);
    identity.copy_from_slice(&file.0);
    push_base64(start, line.start);
    push_base64(len, length);
    id
}

/// The index of an event, in UTC.
pub fn index_name(pattern: &IndexPattern, event: Stamp) -> String {
    let days = event.secs.div_euclid(86_400);
    let (year, month, day) = stamp::civil_from_days(days);
    let mut name = String::new();
    for part in &pattern.parts {
        match part {
            IndexPart::Text(text) => name.push_str(text),
            IndexPart::Year => name.push_str(&format!("{year:04}")),
            IndexPart::Month => name.push_str(&format!("{month:02}")),
            IndexPart::Day => name.push_str(&format!("{day:02}")),
            IndexPart::Hour => name.push_str(&format!("{:02}", event.secs.rem_euclid(86_400) / 3600)),
            IndexPart::DayOfYear => {
                name.push_str(&format!("{:03}", days - stamp::days_from_civil(year, 1, 1) + 1));
            }
        }
    }
    name
}

#[inline]
fn push_stream(out: &mut Vec<u8>, record: &Record<'_>) {
    if let Some(stream) = record.stream {
        out.extend_from_slice(b",\"stream\":\"");
        out.extend_from_slice(stream.as_str().as_bytes());
        let tag = if record.flags.contains(Flags::PARTIAL) {
            b'P'
        } else {
            b'F'
        };
        out.extend_from_slice(b"\",\"logtag\":\"");
        out.push(tag);
        out.push(b'"');
    }
}

#[inline]
fn push_message(out: &mut Vec<u8>, record: &Record<'_>, flags: &mut Flags) {
    if push_lossy(out, record.message) {
        flags.insert(Flags::REPLACED_UTF8);
    }
}

/// The object `longshore`: what was unusual.
fn push_notes(out: &mut Vec<u8>, record: &Record<'_>, flags: Flags, metadata_missing: bool) {
    out.extend_from_slice(b",\"longshore\":{\"flags\":");
    push_flags(out, flags, metadata_missing);
    if record.skipped > 0 {
        out.extend_from_slice(format!(",\"skipped_bytes\":{}", record.skipped).as_bytes());
    }
    if flags.contains(Flags::TIME_CLAMPED) {
        out.extend_from_slice(b",\"timestamp\":");
        push_string(out, &stamp::text(record.stamp));
    }
    out.push(b'}');
}

fn push_flags(out: &mut Vec<u8>, flags: Flags, metadata_missing: bool) {
    let names = flags
        .names()
        .chain(metadata_missing.then_some("metadata_missing"));
    out.push(b'[');
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, name);
    }
    out.push(b']');
}

/// A time of reading: milliseconds are what the clock of a turn tells.
fn push_read_time(out: &mut Vec<u8>, unix_ms: u64) {
    let read = Stamp {
        secs: (unix_ms / 1000) as i64,
        nanos: (unix_ms % 1000) as u32 * 1_000_000,
    };
    out.push(b'"');
    stamp::push_text(out, stamp::clamp(read).0);
    out.truncate(out.len() - "000000".len());
    out.extend_from_slice(b"Z\"");
}

#[inline]
fn push_base64(out: &mut [u8], value: u64) {
    let mut rest = value;
    for slot in out.iter_mut().rev() {
        *slot = DIGITS[(rest & 63) as usize];
        rest >>= 6;
    }
}

#[cfg(test)]
mod tests;
