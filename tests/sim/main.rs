//! The simulator: seed → run, without threads and without time. The agent's own cores and shells (but for sockets,
//! threads and clocks) work on a virtual disk, with a rude kubelet and a rude server; the oracle is the promise.
//!
//! ```text
//! sim --seeds N [--from S]     runs seeds S..S+N, prints what was reached; some of them twice: they must end alike.
//!                              Before that each deliberate bug runs on the seeds in `mutants.txt` that have found it
//! sim --seed S                 replays one, with its trace
//! sim --mutants [--seeds N]    switches deliberate bugs on, one by one: each must be found; prints a new `mutants.txt`
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the seeds come from the command line; runs are spread over threads; what they show is printed"
)]

mod again;
mod agent;
#[expect(
    dead_code,
    reason = "tests/it/crash/real_disk.rs judges real disks by the rules of this one"
)]
mod disk;
mod node;
mod oracle;
mod reached;
mod script;
mod shrink;
mod world;

use longshore::mutant::Mutant;
use script::Script;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use world::World;

/// What a run has shown.
struct Outcome {
    fingerprint: u64,
    violation: Option<String>,
    reached: BTreeMap<String, u64>,
}

/// What runs have reached, and the seeds that were violated.
type All = (BTreeMap<String, u64>, Vec<(u64, String)>);

fn run(script: Script, base: Instant, trace: bool) -> Outcome {
    let mut world = World::new(script, base);
    world.trace = trace;
    world.run();
    oracle::judge(&mut world);
    let mut reached = world.reached.clone();
    for (what, count) in world.disk.reached().iter().chain(&world.kubelet.steps) {
        *reached.entry(what.clone()).or_default() += count;
    }
    Outcome {
        fingerprint: world.fingerprint(),
        violation: world.violation,
        reached,
    }
}

/// Runs a seed again; when it fails, its shortest script, with what the agent says.
fn replay(script: Script, base: Instant) -> ExitCode {
    let seed = script.seed;
    let short = shrink::shrink(&script, |script| run(script.clone(), base, false).violation);
    tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stdout)
        .init();
    println!(
        "{:?} max_files {} conmon {} watch {}",
        short.knobs, short.max_files, short.conmon, short.watch
    );
    match run(short, base, true).violation {
        Some(violation) => {
            println!("VIOLATION seed {seed}: {violation}");
            ExitCode::FAILURE
        }
        None => {
            println!("sim: seed {seed} holds");
            ExitCode::SUCCESS
        }
    }
}

/// Runs seeds until some are violated: their numbers and what the oracle said of the first one.
fn violations(seeds: u64, base: Instant) -> BTreeMap<u64, String> {
    let next = AtomicU64::new(0);
    let found: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || found.lock().unwrap().len() >= KNOWN_SEEDS {
                        return;
                    }
                    if let Some(violation) = judged(seed, base) {
                        found.lock().unwrap().insert(seed, violation);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// What the oracle says of a run with a bug. A bug may also end in a panic; that is not the oracle's find.
fn judged(seed: u64, base: Instant) -> Option<String> {
    let ran = std::panic::catch_unwind(|| run(Script::new(seed), base, false));
    ran.ok()?.violation
}

/// Every so many seeds one is run twice.
const TWICE: u64 = 50;
/// So many seeds are kept for each bug.
const KNOWN_SEEDS: usize = 3;

/// Each deliberate bug must be found by the oracle within so many seeds. What is printed is the new list of known seeds.
fn mutants(seeds: u64, base: Instant) -> ExitCode {
    let mut survivors = 0;
    std::panic::set_hook(Box::new(|_| {}));
    println!("# Deliberate bug, seeds that find it: `sim --mutants` makes this list.");
    for mutant in Mutant::ALL {
        longshore::mutant::set(mutant);
        let found = violations(seeds, base);
        let numbers: Vec<String> = found.keys().map(u64::to_string).collect();
        match found.into_iter().next() {
            Some((_, violation)) => {
                let said = violation.lines().next().unwrap_or_default();
                println!("{mutant:?} {} # {}", numbers.join(" "), cut(said));
            }
            None => {
                survivors += 1;
                println!("# {mutant:?} SURVIVED {seeds} seeds");
            }
        }
    }
    longshore::mutant::set(Mutant::None);
    println!(
        "# {} of {} found, {:.1} s",
        Mutant::ALL.len() - survivors,
        Mutant::ALL.len(),
        base.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(survivors > 0))
}

/// Each deliberate bug on the seeds that have found it before; those that none of them finds any more are returned.
fn survivors(base: Instant) -> Vec<String> {
    let panics = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        longshore::mutant::set(mutant);
        let name = format!("{mutant:?}");
        let line = include_str!("mutants.txt")
            .lines()
            .find_map(|line| line.strip_prefix(&name));
        let Some(seeds) = line.and_then(|line| line.split('#').next()) else {
            println!("no seed is known that finds {name}");
            continue;
        };
        let mut seeds = seeds.split_whitespace().filter_map(|seed| seed.parse().ok());
        if !seeds.any(|seed| judged(seed, base).is_some()) {
            survivors.push(name);
        }
    }
    longshore::mutant::set(Mutant::None);
    std::panic::set_hook(panics);
    survivors
}

fn cut(text: &str) -> String {
    text.chars().take(110).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let base = Instant::now();
    if let Some(seed) = number("--seed") {
        return replay(Script::new(seed), base);
    }
    if arguments.iter().any(|argument| argument == "--mutants") {
        return mutants(number("--seeds").unwrap_or(2000), base);
    }
    let survivors = survivors(base);
    for name in &survivors {
        println!(
            "NOT FOUND {name}: none of its seeds in tests/sim/mutants.txt finds it; `--mutants` looks for others"
        );
    }
    let (from, seeds) = (number("--from").unwrap_or(0), number("--seeds").unwrap_or(200));
    let next = AtomicU64::new(from);
    let all: Mutex<All> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let mut outcome = run(Script::new(seed), base, false);
                    if seed.is_multiple_of(TWICE) {
                        let again = run(Script::new(seed), base, false);
                        if again.fingerprint != outcome.fingerprint {
                            outcome
                                .violation
                                .get_or_insert("two runs of this seed differ".into());
                        }
                    }
                    let mut all = all.lock().unwrap();
                    for (what, count) in outcome.reached {
                        *all.0.entry(what).or_default() += count;
                    }
                    if let Some(violation) = outcome.violation {
                        all.1.push((seed, violation));
                    }
                }
            });
        }
    });
    let (reached, mut violations) = all.into_inner().unwrap();
    for (what, count) in &reached {
        println!("reached {count:8} {what}");
    }
    violations.sort();
    let missing = if seeds >= reached::SEEDS {
        reached::missing(&reached)
    } else {
        Vec::new()
    };
    for what in &missing {
        println!("NOT REACHED {what}");
    }
    for (seed, violation) in violations.iter().take(20) {
        println!("VIOLATION seed {seed}: {violation}");
    }
    println!(
        "sim: {seeds} seeds, {} violations, {:.1} s",
        violations.len(),
        base.elapsed().as_secs_f64()
    );
    let failed = !violations.is_empty() || !missing.is_empty() || !survivors.is_empty();
    ExitCode::from(u8::from(failed))
}
