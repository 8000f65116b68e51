//! Many broadcasters at once and great loss: no mixture, and an account that adds up.

use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mcl_testbed::{Namespace, Peer, ask, tell};
use mcl_udp::{
    Message, MessageCounts, Pacing, Payload, RawBroadcaster, RawListener, SequenceCounts, StreamId,
    StreamReport,
};
use mcl_wire::FRAGMENT_OVERHEAD;

use crate::support::{connection, eventually, in_network, noise, start_child};

const PROCESSES: usize = 2;
const BROADCASTERS_EACH: usize = 4;
const MESSAGES: u64 = 1000;
const FRAGMENTS: usize = 3;
const DATAGRAM_LEN: &str = "MCL_TEST_DATAGRAM_LEN";

/// What message `number` of a stream holds: anyone can tell a mixture.
fn content(stream: StreamId, number: u64, datagram_len: usize) -> Vec<u8> {
    let len = 2 * (datagram_len - FRAGMENT_OVERHEAD) + 200;
    noise(stream.0 ^ (number << 32), len)
}

/// One of the two child processes: publishes when told to, and then, as often as
/// asked, a small message on each stream, followed by what each has sent.
pub(crate) fn crowd() {
    let datagram_len: usize = env::var(DATAGRAM_LEN).unwrap().parse().unwrap();
    let open = || {
        RawBroadcaster::builder(&connection())
            .topic("crowd")
            .datagram_len(datagram_len)
            .pacing(Pacing::None)
            .open()
            .unwrap()
    };
    let broadcasters: Vec<_> = (0..BROADCASTERS_EACH).map(|_| open()).collect();
    assert!(
        broadcasters
            .iter()
            .all(|it| it.datagram_len() == Some(datagram_len))
    );
    tell("ready");
    assert_eq!(ask(), "go");
    thread::scope(|scope| {
        for broadcaster in &broadcasters {
            scope.spawn(|| publish_all(broadcaster, datagram_len));
        }
    });
    while ask() == "once more" {
        for broadcaster in &broadcasters {
            broadcaster.publish(b"last").unwrap();
            let sent = broadcaster.statistics();
            assert_eq!(sent.numbers, sent.messages);
            tell(format!(
                "{} {} {}",
                broadcaster.stream(),
                sent.messages,
                sent.datagrams
            ));
        }
        tell("done");
    }
}

fn publish_all(broadcaster: &RawBroadcaster, datagram_len: usize) {
    for number in 0..MESSAGES {
        let message = content(broadcaster.stream(), number, datagram_len);
        assert_eq!(broadcaster.publish(&message).unwrap(), number);
    }
    let sent = broadcaster.statistics().datagrams;
    assert_eq!(sent, MESSAGES * FRAGMENTS as u64);
}

/// Messages and datagrams that a stream has sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    messages: u64,
    datagrams: u64,
}

/// Has every broadcaster publish a small message and say what it has sent.
fn once_more(children: &mut [Peer]) -> BTreeMap<StreamId, Sent> {
    let mut all = BTreeMap::new();
    for child in children {
        child.say("once more");
        loop {
            let line = child.hear();
            if line == "done" {
                break;
            }
            let [stream, messages, datagrams] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let sent = Sent {
                messages: messages.parse().unwrap(),
                datagrams: datagrams.parse().unwrap(),
            };
            all.insert(StreamId(u64::from_str_radix(stream, 16).unwrap()), sent);
        }
    }
    all
}

/// What arrived of each stream, checked as it came.
#[derive(Debug, Default)]
struct Arrived(BTreeMap<StreamId, Vec<u64>>);

impl Arrived {
    fn take(&mut self, message: &Message<Payload>, datagram_len: usize) {
        assert_eq!(message.topic.as_deref(), Some("crowd"));
        if message.number < MESSAGES {
            let expected = content(message.stream, message.number, datagram_len);
            assert!(
                message.payload == expected,
                "message {} of stream {} is a mixture",
                message.number,
                message.stream
            );
        } else {
            assert_eq!(message.payload, "last");
        }
        self.0
            .entry(message.stream)
            .or_default()
            .push(message.number);
    }
}

fn nothing_is_mixed_and_every_loss_is_counted(network: &Namespace, datagram_len: usize) {
    let listener = RawListener::builder(&connection())
        .receive_buffer(16 << 10)
        .open()
        .unwrap();
    let arrived = Arc::new(Mutex::new(Arrived::default()));
    let keep = Arc::clone(&arrived);
    // The check on the receiving thread makes it slow: much is lost.
    let checked = listener.subscribe_inline(move |message: Message<Payload>| {
        keep.lock().unwrap().take(&message, datagram_len);
    });

    let len = datagram_len.to_string();
    let start = |_| start_child(network, "crowd", &[(DATAGRAM_LEN, len.as_str())]);
    let mut children: Vec<Peer> = (0..PROCESSES).map(start).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(|child| child.say("go"));

    let mut sent = BTreeMap::new();
    eventually("the end of every stream is known", || {
        sent = once_more(&mut children);
        thread::sleep(Duration::from_millis(20));
        let streams = listener.statistics().streams;
        let at_its_end = |stream: &StreamReport| {
            sent.get(&stream.id).is_some_and(|sent| {
                // After a gap of more than 1024 datagrams it takes a second one.
                let ends = [&stream.numbers, &stream.datagrams].map(|it| it.highest + 1);
                ends == [sent.messages, sent.datagrams]
            })
        };
        streams.len() == sent.len() && streams.iter().all(at_its_end)
    });
    eventually("what is incomplete is given up", || {
        listener.statistics().wire.messages.pending() == 0
    });
    children.iter_mut().for_each(|child| child.say("enough"));
    children.into_iter().for_each(Peer::finish);

    let tally = listener.subscription_statistics(checked).unwrap();
    assert_eq!(tally.panics, 0, "a message was a mixture");
    account(&listener, &sent, &arrived.lock().unwrap());
}

fn account(listener: &RawListener, sent: &BTreeMap<StreamId, Sent>, arrived: &Arrived) {
    let statistics = listener.statistics();
    assert_eq!(sent.len(), PROCESSES * BROADCASTERS_EACH);
    let (mut accepted, mut lost) = (0, 0);
    for stream in &statistics.streams {
        let sent = sent[&stream.id];
        let numbers = arrived.0.get(&stream.id).map_or(&[][..], Vec::as_slice);
        assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or twice");
        assert_eq!(numbers.len() as u64, stream.messages.delivered);

        assert_eq!(
            sent.datagrams,
            seen(&stream.datagrams) + unseen(&stream.datagrams)
        );
        let gone = given_up(&stream.messages) + unseen(&stream.numbers);
        assert_eq!(sent.messages, numbers.len() as u64 + gone, "{stream:?}");
        assert_eq!(stream.messages.seen(), seen(&stream.numbers));
        accepted += seen(&stream.datagrams);
        lost += gone;
    }
    let wire = &statistics.wire;
    assert_eq!(wire.datagrams.accepted, accepted);
    assert_eq!(wire.datagrams.dropped(), 0);
    assert_eq!(wire.datagrams_fed, accepted);
    assert_eq!(wire.frames.messages() + wire.frames.fragments(), accepted);
    assert!(lost > 0, "nothing was lost: the test shows nothing");
    assert!(statistics.kernel_drops.unwrap() > 0);
    println!(
        "of {} messages {lost} were lost, {} of them in part",
        sent.values().map(|sent| sent.messages).sum::<u64>(),
        given_up(&wire.messages),
    );
}

/// Numbers that came, whatever became of them.
fn seen(counts: &SequenceCounts) -> u64 {
    assert_eq!((counts.restarts, counts.jumps), (0, 0));
    counts.received + counts.before_first + counts.apart
}

/// Numbers that did not come. The listener was there before the stream began.
fn unseen(counts: &SequenceCounts) -> u64 {
    counts.missing + counts.first - counts.before_first
}

fn given_up(messages: &MessageCounts) -> u64 {
    let too_late = messages.expired + messages.stranded;
    too_late + messages.evicted + messages.abandoned + messages.refused
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn eight_broadcasters_lose_whole_trains_and_each_loss_is_counted() {
    in_network(|network| nothing_is_mixed_and_every_loss_is_counted(network, 1452));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn eight_broadcasters_lose_single_datagrams_and_each_loss_is_counted() {
    // So long that the three datagrams of a message go in two trains.
    let len = 30_000;
    in_network(|network| {
        network.ip(&["link", "set", "br0", "mtu", "40000"]).unwrap();
        nothing_is_mixed_and_every_loss_is_counted(network, len);
    });
}
