//! A server without room for a third of the documents, whatever they are, and one that cannot read one in a hundred: all
//! of them arrive once, and that costs little more than the documents that are sent again.

use crate::agent::Lodging;
use crate::traffic::{tell, unix_ns};
use longshore_kit::lines::{CriDialect, Stream, cri_line};
use longshore_kit::rude_elasticsearch::{Fates, Keeping, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// So many that the time until the last of them are taken matters little.
const LINES: u64 = 240_000;
/// Bytes of text that the server takes in a second: less than an agent can send that is built without optimization.
const SERVER: u64 = 16_000_000;
/// One line in so many cannot be read by the server.
const POISON_EVERY: u64 = 100;
const POISON: &str = "poison";
/// Of the documents that it gets, the server has no room for so many.
const REFUSED: f64 = 0.3;
/// Text of the requests at most, for each byte that is needed: 1 / (1 - 0.3) is 1.43.
const MOST_SENT: f64 = 1.5;
/// Of the throughput without refusals, so much stays: of what such a server takes in, 0.7 are left, and the last documents
/// wait a few times.
const LEAST_THROUGHPUT: f64 = 0.5;

/// What a run took.
struct Run {
    took: Duration,
    /// Text of all requests.
    sent: u64,
    requests: u64,
}

fn run(reject_429: f64, has_poison: bool) -> Run {
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    server.throttle(SERVER);
    server.fates(Fates {
        mapping_400: Some(Box::new(|source| {
            memchr::memmem::find(source, POISON.as_bytes()).is_some()
        })),
        reject_429,
        ..Fates::default()
    });
    let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
    lodging.config["batch"] = serde_json::json!({});
    let node = Node::new(lodging.root()).expect("a node");
    let pod = node.pod("shop", "cart", "uid-cart");
    let mut log = pod.container("app").expect("a log file");
    let mut bytes = 0;
    for number in 0..LINES {
        let what = if has_poison && number % POISON_EVERY == 0 {
            POISON
        } else {
            "order"
        };
        let text = format!(
            "{what} {number} of customer {:016x} was taken in",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        );
        let line = cri_line(
            &CriDialect::Containerd.stamp(unix_ns()),
            Stream::Stdout,
            "F",
            text.as_bytes(),
        );
        log.write(&line).expect("a line");
        bytes += line.len() as u64;
    }
    let begun = Instant::now();
    let mut agent = lodging.start();
    agent.wait_until_delivered(bytes);
    let took = begun.elapsed();
    agent.terminate().assert_clean();

    let poisoned = if has_poison { LINES / POISON_EVERY } else { 0 };
    assert_eq!(server.count(), LINES - poisoned, "documents in the index");
    assert_eq!(server.duplicates_409(), 0, "sent again although they were taken");
    let letters = lodging.dead_letters();
    let ids: HashSet<String> = letters.iter().map(|letter| letter["id"].to_string()).collect();
    assert_eq!((letters.len() as u64, ids.len() as u64), (poisoned, poisoned));
    Run {
        took,
        sent: server.body_bytes(),
        requests: server.requests(),
    }
}

/// Red when what is refused rides in bodies of its own, later and later (`Flight::ride`), or whole bodies are sent again.
#[test]
fn a_third_refused_for_now_and_some_for_good_costs_the_documents_that_are_sent_again() {
    let (clean, refused) = (run(0.0, false), run(REFUSED, true));
    let sent = refused.sent as f64 / clean.sent as f64;
    let throughput = clean.took.as_secs_f64() / refused.took.as_secs_f64();
    tell(&format!(
        "a third refused: {LINES} lines in {:.1?} and {} requests, without refusals in {:.1?} and {}: {throughput:.2} of the \
         throughput; {sent:.3} times the text",
        refused.took, refused.requests, clean.took, clean.requests,
    ));
    assert!(sent <= MOST_SENT, "{sent} times the text");
    assert!(throughput >= LEAST_THROUGHPUT, "{throughput} of the throughput");
}
