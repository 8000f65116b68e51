//! Setting a broadcaster up.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcl_net::{Pacer, Pacing, Sender, SenderOptions};
use mcl_wire::{Encoding, MIN_DATAGRAM_LEN, StreamId, TopicTooLong};

use super::{Broadcaster, DEFAULT_MAX_MESSAGE_LEN, Settings};
use crate::bincode::Bincode;
use crate::codec::{Encoder, Raw};
use crate::connection::Connection;
use crate::error::OpenError;
use crate::interface::{Await, Place, finder, pick};
use crate::message::Topic;
use crate::publisher::Publisher;
use crate::transmitter::Transmitter;

/// Sets a [`Broadcaster`] up.
#[must_use = "a builder does nothing until `open`"]
pub struct BroadcasterBuilder<T: ?Sized, C = Bincode> {
    connection: Connection,
    topic: Option<String>,
    sender: SenderOptions,
    awaits: Await,
    pacing: Pacing,
    coalesce: Option<Duration>,
    settings: Settings,
    codec: C,
    values: PhantomData<fn(&T)>,
}

impl<T: ?Sized, C> BroadcasterBuilder<T, C> {
    pub(super) fn new(connection: &Connection, codec: C) -> Self {
        let settings = Settings {
            max_message_len: DEFAULT_MAX_MESSAGE_LEN,
            publish_time: true,
            crc: true,
            schema: None,
            encoding: None,
        };
        Self {
            connection: connection.clone(),
            topic: None,
            sender: SenderOptions::default(),
            awaits: Await::Nothing,
            pacing: Pacing::Auto,
            coalesce: None,
            settings,
            codec,
            values: PhantomData,
        }
    }

    /// The topic of messages published without naming one; none by default.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Opens even where there is no usable interface yet. Publishing fails
    /// ([`PublishError::Interface`](crate::PublishError::Interface)) until it is there.
    ///
    /// Name the interface in the connection: where the system chooses, it is the
    /// first one that is usable when something is published.
    pub fn await_interface(mut self) -> Self {
        self.awaits = Await::Later;
        self
    }

    /// Lets `open` wait up to `timeout` for a usable interface, and only then fail.
    pub fn wait_for_interface(mut self, timeout: Duration) -> Self {
        self.awaits = Await::Blocking(timeout);
        self
    }

    /// How many links the datagrams may cross: 1 (default) stays on this one,
    /// 0 on this machine.
    pub fn hops(mut self, hops: u8) -> Self {
        self.sender.hops = hops;
        self
    }

    /// The IPv6 traffic class; 0 by default.
    pub fn traffic_class(mut self, class: u8) -> Self {
        self.sender.traffic_class = class;
        self
    }

    /// Whether listeners on this machine hear it; on by default. To ignore only
    /// one's own messages, see [`ListenerBuilder::ignore`](crate::ListenerBuilder::ignore).
    pub fn loopback(mut self, on: bool) -> Self {
        self.sender.loopback = on;
        self
    }

    /// Bytes to ask of the kernel's send buffer; the system's default otherwise.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.sender.send_buffer = Some(bytes);
        self
    }

    /// The longest datagram in bytes of UDP payload, for links with an MTU above
    /// 1500; never more than the interface carries.
    pub fn datagram_len(mut self, bytes: usize) -> Self {
        self.sender.datagram_len = Some(bytes);
        self
    }

    /// How fast large messages go; [`Pacing::Auto`] by default.
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Lets small messages share datagrams, and these trains: a message waits at
    /// most `delay` for company. Off by default.
    ///
    /// A datagram carries many small messages then, and one system call many
    /// datagrams: many times the messages a second, for the price of the delay.
    /// A train is sent when it is full, when its first message has waited for
    /// `delay`, and by [`flush`](Broadcaster::flush),
    /// [`publish_batch`](Broadcaster::publish_batch) and
    /// [`close`](Broadcaster::close). With a delay of zero a message is sent at
    /// once if nobody is sending, and else right after, together with what other
    /// threads bring meanwhile. A message that does not fit one datagram goes by
    /// itself at once, after those that wait.
    ///
    /// [`publish`](Broadcaster::publish) then returns when the message is
    /// accepted. It waits only while one train is being sent and another is
    /// full; [`try_publish`](Broadcaster::try_publish) fails then. What cannot
    /// be sent later is counted ([`BroadcasterStatistics::unsent`](crate::BroadcasterStatistics::unsent)) and told by
    /// the next [`flush`](Broadcaster::flush).
    ///
    /// The broadcaster has a thread then, which sends what nobody else sends in
    /// time, and sleeps without a timer while nothing waits; and 128 KiB of
    /// buffers. As long as messages flow it wakes up once in every `delay`: on a
    /// virtual machine that can take 20 µs of a processor, a fifth of it with a delay of
    /// 100 µs.
    pub fn coalesce(mut self, delay: Duration) -> Self {
        self.coalesce = Some(delay);
        self
    }

    /// The longest payload in bytes; 64 MiB by default. Listeners have a limit
    /// of their own.
    pub fn max_message_len(mut self, bytes: usize) -> Self {
        self.settings.max_message_len = bytes;
        self
    }

    /// Whether messages carry the time of publishing; on by default (10 bytes
    /// and some tens of nanoseconds a message).
    pub fn publish_time(mut self, on: bool) -> Self {
        self.settings.publish_time = on;
        self
    }

    /// Whether messages carry a CRC-32C of topic, metadata and payload, which
    /// listeners then check; on by default.
    ///
    /// UDP's checksum has 16 bits: it misses one in hundreds of damages that touch two
    /// bytes, and every one that makes words change places; between processes of one
    /// machine nobody checks it at all. The CRC costs six bytes and some 50 ns on either
    /// side where messages are smallest, and 40 us for each MiB.
    pub fn crc(mut self, on: bool) -> Self {
        self.settings.crc = on;
        self
    }

    /// Names the schema that payloads follow. A listener that expects another
    /// one reports a typed error instead of a wrong value.
    pub fn schema(mut self, schema: u64) -> Self {
        self.settings.schema = Some(schema);
        self
    }

    /// Serializes with `codec` instead.
    pub fn codec<D: Encoder<T>>(self, codec: D) -> BroadcasterBuilder<T, D> {
        BroadcasterBuilder {
            connection: self.connection,
            topic: self.topic,
            sender: self.sender,
            awaits: self.awaits,
            pacing: self.pacing,
            coalesce: self.coalesce,
            settings: self.settings,
            codec,
            values: PhantomData,
        }
    }
}

impl BroadcasterBuilder<[u8], Raw> {
    /// Says how the bytes to be published are encoded; [`Encoding::RAW`] (no
    /// claim) by default.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.settings.encoding = Some(encoding);
        self
    }
}

impl<T: ?Sized, C: Encoder<T>> BroadcasterBuilder<T, C> {
    /// Opens the broadcaster. Sends nothing yet.
    ///
    /// The interface is the connection's, else what the environment variable
    /// `MCL_INTERFACE` names, else the system's choice for the group. Without a usable
    /// one it fails at once, unless told otherwise
    /// ([`await_interface`](Self::await_interface),
    /// [`wait_for_interface`](Self::wait_for_interface)).
    ///
    /// # Errors
    /// [`OpenError`]: no usable interface, a socket option refused, a topic of
    /// more than 255 bytes, no thread to be had for coalescing.
    pub fn open(self) -> Result<Broadcaster<T, C>, OpenError> {
        let head = self
            .settings
            .head(self.settings.encoding(&self.codec), self.topic.as_deref())
            .map_err(|TopicTooLong { len, .. }| OpenError::TopicTooLong { len })?;
        let mut finder = finder(&self.connection);
        let interface = pick(&mut finder, self.awaits)?;
        let mut options = self.sender;
        // The transmitter waits for an address itself, without holding the sender.
        options.ready_timeout = Duration::ZERO;
        let sender = match &interface {
            Some(interface) => Sender::open(self.connection.group(), interface, &options)?,
            None => Sender::open_unplaced(self.connection.group(), &options)?,
        };
        if sender.datagram_len() < MIN_DATAGRAM_LEN {
            return Err(OpenError::DatagramTooShort {
                len: sender.datagram_len(),
            });
        }
        let pacer = Pacer::new(self.pacing);
        let stream = StreamId(getrandom::u64().map_err(random_failed)?);
        let place = Arc::new(Place::new(&finder, interface));
        let transmitter = Transmitter::new(stream, sender, pacer, finder, place);
        let publisher = Publisher::new(transmitter, self.coalesce).map_err(OpenError::Thread)?;
        Ok(Broadcaster {
            connection: self.connection,
            topic: self.topic.as_deref().map(Topic::from),
            settings: self.settings,
            head,
            publisher,
            buffers: Mutex::new(Vec::new()),
            has_buffers: AtomicBool::new(false),
            codec: self.codec,
            values: PhantomData,
        })
    }
}

impl<T: ?Sized, C> fmt::Debug for BroadcasterBuilder<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcasterBuilder")
            .field("connection", &self.connection)
            .field("topic", &self.topic)
            .field("sender", &self.sender)
            .field("pacing", &self.pacing)
            .field("coalesce", &self.coalesce)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn random_failed(error: getrandom::Error) -> OpenError {
    OpenError::Random(io::Error::other(error))
}
