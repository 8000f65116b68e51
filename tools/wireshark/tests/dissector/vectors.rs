//! The golden vectors of the wire format as captures, and what tshark must say of each.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use mcl_dissector::folder;

use crate::blessing;
use crate::pcap::{Packet, capture};

/// The files of vectors; each has a capture of that name.
pub(crate) const FILES: [&str; 4] = ["datagrams", "tolerated", "refused", "bodies"];

const PORT: u16 = 26_000;

/// A case of a file of vectors; see the README there.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) expect: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) bytes: Vec<u8>,
}

impl Case {
    /// What is written in `KEY=value` of a field such as "0 payload=78 topic=".
    fn part<'a>(field: &'a str, key: &str) -> Option<&'a str> {
        field
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    fn field(&self, key: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) fn cases(file: &str) -> Vec<Case> {
    let path = format!("../../crates/mcl-wire/vectors/{file}.txt");
    let text = fs::read_to_string(folder().join(path)).unwrap();
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap().trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "case" => cases.push(Case {
                name: rest.to_owned(),
                expect: String::new(),
                fields: Vec::new(),
                bytes: Vec::new(),
            }),
            "expect" => rest.clone_into(&mut cases.last_mut().unwrap().expect),
            "field" => {
                let (key, value) = rest.split_once(' ').unwrap();
                let field = (key.to_owned(), value.to_owned());
                cases.last_mut().unwrap().fields.push(field);
            }
            _ => {
                let bytes = line
                    .split_whitespace()
                    .map(|it| u8::from_str_radix(it, 16).unwrap());
                cases.last_mut().unwrap().bytes.extend(bytes);
            }
        }
    }
    assert!(cases.len() > 10);
    cases
}

/// A datagram with one MESSAGE of this body.
pub(crate) fn around(number: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xC1, 0x4D, 1, 24, 0, 0, 0, 0];
    bytes.extend(0x0123_4567_89ab_cdef_u64.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.extend([1, 0x10]);
    bytes.extend(u16::try_from(8 + body.len()).unwrap().to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Each case to a group of its own, for they share stream and sequence numbers; but
/// the fragments of a message to one.
fn packet(file: &str, at: usize, case: &Case) -> Packet {
    let last = match case.field("fragment") {
        Some(fragment) => 0xf00 + fragment.split(' ').next().unwrap().parse::<u16>().unwrap(),
        None => u16::try_from(at + 1).unwrap(),
    };
    let payload = match file {
        "bodies" => around(at as u64, &case.bytes),
        _ => case.bytes.clone(),
    };
    Packet {
        group: Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, last),
        port: PORT,
        payload,
    }
}

pub(crate) fn committed(file: &str) -> PathBuf {
    folder().join("captures").join(format!("{file}.pcap"))
}

#[test]
fn the_captures_are_those_of_the_vectors() {
    for file in FILES {
        let cases = cases(file);
        let packets = cases.iter().enumerate();
        let packets: Vec<_> = packets.map(|(at, case)| packet(file, at, case)).collect();
        let made = capture(&packets);
        if blessing() {
            fs::write(committed(file), &made).unwrap();
        }
        assert_eq!(fs::read(committed(file)).unwrap(), made, "{file}");
    }
}

/// What the dissector calls the errors of bodies.
fn problem_of(error: &str) -> &str {
    let names = HashMap::from([
        ("Truncated", "body_cut_off"),
        ("CriticalFlags", "critical_body_flag"),
        ("TopicWithoutFlag", "topic_without_flag"),
        ("TopicNotUtf8", "topic_not_utf8"),
        ("InvalidItem", "item_invalid"),
        ("CriticalItem", "item_critical"),
        ("TruncatedItem", "item_cut_off"),
        ("ItemLength", "item_length"),
        ("RepeatedItem", "item_twice"),
        ("AfterCrc", "item_after_crc"),
    ]);
    names[error]
}

mod with_tshark {
    use super::*;
    use crate::pdml::{self, Shown};

    /// All shown of a packet's datagram.
    fn all<'a>(packet: &'a [Shown], name: &str) -> Vec<&'a str> {
        let named = packet.iter().filter(|it| it.name == name);
        named.map(|it| it.show.as_str()).collect()
    }

    /// The cases of a file, each with what tshark shows of its packet.
    fn shown(file: &str) -> Vec<(Case, Vec<Shown>)> {
        let (cases, packets) = (cases(file), pdml::read(&committed(file), &[]));
        assert_eq!(packets.len(), cases.len());
        cases.into_iter().zip(packets).collect()
    }

    #[track_caller]
    fn is_accepted(case: &Case, packet: &[Shown]) {
        let dispositions = all(packet, "mcl.disposition");
        assert_eq!(dispositions, ["Accepted"], "{}", case.name);
    }

    /// The message of a MESSAGE field is shown, field by field.
    fn message_is_shown(case: &Case, written: &str, message: &pdml::Message) {
        let number = written.split(' ').next().unwrap();
        assert_eq!(message.number, number, "{}", case.name);
        let payload = Case::part(written, "payload").unwrap();
        assert_eq!(message.payload, payload, "{}", case.name);
        let topic = message.topic.as_ref().map(|it| pdml::hex(it.as_bytes()));
        assert_eq!(topic.as_deref(), Case::part(written, "topic"));
        assert_eq!(message.encoding.as_deref(), Case::part(written, "encoding"));
    }

    fn sent_case_is_shown(case: &Case, packet: &[Shown]) {
        is_accepted(case, packet);
        let stream = format!("0x{}", case.field("stream").unwrap());
        assert_eq!(all(packet, "mcl.stream"), [stream]);
        assert_eq!(
            all(packet, "mcl.sequence"),
            [case.field("sequence").unwrap()]
        );
        let written = case
            .fields
            .iter()
            .filter(|(key, _)| key.starts_with("message"));
        let written: Vec<_> = written.map(|(_, value)| value).collect();
        if case.field("fragment").is_none() {
            let messages = pdml::messages(packet);
            assert_eq!(messages.len(), written.len(), "{}", case.name);
            for (written, message) in written.into_iter().zip(&messages) {
                message_is_shown(case, written, message);
            }
        }
        let padding = packet.iter().find(|it| it.name == "mcl.padding");
        let padding = padding.map(|it| (it.value.len() / 2).to_string());
        assert_eq!(padding.as_deref(), case.field("padding"), "{}", case.name);
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn datagrams_as_sent_are_shown_field_by_field() {
        for (case, packet) in &shown("datagrams") {
            sent_case_is_shown(case, packet);
        }
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn fragments_as_sent_give_the_generated_messages() {
        let mut reassembled = 0;
        for (case, packet) in &shown("datagrams") {
            let Some(written) = case.field("fragment") else {
                continue;
            };
            for (key, name) in [("total", "total"), ("index", "index"), ("size", "size")] {
                let name = format!("mcl.fragment.{name}");
                assert_eq!(all(packet, &name), [Case::part(written, key).unwrap()]);
            }
            let hash = format!("0x{}", Case::part(written, "hash").unwrap());
            assert_eq!(all(packet, "mcl.fragment.topic_hash"), [hash]);
            for message in pdml::messages(packet) {
                let len = Case::part(written, "generated").unwrap().parse().unwrap();
                let payload: Vec<u8> = (0..len).map(|at: usize| (at * 7 % 256) as u8).collect();
                assert_eq!(message.payload, pdml::hex(&payload), "{}", case.name);
                let topic = message.topic.as_ref().map(|it| pdml::hex(it.as_bytes()));
                assert_eq!(topic.as_deref(), Case::part(written, "topic"));
                reassembled += 1;
            }
        }
        assert_eq!(reassembled, 2);
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn tolerated_datagrams_are_accepted_with_all_their_messages() {
        for (case, packet) in &shown("tolerated") {
            is_accepted(case, packet);
            assert_eq!(all(packet, "mcl.problem"), [""; 0], "{}", case.name);
            let messages = pdml::messages(packet).len().to_string();
            assert_eq!(messages, case.field("messages").unwrap(), "{}", case.name);
            let types = all(packet, "mcl.frame.type");
            let skipped = types.iter().filter(|it| **it >= "0x80").count();
            let ignored = case.field("ignored").unwrap_or("0");
            assert_eq!(skipped.to_string(), ignored, "{}", case.name);
        }
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn refused_datagrams_are_refused_for_the_same_reason() {
        for (case, packet) in &shown("refused") {
            let dispositions = all(packet, "mcl.disposition");
            // What does not even begin with the magic is somebody else's.
            if case.bytes.starts_with(&[0xC1, 0x4D]) {
                assert_eq!(dispositions, [case.expect.as_str()], "{}", case.name);
                assert_eq!(all(packet, "mcl.problem").len(), 1, "{}", case.name);
            } else {
                assert_eq!(case.expect, "NotMcl", "{}", case.name);
                assert_eq!(dispositions, [""; 0], "{}", case.name);
            }
        }
    }

    #[test]
    #[ignore = "needs tshark: cargo xtask test"]
    fn bodies_are_shown_or_refused_as_the_vectors_say() {
        for (case, packet) in &shown("bodies") {
            is_accepted(case, packet);
            let problems = all(packet, "mcl.problem");
            // The vectors do not compute the CRC.
            let first = problems.iter().find(|it| **it != "crc_differs").copied();
            if case.expect == "Ok" {
                assert_eq!(first, None, "{}", case.name);
                body_is_shown(case, packet);
            } else {
                assert_eq!(first, Some(problem_of(&case.expect)), "{}", case.name);
            }
        }
    }

    fn body_is_shown(case: &Case, packet: &[Shown]) {
        let [message] = &pdml::messages(packet)[..] else {
            panic!("{}: not one message", case.name);
        };
        let topic = message.topic.as_ref().map(|it| pdml::hex(it.as_bytes()));
        assert_eq!(topic.as_deref(), case.field("topic"), "{}", case.name);
        let offset: usize = case.field("offset").unwrap().parse().unwrap();
        assert_eq!(message.payload, pdml::hex(&case.bytes[offset..]));
        assert_eq!(message.encoding.as_deref(), case.field("encoding"));
        for (field, shown) in [("schema", "mcl.schema"), ("crc", "mcl.crc32c")] {
            let written = case.field(field).map(|it| format!("0x{it}"));
            let shown = all(packet, shown).first().map(|it| (*it).to_owned());
            assert_eq!(shown, written, "{}", case.name);
        }
    }
}
