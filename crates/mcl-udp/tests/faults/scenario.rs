//! A network of two hosts and a faulty cable, the processes on them, and the
//! comparison of four accounts: the broadcaster's, the cable's, the kernel's and the
//! listener's.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::{Direction, FaultCounts, Faults, Forwarder, Namespace, Peer, Watchdog};

use crate::payload::SHORTEST;
use crate::processes::{Heard, SEED, Sent, Stream};

/// After which a test is given up for hung.
pub(crate) const HUNG: Duration = Duration::from_secs(120);

/// How long a scenario waits for what must come. A bound against hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many messages go before a scenario and after it, over a perfect cable: so
/// that the listener knows where the stream begins and where it ends. Where the stream
/// is after a long gap, it knows from the second one on.
const AFTERWARDS: u64 = 3;

/// What scenarios publish whose faults strike datagrams of every message: the length of
/// messages that are small, in fragments and large, and how many.
pub(crate) const TRAFFIC: [(usize, u64); 3] = [(1000, 5000), (64 << 10, 150), (1 << 20, 12)];

/// One scenario at a time: what the machine cannot carry would be lost besides.
static MACHINE: Mutex<()> = Mutex::new(());

/// Two hosts and a cable between them.
pub(crate) struct Lab {
    pub(crate) left: Namespace,
    pub(crate) right: Namespace,
    pub(crate) cable: Forwarder,
}

impl Lab {
    /// Runs a test in one.
    pub(crate) fn run<R>(seed: u64, test: impl FnOnce(&Self) -> R) -> R {
        let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let _watchdog = Watchdog::start(HUNG);
        let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let cable = Forwarder::between(&left, "v0", &right, "v0", seed).unwrap();
        test(&Self { left, right, cable })
    }

    /// What goes wrong from now on, from the broadcaster to the listener.
    pub(crate) fn set(&self, faults: Faults) {
        self.cable.set_way(Direction::Right, faults);
    }

    /// Waits until nothing is under way any more.
    pub(crate) fn settle(&self) -> FaultCounts {
        self.cable.settle(Direction::Right).unwrap()
    }

    /// Datagrams that reached the listener's host and are nowhere as yet.
    fn unaccounted(&self, cable: &FaultCounts, heard: &Heard) -> u64 {
        let kernel = self.kernel();
        let counted = heard.fed + heard.foreign + kernel.checksum + kernel.buffer;
        cable.given.saturating_sub(counted)
    }

    fn kernel(&self) -> Kernel {
        let counter = |name| self.right.snmp6(name).unwrap();
        Kernel {
            checksum: counter("Udp6InCsumErrors") + self.right.snmp_udp("InCsumErrors").unwrap(),
            buffer: counter("Udp6RcvbufErrors"),
        }
    }
}

fn start(network: &Namespace, role: &str, variables: &[(&str, &str)]) -> Peer {
    let mut peer = Peer::start(network, "processes::child_process", role, variables).unwrap();
    peer.expect("ready");
    peer
}

/// A process that publishes.
pub(crate) struct Broadcasting {
    pub(crate) peer: Peer,
    pub(crate) sent: Sent,
    /// Messages that are more than marks of where the stream begins and ends.
    pub(crate) traffic: u64,
}

impl Broadcasting {
    /// Starts it on the left host. Its messages differ from those of all others.
    pub(crate) fn start(lab: &Lab, seed: u64, variables: &[(&str, &str)]) -> Self {
        let seed = seed.to_string();
        let variables = [&[(SEED, seed.as_str())], variables].concat();
        Self {
            peer: start(&lab.left, "broadcaster", &variables),
            sent: Sent::default(),
            traffic: 0,
        }
    }

    pub(crate) fn publish(&mut self, messages: u64, len: usize) {
        self.begin_to_publish(messages, len);
        self.published();
    }

    pub(crate) fn begin_to_publish(&mut self, messages: u64, len: usize) {
        self.traffic += if len > SHORTEST { messages } else { 0 };
        self.peer.say(&format!("publish {messages} {len}"));
    }

    pub(crate) fn published(&mut self) {
        self.sent = serde_json::from_str(&self.peer.hear()).unwrap();
        assert_eq!(self.sent.failed, 0);
    }

    pub(crate) fn end(mut self) -> Sent {
        self.peer.say("end");
        self.peer.finish();
        self.sent.traffic = self.traffic;
        self.sent
    }
}

/// A process that listens.
pub(crate) struct Listening {
    pub(crate) peer: Peer,
}

impl Listening {
    /// Starts it on the right host.
    pub(crate) fn start(lab: &Lab, variables: &[(&str, &str)]) -> Self {
        Self {
            peer: start(&lab.right, "listener", variables),
        }
    }

    pub(crate) fn account(&mut self) -> Heard {
        self.peer.say("account");
        serde_json::from_str(&self.peer.hear()).unwrap()
    }

    /// Waits until its account is as wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.account();
            if wanted(&heard) {
                return heard;
            }
            assert!(Instant::now() < deadline, "still not: {what}: {heard:#?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn end(mut self) {
        self.peer.say("end");
        self.peer.finish();
    }
}

/// What the kernel of the listener's host says of datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// The checksum did not match.
    pub(crate) checksum: u64,
    /// The receive buffer was full.
    pub(crate) buffer: u64,
}

/// A broadcaster and a listener, which know each other.
pub(crate) struct Pair<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) broadcaster: Broadcasting,
    pub(crate) listener: Listening,
}

impl<'a> Pair<'a> {
    pub(crate) fn start(lab: &'a Lab, variables: &[(&str, &str)]) -> Self {
        let mut listener = Listening::start(lab, variables);
        let mut broadcaster = Broadcasting::start(lab, 1, variables);
        broadcaster.publish(1, SHORTEST);
        listener.until("the first message", |heard| heard.right == 1);
        Self {
            lab,
            broadcaster,
            listener,
        }
    }

    /// Publishes while things go wrong.
    pub(crate) fn publish(&mut self, faults: Faults, messages: u64, len: usize) {
        self.lab.set(faults);
        self.broadcaster.publish(messages, len);
        self.lab.settle();
        self.lab.set(Faults::default());
    }

    /// Ends the stream over a perfect cable, ends the processes, and compares
    /// the accounts.
    pub(crate) fn compare(mut self) -> Accounts {
        // The marks must not find its receive buffer full.
        let cable = self.lab.settle();
        self.listener.until("it has caught up", |heard| {
            let waiting = self.lab.unaccounted(&cable, heard);
            waiting == 0 || cable.corrupted_anywhere > 0
        });
        self.broadcaster.publish(AFTERWARDS, SHORTEST);
        let cable = self.lab.settle();
        let sent = self.broadcaster.end();
        let accounts = Accounts::compare(self.lab, vec![sent], cable, &mut self.listener);
        self.listener.end();
        accounts
    }
}

/// The four accounts, compared.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) sent: Vec<Sent>,
    pub(crate) cable: FaultCounts,
    pub(crate) kernel: Kernel,
    pub(crate) heard: Heard,
}

impl Accounts {
    /// Publishes messages of a length, and so many, under these faults and compares.
    #[track_caller]
    pub(crate) fn of_publishing(seed: u64, faults: Faults, (len, messages): (usize, u64)) -> Self {
        let accounts = Lab::run(seed, |lab| {
            let mut pair = Pair::start(lab, &[]);
            pair.publish(faults, messages, len);
            pair.compare()
        });
        accounts.check_each_stream();
        accounts.check_causes();
        accounts
    }

    /// Waits for the listener to have all that there is to have, and compares.
    #[track_caller]
    pub(crate) fn compare(
        lab: &Lab,
        sent: Vec<Sent>,
        cable: FaultCounts,
        listener: &mut Listening,
    ) -> Self {
        let heard = listener.until("all datagrams are accounted for", |heard| {
            let busy = heard.pending > 0 || heard.queued > 0;
            let all_came = match cable.corrupted_anywhere {
                0 => lab.unaccounted(&cable, heard) == 0,
                // What became of those with a damaged header, nobody says.
                _ => heard.streams.iter().any(|it| it.numbers == sent[0].numbers),
            };
            // The callback must have ended as well.
            !busy && all_came && heard.right + heard.wrong + heard.twice == heard.taken
        });
        let kernel = lab.kernel();
        let accounts = Self {
            sent,
            cable,
            kernel,
            heard,
        };
        accounts.check_the_cable();
        accounts.check_the_listener();
        accounts
    }

    #[track_caller]
    fn check_the_cable(&self) {
        let Self { cable, kernel, .. } = self;
        let datagrams: u64 = self.sent.iter().map(|sent| sent.datagrams).sum();
        // What the forwarder was too slow to take may have been anything.
        assert!(cable.taken <= datagrams, "{self:#?}");
        assert!(datagrams <= cable.taken + cable.overflowed, "{self:#?}");
        assert_eq!((cable.refused, cable.oversized), (0, 0), "{self:#?}");
        // A receive buffer that is full hides what a checksum would have said.
        assert!(
            kernel.checksum <= cable.corrupted + cable.corrupted_anywhere,
            "{self:#?}"
        );
        if kernel.buffer == 0 && cable.corrupted_anywhere == 0 {
            assert_eq!(kernel.checksum, cable.corrupted, "{self:#?}");
        }
    }

    #[track_caller]
    fn check_the_listener(&self) {
        let Self { heard, kernel, .. } = self;
        assert_eq!((heard.wrong, heard.twice), (0, 0), "{self:#?}");
        assert_eq!((heard.panics, heard.undecodable), (0, 0), "{self:#?}");
        assert_eq!((heard.foreign, heard.receive_errors), (0, 0), "{self:#?}");
        assert_eq!(heard.pending, 0, "{self:#?}");
        // Every datagram that reached the listener's host is in one place.
        if self.cable.corrupted_anywhere == 0 {
            let counted = heard.fed + kernel.checksum + kernel.buffer;
            assert_eq!(counted, self.cable.given, "{self:#?}");
        }
        assert_eq!(heard.fed, heard.accepted + heard.dropped, "{self:#?}");
        // And every message which became whole.
        let refused = heard.filtered + heard.malformed + heard.crc_mismatch + heard.unclaimed;
        assert_eq!(heard.bodies, heard.delivered + refused, "{self:#?}");
        let offered = heard.taken + heard.dropped_newest;
        assert_eq!(heard.delivered, offered, "{self:#?}");
        assert_eq!(heard.right + heard.dropped_oldest, heard.taken, "{self:#?}");
    }

    /// For every stream: sent = delivered + missing + dropped by cause, of
    /// datagrams and of messages. Exact unless headers came damaged.
    #[track_caller]
    pub(crate) fn check_each_stream(&self) {
        assert_eq!(self.sent.len(), self.heard.streams.len(), "{self:#?}");
        for sent in &self.sent {
            let stream = self.stream(sent.stream);
            assert_eq!((stream.restarts, stream.stale), (0, 0), "{self:#?}");
            let datagrams = stream.datagrams + stream.missing;
            assert_eq!(sent.datagrams, datagrams, "{self:#?}");
            assert_eq!(sent.numbers, stream.numbers, "{self:#?}");
            assert_eq!(sent.numbers, stream.messages(), "{self:#?}");
        }
    }

    /// What was lost is what the cable and the kernel took, and what came twice is
    /// what the cable doubled: to the datagram, if the machine kept up.
    #[track_caller]
    pub(crate) fn check_causes(&self) {
        let Self {
            cable,
            kernel,
            heard,
            ..
        } = self;
        let by_cable = cable.lost + cable.partitioned + cable.corrupted;
        let by_machine = kernel.buffer + cable.overflowed;
        let missing = self.missing();
        let doubled = cable.duplicated + cable.duplicated_late;
        // A datagram the kernel drops may be a copy, or one that is damaged too.
        assert!(missing <= by_cable + by_machine, "{self:#?}");
        assert!(missing + by_machine >= by_cable, "{self:#?}");
        assert!(heard.duplicate <= doubled, "{self:#?}");
        assert!(heard.duplicate + by_machine >= doubled, "{self:#?}");
        assert_eq!(heard.dropped, heard.duplicate, "{self:#?}");
        if by_machine > 0 {
            println!("the machine itself lost {by_machine} datagrams");
        }
    }

    pub(crate) fn missing(&self) -> u64 {
        self.heard.streams.iter().map(|stream| stream.missing).sum()
    }

    pub(crate) fn sum(&self, of: impl Fn(&Stream) -> u64) -> u64 {
        self.heard.streams.iter().map(of).sum()
    }

    #[track_caller]
    pub(crate) fn stream(&self, id: u64) -> &Stream {
        let mut streams = self.heard.streams.iter();
        streams.find(|it| it.id == id).unwrap()
    }

    pub(crate) fn messages(&self) -> u64 {
        self.sent.iter().map(|sent| sent.messages).sum()
    }

    fn traffic(&self) -> u64 {
        self.sent.iter().map(|sent| sent.traffic).sum()
    }

    /// Messages sent and the datagrams of all, for the table.
    pub(crate) fn sent(&self, len: usize) -> String {
        let datagrams: u64 = self.sent.iter().map(|sent| sent.datagrams).sum();
        let len = match len {
            len if len >= 1 << 20 => format!("{} MiB", len >> 20),
            len if len >= 1 << 10 => format!("{} KiB", len >> 10),
            len => format!("{len} B"),
        };
        format!("{} of {len}, {datagrams} datagrams", self.traffic())
    }

    pub(crate) fn delivered(&self) -> String {
        format!("{} of {}", self.heard.traffic, self.traffic())
    }
}
