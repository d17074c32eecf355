//! Where the documents go: the kit's Elasticsearch in this process, or a real one.

use crate::Failure;
use longshore_kit::lines::find_message;
use longshore_kit::rude_elasticsearch::{Keeping, RudeElasticsearch};
use longshore_kit::stack::RealElasticsearch;
use longshore_kit::verifier::{Report, Verifier};
use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many documents are shown.
const SAMPLES: usize = 3;

/// An Elasticsearch, and what is known of its documents.
pub(crate) struct Destination {
    server: Server,
    arrived: Arc<Arrived>,
}

enum Server {
    Kit(RudeElasticsearch),
    Real {
        client: RealElasticsearch,
        prefix: String,
    },
}

#[derive(Default)]
struct Arrived {
    tally: Mutex<Tally>,
    documents: AtomicU64,
}

#[derive(Default)]
struct Tally {
    verifier: Verifier,
    samples: Vec<(char, String)>,
}

impl Destination {
    /// The kit's, or the real one at `url` under index names of its own.
    pub(crate) fn new(url: Option<&str>) -> Result<Destination, Failure> {
        let arrived = Arc::new(Arrived::default());
        let server = match url {
            None => Server::Kit(kit(&arrived)),
            Some(url) => {
                let client = RealElasticsearch::at(url)?;
                let address = url.trim_end_matches('/').trim_start_matches("http://");
                TcpStream::connect(address).map_err(|error| format!("cannot reach {url}: {error}"))?;
                let prefix = client.prefix("longshore-demo");
                Server::Real { client, prefix }
            }
        };
        Ok(Destination { server, arrived })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        match &self.server {
            Server::Kit(server) => server.url(),
            Server::Real { client, .. } => client.url(),
        }
    }

    /// The index pattern for the agent's config.
    pub(crate) fn index(&self) -> String {
        match &self.server {
            Server::Kit(_) => "logstash-%Y.%m.%d".to_owned(),
            Server::Real { prefix, .. } => format!("{prefix}-%Y.%m.%d"),
        }
    }

    /// Documents in the index now.
    pub(crate) fn documents(&self) -> u64 {
        match &self.server {
            Server::Kit(_) => self.arrived.documents.load(Ordering::Relaxed),
            Server::Real { client, prefix } => {
                let all = format!("{prefix}*");
                client.refresh(&all);
                client.count(&all)
            }
        }
    }

    /// Documents that were sent again and answered 409, "is here already". Real servers do not count them: there the
    /// agent's metrics at `admin` say so, while it runs.
    pub(crate) fn sent_again(&self, admin: &str) -> Option<u64> {
        match &self.server {
            Server::Kit(server) => Some(server.duplicates_409()),
            Server::Real { .. } => duplicates_by_metrics(admin).ok().flatten(),
        }
    }

    /// What became of the lines: `streams` are their streams with the number of their lines.
    pub(crate) fn report(&self, streams: impl Iterator<Item = (String, u64)>) -> Report {
        if let Server::Real { client, prefix } = &self.server {
            for hit in client.search_all(&format!("{prefix}*")) {
                self.arrived.document(hit["_source"].to_string().as_bytes());
            }
        }
        let mut tally = self.arrived.tally();
        for (stream, lines) in streams {
            tally.verifier.sent_range(&stream, 0..lines);
        }
        tally.verifier.report()
    }

    /// Streams and sequences that were lost or doubled, the first of them: where to look when the demo fails.
    pub(crate) fn astray(&self) -> String {
        let tally = self.arrived.tally();
        format!(
            "lost {:?}, duplicate {:?}",
            tally.verifier.lost(8),
            tally.verifier.duplicates(8)
        )
    }

    /// Up to three documents, one of each kind of line, as indented JSON with long messages cut.
    pub(crate) fn samples(&self) -> Vec<String> {
        self.arrived
            .tally()
            .samples
            .iter()
            .map(|(_, source)| shown(source))
            .collect()
    }

    /// Removes what the demo made.
    pub(crate) fn clean(&self) {
        if let Server::Real { client, prefix } = &self.server {
            client.delete_index(prefix);
        }
    }
}

/// It remembers a hash of each id, so that it answers 409 as the real one does.
fn kit(arrived: &Arc<Arrived>) -> RudeElasticsearch {
    let server = RudeElasticsearch::start();
    server.keep(Keeping::Ids);
    let hook = Arc::clone(arrived);
    server.on_document(move |_, _, source| hook.document(source));
    server
}

impl Arrived {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn document(&self, source: &[u8]) {
        let mut tally = self.tally();
        tally.verifier.arrived(source);
        let kind = find_message(source)
            .ok()
            .and_then(|(_, message)| message.stream.chars().next());
        if let Some(kind) = kind
            && tally.samples.len() < SAMPLES
            && tally.samples.iter().all(|(known, _)| *known != kind)
        {
            tally
                .samples
                .push((kind, String::from_utf8_lossy(source).into_owned()));
        }
        self.documents.fetch_add(1, Ordering::Relaxed);
    }
}

fn duplicates_by_metrics(admin: &str) -> io::Result<Option<u64>> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(
        format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix("longshore_documents_total{fate=\"duplicate\"} "));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}

/// Indented, with the message cut to what fits on a screen.
fn shown(source: &str) -> String {
    const SHOWN: usize = 240;
    let mut document: Value = serde_json::from_str(source).unwrap_or_default();
    if let Some(Value::String(message)) = document.get_mut("message")
        && message.len() > SHOWN
    {
        let bytes = message.len();
        message.truncate(message.floor_char_boundary(SHOWN));
        message.push_str(&format!("… ({bytes} bytes)"));
    }
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
