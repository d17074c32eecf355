//! Who we are to the servers, and whom we take for them: the config and the secrets enter, a client that speaks HTTP leaves.
//!
//! Chain and host name of a certificate are always checked, against the system's authorities, a file of them, or the one
//! authority whose fingerprint is pinned; TLS is 1.2 or later. Only `tls.insecure_skip_verify` takes the check away.

mod pin;
#[cfg(feature = "sigv4")]
mod sigv4;

use crate::config::{Auth, Elasticsearch, HostUrl, Tls};
use crate::sink::disk::{SecretError, Secrets};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pin::Pin;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder, redirect, retry};
use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection without a request is kept.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of the config cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What a file holds cannot be sent.
    #[error("sink.elasticsearch.auth.{0}: the file has signs that no header may have")]
    Header(&'static str),
    /// The CA file, or the certificates of the system, cannot be used.
    #[error(
        "cannot set up TLS: {0}; set sink.elasticsearch.tls.ca_file to a PEM file of certificate authorities"
    )]
    Authorities(String),
    /// Our own certificate cannot be used.
    #[error(
        "cannot set up TLS: {0}; sink.elasticsearch.tls.client_certificate_file and client_key_file are to be PEM files, the \
         key without a password"
    )]
    Identity(String),
}

/// What is made from the secrets, and made anew when they change.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) http: reqwest::Client,
    pub(super) secrets: Secrets,
    credentials: Credentials,
}

/// What every request says of us.
enum Credentials {
    None,
    Basic {
        username: String,
        password: String,
    },
    Header(HeaderValue),
    /// Each request has a signature of its own.
    #[cfg(feature = "sigv4")]
    Signed(sigv4::Signer),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic { .. } => "Basic",
            Credentials::Header(_) => "Header",
            #[cfg(feature = "sigv4")]
            Credentials::Signed(_) => "Signed",
        })
    }
}

impl Session {
    /// # Errors
    /// When what the files hold cannot be used.
    pub(super) fn open(config: &Elasticsearch, secrets: Secrets) -> Result<Session, ClientError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT.min(super::longest_pause(config)))
            // RFC 5482: what nobody takes, or nobody acknowledges, ends the connection.
            .tcp_user_timeout(super::longest_pause(config))
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(config.max_in_flight)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy();
        let is_tls = config.hosts.iter().any(HostUrl::is_https);
        let builder = match &config.tls.ca_fingerprint {
            Some(fingerprint) if is_tls => {
                builder.tls_backend_preconfigured(Pin::new(*fingerprint).config(&secrets)?)
            }
            _ => trust(identify(builder, &secrets)?, is_tls, &config.tls, &secrets)?,
        };
        let http = builder
            .build()
            .map_err(|error| ClientError::Authorities(innermost(&error)))?;
        Ok(Session {
            credentials: credentials(&config.auth, &secrets, &http)?,
            secrets,
            http,
        })
    }

    /// The request with what says of us; `now` stands in its signature where it gets one.
    ///
    /// # Errors
    /// When it cannot be signed, with the cause.
    #[cfg_attr(
        not(feature = "sigv4"),
        expect(unused_variables, reason = "only signatures have a time")
    )]
    pub(super) async fn identify(
        &self,
        request: RequestBuilder,
        now: SystemTime,
    ) -> Result<RequestBuilder, String> {
        Ok(match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => request.basic_auth(username, Some(password)),
            Credentials::Header(value) => request.header(AUTHORIZATION, value),
            #[cfg(feature = "sigv4")]
            Credentials::Signed(signer) => signer.sign(request, now).await?,
        })
    }
}

/// Whom the client trusts.
fn trust(
    builder: ClientBuilder,
    is_tls: bool,
    tls: &Tls,
    secrets: &Secrets,
) -> Result<ClientBuilder, ClientError> {
    let builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(pem) = &secrets.ca_pem {
        let certificates =
            Certificate::from_pem_bundle(pem).map_err(|error| ClientError::Authorities(innermost(&error)))?;
        if certificates.is_empty() {
            return Err(ClientError::Authorities(
                "the CA file holds no certificate".to_owned(),
            ));
        }
        Ok(builder.tls_certs_only(certificates))
    } else if is_tls && !tls.insecure_skip_verify {
        Ok(builder)
    } else {
        // Without a check an image without certificates is no mistake.
        Ok(builder.tls_certs_only([]))
    }
}

/// The certificate that shows who we are, where there is one.
fn identify(builder: ClientBuilder, secrets: &Secrets) -> Result<ClientBuilder, ClientError> {
    let Some((certificate, key)) = &secrets.client_pem else {
        return Ok(builder);
    };
    let pem = [certificate.as_slice(), b"\n", key].concat();
    let identity = Identity::from_pem(&pem).map_err(|error| ClientError::Identity(innermost(&error)))?;
    Ok(builder.identity(identity))
}

#[cfg_attr(
    not(feature = "sigv4"),
    expect(unused_variables, reason = "only roles of AWS are asked for by HTTP")
)]
fn credentials(auth: &Auth, secrets: &Secrets, http: &reqwest::Client) -> Result<Credentials, ClientError> {
    let header = |key: &'static str, text: String| {
        let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Header(key))?;
        value.set_sensitive(true);
        Ok(Credentials::Header(value))
    };
    if let Some(key) = &secrets.api_key {
        // The server gives it as id and key, and encoded: base64 has no colon.
        let encoded = match key.contains(':') {
            true => BASE64_STANDARD.encode(key),
            false => key.clone(),
        };
        return header("api_key_file", format!("ApiKey {encoded}"));
    }
    if let Some(token) = &secrets.bearer_token {
        return header("bearer_token_file", format!("Bearer {token}"));
    }
    #[cfg(feature = "sigv4")]
    if let Some(secret) = &secrets.aws {
        return Ok(Credentials::Signed(sigv4::Signer::new(&auth.aws, secret, http)));
    }
    match (&auth.username, &secrets.password) {
        (Some(username), Some(password)) => Ok(Credentials::Basic {
            username: username.clone(),
            password: password.clone(),
        }),
        _ => Ok(Credentials::None),
    }
}

/// The error and what is behind it, one wrapper after the other.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        // An I/O error hides what it carries from `source`.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        }
    })
}

/// The cause behind all wrappers.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}
