//! When an answer is to tell where its documents went, and what it told.
//!
//! Answers that name all documents are larger than most requests, so one in a minute is asked for that, and the first
//! one after the start. When one shows that documents are diverted, all are, until none has been for ten minutes: then what is
//! counted is nearly what happens.

use crate::codec::body::document;
use crate::codec::gzip;
use crate::record::Body;
use crate::sink::dead_letter;
use crate::sink::elasticsearch::response::{Diverted, Places};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(60);
/// So long after diverted documents all requests are audited.
const WATCH: Duration = Duration::from_secs(600);

/// Index and id of each document of a body.
pub(super) fn names_of(body: &Body) -> Vec<(String, String)> {
    // What cannot be inflated was not made by us; nothing can be said of it.
    let text = gzip::inflate(body).unwrap_or_default();
    let name = |at| {
        let lines = document(body, &text, at);
        let action = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
        dead_letter::target(&lines[..action])
    };
    (0..body.documents()).map(name).collect()
}

/// The audits of one sink.
#[derive(Debug, Default)]
pub(super) struct Audits {
    last: Option<Instant>,
    diverted: Option<Instant>,
}

impl Audits {
    /// A request goes out: whether it is an audit.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let passed = |since: Instant| now.saturating_duration_since(since);
        let is_watched = self.diverted.is_some_and(|at| passed(at) < WATCH);
        let is_due = self.last.is_none_or(|at| passed(at) >= INTERVAL);
        if is_due || is_watched {
            self.last = Some(now);
        }
        is_due || is_watched
    }

    /// The answer to an audit: which documents of the body are not where they were sent to.
    pub(super) fn end(&mut self, body: &Body, places: &Places, now: Instant) -> Diverted {
        let names = names_of(body);
        let sent = names.iter().map(|(index, id)| (index.as_str(), id.as_str()));
        let diverted = places.diverted(sent);
        if diverted.ids + diverted.indices > 0 {
            self.diverted = Some(now);
        }
        diverted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::elasticsearch::response::Scan;
    use crate::spool::frame::tests::body;

    /// Red when audits are forgotten, or never end.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
    fn one_request_a_minute_is_audited_and_all_after_something_was_found() {
        let (mut audits, begun) = (Audits::default(), Instant::now());
        let begin = |audits: &mut Audits, second| audits.begin(begun + Duration::from_secs(second));
        let seconds = |audits: &mut Audits, all: std::ops::Range<u64>| {
            all.filter(|second| begin(audits, *second)).count()
        };
        assert_eq!(seconds(&mut audits, 0..180), 3);
        let body = body(1);
        let answer = br#"{"items":[{"create":{"_index":"other","_id":"other","status":201}}]}"#;
        let mut scan = Scan::new(200, 1).audited();
        scan.push(answer);
        let places = scan.finish_audited().1.unwrap();
        let diverted = audits.end(&body, &places, begun + Duration::from_secs(180));
        assert_eq!(diverted.indices, 1);
        assert_eq!(seconds(&mut audits, 181..780), 599);
        assert_eq!(seconds(&mut audits, 780..1080), 5);
    }
}
