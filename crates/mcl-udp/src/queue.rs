//! The consuming end of a queue subscription.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use thiserror::Error;

use crate::bincode::Bincode;
use crate::codec::Decoder;
use crate::message::{DecodeError, Message, Undecodable};
use crate::payload::Payload;
use crate::pipe::Queued;
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
        let decoded = self.codec.decode_owned(mem::take(&mut message.payload));
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
    receiver: Receiver<Queued>,
    unpacker: Arc<Unpacker<C>>,
    route: Arc<Route>,
    shared: Arc<Shared>,
    values: PhantomData<fn() -> T>,
}

impl<T, C> Queue<T, C> {
    pub(crate) fn new(
        receiver: Receiver<Queued>,
        unpacker: Arc<Unpacker<C>>,
        route: Arc<Route>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            receiver,
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
        self.receiver.len()
    }

    /// Whether none is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn statistics(&self) -> SubscriptionStatistics {
        self.route.statistics()
    }

    /// The channel underneath, for `crossbeam_channel::select!`; hand what comes
    /// out to [`open`](Self::open).
    ///
    /// ```no_run
    /// # use mcl_udp::{Connection, Listener};
    /// # let listener = Listener::<String>::open(&Connection::new("ff15::1")?)?;
    /// # let quit = crossbeam_channel::never::<()>();
    /// let inbox = listener.queue();
    /// crossbeam_channel::select! {
    ///     recv(inbox.receiver()) -> queued => println!("{}", inbox.open(queued?)?.payload),
    ///     recv(quit) -> _ => {}
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Queued> {
        &self.receiver
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
        match self.receiver.recv() {
            Ok(queued) => self.take_out(queued, RecvError::Undecodable),
            Err(_) => Err(RecvError::Closed),
        }
    }

    /// Takes the next message, waiting for it at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvTimeoutError::Timeout`].
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message<T>, RecvTimeoutError> {
        match self.receiver.recv_timeout(timeout) {
            Ok(queued) => self.take_out(queued, RecvTimeoutError::Undecodable),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Err(RecvTimeoutError::Timeout),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => Err(RecvTimeoutError::Closed),
        }
    }

    /// Takes the next message if one is waiting. Never blocks.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`TryRecvError::Empty`].
    #[inline]
    pub fn try_recv(&self) -> Result<Message<T>, TryRecvError> {
        match self.receiver.try_recv() {
            Ok(queued) => self.take_out(queued, TryRecvError::Undecodable),
            Err(crossbeam_channel::TryRecvError::Empty) => Err(TryRecvError::Empty),
            Err(crossbeam_channel::TryRecvError::Disconnected) => Err(TryRecvError::Closed),
        }
    }

    /// Decodes what came out of [`receiver`](Self::receiver).
    ///
    /// # Errors
    /// [`Undecodable`], with the message's bytes, if it is no `T`.
    #[inline]
    pub fn open(&self, queued: Queued) -> Result<Message<T>, Box<Undecodable>> {
        self.take_out(queued, |undecodable| undecodable)
    }

    /// Takes a message out of what was queued, straight to where it is returned.
    #[inline]
    fn take_out<E>(
        &self,
        mut queued: Queued,
        undecodable: impl FnOnce(Box<Undecodable>) -> E,
    ) -> Result<Message<T>, E> {
        let message = queued.message();
        match self.unpacker.value(message) {
            Ok(value) => Ok(message.take_with(value)),
            Err(reason) => {
                self.route.tally.undecodable.count_shared();
                Err(undecodable(message.undecodable(reason)))
            }
        }
    }

    /// Messages as they come, until the listener closes and the queue is empty.
    pub fn iter(&self) -> Iter<'_, T, C> {
        Iter { queue: self }
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
pub struct Iter<'a, T, C = Bincode> {
    queue: &'a Queue<T, C>,
}

impl<T, C: Decoder<T>> Iterator for Iter<'_, T, C> {
    type Item = Result<Message<T>, Box<Undecodable>>;

    fn next(&mut self) -> Option<Self::Item> {
        let queued = self.queue.receiver.recv().ok()?;
        Some(self.queue.open(queued))
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
