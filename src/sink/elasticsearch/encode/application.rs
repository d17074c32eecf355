//! A message that is one JSON object enters; its members leave as fields beside ours, or apart from them.
//!
//! Ours always win: a member whose key begins with one of our names, up to a dot, stands apart, in an object of its own.

use crate::codec::escape::push_string;
use crate::codec::json_scan::{self, Member};
use crate::config::JsonMode;
use crate::record::Record;

/// The members of a JSON message.
pub(super) struct Application<'a> {
    members: Vec<Member<'a>>,
    mode: JsonMode,
    reserved: &'a [&'static str],
}

/// How severe an application says a message is: as `ecs` writes it, as `otel` does, and OpenTelemetry's number.
pub(super) type Level = (&'static str, &'static str, u8);

/// Where applications write it; the first one that is there counts.
const LEVEL_KEYS: [&str; 4] = ["log.level", "level", "severity", "lvl"];

/// The names that applications use, in lower case. The numbers are those of OpenTelemetry's data model, appendix B.
const LEVELS: [(&str, Level); 17] = [
    ("trace", ("trace", "TRACE", 1)),
    ("debug", ("debug", "DEBUG", 5)),
    ("info", ("info", "INFO", 9)),
    ("information", ("info", "INFO", 9)),
    ("informational", ("info", "INFO", 9)),
    ("notice", ("notice", "NOTICE", 10)),
    ("warn", ("warn", "WARN", 13)),
    ("warning", ("warn", "WARN", 13)),
    ("err", ("error", "ERROR", 17)),
    ("error", ("error", "ERROR", 17)),
    ("crit", ("critical", "CRITICAL", 18)),
    ("critical", ("critical", "CRITICAL", 18)),
    ("alert", ("alert", "ALERT", 19)),
    ("emerg", ("fatal", "FATAL", 21)),
    ("emergency", ("fatal", "FATAL", 21)),
    ("fatal", ("fatal", "FATAL", 21)),
    ("panic", ("fatal", "FATAL", 21)),
];

impl<'a> Application<'a> {
    /// None when the message is not one JSON object.
    pub(super) fn new(record: &Record<'a>, mode: JsonMode, reserved: &'a [&'static str]) -> Option<Self> {
        if !record.valid_utf8 && std::str::from_utf8(record.message).is_err() {
            return None;
        }
        Some(Self {
            members: json_scan::members(record.message)?,
            mode,
            reserved,
        })
    }

    fn is_beside(&self, key: &str) -> bool {
        let head = key.split('.').next().unwrap_or(key);
        self.mode == JsonMode::Merge && !self.reserved.contains(&head)
    }

    /// Those that stand beside our fields, each after a comma.
    pub(super) fn push_beside(&self, out: &mut Vec<u8>) {
        for (key, value) in self.members.iter().filter(|(key, _)| self.is_beside(key)) {
            out.push(b',');
            push_member(out, key, value);
        }
    }

    /// The same, each before a comma.
    pub(super) fn push_before(&self, out: &mut Vec<u8>) {
        for (key, value) in self.members.iter().filter(|(key, _)| self.is_beside(key)) {
            push_member(out, key, value);
            out.push(b',');
        }
    }

    /// An object with the others, when there are some; `open` is what stands before the first of them.
    pub(super) fn push_apart(&self, out: &mut Vec<u8>, open: &[u8]) {
        let mut separator = open;
        for (key, value) in self.members.iter().filter(|(key, _)| !self.is_beside(key)) {
            out.extend_from_slice(separator);
            push_member(out, key, value);
            separator = b",";
        }
        if separator == b"," {
            out.push(b'}');
        }
    }

    /// What the application says about the severity, when it is a name that is known.
    pub(super) fn level(&self) -> Option<Level> {
        let text = LEVEL_KEYS.iter().find_map(|key| {
            let (_, value) = self.members.iter().find(|(known, _)| known == key)?;
            value.strip_prefix('"')?.strip_suffix('"')
        })?;
        let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text))?;
        Some(known.1)
    }
}

fn push_member(out: &mut Vec<u8>, key: &str, value: &str) {
    push_string(out, key);
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}
