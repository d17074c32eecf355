//! Random damage of a state directory whose spool holds 64 MB of an outage: the agent starts as fast as ever, says what is
//! damaged, delivers everything else, and what is lost is counted.

use super::flood::Flood;
use crate::agent::Lodging;
use crate::traffic::{Arrivals, seed, tell};
use longshore_kit::chance::Chance;
use longshore_kit::lines::find_messages;
use longshore_kit::rude_elasticsearch::{Fault, Keeping, Odds, Refused, RudeElasticsearch};
use longshore_kit::simkubelet::{Node, NodeConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Starts on a damaged directory, unless `LONGSHORE_DAMAGES` says otherwise.
const DAMAGES: u32 = 12;
const SPOOL: u64 = 64 << 20;
/// Lines in one segment, at most.
const SEGMENT_LINES: u64 = (8 << 20) / 8_000;
const FLOOD: u64 = 40_000_000;
const CONTAINERS: usize = 4;
/// A start may take so long, or so many times what one takes without damage, on a machine that is busy.
const START: Duration = Duration::from_secs(1);
const SLOWER: u32 = 4;

/// Red when a start fails for damage, when a frame behind damage is not found, or when what is lost is not told.
#[test]
fn crash_damage_of_a_large_spool() {
    let damages = std::env::var("LONGSHORE_DAMAGES").map_or(DAMAGES, |damages| {
        damages.parse().expect("LONGSHORE_DAMAGES is a number")
    });
    let mut scene = Scene::new();
    let sound = scene.round(&[]);
    tell(&format!("without damage: {sound}"));
    assert_eq!((sound.lost, sound.told), (0, Told::default()));
    for number in 1..=damages {
        let damage = scene.random_damage();
        let round = scene.round(&damage);
        tell(&format!("{number}: {damage:?}: {round}"));
        let silent = damage
            .iter()
            .filter(|(file, harm)| harm.leaves_no_trace(&scene.sound.join(file)))
            .count() as u64;
        assert!(
            round
                .told
                .covers(round.lost.saturating_sub(silent * SEGMENT_LINES)),
            "lost and not counted: {round}; its errors:\n{}",
            round.errors.join("\n")
        );
        assert!(
            round.start <= START.max(sound.start * SLOWER),
            "a slow start: {round}"
        );
    }
}

/// What is done to one file.
#[derive(Clone, Debug)]
enum Harm {
    /// These bits change.
    Flip(Vec<u64>),
    /// It ends here.
    Cut(u64),
    /// It holds NUL bytes from here on, so many.
    Nul(u64, u64),
    Delete,
}

/// How a start and what followed went.
struct Round {
    start: Duration,
    /// Lines that did not arrive.
    lost: u64,
    again: u64,
    told: Told,
    /// Of its log.
    errors: Vec<String>,
}

/// What the agent says of its losses.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Told {
    /// Documents that it counts.
    documents: u64,
    /// It says that more may be lost.
    unknown: bool,
}

impl Told {
    /// From the lines of its log, each of which names the file and the byte, if it still has bytes.
    fn of(errors: &[String]) -> Told {
        let mut told = Told::default();
        for line in errors {
            told.unknown |=
                line.contains("unknown number of documents") || line.contains("losses may be forgotten");
        }
        for line in errors.iter().filter(|line| line.contains(" lost")) {
            told.documents += number_before(line, " documents").unwrap_or(0);
            let field = line.split("documents=").nth(1).unwrap_or_default();
            let digits: String = field.chars().take_while(char::is_ascii_digit).collect();
            told.documents += digits.parse().unwrap_or(0);
            let is_placed = line.contains("byte") || line.contains("the file is gone");
            assert!(is_placed, "a place is named: {line}");
        }
        told
    }

    fn covers(&self, lost: u64) -> bool {
        self.unknown || lost <= self.documents
    }
}

fn number_before(line: &str, what: &str) -> Option<u64> {
    let before = line.split(what).next()?;
    before.rsplit(' ').next()?.parse().ok()
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Round {
            start,
            lost,
            again,
            told,
            ..
        } = self;
        let unknown = if told.unknown {
            " and an unknown number"
        } else {
            ""
        };
        write!(
            out,
            "started in {start:.0?}, {lost} lines lost, {} documents counted{unknown}, {again} sent twice",
            told.documents
        )
    }
}

struct Scene {
    chance: Chance,
    lodging: Lodging,
    /// A copy of the state directory.
    sound: PathBuf,
    /// Lines of each stream.
    written: Vec<(String, u64)>,
}

impl Scene {
    /// The agent fills its spool, and is killed.
    fn new() -> Scene {
        let server = Arc::new(RudeElasticsearch::start());
        server.keep(Keeping::Nothing);
        server.fault(Fault::Refuse(Refused::Unavailable503), Odds::Always);
        let arrivals = Arrivals::of(&server);
        let mut lodging = Lodging::new(&server.url(), "logs-%Y.%m.%d");
        // So that its bytes are as many as those of the lines.
        lodging.config["sink"]["elasticsearch"]["compression"] = 0.into();
        lodging.config["batch"]["max_bytes"] = "1MiB".into();
        lodging.config["spool"]["segment_bytes"] = "8MiB".into();
        let config = NodeConfig {
            max_files: 1_000,
            ..NodeConfig::default()
        };
        let node = Node::with(lodging.root(), config).expect("a node");
        let mut agent = lodging.start();
        let flood = Flood::start(&node, CONTAINERS, FLOOD, &arrivals, &server);
        agent.wait_for("a large spool", |agent| {
            agent.status().0["spool"]["bytes"].as_u64() >= Some(SPOOL)
        });
        flood.stop();
        agent.kill();
        let sound = lodging.root().join("sound");
        copy(&lodging.state(), &sound);
        Scene {
            chance: Chance::new(seed("crash_damage_of_a_large_spool")),
            sound,
            written: arrivals.written(),
            lodging,
        }
    }

    /// One to four files of the directory, and what is done to each.
    fn random_damage(&mut self) -> Vec<(PathBuf, Harm)> {
        let mut files = Vec::new();
        list(&self.sound, Path::new(""), &mut files);
        let count = 1 + self.chance.below(4);
        (0..count)
            .map(|_| {
                let (file, len) = files[self.chance.below(files.len() as u64) as usize].clone();
                (file, self.harm(len))
            })
            .collect()
    }

    fn harm(&mut self, len: u64) -> Harm {
        let at = self.chance.below(len);
        match self.chance.below(8) {
            0..=3 => {
                let flips = 1 + self.chance.below(3);
                Harm::Flip((0..flips).map(|_| self.chance.below(len * 8)).collect())
            }
            4 => Harm::Cut(at),
            5 => Harm::Nul(at, self.chance.below(len - at).min(64 << 10)),
            6 => Harm::Nul(0, len),
            _ => Harm::Delete,
        }
    }

    /// An agent starts on the damaged directory, and a server that knows nothing takes all that it has.
    fn round(&mut self, damage: &[(PathBuf, Harm)]) -> Round {
        self.lodging.forget_state();
        copy(&self.sound, &self.lodging.state());
        for (file, harm) in damage {
            harm.do_to(&self.lodging.state().join(file));
        }
        let server = RudeElasticsearch::start();
        server.keep(Keeping::Ids);
        let arrived = Arc::new(Mutex::new(BTreeMap::<(String, u64), u32>::new()));
        let tally = Arc::clone(&arrived);
        server.on_document(move |_, _, source| {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            for found in find_messages(source) {
                let found = found.expect("whole messages");
                *tally.entry((found.stream.to_owned(), found.seq)).or_default() += 1;
            }
        });
        self.lodging.config["sink"]["elasticsearch"]["hosts"] = serde_json::json!([server.url()]);
        let began = Instant::now();
        let mut agent = self.lodging.start();
        agent.wait_for("it to be ready", |agent| {
            agent.get("/ready").is_ok_and(|(code, _)| code == 200)
        });
        let start = began.elapsed();
        agent.wait_for("it to come to rest", |agent| {
            let status = agent.status();
            status.is_at_rest() && status.ledger("read") + status.ledger("recovered") > 0
        });
        let ended = agent.terminate();
        ended.assert_clean();
        let is_error = |line: &String| line.contains("ERROR");
        let errors: Vec<String> = ended.log.into_iter().filter(is_error).collect();
        let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            arrived.values().all(|count| *count == 1),
            "repeats are answered 409"
        );
        let written: u64 = self.written.iter().map(|(_, lines)| lines).sum();
        Round {
            start,
            lost: written - arrived.len() as u64,
            again: server.duplicates_409(),
            told: Told::of(&errors),
            errors,
        }
    }
}

impl Harm {
    /// Whether a segment is removed that was made in the last second before the death: nothing tells that it was there.
    fn leaves_no_trace(&self, file: &Path) -> bool {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(number) = name.strip_suffix(".segment") else {
            return false;
        };
        let record = fs::read_to_string(file.with_file_name("delivered")).expect("the record of the spool");
        let named = record.lines().filter_map(|line| {
            let (_, segment) = line.split_once(" segment ")?;
            segment.split(' ').next()?.parse::<u64>().ok()
        });
        let number: u64 = number.parse().expect("segments are numbered");
        matches!(self, Harm::Delete) && named.max() < Some(number)
    }

    fn do_to(&self, path: &Path) {
        if let Harm::Delete = self {
            // It may have been deleted before.
            let _ = fs::remove_file(path);
            return;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
            return;
        };
        let done = match self {
            Harm::Flip(bits) => bits.iter().try_for_each(|bit| {
                let mut byte = [0];
                file.read_at(&mut byte, bit / 8)?;
                byte[0] ^= 1 << (bit % 8);
                file.write_all_at(&byte, bit / 8)
            }),
            Harm::Cut(at) => file.set_len(*at),
            Harm::Nul(at, len) => file.write_all_at(&vec![0; *len as usize], *at),
            Harm::Delete => Ok(()),
        };
        done.expect("a file can be damaged");
    }
}

/// The files that hold anything, below a directory, with their sizes.
fn list(root: &Path, below: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(root.join(below)).expect("a directory").flatten() {
        let path = below.join(entry.file_name());
        let metadata = entry.metadata().expect("metadata");
        if metadata.is_dir() {
            list(root, &path, files);
        } else if metadata.len() > 0 {
            files.push((path, metadata.len()));
        }
    }
    files.sort();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
