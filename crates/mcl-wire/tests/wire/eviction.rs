//! Which message and which stream gives way, rule by rule.

use core::time::Duration;

use mcl_wire::{Disposition, Limits, StreamId};

use crate::bench::Bench;
use crate::common::{Sender, payload};

#[test]
fn messages_at_rest_expire() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    let rest = bench.begin(&mut sender, 10_000, 1);
    let due = bench.demux.next_expiry().unwrap();
    assert_eq!(due, bench.now + Duration::from_secs(1));
    bench.demux.expire(due - Duration::from_nanos(1));
    assert_eq!(bench.demux.pending(), 1);
    bench.demux.expire(due);
    assert_eq!(bench.demux.pending(), 0);
    assert_eq!(bench.demux.next_expiry(), None);
    assert_eq!(bench.demux.allocated_bytes(), 0);
    for datagram in rest {
        bench.feed(&datagram);
    }
    assert_eq!(bench.demux.pending(), 0, "it is not begun a second time");
    assert_eq!(bench.stream(&sender).messages.expired, 1);
}

#[test]
fn spare_buffers_are_trimmed_oldest_first_and_nothing_else() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    bench.prove(&mut sender);
    let rest = bench.begin(&mut sender, 10_000, 4);
    let under_way = bench.demux.allocated_bytes();
    for capacity in [50_000, 300_000, 70_000] {
        bench.demux.recycle(Vec::with_capacity(capacity));
    }
    assert_eq!(bench.demux.allocated_bytes(), under_way + 420_000);
    bench.demux.trim(420_000);
    assert_eq!(bench.demux.allocated_bytes(), under_way + 420_000);
    bench.demux.trim(100_000);
    assert_eq!(bench.demux.allocated_bytes(), under_way + 70_000);
    bench.demux.trim(0);
    assert_eq!(bench.demux.allocated_bytes(), under_way);
    for datagram in rest {
        bench.feed(&datagram);
    }
    assert_eq!(bench.inbox.messages.len(), 2);
}

#[test]
fn spare_buffers_that_nothing_needs_are_freed_after_a_while() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    bench.prove(&mut sender);
    for _ in 0..3 {
        bench.demux.recycle(Vec::with_capacity(20_000));
    }
    let second = |at| Duration::from_secs(at);
    bench.demux.expire(second(1));
    bench.demux.expire(second(10));
    assert_eq!(bench.demux.allocated_bytes(), 60_000);
    assert_eq!(bench.demux.next_expiry(), None, "no reason to wake up");

    // One is in use for a moment.
    bench.now = second(10);
    for datagram in bench.begin(&mut sender, 20_000, 4) {
        bench.feed(&datagram);
    }
    let whole = bench.inbox.messages.pop().unwrap();
    bench.demux.recycle(Vec::with_capacity(20_000));
    drop(whole);
    bench.demux.expire(second(11));
    assert_eq!(bench.demux.allocated_bytes(), 20_000);
    bench.demux.expire(second(20));
    assert_eq!(bench.demux.allocated_bytes(), 20_000);
    bench.demux.expire(second(21));
    assert_eq!(bench.demux.allocated_bytes(), 0);
}

/// How many datagrams the tracker of a stream looks back.
const WINDOW: usize = 1024;

/// A proven stream of whose long message fragments 0 to 9 have come, and the rest.
fn underway() -> (Bench, Sender, Vec<Vec<u8>>) {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    bench.prove(&mut sender);
    let rest = bench.begin(&mut sender, 3_000_000, 10);
    (bench, sender, rest)
}

#[test]
fn a_fragment_may_be_late_as_long_as_it_is_within_the_window() {
    let (mut bench, _, mut rest) = underway();
    let late = rest.remove(0);
    rest.insert(WINDOW - 1, late);
    for datagram in &rest {
        assert_eq!(bench.feed(datagram), Disposition::Accepted);
    }
    assert_eq!(bench.inbox.messages.len(), 2);
}

#[test]
fn what_lacks_a_fragment_older_than_the_window_ends_and_its_buffer_serves_the_next() {
    let (mut bench, mut sender, mut rest) = underway();
    let late = rest.remove(0);
    for datagram in rest.drain(..=WINDOW) {
        bench.feed(&datagram);
    }
    assert_eq!(bench.stream(&sender).messages.stranded, 1);
    assert_eq!(bench.feed(&late), Disposition::Stale);
    assert_eq!(bench.demux.pending(), 0);
    let kept = bench.demux.allocated_bytes();
    assert!(kept > 1_000_000);
    for datagram in &rest {
        bench.feed(datagram);
    }
    let frames = bench.demux.counters().frames;
    assert_eq!(frames.fragment_of_finished as usize, rest.len() + 1);
    bench.begin(&mut sender, 1_000_000, 3);
    let used = bench.demux.allocated_bytes();
    assert!((kept..kept + 1000).contains(&used), "the same memory");
}

#[test]
fn a_message_that_lacks_its_end_gives_way_when_others_had_their_turns() {
    let (mut bench, mut sender, rest) = underway();
    // As many as are believed at once to be missing, and the next would not be.
    sender.sequence -= (rest.len() - 1000) as u64;
    for _ in 0..4 {
        bench.begin(&mut sender, 1_400_000, 1001);
        assert_eq!(bench.stream(&sender).pending, 1);
    }
    bench.begin(&mut sender, 1_400_000, 100);
    assert_eq!(bench.stream(&sender).pending, 2, "not for long enough");
    bench.begin(&mut sender, 1_400_000, 1);
    let report = bench.stream(&sender);
    assert_eq!(
        (report.messages.stranded, report.messages.completed),
        (1, 4)
    );
}

#[test]
fn a_message_that_goes_on_after_a_loss_of_others_is_not_suspected() {
    let (mut bench, mut sender, mut rest) = underway();
    // A small message that came after one of its trains is lost, the one behind it is not.
    sender.sequence -= rest.len() as u64;
    sender.sequence += 1;
    bench.prove(&mut sender);
    let mut next = rest.remove(0);
    next[16..24].copy_from_slice(&sender.sequence.to_be_bytes());
    sender.sequence += 1;
    assert_eq!(bench.feed(&next), Disposition::Accepted);
    for _ in 0..5 * WINDOW {
        bench.prove(&mut sender);
    }
    // Now those are looked for that have lost something.
    bench.begin(&mut sender, 1_400_000, 1);
    let report = bench.stream(&sender);
    assert_eq!((report.messages.stranded, report.pending), (0, 2));
}

#[test]
fn a_message_that_waits_for_its_turn_is_not_lost() {
    let (mut bench, mut sender, rest) = underway();
    let left = rest.len() as u64;
    // The others go between its trains instead of after them.
    sender.sequence -= left;
    for _ in 0..10 {
        bench.begin(&mut sender, 1_400_000, 1001);
    }
    for mut datagram in rest {
        datagram[16..24].copy_from_slice(&sender.sequence.to_be_bytes());
        sender.sequence += 1;
        assert_eq!(bench.feed(&datagram), Disposition::Accepted);
    }
    assert_eq!(bench.inbox.messages.len(), 12);
}

#[test]
fn progress_puts_expiry_off() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    for datagram in sender.message(None, &payload(0, 10_000)) {
        bench.now += Duration::from_millis(900);
        bench.feed(&datagram);
    }
    assert_eq!(bench.inbox.messages.len(), 1);
}

#[test]
fn a_stream_over_its_own_count_loses_its_least_recently_advanced() {
    let mut limits = Limits::default();
    limits.max_incomplete_per_stream = 2;
    let mut bench = Bench::new(limits);
    let mut sender = Sender::new(1);
    let first = bench.begin(&mut sender, 5000, 1);
    let second = bench.begin(&mut sender, 5000, 1);
    bench.feed(&first[0]);
    let third = bench.begin(&mut sender, 5000, 1);
    for datagram in first[1..].iter().chain(&second).chain(&third) {
        bench.feed(datagram);
    }
    let numbers: Vec<u64> = bench.inbox.messages.iter().map(|m| m.number).collect();
    assert_eq!(numbers, [0, 2]);
    assert_eq!(bench.stream(&sender).messages.evicted, 1);
}

#[test]
fn a_stream_over_its_own_bytes_loses_its_least_recently_advanced() {
    let mut limits = Limits::new(100_000, 1 << 20);
    limits.stream_bytes = 240_000;
    let mut bench = Bench::new(limits);
    let (mut sender, mut other) = (Sender::new(1), Sender::new(2));
    bench.prove(&mut sender);
    bench.begin(&mut other, 90_000, 60);
    let first = bench.begin(&mut sender, 90_000, 60);
    let second = bench.begin(&mut sender, 90_000, 60);
    let third = bench.begin(&mut sender, 90_000, 60);
    for datagram in first.iter().chain(&second).chain(&third) {
        bench.feed(datagram);
    }
    let numbers: Vec<u64> = bench.inbox.messages.iter().map(|m| m.number).collect();
    assert_eq!(numbers, [0, 2, 3]);
    assert_eq!(bench.stream(&other).pending, 1, "others are not touched");
}

#[test]
fn unproven_streams_only_take_from_unproven_ones() {
    let mut limits = Limits::new(40_000, 400_000);
    limits.unproven_bytes = 100_000;
    let mut bench = Bench::new(limits);
    let mut proven = Sender::new(1);
    bench.prove(&mut proven);
    let rest = bench.begin(&mut proven, 40_000, 20);
    for id in 2..50 {
        bench.begin(&mut Sender::new(id), 40_000, 20);
    }
    let counters = bench.demux.counters();
    assert!(counters.messages.evicted > 40);
    assert_eq!(bench.stream(&proven).messages.evicted, 0);
    for datagram in rest {
        bench.feed(&datagram);
    }
    assert_eq!(bench.inbox.messages.len(), 2);
}

#[test]
fn proven_streams_take_from_unproven_ones_first() {
    let mut limits = Limits::new(60_000, 200_000);
    limits.stream_bytes = 200_000;
    let mut bench = Bench::new(limits);
    let (mut old, mut new, mut unproven) = (Sender::new(1), Sender::new(2), Sender::new(3));
    for sender in [&mut old, &mut new] {
        // Long enough for a stream to be believed 60,000 bytes at once.
        bench.begin(sender, 40_000, 29);
    }
    let rest = bench.begin(&mut old, 60_000, 40);
    bench.begin(&mut unproven, 60_000, 30);
    let first = bench.begin(&mut new, 60_000, 40);
    assert_eq!(bench.stream(&unproven).pending, 1);
    // With a third message of 60,000 bytes there is no room for all four.
    let second = bench.begin(&mut new, 60_000, 40);
    assert_eq!(bench.stream(&unproven).pending, 0, "unproven first");
    assert_eq!(bench.stream(&old).pending, 1);
    bench.begin(&mut new, 60_000, 40);
    assert_eq!(
        bench.stream(&old).pending,
        0,
        "then the least recently advanced"
    );
    for datagram in rest.iter().chain(&first).chain(&second) {
        bench.feed(datagram);
    }
    let numbers: Vec<u64> = bench.inbox.messages.iter().map(|m| m.number).collect();
    assert_eq!(numbers, [0, 0, 1, 2]);
}

#[test]
fn what_can_never_fit_evicts_nobody() {
    // Growing from 62,500 bytes to 125,000 needs both for a moment.
    let mut limits = Limits::new(1 << 20, 1 << 20);
    limits.unproven_bytes = 150_000;
    let mut bench = Bench::new(limits);
    let (mut small, mut large) = (Sender::new(1), Sender::new(2));
    bench.begin(&mut small, 20_000, 5);
    bench.begin(&mut large, 1_000_000, 80);
    assert_eq!(bench.stream(&small).pending, 1);
    assert!(bench.demux.counters().frames.fragment_no_room > 0);
    assert_eq!(bench.demux.counters().messages.evicted, 0);
}

#[test]
fn no_room_at_all_refuses() {
    let mut bench = Bench::new(Limits::new(1 << 20, 1000));
    let mut sender = Sender::new(1);
    bench.begin(&mut sender, 10_000, 4);
    assert_eq!(bench.stream(&sender).messages.refused, 1);
    let frames = bench.demux.counters().frames;
    assert_eq!(
        (frames.fragment_no_room, frames.fragment_of_finished),
        (1, 3)
    );
    assert_eq!(bench.demux.allocated_bytes(), 0);

    let mut limits = Limits::default();
    limits.max_incomplete = 0;
    let mut bench = Bench::new(limits);
    bench.begin(&mut Sender::new(1), 10_000, 4);
    assert_eq!(bench.demux.pending(), 0);

    let mut limits = Limits::default();
    limits.max_streams = 0;
    let mut bench = Bench::new(limits);
    let datagram = Sender::new(1).message(None, b"x").remove(0);
    assert_eq!(bench.feed(&datagram), Disposition::StreamLimit);
}

#[test]
fn a_full_table_of_streams_gives_way_in_order() {
    let mut limits = Limits::default();
    limits.max_streams = 3;
    let mut bench = Bench::new(limits);
    let (mut proven, mut busy, mut idle) = (Sender::new(1), Sender::new(2), Sender::new(3));
    bench.prove(&mut proven);
    bench.begin(&mut busy, 10_000, 1);
    // Undeliverable, so that it proves nothing.
    let mut datagram = idle.message(None, b"x").remove(0);
    datagram[36] = 0x40;
    bench.feed(&datagram);

    let known = |bench: &Bench, id| bench.demux.stream(StreamId(id)).is_some();
    bench.prove(&mut Sender::new(4));
    assert!(!known(&bench, 3), "unproven with nothing under reassembly");
    bench.prove(&mut Sender::new(5));
    assert!(!known(&bench, 2), "unproven");
    assert_eq!(bench.demux.counters().messages.abandoned, 1);
    let late = Sender::new(6).message(None, b"x").remove(0);
    assert_eq!(bench.feed(&late), Disposition::StreamLimit);
    bench.now += Duration::from_secs(9);
    bench.prove(&mut proven);
    bench.now += Duration::from_secs(2);
    assert_eq!(bench.feed(&late), Disposition::Accepted);
    assert!(!known(&bench, 4), "proven and silent");
    assert!(known(&bench, 1) && known(&bench, 5) && known(&bench, 6));
    assert_eq!(bench.demux.counters().departed.streams, 3);
    assert_eq!(bench.demux.counters().streams_started, 6);
}

#[test]
fn a_fragment_that_comes_too_late_finds_its_message_gone() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    let rest = bench.begin(&mut sender, 10_000, 4);
    bench.now += Duration::from_secs(1);
    bench.feed(&rest[0]);
    assert_eq!(bench.stream(&sender).messages.expired, 1);
    assert_eq!(bench.demux.counters().frames.fragment_of_finished, 1);
}

#[test]
fn becoming_proven_renews_what_is_under_reassembly() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    let rest = bench.begin(&mut sender, 10_000, 4);
    bench.now += Duration::from_millis(900);
    bench.prove(&mut sender);
    bench.now += Duration::from_millis(900);
    for datagram in rest {
        bench.feed(&datagram);
    }
    assert_eq!(bench.inbox.messages.len(), 2);
}

#[test]
fn a_table_full_of_proven_messages_refuses_unproven_ones() {
    let mut limits = Limits::default();
    limits.max_incomplete = 2;
    let mut bench = Bench::new(limits);
    let (mut proven, mut other, mut unproven) = (Sender::new(1), Sender::new(2), Sender::new(3));
    bench.prove(&mut proven);
    bench.prove(&mut other);
    bench.begin(&mut proven, 5000, 1);
    bench.begin(&mut proven, 5000, 1);
    bench.begin(&mut unproven, 5000, 1);
    assert_eq!(bench.stream(&unproven).messages.refused, 1);
    assert_eq!(bench.stream(&proven).pending, 2);
    bench.begin(&mut other, 5000, 1);
    assert_eq!(bench.stream(&other).pending, 1);
    assert_eq!(bench.stream(&proven).pending, 1);
}

#[test]
fn a_message_that_grows_does_not_give_way_to_itself() {
    let mut limits = Limits::new(60_000, 30_000);
    limits.unproven_bytes = 30_000;
    limits.stream_bytes = 30_000;
    let mut bench = Bench::new(limits);
    let (mut first, mut second) = (Sender::new(1), Sender::new(2));
    // Five fragments fill the 7,500 bytes which a buffer has at first; the
    // sixth makes it grow, when this message is the least recently advanced.
    let rest = bench.begin(&mut first, 60_000, 5);
    bench.begin(&mut second, 60_000, 5);
    bench.feed(&rest[0]);
    assert_eq!(bench.stream(&first).pending, 1);
    assert_eq!(bench.stream(&second).messages.evicted, 1);
    assert_eq!(bench.demux.counters().frames.fragment_stored, 11);
}

/// A whole message of a stream that says nothing else.
fn once(id: u64) -> Vec<u8> {
    Sender::new(id).message(None, b"x").remove(0)
}

#[test]
fn a_flood_of_streams_that_complete_a_message_takes_nobodys_place_and_keeps_nobody_out() {
    let mut bench = Bench::new(Limits::default());
    let (mut loud, mut quiet) = (Sender::new(1), Sender::new(2));
    bench.prove(&mut loud);
    bench.prove(&mut quiet);
    let mut ids = crate::common::Rng(3);
    for turn in 0..200_000 {
        // Without the check of every stream: that is quadratic here.
        bench.now += Duration::from_micros(1);
        let forged = once(ids.next());
        let verdict = bench.demux.datagram(bench.now, &forged, &mut bench.inbox);
        assert_eq!(verdict, Disposition::Accepted, "a new stream is let in");
        if turn % 1000 == 0 {
            bench.prove(&mut loud);
        }
    }
    for sender in [&loud, &quiet] {
        let report = bench.stream(sender);
        assert_eq!(report.messages.delivered, sender.number);
        assert_eq!(report.numbers.restarts, 0);
    }
    assert_eq!(bench.demux.stream_count(), 1024);
    assert!(bench.demux.counters().departed.streams > 198_000);
}

#[test]
fn a_table_kept_warm_by_others_lets_new_streams_in_and_they_settle_when_it_cools() {
    let mut limits = Limits::default();
    limits.max_streams = 8;
    let mut bench = Bench::new(limits);
    let mut others: Vec<Sender> = (10..20).map(Sender::new).collect();
    let keep_warm = |bench: &mut Bench, others: &mut [Sender]| {
        bench.now += Duration::from_secs(5);
        for other in others {
            bench.prove(other);
        }
    };
    for _ in 0..3 {
        keep_warm(&mut bench, &mut others);
    }
    let mut new = Sender::new(1);
    let rest = bench.begin(&mut new, 10_000, 1);
    for datagram in &rest {
        bench.feed(datagram);
    }
    assert_eq!(bench.inbox.messages.pop().unwrap().stream, new.stream);
    // Six are settled and were never asked to go.
    for other in &others[..6] {
        assert_eq!(bench.stream(other).messages.delivered, 3);
    }
    // Five of them fall silent. When the place of one of them was needed, the new
    // stream, which was there before, is settled with its next message.
    bench.now += Duration::from_secs(6);
    bench.prove(&mut others[0]);
    bench.prove(&mut new);
    bench.now += Duration::from_secs(5);
    bench.prove(&mut Sender::new(2));
    bench.prove(&mut new);
    for id in 100..200 {
        bench.prove(&mut Sender::new(id));
    }
    assert_eq!(bench.stream(&new).messages.delivered, 3);
    assert_eq!(bench.stream(&others[0]).messages.delivered, 4);
}

#[test]
fn a_message_in_one_datagram_is_no_reason_to_allocate_for_long_ones() {
    let mut bench = Bench::new(Limits::default());
    let (mut unproven, mut whole, mut long) = (Sender::new(1), Sender::new(2), Sender::new(3));
    bench.begin(&mut unproven, 1 << 20, 1);
    let of_unproven = bench.stream(&unproven).bytes;
    bench.prove(&mut whole);
    bench.begin(&mut whole, 1 << 20, 1);
    assert_eq!(bench.stream(&whole).bytes, of_unproven);
    bench.begin(&mut long, 60_000, 42);
    bench.begin(&mut long, 1 << 20, 1);
    assert!(bench.stream(&long).bytes > 2 * of_unproven);
}
