//! Whom the client trusts, and how it shows who it is: against a server of rustls with certificates made here.

use super::*;
use crate::config::Fingerprint;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

const ANSWER: &str = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// An authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Of its own: who trusts another one sees by the name that it is not that.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint(digest(&SHA256, self.0.der()).as_ref().try_into().unwrap())
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        self.sign_for(CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    fn sign_for(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

/// A server that answers one `_bulk` after the other on each connection. It sends `chain`; `clients`: who signs those that
/// may ask.
fn serve(chain: &str, key: &str, clients: Option<&Authority>) -> String {
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || answer(StreamOwned::new(tls, stream)));
        }
    });
    format!("https://127.0.0.1:{}", address.port())
}

/// Ends with the connection, and with a handshake that fails.
fn answer(stream: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(told) = line.strip_prefix("content-length:") {
                length = told.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        let out = stream.get_mut();
        write!(out, "{head}{}\r\n\r\n{ANSWER}", ANSWER.len())?;
        out.flush()?;
    }
}

/// What comes of a post to `url` with this trust.
fn post_with(url: &str, tls: Tls) -> Result<Answer, ClientError> {
    let config = Elasticsearch { tls, ..config(url) };
    Ok(post(&Client::new(&config)?))
}

fn refusal(answer: Result<Answer, ClientError>) -> String {
    let problem = problem(answer.unwrap());
    assert_eq!((problem.status, problem.kind.as_str()), (0, "tls"), "{problem:?}");
    problem.reason
}

#[test]
fn a_certificate_of_the_ca_file_for_this_host_is_trusted_and_no_other() {
    let (ours, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let trusts = |authority: &Authority| Tls {
        ca_file: Some(write(folder.path(), "ca.pem", &authority.pem())),
        ..Tls::default()
    };
    let (certificate, key) = ours.sign("127.0.0.1");
    let url = serve(&certificate, &key, None);
    assert!(stored(&post_with(&url, trusts(&ours)).unwrap()));
    let why = refusal(post_with(&url, trusts(&other)));
    let file = format!(
        "sink.elasticsearch.tls.ca_file ({})",
        folder.path().join("ca.pem").display()
    );
    assert!(why.contains("UnknownIssuer") && why.contains(&file), "{why}");
    let unset = refusal(post_with(&url, Tls::default()));
    assert!(unset.contains("set sink.elasticsearch.tls.ca_file"), "{unset}");
    let (certificate, key) = ours.sign("elsewhere.example");
    let url = serve(&certificate, &key, None);
    let why = refusal(post_with(&url, trusts(&ours)));
    assert!(
        why.contains("not valid for name") && why.contains("xpack.security.http.ssl.certificate"),
        "{why}"
    );
    let mut old = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    old.not_after = rcgen::date_time_ymd(2024, 1, 1);
    let (certificate, key) = ours.sign_for(old);
    let url = serve(&certificate, &key, None);
    let why = refusal(post_with(&url, trusts(&ours)));
    assert!(
        why.contains("expired") && why.contains("renew the certificate of the server"),
        "{why}"
    );
    let any = Tls {
        insecure_skip_verify: true,
        ..Tls::default()
    };
    assert!(stored(&post_with(&url, any).unwrap()));
}

#[test]
fn a_pinned_authority_has_to_be_in_the_chain_and_to_have_signed_it_for_this_host() {
    let (ours, other) = (Authority::new(), Authority::new());
    let pin = |authority: &Authority| Tls {
        ca_fingerprint: Some(authority.fingerprint()),
        ..Tls::default()
    };
    let (certificate, key) = ours.sign("127.0.0.1");
    let whole = serve(&format!("{certificate}{}", ours.pem()), &key, None);
    assert!(stored(&post_with(&whole, pin(&ours)).unwrap()));
    let why = refusal(post_with(&whole, pin(&other)));
    assert!(why.contains("tls.ca_fingerprint"), "{why}");
    let without = serve(&certificate, &key, None);
    assert!(refusal(post_with(&without, pin(&ours))).contains("send the certificate of its authority"));
    // An authority that stands there and has not signed it proves nothing.
    let beside = serve(&format!("{certificate}{}", other.pem()), &key, None);
    assert!(refusal(post_with(&beside, pin(&other))).contains("UnknownIssuer"));
    let (certificate, key) = ours.sign("elsewhere.example");
    let elsewhere = serve(&format!("{certificate}{}", ours.pem()), &key, None);
    assert!(refusal(post_with(&elsewhere, pin(&ours))).contains("not valid for name"));
}

#[test]
fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let ours = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = ours.sign("127.0.0.1");
    let url = serve(&format!("{certificate}{}", ours.pem()), &key, Some(&ours));
    let (shown, its_key) = ours.sign("longshore");
    let by_file = Tls {
        ca_file: Some(write(folder.path(), "ca.pem", &ours.pem())),
        ..Tls::default()
    };
    let by_pin = Tls {
        ca_fingerprint: Some(ours.fingerprint()),
        ..Tls::default()
    };
    for trust in [by_file, by_pin] {
        let with = Tls {
            client_certificate_file: Some(write(folder.path(), "tls.crt", &shown)),
            client_key_file: Some(write(folder.path(), "tls.key", &its_key)),
            ..trust.clone()
        };
        assert!(stored(&post_with(&url, with.clone()).unwrap()));
        let why = refusal(post_with(&url, trust));
        assert!(
            why.contains("set sink.elasticsearch.tls.client_certificate_file"),
            "{why}"
        );
        write(folder.path(), "tls.key", "no key\n");
        let error = post_with(&url, with).unwrap_err().to_string();
        assert!(
            error.contains("client_key_file") && !error.contains("no key"),
            "{error}"
        );
    }
}

/// Red without the look at the age of what was read.
#[test]
fn a_new_authority_is_used_for_new_connections_at_once() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let ca = write(folder.path(), "ca.pem", &old.pem());
    let (certificate, key) = new.sign("127.0.0.1");
    let url = serve(&certificate, &key, None);
    let client = Client::new(&Elasticsearch {
        tls: Tls {
            ca_file: Some(ca),
            ..Tls::default()
        },
        ..config(&url)
    })
    .unwrap();
    assert_eq!(problem(post(&client)).kind, "tls");
    write(folder.path(), "ca.pem", &new.pem());
    assert!(stored(&post(&client)));
}
