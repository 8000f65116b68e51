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
//! of 64 KiB.

use std::io::IoSlice;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mcl_benches::interleaving::{ALL, Interleaving, Kept, LARGE, Scratch, Together, each_burst};
use mcl_benches::namespace;
use mcl_benches::ratio::{self, Pairs, row};
use mcl_benches::traffic::{DATAGRAM, TRAIN};
use mcl_net::{Blocking, Sender, SenderOptions};
use mcl_udp::{Connection, Payload, RawPullListener};

const GROUP: &str = "ff15::6d63:6c";
/// The base's and the other's.
const PORTS: [u16; 2] = [26_010, 26_011];
const PAIRS: usize = 9;

/// Datagrams that are sent before any are taken: the smallest receive buffers hold more.
const AT_ONCE: usize = TRAIN;

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
    fn open(way: Interleaving, port: u16) -> Self {
        let group = Connection::new(GROUP).expect("a group");
        let connection = group.with_port(port).expect("a port");
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
                if waiting >= AT_ONCE * DATAGRAM {
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
const SIZES: [(u64, usize); 6] = [
    (10, LARGE),
    (100, LARGE),
    (1000, LARGE),
    (1, 1 << 20),
    (1, 8 << 20),
    (1, ALL),
];

fn compare(name: &str, together: Together) {
    if !ratio::wanted(name) {
        return;
    }
    row(&[&name, &"1 of 64 KiB, ns", &"this, ns", &"ratio (all)"]);
    row(&[&"---", &"---", &"---", &"---"]);
    for (streams, size) in SIZES {
        let [base, other] = [(1, LARGE, PORTS[0]), (streams, size, PORTS[1])];
        let open = |(streams, size, port)| {
            Drain::open(Interleaving::new(together, streams, size, ALL), port)
        };
        let (mut base, mut other) = (open(base), open(other));
        let pairs = Pairs::of(PAIRS, |_| {
            let divisor = base.measure();
            (other.measure(), divisor)
        });
        row(&[
            &format_args!("{streams} of {} KiB", size >> 10),
            &format_args!("{:.0}", pairs.divisor()),
            &format_args!("{:.0}", pairs.dividend()),
            &pairs,
        ]);
    }
}

fn main() -> ExitCode {
    namespace::run(|| {
        compare("in trains", Together::InTrains);
        compare("singly", Together::Singly);
    })
}
