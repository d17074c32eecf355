//! Where documents arrive: the kit's Elasticsearch in its lean form, with the verifier behind it.
//!
//! It keeps nothing but a mark per sequence, so that it is faster than any agent it measures: what it answers is always
//! "created", and a document that is sent twice is a duplicate here, even where a real server would have known its id.

use longshore_kit::lines::find_message;
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::verifier::{Report, Verifier};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When nothing arrives for so long, nothing more will.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running sink.
pub(crate) struct Sink {
    server: RudeElasticsearch,
    arrivals: Arc<Arrivals>,
}

#[derive(Default)]
struct Arrivals {
    tally: Mutex<Tally>,
    count: AtomicU64,
}

#[derive(Default)]
struct Tally {
    verifier: Verifier,
    /// From write to arrival, in microseconds; only when asked for.
    delays: Option<Vec<u32>>,
    sample: String,
}

impl Sink {
    /// Starts one that waits for `sent`: a stream and its sequences each. With `delays` it measures them.
    pub(crate) fn start(sent: &[(String, Range<u64>)], delays: bool) -> Sink {
        let arrivals = Arc::new(Arrivals::default());
        for (stream, seqs) in sent {
            arrivals.tally().verifier.sent_range(stream, seqs.clone());
        }
        arrivals.tally().delays = delays.then(Vec::new);
        let server = RudeElasticsearch::start();
        server.keep(Keeping::Nothing);
        // For agents that ask for a version before they send.
        server.announce();
        let hook = Arc::clone(&arrivals);
        server.on_document(move |_, _, source| hook.arrived(source));
        Sink { server, arrivals }
    }

    /// The loopback port.
    pub(crate) fn port(&self) -> u16 {
        self.server.address().port()
    }

    /// Bodies as they came over the wire, in bytes.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.server.wire_bytes()
    }

    /// Bodies after inflating, in bytes.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.server.body_bytes()
    }

    /// How many `_bulk` requests came.
    pub(crate) fn requests(&self) -> u64 {
        self.server.requests()
    }

    /// Announces one more line, before it is written.
    pub(crate) fn announce(&self, stream: &str, seq: u64) {
        self.arrivals.tally().verifier.sent(stream, seq);
    }

    /// Waits until every announced line has arrived, or nothing has arrived for half a minute.
    pub(crate) fn wait_for_all(&self) {
        let written = self.report().written;
        while self.report().lost > 0 {
            let before = self.arrivals.count.load(Ordering::Relaxed);
            // Duplicates make the count reach the mark too early; then every further arrival is worth a look.
            let mark = if before < written { written } else { before + 1 };
            self.server
                .wait_until(PATIENCE, |_| self.arrivals.count.load(Ordering::Relaxed) >= mark);
            if self.arrivals.count.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// What became of every line up to now.
    pub(crate) fn report(&self) -> Report {
        self.arrivals.tally().verifier.report()
    }

    /// Delays of all arrivals in order of their length; empty unless they were asked for.
    pub(crate) fn delays(&self) -> Vec<Duration> {
        let mut micros = self.arrivals.tally().delays.clone().unwrap_or_default();
        micros.sort_unstable();
        micros
            .into_iter()
            .map(|micros| Duration::from_micros(u64::from(micros)))
            .collect()
    }

    /// The first document that arrived; empty before it.
    pub(crate) fn sample(&self) -> String {
        self.arrivals.tally().sample.clone()
    }
}

impl Arrivals {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, source: &[u8]) {
        let mut tally = self.tally();
        let tally = &mut *tally;
        match find_message(source) {
            Ok((_, message)) => {
                tally.verifier.arrived_sequenced(&message);
                if let Some(delays) = &mut tally.delays {
                    let micros = unix_ns().saturating_sub(message.sent_ns) / 1000;
                    delays.push(u32::try_from(micros).unwrap_or(u32::MAX));
                }
            }
            Err(_) => tally.verifier.arrived(source),
        }
        if tally.sample.is_empty() {
            tally.sample = String::from_utf8_lossy(source).into_owned();
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Now, in Unix nanoseconds.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
