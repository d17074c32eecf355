//! Another process's view: counters and documents by HTTP, orders by HTTP.

use super::*;
use std::time::Instant;

fn order(client: &mut Client, body: &str) -> Answer {
    let json = [("content-type", "application/json")];
    client
        .ask("POST", "/_kit/control", &json, body.as_bytes())
        .unwrap()
}

#[test]
fn counters_add_up() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    let (first, second) = (creates(0..5), creates(3..7));
    client.bulk(&first).unwrap();
    client.bulk(&second).unwrap();
    let stats = client.ask("GET", "/_kit/stats", &[], b"").unwrap().json();
    let bytes = first.len() + second.len();
    let expected = serde_json::json!({
        "requests": 2, "items": 9, "documents": 7, "duplicates_409": 2, "replaced": 0, "connections": 1,
        "wire_bytes": bytes, "body_bytes": bytes, "indices": {"i": 7},
    });
    assert_eq!(stats, expected);
}

#[test]
fn refused_requests_have_no_items() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::Refuse(Refused::Unavailable503), Odds::Always);
    Client::new(&server).bulk(&creates(0..5)).unwrap();
    assert_eq!((server.requests(), server.items()), (1, 0));
}

#[test]
fn stored_documents_can_be_read_back() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    client.bulk(&creates(0..2)).unwrap();
    let answer = client.ask("GET", "/_kit/documents?index=i*", &[], b"").unwrap();
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        "{\"_index\":\"i\",\"_id\":\"0\",\"_source\":{\"n\":0}}\n{\"_index\":\"i\",\"_id\":\"1\",\"_source\":{\"n\":1}}\n"
    );
    let other = client.ask("GET", "/_kit/documents?index=x", &[], b"").unwrap();
    assert_eq!(other.body, b"");
}

#[test]
fn orders_set_faults_fates_and_blocks() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    let orders = r#"{"seed": 3,
        "faults": [{"fault": {"refuse": "unavailable503"}, "odds": {"next": 1}}, {"fault": "html200", "odds": {"next": 1}}],
        "fates": {"mapping_400_if_contains": "\"n\":1}"}, "block": {"index": "i*", "kind": "write403"}}"#;
    assert_eq!(order(&mut client, orders).status, 200);
    assert_eq!(client.bulk(&creates(0..2)).unwrap().status, 503);
    let page = client.bulk(&creates(0..2)).unwrap();
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html"))
    );
    assert_eq!(client.bulk(&creates(0..2)).unwrap().statuses(), [403, 403]);
    order(&mut client, r#"{"unblock": "i*"}"#);
    assert_eq!(client.bulk(&creates(0..2)).unwrap().statuses(), [201, 400]);
    let always = r#"{"faults": [{"fault": {"stall_before_commit": {"secs": 0, "nanos": 1}}}, {"fault": "short_items"}]}"#;
    assert_eq!(order(&mut client, always).status, 200);
    order(
        &mut client,
        r#"{"clear_faults": true, "fates": {}, "limit_body": 10, "authorization": "me"}"#,
    );
    assert_eq!(client.bulk(&creates(2..3)).unwrap().status, 401);
}

#[test]
fn unknown_orders_are_refused_and_change_nothing() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    for wrong in [
        r#"{"faults": [{"fault": "comit_then_cut"}]}"#,
        r#"{"limit_body": 1, "of_ms": 1}"#,
        r#"{"limit_body": 1, "fates": {"reject": 0.1}}"#,
        "no JSON",
    ] {
        let answer = order(&mut client, wrong);
        assert_eq!(answer.status, 400, "{wrong}");
    }
    assert_eq!(client.bulk(&creates(0..1)).unwrap().statuses(), [201]);
}

#[test]
fn off_for_a_while_answers_first_and_comes_back_by_itself() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    client.bulk(&creates(0..1)).unwrap();
    assert_eq!(order(&mut client, r#"{"off_ms": 1}"#).status, 200);
    let back = Instant::now() + PATIENCE;
    let answer = loop {
        assert!(Instant::now() < back, "it stayed off");
        // While it is off, connections are refused or cut; both are what was ordered.
        let Ok(stream) = TcpStream::connect(server.address()) else {
            continue;
        };
        let mut again = Client {
            stream: BufReader::new(stream),
        };
        if let Ok(answer) = again.bulk(&creates(0..1)) {
            break answer;
        }
    };
    assert_eq!(answer.statuses(), [409], "documents stay");
    assert!(client.bulk(&creates(1..2)).is_err(), "the old connection was cut");
}

#[test]
fn a_dropped_server_does_not_come_back() {
    let server = RudeElasticsearch::start();
    let (address, shared) = (server.address(), Arc::downgrade(&server.shared));
    order(&mut Client::new(&server), r#"{"off_ms": 50}"#);
    drop(server);
    let deadline = Instant::now() + PATIENCE;
    // The thread that would switch it on holds the last reference.
    while shared.upgrade().is_some() {
        assert!(Instant::now() < deadline, "somebody still serves");
        std::thread::yield_now();
    }
    assert!(TcpStream::connect(address).is_err());
}
