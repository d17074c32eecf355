//! Certificates: of the wrong authority, for the wrong host, expired; and ours, which this server wants to see.

use super::*;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::time::Instant;

/// How the log begins to tell of a handshake that failed.
const CANNOT_TALK: &str = "cannot talk to Elasticsearch";

/// A server that wants to see a certificate of its own authority, and an agent's.
struct Strict {
    server: SecureServer,
    ours: (String, String),
}

impl Strict {
    fn start() -> Strict {
        let settings = ["xpack.security.http.ssl.client_authentication=required"];
        let server = SecureServer::own("elasticsearch-secured", &settings);
        let ours = server.sign(CertificateParams::new(vec!["longshore".to_owned()]).unwrap());
        Strict { server, ours }
    }

    /// A scene whose agent shows this certificate, and trusts these authorities.
    fn scene(
        &self,
        name: &str,
        (certificate, key): &(String, String),
        authorities: &str,
    ) -> (Scene<'_>, Secret) {
        let mut scene = Scene::new(&self.server, name);
        let files = [
            ("tls.crt", certificate.as_str()),
            ("tls.key", key),
            ("ca.crt", authorities),
            ("password", "admin-password"),
        ];
        let secret = Secret::new(scene.lodging.root(), &files);
        scene.sink()["auth"] = json!({"username": "admin", "password_file": secret.file("password")});
        scene.sink()["tls"] = json!({
            "ca_file": secret.file("ca.crt"),
            "client_certificate_file": secret.file("tls.crt"),
            "client_key_file": secret.file("tls.key"),
        });
        (scene, secret)
    }

    fn authorities(&self) -> String {
        fs::read_to_string(self.server.ca_file()).unwrap()
    }

    /// What a mended Secret holds.
    fn right<'a>(&'a self, authorities: &'a str) -> [(&'static str, &'a str); 4] {
        [
            ("tls.crt", &self.ours.0),
            ("tls.key", &self.ours.1),
            ("ca.crt", authorities),
            ("password", "admin-password"),
        ]
    }

    /// The server shows a certificate for this name until then, and has been seen to do so.
    fn show(&self, name: &str, until: i32, is_good: bool) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        self.server.show(&self.server.sign(params));
        let begun = Instant::now();
        while self.server.is_trusted() != is_good {
            assert!(
                begun.elapsed() < crate::agent::PATIENCE,
                "the server does not show {name}"
            );
        }
    }
}

/// An authority that nobody knows, and a certificate of it.
fn stranger() -> (String, (String, String)) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["longshore".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    (authority.pem(), (certificate, key.serialize_pem()))
}

/// Red when a check of the certificate is left out (`session::trust`), when files are not read again after a handshake that
/// failed (`Client::ask`), or when our certificate is not shown (`session::identify`).
#[test]
fn e2e_secure_wrong_certificates_hold_everything_until_they_are_mended() {
    let strict = Strict::start();
    let (unknown, of_unknown) = stranger();
    let right = strict.authorities();

    let (mut scene, mut secret) = strict.scene("wrong-ca", &strict.ours, &unknown);
    let mut agent = scene.lodging.start();
    let file = secret.file("ca.crt");
    scene.hold(
        &mut agent,
        &[
            CANNOT_TALK,
            "UnknownIssuer",
            "tls.ca_file",
            file.to_str().unwrap(),
        ],
    );
    secret.swap(&strict.right(&right));
    agent.wait_until_delivered(scene.talker.bytes);
    scene.end(agent, Some(CANNOT_TALK));

    let (mut scene, mut secret) = strict.scene("wrong-client", &of_unknown, &right);
    let mut agent = scene.lodging.start();
    let file = secret.file("tls.crt");
    scene.hold(
        &mut agent,
        &[CANNOT_TALK, "tls.client_certificate_file", file.to_str().unwrap()],
    );
    secret.swap(&strict.right(&right));
    agent.wait_until_delivered(scene.talker.bytes);
    scene.end(agent, Some(CANNOT_TALK));

    for (name, until, told) in [
        ("elsewhere.example", 2040, "not valid for name"),
        ("localhost", 2020, "expired"),
    ] {
        strict.show(name, until, false);
        let (mut scene, _secret) = strict.scene("shown", &strict.ours, &right);
        let mut agent = scene.lodging.start();
        scene.hold(
            &mut agent,
            &[CANNOT_TALK, told, "xpack.security.http.ssl.certificate"],
        );
        strict.show("localhost", 2040, true);
        agent.wait_until_delivered(scene.talker.bytes);
        scene.end(agent, Some(CANNOT_TALK));
    }
}

/// Red when any authority will do, or when the one that the server sends is not looked for.
#[test]
fn e2e_secure_an_authority_that_is_pinned_by_its_fingerprint_is_trusted_and_no_other() {
    let server = SecureServer::shared();
    let fingerprint = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let bytes = digest(&SHA256, &der);
        bytes
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    let mut scene = Scene::new(&server, "pin");
    let secret = Secret::new(scene.lodging.root(), &[("password", "admin-password")]);
    scene.sink()["auth"] = json!({"username": "admin", "password_file": secret.file("password")});
    scene.sink()["tls"] = json!({"ca_fingerprint": fingerprint(&stranger().0)});
    let mut agent = scene.lodging.start();
    scene.hold(&mut agent, &[CANNOT_TALK, "tls.ca_fingerprint"]);
    agent.terminate().assert_clean();
    let authority = fs::read_to_string(server.ca_file()).unwrap();
    scene.sink()["tls"] = json!({"ca_fingerprint": fingerprint(&authority)});
    let mut agent = scene.lodging.start();
    scene.deliver(&mut agent);
    scene.end(agent, None);
}
