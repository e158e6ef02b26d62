//! Random choices that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// Environment variable with the seed of an earlier run.
const SEED: &str = "DSTYX_SEED";

/// A generator; splitmix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// One whose seed is printed, so that `DSTYX_SEED` can repeat the run.
    pub fn of_this_run(what: &str) -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or(now);
        println!("{what}: {SEED}={seed}");
        Self(seed)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
