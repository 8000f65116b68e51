//! What damage UDP's 16-bit checksum leaves undetected, what the CRC-32C of message
//! bodies finds of that, and what comes out of a listener:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench checksums
//! ```
//!
//! Not a measure of speed. Each kind of damage is done to datagrams many times, with a
//! fixed seed; what the checksum of RFC 768 notices is counted and forgotten, the rest
//! goes to a [`Demux`].
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::hash::RandomState;
use std::time::Duration;

use mcl_testbed::SplitMix64;
use mcl_wire::{
    BodyHead, DatagramWriter, Demux, Fragmenter, Header, Limits, Metadata, Received, Sink, StreamId,
};

const DATAGRAM: usize = 1452;
const STREAM: StreamId = StreamId(0x5eed_0f57_2ea3);
/// How many datagrams are damaged in each way.
const TRIALS: u64 = 2_000_000;
/// How many undetected ones of a kind are put to a listener.
const MOST: u64 = 20_000;

/// The sum of RFC 1071 over the datagram; the rest of what UDP sums is not damaged.
fn internet_sum(bytes: &[u8]) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut sum: u64 = words
        .by_ref()
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    sum += words
        .remainder()
        .first()
        .map_or(0, |last| u64::from(*last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Zero has two forms, and both are right.
    if sum == 0xffff { 0 } else { sum as u16 }
}

/// A way in which links, memory and software damage datagrams.
struct Damage {
    name: &'static str,
    act: fn(&mut SplitMix64, &mut [u8]),
}

impl Damage {
    const fn new(name: &'static str, act: fn(&mut SplitMix64, &mut [u8])) -> Self {
        Self { name, act }
    }
}

fn flip(rng: &mut SplitMix64, bytes: &mut [u8], count: usize) {
    for _ in 0..count {
        let at = rng.below(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
    }
}

fn replace(rng: &mut SplitMix64, bytes: &mut [u8], count: usize) {
    for _ in 0..count {
        let at = rng.below(bytes.len());
        bytes[at] = rng.next_u64() as u8;
    }
}

fn burst(rng: &mut SplitMix64, bytes: &mut [u8]) {
    let len = 2 + rng.below(31);
    let at = rng.below(bytes.len() - len);
    for byte in &mut bytes[at..at + len] {
        *byte = rng.next_u64() as u8;
    }
}

/// Two words of 16 bits change places, as with a slip in byte order or in copying.
fn swap(rng: &mut SplitMix64, bytes: &mut [u8]) {
    let words = bytes.len() / 2;
    let (one, other) = (2 * rng.below(words), 2 * rng.below(words));
    for at in 0..2 {
        bytes.swap(one + at, other + at);
    }
}

/// A block of 64 bytes moves by a few words, and what it displaces goes behind it.
fn displace(rng: &mut SplitMix64, bytes: &mut [u8]) {
    let at = 2 * rng.below((bytes.len() - 80) / 2);
    let by = 2 * (1 + rng.below(8));
    bytes[at..at + 64 + by].rotate_right(by);
}

const DAMAGES: [Damage; 12] = [
    Damage::new("1 bit flipped", |rng, bytes| flip(rng, bytes, 1)),
    Damage::new("2 bits flipped", |rng, bytes| flip(rng, bytes, 2)),
    Damage::new("3 bits flipped", |rng, bytes| flip(rng, bytes, 3)),
    Damage::new("4 bits flipped", |rng, bytes| flip(rng, bytes, 4)),
    Damage::new("6 bits flipped", |rng, bytes| flip(rng, bytes, 6)),
    Damage::new("8 bits flipped", |rng, bytes| flip(rng, bytes, 8)),
    Damage::new("2 bytes replaced", |rng, bytes| replace(rng, bytes, 2)),
    Damage::new("4 bytes replaced", |rng, bytes| replace(rng, bytes, 4)),
    Damage::new("8 bytes replaced", |rng, bytes| replace(rng, bytes, 8)),
    Damage::new("a burst of 2 to 32 bytes", burst),
    Damage::new("two 16-bit words swapped", swap),
    Damage::new("64 bytes displaced by words", displace),
];

/// What is sent: datagrams, and the payloads by number.
struct Sent {
    name: &'static str,
    datagrams: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
}

fn payload(rng: &mut SplitMix64, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

fn head(payload: &[u8]) -> BodyHead {
    let metadata = Metadata::new().with_publish_time(1).with_crc32c(0);
    let mut head = BodyHead::new(Some("damaged"), &metadata).expect("a short topic");
    let crc = crc32c::crc32c_append(crc32c::crc32c(head.crc_covered()), payload);
    head.set_crc32c(crc);
    head
}

/// Messages of 64 bytes, as many as fit, all but the first with implied numbers.
fn coalesced(rng: &mut SplitMix64) -> Sent {
    let mut datagram = vec![0; DATAGRAM];
    let mut writer = DatagramWriter::new(&mut datagram, Header::new(STREAM, 0)).expect("room");
    let mut payloads = Vec::new();
    loop {
        let payload = payload(rng, 64);
        let number = payloads.len() as u64;
        if writer.message(number, &head(&payload), &payload).is_err() {
            break;
        }
        payloads.push(payload);
    }
    let len = writer.finish();
    datagram.truncate(len);
    assert_eq!(payloads.len(), 14);
    Sent {
        name: "messages of 64 bytes, 14 in a datagram",
        datagrams: vec![datagram],
        payloads,
    }
}

fn fragmented(rng: &mut SplitMix64, name: &'static str, len: usize) -> Sent {
    let payload = payload(rng, len);
    let head = head(&payload);
    let fragments = Fragmenter::new(0, &head, &payload, DATAGRAM).expect("a valid length");
    let datagrams = fragments
        .zip(0..)
        .map(|(it, sequence)| [&it.prefix(STREAM, sequence), it.head, it.payload].concat());
    Sent {
        name,
        datagrams: datagrams.collect(),
        payloads: vec![payload],
    }
}

/// What a listener was given of a damaged message.
#[derive(Default)]
struct Came {
    /// Payloads that nobody sent, and how many of them the CRC shows to be so; or
    /// would, had the damage not hidden that there is one.
    wrong: u64,
    wrong_found: u64,
    wrong_hidden: u64,
    /// Payloads as they were sent, under another number, or of another stream.
    misnamed: u64,
    misnamed_found: u64,
}

struct Judge<'a> {
    payloads: &'a [Vec<u8>],
    came: &'a mut Came,
}

impl Sink for Judge<'_> {
    fn message(&mut self, message: Received<'_>) {
        let (covered, payload) = message.body().crc_covered();
        let crc = crc32c::crc32c_append(crc32c::crc32c(covered), payload);
        let found = message.metadata().crc32c.is_some_and(|it| it != crc);
        let expected = usize::try_from(message.number).ok();
        let expected = expected.and_then(|number| self.payloads.get(number));
        let named = message.stream == STREAM && message.topic() == Some("damaged");
        let came = &mut *self.came;
        if named && expected.is_some_and(|it| it == payload) {
            // As if nothing had happened.
        } else if self.payloads.iter().any(|it| it == payload) {
            came.misnamed += 1;
            came.misnamed_found += u64::from(found);
        } else {
            came.wrong += 1;
            came.wrong_found += u64::from(found);
            came.wrong_hidden += u64::from(message.metadata().crc32c.is_none());
        }
    }
}

fn measure(sent: &Sent, damage: &Damage) {
    let (mut rng, mut came) = (SplitMix64::new(1), Came::default());
    let sums: Vec<u16> = sent.datagrams.iter().map(|it| internet_sum(it)).collect();
    let (mut damaged, mut undetected, mut put) = (0_u64, 0_u64, 0_u64);
    for _ in 0..TRIALS {
        let at = rng.below(sent.datagrams.len());
        let mut datagram = sent.datagrams[at].clone();
        (damage.act)(&mut rng, &mut datagram);
        if datagram == sent.datagrams[at] {
            continue;
        }
        damaged += 1;
        if internet_sum(&datagram) != sums[at] {
            continue;
        }
        undetected += 1;
        if put < MOST / sent.datagrams.len() as u64 {
            put += 1;
            let payloads = &sent.payloads;
            let mut judge = Judge {
                payloads,
                came: &mut came,
            };
            let mut demux = Demux::new(Limits::default(), RandomState::new());
            for (place, intact) in sent.datagrams.iter().enumerate() {
                let bytes = if place == at { &datagram } else { intact };
                demux.datagram(Duration::ZERO, bytes, &mut judge);
            }
        }
    }
    println!(
        "| {} | {} | {:.4} % | {put} | {} | {} | {} | {} | {} |",
        sent.name,
        damage.name,
        100.0 * undetected as f64 / damaged.max(1) as f64,
        came.wrong,
        came.wrong - came.wrong_found,
        came.wrong - came.wrong_found - came.wrong_hidden,
        came.misnamed,
        came.misnamed - came.misnamed_found,
    );
}

fn main() {
    let mut rng = SplitMix64::new(7);
    let all = [
        fragmented(&mut rng, "a message of 64 KiB in fragments", 64 << 10),
        coalesced(&mut rng),
    ];
    println!("Of {TRIALS} datagrams each:\n");
    println!(
        "| sent | damage | not seen by UDP | put to a listener | wrong payloads | not found by the CRC | \
         nor had one been missed | right ones misnamed | not found by the CRC |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for sent in &all {
        for damage in &DAMAGES {
            measure(sent, damage);
        }
    }
}
