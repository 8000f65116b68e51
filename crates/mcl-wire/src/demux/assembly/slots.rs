//! Fragments in a row, received in place or copied there.

use core::time::Duration;

use super::{Assembly, Trust, short};
use crate::demux::run::Run;
use crate::frame::Fragment;

impl Assembly {
    /// Makes slots for the `max` fragments that follow, or for all that are
    /// left of the message, and gives their length. `None` if not so many are
    /// missing in a row, or fragments beyond them are there already (these were
    /// lost rather than to be expected), or trust does not let them be written yet, or there is
    /// no memory yet: a train would not fit. Only a new buffer has to be filled
    /// with zeros, that far and no farther.
    pub(crate) fn prepare(&mut self, max: usize, trust: Trust) -> Option<usize> {
        let start = self.start();
        let end = max.saturating_mul(usize::from(self.size));
        let end = start.saturating_add(end).min(self.total());
        let reach = self.reach(0, trust).max(self.filled as usize);
        let fits = end > start && end <= reach.min(self.buffer.capacity());
        if !fits || self.has_stash() || self.ahead > 0 {
            return None;
        }
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        end.checked_sub(start)
    }

    /// Where the first fragment that is missing begins.
    fn start(&self) -> usize {
        (self.next as usize).saturating_mul(usize::from(self.size))
    }

    /// The slots made before, of `len` bytes together, and the length of one.
    pub(crate) fn slots(&mut self, len: usize) -> Option<(&mut [u8], usize)> {
        let start = self.start();
        let slots = self.buffer.get_mut(start..start.saturating_add(len))?;
        Some((slots, usize::from(self.size)))
    }

    /// What fragment `at` of those expected has brought, if the last of them
    /// is `last` and has `last_len` bytes.
    pub(crate) fn slot(
        &self,
        at: usize,
        len: usize,
        last_len: usize,
        last: usize,
    ) -> Option<&[u8]> {
        let size = usize::from(self.size);
        let from = at.saturating_mul(size);
        let to = from.saturating_add(if at == last { last_len } else { size });
        let start = self.start();
        let slots = self.buffer.get(start..start.saturating_add(len))?;
        slots.get(from..to)
    }

    /// Whether `fragment` is the one for slot `at`.
    pub(crate) fn expects(&self, fragment: &Fragment<'_>, at: usize) -> bool {
        let index = u32::try_from(at)
            .ok()
            .and_then(|at| self.next.checked_add(at));
        fragment.number == self.number
            && Some(fragment.index) == index
            && !self.contradicts(fragment)
    }

    /// For how many full fragments that follow there is room already, if there are no signs
    /// of a loss.
    pub(crate) fn room_for_run(&self) -> usize {
        if self.has_stash() || self.has_gap() || self.ahead > 0 {
            return 0;
        }
        let end = self.buffer.capacity().min(self.total());
        let room = end.saturating_sub(self.start());
        room.checked_div(usize::from(self.size)).unwrap_or(0)
    }

    /// Copies full fragments that follow to their slots, for which there is
    /// [room](Self::room_for_run).
    pub(crate) fn copy_run<'a>(&mut self, fragments: impl Iterator<Item = &'a [u8]>) {
        let mut offset = self.start();
        for data in fragments {
            self.put(offset, data);
            offset = offset.saturating_add(data.len());
        }
    }

    /// Takes in fragments which are in their slots already.
    pub(crate) fn take_run(&mut self, run: &Run, now: Duration) {
        let len = run.data();
        let end = self.start().saturating_add(len);
        self.filled = self.filled.max(short(end));
        self.received = self.received.saturating_add(short(len));
        self.advanced = now;
        // Nothing is beyond them; the last one tells what is to be known of a gap.
        let before = run.count.saturating_sub(1);
        self.next = self.next.saturating_add(short(before));
        self.mark(self.next);
    }
}
