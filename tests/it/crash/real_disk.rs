//! The simulator's virtual disk against the kernel: the same traces of operations on it and on ext4 and xfs.
//!
//! While the power is on, both give equal answers: results, errors, listings, sizes, bytes. When it fails, what the real
//! file system shows is one of the states that the virtual disk may show, by the rules from which the simulator draws them
//! (`tests/sim/disk/power.rs`). Between the operations of a trace the kernel is made to write back a part of a file, its
//! journal, or all, as it does by itself after a while.
//!
//! Not compared: directories that are renamed and links (the agent makes none), room, stamps.
//!
//! Red without: `sync_data` or `sync_all` in `src/disk.rs`; on the virtual disk, without a change that is forgotten in
//! `Permitted::names` or an image in `Images::new`, or with a name that is durable before its directory is synced.

mod trace;

#[path = "../../sim/disk.rs"]
#[expect(dead_code, reason = "the simulator uses more of its disk")]
mod disk;

use super::mounts::{self, Disk, left_out, missing};
use crate::traffic::tell;
use disk::power::Tree;
use disk::{STATE_DIR, SimDisk};
use longshore_kit::chance::Chance;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use trace::{Nudge, Op, Side, Step};

/// Traces per file system on which the power stays on.
const TRACES: u64 = 300;
/// Operations of each.
const LONG: usize = 60;
/// Traces per file system at whose end it fails, unless `LONGSHORE_CUTS` says otherwise.
const CUTS: u64 = 150;
/// Operations of each.
const SHORT: usize = 24;
/// Changes of names that may wait for a sync: which of them have survived is looked for among all combinations.
const UNSYNCED: usize = 10;

/// What must have been seen after the power cuts on both file systems: else they have shown nothing.
const SEEN: [&str; 14] = [
    "bytes: a truncation is lost",
    "bytes: as far as one of the writes",
    "bytes: lost",
    "bytes: torn, a prefix",
    "bytes: whole",
    "file made: kept",
    "file made: lost",
    "folder made: kept",
    "folder made: lost",
    "removal: kept",
    "removal: lost",
    "rename: kept",
    "rename: lost",
    "what is certain",
];

#[test]
fn crash_real_disk_ext4() {
    real_disk("crash_real_disk_ext4", "ext4");
}

#[test]
fn crash_real_disk_xfs() {
    real_disk("crash_real_disk_xfs", "xfs");
}

fn real_disk(test: &str, kind: &str) {
    let mkfs = format!("mkfs.{kind}");
    if let Some(why) = missing(&["mount", "umount", "xfs_io", &mkfs]) {
        return left_out(test, &why);
    }
    let home = tempfile::tempdir().unwrap();
    let mount = home.path().join("disk");
    let Some(mut disk) = Disk::new(kind, &mount) else {
        return left_out(test, &format!("a loop device with {kind} cannot be mounted"));
    };
    let cuts = std::env::var("LONGSHORE_CUTS")
        .map_or(CUTS, |cuts| cuts.parse().expect("LONGSHORE_CUTS is a number"));
    let mut told = BTreeMap::new();
    for seed in 0..TRACES {
        let pair = Pair::new(seed, &mount);
        pair.run(LONG, false, &mut told);
    }
    let mut seen = BTreeMap::new();
    let mut virtual_seen = BTreeMap::new();
    for seed in TRACES..TRACES + cuts {
        let pair = Pair::new(seed, &mount);
        let ended = pair.run(SHORT, true, &mut told);
        ended.judge(&mut disk, &mut seen, &mut virtual_seen);
    }
    tell(&format!(
        "{kind}: {TRACES} traces without and {cuts} with a power cut"
    ));
    for (title, counts) in [
        ("answered alike", &told),
        ("after the cuts", &seen),
        ("the virtual disk", &virtual_seen),
    ] {
        let counts: Vec<String> = counts
            .iter()
            .map(|(what, count)| format!("{what} {count}"))
            .collect();
        tell(&format!("{kind}: {title}: {}", counts.join(", ")));
    }
    let missing: Vec<&str> = SEEN
        .into_iter()
        .filter(|what| !seen.contains_key(*what))
        .collect();
    assert!(missing.is_empty(), "never seen on {kind}: {missing:?}");
}

type Counts = BTreeMap<String, u64>;

fn count(counts: &mut Counts, what: impl Into<String>) {
    *counts.entry(what.into()).or_default() += 1;
}

/// A trace on both disks.
struct Pair {
    seed: u64,
    chance: Chance,
    sim: std::sync::Arc<SimDisk>,
    model: Side,
    real: Side,
    mount: PathBuf,
    /// What was done, for whoever has to look at a difference.
    done: Vec<Step>,
}

impl Pair {
    /// Both begin with an empty directory that is durable.
    fn new(seed: u64, mount: &Path) -> Pair {
        let root = mount.join(format!("trace-{seed}"));
        fs::create_dir(&root).expect("a directory");
        mounts::sync(&root);
        let sim = SimDisk::new(seed);
        Pair {
            seed,
            chance: Chance::new(seed),
            model: Side::new(sim.agent(), Path::new(STATE_DIR)),
            real: Side::new(longshore::disk::kernel(), &root),
            sim,
            mount: mount.to_owned(),
            done: Vec::new(),
        }
    }

    fn run(mut self, steps: usize, nudged: bool, told: &mut Counts) -> Pair {
        for op in trace::beginning(&mut self.chance) {
            self.step(op, told);
        }
        for _ in 0..steps {
            if nudged && self.chance.hit(0.15) {
                let nudge = Nudge::draw(&mut self.chance, &files(&self.real.root));
                nudge.give(&self.mount);
                self.done.push(Step::Nudge(nudge));
                continue;
            }
            let op = Op::draw(&mut self.chance);
            if !self.real.renames_a_folder(&op) {
                self.step(op, told);
            }
            if self.sim.permitted().unsynced_names() > UNSYNCED {
                for folder in trace::FOLDERS {
                    self.step(Op::SyncFolder(folder), told);
                }
            }
        }
        assert_eq!(self.sim.tree(), tree(&self.real.root), "{self:?}");
        self
    }

    fn step(&mut self, op: Op, told: &mut Counts) {
        let (expected, got) = (self.real.answer(&op), self.model.answer(&op));
        let verdict = match &expected {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        count(told, verdict);
        self.done.push(Step::Op(op));
        assert_eq!(got, expected, "the virtual disk, then the kernel, after {self:?}");
    }

    /// The power fails: what does the real disk show, and may it?
    fn judge(mut self, disk: &mut Disk, seen: &mut Counts, virtual_seen: &mut Counts) {
        let permitted = self.sim.permitted();
        disk.cut_power();
        self.real.close();
        disk.power_returns();
        let shown = tree(&self.real.root);
        match permitted.explain(&shown) {
            Ok(told) => told.into_iter().for_each(|what| count(seen, what)),
            Err(why) => panic!("{why}\nafter {self:?}"),
        }
        // The rules would not permit it if what is certain were not there, or were something else.
        for path in permitted.certain() {
            count(seen, "what is certain");
            let mut without = shown.clone();
            let bytes = without.remove(&path).flatten();
            assert!(
                permitted.explain(&without).is_err(),
                "{path:?} may be lost: {self:?}"
            );
            if let Some(mut bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                bytes[0] ^= 1;
                without.insert(path.clone(), Some(bytes));
                assert!(
                    permitted.explain(&without).is_err(),
                    "{path:?} may differ: {self:?}"
                );
            }
        }
        let _logs = self.sim.power_cut();
        let drawn = self.sim.tree();
        let lies_in = |path: &&PathBuf| path.parent().is_some_and(|above| drawn.contains_key(above));
        let lost = drawn.keys().skip(1).find(|path| !lies_in(path));
        assert_eq!(lost, None, "in no directory: {self:?}");
        match permitted.explain(&drawn) {
            Ok(told) => told.into_iter().for_each(|what| count(virtual_seen, what)),
            Err(why) => panic!("the virtual disk breaks its own rules: {why}\nafter {self:?}"),
        }
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "trace {}:", self.seed)?;
        self.done.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

/// All that is below a real directory, under the names that it has on the virtual disk.
fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(root, &mut |path, is_folder| {
        let relative = path.strip_prefix(root).expect("it lies below");
        // A path that ends in a slash would be another key.
        let name = Path::new(STATE_DIR).components().chain(relative.components());
        let bytes = (!is_folder).then(|| fs::read(path).expect("a file"));
        tree.insert(name.collect(), bytes);
    });
    tree
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(root, &mut |path, is_folder| {
        if !is_folder {
            files.push(path.to_owned());
        }
    });
    files.sort();
    files
}

/// Tells each path from here on, and whether it is a directory.
fn walk(path: &Path, tell: &mut dyn FnMut(&Path, bool)) {
    let is_folder = path.is_dir();
    tell(path, is_folder);
    if is_folder {
        for entry in fs::read_dir(path).expect("a directory") {
            walk(&entry.expect("a name").path(), tell);
        }
    }
}

/// Makes the kernel write its journal: a file beside the traces is synced.
fn write_journal(mount: &Path) {
    let path = mount.join("journal");
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .expect("a file");
    file.write_all(b"more")
        .and_then(|()| file.sync_all())
        .expect("a sync");
}
