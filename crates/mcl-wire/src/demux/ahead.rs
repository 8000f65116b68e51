//! What datagrams will need is fetched before they are taken in.

use core::hash::BuildHasher;

use super::Demux;
use super::plain::Glance;
use crate::demux::arena::Key;

/// How many datagrams are looked at.
const MOST: usize = 16;

impl<S: BuildHasher> Demux<S> {
    /// Has the processor fetch what taking in `datagrams` will need, without waiting for it: of those that are a
    /// fragment and nothing else, what is known of their streams and messages, and where the bytes go, as far as
    /// there is a place for them already. The first 16 are looked at.
    ///
    /// For datagrams that came singly but are at hand together, such as from recvmmsg(2), right before the first
    /// is taken in. Of many streams in turn all of that has left the caches since the stream was heard last,
    /// and to wait for one thing after the other takes longer than the copy. A train needs none of it.
    ///
    /// Nothing changes but the time that [`datagram`](Self::datagram) takes. Where Rust has no safe and stable way to
    /// ask for that, which is everywhere but on x86-64, no more is fetched than what is read to find the rest.
    pub fn prefetch<'a>(&self, datagrams: impl IntoIterator<Item = &'a [u8]>) {
        // One thing after the other, but of all at the same time: what is read here was asked for in the pass
        // before, or is waited for together with that of the others.
        let mut coming = [None; MOST];
        for (place, datagram) in coming.iter_mut().zip(datagrams) {
            *place = Glance::at(datagram).and_then(|glance| {
                let stream = self
                    .store
                    .streams
                    .prefetch(glance.stream, glance.sequence)?;
                Some((stream, glance))
            });
        }
        let mut messages = [Key::NIL; MOST];
        for ((stream, glance), message) in coming.iter().flatten().zip(&mut messages) {
            let pending = self.store.pending(*stream, glance.number);
            *message = pending.unwrap_or(Key::NIL);
            self.store.pool.prefetch(*message);
        }
        for ((_, glance), message) in coming.iter().flatten().zip(messages) {
            if let Some(message) = self.store.pool.get(message) {
                message.prefetch_place(glance.start, glance.len);
            }
        }
    }
}
