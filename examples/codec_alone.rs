//! The wire format without a socket: a message is cut into datagrams, which are
//! shuffled and duplicated, and put together again:
//!
//! ```sh
//! cargo run --example codec_alone
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::hash::RandomState;
use std::time::Duration;

use mcl_wire::{BodyHead, Demux, Fragmenter, Limits, Metadata, Received, Sink, StreamId};

/// Takes the messages that come out.
#[derive(Default)]
struct Inbox(Vec<Vec<u8>>);

impl Sink for Inbox {
    fn message(&mut self, message: Received<'_>) {
        println!(
            "topic {:?}, {} bytes",
            message.topic(),
            message.payload().len()
        );
        self.0.push(message.payload().to_vec());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let payload: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
    let head = BodyHead::new(Some("demo"), &Metadata::new())?;

    let fragments = Fragmenter::new(0, &head, &payload, 1452)?;
    let mut datagrams: Vec<Vec<u8>> = fragments
        .map(|fragment| {
            let prefix = fragment.prefix(StreamId(7), fragment.index.into());
            [&prefix[..], fragment.head, fragment.payload].concat()
        })
        .collect();
    println!("{} datagrams", datagrams.len());

    // Every third one twice, and all of them in another order.
    datagrams.extend(datagrams.clone().into_iter().step_by(3));
    datagrams.sort_by_key(|datagram| {
        datagram.iter().fold(0_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(16_777_619)
        })
    });

    let mut demux = Demux::new(Limits::default(), RandomState::new());
    let mut inbox = Inbox::default();
    for datagram in &datagrams {
        demux.datagram(Duration::ZERO, datagram, &mut inbox);
    }
    let counts = demux.counters().datagrams;
    println!(
        "{} accepted, {} duplicates",
        counts.accepted, counts.duplicate
    );
    assert_eq!(inbox.0, [payload]);
    Ok(())
}
