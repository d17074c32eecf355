//! Servers that stop in the middle of something: each phase of a request has an end, before that of the whole.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A server that does this with its connection, and then holds it until the test has ended.
fn server(act: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        act(&mut stream);
        // Whoever made the connection ends it.
        let _ = stream.read(&mut [0; 1 << 16]);
        std::thread::park();
    });
    url
}

/// Half of `request_timeout` is shorter than that by far more than a busy machine is late.
fn slow(url: &str) -> Client {
    let config = Elasticsearch {
        request_timeout: Duration::from_secs(8),
        ..config(url)
    };
    Client::new(&config).unwrap()
}

/// Red when nobody looks at the header (`exchange`).
#[test]
fn what_a_server_asks_for_with_retry_after_is_told() {
    let url = server(|stream| {
        let _ = stream.read(&mut [0; 1 << 16]).unwrap();
        write!(
            stream,
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"
        )
        .unwrap();
    });
    let answer = post(&slow(&url));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(problem(answer).status, 503);
}

/// Red when the rest of an answer may take as long as all of it (`exchange`).
#[test]
fn an_answer_that_does_not_go_on_is_given_up_before_the_request_timeout() {
    let url = server(|stream| {
        let mut head = [0; 1 << 16];
        let _ = stream.read(&mut head).unwrap();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{{\"took\":1,"
        )
        .unwrap();
    });
    let stopped = problem(post(&slow(&url)));
    assert_eq!((stopped.status, stopped.kind.as_str()), (0, "timeout"));
    assert!(
        stopped.reason.contains("did not go on for 4s"),
        "{}",
        stopped.reason
    );
}

/// Red when a server that takes nothing in has the whole time (`tcp_user_timeout`).
#[test]
fn a_body_that_nobody_takes_in_is_given_up_before_the_request_timeout() {
    let url = server(|_| std::thread::park());
    // More than all buffers between the two have room for.
    let large = Bulk {
        bytes: vec![b'x'; 64 << 20].into(),
        ..one()
    };
    let stopped = problem(block_on(slow(&url).post(0, large)));
    assert_eq!((stopped.status, stopped.kind.as_str()), (0, "timeout"));
    assert!(stopped.reason.contains("os error 110"), "{}", stopped.reason);
}

/// Red when a connection may take as long as a request (`connect_timeout`): a port that is open says nothing of what is
/// behind it.
#[test]
fn a_handshake_without_an_end_is_given_up_before_the_request_timeout() {
    let url = server(|_| std::thread::park()).replace("http:", "https:");
    let stopped = problem(post(&slow(&url)));
    assert_eq!(
        (stopped.status, stopped.kind.as_str()),
        (0, "connect"),
        "{stopped:?}"
    );
}
