//! Listeners that are too slow, or do not run at all.

use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::Faults;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::payload::SHORTEST;
use crate::processes::{INLINE, PAUSE_MICROS, QUEUE, RECEIVE_BUFFER};
use crate::scenario::{Lab, Pair};
use crate::table::Row;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_slow_callback_loses_by_its_queue_alone() {
    let accounts = Lab::run(80, |lab| {
        let mut pair = Pair::start(lab, &[(QUEUE, "100"), (PAUSE_MICROS, "500")]);
        pair.publish(Faults::default(), 5000, 1000);
        pair.compare()
    });
    accounts.check_each_stream();
    accounts.check_causes();
    let heard = &accounts.heard;
    assert!(heard.dropped_newest > 0, "{accounts:#?}");
    assert!(heard.right >= 100, "{accounts:#?}");
    assert_eq!(
        heard.right + heard.dropped_newest + accounts.missing(),
        accounts.messages()
    );
    Row {
        scenario: "a callback of 500 us a message, its queue bounded to 100",
        sent: accounts.sent(1000),
        delivered: accounts.delivered(),
        counted: format!(
            "subscription's `dropped_newest` {}; `missing` {}",
            heard.dropped_newest,
            accounts.missing()
        ),
        recovery: "as soon as it keeps up".into(),
    }
    .print();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_slow_inline_callback_loses_in_the_kernel() {
    for (seed, (len, messages)) in (81..).zip([(1000, 3000), (64 << 10, 100)]) {
        let accounts = Lab::run(seed, |lab| {
            let slow = [
                (INLINE, "true"),
                (PAUSE_MICROS, "5000"),
                (RECEIVE_BUFFER, "16384"),
            ];
            let mut pair = Pair::start(lab, &slow);
            pair.publish(Faults::default(), messages, len);
            pair.compare()
        });
        accounts.check_each_stream();
        accounts.check_causes();
        let lost = accounts.kernel.buffer;
        assert!(lost > 0, "{accounts:#?}");
        assert_eq!(accounts.missing(), lost + accounts.cable.overflowed);
        Row {
            scenario: "an inline callback of 5 ms a message, 16 KiB receive buffer",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "kernel's `Udp6RcvbufErrors` {lost}: `missing` {}; messages incomplete {}",
                accounts.missing(),
                accounts.sum(|it| it.incomplete),
            ),
            recovery: "as soon as it keeps up".into(),
        }
        .print();
    }
}

/// Stops the listener in the middle, and lets it go on.
fn stopped(seed: u64, len: usize, each: u64) {
    let (accounts, recovery) = Lab::run(seed, |lab| {
        let mut pair = Pair::start(lab, &[(RECEIVE_BUFFER, "131072")]);
        let listener = Pid::from_raw(pair.listener.peer.id().cast_signed());
        pair.publish(Faults::default(), each, len);
        kill(listener, Signal::SIGSTOP).unwrap();
        pair.publish(Faults::default(), each, len);
        thread::sleep(Duration::from_millis(300));
        kill(listener, Signal::SIGCONT).unwrap();
        let begun = Instant::now();
        // Most of what came meanwhile is lost, but what comes from now on is not.
        let caught_up = pair.listener.until("what was kept is taken", |heard| {
            heard.queued == 0 && heard.right == heard.taken
        });
        // However long the gap was, the first one counts.
        pair.broadcaster.publish(1, SHORTEST);
        pair.listener.until("the first message after it", |heard| {
            heard.right > caught_up.right
        });
        let recovery = begun.elapsed();
        pair.publish(Faults::default(), each, len);
        (pair.compare(), recovery)
    });
    accounts.check_each_stream();
    accounts.check_causes();
    let lost = accounts.kernel.buffer;
    assert!(lost > 0, "{accounts:#?}");
    assert_eq!(accounts.missing(), lost + accounts.cable.overflowed);
    assert!(recovery.as_secs_f64() < 2.0, "{recovery:?}");
    Row {
        scenario: "a listener stopped (SIGSTOP) and continued, 128 KiB receive buffer",
        sent: accounts.sent(len),
        delivered: accounts.delivered(),
        counted: format!(
            "kernel's `Udp6RcvbufErrors` {lost}: `missing` {}",
            accounts.missing()
        ),
        recovery: format!(
            "at once ({:.0} ms to catch up and hear the next message)",
            recovery.as_secs_f64() * 1e3
        ),
    }
    .print();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_stopped_listener_goes_on_with_small_messages() {
    stopped(85, 1000, 2000);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_stopped_listener_goes_on_with_large_messages() {
    stopped(86, 64 << 10, 60);
    stopped(87, 1 << 20, 5);
}
