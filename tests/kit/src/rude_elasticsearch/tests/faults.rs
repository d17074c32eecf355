//! What goes wrong on command.

use super::*;

fn refused_connection(server: &RudeElasticsearch) -> bool {
    TcpStream::connect(server.address()).is_err()
}

#[test]
fn commit_then_cut_stores_everything_and_says_nothing() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::CommitThenCut, Odds::Next(1));
    assert!(Client::new(&server).bulk(&creates(0..2)).is_err());
    assert!(server.wait_for_documents(2, PATIENCE));
    assert_eq!(
        Client::new(&server).bulk(&creates(0..3)).unwrap().statuses(),
        [409, 409, 201]
    );
    assert_eq!(server.seen()[0].status, None);
}

#[test]
fn cut_before_commit_stores_nothing() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::CutBeforeCommit, Odds::Next(1));
    assert!(Client::new(&server).bulk(&creates(0..2)).is_err());
    assert!(server.wait_for_requests(1, PATIENCE));
    assert_eq!(
        Client::new(&server).bulk(&creates(0..2)).unwrap().statuses(),
        [201, 201]
    );
}

#[test]
fn an_answer_cut_in_its_middle_is_no_answer() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::CutMidAnswer, Odds::Next(1));
    let error = Client::new(&server).bulk(&creates(0..2)).unwrap_err();
    assert_eq!((error.kind(), server.count()), (io::ErrorKind::UnexpectedEof, 2));
}

#[test]
fn a_refused_request_may_have_stored_half() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::CommitHalfThen400, Odds::Next(1));
    assert_eq!(Client::new(&server).bulk(&creates(0..4)).unwrap().status, 400);
    assert_eq!(server.count(), 2);
}

#[test]
fn proxies_answer_200_with_nonsense() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::Html200, Odds::Next(1));
    server.fault(Fault::Empty200, Odds::Next(1));
    server.fault(Fault::Refuse(Refused::BadGateway502), Odds::Next(1));
    let mut client = Client::new(&server);
    let page = client.bulk(&creates(0..1)).unwrap();
    assert_eq!(
        (page.status, page.header("content-type"), server.count()),
        (200, Some("text/html"), 0)
    );
    let empty = client.bulk(&creates(0..1)).unwrap();
    assert_eq!((empty.status, empty.body.len(), server.count()), (200, 0, 1));
    assert_eq!(client.bulk(&creates(0..1)).unwrap().status, 502);
    assert_eq!(client.bulk(&creates(0..1)).unwrap().statuses(), [409]);
}

#[test]
fn short_lists_and_pretty_answers_are_possible() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::ShortItems, Odds::Next(1));
    server.fault(Fault::Pretty, Odds::Next(1));
    let mut client = Client::new(&server);
    assert_eq!(client.bulk(&creates(0..3)).unwrap().statuses(), [201, 201]);
    let answer = client.bulk(&creates(0..1)).unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.starts_with(
            "{\n  \"errors\" : true,\n  \"took\" : 0,\n  \"items\" : [\n    {\n      \"create\" : {\n"
        ),
        "{text}"
    );
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    server.fault(Fault::ShortItems, Odds::Next(1));
    let empty = client.bulk(&creates(7..8)).unwrap();
    assert_eq!(empty.body, b"{\"errors\":false,\"took\":0,\"items\":[]}");
}

#[test]
fn a_stall_lasts_until_it_is_released() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::StallBeforeCommit(PATIENCE), Odds::Next(1));
    server.fault(Fault::StallAfterCommit(PATIENCE), Odds::Next(1));
    let mut client = Client::new(&server);
    let body = creates(0..1);
    client
        .send(
            "POST",
            "/_bulk",
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
        .unwrap();
    assert!(server.wait_for_stalled(1, PATIENCE));
    assert_eq!(server.count(), 0);
    server.release();
    assert_eq!(client.answer().unwrap().statuses(), [201]);
    client
        .send(
            "POST",
            "/_bulk",
            &[("content-type", "application/json")],
            creates(1..2).as_bytes(),
        )
        .unwrap();
    assert!(server.wait_for_stalled(1, PATIENCE));
    assert_eq!(server.count(), 2);
    server.release();
    assert_eq!(client.answer().unwrap().statuses(), [201]);
}

#[test]
fn a_stall_ends_by_itself_and_with_the_server() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::StallBeforeCommit(Duration::from_millis(5)), Odds::Next(1));
    assert_eq!(
        Client::new(&server).bulk(&creates(0..1)).unwrap().statuses(),
        [201]
    );
    server.fault(Fault::StallBeforeCommit(PATIENCE), Odds::Next(1));
    let mut client = Client::new(&server);
    client
        .send(
            "POST",
            "/_bulk",
            &[("content-type", "application/json")],
            creates(1..2).as_bytes(),
        )
        .unwrap();
    assert!(server.wait_for_stalled(1, PATIENCE));
    server.off();
    assert!(client.answer().is_err());
    assert_eq!(
        server.count(),
        1,
        "what was not stored when the server went down is not stored later"
    );
}

#[test]
fn off_refuses_and_on_is_the_same_port_with_the_same_documents() {
    let server = RudeElasticsearch::start();
    let (url, mut client) = (server.url(), Client::new(&server));
    client.bulk(&creates(0..1)).unwrap();
    server.off();
    assert!(refused_connection(&server));
    assert!(client.bulk(&creates(1..2)).is_err());
    server.off();
    server.on();
    server.on();
    assert_eq!((server.url(), server.count()), (url, 1));
    assert_eq!(
        Client::new(&server).bulk(&creates(0..2)).unwrap().statuses(),
        [409, 201]
    );
    server.cut_connections();
    assert_eq!(
        Client::new(&server).bulk(&creates(2..3)).unwrap().statuses(),
        [201]
    );
}

#[test]
fn fates_hang_on_seed_id_and_attempt_only() {
    let run = |seed, step: usize| {
        let server = RudeElasticsearch::start();
        server.seed(seed);
        server.fates(Fates {
            reject_429: 0.2,
            unavailable_503: 0.1,
            noop_200: 0.1,
            ..Fates::default()
        });
        let mut client = Client::new(&server);
        let mut statuses = Vec::new();
        for _attempt in 0..2 {
            for start in (0..400).step_by(step) {
                statuses.extend(
                    client
                        .bulk(&creates(start..start + step as u64))
                        .unwrap()
                        .statuses(),
                );
            }
        }
        statuses
    };
    let statuses = run(1, 100);
    assert_eq!(statuses, run(1, 40), "the size of the requests does not matter");
    assert_ne!(statuses, run(2, 100));
    let share = |status| statuses[..400].iter().filter(|&&known| known == status).count();
    assert!(
        (50..110).contains(&share(429)) && (20..60).contains(&share(503)) && (20..60).contains(&share(200))
    );
    assert_ne!(
        statuses[..400],
        statuses[400..],
        "a rejected item is not rejected for ever"
    );
}

#[test]
fn a_custom_fate_sees_the_attempt() {
    let server = RudeElasticsearch::start();
    server.fates(Fates {
        custom: Some(Box::new(|item| {
            (item.id == "1" && item.attempt < 2).then_some(ItemFate::Reject429)
        })),
        failure_store_used: 1.0,
        ..Fates::default()
    });
    let mut client = Client::new(&server);
    let answer = client.bulk(&creates(0..2)).unwrap();
    assert_eq!(
        (answer.statuses(), answer.json()["errors"].as_bool()),
        (vec![201, 429], Some(true))
    );
    assert_eq!(answer.json()["items"][0]["create"]["failure_store"], "used");
    assert_eq!(client.bulk(&creates(1..2)).unwrap().statuses(), [429]);
    assert_eq!(client.bulk(&creates(1..2)).unwrap().statuses(), [201]);
    server.fates(Fates::default());
    assert!(
        client.bulk(&creates(2..3)).unwrap().json()["items"][0]["create"]
            .get("failure_store")
            .is_none()
    );
}

#[test]
fn wrong_credentials_are_refused_before_anything_is_stored() {
    let server = RudeElasticsearch::start();
    server.require_authorization("ApiKey right");
    let mut client = Client::new(&server);
    assert_eq!(client.bulk(&creates(0..1)).unwrap().status, 401);
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "ApiKey right"),
    ];
    assert_eq!(
        client
            .ask("POST", "/_bulk", &headers, creates(0..1).as_bytes())
            .unwrap()
            .statuses(),
        [201]
    );
}

#[test]
fn odds_follow_the_seed() {
    let run = |seed| {
        let server = RudeElasticsearch::start();
        server.seed(seed);
        server.fault(Fault::Refuse(Refused::Pressure429), Odds::Probability(0.5));
        let mut client = Client::new(&server);
        (0..64)
            .map(|n| client.bulk(&creates(n..n + 1)).unwrap().status)
            .collect::<Vec<_>>()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
