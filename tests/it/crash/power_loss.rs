//! The power fails under the state directory: what was not synced is gone, and the agent that starts afterwards finds all
//! that it had promised. The log files lie elsewhere.

use super::mounts::{Disk, left_out, missing};
use super::scene::Scene;
use crate::traffic::tell;
use std::time::Duration;

/// Cuts per file system.
const CUTS: u32 = 12;
/// The agent works for some of this before each.
const LIFE: Duration = Duration::from_millis(1_800);
/// And lives on a dead disk for some of this.
const AFTERLIFE: Duration = Duration::from_millis(300);

/// Red without: `sync_all` in `Spool::write` or in `CheckpointFolder::save`, `sync_folder` where a segment is made,
/// `sync_data` in `DeadLetterFile::append`.
#[test]
fn crash_power_loss_ext4() {
    power_loss("crash_power_loss_ext4", "ext4");
}

#[test]
fn crash_power_loss_xfs() {
    power_loss("crash_power_loss_xfs", "xfs");
}

fn power_loss(test: &str, kind: &str) {
    let mkfs = format!("mkfs.{kind}");
    if let Some(why) = missing(&["mount", "umount", "xfs_io", &mkfs]) {
        return left_out(test, &why);
    }
    let mut scene = Scene::new(test);
    let Some(mut disk) = Disk::new(kind, &scene.lodging.state()) else {
        return left_out(test, &format!("a loop device with {kind} cannot be mounted"));
    };
    for cut in 0..CUTS {
        let mut agent = scene.lodging.start();
        agent.wait_for("it to read", |agent| agent.status().ledger("read") > 0);
        scene.run_for_some_of(LIFE);
        // By turns into the index, and into the spool.
        if cut % 2 == 1 {
            scene.outage();
            agent.wait_for("it to spool", |agent| agent.status().ledger("spooled") > 0);
            scene.run_for_some_of(LIFE);
        }
        agent.status().assert_nothing_lost();
        disk.cut_power();
        scene.run_for_some_of(AFTERLIFE);
        let ended = agent.kill();
        let own = ended.status.code();
        assert_eq!(own, None, "it ended by itself; log:\n{}", ended.log.join("\n"));
        assert!(scene.server.wait_for_disconnection(crate::agent::PATIENCE));
        scene.outage_ends();
        disk.power_returns();
    }
    let agent = scene.lodging.start();
    let damage: Vec<String> = agent
        .log()
        .into_iter()
        .filter(|line| line.contains("damage"))
        .collect();
    tell(&format!(
        "{CUTS} power cuts on {kind}; the last start told of {damage:?}"
    ));
    scene.assert_all_arrive(agent);
}
