//! Payloads of every size through small and large receive buffers.

use std::env;
use std::thread;
use std::time::Duration;

use mcl_testbed::tell;
use mcl_udp::{Payload, PublishError, Queue, Raw, RawBroadcaster, RawListener};
use mcl_wire::{BodyHead, FRAGMENT_OVERHEAD, Metadata, WHOLE_MESSAGE_OVERHEAD};

use crate::support::{
    PATIENCE, alone_in_network, connection, eventually, holds_within, in_network, names_a_loss,
    next, noise, start_child,
};

/// How often one message may be published again, for losses that are named.
const MOST_REPEATS: u32 = 3;

const ORDINARY_BUFFER: usize = 212_992;
const LARGE_BUFFER: usize = 4 << 20;
const MOST: usize = 64 << 20;

/// The environment variable that tells a child process its receive buffer.
const RECEIVE_BUFFER: &str = "MCL_TEST_RECEIVE_BUFFER";

/// What a message with this topic has before its payload, with the broadcaster's
/// default metadata.
fn head_len(topic: Option<&str>) -> usize {
    let metadata = Metadata::new().with_publish_time(0).with_crc32c(0);
    BodyHead::new(topic, &metadata).unwrap().as_bytes().len()
}

/// The longest payload that goes in one datagram.
fn longest_whole(broadcaster: &RawBroadcaster) -> usize {
    broadcaster.datagram_len().unwrap() - WHOLE_MESSAGE_OVERHEAD - head_len(None)
}

/// A broadcaster, a listener and the queue between them.
struct Course {
    broadcaster: RawBroadcaster,
    listener: RawListener,
    queue: Queue<Payload, Raw>,
}

impl Course {
    fn open(receive_buffer: usize) -> Self {
        let listener = RawListener::builder(&connection())
            .receive_buffer(receive_buffer)
            .open()
            .unwrap();
        Self {
            broadcaster: RawBroadcaster::open(&connection()).unwrap(),
            queue: listener.queue(),
            listener,
        }
    }

    /// Publishes a message and checks what it went and came as; `false` if the
    /// listener's account says that some of it was lost.
    fn arrives(&self, sent: &[u8]) -> bool {
        let before = self.listener.statistics();
        let datagrams = self.broadcaster.statistics().datagrams;
        let number = self.broadcaster.publish(sent).unwrap();
        let went = self.broadcaster.statistics().datagrams - datagrams;
        assert_eq!(went, datagrams_for(&self.broadcaster, sent.len()));

        let lost = || names_a_loss(&before, &self.listener.statistics());
        eventually("the message is here or lost", || {
            !self.queue.is_empty() || lost()
        });
        if self.queue.is_empty() {
            self.flush();
        }
        let Some(message) = self.queue.try_recv().ok().filter(|it| it.number == number) else {
            return false;
        };
        assert!(message.payload == sent, "{} bytes differ", sent.len());
        true
    }

    /// Waits until nothing is on its way any more. The small message that shows
    /// it may be lost as well.
    fn flush(&self) {
        let settled = || self.listener.statistics().wire.messages.pending() == 0;
        eventually("all that was sent is accounted for", || {
            let last = self.broadcaster.publish(b"").unwrap();
            let seen = || {
                let streams = self.listener.statistics().streams;
                streams.iter().any(|stream| stream.numbers.highest == last)
            };
            holds_within(Duration::from_secs(1), seen) && holds_within(PATIENCE, settled)
        });
    }
}

/// Publishes payloads of these sizes and checks that each arrives.
fn all_arrive(receive_buffer: usize, sizes: fn(&RawBroadcaster) -> Vec<usize>) -> String {
    let course = Course::open(receive_buffer);
    let mut repeats = 0;
    for size in sizes(&course.broadcaster) {
        let sent = noise(size as u64, size);
        let lost = (0..=MOST_REPEATS).find(|repeat| {
            // Whatever keeps the machine busy may be over in a moment.
            thread::sleep(repeat * repeat * Duration::from_secs(3));
            course.arrives(&sent)
        });
        repeats += lost.unwrap_or_else(|| panic!("{size} bytes were lost each time"));
        while course.queue.try_recv().is_ok() {}
    }
    format!("receive buffer of {receive_buffer}: published again {repeats} times")
}

/// The same for the longest message, in a process of its own: where large memory
/// was freed before, glibc copies a buffer of megabytes to let it grow, for longer
/// than the ordinary receive buffer lasts (mallopt(3), `M_MMAP_THRESHOLD`).
fn the_longest_arrives(receive_buffer: usize) {
    alone_in_network(|network| {
        let bytes = receive_buffer.to_string();
        let mut child = start_child(network, "longest", &[(RECEIVE_BUFFER, &bytes)]);
        println!("{}", child.hear());
        child.finish();
    });
}

/// Publishes the longest message there is to itself.
pub(crate) fn longest() {
    let receive_buffer = env::var(RECEIVE_BUFFER).unwrap().parse().unwrap();
    tell(all_arrive(receive_buffer, |_| vec![MOST]));
}

fn datagrams_for(broadcaster: &RawBroadcaster, size: usize) -> u64 {
    if size <= longest_whole(broadcaster) {
        return 1;
    }
    let fragment = broadcaster.datagram_len().unwrap() - FRAGMENT_OVERHEAD;
    (head_len(None) + size).div_ceil(fragment) as u64
}

fn up_to_8_mib(broadcaster: &RawBroadcaster) -> Vec<usize> {
    let whole = longest_whole(broadcaster);
    // The number of datagrams is checked for each; these two are the point.
    assert_eq!(datagrams_for(broadcaster, whole), 1);
    assert_eq!(datagrams_for(broadcaster, whole + 1), 2);
    let exact = |fragments: usize| {
        fragments * (broadcaster.datagram_len().unwrap() - FRAGMENT_OVERHEAD) - head_len(None)
    };
    vec![
        0,
        1,
        whole - 1,
        whole,
        whole + 1,
        exact(2),
        exact(2) + 1,
        exact(45),
        60_000,
        333_300,
        8 << 20,
    ]
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn nothing_to_8_mib_arrives_through_an_ordinary_buffer() {
    alone_in_network(|_| println!("{}", all_arrive(ORDINARY_BUFFER, up_to_8_mib)));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn nothing_to_8_mib_arrives_through_a_large_buffer() {
    alone_in_network(|_| println!("{}", all_arrive(LARGE_BUFFER, up_to_8_mib)));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_longest_message_arrives_through_an_ordinary_buffer() {
    the_longest_arrives(ORDINARY_BUFFER);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_longest_message_arrives_through_a_large_buffer() {
    the_longest_arrives(LARGE_BUFFER);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn one_byte_too_many_is_refused_and_nothing_is_sent() {
    in_network(|_| {
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        let error = broadcaster.publish(&vec![0; MOST + 1]).unwrap_err();
        let expected = (MOST + 1, MOST);
        assert!(
            matches!(error, PublishError::TooLarge { len, max } if (len, max) == expected),
            "{error:?}"
        );
        assert_eq!(broadcaster.statistics().datagrams, 0);

        let own = RawBroadcaster::builder(&connection()).max_message_len(10);
        let own = own.open().unwrap();
        own.publish(&[0; 10]).unwrap();
        let error = own.publish(&[0; 11]).unwrap_err();
        assert!(
            matches!(error, PublishError::TooLarge { len: 11, max: 10 }),
            "{error:?}"
        );
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_listener_drops_and_counts_what_is_above_its_own_limit() {
    in_network(|_| {
        let listener = RawListener::builder(&connection()).max_message_len(50_000);
        let listener = listener.open().unwrap();
        let queue = listener.queue();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        broadcaster.publish(&noise(1, 51_000)).unwrap();
        broadcaster.publish(&noise(2, 50_000)).unwrap();
        assert_eq!(next(&queue).payload, noise(2, 50_000));
        assert!(queue.is_empty());
        let statistics = listener.statistics();
        assert_eq!(statistics.wire.messages.too_large, 1);
        assert_eq!(statistics.messages_lost(), 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_receive_buffer_granted_is_told() {
    in_network(|_| {
        let listener = RawListener::builder(&connection()).receive_buffer(100_000);
        let buffer = listener.open().unwrap().statistics().receive_buffer;
        assert_eq!((buffer.requested, buffer.granted), (100_000, 100_000));
        assert_eq!(buffer.remedy(), None);

        let listener = RawListener::builder(&connection()).receive_buffer(1 << 30);
        let buffer = listener.open().unwrap().statistics().receive_buffer;
        assert_eq!(buffer.shortfall(), (1 << 30) - buffer.granted);
        assert!(buffer.remedy().unwrap().contains("net.core.rmem_max"));
    });
}
