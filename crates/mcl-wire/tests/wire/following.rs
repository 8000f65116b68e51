//! To take in together what follows is the same as to take it in one by one.

use std::collections::HashMap;

use core::time::Duration;

use mcl_wire::{
    Demux, Disposition, FRAGMENT_OVERHEAD, LANDING_LEN, Limits, Received, Sink, StreamId, TopicHash,
};

use crate::bench::Bench;
use crate::common::{
    Hasher, Inbox, Rng, Sender, check, check_twins, demux, payload, receive, train_len,
};

const NOW: Duration = Duration::from_secs(1);

/// Where in a datagram the sequence number is, and the fragment's index.
const SEQUENCE: core::ops::Range<usize> = 16..24;
const INDEX: core::ops::Range<usize> = 40..44;

/// Receivers of the same trains: one takes in together what follows, one is handed whole trains, one has them
/// written where the message is put together if it can.
struct Twins {
    following: Demux<Hasher>,
    by_train: Demux<Hasher>,
    by_landing: Demux<Hasher>,
    one_by_one: Demux<Hasher>,
    inboxes: [Inbox; 4],
    now: Duration,
    followed: u64,
    landed: u64,
    missed: u64,
}

impl Twins {
    fn new(limits: Limits) -> Self {
        Self {
            following: demux(limits),
            by_train: demux(limits),
            by_landing: demux(limits),
            one_by_one: demux(limits),
            inboxes: core::array::from_fn(|_| Inbox::default()),
            now: NOW,
            followed: 0,
            landed: 0,
            missed: 0,
        }
    }

    fn demuxes(&mut self) -> [&mut Demux<Hasher>; 4] {
        [
            &mut self.following,
            &mut self.by_train,
            &mut self.by_landing,
            &mut self.one_by_one,
        ]
    }

    fn arrive(&mut self, queue: &[Vec<u8>], most: usize) {
        let mut queue = queue;
        while !queue.is_empty() {
            let (train, rest) = queue.split_at(train_len(queue, most));
            queue = rest;
            let (bytes, stride) = (train.concat(), train[0].len());
            self.land(&bytes, stride);
            let [inbox, of_trains, _, other] = &mut self.inboxes;
            let taken = self.by_train.train(self.now, &bytes, stride, of_trains);
            assert_eq!(taken, train.len());
            let (fates, followed) = receive(&mut self.following, self.now, train, inbox);
            self.followed += followed;
            for (datagram, fate) in train.iter().zip(fates) {
                let twin = self.one_by_one.datagram(self.now, datagram, other);
                assert_eq!(fate, twin);
            }
            self.compare();
        }
    }

    /// A train is received where the message goes on, if any does, and taken in there if it can be.
    fn land(&mut self, train: &[u8], stride: usize) {
        let demux = &mut self.by_landing;
        if let Some((prefix, rest)) = train.split_first_chunk()
            && rest.len() <= LANDING_LEN
            && let Some(place) = demux.landing()
        {
            assert_eq!(place.len(), LANDING_LEN);
            place[..rest.len()].copy_from_slice(rest);
            if demux.land(self.now, prefix, train.len(), stride) {
                self.landed += 1;
                return;
            }
            // What was written there is to be of no consequence.
            self.missed += 1;
        }
        demux.train(self.now, train, stride, &mut self.inboxes[2]);
    }

    fn compare(&self) {
        let [one, by_train, by_landing, other] = &self.inboxes;
        for (demux, inbox) in [
            (&self.following, one),
            (&self.by_train, by_train),
            (&self.by_landing, by_landing),
        ] {
            check_twins(demux, &self.one_by_one);
            assert!(inbox.messages == other.messages);
        }
    }

    /// What is delivered is let go, and its buffers are given back, full of
    /// what must never be seen again.
    fn recycle(&mut self, len: usize) {
        for demux in self.demuxes() {
            demux.recycle(vec![0xDB; len]);
        }
        self.inboxes.iter_mut().for_each(|it| it.messages.clear());
    }
}

#[test]
fn with_every_schedule_it_is_the_same_as_one_by_one() {
    let (mut followed, mut landed, mut missed, mut delivered) = (0, 0, 0, 0);
    let mut refused = [0; 3];
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut limits = Limits::default();
        if seed % 4 == 0 {
            limits = Limits::new(120_000, 400_000);
            limits.expiry = Duration::from_millis(3);
        }
        let mut twins = Twins::new(limits);
        if seed % 3 == 0 {
            let unwanted = Some(TopicHash::of(Some("t")));
            twins
                .inboxes
                .iter_mut()
                .for_each(|it| it.not_hash = unwanted);
        }
        let mut senders = [Sender::new(seed), Sender::new(seed + 1000)];
        let mut all = HashMap::new();
        for _ in 0..40 {
            let mut queue = Vec::new();
            for sender in senders.iter_mut().take(1 + rng.below(8) / 7) {
                let len = [300, 20_000, 60_000, 110_000, 250_000][rng.below(5)];
                let sent = payload(rng.next(), len);
                let name = (sender.stream, sender.number);
                queue.extend(sender.message([None, Some("t")][rng.below(2)], &sent));
                all.insert(name, sent);
            }
            if rng.percent(30) {
                queue.retain(|_| !rng.percent(2));
            }
            // The receiver's own losses are whole trains.
            let overflows = rng.percent(20);
            if overflows && queue.len() > 60 {
                let at = rng.below(queue.len() - 50);
                let mut rest = queue.split_off(at);
                twins.arrive(&queue, 1 + rng.below(45));
                twins.demuxes().into_iter().for_each(Demux::overflow);
                queue = rest.split_off(1 + rng.below(45));
            }
            if rng.percent(20) {
                let at = rng.below(queue.len());
                rng.shuffle(&mut queue[at..]);
            }
            if rng.percent(10) && !queue.is_empty() {
                let at = rng.below(queue.len());
                let copy = queue[at].clone();
                queue.insert(rng.below(queue.len()), copy);
            }
            twins.arrive(&queue, 1 + rng.below(50));
            for message in &twins.inboxes[0].messages {
                assert!(message.payload == all[&(message.stream, message.number)]);
                delivered += 1;
            }
            twins.now += Duration::from_micros(rng.next() % 2000);
            twins.recycle(rng.below(120_000));
        }
        followed += twins.followed;
        (landed, missed) = (landed + twins.landed, missed + twins.missed);
        let frames = twins.one_by_one.counters().frames;
        refused[0] += frames.fragment_filtered;
        refused[1] += frames.fragment_too_large;
        refused[2] += frames.fragment_of_finished;
    }
    assert!(followed > 30_000, "{followed}");
    assert!(landed > 500 && missed > 50, "{landed} {missed}");
    assert!(delivered > 1000, "{delivered}");
    assert!(refused.iter().all(|it| *it > 2000), "{refused:?}");
}

/// A receiver that has taken in the first fragment of a message, and the others, still to come.
struct Halfway {
    demux: Demux<Hasher>,
    inbox: Inbox,
    sent: Vec<u8>,
    rest: Vec<Vec<u8>>,
    stride: usize,
}

/// With a message of `len` bytes, from a sender that begins with this `sequence`.
fn halfway_from(sequence: u64, len: usize) -> Halfway {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut sender = Sender::new(1);
    sender.sequence = sequence;
    for datagram in sender.message(None, &payload(0, len)) {
        demux.datagram(NOW, &datagram, &mut inbox);
    }
    inbox.messages.clear();
    // What is in its memory must never be seen again.
    demux.recycle(vec![0xDB; 2 * len]);
    let sent = payload(1, len);
    let mut rest = sender.message(None, &sent);
    let first = rest.remove(0);
    demux.datagram(NOW, &first, &mut inbox);
    Halfway {
        demux,
        inbox,
        sent,
        rest,
        stride: first.len(),
    }
}

fn halfway(len: usize) -> Halfway {
    halfway_from(0, len)
}

impl Halfway {
    fn follow(&mut self, now: Duration, train: &[u8]) -> usize {
        let count = self.demux.follow(now, train, self.stride, &mut self.inbox);
        check(&self.demux);
        count
    }

    /// What has not come yet comes, one by one: the message is whole.
    fn finish(mut self) {
        for datagram in &self.rest {
            self.demux.datagram(NOW, datagram, &mut self.inbox);
        }
        let message = self.inbox.messages.last().unwrap();
        assert!(message.owned && message.payload == self.sent);
        assert_eq!(self.demux.pending(), 0);
    }
}

/// Adds to a field.
fn add(datagram: &mut [u8], place: core::ops::Range<usize>, by: u64) {
    let field = &mut datagram[place];
    let value = field.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let bytes = value.wrapping_add(by).to_be_bytes();
    field.copy_from_slice(&bytes[8 - field.len()..]);
}

#[test]
fn what_follows_is_taken_in_together_but_for_a_shorter_end() {
    let mut halfway = halfway(100_000);
    let train = halfway.rest.concat();
    let before = halfway.demux.counters();
    let count = halfway.follow(NOW, &train);
    assert_eq!(count, train.len() / halfway.stride);
    let after = halfway.demux.counters();
    assert_eq!(after.datagrams_fed - before.datagrams_fed, count as u64);
    let bytes = (count * halfway.stride) as u64;
    assert_eq!(after.bytes_fed - before.bytes_fed, bytes);
    halfway.rest.drain(..count);
    assert_eq!(halfway.rest.len(), 1);
    halfway.finish();
}

#[test]
fn an_end_that_is_no_shorter_completes_the_message() {
    let shorter = halfway(100_000).rest.pop().unwrap().len();
    let mut halfway = halfway(100_000 + 1452 - shorter);
    let train = halfway.rest.concat();
    assert_eq!(halfway.follow(NOW, &train), halfway.rest.len());
    assert_eq!(halfway.follow(NOW, &train), 0, "it is over");
    halfway.rest.clear();
    halfway.finish();
}

#[test]
fn whatever_is_wrong_ends_what_follows() {
    for at in (0..50).filter(|at| ![5, 6, 7].contains(at)) {
        for which in 0..4 {
            let mut halfway = halfway(100_000);
            let mut train = halfway.rest.concat();
            train[which * halfway.stride + at] ^= 0x80;
            assert_eq!(halfway.follow(NOW, &train), which, "{at}");
            halfway.finish();
        }
    }
}

#[test]
fn what_is_not_a_train_of_that_message_is_not_looked_at() {
    let mut halfway = halfway(100_000);
    let (train, stride) = (halfway.rest.concat(), halfway.stride);
    // One is missing, or the train begins in the middle of one.
    for from in [stride, 1, stride - 1] {
        assert_eq!(halfway.follow(NOW, &train[from..]), 0);
    }
    for wrong in [0, 1, 51, 52, 53, stride - 1, stride + 1, usize::MAX] {
        halfway.stride = wrong;
        assert_eq!(halfway.follow(NOW, &train), 0);
    }
    halfway.stride = stride;
    assert_eq!(halfway.follow(NOW, &train[..stride - 1]), 0);
    assert_eq!(halfway.follow(NOW, &[]), 0);
    halfway.inbox.not_stream = Some(StreamId(1));
    assert_eq!(halfway.follow(NOW, &train), 0);
    halfway.inbox.not_stream = None;
    let later = NOW + Duration::from_secs(1);
    assert_eq!(halfway.follow(later, &train), 0, "it is too late");
    halfway.finish();
}

#[test]
fn nothing_follows_a_message_that_was_given_up_meanwhile() {
    let mut halfway = halfway(100_000);
    let train = halfway.rest.concat();
    halfway.demux.trim(0);
    halfway.demux.recycle(vec![0xDB; 300_000]);
    assert_eq!(halfway.follow(NOW, &train[..halfway.stride]), 1);
    let later = NOW + Duration::from_secs(1);
    halfway.demux.expire(later);
    assert_eq!(halfway.follow(later, &train[halfway.stride..]), 0);
    let report = halfway.demux.stream(StreamId(1)).unwrap();
    assert_eq!((report.messages.expired, report.pending), (1, 0));
}

#[test]
fn numbers_left_out_are_for_those_who_count_them() {
    let mut halfway = halfway(100_000);
    let numbers = halfway.rest.iter_mut();
    numbers.for_each(|datagram| add(datagram, SEQUENCE, 5));
    let train = halfway.rest.concat();
    assert_eq!(halfway.follow(NOW, &train), 0);
    halfway.finish();
}

#[test]
fn nothing_follows_the_last_number() {
    let datagrams = halfway(100_000).rest.len() as u64 + 1;
    // There are numbers for all of two messages but their last three datagrams.
    let mut halfway = halfway_from(u64::MAX - (2 * datagrams - 4), 100_000);
    let train = halfway.rest.concat();
    let count = halfway.follow(NOW, &train);
    assert_eq!(halfway.rest.len() - count, 3);
    assert_eq!(halfway.rest[count - 1][SEQUENCE], u64::MAX.to_be_bytes());
    assert_eq!(halfway.rest[count][SEQUENCE], 0_u64.to_be_bytes());
}

#[test]
fn a_fragment_beyond_the_end_is_none() {
    // There is room for it in the memory, but not in the message.
    let mut halfway = halfway(100_000);
    let mut last = halfway.rest[halfway.rest.len() - 2].clone();
    add(&mut last, SEQUENCE, 1);
    add(&mut last, INDEX, 1);
    let end = halfway.rest.len() - 1;
    let train = [&halfway.rest[..end], &[last]].concat().concat();
    assert_eq!(halfway.follow(NOW, &train), end);
    halfway.rest.drain(..end);
    halfway.finish();
}

#[test]
fn what_is_there_already_is_not_taken_again() {
    // Index 3 comes first, under the number that is next.
    let mut halfway = halfway(100_000);
    let mut early = halfway.rest[2].clone();
    add(&mut early, SEQUENCE, 2_u64.wrapping_neg());
    let numbers = halfway.rest.iter_mut();
    numbers.for_each(|datagram| add(datagram, SEQUENCE, 1));
    halfway.demux.datagram(NOW, &early, &mut halfway.inbox);
    let train = halfway.rest.concat();
    assert_eq!(halfway.follow(NOW, &train), 0);
    halfway.finish();
}

#[test]
fn what_waits_in_the_stash_is_not_passed_by() {
    // A stream that has shown nothing: a fragment far ahead is put aside.
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let sent = payload(1, 100_000);
    let mut datagrams = Sender::new(1).message(None, &sent);
    let mut early = datagrams[40].clone();
    add(&mut early, SEQUENCE, 39_u64.wrapping_neg());
    let numbers = datagrams[1..].iter_mut();
    numbers.for_each(|datagram| add(datagram, SEQUENCE, 1));
    demux.datagram(NOW, &datagrams[0], &mut inbox);
    let train = datagrams[1..].concat();
    demux.datagram(NOW, &early, &mut inbox);
    assert_eq!(demux.follow(NOW, &train, early.len(), &mut inbox), 0);
    for datagram in &datagrams[1..] {
        demux.datagram(NOW, datagram, &mut inbox);
    }
    assert!(inbox.messages[0].payload == sent);
}

#[test]
fn what_waits_in_the_stash_is_not_forgotten_where_nothing_grows_any_more() {
    // A stream whose messages get all their room at once; what is far ahead is put aside nevertheless.
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    bench.begin(&mut sender, 300_000, 215);
    let datagrams = sender.message(None, &payload(2, 300_000));
    let (last, others) = datagrams.split_last().unwrap();
    for (sequence, datagram) in (215_u64..).zip([last].into_iter().chain(others)) {
        let mut datagram = datagram.clone();
        datagram[SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        assert_eq!(bench.feed(&datagram), Disposition::Accepted);
    }
    assert!(bench.inbox.messages[1].payload == payload(2, 300_000));
}

#[test]
fn nothing_follows_what_brought_no_fragment() {
    type Datagram = fn(&mut Halfway) -> Vec<u8>;
    let others: [(Datagram, Disposition); 3] = [
        (|it| it.rest[0].clone(), Disposition::Duplicate),
        (|_| vec![1; 100], Disposition::NotMcl),
        // A fragment that is not wanted.
        (
            |it| {
                let mut other = Sender::new(2);
                it.inbox.not_hash = Some(TopicHash::of(Some("t")));
                other.message(Some("t"), &payload(1, 5000)).remove(0)
            },
            Disposition::Accepted,
        ),
    ];
    for (datagram, expected) in others {
        let mut halfway = halfway(100_000);
        let train = halfway.rest.concat();
        assert_eq!(halfway.follow(NOW, &train[..halfway.stride]), 1);
        let datagram = datagram(&mut halfway);
        let inbox = &mut halfway.inbox;
        assert_eq!(halfway.demux.datagram(NOW, &datagram, inbox), expected);
        let rest = &train[halfway.stride..];
        assert_eq!(halfway.follow(NOW, rest), 0);
        halfway.finish();
    }
    // And a message in one datagram.
    let mut halfway = halfway(100_000);
    let whole = Sender::new(2).message(None, b"short").remove(0);
    assert!(whole.len() < FRAGMENT_OVERHEAD + 20);
    halfway.demux.datagram(NOW, &whole, &mut halfway.inbox);
    let train = halfway.rest.concat();
    assert_eq!(halfway.follow(NOW, &train), 0);
    halfway.finish();
}

#[test]
fn a_datagram_is_accepted_once_however_it_comes() {
    let mut halfway = halfway(100_000);
    let train = halfway.rest.concat();
    assert_eq!(halfway.follow(NOW, &train[..4 * halfway.stride]), 4);
    for datagram in halfway.rest.drain(..4) {
        let again = halfway.demux.datagram(NOW, &datagram, &mut halfway.inbox);
        assert_eq!(again, Disposition::Duplicate);
    }
    halfway.finish();
}

/// A message of which so much has come that the next train can be written in its place.
fn landing_halfway() -> (Halfway, Vec<u8>) {
    let mut halfway = halfway(300_000);
    assert_eq!(
        halfway.demux.landing().map(|it| it.len()),
        Some(LANDING_LEN)
    );
    let train = halfway.rest[..40].concat();
    (halfway, train)
}

impl Halfway {
    /// `train` is written in its place, and this said of it.
    fn land(&mut self, train: &[u8], len: usize, stride: usize) -> bool {
        let (prefix, rest) = train.split_first_chunk().unwrap();
        let place = self.demux.landing().unwrap();
        place[..rest.len()].copy_from_slice(rest);
        let landed = self.demux.land(NOW, prefix, len, stride);
        check(&self.demux);
        landed
    }
}

#[test]
fn a_train_in_its_place_is_taken_in_there() {
    let (mut halfway, train) = landing_halfway();
    let before = halfway.demux.counters();
    assert!(halfway.land(&train, train.len(), halfway.stride));
    let after = halfway.demux.counters();
    assert_eq!(after.datagrams_fed - before.datagrams_fed, 40);
    assert_eq!(after.bytes_fed - before.bytes_fed, train.len() as u64);
    let stored = |it: mcl_wire::Counters| it.frames.fragment_stored;
    assert_eq!(stored(after) - stored(before), 40);
    halfway.rest.drain(..40);
    halfway.finish();
}

#[test]
fn another_train_in_its_place_is_of_no_consequence() {
    let (_, train) = landing_halfway();
    let stride = train.len() / 40;
    for at in (0..50).filter(|at| ![5, 6, 7].contains(at)) {
        for which in [0, 1, 39] {
            let (mut halfway, mut train) = landing_halfway();
            train[which * stride + at] ^= 0x80;
            assert!(!halfway.land(&train, train.len(), stride), "{at} {which}");
            halfway.finish();
        }
    }
    let (whole, one_more) = (train.len(), train.len() + 1);
    for (len, wrong) in [0, 1, 51, 52, 53, stride - 1, stride + 1, usize::MAX]
        .map(|wrong| (whole, wrong))
        .into_iter()
        .chain([0, 1, 51, 52, 53, whole - 1, one_more, 1 << 20, usize::MAX].map(|it| (it, stride)))
    {
        let (mut halfway, train) = landing_halfway();
        assert!(!halfway.land(&train, len, wrong), "{len} {wrong}");
        halfway.finish();
    }
}

#[test]
fn there_is_no_place_for_a_train_where_it_might_not_belong() {
    // Too near the end, or after a loss, or nothing is under way.
    assert!(halfway(65_000).demux.landing().is_none());
    let mut lossy = halfway(300_000);
    lossy.rest.remove(0);
    lossy.demux.datagram(NOW, &lossy.rest[0], &mut lossy.inbox);
    assert!(lossy.demux.landing().is_none());
    assert!(demux(Limits::default()).landing().is_none());
    // Or nothing has shown that so much is to come: the memory would be allocated for a claim.
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let first = Sender::new(1).message(None, &payload(1, 300_000)).remove(0);
    demux.datagram(NOW, &first, &mut inbox);
    let before = demux.allocated_bytes();
    assert!(demux.landing().is_none());
    assert_eq!(demux.allocated_bytes(), before);
}

#[test]
fn what_is_awaited_is_what_the_message_at_hand_lacks() {
    let mut bench = Bench::new(Limits::default());
    let (mut one, mut other) = (Sender::new(1), Sender::new(2));
    assert_eq!(bench.demux.awaited(), 0);
    let datagrams = one.message(None, &payload(1, 10_000));
    let (last, before) = datagrams.split_last().unwrap();
    let mut left: usize = datagrams
        .iter()
        .map(|it| it.len() - FRAGMENT_OVERHEAD)
        .sum();
    for datagram in before {
        bench.feed(datagram);
        left -= datagram.len() - FRAGMENT_OVERHEAD;
        assert_eq!(bench.demux.awaited(), left);
    }
    // A duplicate brings nothing, nor does what is complete by itself.
    bench.feed(&before[1]);
    assert_eq!(bench.demux.awaited(), 0);
    bench.prove(&mut other);
    assert_eq!(bench.demux.awaited(), 0);
    let rest = bench.begin(&mut other, 50_000, 1);
    assert!(bench.demux.awaited() > 45_000, "the other message");
    bench.feed(last);
    assert_eq!(bench.demux.awaited(), 0, "complete");
    bench.feed(&rest[0]);
    assert!(bench.demux.awaited() > 45_000);
    bench.now += Limits::default().expiry;
    bench.demux.expire(bench.now);
    assert_eq!(bench.demux.awaited(), 0, "given up");
}

/// Has room for so many messages.
struct Room(usize);

impl Sink for Room {
    fn message(&mut self, _: Received<'_>) {
        self.0 -= 1;
    }

    fn has_enough(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_train_is_taken_in_as_far_as_there_is_room() {
    let mut sender = Sender::new(1);
    let mut datagrams: Vec<_> = (0..7)
        .map(|number| sender.message(None, &payload(number, 1000)).remove(0))
        .collect();
    datagrams.push(datagrams[0][..500].to_vec());
    let (bytes, stride) = (datagrams.concat(), datagrams[0].len());
    let mut demux = demux(Limits::default());
    let (mut done, mut counts) = (0, Vec::new());
    while done < datagrams.len() {
        let rest = &bytes[done * stride..];
        counts.push(demux.train(NOW, rest, stride, &mut Room(3)));
        done += counts.last().unwrap();
        check(&demux);
    }
    assert_eq!(counts, [3, 3, 2]);
    assert_eq!(demux.counters().messages.delivered, 7);
    assert_eq!(
        demux.counters().datagrams.dropped(),
        1,
        "the one that is cut"
    );
}

#[test]
fn what_is_no_train_is_taken_in_all_the_same() {
    let mut demux = demux(Limits::default());
    let datagram = Sender::new(1).message(None, b"one").remove(0);
    let mut inbox = Inbox::default();
    // Longer than the train, and none at all.
    assert_eq!(demux.train(NOW, &datagram, usize::MAX, &mut inbox), 1);
    assert_eq!(demux.train(NOW, &[], 1452, &mut inbox), 1);
    assert_eq!(demux.train(NOW, &[0; 3], 0, &mut inbox), 3);
    check(&demux);
    assert_eq!(demux.counters().datagrams_fed, 5);
    assert_eq!(inbox.messages.len(), 1);
}

/// Counts how often it is asked for the stream.
#[derive(Default)]
struct Asked(usize);

impl Sink for Asked {
    fn wants_stream(&mut self, _: StreamId) -> bool {
        self.0 += 1;
        true
    }

    fn message(&mut self, _: Received<'_>) {}
}

#[test]
fn most_of_a_train_is_taken_in_together() {
    let mut sender = Sender::new(1);
    let mut demux = demux(Limits::default());
    // Memory for a first message is got step by step, and each is an end of what follows.
    for (number, most) in [(0, 10), (1, 3), (2, 3)] {
        let datagrams = sender.message(None, &payload(number, 60_000));
        let (bytes, stride, mut sink) = (datagrams.concat(), datagrams[0].len(), Asked::default());
        let taken = demux.train(NOW, &bytes, stride, &mut sink);
        assert_eq!(taken, datagrams.len());
        assert!(taken > 40 && sink.0 <= most, "{} of {taken}", sink.0);
    }
    assert_eq!(demux.counters().messages.delivered, 3);
}
