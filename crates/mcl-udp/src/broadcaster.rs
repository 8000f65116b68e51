//! Publishing values.

mod builder;

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mcl_net::{Blocking, Interface, nanoseconds_since_epoch};
use mcl_wire::{BodyHead, Encoding, Metadata, StreamId, TopicTooLong};

pub use self::builder::BroadcasterBuilder;

use crate::bincode::Bincode;
use crate::codec::{Encoder, Raw};
use crate::connection::Connection;
use crate::error::{BatchError, OpenError, PublishError};
use crate::events::Events;
use crate::message::Topic;
use crate::publisher::{Batch, Publisher};
use crate::sync::lock;
use crate::tally::BroadcasterStatistics;
use crate::train::Outgoing;

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
/// thread works in the background, except with
/// [`coalesce`](BroadcasterBuilder::coalesce).
///
/// While its interface is away, publishing fails ([`PublishError::Interface`]); when it
/// is back, under whatever index, the next message goes out over it, and the stream
/// goes on. Which interface is looked for, [`Listener`](crate::Listener) says. Publish
/// from threads of the network namespace in which the broadcaster was opened: others
/// look for the interface in theirs.
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
    topic: Option<Topic>,
    settings: Settings,
    head: BodyHead,
    publisher: Publisher,
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Whether there may be a buffer to take; to be asked without the lock.
    has_buffers: AtomicBool,
    codec: C,
    values: PhantomData<fn(&T)>,
}

/// Publishes bytes as they are, with one copy in user space at most.
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
    /// With [`coalesce`](BroadcasterBuilder::coalesce), a small message is only
    /// accepted: what becomes of it later is told by [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`PublishError`] tells what kept it, and whether some of it was sent.
    pub fn publish(&self, value: &T) -> Result<u64, PublishError> {
        self.counted(self.send(&self.head, value, Blocking::Yes))
    }

    /// Publishes `value` under `topic` instead of the broadcaster's own.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and [`PublishError::TopicTooLong`].
    pub fn publish_to(&self, topic: &str, value: &T) -> Result<u64, PublishError> {
        let head = self.head_for(topic);
        self.counted(head.and_then(|head| self.send(&head, value, Blocking::Yes)))
    }

    /// Like [`publish`](Self::publish), but never waits.
    ///
    /// # Errors
    /// [`PublishError::WouldBlock`] if it had to wait; nothing was sent then.
    /// [`PublishError::ExceedsBurst`] for a message which the pacing never lets
    /// go at once. [`PublishError::Partial`] around `WouldBlock` if the kernel's
    /// send buffer became full in the middle of a large one.
    pub fn try_publish(&self, value: &T) -> Result<u64, PublishError> {
        self.counted(self.send(&self.head, value, Blocking::No))
    }

    /// Like [`publish_to`](Self::publish_to), but never waits.
    ///
    /// # Errors
    /// As [`try_publish`](Self::try_publish) and [`publish_to`](Self::publish_to).
    pub fn try_publish_to(&self, topic: &str, value: &T) -> Result<u64, PublishError> {
        let head = self.head_for(topic);
        self.counted(head.and_then(|head| self.send(&head, value, Blocking::No)))
    }

    /// Publishes many values under the broadcaster's topic, in as few datagrams
    /// and system calls as they take: small ones share datagrams, and these
    /// trains, whether or not the broadcaster coalesces.
    ///
    /// Returns when the kernel has taken all of them, and all that waited before
    /// if the broadcaster coalesces. Blocks as [`publish`](Self::publish) does.
    /// Values are taken and serialized one after the other, without a lock; a
    /// value waits for the next ones until the train is full.
    ///
    /// The clock is read once for as many values as share a datagram: a value's publish
    /// time is when it was taken, or one of the values before it that fill no more than
    /// a datagram. Values that `values` has to wait for are better published one by one,
    /// coalesced or not.
    ///
    /// ```no_run
    /// # use mcl_udp::{Connection, RawBroadcaster};
    /// # let broadcaster = RawBroadcaster::open(&Connection::new("ff15::1")?)?;
    /// let readings: Vec<Vec<u8>> = vec![vec![1; 20]; 1000];
    /// let batch = broadcaster.publish_batch(readings.iter().map(Vec::as_slice))?;
    /// assert_eq!(batch.messages, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchError`] tells how many were sent and why the next one was not; the
    /// values after that are not asked for.
    pub fn publish_batch<I>(&self, values: I) -> Result<Batch, BatchError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        self.send_batch(&self.head, values)
    }

    /// Like [`publish_batch`](Self::publish_batch), under `topic`.
    ///
    /// # Errors
    /// As [`publish_batch`](Self::publish_batch), and
    /// [`PublishError::TopicTooLong`].
    pub fn publish_batch_to<I>(&self, topic: &str, values: I) -> Result<Batch, BatchError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        match self.head_for(topic) {
            Ok(head) => self.send_batch(&head, values),
            Err(source) => {
                self.publisher.transmitter().tally().failed();
                Err(BatchError { sent: 0, source })
            }
        }
    }

    fn send_batch<I>(&self, head: &BodyHead, values: I) -> Result<Batch, BatchError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        let mut scratch = self.buffer();
        let mut batch = self.publisher.batch();
        let ended = values.into_iter().try_for_each(|value| {
            self.check_open()?;
            let payload = self.codec.encode(value.borrow(), &mut scratch);
            let payload = payload.map_err(PublishError::Encode)?;
            let time = self.settings.publish_time.then(|| batch.time());
            self.with_message(head, payload, time, true, |it| batch.add(it))
        });
        self.keep(scratch);
        let outcome = batch.finish(ended.err());
        outcome.inspect_err(|_| self.publisher.transmitter().tally().failed())
    }

    fn counted(&self, outcome: Result<u64, PublishError>) -> Result<u64, PublishError> {
        outcome.inspect_err(|_| self.publisher.transmitter().tally().failed())
    }

    fn head_for(&self, topic: &str) -> Result<BodyHead, PublishError> {
        let encoding = self.settings.encoding(&self.codec);
        self.settings
            .head(encoding, Some(topic))
            .map_err(|TopicTooLong { len, .. }| PublishError::TopicTooLong { len })
    }

    #[inline]
    fn check_open(&self) -> Result<(), PublishError> {
        match self.is_open() {
            true => Ok(()),
            false => Err(PublishError::Closed),
        }
    }

    fn send(&self, head: &BodyHead, value: &T, blocking: Blocking) -> Result<u64, PublishError> {
        self.check_open()?;
        let mut scratch = self.buffer();
        let sent = match self.codec.encode(value, &mut scratch) {
            Ok(payload) => {
                let time = self.settings.publish_time.then(nanoseconds_since_epoch);
                self.with_message(head, payload, time, self.publisher.stamps(), |message| {
                    self.publisher.publish(message, blocking)
                })
            }
            Err(error) => Err(PublishError::Encode(error)),
        };
        self.keep(scratch);
        sent
    }

    /// Does something with the message that `head`, `payload` and the publish time make; `stamps`
    /// says that it writes the time itself.
    #[inline]
    fn with_message<R>(
        &self,
        head: &BodyHead,
        payload: &[u8],
        time: Option<u64>,
        stamps: bool,
        then: impl FnOnce(&Outgoing<'_>) -> Result<R, PublishError>,
    ) -> Result<R, PublishError> {
        let (len, max) = (payload.len(), self.settings.max_message_len);
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        if stamps && !self.settings.crc {
            return then(&Outgoing {
                head,
                time,
                payload,
            });
        }
        let mut head = head.clone();
        if let Some(time) = time {
            head.set_publish_time(time);
        }
        // It covers the time.
        if self.settings.crc {
            let of_head = crc32c::crc32c(head.crc_covered());
            head.set_crc32c(crc32c::crc32c_append(of_head, payload));
        }
        then(&Outgoing {
            head: &head,
            time: None,
            payload,
        })
    }

    #[inline]
    fn buffer(&self) -> Vec<u8> {
        if !self.has_buffers.load(Ordering::Relaxed) {
            return Vec::new();
        }
        lock(&self.buffers).pop().unwrap_or_default()
    }

    #[inline]
    fn keep(&self, buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > SPARE_CAPACITY {
            return;
        }
        let mut buffers = lock(&self.buffers);
        if buffers.len() < SPARE_BUFFERS {
            buffers.push(buffer);
            self.has_buffers.store(true, Ordering::Relaxed);
        }
    }
}

impl<T: ?Sized, C> Broadcaster<T, C> {
    /// Where it publishes.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The interface it sends over, as it was looked at last; `None` while that is
    /// away or not there yet, as far as publishing has met it.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.publisher.transmitter().place().current()
    }

    /// Takes events from now on: the interface lost and back, as publishing meets it.
    /// Costs nothing unless called.
    #[must_use]
    pub fn events(&self) -> Events {
        self.publisher.transmitter().place().events()
    }

    /// The topic of messages published without naming one.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// The random name of this instance, which its messages carry.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.publisher.transmitter().stream()
    }

    /// Whether it has not been closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.publisher.transmitter().is_open()
    }

    /// Closes the socket; `true` the first time, `false` after. A message that
    /// another thread is publishing meanwhile may end as
    /// [`PublishError::Partial`]. Waits for a train that is being handed to the
    /// kernel, not for the pacing. Dropping closes as well.
    ///
    /// With [`coalesce`](BroadcasterBuilder::coalesce), what waits is sent first,
    /// if that takes no longer than a second; what is not counts as unsent. Who
    /// wants to see an error calls [`flush`](Self::flush) before.
    pub fn close(&self) -> bool {
        self.publisher.close()
    }

    /// Sends what waits for company, and returns when the kernel has it. Nothing
    /// waits without [`coalesce`](BroadcasterBuilder::coalesce).
    ///
    /// # Errors
    /// [`PublishError::Unsent`] if messages accepted since the last such error
    /// could not be sent, by this call or in the background: the one place where
    /// that is told, apart from [`BroadcasterStatistics::unsent`]. They are not
    /// sent again. [`PublishError::Closed`].
    pub fn flush(&self) -> Result<(), PublishError> {
        self.publisher.flush()
    }

    /// What was sent so far; readable at any time, after closing too.
    #[must_use]
    pub fn statistics(&self) -> BroadcasterStatistics {
        self.publisher.statistics()
    }

    /// Whether trains of datagrams go out by the kernel's segmentation offload,
    /// or would, as far as is known; `None` when closed.
    #[must_use]
    pub fn offload(&self) -> Option<bool> {
        let transmitter = self.publisher.transmitter();
        self.is_open().then(|| transmitter.offload())
    }

    /// The longest datagram in bytes of UDP payload, by the interface's MTU as
    /// sending has met it; `None` when closed. A lowered MTU is met at once, a
    /// raised one within some seconds of publishing.
    #[must_use]
    pub fn datagram_len(&self) -> Option<usize> {
        let transmitter = self.publisher.transmitter();
        self.is_open().then(|| transmitter.datagram_len())
    }
}

impl<T: ?Sized, C> fmt::Debug for Broadcaster<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("connection", &self.connection)
            .field("interface", &self.interface().map(|it| it.to_string()))
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
