//! What wakes nobody.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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
