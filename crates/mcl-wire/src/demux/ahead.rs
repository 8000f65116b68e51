//! What datagrams will need is fetched before they are taken in.

use core::hash::BuildHasher;

use super::Demux;
use super::plain::Glance;
use crate::demux::arena::Key;

/// How many datagrams are looked at: where as many fragments go takes half of the processor's first cache.
const MOST: usize = 16;

/// Bytes of a line of the cache.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

impl<S: BuildHasher> Demux<S> {
    /// Has the processor fetch what taking in `datagrams` will need, without waiting for it: what is known of their
    /// streams and of the messages of which they bring fragments, and where the fragments go. The first 16
    /// are looked at, in whatever state they are.
    ///
    /// For datagrams that came singly but are at hand together, such as from recvmmsg(2), right before the first
    /// is taken in. Of many streams in turn all of that has left the caches since the stream was heard last,
    /// and to wait for one thing after the other takes longer than the copy. A train needs none of it.
    ///
    /// Nothing changes but the time that [`datagram`](Self::datagram) takes; and nothing at all
    /// where Rust has no safe and stable way to say so, which is everywhere but on x86-64.
    pub fn prefetch<'a>(&self, datagrams: impl IntoIterator<Item = &'a [u8]>) {
        // One thing after the other, but of all at the same time.
        let mut coming = [const { None }; MOST];
        let mut places = coming.iter_mut();
        for (datagram, place) in datagrams.into_iter().zip(&mut places) {
            *place = Glance::at(datagram).and_then(|glance| {
                let stream = self.store.streams.prefetch(glance.stream)?;
                Some((stream, glance))
            });
        }
        let used = MOST.saturating_sub(places.len());
        let coming = coming.get(..used).unwrap_or_default();
        let mut messages = [Key::NIL; MOST];
        for ((stream, glance), message) in coming.iter().flatten().zip(&mut messages) {
            let pending = self.store.pending(*stream, glance.number);
            *message = pending.unwrap_or(Key::NIL);
            self.store.pool.prefetch(*message);
        }
        for ((_, glance), message) in coming.iter().flatten().zip(messages) {
            if let Some(message) = self.store.pool.get(message) {
                message.prefetch(glance.start, glance.len);
            }
        }
    }
}

/// Has the processor fetch the line in which `place` begins.
#[inline]
pub(crate) fn fetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(place);
    // `core::hint::prefetch_write` will be one for all processors.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Has the processor fetch `bytes`.
#[inline]
pub(crate) fn fetch_all(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    bytes.iter().step_by(LINE).for_each(fetch);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
