//! Random numbers that a seed repeats.

use mcl_testbed::SplitMix64;

#[derive(Clone, Debug)]
pub(super) struct Dice(SplitMix64);

impl Dice {
    /// Dice for one purpose out of many: those of another do not follow from them.
    pub(super) fn of(seed: u64, purpose: u64) -> Self {
        let mut seeds = SplitMix64::new(seed ^ purpose.wrapping_mul(0xa076_1d64_78bd_642f));
        Self(SplitMix64::new(seeds.next_u64()))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// At least 0, and below 1.
    pub(super) const fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// Evenly, ends included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// So that each doubling is as likely as any other; ends included.
    pub(super) fn log_uniform(&mut self, least: usize, most: usize) -> usize {
        let (low, high) = ((least as f64).ln(), (most as f64).ln());
        let len = (low + self.unit() * (high - low)).exp().round() as usize;
        len.clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_purposes_differ() {
        let numbers = |mut dice: Dice| [dice.next(), dice.next(), dice.next()];
        assert_eq!(numbers(Dice::of(7, 1)), numbers(Dice::of(7, 1)));
        assert_ne!(numbers(Dice::of(7, 1)), numbers(Dice::of(7, 2)));
        assert_ne!(numbers(Dice::of(7, 1)), numbers(Dice::of(8, 1)));
    }

    #[test]
    fn lengths_spread_evenly_over_the_doublings() {
        let mut dice = Dice::of(3, 0);
        let mut doublings = [0_u32; 20];
        for _ in 0..19_000 {
            let len = dice.log_uniform(16, 8 << 20);
            assert!((16..=8 << 20).contains(&len), "{len}");
            doublings[len.ilog2() as usize - 4] += 1;
        }
        // 19 doublings of about a thousand each; the last one is the upper end alone.
        assert!(
            doublings[..19]
                .iter()
                .all(|count| (800..1200).contains(count)),
            "{doublings:?}"
        );
    }
}
