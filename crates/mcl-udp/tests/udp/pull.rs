//! Receiving on the caller's thread, without one of the library's.

use std::fs;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mcl_testbed::Namespace;
use mcl_udp::{
    Broadcaster, Pacing, PullError, PullListener, RawBroadcaster, RawListener, RawPullListener,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::support::{PATIENCE, connection, eventually, in_network, noise, on};

/// After so long without datagrams buffers are freed.
const AT_REST: Duration = Duration::from_millis(1100);

fn pull() -> RawPullListener {
    RawPullListener::open(&connection()).unwrap()
}

/// Threads of this process that are the library's and listen.
fn listener_threads() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let name = |path: std::path::PathBuf| fs::read_to_string(path.join("comm"));
    threads
        .filter_map(|thread| name(thread.unwrap().path()).ok())
        .filter(|name| name.starts_with("mcl-listener"))
        .count()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn messages_of_all_sizes_come_in_order_and_the_account_is_exact() {
    in_network(|_| {
        let mut listener = pull();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        let sizes = [0, 1, 64, 1400, 1401, 9000, 300_000];
        for (seed, size) in sizes.into_iter().enumerate() {
            let number = broadcaster.publish(&noise(seed as u64, size)).unwrap();
            let message = listener.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(message.number, number);
            assert_eq!(message.payload, noise(seed as u64, size));
            assert_eq!(message.stream, broadcaster.stream());
        }
        assert_eq!(listener.try_recv().unwrap().map(|it| it.number), None);
        let account = listener.statistics();
        assert_eq!(
            account.wire.datagrams.accepted,
            broadcaster.statistics().datagrams
        );
        assert_eq!(account.wire.messages.delivered, sizes.len() as u64);
        assert_eq!(
            (account.messages_lost(), account.account().unclaimed),
            (0, 0)
        );
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_came_between_calls_is_there_at_the_next_one() {
    in_network(|_| {
        let mut listener = pull();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        for number in 0..100_u64 {
            broadcaster.publish(&number.to_le_bytes()).unwrap();
        }
        for number in 0..100_u64 {
            let message = listener.try_recv().unwrap().unwrap();
            assert_eq!(message.payload, number.to_le_bytes());
        }
        assert!(listener.try_recv().unwrap().is_none());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_is_foreign_after_a_rest_is_counted_and_the_next_message_comes() {
    in_network(|network| {
        network.bridge("br1").unwrap();
        let mut listener = RawPullListener::open(&on("br0")).unwrap();
        let here = RawBroadcaster::open(&on("br0")).unwrap();
        // What somebody else has joined there reaches this listener's socket.
        let _other = RawListener::open(&on("br1")).unwrap();
        let there = RawBroadcaster::open(&on("br1")).unwrap();
        let mut account = 0;
        for round in 0..2 {
            // So many that they are received several at a time.
            for number in 0..50_u8 {
                here.publish(&[number]).unwrap();
            }
            for number in 0..50_u8 {
                assert_eq!(listener.try_recv().unwrap().unwrap().payload, [number]);
            }
            // Buffers are freed meanwhile.
            std::thread::sleep(AT_REST);
            for _ in 0..40 {
                there.publish(b"foreign").unwrap();
                account += 1;
            }
            // A call looks through them for 10 ms, and to look at the interface meanwhile can take
            // longer than that, where the kernel takes namespaces of other tests down.
            eventually("all are counted", || {
                assert!(listener.try_recv().unwrap().is_none());
                listener.statistics().foreign.other_interface >= account
            });
            let statistics = listener.statistics();
            assert_eq!(statistics.foreign.other_interface, account, "round {round}");
            assert_eq!(statistics.wire.datagrams_fed, 50 * (round + 1));
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_nobody_wants_keeps_no_call_for_ever() {
    in_network(|_| {
        let mut listener = RawPullListener::builder(&connection())
            .topic("wanted")
            .open_pull()
            .unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let broadcaster = RawBroadcaster::builder(&connection())
                    .pacing(Pacing::None)
                    .open()
                    .unwrap();
                while !done.load(Ordering::Relaxed) {
                    let batch = (0..1000).map(|_| &b"unwanted"[..]);
                    broadcaster.publish_batch(batch).unwrap();
                }
            });
            let begun = Instant::now();
            for _ in 0..20 {
                assert!(listener.try_recv().unwrap().is_none());
                let timeout = Duration::from_millis(10);
                assert!(listener.recv_timeout(timeout).unwrap().is_none());
            }
            let took = begun.elapsed();
            done.store(true, Ordering::Relaxed);
            flood.join().unwrap();
            assert!(took < PATIENCE / 2, "{took:?}");
        });
        assert!(listener.statistics().wire.messages.filtered > 1000);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn waiting_ends_in_time_and_incomplete_messages_expire_meanwhile() {
    in_network(|_| {
        let mut listener = RawPullListener::builder(&connection())
            .expiry(Duration::from_millis(100))
            .open_pull()
            .unwrap();
        let pacing = Pacing::Rate {
            bytes_per_second: 1000,
            burst: 60_000,
        };
        let slow = RawBroadcaster::builder(&connection()).pacing(pacing);
        let slow = slow.open().unwrap();
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| slow.publish(&noise(1, 1 << 20)));
            let begun = Instant::now();
            let none = listener.recv_timeout(Duration::from_millis(500)).unwrap();
            assert!(none.is_none());
            let took = begun.elapsed();
            assert!(
                took >= Duration::from_millis(500) && took < PATIENCE,
                "{took:?}"
            );
            slow.close();
            publishing.join().unwrap().unwrap_err();
        });
        assert_eq!(listener.statistics().wire.messages.expired, 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_its_own_socket_had_no_room_for_is_not_waited_for() {
    in_network(|_| {
        // Four windows of sequence numbers, 100 ms long; the buffer holds some 5 ms of it.
        let sent = noise(1, 6 << 20);
        let pacing = Pacing::Rate {
            bytes_per_second: 60_000_000,
            burst: 100_000,
        };
        let broadcaster = RawBroadcaster::builder(&connection()).pacing(pacing);
        let broadcaster = broadcaster.open().unwrap();
        let listener = RawPullListener::builder(&connection()).receive_buffer(212_992);
        let listener = listener.expiry(Duration::from_secs(600));
        let mut listener = listener.open_pull().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let frames = loop {
            let before = listener.statistics().wire;
            std::thread::scope(|scope| {
                let publishing = scope.spawn(|| broadcaster.publish(&sent));
                std::thread::sleep(Duration::from_millis(30));
                while !publishing.is_finished() {
                    listener.recv_timeout(Duration::from_millis(1)).unwrap();
                }
                publishing.join().unwrap().unwrap();
            });
            while listener.try_recv().unwrap().is_some() {}
            let after = listener.statistics().wire;
            // Else nothing came after the hole: the machine was busy with something else.
            if after.messages.stranded > before.messages.stranded {
                break [before.frames, after.frames];
            }
            assert!(Instant::now() < deadline, "{after:#?}");
        };
        let [stored, refused] = [
            frames.map(|it| it.fragment_stored),
            frames.map(|it| it.fragment_of_finished),
        ];
        // It was known with the first datagram after the hole, not a window later.
        assert!(stored[1] - stored[0] < 1024, "{frames:#?}");
        assert!(refused[1] > refused[0], "{frames:#?}");
        assert_eq!(listener.statistics().wire.messages.completed, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn values_topics_and_ignored_streams() {
    in_network(|_| {
        let mut listener = PullListener::<u32>::builder(&connection())
            .topic("wanted")
            .open_pull()
            .unwrap();
        let typed = Broadcaster::<u32>::builder(&connection()).topic("wanted");
        let typed = typed.open().unwrap();
        let text = Broadcaster::<str>::builder(&connection()).topic("wanted");
        let text = text.open().unwrap();
        let own = Broadcaster::<u32>::builder(&connection()).topic("wanted");
        let own = own.open().unwrap();
        listener.ignore(own.stream());
        own.publish(&1).unwrap();
        typed.publish_to("unwanted", &2).unwrap();
        text.publish("no number").unwrap();
        typed.publish(&3).unwrap();
        match listener.recv() {
            Err(PullError::Undecodable(error)) => assert_eq!(error.message.stream, text.stream()),
            other => panic!("{other:?}"),
        }
        assert_eq!(listener.recv().unwrap().payload, 3);
        let account = listener.statistics();
        assert_eq!(account.wire.messages.filtered, 1);
        assert_eq!(account.wire.datagrams.ignored_stream, 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn its_descriptor_is_readable_when_a_message_is_there() {
    in_network(|_| {
        let mut listener = pull();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        let readable = |listener: &RawPullListener, timeout: u16| {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(timeout)).unwrap() == 1
        };
        assert!(!readable(&listener, 0));
        broadcaster.publish(b"here").unwrap();
        assert!(readable(&listener, 10_000));
        assert_eq!(listener.try_recv().unwrap().unwrap().payload, "here");
        assert!(listener.try_recv().unwrap().is_none());
        assert!(!readable(&listener, 0));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn it_has_no_thread_and_hears_while_its_interface_goes_down_and_up() {
    crate::support::alone_in_network(|network: &Namespace| {
        let before = listener_threads();
        let mut listener = pull();
        assert_eq!(listener_threads(), before);
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        network.ip(&["link", "set", "br0", "down"]).unwrap();
        let quiet = listener.recv_timeout(Duration::from_millis(20));
        assert!(
            matches!(quiet, Ok(None) | Err(PullError::Receive(_))),
            "{quiet:?}"
        );
        network.ip(&["link", "set", "br0", "up"]).unwrap();
        broadcaster.publish(b"back").unwrap();
        let message = listener.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(message.payload, "back");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn spinning_delivers_closes_and_goes_to_sleep_after_its_time() {
    in_network(|_| {
        let always = RawListener::builder(&connection())
            .spin(Duration::MAX)
            .open()
            .unwrap();
        let briefly = RawListener::builder(&connection())
            .spin(Duration::from_millis(5))
            .open()
            .unwrap();
        let mut pull = RawPullListener::builder(&connection())
            .spin(Duration::from_millis(5))
            .open_pull()
            .unwrap();
        let inboxes = [always.queue(), briefly.queue()];
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        for round in 0..3 {
            broadcaster.publish(&noise(round, 100_000)).unwrap();
            for inbox in &inboxes {
                let message = inbox.recv_timeout(PATIENCE).unwrap();
                assert_eq!(message.payload, noise(round, 100_000));
            }
            let message = pull.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(message.payload, noise(round, 100_000));
            // Longer than two of them spin.
            std::thread::sleep(Duration::from_millis(30));
        }
        assert!(
            pull.recv_timeout(Duration::from_millis(20))
                .unwrap()
                .is_none()
        );
        assert!(always.close() && briefly.close());
    });
}
