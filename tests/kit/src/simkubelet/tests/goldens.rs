//! The same scenes that kubelet's own rotation was recorded in, and its recorded steps (`tests/golden/kubelet`).

use super::*;
use std::sync::Mutex;

/// A recorded scene.
struct Golden {
    name: String,
    max_files: usize,
    /// Files that are there before.
    there: Vec<String>,
    /// Every change of a name or file, in order, and what the runtime was asked.
    steps: Vec<String>,
    /// Files that are there afterwards.
    left: Vec<String>,
}

fn goldens() -> Vec<Golden> {
    let path = format!("{}/../golden/kubelet/rotation.txt", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    text.split("# ").skip(1).map(parse).collect()
}

fn parse(scene: &str) -> Golden {
    let mut lines = scene.lines().filter(|line| !line.is_empty());
    let mut golden = Golden {
        name: lines.next().unwrap().to_owned(),
        max_files: 0,
        there: Vec::new(),
        steps: Vec::new(),
        left: Vec::new(),
    };
    for line in lines {
        match line.split_once(' ').unwrap() {
            ("max_files", number) => golden.max_files = number.parse().unwrap(),
            ("there", name) => golden.there.push(name.to_owned()),
            ("left", name) => golden.left.push(name.to_owned()),
            _ => golden.steps.push(line.to_owned()),
        }
    }
    golden
}

/// The real disk, which tells what is done to log files.
#[derive(Debug, Default)]
struct Telling {
    steps: Mutex<Vec<String>>,
}

impl Telling {
    fn tell(&self, verb: &str, paths: &[&Path]) {
        if paths[0].to_string_lossy().contains("/pods/") {
            let names: Vec<String> = paths
                .iter()
                .map(|path| levelled(path.file_name().unwrap()))
                .collect();
            self.steps
                .lock()
                .unwrap()
                .push(format!("{verb} {}", names.join(" ")));
        }
    }
}

/// The stamp of this moment is `NOW`; the others are from 1970.
fn levelled(name: &std::ffi::OsStr) -> String {
    let name = name.to_string_lossy();
    match name.strip_prefix("0.log.2") {
        Some(rest) => format!("0.log.NOW{}", &rest["0260101-000000".len()..]),
        None => name.into_owned(),
    }
}

impl NodeDisk for Telling {
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_dirs(path)
    }

    fn open_append(&self, path: &Path, mode: u32) -> io::Result<Box<dyn NodeFile>> {
        self.tell("reopen", &[path]);
        RealDisk.open_append(path, mode)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
        self.tell("write", &[path]);
        RealDisk.write(path, bytes, like)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell("rename", &[from, to]);
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tell("remove", &[path]);
        RealDisk.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_tree(path)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        RealDisk.symlink(target, link)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.read_link(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.names(dir)
    }
}

/// Red when a step of `rotation.rs` is left out, or comes before another one.
#[test]
fn every_step_of_a_rotation_is_the_one_of_the_real_kubelet() {
    let goldens = goldens();
    assert_eq!(goldens.len(), 12);
    for golden in goldens {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Telling::default());
        let config = NodeConfig {
            max_files: golden.max_files,
            ..NodeConfig::default()
        };
        let node = Node::on(Arc::clone(&disk) as Arc<dyn NodeDisk>, dir.path(), config).unwrap();
        node.set_clock(1_767_225_600);
        let mut log = node.pod("shop", "web-0", UID).container("app").unwrap();
        for name in &golden.there {
            fs::write(log.dir().join(name), "a line\n").unwrap();
        }
        disk.steps.lock().unwrap().clear();
        match golden.name.as_str() {
            "reopen fails" => {
                log.remove_unused().unwrap();
                log.remove_excess().unwrap();
                while log.compress_next().unwrap().is_some() {}
                log.rotate_rename().unwrap();
                // The runtime is asked, and cannot.
                disk.tell("reopen", &[&log.live_path()]);
                log.rotate_rename_back().unwrap();
            }
            "an instance is removed" => log.remove_instance(0).unwrap(),
            _ => drop(log.rotate().unwrap()),
        }
        assert_eq!(*disk.steps.lock().unwrap(), golden.steps, "{}", golden.name);
        let left: Vec<String> = files(&log).iter().map(|name| levelled(name.as_ref())).collect();
        assert_eq!(left, golden.left, "{}", golden.name);
    }
}
