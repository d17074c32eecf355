//! Logs of a real conmon, rotated as kubelet does it.

use super::Scene;
use crate::agent::Agent;
use flate2::Compression;
use flate2::write::GzEncoder;
use longshore_kit::conmon::{Conmon, log_path};
use longshore_kit::lines::Sequenced;
use longshore_kit::verifier::Verifier;
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file is rotated at this size, and kubelet's default number of files is kept.
const MAX_SIZE: u64 = 64 << 10;
const MAX_FILES: usize = 5;
/// Lines of the first container and of the second, each on stdout and, fewer, on stderr.
const FIRST: Range<u64> = 0..8_000;
const SECOND: Range<u64> = 8_000..9_000;
/// Lines that are written at once.
const BURST: u64 = 50;
/// One line in so many is longer than conmon reads at once, and in bytes longer than 16 KiB.
const LONG_EVERY: u64 = 500;
const LONG_CHARACTERS: usize = 20_000;

/// What a container writes: lines of all lengths on both streams, and at its end a line without a newline on each.
fn script(lines: &Range<u64>) -> String {
    let Range { start, end } = lines;
    format!(
        r#"
        n={start}
        while [ $n -lt {end} ]; do
            awk -v from=$n 'BEGIN {{
                xs = sprintf("%200s", ""); gsub(/ /, "x", xs)
                long = sprintf("%{LONG_CHARACTERS}s", ""); gsub(/ /, "ü", long)
                for (n = from; n < from + {BURST}; n++)
                    printf "out %d %s\n", n, n % {LONG_EVERY} == 7 ? long : "zwölf 日本語 🙂 " substr(xs, 1, n % 200)
            }}'
            printf 'err %d \303(\377 bytes that are no UTF-8\n' $n 1>&2
            usleep 20000
            n=$((n + {BURST}))
        done
        printf 'out-last %d without a newline' {start}
        printf 'err-last %d without a newline' {start} 1>&2
        "#
    )
}

/// The line of a stream with this number, as its document has it.
fn expected(stream: &str, n: u64) -> String {
    match stream {
        "out" if n % LONG_EVERY == 7 => format!("out {n} {}", "ü".repeat(LONG_CHARACTERS)),
        "out" => format!("out {n} zwölf 日本語 🙂 {}", "x".repeat((n % 200) as usize)),
        "err" => format!("err {n} \u{fffd}(\u{fffd} bytes that are no UTF-8"),
        _ => format!("{stream} {n} without a newline"),
    }
}

/// The container's files as kubelet sees them, and their bytes.
struct Kubelet {
    log: PathBuf,
    /// Rotated files with their sizes, oldest first.
    rotated: Vec<(PathBuf, u64)>,
    /// How many of them are removed.
    removed: usize,
}

impl Kubelet {
    fn new(log: &Path) -> Kubelet {
        Kubelet {
            log: log.to_owned(),
            rotated: Vec::new(),
            removed: 0,
        }
    }

    /// One pass over a file that has grown too large: removes the oldest, compresses the plain ones, rotates.
    ///
    /// kubelet looks every ten seconds, so that a file is a minute old before it goes. Here it goes when it was read.
    fn pass(&mut self, conmon: &Conmon, agent: &mut Agent) {
        while self.rotated.len() - self.removed > MAX_FILES - 2 {
            let sizes = self.rotated.iter().map(|(_, size)| size);
            let bytes: u64 = sizes.take(self.removed + 1).sum();
            agent.wait_for("the oldest file to be read", |agent| {
                agent.status().ledger("read") >= bytes
            });
            fs::remove_file(compressed(&self.rotated[self.removed].0)).unwrap();
            self.removed += 1;
        }
        for (plain, _) in self.rotated.iter().filter(|(plain, _)| plain.exists()) {
            compress(plain).unwrap();
        }
        // A container that ends at this moment keeps its log; the last pass has been made then.
        if let Ok(rotated) = conmon.rotate() {
            let size = fs::metadata(&rotated).unwrap().len();
            self.rotated.push((rotated, size));
        }
    }

    /// Bytes of all files that there have been.
    fn bytes(&self) -> u64 {
        let rotated: u64 = self.rotated.iter().map(|(_, size)| size).sum();
        rotated + fs::metadata(&self.log).unwrap().len()
    }
}

fn compressed(plain: &Path) -> PathBuf {
    with_end(plain, ".gz")
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

/// Through a `.tmp` that becomes the `.gz`; then the plain file goes.
fn compress(plain: &Path) -> io::Result<()> {
    let unfinished = with_end(plain, ".tmp");
    let mut gzip = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(plain)?, &mut gzip)?;
    gzip.finish()?;
    fs::rename(unfinished, compressed(plain))?;
    fs::remove_file(plain)
}

/// Runs a container to its end, with a kubelet that rotates its log. Gives the bytes of its files, and the rotations.
fn run_container(log: &Path, lines: &Range<u64>, agent: &mut Agent) -> (u64, usize) {
    let conmon = Conmon::run_script(log, &script(lines)).unwrap_or_else(|error| panic!("{error}"));
    let mut kubelet = Kubelet::new(log);
    while !conmon.has_ended() {
        let is_full = || fs::metadata(log).is_ok_and(|live| live.len() >= MAX_SIZE);
        agent.wait_for("a full file, or the end", |_| is_full() || conmon.has_ended());
        if is_full() {
            kubelet.pass(&conmon, agent);
        }
    }
    assert_eq!(conmon.wait(Duration::from_secs(60)).unwrap(), 0);
    (kubelet.bytes(), kubelet.rotated.len())
}

/// Red without `plan_cuts` in `Instance::serve` (the last lines of the second container never end), or when a file is given
/// up at its rename.
#[test]
fn e2e_conmon_lines_arrive_once_through_rotation_and_restart() {
    let mut scene = Scene::new("conmon");
    scene.lodging.config["source"]["partial_idle"] = "1s".into();
    let mut agent = scene.lodging.start();
    let pod = ["shop", "web-0", "6f1d3b1e-9a34-4c0f-8f0e-0d4c7c5e2a11"];
    let log = |restart| log_path(&scene.lodging.pods(), pod, "app", restart);
    let (first, rotations) = run_container(&log(0), &FIRST, &mut agent);
    assert!(rotations > MAX_FILES, "{rotations} rotations: files were removed");
    let (second, _) = run_container(&log(1), &SECOND, &mut agent);
    let status = agent.wait_until_delivered(first + second);
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), first + second);
    agent.terminate().assert_clean();

    let mut verifier = Verifier::new();
    for lines in [FIRST, SECOND] {
        verifier.sent_range("out", lines.clone());
        lines
            .clone()
            .step_by(BURST as usize)
            .for_each(|n| verifier.sent("err", n));
        verifier.sent("out-last", lines.start);
        verifier.sent("err-last", lines.start);
    }
    for document in scene.documents() {
        verifier.arrived_sequenced(&recognised(&document["_source"]));
    }
    verifier.assert_exactly_once();
}

/// Which line a document holds, after looking at every byte of it.
fn recognised(source: &Value) -> Sequenced<'_> {
    let text = source["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no message in {source}"));
    let mut words = text.split(' ');
    let stream = words.next().unwrap_or_default();
    let seq = words
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no number in {text:?}"));
    assert!(text == expected(stream, seq), "{text:?}");
    let from = if stream.starts_with("out") {
        "stdout"
    } else {
        "stderr"
    };
    let tag = if stream.ends_with("last") { "P" } else { "F" };
    assert_eq!(
        (&source["stream"], &source["logtag"]),
        (&from.into(), &tag.into()),
        "{text:?}"
    );
    let flags = match stream {
        "err" => "replaced_utf8".into(),
        "out-last" | "err-last" => "partial".into(),
        _ => Value::Null,
    };
    assert_eq!(source["longshore"]["flags"][0], flags, "{text:?}");
    Sequenced {
        stream,
        seq,
        sent_ns: 0,
        len: text.len(),
    }
}
