//! Fragments in a row, as senders send them, are taken in together.

use core::hash::BuildHasher;
use core::iter;
use core::time::Duration;

use super::plain::{Followers, Plain};
use super::store::Progress;
use super::{Context, Demux};
use crate::demux::arena::Key;
use crate::demux::assembly::Assembly;
use crate::demux::counters::FragmentFate;
use crate::demux::received::Sink;
use crate::fragmenter::FRAGMENT_OVERHEAD;
use crate::frame::Fragment;
use crate::topic::TopicHash;

/// What the last datagram brought, if that was a fragment and its followers meet the same fate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lead {
    /// A fragment of this message. It is still that message or gone, since nothing but another
    /// datagram puts a new one in its place.
    Message { stream: Key, message: Key },
    /// One that was refused.
    Refusal(Refusal),
}

/// Of which message fragments are refused, whatever they hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    stream: Key,
    number: u64,
    total: u32,
    topic_hash: TopicHash,
    fate: FragmentFate,
}

impl Lead {
    pub(super) fn message(self) -> Option<Key> {
        match self {
            Self::Message { message, .. } => Some(message),
            Self::Refusal(_) => None,
        }
    }

    const fn stream(&self) -> Key {
        match self {
            Self::Message { stream, .. } => *stream,
            Self::Refusal(refusal) => refusal.stream,
        }
    }
}

impl Refusal {
    /// After `fragment` was refused: unless that was for what it alone is.
    pub(super) fn of(stream: Key, fragment: &Fragment<'_>, fate: FragmentFate) -> Option<Lead> {
        let lasts = matches!(
            fate,
            FragmentFate::OfFinished | FragmentFate::TooLarge | FragmentFate::Filtered
        );
        lasts.then_some(Lead::Refusal(Self {
            stream,
            number: fragment.number,
            total: fragment.total,
            topic_hash: fragment.topic_hash,
            fate,
        }))
    }

    fn covers(&self, fragment: &Fragment<'_>) -> bool {
        self.number == fragment.number
            && self.total == fragment.total
            && self.topic_hash == fragment.topic_hash
    }
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
    /// fragments which follow the one that the last call of [`datagram`](Self::datagram) took in, or those of the
    /// same message after one that is not wanted or was too late; tells how
    /// many. Each of them has `stride` bytes, and what is shorter is not looked at. With each it
    /// does what [`datagram`](Self::datagram) would, at a fraction of the cost, but asks the sink once
    /// whether the stream is wanted, not again whether the topic is, and calls it with one message at most.
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
        self.accept_run(now, &run);
        match lead {
            Lead::Message { message, .. } => {
                let datagrams = train.chunks_exact(stride).take(run.count);
                let fragments = datagrams.filter_map(|it| it.get(FRAGMENT_OVERHEAD..));
                self.take_run(&at, message, &run, fragments, sink);
            }
            Lead::Refusal(refusal) => {
                self.counters
                    .frames
                    .count_fragments(refusal.fate, run.count as u64);
                self.store.drop_run(&at, &run);
            }
        }
        Some(run.count)
    }

    /// Accepts the datagrams of a run.
    pub(super) fn accept_run(&mut self, now: Duration, run: &Run) {
        self.store.expire(now);
        let count = run.count as u64;
        self.counters.datagrams_fed += count;
        self.counters.datagrams.accepted += count;
        self.counters.bytes_fed += run.bytes as u64;
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
        let take = |assembly: &mut Assembly| assembly.take_run(run, fragments, at.now);
        match self.store.take_run(message, at, run, take) {
            Progress::Complete(key) => {
                self.lead = None;
                self.complete(at, run.number, key, sink);
            }
            _ => self.lead = Some(Lead::Message { stream, message }),
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
        let (prefix, data) = train.get(..stride)?.split_first_chunk()?;
        let plain = Plain::with_prefix(prefix, data)?;
        let room = self.room_behind(lead, now, &plain);
        let mut followers = Followers::of(prefix)?;
        let behind = train.chunks_exact(stride).take(room).skip(1);
        let behind = behind.take_while(|it| followers.is_begun_by(it)).count();
        (room > 0).then(|| self.run(lead, now, &plain, behind))?
    }

    /// The run of `first` and the `behind` datagrams after it, and where its stream is after it.
    pub(super) fn run(
        &self,
        lead: Lead,
        now: Duration,
        first: &Plain<'_>,
        behind: usize,
    ) -> Option<(Run, Context)> {
        let stream = self.store.streams.get(lead.stream())?;
        let count = behind.saturating_add(1);
        let run = Run {
            number: first.fragment.number,
            count,
            bytes: count.saturating_mul(first.len()),
        };
        let at = Context {
            stream: lead.stream(),
            id: stream.id,
            sequence: first.sequence.saturating_add(behind as u64),
            now,
        };
        Some((run, at))
    }

    /// How many full fragments from that of `first` on, one behind the other, can be taken in together.
    pub(super) fn room_behind(&self, lead: Lead, now: Duration, first: &Plain<'_>) -> usize {
        let stream = self.store.streams.get(lead.stream());
        let follows = stream.is_some_and(|stream| {
            first.stream == stream.id && stream.datagrams.is_next(first.sequence)
        });
        match lead {
            _ if !follows => 0,
            Lead::Message { message, .. } => {
                let goes_on = |message: &&Assembly| {
                    let rest = now.saturating_sub(message.advanced);
                    rest < self.store.limits.expiry && message.continues_with(&first.fragment)
                };
                let message = self.store.pool.get(message).filter(goes_on);
                message.map_or(0, Assembly::room_for_run)
            }
            Lead::Refusal(refusal) if refusal.covers(&first.fragment) => usize::MAX,
            Lead::Refusal(_) => 0,
        }
    }
}
