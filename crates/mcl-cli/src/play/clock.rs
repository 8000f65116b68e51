//! When a message is due, and how well that was kept.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Turns times of a recording into times of playing.
#[derive(Debug)]
pub(super) struct Clock {
    speed: f64,
    /// When playing began, and what was the time of the recording then.
    origin: Option<(Instant, u64)>,
}

impl Clock {
    pub(super) fn new(speed: f64) -> Self {
        Self {
            speed,
            origin: None,
        }
    }

    /// When what was received then is due: the first message is due at once.
    pub(super) fn due(&mut self, received: u64) -> Instant {
        let (begun, first) = *self.origin.get_or_insert((Instant::now(), received));
        let after = Duration::from_nanos(received.saturating_sub(first));
        begun + after.div_f64(self.speed)
    }

    /// The next message is the first again.
    pub(super) fn rewind(&mut self) {
        self.origin = None;
    }
}

/// Times are counted one by one up to so many microseconds.
const COUNTED: usize = 20_000;

/// By how much messages were late, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Lateness {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// What is told of it. The names are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Late {
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self {
            counts: vec![0; COUNTED],
            total: 0,
            max: 0,
        }
    }
}

impl Lateness {
    pub(super) fn add(&mut self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let at = usize::try_from(micros).unwrap_or(usize::MAX);
        self.counts[at.min(COUNTED - 1)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    pub(super) fn told(&self) -> Late {
        Late {
            p50_us: self.quantile(50),
            p99_us: self.quantile(99),
            max_us: self.max,
        }
    }

    fn quantile(&self, percent: u64) -> u64 {
        let mut left = (self.total * percent).div_ceil(100);
        for (micros, &count) in self.counts.iter().enumerate() {
            if count >= left {
                return (micros as u64).min(self.max);
            }
            left -= count;
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_between_messages_is_that_of_the_recording() {
        for (speed, millis) in [(1.0, 500), (2.0, 250), (0.5, 1000)] {
            let mut clock = Clock::new(speed);
            let first = clock.due(7_000_000_000);
            let later = clock.due(7_500_000_000);
            assert_eq!(later - first, Duration::from_millis(millis));
            // What is out of order is due at once.
            assert_eq!(clock.due(6_000_000_000), first);
            clock.rewind();
            assert!(clock.due(7_500_000_000) < later);
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.told(), Late::default());
        for micros in 1..=100 {
            lateness.add(Duration::from_micros(micros));
        }
        let told = lateness.told();
        assert_eq!((told.p50_us, told.p99_us, told.max_us), (50, 99, 100));
        lateness.add(Duration::from_secs(5));
        assert_eq!(lateness.told().max_us, 5_000_000);
    }
}
