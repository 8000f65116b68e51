//! Receiving in place, and what follows in a row together, is the same as receiving one by one, and what
//! misses is not lost.

use std::collections::HashMap;

use core::time::Duration;

use mcl_wire::{Demux, Disposition, FRAGMENT_OVERHEAD, Limits, Missed, StreamId, StreamReport};

use crate::common::{Hasher, Inbox, Rng, Sender, check, demux, payload, receive, train_len};

const NOW: Duration = Duration::from_secs(1);

/// Two receivers of the same trains, one of which uses landings, and takes in together what
/// follows.
struct Twins {
    landing: Demux<Hasher>,
    copying: Demux<Hasher>,
    inboxes: [Inbox; 2],
    now: Duration,
    landed: usize,
    missed: usize,
}

impl Twins {
    fn new(limits: Limits) -> Self {
        Self {
            landing: demux(limits),
            copying: demux(limits),
            inboxes: [Inbox::default(), Inbox::default()],
            now: NOW,
            landed: 0,
            missed: 0,
        }
    }

    fn arrive(&mut self, queue: &[Vec<u8>], most: usize) {
        let mut queue = queue;
        while !queue.is_empty() {
            let (train, rest) = queue.split_at(train_len(queue, most));
            queue = rest;
            let [in_place, copied] = &mut self.inboxes;
            let offered = self.landing.landing(train.len().max(2)).is_some();
            let (dispositions, landed) = receive(&mut self.landing, self.now, train, in_place);
            self.landed += usize::from(landed);
            self.missed += usize::from(offered && !landed);
            for (datagram, disposition) in train.iter().zip(dispositions) {
                let other = self.copying.datagram(self.now, datagram, copied);
                assert_eq!(disposition, other);
            }
            self.compare();
        }
    }

    fn compare(&self) {
        check(&self.landing);
        let both = [&self.landing, &self.copying];
        let [one, other] = both.map(Demux::counters);
        assert_eq!(one, other);
        let [one, other] = both.map(|it| it.streams().collect::<Vec<StreamReport>>());
        assert_eq!(one, other);
        let [one, other] = both.map(Demux::next_expiry);
        assert_eq!(one, other);
        let [one, other] = both.map(Demux::allocated_bytes);
        assert_eq!(one, other);
        let [one, other] = &self.inboxes;
        assert!(one.messages == other.messages);
    }

    /// What is delivered is let go, and its buffers are given back, full of
    /// what must never be seen again.
    fn recycle(&mut self, len: usize) {
        for demux in [&mut self.landing, &mut self.copying] {
            demux.recycle(vec![0xDB; len]);
        }
        self.inboxes.iter_mut().for_each(|it| it.messages.clear());
    }
}

/// A demux in the middle of a message of `len` bytes, with a prediction due.
struct Midway {
    demux: Demux<Hasher>,
    inbox: Inbox,
    sent: Vec<u8>,
    rest: Vec<Vec<u8>>,
}

fn midway(len: usize) -> Midway {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut sender = Sender::new(1);
    let proof = sender.message(None, &payload(0, 3 * len));
    for datagram in &proof {
        demux.datagram(NOW, datagram, &mut inbox);
    }
    inbox.messages.clear();
    let sent = payload(1, len);
    let mut rest = sender.message(None, &sent);
    for train in rest.drain(..8).collect::<Vec<_>>().chunks(4) {
        let (_, landed) = receive(&mut demux, NOW, train, &mut inbox);
        assert!(!landed, "not before two trains have gone on");
    }
    Midway {
        demux,
        inbox,
        sent,
        rest,
    }
}

type Prefixes = Vec<[u8; FRAGMENT_OVERHEAD]>;

impl Midway {
    /// Puts the next `count` datagrams into the slots.
    fn land(&mut self, count: usize) -> (Prefixes, usize) {
        let landing = self.demux.landing(count).expect("predictable");
        let slots = landing.slots.chunks_mut(landing.fragment_len);
        let pairs = self.rest.iter().take(count).zip(slots);
        let put = |(datagram, slot): (&Vec<u8>, &mut [u8])| {
            let (prefix, data) = datagram.split_first_chunk().unwrap();
            slot[..data.len()].copy_from_slice(data);
            *prefix
        };
        let prefixes = pairs.map(put).collect();
        (prefixes, self.rest[count - 1].len() - FRAGMENT_OVERHEAD)
    }

    fn landed(
        &mut self,
        now: Duration,
        (prefixes, last): &(Prefixes, usize),
    ) -> Result<(), Missed> {
        self.demux.landed(now, prefixes, *last, &mut self.inbox)
    }

    fn finish(mut self) {
        for datagram in core::mem::take(&mut self.rest) {
            self.demux.datagram(NOW, &datagram, &mut self.inbox);
        }
        assert!(self.inbox.messages.last().unwrap().payload == self.sent);
    }
}

#[test]
fn all_that_is_left_lands_and_completes_the_message() {
    let mut midway = midway(100_000);
    assert!(midway.rest.last().unwrap().len() < midway.rest[0].len());
    let landing = midway.demux.landing(16).expect("predictable");
    let slots = landing.slots.chunks(landing.fragment_len).count();
    assert_eq!(slots, 16);
    while !midway.rest.is_empty() {
        let count = midway.rest.len().min(16);
        let landed = midway.land(count);
        let before = midway.demux.counters();
        midway.landed(NOW, &landed).unwrap();
        let after = midway.demux.counters();
        let fed = after.datagrams_fed - before.datagrams_fed;
        assert_eq!(fed, count as u64);
        check(&midway.demux);
        midway.rest.drain(..count);
    }
    let message = midway.inbox.messages.last().unwrap();
    assert!(message.owned && message.payload == midway.sent);
    assert_eq!(midway.demux.pending(), 0);
}

#[test]
fn whatever_is_wrong_is_missed_and_leaves_no_trace() {
    // Magic, version, header length, flags, stream, sequence, frame, length,
    // number, total, index, topic hash and size.
    for at in [
        0, 1, 2, 3, 4, 8, 15, 16, 23, 24, 25, 26, 27, 28, 35, 36, 39, 40, 43, 44, 47, 48, 49,
    ] {
        for which in 0..4 {
            let mut midway = midway(100_000);
            let mut landed = midway.land(4);
            landed.0[which][at] ^= 0x80;
            let before = midway.demux.counters();
            let reports: Vec<_> = midway.demux.streams().collect();
            assert_eq!(midway.landed(NOW, &landed), Err(Missed), "{at} of {which}");
            assert_eq!(midway.demux.counters(), before);
            assert!(midway.demux.streams().eq(reports));
            midway.finish();
        }
    }
}

#[test]
fn lengths_order_and_count_must_be_right() {
    type Change = fn(&mut (Prefixes, usize));
    let changes: [Change; 7] = [
        |it| it.1 -= 1,
        |it| it.1 += 1,
        |it| it.0.clear(),
        |it| it.0.swap(1, 2),
        |it| it.0[1] = it.0[0],
        |it| _ = it.0.remove(0),
        |it| it.1 = usize::MAX,
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut midway = midway(100_000);
        let mut landed = midway.land(4);
        change(&mut landed);
        assert_eq!(midway.landed(NOW, &landed), Err(Missed), "change {at}");
        midway.finish();
    }
}

#[test]
fn nothing_lands_that_was_not_offered() {
    let mut midway = midway(100_000);
    let landed = midway.land(4);
    // Something else comes first: a duplicate.
    let other = midway.rest[0].clone();
    midway.demux.datagram(NOW, &other, &mut midway.inbox);
    assert_eq!(midway.landed(NOW, &landed), Err(Missed));
    midway.finish();
}

#[test]
fn gaps_in_the_sequence_are_counted() {
    let mut midway = midway(100_000);
    for datagram in &mut midway.rest {
        let sequence = u64::from_be_bytes(datagram[16..24].try_into().unwrap()) + 5;
        datagram[16..24].copy_from_slice(&sequence.to_be_bytes());
    }
    let landed = midway.land(4);
    midway.landed(NOW, &landed).unwrap();
    let report = midway.demux.stream(StreamId(1)).unwrap();
    assert_eq!(report.datagrams.missing, 5);
    midway.rest.drain(..4);
    midway.finish();
}

#[test]
fn an_unwanted_stream_does_not_land() {
    let mut midway = midway(100_000);
    let landed = midway.land(4);
    midway.inbox.not_stream = Some(StreamId(1));
    assert_eq!(midway.landed(NOW, &landed), Err(Missed));
    midway.inbox.not_stream = None;
    midway.finish();
}

#[test]
fn what_expires_before_it_lands_is_missed() {
    let mut midway = midway(100_000);
    let landed = midway.land(4);
    let later = NOW + Duration::from_secs(1);
    assert_eq!(midway.landed(later, &landed), Err(Missed));
    assert_eq!(midway.demux.pending(), 1, "no effect");
    midway.demux.expire(later);
    assert!(midway.demux.landing(4).is_none());
    assert_eq!(midway.landed(later, &landed), Err(Missed));
    let report = midway.demux.stream(StreamId(1)).unwrap();
    assert_eq!((report.messages.expired, report.pending), (1, 0));
}

#[test]
fn after_misses_landings_become_rare() {
    let mut twins = Twins::new(Limits::default());
    let mut senders = [Sender::new(1), Sender::new(2)];
    let mut messages = senders
        .each_mut()
        .map(|it| it.message(None, &payload(it.stream.0, 4 << 20)));
    // Ten trains of each by turns: every tenth prediction misses.
    while messages.iter().any(|it| !it.is_empty()) {
        for message in &mut messages {
            let burst: Vec<_> = message.drain(..message.len().min(160)).collect();
            twins.arrive(&burst, 16);
        }
    }
    assert_eq!(twins.inboxes[0].messages.len(), 2);
    let (landed, missed) = (twins.landed, twins.missed);
    assert!(missed <= 38 && landed > 4 * missed, "{landed} {missed}");
    // One train of each by turns: nothing is ever predicted.
    let (landed, missed) = (twins.landed, twins.missed);
    let mut messages = senders
        .each_mut()
        .map(|it| it.message(None, &payload(it.stream.0, 1 << 20)));
    while messages.iter().any(|it| !it.is_empty()) {
        for message in &mut messages {
            let burst: Vec<_> = message.drain(..message.len().min(16)).collect();
            twins.arrive(&burst, 16);
        }
    }
    assert!(twins.landed - landed <= 2 && twins.missed - missed <= 2);
}

#[test]
fn an_unproven_stream_lands_within_its_slack_only() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let datagrams = Sender::new(1).message(None, &payload(1, 1 << 20));
    let (mut received, mut offered) = (0, 0);
    for train in datagrams.chunks(2).take(100) {
        assert!(demux.landing(usize::MAX).is_none() || received > 500_000);
        if let Some(landing) = demux.landing(8) {
            assert!(landing.slots.len() <= received + (8 << 10));
            offered += 1;
        }
        receive(&mut demux, NOW, train, &mut inbox);
        received += 2 * 1400;
        check(&demux);
    }
    assert!(offered > 50, "{offered}");
}

#[test]
fn with_every_schedule_it_is_the_same_as_by_copy() {
    let (mut landed, mut missed, mut delivered) = (0, 0, 0);
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut limits = Limits::default();
        if seed % 4 == 0 {
            limits = Limits::new(120_000, 400_000);
            limits.expiry = Duration::from_millis(3);
        }
        let mut twins = Twins::new(limits);
        let mut senders = [Sender::new(seed), Sender::new(seed + 1000)];
        let mut all = HashMap::new();
        for _ in 0..40 {
            let mut queue = Vec::new();
            for sender in senders.iter_mut().take(1 + rng.below(8) / 7) {
                let len = [300, 20_000, 60_000, 110_000][rng.below(4)];
                let sent = payload(rng.next(), len);
                let name = (sender.stream, sender.number);
                queue.extend(sender.message([None, Some("t")][rng.below(2)], &sent));
                all.insert(name, sent);
            }
            if rng.percent(30) {
                queue.retain(|_| !rng.percent(2));
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
            twins.arrive(&queue, 1 + rng.below(12));
            for message in &twins.inboxes[0].messages {
                assert!(message.payload == all[&(message.stream, message.number)]);
                delivered += 1;
            }
            twins.now += Duration::from_micros(rng.next() % 2000);
            twins.recycle(rng.below(120_000));
        }
        (landed, missed) = (landed + twins.landed, missed + twins.missed);
    }
    assert!(landed > 1000 && missed > 100, "{landed} {missed}");
    assert!(delivered > 1000, "{delivered}");
}

/// The rest of a message, of which one fragment was taken in, as a train.
fn halfway(len: usize) -> (Midway, Vec<u8>, usize) {
    let mut midway = midway(len);
    let first = midway.rest.remove(0);
    midway.demux.datagram(NOW, &first, &mut midway.inbox);
    let train = midway.rest.concat();
    (midway, train, first.len())
}

impl Midway {
    fn follow(&mut self, now: Duration, train: &[u8], stride: usize) -> usize {
        let count = self.demux.follow(now, train, stride, &mut self.inbox);
        check(&self.demux);
        self.rest.drain(..count);
        count
    }
}

#[test]
fn what_follows_is_taken_in_together_but_for_a_shorter_end() {
    let (mut midway, train, stride) = halfway(100_000);
    let before = midway.demux.counters();
    let count = midway.follow(NOW, &train, stride);
    assert_eq!(count, train.len() / stride);
    let after = midway.demux.counters();
    assert_eq!(after.datagrams_fed - before.datagrams_fed, count as u64);
    let bytes = (count * stride) as u64;
    assert_eq!(after.bytes_fed - before.bytes_fed, bytes);
    assert_eq!(midway.rest.len(), 1);
    midway.finish();
    // An end that is no shorter completes the message.
    let (_, train, stride) = halfway(100_000);
    let missing = stride - train.len() % stride;
    let (mut midway, train, stride) = halfway(100_000 + missing);
    assert_eq!(midway.follow(NOW, &train, stride), train.len() / stride);
    assert_eq!((midway.rest.len(), midway.demux.pending()), (0, 0));
    assert_eq!(midway.follow(NOW, &train, stride), 0, "it is over");
    midway.finish();
}

#[test]
fn whatever_is_wrong_ends_what_follows() {
    for at in [0, 1, 2, 3, 4, 8, 15, 16, 23, 24, 25, 26, 27, 28, 35] {
        for which in 0..4 {
            let (mut midway, mut train, stride) = halfway(100_000);
            train[which * stride + at] ^= 0x80;
            assert_eq!(midway.follow(NOW, &train, stride), which, "{at}");
            midway.finish();
        }
    }
    let (mut midway, train, stride) = halfway(100_000);
    // One is missing, or the train begins in the middle of one.
    for from in [stride, 1, stride - 1] {
        assert_eq!(midway.follow(NOW, &train[from..], stride), 0);
    }
    for stride in [0, 1, 51, 52, 53, stride - 1, stride + 1, usize::MAX] {
        assert_eq!(midway.follow(NOW, &train, stride), 0);
    }
    assert_eq!(midway.follow(NOW, &train[..stride - 1], stride), 0);
    assert_eq!(midway.follow(NOW, &[], stride), 0);
    midway.inbox.not_stream = Some(StreamId(1));
    assert_eq!(midway.follow(NOW, &train, stride), 0);
    midway.inbox.not_stream = None;
    let later = NOW + Duration::from_secs(1);
    assert_eq!(midway.follow(later, &train, stride), 0, "it is too late");
    midway.finish();
}

#[test]
fn nothing_follows_what_is_not_a_fragment_or_was_not_taken() {
    let (mut midway, train, stride) = halfway(100_000);
    let again = midway.rest[0].clone();
    assert_eq!(midway.follow(NOW, &train[..stride], stride), 1);
    midway.demux.datagram(NOW, &again, &mut midway.inbox);
    assert_eq!(midway.follow(NOW, &train[stride..], stride), 0);
    midway.finish();
}

#[test]
fn a_datagram_is_accepted_once_however_it_comes() {
    let mut midway = midway(100_000);
    let landed = midway.land(4);
    midway.landed(NOW, &landed).unwrap();
    for datagram in midway.rest.drain(..4) {
        let again = midway.demux.datagram(NOW, &datagram, &mut midway.inbox);
        assert_eq!(again, Disposition::Duplicate);
    }
    assert_eq!(midway.landed(NOW, &landed), Err(Missed));
    midway.finish();
}
