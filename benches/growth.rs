//! What a fragment costs from the socket to the caller's hands, by streams and by length of messages, over
//! real sockets in a private network namespace, which it makes itself:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench growth
//! ```
//!
//! Messages are pulled on one thread, as many datagrams at a time as the smallest receive buffers
//! hold, so that nothing is waited for. The caller keeps the last ones, so that the same 64 MiB of memory
//! go round whatever the number of streams. Each row is measured in turn with one stream
//! of 64 KiB, every time in a process of its own: which memory one gets can make more of a difference than
//! what is measured, and would be the same for all pairs of a row.

use std::env;
use std::io::{self, IoSlice, Write};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use mcl_benches::interleaving::{ALL, Interleaving, Kept, LARGE, Scratch, Together, each_burst};
use mcl_benches::namespace;
use mcl_benches::ratio::{self, Pairs, row};
use mcl_benches::traffic::{DATAGRAM, TRAIN};
use mcl_net::{Blocking, Sender, SenderOptions};
use mcl_udp::{Connection, Payload, RawPullListener};

const GROUP: &str = "ff15::6d63:6c";
const PORT: u16 = 26_010;
const PAIRS: usize = 9;

/// Datagrams that are sent before any are taken: the smallest receive buffers hold more.
const SENT_AT_ONCE: usize = TRAIN;

/// How long a message is waited for that cannot be lost: the buffers are never full.
const PATIENCE: Duration = Duration::from_secs(5);

struct Drain {
    way: Interleaving,
    sender: Sender,
    inbox: Inbox,
    scratch: Scratch,
    number: u64,
}

struct Inbox {
    listener: RawPullListener,
    kept: Kept<Payload>,
    delivered: u64,
}

impl Drain {
    fn open(way: Interleaving) -> Self {
        let group = Connection::new(GROUP).expect("a group");
        let connection = group.with_port(PORT).expect("a port");
        let listener = RawPullListener::builder(&connection).max_message_len(ALL << 1);
        let listener = listener.open_pull().expect("a listener");
        let interface = listener.interface().expect("the bridge");
        let mut new = Self {
            way,
            sender: Sender::open(connection.group(), &interface, &SenderOptions::default())
                .expect("a sender"),
            inbox: Inbox {
                listener,
                kept: Kept::new(way),
                delivered: 0,
            },
            scratch: Scratch::new(way.total()),
            number: 0,
        };
        (0..way.to_warm()).for_each(|_| {
            new.round();
        });
        new
    }

    /// How long the listener takes for one message of every stream.
    fn round(&mut self) -> Duration {
        let (sender, inbox) = (&mut self.sender, &mut self.inbox);
        let (mut elapsed, mut waiting) = (Duration::ZERO, 0);
        self.scratch
            .round(self.way, self.number, |bursts, datagrams| {
                for (_, train) in each_burst(bursts, datagrams) {
                    let sent = sender.send_train(&[IoSlice::new(train)], DATAGRAM, Blocking::Yes);
                    sent.expect("sent");
                }
                waiting += datagrams.len();
                if waiting >= SENT_AT_ONCE * DATAGRAM {
                    elapsed += inbox.drain();
                    waiting = 0;
                }
            });
        self.number += 1;
        elapsed += inbox.drain();
        inbox.await_all(self.number * self.way.streams);
        elapsed
    }

    /// Nanoseconds per fragment, of enough rounds to use every buffer once.
    fn measure(&mut self) -> f64 {
        let rounds = self.way.to_warm() / 2;
        let elapsed: Duration = (0..rounds).map(|_| self.round()).sum();
        elapsed.as_nanos() as f64 / (rounds * self.way.in_round()) as f64
    }
}

impl Inbox {
    fn drain(&mut self) -> Duration {
        let began = Instant::now();
        while let Some(message) = self.listener.try_recv().expect("no error") {
            self.keep(message.payload);
        }
        began.elapsed()
    }

    /// If the kernel was late with the last ones.
    fn await_all(&mut self, messages: u64) {
        while self.delivered < messages {
            let message = self.listener.recv_timeout(PATIENCE).expect("no error");
            self.keep(message.expect("nothing is lost").payload);
        }
    }

    fn keep(&mut self, payload: Payload) {
        self.delivered += 1;
        drop(self.kept.put(payload));
    }
}

/// Streams and bytes of a message of each.
type Size = (u64, usize);

const SIZES: [Size; 6] = [
    (10, LARGE),
    (100, LARGE),
    (1000, LARGE),
    (1, 1 << 20),
    (1, 8 << 20),
    (1, ALL),
];

/// Says to a process what to measure: streams, bytes of a message, and whether in trains.
const TO_MEASURE: &str = "MCL_BENCH_GROWTH";

/// Nanoseconds per fragment, by a process of its own.
fn measure(together: Together, (streams, size): Size) -> f64 {
    let in_trains = together == Together::InTrains;
    let this = env::current_exe().expect("this program");
    let output = Command::new(this)
        .env(TO_MEASURE, format!("{streams} {size} {in_trains}"))
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("no measurement, but {text:?}: {errors}")
    })
}

/// In such a process.
fn measure_here(what: &str) -> Option<f64> {
    let mut words = what.split(' ');
    let (streams, size) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let together = match words.next()?.parse().ok()? {
        true => Together::InTrains,
        false => Together::Singly,
    };
    Some(Drain::open(Interleaving::new(together, streams, size, ALL)).measure())
}

fn compare(name: &str, together: Together) {
    if !ratio::wanted(name) {
        return;
    }
    row(&[&name, &"1 of 64 KiB, ns", &"this, ns", &"ratio (all)"]);
    row(&[&"---", &"---", &"---", &"---"]);
    for size in SIZES {
        let pairs = Pairs::of(PAIRS, |_| {
            let divisor = measure(together, (1, LARGE));
            (measure(together, size), divisor)
        });
        row(&[
            &format_args!("{} of {} KiB", size.0, size.1 >> 10),
            &format_args!("{:.0}", pairs.divisor()),
            &format_args!("{:.0}", pairs.dividend()),
            &pairs,
        ]);
    }
}

fn main() -> ExitCode {
    namespace::run(|| match env::var(TO_MEASURE) {
        Ok(what) => {
            let nanoseconds = measure_here(&what).expect("a way to measure");
            let _ = writeln!(io::stdout(), "{nanoseconds}");
        }
        Err(_) => {
            compare("in trains", Together::InTrains);
            compare("singly", Together::Singly);
        }
    })
}
