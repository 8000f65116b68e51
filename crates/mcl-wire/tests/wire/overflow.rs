//! What the receiver itself has lost does not come late: messages that lack it are given up at
//! once.

use mcl_wire::{Disposition, Limits, MessageCounts};

use crate::bench::Bench;
use crate::common::{Sender, payload};

const LEN: usize = 100_000;

/// A receiver, and a sender whose stream has completed a message.
fn bench() -> (Bench, Sender) {
    let (mut bench, mut sender) = (Bench::new(Limits::default()), Sender::new(1));
    bench.begin(&mut sender, LEN, 72);
    assert_eq!(bench.inbox.messages.len(), 1);
    (bench, sender)
}

fn feed(bench: &mut Bench, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        assert_eq!(bench.feed(datagram), Disposition::Accepted);
    }
}

/// What is pending, and what was given up.
fn fates(bench: &Bench, sender: &Sender) -> (u64, u64, u64) {
    let counts: MessageCounts = bench.stream(sender).messages;
    (counts.pending(), counts.stranded, counts.completed)
}

#[test]
fn a_message_with_a_hole_is_given_up_and_the_rest_of_it_not_stored() {
    let (mut bench, mut sender) = bench();
    let rest = bench.begin(&mut sender, LEN, 20);
    let stored = bench.demux.counters().frames.fragment_stored;
    bench.demux.overflow();
    feed(&mut bench, &rest[10..]);
    assert_eq!(fates(&bench, &sender), (0, 1, 1));
    let frames = bench.demux.counters().frames;
    assert_eq!(frames.fragment_stored, stored);
    assert_eq!(frames.fragment_of_finished, rest[10..].len() as u64);
    bench.begin(&mut sender, LEN, 72);
    assert_eq!(fates(&bench, &sender), (0, 1, 2));
}

#[test]
fn a_message_without_its_beginning_is_not_begun() {
    for lost in [30, 2000] {
        let (mut bench, mut sender) = bench();
        let datagrams = sender.message(None, &payload(7, 3_000_000));
        let allocated = bench.demux.allocated_bytes();
        bench.demux.overflow();
        // The second number is far ahead of the sequence, which follows it a datagram later.
        feed(&mut bench, &datagrams[lost..]);
        assert_eq!(fates(&bench, &sender), (0, 1, 1), "{lost}");
        assert_eq!(bench.demux.allocated_bytes(), allocated, "{lost}");
        assert_eq!(bench.stream(&sender).datagrams.missing, lost as u64);
    }
}

#[test]
fn what_the_network_has_lost_may_come_late() {
    let (mut bench, mut sender) = bench();
    let rest = bench.begin(&mut sender, LEN, 20);
    feed(&mut bench, &rest[10..]);
    feed(&mut bench, &rest[..10]);
    assert_eq!(fates(&bench, &sender), (0, 0, 2));
    // And so it is after an overflow that took nothing of this stream.
    let rest = bench.begin(&mut sender, LEN, 20);
    bench.demux.overflow();
    feed(&mut bench, &rest[..5]);
    feed(&mut bench, &rest[15..]);
    feed(&mut bench, &rest[5..15]);
    assert_eq!(fates(&bench, &sender), (0, 0, 3));
}

#[test]
fn each_stream_finds_out_for_itself() {
    let (mut bench, mut sender) = bench();
    let mut other = Sender::new(2);
    bench.begin(&mut other, LEN, 72);
    let rest = bench.begin(&mut sender, LEN, 20);
    let others = bench.begin(&mut other, LEN, 20);
    bench.demux.overflow();
    feed(&mut bench, &others);
    assert_eq!(fates(&bench, &other), (0, 0, 2));
    feed(&mut bench, &rest[10..]);
    assert_eq!(fates(&bench, &sender), (0, 1, 1));
}

/// Gives datagrams the sequence numbers from `first` on; tells the one after the last.
fn number(datagrams: &mut [Vec<u8>], first: u64) -> u64 {
    (first..)
        .zip(datagrams)
        .fold(first, |_, (sequence, datagram)| {
            datagram[16..24].copy_from_slice(&sequence.to_be_bytes());
            sequence + 1
        })
}

#[test]
fn a_message_that_others_interrupt_goes_on() {
    // A sender with three threads: what was lost was all of the second one.
    let (mut bench, mut sender) = bench();
    let mut paused = bench.begin(&mut sender, LEN, 20);
    let begun = bench.stream(&sender).datagrams.highest + 1;
    let mut lost = sender.message(None, &payload(8, LEN));
    let mut between = sender.message(None, &payload(9, LEN));
    let sequence = number(&mut lost, begun);
    let sequence = number(&mut between, sequence);
    number(&mut paused, sequence);
    bench.demux.overflow();
    feed(&mut bench, &between);
    assert_eq!(fates(&bench, &sender), (1, 0, 2));
    feed(&mut bench, &paused);
    assert_eq!(fates(&bench, &sender), (0, 0, 3));
}

#[test]
fn a_fragment_that_contradicts_gives_nothing_up() {
    let (mut bench, mut sender) = bench();
    let rest = bench.begin(&mut sender, LEN, 20);
    bench.demux.overflow();
    let mut forged = rest[10].clone();
    forged[44] ^= 1;
    bench.feed(&forged);
    assert_eq!(fates(&bench, &sender), (1, 0, 1));
    assert_eq!(bench.demux.counters().frames.fragment_contradicting, 1);
}
