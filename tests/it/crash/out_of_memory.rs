//! The kernel kills the agent because its memory cgroup is full.

use super::mounts::{left_out, missing};
use super::scene::Scene;
use crate::agent::PATIENCE;
use crate::traffic::{Solo, tell};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TEST: &str = "crash_out_of_memory";
/// Where version 1 of the controller is mounted.
const CONTROLLER: &str = "/sys/fs/cgroup/memory";
/// By so much the limit goes down at once.
const STEP: u64 = 256 << 10;
const KILLS: u32 = 5;
const POLL: Duration = Duration::from_millis(250);
/// Bytes of a line for which the agent needs more room than it has.
const LONG: usize = 7_000_000;

/// Red without what turns `crash_kill9` red.
#[test]
fn crash_out_of_memory() {
    if let Some(why) = missing(&[]) {
        return left_out(TEST, &why);
    }
    let Some(group) = Group::new() else {
        return left_out(TEST, "no memory controller of cgroup version 1");
    };
    let mut scene = Scene::new(TEST);
    scene.lodging.config["source"]["max_line"] = "8MiB".into();
    scene.lodging.config["batch"]["max_bytes"] = "16MiB".into();
    let mut long = Solo::new(&scene.node, "long", &scene.arrivals);
    for kill in 0..KILLS {
        let mut agent = scene.lodging.start_by(group.command());
        scene.wait_for_lines(&mut agent, 300);
        if kill % 2 == 1 {
            scene.outage();
        }
        let limit = group.tighten();
        let late = Instant::now() + PATIENCE;
        while group.kills() <= u64::from(kill) {
            assert!(Instant::now() < late, "not killed at {limit} bytes");
            // A line that needs room, until the room is not there.
            long.write(1, LONG);
            scene.run_for(POLL);
        }
        let ended = agent.kill().status;
        assert_eq!(ended.signal(), Some(9), "{ended}");
        tell(&format!("killed by the kernel at {} KiB", limit >> 10));
        assert!(scene.server.wait_for_disconnection(PATIENCE));
        scene.outage_ends();
        group.loosen();
    }
    let agent = scene.lodging.start();
    scene.assert_all_arrive(agent);
}

/// A cgroup of our own; dropping it removes it.
struct Group {
    dir: PathBuf,
}

impl Group {
    fn new() -> Option<Group> {
        let dir = Path::new(CONTROLLER).join(format!("longshore-crash-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let group = Group { dir };
        group.dir.join("memory.oom_control").exists().then_some(group)
    }

    /// Goes into the group, then becomes what follows: so that every page of it is charged there.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        let procs = self.dir.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", procs.display());
        command.arg("-c").arg(script);
        command
    }

    /// Lowers the limit as far as the kernel lets us: the next page is one too many.
    fn tighten(&self) -> u64 {
        let mut limit = self.number("memory.usage_in_bytes");
        while !self.set_limit(limit.cast_signed()) {
            limit += STEP;
        }
        while limit > STEP && self.set_limit((limit - STEP).cast_signed()) {
            limit -= STEP;
        }
        limit
    }

    fn loosen(&self) {
        assert!(self.set_limit(-1), "a limit can be lifted");
    }

    fn set_limit(&self, bytes: i64) -> bool {
        fs::write(self.dir.join("memory.limit_in_bytes"), bytes.to_string()).is_ok()
    }

    fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.dir.join("memory.oom_control")).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.dir.join(file)).expect("a number of the cgroup");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty, unless the test failed; then it stays, which does no harm.
        let _ = fs::remove_dir(&self.dir);
    }
}
