//! Large messages and small receive buffers.
//!
//! The short form, in the suite, only reports: a busy machine loses datagrams at any
//! pace. The long form is a command:
//!
//! ```text
//! PACING_SERIES=10 cargo xtask test -- pacing --nocapture
//! ```

use std::env;
use std::io::IoSlice;
use std::thread;
use std::time::{Duration, Instant};

use mcl_net::{Blocking, Pacer, Pacing, Receiver, ReceiverOptions, Sender, TrainBuffer, Wait};

use crate::world::{Host, group};

const MESSAGE: usize = 8 * 1024 * 1024;
const MESSAGES: usize = 20;
const ORDINARY: usize = 212_992;
const LARGE: usize = 4 * 1024 * 1024;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_pacing_saves_is_reported() {
    let series = env::var("PACING_SERIES").map_or(1, |text| text.parse().unwrap());
    for (buffer, pacing) in [
        (ORDINARY, Pacing::Auto),
        (ORDINARY, Pacing::None),
        (LARGE, Pacing::Auto),
        (LARGE, Pacing::ForReceiveBuffer(LARGE)),
        (LARGE, Pacing::None),
    ] {
        let run = |_| run(buffer, Pacer::new(pacing));
        let results: Vec<Series> = (0..series).map(run).collect();
        let whole = results.iter().filter(|it| it.lost == 0).count();
        let lost: usize = results.iter().map(|it| it.lost).sum();
        let sent: usize = results.iter().map(|it| it.sent).sum();
        let took: Duration = results.iter().map(|it| it.took).sum();
        let rate = (series * MESSAGES * MESSAGE) as f64 / took.as_secs_f64() / 1e6;
        println!(
            "receive buffer {buffer}, pacing {pacing:?}: {whole} of {series} series of \
             {MESSAGES} x 8 MiB without loss; {lost} of {sent} datagrams lost; {rate:.0} MB/s"
        );
        assert!(lost < sent, "nothing arrived at all");
    }
}

struct Series {
    sent: usize,
    lost: usize,
    took: Duration,
}

fn run(buffer: usize, mut pacer: Pacer) -> Series {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut options = ReceiverOptions::default();
    options.receive_buffer = buffer;
    let receiver = host.receiver_with("br0", group("ff15::1"), &options);
    let mut sender = host.sender("br0", group("ff15::1"));
    let counting = thread::spawn(|| count(receiver));
    let began = Instant::now();
    let message = vec![0x5a; MESSAGE];
    let mut sent = 0;
    for _ in 0..MESSAGES {
        sent += send(&mut sender, &mut pacer, &message);
    }
    let took = began.elapsed();
    let lost = sent - counting.join().unwrap();
    Series { sent, lost, took }
}

/// Sends a message in paced trains; returns the number of its datagrams.
fn send(sender: &mut Sender, pacer: &mut Pacer, message: &[u8]) -> usize {
    let len = sender.datagram_len();
    for train in message.chunks(Sender::train_len(len) * len) {
        let wait = pacer.delay(Instant::now(), train.len());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        let slices = [IoSlice::new(train)];
        sender.send_train(&slices, len, Blocking::Yes).unwrap();
        pacer.sent(Instant::now(), train.len());
    }
    message.len().div_ceil(len)
}

/// Counts datagrams until none has come for a while.
fn count(mut receiver: Receiver) -> usize {
    let mut train = TrainBuffer::new();
    let mut datagrams = 0;
    let mut patience = Duration::from_secs(5);
    loop {
        let wait = Wait::Until(Instant::now() + patience);
        if receiver.recv(&mut train, wait).unwrap() == mcl_net::Received::TimedOut {
            return datagrams;
        }
        patience = Duration::from_millis(300);
        datagrams += train.datagrams().count();
    }
}
