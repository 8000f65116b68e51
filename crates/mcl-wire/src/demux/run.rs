//! Fragments in a row, as senders send them, are taken in together.

use core::hash::BuildHasher;
use core::iter;
use core::time::Duration;

use super::plain::{Followers, Plain};
use super::store::Progress;
use super::{Context, Demux};
use crate::demux::arena::Key;
use crate::demux::received::Sink;
use crate::fragmenter::FRAGMENT_OVERHEAD;

/// The message of which the last datagram brought a fragment. It is still that message or gone, since
/// nothing but another datagram puts a new one in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    pub(super) stream: Key,
    pub(super) message: Key,
}

/// Datagrams in a row of consecutive sequence numbers, of one length, each with nothing in it but
/// the fragment that follows the one before.
#[derive(Debug)]
pub(crate) struct Run {
    /// The message's number.
    number: u64,
    /// How many, at least one.
    pub(crate) count: usize,
    /// Bytes of all.
    pub(crate) bytes: usize,
}

impl<S: BuildHasher> Demux<S> {
    /// Takes in the datagrams of a train, as receive offload hands it over: `stride` bytes each, but for
    /// the last, which may be shorter. In order, until they are at an end or the
    /// sink [has enough](Sink::has_enough), but at least one, and an empty train is one empty datagram. Tells how
    /// many: the rest of the train begins at as many times `stride` bytes.
    ///
    /// With each it does what [`datagram`](Self::datagram) would, faster
    /// ([`follow`](Self::follow)).
    #[inline]
    pub fn train(
        &mut self,
        now: Duration,
        train: &[u8],
        stride: usize,
        sink: &mut impl Sink,
    ) -> usize {
        let stride = stride.max(1);
        let (mut rest, mut taken) = (train, 0_usize);
        loop {
            let (datagram, others) = rest.split_at(rest.len().min(stride));
            self.datagram(now, datagram, sink);
            let behind = self.follow(now, others, stride, sink);
            taken = taken.saturating_add(behind).saturating_add(1);
            rest = others
                .get(behind.saturating_mul(stride)..)
                .unwrap_or_default();
            if rest.is_empty() || sink.has_enough() {
                return taken;
            }
        }
    }

    /// Takes in those datagrams at the front of `train` that bring, one after the other, the
    /// fragments which follow the one that the last call of [`datagram`](Self::datagram) took in; tells how
    /// many. Each of them has `stride` bytes, and what is shorter is not looked at. With each it
    /// does what [`datagram`](Self::datagram) would, at a fraction of the cost, but asks the sink once
    /// whether the stream is wanted, and calls it with one message at most.
    ///
    /// 0, at once, unless that was a fragment. For the datagrams after those taken in
    /// call [`datagram`](Self::datagram).
    #[inline]
    pub fn follow(
        &mut self,
        now: Duration,
        train: &[u8],
        stride: usize,
        sink: &mut impl Sink,
    ) -> usize {
        match self.lead {
            Some(lead) if train.len() >= stride => {
                self.go_on(lead, now, train, stride, sink).unwrap_or(0)
            }
            _ => 0,
        }
    }

    #[inline(never)]
    fn go_on(
        &mut self,
        lead: Lead,
        now: Duration,
        train: &[u8],
        stride: usize,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        let (run, at) = self.following(lead, now, train, stride)?;
        if !sink.wants_stream(at.id) {
            return None;
        }
        let datagrams = train.chunks_exact(stride).take(run.count);
        let fragments = datagrams.filter_map(|it| it.get(FRAGMENT_OVERHEAD..));
        self.store.expire(now);
        let count = run.count as u64;
        self.counters.datagrams_fed += count;
        self.counters.datagrams.accepted += count;
        self.counters.bytes_fed += run.bytes as u64;
        self.take_run(&at, lead.message, &run, fragments, sink);
        Some(run.count)
    }

    /// Takes in a datagram that [continues](super::store::Store::continued) `message`.
    #[inline]
    pub(super) fn next(
        &mut self,
        at: &Context,
        message: Key,
        plain: &Plain<'_>,
        sink: &mut impl Sink,
    ) {
        let run = Run {
            number: plain.fragment.number,
            count: 1,
            bytes: plain.len(),
        };
        self.take_run(at, message, &run, iter::once(plain.fragment.data), sink);
    }

    #[inline]
    fn take_run<'a>(
        &mut self,
        at: &Context,
        message: Key,
        run: &Run,
        fragments: impl Iterator<Item = &'a [u8]>,
        sink: &mut impl Sink,
    ) {
        self.counters.frames.fragment_stored += run.count as u64;
        let stream = at.stream;
        match self.store.take_run(message, at, run, fragments) {
            Progress::Complete(key) => {
                self.lead = None;
                self.complete(at, run.number, key, sink);
            }
            _ => self.lead = Some(Lead { stream, message }),
        }
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
        let expired = now.saturating_sub(assembly.advanced) >= self.store.limits.expiry;
        let (prefix, data) = train.get(..stride)?.split_first_chunk()?;
        let plain = Plain::with_prefix(prefix, data)?;
        let room = assembly.room_for_run();
        let follows = !expired
            && plain.stream == stream.id
            && stream.datagrams.is_next(plain.sequence)
            && assembly.continues_with(&plain.fragment);
        if !follows || room == 0 {
            return None;
        }
        let mut followers = Followers::of(prefix)?;
        let is_next = |it: &&[u8]| {
            it.first_chunk()
                .is_some_and(|prefix| followers.is_next(prefix))
        };
        let behind = train.chunks_exact(stride).take(room).skip(1);
        let behind = behind.take_while(is_next).count();
        let count = behind.saturating_add(1);
        let run = Run {
            number: plain.fragment.number,
            count,
            bytes: count.saturating_mul(stride),
        };
        let at = Context {
            stream: lead.stream,
            id: stream.id,
            sequence: plain.sequence.saturating_add(behind as u64),
            now,
        };
        Some((run, at))
    }
}
