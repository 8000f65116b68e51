//! The codec from outside, as its users see it.
//!
//! - `golden`: the vectors in `vectors/`, both ways.
//! - `corruption`: damaged datagrams, and that they leave no trace.
//! - `roundtrip`: what is sent arrives, for every size, order and datagram length.
//! - `schedules`: seeded loss, reorder, duplication, forgery, restarts and
//!   little memory; the account is checked after every datagram.
//! - `eviction`: which message and which stream gives way, rule by rule.
//! - `unwanted`: what is not taken though there is room, and how it is counted.
//! - `forgery`: what forged and damaged numbers cost the honest ones.
//! - `leaps`: what a long gap of numbers costs, and what one datagram can do.
//! - `following`: to take in together what follows is the same as one by one.
//! - `rows`: messages that share a datagram, and heads that are alike.
//! - `dissection`, `driver`: what the fuzz targets `frames` and `demux` do with
//!   their input, `hearsay`: how they know what may come out; `replay`: the same
//!   with the committed corpus.
//! - `model`: broadcasters, a network and a listener, and an account that agrees.
//! - `bench`: a `Demux` to be fed by hand.
//! - `common`: generator, sink, sender and the check of the account.

#![cfg(feature = "alloc")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bench;
mod common;
mod corruption;
mod dissection;
mod driver;
mod eviction;
mod following;
mod forgery;
mod golden;
mod hearsay;
mod leaps;
mod model;
mod overflow;
mod replay;
mod roundtrip;
mod rows;
mod schedules;
mod unwanted;
