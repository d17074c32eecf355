#![expect(
    clippy::disallowed_methods,
    reason = "a test writes the secrets that the client reads"
)]

mod phases;
mod tls;

use super::*;
use crate::config::{Auth, Tls};
use longshore_kit::rude_elasticsearch::{Fault, Odds, Refused, RudeElasticsearch};
use std::fs;
use std::path::{Path, PathBuf};

const ONE: &[u8] = b"{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"n\":1}\n";

fn config(url: &str) -> Elasticsearch {
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Elasticsearch {
        hosts: vec![HostUrl::parse(url).unwrap()],
        request_timeout: Duration::from_secs(20),
        ..Elasticsearch::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn one() -> Bulk {
    Bulk {
        bytes: Bytes::from_static(ONE),
        encoding: Encoding::Identity,
        documents: 1,
        audit: false,
    }
}

fn post(client: &Client) -> Answer {
    block_on(client.post(0, one()))
}

fn problem(answer: Answer) -> Problem {
    match answer.verdict {
        RequestVerdict::Retry(problem)
        | RequestVerdict::Hold(problem)
        | RequestVerdict::Split(problem)
        | RequestVerdict::Bisect(problem) => problem,
        RequestVerdict::Items(items) => panic!("{items:?}"),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn stored(answer: &Answer) -> bool {
    matches!(&answer.verdict, RequestVerdict::Items(items) if items.documents() == 1)
}

#[test]
fn a_rotated_password_is_used_without_a_restart() {
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let password_file = write(folder.path(), "password", "old\n");
    let auth = Auth {
        username: Some("shipper".into()),
        password_file: Some(password_file.clone()),
        ..Auth::default()
    };
    let client = Client::new(&Elasticsearch {
        auth,
        ..config(&server.url())
    })
    .unwrap();
    server.require_authorization("Basic c2hpcHBlcjpvbGQ=");
    assert!(stored(&post(&client)));
    server.require_authorization("Basic c2hpcHBlcjpuZXc=");
    let refused = problem(post(&client));
    let file = format!(
        "sink.elasticsearch.auth.password_file ({})",
        password_file.display()
    );
    assert!(
        refused.status == 401 && refused.reason.contains(&file),
        "{refused:?}"
    );
    fs::write(&password_file, "new\n").unwrap();
    assert!(stored(&post(&client)));
    // With the file gone, what was read last is used on.
    fs::remove_file(&password_file).unwrap();
    assert!(stored(&post(&client)));
}

/// Red without the age in `Client::session`: a password that still works is used until the server refuses it.
#[test]
fn a_secret_that_was_swapped_is_used_soon_although_the_old_one_still_works() {
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let token = write(folder.path(), "token", "old");
    let client = Client::new(&Elasticsearch {
        auth: Auth {
            bearer_token_file: Some(token),
            ..Auth::default()
        },
        ..config(&server.url())
    })
    .unwrap();
    server.require_authorization("Bearer old");
    assert!(stored(&post(&client)));
    write(folder.path(), "token", "new");
    assert!(stored(&post(&client)));
    client.current().read -= SECRETS_AGE;
    server.require_authorization("Bearer new");
    assert!(stored(&post(&client)));
    assert_eq!(server.requests(), 3);
}

/// Red without the age in `Client::session`: a name that has other addresses by now keeps its old ones as long as requests come.
#[test]
fn connections_end_at_their_age_and_new_ones_are_made() {
    let server = RudeElasticsearch::start();
    let client = Client::new(&config(&server.url())).unwrap();
    // Connections belong to the runtime in which they were made.
    block_on(async {
        for _ in 0..3 {
            assert!(stored(&client.post(0, one()).await));
        }
        assert_eq!(server.connections(), 1);
        client.current().opened -= CONNECTION_LIFE;
        for _ in 0..3 {
            assert!(stored(&client.post(0, one()).await));
        }
    });
    assert_eq!((server.connections(), server.requests()), (2, 6));
}

/// Red when only 401 makes the client look at its secrets: a role that was mended comes with a new key, too.
#[test]
fn a_403_is_asked_again_with_the_secret_that_was_swapped() {
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let token = write(folder.path(), "token", "old");
    let client = Client::new(&Elasticsearch {
        auth: Auth {
            bearer_token_file: Some(token),
            ..Auth::default()
        },
        ..config(&server.url())
    })
    .unwrap();
    let forbidden = || server.fault(Fault::Refuse(Refused::Forbidden403), Odds::Next(1));
    forbidden();
    assert_eq!(problem(post(&client)).status, 403);
    write(folder.path(), "token", "new");
    forbidden();
    assert!(stored(&post(&client)));
    assert_eq!(server.requests(), 3);
}

/// Red when a session that is replaced takes its connections with it (an `Arc` too few in `Client::ask`): what is under way
/// there would be sent twice.
#[test]
fn what_is_under_way_when_a_secret_is_swapped_ends_on_its_old_connection() {
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let token = write(folder.path(), "token", "old");
    let client = Client::new(&Elasticsearch {
        auth: Auth {
            bearer_token_file: Some(token),
            ..Auth::default()
        },
        ..config(&server.url())
    })
    .unwrap();
    server.require_authorization("Bearer old");
    server.fault(Fault::StallAfterCommit(Duration::from_secs(60)), Odds::Always);
    block_on(async {
        let swap = async {
            while !server.wait_for_stalled(1, Duration::ZERO) {
                tokio::task::yield_now().await;
            }
            write(folder.path(), "token", "new");
            client.current().read -= SECRETS_AGE;
            server.clear_faults();
            server.require_authorization("Bearer new");
            let new = client.post(0, one()).await;
            server.release();
            new
        };
        let (old, new) = tokio::join!(client.post(0, one()), swap);
        assert!(stored(&old) && stored(&new), "{old:?} {new:?}");
        assert_eq!((server.connections(), server.requests()), (2, 2));
        assert!(stored(&client.post(0, one()).await));
        // Over the new connection: the old one has nothing to do any more.
        assert_eq!((server.connections(), server.requests()), (2, 3));
    });
}

#[test]
fn an_api_key_goes_into_the_header_as_it_is() {
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let key = write(folder.path(), "key", "c29tZTprZXk=\n");
    let auth = Auth {
        api_key_file: Some(key),
        ..Auth::default()
    };
    let with_key = Elasticsearch {
        auth,
        ..config(&server.url())
    };
    server.require_authorization("ApiKey c29tZTprZXk=");
    assert!(stored(&post(&Client::new(&with_key).unwrap())));
    // As the server shows it, too: id and key.
    write(folder.path(), "key", "some:key\n");
    assert!(stored(&post(&Client::new(&with_key).unwrap())));
    write(folder.path(), "key", "some\u{7f}key\n");
    let error = Client::new(&with_key).unwrap_err().to_string();
    assert!(
        error.contains("api_key_file") && !error.contains("some"),
        "{error}"
    );
}

#[test]
fn a_rest_is_told_in_seconds_or_as_a_date_and_is_not_long() {
    let rest = |text: &'static str| rest_of(Some(&HeaderValue::from_static(text)));
    assert_eq!(rest("7"), Some(Duration::from_secs(7)));
    assert_eq!(rest(" 100000 "), Some(MAX_REST));
    assert_eq!(rest("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
    assert_eq!(rest("Fri, 21 Oct 2095 07:28:00 GMT"), Some(MAX_REST));
    for nothing in ["", "-1", "soon", "1.5"] {
        assert_eq!(rest(nothing), None, "{nothing}");
    }
    assert_eq!(rest_of(None), None);
}

#[test]
fn failures_on_the_way_name_host_cause_and_fix() {
    let server = RudeElasticsearch::start();
    let client = Client::new(&config(&server.url())).unwrap();
    server.fault(Fault::CommitThenCut, Odds::Next(1));
    let cut = problem(post(&client));
    assert_eq!((cut.status, cut.kind.as_str()), (0, "connection_broke"));
    server.off();
    let off = problem(post(&client));
    assert_eq!((off.status, off.kind.as_str()), (0, "connect"));
    assert!(
        off.reason.contains(&server.url()) && off.reason.contains("refused"),
        "{}",
        off.reason
    );
    let unknown = Client::new(&config("http://no-such-host.invalid:9200")).unwrap();
    let dns = problem(post(&unknown));
    assert!(
        dns.kind == "dns" && dns.reason.contains("sink.elasticsearch.hosts"),
        "{dns:?}"
    );
}

#[test]
fn a_server_that_stalls_is_given_up_after_the_request_timeout() {
    let server = RudeElasticsearch::start();
    server.fault(Fault::StallBeforeCommit(Duration::from_secs(60)), Odds::Always);
    let short = Elasticsearch {
        request_timeout: Duration::from_millis(100),
        ..config(&server.url())
    };
    let stalled = problem(post(&Client::new(&short).unwrap()));
    assert_eq!((stalled.status, stalled.kind.as_str()), (0, "timeout"));
    assert!(stalled.reason.contains("request_timeout"));
}

#[test]
fn a_plain_http_server_under_https_is_a_problem_and_a_wrong_ca_file_an_error() {
    let (server, folder) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    let https = server.url().replace("http:", "https:");
    let ca = write(folder.path(), "ca.pem", include_str!("tests/ca.pem"));
    let tls = |ca: PathBuf| Elasticsearch {
        tls: Tls {
            ca_file: Some(ca),
            ..Tls::default()
        },
        ..config(&https)
    };
    let plain = problem(post(&Client::new(&tls(ca)).unwrap()));
    assert_eq!((plain.status, plain.kind.as_str()), (0, "tls"), "{plain:?}");
    let empty = write(folder.path(), "empty.pem", "no certificate\n");
    assert!(
        Client::new(&tls(empty))
            .unwrap_err()
            .to_string()
            .contains("tls.ca_file")
    );
    let missing = Client::new(&tls(folder.path().join("none")))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("tls.ca_file") && missing.contains("No such file"),
        "{missing}"
    );
}

#[test]
fn a_probe_says_how_each_host_is() {
    let (server, off) = (RudeElasticsearch::start(), RudeElasticsearch::start());
    off.off();
    let mut both = config(&server.url());
    both.hosts.push(HostUrl::parse(&off.url()).unwrap());
    let told = block_on(Client::new(&both).unwrap().probe());
    assert_eq!(told[0].0.as_str(), server.url());
    assert!(
        told[0].1.as_ref().is_ok_and(|text| text.contains("reachable")),
        "{told:?}"
    );
    assert!(
        told[1]
            .1
            .as_ref()
            .is_err_and(|problem| problem.reason.contains("refused")),
        "{told:?}"
    );
}

#[test]
fn what_a_health_answer_means() {
    let host = HostUrl::default();
    let auth = Auth {
        api_key_file: Some("/secrets/key".into()),
        ..Auth::default()
    };
    let says = |status, body: &str| match describe(&host, &auth, status, body.as_bytes()) {
        Ok(text) => format!("ok: {text}"),
        Err(problem) => format!("problem: {}", problem.reason),
    };
    assert_eq!(
        says(200, "{\"status\":\"yellow\"}"),
        "ok: reachable, the cluster is yellow"
    );
    for (status, body, expected) in [
        (200, "<html>", "proxy"),
        (401, "{}", "auth.api_key_file (/secrets/key)"),
        (302, "", "redirects"),
        (503, "{}", "answers 503"),
    ] {
        let text = says(status, body);
        assert!(text.starts_with("problem") && text.contains(expected), "{text}");
        assert!(text.contains(host.as_str()), "{text}");
    }
    for status in [403, 404, 405] {
        assert!(says(status, "{}").starts_with("ok: reachable"));
    }
}
