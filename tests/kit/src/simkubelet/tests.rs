mod goldens;

use super::*;
use flate2::read::MultiGzDecoder;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use tempfile::TempDir;

const UID: &str = "6dd42b0a-b4a5-4f35-9c0c-2b6f8f1a7a11";

fn node(config: NodeConfig) -> (TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::with(dir.path(), config).unwrap();
    node.set_clock(1_767_225_600);
    (dir, node)
}

fn files(log: &ContainerLog) -> Vec<String> {
    RealDisk.names(&log.dir()).unwrap()
}

/// Reads a chain as an agent must: every file, `.gz` inflated, in name order, the live one last.
fn chain(log: &ContainerLog) -> String {
    let mut text = String::new();
    for path in log.rotated_files().unwrap().into_iter().chain([log.live_path()]) {
        let file = File::open(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        } else {
            (&file).read_to_string(&mut text).unwrap();
        }
    }
    text
}

#[test]
fn steady_state_is_live_plus_one_plain_plus_gz() {
    let (_dir, node) = node(NodeConfig::default());
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    for turn in 0..7 {
        log.write(format!("{turn}\n").as_bytes()).unwrap();
        log.rotate().unwrap();
    }
    log.write(b"7\n").unwrap();
    assert_eq!(
        files(&log),
        [
            "0.log",
            "0.log.20260101-000003.gz",
            "0.log.20260101-000004.gz",
            "0.log.20260101-000005.gz",
            "0.log.20260101-000006"
        ]
    );
    assert_eq!(chain(&log), "3\n4\n5\n6\n7\n");
}

#[test]
fn a_write_between_rename_and_reopen_goes_to_the_old_inode() {
    let (_dir, node) = node(NodeConfig::default());
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    log.write(b"before\n").unwrap();
    let rotated = log.rotate_rename().unwrap();
    assert!(!log.live_path().exists());
    assert_eq!(
        log.rotate_rename().unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
    log.write(b"between\n").unwrap();
    log.rotate_reopen().unwrap();
    log.write(b"after\n").unwrap();
    assert_eq!(fs::read_to_string(rotated).unwrap(), "before\nbetween\n");
    assert_eq!(fs::read_to_string(log.live_path()).unwrap(), "after\n");
}

#[test]
fn a_failed_reopen_brings_the_same_inode_back() {
    let (_dir, node) = node(NodeConfig::default());
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    log.write(b"before\n").unwrap();
    let inode = fs::metadata(log.live_path()).unwrap().ino();
    log.rotate_rename().unwrap();
    log.rotate_rename_back().unwrap();
    log.write(b"after\n").unwrap();
    assert_eq!(fs::metadata(log.live_path()).unwrap().ino(), inode);
    assert_eq!(chain(&log), "before\nafter\n");
    assert_eq!(
        log.rotate_rename_back().unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn an_interrupted_compression_is_cleaned_up_by_the_next_pass() {
    let (_dir, node) = node(NodeConfig::default());
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    log.write(b"0\n").unwrap();
    let plain = log.rotate().unwrap();
    drop(log.compress_begin().unwrap().unwrap());
    assert_eq!(files(&log).len(), 3, "live, plain, tmp");
    drop(log.compress_begin().unwrap().unwrap().commit().unwrap());
    assert!(plain.exists() && with_gz(&plain).exists());
    log.write(b"1\n").unwrap();
    log.rotate().unwrap();
    assert_eq!(
        files(&log),
        ["0.log", "0.log.20260101-000000.gz", "0.log.20260101-000001"]
    );
    assert_eq!(chain(&log), "0\n1\n");
}

fn with_gz(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.gz", path.display()))
}

#[test]
fn compression_keeps_the_mode() {
    let (_dir, node) = node(NodeConfig {
        dialect: CriDialect::Conmon,
        ..NodeConfig::default()
    });
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    log.write(b"0\n").unwrap();
    log.rotate().unwrap();
    let gz = log.compress_next().unwrap().unwrap();
    assert_eq!(fs::metadata(gz).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(log.compress_next().unwrap().is_none());
}

#[test]
fn two_files_mean_that_a_rotation_removes_the_last_rotated_one() {
    let (_dir, node) = node(NodeConfig {
        max_files: 2,
        ..NodeConfig::default()
    });
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    for turn in 0..3 {
        log.write(format!("{turn}\n").as_bytes()).unwrap();
        log.rotate().unwrap();
    }
    assert_eq!(chain(&log), "2\n");
}

#[test]
fn only_a_full_file_is_rotated_by_the_periodic_look() {
    let (_dir, node) = node(NodeConfig {
        max_size_bytes: 10,
        ..NodeConfig::default()
    });
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    log.write(b"123456789").unwrap();
    assert_eq!(log.rotate_if_full().unwrap(), None);
    log.write(b"0").unwrap();
    assert!(log.rotate_if_full().unwrap().is_some());
}

#[test]
fn a_restart_keeps_one_dead_instance() {
    let (_dir, node) = node(NodeConfig::default());
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    let first_id = log.container_id();
    log.write(b"0\n").unwrap();
    log.rotate().unwrap();
    log.restart().unwrap();
    assert_eq!(files(&log), ["0.log", "0.log.20260101-000000", "1.log"]);
    log.restart().unwrap();
    assert_eq!(
        (files(&log), log.restart_number()),
        (vec!["1.log".to_owned(), "2.log".to_owned()], 2)
    );
    assert_ne!(log.container_id(), first_id);
    assert_eq!(RealDisk.names(&node.containers_dir()).unwrap().len(), 2);
    let reborn = node
        .pod("shop", "web-0", UID)
        .container_after_reboot("app")
        .unwrap();
    assert_eq!(reborn.restart_number(), 3);
}

#[test]
fn ten_restarts_do_not_remove_the_files_of_number_ten() {
    let (_dir, node) = node(NodeConfig::default());
    let pod = node.pod("shop", "web-0", UID);
    drop(pod.container_at("app", 1).unwrap());
    let mut log = pod.container_at("app", 10).unwrap();
    log.remove_instance(1).unwrap();
    log.restart().unwrap();
    assert_eq!(files(&log), ["10.log", "11.log"]);
}

#[test]
fn links_name_the_container_and_its_id() {
    let (_dir, node) = node(NodeConfig::default());
    let log = node.pod("shop", "web-0", UID).container("app").unwrap();
    let link = log.link_path();
    let name = link.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("web-0_shop_app-") && name.len() == "web-0_shop_app-.log".len() + 64,
        "{name}"
    );
    assert_eq!(fs::read_link(&link).unwrap(), log.live_path());
}

#[test]
fn a_deleted_pod_takes_everything_but_its_successor() {
    let (_dir, node) = node(NodeConfig::default());
    let (old, new) = (node.pod("shop", "web-0", "old"), node.pod("shop", "web-0", "new"));
    let mut log = old.container("app").unwrap();
    let successor = new.container("app").unwrap();
    log.write(b"0\n").unwrap();
    log.rotate().unwrap();
    old.remove_files().unwrap();
    assert!(old.dir().is_dir() && files(&log).is_empty());
    log.write(b"into nothing\n").unwrap();
    old.remove_dir().unwrap();
    assert!(!old.dir().exists());
    assert_eq!(
        RealDisk.names(&node.containers_dir()).unwrap(),
        [successor.link_path().file_name().unwrap().to_str().unwrap()]
    );
}

#[test]
fn truncation_keeps_the_inode_and_appends_from_zero() {
    let (_dir, node) = node(NodeConfig::default());
    let mut log = node
        .static_pod("kube-system", "etcd-n1", &"a1".repeat(16))
        .container("etcd")
        .unwrap();
    log.write(b"before\n").unwrap();
    let inode = fs::metadata(log.live_path()).unwrap().ino();
    let copy = log.copytruncate().unwrap();
    log.write(b"after\n").unwrap();
    assert_eq!(fs::read_to_string(copy).unwrap(), "before\n");
    assert_eq!(fs::read_to_string(log.live_path()).unwrap(), "after\n");
    assert_eq!(fs::metadata(log.live_path()).unwrap().ino(), inode);
}

#[test]
fn conmon_replaces_the_live_file_and_leaves_no_tmp() {
    let (_dir, node) = node(NodeConfig {
        dialect: CriDialect::Conmon,
        ..NodeConfig::default()
    });
    let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
    log.write_line(0, Stream::Stdout, b"before").unwrap();
    log.replace_live().unwrap();
    log.write_line(0, Stream::Stdout, b"after").unwrap();
    assert_eq!(
        fs::read_to_string(log.live_path()).unwrap(),
        "1970-01-01T00:00:00.000000000+00:00 stdout F after\n"
    );
    assert_eq!(files(&log), ["0.log"]);
}
