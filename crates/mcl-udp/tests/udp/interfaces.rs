//! Interfaces: none usable, two of them, one that is not ready or goes down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mcl_testbed::Dad;
use mcl_udp::{Broadcaster, Listener, OpenError, PublishError, RawBroadcaster, RawListener};

use crate::support::{
    PATIENCE, connection, in_empty_network, in_network, next, on, payloads, typed_listener,
};

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_a_usable_interface_open_says_what_mends_it_and_then_works() {
    in_empty_network(|network| {
        let errors = [
            RawListener::open(&connection()).unwrap_err(),
            RawBroadcaster::open(&connection()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, OpenError::Interface(_)), "{error:?}");
            let text = error.to_string();
            let expected = [
                "[ff15::c73d:cf41:ea8e:b0a0]:26000",
                "no interface can carry IPv6 multicast",
                "lo",
                "ip link add name dummy0 type dummy",
                "ip address add fd34::1/64 dev dummy0",
            ];
            for part in expected {
                assert!(text.contains(part), "no {part:?} in: {text}");
            }
        }

        network.bridge("br0").unwrap();
        let (_listener, queue) = typed_listener::<String>();
        let broadcaster = Broadcaster::<str>::open(&connection()).unwrap();
        broadcaster.publish("now it works").unwrap();
        assert_eq!(next(&queue).payload, "now it works");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_that_is_not_there_or_not_up_is_refused_by_name() {
    in_network(|network| {
        let error = RawListener::open(&on("nope")).unwrap_err().to_string();
        assert!(error.contains("nope") && error.contains("br0"), "{error}");

        network
            .ip(&["link", "add", "br1", "type", "bridge"])
            .unwrap();
        let error = RawBroadcaster::open(&on("br1")).unwrap_err().to_string();
        assert!(error.contains("ip link set dev br1 up"), "{error}");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_first_publish_on_a_fresh_interface_waits_for_its_address_and_arrives() {
    in_empty_network(|network| {
        network.bridge_with(Dad::On, "br0").unwrap();
        let (_listener, queue) = typed_listener::<String>();
        let broadcaster = Broadcaster::<str>::open(&connection()).unwrap();
        let shown = network.ip(&["-6", "addr", "show", "dev", "br0"]).unwrap();
        assert!(shown.contains("tentative"), "too late to show anything");
        broadcaster.publish("first").unwrap();
        assert_eq!(next(&queue).payload, "first");
        let shown = network.ip(&["-6", "addr", "show", "dev", "br0"]).unwrap();
        assert!(!shown.contains("tentative"), "{shown}");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn on_a_fresh_interface_try_publish_would_block_and_sends_nothing() {
    in_empty_network(|network| {
        network.bridge_with(Dad::On, "br0").unwrap();
        let broadcaster = Broadcaster::<str>::open(&connection()).unwrap();
        let error = broadcaster.try_publish("too early").unwrap_err();
        assert!(matches!(error, PublishError::WouldBlock), "{error:?}");
        assert_eq!(broadcaster.statistics().datagrams, 0);
        network.wait_until_ready("br0").unwrap();
        broadcaster.try_publish("in time").unwrap();
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn try_publish_and_statistics_do_not_wait_for_a_publish_that_waits() {
    in_empty_network(|network| {
        network.bridge_with(Dad::On, "br0").unwrap();
        let broadcaster = Broadcaster::<str>::open(&connection()).unwrap();
        let published = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                broadcaster.publish("waits for the address").unwrap();
                published.store(true, Ordering::SeqCst);
            });
            thread::sleep(Duration::from_millis(100));
            for _ in 0..10 {
                let result = broadcaster.try_publish("does not");
                assert!(
                    matches!(result, Err(PublishError::WouldBlock)),
                    "{result:?}"
                );
            }
            let _ = broadcaster.statistics();
            assert!(!published.load(Ordering::SeqCst), "it waited");
        });
        assert_eq!(broadcaster.statistics().messages, 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn of_two_interfaces_the_named_one_is_used() {
    in_network(|network| {
        network.bridge("br1").unwrap();
        let zero = Listener::<String>::open(&on("br0")).unwrap();
        let one = Listener::<String>::open(&on("br1")).unwrap();
        let (from_zero, from_one) = (zero.queue(), one.queue());
        for name in ["br1", "br0", "br1", "br0"] {
            let broadcaster = Broadcaster::<str>::open(&on(name)).unwrap();
            assert_eq!(broadcaster.interface().unwrap().name(), name);
            broadcaster.publish(name).unwrap();
        }
        let [first, last] = [next(&from_zero), next(&from_zero)];
        assert_eq!([first.payload, last.payload], ["br0"; 2]);
        assert_eq!(first.interface, zero.interface().unwrap().index());
        assert_eq!(payloads(&from_one, 2), ["br1"; 2]);
        assert!(from_zero.is_empty() && from_one.is_empty());
        // Linux hands a group's datagrams to every socket that joined it on any
        // interface: what is not the listener's is counted, and goes no further.
        let statistics = zero.statistics();
        assert_eq!(statistics.foreign.other_interface, 2);
        assert_eq!(statistics.foreign.other_group, 0);
        assert_eq!(statistics.wire.datagrams_fed, 2);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn publishing_fails_while_the_interface_is_down_and_goes_on_when_it_is_back() {
    in_network(|network| {
        let (_listener, queue) = typed_listener::<u32>();
        let broadcaster = Broadcaster::<u32>::open(&connection()).unwrap();
        broadcaster.publish(&1).unwrap();
        network.ip(&["link", "set", "br0", "down"]).unwrap();
        let error = broadcaster.publish(&2).unwrap_err();
        assert!(matches!(error, PublishError::Interface(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("ip link set dev br0 up"), "{text}");

        network.ip(&["link", "set", "br0", "up"]).unwrap();
        network.wait_until_ready("br0").unwrap();
        broadcaster.publish(&3).unwrap();
        assert_eq!([next(&queue).payload, next(&queue).payload], [1, 3]);
        let sent = broadcaster.statistics();
        assert_eq!((sent.messages, sent.failed, sent.datagrams), (2, 1, 2));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_lowered_mtu_begins_the_message_anew_in_shorter_datagrams() {
    in_network(|network| {
        let listener = RawListener::open(&connection()).unwrap();
        let queue = listener.queue();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        let sent = crate::support::noise(1, 300_000);
        broadcaster.publish(&sent).unwrap();
        network.ip(&["link", "set", "br0", "mtu", "1300"]).unwrap();
        broadcaster.publish(&sent).unwrap();
        for _ in 0..2 {
            let message = queue.recv_timeout(PATIENCE).unwrap();
            assert!(message.payload == sent);
        }
        assert_eq!(broadcaster.datagram_len(), Some(1300 - 48));
        assert_eq!(broadcaster.statistics().restarted, 1);
    });
}
