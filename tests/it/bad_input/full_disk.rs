//! A state directory without room.

use super::Scene;
use crate::traffic::tell;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The size of the disk, in bytes; the lines of the test take several times that.
const DISK: u64 = 4 << 20;

/// Red when `StorageFull` in `Spool::append` is an error like others, or when a full spool does not stop the reader
/// (`Budget::has_room` in `may_read`), or does not let it go on.
#[test]
fn a_full_disk_stops_the_reader_and_nothing_else() {
    let mut scene = Scene::new();
    let state = scene.lodging.state();
    std::fs::create_dir(&state).unwrap();
    let disk = Disk::mount(&state);
    // Without compression the lines take the room that they take in their files.
    scene.lodging.config["sink"]["elasticsearch"]["compression"] = 0.into();
    scene.lodging.config["memory"] = json!({"in_flight": "256KiB"});
    scene.lodging.config["batch"] = json!({"max_bytes": "64KiB", "max_age": "50ms"});
    scene.lodging.config["source"]["max_line"] = "16KiB".into();
    if disk.is_none() {
        tell("no file system can be mounted here: the quota of the spool takes the place of the disk");
        scene.lodging.config["spool"] =
            json!({"max_bytes": DISK, "segment_bytes": "256KiB", "min_free": "0%"});
    }
    scene.server.off();
    let mut agent = scene.lodging.start();
    let mut lines = 0;
    while scene.written < 2 * DISK {
        scene.write_lines(lines..lines + 1_000);
        lines += 1_000;
    }
    agent.wait_for("the disk to be full", |agent| {
        let status = agent.status();
        status.0["spool"]["full"] == true && status.0["reader"]["blocked"] == true
    });
    assert_eq!(agent.metric("longshore_spool_full"), 1.0);
    assert_eq!(agent.get("/healthz").unwrap().0, 200, "blocked is alive");
    assert!(agent.log_line("the spool is full").is_some(), "{:?}", agent.log());
    assert!(agent.status().ledger("read") < scene.written);

    scene.server.on();
    let status = agent.wait_until_delivered(scene.written);
    status.assert_nothing_lost();
    assert_eq!(scene.server.count(), u64::from(lines));
    agent.terminate().assert_clean();
}

/// A small file system in memory; dropping it unmounts it.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None` where nobody may mount.
    fn mount(path: &Path) -> Option<Disk> {
        let size = format!("size={DISK}");
        let done = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path));
        done.then(|| Disk {
            path: path.to_owned(),
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached: an agent of a test that failed may still be in it.
        run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

fn run(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
