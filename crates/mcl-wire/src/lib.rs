//! The MCL wire format: publish/subscribe messages in UDP datagrams.
//!
//! This crate turns messages into datagrams and datagrams into messages. It
//! knows bytes; it knows no socket, no thread and no clock, so it runs wherever
//! Rust does: in a network stack, on a microcontroller, in a dissector. Without
//! the default feature `alloc` it needs neither a heap nor any other crate, and
//! offers everything but reassembly ([`Demux`] and what belongs to it).
//!
//! | to | use |
//! |---|---|
//! | send a message that fits one datagram | [`BodyHead`], [`whole_message_prefix`] |
//! | send a longer one | [`BodyHead`], [`Fragmenter`] |
//! | send many small ones together | [`BodyHead`], [`DatagramWriter`] |
//! | receive | [`Demux`] with your [`Sink`] |
//! | receive long messages faster, where datagrams come in trains | [`Demux::train`], [`Demux::landing`] |
//! | spend no time on what cannot be completed, when the socket's buffer was full | [`Demux::overflow`] |
//! | look into a datagram | [`Header::decode`], [`Frames`], [`Body::decode`] |
//! | count losses | [`SequenceTracker`] |
//!
//! # Reuse this codec alone
//!
//! A whole program: a message is cut into fragments, the datagrams are
//! duplicated and shuffled, and the message comes out once.
//!
//! ```
//! # #[cfg(feature = "alloc")] {
//! use core::time::Duration;
//! use std::collections::hash_map::RandomState;
//!
//! use mcl_wire::{
//!     BodyHead, Demux, Encoding, Fragmenter, Limits, Metadata, Received, Sink, StreamId,
//! };
//!
//! struct Inbox(Vec<(Option<String>, Vec<u8>)>);
//!
//! impl Sink for Inbox {
//!     fn message(&mut self, message: Received<'_>) {
//!         let topic = message.topic().map(str::to_owned);
//!         self.0.push((topic, message.payload().to_vec()));
//!     }
//! }
//!
//! let payload: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
//!
//! // The sending side. A stream id is chosen at random, once per sender.
//! let stream = StreamId(0x5eed_5eed_5eed_5eed);
//! let head = BodyHead::new(Some("camera"), &Metadata::new().with_encoding(Encoding::RAW))?;
//! let mut datagrams = Vec::new();
//! for (sequence, fragment) in (0..).zip(Fragmenter::new(0, &head, &payload, 1452)?) {
//!     let prefix = fragment.prefix(stream, sequence);
//!     // A socket that gathers needs no such copy.
//!     datagrams.push([&prefix, fragment.head, fragment.payload].concat());
//! }
//! assert_eq!(datagrams.len(), 72);
//!
//! // The network: everything twice, in some other order.
//! datagrams.extend(datagrams.clone());
//! datagrams.sort_by_key(|datagram| (datagram[23].wrapping_mul(77), datagram[60]));
//!
//! // The receiving side. Time is whatever monotonic clock there is.
//! let mut demux = Demux::new(Limits::default(), RandomState::new());
//! let mut inbox = Inbox(Vec::new());
//! for (at, datagram) in datagrams.iter().enumerate() {
//!     let now = Duration::from_micros(at as u64);
//!     demux.datagram(now, datagram, &mut inbox);
//! }
//!
//! assert_eq!(inbox.0, [(Some("camera".to_owned()), payload)]);
//! let counters = demux.counters();
//! assert_eq!(counters.datagrams.accepted, 72);
//! assert_eq!(counters.datagrams.duplicate, 72);
//! # }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Specification, version 1
//!
//! Complete: a second implementation needs this text alone, and the vectors in
//! the crate's folder `vectors/` show whether it is right. All numbers are
//! unsigned and **big-endian** everywhere. In the diagrams a row is 4 bytes.
//!
//! ## Five nouns
//!
//! - A **datagram** is the payload of one UDP datagram: a header, then frames.
//! - The **header** says which stream the datagram belongs to and where in it.
//! - A **frame** is one part of a datagram, with a type and a length.
//! - A **message** is what is published. What travels is its **body**: topic,
//!   metadata and payload.
//! - A **fragment** is a part of a message body that is too long for a datagram.
//!
//! A *stream* is one sender instance sending to one group and port, named by a
//! random 64-bit *stream id*. Its datagrams are numbered from 0 (*sequence
//! number*), its messages too (*message number*). Neither wraps. Delivery is
//! best effort; both numberings make every loss visible.
//!
//! "Critical" means: who does not understand it must not act on what it is part
//! of. "Ignorable" means: who does not understand it skips it.
//!
//! ## Header
//!
//! ```text
//!  0               1               2               3
//!  0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7
//! +---------------+---------------+---------------+---------------+
//! |  magic  0xC1  |  magic  0x4D  |  version  1   | header length |   0
//! +---------------+---------------+---------------+---------------+
//! |critical flags |ignorable flags|       reserved, zero          |   4
//! +---------------+---------------+---------------+---------------+
//! |                                                               |   8
//! +                          stream id                            +
//! |                                                               |  12
//! +---------------+---------------+---------------+---------------+
//! |                                                               |  16
//! +                       sequence number                         +
//! |                                                               |  20
//! +---------------+---------------+---------------+---------------+
//! |        header extensions, (header length - 24) bytes ...         24
//! ```
//!
//! - *Header length* is in bytes, at least 24. Bytes from 24 to it are header
//!   extensions; version 1 defines none and skips them. The frames begin at it.
//! - *Critical flags*: 0x01 UNSEQUENCED; 0x80 SEALED, reserved; the others are
//!   unknown. *Ignorable flags*: none defined; sent zero, ignored.
//! - *Reserved* bytes are sent zero and ignored.
//! - UNSEQUENCED: the datagram is not part of its stream's sequence. Its
//!   sequence number is sent zero and ignored. It is for control datagrams, such
//!   as a listener's repair requests; MESSAGE and FRAGMENT frames are malformed
//!   in it. Version 1 sends none and accepts them without effect.
//! - Every datagram without UNSEQUENCED consumes one sequence number, in order
//!   of sending. A datagram without frames is legal: it keeps a stream alive and
//!   shows its highest number. A datagram that is sent again is bit-identical.
//!
//! ```
//! use mcl_wire::{Header, StreamId};
//! assert_eq!(
//!     Header::new(StreamId(0x0123_4567_89ab_cdef), 258).encode(),
//!     [
//!         0xC1, 0x4D, 1, 24, // magic, version, header length
//!         0, 0, 0, 0, // critical flags, ignorable flags, reserved
//!         0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, // stream id
//!         0, 0, 0, 0, 0, 0, 1, 2, // sequence number
//!     ],
//! );
//! ```
//!
//! ## Frames
//!
//! From the header's end to the datagram's end, one after the other, without
//! alignment:
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |     type      |  frame flags  |            length             |
//! +---------------+---------------+---------------+---------------+
//! |        length bytes ...
//! ```
//!
//! | type | |
//! |---|---|
//! | 0x00 | padding, see below |
//! | 0x01 | MESSAGE: a whole message |
//! | 0x02 | FRAGMENT: a part of a message |
//! | 0x03..=0x6F | critical, unassigned |
//! | 0x70..=0x7F | critical, for experiments |
//! | 0x80..=0x84 | ignorable, reserved: see [below](#reserved) |
//! | 0x85..=0xEF | ignorable, unassigned |
//! | 0xF0..=0xFF | ignorable, for experiments |
//!
//! *Length* counts what follows these 4 bytes. The upper four *frame flags* are
//! critical, the lower four ignorable; they belong to the frame's type, and those
//! of a frame that is skipped are not looked at.
//!
//! **Padding** has no length: from a type byte 0x00 to the datagram's end
//! everything is padding, sent as zeros and ignored. So any number of bytes from
//! one on can be padded, as when small messages are put together into the equal
//! segments of a train.
//!
//! ### MESSAGE, 0x01
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |     0x01      |0 0 0 N x x x x|            length             |   0
//! +---------------+---------------+---------------+---------------+
//! |                                                               |   4
//! +                message number, only if N is set               +
//! |                                                               |   8
//! +---------------+---------------+---------------+---------------+
//! |        message body ...                                          12
//! ```
//!
//! N, 0x10, is NUMBERED. Without it the message's number is that of the MESSAGE
//! frame before it in the datagram, plus one. The first MESSAGE frame of a
//! datagram must be NUMBERED; a number beyond 2^64 - 1 is malformed. (FRAGMENT
//! frames in between change nothing.)
//!
//! ```
//! use mcl_wire::{BodyHead, DatagramWriter, Header, Metadata, StreamId};
//!
//! let head = BodyHead::new(None, &Metadata::new())?;
//! let mut buffer = [0xEE; 64];
//! let mut writer = DatagramWriter::new(&mut buffer, Header::new(StreamId(7), 0))?;
//! writer.message(5, &head, b"hi")?;
//! writer.message(6, &head, b"!")?; // follows 5: its number is implied
//! writer.pad_to(54);
//! let len = writer.finish();
//! assert_eq!(
//!     buffer[24..len],
//!     [
//!         0x01, 0x10, 0, 14, // MESSAGE, NUMBERED, length
//!         0, 0, 0, 0, 0, 0, 0, 5, // message number
//!         0, 0, 0, 0, b'h', b'i', // body
//!         0x01, 0x00, 0, 5, // MESSAGE, length
//!         0, 0, 0, 0, b'!', // body
//!         0, 0, 0, // padding
//!     ],
//! );
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! ### FRAGMENT, 0x02
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |     0x02      |0 0 0 0 x x x x|            length             |   0
//! +---------------+---------------+---------------+---------------+
//! |                                                               |   4
//! +                        message number                         +
//! |                                                               |   8
//! +---------------+---------------+---------------+---------------+
//! |                  total length of the body                     |  12
//! +---------------+---------------+---------------+---------------+
//! |                       fragment index                          |  16
//! +---------------+---------------+---------------+---------------+
//! |                         topic hash                            |  20
//! +---------------+---------------+---------------+---------------+
//! |        fragment size          |       reserved, zero          |  24
//! +---------------+---------------+---------------+---------------+
//! |        the fragment's bytes ...                                  28
//! ```
//!
//! With total length T, fragment size s and index i, counted from 0:
//!
//! - T is at least 1, s at least 256;
//! - there are ceil(T / s) fragments, and i is below that: no empty last one;
//! - the fragment's bytes are those of the body from i * s on; there are s of
//!   them, and of the last fragment T - (count - 1) * s;
//! - T, s and topic hash are the same in all fragments of a message.
//!
//! What breaks the first three is malformed; what differs from the first fragment
//! seen of its message is dropped and counted, the datagram's other frames are
//! not. A message of one fragment is legal. A sender sends the fragments of a
//! message in order of their indexes, each once; other datagrams may go between
//! them, and a receiver takes them in any order. A sender uses one fragment size for
//! a message, and so equal datagrams but for the last; if it must change the
//! size it sends the message anew under another number.
//!
//! The *topic hash* is FNV-1a (32 bit; offset basis 0x811c9dc5, prime
//! 0x01000193) over the topic's UTF-8 bytes; no topic is 0, and a topic that
//! hashes to 0 uses 1. The empty topic is 0x811c9dc5. It lets a receiver skip
//! reassembly; before delivery the topic itself decides, and a complete body
//! whose topic has another hash is malformed.
//!
//! ```
//! use mcl_wire::{BodyHead, Fragmenter, Metadata, StreamId};
//!
//! let head = BodyHead::new(Some("a"), &Metadata::new())?;
//! let fragments = Fragmenter::new(9, &head, &[0xAA; 2000], 1452)?;
//! let last = fragments.last().ok_or("no fragment")?;
//! assert_eq!(
//!     last.prefix(StreamId(7), 3)[24..],
//!     [
//!         0x02, 0, 0x02, 0x75, // FRAGMENT, length 24 + 605
//!         0, 0, 0, 0, 0, 0, 0, 9, // message number
//!         0, 0, 0x07, 0xD5, // total length 2005
//!         0, 0, 0, 1, // fragment index
//!         0xE4, 0x0C, 0x29, 0x2C, // FNV-1a of "a"
//!         0x05, 0x78, 0, 0, // fragment size 1400, reserved
//!     ],
//! );
//! assert_eq!(last.payload.len(), 605);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! ## Message body
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |T 0 0 0 x x x x| topic length  |       metadata length         |   0
//! +---------------+---------------+---------------+---------------+
//! |        topic ... metadata ... payload ...                         4
//! ```
//!
//! - The upper four *body flags* are critical, the lower four ignorable. T,
//!   0x80, is TOPIC: there is a topic. Without it the topic length must be 0.
//!   No topic and the empty topic differ.
//! - The *topic* is UTF-8, at most 255 bytes.
//! - The *metadata* is a series of items: type u8, length u8, value.
//! - The *payload* is the rest, and may be empty.
//!
//! | item type | length | value |
//! |---|---|---|
//! | 0x00 | | invalid |
//! | 0x01 ENCODING | 1 | how the payload is encoded; absent = 0 |
//! | 0x02 SCHEMA | 8 | which schema it follows, as the applications agree |
//! | 0x03..=0x7F | any | critical, unassigned |
//! | 0x80 PUBLISH_TIME | 8 | nanoseconds since the Unix epoch |
//! | 0x81 CRC32C | 4 | CRC-32C (RFC 3720, appendix B.4) of the body before this item and of the payload |
//! | 0x82..=0xFF | any | ignorable, unassigned |
//!
//! CRC32C, if present, is the last item; its own type, length and value are not
//! covered. The other items stand in any order, each known one at most once.
//! This crate carries the CRC and says what it covers
//! ([`Body::crc_covered`]); computing it is the caller's.
//!
//! Encodings: 0 raw bytes, 1 bincode 2 (standard configuration), 2 JSON, 3 CBOR,
//! 4 MessagePack, 5 UTF-8 text, 6 Protocol Buffers, 7 CDR, 8 to 127 unassigned,
//! 128 to 255 private. A receiver carries them all.
//!
//! ```
//! use mcl_wire::{Body, BodyHead, Encoding, Metadata};
//!
//! let metadata = Metadata::new().with_encoding(Encoding::JSON).with_crc32c(0xDEAD_BEEF);
//! let head = BodyHead::new(Some("é"), &metadata)?;
//! let body = [head.as_bytes(), b"{}"].concat();
//! assert_eq!(
//!     body,
//!     [
//!         0x80, 2, 0, 9, // TOPIC, topic length, metadata length
//!         0xC3, 0xA9, // topic
//!         0x01, 1, 2, // ENCODING: JSON
//!         0x81, 4, 0xDE, 0xAD, 0xBE, 0xEF, // CRC32C
//!         b'{', b'}', // payload
//!     ],
//! );
//! let decoded = Body::decode(&body)?;
//! assert_eq!(decoded.topic(), Some("é"));
//! assert_eq!(decoded.crc_covered(), (&body[..9], &b"{}"[..]));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! ## What a receiver does
//!
//! It judges a datagram in this order, and the first "no" decides; nothing of a
//! dropped datagram is acted upon, and each reason has its counter.
//!
//! | finding | the datagram is dropped as |
//! |---|---|
//! | shorter than 24 bytes; magic differs | [`NotMcl`](Disposition::NotMcl) |
//! | version is not 1 | [`Version`](Disposition::Version) |
//! | header length below 24 or beyond the datagram's end | [`MalformedHeader`](Disposition::MalformedHeader) |
//! | unknown critical flag (SEALED is one) | [`CriticalFlag`](Disposition::CriticalFlag) |
//! | the receiver does not want the stream | [`IgnoredStream`](Disposition::IgnoredStream) |
//! | a frame is cut off; breaks a rule of its type; MESSAGE or FRAGMENT in an UNSEQUENCED datagram | [`MalformedFrame`](Disposition::MalformedFrame) |
//! | a frame of unknown critical type, or an unknown critical flag on a known one | [`CriticalFrame`](Disposition::CriticalFrame) |
//! | a new stream, and no room for its state | [`StreamLimit`](Disposition::StreamLimit) |
//! | sequence number more than 2^24 from the highest, above or below | [`Jump`](Disposition::Jump) |
//! | sequence number 1024 or more below the highest | [`Stale`](Disposition::Stale) |
//! | sequence number seen before | [`Duplicate`](Disposition::Duplicate) |
//!
//! All frames are checked before the first is acted upon. Of several bad frames
//! the first decides; within a frame: cut off, then unknown type or flags, then
//! UNSEQUENCED, then the rest. "Cut off" is what ends after the datagram does; too
//! short for its own fields is "the rest".
//!
//! A stream's first sequence number may be any: a receiver may come late. The sequence
//! does not follow one far number: a forged or damaged datagram must not disturb an
//! honest stream, all of whose numbers would be too old after it (after RFC 3550,
//! appendix A.1).
//!
//! - More than 1024 above the highest, up to 2^24: the datagram is acted upon, but the
//!   highest number stays. If the very next number of that stream is as far ahead and
//!   within 1024 of it, the sequence is there, and what lies between is missing.
//! - More than 2^24 above or below: the datagram is dropped. If the very next number is
//!   that far as well, and 1 to 64 above it, the sequence starts anew with that: what was
//!   under reassembly is given up, message numbers start anew as well, and what lies
//!   between is not counted as missing.
//! - If the next number is far but does not confirm, it is the one to be confirmed now.
//! - The sequence starts anew, too, at the last of 65 numbers older than the window, with
//!   nothing else between them, each 1 to 64 above the one before.
//!
//! Message numbers are judged the same way, with a window of 4096, each whole
//! message's and that of the first fragment seen of a message; the numbers that one
//! datagram says do not confirm each other. When they start anew by themselves, what came
//! before is forgotten, but what is under reassembly goes on.
//!
//! Frames of an accepted datagram:
//!
//! | finding | |
//! |---|---|
//! | message number seen before, too old, too far | frame dropped, unless it is a fragment of a message under reassembly |
//! | fragment of a message that is over, one way or another | dropped, for its number was seen; creates nothing |
//! | fragment already there | dropped; never counts towards completion |
//! | total, size or topic hash unlike the first fragment's | dropped |
//! | message above the receiver's limit | dropped; the number counts as seen |
//! | topic hash that nobody wants | dropped; the number counts as seen |
//! | no room for it | dropped |
//! | unknown ignorable frame, padding | skipped |
//!
//! Bodies, once complete: unknown critical flag or item, item of type 0, cut off
//! anywhere, topic not UTF-8, topic length without TOPIC, wrong value length of a
//! known item, known item twice, any item after CRC32C, topic unlike its hash:
//! each makes the message undeliverable and is counted ([`MessageCounts`]).
//!
//! ## Limits
//!
//! | | |
//! |---|---|
//! | datagram | a sender's are at most 65,487 bytes, by default 1,452 = 1500 - 48, and it may be set to 308 at least; a receiver takes any |
//! | fragment size | 256 to 65,435 bytes; by default 1,400 |
//! | body | at most 2^32 - 1 bytes |
//! | payload | as sender and receiver choose; by default 64 MiB |
//! | topic | at most 255 bytes |
//! | metadata | at most 65,535 bytes; version 1 writes at most 29 |
//!
//! A receiver never allocates what only a header claims, and gives up messages
//! that make no progress or have lost what can not be accepted any more: [`Demux`] says how, and what gives way when.
//!
//! ## Reserved
//!
//! Sketches: the numbers are taken, the layouts may still change. All are in the
//! ignorable half, so that version 1 skips them.
//!
//! | type | layout | sent by |
//! |---|---|---|
//! | 0x80 HEARTBEAT | oldest sequence number held u64, highest sent u64 | broadcaster, to reveal a lost tail |
//! | 0x81 REPAIR_REQUEST | stream u64, then ranges of: first u64, count u32 | listener, UNSEQUENCED |
//! | 0x82 UNAVAILABLE | first u64, count u64 | broadcaster: these cannot be sent again |
//! | 0x83 PARITY | message number u64, block u32, k u16, m u16, index u16, reserved u16, parity bytes | broadcaster: m parity blocks over k fragments |
//! | 0x84 FLOW_CREDIT | stream u64, highest contiguous sequence number u64, free bytes u64 | listener, UNSEQUENCED |
//!
//! **Sealed datagrams**: the flag SEALED; a header length above 24, with a key id
//! u32 in clear in the extension; the header authenticated, the frames encrypted,
//! a tag of 16 bytes at the datagram's end. The key is derived per stream from
//! the group's key and the stream id, the sequence number is the nonce. A sealed
//! frame with the time keeps a listener that comes late from accepting a replay
//! of a dead stream. Nothing in the header needs encryption.

#![no_std]
// Tests may index: a panic is what they are for.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;

// Decoding is `inline(always)`: the results are large for the few instructions
// that make them, and moving them through memory was measured to cost more than
// the decoding (64-byte messages, one a datagram: 87 ns without it, 57 with).
mod body;
mod cursor;
#[cfg(feature = "alloc")]
mod demux;
mod fragmenter;
mod frame;
mod head;
mod header;
mod metadata;
mod topic;
mod tracker;
mod writer;

pub use body::{Body, BodyError};
#[cfg(feature = "alloc")]
pub use demux::{
    Account, BodyBytes, Counters, DatagramCounts, Demux, DepartedCounts, Disposition, FrameCounts,
    LANDING_LEN, Limits, MessageCounts, Received, Sink, StreamReport, Verdict,
};
pub use fragmenter::{
    FRAGMENT_OVERHEAD, FragmentError, Fragmenter, OutgoingFragment, WHOLE_MESSAGE_OVERHEAD,
    whole_message_prefix,
};
pub use frame::{
    FRAGMENT_FIELDS_LEN, FRAME_FLAG_NUMBERED, FRAME_FLOW_CREDIT, FRAME_FRAGMENT, FRAME_HEADER_LEN,
    FRAME_HEARTBEAT, FRAME_MESSAGE, FRAME_PADDING, FRAME_PARITY, FRAME_REPAIR_REQUEST,
    FRAME_UNAVAILABLE, Fragment, Frame, FrameError, Frames, MIN_FRAGMENT_SIZE, WholeMessage,
};
pub use head::{BODY_FLAG_TOPIC, BODY_PREFIX_LEN, BodyHead, MAX_BODY_HEAD_LEN, TopicTooLong};
pub use header::{
    DEFAULT_DATAGRAM_LEN, FLAG_SEALED, FLAG_UNSEQUENCED, HEADER_LEN, Header, HeaderError, MAGIC,
    MAX_DATAGRAM_LEN, MIN_DATAGRAM_LEN, StreamId, VERSION,
};
pub use metadata::{
    Encoding, ITEM_CRC32C, ITEM_ENCODING, ITEM_PUBLISH_TIME, ITEM_SCHEMA, Metadata,
};
pub use topic::{MAX_TOPIC_LEN, TopicHash};
pub use tracker::{Arrival, MAX_JUMP, RESTART_WINDOW, SequenceCounts, SequenceTracker};
pub use writer::{DatagramWriter, Full, WriterState, shift_numbers};
