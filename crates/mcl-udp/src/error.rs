//! Errors of opening and publishing.

use std::io;
use std::sync::Arc;

use mcl_net::{ChooseError, InterfaceError, SendErrorKind, SocketError};
use thiserror::Error;

use crate::codec::CodecError;

/// Why a broadcaster or a listener could not be opened. `Display` names the
/// step, the values and the remedy, over several lines where there is much to
/// say.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No interface can be used, or it is not clear which.
    #[error(transparent)]
    Interface(#[from] ChooseError),
    /// The interface chosen went away, or could not be looked at.
    #[error(transparent)]
    Look(#[from] InterfaceError),
    /// A step of setting the socket up failed.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A topic is longer than the wire allows.
    #[error(
        "a topic has {len} bytes; at most {} are possible",
        mcl_wire::MAX_TOPIC_LEN
    )]
    TopicTooLong {
        /// Bytes of the topic.
        len: usize,
    },
    /// The datagram length is too small for the wire format.
    #[error(
        "datagrams of {len} bytes are too short for the wire format: at least {} are needed (see the interface's MTU, and `datagram_len`)",
        mcl_wire::MIN_DATAGRAM_LEN
    )]
    DatagramTooShort {
        /// Bytes of a datagram.
        len: usize,
    },
    /// The system gave no random number to name the stream with.
    #[error("cannot get a random stream id: {0}")]
    Random(#[source] io::Error),
    /// The thread that receives, or that sends what waits, could not be started.
    #[error("cannot start a thread: {0}; see `ulimit -u`")]
    Thread(#[source] io::Error),
}

/// Why a message was not published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broadcaster is closed.
    #[error("the broadcaster is closed")]
    Closed,
    /// The payload is longer than this broadcaster's limit.
    #[error("a payload of {len} bytes is above the limit of {max}; see `max_message_len`")]
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The topic is longer than the wire allows.
    #[error(
        "a topic has {len} bytes; at most {} are possible",
        mcl_wire::MAX_TOPIC_LEN
    )]
    TopicTooLong {
        /// Bytes of the topic.
        len: usize,
    },
    /// The value could not be serialized.
    #[error("cannot encode the value: {0}")]
    Encode(#[source] CodecError),
    /// `try_publish` would have had to wait: for the pacing, for room in the
    /// send buffer or for the interface's address. Nothing was sent.
    #[error("publishing would block")]
    WouldBlock,
    /// The message can never go without waiting: it is longer than the burst
    /// that the pacing allows. Use `publish`, or another pacing.
    #[error("a message of {len} bytes cannot go at once: the pacing allows bursts of {burst}")]
    ExceedsBurst {
        /// Bytes on the wire.
        len: usize,
        /// Bytes that may go at once.
        burst: usize,
    },
    /// The interface cannot send: down, gone, or without a usable address.
    /// Nothing was sent.
    #[error(transparent)]
    Interface(SendErrorKind),
    /// Some datagrams of the message went out, then sending failed. Listeners
    /// count the message as incomplete.
    #[error("{sent} of {of} datagrams were sent, then: {source}")]
    Partial {
        /// Datagrams sent.
        sent: usize,
        /// Datagrams of the whole message.
        of: usize,
        /// Why it ended.
        source: Box<PublishError>,
    },
    /// Messages that were accepted could not be sent later. Told once, by
    /// [`flush`](crate::Broadcaster::flush), or by the publish call that sent the
    /// train which its own message shared with those of other threads.
    #[error("{messages} messages were accepted, then could not be sent: {source}")]
    Unsent {
        /// How many messages.
        messages: u64,
        /// Why the first of them was not.
        source: Arc<PublishError>,
    },
    /// The interface's MTU kept falling while the message was being sent.
    #[error("the interface's MTU fell {times} times while the message was sent")]
    MtuUnstable {
        /// How often the message was begun.
        times: u32,
    },
}

/// A batch that was not sent whole.
#[derive(Debug, Error)]
#[error("{sent} messages of the batch were sent, then: {source}")]
#[non_exhaustive]
pub struct BatchError {
    /// Messages of the batch that the kernel has: its first ones.
    pub sent: u64,
    /// Why the next one was not.
    pub source: PublishError,
}
