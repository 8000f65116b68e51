//! Fragments in a row.

use core::time::Duration;

use super::{Assembly, short};
use crate::demux::fetch::{fetch, fetch_all};
use crate::demux::run::Run;
use crate::frame::Fragment;

impl Assembly {
    /// Whether `fragment` is the first one that is missing, and full.
    #[inline]
    pub(crate) fn continues_with(&self, fragment: &Fragment<'_>) -> bool {
        fragment.number == self.number
            && fragment.index == self.next
            && fragment.data.len() == usize::from(self.size)
            && !self.contradicts(fragment)
    }

    /// Whether `fragment` [goes on](Self::continues_with) a message without a sign of a loss, and there is
    /// room for it already.
    #[inline]
    pub(crate) fn has_room_for_next(&self, fragment: &Fragment<'_>) -> bool {
        let end = self.start().saturating_add(fragment.data.len());
        end <= self.buffer.capacity()
            && self.is_in_order()
            && !self.has_gap()
            && self.continues_with(fragment)
    }

    /// Whether no fragment came before one that is missing.
    #[inline]
    pub(super) fn is_in_order(&self) -> bool {
        !self.has_stash() && self.ahead == 0
    }

    /// For how many full fragments that follow there is room already, if none came early: then
    /// there are no signs of a loss either.
    pub(crate) fn room_for_run(&self) -> usize {
        if !self.is_in_order() {
            return 0;
        }
        let end = self.buffer.capacity().min(self.total as usize);
        let room = end.saturating_sub(self.start());
        room.checked_div(usize::from(self.size)).unwrap_or(0)
    }

    /// Takes in full fragments that follow, for which there is [room](Self::room_for_run).
    pub(crate) fn take_run<'a>(
        &mut self,
        run: &Run,
        fragments: impl Iterator<Item = &'a [u8]>,
        now: Duration,
    ) {
        let mut end = self.start();
        for data in fragments {
            self.put(end, data);
            end = end.saturating_add(data.len());
        }
        self.ran(run, now);
    }

    /// Has the processor fetch what is known of the message.
    #[inline]
    pub(crate) fn prefetch(&self) {
        fetch(self);
        fetch(&self.gap);
    }

    /// Has the processor fetch where `len` bytes from `start` on go, as far as there are bytes already.
    #[inline]
    pub(crate) fn prefetch_place(&self, start: usize, len: usize) {
        let behind = self.buffer.get(start..).unwrap_or_default();
        fetch_all(behind.get(..len).unwrap_or(behind));
    }

    /// Notes that the fragments of a run are there.
    pub(super) fn ran(&mut self, run: &Run, now: Duration) {
        let count = short(run.count);
        self.received = self
            .received
            .saturating_add(count.saturating_mul(u32::from(self.size)));
        self.advanced = now;
        self.next = self.next.saturating_add(count);
    }

    /// Where the first fragment that is missing begins.
    pub(super) fn start(&self) -> usize {
        (self.next as usize).saturating_mul(usize::from(self.size))
    }
}
