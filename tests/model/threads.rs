//! The checks, and the bugs that they must find.

use crate::scene::{self, Plan, Server};
use longshore::mutant::{self, Mutant};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Meetings of threads in one run; a run with more goes round in circles.
const MOST_STEPS: usize = 400_000;
/// Schedules of each check.
const SHORT: usize = 400;
/// Schedules of each check in the long tests.
const LONG: usize = 10_000;
/// Schedules within which a deliberate bug must be found; the search ends with the first that finds it. The rarest
/// (`SaveUnanswered`) is found by 16 of 2,000 schedules, so 600 of them would miss it once in 120 runs of the tests.
const PATIENCE: usize = 6_000;

/// One check at a time: which deliberate bug is switched on concerns the whole process.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn schedules<S: Scheduler + 'static>(scheduler: S, plan: Plan) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || scene::run(plan));
}

/// Half of the schedules choose the next thread by chance, half keep to one until few chosen places (PCT).
fn check(plan: Plan, count: usize) {
    let _turn = turn();
    schedules(RandomScheduler::new(count / 2), plan);
    schedules(PctScheduler::new(3, count - count / 2), plan);
}

/// No timeout ends in this check, and there is room for one batch only: the reader goes on because it is woken, the sink
/// ends because the channel does, the reader because it is told, and the last checkpoint is waited for. Bugs that it finds:
/// an ack before the room is given back, room that containers do not notice, a channel that is kept, an end of the
/// sink that is not told.
const WOKEN: Plan = Plan {
    server: Server::Up,
    room_for_one: true,
    timeouts: false,
    disk_fails: false,
};

/// The server is away from the first request on: everything goes through the spool's thread, whose appends share a sync
/// whenever the schedule lets two of them meet. No timeout ends. Bug that it finds: a reply of a group that is lost.
const SPOOLED: Plan = Plan {
    server: Server::Down,
    ..WOKEN
};

/// The last checkpoint cannot be written the first times: it is told to the reader, who asks again. Bug that it finds: a
/// failure that nobody answers.
const LAST_SAVE: Plan = Plan {
    disk_fails: true,
    room_for_one: false,
    ..WOKEN
};

/// Any wait with a limit may end at any moment, and the server answers as it likes: whatever happens, all threads end, and
/// no checkpoint lies behind a line that rests nowhere.
const STORM: Plan = Plan {
    server: Server::Moody,
    room_for_one: true,
    timeouts: true,
    disk_fails: true,
};

#[test]
fn the_reader_goes_on_when_room_comes_back_and_ends_after_the_last_ack() {
    check(WOKEN, SHORT);
}

#[test]
fn everything_goes_through_the_spool_while_the_server_is_away() {
    check(SPOOLED, SHORT);
}

#[test]
fn the_last_checkpoint_is_waited_for_and_asked_for_again() {
    check(LAST_SAVE, SHORT);
}

#[test]
fn whenever_timeouts_come_all_threads_end_and_nothing_is_passed_over() {
    check(STORM, SHORT);
}

#[test]
#[ignore = "minutes: tests/run unit --long"]
fn long_ten_thousand_schedules_of_each_check() {
    for plan in [WOKEN, SPOOLED, LAST_SAVE, STORM] {
        check(plan, LONG);
    }
}

/// Each bug of two threads is switched on, and the check that is meant for it must fail: with a deadlock, with a run that
/// never ends, or with the oracle of `scene.rs`.
#[test]
fn each_deliberate_bug_is_found() {
    let _turn = turn();
    let plan = |mutant| match mutant {
        Mutant::GroupReplyLost => SPOOLED,
        Mutant::SaveUnanswered => LAST_SAVE,
        _ => WOKEN,
    };
    let survivors: Vec<Mutant> = Mutant::BETWEEN_THREADS
        .into_iter()
        .filter(|mutant| {
            mutant::set(*mutant);
            let found = catch_unwind(AssertUnwindSafe(|| {
                schedules(RandomScheduler::new(PATIENCE), plan(*mutant))
            }));
            found.is_ok()
        })
        .collect();
    mutant::set(Mutant::None);
    assert_eq!(survivors, [], "not found within {PATIENCE} schedules");
}
