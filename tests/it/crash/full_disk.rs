//! A state directory without room, for bytes or for files, while the agent works and when it starts; then there is room again.

use super::mounts::{Mount, left_out, missing};
use super::scene::Scene;
use crate::agent::Agent;
use crate::traffic::tell;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// How long the disk is full, each time.
const FULL: Duration = Duration::from_millis(2_500);

#[test]
fn crash_full_disk_bytes() {
    full("crash_full_disk_bytes", "size=1m", |ballast| {
        let mut file = File::create(ballast.join("0")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        1
    });
}

#[test]
fn crash_full_disk_inodes() {
    full("crash_full_disk_inodes", "size=16m,nr_inodes=20", |ballast| {
        (0u64..)
            .take_while(|number| File::create(ballast.join(number.to_string())).is_ok())
            .count()
    });
}

/// `fill` uses up what is left, in files of this directory, and says how many it made.
fn full(test: &str, options: &str, fill: impl Fn(&PathBuf) -> usize) {
    if let Some(why) = missing(&["mount", "umount"]) {
        return left_out(test, &why);
    }
    let mut scene = Scene::new(test);
    scene.lodging.config["spool"] = serde_json::json!({"segment_bytes": "64KiB", "min_free": "0%"});
    let state = scene.lodging.state();
    let Some(_disk) = Mount::tmpfs(&state, options) else {
        return left_out(test, "a tmpfs cannot be mounted");
    };
    let mut agent = scene.lodging.start();
    scene.wait_for_lines(&mut agent, 500);
    let ballast = state.join("ballast");
    fs::create_dir(&ballast).expect("a directory");

    tell(&format!("{} files fill the disk", fill(&ballast)));
    while_it_is_full(&scene, &mut agent);
    fill(&ballast);
    // It must start on a full disk, too.
    agent.kill();
    let mut agent = scene.lodging.start();
    while_it_is_full(&scene, &mut agent);
    let told = |text| agent.log().iter().filter(|line| line.contains(text)).count();
    let (errors, lines) = (told("ERROR"), agent.log().len());
    tell(&format!("its log has {lines} lines, {errors} of them errors"));

    fs::remove_dir_all(&ballast).expect("room again");
    scene.wait_for_lines(&mut agent, 500);
    scene.assert_all_arrive(agent);
}

/// The server takes lines, then it does not, then it does again; the agent lives.
fn while_it_is_full(scene: &Scene, agent: &mut Agent) {
    scene.run_for(FULL);
    scene.outage();
    scene.run_for(FULL);
    assert_eq!(agent.get("/healthz").expect("a living agent").0, 200);
    scene.outage_ends();
    scene.wait_for_lines(agent, 500);
    agent.status().assert_nothing_lost();
}
