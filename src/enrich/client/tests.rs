use super::*;
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use tempfile::TempDir;

const BAD_TOKEN: &str = include_str!("../../../tests/golden/kube/401-badtoken.http");
const ANONYMOUS: &str = include_str!("../../../tests/golden/kube/403-anonymous.http");
const CONTINUE_EXPIRED: &str = include_str!("../../../tests/golden/kube/410-continue-expired.http");
const BUSY: &str = include_str!("../../../tests/golden/kube/429-apf.http");
const TOO_NEW: &str = include_str!("../../../tests/golden/kube/504-toonew.http");
const WATCH_EXPIRED: &str = include_str!("../../../tests/golden/kube/watch-error-410.jsonl");
const WATCH: &str = include_str!("../../../tests/golden/kube/watch-pods.jsonl");

/// What becomes of a recorded answer: kube makes a status of a body that is none.
fn recorded(answer: &str) -> Failure {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .or_else(|| answer.split_once("\n\n"))
        .unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let status = serde_json::from_str(body)
        .unwrap_or_else(|_| Status::failure(body.trim(), "Failed to parse error data").with_code(code));
    failure("listing", &kube::Error::Api(status.boxed()))
}

#[test]
fn answers_of_a_real_server_are_told_apart() {
    let kinds = [BAD_TOKEN, ANONYMOUS, CONTINUE_EXPIRED, BUSY, TOO_NEW].map(|answer| recorded(answer).kind);
    assert_eq!(
        kinds,
        [
            Kind::Credentials,
            Kind::Permission,
            Kind::Expired,
            Kind::Busy,
            Kind::Expired
        ]
    );
    assert_eq!(recorded(TOO_NEW).retry_after, Some(Duration::from_secs(1)));
    let other = Status::failure("etcdserver: leader changed", "InternalError").with_code(500);
    assert_eq!(refusal("listing", &other).kind, Kind::Broken);
}

#[test]
fn a_refusal_tells_what_is_refused_and_the_fix() {
    let text = recorded(ANONYMOUS).to_string();
    assert!(text.contains(r#"cannot list resource "pods""#), "{text}");
    assert!(text.contains("fix: ") && text.contains("ClusterRole"), "{text}");
    let text = recorded(BAD_TOKEN).to_string();
    assert!(
        text.contains("401 Unauthorized") && text.contains("token"),
        "{text}"
    );
    let page = Status::failure(&format!("<html>{}\n<body>", "x".repeat(5_000)), "").with_code(502);
    assert!(refusal("listing", &page).cause.len() < 400);
}

#[test]
fn the_watch_of_a_real_server_is_read() {
    let read = |line: &str| {
        news(
            serde_json::from_str(line).map_err(kube::Error::SerdeError),
            "watching",
        )
    };
    let news: Vec<News> = WATCH.lines().map(|line| read(line).unwrap()).collect();
    let count = |is: fn(&News) -> bool| news.iter().filter(|news| is(news)).count();
    assert_eq!(count(|news| matches!(news, News::Applied(_))), 5);
    assert_eq!(count(|news| matches!(news, News::Deleted(_))), 1);
    assert_eq!(
        count(|news| matches!(news, News::Bookmark(version) if version == "214")),
        2
    );
    assert_eq!(read(WATCH_EXPIRED.trim()).unwrap_err().kind, Kind::Expired);
    assert_eq!(
        read(r#"{"type":"ADDED","object":{"metadata":7}}"#)
            .unwrap_err()
            .kind,
        Kind::Nonsense
    );
}

/// Settings with the kubeconfig of the double as it is now; the directory holds it.
#[expect(clippy::disallowed_methods, reason = "a kubeconfig for the client under test")]
fn settings(api: &FakeApiserver) -> (Settings, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
    let selection = Selection {
        namespace_labels: true,
        ..Selection::default()
    };
    (
        Settings {
            node: "node-a".to_owned(),
            kubeconfig: Some(kubeconfig),
            selection,
        },
        dir,
    )
}

#[tokio::test]
async fn the_probe_tells_how_many_pods_it_sees() {
    let api = FakeApiserver::start();
    let (settings, _dir) = settings(&api);
    let nobody = probe(&settings).await.unwrap();
    assert!(nobody.contains("no pod runs on node node-a"), "{nobody}");
    api.add_pod(pod("shop", "web-1", "u-1", "node-a"));
    api.add_pod(pod("shop", "web-2", "u-2", "node-a"));
    api.add_pod(pod("shop", "web-3", "u-3", "node-b"));
    let text = probe(&settings).await.unwrap();
    assert!(
        text.contains(&api.url()) && text.ends_with("pods on node node-a: 2"),
        "{text}"
    );
    // As the agent does: from memory, and one list and one watch each time.
    assert!(
        api.last_list_query().contains("resourceVersion=0"),
        "{}",
        api.last_list_query()
    );
    assert_eq!((api.lists(), api.watches()), (2, 2));
}

#[tokio::test]
async fn the_probe_tells_what_is_wrong_and_the_fix() {
    let api = FakeApiserver::start();
    let (settings, _dir) = settings(&api);
    api.require_token(Some("another"));
    let refused = probe(&settings).await.unwrap_err();
    assert!(
        refused.contains("401") && refused.contains("fix: the token"),
        "{refused}"
    );
    api.off();
    let away = probe(&settings).await.unwrap_err();
    assert!(
        away.contains(&api.url()) && away.contains("refused") && away.contains("fix: "),
        "{away}"
    );
    let nowhere = Settings {
        kubeconfig: Some("/nowhere/kubeconfig".into()),
        ..settings
    };
    let missing = probe(&nowhere).await.unwrap_err();
    assert!(
        missing.contains("/nowhere/kubeconfig") && missing.contains("source: none"),
        "{missing}"
    );
}
