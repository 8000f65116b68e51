//! Receiving on the caller's thread.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mcl_net::{Interface, Received as Woke};
use mcl_wire::StreamId;
use thiserror::Error;

use crate::bincode::Bincode;
use crate::codec::{Decoder, Raw};
use crate::connection::Connection;
use crate::error::OpenError;
use crate::events::Events;
use crate::intake::Intake;
use crate::listener::{ListenerBuilder, Opened};
use crate::message::{Message, Topic, Undecodable};
use crate::payload::Payload;
use crate::queue::Unpacker;
use crate::shared::{Core, KernelSide};
use crate::statistics::ListenerStatistics;
use crate::sync::lock;

/// Receives values of type `T` on the caller's thread: no thread of the library,
/// no queue, and so the least latency.
///
/// The socket is drained only while one of [`recv`](Self::recv),
/// [`recv_timeout`](Self::recv_timeout) and [`try_recv`](Self::try_recv) runs:
/// between calls, what arrives waits in the kernel's receive buffer, and is lost
/// when that is full.
///
/// ```no_run
/// use mcl_udp::{Connection, PullListener};
///
/// let mut listener = PullListener::<String>::open(&Connection::new("ff15::1")?)?;
/// println!("{}", listener.recv()?.payload);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # In an event loop
///
/// [`AsFd`] gives one descriptor for `poll`, `epoll` or an async runtime, for as long
/// as the listener lives. When it is readable, call `try_recv` until it returns
/// `None`: one datagram can hold many messages, and one wake-up stand for many
/// datagrams, or for none, if the interface changed. Call it at least once a second
/// as well, so that incomplete messages expire.
///
/// # When the interface goes away
///
/// As with a [`Listener`](crate::Listener); what is to be done is done by calls that
/// receive, in the network namespace of the calling thread.
pub struct PullListener<T, C = Bincode> {
    connection: Connection,
    topics: Vec<Topic>,
    ignored: Vec<StreamId>,
    unpacker: Unpacker<C>,
    intake: Intake,
    core: Mutex<Core>,
    kernel: KernelSide,
    values: PhantomData<fn() -> T>,
}

/// Receives bytes on the caller's thread.
pub type RawPullListener = PullListener<Payload, Raw>;

impl<T: 'static, C: Decoder<T> + Default> PullListener<T, C> {
    /// Opens a listener with the defaults: all topics, messages up to 64 MiB.
    /// [`ListenerBuilder::open_pull`] is for other settings.
    ///
    /// # Errors
    /// As [`ListenerBuilder::open`].
    pub fn open(connection: &Connection) -> Result<Self, OpenError> {
        Self::builder(connection).open_pull()
    }

    /// Begins to set a listener up.
    pub fn builder(connection: &Connection) -> ListenerBuilder<T, C> {
        ListenerBuilder::new(connection, C::default())
    }
}

impl<T: 'static, C: Decoder<T>> PullListener<T, C> {
    /// Takes the next message, waiting for it without end.
    ///
    /// # Errors
    /// [`PullError`]; the next call goes on.
    pub fn recv(&mut self) -> Result<Message<T>, PullError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.receive(Until::Forever)?;
        }
    }

    /// Takes the next message, waiting for it at most `timeout`; `None` if none
    /// came. What is there by then is looked through as by [`try_recv`](Self::try_recv).
    ///
    /// # Errors
    /// [`PullError`]; the next call goes on.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message<T>>, PullError> {
        if let Some(message) = self.take()? {
            return Ok(Some(message));
        }
        let deadline = Instant::now().checked_add(timeout);
        self.next(deadline.map_or(Until::Forever, Until::Deadline))
    }

    /// Takes the next message if one is there. Never waits; but what came and is no
    /// message for this listener is looked through first, for 10 ms at most.
    ///
    /// # Errors
    /// [`PullError`]; the next call goes on.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Message<T>>, PullError> {
        match self.take()? {
            Some(message) => Ok(Some(message)),
            None => self.next(Until::Now),
        }
    }

    /// Receives until there is a message, or the time is over and nothing is there.
    fn next(&mut self, until: Until) -> Result<Option<Message<T>>, PullError> {
        let mut end = None;
        loop {
            let woke = self.receive(until)?;
            let message = self.take()?;
            if message.is_some() {
                return Ok(message);
            }
            let now = Instant::now();
            match until {
                Until::Forever => continue,
                Until::Deadline(deadline) if now < deadline => continue,
                Until::Deadline(_) | Until::Now => {}
            }
            let all = woke == Woke::TimedOut;
            if all || now >= *end.get_or_insert(now + OVERTIME) {
                return Ok(None);
            }
        }
    }

    /// A message out of what was received.
    #[inline]
    fn take(&mut self) -> Result<Option<Message<T>>, PullError> {
        let ready = self.intake.ready();
        if ready.is_empty() {
            ready.clear();
            self.intake.advance(&self.core, &self.ignored, true);
        }
        let message = self.intake.ready().next();
        let unpacked = message.map(|message| self.unpacker.unpack(message));
        unpacked.transpose().map_err(PullError::Undecodable)
    }
}

/// How long to look through what came although the time is over: it may come faster than that.
const OVERTIME: Duration = Duration::from_millis(10);

/// How long to wait for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Now,
    Deadline(Instant),
    Forever,
}

impl<T, C> PullListener<T, C> {
    pub(crate) fn new(
        connection: Connection,
        opened: Opened,
        topics: Vec<Topic>,
        ignored: Vec<StreamId>,
        unpacker: Unpacker<C>,
    ) -> Self {
        Self {
            connection,
            topics,
            ignored,
            unpacker,
            intake: opened.intake,
            core: Mutex::new(opened.core),
            kernel: opened.kernel,
            values: PhantomData,
        }
    }

    /// Receives a train, or several datagrams.
    fn receive(&mut self, until: Until) -> Result<Woke, PullError> {
        let woke = match until {
            Until::Now => self.intake.try_receive(&self.core),
            Until::Deadline(deadline) => self.intake.receive(&self.core, Some(deadline), || true),
            Until::Forever => self.intake.receive(&self.core, None, || true),
        };
        woke.map_err(|error| self.failed(error))
    }

    fn failed(&mut self, error: io::Error) -> PullError {
        lock(&self.core).receive_errors += 1;
        PullError::Receive(error)
    }

    /// Where it listens.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The interface it listens on, as it was looked at last; `None` while that is
    /// away, or not there yet.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.kernel.place.current()
    }

    /// Takes events from now on, as [`Listener::events`](crate::Listener::events).
    /// They happen in calls that receive.
    #[must_use]
    pub fn events(&self) -> Events {
        self.kernel.place.events()
    }

    /// The topics it was opened for; empty if all messages are wanted (or only
    /// those without a topic).
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Ignores a stream from now on, such as that of one's own broadcaster
    /// ([`Broadcaster::stream`](crate::Broadcaster::stream)).
    pub fn ignore(&mut self, stream: StreamId) {
        if !self.ignored.contains(&stream) {
            self.ignored.push(stream);
        }
    }

    /// What was received and lost so far, each loss by its cause.
    #[must_use]
    pub fn statistics(&self) -> ListenerStatistics {
        self.kernel
            .statistics(&lock(&self.core), self.kernel.drops())
    }
}

impl<T, C> Drop for PullListener<T, C> {
    fn drop(&mut self) {
        self.kernel.place.hub().close();
    }
}

impl<T, C> AsFd for PullListener<T, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.intake.as_fd()
    }
}

impl<T, C> fmt::Debug for PullListener<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullListener")
            .field("connection", &self.connection)
            .field("interface", &self.interface().map(|it| it.to_string()))
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// Why a [`PullListener`] gave no message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PullError {
    /// The message is no value of the listener's type.
    #[error(transparent)]
    Undecodable(Box<Undecodable>),
    /// The socket cannot be read just now, for instance because its interface is
    /// down.
    #[error("cannot receive: {0}")]
    Receive(#[source] io::Error),
}
