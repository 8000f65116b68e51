//! Fewer wake-ups while a long message comes fast.

use std::mem;
use std::time::{Duration, Instant};

/// The longest rest: how much later than otherwise other messages can come.
const LONGEST: Duration = Duration::from_micros(100);

/// Bytes that have to be expected of a rest, or it saves no wake-up: two trains.
const WORTH_IT: usize = 128 << 10;

/// Tells when to leave the socket alone for a moment, as network cards hold their interrupts back
/// (interrupt moderation).
///
/// Of a long message nothing can be delivered before its last train is there. To be woken by each of
/// them is in vain, and costs the sender more than the receiver: within its system call it
/// wakes the other processor up.
#[derive(Debug)]
pub(crate) struct Moderation {
    /// When [`rest`](Self::rest) was called last, and the bytes received since. After a pause the first
    /// pace is a slow one, and so the first wait no rest.
    since: Instant,
    received: usize,
}

impl Moderation {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            since: now,
            received: 0,
        }
    }

    #[inline]
    pub(crate) const fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes);
    }

    /// How long to rest now that the socket is empty, if that is worth it: `awaited` bytes
    /// are to come of a message, and a quarter of `buffer`, the receive buffer's
    /// size, may fill meanwhile. At the pace of all that came since the last call.
    pub(crate) fn rest(&mut self, now: Instant, awaited: usize, buffer: usize) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(mem::replace(&mut self.since, now));
        let received = mem::take(&mut self.received).max(1);
        let most = (awaited / 4 * 3).min(buffer / 4);
        // In floating point, where nothing overflows.
        let bytes_per_second = received as f64 / elapsed.as_secs_f64().max(1e-9);
        let expected = (bytes_per_second * LONGEST.as_secs_f64()).min(most as f64);
        let seconds = expected / bytes_per_second;
        (expected >= WORTH_IT as f64).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIN: usize = 64 << 10;
    const MIB: usize = 1 << 20;

    /// What is said when a train has come in `micros`.
    fn rest(micros: u64, awaited: usize, buffer: usize) -> Option<Duration> {
        let begun = Instant::now();
        let mut moderation = Moderation::new(begun);
        moderation.received(TRAIN);
        let now = begun + Duration::from_micros(micros);
        moderation.rest(now, awaited, buffer)
    }

    #[test]
    fn a_fast_message_is_left_to_gather() {
        assert_eq!(rest(16, 8 * MIB, 4 * MIB), Some(LONGEST));
        assert_eq!(rest(16, MIB, 4 * MIB), Some(LONGEST));
        // Three quarters of what is missing, so that its end is not late.
        let shorter = rest(16, 4 * TRAIN, 4 * MIB).unwrap();
        assert_eq!(shorter.as_micros(), 48);
        assert_eq!(rest(16, 3 * TRAIN / 2, 4 * MIB), None);
    }

    #[test]
    fn a_slow_one_is_waited_for() {
        assert!(rest(49, MIB, 4 * MIB).is_some());
        assert_eq!(rest(51, MIB, 4 * MIB), None);
        assert_eq!(rest(10_000_000, MIB, 4 * MIB), None, "after a silence");
    }

    #[test]
    fn a_buffer_is_filled_to_a_quarter_at_most() {
        let shorter = rest(16, MIB, 8 * TRAIN).unwrap();
        assert_eq!(shorter.as_micros(), 32);
        for micros in 1..50 {
            assert!(rest(micros, MIB, 8 * TRAIN).is_some(), "just enough");
            assert_eq!(rest(micros, MIB, 8 * TRAIN - 4), None);
        }
        assert_eq!(rest(16, MIB, 212_992), None);
    }

    #[test]
    fn the_pace_is_that_since_the_last_look() {
        let begun = Instant::now();
        let mut moderation = Moderation::new(begun);
        let mut now = begun + Duration::from_secs(10);
        for (trains, micros, worth_it) in [(9, 1000, false), (1, 16, true), (0, 16, false)] {
            now += Duration::from_micros(micros);
            (0..trains).for_each(|_| moderation.received(TRAIN));
            let rest = moderation.rest(now, MIB, 4 * MIB);
            assert_eq!(rest.is_some(), worth_it, "{trains} in {micros}");
        }
    }

    #[test]
    fn no_number_is_too_large_or_too_small() {
        for awaited in [0, 1, usize::MAX] {
            for buffer in [0, 1, usize::MAX] {
                for micros in [0, 1, u64::from(u32::MAX)] {
                    let rest = rest(micros, awaited, buffer);
                    assert!(rest.is_none_or(|time| time <= LONGEST));
                }
            }
        }
    }
}
