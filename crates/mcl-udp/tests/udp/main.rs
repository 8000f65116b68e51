//! The library from outside, on real sockets, as its users see it.
//!
//! - `delivery`: everybody gets everything: processes, listeners, kinds of
//!   subscription, raw and typed.
//! - `sizes`: payloads from nothing to 64 MiB, through small and large buffers.
//! - `topics`: given at open and at publish, filtered, none and the empty one.
//! - `coalescing`: small messages that share datagrams, and batches.
//! - `contention`: many broadcasters at once and great loss: no mixture, and an
//!   account that adds up.
//! - `accounts`: sent = delivered + missing + dropped, by cause; what it looks like.
//! - `fairness`: large and small messages of several threads.
//! - `interfaces`: none usable, two of them, one that is not ready or goes down.
//! - `lifecycle`: subscribing, unsubscribing, closing and dropping from anywhere.
//! - `mtu`: the link's MTU falls in the middle of messages.
//! - `hostile`: datagrams that are not ours, or not right.
//! - `pull`: receiving on the caller's thread, and spinning.
//! - `queues`: bounds and policies, and what the counters say.
//! - `decoding`: payloads that are no value of the listener's type.
//! - `handles`: the rest of what handles offer: closing, `try_publish`, ignoring,
//!   checksums, the environment, metadata, `Debug`, `Send`.
//! - `idle`: nothing wakes while nothing arrives.
//! - `recovery`: interfaces that go away and come back, or come late.
//! - `rest`: what a listener keeps when nothing arrives any more.
//! - `trace`: events for `tracing`, with the feature of that name.
//! - `support`: a network of one's own, patience, child processes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "how much was lost belongs in the log"
)]

mod accounts;
mod coalescing;
mod contention;
mod decoding;
mod delivery;
mod fairness;
mod handles;
mod hostile;
mod idle;
mod interfaces;
mod landing;
mod lifecycle;
mod mtu;
mod pull;
mod queues;
mod recovery;
mod rest;
mod sizes;
mod support;
mod topics;
#[cfg(feature = "tracing")]
mod trace;
