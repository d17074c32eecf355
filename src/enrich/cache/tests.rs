use super::super::metadata::{NamespaceObject, Selection};
use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet as Set;

const NODE: &str = "node-a";

fn live() -> Cache {
    let mut cache = Cache::new(NODE, State::Starting, false);
    cache.on_list(Vec::new());
    cache.on_state(State::Live);
    cache
}

/// The pod `uid` of namespace `shop`, whose container `app` runs for the `restart`th time.
fn pod(uid: &str, restart: u32) -> PodRecord {
    mirror(uid, restart, "")
}

fn mirror(uid: &str, restart: u32, hash: &str) -> PodRecord {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": uid, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        "status": {"containerStatuses": [
            {"name": "app", "restartCount": restart, "containerID": format!("containerd://{uid}-{restart}")},
        ]},
    });
    if !hash.is_empty() {
        object["metadata"]["annotations"]["kubernetes.io/config.hash"] = hash.into();
    }
    let selection = Selection {
        labels: true,
        ..Selection::default()
    };
    PodRecord::new(serde_json::from_value(object).unwrap(), &selection).unwrap()
}

fn instance(uid: &str, restart: u32) -> Instance<'_> {
    Instance {
        namespace: "shop",
        pod: "web",
        uid,
        container: "app",
        restart,
    }
}

fn known(cache: &mut Cache, uid: &str, restart: u32) -> Metadata {
    match cache.lookup(&instance(uid, restart)) {
        Lookup::Known(metadata) => metadata,
        other => panic!("not known but {other:?}"),
    }
}

#[test]
fn the_path_fields_are_always_there() {
    let bare = Metadata {
        namespace: "shop".into(),
        pod: "web".into(),
        pod_uid: "u".into(),
        container: "app".into(),
        node: NODE.into(),
        ..Metadata::default()
    };
    let missing = Metadata {
        missing: true,
        ..bare.clone()
    };
    let answer = |state| Cache::new(NODE, state, false).lookup(&instance("u", 0));
    assert_eq!(answer(State::Off), Lookup::Off(bare));
    assert_eq!(answer(State::Starting), Lookup::Wait(missing.clone()));
    assert_eq!(answer(State::Live), Lookup::Wait(missing.clone()));
    assert_eq!(answer(State::Down), Lookup::Missing(missing));
}

#[test]
fn a_new_pod_is_known_once_its_container_is() {
    let mut cache = live();
    let before = cache.version();
    cache.on_applied(pod("u", 0));
    assert!(cache.version() > before);
    let metadata = known(&mut cache, "u", 0);
    assert_eq!(metadata.labels, [("app".to_owned(), "web".to_owned())]);
    assert_eq!(
        (metadata.container_id.as_deref(), metadata.missing),
        (Some("u-0"), false)
    );
    // The next instance has begun to write; the status of the pod says so a moment later.
    let Lookup::Wait(so_far) = cache.lookup(&instance("u", 1)) else {
        panic!("it is to come")
    };
    assert_eq!(
        (so_far.labels, so_far.container_id, so_far.missing),
        (metadata.labels, None, false)
    );
    cache.on_applied(pod("u", 1));
    assert_eq!(known(&mut cache, "u", 1).container_id.as_deref(), Some("u-1"));
    assert_eq!(known(&mut cache, "u", 0).container_id.as_deref(), Some("u-0"));
}

#[test]
fn what_changes_nothing_is_no_new_version() {
    let mut cache = live();
    cache.on_applied(pod("u", 0));
    let before = cache.version();
    cache.on_applied(pod("u", 0));
    cache.on_list(vec![pod("u", 0)]);
    cache.on_state(State::Live);
    cache.on_deleted("nobody");
    assert_eq!(cache.version(), before);
}

#[test]
fn an_outage_delays_nothing_and_forgets_nothing() {
    let mut cache = live();
    cache.on_applied(pod("u", 0));
    let before = cache.version();
    cache.on_state(State::Down);
    assert!(cache.version() > before, "who waits must hear of it");
    assert_eq!(known(&mut cache, "u", 0).container_id.as_deref(), Some("u-0"));
    let restarted = known(&mut cache, "u", 1);
    assert_eq!((restarted.labels.len(), restarted.container_id), (1, None));
    assert!(matches!(cache.lookup(&instance("new", 0)), Lookup::Missing(metadata) if metadata.missing));
}

#[test]
fn a_deleted_pod_is_known_until_its_files_are_drained() {
    let mut cache = live();
    cache.on_list(vec![pod("u", 0), pod("v", 0)]);
    cache.on_list(vec![pod("v", 0)]);
    assert_eq!((cache.len(), cache.deleted.len()), (1, 1));
    // An instance that the API never told of will not be told of any more.
    assert_eq!(known(&mut cache, "u", 1).container_id, None);
    cache.forget("u");
    cache.forget("v");
    assert!(
        matches!(cache.lookup(&instance("u", 0)), Lookup::Wait(_)),
        "it is gone"
    );
    assert_eq!(known(&mut cache, "v", 0).pod_uid, "v", "it lives");
    assert_eq!((cache.pods.len(), cache.deleted.len()), (1, 0));
}

#[test]
fn files_may_be_drained_before_the_api_deletes_the_pod() {
    let mut cache = live();
    cache.on_applied(pod("u", 0));
    cache.forget("u");
    cache.on_applied(pod("u", 1));
    cache.on_deleted("u");
    assert_eq!(cache.pods.len(), 0);
    // Unless somebody reads them again.
    cache.on_applied(pod("v", 0));
    cache.forget("v");
    known(&mut cache, "v", 0);
    cache.on_deleted("v");
    assert_eq!(cache.pods.len(), 1);
}

#[test]
fn deleted_pods_are_bounded() {
    let mut cache = live();
    for number in 0..MAX_DELETED + 2 {
        let uid = format!("u{number}");
        cache.on_applied(pod(&uid, 0));
        cache.on_deleted(&uid);
    }
    assert_eq!(
        (cache.pods.len(), cache.deleted.len()),
        (MAX_DELETED, MAX_DELETED)
    );
    assert!(
        !cache.pods.contains_key("u1") && cache.pods.contains_key("u2"),
        "the oldest go"
    );
}

#[test]
fn a_static_pod_is_found_by_the_hash_of_its_config() {
    let mut cache = live();
    cache.on_applied(mirror("u", 0, "hash"));
    assert_eq!(known(&mut cache, "hash", 0).pod_uid, "u");
    assert_eq!(known(&mut cache, "u", 0).pod_uid, "u");
    // The mirror was made anew: the same files, another uid.
    cache.on_applied(mirror("v", 0, "hash"));
    cache.on_deleted("u");
    cache.forget("u");
    assert_eq!(known(&mut cache, "hash", 0).pod_uid, "v");
    cache.on_deleted("v");
    cache.forget("hash");
    assert!(cache.pods.is_empty() && cache.hashes.is_empty());
}

#[test]
fn nobody_takes_over_the_files_of_another_pod_by_an_annotation() {
    let mut cache = live();
    cache.on_applied(mirror("thief", 0, "victim"));
    let theirs = Instance {
        namespace: "bank",
        pod: "vault",
        uid: "victim",
        container: "app",
        restart: 0,
    };
    assert!(matches!(cache.lookup(&theirs), Lookup::Wait(metadata) if metadata.labels.is_empty()));
    cache.on_applied(pod("victim", 0));
    cache.on_deleted("victim");
    cache.forget("victim");
    assert_eq!(cache.pods.keys().collect::<Vec<_>>(), ["thief"]);
}

#[test]
fn namespace_labels_are_waited_for_only_when_asked_for() {
    let mut cache = live();
    cache.on_applied(pod("u", 0));
    assert!(cache.namespaces_wanted().is_empty());
    let mut cache = Cache::new(NODE, State::Live, true);
    cache.on_applied(pod("u", 0));
    assert_eq!(cache.namespaces_wanted(), ["shop"]);
    assert!(matches!(cache.lookup(&instance("u", 0)), Lookup::Wait(_)));
    cache.on_namespace("shop", None);
    assert_eq!(known(&mut cache, "u", 0).namespace_labels, []);
    let object = json!({"metadata": {"name": "shop", "uid": "n", "labels": {"team": "blue"}}});
    let object: NamespaceObject = serde_json::from_value(object).unwrap();
    cache.on_namespace("shop", Some(object.into()));
    cache.on_namespace("shop", None);
    let metadata = known(&mut cache, "u", 0);
    assert_eq!(metadata.namespace_uid.as_deref(), Some("n"));
    assert_eq!(
        metadata.namespace_labels,
        [("team".to_owned(), "blue".to_owned())]
    );
    assert!(cache.namespaces_wanted().is_empty() && cache.namespaces_in_use() == ["shop"]);
    cache.forget("u");
    cache.on_deleted("u");
    assert!(cache.namespaces.is_empty());
}

#[test]
fn the_directory_publishes_the_version() {
    let directory = Directory::new(NODE, false);
    let before = directory.version();
    directory.with(|cache| {
        cache.on_state(State::Live);
        cache.on_applied(pod("u", 0));
    });
    assert!(directory.version() > before);
    assert!(matches!(directory.lookup(&instance("u", 0)), Lookup::Known(_)));
    directory.with(|cache| cache.on_deleted("u"));
    directory.forget("u");
    assert!(matches!(directory.lookup(&instance("u", 0)), Lookup::Wait(_)));
    assert!(matches!(
        Directory::off(NODE).lookup(&instance("u", 0)),
        Lookup::Off(_)
    ));
}

#[derive(Clone, Debug)]
enum Fact {
    Applied(u8, u32),
    Deleted(u8),
    Listed(Set<u8>),
    Forgotten(u8),
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (0..6u8, 0..3u32).prop_map(|(pod, restart)| Fact::Applied(pod, restart)),
        (0..6u8).prop_map(Fact::Deleted),
        proptest::collection::btree_set(0..6u8, 0..6).prop_map(Fact::Listed),
        (0..6u8).prop_map(Fact::Forgotten),
    ]
}

proptest! {
    #[test]
    fn present_pods_are_known_and_an_answer_changes_only_with_the_version(facts in proptest::collection::vec(fact(), 0..40)) {
        let mut cache = live();
        let mut present = Set::new();
        for fact in facts {
            let (version, answers) = (cache.version(), answers(&mut cache));
            let forgotten = matches!(fact, Fact::Forgotten(_));
            match fact {
                Fact::Applied(number, restart) => {
                    cache.on_applied(pod(&format!("u{number}"), restart));
                    present.insert(number);
                }
                Fact::Deleted(number) => {
                    cache.on_deleted(&format!("u{number}"));
                    present.remove(&number);
                }
                Fact::Listed(numbers) => {
                    cache.on_list(numbers.iter().map(|number| pod(&format!("u{number}"), 0)).collect());
                    present = numbers;
                }
                Fact::Forgotten(number) => cache.forget(&format!("u{number}")),
            }
            prop_assert_eq!(cache.len(), present.len());
            prop_assert!(cache.pods.len() - cache.deleted.len() == present.len());
            for number in &present {
                let uid = format!("u{number}");
                prop_assert!(matches!(cache.lookup(&instance(&uid, 0)), Lookup::Known(_)));
            }
            prop_assert!(forgotten || cache.version() != version || self::answers(&mut cache) == answers);
        }
    }
}

fn answers(cache: &mut Cache) -> Vec<Lookup> {
    (0..6)
        .map(|number| cache.lookup(&instance(&format!("u{number}"), 0)))
        .collect()
}
