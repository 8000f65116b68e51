//! Trains that were received where the message is put together.

use core::time::Duration;

use super::{Assembly, Trust};
use crate::demux::landing::LANDING_LEN;
use crate::demux::run::Run;
use crate::fragmenter::FRAGMENT_OVERHEAD;

impl Assembly {
    /// Where the bytes of a train belong, from the first that is missing on, if the train cannot bring all
    /// that is missing, and if there is memory for it that may be written to.
    pub(crate) fn landing(&mut self, trust: Trust) -> Option<&mut [u8]> {
        let start = self.start();
        let end = start.saturating_add(LANDING_LEN);
        let reach = self.reach(0, trust).min(self.buffer.capacity());
        if end > reach.min(self.total()) || !self.is_in_order() || self.has_gap() {
            return None;
        }
        if end > self.buffer.len() {
            self.buffer.resize(end, 0);
        }
        self.buffer.get_mut(start..end)
    }

    /// The first `len` bytes of what was received there.
    pub(crate) fn landed(&self, len: usize) -> Option<&[u8]> {
        let start = self.start();
        self.buffer.get(start..start.saturating_add(len))
    }

    /// Takes in the full fragments of a run that was received there but for the first prefix: closes the gaps
    /// where the others are.
    pub(crate) fn take_landed(&mut self, run: &Run, now: Duration) {
        let (start, size) = (self.start(), usize::from(self.size));
        let len = run.bytes.saturating_sub(FRAGMENT_OVERHEAD);
        if let Some(landed) = self.buffer.get_mut(start..start.saturating_add(len)) {
            let stride = size.saturating_add(FRAGMENT_OVERHEAD);
            for index in 1..run.count {
                let from = index.saturating_mul(stride);
                landed.copy_within(from..from.saturating_add(size), index.saturating_mul(size));
            }
        }
        self.ran(run, now);
    }
}
