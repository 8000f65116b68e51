//! Everybody gets everything.

use std::collections::BTreeMap;
use std::env;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mcl_testbed::{Peer, ask, tell};
use mcl_udp::{
    Broadcaster, Listener, Message, Payload, RawBroadcaster, RawListener, RecvError,
    RecvTimeoutError, TryRecvError,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    PATIENCE, connection, eventually, in_network, next, noise, payloads, raw_listener, start_child,
    typed_listener,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    values: Vec<f64>,
    quality: Option<Quality>,
    labels: BTreeMap<String, (u8, i64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Quality {
    Good,
    Degraded { by: f32 },
}

fn reading(sensor: &str) -> Reading {
    Reading {
        sensor: sensor.to_owned(),
        values: vec![0.5, -1.0e300, f64::MAX],
        quality: Some(Quality::Degraded { by: 0.25 }),
        labels: BTreeMap::from([("ß".to_owned(), (255, i64::MIN))]),
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_processes_exchange_values_and_bytes() {
    in_network(|network| {
        let echoes = Listener::<Reading>::builder(&connection())
            .topic("echo")
            .open()
            .unwrap();
        let bytes = RawListener::builder(&connection())
            .topic("raw echo")
            .open()
            .unwrap();
        let (echoes, bytes) = (echoes.queue(), bytes.queue());
        let mut peer = start_child(network, "echo", &[]);
        peer.expect("ready");

        let broadcaster = Broadcaster::<Reading>::open(&connection()).unwrap();
        broadcaster.publish_to("value", &reading("gps")).unwrap();
        let echo = next(&echoes);
        assert_eq!(echo.payload, reading("gps echoed"));
        assert_ne!(echo.stream, broadcaster.stream());

        let raw = RawBroadcaster::open(&connection()).unwrap();
        let sent = noise(1, 10_000);
        raw.publish_to("bytes", &sent).unwrap();
        let turned: Vec<u8> = sent.into_iter().rev().collect();
        assert_eq!(next(&bytes).payload, turned);
        peer.finish();
    });
}

/// Sends back one value and some bytes, changed.
pub(crate) fn echo() {
    let values = Listener::<Reading>::builder(&connection()).topic("value");
    let values = values.open().unwrap();
    let bytes = RawListener::builder(&connection()).topic("bytes");
    let bytes = bytes.open().unwrap();
    let (value, some) = (values.queue(), bytes.queue());
    tell("ready");
    let mut echoed = next(&value).payload;
    echoed.sensor.push_str(" echoed");
    let broadcaster = Broadcaster::<Reading>::open(&connection()).unwrap();
    broadcaster.publish_to("echo", &echoed).unwrap();
    let turned: Vec<u8> = next(&some).payload.iter().rev().copied().collect();
    let broadcaster = RawBroadcaster::open(&connection()).unwrap();
    broadcaster.publish_to("raw echo", &turned).unwrap();
}

const MEMBERS: usize = 3;
const EACH: usize = 50;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn three_processes_on_one_group_all_get_everything() {
    in_network(|network| {
        let names = ["one", "two", "three"];
        let start = |name| start_child(network, "member", &[("MCL_TEST_NAME", name)]);
        let mut members = names.map(start);
        // Nobody publishes before all listen.
        members.iter_mut().for_each(|member| member.expect("ready"));
        members.iter_mut().for_each(|member| member.say("go"));
        let mut heard = members.iter_mut().map(Peer::hear);
        let first = heard.next().unwrap();
        for name in names {
            assert!(
                first.contains(&format!("{name}: 0..{EACH} in order")),
                "{first}"
            );
        }
        heard.for_each(|other| assert_eq!(other, first));
        members.into_iter().for_each(Peer::finish);
    });
}

/// Publishes under its own name and tells what it got, its own included.
pub(crate) fn member() {
    let name = env::var("MCL_TEST_NAME").unwrap();
    let (_listener, queue) = typed_listener::<(String, usize)>();
    let broadcaster = Broadcaster::<(String, usize)>::open(&connection()).unwrap();
    tell("ready");
    assert_eq!(ask(), "go");
    for number in 0..EACH {
        broadcaster.publish(&(name.clone(), number)).unwrap();
    }
    let mut got = BTreeMap::<String, Vec<usize>>::new();
    for _ in 0..MEMBERS * EACH {
        let message = next(&queue);
        let (from, number) = message.payload;
        assert_eq!(message.number, number as u64);
        got.entry(from).or_default().push(number);
    }
    let in_order = |(from, numbers): (String, Vec<usize>)| {
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>());
        format!("{from}: 0..{EACH} in order; ")
    };
    tell(got.into_iter().map(in_order).collect::<String>());
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_listeners_in_one_process_both_get_everything() {
    in_network(|_| {
        let (_first, one) = raw_listener();
        let (_second, other) = raw_listener();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        let sent: Vec<Vec<u8>> = (0..20)
            .map(|seed| noise(seed, 400 * seed as usize))
            .collect();
        for payload in &sent {
            broadcaster.publish(payload).unwrap();
        }
        assert_eq!(payloads(&one, sent.len()), sent);
        assert_eq!(payloads(&other, sent.len()), sent);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_broadcasters_in_one_process_are_two_streams() {
    in_network(|_| {
        let (_listener, queue) = typed_listener::<u32>();
        let one = Broadcaster::<u32>::open(&connection()).unwrap();
        let other = Broadcaster::<u32>::open(&connection()).unwrap();
        assert_ne!(one.stream(), other.stream());
        for number in 0..10 {
            assert_eq!(one.publish(&number).unwrap(), u64::from(number));
            assert_eq!(other.publish(&(100 + number)).unwrap(), u64::from(number));
        }
        for _ in 0..20 {
            let message = next(&queue);
            let base = if message.stream == one.stream() {
                0
            } else {
                100
            };
            assert_eq!(u64::from(message.payload), base + message.number);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn callback_inline_callback_queue_and_channel_all_get_everything() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<String>();
        let selected = listener.queue();
        let (tell_callback, callback) = mpsc::channel();
        let (tell_inline, inline) = mpsc::channel();
        let own = thread::current().id();
        listener.subscribe(move |message| {
            assert_ne!(thread::current().id(), own);
            tell_callback.send(message.payload).unwrap();
        });
        listener.subscribe_inline(move |message: Message<String>| {
            let thread = thread::current().name().map(str::to_owned);
            tell_inline.send((thread, message.payload)).unwrap();
        });
        assert_eq!(listener.num_subscriptions(), 4);

        let broadcaster = Broadcaster::<str>::open(&connection()).unwrap();
        let texts: Vec<String> = (0..100).map(|number| format!("text {number}")).collect();
        for text in &texts {
            broadcaster.publish(text).unwrap();
        }
        let quit = crossbeam_channel::after(PATIENCE);
        for text in &texts {
            assert_eq!(callback.recv_timeout(PATIENCE).unwrap(), *text);
            let (thread, got) = inline.recv_timeout(PATIENCE).unwrap();
            assert_eq!(got, *text);
            assert_eq!(thread.as_deref(), Some("mcl-listener"));
            assert_eq!(next(&queue).payload, *text);
            let got = crossbeam_channel::select! {
                recv(selected.ready()) -> token => {
                    token.unwrap();
                    selected.try_recv().unwrap()
                }
                recv(quit) -> _ => panic!("nothing came"),
            };
            assert_eq!(got.payload, *text);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn select_waits_on_queues_of_several_listeners() {
    in_network(|_| {
        let (_texts, texts) = typed_listener::<String>();
        let other = connection().with_port(26001).unwrap();
        let numbers = Listener::<u64>::open(&other).unwrap();
        let numbers = numbers.queue();
        let quit = crossbeam_channel::after(PATIENCE);
        let text = Broadcaster::<str>::open(&connection()).unwrap();
        let number = Broadcaster::<u64>::open(&other).unwrap();
        let mut got = Vec::new();
        for round in 0..10 {
            if round % 2 == 0 {
                text.publish("text").unwrap();
            } else {
                number.publish(&round).unwrap();
            }
            crossbeam_channel::select! {
                recv(texts.ready()) -> _ => got.push(texts.try_recv().unwrap().payload),
                recv(numbers.ready()) -> _ => {
                    got.push(numbers.try_recv().unwrap().payload.to_string());
                }
                recv(quit) -> _ => panic!("nothing came"),
            }
        }
        let expected = [
            "text", "1", "text", "3", "text", "5", "text", "7", "text", "9",
        ];
        assert_eq!(got, expected);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn receiving_tells_empty_timeout_message_and_closed_apart() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        let brief = Duration::from_millis(10);
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Empty)));
        let timeout = queue.recv_timeout(brief);
        assert!(matches!(timeout, Err(RecvTimeoutError::Timeout)));
        assert!(queue.is_empty());

        for value in 1..=4 {
            broadcaster.publish(&value).unwrap();
        }
        eventually("four are queued", || queue.len() == 4);
        assert_eq!(queue.recv().unwrap().payload, 1);
        assert_eq!(queue.try_recv().unwrap().payload, 2);
        assert_eq!(queue.recv_timeout(brief).unwrap().payload, 3);

        listener.close();
        assert_eq!(queue.recv().unwrap().payload, 4);
        assert!(matches!(queue.recv(), Err(RecvError::Closed)));
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Closed)));
        let closed = queue.recv_timeout(brief);
        assert!(matches!(closed, Err(RecvTimeoutError::Closed)));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn iteration_gives_what_came_and_ends_with_the_listener() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u32>();
        let broadcaster = Broadcaster::<u32>::open(&connection()).unwrap();
        let reader = thread::spawn(move || {
            let numbers = queue.iter().map(|message| message.unwrap().payload);
            numbers.collect::<Vec<_>>()
        });
        for number in 0..30 {
            broadcaster.publish(&number).unwrap();
        }
        eventually("all came", || {
            listener.statistics().wire.messages.delivered == 30
        });
        listener.close();
        assert_eq!(reader.join().unwrap(), (0..30).collect::<Vec<_>>());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_comes_before_any_subscription_is_unclaimed_and_what_comes_after_is_received() {
    in_network(|_| {
        let listener = Listener::<u32>::open(&connection()).unwrap();
        let broadcaster = Broadcaster::<u32>::open(&connection()).unwrap();
        broadcaster.publish(&1).unwrap();
        eventually("it came", || listener.statistics().account().unclaimed == 1);
        for round in 2..50 {
            let queue = listener.queue();
            broadcaster.publish(&round).unwrap();
            assert_eq!(next(&queue).payload, round);
        }
        assert_eq!(listener.num_subscriptions(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_raw_payload_is_shared_between_subscriptions_and_not_copied() {
    in_network(|_| {
        let (listener, one) = raw_listener();
        let other = listener.queue();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        for sent in [noise(1, 100), noise(2, 50_000)] {
            broadcaster.publish(&sent).unwrap();
            let (first, second): (Payload, Payload) = (next(&one).payload, next(&other).payload);
            assert_eq!(first, sent);
            assert_eq!(first.as_ptr(), second.as_ptr());
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn every_scope_carries_messages() {
    in_network(|_| {
        for address in ["ff11::7", "ff12::7", "ff15::7", "ff18::7", "ff12::7%br0"] {
            let connection = mcl_udp::Connection::new(address).unwrap();
            let listener = Listener::<String>::open(&connection).unwrap();
            let inbox = listener.queue();
            let broadcaster = Broadcaster::<str>::open(&connection).unwrap();
            broadcaster.publish(address).unwrap();
            assert_eq!(next(&inbox).payload, address);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn threads_share_a_broadcaster_and_their_messages_stay_whole() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        let work = |thread: u64| {
            for round in 0..20 {
                let seed = thread * 100 + round;
                let message = [&seed.to_le_bytes()[..], &noise(seed, 20_000)].concat();
                broadcaster.publish(&message).unwrap();
            }
        };
        thread::scope(|scope| {
            let work = &work;
            for thread in 0..4 {
                scope.spawn(move || work(thread));
            }
        });
        let mut seeds: Vec<u64> = payloads(&queue, 80)
            .into_iter()
            .map(|payload| {
                let seed = u64::from_le_bytes(payload[..8].try_into().unwrap());
                assert_eq!(payload[8..], noise(seed, 20_000));
                seed
            })
            .collect();
        seeds.sort_unstable();
        let expected = (0..4).flat_map(|thread| (0..20).map(move |round| thread * 100 + round));
        assert!(seeds.into_iter().eq(expected));
    });
}
