//! Bodies are posted to `_bulk`, answers are read whole and judged: the only file of the sink that
//! speaks HTTP.
//!
//! Which host a request goes to, the caller says. The files of the secrets are read again now and then, and at once when the
//! server refuses the credentials or a certificate is not trusted: what was rotated is used without a restart, and
//! connections that were made with the old ones end with their requests.
//!
//! Not done here: retries (`flight.rs`), sniffing, redirects (answered with *hold*), proxies of the
//! environment, compressed answers.

mod failure;
mod look_up;
mod session;

use super::hosts::HostId;
use super::response::{AUDIT_FILTER_PATH, FILTER_PATH, Places, Problem, RequestVerdict, Scan};
use crate::config::{Auth, Elasticsearch, HostUrl};
use crate::record::Encoding;
use crate::sink::disk::read_secrets;
use bytes::Bytes;
use failure::{problem_of, secret_to_look_at, transport};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder};
pub use session::ClientError;
use session::Session;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The files of the secrets are read again this often: a Secret that Kubernetes swaps is used within that.
const SECRETS_AGE: Duration = Duration::from_secs(10);
/// How long a server waits for a shard that is not there, or a master that is busy, before it says so (of its own accord a
/// minute): all other documents of the body wait with it.
const WAIT: &str = "10s";
/// How long `longshore check --connect` waits for one host.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections end at this age, so that names are resolved anew and servers that have joined get their part.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Whoever asks for a longer rest is asked again after this.
const MAX_REST: Duration = Duration::from_secs(300);
/// So much is read of what a subcommand asked for.
const MAX_ANSWER: usize = 1 << 20;
/// So much is read of what nobody wants.
const MAX_UNWANTED: usize = 64 * 1024;

/// What came of one post.
#[derive(Debug)]
pub struct Answer {
    /// What is to be done.
    pub verdict: RequestVerdict,
    /// The host that answered; none when no host did.
    pub host: Option<HostUrl>,
    /// How long the server, or what stands before it, wants to be left alone (`Retry-After`); [`MAX_REST`] at most.
    pub retry_after: Option<Duration>,
    /// Where the documents went; only after an audit.
    pub places: Option<Places>,
}

/// What is posted to `_bulk`.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// The body.
    pub bytes: Bytes,
    /// Whether it is gzip.
    pub encoding: Encoding,
    /// How many items the answer must have.
    pub documents: usize,
    /// The answer is to tell where the documents went.
    pub audit: bool,
}

/// An answer whose body has been read to the end, or as far as it was wanted.
struct Told<T> {
    status: u16,
    retry_after: Option<Duration>,
    intake: T,
}

/// Clients of all hosts, and who we are to them.
#[derive(Debug)]
pub struct Client {
    config: Elasticsearch,
    session: Mutex<Current>,
}

/// The session of new requests.
#[derive(Debug)]
struct Current {
    session: Arc<Session>,
    opened: Instant,
    /// When its files were looked at.
    read: Instant,
}

impl Client {
    /// A client that has not connected yet. Reads the secrets. A rustls provider must be installed
    /// (see `main.rs`).
    ///
    /// # Errors
    /// When a secret or the CA file cannot be used.
    pub fn new(config: &Elasticsearch) -> Result<Client, ClientError> {
        let secrets = read_secrets(&config.auth, &config.tls)?;
        let current = Current {
            session: Arc::new(Session::open(config, secrets)?),
            opened: now(),
            read: now(),
        };
        Ok(Client {
            config: config.clone(),
            session: Mutex::new(current),
        })
    }

    /// Posts a body to a host. Never fails: what goes wrong on the way is a [`RequestVerdict::Retry`] that names host, cause
    /// and fix.
    pub async fn post(&self, host: HostId, bulk: Bulk) -> Answer {
        let failed = |problem| Answer {
            verdict: RequestVerdict::Retry(problem),
            host: None,
            retry_after: None,
            places: None,
        };
        let Some(host) = self.config.hosts.get(host) else {
            return failed(transport("config", "no such host is configured".to_owned()));
        };
        let Bulk {
            bytes,
            encoding,
            documents,
            audit,
        } = bulk;
        let filter = if audit { AUDIT_FILTER_PATH } else { FILTER_PATH };
        let request = |session: &Session| {
            let request = session.http.post(format!("{host}/_bulk?timeout={WAIT}&{filter}"));
            let request = request.header(CONTENT_TYPE, "application/x-ndjson");
            let request = request.timeout(self.config.request_timeout);
            let request = match encoding {
                Encoding::Gzip => request.header(CONTENT_ENCODING, "gzip"),
                Encoding::Identity => request,
            };
            request.body(bytes.clone())
        };
        let scan = |status| {
            let scan = Scan::new(status, documents);
            if audit { scan.audited() } else { scan }
        };
        match self.ask(host, request, scan).await {
            Ok(told) => {
                let (verdict, places) = told.intake.finish_audited();
                Answer {
                    verdict: self.explained(verdict),
                    host: Some(host.clone()),
                    retry_after: told.retry_after,
                    places,
                }
            }
            Err(problem) => failed(problem),
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
            let result = self.ask(host, request, |_| Vec::new()).await;
            told.push((
                host.clone(),
                result.and_then(|told| describe(host, &self.config.auth, told.status, &told.intake)),
            ));
        }
        told
    }

    /// One call of the API with a JSON body or without, for subcommands: status and body of the answer, the first MiB of it.
    ///
    /// # Errors
    /// When the host does not answer, with its name, the cause and a fix.
    pub async fn call(
        &self,
        host: HostId,
        method: &str,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(u16, Vec<u8>), Problem> {
        let unknown = || transport("config", "no such host is configured".to_owned());
        let host = self.config.hosts.get(host).ok_or_else(unknown)?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| transport("config", format!("{method} is no method")))?;
        let request = |session: &Session| {
            let request = session.http.request(method.clone(), format!("{host}/{path}"));
            let request = request.timeout(self.config.request_timeout);
            match &body {
                Some(body) => request
                    .header(CONTENT_TYPE, "application/json")
                    .body(body.clone()),
                None => request,
            }
        };
        let told = self.ask(host, request, |_| Whole(Vec::new())).await?;
        Ok((told.status, told.intake.0))
    }

    /// A refusal of our credentials, with what to look at in place of what the server says of it.
    fn explained(&self, mut verdict: RequestVerdict) -> RequestVerdict {
        if let RequestVerdict::Hold(problem) = &mut verdict
            && problem.status == 401
        {
            problem.reason = secret_to_look_at(&self.config.auth);
        }
        verdict
    }

    /// One request; once more when the secrets on disk are others than those that were refused.
    async fn ask<T: Intake>(
        &self,
        host: &HostUrl,
        request: impl Fn(&Session) -> RequestBuilder,
        begin: impl Fn(u16) -> T,
    ) -> Result<Told<T>, Problem> {
        let session = self.session();
        let ready = identified(host, &session, request(&session)).await?;
        let result = exchange(&self.config, host, ready, &begin).await;
        let refused = match &result {
            Ok(told) => matches!(told.status, 401 | 403),
            Err(problem) => problem.kind == "tls",
        };
        if refused && let Some(session) = self.reopen(&session, false) {
            let ready = identified(host, &session, request(&session)).await?;
            return exchange(&self.config, host, ready, &begin).await;
        }
        result
    }

    /// The session, with the secrets as they were a short while ago at most.
    fn session(&self) -> Arc<Session> {
        let (session, opened, read) = {
            let current = self.current();
            (Arc::clone(&current.session), current.opened, current.read)
        };
        let now = now();
        let is_old = now.saturating_duration_since(opened) >= CONNECTION_LIFE;
        if !is_old && now.saturating_duration_since(read) < SECRETS_AGE {
            return session;
        }
        self.reopen(&session, is_old).unwrap_or(session)
    }

    /// A session with the secrets as they are now, when they are others than `used`, or that one is old. Files that cannot be
    /// read, or used, in this moment change nothing: what was read last is as good as before. Requests of the old session
    /// end on their connections.
    fn reopen(&self, used: &Session, is_old: bool) -> Option<Arc<Session>> {
        self.current().read = now();
        let secrets = read_secrets(&self.config.auth, &self.config.tls).ok()?;
        if secrets == used.secrets && !is_old {
            return None;
        }
        let session = Arc::new(Session::open(&self.config, secrets).ok()?);
        let mut current = self.current();
        (current.session, current.opened) = (Arc::clone(&session), now());
        Some(session)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the age of what was read")]
fn now() -> Instant {
    Instant::now()
}

/// What the body of an answer goes into, piece by piece.
trait Intake {
    /// The next piece. False when nothing more is wanted.
    fn take(&mut self, piece: &[u8]) -> bool;
}

impl Intake for Scan {
    fn take(&mut self, piece: &[u8]) -> bool {
        self.push(piece)
    }
}

/// All of a short answer.
impl Intake for Vec<u8> {
    fn take(&mut self, piece: &[u8]) -> bool {
        self.extend_from_slice(piece);
        self.len() < MAX_UNWANTED
    }
}

/// All of an answer that a subcommand asked for.
struct Whole(Vec<u8>);

impl Intake for Whole {
    fn take(&mut self, piece: &[u8]) -> bool {
        self.0.extend_from_slice(piece);
        self.0.len() < MAX_ANSWER
    }
}

/// The request with what says of us.
async fn identified(
    host: &HostUrl,
    session: &Session,
    request: RequestBuilder,
) -> Result<RequestBuilder, Problem> {
    let identified = session.identify(request, wall_clock()).await;
    identified.map_err(|cause| transport("signature", format!("{host}: {cause}")))
}

/// How long the other side may stop in the middle of something: not take what is sent, or not go on with an answer that it has
/// begun. Only for the begin of the answer it has the whole time, since a bulk is answered when all of it is done.
fn longest_pause(config: &Elasticsearch) -> Duration {
    config.request_timeout / 2
}

/// Sends a request and reads the answer to what `begin` makes for its status. The deadline of the request ends
/// an answer without an end; what is wanted of it does not grow with it.
async fn exchange<T: Intake>(
    config: &Elasticsearch,
    host: &HostUrl,
    request: RequestBuilder,
    begin: &impl Fn(u16) -> T,
) -> Result<Told<T>, Problem> {
    let failed = |error: reqwest::Error| problem_of(config, host, &error);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let retry_after = rest_of(response.headers().get(RETRY_AFTER));
    let mut intake = begin(status);
    let mut unwanted = 0;
    let most = longest_pause(config);
    loop {
        let piece = tokio::time::timeout(most, response.chunk()).await;
        let piece = piece.map_err(|_| failure::stopped(host, most))?;
        let Some(piece) = piece.map_err(failed)? else {
            break;
        };
        if unwanted > 0 || !intake.take(&piece) {
            unwanted += piece.len();
        }
        // A short rest is read, so that the connection can be used again.
        if unwanted > MAX_UNWANTED {
            break;
        }
    }
    Ok(Told {
        status,
        retry_after,
        intake,
    })
}

/// `Retry-After` as RFC 9110 §10.2.3 has it: seconds, or a date.
fn rest_of(header: Option<&HeaderValue>) -> Option<Duration> {
    let text = header?.to_str().ok()?.trim();
    let rest = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(wall_clock()).unwrap_or_default()
        }
    };
    Some(rest.min(MAX_REST))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date in an answer is compared with today, and signatures of AWS have a time"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// What an answer to `_cluster/health` says about a host.
fn describe(host: &HostUrl, auth: &Auth, status: u16, answer: &[u8]) -> Result<String, Problem> {
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
        401 => Err(problem(format!("{host}: refuses the credentials (401). {}", secret_to_look_at(auth)))),
        403 => Ok("reachable, the credentials are known (their role may not ask for the health, which is not needed)".to_owned()),
        404 | 405 | 410 => Ok(format!("reachable (it does not tell its health: {status})")),
        300..=399 => Err(problem(format!("{host}: redirects ({status}); put the address it leads to into sink.elasticsearch.hosts"))),
        _ => Err(problem(format!("{host}: answers {status}; look at the server and what stands before it"))),
    }
}

#[cfg(test)]
mod tests;
