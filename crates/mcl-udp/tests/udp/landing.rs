//! Trains that are received where the message is put together, and those that turn out to be
//! others than expected.

use std::io::IoSlice;

use mcl_net::{Blocking, InterfaceChoice, Sender, SenderOptions};
use mcl_udp::{RawPullListener, StreamId};
use mcl_wire::{BodyHead, Fragmenter, Metadata};

use crate::support::{connection, in_network, noise};

const DATAGRAM: usize = 1452;
const TRAIN: usize = 45;
const LEN: usize = 1 << 20;

/// A stream whose trains are sent when the test says so.
struct Stream {
    id: StreamId,
    sequence: u64,
    number: u64,
}

impl Stream {
    fn new(id: u64) -> Self {
        Self {
            id: StreamId(id),
            sequence: 0,
            number: 0,
        }
    }

    fn content(&self) -> Vec<u8> {
        noise(self.id.0 << 32 | self.number, LEN)
    }

    /// The trains of the next message, and what it holds.
    fn next(&mut self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (head, payload) = (BodyHead::new(None, &Metadata::new()), self.content());
        let head = head.unwrap();
        let fragments = Fragmenter::new(self.number, &head, &payload, DATAGRAM).unwrap();
        let datagrams: Vec<_> = (self.sequence..)
            .zip(fragments)
            .map(|(sequence, it)| [&it.prefix(self.id, sequence), it.head, it.payload].concat())
            .collect();
        self.number += 1;
        self.sequence += datagrams.len() as u64;
        let trains = datagrams.chunks(TRAIN).map(<[_]>::concat).collect();
        (trains, payload)
    }
}

/// Sends the trains of two streams as `turns` says, which of them is next, and has each received before
/// the next is sent; all messages have to come as they were sent.
fn interleaved(turns: fn(usize) -> usize) {
    in_network(|_| {
        let group = connection().group();
        let interface = mcl_net::choose(&InterfaceChoice::System, &group).unwrap();
        let mut sender = Sender::open(group, &interface, &SenderOptions::default()).unwrap();
        let mut listener = RawPullListener::open(&connection()).unwrap();
        let mut streams = [Stream::new(1), Stream::new(2)];
        let mut sent = vec![];
        let mut came = vec![];
        for _ in 0..6 {
            let mut trains = streams.each_mut().map(|stream| {
                let (trains, payload) = stream.next();
                sent.push((stream.id, stream.number - 1, payload));
                trains.into_iter()
            });
            let mut turn = 0;
            while trains.iter().any(|it| it.len() > 0) {
                if let Some(train) = trains[turns(turn)].next() {
                    let slices = [IoSlice::new(&train)];
                    sender.send_train(&slices, DATAGRAM, Blocking::Yes).unwrap();
                    while let Some(message) = listener.try_recv().unwrap() {
                        came.push((message.stream, message.number, message.payload.to_vec()));
                    }
                }
                turn += 1;
            }
        }
        came.sort();
        sent.sort();
        assert!(came == sent, "{} of {}", came.len(), sent.len());
        let account = listener.statistics();
        assert_eq!(account.datagrams_missing(), 0);
        assert_eq!(account.wire.messages.completed, 12);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn messages_one_behind_the_other_land_whole() {
    interleaved(|turn| turn / (LEN / (DATAGRAM * TRAIN) + 2) % 2);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn trains_of_two_streams_in_turns_are_not_mixed() {
    interleaved(|turn| turn % 2);
    interleaved(|turn| turn / 3 % 2);
}
