//! The library as the other judge: both read the same datagrams, and must find the same in them.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs;
use std::net::Ipv6Addr;
use std::time::Duration;

use mcl_wire::{Arrival, Demux, Header, Limits, Received, SequenceTracker, Sink, StreamId};

use crate::damage::{Dice, corrupt};
use crate::pcap::{Packet, capture};
use crate::pdml::{self, Message, Shown, hex};
use crate::scratch;
use crate::vectors::{around, cases};

/// How often each vector is damaged.
const ROUNDS: usize = 30;

/// What the library delivers.
#[derive(Default)]
struct Inbox(Vec<Message>);

impl Sink for Inbox {
    fn message(&mut self, message: Received<'_>) {
        self.0.push(Message {
            stream: format!("0x{:016x}", message.stream.0),
            number: message.number.to_string(),
            topic: message.topic().map(str::to_owned),
            encoding: None,
            payload: hex(message.payload()),
            problems: Vec::new(),
        });
    }
}

fn listener() -> Demux<RandomState> {
    Demux::new(Limits::default(), RandomState::new())
}

/// All vectors, bodies in datagrams.
fn vectors() -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for file in ["datagrams", "tolerated", "refused"] {
        datagrams.extend(cases(file).into_iter().map(|case| case.bytes));
    }
    datagrams.extend(cases("bodies").iter().map(|case| around(7, &case.bytes)));
    datagrams
}

/// Datagrams as a capture, each to the group that `group` says.
fn as_capture(
    name: &str,
    datagrams: &[Vec<u8>],
    group: impl Fn(usize) -> u16,
) -> std::path::PathBuf {
    let packets: Vec<_> = datagrams
        .iter()
        .enumerate()
        .map(|(at, payload)| Packet {
            group: Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, group(at)),
            port: 26_000,
            payload: payload.clone(),
        })
        .collect();
    let file = scratch(name);
    fs::write(&file, capture(&packets)).unwrap();
    file
}

fn disposition(packet: &[Shown]) -> &str {
    let shown = packet.iter().find(|it| it.name == "mcl.disposition");
    shown.map_or("NotMcl", |it| it.show.as_str())
}

/// The messages shown that a listener would get: none of a datagram that it drops. The library leaves the CRC to its user; what is
/// said of the datagram's number is not the message's.
fn delivered(packet: &[Shown]) -> Vec<Message> {
    if disposition(packet) != "Accepted" {
        return Vec::new();
    }
    let mut messages = pdml::messages(packet);
    for message in &mut messages {
        let of_others = ["crc_differs", "restart", "missing", "leap"];
        let problems = &mut message.problems;
        problems.retain(|it| !of_others.contains(&it.as_str()));
        message.encoding = None;
    }
    messages.retain(|it| it.problems.is_empty());
    messages
}

/// Sequence numbers about which there is something to decide, from the last one.
fn next_number(last: u64, dice: &mut Dice) -> u64 {
    let far = 1_u64 << 24;
    let steps = [
        1,
        1,
        1,
        1,
        1,
        1,
        2,
        3,
        63,
        64,
        65,
        1023,
        1024,
        1025,
        4095,
        4096,
        4097,
        far - 1,
        far,
        far + 1,
        far * 9,
    ];
    let step = steps[dice.below(steps.len())];
    match dice.below(3) {
        0 => last.saturating_sub(step),
        _ => last.saturating_add(step),
    }
}

/// A message of three fragments of a stream, and one of them, which may contradict the others.
fn fragment(header: Header, number: u64, dice: &mut Dice) -> Vec<u8> {
    let index = dice.below(3);
    let body: Vec<u8> = [0; 4]
        .into_iter()
        .chain(1..=200)
        .cycle()
        .take(700)
        .collect();
    // The first 4 bytes of a body without topic and metadata are zeros.
    let (from, to) = (index * 300, (index * 300 + 300).min(700));
    let hash = u32::from(dice.below(12) == 0);
    let mut bytes = header.encode().to_vec();
    bytes.extend([2, 0]);
    bytes.extend(u16::try_from(24 + to - from).unwrap().to_be_bytes());
    bytes.extend(number.to_be_bytes());
    for field in [700, u32::try_from(index).unwrap(), hash, 300 << 16] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(&body[from..to]);
    bytes
}

/// A datagram of whole messages, of which each says its number.
fn whole(header: Header, numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    for number in numbers {
        bytes.extend([1, 0x10, 0, 12]);
        bytes.extend(number.to_be_bytes());
        bytes.extend([0; 4]);
    }
    bytes
}

/// What is to be said of a sequence number besides the disposition.
fn remark(arrival: Arrival) -> Option<(&'static str, Option<u64>)> {
    match arrival {
        Arrival::Gap { missing } => Some(("missing", Some(missing))),
        Arrival::Duplicate => Some(("duplicate", None)),
        Arrival::Stale => Some(("stale", None)),
        Arrival::Leap => Some(("leap", None)),
        Arrival::Jump => Some(("jump", None)),
        Arrival::Restarted => Some(("restart", None)),
        _ => None,
    }
}

/// What is said of the sequence number of a datagram without frames.
fn remarked(packet: &[Shown]) -> Option<(&str, Option<u64>)> {
    let shown = |name| packet.iter().find(|it| it.name == name);
    let missing = shown("mcl.missing").map(|it| it.show.parse().unwrap());
    shown("mcl.problem").map(|it| (it.show.as_str(), missing))
}

/// The sequence goes where two say, and comes back when 65 are elsewhere: of which some are
/// missing, some come twice; and not before, when others are between them.
fn led_astray() -> Vec<u64> {
    let mut sequence = vec![7, 9_000, 9_000, 8_500];
    sequence.extend((8..8 + 50).chain([9_001]));
    sequence.extend((60..60 + 64 * 2).step_by(2).flat_map(|at| [at, at]));
    sequence.extend([188, 189, 187, 187 + 1025, 187 + 1026, 188]);
    sequence
}

/// Whole messages and fragments whose numbers are late, early, repeated and far off.
fn messages_of(stream: u64, dice: &mut Dice) -> Vec<Vec<u8>> {
    let (mut sequence, mut number, mut in_parts) = (1_u64 << 41, 1_u64 << 40, 1_u64 << 40);
    let mut datagrams = Vec::new();
    for _ in 0..150 {
        sequence += match dice.below(40) {
            0 => 1 << 30,
            _ => 1,
        };
        let header = Header::new(StreamId(stream), sequence);
        if dice.below(3) == 0 {
            // Several do not confirm each other, however far they are.
            number = next_number(number, dice);
            let to = number + dice.below(4) as u64;
            datagrams.push(whole(header, number..=to));
            number = to;
        } else {
            if dice.below(6) == 0 {
                in_parts = next_number(number, dice);
            }
            datagrams.push(fragment(header, in_parts, dice));
        }
    }
    datagrams
}

mod with_tshark {
    use super::*;

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn message_numbers_and_fragments_are_judged_alike() {
        let mut dice = Dice(7);
        let datagrams: Vec<_> = (0..20).flat_map(|it| messages_of(it, &mut dice)).collect();
        let file = as_capture("numbers.pcap", &datagrams, |_| 1);
        let packets = pdml::read(&file, &[]);
        let mut listener = listener();
        let (mut whole, mut reassembled) = (0, 0);
        for (at, (datagram, packet)) in datagrams.iter().zip(&packets).enumerate() {
            let mut inbox = Inbox::default();
            let judged = listener.datagram(Duration::ZERO, datagram, &mut inbox);
            assert_eq!(
                disposition(packet),
                format!("{judged:?}"),
                "packet {}",
                at + 1
            );
            assert_eq!(delivered(packet), inbox.0, "packet {}", at + 1);
            for message in inbox.0 {
                whole += usize::from(message.payload.is_empty());
                reassembled += usize::from(!message.payload.is_empty());
            }
        }
        let frames = listener.counters().frames;
        for count in [
            frames.message_duplicate,
            frames.message_stale,
            frames.message_jump,
        ] {
            assert!(count > 20, "{frames:?}");
        }
        assert!(whole > 300 && reassembled > 50, "{whole} {reassembled}");
        fs::remove_file(file).unwrap();
    }

    /// Of what waits until another datagram confirms it, nothing is forgotten.
    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn message_numbers_far_ahead_are_judged_alike() {
        let (far, further) = (1_u64 << 23, 1_u64 << 40);
        let mut said: Vec<Vec<u64>> = vec![
            vec![0],
            (far..far + 100).collect(),
            vec![far + 50, far + 99, far + 100],
            (far..=far + 101).rev().collect(),
            vec![1],
            (further..further + 100).collect(),
            vec![further + 100],
            (further..=further + 100).collect(),
            (further + 10_000..further + 10_002).collect(),
            vec![further + 10_002],
            (further + 200..further + 300).collect(),
        ];
        said.extend((further + 300..further + 370).map(|at| vec![at]));
        let numbered = (0..).zip(&said);
        let datagrams: Vec<_> = numbered
            .map(|(at, numbers)| whole(Header::new(StreamId(3), at), numbers.iter().copied()))
            .collect();
        let file = as_capture("far.pcap", &datagrams, |_| 1);
        let packets = pdml::read(&file, &[]);
        assert_eq!(packets.len(), datagrams.len());
        let mut listener = listener();
        for (at, (datagram, packet)) in datagrams.iter().zip(&packets).enumerate() {
            let mut inbox = Inbox::default();
            let _ = listener.datagram(Duration::ZERO, datagram, &mut inbox);
            assert_eq!(delivered(packet), inbox.0, "packet {}", at + 1);
        }
        let frames = listener.counters().frames;
        let refused = [
            frames.message_duplicate,
            frames.message_jump,
            frames.message_stale,
        ];
        // Behind until the 64th that is closely above another datagram's.
        assert_eq!(refused, [2 + 101 + 1, 100, 1 + 100 + 63], "{frames:?}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn damaged_datagrams_are_judged_alike() {
        let mut dice = Dice(5);
        let mut datagrams = Vec::new();
        for mut datagram in (0..ROUNDS).flat_map(|_| vectors()) {
            if !datagram.is_empty() {
                corrupt(&mut datagram, &mut dice);
            }
            datagrams.push(datagram);
        }
        let file = as_capture("alike.pcap", &datagrams, |at| u16::try_from(at).unwrap());
        let packets = pdml::read(&file, &[]);
        assert_eq!(packets.len(), datagrams.len());
        let mut met = BTreeMap::<String, usize>::new();
        for (datagram, packet) in datagrams.iter().zip(&packets) {
            let mut inbox = Inbox::default();
            let judged = listener().datagram(Duration::ZERO, datagram, &mut inbox);
            let judged = format!("{judged:?}");
            assert_eq!(disposition(packet), judged, "{}", hex(datagram));
            if judged == "Accepted" {
                assert_eq!(delivered(packet), inbox.0, "{}", hex(datagram));
            }
            *met.entry(judged).or_default() += 1;
        }
        for kind in [
            "Accepted",
            "NotMcl",
            "Version",
            "MalformedHeader",
            "CriticalFlag",
        ] {
            assert!(met.get(kind).is_some_and(|it| *it > 20), "{kind}: {met:?}");
        }
        for kind in ["MalformedFrame", "CriticalFrame"] {
            assert!(met.get(kind).is_some_and(|it| *it > 100), "{kind}: {met:?}");
        }
        fs::remove_file(file).unwrap();
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn sequence_numbers_are_judged_alike() {
        let mut dice = Dice(6);
        let mut sequence = 1 << 40;
        let mut numbers = Vec::new();
        for at in 0..3_000 {
            sequence = next_number(sequence, &mut dice);
            // Ten streams one after the other, each beginning somewhere.
            numbers.push((7 + at / 300, sequence));
        }
        numbers.extend(led_astray().into_iter().map(|it| (1, it)));
        let datagrams: Vec<_> = numbers
            .iter()
            .map(|(stream, at)| Header::new(StreamId(*stream), *at).encode().to_vec())
            .collect();
        let file = as_capture("sequence.pcap", &datagrams, |_| 1);
        let packets = pdml::read(&file, &[]);
        assert_eq!(packets.len(), datagrams.len());
        let mut listener = listener();
        let mut trackers = BTreeMap::<u64, SequenceTracker>::new();
        let mut met = BTreeMap::<String, usize>::new();
        for (at, (datagram, packet)) in datagrams.iter().zip(&packets).enumerate() {
            let judged = listener.datagram(Duration::ZERO, datagram, &mut Inbox::default());
            let (stream, sequence) = numbers[at];
            let place = format!("packet {}: {sequence} of {stream}", at + 1);
            assert_eq!(disposition(packet), format!("{judged:?}"), "{place}");
            let arrival = trackers.entry(stream).or_default().observe(sequence);
            assert_eq!(remarked(packet), remark(arrival), "{place}");
            let kind = remark(arrival).map_or("new", |(kind, _)| kind);
            *met.entry(kind.to_owned()).or_default() += 1;
        }
        assert_eq!(trackers[&1].counts().restarts, 1);
        for kind in [
            "new",
            "missing",
            "leap",
            "duplicate",
            "stale",
            "jump",
            "restart",
        ] {
            assert!(met.get(kind).is_some_and(|it| *it > 50), "{kind}: {met:?}");
        }
        fs::remove_file(file).unwrap();
    }
}
