//! What matters for speed, as options of each of the four.

use std::time::Duration;

use clap::Args;
use mcl_udp::{
    BroadcasterBuilder, Connection, DEFAULT_MAX_MESSAGE_LEN, ListenerBuilder, Pacing, Payload,
    QueueOptions, Raw, RawBroadcaster, RawListener,
};

use crate::arguments::Network;
use crate::failure::Failure;

/// A listener and a broadcaster of the kind measured, not yet open.
pub(super) type ListenerSetup = ListenerBuilder<Payload, Raw>;
pub(super) type BroadcasterSetup = BroadcasterBuilder<[u8], Raw>;

/// Options of the library that matter for speed. Those of the other direction
/// are accepted and have no effect.
#[derive(Args, Clone, Debug)]
pub(super) struct Tuning {
    /// Let small messages share datagrams, held back at most so long (1000 if it is not said)
    #[arg(long, value_name = "MICROSECONDS", num_args = 0..=1, default_missing_value = "1000")]
    pub(super) coalesce: Option<u64>,
    /// Publish so many messages with one call, when going without a rate
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) batch: Option<u16>,
    /// Have messages carry no CRC-32C, which listeners would check
    #[arg(long)]
    pub(super) no_crc: bool,
    /// Have messages not tell when they were published
    #[arg(long)]
    pub(super) no_time: bool,
    /// Receive in a callback on the thread that drains the socket
    #[arg(long)]
    pub(super) inline: bool,
    /// Receive on the calling thread, without any thread of the library's
    #[arg(long, conflicts_with = "inline")]
    pub(super) pull: bool,
    /// Room for so many messages in the queue that is received from
    #[arg(long, value_name = "MESSAGES", conflicts_with_all = ["inline", "pull"])]
    pub(super) queue: Option<usize>,
    /// Poll without sleeping, so long after the last arrival (without a number: always)
    #[arg(long, value_name = "MICROSECONDS", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "clap's type for an optional value")]
    pub(super) spin: Option<Option<u64>>,
    /// Send as fast as the machine goes
    #[arg(long)]
    pub(super) no_pacing: bool,
    /// Longest datagram in bytes of UDP payload, for links with an MTU above 1500
    #[arg(long, value_name = "BYTES")]
    pub(super) datagram: Option<usize>,
    /// Receive buffer in bytes that the listener asks for
    #[arg(long, value_name = "BYTES")]
    pub(super) rcvbuf: Option<usize>,
    /// Pace for receivers with a receive buffer of this many bytes
    #[arg(long, value_name = "BYTES", conflicts_with = "no_pacing")]
    pub(super) pace_for: Option<usize>,
}

impl Tuning {
    pub(super) fn broadcaster(
        &self,
        network: &Network,
        connection: &Connection,
        size: usize,
    ) -> Result<RawBroadcaster, Failure> {
        let mut builder: BroadcasterSetup = RawBroadcaster::builder(connection)
            .hops(network.link.hops)
            .pacing(self.pacing())
            .crc(!self.no_crc)
            .publish_time(!self.no_time)
            .max_message_len(size.max(DEFAULT_MAX_MESSAGE_LEN));
        if let Some(topic) = network.link.topic()? {
            builder = builder.topic(topic);
        }
        if let Some(bytes) = self.datagram {
            builder = builder.datagram_len(bytes);
        }
        if let Some(delay) = self.coalesce {
            builder = builder.coalesce(Duration::from_micros(delay));
        }
        Ok(builder.open()?)
    }

    /// A listener to be opened in whichever way.
    pub(super) fn listener(
        &self,
        network: &Network,
        connection: &Connection,
        size: usize,
    ) -> ListenerSetup {
        let topics = network.link.topics.iter().map(String::as_str);
        let mut builder = RawListener::builder(connection)
            .topics(topics)
            .max_message_len(size.max(DEFAULT_MAX_MESSAGE_LEN));
        if let Some(bytes) = self.rcvbuf {
            builder = builder.receive_buffer(bytes);
        }
        if let Some(micros) = self.spin {
            builder = builder.spin(micros.map_or(Duration::MAX, Duration::from_micros));
        }
        builder
    }

    pub(super) fn queue(&self) -> QueueOptions {
        let default = QueueOptions::default();
        match self.queue {
            Some(messages) => default.with_max_messages(messages),
            None => default,
        }
    }

    fn pacing(&self) -> Pacing {
        match self.pace_for {
            _ if self.no_pacing => Pacing::None,
            Some(bytes) => Pacing::ForReceiveBuffer(bytes),
            None => Pacing::Auto,
        }
    }
}
