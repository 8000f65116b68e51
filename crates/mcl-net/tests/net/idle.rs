//! What wakes nobody.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mcl_net::{Received, TrainBuffer, Wait};

use crate::world::{Host, group};

/// How often the thread gave up the processor of its own accord (proc(5)).
fn switches(thread: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_receiver_that_gets_nothing_sleeps_through_ten_seconds() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut receiver = host.receiver("br0", group("ff15::1"));
    let waker = receiver.waker();
    let (say, hear) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let own = fs::read_link("/proc/thread-self").unwrap();
        say.send(own.to_str().unwrap().to_owned()).unwrap();
        receiver
            .recv(&mut TrainBuffer::new(), Wait::Forever)
            .unwrap()
    });
    let thread = hear.recv().unwrap();
    thread::sleep(Duration::from_millis(500));
    let before = switches(&thread);
    thread::sleep(Duration::from_secs(10));
    assert_eq!(switches(&thread), before);
    assert!(!waiting.is_finished());
    waker.wake();
    assert_eq!(waiting.join().unwrap(), Received::Woken);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_alarm_rings_once_and_when_it_was_set_to_last() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut receiver = host.receiver("br0", group("ff15::1"));
    let mut buffer = TrainBuffer::new();
    let begun = Instant::now();
    receiver.set_alarm(Duration::from_secs(60)).unwrap();
    receiver.set_alarm(Duration::from_millis(50)).unwrap();
    let rang = receiver.recv(&mut buffer, Wait::Forever).unwrap();
    assert_eq!(rang, Received::Alarm);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let deadline = Wait::Until(Instant::now() + Duration::from_millis(100));
    let quiet = receiver.recv(&mut buffer, deadline).unwrap();
    assert_eq!(quiet, Received::TimedOut);
    // One that is due already.
    receiver.set_alarm(Duration::ZERO).unwrap();
    let rang = receiver.recv(&mut buffer, Wait::Forever).unwrap();
    assert_eq!(rang, Received::Alarm);
    // Who does not wait does not hear it; it is there for the next who does.
    receiver.set_alarm(Duration::ZERO).unwrap();
    thread::sleep(Duration::from_millis(10));
    let none = receiver.recv(&mut buffer, Wait::No).unwrap();
    assert_eq!(none, Received::TimedOut);
    let rang = receiver.recv(&mut buffer, Wait::Forever).unwrap();
    assert_eq!(rang, Received::Alarm);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_rest_is_not_ended_by_what_arrives_but_by_a_waker() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let group = group("ff15::1");
    let mut receiver = host.receiver("br0", group);
    let mut sender = host.sender("br0", group);
    let mut buffer = TrainBuffer::new();
    let rest = Duration::from_millis(50);
    // It takes the alarm.
    receiver.set_alarm(Duration::ZERO).unwrap();
    let begun = Instant::now();
    host.send(&mut sender, b"before");
    assert_eq!(receiver.rest(rest).unwrap(), None);
    assert!(begun.elapsed() >= rest);
    let train = receiver.recv(&mut buffer, Wait::No).unwrap();
    assert!(matches!(train, Received::Train(_)), "{train:?}");
    // As often as one likes, and none at all.
    for rest in [rest, Duration::ZERO] {
        assert_eq!(receiver.rest(rest).unwrap(), None);
    }
    receiver.waker().wake();
    let long = Duration::from_secs(600);
    assert_eq!(receiver.rest(long).unwrap(), Some(Received::Woken));
    // That was taken back.
    assert_eq!(receiver.rest(rest).unwrap(), None);
    let deadline = Wait::Until(Instant::now() + rest);
    let quiet = receiver.recv(&mut buffer, deadline).unwrap();
    assert_eq!(quiet, Received::TimedOut, "no alarm, nor a train twice");
}
