//! What comes out: messages, and who is asked about them.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::body::{Body, Layout};
use crate::header::StreamId;
use crate::metadata::Metadata;
use crate::topic::TopicHash;

/// Takes what a [`Demux`](crate::Demux) has to give, and says what is wanted.
pub trait Sink {
    /// Whether datagrams of `stream` are wanted at all. Asked for every
    /// well-formed header, but once for datagrams that are taken in together; what is not wanted
    /// leaves no trace but a count.
    fn wants_stream(&mut self, stream: StreamId) -> bool {
        let _ = stream;
        true
    }

    /// Whether a fragmented message is worth reassembling, by the hash of its
    /// topic. Asked for every fragment of a message that is not under
    /// reassembly: so for the first one seen.
    fn wants_hash(&mut self, hash: TopicHash) -> bool {
        let _ = hash;
        true
    }

    /// Whether a complete message is wanted, by its topic.
    fn wants_topic(&mut self, topic: Option<&str>) -> bool {
        let _ = topic;
        true
    }

    /// What to do with a complete message of a wanted topic. Taken, unless the sink
    /// says otherwise; it may compare the [CRC-32C](Metadata::crc32c), for instance.
    fn judge(&mut self, message: &Received<'_>) -> Verdict {
        let _ = message;
        Verdict::Wanted
    }

    /// Takes a complete message, once it was found [`Wanted`](Verdict::Wanted).
    fn message(&mut self, message: Received<'_>);

    /// Whether [`Demux::train`](crate::Demux::train) is to stop here; never, unless the sink says
    /// otherwise. Asked after each datagram, which can bring many messages, but once for those that are taken in
    /// together, which bring one at most.
    fn has_enough(&self) -> bool {
        false
    }
}

/// What is to become of a complete message: see [`Sink::judge`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// It is handed over.
    Wanted,
    /// It is dropped: it is not what was sent.
    CrcMismatch,
    /// It is dropped: there is nobody to take it.
    Unclaimed,
}

/// The bytes of a message body.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BodyBytes<'a> {
    /// A slice of the datagram in which the message came.
    Borrowed(&'a [u8]),
    /// The buffer in which the message was put together; its length is the
    /// body's. Give it back with [`Demux::recycle`](crate::Demux::recycle)
    /// when it is not needed any more.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for BodyBytes<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl BodyBytes<'_> {
    /// The bytes as a buffer of their own; copies borrowed ones.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Borrowed(bytes) => bytes.to_vec(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A complete message whose body has been found well-formed.
pub struct Received<'a> {
    /// The stream it came on.
    pub stream: StreamId,
    /// Its number in that stream.
    pub number: u64,
    /// Sequence number of the datagram which completed it.
    pub sequence: u64,
    pub(crate) bytes: BodyBytes<'a>,
    pub(crate) layout: Layout,
}

impl<'a> Received<'a> {
    /// The decoded body.
    #[must_use]
    pub fn body(&self) -> Body<'_> {
        Body::with_layout(self.bytes.as_ref(), self.layout)
    }

    /// The topic, if there is one.
    #[must_use]
    #[inline(always)]
    pub fn topic(&self) -> Option<&str> {
        self.layout.topic(self.bytes.as_ref())
    }

    /// The metadata.
    #[must_use]
    #[inline(always)]
    pub const fn metadata(&self) -> Metadata {
        self.layout.metadata()
    }

    /// The payload.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes
            .as_ref()
            .get(self.payload_range())
            .unwrap_or_default()
    }

    /// Where in the body the payload is.
    #[must_use]
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        self.layout.payload_offset()..self.bytes.as_ref().len()
    }

    /// The body's bytes: head and payload.
    #[must_use]
    #[inline]
    pub const fn bytes(&self) -> &BodyBytes<'a> {
        &self.bytes
    }

    /// Takes the body's bytes, without a copy.
    #[must_use]
    #[inline]
    pub fn into_bytes(self) -> BodyBytes<'a> {
        self.bytes
    }
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("stream", &self.stream)
            .field("number", &self.number)
            .field("sequence", &self.sequence)
            .field("topic", &self.topic())
            .field("metadata", &self.metadata())
            .field("payload_len", &self.payload().len())
            .finish_non_exhaustive()
    }
}
