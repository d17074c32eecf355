//! A thousand nodes whose server comes back after half an hour.

use super::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const AGENTS: usize = 1000;
/// A new batch of each, so often: the steady rate is 100 requests a second.
const PACE: Duration = Duration::from_secs(10);
const AWAY: Duration = Duration::from_secs(30 * 60);
/// What the server takes in a second: five times the steady rate.
const CAPACITY: usize = 500;
const ANSWER: Duration = Duration::from_millis(100);
const MINUTES: usize = 6;

struct Agent {
    world: World,
    next_batch: Instant,
    /// When its requests are answered, in their order.
    answers: VecDeque<(RequestId, Instant)>,
}

impl Agent {
    fn next_event(&self) -> Instant {
        let answer = self.answers.front().map(|(_, at)| *at);
        let deadline = self.world.flight.next_deadline();
        let all = [Some(self.next_batch), answer, deadline];
        all.into_iter().flatten().min().unwrap_or(self.next_batch)
    }
}

/// Requests that the server gets in each minute after its return, and documents that it stores.
fn minutes(after: Duration) -> Vec<(usize, usize)> {
    let mut chance = longshore_kit::chance::Chance::new(7);
    let begun = Instant::now();
    let back = begun + AWAY;
    let mut agents: Vec<Agent> = (0..AGENTS)
        .map(|_| {
            let mut world = World::new(FlightConfig {
                first_slots: 1,
                max_in_flight: 4,
                backoff: Backoff::SERVER,
                ..config()
            });
            world.reseed(chance.below(u64::MAX));
            world.now = begun;
            // The outage begins; its backlog is there at once, since only its size counts.
            world.batch(&["a"]);
            world.fail(0, false, RequestVerdict::Retry(problem(0, "connect")));
            world.step_disks();
            world.recover((AWAY.as_secs() / PACE.as_secs()) as usize);
            let next_batch = back - Duration::from_millis(chance.below(PACE.as_millis() as u64));
            Agent {
                world,
                next_batch,
                answers: VecDeque::new(),
            }
        })
        .collect();
    let mut minutes = vec![(0, 0); (after.as_secs() / 60) as usize];
    let mut second = (0, 0);
    let mut events: BinaryHeap<_> = (0..AGENTS).map(|at| Reverse((begun, at))).collect();
    while let Some(Reverse((now, at))) = events.pop() {
        if now >= back + after {
            break;
        }
        let agent = &mut agents[at];
        let world = &mut agent.world;
        world.now = world.now.max(now);
        if agent.next_batch <= now {
            agent.next_batch += PACE;
            world.batch(&["a"]);
        }
        world.settle();
        while let Some((id, _)) = agent.answers.pop_front_if(|(_, due)| *due <= now) {
            let place = world
                .requests
                .iter()
                .position(|request| request.id == id)
                .unwrap();
            let since = (now - back).as_secs() as usize;
            if second.0 != since {
                second = (since, 0);
            }
            second.1 += 1;
            if second.1 > CAPACITY {
                world.fail(
                    place,
                    false,
                    RequestVerdict::Retry(problem(429, "es_rejected_execution_exception")),
                );
            } else {
                let documents = world.requests[place].documents.len();
                world.answer(place, |_, _| Verdict::Accepted);
                minutes[since / 60].1 += documents;
            }
        }
        world.step_disks();
        while now < back && !world.requests.is_empty() {
            world.fail(0, false, RequestVerdict::Retry(problem(0, "connect")));
            world.step_disks();
        }
        for request in &world.requests {
            if !agent.answers.iter().any(|(id, _)| *id == request.id) {
                agent.answers.push_back((request.id, now + ANSWER));
                minutes[(now - back).as_secs() as usize / 60].0 += 1;
            }
        }
        events.push(Reverse((agent.next_event().max(now), at)));
    }
    minutes
}

/// Red without `pace`: in the first minute there are as many requests as the server takes, and more.
#[test]
#[expect(clippy::print_stdout, reason = "the figures of a measurement")]
fn a_fleet_comes_back_gently_and_then_catches_up() {
    let minutes = minutes(Duration::from_secs(60) * MINUTES as u32);
    let steady = AGENTS * 60 / PACE.as_secs() as usize;
    let times = |count: usize| count as f64 / steady as f64;
    let told: Vec<String> = minutes
        .iter()
        .map(|(requests, documents)| format!("{:.2}/{:.2}", times(*requests), times(*documents)))
        .collect();
    println!(
        "fleet: requests/documents in each minute after half an hour, of the steady rate: {}",
        told.join(" ")
    );
    assert!(times(minutes[0].0) <= 1.5, "{told:?}");
    for (_, documents) in &minutes[4..] {
        assert!(times(*documents) >= 3.0, "{told:?}");
    }
}
