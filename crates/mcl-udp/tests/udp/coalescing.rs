//! Small messages that share datagrams, and batches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mcl_testbed::{Dad, Namespace, tell};
use mcl_udp::{
    Broadcaster, BroadcasterBuilder, BroadcasterStatistics, ListenerStatistics, Pacing, Payload,
    PublishError, Queue, QueueOptions, Raw, RawBroadcaster, RawListener,
};

use crate::idle::{QUIET, switches};
use crate::support::{
    PATIENCE, connection, eventually, holds_within, in_empty_network, in_network, next, noise,
    payloads, start_child, typed_listener,
};

/// Longer than any test: what is sent before was not sent by the clock.
const NEVER: Duration = Duration::from_secs(600);

fn builder(delay: Duration) -> BroadcasterBuilder<[u8], Raw> {
    RawBroadcaster::builder(&connection()).coalesce(delay)
}

fn open(delay: Duration) -> RawBroadcaster {
    builder(delay).open().unwrap()
}

/// A listener and a queue that holds all that a test sends.
fn raw_listener() -> (RawListener, Queue<Payload, Raw>) {
    let listener = RawListener::open(&connection()).unwrap();
    let queue = listener.queue_with(QueueOptions::default().with_max_messages(1 << 20));
    (listener, queue)
}

/// That everything which was given a number arrived, and nothing is unaccounted for.
#[track_caller]
fn assert_whole(listener: &ListenerStatistics, sent: &BroadcasterStatistics) {
    assert_eq!(listener.wire.messages.delivered, sent.messages);
    assert_eq!(listener.messages_lost(), 0, "{listener:#?}");
    assert_eq!(listener.datagrams_missing(), 0, "{listener:#?}");
    assert_eq!(sent.numbers, sent.messages);
    assert_eq!((sent.failed, sent.unsent), (0, 0));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn sizes_and_topics_arrive_in_order_and_are_accounted_for_exactly() {
    in_network(|_| {
        for delay in [Duration::ZERO, Duration::from_millis(1), NEVER] {
            let (listener, queue) = raw_listener();
            let broadcaster = builder(delay).crc(true).topic("own").open().unwrap();
            let sizes = [0, 1, 64, 500, 64, 1380, 1403, 1404, 64, 3000, 64, 7];
            let mut sent = Vec::new();
            for round in 0..40 {
                for (index, size) in sizes.into_iter().enumerate() {
                    sent.push((
                        noise(round ^ index as u64, size),
                        ["own", "", "other"][index % 3],
                    ));
                }
            }
            sent.insert(200, (noise(9, 1 << 20), "large"));
            for (number, (payload, topic)) in sent.iter().enumerate() {
                let given = match *topic {
                    "own" => broadcaster.publish(payload),
                    topic => broadcaster.publish_to(topic, payload),
                };
                assert_eq!(given.unwrap(), number as u64);
            }
            broadcaster.flush().unwrap();
            for (number, (payload, topic)) in sent.iter().enumerate() {
                let message = next(&queue);
                assert_eq!(message.number, number as u64);
                assert!(message.payload == *payload, "{number}");
                assert_eq!(message.topic.as_deref(), Some(*topic));
                assert!(message.published.is_some());
            }
            let statistics = broadcaster.statistics();
            assert_eq!(statistics.messages, sent.len() as u64);
            assert_whole(&listener.statistics(), &statistics);
            let wire = listener.statistics().wire;
            assert_eq!(wire.datagrams_fed, statistics.datagrams);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn messages_share_datagrams_and_trains() {
    in_network(|_| {
        let (listener, queue) = raw_listener();
        let broadcaster = open(NEVER);
        let sent: Vec<_> = (0..10_000).map(|seed| noise(seed, 64)).collect();
        for payload in &sent {
            broadcaster.publish(payload).unwrap();
        }
        // All but the two trains that may wait are out.
        let early = broadcaster.statistics();
        assert!(early.messages >= 10_000 - 2 * 800, "{early:?}");
        broadcaster.flush().unwrap();
        assert_eq!(payloads(&queue, sent.len()), sent);
        let statistics = broadcaster.statistics();
        assert_eq!(
            (statistics.messages, statistics.coalesced),
            (10_000, 10_000)
        );
        assert_eq!(statistics.bytes, 640_000);
        // 16 a datagram, 45 datagrams a train.
        assert_eq!(statistics.datagrams, 10_000_u64.div_ceil(16));
        assert_eq!(statistics.trains, 10_000_u64.div_ceil(16 * 45));
        assert_whole(&listener.statistics(), &statistics);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_nothing_follows_arrives_after_the_delay() {
    in_network(|_| {
        let (_listener, queue) = typed_listener::<u32>();
        let delay = Duration::from_millis(50);
        let broadcaster = Broadcaster::<u32>::builder(&connection()).coalesce(delay);
        let broadcaster = broadcaster.open().unwrap();
        for round in 0..10 {
            let start = Instant::now();
            broadcaster.publish(&round).unwrap();
            broadcaster.publish(&(100 + round)).unwrap();
            assert!(start.elapsed() < delay, "publishing waits");
            assert_eq!(payloads(&queue, 2), [round, 100 + round]);
            let took = start.elapsed();
            assert!(took >= delay, "{took:?}");
            assert!(took < 20 * delay, "{took:?}");
            thread::sleep(Duration::from_millis(round.into()));
        }
        broadcaster.flush().unwrap();
        assert_eq!(broadcaster.statistics().trains, 10);
        assert_eq!(broadcaster.statistics().datagrams, 10);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_steady_trickle_never_waits_longer_than_the_delay() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u32>();
        let delay = Duration::from_millis(5);
        let broadcaster = Broadcaster::<u32>::builder(&connection()).coalesce(delay);
        let broadcaster = broadcaster.open().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..2000 {
                    broadcaster.publish(&number).unwrap();
                    thread::sleep(Duration::from_micros(300));
                }
            });
            for number in 0..2000 {
                let message = next(&queue);
                assert_eq!(message.payload, number);
                let late = message.published.unwrap().elapsed().unwrap_or_default();
                assert!(late < 60 * delay, "{number}: {late:?}");
            }
        });
        // What has arrived may not have been counted yet.
        broadcaster.flush().unwrap();
        let sent = broadcaster.statistics();
        assert!(sent.datagrams < sent.messages / 2, "{sent:?}");
        assert_whole(&listener.statistics(), &sent);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_a_delay_each_is_sent_at_once() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        let broadcaster = open(Duration::ZERO);
        for seed in 0..50 {
            assert_eq!(broadcaster.publish(&noise(seed, 20)).unwrap(), seed);
            assert_eq!(broadcaster.statistics().messages, seed + 1);
            assert_eq!(next(&queue).payload, noise(seed, 20));
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_batch_takes_few_datagrams_and_sends_what_waited() {
    in_network(|_| {
        for delay in [None, Some(Duration::ZERO), Some(NEVER)] {
            let (listener, queue) = raw_listener();
            let broadcaster = match delay {
                Some(delay) => open(delay),
                None => RawBroadcaster::open(&connection()).unwrap(),
            };
            broadcaster.publish(b"before").unwrap();
            let mut sent: Vec<_> = (0..2000).map(|seed| noise(seed, 64)).collect();
            let batch = broadcaster
                .publish_batch(sent.iter().map(Vec::as_slice))
                .unwrap();
            assert_eq!((batch.messages, batch.numbers), (2000, 1..2001));
            let statistics = broadcaster.statistics();
            assert_eq!(statistics.messages, 2001);
            assert_eq!(statistics.datagrams, 1 + 2000_u64.div_ceil(16));
            // Values by themselves, a large one among them, another topic.
            let some = [noise(1, 10), noise(2, 300_000), noise(3, 20)];
            let batch = broadcaster.publish_batch_to("other", some.clone()).unwrap();
            assert_eq!((batch.messages, batch.numbers), (3, 2001..2004));
            let none = broadcaster.publish_batch([[0_u8; 0]; 0].iter().map(|it| &it[..]));
            assert_eq!(none.unwrap().messages, 0);

            assert_eq!(next(&queue).payload, b"before");
            sent.extend(some);
            for (index, payload) in sent.iter().enumerate() {
                let message = next(&queue);
                assert_eq!(message.number, 1 + index as u64);
                assert!(message.payload == *payload);
                assert_eq!(message.topic.is_some(), index >= 2000);
            }
            assert_whole(&listener.statistics(), &broadcaster.statistics());
        }
    });
}

/// When values of these lengths were taken for a batch, the end of that, and when they say that
/// they were published.
fn times_of_batch(
    broadcaster: &RawBroadcaster,
    queue: &Queue<Payload, Raw>,
    lengths: impl Iterator<Item = usize>,
) -> (Vec<SystemTime>, Vec<SystemTime>) {
    let mut times = Vec::new();
    let values = lengths.map(|len| {
        times.push(SystemTime::now());
        noise(len as u64, len)
    });
    let batch = broadcaster.publish_batch(values).unwrap();
    times.push(SystemTime::now());
    let published = (0..batch.messages).map(|_| next(queue).published.unwrap());
    (times, published.collect())
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn in_a_batch_the_clock_is_read_once_a_datagram() {
    in_network(|_| {
        for (crc, delay) in [(false, None), (true, None), (false, Some(NEVER))] {
            let (_listener, queue) = raw_listener();
            let builder = RawBroadcaster::builder(&connection()).crc(crc);
            let builder = match delay {
                Some(delay) => builder.coalesce(delay),
                None => builder,
            };
            let broadcaster = builder.open().unwrap();
            // More than a train holds.
            let lengths = std::iter::repeat_n(64, 2000);
            let (taken, published) = times_of_batch(&broadcaster, &queue, lengths);
            let datagrams = broadcaster.statistics().datagrams as usize;
            let in_one = 2000_usize.div_ceil(datagrams);
            for (index, time) in published.iter().enumerate() {
                let few_before = index.saturating_sub(in_one);
                assert!(taken[few_before] <= *time, "{index} of {in_one} each");
                assert!(*time <= taken[index + 1], "{index}");
            }
            let changes = published.windows(2).filter(|it| it[0] != it[1]).count();
            assert!(changes <= datagrams, "{changes} in {datagrams}");

            // To send a large one takes a while.
            let lengths = [64, 300_000, 300_000, 64, 300_000, 64];
            let (taken, published) = times_of_batch(&broadcaster, &queue, lengths.into_iter());
            for (index, time) in published.iter().enumerate() {
                assert!(
                    taken[index] <= *time && *time <= taken[index + 1],
                    "{index}"
                );
            }
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn of_a_batch_that_cannot_go_on_what_was_sent_is_told() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        for delay in [None, Some(NEVER)] {
            let mut builder = RawBroadcaster::builder(&connection()).max_message_len(100);
            if let Some(delay) = delay {
                builder = builder.coalesce(delay);
            }
            let broadcaster = builder.open().unwrap();
            let values = [10, 20, 30, 101, 40].map(|len| noise(len, len as usize));
            let error = broadcaster.publish_batch(values).unwrap_err();
            assert_eq!(error.sent, 3);
            let too_large = matches!(error.source, PublishError::TooLarge { len: 101, max: 100 });
            assert!(too_large, "{error:?}");
            assert_eq!(broadcaster.publish(b"after").unwrap(), 3);
            broadcaster.close();
            for len in [10, 20, 30] {
                assert_eq!(next(&queue).payload, noise(len, len as usize));
            }
            assert_eq!(next(&queue).payload, b"after");
            assert_eq!(broadcaster.statistics().failed, 1);
            let closed = broadcaster.publish_batch([noise(1, 1)]).unwrap_err();
            assert!(matches!(closed.source, PublishError::Closed), "{closed:?}");
        }
    });
}

const THREADS: u64 = 4;
const EACH: u64 = 20_000;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn threads_share_trains_and_every_number_is_the_one_returned() {
    in_network(|_| {
        for delay in [Duration::ZERO, Duration::from_millis(1)] {
            let (listener, queue) = raw_listener();
            let broadcaster = open(delay);
            thread::scope(|scope| {
                let publishers: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let broadcaster = &broadcaster;
                        scope.spawn(move || publish_each(broadcaster, thread))
                    })
                    .collect();
                let expected: HashMap<_, _> = publishers
                    .into_iter()
                    .flat_map(|it| it.join().unwrap())
                    .collect();
                assert_eq!(expected.len() as u64, THREADS * EACH);
                broadcaster.flush().unwrap();
                let mut last = [0; THREADS as usize];
                for _ in 0..THREADS * EACH {
                    let message = next(&queue);
                    let seed = seed_of(&message.payload);
                    assert_eq!(expected[&message.number], seed);
                    let (thread, index) = (seed >> 32, seed & 0xFFFF_FFFF);
                    let last = &mut last[thread as usize];
                    assert_eq!(index, *last, "of thread {thread}");
                    *last += 1;
                }
            });
            let sent = broadcaster.statistics();
            println!("{delay:?}: {sent:?}");
            assert_eq!(sent.numbers, THREADS * EACH);
            assert_whole(&listener.statistics(), &sent);
        }
    });
}

/// Publishes small messages and a few large ones, and tells under which numbers.
fn publish_each(broadcaster: &RawBroadcaster, thread: u64) -> Vec<(u64, u64)> {
    let number = |index: u64| {
        let seed = (thread << 32) | index;
        let mut payload = vec![index as u8; if index % 5000 == 77 { 40_000 } else { 30 }];
        payload[..8].copy_from_slice(&seed.to_le_bytes());
        (broadcaster.publish(&payload).unwrap(), seed)
    };
    (0..EACH).map(number).collect()
}

fn seed_of(payload: &Payload) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn threads_that_hurry_wait_flush_and_batch_at_once_lose_nothing() {
    in_network(|_| {
        for delay in [Duration::ZERO, Duration::from_micros(200), NEVER] {
            let (listener, queue) = raw_listener();
            let broadcaster = open(delay);
            let done = AtomicBool::new(false);
            let total = thread::scope(|scope| {
                let waiting = scope.spawn(|| publish_each(&broadcaster, 0).len());
                let hurrying = scope.spawn(|| {
                    let tried = (0..50_000).map(|seed| broadcaster.try_publish(&noise(seed, 20)));
                    tried.filter(Result::is_ok).count()
                });
                let batching = scope.spawn(|| {
                    let some = [(); 300].map(|()| noise(1, 33));
                    let batch = || broadcaster.publish_batch(some.iter().map(Vec::as_slice));
                    (0..20)
                        .map(|_| batch().unwrap().messages as usize)
                        .sum::<usize>()
                });
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        broadcaster.flush().unwrap();
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                let workers = [waiting, hurrying, batching];
                let total: usize = workers.map(|it| it.join().unwrap()).iter().sum();
                done.store(true, Ordering::Relaxed);
                total
            });
            broadcaster.flush().unwrap();
            for number in 0..total {
                assert_eq!(next(&queue).number, number as u64);
            }
            let sent = broadcaster.statistics();
            println!("{delay:?}: {sent:?}");
            assert_eq!(sent.messages, total as u64);
            assert_eq!(sent.numbers, sent.messages);
            assert_eq!(listener.statistics().messages_lost(), 0);
            assert_eq!(listener.statistics().datagrams_missing(), 0);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn closing_and_dropping_send_what_waits() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        for closes in [true, false] {
            let broadcaster = open(NEVER);
            for seed in 0..100 {
                broadcaster.publish(&noise(seed, 100)).unwrap();
            }
            assert!(queue.recv_timeout(Duration::from_millis(100)).is_err());
            if closes {
                assert!(broadcaster.close());
                assert!(!broadcaster.close());
                let sent = broadcaster.statistics();
                assert_eq!((sent.messages, sent.unsent), (100, 0));
                let closed = broadcaster.publish(b"late").unwrap_err();
                assert!(matches!(closed, PublishError::Closed), "{closed:?}");
                let closed = broadcaster.flush().unwrap_err();
                assert!(matches!(closed, PublishError::Closed), "{closed:?}");
            }
            drop(broadcaster);
            for seed in 0..100 {
                assert_eq!(next(&queue).payload, noise(seed, 100));
            }
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn closing_does_not_wait_long_for_the_pacing_or_an_address() {
    let close = |network: &Namespace, pacing| {
        network.ip(&["link", "show"]).unwrap();
        let broadcaster = builder(Duration::from_millis(1))
            .pacing(pacing)
            .open()
            .unwrap();
        let accepted = thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let results = std::iter::repeat_with(|| broadcaster.publish(&noise(1, 1000)));
                results.take_while(Result::is_ok).count() as u64
            });
            thread::sleep(Duration::from_millis(300));
            let start = Instant::now();
            broadcaster.close();
            let took = start.elapsed();
            assert!(took < Duration::from_secs(4), "{took:?}");
            publishing.join().unwrap()
        });
        let sent = broadcaster.statistics();
        assert!(sent.unsent > 0, "{sent:?}");
        assert_eq!(sent.messages + sent.unsent, accepted);
        let told = broadcaster.flush().unwrap_err();
        let PublishError::Unsent { messages, .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!(messages, sent.unsent);
    };
    in_network(|network| {
        let pacing = Pacing::Rate {
            bytes_per_second: 1000,
            burst: 70_000,
        };
        close(network, pacing);
    });
    in_empty_network(|network| {
        // Long enough a check for the closing to come before its end.
        network.bridge_with(Dad::On, "br0").unwrap();
        network
            .set_sysctl("net/ipv6/conf/br0/dad_transmits", "9")
            .unwrap();
        network.ip(&["link", "set", "br0", "down"]).unwrap();
        network.ip(&["link", "set", "br0", "up"]).unwrap();
        close(network, Pacing::None);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_waits_on_a_fresh_interface_is_sent_when_its_address_is_there() {
    in_empty_network(|network| {
        network.bridge_with(Dad::On, "br0").unwrap();
        let (_listener, queue) = raw_listener();
        for delay in [Duration::ZERO, Duration::from_millis(1)] {
            let broadcaster = open(delay);
            // Accepted without waiting, and kept for who may wait.
            for seed in 0..3 {
                assert_eq!(broadcaster.try_publish(&noise(seed, 50)).unwrap(), seed);
            }
            for seed in 0..3 {
                assert_eq!(next(&queue).payload, noise(seed, 50));
            }
            broadcaster.flush().unwrap();
            network.ip(&["link", "set", "br0", "down"]).unwrap();
            network.ip(&["link", "set", "br0", "up"]).unwrap();
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_that_is_down_is_told_by_flush_and_counted() {
    in_network(|network| {
        let (listener, queue) = raw_listener();
        let broadcaster = open(Duration::from_millis(1));
        let hasty = open(Duration::ZERO);
        broadcaster.publish(b"first").unwrap();
        assert_eq!(next(&queue).payload, b"first");
        network.ip(&["link", "set", "br0", "down"]).unwrap();
        for seed in 0..5 {
            broadcaster.publish(&noise(seed, 10)).unwrap();
        }
        eventually("given up", || broadcaster.statistics().unsent == 5);
        // Nothing was given up but what was accepted.
        broadcaster.publish(b"another").unwrap();
        let told = broadcaster.flush().unwrap_err();
        let text = told.to_string();
        assert!(text.contains("ip link set dev br0 up"), "{text}");
        assert!(
            matches!(told, PublishError::Unsent { messages: 6, .. }),
            "{told:?}"
        );
        broadcaster.flush().unwrap();
        // Who sends by himself is told at once.
        let batch = broadcaster
            .publish_batch([noise(1, 1), noise(2, 2)])
            .unwrap_err();
        assert_eq!(batch.sent, 0);
        let at_once = hasty.publish(b"nothing waits").unwrap_err();
        assert!(matches!(at_once, PublishError::Interface(_)), "{at_once:?}");

        network.ip(&["link", "set", "br0", "up"]).unwrap();
        network.wait_until_ready("br0").unwrap();
        assert_eq!(broadcaster.publish(b"last").unwrap(), 7);
        broadcaster.flush().unwrap();
        let message = next(&queue);
        assert_eq!(message.payload, b"last");
        assert_eq!(message.number, 7);
        let sent = broadcaster.statistics();
        assert_eq!((sent.messages, sent.unsent, sent.failed), (2, 6, 1));
        assert_eq!(listener.statistics().messages_lost(), 6);
        assert_eq!(listener.statistics().datagrams_missing(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_mtu_falls_while_messages_wait() {
    in_network(|network| {
        for coalesces in [true, false] {
            network.ip(&["link", "set", "br0", "mtu", "1500"]).unwrap();
            let (listener, queue) = raw_listener();
            let broadcaster = match coalesces {
                true => open(NEVER),
                false => RawBroadcaster::open(&connection()).unwrap(),
            };
            let lower = || network.ip(&["link", "set", "br0", "mtu", "1300"]).unwrap();
            // Ones that still fit a datagram then, and ones that do not.
            let sizes = [64, 200, 1400, 0, 1390, 1250, 1000];
            let sent: Vec<_> = (0..100)
                .map(|it| noise(it, sizes[it as usize % 7]))
                .collect();
            match coalesces {
                true => {
                    for payload in &sent[..50] {
                        broadcaster.publish(payload).unwrap();
                    }
                    lower();
                    for payload in &sent[50..] {
                        broadcaster.publish(payload).unwrap();
                    }
                    broadcaster.flush().unwrap();
                }
                false => {
                    let values = sent.iter().enumerate().map(|(index, payload)| {
                        if index == 50 {
                            lower();
                        }
                        payload.as_slice()
                    });
                    let batch = broadcaster.publish_batch(values).unwrap();
                    assert_eq!((batch.messages, batch.numbers), (100, 0..100));
                }
            }
            for (number, payload) in sent.iter().enumerate() {
                let message = next(&queue);
                assert_eq!(message.number, number as u64);
                assert!(message.payload == *payload, "{number}");
            }
            let statistics = broadcaster.statistics();
            assert!(statistics.restarted >= 1, "{statistics:?}");
            assert_eq!(broadcaster.datagram_len(), Some(1300 - 48));
            assert_whole(&listener.statistics(), &statistics);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn trying_fails_rather_than_waits_and_what_it_accepted_is_sent() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        for delay in [Duration::ZERO, Duration::from_millis(1)] {
            // A train a second.
            let pacing = Pacing::Rate {
                bytes_per_second: 66_000,
                burst: 66_000,
            };
            let broadcaster = builder(delay).pacing(pacing).open().unwrap();
            let payload = noise(1, 1000);
            let start = Instant::now();
            let (mut accepted, mut refused) = (0, 0);
            while refused < 100 {
                match broadcaster.try_publish(&payload) {
                    Ok(number) => {
                        assert_eq!(number, accepted);
                        accepted += 1;
                    }
                    Err(PublishError::WouldBlock) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            let took = start.elapsed();
            assert!(took < Duration::from_millis(900), "{took:?}");
            assert!(accepted >= 100, "{accepted}");
            let large = broadcaster.try_publish(&noise(1, 10_000)).unwrap_err();
            assert!(matches!(large, PublishError::WouldBlock), "{large:?}");
            assert_eq!(broadcaster.statistics().numbers, accepted);
            // Nobody calls, and all of it is sent.
            expect_all(&queue, accepted, &payload);
            broadcaster.flush().unwrap();
            assert_eq!(broadcaster.statistics().messages, accepted);
        }
    });
}

#[track_caller]
fn expect_all(queue: &Queue<Payload, Raw>, count: u64, payload: &[u8]) {
    for number in 0..count {
        let message = queue.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            (message.number, message.payload == *payload),
            (number, true)
        );
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn small_messages_go_between_the_trains_of_a_large_one() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        let pacing = Pacing::Rate {
            bytes_per_second: 4_000_000,
            burst: 100_000,
        };
        let delay = Duration::from_millis(5);
        let broadcaster = builder(delay).pacing(pacing).open().unwrap();
        thread::scope(|scope| {
            let large = scope.spawn(|| broadcaster.publish(&noise(1, 4 << 20)).unwrap());
            eventually("it is under way", || broadcaster.statistics().datagrams > 0);
            assert_eq!(broadcaster.publish(b"small").unwrap(), 1);
            assert_eq!(next(&queue).payload, b"small");
            assert!(!large.is_finished());
            assert_eq!(broadcaster.publish(b"flushed").unwrap(), 2);
            broadcaster.flush().unwrap();
            assert!(!large.is_finished());
            assert_eq!(large.join().unwrap(), 0);
        });
        assert_eq!(next(&queue).payload, b"flushed");
        assert_eq!(next(&queue).number, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_coalescer_with_nothing_to_send_never_wakes() {
    in_network(|network| {
        let mut child = start_child(network, "idle coalescer", &[]);
        child.expect("threads: 3");
        child.expect("woken: []");
        child.finish();
    });
}

/// A child process of its own: it looks at its threads.
pub(crate) fn idle() {
    let delays = [Duration::ZERO, Duration::from_millis(1), NEVER];
    let broadcasters = delays.map(open);
    for broadcaster in &broadcasters {
        for seed in 0..1000 {
            broadcaster.publish(&noise(seed, 100)).unwrap();
        }
        broadcaster.publish(&noise(1, 100_000)).unwrap();
        broadcaster.publish(&noise(2, 10)).unwrap();
    }
    broadcasters[2].flush().unwrap();
    let mut before = switches();
    holds_within(QUIET, || {
        let earlier = std::mem::take(&mut before);
        thread::sleep(Duration::from_millis(500));
        before = switches();
        earlier == before
    });
    tell(format!("threads: {}", before.len()));
    thread::sleep(QUIET / 2);
    let after = switches();
    let woken = after
        .iter()
        .filter(|(thread, count)| before.get(*thread) != Some(count));
    tell(format!("woken: {:?}", woken.collect::<Vec<_>>()));
}
