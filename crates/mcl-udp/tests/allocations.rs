//! No allocation per message, on either side, counted.
//!
//! Publisher and listener are in this one process, whose allocator counts what
//! every thread does: a warm-up, then many messages, and the count must hardly have
//! moved. Typed values may allocate what they own, and no more.
//!
//! A binary of its own, since it replaces the allocator and must run nothing else
//! meanwhile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::Namespace;
use mcl_udp::{
    Broadcaster, Connection, Listener, Pacing, Payload, RawBroadcaster, RawListener,
    RawPullListener,
};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PATIENCE: Duration = Duration::from_secs(30);

/// From nothing over one datagram to many trains.
const SIZES: [usize; 7] = [0, 8, 64, 1024, 2000, 100_000, 1 << 20];

/// Calls before the count begins: buffers grow, tables fill, once.
const WARM_UP: usize = 50;
const CALLS: usize = 200;

/// What may be allocated in all these calls: the threads may be in one another's
/// way as never before and need one more block, which is then kept. One allocation
/// in each message would be `CALLS` at least.
const ONCE: usize = 4;

fn connection() -> Connection {
    Connection::new("ff15::c73d:cf41:ea8e:b0a0").unwrap()
}

/// Allocations of all threads during `CALLS` of `round`, after a warm-up.
fn allocations(mut round: impl FnMut()) -> usize {
    (0..WARM_UP).for_each(|_| round());
    let region = Region::new(ALLOCATOR);
    (0..CALLS).for_each(|_| round());
    let change = region.change();
    change.allocations + change.reallocations
}

fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "no message came");
        thread::yield_now();
    }
}

/// A callback that counts, and how to wait until it has counted one more.
fn counter() -> (Arc<AtomicU64>, impl Fn(u64)) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    (count, move |until| {
        wait_until(|| counted.load(Ordering::SeqCst) >= until);
    })
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Image {
    number: u64,
    #[serde(with = "serde_bytes")]
    pixels: Vec<u8>,
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn nothing_is_allocated_per_message() {
    let network = Namespace::new().unwrap();
    network.bridge("br0").unwrap();
    network.run(|| {
        for size in SIZES {
            let payload = vec![7; size];
            let publish = RawBroadcaster::builder(&connection())
                .pacing(Pacing::ForReceiveBuffer(4 << 20))
                .open()
                .unwrap();
            let found = [
                ("inline", inline(&publish, &payload)),
                ("callback", callback(&publish, &payload)),
                ("queue", queue(&publish, &payload)),
                ("backlog", backlog(5, &publish, &payload)),
                ("two queues", two_queues(&publish, &payload)),
                ("pull", pull(&publish, &payload)),
            ];
            assert!(
                found.iter().all(|(_, allocations)| *allocations <= ONCE),
                "in {CALLS} calls with {size} bytes: {found:?}"
            );
        }
        let publish =
            RawBroadcaster::builder(&connection()).pacing(Pacing::ForReceiveBuffer(4 << 20));
        let long = backlog(30, &publish.open().unwrap(), &[7; 50_000]);
        assert!(long <= ONCE, "{long} for {CALLS} long backlogs");
        let typed = typed(100_000);
        assert!(typed <= CALLS + ONCE, "{typed} for {CALLS} vectors");
    });
}

fn inline(broadcaster: &RawBroadcaster, payload: &[u8]) -> usize {
    called_back(broadcaster, payload, |listener, count| {
        listener.subscribe_inline(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
    })
}

fn callback(broadcaster: &RawBroadcaster, payload: &[u8]) -> usize {
    called_back(broadcaster, payload, |listener, count| {
        listener.subscribe(move |message| {
            drop(message);
            count.fetch_add(1, Ordering::SeqCst);
        });
    })
}

fn called_back(
    broadcaster: &RawBroadcaster,
    payload: &[u8],
    subscribe: impl FnOnce(&RawListener, Arc<AtomicU64>),
) -> usize {
    let listener = RawListener::open(&connection()).unwrap();
    let (count, wait_for) = counter();
    subscribe(&listener, count);
    let mut sent = 0;
    allocations(|| {
        broadcaster.publish(payload).unwrap();
        sent += 1;
        wait_for(sent);
    })
}

fn queue(broadcaster: &RawBroadcaster, payload: &[u8]) -> usize {
    let listener = RawListener::open(&connection()).unwrap();
    let inbox = listener.queue();
    allocations(|| {
        broadcaster.publish(payload).unwrap();
        assert_eq!(inbox.recv_timeout(PATIENCE).unwrap().payload, payload);
    })
}

/// Several wait in the queue before they are taken.
fn backlog(waiting: usize, broadcaster: &RawBroadcaster, payload: &[u8]) -> usize {
    let listener = RawListener::open(&connection()).unwrap();
    let inbox = listener.queue();
    allocations(|| {
        for _ in 0..waiting {
            broadcaster.publish(payload).unwrap();
        }
        wait_until(|| inbox.len() == waiting);
        for _ in 0..waiting {
            assert_eq!(inbox.try_recv().unwrap().payload.len(), payload.len());
        }
    })
}

/// The same bytes in two queues, and a slice that outlives both messages.
fn two_queues(broadcaster: &RawBroadcaster, payload: &[u8]) -> usize {
    let listener = RawListener::open(&connection()).unwrap();
    let inboxes = [listener.queue(), listener.queue()];
    let mut kept = Payload::default();
    allocations(|| {
        broadcaster.publish(payload).unwrap();
        let [first, second] = inboxes
            .each_ref()
            .map(|inbox| inbox.recv_timeout(PATIENCE).unwrap().payload);
        // What is shorter is copied.
        assert_eq!(first.as_ptr() == second.as_ptr(), payload.len() > 64);
        assert_eq!(first, second);
        kept = first.slice(first.len() / 2..);
    })
}

fn pull(broadcaster: &RawBroadcaster, payload: &[u8]) -> usize {
    let mut listener = RawPullListener::open(&connection()).unwrap();
    allocations(|| {
        broadcaster.publish(payload).unwrap();
        let message = listener.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(message.payload, payload);
    })
}

/// Only the vector that the value owns.
fn typed(size: usize) -> usize {
    let listener = Listener::<Image>::open(&connection()).unwrap();
    let inbox = listener.queue();
    let broadcaster = Broadcaster::<Image>::open(&connection()).unwrap();
    let image = Image {
        number: 1,
        pixels: vec![7; size],
    };
    allocations(|| {
        broadcaster.publish(&image).unwrap();
        assert_eq!(inbox.recv_timeout(PATIENCE).unwrap().payload, image);
    })
}
