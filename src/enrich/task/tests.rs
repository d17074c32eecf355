use super::super::cache::{Instance, Lookup};
use super::super::metadata::Selection;
use super::*;
use crate::record::Metadata;
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const NODE: &str = "node-a";

/// A running task and everything around it.
struct Scene {
    api: FakeApiserver,
    directory: Arc<Directory>,
    board: Arc<Board>,
    changes: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    dir: TempDir,
}

impl Scene {
    fn start(api: FakeApiserver) -> Self {
        let selection = Selection {
            labels: true,
            ..Selection::default()
        };
        Self::start_with(api, selection)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the task under test runs beside the test"
    )]
    fn start_with(api: FakeApiserver, selection: Selection) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = Some(dir.path().join("kubeconfig"));
        let directory = Arc::new(Directory::new(NODE, selection.namespace_labels));
        let settings = Settings {
            node: NODE.to_owned(),
            kubeconfig,
            selection,
        };
        let (board, changes) = (Arc::new(Board::default()), Arc::new(AtomicUsize::new(0)));
        let (stop, stopped) = watch::channel(false);
        let count = Arc::clone(&changes);
        let changed = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        write_kubeconfig(&dir, &api);
        let task = tokio::spawn(run(
            settings,
            Arc::clone(&directory),
            Arc::clone(&board),
            changed,
            stopped,
        ));
        Self {
            api,
            directory,
            board,
            changes,
            stop,
            task,
            dir,
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let patience = Duration::from_secs(20);
        assert!(
            timeout(patience, waiting).await.is_ok(),
            "never: {what}; {:?}",
            self.status()
        );
    }

    async fn until_live(&self) {
        self.until("live", |scene| scene.status().state == "live").await;
    }

    async fn until_down(&self) {
        self.until("down", |scene| scene.status().state == "down").await;
    }

    fn status(&self) -> WatchStatus {
        self.board.watch().clone()
    }

    fn lookup(&self, uid: &str) -> Lookup {
        self.directory.lookup(&Instance {
            namespace: "shop",
            pod: "web",
            uid,
            container: "app",
            restart: 0,
        })
    }

    fn knows(&self, uid: &str) -> bool {
        matches!(self.lookup(uid), Lookup::Known(_))
    }
}

#[expect(clippy::disallowed_methods, reason = "a kubeconfig for the task under test")]
fn write_kubeconfig(dir: &TempDir, api: &FakeApiserver) {
    std::fs::write(dir.path().join("kubeconfig"), api.kubeconfig()).unwrap();
}

fn add(api: &FakeApiserver, uid: &str) {
    add_to(api, uid, NODE);
}

fn add_to(api: &FakeApiserver, uid: &str, node: &str) {
    let id = format!("containerd://id-of-{uid}");
    let made = pod("shop", &format!("pod-{uid}"), uid, node).label("app", "web");
    api.add_pod(made.container("app", "app:1", "app@sha256:1", &id, 0));
}

#[tokio::test]
async fn one_list_and_one_watch_per_start() {
    let api = FakeApiserver::start();
    add(&api, "u1");
    add_to(&api, "elsewhere", "node-b");
    let scene = Scene::start(api);
    scene.until_live().await;
    for uid in ["u2", "u3", "u4"] {
        add(&scene.api, uid);
    }
    scene.api.bookmark();
    scene.api.delete_pod("shop", "pod-u3");
    scene
        .until("the last event", |scene| {
            scene.knows("u4") && scene.status().pods == 3
        })
        .await;
    assert!(!scene.knows("elsewhere"));
    assert_eq!(
        (scene.api.lists(), scene.api.watches(), scene.api.requests()),
        (1, 1, 2)
    );
    let (list, watch) = (scene.api.last_list_query(), scene.api.last_watch_query());
    assert!(list.contains("fieldSelector=spec.nodeName%3Dnode-a"), "{list}");
    assert!(
        list.contains("resourceVersion=0") && !list.contains("limit="),
        "{list}"
    );
    assert!(watch.contains("fieldSelector=spec.nodeName%3Dnode-a"), "{watch}");
    assert!(watch.contains("allowWatchBookmarks=true"), "{watch}");
    let expected = WatchStatus {
        state: "live",
        pods: 3,
        lists: 1,
        watches: 1,
        errors: 0,
        problem: None,
    };
    assert_eq!(scene.status(), expected);
}

#[tokio::test]
async fn a_new_pod_wakes_the_readers() {
    let scene = Scene::start(FakeApiserver::start());
    scene.until_live().await;
    assert!(matches!(scene.lookup("u1"), Lookup::Wait(_)));
    let (changes, version) = (scene.changes.load(Ordering::Relaxed), scene.directory.version());
    add(&scene.api, "u1");
    scene
        .until("a change", |scene| {
            scene.changes.load(Ordering::Relaxed) > changes
        })
        .await;
    assert!(scene.directory.version() > version);
    let Lookup::Known(metadata) = scene.lookup("u1") else {
        panic!("it is known when readers are woken")
    };
    let expected = Metadata {
        namespace: "shop".into(),
        pod: "pod-u1".into(),
        pod_uid: "u1".into(),
        container: "app".into(),
        node: NODE.into(),
        container_id: Some("id-of-u1".into()),
        runtime: Some("containerd".into()),
        image: Some("app:1".into()),
        image_id: Some("app@sha256:1".into()),
        labels: vec![("app".into(), "web".into())],
        ..Metadata::default()
    };
    assert_eq!(metadata, expected);
}

#[tokio::test]
async fn an_expired_version_is_listed_again_without_a_word() {
    let scene = Scene::start(FakeApiserver::start());
    add(&scene.api, "u1");
    scene.until("the pod", |scene| scene.knows("u1")).await;
    scene.until_live().await;
    scene.api.expire();
    scene
        .until("a second watch", |scene| scene.api.watches() == 2)
        .await;
    add(&scene.api, "u2");
    scene.until("the next pod", |scene| scene.knows("u2")).await;
    let status = scene.status();
    assert_eq!(
        (status.state, status.lists, status.watches, status.errors),
        ("live", 2, 2, 0)
    );
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let scene = Scene::start(FakeApiserver::start());
    add(&scene.api, "u1");
    scene.until("the pod", |scene| scene.knows("u1")).await;
    scene
        .until("an open watch", |scene| scene.api.open_watches() == 1)
        .await;
    scene.api.close_watches();
    add(&scene.api, "u2");
    scene.until("the next pod", |scene| scene.knows("u2")).await;
    let status = scene.status();
    assert_eq!(
        (status.state, status.lists, status.watches, status.errors),
        ("live", 1, 2, 0)
    );
}

#[tokio::test]
async fn an_outage_is_told_at_once_and_ends_without_a_list() {
    let scene = Scene::start(FakeApiserver::start());
    add(&scene.api, "u1");
    scene.until("the pod", |scene| scene.knows("u1")).await;
    scene
        .until("an open watch", |scene| scene.api.open_watches() == 1)
        .await;
    let changes = scene.changes.load(Ordering::Relaxed);
    scene.api.off();
    scene.until_down().await;
    assert!(
        scene.changes.load(Ordering::Relaxed) > changes,
        "who waits is woken"
    );
    assert!(scene.knows("u1") && matches!(scene.lookup("u2"), Lookup::Missing(_)));
    let problem = scene.status().problem.unwrap();
    assert!(
        problem.contains(&scene.api.url()) && problem.contains("fix: "),
        "{problem}"
    );
    add(&scene.api, "u2");
    scene.api.on();
    scene.until("the next pod", |scene| scene.knows("u2")).await;
    scene.until_live().await;
    assert_eq!((scene.status().lists, scene.status().problem), (1, None));
}

#[tokio::test]
async fn an_api_server_that_was_never_there_delays_nothing() {
    let api = FakeApiserver::start();
    api.off();
    let scene = Scene::start(api);
    scene.until_down().await;
    assert!(matches!(scene.lookup("u1"), Lookup::Missing(metadata) if metadata.missing));
    scene.api.on();
    scene.until_live().await;
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_delays_nothing_for_long() {
    let api = FakeApiserver::start();
    add(&api, "u1");
    api.stall();
    let scene = Scene::start(api);
    assert!(matches!(scene.lookup("u1"), Lookup::Wait(_)));
    scene.until_down().await;
    assert!(matches!(scene.lookup("u1"), Lookup::Missing(_)));
    scene.api.resume();
    scene.until_live().await;
    assert!(scene.knows("u1"));
    assert_eq!(scene.api.lists(), 1, "the slow answer was good enough");
}

#[tokio::test]
async fn refused_credentials_are_read_anew() {
    let api = FakeApiserver::start();
    let scene = Scene::start(api);
    scene.until_live().await;
    scene.api.require_token(Some("new"));
    scene.api.close_watches();
    scene.until_down().await;
    let problem = scene.status().problem.unwrap();
    assert!(
        problem.contains("401") && problem.contains("fix: the token"),
        "{problem}"
    );
    assert!(matches!(scene.lookup("u1"), Lookup::Missing(_)));
    write_kubeconfig(&scene.dir, &scene.api);
    scene.until_live().await;
}

#[tokio::test]
async fn a_missing_kubeconfig_is_told_with_the_fix() {
    let scene = Scene::start(FakeApiserver::start());
    scene.until_live().await;
    remove_kubeconfig(&scene.dir);
    scene.api.off();
    scene
        .until("the problem", |scene| {
            scene
                .status()
                .problem
                .is_some_and(|text| text.contains("source: none"))
        })
        .await;
    scene.api.on();
    write_kubeconfig(&scene.dir, &scene.api);
    scene.until_live().await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kubeconfig is taken away from the task under test"
)]
fn remove_kubeconfig(dir: &TempDir) {
    std::fs::remove_file(dir.path().join("kubeconfig")).unwrap();
}

#[tokio::test]
async fn a_busy_api_server_is_left_alone_for_a_second() {
    let api = FakeApiserver::start();
    api.respond_429(1, Duration::from_secs(1));
    let begin = now();
    let scene = Scene::start(api);
    scene.until_down().await;
    assert!(scene.status().problem.unwrap().contains("429"));
    scene.until_live().await;
    assert!(now() - begin >= Duration::from_secs(1));
    assert_eq!(scene.api.lists(), 2);
}

#[tokio::test]
async fn namespace_labels_are_fetched_once_for_all_pods_of_a_namespace() {
    let api = FakeApiserver::start();
    api.add_namespace("shop", &[("team", "blue")]);
    add(&api, "u1");
    add(&api, "u2");
    let selection = Selection {
        namespace_labels: true,
        ..Selection::default()
    };
    let scene = Scene::start_with(api, selection);
    scene
        .until("the namespace", |scene| scene.knows("u1") && scene.knows("u2"))
        .await;
    add(&scene.api, "u3");
    scene.until("the next pod", |scene| scene.knows("u3")).await;
    let Lookup::Known(metadata) = scene.lookup("u3") else {
        panic!("it is known")
    };
    assert!(
        metadata
            .namespace_labels
            .contains(&("team".to_owned(), "blue".to_owned()))
    );
    assert_eq!(metadata.namespace_uid.as_deref(), Some("uid-of-shop"));
    assert_eq!(
        (scene.api.lists(), scene.api.watches(), scene.api.requests()),
        (1, 1, 3)
    );
}

#[tokio::test]
async fn it_ends_when_told_to_and_when_nobody_is_left_to_tell() {
    let scene = Scene::start(FakeApiserver::start());
    scene.until_live().await;
    scene.stop.send(true).unwrap();
    timeout(Duration::from_secs(20), scene.task)
        .await
        .unwrap()
        .unwrap();
    let Scene { stop, task, .. } = Scene::start(FakeApiserver::start());
    drop(stop);
    timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}
