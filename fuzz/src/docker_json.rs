//! Lines of docker's `json-file` driver against a reading of the same JSON member by member.

use crate::cri::moment;
use longshore::parse::cri::Tag;
use longshore::parse::docker::{self, DockerLine};
use longshore::record::Stream;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Takes the input for a log file.
pub fn run(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let found = docker::parse(line);
        // Bytes that are no text inside a member that nobody reads are not looked at.
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        check(text, found.as_ref());
    }
}

fn check(line: &str, found: Option<&DockerLine<'_>>) {
    let Some(([log, stream, time], moment)) = reference(line) else {
        return assert!(found.is_none(), "{line:?}: {found:?}");
    };
    let found = found.unwrap_or_else(|| panic!("not taken: {line:?}"));
    assert_eq!((found.stamp.secs, found.stamp.nanos), moment, "{time}");
    assert_eq!(found.stream == Stream::Stdout, stream == "stdout");
    let content = log.strip_suffix('\n');
    assert_eq!(found.tag == Tag::Full, content.is_some());
    assert_eq!(found.content, content.unwrap_or(&log));
}

/// Log, stream and time of a line, each of which must stand there exactly once, and the moment.
fn reference(line: &str) -> Option<([String; 3], (i64, u32))> {
    let members: Members = serde_json::from_str(line)
        .ok()
        .filter(|_| line.starts_with('{'))?;
    let only = |name: &str| {
        let mut named = members.0.iter().filter(|(key, _)| key == name);
        let value = named.next().filter(|_| named.next().is_none())?;
        serde_json::from_str::<String>(value.1.get()).ok()
    };
    let [log, stream, time] = [only("log")?, only("stream")?, only("time")?];
    let moment = moment(&time)?;
    ["stdout", "stderr"]
        .contains(&stream.as_str())
        .then_some(([log, stream, time], moment))
}

/// The members of an object as they stand.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Builder;
        impl<'de> Visitor<'de> for Builder {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Builder)
    }
}
