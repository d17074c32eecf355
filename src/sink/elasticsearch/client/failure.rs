//! What went wrong on the way, in our own words: errors enter, problems with host, cause and fix leave. Where a file of ours can
//! be wrong, the fix names its key and its path.

use super::session::{causes, innermost};
use crate::config::{Auth, Elasticsearch, HostUrl, Tls};
use crate::sink::elasticsearch::response::{CONNECTION_BROKE, Problem};
use rustls::CertificateError;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// Where the certificate of a server lies, in the words of the servers.
const CERTIFICATE_OF_THE_SERVER: &str = "on the server: xpack.security.http.ssl.certificate, in OpenSearch \
    plugins.security.ssl.http.pemcert_filepath";

/// A request that did not get an answer.
pub(super) fn transport(kind: &str, reason: String) -> Problem {
    Problem {
        status: 0,
        kind: kind.to_owned(),
        reason,
    }
}

/// A host began to answer and did not go on for so long.
pub(super) fn stopped(host: &HostUrl, most: Duration) -> Problem {
    let reason = format!(
        "{host}: the answer has begun and did not go on for {most:?}; look at what stands between this node and the server, or \
         raise sink.elasticsearch.request_timeout, of which that is half"
    );
    transport("timeout", reason)
}

/// What went wrong on the way to a host.
pub(super) fn problem_of(config: &Elasticsearch, host: &HostUrl, error: &reqwest::Error) -> Problem {
    let (kind, fix) = if is_tls(error) {
        ("tls", tls_fix(&config.tls, error))
    } else if error.is_timeout() && !error.is_connect() {
        (
            "timeout",
            "give the servers more capacity, or raise sink.elasticsearch.request_timeout".to_owned(),
        )
    } else if error.is_dns() {
        (
            "dns",
            "correct the name in sink.elasticsearch.hosts, or look at the cluster's DNS".to_owned(),
        )
    } else if error.is_connect() {
        (
            "connect",
            "is Elasticsearch running there, and may this node reach it?".to_owned(),
        )
    } else {
        (
            CONNECTION_BROKE,
            "something on the way, or the server itself, cut the connection".to_owned(),
        )
    };
    transport(kind, format!("{host}: {}; {fix}", innermost(error)))
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    // A server that does not answer the handshake is told in words only.
    causes(error).any(|cause| cause.is::<rustls::Error>() || cause.to_string().starts_with("tls handshake"))
}

/// What to do about a handshake that failed.
fn tls_fix(tls: &Tls, error: &(dyn Error + 'static)) -> String {
    use CertificateError::*;
    match causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => format!(
                "renew the certificate of the server ({CERTIFICATE_OF_THE_SERVER}), or set the clock of this node"
            ),
            NotValidForName | NotValidForNameContext { .. } => format!(
                "put a name that stands in the certificate into sink.elasticsearch.hosts, or this one into the certificate \
                 ({CERTIFICATE_OF_THE_SERVER})"
            ),
            _ => format!("does {} the authority that signed the certificate?", authorities(tls)),
        },
        // The server has looked at what we are.
        Some(rustls::Error::AlertReceived(_)) => match &tls.client_certificate_file {
            Some(file) => format!("the server refuses {}", named("tls.client_certificate_file", file)),
            None => "the server may want to know who we are: set sink.elasticsearch.tls.client_certificate_file and \
                     client_key_file"
                .to_owned(),
        },
        _ => format!("does it speak https there? If so, does {} the authority that signed its certificate?", authorities(tls)),
    }
}

/// Whom we trust, and the verb.
fn authorities(tls: &Tls) -> String {
    match (&tls.ca_file, &tls.ca_fingerprint) {
        (Some(file), _) => format!("{} hold", named("tls.ca_file", file)),
        (None, Some(_)) => "sink.elasticsearch.tls.ca_fingerprint name".to_owned(),
        (None, None) => {
            "the system (set sink.elasticsearch.tls.ca_file where the cluster has an authority of its own) know".to_owned()
        }
    }
}

/// What to look at when the server does not take our credentials.
pub(super) fn secret_to_look_at(auth: &Auth) -> String {
    let files = [
        ("auth.password_file", &auth.password_file),
        ("auth.api_key_file", &auth.api_key_file),
        ("auth.bearer_token_file", &auth.bearer_token_file),
        (
            "auth.aws.secret_access_key_file",
            &auth.aws.secret_access_key_file,
        ),
    ];
    let secret = files
        .iter()
        .find_map(|(key, file)| Some(named(key, file.as_deref()?)));
    match (secret, &auth.aws.region) {
        (Some(secret), _) => format!("Look at {secret}: it is read again at each refusal"),
        (None, Some(_)) => {
            "Look at AWS_ACCESS_KEY_ID, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, in the environment of the agent"
                .to_owned()
        }
        (None, None) => "The server wants to know who we are: set sink.elasticsearch.auth".to_owned(),
    }
}

/// A key of the config, and the file that it names.
fn named(key: &str, file: &Path) -> String {
    format!("sink.elasticsearch.{key} ({})", file.display())
}
