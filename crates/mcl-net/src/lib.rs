//! IPv6 multicast sockets: groups, interfaces, trains of datagrams, pacing.
//!
//! This crate knows sockets and machines, not messages: it moves datagrams from
//! one [`Sender`] to any number of [`Receiver`]s of a [`Group`], over one
//! [`Interface`] that is named explicitly, and it looks at the machine to say
//! which interfaces can do so and what mends the others.
//!
//! A *train* is a sequence of datagrams of one length (the last may be shorter)
//! that crosses the kernel in one system call: segmentation offload cuts it up
//! as late as possible, receive offload hands it over whole.
//!
//! ```no_run
//! use std::io::IoSlice;
//! use mcl_net::{Blocking, Group, InterfaceChoice, Receiver, ReceiverOptions, Sender, SenderOptions, TrainBuffer, Wait};
//!
//! let group = Group::new("ff15::1".parse()?, 26000)?;
//! let interface = mcl_net::choose(&InterfaceChoice::System, &group)?;
//! let mut receiver = Receiver::open(group, &interface, &ReceiverOptions::default())?;
//! let mut sender = Sender::open(group, &interface, &SenderOptions::default())?;
//!
//! // Two datagrams of five bytes and one of two, gathered from two slices.
//! sender.send_train(&[IoSlice::new(b"hello"), IoSlice::new(b"world!!")], 5, Blocking::Yes)?;
//!
//! let mut train = TrainBuffer::new();
//! receiver.recv(&mut train, Wait::Forever)?;
//! for datagram in train.datagrams() {
//!     println!("{} bytes", datagram.len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Linux is what is tested, and what compiles: other systems differ in each of
//! the options that this crate sets.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "mcl-net supports Linux; other systems need their socket options written and tested first"
);

mod arrival;
mod choice;
mod drops;
mod error;
mod group;
mod interface;
mod machine;
#[expect(unsafe_code, reason = "recvmmsg: see the file")]
mod mmsg;
mod netlink;
mod notes;
mod pacing;
mod receive_buffer;
mod receiver;
mod refusal;
mod sender;
mod timers;

pub use arrival::{Arrival, Train, TrainBuffer};
pub use choice::{Finder, InterfaceChoice, ParseChoiceError, choose};
pub use drops::DropCounter;
pub use error::{SocketError, Step};
pub use group::{Group, GroupError, Scope};
pub use interface::{
    AddressState, Bridge, Interface, InterfaceAddress, InterfaceError, Reason, ReasonKind,
    Usability, interfaces,
};
pub use machine::{
    BufferSetting, Finding, Machine, RECOMMENDED_RECEIVE_BUFFER, SelfTestError, Severity,
    TrainTest, self_test, self_test_to, train_test,
};
pub use pacing::{ORDINARY_RECEIVE_BUFFER, PacedRate, Pacer, Pacing, receive_buffer_limit};
pub use receive_buffer::{DEFAULT_RECEIVE_BUFFER, ReceiveBuffer};
pub use receiver::{Foreign, Received, Receiver, ReceiverOptions, Wait, Waker};
pub use refusal::{ChooseError, Refusal};
pub use sender::{Blocking, IP_UDP_OVERHEAD, SendError, SendErrorKind, Sender, SenderOptions};
pub use timers::{nanoseconds_since_epoch, use_precise_timers};
