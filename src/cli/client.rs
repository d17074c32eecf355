//! The servers of a config enter; whether each of them would let the agent work leaves. And [`Server`]: the sink's client for
//! subcommands, which wait for each answer.
//!
//! The one file of cli that waits for sockets, on a runtime of its own. What is asked stands with those who will ask it
//! in a run: the sink's client and the pod watch's.

use crate::codec::gzip::compressor;
use crate::config::{Config, Elasticsearch, MetadataSource};
use crate::enrich::client as apiserver;
use crate::sink::elasticsearch::client::{Answer, Bulk, Client};
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::time::Duration;

/// What came of trying one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// Which server.
    pub(super) server: String,
    /// A sentence about it, or what is wrong and what to do.
    pub(super) outcome: Result<String, String>,
}

/// Tries every Elasticsearch host, and the API server when the config wants it. Takes at most some 15 s per server.
pub(super) fn probe(config: &Config) -> io::Result<Vec<Tried>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let mut tried = elasticsearch(config).await;
        if config.enrich.kubernetes.source == MetadataSource::Api {
            tried.push(api_server(config).await);
        }
        tried
    }))
}

/// Elasticsearch, for one request after the other.
pub(super) struct Server {
    runtime: tokio::runtime::Runtime,
    client: Client,
    hosts: usize,
    /// Who is asked next.
    host: Cell<usize>,
    compression: u8,
}

impl Server {
    /// Reads the secrets; nothing is sent yet.
    ///
    /// # Errors
    /// When a secret cannot be used.
    pub(super) fn connect(config: &Elasticsearch) -> anyhow::Result<Server> {
        Ok(Server {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            client: Client::new(config)?,
            hosts: config.hosts.len(),
            host: Cell::new(0),
            compression: config.compression,
        })
    }

    /// Posts a `_bulk` body. A host that does not answer is not asked again before the others were.
    pub(super) fn post(&self, body: &[u8], documents: usize) -> Answer {
        let mut compressor = compressor(self.compression);
        let mut bytes = Vec::new();
        compressor.push(body, &mut bytes);
        compressor.finish(&mut bytes);
        let bulk = Bulk {
            bytes: Bytes::from(bytes),
            encoding: compressor.encoding(),
            documents,
            audit: false,
        };
        let answer = self.runtime.block_on(self.client.post(self.host.get(), bulk));
        if answer.host.is_none() {
            self.host.set((self.host.get() + 1) % self.hosts);
        }
        answer
    }

    /// One call of the API: `GET`, `PUT` or `DELETE` of a path, with a JSON body or without. Status and body leave. Hosts that
    /// do not answer are passed over.
    ///
    /// # Errors
    /// When no host answers: what the last one did.
    pub(super) fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut problem = None;
        for _ in 0..self.hosts {
            let call = self.client.call(self.host.get(), method, path, body.clone());
            match self.runtime.block_on(call) {
                Ok(answer) => return Ok(answer),
                Err(other) => problem = Some(other),
            }
            self.host.set((self.host.get() + 1) % self.hosts);
        }
        Err(anyhow::anyhow!(problem.map_or_else(
            || "no host is configured".to_owned(),
            |problem| problem.reason
        )))
    }

    /// Waits.
    pub(super) fn rest(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}

async fn elasticsearch(config: &Config) -> Vec<Tried> {
    let client = match Client::new(&config.sink.elasticsearch) {
        Ok(client) => client,
        Err(error) => {
            return vec![Tried {
                server: "elasticsearch".to_owned(),
                outcome: Err(error.to_string()),
            }];
        }
    };
    let told = client.probe().await.into_iter();
    told.map(|(host, outcome)| Tried {
        outcome: outcome.map_err(|problem| {
            let named = format!("{host}: ");
            problem
                .reason
                .strip_prefix(&named)
                .unwrap_or(&problem.reason)
                .to_owned()
        }),
        server: format!("elasticsearch {host}"),
    })
    .collect()
}

async fn api_server(config: &Config) -> Tried {
    let settings = apiserver::Settings::new(&config.node_name, &config.enrich.kubernetes);
    Tried {
        server: "API server".to_owned(),
        outcome: apiserver::probe(&settings).await,
    }
}
