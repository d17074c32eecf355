//! One index of ten is blocked: how late the documents for the others are.

use super::*;
use std::thread;

const INDICES: [&str; 10] = ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9"];
const BLOCKED: &str = "i3";
const BATCHES: u64 = 1_200;
const PACE: Duration = Duration::from_millis(10);
/// The documents of the others.
const SAMPLES: usize = 10_800;

/// Batches with a document for each index come at their pace, as far as the budget has room. How late each document for
/// the other indices was stored, from the moment in which its batch was due; sorted.
fn lateness(is_blocked: bool, lanes: bool) -> Vec<Duration> {
    let (server, state) = (RudeElasticsearch::start(), tempfile::tempdir().unwrap());
    if is_blocked {
        server.block_index(BLOCKED, BlockKind::Write403);
    }
    let begun = Instant::now();
    let due = move |number: u64| begun + PACE * (number / INDICES.len() as u64) as u32;
    let late = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&late);
    server.on_document(move |index, id, _| {
        if index != BLOCKED {
            let number = id.strip_prefix("id-").unwrap().parse().unwrap();
            seen.lock().unwrap().push(due(number).elapsed());
        }
    });
    let mut rig = Rig::start_with(state.path(), &config(&server), ROOMY, lanes);
    for batch in 0..BATCHES {
        let at = begun + PACE * batch as u32;
        // The block ends when the last batch is due, though not all may have been taken.
        let may_go = |rig: &Rig| Instant::now() >= at && rig.budget.has_room(Share::Within);
        while !may_go(&rig) {
            if is_blocked && Instant::now() > begun + PACE * BATCHES as u32 {
                server.unblock_index(BLOCKED);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        rig.send(INDICES.len() as u64, &INDICES);
    }
    server.unblock_index(BLOCKED);
    rig.wait_for_acks();
    rig.wait_for_empty_spool();
    assert!(rig.stop().0.clean);
    assert_stored(&server, BATCHES * INDICES.len() as u64);
    let mut late = std::mem::take(&mut *late.lock().unwrap());
    late.sort_unstable();
    assert_eq!(late.len(), SAMPLES);
    late
}

/// Red without lanes: what is on hold fills the memory, and nothing new is sent. All three at the same time, so that a busy
/// machine is as busy for each.
#[test]
#[expect(clippy::print_stdout, reason = "the figures of a measurement")]
fn one_blocked_index_of_ten_makes_the_others_hardly_later_and_catches_up() {
    let [clean, blocked, without] = thread::scope(|scope| {
        let runs = [(false, true), (true, true), (true, false)];
        let runs = runs.map(|(is_blocked, lanes)| scope.spawn(move || lateness(is_blocked, lanes)));
        runs.map(|run| run.join().unwrap())
    });
    let p99 = |late: &[Duration]| late[late.len() * 99 / 100];
    let [clean, blocked, without] = [p99(&clean), p99(&blocked), p99(&without)];
    println!(
        "lanes: {SAMPLES} documents, p99 {clean:.1?} without a block, {blocked:.1?} with one, {without:.1?} with one and no lanes"
    );
    assert!(
        blocked <= clean + Duration::from_millis(100),
        "{clean:?}, {blocked:?}"
    );
    assert!(without > Duration::from_secs(5), "{without:?}");
}
