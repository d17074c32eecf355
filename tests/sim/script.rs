//! What happens in a run, as a list made from the seed before it begins: so that a failing run can be shrunk by leaving
//! parts of it out.

use crate::agent::Knobs;
use crate::disk::{DeathAt, Failure, OpKind};
use longshore_kit::chance::Chance;
use longshore_kit::rude_elasticsearch::{BlockKind, Fault, Refused};
use std::time::Duration;

/// What may be blocked: all indices, or that of the day in which a run begins, or of the next one.
pub(crate) const INDICES: [&str; 3] = ["*", "*2025.12.31", "*2026.01.01"];

/// One thing that happens. Numbers that name a container, a pod or a request are taken modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// A container writes.
    Write {
        container: u64,
        random: u64,
    },
    /// kubelet's next step.
    Kubelet {
        container: u64,
        random: u64,
    },
    KubeletCrash {
        container: u64,
    },
    Restart {
        container: u64,
    },
    NewPod {
        containers: u64,
        again: bool,
    },
    DeletePod {
        pod: u64,
    },
    RemoveDir {
        pod: u64,
    },
    Truncate {
        container: u64,
    },
    /// logrotate's next step: a copy of the live file, later its truncation.
    CopyTruncate {
        container: u64,
    },
    /// A few steps of the agent's threads in some order, a little time between them.
    Agent {
        random: u64,
    },
    /// The server answers a request, or what looks like it.
    Answer {
        request: u64,
        fault: Option<Fault>,
    },
    /// Time passes, and the agent's threads run as they would.
    Pass {
        millis: u64,
        random: u64,
    },
    /// The same, and the request that has waited longest gets no answer.
    Stall {
        millis: u64,
        random: u64,
    },
    /// Time passes, and the agent does not get to run.
    Freeze {
        millis: u64,
    },
    /// The agent dies, and maybe the power with it.
    Crash {
        power: bool,
        at: Option<DeathAt>,
    },
    Start,
    Stop,
    Fail(Failure),
    Full {
        room: u64,
    },
    Heal,
    Reject {
        percent: u64,
    },
    /// Of one of the two indices, or of all.
    Block {
        index: &'static str,
        kind: BlockKind,
    },
    Unblock,
    Outage {
        on: bool,
    },
    Skew {
        hours: i64,
    },
}

/// How containers write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    /// Whole lines.
    Plain,
    /// Now and then a message in parts, or half a line.
    Usual,
    /// Messages in parts and lines of the other stream between them, more often than not.
    Mixed,
}

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) knobs: Knobs,
    pub(crate) max_files: usize,
    pub(crate) conmon: bool,
    pub(crate) poison: bool,
    pub(crate) watch: bool,
    pub(crate) habit: Habit,
    pub(crate) ops: Vec<Op>,
}

/// How likely each kind of op is. Each seed leaves some out altogether, so that others come together more often.
struct Weights(Vec<(u64, Kind)>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Write,
    Kubelet,
    KubeletCrash,
    Restart,
    NewPod,
    DeletePod,
    Truncate,
    CopyTruncate,
    Agent,
    Answer,
    Pass,
    Stall,
    Freeze,
    Kill,
    PowerCut,
    Stop,
    FailState,
    FailSync,
    FailLogs,
    Full,
    Heal,
    Reject,
    Block,
    Outage,
    Skew,
}

const BASE: [(u64, Kind); 6] = [
    (30, Kind::Write),
    (20, Kind::Kubelet),
    (40, Kind::Agent),
    (30, Kind::Answer),
    (30, Kind::Pass),
    (3, Kind::Heal),
];

const FAULTS: [(u64, Kind); 17] = [
    (2, Kind::KubeletCrash),
    (3, Kind::Restart),
    (1, Kind::NewPod),
    (2, Kind::DeletePod),
    (2, Kind::Truncate),
    (4, Kind::CopyTruncate),
    (3, Kind::Freeze),
    (4, Kind::Kill),
    (4, Kind::PowerCut),
    (2, Kind::Stop),
    (4, Kind::FailState),
    (4, Kind::FailLogs),
    (2, Kind::Full),
    (3, Kind::Reject),
    (2, Kind::Block),
    (3, Kind::Outage),
    (1, Kind::Skew),
];

const PRESSURE: [(u64, Kind); 4] = [
    (40, Kind::Write),
    (6, Kind::Outage),
    (4, Kind::Block),
    (4, Kind::Reject),
];

const KILLS: [(u64, Kind); 5] = [
    (20, Kind::Write),
    (6, Kind::Outage),
    (6, Kind::Kill),
    (3, Kind::Reject),
    (2, Kind::Block),
];

const STALLS: [(u64, Kind); 4] = [
    (40, Kind::Write),
    (30, Kind::Stall),
    (4, Kind::Kill),
    (3, Kind::Reject),
];

const SYNCS: [(u64, Kind); 5] = [
    (20, Kind::Write),
    (6, Kind::Outage),
    (4, Kind::PowerCut),
    (12, Kind::FailSync),
    (2, Kind::Kill),
];

impl Script {
    pub(crate) fn new(seed: u64) -> Script {
        let mut chance = Chance::new(seed ^ 0x5eed_5eed);
        let mut knobs = Knobs {
            batch_bytes: 400 + chance.below(6000),
            batch_documents: 1 + chance.below(30) as usize,
            memory: 20_000 + chance.below(200_000),
            spool_bytes: if chance.hit(0.3) { 28_000 } else { 400_000 },
            segment_bytes: 1500 + chance.below(8000),
            drop_oldest: chance.hit(0.3),
            max_in_flight: 1 + chance.below(4) as usize,
            hosts: 1 + Chance::new(seed ^ 0x4057).below(3) as usize,
            record_every: Duration::from_secs(1),
            max_open_files: if chance.hit(0.2) { 4 } else { 1024 },
            max_line: 1 << 20,
        };
        let mut weights = Weights(BASE.to_vec());
        let mut habit = if chance.hit(0.1) {
            Habit::Mixed
        } else {
            Habit::Usual
        };
        match chance.below(10) {
            // More is written than the spool holds, and nobody dies.
            0 => {
                weights.0.extend(PRESSURE);
                (knobs.drop_oldest, knobs.spool_bytes) = (true, 16_000 + chance.below(12_000));
                (knobs.batch_documents, knobs.memory) = (1 + chance.below(3) as usize, 20_000);
            }
            // The spool holds some documents of a file, and not those before them, when the process is killed.
            1 => {
                weights.0.extend(KILLS);
                knobs.batch_documents = 1 + chance.below(2) as usize;
                habit = Habit::Mixed;
            }
            // The spool is in use when syncs fail and the power goes.
            2 => {
                weights.0.extend(SYNCS);
                knobs.record_every = Duration::from_secs(1 + 3 * (seed % 5));
                knobs.batch_documents = 1 + chance.below(4) as usize;
            }
            // The server leaves one request without an answer and takes the others, until the process is killed.
            3 => {
                weights.0.extend(STALLS);
                knobs.batch_documents = 1 + chance.below(4) as usize;
                knobs.max_in_flight = 2 + chance.below(3) as usize;
                habit = Habit::Plain;
            }
            _ => weights.0.extend(FAULTS.into_iter().filter(|_| chance.hit(0.4))),
        }
        let mut ops = vec![Op::NewPod {
            containers: 1 + chance.below(2),
            again: false,
        }];
        let len = 60 + chance.below(300);
        for _ in 0..len {
            weights.draw(&mut chance, &mut ops);
        }
        Script {
            seed,
            knobs,
            max_files: 2 + chance.below(4) as usize,
            conmon: chance.hit(0.3),
            poison: chance.hit(0.3),
            watch: chance.hit(0.7),
            habit,
            ops,
        }
    }
}

impl Weights {
    fn draw(&mut self, chance: &mut Chance, ops: &mut Vec<Op>) {
        let sum: u64 = self.0.iter().map(|(weight, _)| weight).sum();
        let mut left = chance.below(sum);
        let mut kind = Kind::Write;
        for (weight, candidate) in &self.0 {
            kind = *candidate;
            if left < *weight {
                break;
            }
            left -= weight;
        }
        let random = chance.next_u64();
        ops.push(match kind {
            Kind::Write => Op::Write {
                container: chance.below(16),
                random,
            },
            Kind::Kubelet => Op::Kubelet {
                container: chance.below(16),
                random,
            },
            Kind::KubeletCrash => Op::KubeletCrash {
                container: chance.below(16),
            },
            Kind::Restart => Op::Restart {
                container: chance.below(16),
            },
            Kind::NewPod => Op::NewPod {
                containers: 1 + chance.below(2),
                again: chance.hit(0.5),
            },
            Kind::DeletePod if chance.hit(0.5) => Op::RemoveDir {
                pod: chance.below(16),
            },
            Kind::DeletePod => Op::DeletePod {
                pod: chance.below(16),
            },
            Kind::Truncate => Op::Truncate {
                container: chance.below(16),
            },
            Kind::CopyTruncate => Op::CopyTruncate {
                container: chance.below(16),
            },
            Kind::Agent => Op::Agent { random },
            Kind::Answer => Op::Answer {
                request: chance.below(16),
                fault: fault(chance),
            },
            Kind::Pass => Op::Pass {
                millis: [20, 100, 300, 1000, 3000][chance.below(5) as usize],
                random,
            },
            Kind::Stall => Op::Stall {
                millis: 500 + chance.below(5000),
                random,
            },
            Kind::Freeze => Op::Freeze {
                millis: 1 << chance.below(16),
            },
            Kind::Kill | Kind::PowerCut => Op::Crash {
                power: kind == Kind::PowerCut,
                at: death(chance),
            },
            Kind::Stop => Op::Stop,
            Kind::FailState => Op::Fail(Failure {
                kind: OpKind::ALL[chance.below(11) as usize],
                on_state: true,
                times: 1 + chance.below(3) as u32,
            }),
            Kind::FailSync => Op::Fail(Failure {
                kind: OpKind::Sync,
                on_state: true,
                times: 1,
            }),
            Kind::FailLogs => Op::Fail(Failure {
                kind: OpKind::ALL[chance.below(4) as usize],
                on_state: false,
                times: 1 + chance.below(5) as u32,
            }),
            Kind::Full => Op::Full {
                room: chance.below(4000),
            },
            Kind::Heal => match chance.below(4) {
                0 => Op::Start,
                1 => Op::Unblock,
                2 => Op::Outage { on: false },
                _ => Op::Heal,
            },
            Kind::Reject => Op::Reject {
                percent: [0, 10, 50, 100][chance.below(4) as usize],
            },
            Kind::Block => Op::Block {
                kind: [
                    BlockKind::Write403,
                    BlockKind::FloodStage429,
                    BlockKind::Closed400,
                    BlockKind::AutoCreate404,
                    BlockKind::Security403,
                ][chance.below(5) as usize],
                index: INDICES[chance.below(INDICES.len() as u64) as usize],
            },
            Kind::Outage => Op::Outage { on: true },
            Kind::Skew => Op::Skew {
                hours: chance.below(48) as i64 - 24,
            },
        });
    }
}

fn death(chance: &mut Chance) -> Option<DeathAt> {
    match chance.below(3) {
        0 => None,
        1 => Some(DeathAt::Count(chance.below(60))),
        _ => Some(DeathAt::Kind(OpKind::ALL[chance.below(11) as usize])),
    }
}

fn fault(chance: &mut Chance) -> Option<Fault> {
    if chance.hit(0.6) {
        return None;
    }
    Some(
        [
            Fault::CutBeforeCommit,
            Fault::CommitThenCut,
            Fault::CutMidAnswer,
            Fault::CommitHalfThen400,
            Fault::Refuse(Refused::Pressure429),
            Fault::Refuse(Refused::Unavailable503),
            Fault::Refuse(Refused::TooLarge413),
            Fault::Refuse(Refused::Unauthorized401),
            Fault::Html200,
            Fault::Empty200,
            Fault::ShortItems,
            Fault::Pretty,
        ][chance.below(12) as usize],
    )
}
