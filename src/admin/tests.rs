//! The server over loopback, asked by a client that writes its requests by hand.

use super::*;
use crate::telemetry::example;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No answer takes as long; a test that hangs fails here.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server with its board.
struct Served {
    address: SocketAddr,
    board: Arc<Board>,
    stop: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
}

#[expect(clippy::disallowed_methods, reason = "the test plays the agent, which spawns")]
async fn served(connections: usize, lifetime: Duration) -> Served {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let board = Arc::new(example::board());
    board.reader().last_turn_ms = now_ms();
    let (stop, stopped) = watch::channel(false);
    let doors = Doors::new(listener, connections, lifetime);
    let server = tokio::spawn(serve_behind(doors, Arc::clone(&board), example::facts(), stopped));
    Served {
        address,
        board,
        stop,
        server,
    }
}

/// Status, head and body of one answer.
struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str) -> Answered {
        let mut stream = self.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer))
            .await
            .expect("an answer in time")
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answered {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path).await
    }
}

/// Waits until the other side has closed the connection.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .expect("closed in time");
    assert!(
        ended.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"),
        "{rest:?}"
    );
}

#[tokio::test]
async fn each_route_answers() {
    let served = served(CONNECTIONS, LIFETIME).await;
    for (path, status, content) in [
        ("/", 200, "/metrics"),
        ("/healthz", 200, "the reader's last turn"),
        ("/ready", 200, "first listing"),
        ("/health", 200, "first listing"),
        ("/nowhere", 404, "/healthz"),
        ("/status?pods=x", 400, "pods"),
    ] {
        let answered = served.get(path).await;
        assert_eq!(answered.status, status, "{path}: {}", answered.body);
        assert!(answered.body.contains(content), "{path}: {}", answered.body);
    }
    assert_eq!(served.ask("POST", "/status").await.status, 405);
    let long = format!("/status?pod={}", "a".repeat(300));
    assert_eq!(served.get(&long).await.status, 400);
}

#[tokio::test]
async fn metrics_are_open_metrics_with_the_facts_of_the_process() {
    let answered = served(CONNECTIONS, LIFETIME).await.get("/metrics").await;
    assert_eq!(answered.status, 200);
    assert!(
        answered
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        answered.head
    );
    assert!(answered.body.ends_with("\n# EOF\n"));
    let resident = answered
        .body
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    assert!(resident.unwrap().parse::<u64>().unwrap() > 100 * 1024);
}

#[tokio::test]
async fn status_is_json_and_takes_filters() {
    let served = served(CONNECTIONS, LIFETIME).await;
    let answered = served.get("/status?namespace=shop&pod=web-*&container=app").await;
    assert!(
        answered.head.contains("content-type: application/json"),
        "{}",
        answered.head
    );
    let page: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
    assert_eq!(page["reader"]["files_found"], 2);
    let all: serde_json::Value = serde_json::from_str(&served.get("/status").await.body).unwrap();
    assert_eq!(all["reader"]["files_found"], 3);
}

#[tokio::test]
async fn probes_turn_to_503_and_back() {
    let served = served(CONNECTIONS, LIFETIME).await;
    served.board.reader().last_turn_ms = now_ms() - 62_000;
    let answered = served.get("/healthz").await;
    assert_eq!(answered.status, 503);
    assert!(answered.body.contains("a hang"), "{}", answered.body);
    served.board.reader().last_turn_ms = now_ms();
    assert_eq!(served.get("/healthz").await.status, 200);
    served.board.reader().started = false;
    assert_eq!(served.get("/ready").await.status, 503);
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "a stage that is stuck with its lock is played here"
)]
async fn probes_answer_while_a_stage_is_stuck_with_the_ledger_and_the_sink() {
    let served = served(CONNECTIONS, LIFETIME).await;
    let board = Arc::clone(&served.board);
    let (_ledger, _sink) = (board.ledger(), board.sink());
    assert_eq!(served.get("/healthz").await.status, 200);
    assert_eq!(served.get("/ready").await.status, 200);
}

#[tokio::test]
async fn more_connections_than_places_wait_for_a_place() {
    let served = served(2, LIFETIME).await;
    // Both places are taken when both first requests were answered and the connections stay open.
    let mut guests = Vec::new();
    for _ in 0..2 {
        let mut guest = served.connect().await;
        guest
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
            .await
            .unwrap();
        assert_ne!(timeout(DEADLINE, guest.read_u8()).await.unwrap().unwrap(), 0);
        guests.push(guest);
    }
    assert!(
        timeout(Duration::from_millis(100), served.get("/healthz"))
            .await
            .is_err()
    );
    drop(guests);
    assert_eq!(served.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn silent_and_slow_clients_lose_their_place() {
    let served = served(2, Duration::from_millis(200)).await;
    let silent = served.connect().await;
    let mut slow = served.connect().await;
    slow.write_all(b"GET /healthz HTT").await.unwrap();
    assert_eq!(served.get("/healthz").await.status, 200);
    closed(silent).await;
    closed(slow).await;
}

#[tokio::test]
async fn it_ends_when_told_though_clients_stay() {
    let served = served(CONNECTIONS, LIFETIME).await;
    let mut half = served.connect().await;
    half.write_all(b"GET /hea").await.unwrap();
    assert_eq!(served.get("/healthz").await.status, 200);
    served.stop.send(true).unwrap();
    timeout(DEADLINE, served.server)
        .await
        .expect("it ends in time")
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn it_ends_when_nobody_is_left_who_could_stop_it() {
    let Served { stop, server, .. } = served(CONNECTIONS, LIFETIME).await;
    drop(stop);
    timeout(DEADLINE, server)
        .await
        .expect("it ends in time")
        .unwrap()
        .unwrap();
}
