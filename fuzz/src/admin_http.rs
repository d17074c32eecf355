//! Whatever a client may send to the admin server, over a connection in memory, with names on the board that nobody chose
//! well. Against a second router for requests that are plain enough, and a strict reader of the metrics page.

use crate::config_text::fits;
use crate::input::Input;
use crate::tree::Tree;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use longshore::admin::routes;
use longshore::telemetry::board::{
    AgentStatus, Board, ContainerStatus, Facts, FilePath, FileStatus, HoldStatus, ReaderStatus, SinkStatus,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// More than any page of these boards.
const MOST: u64 = 4 << 20;

/// The input is a board, how the request comes in pieces, and the request.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let board = board(&mut input);
    let piece = 1 + usize::from(input.short() & 1023);
    let request = input.rest();
    // The clock jumps when nothing moves any more.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let answers = runtime
        .expect("a runtime")
        .block_on(ask(Arc::clone(&board), request, piece));
    let mut rest = answers.as_slice();
    for expected in plain(request, &board) {
        let Some(after) = check(rest, &expected, &board) else {
            return;
        };
        rest = after;
    }
}

async fn ask(board: Arc<Board>, request: &[u8], piece: usize) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(4096);
    let facts = Facts {
        node_name: "n".into(),
        started_ms: 1,
        turn_interval: Duration::from_secs(5),
        memory_limit: None,
        dead_letter_max_bytes: 1,
        exposures: Vec::new(),
    };
    let service = TowerToHyperService::new(routes(board, facts));
    // As axum serves: the same builder with nothing set.
    let server = Builder::new(TokioExecutor::new());
    let connection = server.serve_connection_with_upgrades(TokioIo::new(theirs), service);
    let (mut read, write) = tokio::io::split(ours);
    let mut answers = Vec::new();
    let (_, (), read) = tokio::join!(connection, send(write, request, piece), async {
        (&mut read).take(MOST).read_to_end(&mut answers).await
    });
    read.expect("memory can be read");
    assert!((answers.len() as u64) < MOST, "an answer without end");
    answers
}

async fn send(mut write: tokio::io::WriteHalf<DuplexStream>, request: &[u8], piece: usize) {
    for piece in request.chunks(piece) {
        // The server may have hung up.
        if write.write_all(piece).await.is_err() {
            return;
        }
    }
    // A client that hangs up gets no answers: it waits until there are no more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _closed = write.shutdown().await;
}

fn board(input: &mut Input<'_>) -> Arc<Board> {
    let board = Board::default();
    let shape = input.byte();
    let files: Vec<FileStatus> = (0..shape & 3).map(|_| file(input)).collect();
    let containers = files.iter().map(|file| ContainerStatus {
        namespace: file.namespace.clone(),
        pod: file.pod.clone(),
        container: file.container.clone(),
        read_bytes: file.size,
    });
    *board.reader() = ReaderStatus {
        containers: containers.collect::<Vec<_>>().into(),
        started: shape & 4 == 4,
        turns: u64::from(shape >> 3 & 1),
        flagged: vec![("no_stamp", 2)],
        files: files.into(),
        ..ReaderStatus::default()
    };
    *board.agent() = AgentStatus {
        waits_for: (shape & 16 == 16).then(|| input.text()),
    };
    let hold = |input: &mut Input<'_>| HoldStatus {
        index: input.text(),
        kind: input.text(),
        reason: input.text(),
        ..HoldStatus::default()
    };
    *board.sink() = SinkStatus {
        problem: (shape & 32 == 32).then(|| input.text()),
        holds: (0..shape >> 6).map(|_| hold(input)).collect(),
        ..SinkStatus::default()
    };
    Arc::new(board)
}

fn file(input: &mut Input<'_>) -> FileStatus {
    FileStatus {
        namespace: input.text().into(),
        pod: input.text().into(),
        container: input.text().into(),
        path: FilePath {
            folder: input.text().into(),
            name: None,
        },
        size: input.long(),
        lag_bytes: input.short().into(),
        metadata: "known",
        ..FileStatus::default()
    }
}

/// A request that can only mean one thing, and what is answered.
struct Expected {
    head: bool,
    path: String,
    query: Vec<(String, String)>,
    status: u16,
}

/// The requests at the beginning that are plain: known methods, paths without escapes, no body.
fn plain(request: &[u8], board: &Board) -> Vec<Expected> {
    let mut found = Vec::new();
    let mut rest = request;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(len)) = parsed.parse(rest) else {
            return found;
        };
        let known = ["host", "accept", "user-agent"];
        let dull = parsed
            .headers
            .iter()
            .all(|header| known.contains(&header.name.to_ascii_lowercase().as_str()));
        let Some(expected) = expected(&parsed, board).filter(|_| dull && parsed.version == Some(1)) else {
            return found;
        };
        found.push(expected);
        rest = &rest[len..];
    }
}

fn expected(request: &httparse::Request<'_, '_>, board: &Board) -> Option<Expected> {
    let (method, target) = (request.method?, request.path?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let safe = |text: &str, more: &str| {
        text.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    if !path.starts_with('/') || !safe(path, "/") || !safe(query, "*=&_-") || query.len() > 200 {
        return None;
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query: Vec<(String, String)> = pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let keys: BTreeSet<&str> = query.iter().map(|(key, _)| key.as_str()).collect();
    let right = keys.len() == query.len()
        && keys
            .iter()
            .all(|key| ["namespace", "pod", "container"].contains(key));
    let known = ["/", "/healthz", "/ready", "/health", "/metrics", "/status"].contains(&path);
    let waits = board.agent().waits_for.is_some();
    let started = board.reader().started;
    let status = match (method, path) {
        (_, _) if !known => 404,
        ("GET" | "HEAD", "/status") if !right => 400,
        // A turn in 1970 was too long ago, and so was the start.
        ("GET" | "HEAD", "/healthz") if !waits => 503,
        ("GET" | "HEAD", "/ready" | "/health") if waits || !started => 503,
        ("GET" | "HEAD", _) => 200,
        ("POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "TRACE", _) => 405,
        _ => return None,
    };
    let (head, path) = (method == "HEAD", path.to_owned());
    Some(Expected {
        head,
        path,
        query,
        status,
    })
}

/// Checks one answer; what follows it is returned.
fn check<'a>(answers: &'a [u8], expected: &Expected, board: &Board) -> Option<&'a [u8]> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(len)) = parsed.parse(answers) else {
        panic!("no answer to {}: {}", expected.path, answers.escape_ascii())
    };
    assert_eq!(parsed.code, Some(expected.status), "{}", expected.path);
    let mut lengths = parsed
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = std::str::from_utf8(lengths.next()?.value).ok()?.parse().ok()?;
    let rest = &answers[len..];
    if expected.head {
        return Some(rest);
    }
    let body = std::str::from_utf8(&rest[..length]).expect("pages are text");
    match (expected.path.as_str(), expected.status) {
        ("/metrics", 200) => metrics(body),
        ("/status", 200) => status(body, expected, board),
        (_, 405) => assert_eq!(body, ""),
        // Said by axum.
        (_, 400) => assert!(!body.is_empty()),
        _ => assert!(body.ends_with('\n')),
    }
    Some(&rest[length..])
}

fn status(body: &str, expected: &Expected, board: &Board) {
    let page = Tree::parse(body.as_bytes()).expect("the status page is JSON");
    assert!(!page.has_twins());
    let letters = |text: &str| text.chars().collect::<Vec<char>>();
    let admitted = |file: &&FileStatus| {
        expected.query.iter().all(|(key, pattern)| {
            let name = match key.as_str() {
                "namespace" => &file.namespace,
                "pod" => &file.pod,
                _ => &file.container,
            };
            fits(&letters(pattern), &letters(name))
        })
    };
    let found = board.reader().files.iter().filter(admitted).count() as u64;
    let told = page.get("reader").and_then(|reader| reader.get("files_found"));
    assert_eq!(told, Some(&Tree::Number(found.into())));
}

/// OpenMetrics: every line is a comment of the known kinds or a sample, each sample stands once, the end is said.
fn metrics(body: &str) {
    let page = body.strip_suffix("# EOF\n").expect("the page has an end");
    let mut samples = BTreeSet::new();
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(
                ["HELP ", "TYPE ", "UNIT "]
                    .iter()
                    .any(|kind| comment.starts_with(kind)),
                "{line}"
            );
            continue;
        }
        let value = line.rfind(' ').expect("a value");
        assert!(line[value + 1..].parse::<f64>().is_ok(), "{line}");
        assert!(series(&line[..value]), "{line}");
        assert!(samples.insert(&line[..value]), "twice: {line}");
    }
}

/// `name` or `name{label="value",…}`, in which quotes, backslashes and newlines are escaped.
fn series(text: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let Some((name, labels)) = text.split_once('{') else {
        return word(text);
    };
    let mut rest = labels;
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) if matches!(letters.next(), Some((_, '\\' | '"' | 'n'))) => {}
                Some((_, '\\' | '\n')) | None => return false,
                Some(_) => {}
            }
        };
        if !word(label.trim_start_matches(',')) {
            return false;
        }
        rest = &quoted[end + 1..];
    }
    word(name) && rest == "}"
}
