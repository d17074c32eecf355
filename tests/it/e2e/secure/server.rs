//! Servers with security on, started by `tests/stack`: TLS with an authority of their own, and one user that may do everything.

use longshore_kit::stack::run_stack;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The user that `tests/stack` gives each of them.
const ADMIN: (&str, &str) = ("admin", "admin-password");
/// The name in the authority's certificate, as `tests/stack` writes it.
const AUTHORITY: &str = "longshore test authority";
/// Longer than any answer of a one-node server on a loaded machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Who<'a> {
    /// The one that may do everything.
    Admin,
    /// A user with a password.
    User(&'a str, &'a str),
    /// Whoever has this API key, as the server encodes it.
    Key(&'a str),
}

/// A running server with security on.
pub(super) struct SecureServer {
    name: String,
    url: String,
    conf: PathBuf,
    /// One that nobody else uses, and that ends with this.
    is_own: bool,
}

impl SecureServer {
    /// The Elasticsearch that all tests use which change nothing but keys, users and indices of their own. It is started by the
    /// first of them and stays: `tests/run` stops it at the end, `tests/stack stop elasticsearch-secured` does, too.
    pub(super) fn shared() -> SecureServer {
        SecureServer::started("elasticsearch-secured", "elasticsearch-secured", &[], false)
    }

    /// A server (`elasticsearch-secured`, `opensearch-secured`) for one test, with these settings; it ends with the value.
    pub(super) fn own(server: &str, settings: &[&str]) -> SecureServer {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{server}-{}-{n}", std::process::id());
        SecureServer::started(server, &name, settings, true)
    }

    fn started(server: &str, name: &str, settings: &[&str], is_own: bool) -> SecureServer {
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut arguments = vec!["start", server, "--name", name];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let said = |args: &[&str]| run_stack(args).unwrap_or_else(|error| panic!("{error}"));
        SecureServer {
            url: said(&arguments),
            conf: said(&["conf", name]).into(),
            name: name.to_owned(),
            is_own,
        }
    }

    /// What `tests/stack` knows it by.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `https://localhost:port`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of its authority.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.conf.join("certs/ca.crt")
    }

    /// A certificate that its authority signs, with the authority's own behind it, and its key.
    pub(super) fn sign(&self, mut params: CertificateParams) -> (String, String) {
        let read = |file: &str| fs::read_to_string(self.conf.join("certs").join(file)).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, AUTHORITY);
        let issuer = Issuer::new(authority, KeyPair::from_pem(&read("ca.key")).unwrap());
        let usages = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        (certificate + &read("ca.crt"), key.serialize_pem())
    }

    /// Takes this certificate for its own, once it has noticed: it looks each second.
    pub(super) fn show(&self, (certificate, key): &(String, String)) {
        let certs = self.conf.join("certs");
        // The files keep their owner. A server that looks in between sees a pair that does not fit, and looks again.
        for (file, text) in [("http.key", key), ("http.crt", certificate)] {
            fs::write(certs.join(file), text).unwrap();
        }
    }

    /// A request of the API: status and body. What the server's certificate says is not looked at.
    pub(super) fn ask(&self, who: Who<'_>, method: &str, path: &str, body: &Value) -> (u16, String) {
        let text = match body {
            Value::Null => String::new(),
            Value::String(lines) => lines.clone(),
            body => body.to_string(),
        };
        let media = if body.is_string() {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        // OpenSearch asks whoever shows the certificate of an administrator for nothing else.
        let client = match who {
            Who::Admin => self.client(),
            Who::User(..) | Who::Key(_) => reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy(),
        };
        let client = client.tls_danger_accept_invalid_certs(true).build().unwrap();
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = client.request(method, format!("{}{path}", self.url));
        let request = match who {
            Who::Admin => request.basic_auth(ADMIN.0, Some(ADMIN.1)),
            Who::User(name, password) => request.basic_auth(name, Some(password)),
            Who::Key(key) => request.header("authorization", format!("ApiKey {key}")),
        };
        let request = match text.is_empty() {
            true => request,
            false => request.header("content-type", media).body(text),
        };
        block_on(async {
            let answer = request
                .send()
                .await
                .unwrap_or_else(|error| panic!("{path}: {error:?}"));
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// Whether the certificate that it shows is one of its authority, for its name, and of today.
    pub(super) fn is_trusted(&self) -> bool {
        let authority = fs::read(self.ca_file()).unwrap();
        let authorities = reqwest::Certificate::from_pem_bundle(&authority).unwrap();
        let client = self.client().tls_certs_only(authorities).build().unwrap();
        block_on(async { client.get(&self.url).send().await.is_ok() })
    }

    /// One that shows the certificate of an administrator, where the server wants to see one.
    fn client(&self) -> reqwest::ClientBuilder {
        let read = |file: &str| fs::read(self.conf.join("certs").join(file)).unwrap();
        let pem = [read("admin.crt"), read("admin.key")].concat();
        reqwest::Client::builder()
            .identity(reqwest::Identity::from_pem(&pem).unwrap())
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
    }

    /// A request of the one that may do everything; only a good answer will do.
    #[track_caller]
    pub(super) fn order(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(Who::Admin, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{method} {path}: {error} in {answer}"))
    }

    /// The sources of all documents of the indices that begin so, hidden ones included.
    pub(super) fn documents(&self, prefix: &str) -> Vec<Value> {
        let all = format!("/{prefix}*");
        self.order(
            "POST",
            &format!("{all}/_refresh?ignore_unavailable=true"),
            &Value::Null,
        );
        let query = json!({"size": 10_000, "query": {"match_all": {}}});
        let mut found = self.order("POST", &format!("{all}/_search?ignore_unavailable=true"), &query);
        let Value::Array(hits) = found["hits"]["hits"].take() else {
            panic!("no hits in {found}");
        };
        assert!(hits.len() < 10_000, "one page is all that is asked for");
        hits.into_iter().map(|mut hit| hit["_source"].take()).collect()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

impl Drop for SecureServer {
    fn drop(&mut self) {
        if self.is_own {
            // What stays is stopped by `tests/stack stop all`.
            let _stopped = run_stack(&["stop", &self.name]);
        }
    }
}
