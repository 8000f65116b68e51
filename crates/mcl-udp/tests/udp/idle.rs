//! Nothing wakes while nothing arrives.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use mcl_testbed::tell;
use mcl_udp::{Pacing, Policy, QueueOptions, RawBroadcaster, RawListener};

use crate::support::{connection, eventually, holds_within, in_network, noise, start_child};

/// How long nothing happens.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn no_thread_of_an_idle_listener_wakes_in_ten_seconds() {
    in_network(|network| {
        let mut child = start_child(network, "idle", &[]);
        child.expect("threads: 6");
        child.expect("woken: []");
        child.finish();
    });
}

/// A child process of its own: it looks at its threads.
pub(crate) fn idle() {
    let listeners = [(); 2].map(|()| RawListener::open(&connection()).unwrap());
    let _queues = listeners.each_ref().map(RawListener::queue);
    let bounded = QueueOptions::default().with_policy(Policy::Block);
    for listener in &listeners {
        listener.subscribe(|_| {});
        listener.try_subscribe(bounded.clone(), |_| {}).unwrap();
        listener.subscribe_inline(|_| {});
    }
    let broadcaster = RawBroadcaster::builder(&connection()).pacing(Pacing::Auto);
    let broadcaster = broadcaster.open().unwrap();
    broadcaster.publish(&noise(1, 10)).unwrap();
    broadcaster.publish(&noise(2, 100_000)).unwrap();
    half_a_message();
    for listener in &listeners {
        eventually("two came and half a one is given up", || {
            let messages = listener.statistics().wire.messages;
            (messages.delivered, messages.expired) == (2, 1)
        });
    }
    stay_asleep();
}

/// Tells how many threads there are, and which of them wake while nothing arrives.
pub(crate) fn stay_asleep() {
    // The last callback may still have to go back to sleep, and a listener frees
    // memory a second after the last datagram.
    let mut before = switches();
    let settled = || {
        let earlier = std::mem::take(&mut before);
        thread::sleep(Duration::from_millis(1500));
        before = switches();
        earlier == before
    };
    holds_within(QUIET, settled);
    tell(format!("threads: {}", before.len()));
    thread::sleep(QUIET);
    let after = switches();
    let woken = after
        .iter()
        .filter(|(thread, count)| before.get(*thread) != Some(count));
    tell(format!("woken: {:?}", woken.collect::<Vec<_>>()));
}

/// Publishes a message of which only a part is sent.
fn half_a_message() {
    let pacing = Pacing::Rate {
        bytes_per_second: 1000,
        burst: 60_000,
    };
    let broadcaster = RawBroadcaster::builder(&connection()).pacing(pacing);
    let broadcaster = broadcaster.open().unwrap();
    let message = noise(3, 1 << 20);
    thread::scope(|scope| {
        let publishing = scope.spawn(|| broadcaster.publish(&message));
        eventually("a part is sent", || broadcaster.statistics().datagrams > 0);
        broadcaster.close();
        publishing.join().unwrap().unwrap_err();
    });
}

/// How often each thread of the library has gone to sleep, by thread id.
pub(crate) fn switches() -> BTreeMap<u32, u64> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let ids = threads.map(|it| it.unwrap().file_name().into_string().unwrap());
    ids.filter_map(|id| {
        let status = fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap();
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.map(|it| it.trim().to_owned()).unwrap()
        };
        value("Name:").starts_with("mcl-").then(|| {
            let count = value("voluntary_ctxt_switches:");
            (id.parse().unwrap(), count.parse().unwrap())
        })
    })
    .collect()
}
