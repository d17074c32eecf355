use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

mod control;
mod faults;
mod goldens;

const PATIENCE: Duration = Duration::from_secs(20);

/// A client that can say anything.
struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn statuses(&self) -> Vec<u64> {
        let json = self.json();
        let items = json["items"].as_array().expect("items");
        items
            .iter()
            .map(|item| {
                item.as_object().unwrap().values().next().unwrap()["status"]
                    .as_u64()
                    .unwrap()
            })
            .collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Client {
    fn new(server: &RudeElasticsearch) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: rude\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream
            .get_mut()
            .write_all(&[head.as_bytes(), b"\r\n", body].concat())
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        let length = answer.header("content-length").unwrap().parse().unwrap();
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.send(method, target, headers, body)?;
        self.answer()
    }

    fn bulk(&mut self, body: &str) -> io::Result<Answer> {
        self.ask(
            "POST",
            "/_bulk",
            &[("content-type", "application/x-ndjson")],
            body.as_bytes(),
        )
    }
}

/// `count` create actions for index `i`, ids `0…`, documents `{"n":…}`.
fn creates(range: std::ops::Range<u64>) -> String {
    range
        .map(|n| format!("{{\"create\":{{\"_index\":\"i\",\"_id\":\"{n}\"}}}}\n{{\"n\":{n}}}\n"))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn an_id_is_stored_once_per_index() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    assert_eq!(client.bulk(&creates(0..3)).unwrap().statuses(), [201, 201, 201]);
    assert_eq!(client.bulk(&creates(2..4)).unwrap().statuses(), [409, 201]);
    let answer = client.ask(
        "POST",
        "/other/_bulk",
        &[("content-type", "application/json")],
        b"{\"create\":{\"_id\":\"2\"}}\n{}\n",
    );
    assert_eq!(answer.unwrap().statuses(), [201]);
    assert_eq!(
        (
            server.count(),
            server.duplicates_409(),
            server.requests(),
            server.connections()
        ),
        (5, 1, 3, 1)
    );
    assert_eq!(server.indices(), [("i".to_owned(), 4), ("other".to_owned(), 1)]);
    assert_eq!(server.documents("i")[2].source, b"{\"n\":2}");
    assert_eq!(server.documents("*").len(), 5);
}

#[test]
fn ids_alone_know_duplicates_too() {
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    let mut client = Client::new(&server);
    client.bulk(&creates(0..3)).unwrap();
    assert_eq!(client.bulk(&creates(1..4)).unwrap().statuses(), [409, 409, 201]);
    assert_eq!((server.count(), server.documents("*").len()), (4, 0));
}

#[test]
fn a_missing_id_is_made() {
    let server = RudeElasticsearch::start();
    let body = "{\"create\":{\"_index\":\"i\"}}\n{\"n\":1}\n";
    let mut client = Client::new(&server);
    client.bulk(&format!("{body}{body}")).unwrap();
    let ids: Vec<_> = server
        .documents("i")
        .into_iter()
        .map(|document| document.id)
        .collect();
    assert_eq!(ids, ["generated-0000000001", "generated-0000000002"]);
}

#[test]
fn gzip_of_several_members_and_chunked_bodies_are_read() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    let members = [gzip(creates(0..2).as_bytes()), gzip(creates(2..3).as_bytes())].concat();
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "gzip"),
    ];
    assert_eq!(
        client
            .ask("POST", "/_bulk", &headers, &members)
            .unwrap()
            .statuses(),
        [201, 201, 201]
    );
    let body = creates(3..4);
    let (one, two) = body.split_at(10);
    let chunked = format!(
        "POST /_bulk HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x};x=y\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    client.stream.get_mut().write_all(chunked.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().statuses(), [201]);
    let seen = server.seen();
    assert_eq!(
        (seen[0].wire_bytes, seen[0].body_bytes),
        (members.len() as u64, creates(0..3).len() as u64)
    );
    assert_eq!(server.body_bytes(), creates(0..4).len() as u64);
}

#[test]
fn large_bodies_inflate_whole() {
    let body = creates(0..30_000);
    let mut out = Vec::new();
    bulk::inflate(&gzip(body.as_bytes()), &mut out, 1 << 30).unwrap();
    assert!(out == body.as_bytes());
    bulk::inflate(&gzip(body.as_bytes()), &mut out, body.len()).unwrap();
    let error = bulk::inflate(&gzip(body.as_bytes()), &mut out, body.len() - 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    let cut = &gzip(body.as_bytes())[..1000];
    assert!(
        bulk::inflate(cut, &mut out, 1 << 30).is_err(),
        "a torn body is no body"
    );
}

#[test]
fn the_filter_of_the_agent_leaves_what_it_needs() {
    let server = RudeElasticsearch::start();
    server.block_index("blocked-*", BlockKind::Write403);
    let mut client = Client::new(&server);
    let body = creates(0..1) + &creates(0..1) + "{\"create\":{\"_index\":\"blocked-1\",\"_id\":\"b\"}}\n{}\n";
    let target = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store";
    let answer = client
        .ask(
            "POST",
            target,
            &[("content-type", "application/x-ndjson")],
            body.as_bytes(),
        )
        .unwrap();
    let expected = "{\"errors\":true,\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":409,\"error\":{\
        \"type\":\"version_conflict_engine_exception\",\"reason\":\"[0]: version conflict, document already exists \
        (current version [1])\"}}},{\"create\":{\"status\":403,\"error\":{\"type\":\"cluster_block_exception\",\
        \"reason\":\"index [blocked-1] blocked by: [FORBIDDEN/8/index write (api)];\"}}}]}";
    assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
}

#[test]
fn a_filter_without_status_loses_the_successes() {
    let server = RudeElasticsearch::start();
    let mut client = Client::new(&server);
    let body = creates(0..2) + &creates(1..3);
    let target = "/_bulk?filter_path=items.*.error.type";
    let answer = client
        .ask(
            "POST",
            target,
            &[("content-type", "application/x-ndjson")],
            body.as_bytes(),
        )
        .unwrap();
    let expected = "{\"items\":[{\"create\":{\"error\":{\"type\":\"version_conflict_engine_exception\"}}}]}";
    assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
}

#[test]
fn filters_know_stars_and_exclusions() {
    let lets = |filter: &str, path: &[&str]| filter_path::FilterPath::parse(filter).lets(path);
    assert!(lets("", &["took"]) && lets("**.status", &["items", "create", "status"]));
    assert!(lets("items", &["items", "create", "status"]) && !lets("items", &["took"]));
    assert!(!lets("-took", &["took"]) && lets("-took", &["errors"]));
    assert!(
        lets("items.*.err*", &["items", "create", "error", "type"])
            && !lets("items.create", &["items", "index", "_id"])
    );
}

#[test]
fn the_test_is_told_of_every_stored_document() {
    let server = RudeElasticsearch::start();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    server.on_document(move |index, id, source| {
        hears
            .lock()
            .unwrap()
            .push(format!("{index} {id} {}", String::from_utf8_lossy(source)));
    });
    let mut client = Client::new(&server);
    client.bulk(&(creates(0..1) + &creates(0..2))).unwrap();
    assert_eq!(*heard.lock().unwrap(), ["i 0 {\"n\":0}", "i 1 {\"n\":1}"]);
    server.keep(Keeping::Nothing);
    assert_eq!(client.bulk(&creates(0..2)).unwrap().statuses(), [201, 201]);
    assert_eq!(heard.lock().unwrap().len(), 4);
}

#[test]
fn other_paths_do_as_little_as_longshore_may_rely_on() {
    let server = RudeElasticsearch::start();
    server.route("/__report", |query| format!("{{\"asked\":\"{query}\"}}"));
    let mut client = Client::new(&server);
    assert_eq!(client.ask("GET", "/", &[], b"").unwrap().status, 405);
    assert_eq!(
        client.ask("GET", "/_cluster/health", &[], b"").unwrap().json()["status"],
        "green"
    );
    assert_eq!(
        client.ask("GET", "/__report?x=1", &[], b"").unwrap().json()["asked"],
        "x=1"
    );
    assert_eq!(
        client
            .ask(
                "PUT",
                "/_template/x",
                &[("content-type", "application/json")],
                b"{}"
            )
            .unwrap()
            .status,
        404
    );
    server.announce();
    assert_eq!(
        client.ask("GET", "/", &[], b"").unwrap().json()["version"]["number"],
        "8.19.21"
    );
}
