//! Seeded schedules of everything a network and a forger do. The account is
//! checked after every datagram, and nothing is delivered but what was sent.

use std::collections::{HashMap, VecDeque};

use core::cell::Cell;
use core::time::Duration;

use mcl_wire::{BodyHead, Demux, Disposition, Fragmenter, Limits, Metadata, StreamId, TopicHash};

use crate::common::{Hasher, Inbox, Rng, Sender, check, demux, payload};

/// Runs `schedule` with many seeds. What fails says with which one.
fn with_seeds(seeds: core::ops::Range<u64>, schedule: impl Fn(u64)) {
    for seed in seeds {
        let guard = SeedOnPanic(seed);
        schedule(seed);
        drop(guard);
    }
}

struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    #[allow(clippy::print_stdout, reason = "the seed is what to run again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with seed {}", self.0);
        }
    }
}

/// What happens to datagrams on the way, in percent.
struct Network {
    loss: u64,
    duplication: u64,
    /// How many datagrams one may be overtaken by.
    delay: usize,
    late_duplicates: u64,
    forged: u64,
    hostile: u64,
}

const CALM: Network = Network {
    loss: 0,
    duplication: 0,
    delay: 1,
    late_duplicates: 0,
    forged: 0,
    hostile: 0,
};

struct World {
    rng: Rng,
    demux: Demux<Hasher>,
    inbox: Inbox,
    now: Duration,
    sent: HashMap<(StreamId, u64), Vec<u8>>,
    delivered: HashMap<(StreamId, u64), u32>,
    in_flight: Vec<Vec<u8>>,
    history: VecDeque<Vec<u8>>,
}

impl World {
    fn new(seed: u64, limits: Limits) -> Self {
        Self {
            rng: Rng(seed),
            demux: demux(limits),
            inbox: Inbox::default(),
            now: Duration::from_secs(1),
            sent: HashMap::new(),
            delivered: HashMap::new(),
            in_flight: Vec::new(),
            history: VecDeque::new(),
        }
    }

    fn feed(&mut self, datagram: &[u8]) -> Disposition {
        let disposition = self.demux.datagram(self.now, datagram, &mut self.inbox);
        check(&self.demux);
        for message in self.inbox.messages.drain(..) {
            let key = (message.stream, message.number);
            let sent = self.sent.get(&key).expect("a message nobody sent");
            assert!(
                *sent == message.payload,
                "a message other than sent: {key:?}"
            );
            *self.delivered.entry(key).or_default() += 1;
        }
        disposition
    }

    /// Sends the next message of `sender`; some of it may stay in flight.
    fn send(&mut self, sender: &mut Sender, len: usize, network: &Network) {
        let body = payload(self.rng.next(), len);
        let number = sender.number;
        let datagrams = sender.message(Some("t"), &body);
        self.sent.insert((sender.stream, number), body);
        for datagram in datagrams {
            self.carry(datagram, network);
        }
    }

    fn carry(&mut self, datagram: Vec<u8>, network: &Network) {
        self.now += Duration::from_micros(self.rng.next() % 20);
        if self.rng.percent(network.forged) {
            let forged = self.forge(&datagram);
            self.feed(&forged);
        }
        if self.rng.percent(network.hostile) {
            let hostile = self.hostile();
            self.feed(&hostile);
        }
        if self.rng.percent(network.loss) {
            return;
        }
        if self.rng.percent(network.duplication) {
            self.in_flight.push(datagram.clone());
        }
        if self.rng.percent(network.late_duplicates) {
            self.history.push_back(datagram.clone());
        }
        self.in_flight.push(datagram);
        while self.in_flight.len() >= network.delay {
            let at = self.rng.below(self.in_flight.len());
            let datagram = self.in_flight.swap_remove(at);
            self.feed(&datagram);
        }
        if self.history.len() > 200 {
            let late = self.history.pop_front().unwrap();
            self.feed(&late);
        }
    }

    fn arrive_all(&mut self) {
        for datagram in core::mem::take(&mut self.in_flight) {
            self.feed(&datagram);
        }
        for late in core::mem::take(&mut self.history) {
            self.feed(&late);
        }
    }

    /// A fragment that contradicts the honest one, under its sequence number.
    fn forge(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut forged = datagram.to_vec();
        if forged[24] != 2 || forged.len() < 52 + 256 {
            forged[4] = 0x80;
            return forged;
        }
        match self.rng.below(3) {
            // Total length: one fragment more.
            0 => {
                let total = u32::from_be_bytes(forged[36..40].try_into().unwrap());
                let size = u16::from_be_bytes(forged[48..50].try_into().unwrap());
                let total = total + u32::from(size);
                forged[36..40].copy_from_slice(&total.to_be_bytes());
            }
            1 => forged[47] ^= 0x55,
            // A sequence number from nowhere.
            _ => forged[16] ^= 0x40,
        }
        forged
    }

    /// One fragment of a message that claims to be huge, from a new stream.
    fn hostile(&mut self) -> Vec<u8> {
        let total = 1 << (20 + self.rng.below(6));
        let size = 256_u16 << self.rng.below(3);
        let count = u64::from(total / u32::from(size));
        let index = (self.rng.next() % count) as u32;
        let mut datagram = mcl_wire::Header::new(StreamId(self.rng.next()), self.rng.next())
            .encode()
            .to_vec();
        datagram.extend([2, 0]);
        datagram.extend((24 + size).to_be_bytes());
        datagram.extend(self.rng.next().to_be_bytes());
        datagram.extend(u32::to_be_bytes(total));
        datagram.extend(index.to_be_bytes());
        datagram.extend(TopicHash::of(Some("t")).0.to_be_bytes());
        datagram.extend(size.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.resize(datagram.len() + usize::from(size), 0xAA);
        datagram
    }

    fn len(&mut self) -> usize {
        match self.rng.below(10) {
            0..4 => self.rng.below(1400),
            4..8 => self.rng.below(8000),
            _ => self.rng.below(120_000),
        }
    }

    fn assert_once(&self) {
        assert!(self.delivered.values().all(|times| *times == 1));
    }
}

fn run(seed: u64, limits: Limits, network: &Network, messages: usize) -> World {
    let mut world = World::new(seed, limits);
    let mut senders: Vec<Sender> = (0..4).map(|id| Sender::new(seed << 8 | id)).collect();
    for _ in 0..messages {
        let chosen = world.rng.below(senders.len());
        let len = world.len();
        world.send(&mut senders[chosen], len, network);
    }
    world.arrive_all();
    // A stream that lost its place is a new one when it is heard again, and its
    // late duplicates with it.
    if world.demux.counters().departed.streams == 0 {
        world.assert_once();
    }
    world
}

#[test]
fn reorder_and_duplication_lose_nothing() {
    let network = Network {
        duplication: 20,
        delay: 300,
        late_duplicates: 10,
        ..CALM
    };
    with_seeds(0..20, |seed| {
        let world = run(seed, Limits::default(), &network, 60);
        assert_eq!(world.delivered.len(), world.sent.len());
        let counters = world.demux.counters();
        assert_eq!(counters.messages.delivered, 60);
        assert!(counters.datagrams.duplicate > 0);
        assert!(world.demux.streams().all(|s| s.datagrams.missing == 0));
    });
}

#[test]
fn losses_add_up_exactly() {
    let network = Network {
        loss: 5,
        duplication: 5,
        delay: 50,
        late_duplicates: 5,
        ..CALM
    };
    with_seeds(100..130, |seed| {
        let mut world = World::new(seed, Limits::default());
        let mut sender = Sender::new(seed);
        // The ends of a stream show only if they arrive.
        world.send(&mut sender, 10, &CALM);
        for _ in 0..80 {
            let len = world.len();
            world.send(&mut sender, len, &network);
        }
        world.arrive_all();
        world.send(&mut sender, 10, &CALM);
        world.now += Duration::from_secs(2);
        world.demux.expire(world.now);
        check(&world.demux);

        let report = world.demux.stream(sender.stream).unwrap();
        assert_eq!(report.datagrams.spanned, sender.sequence);
        assert_eq!(report.numbers.spanned, sender.number);
        assert_eq!(report.pending, 0);
        assert_eq!(report.bytes, 0);
        let messages = report.messages;
        assert_eq!(
            messages.delivered + messages.expired + messages.stranded + report.numbers.missing,
            sender.number
        );
        assert_eq!(messages.delivered, world.delivered.len() as u64);
        assert!(messages.expired > 0);
        world.assert_once();
    });
}

#[test]
fn forgers_and_little_memory_never_splice() {
    let network = Network {
        loss: 2,
        duplication: 10,
        delay: 100,
        late_duplicates: 10,
        forged: 5,
        hostile: 30,
    };
    let reached = Cell::new([0; 4]);
    with_seeds(200..220, |seed| {
        let mut limits = Limits::new(130_000, 600_000);
        limits.max_incomplete = 40;
        limits.max_incomplete_per_stream = 4;
        limits.max_streams = 30;
        limits.expiry = Duration::from_millis(5);
        limits.stream_idle = Duration::from_millis(50);
        let world = run(seed, limits, &network, 60);
        let counters = world.demux.counters();
        let found = [
            counters.messages.delivered,
            counters.messages.evicted,
            counters.departed.streams,
            counters.frames.fragment_too_large,
        ];
        reached.set(core::array::from_fn(|at| reached.get()[at] + found[at]));
    });
    // All of it happened, if not with every seed.
    assert!(reached.get().iter().all(|times| *times > 20));
}

#[test]
fn forged_fragments_are_told_from_honest_ones() {
    with_seeds(300..310, |seed| {
        let network = Network { forged: 50, ..CALM };
        let world = run(seed, Limits::default(), &network, 40);
        let frames = world.demux.counters().frames;
        assert!(frames.fragment_contradicting > 0);
    });
}

#[test]
fn two_of_the_longest_messages_at_once_fit_by_default() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut sender = Sender::new(1);
    sender.datagram_len = 60_000;
    let proof = sender.message(None, b"proof");
    let longest = payload(1, 64 << 20);
    let first = sender.message(None, &longest);
    let second = sender.message(None, &longest);
    let both = first.into_iter().zip(second).flat_map(|(a, b)| [a, b]);
    for (sequence, mut datagram) in (0_u64..).zip(proof.into_iter().chain(both)) {
        // Two threads publish: numbers are given out in order of sending.
        datagram[16..24].copy_from_slice(&sequence.to_be_bytes());
        demux.datagram(Duration::ZERO, &datagram, &mut inbox);
        assert!(demux.allocated_bytes() <= demux.limits().stream_bytes);
    }
    check(&demux);
    assert_eq!(inbox.messages.len(), 3);
}

#[test]
fn honest_streams_survive_a_flood_of_hostile_ones() {
    let mut limits = Limits::new(200_000, 4 << 20);
    limits.max_streams = 64;
    limits.max_incomplete = 64;
    let network = Network {
        hostile: 100,
        ..CALM
    };
    let world = run(1, limits, &network, 400);
    assert_eq!(world.delivered.len(), world.sent.len());
    let stored = world.demux.counters().frames.fragment_stored;
    assert!(stored > 400, "{stored}");
}

#[test]
fn late_duplicates_of_a_completed_message_create_nothing() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut sender = Sender::new(1);
    let datagrams = sender.message(None, &payload(1, 10_000));
    for datagram in &datagrams {
        demux.datagram(Duration::ZERO, datagram, &mut inbox);
    }
    for (sequence, datagram) in (100_u64..).zip(&datagrams) {
        // Bit-identical: known by its sequence number.
        let again = demux.datagram(Duration::ZERO, datagram, &mut inbox);
        assert_eq!(again, Disposition::Duplicate);
        // Under a new sequence number: known by its message number.
        let mut renumbered = datagram.clone();
        renumbered[16..24].copy_from_slice(&sequence.to_be_bytes());
        let again = demux.datagram(Duration::ZERO, &renumbered, &mut inbox);
        assert_eq!(again, Disposition::Accepted);
        check(&demux);
    }
    assert_eq!((inbox.messages.len(), demux.pending()), (1, 0));
    let frames = demux.counters().frames;
    assert_eq!(frames.fragment_of_finished, datagrams.len() as u64);
}

#[test]
fn duplicates_never_complete_a_message() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut sender = Sender::new(1);
    let datagrams = sender.message(None, &payload(1, 10_000));
    for sequence in 0..1000_u64 {
        let mut datagram = datagrams[sequence as usize % (datagrams.len() - 1)].clone();
        datagram[16..24].copy_from_slice(&sequence.to_be_bytes());
        demux.datagram(Duration::ZERO, &datagram, &mut inbox);
        check(&demux);
    }
    assert_eq!((inbox.messages.len(), demux.pending()), (0, 1));
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut limits = Limits::default();
    limits.max_message_len = u32::MAX;
    let (mut demux, mut inbox) = (demux(limits), Inbox::default());
    let sent = payload(0, 200_000);
    let head = BodyHead::new(None, &Metadata::new()).unwrap();
    let fragments = Fragmenter::new(0, &head, &sent, 308).unwrap();
    for (at, index) in [0_u32, 700, 16_777_210, 8_000_000].into_iter().enumerate() {
        let fragment = fragments.clone().next().unwrap();
        let prefix = fragment.prefix(StreamId(1), at as u64);
        let mut datagram = [&prefix, fragment.head, fragment.payload].concat();
        datagram[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
        datagram[40..44].copy_from_slice(&index.to_be_bytes());
        let disposition = demux.datagram(Duration::ZERO, &datagram, &mut inbox);
        assert_eq!(disposition, Disposition::Accepted);
        check(&demux);
    }
    assert_eq!(demux.counters().frames.fragment_stored, 4);
    assert!(
        demux.allocated_bytes() < 12 << 10,
        "{}",
        demux.allocated_bytes()
    );
}

#[test]
fn numbers_near_their_end_do_not_panic() {
    with_seeds(0..200, |seed| {
        let mut world = World::new(seed, Limits::default());
        let mut sender = Sender::new(seed);
        sender.number = u64::MAX - 20;
        sender.sequence = u64::MAX - 200;
        let network = Network { delay: 20, ..CALM };
        for _ in 0..20 {
            let len = world.rng.below(5000);
            world.send(&mut sender, len, &network);
        }
        world.arrive_all();
        assert_eq!(world.delivered.len(), 20);
        for extreme in [u64::MAX, u64::MAX - 1, 0, 1 << 63, 1, 2, 3] {
            for at in [16..24, 28..36] {
                let mut datagram = Sender::new(seed).message(None, b"x").remove(0);
                datagram[at].copy_from_slice(&extreme.to_be_bytes());
                world
                    .demux
                    .datagram(world.now, &datagram, &mut Inbox::default());
                check(&world.demux);
            }
        }
    });
}

#[test]
fn a_stream_that_starts_anew_abandons_what_it_had() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut sender = Sender::new(1);
    let first = sender.message(None, &payload(1, 10_000));
    demux.datagram(Duration::ZERO, &first[0], &mut inbox);
    sender.sequence = 1 << 60;
    sender.number = 1 << 60;
    let far: Vec<_> = (0..3_u8)
        .map(|n| sender.message(None, &[n]).remove(0))
        .collect();
    let expected = [
        Disposition::Jump,
        Disposition::Accepted,
        Disposition::Accepted,
    ];
    for (datagram, expected) in far.iter().zip(expected) {
        let disposition = demux.datagram(Duration::ZERO, datagram, &mut inbox);
        assert_eq!(disposition, expected);
        check(&demux);
    }
    let report = demux.stream(StreamId(1)).unwrap();
    assert_eq!(report.datagrams.restarts, 1);
    assert_eq!(report.datagrams.missing, 0, "nobody counts 2^60 losses");
    assert_eq!(report.numbers.restarts, 1);
    assert_eq!(report.messages.abandoned, 1);
    assert_eq!(inbox.messages.len(), 2);
}
