//! The servers of a config enter; whether each of them would let the agent work leaves.
//!
//! The one file of cli that waits for sockets, on a runtime of its own. What is asked stands with those who will ask it
//! in a run: the sink's client and the pod watch's.

use crate::config::{Config, MetadataSource};
use crate::enrich::client as apiserver;
use crate::sink::elasticsearch::client::Client;
use std::io;

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
