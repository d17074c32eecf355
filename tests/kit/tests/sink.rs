//! The binary `sink`, as a measuring script uses it.

use longshore_kit::stack::RealElasticsearch;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Ends with the test, also with a failed one.
struct Sink(Child);

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended by itself; the test has failed then anyway.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> (Sink, RealElasticsearch) {
    let mut sink = Sink(
        Command::new(env!("CARGO_BIN_EXE_sink"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut url = String::new();
    BufReader::new(sink.0.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let client = RealElasticsearch::at(url.trim()).unwrap();
    (sink, client)
}

#[test]
fn lean_sink_counts_exactly_and_keeps_no_documents() {
    let (_sink, client) = start(&["--port", "0", "--lean"]);
    let bulk = "{\"create\":{\"_index\":\"i\",\"_id\":\"a\"}}\n{}\n";
    assert!(client.post("/_bulk", bulk).1.contains("\"status\":201"));
    assert!(client.post("/_bulk", bulk).1.contains("\"status\":409"));
    let stats: serde_json::Value = serde_json::from_str(&client.get("/_kit/stats").1).unwrap();
    let counted = ["requests", "items", "documents", "duplicates_409"].map(|key| stats[key].as_u64());
    assert_eq!(counted, [Some(2), Some(2), Some(1), Some(1)], "{stats}");
    assert_eq!(client.get("/_kit/documents"), (200, String::new()));
}

#[test]
fn wrong_arguments_are_bad_usage() {
    for arguments in [&["--prot", "1"][..], &["--port"], &["--port", "x"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_sink"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: sink"));
    }
}
