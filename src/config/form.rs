//! How a value may be written: one form reads it, says what is allowed, and describes itself to JSON Schema.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::fingerprint::Fingerprint;
use super::glob::Glob;
use super::host::HostUrl;
use super::index::IndexPattern;
use super::spelling::nearest;
use super::types::MinFree;
use super::units::{self, show_size, show_time};

/// A way to write one value.
pub(super) trait Form {
    /// What is read.
    type Value;

    /// Reads a text in which variables are filled in; the error says what to do, and may be empty.
    fn read(&self, text: &str) -> Result<Self::Value, String>;

    /// What may stand there, for people.
    fn allowed(&self) -> String;

    /// What may stand there, for editors.
    fn schema(&self) -> Value;
}

/// Any text, also an empty one.
pub(super) struct Text;

impl Form for Text {
    type Value = String;

    fn read(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn allowed(&self) -> String {
        "a text; \"\" for none".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string"})
    }
}

/// A path from the root: a relative one would depend on where the agent was started.
pub(super) struct AbsolutePath;

impl Form for AbsolutePath {
    type Value = PathBuf;

    fn read(&self, text: &str) -> Result<PathBuf, String> {
        match text {
            _ if text.contains('\0') => Err("leave out the zero byte".to_owned()),
            _ if text.starts_with('/') => Ok(PathBuf::from(text)),
            "" => Err("write a path".to_owned()),
            _ => Err("begin it with `/`".to_owned()),
        }
    }

    fn allowed(&self) -> String {
        "an absolute path".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^/"})
    }
}

/// A region of AWS, as its endpoints write it.
pub(super) struct Region;

impl Form for Region {
    type Value = String;

    fn read(&self, text: &str) -> Result<String, String> {
        let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match text.len() {
            1..=64 if text.bytes().all(is_sign) => Ok(text.to_owned()),
            _ => Err(
                "take it from the host name of the service: search-logs-….eu-central-1.es.amazonaws.com"
                    .to_owned(),
            ),
        }
    }

    fn allowed(&self) -> String {
        "a region, such as eu-central-1".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^[a-z0-9-]{1,64}$"})
    }
}

/// The SHA-256 of a certificate.
pub(super) struct Sha256;

impl Form for Sha256 {
    type Value = Fingerprint;

    fn read(&self, text: &str) -> Result<Fingerprint, String> {
        Fingerprint::parse(text)
            .ok_or_else(|| "take it from `openssl x509 -fingerprint -sha256 -in ca.crt`".to_owned())
    }

    fn allowed(&self) -> String {
        "64 hexadecimal digits, with or without colons".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"})
    }
}

/// A number of bytes, both bounds within.
pub(super) struct Size {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Form for Size {
    type Value = u64;

    fn read(&self, text: &str) -> Result<u64, String> {
        let bytes = units::parse_size(text).ok_or_else(|| units::size_hint(text))?;
        check_range(bytes, self.least, self.most, show_size)
    }

    fn allowed(&self) -> String {
        format!(
            "a size from {} to {}, such as 4MiB, 512KiB or 100",
            show_size(self.least),
            show_size(self.most)
        )
    }

    fn schema(&self) -> Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": self.least, "maximum": self.most},
            {"type": "string", "pattern": "^[0-9]+ ?([KMGT]i?B|B)?$"},
        ]})
    }
}

/// A span of time, both bounds within.
pub(super) struct Time {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

impl Form for Time {
    type Value = Duration;

    fn read(&self, text: &str) -> Result<Duration, String> {
        let time = units::parse_time(text).ok_or_else(|| units::time_hint(text))?;
        check_range(time, self.least, self.most, show_time)
    }

    fn allowed(&self) -> String {
        format!(
            "a time from {} to {}, such as 250ms, 5s, 1m or 2h",
            show_time(self.least),
            show_time(self.most)
        )
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$"})
    }
}

/// A whole number, both bounds within.
pub(super) struct Count {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl Form for Count {
    type Value = usize;

    fn read(&self, text: &str) -> Result<usize, String> {
        check_range(read_digits(text)?, self.least, self.most, |number| {
            number.to_string()
        })
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.least, self.most)
    }

    fn schema(&self) -> Value {
        json!({"type": "integer", "minimum": self.least, "maximum": self.most})
    }
}

/// A level from 0, which is off, to `most`.
pub(super) struct Level {
    pub(super) most: u8,
}

impl Form for Level {
    type Value = u8;

    fn read(&self, text: &str) -> Result<u8, String> {
        // What does not fit into the type is too large in any case.
        let level = u8::try_from(read_digits(text)?).unwrap_or(u8::MAX);
        check_range(level, 0, self.most, |level| level.to_string())
    }

    fn allowed(&self) -> String {
        format!("a whole number from 0 (off) to {}", self.most)
    }

    fn schema(&self) -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": self.most})
    }
}

/// One word out of a few.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Choice<T> {
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(word, _)| *word)
    }
}

impl<T: Copy> Form for Choice<T> {
    type Value = T;

    fn read(&self, text: &str) -> Result<T, String> {
        if let Some((_, value)) = self.0.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        Err(match nearest(text, self.words()) {
            Some(word) => format!("did you mean `{word}`?"),
            // Tools that speak YAML 1.1 write `off` as `false` when it has no quotes.
            None if text == "false" && self.words().any(|word| word == "off") => {
                "write \"off\", in quotes if a tool writes this file".to_owned()
            }
            None => String::new(),
        })
    }

    fn allowed(&self) -> String {
        self.words().collect::<Vec<_>>().join(" | ")
    }

    fn schema(&self) -> Value {
        json!({"enum": self.words().collect::<Vec<_>>()})
    }
}

/// Yes or no, as YAML 1.2 writes it.
pub(super) struct Switch;

impl Form for Switch {
    type Value = bool;

    fn read(&self, text: &str) -> Result<bool, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            "yes" | "on" | "True" | "TRUE" => Err("write true".to_owned()),
            "no" | "off" | "False" | "FALSE" => Err("write false".to_owned()),
            _ => Err(String::new()),
        }
    }

    fn allowed(&self) -> String {
        "true | false".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "boolean"})
    }
}

/// A name with `*` and `?`.
pub(super) struct Pattern;

impl Form for Pattern {
    type Value = Glob;

    fn read(&self, text: &str) -> Result<Glob, String> {
        if text.is_empty() {
            return Err("take it out, or write * for every name".to_owned());
        }
        Ok(Glob::new(text))
    }

    fn allowed(&self) -> String {
        "a name; * stands for any letters, ? for one".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

/// The address of a host.
pub(super) struct Host;

impl Form for Host {
    type Value = HostUrl;

    fn read(&self, text: &str) -> Result<HostUrl, String> {
        HostUrl::parse(text).map_err(str::to_owned)
    }

    fn allowed(&self) -> String {
        "an address such as https://elasticsearch:9200".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^@?#]+$"})
    }
}

/// The name of an index, with date parts.
pub(super) struct IndexName;

impl Form for IndexName {
    type Value = IndexPattern;

    fn read(&self, text: &str) -> Result<IndexPattern, String> {
        IndexPattern::parse(text)
    }

    fn allowed(&self) -> String {
        "an index name in lower case, with %Y %m %d %H %j for the date".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

/// A share of the file system, or a size.
pub(super) struct FreeSpace;

impl Form for FreeSpace {
    type Value = MinFree;

    fn read(&self, text: &str) -> Result<MinFree, String> {
        units::parse_min_free(text).ok_or_else(|| units::size_hint(text))
    }

    fn allowed(&self) -> String {
        "a share from 0% to 99%, or a size such as 2GiB".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^([0-9]{1,2}%|[0-9]+ ?([KMGT]i?B|B)?)$"},
        ]})
    }
}

/// An address to listen on.
pub(super) struct Listen;

impl Form for Listen {
    type Value = SocketAddr;

    fn read(&self, text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| match text.strip_prefix(':') {
            Some(port) if port.parse::<u16>().is_ok() => format!("write 0.0.0.0:{port}"),
            _ => "write an IP address (not a name), a colon and a port".to_owned(),
        })
    }

    fn allowed(&self) -> String {
        "an address such as 0.0.0.0:8080, 127.0.0.1:8080 or [::]:8080".to_owned()
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": ":[0-9]{1,5}$"})
    }
}

/// Digits only; a number that is too large for the type is as large as it gets.
fn read_digits(text: &str) -> Result<usize, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("write a whole number, without a unit".to_owned());
    }
    Ok(text.parse().unwrap_or(usize::MAX))
}

fn check_range<T: PartialOrd>(value: T, least: T, most: T, show: fn(T) -> String) -> Result<T, String> {
    if value < least {
        return Err(format!("raise it to {} at least", show(least)));
    }
    if value > most {
        return Err(format!("lower it to {} at most", show(most)));
    }
    Ok(value)
}
