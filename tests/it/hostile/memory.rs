//! What the agent may have of the node's memory, whatever the node and the server do.
//!
//! The promise is on the released binary: the `long_` tests want `LONGSHORE_BINARY` to name one, and say so when it does not.
//! The short ones compare two runs of the binary at hand, so that its own size does not count. All of them run it in the
//! environment that the image gives it.

use super::{Ground, cpu_seconds, peak_kib};
use crate::agent::Agent;
use crate::traffic::{tell, unix_ns};
use longshore_kit::fake_apiserver::{FakeApiserver, pod};
use longshore_kit::lines::{CriDialect, Stream, cri_line, message};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The promise on memory, in KiB.
const MEMORY: u64 = 64 << 10;

/// A node full of containers, with metadata. This process has a limit of descriptors, too: a file is open only while it is
/// written to.
struct Crowd {
    ground: Ground,
    _apiserver: FakeApiserver,
    files: Vec<(String, PathBuf, u64)>,
    /// Bytes of all lines so far.
    bytes: u64,
}

impl Crowd {
    fn new(pods: usize, containers: usize) -> Crowd {
        let mut ground = Ground::new();
        let apiserver = FakeApiserver::start();
        ground.lodging.use_apiserver(&apiserver.kubeconfig());
        // The default agent, but for its places.
        ground.lodging.config["batch"] = serde_json::json!({});
        let source = ground.lodging.config["source"]
            .as_object_mut()
            .expect("a section");
        source.remove("rescan_interval");
        let mut files = Vec::new();
        for number in 0..pods {
            let (name, uid) = (
                format!("crowd-7d9c5b6f8-{number:05}"),
                format!("0b2b2d3c-5d3a-4c7e-9a51-{number:012}"),
            );
            let mut object = pod("shop", &name, &uid, "node-a")
                .label("app.kubernetes.io/name", "crowd")
                .label("app.kubernetes.io/instance", "crowd-production")
                .label("pod-template-hash", "7d9c5b6f8")
                .owner("ReplicaSet", "crowd-7d9c5b6f8");
            for container in 0..containers {
                let (name, id) = (
                    format!("c-{container}"),
                    format!("containerd://{:064x}", number * containers + container),
                );
                object = object.container(&name, "registry.example/shop/crowd:1.4.2", "sha256:5e", &id, 0);
                let dir = ground
                    .lodging
                    .pods()
                    .join(format!("shop_crowd-7d9c5b6f8-{number:05}_{uid}/{name}"));
                fs::create_dir_all(&dir).expect("a directory");
                files.push((format!("{number}-{container}"), dir.join("0.log"), 0));
            }
            apiserver.add_pod(object);
        }
        Crowd {
            ground,
            _apiserver: apiserver,
            files,
            bytes: 0,
        }
    }

    /// So many lines of 200 bytes at the end of each file.
    fn write(&mut self, lines: u64) {
        for (name, path, next) in &mut self.files {
            let mut text = Vec::new();
            for seq in *next..*next + lines {
                let now = unix_ns();
                self.ground.arrivals.on_sent(name, seq);
                let line = message(name, seq, now, 150);
                text.extend(cri_line(
                    &CriDialect::Containerd.stamp(now),
                    Stream::Stdout,
                    "F",
                    line.as_bytes(),
                ));
            }
            *next += lines;
            self.bytes += text.len() as u64;
            append(path, &text);
        }
    }

    /// Waits until all has arrived, with people at the status server.
    fn wait(&self, agent: &mut Agent, what: &str) {
        let begun = Instant::now();
        let mut asked = 0;
        while !self.ground.arrivals.is_complete() {
            let read = agent.status().ledger("acked");
            agent.get("/metrics").expect("it runs");
            asked += 1;
            agent.wait_for(what, |agent| {
                self.ground.arrivals.is_complete() || agent.status().ledger("acked") > read
            });
        }
        report(
            agent,
            &format!(
                "{what} after {:?}, pages asked for {asked} times",
                begun.elapsed()
            ),
        );
    }

    /// The most memory of an agent that reads all of it, sees a line of `long` bytes, and has no server for a while.
    fn peak(mut self, lines: u64, long: u64) -> u64 {
        self.write(lines);
        let mut agent = self.ground.lodging.start_by(as_in_the_image());
        self.wait(&mut agent, "the first lines");
        let dropped = agent.status().dropped();
        let (_, path, _) = &self.files[0];
        let part = vec![b'x'; 1 << 20];
        for _ in 0..long >> 20 {
            append(path, &part);
        }
        append(path, b"\n");
        while agent.status().dropped() + (2 << 20) < dropped + long {
            let passed = agent.status().dropped();
            agent.wait_for("the long line", |agent| agent.status().dropped() > passed);
        }
        self.write(lines);
        self.wait(&mut agent, "a long line and the lines behind it");
        self.ground.server.off();
        self.write(lines);
        let written = self.bytes + long + 1;
        agent.wait_for("all to be read", |agent| agent.status().ledger("read") == written);
        report(&agent, "the server away");
        self.ground.server.on();
        self.wait(&mut agent, "what was spooled");
        let peak = peak_kib(&agent);
        agent.terminate().assert_clean();
        assert_eq!(self.ground.arrivals.report().duplicate, 0);
        peak
    }
}

/// What follows is run with the variables of `deploy/Dockerfile`.
fn as_in_the_image() -> Command {
    let dockerfile = include_str!("../../../deploy/Dockerfile");
    let variables = dockerfile.lines().filter_map(|line| line.strip_prefix("ENV "));
    let mut command = Command::new("env");
    command.args(variables.flat_map(str::split_whitespace));
    command
}

fn append(path: &PathBuf, bytes: &[u8]) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("a log file");
    file.write_all(bytes).expect("room on the disk");
}

fn report(agent: &Agent, what: &str) {
    tell(&format!(
        "memory: {what}: peak RSS {} KiB, now {} KiB, cpu {:.1} s",
        peak_kib(agent),
        agent.metric("process_resident_memory_bytes") as u64 / 1024,
        cpu_seconds(agent)
    ));
}

#[test]
#[ignore = "takes minutes and a release build, see the head of the file: tests/run --long"]
fn long_ten_thousand_files_of_250_pods_take_64_mib() {
    let peak = Crowd::new(250, 40).peak(20, 1 << 30);
    tell(&format!("memory: 10000 files of 250 pods: peak RSS {peak} KiB"));
    assert!(peak <= MEMORY, "peak RSS {peak} KiB");
}

/// Red without: the boxes and lists of one in `source/`, the shared names, or the shared status of the board. A file cost
/// 16 KiB before them, and what lies in flight counts here, too.
#[test]
fn a_file_takes_less_than_12_kib() {
    let (few, many) = (20, 2_000);
    let base = Crowd::new(1, few).peak(20, 16 << 20);
    let peak = Crowd::new(many / 40, 40).peak(20, 16 << 20);
    let each = (peak.saturating_sub(base) << 10) / (many - few) as u64;
    tell(&format!(
        "memory: {few} files: peak RSS {base} KiB, {many} files: {peak} KiB, {each} bytes a file"
    ));
    assert!(each < 12 << 10, "{each} bytes a file");
}

/// The limit itself is the kernel's and differs from machine to machine; what is made of it is tested in `flow::budget`.
#[test]
fn the_budget_of_a_start_is_told_in_the_log_and_on_the_page() {
    let mut ground = Ground::new();
    let budget = |ground: &Ground, least: u64, most: u64| {
        let mut agent = ground.lodging.start();
        let budget = agent.wait_for_some("the first status", |agent| {
            agent.status().0["reader"]["budget_limit"]
                .as_u64()
                .filter(|limit| *limit > 0)
        });
        assert!((least..=most).contains(&budget), "{budget}");
        assert!(
            agent.log_line(&format!("in_flight={budget}")).is_some(),
            "{:?}",
            agent.log()
        );
        let limit = agent.status().0["memory_limit"].clone();
        let told = limit.as_u64().map_or("longshore starts".to_owned(), |limit| {
            format!("memory_limit={limit}")
        });
        assert!(agent.log_line(&told).is_some(), "{told}: {:?}", agent.log());
        agent.terminate().assert_clean();
    };
    // At least a batch, at most what requests keep busy.
    budget(&ground, 4 << 20, 16 << 20);
    ground.lodging.config["memory"] = serde_json::json!({"in_flight": "21MiB"});
    budget(&ground, 21 << 20, 21 << 20);
}

/// Bytes of the lines that a backlog repeats: far more than the window of the compression.
const BLOCK: usize = 8 << 20;
/// Containers that a backlog is of.
const WRITERS: u64 = 16;

/// Lines of which about a fifth remains when they are compressed.
fn block() -> Vec<u8> {
    let (mut text, mut chance) = (Vec::new(), 88_172_645_463_325_252_u64);
    while text.len() < BLOCK {
        let mut words = String::new();
        for _ in 0..8 {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            words += &format!("request {:04x} took a while and was answered; ", chance & 0xffff);
        }
        let line = cri_line(
            "2026-03-04T09:15:27.123456789Z",
            Stream::Stdout,
            "F",
            words.as_bytes(),
        );
        text.extend(line);
    }
    text
}

/// What an agent is started by on a disk that takes 50 ms for each sync: it has to wait for the disk all the time, so that all
/// memory that may wait for a disk does. On a fast one, how much of it is in use is a matter of chance, and a longer run has more
/// chances.
fn on_a_slow_disk() -> Command {
    let mut command = Command::new("strace");
    // `-D`: the agent is our child, and not strace's.
    command.args(["-D", "-f", "--seccomp-bpf", "-q", "-o", "/dev/null"]);
    let syncs = "fsync,fdatasync";
    command.args([
        "-e",
        &format!("trace={syncs}"),
        "-e",
        &format!("inject={syncs}:delay_exit=50000"),
    ]);
    let image = as_in_the_image();
    command.arg(image.get_program()).args(image.get_args());
    command
}

/// The most memory, in KiB, of an agent that finds so many bytes of logs, no server, and room in the spool for all of it;
/// and of the next one, which finds the spool as well. Both are started by what `start` gives.
fn peak_with_backlog(bytes: u64, start: fn() -> Command) -> (u64, u64) {
    let mut ground = Ground::new();
    ground.server.off();
    ground.lodging.config["batch"] = serde_json::json!({});
    ground.lodging.config["spool"]["max_bytes"] = "30GiB".into();
    let block = block();
    let each = bytes / WRITERS / block.len() as u64;
    for writer in 0..WRITERS {
        let pod = ground
            .node
            .pod("shop", &format!("pod-{writer}"), &format!("uid-{writer}"));
        let mut log = pod.container("app").expect("a container");
        for _ in 0..each {
            log.write(&block).expect("room on the disk");
        }
    }
    let written = WRITERS * each * block.len() as u64;
    let begun = Instant::now();
    let mut agent = ground.lodging.start_by(start());
    let mut read = 0;
    while read < written {
        agent.wait_for("more of the backlog", |agent| {
            agent.status().ledger("read") > read
        });
        read = agent.status().ledger("read");
    }
    let took = begun.elapsed();
    let peak = peak_kib(&agent);
    let spooled = agent.status().0["spool"]["bytes"].clone();
    report(
        &agent,
        &format!("a backlog of {written} bytes was read in {took:?}, the spool has {spooled} bytes"),
    );
    agent.terminate().assert_clean();
    let mut agent = ground.lodging.start_by(start());
    agent.wait_for("the spool to be found", |agent| {
        agent.status().ledger("recovered") > written / 2
    });
    agent.wait_for("the first turn", |agent| {
        agent.metric("longshore_reader_started") == 1.0
    });
    let again = peak_kib(&agent);
    report(&agent, "the next start");
    agent.terminate().assert_clean();
    (peak, again)
}

#[test]
#[ignore = "writes 3 GB and needs a release build, see the head of the file: tests/run --long"]
fn long_memory_does_not_grow_with_a_backlog() {
    for (disk, start) in [
        ("the disk as it is", as_in_the_image as fn() -> Command),
        ("a slow disk", on_a_slow_disk),
    ] {
        let peak = |bytes| {
            let mut peaks = [(); 3].map(|()| {
                let (peak, again) = peak_with_backlog(bytes, start);
                peak.max(again)
            });
            peaks.sort_unstable();
            peaks[1]
        };
        let (small, large) = (peak(500_000_000), peak(2_000_000_000));
        tell(&format!(
            "memory: {disk}, medians of three: backlog of 0.5 GB: peak RSS {small} KiB, of 2 GB: {large} KiB"
        ));
        assert!(large <= MEMORY, "{disk}: peak RSS {large} KiB");
        assert!(
            large <= small + 1024,
            "{disk}: peak RSS {small} KiB with 0.5 GB, {large} KiB with 2 GB"
        );
    }
}

#[test]
#[ignore = "writes 24 GB and needs a release build, see the head of the file: tests/run --long"]
fn long_a_backlog_of_20_gb_takes_64_mib() {
    let (peak, again) = peak_with_backlog(20_000_000_000, as_in_the_image);
    tell(&format!(
        "memory: backlog of 20 GB: peak RSS {peak} KiB, of the next start {again} KiB"
    ));
    assert!(peak.max(again) <= MEMORY);
}
