//! The simulator: seed → run, without threads and without time. The agent's own cores and shells (but for sockets,
//! threads and clocks) work on a virtual disk, with a rude kubelet and a rude server; the oracle is the promise.
//!
//! ```text
//! sim --seeds N [--from S]     runs seeds S..S+N, prints what was reached
//! sim --seed S                 replays one, with its trace
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "the seeds come from the command line; runs are spread over threads"
)]

mod agent;
mod disk;
mod node;
mod oracle;
mod script;
mod shrink;
mod world;

use script::Script;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use world::World;

/// What a run has shown.
struct Outcome {
    violation: Option<String>,
    reached: BTreeMap<String, u64>,
}

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
    let (from, seeds) = (number("--from").unwrap_or(0), number("--seeds").unwrap_or(200));
    let next = AtomicU64::new(from);
    let all: Mutex<(BTreeMap<String, u64>, Vec<(u64, String)>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = run(Script::new(seed), base, false);
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
    for (seed, violation) in violations.iter().take(20) {
        println!("VIOLATION seed {seed}: {violation}");
    }
    println!(
        "sim: {seeds} seeds, {} violations, {:.1} s",
        violations.len(),
        base.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(!violations.is_empty()))
}
