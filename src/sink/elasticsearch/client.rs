//! Bodies are posted to `_bulk`, answers are read whole and judged: the only file of the sink that
//! speaks HTTP.
//!
//! Hosts are used in turn; a host that cannot be talked to is followed by the next one within the
//! same call. Secrets and the CA file are read again when the server refuses the credentials, or its
//! certificate is not trusted: files that were rotated are used without a restart.
//!
//! Not done here: retries (`flight.rs`), sniffing, redirects (answered with *hold*), proxies of the
//! environment, compressed answers.

use super::response::{self, FILTER_PATH, Problem, RequestVerdict};
use crate::config::{Auth, Elasticsearch, HostUrl};
use crate::record::Encoding;
use crate::sink::disk::{SecretError, Secrets, read_secrets};
use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, RequestBuilder, redirect, retry};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection without a request is kept.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// How long `longshore check --connect` waits for one host.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// The most bytes of an answer. Items take some 30 bytes each, refused ones a few hundred more.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of the config cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The API key cannot be sent.
    #[error("sink.elasticsearch.auth.api_key_file: {0}")]
    ApiKey(&'static str),
    /// The CA file, or the certificates of the system, cannot be used.
    #[error(
        "cannot set up TLS: {0}; set sink.elasticsearch.tls.ca_file to a PEM file of certificate authorities"
    )]
    Tls(String),
}

/// What came of one post.
#[derive(Debug)]
pub struct Answer {
    /// What is to be done.
    pub verdict: RequestVerdict,
    /// The host that answered; none when no host did.
    pub host: Option<HostUrl>,
}

/// Clients of all hosts, and who we are to them.
#[derive(Debug)]
pub struct Client {
    config: Elasticsearch,
    turn: AtomicUsize,
    session: Mutex<Arc<Session>>,
}

/// What is made from the secrets, and made anew when they change.
#[derive(Debug)]
struct Session {
    http: reqwest::Client,
    credentials: Credentials,
    secrets: Secrets,
}

enum Credentials {
    None,
    Basic { username: String, password: String },
    ApiKey(HeaderValue),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic { .. } => "Basic",
            Credentials::ApiKey(_) => "ApiKey",
        })
    }
}

impl Client {
    /// A client that has not connected yet. Reads the secrets. A rustls provider must be installed
    /// (see `main.rs`).
    ///
    /// # Errors
    /// When a secret or the CA file cannot be used.
    pub fn new(config: &Elasticsearch) -> Result<Client, ClientError> {
        let secrets = read_secrets(&config.auth, &config.tls)?;
        let session = Mutex::new(Arc::new(Session::open(config, secrets)?));
        Ok(Client {
            config: config.clone(),
            turn: AtomicUsize::new(0),
            session,
        })
    }

    /// Posts a body of `documents` documents to the next host. Never fails: what goes wrong on the
    /// way is a [`RequestVerdict::Retry`] that names host, cause and fix.
    pub async fn post(&self, bytes: Bytes, encoding: Encoding, documents: usize) -> Answer {
        let deadline = now() + self.config.request_timeout;
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut problem = None;
        for step in 0..self.config.hosts.len() {
            let host = &self.config.hosts[(first + step) % self.config.hosts.len()];
            let left = deadline.saturating_duration_since(now());
            if problem.is_some() && left < CONNECT_TIMEOUT {
                break;
            }
            let request = |session: &Session| {
                let request = session.http.post(format!("{host}/_bulk?{FILTER_PATH}"));
                let request = request.header(CONTENT_TYPE, "application/x-ndjson").timeout(left);
                let request = match encoding {
                    Encoding::Gzip => request.header(CONTENT_ENCODING, "gzip"),
                    Encoding::Identity => request,
                };
                request.body(bytes.clone())
            };
            match self.ask(host, request).await {
                Ok((status, answer)) => {
                    let verdict = response::judge(status, &answer, documents);
                    return Answer {
                        verdict,
                        host: Some(host.clone()),
                    };
                }
                Err(failure) => problem = Some(failure),
            }
        }
        let problem = problem.unwrap_or_else(|| transport("config", "no host is configured".to_owned()));
        Answer {
            verdict: RequestVerdict::Retry(problem),
            host: None,
        }
    }

    /// Asks every host how its cluster is, and says what came of it: a sentence, or a problem whose
    /// reason says what to do. A server that does not tell its health is reachable all the same.
    pub async fn probe(&self) -> Vec<(HostUrl, Result<String, Problem>)> {
        let mut told = Vec::with_capacity(self.config.hosts.len());
        for host in &self.config.hosts {
            let request = |session: &Session| {
                session
                    .http
                    .get(format!("{host}/_cluster/health"))
                    .timeout(PROBE_TIMEOUT)
            };
            let result = self.ask(host, request).await;
            told.push((
                host.clone(),
                result.and_then(|(status, answer)| describe(host, status, &answer)),
            ));
        }
        told
    }

    /// One request; once more when the secrets on disk are others than those that were refused.
    async fn ask(
        &self,
        host: &HostUrl,
        request: impl Fn(&Session) -> RequestBuilder,
    ) -> Result<(u16, Bytes), Problem> {
        let session = self.session();
        let result = exchange(host, session.identify(request(&session))).await;
        let refused = match &result {
            Ok((status, _)) => matches!(status, 401 | 403),
            Err(problem) => problem.kind == "tls",
        };
        if refused && let Some(session) = self.reopen(&session) {
            return exchange(host, session.identify(request(&session))).await;
        }
        result
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session with the secrets as they are now, when they are others than `used`.
    fn reopen(&self, used: &Session) -> Option<Arc<Session>> {
        let secrets = read_secrets(&self.config.auth, &self.config.tls).ok()?;
        if secrets == used.secrets {
            return None;
        }
        let session = Arc::new(Session::open(&self.config, secrets).ok()?);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&session);
        Some(session)
    }
}

impl Session {
    fn open(config: &Elasticsearch, secrets: Secrets) -> Result<Session, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(config.max_in_flight)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy();
        let tls = |error: reqwest::Error| ClientError::Tls(innermost(&error));
        if let Some(pem) = &secrets.ca_pem {
            let certificates = Certificate::from_pem_bundle(pem).map_err(tls)?;
            if certificates.is_empty() {
                return Err(ClientError::Tls("the CA file holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if !config.hosts.iter().any(HostUrl::is_https) {
            // Without https an image without certificates is no mistake.
            builder = builder.tls_certs_only([]);
        }
        let credentials = credentials(&config.auth, &secrets)?;
        Ok(Session {
            http: builder.build().map_err(tls)?,
            credentials,
            secrets,
        })
    }

    fn identify(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => request.basic_auth(username, Some(password)),
            Credentials::ApiKey(value) => request.header(AUTHORIZATION, value),
        }
    }
}

fn credentials(auth: &Auth, secrets: &Secrets) -> Result<Credentials, ClientError> {
    if let Some(key) = &secrets.api_key {
        if key.contains(':') {
            return Err(ClientError::ApiKey(
                "the file holds `id:key`; use the server's field `encoded` instead",
            ));
        }
        let mut value = HeaderValue::from_str(&format!("ApiKey {key}"))
            .map_err(|_| ClientError::ApiKey("the key has signs that no header may have"))?;
        value.set_sensitive(true);
        return Ok(Credentials::ApiKey(value));
    }
    match (&auth.username, &secrets.password) {
        (Some(username), Some(password)) => Ok(Credentials::Basic {
            username: username.clone(),
            password: password.clone(),
        }),
        _ => Ok(Credentials::None),
    }
}

/// Sends a request and reads the whole answer.
async fn exchange(host: &HostUrl, request: RequestBuilder) -> Result<(u16, Bytes), Problem> {
    let failed = |error: reqwest::Error| problem_of(host, &error);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut answer = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            let reason = format!("{host}: the answer is larger than {MAX_ANSWER} bytes; what answers there?");
            return Err(transport("answer_too_large", reason));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok((status, answer.freeze()))
}

fn transport(kind: &str, reason: String) -> Problem {
    Problem {
        status: 0,
        kind: kind.to_owned(),
        reason,
    }
}

/// What went wrong on the way, with host, cause and fix.
fn problem_of(host: &HostUrl, error: &reqwest::Error) -> Problem {
    let (kind, fix) = if is_tls(error) {
        (
            "tls",
            "does it speak https there? If so, set sink.elasticsearch.tls.ca_file to the authority that signed its certificate, \
             and use the name that stands in it",
        )
    } else if error.is_timeout() && !error.is_connect() {
        (
            "timeout",
            "give the servers more capacity, or raise sink.elasticsearch.request_timeout",
        )
    } else if error.is_dns() {
        (
            "dns",
            "correct the name in sink.elasticsearch.hosts, or look at the cluster's DNS",
        )
    } else if error.is_connect() {
        (
            "connect",
            "is Elasticsearch running there, and may this node reach it?",
        )
    } else {
        (
            "connection_broke",
            "something on the way, or the server itself, cut the connection",
        )
    };
    transport(kind, format!("{host}: {}; {fix}", innermost(error)))
}

/// The cause behind all wrappers.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error hides what it carries from `source`.
        let carried = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let by_type =
            error.is::<rustls::Error>() || carried.is_some_and(|carried| carried.is::<rustls::Error>());
        // A server that does not answer the handshake is told in words only.
        if by_type || carried.is_some_and(|carried| carried.to_string().starts_with("tls handshake")) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What an answer to `_cluster/health` says about a host.
fn describe(host: &HostUrl, status: u16, answer: &[u8]) -> Result<String, Problem> {
    #[derive(serde::Deserialize)]
    struct ClusterHealth {
        status: String,
    }
    let problem = |reason: String| Problem {
        status,
        kind: String::new(),
        reason,
    };
    match status {
        200 => match serde_json::from_slice::<ClusterHealth>(answer) {
            Ok(health) => Ok(format!("reachable, the cluster is {}", health.status)),
            Err(_) => Err(problem(format!("{host}: answers, but not like Elasticsearch; is there a proxy or a sign-in page?"))),
        },
        401 => Err(problem(format!("{host}: refuses the credentials (401); check sink.elasticsearch.auth"))),
        403 => Ok("reachable, the credentials are known (their role may not ask for the health, which is not needed)".to_owned()),
        404 | 405 | 410 => Ok(format!("reachable (it does not tell its health: {status})")),
        300..=399 => Err(problem(format!("{host}: redirects ({status}); put the address it leads to into sink.elasticsearch.hosts"))),
        _ => Err(problem(format!("{host}: answers {status}; look at the server and what stands before it"))),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a request is the shell's business"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
