//! Messages that cannot become whole any more.
//!
//! A sender gives a message's fragments sequence numbers in order of their
//! indexes. So when a fragment comes and one before it has not, that one's
//! datagram has a lower sequence number; and what is older than the window of the
//! stream's sequence tracker is not accepted any more.

use super::Assembly;
use crate::demux::streams::WINDOW;

/// The same for a message that ended in a loss, as far as is known. Others of
/// the stream may take their turns before it goes on: as many as a receiver
/// puts together by default, each with a train of 64 datagrams.
const TURNS: u64 = 64 * 64;

/// What is known about the datagram of the first fragment that is missing: it was
/// sent before this sequence number, at a place where datagrams were lost. In one
/// word, of which a message under reassembly has none to spare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap(u64);

impl Gap {
    /// Nothing: most likely it has yet to be sent.
    pub(super) const NONE: Self = Self(u64::MAX);
    /// It was sent already, and it is to be found out when that was.
    const UNKNOWN: Self = Self(u64::MAX - 1);
}

impl Assembly {
    /// Whether there are signs that a fragment was lost.
    #[inline]
    pub(crate) fn has_gap(&self) -> bool {
        self.gap != Gap::NONE
    }

    /// Notes that datagrams right after the last one of this message, or before its
    /// first one, and before `sequence` are missing.
    pub(crate) fn note_loss(&mut self, sequence: u64) {
        if self.gap == Gap::NONE {
            self.gap = Gap(sequence);
        }
    }

    /// The fragment that was missing has come.
    pub(super) const fn moved_on(&mut self) {
        self.gap = if self.ahead > 0 {
            Gap::UNKNOWN
        } else {
            Gap::NONE
        };
    }

    /// The sequence number with which it is certain that the message cannot be
    /// completed, in a stream that is at `highest` now; `None` if there are no
    /// signs of that.
    pub(crate) fn stranded_at(&mut self, highest: u64) -> Option<u64> {
        if self.gap == Gap::UNKNOWN {
            self.gap = Gap(highest);
        }
        let patience = if self.ahead > 0 { WINDOW } else { TURNS };
        self.has_gap().then(|| self.gap.0.saturating_add(patience))
    }
}
