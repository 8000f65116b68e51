//! Broadcasters that die in the middle, and such whose MTU falls.

use std::thread;
use std::time::{Duration, Instant};

use crate::payload::SHORTEST;
use crate::processes::Sent;
use crate::scenario::{Accounts, Broadcasting, Lab, Pair};
use crate::table::Row;

/// Kills a broadcaster in the middle of its messages and starts another one,
/// which publishes so many.
fn killed_and_restarted(seed: u64, len: usize, messages: u64) {
    let (accounts, first, recovery) = Lab::run(seed, |lab| {
        let mut pair = Pair::start(lab, &[]);
        let first = pair.broadcaster.sent.stream;
        // More than it will get to.
        pair.broadcaster.begin_to_publish(1_000_000, len);
        pair.listener
            .until("it is in the middle", |heard| heard.traffic > 2);
        // It sleeps after a message, and large ones take longer than this.
        thread::sleep(Duration::from_millis(25));
        pair.broadcaster.peer.kill().unwrap();
        let killed = lab.settle().taken;

        let mut second = Broadcasting::start(lab, 2, &[]);
        let begun = Instant::now();
        second.publish(1, SHORTEST);
        pair.listener
            .until("the new stream is heard", |heard| heard.senders == 2);
        let recovery = begun.elapsed();
        second.publish(messages, len);
        let cable = lab.settle();
        // A killed process leaves no account; what it sent is what the cable saw.
        let dead = Sent {
            stream: first,
            datagrams: killed,
            ..Sent::default()
        };
        let sent = vec![dead, second.end()];
        let accounts = Accounts::compare(lab, sent, cable, &mut pair.listener);
        pair.listener.end();
        (accounts, first, recovery)
    });
    accounts.check_causes();
    check_streams(&accounts, first);
    assert!(recovery.as_secs_f64() < 2.0, "{recovery:?}");
    let dead = accounts.stream(first);
    // Its first message is a mark.
    let of_second = accounts.stream(accounts.sent[1].stream).delivered - 1;
    Row {
        scenario: "a broadcaster killed (SIGKILL) in the middle and restarted",
        sent: format!(
            "{len} B each: until killed {} datagrams, then {messages} messages",
            accounts.sent[0].datagrams
        ),
        delivered: format!(
            "{} of the old stream, {} of {messages} of the new one",
            accounts.heard.traffic - of_second,
            of_second,
        ),
        counted: format!(
            "messages incomplete {} (`expired`); `missing` {}; a second stream",
            dead.incomplete,
            accounts.missing()
        ),
        recovery: format!(
            "at once: the new stream's first message after {:.0} ms",
            recovery.as_secs_f64() * 1e3
        ),
    }
    .print();
}

fn check_streams(accounts: &Accounts, first: u64) {
    assert_eq!(accounts.heard.streams.len(), 2);
    let (dead, cut) = (accounts.stream(first), &accounts.sent[0]);
    let by_machine = accounts.kernel.buffer + accounts.cable.overflowed;
    // Losses at the very end of it can never show.
    assert!(dead.datagrams + dead.missing <= cut.datagrams);
    assert!(dead.datagrams + dead.missing + by_machine >= cut.datagrams);
    // The one message that death cut short, if it did.
    assert!(
        dead.incomplete + dead.unseen <= 1 + by_machine,
        "{accounts:#?}"
    );
    let alive = &accounts.sent[1];
    let stream = accounts.stream(alive.stream);
    assert!(stream.datagrams + stream.missing + by_machine >= alive.datagrams);
    assert!(stream.delivered + by_machine >= alive.messages);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_restarted_broadcaster_of_small_messages_is_heard_at_once() {
    killed_and_restarted(90, 1000, 2000);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_restarted_broadcaster_of_large_messages_is_heard_at_once() {
    killed_and_restarted(91, 64 << 10, 60);
    killed_and_restarted(92, 1 << 20, 5);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_lowered_mtu_begins_messages_anew() {
    const LEN: usize = 1 << 20;
    let accounts = Lab::run(95, |lab| {
        let mut pair = Pair::start(lab, &[]);
        pair.broadcaster.begin_to_publish(15, LEN);
        pair.listener
            .until("it is in the middle", |heard| heard.right > 3);
        lab.left
            .ip(&["link", "set", "dev", "v0", "mtu", "1400"])
            .unwrap();
        thread::sleep(Duration::from_millis(50));
        pair.broadcaster.published();
        lab.settle();
        pair.compare()
    });
    accounts.check_each_stream();
    accounts.check_causes();
    let sent = &accounts.sent[0];
    assert!(
        sent.numbers - sent.messages <= sent.restarted,
        "{accounts:#?}"
    );
    let by_machine = accounts.kernel.buffer + accounts.cable.overflowed;
    assert!(
        accounts.heard.right + by_machine >= sent.messages,
        "{accounts:#?}"
    );
    Row {
        scenario: "the MTU lowered from 1500 to 1400 in flight",
        sent: accounts.sent(LEN),
        delivered: accounts.delivered(),
        counted: format!(
            "`restarted` {}; numbers begun anew {} = messages incomplete {}",
            sent.restarted,
            sent.numbers - sent.messages,
            accounts.sum(|it| it.incomplete + it.unseen),
        ),
        recovery: "the message under way begins anew in shorter datagrams".into(),
    }
    .print();
}
