//! HTTP/1.1 as far as a kube client needs it: requests without a body in, whole or chunked answers out.
//!
//! By hand and not over axum, because a test must be able to hold an answer back, to cut a stream in the middle and
//! to close every connection at once, and because a stream body would need a crate that the kit does not have.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// More headers than any client of ours sends.
const HEAD_BYTES_MAX: u64 = 64 * 1024;

/// What the routes look at in a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// As it came, still percent-encoded.
    pub(super) query: String,
    pub(super) authorization: String,
    pub(super) accept: String,
}

impl Request {
    /// Reads one request and skips its body. `None` when the client has closed the connection.
    pub(super) async fn read<R: AsyncBufRead + Unpin>(stream: &mut R) -> io::Result<Option<Self>> {
        let mut head = stream.take(HEAD_BYTES_MAX);
        let mut line = String::new();
        if head.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let (path, query) = words
            .next()
            .map(|target| target.split_once('?').unwrap_or((target, "")))
            .unwrap_or_default();
        let mut request = Self {
            method,
            path: decode(path),
            query: query.to_owned(),
            ..Self::default()
        };
        let mut body_bytes = 0;
        loop {
            line.clear();
            if head.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => request.authorization = value.trim().to_owned(),
                "accept" => request.accept = value.trim().to_owned(),
                "content-length" => body_bytes = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        tokio::io::copy(&mut stream.take(body_bytes), &mut tokio::io::sink()).await?;
        Ok(Some(request))
    }

    /// The decoded value of a query parameter, if it is there and not empty.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs
            .into_iter()
            .find(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value));
        value.filter(|value| !value.is_empty())
    }
}

/// A whole answer, sent with its length.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) media_type: &'static str,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: String,
}

impl Answer {
    /// An answer in JSON, as every one is that the API itself gives.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            media_type: "application/json",
            retry_after: None,
            body: body.to_string(),
        }
    }

    /// 429 of priority and fairness, which is plain text.
    pub(super) fn too_many_requests(retry_after: Duration) -> Self {
        let body = "Too many requests, please try again later.\n".to_owned();
        let media_type = "text/plain; charset=utf-8";
        Self {
            status: 429,
            media_type,
            retry_after: Some(retry_after),
            body,
        }
    }

    /// Writes status line, headers and body.
    pub(super) async fn write<W: AsyncWrite + Unpin>(&self, stream: &mut W) -> io::Result<()> {
        let mut text = head(self.status, self.media_type);
        if let Some(wait) = self.retry_after {
            text.push_str(&format!("retry-after: {}\r\n", wait.as_secs().max(1)));
        }
        text.push_str(&format!(
            "content-length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        ));
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await
    }
}

/// Opens a chunked answer of JSON lines.
pub(super) async fn open_stream<W: AsyncWrite + Unpin>(stream: &mut W) -> io::Result<()> {
    let text = head(200, "application/json") + "transfer-encoding: chunked\r\n\r\n";
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

/// Sends one JSON line as one chunk.
pub(super) async fn send_line<W: AsyncWrite + Unpin>(stream: &mut W, line: &Value) -> io::Result<()> {
    let line = format!("{line}\n");
    stream
        .write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())
        .await?;
    stream.flush().await
}

/// Ends a chunked answer properly; the connection can carry the next request.
pub(super) async fn close_stream<W: AsyncWrite + Unpin>(stream: &mut W) -> io::Result<()> {
    stream.write_all(b"0\r\n\r\n").await?;
    stream.flush().await
}

fn head(status: u16, media_type: &str) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        410 => "Gone",
        429 => "Too Many Requests",
        504 => "Gateway Timeout",
        _ => "Status",
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\ncache-control: no-cache, private\r\ncontent-type: {media_type}\r\n"
    )
}

/// Undoes percent-encoding and `+`; what is not valid encoding stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits
            .filter(|_| *first == b'%')
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(match (escaped, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
