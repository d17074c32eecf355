//! `longshore dead-letter resend` beside an agent that goes on refusing lines, and killed again and again.

use crate::agent::{Lodging, PATIENCE, binary};
use crate::traffic::{Arrivals, Containers, Traffic, seed, tell};
use longshore_kit::chance::Chance;
use longshore_kit::lines::find_message;
use longshore_kit::rude_elasticsearch::{Fates, Fault, Keeping, Odds, RudeElasticsearch};
use longshore_kit::simkubelet::Node;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Kills of a `resend`.
const KILLS: u32 = 25;
/// A kill comes within this after the first row may have left: it takes some ms to start, and a request some more.
const LIFE: Duration = Duration::from_millis(120);
/// One line in so many is refused, until the mapping is mended.
const POISON_EVERY: u64 = 5;

/// Lines are refused, the mapping is mended, and from then on a `resend` runs, is killed and runs again, while the agent still
/// appends what the server refuses now and then. At the end each line is in the index once. Red when `Taken::take` does not look
/// for what a killed one had moved, or when `Taken::merge` removes a file before its rows are in the other (seeds 7 and 10).
#[test]
fn crash_resend_killed_beside_an_agent() {
    let seed = seed("crash_resend_killed_beside_an_agent");
    let mut chance = Chance::new(seed);
    let server = RudeElasticsearch::start();
    server.seed(seed);
    server.keep(Keeping::Ids);
    let arrivals = Arrivals::of(&server);
    let mended = Arc::new(AtomicBool::new(false));
    server.fates(fates(&mended, &arrivals));
    server.fault(Fault::CommitThenCut, Odds::Probability(0.05));
    let mut lodging = Lodging::new(&server.url(), "logs");
    lodging.config["batch"]["max_documents"] = 20.into();
    let node = Node::new(lodging.root()).unwrap();
    let traffic = Traffic::start(Containers::new(&node, 2, seed, &arrivals));
    let mut agent = lodging.start();
    agent.wait_for("dead letters", |agent| {
        agent.status().documents("dead_lettered") > 200
    });

    // For a moment at a time all is taken, so that rows leave; else new ones come.
    let mut killed = 0;
    while killed < KILLS {
        mended.store(chance.hit(0.5), Ordering::SeqCst);
        let mut resend = resend(&lodging).spawn().unwrap();
        let life = Duration::from_micros(chance.below(LIFE.as_micros() as u64));
        traffic.run_for(life);
        if resend.try_wait().unwrap().is_none() {
            killed += 1;
        }
        let _gone = resend.kill();
        resend.wait().unwrap();
    }
    let containers = traffic.stop();
    let status = agent.wait_until_delivered(containers.bytes());
    status.assert_nothing_lost();
    let letters = status.documents("dead_lettered");
    assert!(letters > 0, "there were dead letters");

    mended.store(true, Ordering::SeqCst);
    server.clear_faults();
    let left = lodging.dead_letters().len();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = resend(&lodging).output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    tell(&format!(
        "{killed} kills; {letters} dead letters, {left} rows of them at the end, {} documents sent twice",
        server.duplicates_409()
    ));
    assert_eq!(lodging.dead_letters(), Vec::<serde_json::Value>::new());
    agent.wait_for("the agent to see that the file is empty", |agent| {
        agent.metric("longshore_dead_letter_bytes") == 0.0
    });
    agent.terminate().assert_clean();
    arrivals.assert_exactly_once();
    let parts: Vec<_> = fs::read_dir(lodging.state().join("dead-letter"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        parts
            .iter()
            .all(|name| name == "lock" || name == "dead-letter.ndjson"),
        "{parts:?}"
    );
}

fn resend(lodging: &Lodging) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["dead-letter", "resend", "--all", "--config"])
        .arg(lodging.root().join("longshore.yaml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// One line in five is refused while the mapping is not mended. Poorer forms of it are refused always, so that each line that is
/// refused once becomes a dead letter, and comes into the index as it was.
fn fates(mended: &Arc<AtomicBool>, arrivals: &Arc<Arrivals>) -> Fates {
    let (mended, arrivals) = (Arc::clone(mended), Arc::clone(arrivals));
    Fates {
        mapping_400: Some(Box::new(move |source| {
            let Ok((_, found)) = find_message(source) else {
                return false;
            };
            let is_poor = [&b"\"refused\":"[..], b"\"_conflict\":"]
                .iter()
                .any(|mark| source.windows(mark.len()).any(|window| window == *mark));
            let refused = is_poor || found.seq % POISON_EVERY == 0 && !mended.load(Ordering::SeqCst);
            if refused {
                arrivals.on_refused(found.stream, found.seq);
            }
            refused
        })),
        ..Fates::default()
    }
}
