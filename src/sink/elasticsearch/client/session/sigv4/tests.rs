#![expect(
    clippy::disallowed_methods,
    reason = "tests read published signatures, and write the secrets that the client reads"
)]

use super::super::super::{Bulk, Client};
use super::*;
use crate::codec::gzip::{Compressor as _, Gzip};
use crate::config::{Auth, Elasticsearch, HostUrl};
use crate::record::Encoding;
use crate::sink::elasticsearch::response::RequestVerdict;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as hmac};
use bytes::Bytes;
use longshore_kit::rude_elasticsearch::{RudeElasticsearch, Seen};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// When the published requests were signed: 2015-08-30T12:36:00Z.
const PUBLISHED: Duration = Duration::from_secs(1_440_938_160);
const DOCUMENTS: &[u8] = b"{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"n\":1}\n";

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}

/// Red when anything but the right secret, scope, time, path, query, headers or body goes into a signature.
#[test]
fn published_requests_get_their_published_signatures() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/aws-sigv4");
    let folders = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let mut signed = 0;
    for folder in folders.filter(|path| path.is_dir()) {
        assert_published(&folder);
        signed += 1;
    }
    assert_eq!(signed, 13);
}

fn assert_published(folder: &Path) {
    let context: serde_json::Value = serde_json::from_str(&read(folder, "context.json")).unwrap();
    assert_eq!(context["timestamp"], "2015-08-30T12:36:00Z");
    let text = |pointer: &str| Some(context.pointer(pointer)?.as_str()?.to_owned());
    let keys = AwsKeys {
        access_key_id: text("/credentials/access_key_id").unwrap(),
        secret_access_key: text("/credentials/secret_access_key").unwrap(),
        session_token: text("/credentials/token"),
    };
    let request = read(folder, "request.txt");
    let (head, body) = request.split_once("\n\n").unwrap_or((&request, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let (hosts, others): (Vec<_>, Vec<_>) = headers
        .into_iter()
        .partition(|(name, _)| name.eq_ignore_ascii_case("host"));
    let is_body_signed = context["sign_body"].as_bool().unwrap();
    let ours = signature(
        &keys,
        (
            context["region"].as_str().unwrap(),
            context["service"].as_str().unwrap(),
        ),
        if is_body_signed {
            settings()
        } else {
            SigningSettings::default()
        },
        (method, &format!("https://{}{target}", hosts[0].1.trim())),
        &others,
        body.as_bytes(),
        SystemTime::UNIX_EPOCH + PUBLISHED,
    )
    .unwrap();
    let published = read(folder, "header-signed-request.txt");
    for wanted in published.lines().filter_map(|line| line.split_once(':')) {
        let name = wanted.0.to_ascii_lowercase();
        if name == "authorization" || name.starts_with("x-amz") {
            let have = ours.iter().find(|(have, _)| *have == name);
            assert_eq!(
                have.map(|(_, value)| value.as_str()),
                Some(wanted.1.trim()),
                "{} {name}",
                folder.display()
            );
        }
    }
}

/// What AWS does with a request, written from its description and not with the crate that signs: whether `secret` signed it
/// as it came, with this token.
fn is_signed(seen: &Seen, body: &[u8], secret: &str, token: Option<&str>) -> bool {
    let header = |name: &str| {
        let found = seen.headers.iter().find(|(have, _)| have == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let part = |name: &str| {
        let rest = header("authorization")
            .split_once(name)
            .map_or("", |(_, rest)| rest);
        rest.split(',').next().unwrap_or("").to_owned()
    };
    let (credential, names, signature) = (part("Credential="), part("SignedHeaders="), part("Signature="));
    let (_, scope) = credential.split_once('/').unwrap_or_default();
    let hash = hex(digest(&SHA256, body).as_ref());
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        seen.method,
        seen.path,
        canonical_query(&seen.query)
    );
    for name in names.split(';') {
        canonical += &format!("{name}:{}\n", header(name).trim());
    }
    canonical += &format!("\n{names}\n{hash}");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        header("x-amz-date"),
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            hmac(&Key::new(HMAC_SHA256, &key), part.as_bytes())
                .as_ref()
                .to_vec()
        });
    let right = hex(hmac(&Key::new(HMAC_SHA256, &key), to_sign.as_bytes()).as_ref());
    let is_covered = |wanted: &str| names.split(';').any(|name| name == wanted);
    let all = [
        "host",
        "content-type",
        "content-encoding",
        "x-amz-date",
        "x-amz-content-sha256",
    ];
    signature == right
        && all.into_iter().all(is_covered)
        && header("x-amz-content-sha256") == hash
        && header("x-amz-security-token") == token.unwrap_or("")
        && (token.is_none() || is_covered("x-amz-security-token"))
}

/// Parameters in order of their names, all but unreserved signs escaped.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<String> = query.split('&').map(canonical_parameter).collect();
    parameters.sort();
    parameters.join("&")
}

fn canonical_parameter(parameter: &str) -> String {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let escaped = |text: &str| {
        let signs = text.bytes().map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        });
        signs.collect::<String>()
    };
    format!("{}={}", escaped(name), escaped(value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_stored(client: &Client) -> bool {
    let mut gzip = Gzip::new(1);
    let mut body = Vec::new();
    gzip.push(DOCUMENTS, &mut body);
    gzip.finish(&mut body);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bulk = Bulk {
        bytes: Bytes::from(body),
        encoding: Encoding::Gzip,
        documents: 1,
        audit: false,
    };
    let answer = runtime.block_on(client.post(0, bulk));
    match answer.verdict {
        RequestVerdict::Items(items) => items.documents() == 1,
        RequestVerdict::Hold(problem) => {
            assert_eq!(problem.status, 401, "{problem:?}");
            false
        }
        other => panic!("{other:?}"),
    }
}

/// Red when the inflated body is hashed, when a request is signed once for all attempts, or when credentials that were
/// rotated are not read again after a refusal.
#[test]
fn the_compressed_body_is_signed_and_rotated_credentials_are_used_without_a_restart() {
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        Some(folder.path().join(name))
    };
    let aws = Aws {
        region: Some("eu-central-1".to_owned()),
        service: AwsService::Aoss,
        access_key_id_file: file("id", "AKIDEXAMPLE\n"),
        secret_access_key_file: file("secret", "first+/secret\n"),
        session_token_file: file("token", "a token/+=\n"),
    };
    let client = Client::new(&Elasticsearch {
        hosts: vec![HostUrl::parse(&server.url()).unwrap()],
        auth: Auth {
            aws,
            ..Auth::default()
        },
        ..Elasticsearch::default()
    })
    .unwrap();
    server.admit(|seen, body| is_signed(seen, body, "first+/secret", Some("a token/+=")));
    assert!(is_stored(&client));
    server.admit(|seen, body| is_signed(seen, body, "second", Some("another")));
    assert!(!is_stored(&client));
    file("secret", "second\n");
    file("token", "another\n");
    assert!(is_stored(&client));
    let authorization = server.seen().pop().unwrap().headers;
    let scope = |(name, value): &(String, String)| {
        name == "authorization" && value.contains("/eu-central-1/aoss/aws4_request,")
    };
    assert!(authorization.iter().any(scope), "{authorization:?}");
}

#[test]
fn nothing_of_the_credentials_is_shown() {
    let keys = AwsKeys {
        access_key_id: "id".to_owned(),
        secret_access_key: "hush".to_owned(),
        session_token: Some("quiet".to_owned()),
    };
    let shown = format!("{keys:?}");
    assert!(!shown.contains("hush") && !shown.contains("quiet"), "{shown}");
}
