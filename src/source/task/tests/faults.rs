//! A file system that fails for a while: afterwards every line is there once, and nothing is behind.
#![expect(clippy::print_stdout, reason = "the figures are the test's result")]

use super::*;
use crate::disk::{Disk, Entry as Name, FileSystem, How, OpenFile, Space, Stat};
use crate::source::tail::RECENT_BYTES;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The operations of the reader on its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    List,
    Stat,
    Open,
    Read,
    Size,
    All,
}

/// What fails now, and how often it did.
#[derive(Debug, Default)]
struct Plan {
    failing: Mutex<Option<(Op, Errno)>>,
    /// A descriptor that failed once fails for ever.
    sticky: AtomicBool,
    hits: std::sync::atomic::AtomicU64,
    /// Descriptors that are open now give no new bytes, and no error, for ever.
    mute: AtomicBool,
}

impl Plan {
    fn check(&self, op: Op) -> io::Result<()> {
        match *self.failing.lock().unwrap() {
            Some((failing, errno)) if failing == op || failing == Op::All => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Err(errno.into())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Faulty(Disk, Arc<Plan>);

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn OpenFile>,
    plan: Arc<Plan>,
    spoiled: Mutex<Option<Errno>>,
    mute: AtomicBool,
}

impl FaultyFile {
    fn check(&self, op: Op) -> io::Result<()> {
        if let Some(errno) = *self.spoiled.lock().unwrap() {
            return Err(errno.into());
        }
        let result = self.plan.check(op);
        if let (Err(error), true) = (&result, self.plan.sticky.load(Ordering::Relaxed)) {
            *self.spoiled.lock().unwrap() = Errno::from_io_error(error);
        }
        result
    }
}

impl FileSystem for Faulty {
    fn list(&self, folder: &Path) -> io::Result<Vec<Name>> {
        self.1.check(Op::List)?;
        self.0.list(folder)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.1.check(Op::Stat)?;
        self.0.stat(path)
    }
    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.link(path)
    }
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.canonical(path)
    }
    fn open_beneath(&self, root: &Path, relative: &Path) -> io::Result<Box<dyn OpenFile>> {
        self.1.check(Op::Open)?;
        Ok(Box::new(FaultyFile {
            inner: self.0.open_beneath(root, relative)?,
            plan: Arc::clone(&self.1),
            spoiled: Mutex::default(),
            mute: AtomicBool::new(false),
        }))
    }
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        self.0.open(path, how)
    }
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.0.make_folder(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.sync_folder(folder)
    }
    fn space(&self, folder: &Path) -> io::Result<Space> {
        self.0.space(folder)
    }
}

impl OpenFile for FaultyFile {
    fn stat(&self) -> io::Result<Stat> {
        self.check(Op::Size)?;
        self.inner.stat()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(Op::Read)?;
        self.mute
            .fetch_or(self.plan.mute.load(Ordering::Relaxed), Ordering::Relaxed);
        if self.mute.load(Ordering::Relaxed) {
            let room = buffer.len().min(RECENT_BYTES);
            return self.inner.read_at(&mut buffer[..room], offset);
        }
        self.inner.read_at(buffer, offset)
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.inner.cut(len)
    }
    fn allocate(&mut self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

/// What happens to the file while the disk fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scene {
    Append,
    FirstRead,
    Rotate,
    Compress,
    /// The agent dies and starts again.
    Crash,
    /// The file was closed for lack of descriptors.
    Closed,
    /// A compressed backlog is being read.
    Backlog,
}

const SCENES: [Scene; 7] = [
    Scene::Append,
    Scene::FirstRead,
    Scene::Rotate,
    Scene::Compress,
    Scene::Crash,
    Scene::Closed,
    Scene::Backlog,
];
const ROTATED: &str = "0.log.20261121-100000";
/// The promise: so long after the end of the fault nothing is behind.
const HEALED: Duration = Duration::from_secs(30);

/// A bench whose clock jumps.
struct Virtual {
    bench: Bench,
    plan: Arc<Plan>,
    start: Clock,
    passed: Duration,
}

impl Virtual {
    fn new(scene: Scene) -> Virtual {
        let plan = Arc::new(Plan::default());
        let disk = Arc::new(Faulty(crate::disk::kernel(), Arc::clone(&plan)));
        let bench = Bench::on(disk, |config| {
            config.rescan_interval = Duration::from_secs(5);
            if scene == Scene::Closed {
                config.max_open_files = 1;
            }
        });
        Virtual {
            bench,
            plan,
            start: clock(),
            passed: Duration::ZERO,
        }
    }

    fn turn(&mut self) {
        let passed = self.passed.as_millis() as u64;
        self.bench.turn_at(Clock {
            now: self.start.now + self.passed,
            unix_ms: self.start.unix_ms + passed,
        });
        self.passed += TICK;
    }

    /// Turns for so long, or until `done`.
    fn run(&mut self, limit: Duration, done: impl Fn(&Bench) -> bool) -> Duration {
        let begun = self.passed;
        while self.passed - begun < limit && !done(&self.bench) {
            self.turn();
        }
        self.passed - begun
    }

    fn during(&mut self, scene: Scene) {
        let bench = &mut self.bench;
        match scene {
            Scene::Backlog => {}
            Scene::Rotate | Scene::Compress => {
                bench.log("0.log", 5..8);
                bench.rename("0.log", ROTATED);
                bench.log("0.log", 8..10);
                if scene == Scene::Compress {
                    bench.gzip(ROTATED);
                }
            }
            _ => bench.log("0.log", 5..10),
        }
        if scene == Scene::Crash {
            bench.crash();
        }
    }
}

/// One fault of one length; gives the virtual time until nothing was behind, and whether it was struck at all.
fn strike(op: Op, errno: Errno, scene: Scene, sticky: bool, length: Duration) -> (Duration, bool, u64) {
    let mut world = Virtual::new(scene);
    let told = format!("{op:?} {errno:?} {scene:?} sticky={sticky} {length:?}");
    world.bench.log("0.log", 0..5);
    match scene {
        Scene::FirstRead => {}
        Scene::Backlog => {
            world.bench.log("0.log", 5..10);
            world.bench.rename("0.log", ROTATED);
            world.bench.gzip(ROTATED);
        }
        Scene::Closed => {
            let other = world.bench.home.path().join("pods/shop_web_u2/app");
            fs::create_dir_all(&other).unwrap();
            fs::write(other.join("0.log"), "").unwrap();
            world.run(HEALED, |bench| bench.came.len() == 5);
        }
        _ => drop(world.run(HEALED, |bench| bench.came.len() == 5)),
    }
    world.run(Duration::from_secs(2), |_| false);
    *world.plan.failing.lock().unwrap() = Some((op, errno));
    world.plan.sticky.store(sticky, Ordering::Relaxed);
    world.during(scene);
    world.run(length, |_| false);
    let struck = world.plan.hits.load(Ordering::Relaxed) > 0;
    *world.plan.failing.lock().unwrap() = None;
    world.bench.log("0.log", 10..12);
    let healed = world.run(HEALED, |bench| bench.came.len() == 12);
    assert!(
        world.bench.came.len() == 12 && healed <= HEALED,
        "{told}: {:?}",
        world.bench.messages()
    );
    world.run(Duration::from_secs(70), |_| false);
    let mut messages = world.bench.messages();
    messages.sort_by_key(|text| text[1..].parse::<u32>().unwrap());
    let expected: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
    assert_eq!(messages, expected, "{told}");
    assert_eq!(world.bench.lost(), [], "{told}");
    let status = world.bench.source.desk.board.reader().clone();
    assert_eq!(status.unread_bytes, 0, "{told}");
    let problems: Vec<_> = status
        .files
        .iter()
        .filter_map(|file| file.problem.clone())
        .collect();
    assert_eq!(problems, Vec::<String>::new(), "{told}");
    (healed, struck, status.reopened_files)
}

/// Red without the audit (a spoiled descriptor), when an error in `LogFolders::files` is taken for a file that is gone, when
/// `Instance::marks` takes an unreadable file for a new one, or `GzipFile::read` an error of the disk for damage.
#[test]
fn whatever_the_disk_says_for_a_while_every_line_comes_once_and_soon_after() {
    let ops = [Op::List, Op::Stat, Op::Open, Op::Read, Op::Size, Op::All];
    let errors = [Errno::ACCESS, Errno::IO, Errno::STALE, Errno::NOENT];
    let (mut runs, mut struck, mut reopened, mut longest) = (0, 0, 0, Duration::ZERO);
    for op in ops {
        for errno in errors {
            for scene in SCENES {
                for (sticky, seconds) in [(false, 2), (true, 20), (false, 50)] {
                    let (healed, hit, opened) =
                        strike(op, errno, scene, sticky, Duration::from_secs(seconds));
                    runs += 1;
                    struck += u32::from(hit);
                    reopened += opened;
                    longest = longest.max(healed);
                }
            }
        }
    }
    println!(
        "faults: {runs} runs, {struck} struck, {reopened} files opened again, longest time to heal {longest:?}"
    );
    // A file that is open needs no listing and no opening: not every fault can be felt.
    assert!(struck * 5 >= runs * 4 && reopened > 0);
}

/// Red without the audit: no error tells of this fault.
#[test]
fn a_file_that_stands_still_without_an_error_is_opened_again_and_told() {
    let mut world = Virtual::new(Scene::Append);
    world.bench.log("0.log", 0..5);
    world.run(HEALED, |bench| bench.came.len() == 5);
    world.plan.mute.store(true, Ordering::Relaxed);
    world.bench.log("0.log", 5..9);
    world.run(TICK * 20, |_| false);
    world.plan.mute.store(false, Ordering::Relaxed);
    let told = |bench: &Bench| {
        let status = bench.source.desk.board.reader();
        let told = status.files.iter().any(|file| {
            file.problem
                .as_ref()
                .is_some_and(|text| text.contains("stands still"))
        });
        told && status.reopened_files == 1
    };
    let healed = world.run(HEALED, |bench| bench.came.len() == 9 || told(bench));
    println!("audit: opened again after {healed:?} of standing still");
    assert!(healed < HEALED);
    world.bench.source.desk.active = true;
    world.run(HEALED, |bench| bench.came.len() == 9);
    assert_eq!(world.bench.messages().len(), 9);
    assert_eq!(world.bench.source.desk.counts.reopened, 1);
}

/// The virtual time and the log that is written in it.
#[derive(Clone)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Red without `Capped`: each file tells each new error, and the errors change all the time.
#[test]
fn ten_minutes_of_all_errors_at_once_are_a_log_of_one_kib_per_second_without_a_payload() {
    use crate::telemetry::logging::{Capped, dispatch};
    const SECONDS: u64 = 600;
    let mut world = Virtual::new(Scene::Append);
    for number in 10..60 {
        let app = world
            .bench
            .home
            .path()
            .join(format!("pods/shop_web_u{number}/app"));
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("0.log"), line(0).repeat(20) + "secret payload\n").unwrap();
    }
    let passed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (start, page) = (world.start.now, Page(Arc::default()));
    let clock = {
        let passed = Arc::clone(&passed);
        move || start + Duration::from_millis(passed.load(Ordering::Relaxed))
    };
    let log = config::Log {
        level: config::LogLevel::Info,
        format: config::LogFormat::Text,
    };
    let writer = page.clone();
    let capped = Capped::new(&log, move || writer.clone(), clock);
    let errors = [Errno::ACCESS, Errno::IO, Errno::STALE, Errno::NOENT];
    let ops = [Op::All, Op::List, Op::Stat, Op::Open, Op::Read, Op::Size];
    tracing::dispatcher::with_default(&dispatch(&log, capped), || {
        for turn in 0..SECONDS * 10 {
            let (op, errno) = (ops[(turn / 7 % 6) as usize], errors[(turn / 11 % 4) as usize]);
            *world.plan.failing.lock().unwrap() = Some((op, errno));
            // Tests of other threads, which log to nobody, may have switched a call site off in the meantime.
            if turn % 100 == 0 {
                tracing::callsite::rebuild_interest_cache();
            }
            world.turn();
            passed.store(world.passed.as_millis() as u64, Ordering::Relaxed);
        }
    });
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let errors = world.bench.source.desk.counts.read_errors;
    println!(
        "own noise: {errors} errors in {SECONDS} virtual seconds, {} bytes of log, {:.0} per second",
        text.len(),
        text.len() as f64 / SECONDS as f64
    );
    assert!(errors > 10_000 && text.contains("cannot read") && text.contains("were left out"));
    assert!(text.len() as u64 <= SECONDS * 1024);
    assert!(!text.contains("secret payload"));
}
