//! Trains that are received where the message is put together.

use core::hash::BuildHasher;
use core::time::Duration;

use super::Demux;
use super::plain::{Followers, Plain};
use super::run::{Lead, Run};
use crate::demux::Context;
use crate::demux::arena::Key;
use crate::demux::assembly::Assembly;
use crate::fragmenter::FRAGMENT_OVERHEAD;

/// Bytes of the place that [`Demux::landing`] names: 64 KiB, which no train exceeds, less what
/// [`FRAGMENT_OVERHEAD`] says of its first datagram.
pub const LANDING_LEN: usize = (64 << 10) - FRAGMENT_OVERHEAD;

impl<S: BuildHasher> Demux<S> {
    /// Where to receive the next train but for its first [`FRAGMENT_OVERHEAD`] bytes, [`LANDING_LEN`] bytes
    /// long: where the message of which the last datagram brought a fragment goes on. `None` if that is at
    /// an end, or less is to come of it, or fragments of it are missing, or too few have come for so
    /// much memory.
    ///
    /// If the train is one that goes on with the message, [`land`](Self::land) takes it in there; that spares
    /// a copy to memory which is in no cache. If it is another, what was written there is of no consequence:
    /// put it together elsewhere and have it taken in by [`train`](Self::train).
    ///
    /// ```
    /// # use std::hash::RandomState;
    /// # use std::time::Duration;
    /// # use mcl_wire::{BodyHead, Demux, FRAGMENT_OVERHEAD, Fragmenter, Limits, Metadata};
    /// # use mcl_wire::{Received, Sink, StreamId};
    /// # struct Length(usize);
    /// # impl Sink for Length {
    /// #     fn message(&mut self, message: Received<'_>) { self.0 = message.payload().len(); }
    /// # }
    /// let head = BodyHead::new(None, &Metadata::new())?;
    /// let payload = vec![7; 300_000];
    /// let mut demux = Demux::new(Limits::default(), RandomState::new());
    /// let (mut sink, mut sequence, mut landed) = (Length(0), 0, 0);
    /// for number in 0..2 {
    ///     let fragments: Vec<_> = Fragmenter::new(number, &head, &payload, 1452)?.collect();
    ///     for train in fragments.chunks(45) {
    ///         let mut bytes = Vec::new();
    ///         for fragment in train {
    ///             bytes.extend(fragment.prefix(StreamId(1), sequence));
    ///             bytes.extend([fragment.head, fragment.payload].concat());
    ///             sequence += 1;
    ///         }
    ///         let (prefix, rest) = bytes.split_first_chunk::<FRAGMENT_OVERHEAD>().unwrap();
    ///         if let Some(place) = demux.landing() {
    ///             place[..rest.len()].copy_from_slice(rest);
    ///             landed += usize::from(demux.land(Duration::ZERO, prefix, bytes.len(), 1452));
    ///         } else {
    ///             demux.train(Duration::ZERO, &bytes, 1452, &mut sink);
    ///         }
    ///     }
    ///     assert_eq!(sink.0, 300_000);
    /// }
    /// // Of the first message, whose stream had shown nothing, one train, and then three.
    /// assert_eq!(landed, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn landing(&mut self) -> Option<&mut [u8]> {
        let Lead::Message { stream, message } = self.lead? else {
            return None;
        };
        let trust = self.store.trust(stream);
        self.store.pool.get_mut(message)?.landing(trust)
    }

    /// Takes in a train of `len` bytes that begins with `prefix` and goes on where
    /// [`landing`](Self::landing) said, nothing else having been taken in since: datagrams of `stride` bytes each.
    /// Does what [`train`](Self::train) would, without asking whether the stream is wanted still, if each
    /// brings the fragment that follows the one before; else nothing, and says `false`.
    pub fn land(
        &mut self,
        now: Duration,
        prefix: &[u8; FRAGMENT_OVERHEAD],
        len: usize,
        stride: usize,
    ) -> bool {
        let landed = self.landed(now, prefix, len, stride);
        let Some((message, run, at)) = landed else {
            return false;
        };
        self.accept_run(now, &run);
        self.counters.frames.fragment_stored += run.count as u64;
        let take = |assembly: &mut Assembly| assembly.take_landed(&run, now);
        self.store.take_run(message, &at, &run, take);
        true
    }

    fn landed(
        &self,
        now: Duration,
        prefix: &[u8; FRAGMENT_OVERHEAD],
        len: usize,
        stride: usize,
    ) -> Option<(Key, Run, Context)> {
        let lead = self.lead?;
        let message = lead.message()?;
        let landed = len.checked_sub(FRAGMENT_OVERHEAD)?;
        let landed = self.store.pool.get(message)?.landed(landed)?;
        let (data, others) = landed.split_at_checked(stride.checked_sub(FRAGMENT_OVERHEAD)?)?;
        let first = Plain::with_prefix(prefix, data)?;
        let mut followers = Followers::of(prefix)?;
        let mut others = others.chunks_exact(stride);
        let behind = others.len();
        let whole = others.by_ref().all(|it| followers.is_begun_by(it));
        let fits = behind < self.room_behind(lead, now, &first);
        if !whole || !fits || !others.remainder().is_empty() {
            return None;
        }
        let (run, at) = self.run(lead, now, &first, behind)?;
        Some((message, run, at))
    }
}
