use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::json;

use super::*;

mod goldens;

const NODE_A: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a";
const PATIENCE: Duration = Duration::from_secs(10);

fn web(name: &str, node: &str) -> pod::PodBuilder {
    pod("shop", name, &format!("uid-{name}"), node)
        .label("app", name)
        .annotation("example.com/team", "blue")
        .container("app", "localhost/app:1", "sha256:1", "containerd://abc", 0)
}

/// An answer, open as long as it has more to say.
struct Exchange {
    stream: BufReader<TcpStream>,
    status: u16,
    head: String,
}

impl Exchange {
    fn open(server: &FakeApiserver, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes())
            .unwrap();
        let (mut stream, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                stream.read_line(&mut head).unwrap(),
                0,
                "the answer ends in its head: {head}"
            );
        }
        let status = head[9..12].parse().unwrap();
        Self {
            stream,
            status,
            head: head.to_ascii_lowercase(),
        }
    }

    fn body(mut self) -> String {
        let length = self
            .head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// The next line of a watch, or `None` when it was ended properly.
    fn next(&mut self) -> Option<Value> {
        self.try_next().expect("a line, or a proper end")
    }

    fn try_next(&mut self) -> std::io::Result<Option<Value>> {
        let mut size = String::new();
        if self.stream.read_line(&mut size)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk)?;
        Ok((size > 0).then(|| serde_json::from_slice(&chunk).unwrap()))
    }

    /// Type, name and version of the next line.
    fn event(&mut self) -> (String, String, u64) {
        let line = self.next().expect("an event");
        let text = |pointer| {
            line.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let version = text("/object/metadata/resourceVersion")
            .parse()
            .unwrap_or_default();
        (text("/type"), text("/object/metadata/name"), version)
    }
}

fn get(server: &FakeApiserver, path: &str) -> (u16, Value) {
    let exchange = Exchange::open(server, path, "");
    (exchange.status, serde_json::from_str(&exchange.body()).unwrap())
}

fn watch(server: &FakeApiserver, version: u64) -> Exchange {
    let path = format!("{NODE_A}&watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    Exchange::open(server, &path, "")
}

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap())
        .collect()
}

fn version_of(list: &Value) -> u64 {
    list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn list_shows_the_pods_of_the_node_and_the_watch_goes_on_from_it() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", "node-a"));
    server.add_pod(web("web-9", "node-b"));
    let (status, list) = get(&server, &format!("{NODE_A}&resourceVersion=0"));
    assert_eq!((status, names(&list)), (200, vec!["web-0"]));

    let mut watch = watch(&server, version_of(&list));
    server.add_pod(web("web-1", "node-a"));
    server.add_pod(web("web-8", "node-b"));
    server.modify_pod(web("web-1", "node-a").label("tier", "front").ip("10.1.2.3"));
    server.bookmark();
    server.delete_pod("shop", "web-1");
    let seen: Vec<_> = (0..4).map(|_| watch.event()).collect();
    let kinds: Vec<_> = seen
        .iter()
        .map(|(kind, name, _)| (kind.as_str(), name.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("ADDED", "web-1"),
            ("MODIFIED", "web-1"),
            ("BOOKMARK", ""),
            ("DELETED", "web-1")
        ]
    );
    assert!(seen.is_sorted_by_key(|(_, _, version)| *version), "{seen:?}");

    assert_eq!(
        (server.lists(), server.watches(), server.open_watches()),
        (1, 1, 1)
    );
    assert_eq!(
        server.last_list_query(),
        "fieldSelector=spec.nodeName%3Dnode-a&resourceVersion=0"
    );
    assert!(server.last_watch_query().contains("allowWatchBookmarks=true"));
    drop(watch);
    wait_until("the watch is closed", || server.open_watches() == 0);
}

#[test]
fn pod_that_moves_into_the_selection_is_added_and_out_of_it_deleted() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", ""));
    let mut watch = watch(&server, server.resource_version());
    server.modify_pod(web("web-0", "node-a"));
    server.modify_pod(web("web-0", "node-b"));
    assert_eq!(watch.event().0, "ADDED");
    assert_eq!(watch.event().0, "DELETED");
}

#[test]
fn pages_cover_every_pod_once_and_version_zero_knows_no_pages() {
    let server = FakeApiserver::start();
    let all: Vec<String> = (0..5).map(|n| format!("web-{n}")).collect();
    all.iter().for_each(|name| server.add_pod(web(name, "node-a")));
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let (_, list) = get(&server, &format!("/api/v1/pods?limit=2{next}"));
        seen.extend(names(&list).into_iter().map(str::to_owned));
        let Some(token) = list["metadata"]["continue"].as_str() else {
            break;
        };
        assert_eq!(list["metadata"]["remainingItemCount"], 5 - seen.len());
        next = format!("&continue={token}");
    }
    assert_eq!(seen, all);
    assert_eq!(server.lists(), 3);
    assert_eq!(
        names(&get(&server, "/api/v1/pods?limit=2&resourceVersion=0").1).len(),
        5
    );
}

#[test]
fn expired_history_ends_watches_and_pages_but_not_lists() {
    let server = FakeApiserver::start();
    (0..3).for_each(|n| server.add_pod(web(&format!("web-{n}"), "node-a")));
    let (_, page) = get(&server, "/api/v1/pods?limit=1");
    let mut watch_before = watch(&server, server.resource_version());
    wait_until("the watch is open", || server.open_watches() == 1);
    server.expire();

    let error = watch_before.next().unwrap();
    assert_eq!(
        (&error["type"], &error["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(watch_before.next(), None);
    assert_eq!(watch(&server, version_of(&page)).event().0, "ERROR");

    let token = page["metadata"]["continue"].as_str().unwrap();
    let (status, refusal) = get(&server, &format!("/api/v1/pods?limit=1&continue={token}"));
    assert_eq!((status, &refusal["reason"]), (410, &json!("Expired")));
    let fresh = refusal["metadata"]["continue"].as_str().unwrap();
    assert_eq!(
        names(&get(&server, &format!("/api/v1/pods?continue={fresh}")).1),
        ["web-1", "web-2"]
    );

    let (status, list) = get(&server, NODE_A);
    assert_eq!((status, names(&list).len()), (200, 3));
    let mut watch_after = watch(&server, version_of(&list));
    server.delete_pod("shop", "web-0");
    assert_eq!(watch_after.event().0, "DELETED");
}

#[test]
fn stalled_server_takes_requests_and_answers_them_later() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", "node-a"));
    let mut watch = watch(&server, server.resource_version());
    server.stall();
    server.delete_pod("shop", "web-0");
    watch
        .stream
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(watch.try_next().is_err(), "a stalled watch is silent");
    watch.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();

    std::thread::scope(|scope| {
        let late = scope.spawn(|| get(&server, NODE_A).0);
        wait_until("the list is taken", || server.lists() == 1);
        assert!(!late.is_finished());
        server.resume();
        assert_eq!(late.join().unwrap(), 200);
    });
    assert_eq!(watch.event().0, "DELETED");
}

#[test]
fn server_that_goes_off_cuts_its_watches_and_comes_back_on_its_port() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", "node-a"));
    let mut cut = watch(&server, server.resource_version());
    let url = server.url();
    server.off();
    assert!(cut.try_next().is_err(), "cut, not ended properly");
    assert!(TcpStream::connect(server.address).is_err());
    assert_eq!(server.open_watches(), 0);
    server.on();
    server.on(); // twice is once
    assert_eq!((server.url(), get(&server, NODE_A).0), (url, 200));
}

#[test]
fn watches_end_properly_when_they_are_closed_or_their_time_is_over() {
    let server = FakeApiserver::start();
    let mut closed = watch(&server, server.resource_version());
    wait_until("the watch is open", || server.open_watches() == 1);
    server.close_watches();
    assert_eq!(closed.next(), None);
    let mut timed = Exchange::open(&server, &format!("{NODE_A}&watch=1&timeoutSeconds=1"), "");
    assert_eq!(timed.next(), None);
}

#[test]
fn wrong_selectors_are_refused_and_not_ignored() {
    let server = FakeApiserver::start();
    let (status, refusal) = get(&server, "/api/v1/pods?fieldSelector=spec.node%3Da");
    assert_eq!(
        (status, &refusal["message"]),
        (400, &json!("field label not supported: spec.node"))
    );
    assert_eq!(get(&server, "/api/v1/pods?labelSelector=a%3Db").0, 400);
    assert_eq!(get(&server, "/api/v1/secrets").0, 404);
}

#[test]
fn static_pod_carries_its_hash_and_its_node_as_owner() {
    let object = pod("kube-system", "etcd-a", "u", "a").static_pod("4b1d").build();
    assert_eq!(
        object["metadata"]["annotations"]["kubernetes.io/config.hash"],
        "4b1d"
    );
    assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "Node");
    let object = pod("shop", "w", "u", "a")
        .container("app", "i:1", "sha256:1", "containerd://c", 3)
        .init_container("init", "i:2", "sha256:2", "containerd://d", 0)
        .owner("ReplicaSet", "w-5d4f8")
        .build();
    assert_eq!(object["status"]["containerStatuses"][0]["restartCount"], 3);
    assert_eq!(
        object["status"]["initContainerStatuses"][0]["containerID"],
        "containerd://d"
    );
    assert_eq!(object["metadata"]["ownerReferences"][0]["apiVersion"], "apps/v1");
}
