//! Who we are to the servers, and whom we take for them.

use super::fingerprint::Fingerprint;
use super::types::Elasticsearch;
use std::path::PathBuf;

/// Who we are: nobody, a user with a password, an API key, whoever has a token, or somebody that AWS knows. Secrets are read
/// from files (those of AWS from the environment, too) and never from the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user of basic auth; set exactly when `password_file` is.
    pub username: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// The file that holds the API key, encoded or as `id:key`.
    pub api_key_file: Option<PathBuf>,
    /// The file that holds a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// How requests are signed for services of AWS.
    pub aws: Aws,
    /// Whether they may go over `http`, where everybody on the way can read them.
    pub allow_over_http: bool,
}

impl Auth {
    /// Whether requests carry a secret.
    pub fn is_some(&self) -> bool {
        let files = [&self.password_file, &self.api_key_file, &self.bearer_token_file];
        files.iter().any(|file| file.is_some()) || self.aws.region.is_some()
    }
}

/// Signatures of AWS (version 4), for its OpenSearch and Elasticsearch services. Without files the credentials are those of
/// the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where there is one; or a role
/// (`AWS_ROLE_ARN`) that AWS gives for the token in `AWS_WEB_IDENTITY_TOKEN_FILE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aws {
    /// The region of the service; set: requests are signed.
    pub region: Option<String>,
    /// Which of the services it is.
    pub service: AwsService,
    /// The file that holds the id of the access key; set exactly when `secret_access_key_file` is.
    pub access_key_id_file: Option<PathBuf>,
    /// The file that holds its secret.
    pub secret_access_key_file: Option<PathBuf>,
    /// The file that holds the session token of temporary credentials.
    pub session_token_file: Option<PathBuf>,
}

/// A service of AWS that speaks like Elasticsearch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AwsService {
    /// A domain of OpenSearch or Elasticsearch.
    #[default]
    Es,
    /// A collection of OpenSearch Serverless.
    Aoss,
}

impl AwsService {
    /// Its name in a signature.
    pub fn name(self) -> &'static str {
        match self {
            AwsService::Es => "es",
            AwsService::Aoss => "aoss",
        }
    }
}

/// Whom we trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file of certificate authorities, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The one authority that is trusted, in place of all others.
    pub ca_fingerprint: Option<Fingerprint>,
    /// A PEM file with our certificate and those that vouch for it; set exactly when `client_key_file` is.
    pub client_certificate_file: Option<PathBuf>,
    /// A PEM file with the key of our certificate.
    pub client_key_file: Option<PathBuf>,
    /// Whether any certificate will do: whoever is on the way can read and change everything.
    pub insecure_skip_verify: bool,
}

impl Elasticsearch {
    /// What the config allows although others can read or change it on the way, for the log and for metrics.
    pub fn exposures(&self) -> Vec<&'static str> {
        let is_open = self.hosts.iter().any(|host| !host.is_https());
        let all = [
            (self.auth.is_some() && is_open, "secrets_over_http"),
            (self.tls.insecure_skip_verify, "certificates_unchecked"),
        ];
        all.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect()
    }
}
