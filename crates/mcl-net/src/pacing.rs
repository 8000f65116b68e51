//! Pacing: large messages do not overrun the receive buffers of ordinary machines.

use std::fs;
use std::time::{Duration, Instant};

/// `net.core.rmem_max` where nobody changed it (Linux; Debian 12 and 13 among
/// others).
pub const ORDINARY_RECEIVE_BUFFER: usize = 212_992;

/// How long a receiver may be held up by other work while half of its buffer
/// takes what is sent at the paced rate.
const HOLD_UP: Duration = Duration::from_millis(3);

/// The fastest rate and the longest burst that are chosen without being told:
/// several receivers that share two busy cores hold each other up for some ten
/// milliseconds, and a buffer of 4 MiB outlasts that at this rate.
const FASTEST: u64 = 256_000_000;
const LONGEST_BURST: usize = 1 << 20;

/// How fast a sender hands datagrams to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pacing {
    /// Slow enough for the receive buffers to be expected: what this machine
    /// grants (`net.core.rmem_max`), but at most [`ORDINARY_RECEIVE_BUFFER`],
    /// since nobody can know that the receivers' machines were set up as well, or
    /// that they ask for more.
    #[default]
    Auto,
    /// Slow enough for a receiver whose `SO_RCVBUF` is this many bytes.
    ForReceiveBuffer(usize),
    /// At most `burst` bytes at once, then `bytes_per_second`.
    Rate {
        /// Bytes of UDP payload a second.
        bytes_per_second: u64,
        /// Bytes that may go at once after a pause.
        burst: usize,
    },
    /// As fast as the machine goes. Large messages are lost wherever a receiver
    /// is slower than the sender for longer than its buffer lasts.
    None,
}

/// `net.core.rmem_max` of this machine, if it can be read.
#[must_use]
pub fn receive_buffer_limit() -> Option<usize> {
    fs::read_to_string("/proc/sys/net/core/rmem_max")
        .ok()?
        .trim()
        .parse()
        .ok()
}

impl Pacing {
    /// The rate and the burst it comes to here; `None` without pacing.
    #[must_use]
    pub fn resolve(self) -> Option<PacedRate> {
        match self {
            Self::Auto => Some(PacedRate::for_receive_buffer(expected_receive_buffer(
                receive_buffer_limit(),
            ))),
            Self::ForReceiveBuffer(bytes) => Some(PacedRate::for_receive_buffer(bytes)),
            Self::Rate {
                bytes_per_second,
                burst,
            } => Some(PacedRate {
                bytes_per_second: bytes_per_second.max(1),
                burst,
            }),
            Self::None => None,
        }
    }
}

fn expected_receive_buffer(limit: Option<usize>) -> usize {
    let granted = limit.unwrap_or(ORDINARY_RECEIVE_BUFFER);
    granted.min(ORDINARY_RECEIVE_BUFFER)
}

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacedRate {
    /// Bytes of UDP payload a second.
    pub bytes_per_second: u64,
    /// Bytes that may go at once after a pause.
    pub burst: usize,
}

impl PacedRate {
    /// Half of the buffer at once; then a rate at which the other half outlasts
    /// a receiver that is held up for three milliseconds, but at most 256 MB/s
    /// after 1 MiB: 35 MB/s for 212,992 bytes, 256 MB/s for 4 MiB.
    #[must_use]
    pub fn for_receive_buffer(bytes: usize) -> Self {
        let half = bytes / 2;
        let outlasts = half as u128 * 1_000_000_000 / HOLD_UP.as_nanos();
        let bytes_per_second = u64::try_from(outlasts).unwrap_or(u64::MAX);
        Self {
            bytes_per_second: bytes_per_second.clamp(1, FASTEST),
            burst: half.min(LONGEST_BURST),
        }
    }

    fn duration_of(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Tells when the next train may go: a virtual-scheduling leaky bucket (ITU-T
/// I.371, annex A), without a clock of its own.
#[derive(Debug)]
pub struct Pacer {
    rate: Option<PacedRate>,
    /// When the bytes taken so far will have drained at the rate.
    drained: Option<Instant>,
}

impl Pacer {
    /// A pacer that has sent nothing yet.
    #[must_use]
    pub fn new(pacing: Pacing) -> Self {
        Self {
            rate: pacing.resolve(),
            drained: None,
        }
    }

    /// The rate and the burst, `None` without pacing.
    #[must_use]
    pub fn rate(&self) -> Option<PacedRate> {
        self.rate
    }

    /// How long to wait before `bytes` more may go; zero if they may go now.
    /// A train longer than the burst goes when the bucket is empty.
    #[must_use]
    pub fn delay(&self, now: Instant, bytes: usize) -> Duration {
        let (Some(rate), Some(drained)) = (self.rate, self.drained) else {
            return Duration::ZERO;
        };
        let backlog = drained.saturating_duration_since(now);
        let room = rate.duration_of(rate.burst.saturating_sub(bytes));
        backlog.saturating_sub(room)
    }

    /// Takes note that `bytes` went at `now`.
    pub fn sent(&mut self, now: Instant, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let from = self.drained.map_or(now, |drained| drained.max(now));
        self.drained = from.checked_add(rate.duration_of(bytes)).or(self.drained);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(bytes_per_second: u64, burst: usize) -> Pacer {
        Pacer::new(Pacing::Rate {
            bytes_per_second,
            burst,
        })
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut pacer = pacer(1_000_000, 3000);
        for _ in 0..3 {
            assert_eq!(pacer.delay(start, 1000), Duration::ZERO);
            pacer.sent(start, 1000);
        }
        assert_eq!(pacer.delay(start, 1000), Duration::from_millis(1));
        let later = start + Duration::from_millis(1);
        assert_eq!(pacer.delay(later, 1000), Duration::ZERO);
    }

    #[test]
    fn over_any_interval_at_most_the_burst_and_the_rate_go() {
        let start = Instant::now();
        let mut pacer = pacer(10_000_000, 100_000);
        let (mut now, mut total) = (start, 0usize);
        for step in 0..1000 {
            let bytes = 1 + (step * 7919) % 65_000;
            now += pacer.delay(now, bytes);
            pacer.sent(now, bytes);
            total += bytes;
            let allowed = 100_000.0 + 1e7 * (now - start).as_secs_f64();
            assert!(
                total as f64 <= allowed + 1.0,
                "step {step}: {total} > {allowed}"
            );
        }
        let ideal = (total as f64 - 100_000.0) / 1e7;
        let took = (now - start).as_secs_f64();
        assert!((took - ideal).abs() < 0.01, "took {took}, ideally {ideal}");
    }

    #[test]
    fn what_is_longer_than_the_burst_waits_for_an_empty_bucket() {
        let start = Instant::now();
        let mut pacer = pacer(1_000_000, 1000);
        assert_eq!(pacer.delay(start, 5000), Duration::ZERO);
        pacer.sent(start, 5000);
        assert_eq!(pacer.delay(start, 5000), Duration::from_millis(5));
    }

    #[test]
    fn without_pacing_nothing_waits() {
        let mut pacer = Pacer::new(Pacing::None);
        let now = Instant::now();
        pacer.sent(now, usize::MAX);
        assert_eq!(pacer.delay(now, usize::MAX), Duration::ZERO);
    }

    #[test]
    fn the_rule_expects_no_more_than_an_ordinary_buffer() {
        assert_eq!(expected_receive_buffer(Some(64 << 20)), 212_992);
        assert_eq!(expected_receive_buffer(Some(100_000)), 100_000);
        assert_eq!(expected_receive_buffer(None), 212_992);
        let ordinary = PacedRate::for_receive_buffer(212_992);
        let tuned = PacedRate::for_receive_buffer(4 << 20);
        assert_eq!(
            (tuned.bytes_per_second, tuned.burst),
            (256_000_000, 1 << 20)
        );
        assert_eq!(
            (ordinary.bytes_per_second, ordinary.burst),
            (35_498_666, 106_496)
        );
    }
}
