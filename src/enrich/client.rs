//! Requests for pods enter, what the API server answers leaves, each failure with its place, cause and fix.
//!
//! Reads `GET /api/v1/pods` of one node (list and watch) and `GET /api/v1/namespaces/NAME` (metadata only); asks for
//! nothing else. The way in is the pod's service account or a kubeconfig; both are read anew for every
//! [`ApiServer::connect`]. Deliberately not done: retries, and waiting for longer than the caller waits.

use super::failure::{Failure, Kind};
use super::metadata::{NamespaceObject, PodList, PodObject, Selection};
use crate::config::Kubernetes;
use futures::stream::{BoxStream, StreamExt};
use kube::client::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::params::{GetParams, ListParams, VersionMatch, WatchParams};
use kube::core::{Request, Status, WatchEvent};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the API server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long [`probe`] waits for each answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const PODS: &str = "/api/v1/pods";
const NAMESPACES: &str = "/api/v1/namespaces";

/// Whom to ask, for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The node whose pods are asked for.
    pub node: String,
    /// The kubeconfig to use; without it the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Which parts of the metadata are kept.
    pub selection: Selection,
}

impl Settings {
    /// As the config says.
    pub fn new(node: &str, config: &Kubernetes) -> Self {
        Self {
            node: node.to_owned(),
            kubeconfig: config.kubeconfig.clone(),
            selection: config.into(),
        }
    }
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum News {
    /// A pod is new or has changed.
    Applied(PodObject),
    /// A pod is deleted; this is its last state.
    Deleted(PodObject),
    /// Nothing happened up to this version.
    Bookmark(String),
}

/// The way to one API server.
#[derive(Clone)]
pub(super) struct ApiServer {
    client: Client,
    url: String,
    node: String,
}

impl ApiServer {
    /// Reads the way in; makes no request.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        let mut config = match &settings.kubeconfig {
            Some(path) => from_kubeconfig(path).await,
            None => kube::Config::incluster().map_err(|error| {
                Failure::new(
                    Kind::Setup,
                    "cannot find the API server of the cluster",
                    chain(&error),
                )
            }),
        }?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // What to repeat, and when, is decided in `watch`: here an outage would be kept from those who wait for it.
        config.default_retry = false;
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let place = format!("cannot set up the connection to the API server at {url}");
        let client =
            Client::try_from(config).map_err(|error| Failure::new(Kind::Setup, place, chain(&error)))?;
        Ok(Self {
            client,
            url,
            node: settings.node.clone(),
        })
    }

    /// All pods of the node, out of the server's memory (`resourceVersion=0`), which costs it little.
    pub(super) async fn list(&self) -> Result<PodList, Failure> {
        let params = ListParams {
            field_selector: Some(self.selector()),
            resource_version: Some("0".to_owned()),
            version_match: Some(VersionMatch::NotOlderThan),
            ..ListParams::default()
        };
        let place = format!("cannot list the pods of node {} at {}", self.node, self.url);
        let answer = async {
            let request = Request::new(PODS)
                .list(&params)
                .map_err(kube::Error::BuildRequest)?;
            parse(&self.client.request_text(request).await?)
        };
        answer.await.map_err(|error| failure(&place, &error))
    }

    /// What happens to the pods of the node after `version`, until the server ends it after `timeout`, in seconds.
    pub(super) async fn watch(
        &self,
        version: &str,
        timeout: u32,
    ) -> Result<BoxStream<'static, Result<News, Failure>>, Failure> {
        let params = WatchParams {
            field_selector: Some(self.selector()),
            timeout: Some(timeout),
            bookmarks: true,
            ..WatchParams::default()
        };
        let place = format!("cannot watch the pods of node {} at {}", self.node, self.url);
        let answer = async {
            let request = Request::new(PODS)
                .watch(&params, version)
                .map_err(kube::Error::BuildRequest)?;
            self.client.request_events::<PodObject>(request).await
        };
        let events = answer.await.map_err(|error| failure(&place, &error))?;
        Ok(events.map(move |event| news(event, &place)).boxed())
    }

    /// Labels and uid of a namespace.
    pub(super) async fn namespace(&self, name: &str) -> Result<NamespaceObject, Failure> {
        let place = format!("cannot get the namespace {name} at {}", self.url);
        let answer = async {
            let request = Request::new(NAMESPACES).get_metadata(name, &GetParams::default());
            parse(
                &self
                    .client
                    .request_text(request.map_err(kube::Error::BuildRequest)?)
                    .await?,
            )
        };
        answer.await.map_err(|error| failure(&place, &error))
    }

    /// The failure of a request that was not answered within `patience`.
    pub(super) fn silent(&self, what: &str, patience: Duration) -> Failure {
        let cause = format!("no answer within {} s", patience.as_secs());
        Failure::new(Kind::Silent, format!("{what} at {}", self.url), cause)
    }

    fn selector(&self) -> String {
        format!("spec.nodeName={}", self.node)
    }
}

/// Tries everything that the agent will ask for. The text says what it may see, or what is refused and how to fix it.
pub async fn probe(settings: &Settings) -> Result<String, String> {
    let server = ApiServer::connect(settings)
        .await
        .map_err(|failure| failure.to_string())?;
    // Without a limit: with one, the server would have to read its database instead of its memory.
    let list = in_time("listing pods", &server, server.list()).await?;
    drop(in_time("watching pods", &server, server.watch(list.resource_version(), 1)).await?);
    if settings.selection.namespace_labels {
        in_time("getting a namespace", &server, found(server.namespace("default"))).await?;
    }
    let (url, node, pods) = (&server.url, &server.node, list.items.len());
    Ok(match pods {
        0 => format!(
            "{url} answers and everything is allowed, but no pod runs on node {node}: is `node_name` right?"
        ),
        _ => format!("{url} answers and everything is allowed; pods on node {node}: {pods}"),
    })
}

async fn in_time<T>(
    what: &str,
    server: &ApiServer,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, String> {
    match tokio::time::timeout(PROBE_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|failure| failure.to_string()),
        Err(_) => Err(server.silent(what, PROBE_TIMEOUT).to_string()),
    }
}

/// A namespace that is not there was looked for: that is allowed.
async fn found(request: impl Future<Output = Result<NamespaceObject, Failure>>) -> Result<(), Failure> {
    match request.await {
        Err(failure) if failure.kind != Kind::Absent => Err(failure),
        _ => Ok(()),
    }
}

async fn from_kubeconfig(path: &Path) -> Result<kube::Config, Failure> {
    let read = async {
        let kubeconfig = Kubeconfig::read_from(path)?;
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
    };
    read.await.map_err(|error| {
        Failure::new(
            Kind::Setup,
            format!("cannot use the kubeconfig {}", path.display()),
            chain(&error),
        )
    })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, kube::Error> {
    serde_json::from_str(text).map_err(kube::Error::SerdeError)
}

/// What an event of a watch tells.
///
/// # Errors
/// When the server ended the watch with an error, or said what cannot be read; `place` stands in its text.
pub fn news(event: Result<WatchEvent<PodObject>, kube::Error>, place: &str) -> Result<News, Failure> {
    match event {
        Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => Ok(News::Applied(pod)),
        Ok(WatchEvent::Deleted(pod)) => Ok(News::Deleted(pod)),
        Ok(WatchEvent::Bookmark(bookmark)) => Ok(News::Bookmark(bookmark.metadata.resource_version)),
        Ok(WatchEvent::Error(status)) => Err(refusal(place, &status)),
        Err(error) => Err(failure(place, &error)),
    }
}

fn failure(place: &str, error: &kube::Error) -> Failure {
    let kind = match error {
        kube::Error::Api(status) => return refusal(place, status),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Kind::Nonsense,
        kube::Error::Auth(_) | kube::Error::BuildRequest(_) => Kind::Setup,
        _ => Kind::Unreachable,
    };
    Failure::new(kind, place, chain(error))
}

/// What a refusal means. The text of a 410 differs between servers, the code and the reason do not.
fn refusal(place: &str, status: &Status) -> Failure {
    let details = status.details.as_ref();
    let too_new = details.is_some_and(|details| {
        details
            .causes
            .iter()
            .any(|cause| cause.reason == "ResourceVersionTooLarge")
    });
    let kind = match status.code {
        _ if too_new || status.reason == "Expired" => Kind::Expired,
        401 => Kind::Credentials,
        403 => Kind::Permission,
        404 => Kind::Absent,
        410 => Kind::Expired,
        429 => Kind::Busy,
        _ => Kind::Broken,
    };
    let seconds = details.map_or(0, |details| details.retry_after_seconds);
    let said = if status.message.is_empty() {
        &status.reason
    } else {
        &status.message
    };
    Failure {
        retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
        ..Failure::new(kind, place, format!("{} {}", status.code, shortened(said)))
    }
}

/// Proxies answer with whole pages.
fn shortened(text: &str) -> String {
    const ENOUGH: usize = 300;
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(ENOUGH)
        .collect()
}

/// An error with all that lies beneath it, each part once: the outer ones of HTTP clients say nothing.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        beneath = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
