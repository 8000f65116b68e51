//! Receiving in place: where the next fragments are expected, so that the kernel
//! can put them there.

use core::fmt;
use core::hash::BuildHasher;
use core::time::Duration;

use super::{Context, Demux};
use crate::demux::arena::Key;
use crate::demux::plain::{Followers, Plain, Prefix};
use crate::demux::received::Sink;
use crate::demux::run::Run;
use crate::fragmenter::FRAGMENT_OVERHEAD;

/// Trains in a row of one stream's messages before the next is predicted.
const TRAINS: u8 = 2;
/// Most trains after a miss for which nothing is predicted.
const MAX_PENALTY: u32 = 63;

/// Where the data of the next fragments is expected: see [`Demux::landing`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Landing<'a> {
    /// The places of the fragments' data, one after the other. What they hold
    /// is of no meaning.
    pub slots: &'a mut [u8],
    /// Bytes of each place; the last one may be shorter.
    pub fragment_len: usize,
}

/// What landed is not what was predicted: see [`Demux::landed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed;

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the datagrams are not the fragments that were expected")
    }
}

impl core::error::Error for Missed {}

/// A message under reassembly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lead {
    pub(super) stream: Key,
    pub(super) number: u64,
    pub(super) message: Key,
}

/// Guesses from what came whether the same will go on.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// The message that advanced last.
    lead: Option<Lead>,
    /// Whether there was no other message since the last train, but for one
    /// that began after the end of the one before.
    steady: bool,
    /// Whether anything came since the last train.
    fresh: bool,
    /// Whether the last datagram was a fragment of that message.
    running: bool,
    /// Trains in a row that were steady.
    trains: u8,
    /// Trains to come for which nothing is predicted.
    skip: u32,
    penalty: u32,
    /// Bytes that are offered, until something else happens.
    offered: usize,
}

impl Forecast {
    /// A datagram came in the ordinary way.
    #[inline]
    pub(super) const fn withdraw(&mut self) {
        self.offered = 0;
        self.running = false;
    }

    #[inline]
    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    pub(super) const fn lead(&self) -> Option<Lead> {
        self.lead
    }

    /// More fragments of that message were stored.
    pub(super) const fn went_on(&mut self) {
        self.withdraw();
        self.fresh = true;
        self.running = true;
    }

    /// A fragment of a message was stored.
    #[inline]
    pub(super) fn advanced(&mut self, stream: Key, number: u64, message: Key) {
        let lead = Lead {
            stream,
            number,
            message,
        };
        self.fresh = true;
        self.running = true;
        if self.lead != Some(lead) {
            self.steady &= self.lead.is_none_or(|before| before.is_followed_by(lead));
            self.lead = Some(lead);
        }
    }

    /// Counts a train; whether there is reason for a prediction.
    fn train(&mut self) -> bool {
        if core::mem::take(&mut self.fresh) {
            self.skip = self.skip.saturating_sub(1);
            let steady = core::mem::replace(&mut self.steady, true);
            self.trains = if steady {
                self.trains.saturating_add(1)
            } else {
                0
            };
        }
        self.trains >= TRAINS && self.skip == 0
    }

    fn missed(&mut self) -> Missed {
        self.penalty = self
            .penalty
            .saturating_mul(2)
            .saturating_add(1)
            .min(MAX_PENALTY);
        self.skip = self.penalty;
        self.trains = 0;
        Missed
    }

    const fn hit(&mut self) {
        self.penalty = 0;
        self.went_on();
    }
}

impl Lead {
    /// Whether `next` is a later message of the same stream. That this one is
    /// complete is not asked: if it is not, the prediction will miss.
    fn is_followed_by(self, next: Self) -> bool {
        self.stream == next.stream && self.number < next.number
    }
}

impl<S: BuildHasher> Demux<S> {
    /// Where the fragments that follow the last one would go: the next
    /// `max_fragments` of the message that advanced last, or all that are left of
    /// it. Ask for as many as a train may have: one that does not fit misses. So a
    /// receiver can have the kernel write them where they belong: each
    /// datagram's first [`FRAGMENT_OVERHEAD`] bytes to a place of the caller's
    /// own, the rest into the next [slot](Landing::slots), and then hand in the
    /// former with [`landed`](Self::landed).
    ///
    /// `None` unless it is likely that they come next: nothing is under
    /// reassembly, the last trains were of several messages, predictions
    /// [`Missed`] lately, or so much buffer is not there yet. Call it once before each
    /// train is received: the calls are how trains are told apart.
    ///
    /// Until [`landed`](Self::landed) succeeds or [`datagram`](Self::datagram)
    /// is called, further calls give the same slots with what was written to
    /// them, whatever `max_fragments` is; unless the message is given up
    /// meanwhile by [`expire`](Self::expire).
    pub fn landing(&mut self, max_fragments: usize) -> Option<Landing<'_>> {
        let lead = if self.forecast.offered > 0 {
            self.forecast.lead?
        } else {
            let predictable = self.forecast.train();
            let lead = self.forecast.lead.filter(|_| predictable)?;
            let (trust, assembly) = self.store.message(lead.stream, lead.message, lead.number)?;
            self.forecast.offered = assembly.prepare(max_fragments, trust)?;
            lead
        };
        let offered = self.forecast.offered;
        let (_, assembly) = self.store.message(lead.stream, lead.message, lead.number)?;
        let (slots, fragment_len) = assembly.slots(offered)?;
        Some(Landing {
            slots,
            fragment_len,
        })
    }

    /// Takes in the datagrams whose data is in the slots of the last
    /// [`landing`](Self::landing): `prefixes` are their first
    /// [`FRAGMENT_OVERHEAD`] bytes, in order; the last one has `last_len` bytes
    /// of data, the others fill their slots. Does all that
    /// [`datagram`](Self::datagram) would do with each, but copies nothing, and
    /// asks the sink once whether the stream is wanted.
    ///
    /// # Errors
    ///
    /// [`Missed`] unless they are precisely the fragments predicted, in
    /// datagrams of consecutive sequence numbers beyond those seen, without
    /// anything else in them. They have then had no effect at all on any
    /// account. Call [`landing`](Self::landing) again to get at the bytes,
    /// copy them out, and give each datagram to [`datagram`](Self::datagram).
    pub fn landed(
        &mut self,
        now: Duration,
        prefixes: &[[u8; FRAGMENT_OVERHEAD]],
        last_len: usize,
        sink: &mut impl Sink,
    ) -> Result<(), Missed> {
        let Some((lead, run, at)) = self.expected(now, prefixes, last_len, sink) else {
            return Err(self.forecast.missed());
        };
        self.forecast.hit();
        self.take_run(lead, &at, &run, sink);
        Ok(())
    }

    /// The run, if these are the fragments predicted, and where its stream is after it.
    fn expected(
        &mut self,
        now: Duration,
        prefixes: &[Prefix],
        last_len: usize,
        sink: &mut impl Sink,
    ) -> Option<(Lead, Run, Context)> {
        let offered = self.forecast.offered;
        let lead = self.forecast.lead.filter(|_| offered > 0)?;
        let stream = self.store.streams.get(lead.stream)?;
        let assembly = self.store.pool.get(lead.message)?;
        if !self.is_alive(lead, now) {
            return None;
        }
        // The first and the last are looked at, those in between compared with the first.
        let last = prefixes.len().checked_sub(1)?;
        let plain = |at: usize| {
            let data = assembly.slot(at, offered, last_len, last)?;
            Plain::with_prefix(prefixes.get(at)?, data)
        };
        let (first, end) = (plain(0)?, plain(last)?);
        let run = Run {
            count: prefixes.len(),
            sequence: first.sequence,
            fragment_len: assembly.fragment_len(),
            last_len,
        };
        let follows = [first.stream, end.stream] == [stream.id; 2]
            && assembly.expects(&first.fragment, 0)
            && assembly.expects(&end.fragment, last)
            && end.sequence == run.last()?
            && stream.datagrams.is_ahead(first.sequence);
        let mut followers = Followers::of(prefixes.first()?)?;
        let mut between = prefixes.get(1..last).unwrap_or_default().iter();
        let wanted = follows
            && between.all(|prefix| followers.is_next(prefix))
            && sink.wants_stream(stream.id);
        let at = Context {
            stream: lead.stream,
            id: stream.id,
            sequence: end.sequence,
            now,
        };
        wanted.then_some((lead, run, at))
    }
}
