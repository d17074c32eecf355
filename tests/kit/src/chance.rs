//! Seeded chance: the same seed gives the same faults and the same lines, so that a failing run replays.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixes per number, good enough for tests, no dependency.

/// A seeded stream of numbers.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The tiny modulo bias does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// True with this probability: 0.0 never, 1.0 always.
    pub fn hit(&mut self, probability: f64) -> bool {
        unit(self.next_u64()) < probability
    }
}

/// Maps 64 random bits to `0.0..1.0`.
pub fn unit(bits: u64) -> f64 {
    // 53 bits: what an f64 holds exactly.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's finaliser: every input bit reaches every output bit.
pub fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
