//! Receiving values.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mcl_net::{Interface, Receiver, ReceiverOptions, SocketError, Waker};
use mcl_wire::{Limits, MAX_TOPIC_LEN, StreamId};

use crate::bincode::Bincode;
use crate::broadcaster::DEFAULT_MAX_MESSAGE_LEN;
use crate::codec::{Decoder, Raw};
use crate::connection::Connection;
use crate::drain::Drain;
use crate::error::OpenError;
use crate::events::Events;
use crate::filter::Filter;
use crate::handful::Handful;
use crate::intake::{Intake, Wanted};
use crate::interface::{Await, Place, finder, pick};
use crate::message::{Message, Topic, Undecodable};
use crate::payload::Payload;
use crate::pipe::{Pipe, Until};
use crate::pull::PullListener;
use crate::queue::{Queue, Unpacker};
use crate::shared::{Core, KernelSide, Shared};
use crate::statistics::ListenerStatistics;
use crate::subscription::{
    Outlet, QueueOptions, Route, SubscriptionId, SubscriptionStatistics, Tally, run_user_code,
};
use crate::watch::Watch;

/// Reassembly memory of a listener, in messages of the greatest length.
const BUDGET_IN_MESSAGES: usize = 4;

/// Receives values of type `T` from a [`Connection`].
///
/// One thread of the listener drains the socket from [`open`](Self::open) on and
/// hands each message to every subscription: a [`queue`](Self::queue), or a
/// [`subscribe`](Self::subscribe)d callback, which runs on a thread of its own.
/// What is published after `queue` or `subscribe` returned is received. While
/// nothing arrives no thread wakes up.
///
/// When its interface goes away the listener stays, with its subscriptions and its
/// account, and without waking for it; when the interface is back, under whatever
/// index, it joins anew by itself. It looks for the interface that it was opened on:
/// by the name or the address that the connection gives; if that gives an index, or
/// leaves the choice to the system, by the name the interface had. It never goes to
/// another network. [`events`](Self::events) tells of it.
///
/// Dropping a listener closes it.
pub struct Listener<T, C = Bincode> {
    connection: Connection,
    topics: Vec<Topic>,
    unpacker: Arc<Unpacker<C>>,
    on_error: Option<ErrorHook>,
    shared: Arc<Shared>,
    values: PhantomData<fn() -> T>,
}

/// Receives bytes, shared and not copied, whatever their encoding.
pub type RawListener = Listener<Payload, Raw>;

type ErrorHook = Arc<dyn Fn(&Undecodable) + Send + Sync>;

impl<T: 'static, C: Decoder<T> + Default> Listener<T, C> {
    /// Opens a listener with the defaults: all topics, messages up to 64 MiB.
    ///
    /// # Errors
    /// As [`ListenerBuilder::open`].
    pub fn open(connection: &Connection) -> Result<Self, OpenError> {
        Self::builder(connection).open()
    }

    /// Begins to set a listener up.
    pub fn builder(connection: &Connection) -> ListenerBuilder<T, C> {
        ListenerBuilder::new(connection, C::default())
    }
}

impl<T: 'static, C: Decoder<T>> Listener<T, C> {
    /// Subscribes a queue with the default bounds: 1024 messages, 64 MiB, the
    /// oldest give way.
    #[must_use = "the subscription ends when the queue is dropped"]
    pub fn queue(&self) -> Queue<T, C> {
        self.queue_with(QueueOptions::default())
    }

    /// Subscribes a queue. On a closed listener it is closed from the start.
    #[must_use = "the subscription ends when the queue is dropped"]
    pub fn queue_with(&self, options: QueueOptions) -> Queue<T, C> {
        let (route, pipe) = self.pipe(options);
        Queue::new(
            pipe,
            Arc::clone(&self.unpacker),
            route,
            Arc::clone(&self.shared),
        )
    }

    fn pipe(&self, options: QueueOptions) -> (Arc<Route>, Arc<Pipe>) {
        let pipe = Arc::new(Pipe::new(options));
        let outlet = Outlet::Pipe(Arc::clone(&pipe));
        (self.shared.subscribe(outlet, Arc::default()), pipe)
    }

    /// Subscribes a callback with the default bounds. It runs on a thread of its
    /// own, one message at a time, until it is unsubscribed or the listener
    /// closes; what is queued for it then is discarded.
    ///
    /// A message that is no `T` goes to the hook of
    /// [`on_error`](ListenerBuilder::on_error) and is counted. A panic is
    /// contained and counted; the next message is delivered as usual. A callback
    /// that owns its listener (an `Arc` of it) keeps it open.
    ///
    /// # Panics
    /// If the system starts no thread; see [`try_subscribe`](Self::try_subscribe).
    pub fn subscribe(&self, callback: impl FnMut(Message<T>) + Send + 'static) -> SubscriptionId {
        match self.try_subscribe(QueueOptions::default(), callback) {
            Ok(id) => id,
            Err(error) => panic!("cannot start a thread for a callback: {error}"),
        }
    }

    /// Subscribes a callback with bounds of its own for what waits for it.
    ///
    /// # Errors
    /// When the system starts no thread for it.
    pub fn try_subscribe(
        &self,
        options: QueueOptions,
        mut callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> io::Result<SubscriptionId> {
        let (route, pipe) = self.pipe(options);
        let id = route.id;
        let (unpacker, on_error) = (Arc::clone(&self.unpacker), self.on_error.clone());
        let work = move || {
            let mut taken = Handful::default();
            while pipe.take_some(&mut taken, Until::Forever).is_ok() {
                while let Some(message) = taken.next().filter(|_| !route.is_stopped()) {
                    // Decoding is user code as well.
                    run_user_code(&route.tally, || match unpacker.unpack(message) {
                        Ok(message) => callback(message),
                        Err(undecodable) => {
                            report(&undecodable, &route.tally, on_error.as_ref());
                        }
                    });
                }
                if route.is_stopped() {
                    break;
                }
                taken.clear();
            }
        };
        let started = self.shared.start_worker(id, work);
        if started.is_err() {
            self.shared.unsubscribe(id);
        }
        started.map(|()| id)
    }

    /// Subscribes a callback that runs on the thread which drains the socket:
    /// the least latency, but while it runs nothing is received, for any
    /// subscription of this listener. It must return soon.
    pub fn subscribe_inline(
        &self,
        mut callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> SubscriptionId {
        let (unpacker, on_error) = (Arc::clone(&self.unpacker), self.on_error.clone());
        let tally = Arc::<Tally>::default();
        let counted = Arc::clone(&tally);
        let inline = move |messages: &mut Handful, stopped: &AtomicBool| {
            while !stopped.load(Ordering::SeqCst)
                && let Some(message) = messages.next()
            {
                counted.delivered.count();
                match unpacker.value(message) {
                    Ok(value) => callback(message.take_with(value)),
                    Err(reason) => {
                        let undecodable = message.undecodable(reason);
                        report(&undecodable, &counted, on_error.as_ref());
                    }
                }
            }
        };
        self.shared
            .subscribe(Outlet::Inline(Mutex::new(Some(Box::new(inline)))), tally)
            .id
    }
}

/// Counts a message that is no `T`, and gives it to the hook.
fn report(undecodable: &Undecodable, tally: &Tally, on_error: Option<&ErrorHook>) {
    tally.undecodable.count_shared();
    if let Some(hook) = on_error {
        hook(undecodable);
    }
}

impl<T, C> Listener<T, C> {
    /// Where it listens.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The interface it listens on, as it was looked at last; `None` while that is
    /// away, or not there yet.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.shared.place().current()
    }

    /// Takes events from now on: the interface lost and back, streams that start,
    /// drops of the kernel. Costs nothing unless called.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared.place().events()
    }

    /// The topics it was opened for; empty if all messages are wanted (or only
    /// those without a topic).
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Ends a subscription: `false` if it has ended, or another thread is just
    /// ending it.
    ///
    /// When it returns, the callback is not running and will not run again.
    /// From inside a callback (any callback, of any listener) it returns at
    /// once, and the callback in question may be running for the last time.
    pub fn unsubscribe(&self, id: SubscriptionId) -> bool {
        self.shared.unsubscribe(id)
    }

    /// Whether a subscription is in force.
    #[must_use]
    pub fn is_subscribed(&self, id: SubscriptionId) -> bool {
        self.shared.is_subscribed(id)
    }

    /// How many subscriptions are in force, queues and callbacks.
    #[must_use]
    pub fn num_subscriptions(&self) -> usize {
        self.shared.num_subscriptions()
    }

    /// What became of the messages that a subscription was offered; `None` if it
    /// has ended.
    #[must_use]
    pub fn subscription_statistics(&self, id: SubscriptionId) -> Option<SubscriptionStatistics> {
        self.shared.route(id).map(|route| route.statistics())
    }

    /// Ignores a stream from now on, such as that of one's own broadcaster
    /// ([`Broadcaster::stream`](crate::Broadcaster::stream)).
    pub fn ignore(&self, stream: StreamId) {
        self.shared.ignore(stream);
    }

    /// What was received and lost so far, each loss by its cause; readable at
    /// any time, after closing too.
    #[must_use]
    pub fn statistics(&self) -> ListenerStatistics {
        self.shared.statistics()
    }

    /// Whether it has not been closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Leaves the group, ends all subscriptions and waits for the listener's
    /// threads; `true` the first time, `false` after.
    ///
    /// It waits for callbacks that are running, and little beyond. From inside a
    /// callback it does not wait; the next call from elsewhere, or dropping the
    /// listener there, does. What is in queues can still be read.
    pub fn close(&self) -> bool {
        self.shared.close()
    }
}

impl<T, C> Drop for Listener<T, C> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<T, C> fmt::Debug for Listener<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("connection", &self.connection)
            .field("interface", &self.interface().map(|it| it.to_string()))
            .field("topics", &self.topics)
            .field("open", &self.is_open())
            .field("num_subscriptions", &self.num_subscriptions())
            .finish_non_exhaustive()
    }
}

/// Sets a [`Listener`] up.
#[must_use = "a builder does nothing until `open`"]
pub struct ListenerBuilder<T, C = Bincode> {
    connection: Connection,
    topics: Vec<Topic>,
    topicless: bool,
    receiver: ReceiverOptions,
    awaits: Await,
    max_message_len: usize,
    reassembly_bytes: Option<usize>,
    expiry: Option<Duration>,
    max_streams: Option<usize>,
    ignored: Vec<StreamId>,
    spin: Duration,
    require_crc: bool,
    schema: Option<u64>,
    on_error: Option<ErrorHook>,
    codec: C,
    values: PhantomData<fn() -> T>,
}

impl<T, C> ListenerBuilder<T, C> {
    pub(crate) fn new(connection: &Connection, codec: C) -> Self {
        Self {
            connection: connection.clone(),
            topics: Vec::new(),
            topicless: false,
            receiver: ReceiverOptions::default(),
            awaits: Await::Nothing,
            max_message_len: DEFAULT_MAX_MESSAGE_LEN,
            reassembly_bytes: None,
            expiry: None,
            max_streams: None,
            ignored: Vec::new(),
            spin: Duration::ZERO,
            require_crc: false,
            schema: None,
            on_error: None,
            codec,
            values: PhantomData,
        }
    }

    /// Wants messages of this topic (and of others named so); all messages by
    /// default.
    pub fn topic(mut self, topic: &str) -> Self {
        self.topics.push(Topic::from(topic));
        self
    }

    /// Wants messages of these topics (and of others named so).
    pub fn topics<'a>(mut self, topics: impl IntoIterator<Item = &'a str>) -> Self {
        self.topics.extend(topics.into_iter().map(Topic::from));
        self
    }

    /// Wants messages that have no topic (and those of topics named so). No
    /// topic and the empty topic are two things.
    pub fn topicless(mut self) -> Self {
        self.topicless = true;
        self
    }

    /// Bytes to ask of the kernel's receive buffer; 4 MiB by default. What was
    /// granted is in the [`statistics`](Listener::statistics).
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receiver.receive_buffer = bytes;
        self
    }

    /// Opens even where there is no usable interface yet, and joins when it is there:
    /// for a program that starts before its network. [`Listener::interface`] tells
    /// whether it is there, and an [`Event`](crate::Event) when it comes.
    ///
    /// Name the interface in the connection: where the system chooses, it is the
    /// first one that becomes usable.
    pub fn await_interface(mut self) -> Self {
        self.awaits = Await::Later;
        self
    }

    /// Lets `open` wait up to `timeout` for a usable interface, and only then fail.
    pub fn wait_for_interface(mut self, timeout: Duration) -> Self {
        self.awaits = Await::Blocking(timeout);
        self
    }

    /// The longest payload to accept, in bytes; 64 MiB by default, the wire's
    /// limit of 4 GiB at most.
    pub fn max_message_len(mut self, bytes: usize) -> Self {
        self.max_message_len = bytes;
        self
    }

    /// Bytes for all messages under reassembly; four times the longest payload
    /// by default, and at least twice the longest payload.
    pub fn reassembly_bytes(mut self, bytes: usize) -> Self {
        self.reassembly_bytes = Some(bytes);
        self
    }

    /// How long an incomplete message may go without progress; 1 s by default.
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// How many streams to keep an account of at once; 1024 by default.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = Some(streams);
        self
    }

    /// Ignores a stream from the start, such as that of one's own broadcaster.
    pub fn ignore(mut self, stream: StreamId) -> Self {
        self.ignored.push(stream);
        self
    }

    /// How long to look for datagrams without sleeping, after some have come;
    /// not at all by default, always with [`Duration::MAX`].
    ///
    /// A thread that sleeps takes tens of microseconds to wake up; one that spins
    /// has the message within a few, and keeps a whole processor busy meanwhile. It
    /// pays where messages follow one another within this time and a processor can
    /// be spared; with fewer processors than spinning threads it makes everything
    /// slower.
    ///
    /// One that does not spin leaves the socket alone for up to 100 µs at a time while the rest of a long
    /// message (175 kB or more) is to come and bytes come at 1.3 GB/s or more, if its
    /// [receive buffer](Self::receive_buffer) has 512 KiB or more: what other senders send can be that
    /// much later then. One that spins, however shortly, does not.
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// Drops messages that carry no CRC-32C
    /// ([`BroadcasterBuilder::crc`](crate::BroadcasterBuilder::crc)), and counts them
    /// as [`crc_mismatch`](mcl_wire::Account::crc_mismatch); takes them by default. One
    /// that is there is checked in either case.
    ///
    /// With it, damage that hides the CRC is found too. All broadcasters of the group
    /// must send it then, which those of this library do.
    pub fn require_crc(mut self) -> Self {
        self.require_crc = true;
        self
    }

    /// Expects payloads to follow this schema: others are undecodable. By
    /// default the schema is not looked at.
    pub fn schema(mut self, schema: u64) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Called with every message that could not be decoded for a callback, on
    /// the callback's thread. Queues report such messages themselves.
    pub fn on_error(mut self, hook: impl Fn(&Undecodable) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(hook));
        self
    }

    /// Deserializes with `codec` instead.
    pub fn codec<D: Decoder<T>>(self, codec: D) -> ListenerBuilder<T, D> {
        ListenerBuilder {
            connection: self.connection,
            topics: self.topics,
            topicless: self.topicless,
            receiver: self.receiver,
            awaits: self.awaits,
            max_message_len: self.max_message_len,
            reassembly_bytes: self.reassembly_bytes,
            expiry: self.expiry,
            max_streams: self.max_streams,
            ignored: self.ignored,
            spin: self.spin,
            require_crc: self.require_crc,
            schema: self.schema,
            on_error: self.on_error,
            codec,
            values: PhantomData,
        }
    }

    fn limits(&self) -> Limits {
        let longest = self.max_message_len;
        let budget = self
            .reassembly_bytes
            .unwrap_or(longest.saturating_mul(BUDGET_IN_MESSAGES));
        let payload = u32::try_from(longest).unwrap_or(u32::MAX);
        let mut limits = Limits::new(payload, budget.max(longest.saturating_mul(2)));
        limits.expiry = self.expiry.unwrap_or(limits.expiry);
        limits.max_streams = self.max_streams.unwrap_or(limits.max_streams).max(1);
        limits
    }
}

/// An open socket, and what makes messages of what it brings.
pub(crate) struct Opened {
    pub(crate) intake: Intake,
    pub(crate) core: Core,
    pub(crate) kernel: KernelSide,
    pub(crate) waker: Waker,
}

impl<T: 'static, C: Decoder<T>> ListenerBuilder<T, C> {
    /// Opens the listener: joins the group and starts to drain the socket.
    ///
    /// The interface is the connection's, else what the environment variable
    /// `MCL_INTERFACE` names, else the system's choice for the group. Without a usable
    /// one it fails at once, unless told otherwise
    /// ([`await_interface`](Self::await_interface),
    /// [`wait_for_interface`](Self::wait_for_interface)).
    ///
    /// # Errors
    /// [`OpenError`]: no usable interface, a socket option refused, a topic of
    /// more than 255 bytes, no thread to be had.
    pub fn open(self) -> Result<Listener<T, C>, OpenError> {
        let opened = self.open_socket()?;
        let shared = Arc::new(Shared::new(
            opened.core,
            self.ignored,
            opened.waker,
            opened.kernel,
        ));
        start_drain(Drain::new(opened.intake, Arc::clone(&shared)), &shared)?;
        Ok(Listener {
            connection: self.connection,
            topics: self.topics,
            unpacker: Arc::new(Unpacker {
                codec: self.codec,
                schema: self.schema,
            }),
            on_error: self.on_error,
            shared,
            values: PhantomData,
        })
    }

    /// Opens a listener without a thread: whoever calls its `recv` receives.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_pull(self) -> Result<PullListener<T, C>, OpenError> {
        let mut opened = self.open_socket()?;
        opened.intake.bundle()?;
        let unpacker = Unpacker {
            codec: self.codec,
            schema: self.schema,
        };
        Ok(PullListener::new(
            self.connection,
            opened,
            self.topics,
            self.ignored,
            unpacker,
        ))
    }

    pub(crate) fn open_socket(&self) -> Result<Opened, OpenError> {
        if let Some(long) = self.topics.iter().find(|topic| topic.len() > MAX_TOPIC_LEN) {
            return Err(OpenError::TopicTooLong { len: long.len() });
        }
        let mut finder = finder(&self.connection);
        let interface = pick(&mut finder, self.awaits)?;
        let mut receiver = self.open_receiver(interface.as_ref())?;
        let place = Arc::new(Place::new(&finder, interface));
        let wanted = Wanted {
            filter: Filter::new(&self.topics, self.topicless),
            require_crc: self.require_crc,
            spin: self.spin,
        };
        let mut watch = Watch::new(finder, Arc::clone(&place));
        if !place.is_there() {
            // It may have come between the look and the watch.
            watch.look(Instant::now(), &mut receiver);
        }
        Ok(Opened {
            kernel: KernelSide::of(&receiver, place),
            waker: receiver.waker(),
            core: Core::new(self.limits(), receiver.receive_buffer()),
            intake: Intake::new(receiver, watch, wanted),
        })
    }

    fn open_receiver(&self, interface: Option<&Interface>) -> Result<Receiver, SocketError> {
        let group = self.connection.group();
        match interface {
            Some(interface) => Receiver::open(group, interface, &self.receiver),
            None => Receiver::open_unplaced(group, &self.receiver),
        }
    }
}

fn start_drain(drain: Drain, shared: &Shared) -> Result<(), OpenError> {
    let thread = thread::Builder::new()
        .name("mcl-listener".into())
        .spawn(|| drain.run())
        .map_err(OpenError::Thread)?;
    shared.leave(thread);
    Ok(())
}

impl<T, C> fmt::Debug for ListenerBuilder<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("connection", &self.connection)
            .field("topics", &self.topics)
            .field("receiver", &self.receiver)
            .field("max_message_len", &self.max_message_len)
            .finish_non_exhaustive()
    }
}
