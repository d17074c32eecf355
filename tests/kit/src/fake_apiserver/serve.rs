//! The double's thread: it accepts connections and drives each through requests, answers and watches.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep_until;

use super::route::{Opening, Reply, route, verb};
use super::wire::{Answer, Request, close_stream, open_stream, send_line};
use super::{Shared, State, status};

/// A watch without `timeoutSeconds` lasts this long; no test does.
const WATCH_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A server that listens. Dropping it ends the thread, and with it the port and all connections.
#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Listens on `address` before it returns.
    pub(super) fn start(address: SocketAddr, shared: Arc<Shared>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (bound, listening) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("fake-apiserver".to_owned())
            .spawn(move || run(address, shared, stopped, &bound))
            .expect("spawn a thread");
        let address = match listening.recv() {
            Ok(Ok(address)) => address,
            Ok(Err(error)) => panic!("fake API server cannot listen on {address}: {error}"),
            Err(_) => panic!("fake API server ended while starting"),
        };
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed; a second one in a drop would abort
        }
    }
}

fn run(
    address: SocketAddr,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
    bound: &mpsc::Sender<io::Result<SocketAddr>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("build a runtime");
    runtime.block_on(async {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let _ = bound.send(listener.local_addr());
                tokio::select! {
                    _ = stopped => {}
                    () = accept(&listener, &shared) => {}
                }
            }
            Err(error) => drop(bound.send(Err(error))),
        }
    });
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(shared);
            // A client that goes away is no event for a server.
            tokio::spawn(async move { drop(converse(stream, &shared).await) });
        }
    }
}

async fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    while let Some(request) = Request::read(&mut input).await? {
        let reply = admit(&mut shared.lock(), &request);
        let mut bell = shared.bell.subscribe();
        unstalled(shared, &mut bell).await;
        match reply.unwrap_or_else(|| route(&shared.lock().store, &request)) {
            Reply::Whole(answer) => answer.write(&mut output).await?,
            Reply::Watch(opening) => feed(shared, opening, &mut bell, &mut input, &mut output).await?,
        }
    }
    Ok(())
}

/// Counts a request and refuses it if it is to be refused, before anything is looked up.
fn admit(state: &mut State, request: &Request) -> Option<Reply> {
    state.counters.count(verb(request), &request.query);
    if state
        .token
        .as_ref()
        .is_some_and(|token| request.authorization != format!("Bearer {token}"))
    {
        return Some(Reply::Whole(Answer::json(401, &status::unauthorized())));
    }
    let (left, retry_after) = state.throttle?;
    state.throttle = (left > 1).then_some((left.saturating_sub(1), retry_after));
    (left > 0).then(|| Reply::Whole(Answer::too_many_requests(retry_after)))
}

/// Waits while the server stalls.
async fn unstalled(shared: &Shared, bell: &mut watch::Receiver<u64>) {
    loop {
        bell.borrow_and_update();
        if !shared.lock().stalled {
            return;
        }
        let _ = bell.changed().await; // its sender lives in `shared`
    }
}

/// Sends a watch its lines until its time is over, the test closes it, its version expires, or the client goes.
async fn feed(
    shared: &Shared,
    opening: Opening,
    bell: &mut watch::Receiver<u64>,
    input: &mut BufReader<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let Opening {
        lines,
        mut watch,
        timeout,
    } = opening;
    let open = OpenWatch::count(shared);
    let end = tokio::time::Instant::now() + timeout.unwrap_or(WATCH_TIMEOUT);
    open_stream(output).await?;
    for line in &lines {
        send_line(output, line).await?;
    }
    loop {
        unstalled(shared, bell).await;
        let (news, closed) = {
            let state = shared.lock();
            (state.store.news(&mut watch), state.watch_era != open.era)
        };
        for line in &news.lines {
            send_line(output, line).await?;
        }
        if news.ended || closed {
            break;
        }
        let mut byte = [0];
        tokio::select! {
            _ = bell.changed() => {}
            () = sleep_until(end) => break,
            // A client has nothing to say while it watches: this is the end of its connection.
            gone = input.read(&mut byte) => return gone.and(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
    close_stream(output).await
}

/// Counts a watch as open as long as it lives, however it ends.
struct OpenWatch<'a> {
    shared: &'a Shared,
    era: u64,
}

impl<'a> OpenWatch<'a> {
    fn count(shared: &'a Shared) -> Self {
        let mut state = shared.lock();
        state.counters.open_watches += 1;
        Self {
            shared,
            era: state.watch_era,
        }
    }
}

impl Drop for OpenWatch<'_> {
    fn drop(&mut self) {
        self.shared.lock().counters.open_watches -= 1;
    }
}
