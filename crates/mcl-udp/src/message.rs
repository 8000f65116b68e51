//! What a listener delivers.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use mcl_wire::{Encoding, StreamId};
use thiserror::Error;

use crate::codec::CodecError;
use crate::payload::Payload;

/// The name of a kind of messages within a connection: UTF-8, at most 255 bytes.
/// Cheap to clone; the same topic received twice shares its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Topic {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Topic {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Gives out one shared [`Topic`] for equal texts.
#[derive(Debug, Default)]
pub(crate) struct TopicCache {
    known: HashSet<Topic>,
    last: Option<Topic>,
}

impl TopicCache {
    /// The network chooses the topics, so their number must have an end; beyond
    /// it the cache starts anew.
    const MOST: usize = 4096;

    pub(crate) fn intern(&mut self, text: &str) -> Topic {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == text) {
            return last.clone();
        }
        let topic = self.look_up(text);
        self.last = Some(topic.clone());
        topic
    }

    fn look_up(&mut self, text: &str) -> Topic {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        let topic = Topic::from(text);
        self.known.insert(topic.clone());
        topic
    }
}

/// A message as a listener delivers it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message<T> {
    /// The topic, if it was published with one. No topic and the empty topic
    /// are two things.
    pub topic: Option<Topic>,
    /// The value, or the bytes.
    pub payload: T,
    /// Which broadcaster instance sent it: a random number that a restart
    /// changes.
    pub stream: StreamId,
    /// Its number in that stream, from 0; a gap is a message not received (or
    /// filtered out, or still on its way).
    pub number: u64,
    /// The sender's address and port.
    pub sender: SocketAddrV6,
    /// Index of the interface on which it arrived.
    pub interface: NonZeroU32,
    /// When it was published, by the sender's clock, if the sender says.
    pub published: Option<SystemTime>,
    /// When its last datagram reached this machine's kernel, by this machine's
    /// clock.
    pub received: SystemTime,
    /// How the payload is encoded, as the sender says.
    pub encoding: Encoding,
    /// Which schema the payload follows, if the sender says.
    pub schema: Option<u64>,
}

impl Message<Payload> {
    /// A place for a message.
    pub(crate) fn nothing() -> Self {
        Self {
            topic: None,
            payload: Payload::default(),
            stream: StreamId(0),
            number: 0,
            sender: SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0),
            interface: NonZeroU32::MIN,
            published: None,
            received: SystemTime::UNIX_EPOCH,
            encoding: Encoding::RAW,
            schema: None,
        }
    }

    /// The same message around another payload. Takes the topic, and leaves what is
    /// plain data where it is as well.
    #[inline(always)]
    pub(crate) fn take_with<T>(&mut self, payload: T) -> Message<T> {
        Message {
            topic: self.topic.take(),
            payload,
            stream: self.stream,
            number: self.number,
            sender: by_numbers(&self.sender),
            interface: self.interface,
            published: self.published,
            received: self.received,
            encoding: self.encoding,
            schema: self.schema,
        }
    }

    /// Moves the message to another place.
    #[inline]
    pub(crate) fn move_to(&mut self, place: &mut Self) {
        // Field by field: to build it and then to copy it takes several times longer.
        place.topic = self.topic.take();
        place.payload = self.payload.take();
        place.stream = self.stream;
        place.number = self.number;
        place.sender = self.sender;
        place.interface = self.interface;
        place.published = self.published;
        place.received = self.received;
        place.encoding = self.encoding;
        place.schema = self.schema;
    }

    /// The message as one that is no value of the listener's type, out of its place.
    #[cold]
    pub(crate) fn undecodable(&mut self, reason: DecodeError) -> Box<Undecodable> {
        let message = self.take();
        Box::new(Undecodable { message, reason })
    }

    /// The same message, out of its place.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        let payload = self.payload.take();
        self.take_with(payload)
    }
}

/// A copy of `address`. As 28 bytes it would be moved in two pieces that overlap, and the
/// processor would have to wait for the one before it can read the other.
#[inline(always)]
fn by_numbers(address: &SocketAddrV6) -> SocketAddrV6 {
    let ip = Ipv6Addr::from_bits(address.ip().to_bits());
    let (port, flow, scope) = (address.port(), address.flowinfo(), address.scope_id());
    SocketAddrV6::new(ip, port, flow, scope)
}

/// A message that arrived whole but is no value of the listener's type.
#[derive(Debug, Error)]
#[error("message {} of stream {} cannot be decoded: {reason}", message.number, message.stream)]
#[non_exhaustive]
pub struct Undecodable {
    /// The message, with its bytes.
    pub message: Message<Payload>,
    /// Why it is no such value.
    #[source]
    pub reason: DecodeError,
}

/// Why a payload is no value of the listener's type.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Its encoding is not the listener's.
    #[error("its encoding is {got}, the listener's codec reads {}", Expected(*expected))]
    Encoding {
        /// What the listener's codec reads, if it is one encoding.
        expected: Option<Encoding>,
        /// What the message says.
        got: Encoding,
    },
    /// Its schema is not the listener's.
    #[error("its schema is {}, the listener expects {expected:#018x}", Schema(*got))]
    Schema {
        /// What the listener was opened with.
        expected: u64,
        /// What the message says.
        got: Option<u64>,
    },
    /// The bytes do not follow the encoding, or hold another type.
    #[error(transparent)]
    Malformed(CodecError),
}

struct Expected(Option<Encoding>);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(encoding) => encoding.fmt(f),
            None => f.write_str("others"),
        }
    }
}

struct Schema(Option<u64>);

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(schema) => write!(f, "{schema:#018x}"),
            None => f.write_str("not named"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_topics_share_their_text() {
        let mut cache = TopicCache::default();
        let first = cache.intern("imu");
        cache.intern("lidar");
        let again = cache.intern("imu");
        assert!(Arc::ptr_eq(&first.0, &again.0));
    }

    #[test]
    fn the_cache_does_not_grow_without_end() {
        let mut cache = TopicCache::default();
        for number in 0..3 * TopicCache::MOST {
            cache.intern(&number.to_string());
        }
        assert!(cache.known.len() <= TopicCache::MOST);
    }
}
