//! What must hold whatever happens: no document is acked before it rests, none is counted twice,
//! none is forgotten, nothing spins, and when faults stop everything drains. The checks themselves
//! are in [`super::world`].

use super::world::{World, config, problem};
use crate::record::Share;
use crate::sink::elasticsearch::flight::{FlightConfig, Ids};
use crate::sink::elasticsearch::response::{RequestVerdict, Verdict};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<u8>, bool),
    /// Which request, and for each document what becomes of it.
    Answer(usize, Vec<u8>),
    Fail {
        at: usize,
        stores: bool,
        kind: u8,
    },
    Spool,
    Letters,
    SpoolFull(bool),
    LettersFull(bool),
    Evict(usize),
    Damage(usize),
    Advance(u16),
    NextDeadline,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec(0u8..3, 1..6), any::<bool>())
            .prop_map(|(indices, over)| Step::Batch(indices, over)),
        8 => (any::<usize>(), prop::collection::vec(0u8..16, 6)).prop_map(|(at, fates)| Step::Answer(at, fates)),
        2 => (any::<usize>(), any::<bool>(), 0u8..3)
            .prop_map(|(at, stores, kind)| Step::Fail { at, stores, kind }),
        10 => Just(Step::Spool),
        4 => Just(Step::Letters),
        1 => any::<bool>().prop_map(Step::SpoolFull),
        1 => any::<bool>().prop_map(Step::LettersFull),
        1 => any::<usize>().prop_map(Step::Evict),
        1 => any::<usize>().prop_map(Step::Damage),
        2 => (0u16..3000).prop_map(Step::Advance),
        4 => Just(Step::NextDeadline),
        1 => Just(Step::Restart),
    ]
}

fn ids() -> impl Strategy<Value = Ids> {
    let rolls_over = |look_up_after| Just(Ids::RollOver { look_up_after });
    prop_oneof![
        2 => Just(Ids::Ours),
        1 => rolls_over(None),
        2 => rolls_over(Some(Duration::from_secs(3))),
        1 => Just(Ids::OfTheServer),
    ]
}

fn verdict(fate: u8) -> Verdict {
    match fate {
        0..=1 => Verdict::Retry(problem(429, "es_rejected_execution_exception").into()),
        2..=3 => Verdict::Refused(problem(400, "document_parsing_exception").into()),
        4..=6 => Verdict::Hold(problem(403, "cluster_block_exception").into()),
        7 => Verdict::DroppedByServer,
        _ => Verdict::Accepted,
    }
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Batch(indices, over) => {
            world.share = if over { Share::Over } else { Share::Within };
            let indices: Vec<&str> = indices
                .iter()
                .map(|index| ["a", "b", "c"][*index as usize])
                .collect();
            world.batch(&indices);
        }
        Step::Answer(at, fates) => {
            let mut fates = fates.into_iter().cycle();
            world.answer(at, |_, _| verdict(fates.next().unwrap_or(15)));
        }
        // A server that refuses or halves has stored nothing.
        Step::Fail { at, kind: 0, .. } => world.fail(at, false, RequestVerdict::Split(problem(413, ""))),
        Step::Fail { at, kind: 1, .. } => world.fail(at, false, RequestVerdict::Hold(problem(401, ""))),
        Step::Fail { at, stores, .. } => world.fail(at, stores, RequestVerdict::Retry(problem(503, ""))),
        Step::Spool => drop(world.step_spool()),
        Step::Letters => drop(world.step_letters()),
        Step::SpoolFull(full) => world.spool_full = full,
        Step::LettersFull(full) => world.letters_full = full,
        Step::Evict(at) => world.evict(at),
        Step::Damage(at) => world.damage(at),
        Step::Advance(ms) => world.advance(Duration::from_millis(u64::from(ms))),
        Step::NextDeadline => drop(world.advance_to_deadline()),
        Step::Restart => world.restart(),
    }
}

proptest! {
    #[test]
    fn every_document_rests_once_and_everything_drains(
        steps in prop::collection::vec(step(), 0..250),
        compression in 0u8..2,
        memory in prop_oneof![Just(1u64), Just(600), Just(3000), Just(1 << 20)],
        max_in_flight in 1usize..5,
        hosts in 1usize..4,
        ids in ids(),
    ) {
        let hedge_after = Some(Duration::from_secs(1));
        let mut world = World::new(FlightConfig {
            compression, memory, max_in_flight, hosts, hedge_after, ids, ..config()
        });
        for step in steps {
            take(&mut world, step);
        }
        world.drain();
    }
}
