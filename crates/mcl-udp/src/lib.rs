//! Publish/subscribe between processes over IPv6 UDP multicast: no broker, no
//! daemon, no discovery.
//!
//! A [`Connection`] is a multicast group and a UDP port. A [`Broadcaster`]
//! publishes values to it; every [`Listener`] of it, in this process, on this
//! machine or on this network, receives them. Delivery is best effort, and each
//! loss is counted by its cause.
//!
//! ```no_run
//! use mcl_udp::{Broadcaster, Connection, Listener};
//!
//! let connection = Connection::new("ff15::c73d:cf41:ea8e:b0a0")?;
//! let listener = Listener::<String>::open(&connection)?;
//! let inbox = listener.queue();
//! let broadcaster = Broadcaster::<str>::open(&connection)?;
//! broadcaster.publish("hello world")?;
//! println!("{}", inbox.recv()?.payload);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Values and bytes
//!
//! `Broadcaster<T>` takes any `T: Serialize`, `Listener<T>` any
//! `T: DeserializeOwned`; [`Bincode`] is the codec unless another [`Codec`] is
//! named. [`RawBroadcaster`] and [`RawListener`] move bytes: published as they
//! are, received as a shared [`Payload`].
//!
//! The encoding travels with each message, and so does a schema id if you set
//! one ([`BroadcasterBuilder::schema`]). A message of another encoding or
//! schema, or one that does not decode, is an error value in a queue
//! ([`RecvError::Undecodable`]) or goes to a hook
//! ([`ListenerBuilder::on_error`]); the listener goes on.
//!
//! # Topics
//!
//! ```no_run
//! # use mcl_udp::{Broadcaster, Connection, Listener};
//! # let connection = Connection::new("ff15::1")?;
//! let listener = Listener::<f64>::builder(&connection).topics(["speed", "heading"]).open()?;
//! let broadcaster = Broadcaster::<f64>::builder(&connection).topic("speed").open()?;
//! broadcaster.publish(&3.5)?;
//! broadcaster.publish_to("heading", &1.57)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A listener without topics hears everything. No topic and the empty topic are
//! two things ([`ListenerBuilder::topicless`]).
//!
//! # Ways to receive
//!
//! | | runs on | lives until |
//! |---|---|---|
//! | [`Listener::queue`] | the thread that takes from it | dropped |
//! | [`Listener::subscribe`] | a thread of the subscription's own | unsubscribed, or the listener closes |
//! | [`Listener::subscribe_inline`] | the thread that drains the socket | the same |
//! | [`PullListener::recv`] | the caller's thread, there is no other | the listener is dropped |
//!
//! The first three are subscriptions of a [`Listener`], as many as you like.
//! Each has its own bound and [`Policy`] ([`QueueOptions`]) and its own counters
//! ([`SubscriptionStatistics`]). A queue works with
//! `crossbeam_channel::select!`: [`Queue::ready`].
//!
//! # Large messages
//!
//! A message that does not fit one datagram is cut into datagrams of the link's
//! size, sent in trains by segmentation offload, and put together in user space;
//! the IP layer never fragments. So that receivers keep up, large messages are
//! paced ([`Pacing`]): by default for the receive buffer of an ordinary machine.
//!
//! # Many small messages
//!
//! A datagram a message costs a system call each. Where messages are small and
//! many, let them share: [`BroadcasterBuilder::coalesce`] for messages that come
//! one by one, [`Broadcaster::publish_batch`] for those that are there already.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use mcl_udp::{Broadcaster, Connection};
//! # let connection = Connection::new("ff15::1")?;
//! let broadcaster = Broadcaster::<(u16, f32)>::builder(&connection)
//!     .coalesce(Duration::from_millis(1))
//!     .open()?;
//! for channel in 0..1000 {
//!     broadcaster.publish(&(channel, 0.5))?;
//! }
//! // Sent within a millisecond anyway; this waits for it, and tells of errors.
//! broadcaster.flush()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is lost, and why
//!
//! [`Listener::statistics`] is the account: datagrams and messages by what
//! became of them, per stream and altogether. A stream is one broadcaster
//! instance; its datagrams and its messages are numbered from 0, so what is
//! missing is known exactly as soon as something later arrives.
//! [`Broadcaster::statistics`] is the other side of it.
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `MCL_INTERFACE` | the interface of connections that name none: a name, an index or an address |
//! | `MCL_CONNECTION` | what [`Connection::from_env`] reads |
//!
//! # Threads and time
//!
//! A listener has one thread, and one more per callback; a [`PullListener`] has
//! none. A second after the last datagram they sleep in the kernel without a timer
//! (unless told to [`spin`](ListenerBuilder::spin)). A broadcaster has no thread,
//! unless it coalesces. Every handle is `Send` and `Sync`, and all methods take
//! `&self`, but for those of a `PullListener`.

mod alarm;
mod bincode;
mod blocks;
mod broadcaster;
mod coalescer;
mod codec;
mod connection;
mod depot;
mod display;
mod drain;
mod error;
mod events;
mod filter;
mod gate;
mod handful;
mod herald;
mod intake;
mod interface;
mod landing;
mod limit;
mod line;
mod listener;
mod message;
mod moderation;
mod payload;
mod pipe;
mod publisher;
mod pull;
mod queue;
mod shared;
mod statistics;
mod subscription;
mod sync;
mod tally;
mod trace;
mod train;
mod transmitter;
mod watch;

pub use bincode::{Bincode, BincodeError};
pub use broadcaster::{Broadcaster, BroadcasterBuilder, DEFAULT_MAX_MESSAGE_LEN, RawBroadcaster};
pub use codec::{Codec, CodecError, Decoder, Encoder, Encoding, Raw};
pub use connection::{
    CONNECTION_VARIABLE, Connection, ConnectionError, DEFAULT_ADDRESS, DEFAULT_PORT,
    INTERFACE_VARIABLE,
};
pub use error::{BatchError, OpenError, PublishError};
pub use events::{Event, Events};
pub use interface::InterfaceChanges;
pub use listener::{Listener, ListenerBuilder, RawListener};
pub use mcl_net::{
    ChooseError, Foreign, Group, GroupError, Interface, InterfaceChoice, InterfaceError, PacedRate,
    Pacing, ParseChoiceError, ReceiveBuffer, Scope, SendErrorKind, SocketError, Usability,
    interfaces,
};
pub use mcl_wire::{
    Account, Counters, DatagramCounts, DepartedCounts, FrameCounts, MessageCounts, SequenceCounts,
    StreamId, StreamReport,
};
pub use message::{DecodeError, Message, Topic, Undecodable};
pub use payload::Payload;
pub use publisher::Batch;
pub use pull::{PullError, PullListener, RawPullListener};
pub use queue::{Iter, Queue, RecvError, RecvTimeoutError, TryIter, TryRecvError};
pub use statistics::ListenerStatistics;
pub use subscription::{Policy, QueueOptions, SubscriptionId, SubscriptionStatistics};
pub use tally::BroadcasterStatistics;
