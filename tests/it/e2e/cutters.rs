//! Ways to the server that cut answers off when their first bytes come: by then the server has stored the documents. Or the
//! request, when so much of it has gone.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Which answers are cut.
#[derive(Clone, Copy)]
pub(super) enum Cut {
    None,
    /// The next ones, so many.
    Next(u32),
    /// Every second one of each way, until so many are.
    EverySecond {
        at_most: u64,
    },
    /// The next request of more bytes than these stops there, until the order is another one; then its connection is cut.
    Request {
        after: usize,
    },
}

/// Some ways to one server.
pub(super) struct Cutters {
    _runtime: Runtime,
    pub(super) urls: Vec<String>,
    order: Arc<Mutex<Cut>>,
    cuts: Arc<AtomicU64>,
}

impl Cutters {
    pub(super) fn new(ways: usize, server: &str) -> Cutters {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let target = server.strip_prefix("http://").expect("a plain URL").to_owned();
        let order = Arc::new(Mutex::new(Cut::None));
        let cuts = Arc::new(AtomicU64::new(0));
        let open = |_| {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let way = Way {
                answers: AtomicU64::new(0),
                order: Arc::clone(&order),
                cuts: Arc::clone(&cuts),
            };
            runtime.spawn(lead(listener, target.clone(), way));
            url
        };
        Cutters {
            urls: (0..ways).map(open).collect(),
            _runtime: runtime,
            order,
            cuts,
        }
    }

    /// From now on these are cut.
    pub(super) fn order(&self, cut: Cut) {
        *self.order.lock().unwrap() = cut;
    }

    /// Answers, and requests, that were cut.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }
}

struct Way {
    answers: AtomicU64,
    order: Arc<Mutex<Cut>>,
    cuts: Arc<AtomicU64>,
}

impl Way {
    /// An answer comes: whether it is cut.
    fn cuts(&self) -> bool {
        let answer = self.answers.fetch_add(1, Ordering::SeqCst);
        let mut order = self.order.lock().unwrap();
        let cuts = match *order {
            Cut::None | Cut::Request { .. } => false,
            Cut::Next(_) => true,
            Cut::EverySecond { at_most } => answer % 2 == 1 && self.cuts.load(Ordering::SeqCst) < at_most,
        };
        if cuts {
            self.cuts.fetch_add(1, Ordering::SeqCst);
            *order = match *order {
                Cut::Next(left @ 2..) => Cut::Next(left - 1),
                Cut::Next(_) => Cut::None,
                other => other,
            };
        }
        cuts
    }

    /// So many bytes of a request have come: whether it stops here.
    fn stops(&self, bytes: usize) -> bool {
        let stops = self.is_stopped(bytes);
        if stops {
            self.cuts.fetch_add(1, Ordering::SeqCst);
        }
        stops
    }

    fn is_stopped(&self, bytes: usize) -> bool {
        matches!(*self.order.lock().unwrap(), Cut::Request { after } if after < bytes)
    }
}

/// Passes requests on, each from its beginning: `answered` says that an answer has come since.
async fn requests(
    mut near: OwnedReadHalf,
    mut far: OwnedWriteHalf,
    way: Arc<Way>,
    answered: Arc<AtomicBool>,
) {
    let (mut piece, mut bytes) = (vec![0; 64 * 1024], 0);
    while let Ok(length @ 1..) = near.read(&mut piece).await {
        if answered.swap(false, Ordering::SeqCst) {
            bytes = 0;
        }
        bytes += length;
        if way.stops(bytes) {
            while way.is_stopped(bytes) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            return;
        }
        if far.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

async fn lead(listener: TcpListener, target: String, way: Way) {
    let way = Arc::new(way);
    while let Ok((near, _)) = listener.accept().await {
        if let Ok(far) = TcpStream::connect(&target).await {
            tokio::spawn(pass(near, far, Arc::clone(&way)));
        }
    }
}

async fn pass(near: TcpStream, far: TcpStream, way: Arc<Way>) {
    let (from_near, mut to_near) = near.into_split();
    let (mut from_far, to_far) = far.into_split();
    let answered = Arc::new(AtomicBool::new(false));
    let mut requests = pin!(requests(
        from_near,
        to_far,
        Arc::clone(&way),
        Arc::clone(&answered)
    ));
    let answers = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_far.read(&mut piece).await {
            answered.store(true, Ordering::SeqCst);
            if way.cuts() || to_near.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
    };
    // The first that ends takes the other with it, and both connections.
    tokio::select! {
        () = &mut requests => {}
        () = answers => {}
    }
}
