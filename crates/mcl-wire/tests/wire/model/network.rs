//! What happens on the way: datagrams go in, copies come out, each at its time.

use core::ops::Range;
use core::time::Duration;

use super::broadcast::{Broadcast, Outgoing};
use crate::common::Rng;

/// Which bytes may be damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// All but those that say what a datagram is: see [`Outgoing::identity`].
    Content,
    Anything,
}

#[derive(Debug)]
pub(crate) struct Network {
    /// In percent, as the next two.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) corruption: u64,
    pub(crate) damage: Damage,
    /// Microseconds, at most; so datagrams overtake each other.
    pub(crate) jitter: usize,
    /// In percent: those that take ten times as long, and those that take a second.
    pub(crate) slow: u64,
    pub(crate) very_slow: u64,
    /// When nothing gets through.
    pub(crate) partitions: Vec<Range<Duration>>,
}

/// Datagrams that close a stream: after a long gap the first is not believed.
const CLOSING: usize = 2;

/// A copy of a datagram that reaches the listener.
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    /// Of which broadcast, and which of its datagrams.
    pub(crate) from: usize,
    pub(crate) datagram: usize,
    /// The bytes, if they are not those that were sent.
    pub(crate) damaged: Option<Vec<u8>>,
}

impl Network {
    /// All that reaches the listener, in order. The datagrams that close a stream
    /// do so after all others, whole.
    pub(crate) fn carry(&self, broadcasts: &[Broadcast], rng: &mut Rng) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for (from, broadcast) in broadcasts.iter().enumerate() {
            let carried = broadcast.datagrams.len().saturating_sub(CLOSING);
            for (datagram, outgoing) in broadcast.datagrams[..carried].iter().enumerate() {
                self.copies(from, datagram, outgoing, rng, &mut arrivals);
            }
        }
        // Stable: of two at the same time the first sent comes first.
        arrivals.sort_by_key(|arrival| arrival.at);
        let last_sent = broadcasts
            .iter()
            .filter_map(|b| Some(b.datagrams.last()?.at));
        let last_arrival = arrivals.last().map(|arrival| arrival.at);
        let end = last_sent.chain(last_arrival).max().unwrap_or_default();
        for (from, broadcast) in broadcasts.iter().enumerate() {
            let len = broadcast.datagrams.len();
            let closing = len.saturating_sub(CLOSING)..len;
            arrivals.extend(closing.map(|datagram| Arrival {
                at: end,
                from,
                datagram,
                damaged: None,
            }));
        }
        arrivals
    }

    fn copies(
        &self,
        from: usize,
        datagram: usize,
        outgoing: &Outgoing,
        rng: &mut Rng,
        arrivals: &mut Vec<Arrival>,
    ) {
        let cut = self.partitions.iter().any(|it| it.contains(&outgoing.at));
        if cut || rng.percent(self.loss) {
            return;
        }
        let copies = 1 + usize::from(rng.percent(self.duplication)) * (1 + rng.below(2));
        for _ in 0..copies {
            arrivals.push(Arrival {
                at: outgoing.at + self.delay(rng),
                from,
                datagram,
                damaged: self.damage(outgoing, rng),
            });
        }
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        let micros = Duration::from_micros(rng.below(self.jitter) as u64);
        if rng.percent(self.very_slow) {
            return Duration::from_secs(1) + micros;
        }
        micros * if rng.percent(self.slow) { 10 } else { 1 }
    }

    fn damage(&self, outgoing: &Outgoing, rng: &mut Rng) -> Option<Vec<u8>> {
        if !rng.percent(self.corruption) {
            return None;
        }
        let mut bytes = outgoing.bytes.clone();
        for _ in 0..=rng.below(3) {
            // Half of it where the fields are.
            let within = if rng.percent(50) { 64 } else { bytes.len() };
            let at = rng.below(bytes.len().min(within));
            let identity = outgoing.identity.iter().any(|it| it.contains(&at));
            if self.damage == Damage::Anything || !identity {
                bytes[at] ^= 1 + rng.below(255) as u8;
            }
        }
        (bytes != outgoing.bytes).then_some(bytes)
    }
}
