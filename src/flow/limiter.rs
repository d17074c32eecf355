//! How many requests one server may have at once: answers enter, a number leaves.
//!
//! It begins with one. As many answers in a row as there are slots, while all slots are used, add one slot, unless
//! the server has become slow for what it is sent: then more at once would only wait there. A server without capacity
//! (429, 503, no answer in time) halves the slots; the answers to what was sent before that say nothing new. One that
//! has none for a part of the documents takes half of that part from the slots, as TCP does where routers mark packets
//! (RFC 8257): whoever has a third refused still sends most of what the server takes. Of few bytes all or none are refused
//! by chance, so they say less. A fleet of nodes that all
//! begin with one, and give way, is what a small cluster bears.

use std::time::{Duration, Instant};

/// Half of the time after which the quickest answer is forgotten: what was quick with an empty index says nothing for ever.
const HALF_WINDOW: Duration = Duration::from_secs(30);
/// In percent of the quickest answer for as many bytes: slower ones add no slot.
const SLOW_PERCENT: u32 = 150;
/// What fewer bytes cost says more about the way than about the server, and what is refused of them is chance.
const LEAST_BYTES: u64 = 64 * 1024;

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When it was sent.
    pub sent: Instant,
    /// When the answer was there.
    pub now: Instant,
    /// Bytes of the body before compression.
    pub bytes: u64,
    /// All slots were in use until then.
    pub was_full: bool,
    /// What the server says of its capacity.
    pub room: Room,
}

/// Whether a server has capacity for what it is sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Room {
    /// For all of it.
    All,
    /// Not for this part of the documents: above 0, at most 1.
    Refused(f64),
    /// For nothing, as far as is known.
    None,
}

/// The slots of one server.
#[derive(Clone, Debug)]
pub struct Limiter {
    most: usize,
    /// Fractions of a slot are not used; they add up.
    slots: f64,
    /// Answers since the slots changed, none of which told of congestion.
    good: usize,
    cut_at: Option<Instant>,
    quickest: Quickest,
}

impl Limiter {
    /// `first` slots, later at most `most`; one at least.
    pub fn new(first: usize, most: usize) -> Limiter {
        let most = most.max(1);
        Limiter {
            most,
            slots: first.clamp(1, most) as f64,
            good: 0,
            cut_at: None,
            quickest: Quickest::default(),
        }
    }

    /// Requests that may be unanswered at once.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// A request was answered, or was not in time.
    pub fn on_answered(&mut self, answered: Answered) {
        match answered.room {
            Room::All => {}
            Room::Refused(part) => {
                self.cut(part / 2.0, &answered);
                if part >= 1.0 {
                    // Quick as it is, it says nothing of how quick the server is.
                    self.good = 0;
                    return;
                }
            }
            Room::None => {
                self.cut(0.5, &answered);
                self.good = 0;
                return;
            }
        }
        let is_slow = self.quickest.is_slow(&answered);
        if !answered.was_full || self.slots() == self.most {
            return;
        }
        self.good = if is_slow { 0 } else { self.good + 1 };
        if self.good >= self.slots() {
            self.slots = (self.slots + 1.0).min(self.most as f64);
            self.good = 0;
        }
    }

    /// Takes a part of the slots away, once for all that was sent before. A few bytes take less, and tell nothing of the others.
    fn cut(&mut self, part: f64, answered: &Answered) {
        let is_small = answered.bytes < LEAST_BYTES && answered.room != Room::None;
        let says = if is_small {
            answered.bytes as f64 / LEAST_BYTES as f64
        } else {
            1.0
        };
        if self.cut_at.is_none_or(|cut| answered.sent >= cut) {
            self.slots = (self.slots * (1.0 - part.clamp(0.0, 0.5) * says)).max(1.0);
            if !is_small {
                self.cut_at = Some(answered.now);
            }
        }
    }
}

/// The quickest answers of the last minute, as time for each MiB.
#[derive(Clone, Copy, Default, Debug)]
struct Quickest {
    since: Option<Instant>,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Quickest {
    /// Takes an answer in, and tells whether it took much longer than the quickest.
    fn is_slow(&mut self, answered: &Answered) -> bool {
        let since = *self.since.get_or_insert(answered.now);
        if answered.now.saturating_duration_since(since) >= HALF_WINDOW {
            (self.since, self.before, self.now) = (Some(answered.now), self.now, None);
        }
        let took = answered.now.saturating_duration_since(answered.sent);
        let bytes = answered.bytes.max(LEAST_BYTES) as f64;
        let each = took.mul_f64((1 << 20) as f64 / bytes);
        let quickest = [self.now, self.before].into_iter().flatten().min();
        self.now = Some(self.now.map_or(each, |now| now.min(each)));
        quickest.is_some_and(|quickest| each > quickest * SLOW_PERCENT / 100)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Requests of one MiB that each take so long, all slots used, one after the other.
    fn answer(limiter: &mut Limiter, now: &mut Instant, takes: Duration, room: Room) -> usize {
        let sent = *now;
        *now += takes;
        limiter.on_answered(Answered {
            sent,
            now: *now,
            bytes: 1 << 20,
            was_full: true,
            room,
        });
        limiter.slots()
    }

    #[test]
    fn slots_grow_one_by_one_while_all_are_used() {
        let (mut limiter, mut now) = (Limiter::new(1, 4), Instant::now());
        let grown: Vec<usize> = (0..12)
            .map(|_| answer(&mut limiter, &mut now, SECOND, Room::All))
            .collect();
        assert_eq!(grown, [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]);
        let mut idle = Limiter::new(1, 4);
        for _ in 0..20 {
            idle.on_answered(Answered {
                sent: now,
                now: now + SECOND,
                bytes: 1 << 20,
                was_full: false,
                room: Room::All,
            });
        }
        assert_eq!(idle.slots(), 1);
    }

    #[test]
    fn congestion_halves_once_for_all_that_was_sent_before() {
        let (mut limiter, mut now) = (Limiter::new(1, 8), Instant::now());
        while limiter.slots() < 8 {
            answer(&mut limiter, &mut now, SECOND, Room::All);
        }
        let sent = now;
        now += SECOND;
        for _ in 0..8 {
            limiter.on_answered(Answered {
                sent,
                now,
                bytes: 1 << 20,
                was_full: true,
                room: Room::None,
            });
        }
        assert_eq!(limiter.slots(), 4);
        now += SECOND;
        let slots: Vec<usize> = (0..4)
            .map(|_| answer(&mut limiter, &mut now, SECOND, Room::None))
            .collect();
        assert_eq!(slots, [2, 1, 1, 1]);
        assert_eq!(answer(&mut limiter, &mut now, SECOND, Room::All), 2);
    }

    /// Where it settles when all slots are used at once and each answer has the same part refused.
    fn settled(part: f64) -> f64 {
        let (mut limiter, mut now) = (Limiter::new(4, 8), Instant::now());
        let round = |_| {
            let (sent, slots) = (now, limiter.slots());
            now += SECOND;
            for _ in 0..slots {
                limiter.on_answered(Answered {
                    sent,
                    now,
                    bytes: 1 << 20,
                    was_full: true,
                    room: Room::Refused(part),
                });
            }
            slots
        };
        (0..1000).map(round).skip(900).sum::<usize>() as f64 / 100.0
    }

    /// Red when a part refused halves the slots, or takes none.
    #[test]
    fn the_slots_give_way_by_as_much_as_is_refused() {
        let slots = [0.02, 0.3, 0.6, 0.9].map(settled);
        assert!(slots.is_sorted_by(|more, fewer| more >= fewer), "{slots:?}");
        assert!(
            slots[0] > 7.0 && (4.0..7.0).contains(&slots[1]) && slots[3] < 4.0,
            "{slots:?}"
        );
    }

    /// Red when an answer that takes nothing adds a slot, or counts as a quick one.
    #[test]
    fn what_is_refused_whole_adds_no_slot() {
        let (mut limiter, mut now) = (Limiter::new(1, 4), Instant::now());
        for _ in 0..10 {
            assert_eq!(
                answer(&mut limiter, &mut now, SECOND / 100, Room::Refused(1.0)),
                1
            );
        }
        assert_eq!(answer(&mut limiter, &mut now, SECOND, Room::All), 2);
        for _ in 0..2 {
            answer(&mut limiter, &mut now, SECOND, Room::All);
        }
        assert_eq!(limiter.slots(), 3);
    }

    /// Red when a document that is refused alone counts like a body.
    #[test]
    fn what_is_refused_of_few_bytes_takes_few_slots() {
        let (mut limiter, mut now) = (Limiter::new(4, 4), Instant::now());
        for _ in 0..20 {
            let sent = now;
            now += SECOND;
            limiter.on_answered(Answered {
                sent,
                now,
                bytes: 600,
                was_full: false,
                room: Room::Refused(1.0),
            });
        }
        assert_eq!(limiter.slots(), 3);
        // Nor does it hide what a large one says that was sent before it.
        limiter.on_answered(Answered {
            sent: now - SECOND,
            now,
            bytes: 1 << 20,
            was_full: false,
            room: Room::Refused(1.0),
        });
        assert_eq!(limiter.slots(), 1);
    }

    #[test]
    fn a_server_that_becomes_slow_gets_no_more_until_that_is_how_it_is() {
        let (mut limiter, mut now) = (Limiter::new(1, 4), Instant::now());
        answer(&mut limiter, &mut now, SECOND, Room::All);
        for _ in 0..10 {
            assert_eq!(answer(&mut limiter, &mut now, 3 * SECOND, Room::All), 2);
        }
        while answer(&mut limiter, &mut now, 3 * SECOND, Room::All) < 3 {
            assert!(answer(&mut limiter, &mut now, 3 * SECOND, Room::All) < 4);
        }
        // Bytes count: four times as much may take four times as long.
        let mut limiter = Limiter::new(1, 4);
        for (mib, seconds) in [(1, 1), (4, 4), (4, 4)] {
            limiter.on_answered(Answered {
                sent: now,
                now: now + seconds * SECOND,
                bytes: mib << 20,
                was_full: true,
                room: Room::All,
            });
        }
        assert_eq!(limiter.slots(), 3);
    }
}
