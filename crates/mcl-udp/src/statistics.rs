//! The account of a listener.

use mcl_net::{Foreign, ReceiveBuffer};
use mcl_wire::{Counters, StreamReport};

use crate::interface::InterfaceChanges;

/// What a listener has received and lost so far, each loss by its cause.
///
/// A snapshot: take it as often as you like, while messages arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStatistics {
    /// Datagrams, frames and messages by what became of them
    /// ([`mcl_wire::Counters`]); each datagram is counted exactly once.
    pub wire: Counters,
    /// The same per stream, in no order; `missing` is what sequence numbers say.
    pub streams: Vec<StreamReport>,
    /// Datagrams that reached the socket for another group or over another
    /// interface; not among those of `wire`.
    pub foreign: Foreign,
    /// Messages dropped because their CRC-32C did not match.
    pub crc_mismatch: u64,
    /// Messages that came whole while there was no subscription to take them.
    pub unclaimed: u64,
    /// Errors that receiving from the socket gave.
    pub receive_errors: u64,
    /// The kernel's receive buffer as asked for and as granted.
    pub receive_buffer: ReceiveBuffer,
    /// How often the kernel dropped for want of room in that buffer: a
    /// diagnostic that explains missing datagrams but counts buffers, not
    /// datagrams. `None` if it cannot be read from the calling thread. It goes on
    /// when the listener joins anew.
    pub kernel_drops: Option<u64>,
    /// How often the interface was away, and what came of it.
    pub interface: InterfaceChanges,
    /// Bytes of messages under reassembly.
    pub reassembly_bytes: usize,
}

impl ListenerStatistics {
    /// Datagrams missing by their sequence numbers, over all streams.
    #[must_use]
    pub fn datagrams_missing(&self) -> u64 {
        let known: u64 = self
            .streams
            .iter()
            .map(|stream| stream.datagrams.missing)
            .sum();
        known + self.wire.departed.datagrams_missing
    }

    /// Messages that were begun or announced by later numbers and did not come
    /// whole: nothing seen of them, given up, or refused. Those still under
    /// reassembly are not among them.
    #[must_use]
    pub fn messages_lost(&self) -> u64 {
        let unseen: u64 = self
            .streams
            .iter()
            .map(|stream| stream.numbers.missing)
            .sum();
        let messages = &self.wire.messages;
        unseen
            + self.wire.departed.messages_missing
            + messages.expired
            + messages.stranded
            + messages.evicted
            + messages.abandoned
            + messages.refused
            + messages.too_large
            + messages.whole_too_large
            + messages.malformed()
            + self.crc_mismatch
    }
}
