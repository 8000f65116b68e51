//! The account of a listener.

use mcl_net::{Foreign, ReceiveBuffer};
use mcl_wire::{Account, Counters, StreamId, StreamReport};

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
    /// Errors that receiving from the socket gave.
    pub receive_errors: u64,
    /// The kernel's receive buffer as asked for and as granted.
    pub receive_buffer: ReceiveBuffer,
    /// How often the kernel dropped for want of room in that buffer: a
    /// diagnostic that explains missing datagrams but counts buffers, not
    /// datagrams. `None` if it cannot be read from the calling thread.
    pub kernel_drops: Option<u64>,
    /// Bytes of messages under reassembly.
    pub reassembly_bytes: usize,
}

impl ListenerStatistics {
    /// What became of the messages of all streams, those included that lost their
    /// place in the table: sent = delivered + missing + dropped, by cause. Per stream
    /// it is [`StreamReport::account`].
    ///
    /// Here `delivered` is what was handed to the subscriptions; what became of it there,
    /// [`SubscriptionStatistics`](crate::SubscriptionStatistics) tells.
    #[must_use]
    pub fn account(&self) -> Account {
        let mut account: Account = self.streams.iter().map(StreamReport::account).sum();
        account += self.wire.departed.account;
        account
    }

    /// The account of one stream, such as that of a certain broadcaster
    /// ([`Broadcaster::stream`](crate::Broadcaster::stream)).
    #[must_use]
    pub fn stream(&self, stream: StreamId) -> Option<&StreamReport> {
        self.streams.iter().find(|report| report.id == stream)
    }

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

    /// Messages that were begun or announced by later numbers and were not delivered:
    /// nothing seen of them, given up, refused or damaged ([`Account::lost`]). Those
    /// still under reassembly are not among them.
    #[must_use]
    pub fn messages_lost(&self) -> u64 {
        self.account().lost()
    }
}
