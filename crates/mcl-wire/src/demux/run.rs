//! Fragments in a row, as senders send them, are taken in together.

use core::hash::BuildHasher;
use core::time::Duration;

use super::landing::Lead;
use super::plain::{Followers, Plain};
use super::store::Progress;
use super::{Context, Demux};
use crate::demux::received::Sink;
use crate::fragmenter::FRAGMENT_OVERHEAD;

/// Datagrams of consecutive sequence numbers, each with nothing in it but the fragment
/// that follows the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// How many, at least one.
    pub(crate) count: usize,
    /// The sequence number of the first.
    pub(crate) sequence: u64,
    /// Bytes of each fragment but the last.
    pub(crate) fragment_len: usize,
    /// Bytes of the last.
    pub(crate) last_len: usize,
}

impl Run {
    /// Bytes of the fragments.
    pub(crate) const fn data(&self) -> usize {
        let before = self.count.saturating_sub(1);
        before
            .saturating_mul(self.fragment_len)
            .saturating_add(self.last_len)
    }

    /// Bytes of the datagrams.
    pub(crate) const fn bytes(&self) -> usize {
        let overhead = self.count.saturating_mul(FRAGMENT_OVERHEAD);
        overhead.saturating_add(self.data())
    }

    /// The sequence number of the last, unless numbers come to their end before.
    pub(crate) const fn last(&self) -> Option<u64> {
        self.sequence
            .checked_add(self.count.saturating_sub(1) as u64)
    }
}

impl<S: BuildHasher> Demux<S> {
    /// Takes in those datagrams at the front of `train` that bring, one after the other, the
    /// fragments which follow the one that the last call of [`datagram`](Self::datagram) took in; tells how
    /// many. Each of them has `stride` bytes, and what is shorter is not looked at. With each it
    /// does what [`datagram`](Self::datagram) would, at a fraction of the cost, but asks the sink once
    /// whether the stream is wanted, and calls it with one message at most.
    ///
    /// 0, at once, unless that was a fragment; then, and for the datagrams after those,
    /// call [`datagram`](Self::datagram).
    #[inline]
    pub fn follow(
        &mut self,
        now: Duration,
        train: &[u8],
        stride: usize,
        sink: &mut impl Sink,
    ) -> usize {
        if self.forecast.is_running() {
            self.go_on(now, train, stride, sink).unwrap_or(0)
        } else {
            0
        }
    }

    #[inline(never)]
    fn go_on(
        &mut self,
        now: Duration,
        train: &[u8],
        stride: usize,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        let lead = self.forecast.lead()?;
        let (run, at) = self.following(lead, now, train, stride)?;
        if !sink.wants_stream(at.id) {
            return None;
        }
        let assembly = self.store.pool.get_mut(lead.message)?;
        let datagrams = train.chunks_exact(stride).take(run.count);
        assembly.copy_run(datagrams.filter_map(|it| it.get(FRAGMENT_OVERHEAD..)));
        self.forecast.went_on();
        self.take_run(lead, &at, &run, sink);
        Some(run.count)
    }

    /// The run that `train` begins with, and where its stream is after it.
    fn following(
        &self,
        lead: Lead,
        now: Duration,
        train: &[u8],
        stride: usize,
    ) -> Option<(Run, Context)> {
        let stream = self.store.streams.get(lead.stream)?;
        let assembly = self.store.pool.get(lead.message)?;
        let (prefix, data) = train.get(..stride)?.split_first_chunk()?;
        let plain = Plain::with_prefix(prefix, data)?;
        let follows = self.is_alive(lead, now)
            && plain.stream == stream.id
            && stream.datagrams.is_next(plain.sequence)
            && assembly.expects(&plain.fragment, 0)
            && data.len() == assembly.fragment_len();
        let room = if follows { assembly.room_for_run() } else { 0 };
        let mut followers = Followers::of(prefix)?;
        let mut datagrams = train.chunks_exact(stride).take(room);
        datagrams.next()?;
        let is_next = |it: &&[u8]| {
            it.first_chunk()
                .is_some_and(|prefix| followers.is_next(prefix))
        };
        let run = Run {
            count: 1 + datagrams.take_while(is_next).count(),
            sequence: plain.sequence,
            fragment_len: data.len(),
            last_len: data.len(),
        };
        let at = Context {
            stream: lead.stream,
            id: stream.id,
            sequence: run.last()?,
            now,
        };
        Some((run, at))
    }

    /// Whether the message is still under reassembly, and has not expired.
    pub(super) fn is_alive(&self, lead: Lead, now: Duration) -> bool {
        let assembly = self.store.pool.get(lead.message);
        assembly.is_some_and(|it| {
            it.number == lead.number
                && it.stream == lead.stream
                && now.saturating_sub(it.advanced) < self.store.limits.expiry
        })
    }

    /// Takes in a run that is in its message's buffer already.
    pub(super) fn take_run(&mut self, lead: Lead, at: &Context, run: &Run, sink: &mut impl Sink) {
        self.store.expire(at.now);
        let count = run.count as u64;
        self.counters.datagrams_fed += count;
        self.counters.datagrams.accepted += count;
        self.counters.frames.fragment_stored += count;
        self.counters.bytes_fed += run.bytes() as u64;
        let progress = self.store.take_run(lead.message, at, run);
        if let Progress::Complete(key) = progress {
            self.complete(at, lead.number, key, sink);
        }
    }
}
