//! The vectors in `vectors/`: what they say is decoded, and encoded, to the byte.

use core::time::Duration;

use mcl_wire::{
    Body, BodyHead, DatagramWriter, Encoding, Fragmenter, Frame, FrameError, Header, HeaderError,
    Limits, Metadata, StreamId, TopicHash, whole_message_prefix,
};

use crate::common::{Inbox, check, demux};

#[derive(Default, Debug)]
struct Case {
    name: String,
    expect: String,
    fields: Vec<(String, String)>,
    bytes: Vec<u8>,
}

impl Case {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name).map(|value| value.parse().unwrap())
    }
}

/// The format is described in `vectors/README.md`.
fn parse(text: &str) -> Vec<Case> {
    let mut cases = Vec::<Case>::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            cases.push(Case::default());
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        match word {
            "case" => rest.clone_into(&mut case.name),
            "expect" => rest.clone_into(&mut case.expect),
            "field" => {
                let (key, value) = rest.split_once(' ').unwrap();
                case.fields.push((key.to_owned(), value.to_owned()));
            }
            _ => case.bytes.extend(hex(&line.replace(' ', ""))),
        }
    }
    assert!(!cases.is_empty());
    cases
}

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// `12 total=600 payload=…`: a number and named values.
struct Spec<'a>(&'a str);

impl<'a> Spec<'a> {
    fn number(&self) -> u64 {
        self.0.split(' ').next().unwrap().parse().unwrap()
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0
            .split(' ')
            .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    }

    fn decimal(&self, key: &str) -> usize {
        self.get(key).unwrap().parse().unwrap()
    }

    fn head(&self) -> BodyHead {
        let topic = self.get("topic").map(hex);
        let topic = topic.map(|topic| String::from_utf8(topic).unwrap());
        let value = |key| self.get(key).map(|v| u64::from_str_radix(v, 16).unwrap());
        let mut metadata = Metadata::new();
        if let Some(encoding) = self.get("encoding") {
            metadata = metadata.with_encoding(Encoding(encoding.parse().unwrap()));
        }
        metadata.schema = value("schema");
        metadata.publish_time = value("time");
        metadata.crc32c = value("crc").map(|crc| u32::try_from(crc).unwrap());
        BodyHead::new(topic.as_deref(), &metadata).unwrap()
    }
}

fn header(case: &Case) -> Header {
    let stream = u64::from_str_radix(case.field("stream").unwrap(), 16).unwrap();
    Header::new(StreamId(stream), case.number("sequence").unwrap())
}

fn messages(case: &Case) -> impl Iterator<Item = Spec<'_>> {
    let fields = case.fields.iter();
    fields
        .filter(|(key, _)| key.starts_with("message"))
        .map(|(_, value)| Spec(value))
}

fn encode_messages(case: &Case) -> Vec<u8> {
    let mut buffer = [0xEE; 2000];
    let mut writer = DatagramWriter::new(&mut buffer, header(case)).unwrap();
    for spec in messages(case) {
        let payload = hex(spec.get("payload").unwrap());
        writer
            .message(spec.number(), &spec.head(), &payload)
            .unwrap();
    }
    let padding = case.number("padding").unwrap_or(0) as usize;
    writer.pad_to(writer.len() + padding);
    let len = writer.finish();
    buffer[..len].to_vec()
}

fn encode_fragment(case: &Case, spec: &Spec<'_>) -> Vec<u8> {
    let payload: Vec<u8> = (0..spec.decimal("generated"))
        .map(|i| (7 * i % 256) as u8)
        .collect();
    let head = spec.head();
    let fragments =
        Fragmenter::new(spec.number(), &head, &payload, spec.decimal("datagram")).unwrap();
    let fragment = fragments.clone().nth(spec.decimal("index")).unwrap();
    assert_eq!(fragment.total as usize, spec.decimal("total"));
    assert_eq!(usize::from(fragment.size), spec.decimal("size"));
    let header = header(case);
    let prefix = fragment.prefix(header.stream, header.sequence);
    [&prefix, fragment.head, fragment.payload].concat()
}

#[test]
fn datagrams_encode_to_the_vectors() {
    for case in parse(include_str!("../../vectors/datagrams.txt")) {
        let encoded = match case.field("fragment") {
            Some(spec) => encode_fragment(&case, &Spec(spec)),
            None => encode_messages(&case),
        };
        assert_eq!(encoded, case.bytes, "{}", case.name);
    }
}

#[test]
fn the_fast_path_writes_the_same_bytes() {
    for case in parse(include_str!("../../vectors/datagrams.txt")) {
        let specs: Vec<_> = messages(&case).collect();
        let ([spec], None) = (specs.as_slice(), case.field("padding")) else {
            continue;
        };
        let (header, head) = (header(&case), spec.head());
        let payload = hex(spec.get("payload").unwrap());
        let body_len = head.as_bytes().len() + payload.len();
        let prefix =
            whole_message_prefix(header.stream, header.sequence, spec.number(), body_len).unwrap();
        let datagram = [&prefix, head.as_bytes(), &payload].concat();
        assert_eq!(datagram, case.bytes, "{}", case.name);
    }
}

#[test]
fn datagrams_decode_to_the_fields() {
    for case in parse(include_str!("../../vectors/datagrams.txt")) {
        let (decoded, frames) = Header::decode(&case.bytes).unwrap();
        assert_eq!(decoded, header(&case), "{}", case.name);
        let mut specs = messages(&case);
        for frame in frames {
            match frame.unwrap() {
                Frame::Message(message) => {
                    let spec = specs.next().unwrap();
                    let head = spec.head();
                    let body = Body::decode(message.body).unwrap();
                    assert_eq!(message.number, spec.number(), "{}", case.name);
                    assert_eq!(body.payload(), hex(spec.get("payload").unwrap()));
                    let (covered, _) = body.crc_covered();
                    assert_eq!(covered, head.crc_covered());
                    assert!(message.body.starts_with(head.as_bytes()));
                }
                Frame::Fragment(fragment) => {
                    let spec = Spec(case.field("fragment").unwrap());
                    assert_eq!(fragment.number, spec.number());
                    assert_eq!(fragment.total as usize, spec.decimal("total"));
                    assert_eq!(fragment.index as usize, spec.decimal("index"));
                    assert_eq!(usize::from(fragment.size), spec.decimal("size"));
                    let hash = u32::from_str_radix(spec.get("hash").unwrap(), 16).unwrap();
                    assert_eq!(fragment.topic_hash, TopicHash(hash));
                }
                Frame::Padding { len } => assert_eq!(Some(len as u64), case.number("padding")),
                frame => panic!("{}: {frame:?}", case.name),
            }
        }
        assert!(specs.next().is_none(), "{}", case.name);
    }
}

#[test]
fn datagrams_reassemble_to_the_messages() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    for case in parse(include_str!("../../vectors/datagrams.txt")) {
        // The numbers near their end would be a jump in this stream.
        if case.name == "last-numbers" {
            continue;
        }
        let disposition = demux.datagram(Duration::ZERO, &case.bytes, &mut inbox);
        assert_eq!(format!("{disposition:?}"), case.expect, "{}", case.name);
        check(&demux);
    }
    let numbers: Vec<u64> = inbox
        .messages
        .iter()
        .map(|message| message.number)
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13]);
    let large = &inbox.messages[9];
    assert!((0..596).all(|i| large.payload[i] == (7 * i % 256) as u8));
    assert_eq!(inbox.messages[10].topic.as_deref(), Some("map"));
}

#[test]
fn tolerated_datagrams_are_accepted() {
    for case in parse(include_str!("../../vectors/tolerated.txt")) {
        let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
        let disposition = demux.datagram(Duration::ZERO, &case.bytes, &mut inbox);
        check(&demux);
        assert_eq!(format!("{disposition:?}"), case.expect, "{}", case.name);
        let expected = case.number("messages").unwrap();
        assert_eq!(inbox.messages.len() as u64, expected, "{}", case.name);
        let ignored = demux.counters().frames.ignored;
        assert_eq!(
            ignored,
            case.number("ignored").unwrap_or(0),
            "{}",
            case.name
        );
        let unsequenced = u64::from(case.bytes[4] == 1);
        assert_eq!(demux.counters().unsequenced, unsequenced);
        assert_eq!(demux.stream_count() as u64, 1 - unsequenced);
    }
}

fn refusal(bytes: &[u8]) -> Result<(), (Option<HeaderError>, Option<FrameError>)> {
    let (_, frames) = Header::decode(bytes).map_err(|error| (Some(error), None))?;
    for frame in frames {
        frame.map_err(|error| (None, Some(error)))?;
    }
    Ok(())
}

#[test]
fn refused_datagrams_leave_no_trace() {
    for case in parse(include_str!("../../vectors/refused.txt")) {
        let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
        let disposition = demux.datagram(Duration::ZERO, &case.bytes, &mut inbox);
        check(&demux);
        assert_eq!(format!("{disposition:?}"), case.expect, "{}", case.name);
        assert!(inbox.messages.is_empty(), "{}", case.name);
        assert_eq!((demux.stream_count(), demux.allocated_bytes()), (0, 0));

        let reason = match refusal(&case.bytes).unwrap_err() {
            (Some(error), _) => format!("{error:?}"),
            (_, error) => format!("{:?}", error.unwrap()),
        };
        let expected = case.field("reason").unwrap();
        assert_eq!(reason.split(' ').next(), Some(expected), "{}", case.name);
    }
}

#[test]
fn bodies_decode_as_the_vectors_say() {
    for case in parse(include_str!("../../vectors/bodies.txt")) {
        let body = match Body::decode(&case.bytes) {
            Ok(body) => body,
            Err(error) => {
                let error = format!("{error:?}");
                let error = error.split(' ').next();
                assert_eq!(error, Some(case.expect.as_str()), "{}", case.name);
                continue;
            }
        };
        assert_eq!(case.expect, "Ok", "{}", case.name);
        let offset = case.number("offset").unwrap() as usize;
        let value = |key| case.field(key).map(|v| u64::from_str_radix(v, 16).unwrap());
        assert_eq!(body.payload_offset(), offset, "{}", case.name);
        assert_eq!(body.payload(), &case.bytes[offset..]);
        assert_eq!(
            body.topic().map(str::as_bytes),
            case.field("topic").map(hex).as_deref()
        );
        let metadata = body.metadata();
        assert_eq!(
            u64::from(metadata.encoding.0),
            case.number("encoding").unwrap_or(0)
        );
        assert_eq!(metadata.schema, value("schema"));
        assert_eq!(metadata.publish_time, value("time"));
        assert_eq!(metadata.crc32c.map(u64::from), value("crc"));
        let covered = case.number("covered").unwrap_or(offset as u64) as usize;
        assert_eq!(body.crc_covered(), (&case.bytes[..covered], body.payload()));
    }
}
