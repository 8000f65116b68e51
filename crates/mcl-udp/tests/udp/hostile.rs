//! Datagrams that are not ours, or not right: each is counted under its name, and
//! traffic goes on.

use std::io::IoSlice;

use mcl_net::{Blocking, Group, InterfaceChoice, Sender, SenderOptions};
use mcl_udp::{Broadcaster, Counters, Listener, ListenerStatistics, StreamId};
use mcl_wire::{
    BodyHead, FLAG_UNSEQUENCED, FRAME_FLAG_NUMBERED, FRAME_FRAGMENT, FRAME_HEARTBEAT,
    FRAME_MESSAGE, Fragmenter, Header, Metadata,
};

use crate::support::{connection, eventually, in_network, next, noise, typed_listener};

const STREAM: StreamId = StreamId(0x0bad_cafe);

/// Sends datagrams as they are.
struct Forger {
    sender: Sender,
    sequence: u64,
}

impl Forger {
    fn to(group: Group) -> Self {
        let interface = mcl_net::choose(&InterfaceChoice::System, &group).unwrap();
        let sender = Sender::open(group, &interface, &SenderOptions::default()).unwrap();
        Self {
            sender,
            sequence: 0,
        }
    }

    fn open() -> Self {
        Self::to(connection().group())
    }

    fn send(&mut self, datagram: &[u8]) {
        let len = datagram.len().max(1);
        self.sender
            .send_train(&[IoSlice::new(datagram)], len, Blocking::Yes)
            .unwrap();
    }

    /// A datagram with the next sequence number and these frames.
    fn datagram(&mut self, frames: &[u8]) -> Vec<u8> {
        let header = Header::new(STREAM, self.sequence).encode();
        self.sequence += 1;
        [&header[..], frames].concat()
    }
}

fn frame(frame_type: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[frame_type, flags, high, low][..], content].concat()
}

fn message(number: u64, body: &[u8]) -> Vec<u8> {
    let content = [&number.to_be_bytes()[..], body].concat();
    frame(FRAME_MESSAGE, FRAME_FLAG_NUMBERED, &content)
}

/// A FRAGMENT frame whose fields say what they like.
fn fragment(number: u64, total: u32, index: u32, size: u16, bytes: &[u8]) -> Vec<u8> {
    let content = [
        &number.to_be_bytes()[..],
        &total.to_be_bytes(),
        &index.to_be_bytes(),
        &[0; 4],
        &size.to_be_bytes(),
        &[0; 2],
        bytes,
    ];
    frame(FRAME_FRAGMENT, 0, &content.concat())
}

/// Sends one datagram after the other, and after each a message that must arrive;
/// checks that each raised its counter by one.
struct Trial {
    forger: Forger,
    listener: Listener<String>,
    queue: mcl_udp::Queue<String>,
    broadcaster: Broadcaster<str>,
}

impl Trial {
    fn open() -> Self {
        let (listener, queue) = typed_listener();
        let broadcaster = Broadcaster::open(&connection()).unwrap();
        Self {
            forger: Forger::open(),
            listener,
            queue,
            broadcaster,
        }
    }

    #[track_caller]
    fn counts(&mut self, what: &str, datagram: &[u8], counter: fn(&Counters) -> u64) {
        let before = self.listener.statistics();
        self.forger.send(datagram);
        eventually(what, || {
            counter(&self.listener.statistics().wire) == counter(&before.wire) + 1
        });
        self.goes_on(what);
        assert_eq!(self.fed() - before.wire.datagrams_fed, 2, "{what}");
    }

    #[track_caller]
    fn goes_on(&self, what: &str) {
        self.broadcaster.publish(what).unwrap();
        assert_eq!(next(&self.queue).payload, what);
        assert!(self.queue.is_empty(), "{what}");
    }

    fn fed(&self) -> u64 {
        self.listener.statistics().wire.datagrams_fed
    }

    fn header(&mut self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let body = [0, 0, 0, 0, b'x'];
        let frames = message(0, &body);
        let mut datagram = self.forger.datagram(&frames);
        change(&mut datagram);
        datagram
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_is_not_mcl_is_counted_as_such() {
    in_network(|_| {
        let mut trial = Trial::open();
        let not_mcl: fn(&Counters) -> u64 = |wire| wire.datagrams.not_mcl;
        trial.counts("an empty datagram", b"", not_mcl);
        trial.counts("one byte", b"\xc1", not_mcl);
        let cut = trial.header(|_| {});
        trial.counts("a header cut off", &cut[..23], not_mcl);
        trial.counts(
            "text",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            not_mcl,
        );
        trial.counts("noise", &noise(1, 1452), not_mcl);
        let magic = trial.header(|it| it[1] = b'm');
        trial.counts("another magic", &magic, not_mcl);
        let named = trial.listener.statistics().wire.datagrams;
        assert_eq!((named.not_mcl, named.dropped()), (6, 6));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn datagrams_of_the_python_library_are_not_mcl() {
    in_network(|_| {
        let mut trial = Trial::open();
        // MessagePack, as the original packs a message: an array of a header and
        // a payload, the short and the long forms of it.
        let forms: [&[u8]; 5] = [
            b"\x93\x01\x01\xc4\x05hello",
            b"\x94\xa5topic\x01\x01\xc4\x03abc",
            b"\x82\xa5topic\xc0\xa7payload\xa5hello",
            b"\xdc\x00\x03\x01\x01\xa5hello",
            b"\xc4\x05hello and twenty-four bytes",
        ];
        for form in forms {
            trial.counts("MessagePack", form, |wire| wire.datagrams.not_mcl);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn wrong_headers_are_counted_each_under_its_reason() {
    in_network(|_| {
        let mut trial = Trial::open();
        let version = trial.header(|it| it[2] = 2);
        trial.counts("version 2", &version, |wire| wire.datagrams.version);
        let short = trial.header(|it| it[3] = 23);
        let malformed: fn(&Counters) -> u64 = |wire| wire.datagrams.malformed_header;
        trial.counts("a header length too short", &short, malformed);
        let long = trial.header(|it| it[3] = 255);
        trial.counts("a header length too long", &long, malformed);
        for flag in [0x80, 0x02] {
            let critical = trial.header(|it| it[4] = flag);
            trial.counts("a critical flag", &critical, |wire| {
                wire.datagrams.critical_flag
            });
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn wrong_frames_are_counted_each_under_its_reason() {
    in_network(|_| {
        let mut trial = Trial::open();
        let body = [0, 0, 0, 0];
        let malformed: [(&str, Vec<u8>); 7] = [
            ("a frame cut off", message(0, &body)[..10].to_vec()),
            ("a message without a number", frame(FRAME_MESSAGE, 0, &body)),
            ("a fragment too short", frame(FRAME_FRAGMENT, 0, &[0; 23])),
            ("a fragment of nothing", fragment(1, 0, 0, 1000, b"")),
            (
                "a fragment size too small",
                fragment(1, 500, 0, 255, &[0; 255]),
            ),
            (
                "a fragment beyond the end",
                fragment(1, 2000, 2, 1000, &[0; 1000]),
            ),
            (
                "a fragment of another length",
                fragment(1, 2000, 0, 1000, &[0; 999]),
            ),
        ];
        for (what, frames) in malformed {
            let datagram = trial.forger.datagram(&frames);
            trial.counts(what, &datagram, |wire| wire.datagrams.malformed_frame);
        }
        let unsequenced = trial.header(|it| it[4] = FLAG_UNSEQUENCED);
        trial.counts("a message outside the sequence", &unsequenced, |wire| {
            wire.datagrams.malformed_frame
        });
        let critical = [
            ("an unknown critical frame", frame(0x03, 0, b"")),
            (
                "an unknown critical frame flag",
                frame(FRAME_MESSAGE, 0x30, &[0; 12]),
            ),
        ];
        for (what, frames) in critical {
            let datagram = trial.forger.datagram(&frames);
            trial.counts(what, &datagram, |wire| wire.datagrams.critical_frame);
        }
        // Nothing of them was acted upon.
        let wire = trial.listener.statistics().wire;
        assert_eq!(wire.messages.whole, wire.messages.delivered);
        assert_eq!(wire.messages.started, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn wrong_bodies_are_counted_each_under_its_reason() {
    in_network(|_| {
        let mut trial = Trial::open();
        let mut number = 0;
        let mut try_body = |what: &str, body: &[u8], counter: fn(&Counters) -> u64| {
            let datagram = trial.forger.datagram(&message(number, body));
            number += 1;
            trial.counts(what, &datagram, counter);
        };
        let malformed: fn(&Counters) -> u64 = |wire| wire.messages.body_malformed;
        try_body("a body cut off", &[0, 0, 0], malformed);
        try_body("a topic cut off", &[0x80, 9, 0, 0, b'x'], malformed);
        try_body(
            "a topic that is not announced",
            &[0, 1, 0, 0, b'x'],
            malformed,
        );
        try_body("an item twice", &[0, 0, 0, 6, 1, 1, 1, 1, 1, 1], malformed);
        try_body(
            "a topic that is not UTF-8",
            &[0x80, 1, 0, 0, 0xff],
            |wire| wire.messages.body_topic_not_utf8,
        );
        let critical: fn(&Counters) -> u64 = |wire| wire.messages.body_critical;
        try_body("a critical body flag", &[0x40, 0, 0, 0], critical);
        try_body("a critical item", &[0, 0, 0, 2, 3, 0], critical);
        let lost = trial.listener.statistics().messages_lost();
        assert_eq!(lost, 7);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_may_be_ignored_is_ignored() {
    in_network(|_| {
        let mut trial = Trial::open();
        let heartbeat = trial.forger.datagram(&frame(FRAME_HEARTBEAT, 0, &[0; 16]));
        trial.counts("a heartbeat", &heartbeat, |wire| wire.frames.ignored);
        let padded = trial.forger.datagram(&[0; 100]);
        trial.counts("padding", &padded, |wire| wire.frames.padding);
        let bare = trial.forger.datagram(b"");
        trial.counts("no frame at all", &bare, |wire| {
            wire.datagrams.accepted - accepted_of(wire)
        });
        assert_eq!(trial.listener.statistics().wire.datagrams.dropped(), 0);
    });
}

/// Accepted datagrams that say something.
fn accepted_of(wire: &Counters) -> u64 {
    wire.frames.messages() + wire.frames.ignored + wire.frames.padding
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn duplicates_and_contradictions_change_nothing() {
    in_network(|_| {
        let mut trial = Trial::open();
        // A message of the type that the listener wants, in four fragments.
        let text = "x".repeat(4000);
        let payload = [&[251, 0xa0, 0x0f][..], text.as_bytes()].concat();
        let encoding = mcl_udp::Encoding::BINCODE2;
        let head = BodyHead::new(None, &Metadata::new().with_encoding(encoding)).unwrap();
        let fragments: Vec<Vec<u8>> = Fragmenter::new(0, &head, &payload, 1452)
            .unwrap()
            .zip(0..)
            .map(|(it, sequence)| [&it.prefix(STREAM, sequence), it.head, it.payload].concat())
            .collect();
        assert_eq!(fragments.len(), 3);
        trial.forger.sequence = 3;

        trial.counts("the last fragment", &fragments[2], |wire| {
            wire.frames.fragment_stored
        });
        trial.counts("the same again", &fragments[2], |wire| {
            wire.datagrams.duplicate
        });
        let other = trial
            .forger
            .datagram(&fragment(0, 9000, 1, 1400, &[0; 1400]));
        trial.counts("another length", &other, |wire| {
            wire.frames.fragment_contradicting
        });
        let again = trial.forger.datagram(&fragments[2][24..]);
        trial.counts("the same frame anew", &again, |wire| {
            wire.frames.fragment_duplicate
        });
        trial.counts("the first fragment", &fragments[0], |wire| {
            wire.frames.fragment_stored
        });

        trial.forger.send(&fragments[1]);
        let whole = next(&trial.queue);
        assert_eq!((whole.stream, whole.payload), (STREAM, text));
        let late = trial.forger.datagram(&fragments[1][24..]);
        trial.counts("a late one", &late, |wire| wire.frames.fragment_of_finished);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_claim_of_four_gigabytes_costs_nothing_and_what_is_begun_expires() {
    in_network(|_| {
        let mut trial = Trial::open();
        let claim = trial
            .forger
            .datagram(&fragment(0, u32::MAX, 0, 1000, &[0; 1000]));
        trial.counts("4 GB", &claim, |wire| wire.messages.too_large);
        let allowed = trial
            .forger
            .datagram(&fragment(1, 64 << 20, 9, 1000, &[0; 1000]));
        trial.counts("64 MiB", &allowed, |wire| wire.messages.started);
        let statistics: ListenerStatistics = trial.listener.statistics();
        assert!(statistics.reassembly_bytes < 1 << 20, "{statistics:?}");
        eventually("it expires", || {
            trial.listener.statistics().wire.messages.expired == 1
        });
        trial.goes_on("after all");
        assert_eq!(trial.listener.statistics().wire.messages.pending(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn another_group_and_another_port_stay_out() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<String>();
        let same = connection();
        let group = mcl_udp::Connection::new("ff15::1234").unwrap();
        let port = connection().with_port(26001).unwrap();
        // Somebody on this machine wants them: the kernel has them delivered.
        let theirs = [&group, &port].map(|it| Listener::<String>::open(it).unwrap());
        let inboxes = [theirs[0].queue(), theirs[1].queue()];
        for (text, to) in [("group", &group), ("port", &port), ("same", &same)] {
            Broadcaster::<str>::open(to).unwrap().publish(text).unwrap();
        }
        assert_eq!(next(&inboxes[0]).payload, "group");
        assert_eq!(next(&inboxes[1]).payload, "port");
        assert_eq!(next(&queue).payload, "same");
        assert!(queue.is_empty() && inboxes.iter().all(mcl_udp::Queue::is_empty));
        assert_eq!(listener.statistics().wire.datagrams_fed, 1);
    });
}
