//! The consuming end of a queue subscription.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use thiserror::Error;

use crate::bincode::Bincode;
use crate::codec::Decoder;
use crate::handful::Handful;
use crate::message::{DecodeError, Message, Undecodable};
use crate::payload::Payload;
use crate::pipe::{Nothing, Pipe, Until};
use crate::shared::Shared;
use crate::subscription::{Route, SubscriptionId, SubscriptionStatistics};

/// What turns received bytes into values: codec and schema of a listener.
#[derive(Debug)]
pub(crate) struct Unpacker<C> {
    pub(crate) codec: C,
    pub(crate) schema: Option<u64>,
}

impl<C> Unpacker<C> {
    /// The value of a message, whose payload is left empty, unless it holds no such
    /// value.
    #[inline]
    pub(crate) fn value<T>(&self, message: &mut Message<Payload>) -> Result<T, DecodeError>
    where
        C: Decoder<T>,
    {
        if let Some(reason) = self.objection(message) {
            return Err(reason);
        }
        let decoded = self.codec.decode_owned(message.payload.take());
        decoded.map_err(|(error, payload)| {
            message.payload = payload;
            DecodeError::Malformed(error)
        })
    }

    /// Takes a message out of its place, decoded.
    #[inline]
    pub(crate) fn unpack<T>(
        &self,
        message: &mut Message<Payload>,
    ) -> Result<Message<T>, Box<Undecodable>>
    where
        C: Decoder<T>,
    {
        match self.value(message) {
            Ok(value) => Ok(message.take_with(value)),
            Err(reason) => Err(message.undecodable(reason)),
        }
    }

    /// What keeps the codec from even trying.
    #[inline]
    fn objection<T>(&self, message: &Message<Payload>) -> Option<DecodeError>
    where
        C: Decoder<T>,
    {
        let got = message.encoding;
        if !self.codec.accepts(got) {
            return Some(DecodeError::Encoding {
                expected: self.codec.expected(),
                got,
            });
        }
        let expected = self.schema.filter(|_| self.schema != message.schema)?;
        Some(DecodeError::Schema {
            expected,
            got: message.schema,
        })
    }
}

/// Messages waiting to be taken, oldest first.
///
/// The subscription lives as long as this. Decoding happens on the thread that
/// takes a message. When the listener closes, what is queued can still be read.
pub struct Queue<T, C = Bincode> {
    pipe: Arc<Pipe>,
    unpacker: Arc<Unpacker<C>>,
    route: Arc<Route>,
    shared: Arc<Shared>,
    values: PhantomData<fn() -> T>,
}

impl<T, C> Queue<T, C> {
    pub(crate) fn new(
        pipe: Arc<Pipe>,
        unpacker: Arc<Unpacker<C>>,
        route: Arc<Route>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            pipe,
            unpacker,
            route,
            shared,
            values: PhantomData,
        }
    }

    /// The subscription's name, for
    /// [`Listener::unsubscribe`](crate::Listener::unsubscribe).
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.route.id
    }

    /// Messages waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pipe.level().0
    }

    /// Whether none is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn statistics(&self) -> SubscriptionStatistics {
        self.route.statistics()
    }

    /// A channel for `crossbeam_channel::select!`: it gives a token when a message
    /// is waiting, and an error once the queue is closed (what still waits can be
    /// taken then). Take the token, then take messages with
    /// [`try_recv`](Self::try_recv), one or all: the next token comes as long as
    /// any are left. Now and then a token stands for a message that another thread
    /// has taken.
    ///
    /// ```no_run
    /// # use mcl_udp::{Connection, Listener};
    /// # let listener = Listener::<String>::open(&Connection::new("ff15::1")?)?;
    /// # let quit = crossbeam_channel::never::<()>();
    /// let inbox = listener.queue();
    /// crossbeam_channel::select! {
    ///     recv(inbox.ready()) -> _ => println!("{}", inbox.try_recv()?.payload),
    ///     recv(quit) -> _ => {}
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ready(&self) -> &Receiver<()> {
        self.pipe.ready()
    }
}

impl<T, C: Decoder<T>> Queue<T, C> {
    /// Takes the next message, waiting for it without end.
    ///
    /// # Errors
    /// [`RecvError::Closed`] when the listener is closed (or the subscription
    /// ended) and the queue is empty; [`RecvError::Undecodable`] for a message
    /// that is no `T`: the next call goes on with the next message.
    #[inline]
    pub fn recv(&self) -> Result<Message<T>, RecvError> {
        match self.pipe.take(Until::Forever) {
            Ok(message) => self.open(message, RecvError::Undecodable),
            Err(_) => Err(RecvError::Closed),
        }
    }

    /// Takes the next message, waiting for it at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvTimeoutError::Timeout`].
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message<T>, RecvTimeoutError> {
        // A queue with a backlog is not asked for the time.
        let taken = match self.pipe.take(Until::Now) {
            Err(Nothing::Yet) => self.pipe.take(Until::after(timeout)),
            taken => taken,
        };
        match taken {
            Ok(message) => self.open(message, RecvTimeoutError::Undecodable),
            Err(Nothing::Yet) => Err(RecvTimeoutError::Timeout),
            Err(Nothing::Closed) => Err(RecvTimeoutError::Closed),
        }
    }

    /// Takes the next message if one is waiting. Never blocks.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`TryRecvError::Empty`].
    #[inline]
    pub fn try_recv(&self) -> Result<Message<T>, TryRecvError> {
        match self.pipe.take(Until::Now) {
            Ok(message) => self.open(message, TryRecvError::Undecodable),
            Err(Nothing::Yet) => Err(TryRecvError::Empty),
            Err(Nothing::Closed) => Err(TryRecvError::Closed),
        }
    }

    /// Decodes a message straight to where it is returned.
    #[inline]
    fn open<E>(
        &self,
        mut message: Message<Payload>,
        undecodable: impl FnOnce(Box<Undecodable>) -> E,
    ) -> Result<Message<T>, E> {
        match self.unpacker.value(&mut message) {
            Ok(value) => Ok(message.take_with(value)),
            Err(reason) => {
                self.route.tally.undecodable.count_shared();
                Err(undecodable(message.undecodable(reason)))
            }
        }
    }

    /// Messages as they come, until the listener closes and the queue is empty.
    ///
    /// Where several wait it takes up to 64 of them at once, which costs less than
    /// one by one; these are not in the queue any more, and are lost with the
    /// iterator.
    pub fn iter(&self) -> Iter<'_, T, C> {
        Iter(Taker::new(self))
    }

    /// Messages that are waiting, until none is; like [`iter`](Self::iter), but
    /// never blocks.
    pub fn try_iter(&self) -> TryIter<'_, T, C> {
        TryIter(Taker::new(self))
    }
}

impl<T, C> Drop for Queue<T, C> {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.route.id);
    }
}

impl<T, C> fmt::Debug for Queue<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("id", &self.route.id)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Iterates over a [`Queue`], waiting for each message.
#[derive(Debug)]
pub struct Iter<'a, T, C = Bincode>(Taker<'a, T, C>);

/// Iterates over what is waiting in a [`Queue`].
#[derive(Debug)]
pub struct TryIter<'a, T, C = Bincode>(Taker<'a, T, C>);

/// Takes messages by handfuls.
#[derive(Debug)]
struct Taker<'a, T, C> {
    queue: &'a Queue<T, C>,
    taken: Handful,
}

impl<'a, T, C: Decoder<T>> Taker<'a, T, C> {
    fn new(queue: &'a Queue<T, C>) -> Self {
        let taken = Handful::default();
        Self { queue, taken }
    }

    #[inline]
    fn next(&mut self, until: Until) -> Option<Result<Message<T>, Box<Undecodable>>> {
        if self.taken.is_empty() {
            self.taken.clear();
            self.queue.pipe.take_some(&mut self.taken, until).ok()?;
        }
        let unpacked = self.queue.unpacker.unpack(self.taken.next()?);
        if unpacked.is_err() {
            self.queue.route.tally.undecodable.count_shared();
        }
        Some(unpacked)
    }
}

impl<T, C: Decoder<T>> Iterator for Iter<'_, T, C> {
    type Item = Result<Message<T>, Box<Undecodable>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Until::Forever)
    }
}

impl<T, C: Decoder<T>> Iterator for TryIter<'_, T, C> {
    type Item = Result<Message<T>, Box<Undecodable>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Until::Now)
    }
}

impl<'a, T, C: Decoder<T>> IntoIterator for &'a Queue<T, C> {
    type Item = Result<Message<T>, Box<Undecodable>>;
    type IntoIter = Iter<'a, T, C>;

    fn into_iter(self) -> Iter<'a, T, C> {
        self.iter()
    }
}

/// Why [`Queue::recv`] gave no message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The listener is closed, or the subscription ended, and the queue is empty.
    #[error("the listener is closed")]
    Closed,
    /// The message is no value of the listener's type.
    #[error(transparent)]
    Undecodable(Box<Undecodable>),
}

/// Why [`Queue::recv_timeout`] gave no message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// None came in time.
    #[error("no message came in time")]
    Timeout,
    /// The listener is closed, or the subscription ended, and the queue is empty.
    #[error("the listener is closed")]
    Closed,
    /// The message is no value of the listener's type.
    #[error(transparent)]
    Undecodable(Box<Undecodable>),
}

/// Why [`Queue::try_recv`] gave no message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// None is waiting.
    #[error("no message is waiting")]
    Empty,
    /// The listener is closed, or the subscription ended, and the queue is empty.
    #[error("the listener is closed")]
    Closed,
    /// The message is no value of the listener's type.
    #[error(transparent)]
    Undecodable(Box<Undecodable>),
}
