//! Interfaces that go away and come back, or come late: between two hosts, joined by a
//! virtual cable `v0`.

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mcl_testbed::{Dad, Namespace, tell};
use mcl_udp::{
    Broadcaster, BroadcasterStatistics, Connection, Event, Events, InterfaceChoice, Listener,
    ListenerStatistics, OpenError, PublishError, PullListener, Queue, RawListener,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::idle::stay_asleep;
use crate::support::{
    PATIENCE, alone_in_network, connection, eventually, in_empty_network, in_network, start_child,
};

/// Within what time of a usable address delivery resumes.
const RESUMES: Duration = Duration::from_secs(2);

/// The group of most tests, and a link-local one.
const GROUPS: [&str; 2] = ["ff15::c73d:cf41:ea8e:b0a0", "ff12::c73d:cf41:ea8e:b0a0"];

fn on(group: &str, interface: &str) -> Connection {
    let choice: InterfaceChoice = interface.parse().unwrap();
    Connection::new(group).unwrap().with_interface(choice)
}

/// Runs a test on one of two hosts that a cable joins.
fn beside_a_peer(test: impl FnOnce(&Namespace, &Namespace) + Send) {
    in_empty_network(|here| {
        let peer = Namespace::new().unwrap();
        Namespace::veth(here, "v0", &peer, "v0").unwrap();
        test(here, &peer);
    });
}

/// Publishes 0, 1, 2, ... on a host of its own choice, whatever becomes of it.
struct Ticker {
    stop: Arc<AtomicBool>,
    /// The last number that was published well.
    said: Arc<AtomicU64>,
    thread: JoinHandle<(BroadcasterStatistics, Vec<Event>)>,
}

impl Ticker {
    fn start(broadcaster: Broadcaster<u64>) -> Self {
        let (stop, said) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, say) = (Arc::clone(&stop), Arc::clone(&said));
        let events = broadcaster.events();
        let work = move || {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                number += 1;
                match broadcaster.publish(&number) {
                    Ok(_) => say.store(number, Ordering::SeqCst),
                    Err(PublishError::Interface(_)) => {}
                    // Told by who publishes with others of the same train.
                    Err(PublishError::Unsent { source, .. })
                        if matches!(*source, PublishError::Interface(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
                thread::sleep(Duration::from_millis(2));
            }
            // The last one tells the listener what it has not got.
            broadcaster.publish(&u64::MAX).unwrap();
            let _ = broadcaster.flush();
            let mut told = Vec::new();
            while let Some(event) = events.try_recv() {
                told.push(event);
            }
            (broadcaster.statistics(), told)
        };
        Self {
            stop,
            said,
            thread: thread::spawn(work),
        }
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    fn finish(self) -> (BroadcasterStatistics, Vec<Event>) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Opens a broadcaster on a host and has it publish.
fn ticker(host: &Namespace, connection: &Connection) -> Ticker {
    host.run(|| Ticker::start(Broadcaster::open(connection).unwrap()))
}

/// Takes numbers until one is above `floor`, in time; they only ever rise.
#[track_caller]
fn resumes(queue: &Queue<u64>, heard: &mut u64, floor: u64) {
    let deadline = Instant::now() + RESUMES;
    while *heard <= floor {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = queue.recv_timeout(left);
        let number = message.expect("it does not resume in time").payload;
        assert!(number > *heard, "{number} after {heard}");
        *heard = number;
    }
}

/// The account of the broadcaster and that of the listener, compared.
#[track_caller]
fn agree(sent: &BroadcasterStatistics, got: &ListenerStatistics) {
    let datagrams = got.wire.datagrams.accepted + got.datagrams_missing();
    assert_eq!(datagrams, sent.datagrams, "{sent:#?} {got:#?}");
    let messages = got.wire.messages.delivered + got.messages_lost();
    assert_eq!(messages, sent.numbers, "{sent:#?} {got:#?}");
    assert_eq!(got.receive_errors, 0);
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    let kind = |event: &Event| match event {
        Event::InterfaceLost { .. } => "lost",
        Event::InterfaceBack { rejoined: true, .. } => "rejoined",
        Event::InterfaceBack { .. } => "back",
        Event::StreamStarted { .. } => "started",
        _ => "other",
    };
    events.iter().map(kind).collect()
}

fn all(events: &Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv()).collect()
}

/// What a fault left behind.
struct Outcome {
    sent: BroadcasterStatistics,
    sender_events: Vec<Event>,
    got: ListenerStatistics,
    events: Vec<Event>,
}

/// Publishes from `peer` while `fault` happens and is mended; whatever is said after
/// that must be heard in time, and the accounts must agree.
fn through(
    ticker: Ticker,
    listener: &Listener<u64>,
    queue: &Queue<u64>,
    fault: impl FnOnce(),
    mend: impl FnOnce(),
) -> Outcome {
    let events = listener.events();
    let mut heard = 0;
    // All that is told of the beginning, is told.
    resumes(queue, &mut heard, ticker.said() + 20);
    fault();
    thread::sleep(Duration::from_millis(300));
    mend();
    // What is said from here on, is heard.
    resumes(queue, &mut heard, ticker.said());
    let (sent, sender_events) = ticker.finish();
    while heard != u64::MAX {
        let last = queue.recv_timeout(PATIENCE).unwrap();
        assert!(last.payload > heard);
        heard = last.payload;
    }
    eventually("it is told", || listener.interface().is_some());
    let got = listener.statistics();
    agree(&sent, &got);
    Outcome {
        sent,
        sender_events,
        got,
        events: all(&events),
    }
}

fn listen(connection: &Connection) -> (Listener<u64>, Queue<u64>) {
    let listener = Listener::open(connection).unwrap();
    let queue = listener.queue();
    (listener, queue)
}

fn ready(hosts: [&Namespace; 2]) {
    for host in hosts {
        host.wait_until_ready("v0").unwrap();
    }
}

/// Listens here and publishes from `peer` while the interface of `host` goes down and up.
fn down_and_up(
    host: &Namespace,
    [here, peer]: [&Namespace; 2],
    connection: &Connection,
) -> Outcome {
    let (listener, queue) = listen(connection);
    through(
        ticker(peer, connection),
        &listener,
        &queue,
        || drop(host.ip(&["link", "set", "v0", "down"]).unwrap()),
        || {
            host.ip(&["link", "set", "v0", "up"]).unwrap();
            ready([here, peer]);
        },
    )
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_down_and_up_on_the_listeners_side() {
    for group in GROUPS {
        beside_a_peer(|here, peer| {
            let outcome = down_and_up(here, [here, peer], &on(group, "v0"));
            assert_eq!(kinds(&outcome.events), ["started", "lost", "back"]);
            assert!(outcome.got.datagrams_missing() > 0);
            let changes = outcome.got.interface;
            assert_eq!((changes.lost, changes.back, changes.rejoined), (1, 1, 0));
            assert_eq!(changes.failed, 0);
        });
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_down_and_up_on_the_broadcasters_side() {
    for group in GROUPS {
        beside_a_peer(|here, peer| {
            let outcome = down_and_up(peer, [here, peer], &on(group, "v0"));
            assert!(outcome.sent.failed > 0);
            assert_eq!(kinds(&outcome.sender_events), ["lost", "back"]);
            // What failed was not sent, and is not missing: only what the interface took
            // while it went down, and threw away (net/sched/sch_generic.c, `noop_enqueue`).
            let missing = outcome.got.datagrams_missing();
            let dropped = transmit_drops(peer, "v0");
            assert!(missing <= dropped, "{missing} missing, {dropped} dropped");
        });
    }
}

/// What the interface took to send, and dropped, since it is there.
fn transmit_drops(host: &Namespace, interface: &str) -> u64 {
    let told = host.ip(&["-json", "-statistics", "link", "show", "dev", interface]);
    let links: serde_json::Value = serde_json::from_str(&told.unwrap()).unwrap();
    let drops = &links[0]["stats64"]["tx"]["dropped"];
    drops.as_u64().expect("a number of drops")
}

/// Deletes the cable, and lays another one, whose ends have other indices.
fn recreate(here: &Namespace, peer: &Namespace) {
    // An index of its own for each end.
    for host in [here, peer] {
        host.ip(&["link", "add", "spare", "type", "bridge"])
            .unwrap();
        host.ip(&["link", "del", "spare"]).unwrap();
    }
    Namespace::veth(here, "v0", peer, "v0").unwrap();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_deleted_and_recreated_on_both_sides_however_it_was_chosen() {
    for group in GROUPS {
        beside_a_peer(|here, peer| {
            for choice in ["v0", "system", "index"] {
                let indices = || [here, peer].map(|host| host.index("v0").unwrap());
                let before = indices();
                let by_index = before[0].to_string();
                let choice = if choice == "index" { &by_index } else { choice };
                let (listener, queue) = listen(&on(group, choice));
                let outcome = through(
                    ticker(peer, &on(group, "v0")),
                    &listener,
                    &queue,
                    || drop(here.ip(&["link", "del", "v0"]).unwrap()),
                    || recreate(here, peer),
                );
                let after = indices();
                assert!(after[0] != before[0] && after[1] != before[1]);
                assert_eq!(listener.interface().unwrap().index().get(), after[0]);
                assert_eq!(kinds(&outcome.events), ["started", "lost", "rejoined"]);
                assert_eq!(kinds(&outcome.sender_events), ["lost", "rejoined"]);
                assert_eq!(outcome.sent.interface.rejoined, 1);
                assert_eq!(outcome.got.interface.rejoined, 1);
                assert_eq!(outcome.got.wire.streams_started, 1);
            }
        });
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_recreated_under_the_very_index_it_had() {
    in_network(|network| {
        let (listener, queue) = listen(&on(GROUPS[0], "br0"));
        let index = network.index("br0").unwrap().to_string();
        let outcome = through(
            ticker(network, &on(GROUPS[0], "br0")),
            &listener,
            &queue,
            || drop(network.ip(&["link", "del", "br0"]).unwrap()),
            || {
                let add = ["link", "add", "br0", "index", &index, "type", "bridge"];
                network.ip(&add).unwrap();
                network.ip(&["link", "set", "br0", "up"]).unwrap();
                network.wait_until_ready("br0").unwrap();
            },
        );
        assert_eq!(outcome.got.interface.rejoined, 1);
        assert_eq!(kinds(&outcome.events), ["started", "lost", "rejoined"]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn delivery_the_other_way_resumes_as_well() {
    beside_a_peer(|here, peer| {
        // Listener and broadcaster on each side, of groups of their own.
        let ways = [(here, peer, GROUPS[0]), (peer, here, GROUPS[1])];
        let mut open = Vec::new();
        for (from, to, group) in ways {
            let (listener, queue) = to.run(|| listen(&on(group, "v0")));
            let ticker = ticker(from, &on(group, "v0"));
            let mut heard = 0;
            resumes(&queue, &mut heard, 20);
            open.push((listener, queue, ticker, heard));
        }
        here.ip(&["link", "del", "v0"]).unwrap();
        thread::sleep(Duration::from_millis(300));
        recreate(here, peer);
        for (_, queue, ticker, heard) in &mut open {
            resumes(queue, heard, ticker.said());
        }
        for (listener, queue, ticker, _) in open {
            let (sent, _) = ticker.finish();
            while queue.recv_timeout(PATIENCE).unwrap().payload != u64::MAX {}
            agree(&sent, &listener.statistics());
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn addresses_removed_and_added_again() {
    beside_a_peer(|here, peer| {
        let own = ["address", "add", "fd34::7/64", "dev", "v0", "nodad"];
        here.ip(&own).unwrap();
        let (listener, queue) = listen(&on(GROUPS[0], "fd34::7"));
        let outcome = through(
            ticker(peer, &on(GROUPS[0], "v0")),
            &listener,
            &queue,
            || {
                for host in [here, peer] {
                    host.ip(&["-6", "address", "flush", "dev", "v0"]).unwrap();
                }
                eventually("the loss is noticed", || listener.interface().is_none());
            },
            || {
                for (host, last) in [(here, 1), (peer, 2)] {
                    let address = format!("fe80::{last}/64");
                    let add = ["address", "add", &address, "dev", "v0", "nodad"];
                    host.ip(&add).unwrap();
                }
                here.ip(&own).unwrap();
            },
        );
        assert!(outcome.sent.failed > 0);
        assert_eq!(kinds(&outcome.events), ["started", "lost", "back"]);
        assert_eq!(kinds(&outcome.sender_events), ["lost", "back"]);
        assert_eq!(outcome.got.datagrams_missing(), 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_address_that_moves_is_followed_by_both() {
    in_network(|network| {
        network.bridge("br1").unwrap();
        let address = |verb: &str, name: &str| {
            let words = ["address", verb, "fd34::7/64", "dev", name];
            network.ip(&words).unwrap();
        };
        address("add", "br0");
        let connection = on(GROUPS[0], "fd34::7");
        let (listener, queue) = listen(&connection);
        let outcome = through(
            ticker(network, &connection),
            &listener,
            &queue,
            || address("del", "br0"),
            || {
                address("add", "br1");
                // Who follows first is alone there for a moment.
                eventually("the listener follows", || {
                    let interface = listener.interface();
                    interface.is_some_and(|interface| interface.name() == "br1")
                });
            },
        );
        assert_eq!(outcome.got.interface.rejoined, 1);
        assert_eq!(outcome.sent.interface.rejoined, 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_membership_that_a_small_mtu_ended_is_renewed() {
    beside_a_peer(|here, peer| {
        let (listener, queue) = listen(&on(GROUPS[0], "v0"));
        let mtu = |value| drop(here.ip(&["link", "set", "v0", "mtu", value]).unwrap());
        let outcome = through(
            ticker(peer, &on(GROUPS[0], "v0")),
            &listener,
            &queue,
            || {
                mtu("1000");
                mtu("1500");
            },
            || ready([here, peer]),
        );
        assert_eq!(outcome.got.interface.rejoined, 1);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn notices_that_the_kernel_could_not_deliver_have_the_group_joined_anew() {
    in_network(|network| {
        let (listener, queue) = listen(&on(GROUPS[0], "br0"));
        let (held, running) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (holds, runs) = (Arc::clone(&held), Arc::clone(&running));
        listener.subscribe_inline(move |_| {
            runs.store(true, Ordering::SeqCst);
            while !holds.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let broadcaster = Broadcaster::<u64>::open(&on(GROUPS[0], "br0")).unwrap();
        broadcaster.publish(&1).unwrap();
        eventually("the receiving thread is held up", || {
            running.load(Ordering::SeqCst)
        });
        // More than its netlink socket holds, and none of them worth a new join.
        let lines = (0..2000).map(|at| format!("link set dev br0 alias name{at}\n"));
        let path = std::env::temp_dir().join(format!("mcl-notices-{}", std::process::id()));
        fs::write(&path, lines.collect::<String>()).unwrap();
        network.ip(&["-batch", path.to_str().unwrap()]).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(listener.statistics().interface.rejoined, 0);
        held.store(true, Ordering::SeqCst);
        eventually("it has joined", || {
            listener.statistics().interface.rejoined == 1
        });
        broadcaster.publish(&2).unwrap();
        resumes(&queue, &mut 0, 1);
        agree(&broadcaster.statistics(), &listener.statistics());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn coalesced_messages_go_on_after_the_interface_was_recreated() {
    beside_a_peer(|here, peer| {
        let (listener, queue) = listen(&on(GROUPS[0], "v0"));
        let ticker = peer.run(|| {
            let builder = Broadcaster::<u64>::builder(&on(GROUPS[0], "v0"));
            let builder = builder.coalesce(Duration::from_millis(5));
            Ticker::start(builder.open().unwrap())
        });
        let outcome = through(
            ticker,
            &listener,
            &queue,
            || drop(here.ip(&["link", "del", "v0"]).unwrap()),
            || recreate(here, peer),
        );
        // They had been accepted: their numbers are missing.
        assert!(outcome.sent.unsent > 0);
        assert!(outcome.got.messages_lost() >= outcome.sent.unsent);
        assert_eq!(kinds(&outcome.sender_events), ["lost", "rejoined"]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_first_publish_after_the_recreation_goes_out_while_the_address_is_tentative() {
    beside_a_peer(|here, peer| {
        let (_listener, queue) = listen(&on(GROUPS[0], "v0"));
        let broadcaster = peer.run(|| Broadcaster::<u64>::open(&on(GROUPS[0], "v0")).unwrap());
        peer.run(|| broadcaster.publish(&1).unwrap());
        assert_eq!(queue.recv_timeout(PATIENCE).unwrap().payload, 1);
        let stream = broadcaster.stream();
        peer.ip(&["link", "del", "v0"]).unwrap();
        let error = peer.run(|| broadcaster.publish(&2).unwrap_err());
        assert!(matches!(error, PublishError::Interface(_)), "{error:?}");
        assert!(peer.run(|| broadcaster.interface()).is_none());
        Namespace::veth_with(Dad::On, peer, "v0", here, "v0").unwrap();
        eventually("a tentative address", || {
            let shown = peer.ip(&["-6", "addr", "show", "dev", "v0"]).unwrap();
            shown.contains("tentative")
        });
        let error = peer.run(|| broadcaster.try_publish(&3).unwrap_err());
        assert!(matches!(error, PublishError::WouldBlock), "{error:?}");
        peer.run(|| broadcaster.publish(&4).unwrap());
        let message = queue.recv_timeout(RESUMES).unwrap();
        assert_eq!(
            (message.payload, message.stream, message.number),
            (4, stream, 1)
        );
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn both_may_be_opened_before_their_interface_exists() {
    for group in GROUPS {
        in_empty_network(|here| {
            let peer = Namespace::new().unwrap();
            let connection = on(group, "v0");
            let error = Listener::<u64>::open(&connection).unwrap_err();
            assert!(matches!(error, OpenError::Interface(_)), "{error:?}");
            let builder = Listener::<u64>::builder(&connection);
            let listener = builder.await_interface().open().unwrap();
            let (queue, events) = (listener.queue(), listener.events());
            assert_eq!(listener.interface(), None);
            assert_eq!(listener.statistics().kernel_drops, Some(0));
            let ticker = peer.run(|| {
                let builder = Broadcaster::<u64>::builder(&connection);
                let broadcaster = builder.await_interface().hops(1).open().unwrap();
                let error = broadcaster.publish(&0).unwrap_err();
                assert!(matches!(error, PublishError::Interface(_)), "{error:?}");
                let text = error.to_string();
                assert!(
                    text.contains("v0") && text.contains("there is none such"),
                    "{text}"
                );
                Ticker::start(broadcaster)
            });
            thread::sleep(Duration::from_millis(300));
            Namespace::veth(here, "v0", &peer, "v0").unwrap();
            resumes(&queue, &mut 0, ticker.said());
            let (sent, sender_events) = ticker.finish();
            while queue.recv_timeout(PATIENCE).unwrap().payload != u64::MAX {}
            let got = listener.statistics();
            // What came before the listener had joined is not its to miss.
            assert!(got.wire.datagrams.accepted <= sent.datagrams);
            assert_eq!(got.datagrams_missing(), 0);
            assert_eq!(kinds(&all(&events))[0], "rejoined");
            assert_eq!(kinds(&sender_events), ["rejoined"]);
            assert_eq!(listener.interface().unwrap().name(), "v0");
        });
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn opening_waits_for_the_interface_as_long_as_it_may() {
    in_empty_network(|network| {
        let connection = connection();
        let brief = Duration::from_millis(100);
        let open = |time| {
            RawListener::builder(&connection)
                .wait_for_interface(time)
                .open()
        };
        assert!(matches!(open(brief), Err(OpenError::Interface(_))));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(brief);
                network.bridge("br0").unwrap();
            });
            network.run(|| {
                let listener = open(PATIENCE).unwrap();
                assert_eq!(listener.interface().unwrap().name(), "br0");
                let builder = Broadcaster::<u64>::builder(&connection);
                builder.wait_for_interface(Duration::MAX).open().unwrap();
            });
        });
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_automatic_choice_does_not_hop_to_another_network() {
    in_network(|network| {
        let (listener, _queue) = listen(&connection());
        let broadcaster = Broadcaster::<u64>::open(&connection()).unwrap();
        broadcaster.publish(&1).unwrap();
        network.bridge("br1").unwrap();
        network.ip(&["link", "del", "br0"]).unwrap();
        eventually("the loss is noticed", || listener.interface().is_none());
        thread::sleep(Duration::from_millis(200));
        assert_eq!(listener.interface(), None);
        let error = broadcaster.publish(&2).unwrap_err();
        assert!(matches!(error, PublishError::Interface(_)), "{error:?}");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_descriptor_of_a_pull_listener_outlives_its_socket() {
    beside_a_peer(|here, peer| {
        let connection = on(GROUPS[1], "v0");
        let mut listener = PullListener::<u64>::open(&connection).unwrap();
        let events = listener.events();
        let ticker = ticker(peer, &connection);
        let mut heard = 0;
        let mut idle_turns = 0;
        // An event loop that knows nothing but its descriptor.
        let mut until = |listener: &mut PullListener<u64>, heard: &mut u64, floor: u64, time| {
            let deadline = Instant::now() + time;
            while *heard <= floor && Instant::now() < deadline {
                let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(100_u8)).unwrap();
                idle_turns += 1;
                while let Some(message) = listener.try_recv().unwrap() {
                    assert!(message.payload > *heard);
                    *heard = message.payload;
                    idle_turns -= 1;
                }
            }
            *heard > floor
        };
        assert!(until(&mut listener, &mut heard, 20, PATIENCE));
        here.ip(&["link", "del", "v0"]).unwrap();
        let away = Duration::from_millis(500);
        assert!(!until(&mut listener, &mut heard, u64::MAX, away));
        assert_eq!(listener.interface(), None);
        recreate(here, peer);
        assert!(until(&mut listener, &mut heard, ticker.said(), RESUMES));
        let (sent, _) = ticker.finish();
        assert!(until(&mut listener, &mut heard, u64::MAX - 1, PATIENCE));
        agree(&sent, &listener.statistics());
        assert_eq!(kinds(&all(&events)), ["started", "lost", "rejoined"]);
        // Nor does it turn for nothing: a level that nobody takes would be thousands.
        assert!(idle_turns < 1000, "{idle_turns}");
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn nothing_is_left_of_twenty_recreations() {
    alone_in_network(|network| {
        let connection = on(GROUPS[1], "br0");
        let (listener, queue) = listen(&connection);
        let mut pull = PullListener::<u64>::open(&connection).unwrap();
        let broadcaster = Broadcaster::<u64>::open(&connection).unwrap();
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = descriptors();
        for round in 0..20 {
            network.ip(&["link", "del", "br0"]).unwrap();
            assert!(pull.try_recv().unwrap().is_none());
            broadcaster.publish(&0).unwrap_err();
            network.bridge("br0").unwrap();
            eventually("it has joined", || listener.interface().is_some());
            eventually("so has the other", || {
                assert!(pull.try_recv().unwrap().is_none());
                pull.interface().is_some()
            });
            broadcaster.publish(&round).unwrap();
            assert_eq!(queue.recv_timeout(RESUMES).unwrap().payload, round);
            let pulled = pull.recv_timeout(RESUMES).unwrap().unwrap();
            assert_eq!(pulled.payload, round);
        }
        // One is open while an interface is looked at.
        eventually("no descriptor is left", || descriptors() == before);
        let got = listener.statistics();
        agree(&broadcaster.statistics(), &got);
        assert_eq!((got.interface.rejoined, got.datagrams_missing()), (20, 0));
        assert_eq!(got.kernel_drops, Some(0));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn drops_and_settings_of_the_kernel_are_kept() {
    in_network(|network| {
        let builder = RawListener::builder(&on(GROUPS[0], "br0")).receive_buffer(64 << 10);
        let listener = builder.open().unwrap();
        let events = listener.events();
        // What holds the receiving thread up makes the kernel drop.
        let held = Arc::<AtomicBool>::default();
        let holds = Arc::clone(&held);
        listener.subscribe_inline(move |_| {
            while !holds.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let broadcaster = Broadcaster::<Vec<u8>>::open(&on(GROUPS[0], "br0")).unwrap();
        for _ in 0..1000 {
            broadcaster.publish(&vec![1; 1000]).unwrap();
        }
        held.store(true, Ordering::SeqCst);
        eventually("all that was kept is heard", || {
            let account = listener.statistics();
            account.wire.datagrams.accepted + account.kernel_drops.unwrap() == 1000
        });
        let before = listener.statistics();
        let drops = before.kernel_drops.unwrap();
        assert!(drops > 0);
        network.ip(&["link", "del", "br0"]).unwrap();
        network.bridge("br0").unwrap();
        eventually("it has joined", || {
            listener.statistics().interface.rejoined == 1
        });
        broadcaster.publish(&vec![2; 1000]).unwrap();
        let sent = broadcaster.statistics();
        eventually("the last one is heard", || {
            let got = listener.statistics();
            got.wire.datagrams.accepted + got.datagrams_missing() == sent.datagrams
        });
        let after = listener.statistics();
        assert_eq!(after.kernel_drops, Some(drops));
        assert_eq!(after.receive_buffer, before.receive_buffer);
        agree(&sent, &after);
        let total = loop {
            match events.recv_timeout(PATIENCE).unwrap() {
                Event::KernelDropped { total, .. } => break total,
                _ => continue,
            }
        };
        assert_eq!(total, drops);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn no_thread_of_a_listener_wakes_while_its_interface_is_away() {
    in_network(|network| {
        let mut child = start_child(network, "away", &[]);
        child.expect("threads: 2");
        child.expect("woken: []");
        child.finish();
    });
}

/// A child process of its own: it looks at its threads.
pub(crate) fn away() {
    let (listener, _queue) = listen(&on(GROUPS[0], "br0"));
    let builder = RawListener::builder(&on(GROUPS[0], "never"));
    let awaiting = builder.await_interface().open().unwrap();
    let deleted = Command::new("ip").args(["link", "del", "br0"]).status();
    if !deleted.unwrap().success() {
        tell("cannot delete it");
    }
    eventually("it is away", || listener.interface().is_none());
    stay_asleep();
    assert_eq!(awaiting.statistics().receive_errors, 0);
    assert_eq!(listener.statistics().interface.failed, 0);
}
