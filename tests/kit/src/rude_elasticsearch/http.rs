//! As much HTTP/1.1 as a rude server needs: requests with a length or in chunks, `Expect: 100-continue`, keep-alive.
//!
//! Written by hand on blocking sockets, because a server that is to cut, stall and lie in the middle of an answer must
//! own its socket. Only well-formed requests of a test's own client reach it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A request line or header longer than this is refused.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Wire bytes of a body above this are refused without reading them.
const BODY_BYTES_MAX: usize = 1 << 30;

/// A request, its body as it came over the wire.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The first header of this (lower-case) name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The decoded parameters of the query, in order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Close the connection after it, and say so.
    pub(super) close: bool,
}

/// One client's connection.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            writer: stream.try_clone()?,
            reader: BufReader::with_capacity(64 * 1024, stream),
        })
    }

    /// Reads the next request into `request` (its buffers are used again); false when the client is gone.
    pub(super) fn read(&mut self, request: &mut Request) -> io::Result<bool> {
        let line = self.read_line()?;
        if line.is_empty() {
            return Ok(false);
        }
        let mut parts = line.split_whitespace();
        let (method, target) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        request.method = method.to_owned();
        request.path = decode(path);
        request.query = query.to_owned();
        request.headers.clear();
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            request
                .headers
                .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        self.read_body(request)?;
        Ok(true)
    }

    /// Our end.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.writer.local_addr()
    }

    /// Writes an answer.
    pub(super) fn write(&mut self, response: &Response) -> io::Result<()> {
        let head = head(response);
        if response.body.len() > 16 * 1024 {
            self.writer.write_all(head.as_bytes())?;
            return self.writer.write_all(&response.body);
        }
        self.writer.write_all(&[head.as_bytes(), &response.body].concat())
    }

    /// Writes an answer whose body ends in the middle, although its head promises all of it.
    pub(super) fn write_half(&mut self, response: &Response) -> io::Result<()> {
        let half = &response.body[..response.body.len() / 2];
        self.writer.write_all(&[head(response).as_bytes(), half].concat())
    }

    fn read_body(&mut self, request: &mut Request) -> io::Result<()> {
        request.body.clear();
        if request
            .header("expect")
            .is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue"))
        {
            self.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if request
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return self.read_chunks(&mut request.body);
        }
        let length = request
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        self.read_into(&mut request.body, length)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(());
            }
            self.read_into(body, size)?;
            self.read_line()?;
        }
    }

    fn read_into(&mut self, body: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
        let start = body.len();
        if bytes > BODY_BYTES_MAX - start {
            return Err(io::ErrorKind::InvalidData.into());
        }
        body.resize(start + bytes, 0);
        self.reader.read_exact(&mut body[start..])
    }

    /// A line without its end; empty at the end of a head, or of the stream.
    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        let text = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn head(response: &Response) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if response.close {
        head.push_str("connection: close\r\n");
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", response.body.len()));
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// Percent-decoding; what cannot be decoded stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, code.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = &after[2..];
            }
            (b'+', _) => {
                out.push(b' ');
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
