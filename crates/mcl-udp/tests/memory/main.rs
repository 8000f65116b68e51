//! A listener's memory has a ceiling whatever arrives, seen from outside: the peak
//! resident set (`VmHWM`, proc_pid_status(5)) of a listener process under a flood.
//!
//! - `attack`: what a hostile sender sends, in trains.
//! - `victim`: the listener process, and how its parent talks to it.
//! - `ceiling`: the bound, and the test that asserts it.
//!
//! A binary of its own: it takes the whole machine for a while. The number of
//! hostile datagrams is small here; `cargo xtask ceiling` makes it ten million.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "what was measured belongs in the log")]

mod attack;
mod ceiling;
mod victim;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// A number up to `bound` of any magnitude.
    fn magnitude(&mut self, bound: usize) -> usize {
        let bits = bound.max(1).ilog2() as usize + 1;
        let mask = (1_usize << (1 + self.below(bits))) - 1;
        1 + (self.below(usize::MAX) & mask) % bound.max(1)
    }
}
