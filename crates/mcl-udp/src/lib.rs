//! Publish/subscribe between processes over IPv6 UDP multicast.

mod bincode;
mod broadcaster;
mod codec;
mod connection;
mod drain;
mod error;
mod filter;
mod interface;
mod limit;
mod listener;
mod message;
mod payload;
mod pipe;
mod queue;
mod shared;
mod statistics;
mod subscription;
mod sync;
mod transmitter;

pub use bincode::{Bincode, BincodeError};
pub use broadcaster::{Broadcaster, BroadcasterBuilder, DEFAULT_MAX_MESSAGE_LEN, RawBroadcaster};
pub use codec::{Codec, CodecError, Decoder, Encoder, Encoding, Raw};
pub use connection::{
    CONNECTION_VARIABLE, Connection, ConnectionError, DEFAULT_ADDRESS, DEFAULT_PORT,
    INTERFACE_VARIABLE,
};
pub use error::{OpenError, PublishError};
pub use listener::{Listener, ListenerBuilder, RawListener};
pub use mcl_net::{
    ChooseError, Foreign, Group, GroupError, Interface, InterfaceChoice, InterfaceError, PacedRate,
    Pacing, ParseChoiceError, ReceiveBuffer, Scope, SendErrorKind, SocketError, Usability,
    interfaces,
};
pub use mcl_wire::{
    Counters, DatagramCounts, DepartedCounts, FrameCounts, MessageCounts, SequenceCounts, StreamId,
    StreamReport,
};
pub use message::{DecodeError, Message, Topic, Undecodable};
pub use payload::Payload;
pub use pipe::Queued;
pub use queue::{Iter, Queue, RecvError, RecvTimeoutError, TryRecvError};
pub use statistics::ListenerStatistics;
pub use subscription::{Policy, QueueOptions, SubscriptionId, SubscriptionStatistics};
pub use transmitter::BroadcasterStatistics;
