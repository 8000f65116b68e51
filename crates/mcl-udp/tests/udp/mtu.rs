//! The link's MTU falls while messages are under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mcl_udp::RawBroadcaster;

use crate::support::{connection, eventually, in_network, next, noise, raw_listener};

/// Long enough to be under way for some 120 ms as paced.
const LARGE: usize = 4 << 20;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_message_under_way_begins_anew_in_shorter_datagrams() {
    in_network(|network| {
        let (listener, queue) = raw_listener();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        assert_eq!(broadcaster.datagram_len(), Some(1452));
        let payload = noise(1, LARGE);
        let lowered = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Some messages before the change, one in the middle of it, some after.
                let mut after = 0;
                while after < 3 {
                    after += u32::from(lowered.load(Ordering::SeqCst));
                    broadcaster.publish(&payload).unwrap();
                }
            });
            thread::sleep(Duration::from_millis(300));
            network
                .ip(&["link", "set", "dev", "br0", "mtu", "1400"])
                .unwrap();
            lowered.store(true, Ordering::SeqCst);
        });
        assert_eq!(broadcaster.datagram_len(), Some(1352));
        assert_eq!(broadcaster.offload(), Some(true));
        let sent = broadcaster.statistics();
        assert_eq!(sent.failed, 0);
        // What was begun and begun anew has a number that never completes.
        assert!(sent.numbers - sent.messages <= sent.restarted, "{sent:?}");

        let mut arrived = 0;
        while let Ok(message) = queue.recv_timeout(Duration::from_millis(1500)) {
            assert_eq!(message.payload, payload);
            arrived += 1;
        }
        let account = listener.statistics();
        assert_eq!(
            arrived + account.messages_lost(),
            sent.numbers,
            "{account:#?}"
        );
        assert!(arrived >= 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_a_router_says_of_the_mtu_holds_for_ipv6_alone() {
    in_network(|network| {
        let (_listener, queue) = raw_listener();
        let before = RawBroadcaster::open(&connection()).unwrap();
        network.set_sysctl("net/ipv6/conf/br0/mtu", "1400").unwrap();
        let payload = noise(2, 300_000);
        before.publish(&payload).unwrap();
        assert_eq!(next(&queue).payload, payload);
        let after = RawBroadcaster::open(&connection()).unwrap();
        after.publish(&payload).unwrap();
        assert_eq!(next(&queue).payload, payload);
        for broadcaster in [before, after] {
            assert_eq!(broadcaster.datagram_len(), Some(1352));
            assert_eq!(broadcaster.offload(), Some(true));
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_raised_mtu_is_made_use_of_after_a_while() {
    in_network(|network| {
        network
            .ip(&["link", "set", "dev", "br0", "mtu", "1400"])
            .unwrap();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        assert_eq!(broadcaster.datagram_len(), Some(1352));
        network
            .ip(&["link", "set", "dev", "br0", "mtu", "1500"])
            .unwrap();
        eventually("the longer datagrams", || {
            broadcaster.publish(b"now and then").unwrap();
            thread::sleep(Duration::from_millis(100));
            broadcaster.datagram_len() == Some(1452)
        });
    });
}
