//! The admin server. HTTP requests enter, pages made of the board leave:
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the agent is alive, else 503: for the liveness probe |
//! | `/ready`, `/health` | 200 when it has begun its work, else 503: for the readiness probe |
//! | `/metrics` | everything that is counted, in the OpenMetrics format |
//! | `/status` | everything that is known, as JSON; `?namespace=`, `?pod=`, `?container=` choose files |
//! | `/` | this list |
//!
//! It knows no stage and waits for none: it copies the board, so it answers while the rest is stuck.
//! Nothing runs while nobody asks. Whoever connects gets one of [`CONNECTIONS`] places for
//! [`LIFETIME`] at most, so slow or silent clients cannot take the server from the probes for long.
//!
//! Not done: TLS, authentication, anything that changes the agent. No page holds a log line or a secret.

#[cfg(test)]
mod tests;

pub use crate::sync::tokio::sync::watch;
use crate::telemetry::board::Facts;

use crate::telemetry::board::Board;
use crate::telemetry::status::{self, Answer, Filter};
use crate::telemetry::{disk, metrics};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// How many connections are open at once. Further ones wait in the kernel's queue.
pub const CONNECTIONS: usize = 64;

/// How long a connection lives, idle or busy. Scrapers connect again by themselves.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// How long open connections are waited for at the end.
const GOODBYE: Duration = Duration::from_millis(500);

const ROUTES: &str = "\
/healthz  200 while the agent makes progress or knows what it waits for
/ready    200 when every file of the first listing was looked at (also /health)
/metrics  counters and gauges in the OpenMetrics format
/status   all that is known, as JSON; ?namespace= ?pod= ?container= choose files, * and ? allowed
";

/// Answers requests until `stop` is true or its sender is gone; then half a second more for answers
/// that are on their way.
///
/// # Errors
/// Never after the start: failures to accept are tried again.
pub async fn serve(
    listener: TcpListener,
    board: Arc<Board>,
    facts: Facts,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let doors = Doors::new(listener, CONNECTIONS, LIFETIME);
    serve_behind(doors, board, facts, stop).await
}

async fn serve_behind(
    doors: Doors,
    board: Arc<Board>,
    facts: Facts,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let server = axum::serve(doors, routes(board, facts)).with_graceful_shutdown(stopped(stop.clone()));
    tokio::select! {
        served = server.into_future() => served,
        () = async { stopped(stop).await; sleep(GOODBYE).await } => Ok(()),
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, and nobody is left who could stop us.
    let _ended = stop.wait_for(|stop| *stop).await;
}

/// What answers are made of.
#[derive(Clone)]
struct Desk {
    board: Arc<Board>,
    facts: Arc<Facts>,
}

/// The query of `/status`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    namespace: Option<String>,
    pod: Option<String>,
    container: Option<String>,
}

/// The pages, for any connection.
pub fn routes(board: Arc<Board>, facts: Facts) -> Router {
    let facts = Arc::new(facts);
    Router::new()
        .route("/", get(|| async { ROUTES }))
        .route("/healthz", get(healthz))
        .route("/ready", get(ready_page))
        .route("/health", get(ready_page))
        .route("/metrics", get(metrics_page))
        .route("/status", get(status_page))
        .fallback(|| async { (StatusCode::NOT_FOUND, ROUTES) })
        .with_state(Desk { board, facts })
}

async fn healthz(State(desk): State<Desk>) -> Response {
    told(status::alive(&desk.board, &desk.facts, now_ms()))
}

async fn ready_page(State(desk): State<Desk>) -> Response {
    told(status::ready(&desk.board))
}

fn told(answer: Answer) -> Response {
    match answer {
        Ok(sentence) => (StatusCode::OK, sentence + "\n").into_response(),
        Err(sentence) => (StatusCode::SERVICE_UNAVAILABLE, sentence + "\n").into_response(),
    }
}

async fn metrics_page(State(desk): State<Desk>) -> Response {
    let page = metrics::render(&desk.board, &desk.facts, disk::process().ok());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}

async fn status_page(State(desk): State<Desk>, Query(choice): Query<Choice>) -> Response {
    match choice.filter() {
        Ok(filter) => {
            let page = status::page(&desk.board, &desk.facts, &filter, now_ms());
            ([(header::CONTENT_TYPE, "application/json")], page).into_response()
        }
        Err(sentence) => (StatusCode::BAD_REQUEST, sentence + "\n").into_response(),
    }
}

impl Choice {
    fn filter(&self) -> Result<Filter, String> {
        let pattern = |text: &Option<String>| text.as_deref().map(Filter::pattern).transpose();
        Ok(Filter {
            namespace: pattern(&self.namespace)?,
            pod: pattern(&self.pod)?,
            container: pattern(&self.container)?,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell reads the clock")]
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// A listener with a number of places.
struct Doors {
    listener: TcpListener,
    places: Arc<Semaphore>,
    lifetime: Duration,
}

impl Doors {
    fn new(listener: TcpListener, connections: usize, lifetime: Duration) -> Doors {
        Doors {
            listener,
            places: Arc::new(Semaphore::new(connections)),
            lifetime,
        }
    }
}

impl axum::serve::Listener for Doors {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("BUG: nobody closes the semaphore");
        // Axum's own accept waits a second after an error that lasts, such as too many open files.
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let end = Box::pin(sleep(self.lifetime));
        (
            Guest {
                stream,
                end,
                _place: place,
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when its time is over.
struct Guest {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    /// The stream, or an error after the end. Whoever gets `Pending` from the stream is woken at the end.
    fn poll_stream(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_stream(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_stream(context)?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_stream(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
