//! Publishing values.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use mcl_net::{Blocking, Interface, Pacer, Pacing, Sender, SenderOptions};
use mcl_wire::{BodyHead, Encoding, MIN_DATAGRAM_LEN, Metadata, StreamId, TopicTooLong};

use crate::bincode::Bincode;
use crate::codec::{Encoder, Raw};
use crate::connection::Connection;
use crate::error::{OpenError, PublishError};
use crate::interface::pick;
use crate::message::Topic;
use crate::sync::lock;
use crate::transmitter::{BroadcasterStatistics, Transmitter};

/// The longest payload by default, on both sides: 64 MiB.
pub const DEFAULT_MAX_MESSAGE_LEN: usize = 64 << 20;

/// How many encoding buffers are kept between messages.
const SPARE_BUFFERS: usize = 4;

/// The longest encoding buffer that is kept between messages.
const SPARE_CAPACITY: usize = 16 << 20;

/// Publishes values of type `T` to a [`Connection`].
///
/// Shared by reference between any number of threads. A value is serialized by
/// the calling thread; the lock is held only to number and send one train of
/// datagrams at a time. Nothing is sent until something is published, and no
/// thread works in the background.
///
/// ```no_run
/// use mcl_udp::{Broadcaster, Connection};
///
/// let connection = Connection::new("ff15::1")?;
/// let broadcaster = Broadcaster::<(f64, f64)>::builder(&connection).topic("position").open()?;
/// broadcaster.publish(&(47.4, 8.5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Broadcaster<T: ?Sized, C = Bincode> {
    connection: Connection,
    interface: Interface,
    topic: Option<Topic>,
    settings: Settings,
    head: BodyHead,
    transmitter: Transmitter,
    buffers: Mutex<Vec<Vec<u8>>>,
    codec: C,
    values: PhantomData<fn(&T)>,
}

/// Publishes bytes as they are, without a copy in user space.
///
/// ```no_run
/// use mcl_udp::{Connection, RawBroadcaster};
///
/// let broadcaster = RawBroadcaster::open(&Connection::new("ff15::1")?)?;
/// broadcaster.publish(b"any bytes")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type RawBroadcaster = Broadcaster<[u8], Raw>;

#[derive(Clone, Debug)]
struct Settings {
    max_message_len: usize,
    publish_time: bool,
    crc: bool,
    schema: Option<u64>,
    encoding: Option<Encoding>,
}

impl<T: ?Sized, C: Encoder<T> + Default> Broadcaster<T, C> {
    /// Opens a broadcaster with the defaults: no topic, hop limit 1, paced.
    ///
    /// # Errors
    /// As [`BroadcasterBuilder::open`].
    pub fn open(connection: &Connection) -> Result<Self, OpenError> {
        Self::builder(connection).open()
    }

    /// Begins to set a broadcaster up.
    pub fn builder(connection: &Connection) -> BroadcasterBuilder<T, C> {
        BroadcasterBuilder::new(connection, C::default())
    }
}

impl<T: ?Sized, C: Encoder<T>> Broadcaster<T, C> {
    /// Publishes `value` under the broadcaster's topic and returns the message's
    /// number in the stream.
    ///
    /// Returns when the kernel has taken all of it. Blocks while the pacing or a
    /// full send buffer demands, and up to 5 s on a fresh interface whose
    /// address is still being checked for duplicates.
    ///
    /// # Errors
    /// [`PublishError`] tells what kept it, and whether some of it was sent.
    pub fn publish(&self, value: &T) -> Result<u64, PublishError> {
        self.counted(self.send(self.head.clone(), value, Blocking::Yes))
    }

    /// Publishes `value` under `topic` instead of the broadcaster's own.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and [`PublishError::TopicTooLong`].
    pub fn publish_to(&self, topic: &str, value: &T) -> Result<u64, PublishError> {
        let head = self.head_for(topic);
        self.counted(head.and_then(|head| self.send(head, value, Blocking::Yes)))
    }

    /// Like [`publish`](Self::publish), but never waits.
    ///
    /// # Errors
    /// [`PublishError::WouldBlock`] if it had to wait; nothing was sent then.
    /// [`PublishError::ExceedsBurst`] for a message which the pacing never lets
    /// go at once. [`PublishError::Partial`] around `WouldBlock` if the kernel's
    /// send buffer became full in the middle of a large one.
    pub fn try_publish(&self, value: &T) -> Result<u64, PublishError> {
        self.counted(self.send(self.head.clone(), value, Blocking::No))
    }

    /// Like [`publish_to`](Self::publish_to), but never waits.
    ///
    /// # Errors
    /// As [`try_publish`](Self::try_publish) and [`publish_to`](Self::publish_to).
    pub fn try_publish_to(&self, topic: &str, value: &T) -> Result<u64, PublishError> {
        let head = self.head_for(topic);
        self.counted(head.and_then(|head| self.send(head, value, Blocking::No)))
    }

    fn counted(&self, outcome: Result<u64, PublishError>) -> Result<u64, PublishError> {
        outcome.inspect_err(|_| self.transmitter.count_failure())
    }

    fn head_for(&self, topic: &str) -> Result<BodyHead, PublishError> {
        let encoding = self.settings.encoding(&self.codec);
        self.settings
            .head(encoding, Some(topic))
            .map_err(|TopicTooLong { len, .. }| PublishError::TopicTooLong { len })
    }

    fn send(&self, head: BodyHead, value: &T, blocking: Blocking) -> Result<u64, PublishError> {
        if !self.is_open() {
            return Err(PublishError::Closed);
        }
        let mut scratch = lock(&self.buffers).pop().unwrap_or_default();
        let sent = match self.codec.encode(value, &mut scratch) {
            Ok(payload) => self.send_bytes(head, payload, blocking),
            Err(error) => Err(PublishError::Encode(error)),
        };
        self.keep(scratch);
        sent
    }

    fn send_bytes(
        &self,
        mut head: BodyHead,
        payload: &[u8],
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        let (len, max) = (payload.len(), self.settings.max_message_len);
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        if self.settings.publish_time {
            head.set_publish_time(nanos_since_epoch());
        }
        if self.settings.crc {
            let of_head = crc32c::crc32c(head.crc_covered());
            head.set_crc32c(crc32c::crc32c_append(of_head, payload));
        }
        self.transmitter.transmit(&head, payload, blocking)
    }

    fn keep(&self, buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > SPARE_CAPACITY {
            return;
        }
        let mut buffers = lock(&self.buffers);
        if buffers.len() < SPARE_BUFFERS {
            buffers.push(buffer);
        }
    }
}

impl<T: ?Sized, C> Broadcaster<T, C> {
    /// Where it publishes.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The interface it sends over, as it was found at opening.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The topic of messages published without naming one.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// The random name of this instance, which its messages carry.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.transmitter.stream()
    }

    /// Whether it has not been closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.transmitter.is_open()
    }

    /// Closes the socket; `true` the first time, `false` after. A message that
    /// another thread is publishing meanwhile may end as
    /// [`PublishError::Partial`]. Waits for a train that is being handed to the
    /// kernel, not for the pacing. Dropping closes as well.
    pub fn close(&self) -> bool {
        self.transmitter.close()
    }

    /// What was sent so far; readable at any time, after closing too.
    #[must_use]
    pub fn statistics(&self) -> BroadcasterStatistics {
        self.transmitter.statistics()
    }

    /// Whether trains of datagrams go out by the kernel's segmentation offload,
    /// or would, as far as is known; `None` when closed.
    #[must_use]
    pub fn offload(&self) -> Option<bool> {
        self.is_open().then(|| self.transmitter.offload())
    }

    /// The longest datagram in bytes of UDP payload, by the interface's MTU as
    /// sending has met it; `None` when closed. A lowered MTU is met at once, a
    /// raised one within some seconds of publishing.
    #[must_use]
    pub fn datagram_len(&self) -> Option<usize> {
        self.is_open().then(|| self.transmitter.datagram_len())
    }
}

impl<T: ?Sized, C> fmt::Debug for Broadcaster<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("connection", &self.connection)
            .field("interface", &self.interface.name())
            .field("topic", &self.topic)
            .field("stream", &self.stream())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn encoding<T: ?Sized, C: Encoder<T>>(&self, codec: &C) -> Encoding {
        self.encoding.unwrap_or_else(|| codec.encoding())
    }

    fn head(&self, encoding: Encoding, topic: Option<&str>) -> Result<BodyHead, TopicTooLong> {
        let mut metadata = Metadata::new().with_encoding(encoding);
        metadata.schema = self.schema;
        metadata.publish_time = self.publish_time.then_some(0);
        metadata.crc32c = self.crc.then_some(0);
        BodyHead::new(topic, &metadata)
    }
}

fn random_failed(error: getrandom::Error) -> OpenError {
    OpenError::Random(io::Error::other(error))
}

fn nanos_since_epoch() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Sets a [`Broadcaster`] up.
#[must_use = "a builder does nothing until `open`"]
pub struct BroadcasterBuilder<T: ?Sized, C = Bincode> {
    connection: Connection,
    topic: Option<String>,
    sender: SenderOptions,
    pacing: Pacing,
    settings: Settings,
    codec: C,
    values: PhantomData<fn(&T)>,
}

impl<T: ?Sized, C> BroadcasterBuilder<T, C> {
    fn new(connection: &Connection, codec: C) -> Self {
        let settings = Settings {
            max_message_len: DEFAULT_MAX_MESSAGE_LEN,
            publish_time: true,
            crc: false,
            schema: None,
            encoding: None,
        };
        Self {
            connection: connection.clone(),
            topic: None,
            sender: SenderOptions::default(),
            pacing: Pacing::Auto,
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
    /// listeners then check; off by default.
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
            pacing: self.pacing,
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
    /// `MCL_INTERFACE` names, else the system's choice for the group.
    ///
    /// # Errors
    /// [`OpenError`]: no usable interface, a socket option refused, a topic of
    /// more than 255 bytes.
    pub fn open(self) -> Result<Broadcaster<T, C>, OpenError> {
        let head = self
            .settings
            .head(self.settings.encoding(&self.codec), self.topic.as_deref())
            .map_err(|TopicTooLong { len, .. }| OpenError::TopicTooLong { len })?;
        let interface = pick(&self.connection)?;
        let mut options = self.sender;
        // The transmitter waits for an address itself, without holding the sender.
        options.ready_timeout = Duration::ZERO;
        let sender = Sender::open(self.connection.group(), &interface, &options)?;
        if sender.datagram_len() < MIN_DATAGRAM_LEN {
            return Err(OpenError::DatagramTooShort {
                len: sender.datagram_len(),
            });
        }
        let pacer = Pacer::new(self.pacing);
        let stream = StreamId(getrandom::u64().map_err(random_failed)?);
        Ok(Broadcaster {
            connection: self.connection,
            interface,
            topic: self.topic.as_deref().map(Topic::from),
            settings: self.settings,
            head,
            transmitter: Transmitter::new(stream, sender, pacer),
            buffers: Mutex::new(Vec::new()),
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
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
