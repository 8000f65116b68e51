//! What a listener keeps when nothing arrives any more.

use std::env;
use std::fs;
use std::time::Duration;

use mcl_testbed::tell;
use mcl_udp::{Message, Payload, Queue, Raw, RawBroadcaster, RawListener};

use crate::idle::stay_asleep;
use crate::support::{connection, eventually, holds_within, in_network, noise, start_child};

/// Beyond what there was before the listener.
const MOST_AT_REST: usize = 8 << 20;

/// Of a listener's spare buffers.
const MOST_KEPT: usize = 1 << 20;

/// Memory is freed a second after the last datagram.
const SOON: Duration = Duration::from_secs(5);

const MEBIBYTE: usize = 1 << 20;

/// The environment variable that tells a child the lengths of messages, in MiB.
const LENGTHS: &str = "MCL_TEST_LENGTHS";

/// Of itself glibc keeps what was freed, up to twice the longest allocation that it
/// had mapped (mallopt(3), `M_MMAP_THRESHOLD`), which is twice up to 32 MiB. With this
/// it gives back what the library has freed.
const TRIM: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "131072");

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_listener_at_rest_has_given_its_memory_back() {
    gives_back(&[(LENGTHS, "64")]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_listener_at_rest_has_given_back_buffers_of_many_messages() {
    gives_back(&[(LENGTHS, "64 8 8 8 8 8 16"), TRIM]);
}

fn gives_back(variables: &[(&str, &str)]) {
    in_network(|network| {
        let mut child = start_child(network, "rest", variables);
        child.expect("more with a payload held: true");
        child.expect("at rest: true");
        child.expect("at rest again: true");
        child.finish();
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn none_of_a_hundred_listeners_wakes_in_ten_seconds() {
    in_network(|network| {
        let mut child = start_child(network, "idle hundred", &[]);
        child.expect("threads: 100");
        child.expect("woken: []");
        child.finish();
    });
}

/// A child process of its own: it looks at its memory.
pub(crate) fn rest() {
    let before = resident();
    let listener = RawListener::open(&connection()).unwrap();
    let queue = listener.queue();
    let broadcaster = RawBroadcaster::open(&connection()).unwrap();
    let lengths = env::var(LENGTHS).unwrap();
    let lengths = lengths.split(' ').map(|it| it.parse::<usize>().unwrap());
    let held = lengths.fold(None, |last, len| {
        drop(last);
        Some(arrives(&broadcaster, &queue, len * MEBIBYTE))
    });
    for _ in 0..100 {
        arrives(&broadcaster, &queue, 100);
    }
    let more = || resident().saturating_sub(before);
    let much = more() > 16 * MEBIBYTE;
    tell(format!("more with a payload held: {much}"));
    // Let go when the listener has long been at rest.
    holds_within(SOON, || listener.statistics().reassembly_bytes <= MOST_KEPT);
    assert!(listener.statistics().reassembly_bytes <= MOST_KEPT);
    drop(held);
    let at_rest = holds_within(SOON, || more() < MOST_AT_REST);
    eprintln!("{} bytes more than at first", more());
    tell(format!("at rest: {at_rest}"));
    // And so it is the next time.
    drop(arrives(&broadcaster, &queue, 64 * MEBIBYTE));
    let at_rest = holds_within(SOON, || {
        listener.statistics().reassembly_bytes <= MOST_KEPT && more() < MOST_AT_REST
    });
    tell(format!("at rest again: {at_rest}"));
}

/// Publishes a message until it arrives.
fn arrives(
    broadcaster: &RawBroadcaster,
    queue: &Queue<Payload, Raw>,
    len: usize,
) -> Message<Payload> {
    let payload = noise(len as u64, len);
    let mut arrived = None;
    eventually("a message arrives", || {
        let number = broadcaster.publish(&payload).unwrap();
        holds_within(Duration::from_secs(1), || {
            arrived = queue.try_recv().ok().filter(|it| it.number == number);
            arrived.is_some()
        })
    });
    let arrived = arrived.unwrap();
    assert!(arrived.payload == payload);
    arrived
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|it| it.trim().strip_suffix(" kB")).unwrap();
    kibibytes.parse::<usize>().unwrap() << 10
}

/// A child process of its own: it looks at its threads.
pub(crate) fn hundred() {
    let listeners = [(); 100].map(|()| RawListener::open(&connection()).unwrap());
    let _queues = listeners.each_ref().map(RawListener::queue);
    let broadcaster = RawBroadcaster::open(&connection()).unwrap();
    broadcaster.publish(&noise(1, 10)).unwrap();
    broadcaster.publish(&noise(2, 20_000)).unwrap();
    for listener in &listeners {
        eventually("two came", || {
            listener.statistics().wire.messages.delivered == 2
        });
    }
    broadcaster.close();
    stay_asleep();
}
