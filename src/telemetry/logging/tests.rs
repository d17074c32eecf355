use super::*;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing::dispatcher::with_default;
use tracing::{debug, error, info, trace, warn};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = page.clone();
    with_default(&dispatch(&Log { level, format }, move || writer.clone()), events);
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "some instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

#[test]
fn text_has_level_words_and_fields_and_no_colour() {
    let text = written(LogLevel::Info, LogFormat::Text, || {
        warn!(path = "/var/log/pods", "cannot read");
    });
    assert!(text.contains(" WARN longshore::telemetry::logging"), "{text}");
    assert!(text.ends_with("cannot read path=\"/var/log/pods\"\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn json_is_one_object_per_line() {
    let text = written(LogLevel::Info, LogFormat::Json, || {
        error!(bytes = 7, "lost");
        info!("second\nline");
    });
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["level"], "ERROR");
    assert_eq!(lines[0]["message"], "lost");
    assert_eq!(lines[0]["bytes"], 7);
    assert!(lines[1]["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn libraries_are_quieter_than_we_are() {
    let lines = |level| {
        written(level, LogFormat::Text, || {
            error!("ours");
            warn!("ours");
            info!("ours");
            debug!("ours");
            trace!("ours");
            error!(target: "hyper", "theirs");
            warn!(target: "hyper", "theirs");
            info!(target: "hyper", "theirs");
            debug!(target: "hyper", "theirs");
        })
    };
    let count = |level| {
        let text = lines(level);
        (text.matches(" ours").count(), text.matches(" theirs").count())
    };
    assert_eq!(count(LogLevel::Error), (1, 1));
    assert_eq!(count(LogLevel::Warn), (2, 2));
    assert_eq!(count(LogLevel::Info), (3, 2));
    assert_eq!(count(LogLevel::Debug), (4, 3));
    assert_eq!(count(LogLevel::Trace), (5, 3));
}

/// Red when the end of the agent falls under the cap: nobody could tell from its log how it ended.
#[test]
fn after_a_storm_the_end_of_the_agent_is_told_and_what_was_left_out() {
    let page = Page::default();
    let (writer, now) = (page.clone(), some_instant());
    let log = Log {
        level: LogLevel::Info,
        format: LogFormat::Text,
    };
    let capped = Capped::new(&log, move || writer.clone(), move || now);
    with_default(&dispatch(&log, capped), || {
        for _ in 0..1000 {
            warn!("a fault that storms");
        }
        info!(target: "longshore::agent", "ended clean");
        info!(target: "longshore::agent", "that was all");
        info!("nothing else");
    });
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [.., notice, end, last] = &lines[..] else {
        panic!("{text}")
    };
    assert!(notice.contains("lines of this log were left out"), "{notice}");
    assert!(
        end.contains("ended clean") && last.contains("that was all"),
        "{text}"
    );
    assert!(text.len() < 17 * 1024);
}
