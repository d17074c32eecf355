//! 9.2 stores a bulk while it comes, piece by piece, when it is short of memory: of a request that is cut in its middle the
//! first documents are there, although nobody has answered. The test takes that from a real server, and then what the agent
//! makes of it: ids keep them from being doubled, and where the stream has rolled over meanwhile, looking them up does.

use super::cutters::{Cut, Cutters};
use super::{MORNING_NS, Talker};
use crate::agent::Lodging;
use crate::traffic::tell;
use longshore_kit::simkubelet::Node;
use longshore_kit::stack::{Kind, RealServer};
use longshore_kit::verifier::Verifier;
use serde_json::json;

/// Lines of some 900 bytes as documents: more than one body.
const LINES: u64 = 8_000;
/// Bytes after which a body stops: most of one.
const CUT: usize = 3 << 20;
/// From this many bytes under way on, bulks of that size are stored in pieces. (The defaults are 5 % of the heap and 4 MB.)
const SHORT_OF_MEMORY: [&str; 2] = [
    "indexing_pressure.memory.split_bulk.watermark.low=1mb",
    "indexing_pressure.memory.split_bulk.watermark.low.bulk_size=512kb",
];
/// Documents that show that pieces are stored.
const PIECE: u64 = 100;
const STREAM: &str = "logs-prefix-default";

/// Red when a request that broke is sent again before it was looked up (`Flight::looks_up`): then those documents are there twice.
#[test]
fn e2e_a_server_of_its_own_stores_the_beginning_of_a_request_that_is_cut() {
    let es = RealServer::start(Kind::Elasticsearch9, &SHORT_OF_MEMORY).unwrap();
    let template = json!({
        "index_patterns": [STREAM],
        "data_stream": {},
        "priority": 500,
        "template": {
            "settings": {"index": {"refresh_interval": "100ms"}},
            "mappings": {"properties": {"@timestamp": {"type": "date"}}},
        },
    });
    let (status, answer) = es.put("/_index_template/prefix", &template.to_string());
    assert_eq!(status, 200, "{answer}");
    let cutters = Cutters::new(1, &es.url());
    let mut lodging = Lodging::new(&es.url(), STREAM);
    let sink = &mut lodging.config["sink"]["elasticsearch"];
    sink["schema"] = json!("ecs");
    sink["hosts"] = json!(cutters.urls);
    sink["compression"] = json!(0);
    sink["look_up_after"] = json!("3s");

    let node = Node::new(lodging.root()).unwrap();
    let mut log = node.pod("shop", "web-0", "uid-web").container("app").unwrap();
    let mut talker = Talker::new("prefix");
    talker.say(&mut log, MORNING_NS, LINES);
    cutters.order(Cut::Request { after: CUT });
    let mut agent = lodging.start();
    agent.wait_for("a request stops in its middle", |_| cutters.cuts() >= 1);
    agent.wait_for("the beginning of it is stored", |_| {
        let (status, _) = es.post(&format!("/{STREAM}/_refresh"), "");
        status == 200 && es.count(STREAM) >= PIECE
    });
    let beginning = es.count(STREAM);
    assert_eq!(agent.status().ledger("acked"), 0);
    let (status, answer) = es.post(&format!("/{STREAM}/_rollover"), "");
    assert_eq!(status, 200, "{answer}");
    cutters.order(Cut::None);
    let status = agent.wait_until_delivered(talker.bytes);
    status.assert_nothing_lost();
    es.refresh(STREAM);
    tell(&format!(
        "{beginning} documents of a request without an answer were stored; {LINES} lines, {} documents",
        es.count(STREAM)
    ));
    assert_eq!(agent.metric("longshore_sink_possible_duplicates_total") as u64, 0);
    agent.terminate().assert_clean();
    let mut verifier = Verifier::new();
    verifier.sent_range(&talker.stream, 0..talker.lines);
    for document in es.search_all(STREAM) {
        verifier.arrived(document["_source"].to_string().as_bytes());
    }
    verifier.assert_exactly_once();
}
