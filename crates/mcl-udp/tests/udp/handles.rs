//! The rest of what handles offer: closing, `try_publish`, ignoring, checksums, the
//! environment, metadata, `Debug`, `Send`.

use std::cell::Cell;
use std::io::IoSlice;
use std::time::{Duration, Instant, SystemTime};

use mcl_net::{Blocking, Sender, SenderOptions};
use mcl_testbed::{Namespace, tell};
use mcl_udp::{
    Broadcaster, BroadcasterBuilder, Connection, Encoding, Iter, Listener, ListenerBuilder,
    Message, Pacing, Payload, PublishError, Queue, QueueOptions, RawBroadcaster, RawListener,
    StreamId, SubscriptionId, Topic,
};
use mcl_wire::{BodyHead, Metadata, whole_message_prefix};

use crate::support::{
    connection, eventually, in_network, next, noise, on, payloads, raw_listener, says_something,
    start_child, typed_listener,
};

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_closed_broadcaster_publishes_no_more() {
    in_network(|_| {
        let (_listener, queue) = typed_listener::<u8>();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        broadcaster.publish(&1).unwrap();
        assert!(broadcaster.is_open());
        assert!(broadcaster.datagram_len().is_some() && broadcaster.offload().is_some());
        assert!(broadcaster.close());
        assert!(!broadcaster.close());
        assert!(!broadcaster.is_open());
        let results = [
            broadcaster.publish(&2),
            broadcaster.publish_to("topic", &2),
            broadcaster.try_publish(&2),
            broadcaster.try_publish_to("topic", &2),
        ];
        for result in results {
            assert!(matches!(result, Err(PublishError::Closed)), "{result:?}");
        }
        assert_eq!(
            (broadcaster.datagram_len(), broadcaster.offload()),
            (None, None)
        );
        assert_eq!(broadcaster.statistics().messages, 1);
        assert_eq!(next(&queue).payload, 1);
        assert!(queue.is_empty());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_broadcaster_closed_while_it_publishes_says_how_much_went() {
    in_network(|_| {
        let pacing = Pacing::Rate {
            bytes_per_second: 1_000_000,
            burst: 100_000,
        };
        let broadcaster = RawBroadcaster::builder(&connection()).pacing(pacing);
        let broadcaster = broadcaster.open().unwrap();
        // At this rate it would take half a minute.
        let message = noise(1, 30 << 20);
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| broadcaster.publish(&message));
            eventually("it has begun", || broadcaster.statistics().datagrams > 0);
            assert!(broadcaster.close());
            let error = publishing.join().unwrap().unwrap_err();
            let PublishError::Partial { sent, of, source } = error else {
                panic!("{error:?}");
            };
            assert!(matches!(*source, PublishError::Closed), "{source:?}");
            assert!(0 < sent && sent < of);
            assert_eq!(broadcaster.statistics().datagrams, sent as u64);
        });
        let statistics = broadcaster.statistics();
        assert_eq!((statistics.messages, statistics.failed), (0, 1));
        assert_eq!(statistics.numbers, 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn try_publish_tells_what_must_wait_from_what_can_never_go_at_once() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        let pacing = Pacing::Rate {
            bytes_per_second: 1,
            burst: 10_000,
        };
        let broadcaster = RawBroadcaster::builder(&connection()).pacing(pacing);
        let broadcaster = broadcaster.open().unwrap();
        let error = broadcaster.try_publish(&noise(1, 20_000)).unwrap_err();
        let PublishError::ExceedsBurst { len, burst } = error else {
            panic!("{error:?}");
        };
        assert!(len > 20_000 && burst == 10_000);
        assert_eq!(broadcaster.statistics().datagrams, 0);

        // What fits the burst goes, in fragments too; then it is used up.
        let number = broadcaster.try_publish(&noise(2, 9000)).unwrap();
        let begun = Instant::now();
        for payload in [noise(3, 2000), noise(3, 1500)] {
            let error = broadcaster.try_publish(&payload).unwrap_err();
            assert!(matches!(error, PublishError::WouldBlock), "{error:?}");
        }
        // Waiting would have taken about an hour.
        assert!(begun.elapsed() < Duration::from_secs(60));
        let message = next(&queue);
        assert_eq!(
            (message.number, message.payload),
            (number, noise(2, 9000).into())
        );
        let statistics = broadcaster.statistics();
        assert_eq!((statistics.messages, statistics.failed), (1, 3));
        assert_eq!(statistics.numbers, 1);
        assert!(queue.is_empty());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn publish_waits_for_the_pacing_and_says_so() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        let pacing = Pacing::Rate {
            bytes_per_second: 1_000_000,
            burst: 100_000,
        };
        let broadcaster = RawBroadcaster::builder(&connection()).pacing(pacing);
        let broadcaster = broadcaster.open().unwrap();
        let sent = noise(1, 300_000);
        let begun = Instant::now();
        broadcaster.publish(&sent).unwrap();
        // 300 kB, less a burst, at 1 MB/s: a lower bound, whatever the machine.
        assert!(begun.elapsed() >= Duration::from_millis(190));
        assert!(broadcaster.statistics().paced >= Duration::from_millis(100));
        assert!(next(&queue).payload == sent);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn ones_own_messages_are_ignored_by_stream() {
    in_network(|_| {
        let own = Broadcaster::<u8>::open(&connection()).unwrap();
        let other = Broadcaster::<u8>::open(&connection()).unwrap();
        let deaf = Listener::<u8>::builder(&connection()).ignore(own.stream());
        let deaf = deaf.open().unwrap();
        let (all, later) = (typed_listener::<u8>(), typed_listener::<u8>());
        let queue = deaf.queue();
        own.publish(&1).unwrap();
        other.publish(&2).unwrap();
        assert_eq!(next(&queue).payload, 2);
        assert_eq!(payloads(&later.1, 2), [1, 2]);

        later.0.ignore(own.stream());
        own.publish(&3).unwrap();
        other.publish(&4).unwrap();
        assert_eq!(next(&queue).payload, 4);
        assert_eq!(next(&later.1).payload, 4);
        assert_eq!(payloads(&all.1, 4), [1, 2, 3, 4]);
        assert_eq!(deaf.statistics().wire.datagrams.ignored_stream, 2);
        assert_eq!(later.0.statistics().wire.datagrams.ignored_stream, 1);
        assert_eq!(deaf.statistics().messages_lost(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_loopback_this_machine_hears_nothing() {
    in_network(|network| {
        let far = Namespace::new().unwrap();
        Namespace::veth(network, "v0", &far, "v0").unwrap();
        let cable = on("v0");
        let there = far.run(|| RawListener::open(&cable).unwrap());
        let here = RawListener::open(&cable).unwrap();
        let (there, here) = (there.queue(), here.queue());
        let quiet = RawBroadcaster::builder(&cable).loopback(false);
        quiet.open().unwrap().publish(b"quiet").unwrap();
        let loud = RawBroadcaster::open(&cable).unwrap();
        loud.publish(b"loud").unwrap();
        assert_eq!(
            payloads(&there, 2),
            ["quiet", "loud"].map(|it| it.as_bytes().to_vec())
        );
        assert_eq!(next(&here).payload, "loud");
        // Hop limit 0 does not leave the machine.
        let near = RawBroadcaster::builder(&cable).hops(0);
        near.open().unwrap().publish(b"near").unwrap();
        loud.publish(b"end").unwrap();
        assert_eq!(
            payloads(&here, 2),
            ["near", "end"].map(|it| it.as_bytes().to_vec())
        );
        assert_eq!(next(&there).payload, "end");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn messages_with_a_checksum_arrive_whole_and_in_fragments() {
    in_network(|_| {
        let (listener, queue) = raw_listener();
        let broadcaster = RawBroadcaster::builder(&connection()).topic("sum");
        let broadcaster = broadcaster.open().unwrap();
        for sent in [noise(1, 0), noise(2, 100), noise(3, 100_000)] {
            broadcaster.publish(&sent).unwrap();
            assert_eq!(next(&queue).payload, sent);
        }
        assert_eq!(listener.statistics().account().crc_mismatch, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn who_requires_a_checksum_takes_no_message_without_one() {
    in_network(|_| {
        let strict = RawListener::builder(&connection()).require_crc();
        let strict = strict.open().unwrap();
        let (lenient, all) = raw_listener();
        let checked = strict.queue();
        for (crc, payload) in [(false, b"without"), (true, b"with it")] {
            let broadcaster = RawBroadcaster::builder(&connection()).crc(crc);
            broadcaster.open().unwrap().publish(payload).unwrap();
            assert_eq!(next(&all).payload, *payload);
        }
        assert_eq!(next(&checked).payload, *b"with it");
        assert_eq!(strict.statistics().account().crc_mismatch, 1);
        assert_eq!(lenient.statistics().account().crc_mismatch, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_message_whose_checksum_does_not_match_is_dropped_and_counted() {
    in_network(|_| {
        let (listener, queue) = raw_listener();
        let interface = listener.interface().unwrap();
        let options = SenderOptions::default();
        let mut sender = Sender::open(connection().group(), &interface, &options).unwrap();
        let payload = b"payload".to_vec();
        let mut head = BodyHead::new(Some("t"), &Metadata::new().with_crc32c(0)).unwrap();
        let crc = crc32c::crc32c_append(crc32c::crc32c(head.crc_covered()), &payload);
        head.set_crc32c(crc);
        let body = [head.as_bytes(), &payload].concat();
        let flips = [None, Some(body.len() - 1), Some(4), Some(8)];
        for (number, flip) in (0..).zip(flips) {
            let mut body = body.clone();
            // In the payload, in the topic, in the checksum itself.
            if let Some(at) = flip {
                body[at] ^= 1;
            }
            let prefix = whole_message_prefix(StreamId(7), number, number, body.len()).unwrap();
            let slices = [IoSlice::new(&prefix), IoSlice::new(&body)];
            let len = prefix.len() + body.len();
            sender.send_train(&slices, len, Blocking::Yes).unwrap();
        }
        eventually("three are dropped", || {
            listener.statistics().account().crc_mismatch == 3
        });
        assert_eq!(listener.statistics().messages_lost(), 3);
        assert_eq!(next(&queue).payload, payload);
        assert!(queue.is_empty());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_message_tells_where_when_and_how_it_was_published() {
    in_network(|_| {
        let (listener, queue) = raw_listener();
        let broadcaster = RawBroadcaster::builder(&connection())
            .topic("meta")
            .schema(0xfeed)
            .encoding(Encoding::TEXT);
        let broadcaster = broadcaster.open().unwrap();
        for (number, len) in (0..).zip([10, 10_000]) {
            let before = SystemTime::now();
            assert_eq!(broadcaster.publish(&noise(1, len)).unwrap(), number);
            let message = next(&queue);
            let after = SystemTime::now();
            assert_eq!(message.topic.as_deref(), Some("meta"));
            assert_eq!(message.stream, broadcaster.stream());
            assert_eq!(message.number, number);
            assert_eq!(message.interface, listener.interface().unwrap().index());
            assert!(
                message.sender.ip().is_unicast_link_local(),
                "{}",
                message.sender
            );
            assert_eq!(message.sender.scope_id(), message.interface.get());
            assert_ne!(message.sender.port(), 0);
            assert_eq!(message.encoding, Encoding::TEXT);
            assert_eq!(message.schema, Some(0xfeed));
            let published = message.published.unwrap();
            assert!(before <= published && published <= after);
            // The kernel stamps from another reading of the same clock.
            let slack = Duration::from_millis(50);
            assert!(published <= message.received + slack);
            assert!(message.received <= after + slack);
        }
        let plain = RawBroadcaster::builder(&connection()).publish_time(false);
        plain.open().unwrap().publish(b"plain").unwrap();
        let message = next(&queue);
        assert_eq!((message.topic, message.published), (None, None));
        assert_eq!((message.encoding, message.schema), (Encoding::RAW, None));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_restarted_broadcaster_is_another_stream() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let mut streams = Vec::new();
        for value in 0..3 {
            let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
            assert_eq!(broadcaster.publish(&value).unwrap(), 0);
            let message = next(&queue);
            assert_eq!((message.number, message.payload), (0, value));
            streams.push(message.stream);
        }
        streams.dedup();
        assert_eq!(streams.len(), 3);
        assert_eq!(listener.statistics().streams.len(), 3);
        assert_eq!(listener.statistics().messages_lost(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_environment_names_the_connection_and_the_interface() {
    in_network(|network| {
        network.bridge("br1").unwrap();
        let hear = |variables: &[(&str, &str)]| {
            let mut child = start_child(network, "environment", variables);
            let lines = [child.hear(), child.hear(), child.hear()];
            child.finish();
            lines
        };
        let default = "[ff15::c73d:cf41:ea8e:b0a0]:26000";
        let [connection, _, named] = hear(&[("MCL_CONNECTION", ""), ("MCL_INTERFACE", "")]);
        assert_eq!((connection.as_str(), named.as_str()), (default, "br0"));

        let variables = [
            ("MCL_CONNECTION", "[ff15::99]:26007"),
            ("MCL_INTERFACE", "br1"),
        ];
        let expected = ["[ff15::99]:26007", "br1", "br0"];
        assert_eq!(hear(&variables), expected);

        let variables = [("MCL_CONNECTION", "fd34::1"), ("MCL_INTERFACE", "nope")];
        let [connection, used, named] = hear(&variables);
        assert!(connection.contains("MCL_CONNECTION"), "{connection}");
        assert!(used.contains("nope"), "{used}");
        assert_eq!(named, "br0");
    });
}

/// Tells the environment's connection, the interface that is used where the
/// connection names none, and the one used where it does.
pub(crate) fn environment() {
    match Connection::from_env() {
        Ok(connection) => tell(connection.to_string()),
        Err(error) => tell(error.to_string()),
    }
    let named = on("br0");
    for connection in [connection(), named] {
        let listener = RawListener::open(&connection);
        let broadcaster = RawBroadcaster::open(&connection);
        match (listener, broadcaster) {
            (Ok(listener), Ok(broadcaster)) => {
                let interface = listener.interface().unwrap();
                assert_eq!(broadcaster.interface().unwrap().name(), interface.name());
                tell(interface.name());
            }
            (Err(error), Err(_)) => tell(error.to_string().replace('\n', " ")),
            mixed => panic!("{mixed:?}"),
        }
    }
}

#[test]
fn handles_may_be_used_from_every_thread() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Connection>();
    shared::<RawBroadcaster>();
    shared::<RawListener>();
    // The type of the values does not matter: handles hold none.
    shared::<Broadcaster<Cell<u8>>>();
    shared::<Listener<Cell<u8>>>();
    shared::<Queue<Cell<u8>>>();
    shared::<BroadcasterBuilder<Cell<u8>>>();
    shared::<ListenerBuilder<Cell<u8>>>();
    shared::<Message<String>>();
    shared::<Payload>();
    shared::<Topic>();
    shared::<SubscriptionId>();
    sent::<Message<Cell<u8>>>();
    sent::<Iter<'static, Cell<u8>>>();
    shared::<mcl_udp::OpenError>();
    shared::<PublishError>();
    shared::<mcl_udp::Undecodable>();
    shared::<mcl_udp::RecvError>();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn everything_shows_itself() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<u8>();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        let shown = format!("{listener:?}");
        assert!(
            shown.contains("br0") && shown.contains("ff15::c73d"),
            "{shown}"
        );
        let shown = format!("{broadcaster:?}");
        assert!(
            shown.contains("br0") && shown.contains("open: true"),
            "{shown}"
        );
        says_something(&Listener::<u8>::builder(&connection()));
        says_something(&Broadcaster::<u8>::builder(&connection()));
        says_something(&connection());
        says_something(&queue);
        says_something(&queue.iter());
        says_something(&QueueOptions::default());
        says_something(&queue.statistics());
        says_something(&listener.statistics());
        says_something(&broadcaster.statistics());
        says_something(&listener.interface());
        says_something(&queue.id());
        broadcaster.publish_to("topic", &1).unwrap();
        broadcaster.publish_to("topic", &2).unwrap();
        let message = next(&queue);
        says_something(&message);
        says_something(&message.topic);
        says_something(&queue.iter());
        says_something(&next(&queue));
        says_something(queue.ready());
        broadcaster.close();
        says_something(&broadcaster.publish(&1).unwrap_err());
        listener.close();
        says_something(&queue.recv().unwrap_err());
        says_something(&queue.try_recv().unwrap_err());
        says_something(&queue.recv_timeout(Duration::ZERO).unwrap_err());
        assert!(format!("{broadcaster:?}").contains("open: false"));
        assert!(format!("{listener:?}").contains("open: false"));
    });
}
