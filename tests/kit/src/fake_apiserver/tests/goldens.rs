//! The double beside the real one: each shape and each refusal is compared with a recorded answer.

use std::collections::BTreeSet;

use super::*;

fn golden(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../golden/kube/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Head (without CR) and body of a recorded answer.
fn golden_http(name: &str) -> (String, String) {
    let text = golden(name).replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn golden_json(name: &str) -> Value {
    serde_json::from_str(&golden(name)).unwrap()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn refusals_are_those_of_a_real_server() {
    let server = FakeApiserver::start();
    server.require_token(Some("right"));
    let refused = Exchange::open(&server, NODE_A, "authorization: Bearer wrong\r\n");
    let (_, body) = golden_http("401-badtoken.http");
    assert_eq!(refused.status, 401);
    assert_eq!(
        serde_json::from_str::<Value>(&refused.body()).unwrap(),
        serde_json::from_str::<Value>(&body).unwrap()
    );
    assert!(
        server.kubeconfig().contains("token: right\n"),
        "{}",
        server.kubeconfig()
    );
    assert_eq!(
        Exchange::open(&server, NODE_A, "Authorization: Bearer right\r\n").status,
        200
    );
    server.require_token(None);

    server.respond_429(2, Duration::from_secs(1));
    let (head, body) = golden_http("429-apf.http");
    for _ in 0..2 {
        let refused = Exchange::open(&server, NODE_A, "");
        assert!(
            head.contains("retry-after: 1") && refused.head.contains("retry-after: 1\r\n"),
            "{}",
            refused.head
        );
        assert!(
            refused
                .head
                .contains("content-type: text/plain; charset=utf-8\r\n")
        );
        assert_eq!(
            (refused.status, refused.body().trim_end()),
            (429, body.trim_end())
        );
    }
    assert_eq!(get(&server, NODE_A).0, 200);

    let refused = Exchange::open(&server, &format!("{NODE_A}&resourceVersion=999999999"), "");
    assert!(refused.status == 504 && refused.head.contains("retry-after: 1\r\n"));
    let recorded: Value = serde_json::from_str(&golden_http("504-toonew.http").1).unwrap();
    let mut said: Value = serde_json::from_str(&refused.body()).unwrap();
    said["message"] = recorded["message"].clone();
    assert_eq!(said, recorded);

    let recorded: Value = serde_json::from_str(&golden_http("410-continue-expired.http").1).unwrap();
    assert_eq!(
        status::continue_expired(recorded["metadata"]["continue"].as_str().unwrap()),
        recorded
    );
    let recorded: Value =
        serde_json::from_str(golden("watch-error-410.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(status::watch_expired(5, 350), recorded);
}

#[test]
fn objects_have_the_shape_of_recorded_ones() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", "node-a"));
    let (_, list) = get(&server, "/api/v1/pods");
    let recorded = golden_json("pods-list.json");
    assert_eq!(keys(&list), keys(&recorded));
    let (ours, theirs) = (&list["items"][0], &recorded["items"][0]);
    assert_eq!(keys(ours), keys(theirs));
    let mut wanted = keys(&theirs["metadata"]);
    wanted.remove("managedFields"); // clients must not need it, and it is half of a pod's bytes
    assert_eq!(keys(&ours["metadata"]), wanted);
    assert_eq!(
        keys(&ours["spec"]["containers"][0]),
        keys(&theirs["spec"]["containers"][0])
    );

    let (_, page) = get(&server, "/api/v1/pods?limit=0");
    assert_eq!(keys(&page["metadata"]), keys(&recorded["metadata"]));
    server.add_pod(web("web-1", "node-a"));
    let (_, page) = get(&server, "/api/v1/pods?limit=1");
    assert_eq!(
        keys(&page["metadata"]),
        keys(&golden_json("pods-list-limit2.json")["metadata"])
    );

    let accept = "accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1\r\n";
    let partial: Value =
        serde_json::from_str(&Exchange::open(&server, "/api/v1/pods", accept).body()).unwrap();
    let recorded = golden_json("pods-list-partialmeta.json");
    assert_eq!(
        (&partial["kind"], &partial["apiVersion"]),
        (&recorded["kind"], &recorded["apiVersion"])
    );
    assert_eq!(keys(&partial["items"][0]), keys(&recorded["items"][0]));
    assert_eq!(partial["items"][0]["kind"], recorded["items"][0]["kind"]);

    let lines = golden("watch-pods.jsonl");
    let recorded: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut watch = Exchange::open(&server, "/api/v1/pods?watch=1&allowWatchBookmarks=true", "");
    let added = watch.next().unwrap();
    assert_eq!(
        (keys(&added), keys(&added["object"])),
        (keys(&recorded[0]), keys(&recorded[0]["object"]))
    );
    watch.next().unwrap();
    server.bookmark();
    let (bookmark, mut expected) = (watch.next().unwrap(), recorded.last().unwrap().clone());
    expected["object"]["metadata"]["resourceVersion"] = server.resource_version().to_string().into();
    assert_eq!(bookmark, expected);
}

#[test]
fn watch_list_begins_with_what_is_there_and_says_where_that_ends() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", "node-a"));
    let path = format!(
        "{NODE_A}&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = Exchange::open(&server, &path, "");
    assert_eq!(watch.event().1, "web-0");
    let end = watch.next().unwrap();
    let recorded: Value =
        serde_json::from_str(golden("watchlist-initial.jsonl").lines().last().unwrap()).unwrap();
    let mut expected = recorded;
    expected["object"]["metadata"]["resourceVersion"] = server.resource_version().to_string().into();
    assert_eq!(end, expected);
}

#[test]
fn namespace_comes_with_its_first_pod_and_as_metadata_alone() {
    let server = FakeApiserver::start();
    server.add_pod(web("web-0", "node-a"));
    let (status, namespace) = get(&server, "/api/v1/namespaces/shop");
    assert_eq!((status, &namespace["kind"]), (200, &json!("Namespace")));
    let mut recorded = golden_json("namespaces-list.json")["items"][0].clone();
    recorded["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    assert_eq!(keys(&namespace["metadata"]), keys(&recorded["metadata"]));
    assert_eq!(
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "shop"
    );

    server.add_namespace("shop", &[("team", "blue")]);
    let accept = "accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1\r\n";
    let partial = Exchange::open(&server, "/api/v1/namespaces/shop", accept).body();
    let partial: Value = serde_json::from_str(&partial).unwrap();
    assert_eq!(
        (&partial["kind"], partial.get("spec")),
        (&json!("PartialObjectMetadata"), None)
    );
    assert_eq!(partial["metadata"]["labels"]["team"], "blue");

    assert_eq!(get(&server, "/api/v1/namespaces/none").0, 404);
    assert_eq!(
        get(&server, "/api/v1/namespaces/shop/pods/web-0").1["kind"],
        "Pod"
    );
    assert_eq!(names(&get(&server, "/api/v1/namespaces/other/pods").1).len(), 0);
    assert_eq!(get(&server, "/version").1["major"], "1");
    assert_eq!(server.lists(), 1, "namespaces do not count");
}
