//! A cable between two namespaces that damages, loses, doubles and delays what
//! goes through it.
//!
//! Each end is one of a pair of virtual cables; the others are in a namespace of
//! their own, where a thread for each direction takes frames from a packet
//! socket and gives them to the other one. The ends finish checksums and segment
//! trains before they hand frames out (`ethtool` switches their offloads off), so
//! that the forwarder sees what a cable would carry. Tap devices would do the
//! same, but `/dev/net/tun` is often root's alone.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::faults::{Chance, Direction, Fate, FaultCounts, Faults, is_datagram};
use crate::packet_socket::PacketSocket;
use crate::{Dad, Namespace, explain};

/// The forwarder's own ends, by [`Direction`]: where its frames come from.
const PORTS: [&str; 2] = ["left", "right"];
/// Ethernet's header, which the MTU does not count.
const ETHERNET: usize = 14;
/// The longest MTU of virtual cables.
const LONGEST: usize = 65_535 + ETHERNET;
/// How long a frame is held back at most while nothing overtakes it.
const HELD_AT_MOST: Duration = Duration::from_millis(20);
/// How often a thread without frames looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many frames are taken before those that are due are given.
const BATCH: usize = 64;
/// How long nothing must have come for the cable to be at rest.
const QUIET: Duration = Duration::from_millis(60);
/// When waiting for that is given up.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// A cable between two namespaces that is faulty on purpose; see [`Faults`].
/// Removed when dropped, its ends with it.
///
/// ```no_run
/// use mcl_testbed::{Direction, Faults, Forwarder, Namespace};
///
/// let (left, right) = (Namespace::new()?, Namespace::new()?);
/// let cable = Forwarder::between(&left, "v0", &right, "v0", 1)?;
/// cable.set(Faults { loss: 0.01, ..Faults::default() });
/// // ... traffic from `left` to `right` ...
/// let counts = cable.settle(Direction::Right)?;
/// println!("{} of {} datagrams lost", counts.lost, counts.taken);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Forwarder {
    middle: Namespace,
    ways: [Arc<Way>; 2],
    threads: Vec<JoinHandle<()>>,
}

/// What a thread shares with the handle.
#[derive(Debug, Default)]
struct Way {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// The thread has it while it takes and gives frames: what is set holds for all
/// frames that it takes from then on.
#[derive(Debug, Default)]
struct State {
    faults: Faults,
    counts: FaultCounts,
    /// Frames read from the socket, whatever they were.
    read: u64,
    /// Frames that wait in the forwarder.
    waiting: usize,
    error: Option<String>,
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forwarder {
    /// Lays a cable between an interface of `left` and one of `right`, which are
    /// made for it, with an MTU of 1500 and usable link-local addresses. It is
    /// perfect until [`set`](Self::set) says otherwise; all faults follow from
    /// `seed`.
    ///
    /// # Errors
    /// `ip` or `ethtool` fails or is missing, or a packet socket is refused.
    pub fn between(
        left: &Namespace,
        left_name: &str,
        right: &Namespace,
        right_name: &str,
        seed: u64,
    ) -> io::Result<Self> {
        Self::with_mtu(1500, left, left_name, right, right_name, seed)
    }

    /// As [`between`](Self::between), with another MTU.
    ///
    /// # Errors
    /// As [`between`](Self::between).
    pub fn with_mtu(
        mtu: u16,
        left: &Namespace,
        left_name: &str,
        right: &Namespace,
        right_name: &str,
        seed: u64,
    ) -> io::Result<Self> {
        let middle = Namespace::new()?;
        let ends = [(left, left_name), (right, right_name)];
        for ((end, name), port) in ends.iter().zip(PORTS) {
            prepare(&middle, port, end, name, mtu)?;
        }
        let mut forwarder = Self {
            middle,
            ways: Default::default(),
            threads: Vec::new(),
        };
        forwarder.start(usize::from(mtu) + ETHERNET, seed)?;
        // Not before somebody listens in the middle: no frame goes uncounted.
        for (end, name) in ends {
            end.bring_up(name, Dad::Off)?;
        }
        for (end, name) in ends {
            end.wait_until_ready(name)?;
        }
        Ok(forwarder)
    }

    fn start(&mut self, longest: usize, seed: u64) -> io::Result<()> {
        let sockets = self.middle.run(|| -> io::Result<_> {
            let [left, right] = PORTS.map(PacketSocket::open);
            Ok([Arc::new(left?), Arc::new(right?)])
        });
        let [left, right] = sockets.map_err(|error| explain("packet socket", error))?;
        let ways = [(Arc::clone(&left), Arc::clone(&right)), (right, left)];
        for ((number, (from, to)), way) in (0u64..).zip(ways).zip(&self.ways) {
            let worker = Worker {
                way: Arc::clone(way),
                from,
                to,
                chance: Chance::new(seed ^ (number << 63)),
                held: VecDeque::new(),
                delayed: VecDeque::new(),
                faults: Faults::default(),
                counts: FaultCounts::default(),
                longest,
            };
            let thread = thread::Builder::new().name("forwarder".into());
            self.threads.push(thread.spawn(|| worker.run())?);
        }
        Ok(())
    }

    /// From now on, these faults in both directions.
    pub fn set(&self, faults: Faults) {
        self.set_way(Direction::Right, faults);
        self.set_way(Direction::Left, faults);
    }

    /// From now on, these faults in one direction.
    pub fn set_way(&self, direction: Direction, faults: Faults) {
        self.way(direction).state().faults = faults;
    }

    /// What was done so far in one direction; frames may be under way.
    #[must_use]
    pub fn counts(&self, direction: Direction) -> FaultCounts {
        self.way(direction).state().counts
    }

    /// Waits until nothing has come for a while in this direction and nothing is held
    /// back any more, and returns what was done.
    ///
    /// # Errors
    /// Traffic does not end within 10 s, or the forwarder failed.
    pub fn settle(&self, direction: Direction) -> io::Result<FaultCounts> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let mut seen = self.progress(direction)?;
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            if Instant::now() > deadline {
                return Err(io::Error::other("the forwarder does not come to rest"));
            }
            thread::sleep(Duration::from_millis(5));
            let now = self.progress(direction)?;
            if now != seen || now.waiting > 0 {
                (seen, since) = (now, Instant::now());
            }
        }
        let mut counts = self.counts(direction);
        counts.overflowed = seen.arrived - seen.read;
        Ok(counts)
    }

    fn progress(&self, direction: Direction) -> io::Result<Progress> {
        let state = self.way(direction).state();
        if let Some(error) = &state.error {
            return Err(io::Error::other(error.clone()));
        }
        let (waiting, read) = (state.waiting, state.read);
        drop(state);
        // After the others: a frame that comes in between was not read twice.
        let arrived = self.arrived(PORTS[direction as usize])?;
        Ok(Progress {
            waiting,
            read,
            arrived,
        })
    }

    /// Frames that arrived at a port, read or not.
    fn arrived(&self, port: &str) -> io::Result<u64> {
        let table = self
            .middle
            .run(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        // "  left: bytes packets errs ...": those received come first.
        let line = table
            .lines()
            .find_map(|line| line.trim().strip_prefix(port)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {port} in /proc/net/dev: {table}")))
    }

    fn way(&self, direction: Direction) -> &Way {
        &self.ways[direction as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    waiting: usize,
    read: u64,
    arrived: u64,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        for way in &self.ways {
            way.stop.store(true, Ordering::SeqCst);
        }
        for thread in self.threads.drain(..) {
            // A panic of it has been printed, and `settle` fails then.
            let _ = thread.join();
        }
        // An end lives as long as its own namespace, or its peer.
        for port in PORTS {
            let _ = self.middle.ip(&["link", "del", "dev", port]);
        }
    }
}

/// Makes a pair of cables between `port` in the middle and `name` at an end, of
/// which the port is up and has no address.
fn prepare(
    middle: &Namespace,
    port: &str,
    end: &Namespace,
    name: &str,
    mtu: u16,
) -> io::Result<()> {
    middle.veth_down(port, end, name)?;
    let mtu = mtu.to_string();
    middle.ip(&["link", "set", "dev", port, "mtu", &mtu])?;
    end.ip(&["link", "set", "dev", name, "mtu", &mtu])?;
    // Without it, the kernel hands out unfinished checksums and whole trains.
    end.command("ethtool", &["-K", name, "tx", "off"])?;
    middle.set_sysctl(&format!("net/ipv6/conf/{port}/disable_ipv6"), "1")?;
    middle.ip(&["link", "set", "dev", port, "up"])?;
    Ok(())
}

/// The thread of one direction.
struct Worker {
    way: Arc<Way>,
    from: Arc<PacketSocket>,
    to: Arc<PacketSocket>,
    chance: Chance,
    held: VecDeque<Held>,
    delayed: VecDeque<Delayed>,
    faults: Faults,
    counts: FaultCounts,
    longest: usize,
}

/// A frame that is being overtaken.
struct Held {
    frame: Vec<u8>,
    overtaken_by: usize,
    until: Instant,
}

/// A frame that is under way.
struct Delayed {
    frame: Vec<u8>,
    is_datagram: bool,
    until: Instant,
}

impl Worker {
    fn run(mut self) {
        let mut buffer = vec![0; LONGEST];
        while !self.way.stop.load(Ordering::SeqCst) {
            let outcome = self.wait().and_then(|()| self.step(&mut buffer));
            if let Err(error) = outcome {
                self.way.state().error = Some(error.to_string());
                return;
            }
        }
    }

    /// Sleeps until a frame comes or one is due.
    fn wait(&self) -> io::Result<()> {
        let now = Instant::now();
        let held = self.held.iter().map(|it| it.until).min();
        let due = held
            .into_iter()
            .chain(self.delayed.front().map(|it| it.until));
        let patience = due
            .map(|due| due.saturating_duration_since(now))
            .fold(LOOK_EVERY, Duration::min);
        // Rounded up, or it would spin for the rest of the millisecond.
        let millis = patience.as_micros().div_ceil(1000);
        let timeout = PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX));
        let mut polled = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes what has come, a batch at most, and gives what is due.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let way = Arc::clone(&self.way);
        let mut state = way.state();
        self.faults = state.faults;
        for _ in 0..BATCH {
            let Some(len) = self.from.take(buffer)? else {
                break;
            };
            state.read += 1;
            match buffer.get_mut(..len).filter(|_| len <= self.longest) {
                Some(frame) => self.take(frame),
                None => self.counts.oversized += 1,
            }
        }
        self.let_go();
        self.give_due();
        state.waiting = self.held.len() + self.delayed.len();
        state.counts = self.counts;
        Ok(())
    }

    fn take(&mut self, frame: &mut [u8]) {
        if !is_datagram(frame) {
            return self.take_other(frame);
        }
        let fate = self.chance.fate(&self.faults);
        self.counts.count(fate);
        self.chance.damage(fate, frame);
        match fate {
            Fate::Partitioned | Fate::Lost => return,
            Fate::Reordered => self.hold(frame),
            Fate::Duplicated => {
                self.pass(frame, true);
                self.pass(frame, true);
            }
            Fate::DuplicatedLate => {
                self.pass(frame, true);
                self.hold(frame);
            }
            _ => self.pass(frame, true),
        }
        if fate != Fate::Reordered {
            self.overtake();
        }
    }

    fn take_other(&mut self, frame: &[u8]) {
        if self.faults.partition {
            self.counts.others_partitioned += 1;
        } else {
            self.counts.others += 1;
            self.pass(frame, false);
        }
    }

    fn hold(&mut self, frame: &[u8]) {
        self.held.push_back(Held {
            frame: frame.to_vec(),
            overtaken_by: 0,
            until: Instant::now() + HELD_AT_MOST,
        });
    }

    /// A datagram has gone by those that are held back.
    fn overtake(&mut self) {
        self.held.iter_mut().for_each(|it| it.overtaken_by += 1);
        self.let_go();
    }

    fn let_go(&mut self) {
        let hold = self.faults.hold.max(1);
        let now = Instant::now();
        while let Some(first) = self.held.front()
            && (first.overtaken_by >= hold || first.until <= now)
            && let Some(held) = self.held.pop_front()
        {
            self.pass(&held.frame, true);
        }
    }

    /// Sends a frame on its way, which may take a while.
    fn pass(&mut self, frame: &[u8], is_datagram: bool) {
        if self.faults.delay.is_zero() && self.delayed.is_empty() {
            return self.give(frame, is_datagram);
        }
        self.delayed.push_back(Delayed {
            frame: frame.to_vec(),
            is_datagram,
            until: Instant::now() + self.faults.delay,
        });
    }

    fn give_due(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.delayed.front()
            && first.until <= now
            && let Some(delayed) = self.delayed.pop_front()
        {
            self.give(&delayed.frame, delayed.is_datagram);
        }
    }

    fn give(&mut self, frame: &[u8], is_datagram: bool) {
        let taken = self.to.give(frame);
        self.counts.refused += u64::from(!taken);
        self.counts.given += u64::from(taken && is_datagram);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};

    use super::*;

    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x7465, 0x7374);

    /// A sender on the left, a receiver on the right, and the cable between them.
    struct World {
        right: Namespace,
        cable: Forwarder,
        sender: UdpSocket,
        receiver: UdpSocket,
        left: Namespace,
    }

    impl World {
        fn new(seed: u64) -> Self {
            let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
            let cable = Forwarder::between(&left, "v0", &right, "v0", seed).unwrap();
            let index = left.index("v0").unwrap();
            let sender = left.run(|| UdpSocket::bind("[::]:0").unwrap());
            sender
                .connect(SocketAddrV6::new(GROUP, 26000, 0, index))
                .unwrap();
            let receiver = right.run(|| UdpSocket::bind("[::]:26000").unwrap());
            let index = right.index("v0").unwrap();
            receiver.join_multicast_v6(&GROUP, index).unwrap();
            receiver
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            Self {
                right,
                cable,
                sender,
                receiver,
                left,
            }
        }

        /// Sends datagrams, which bear numbers, in steps that any receive buffer
        /// holds, and returns those that came.
        fn send(&self, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
            let mut all = Vec::new();
            let numbers: Vec<u64> = numbers.collect();
            for some in numbers.chunks(50) {
                for number in some {
                    let datagram = number.to_be_bytes().repeat(100);
                    self.sender.send(&datagram).unwrap();
                }
                self.cable.settle(Direction::Right).unwrap();
                self.receiver.set_nonblocking(true).unwrap();
                let mut buffer = [0; 2000];
                while let Ok(len) = self.receiver.recv(&mut buffer) {
                    all.push(buffer[..len].to_vec());
                }
            }
            all
        }
    }

    /// The numbers of datagrams, each of which must be whole.
    fn numbers(datagrams: &[Vec<u8>]) -> Vec<u64> {
        let number = |datagram: &Vec<u8>| {
            let number: [u8; 8] = datagram[..8].try_into().unwrap();
            assert_eq!(*datagram, number.repeat(100));
            u64::from_be_bytes(number)
        };
        datagrams.iter().map(number).collect()
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_perfect_cable_carries_everything_with_ethtool() {
        let world = World::new(1);
        assert!(numbers(&world.send(0..200)).into_iter().eq(0..200));
        let counts = world.cable.settle(Direction::Right).unwrap();
        assert_eq!(
            (counts.taken, counts.given, counts.untouched),
            (200, 200, 200)
        );
        assert_eq!(
            (counts.overflowed, counts.refused, counts.oversized),
            (0, 0, 0)
        );
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn what_is_lost_and_doubled_is_what_was_counted_with_ethtool() {
        let world = World::new(2);
        world.cable.set(Faults {
            loss: 0.1,
            duplicate: 0.1,
            duplicate_late: 0.1,
            hold: 3,
            ..Faults::default()
        });
        let mut came = numbers(&world.send(0..500));
        let counts = world.cable.settle(Direction::Right).unwrap();
        assert!(counts.lost > 0 && counts.duplicated > 0 && counts.duplicated_late > 0);
        let twice = counts.duplicated + counts.duplicated_late;
        assert_eq!(came.len() as u64, 500 - counts.lost + twice);
        came.sort_unstable();
        came.dedup();
        assert_eq!(came.len() as u64, 500 - counts.lost);
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn what_is_held_back_comes_later_and_not_after_its_time_with_ethtool() {
        let world = World::new(3);
        world.cable.set(Faults {
            reorder: 0.1,
            hold: 4,
            ..Faults::default()
        });
        let mut came = numbers(&world.send(0..500));
        let late = came.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
        let counts = world.cable.settle(Direction::Right).unwrap();
        // Neighbours are late together, and the last of a step is not late at all.
        assert!(late > 0 && late <= counts.reordered, "{late} {counts:?}");
        came.sort_unstable();
        assert!(came.into_iter().eq(0..500));
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_kernel_finds_what_it_can_find_with_ethtool() {
        let world = World::new(4);
        let errors = || world.right.snmp6("Udp6InCsumErrors").unwrap();
        assert_eq!(errors(), 0);
        world.cable.set(Faults {
            corrupt: 0.2,
            ..Faults::default()
        });
        let came = numbers(&world.send(0..500));
        let corrupted = world.cable.settle(Direction::Right).unwrap().corrupted;
        assert!(corrupted > 50);
        assert_eq!(errors(), corrupted);
        assert_eq!(came.len() as u64, 500 - corrupted);

        world.cable.set(Faults {
            corrupt_undetected: 0.2,
            ..Faults::default()
        });
        let came = world.send(500..1000);
        let counts = world.cable.settle(Direction::Right).unwrap();
        assert_eq!((came.len(), errors()), (500, corrupted));
        let whole = |it: &&Vec<u8>| it.chunks(8).all(|word| word == &it[..8]);
        let broken = 500 - came.iter().filter(whole).count() as u64;
        assert_eq!(broken, counts.corrupted_undetected);
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn what_it_is_too_slow_for_is_counted_with_ethtool() {
        const DATAGRAMS: u64 = 40_000;
        let world = World::new(6);
        let others = || world.left.snmp6("Icmp6OutMsgs").unwrap();
        let before = world.cable.settle(Direction::Right).unwrap();
        let others_before = others();
        let begun = Instant::now();
        for number in 0..DATAGRAMS {
            let datagram = number.to_be_bytes().repeat(175);
            world.sender.send(&datagram).unwrap();
        }
        let counts = world.cable.settle(Direction::Right).unwrap();
        let took = begun.elapsed() - QUIET;
        // What overflows is of any kind: reports of memberships are among it.
        let came = counts.taken + counts.overflowed + (counts.others - before.others);
        let sent = DATAGRAMS + (others() - others_before);
        assert_eq!((came, before.taken), (sent, 0), "{counts:?}");
        assert_eq!(counts.given, counts.taken);
        let rate = counts.given as f64 * 1400.0 / took.as_secs_f64() / 1e6;
        let shown = format!("forwarded {rate:.0} MB/s, overflowed {}", counts.overflowed);
        io::Write::write_all(&mut io::stdout(), format!("{shown}\n").as_bytes()).unwrap();
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_cut_cable_carries_nothing_and_a_mended_one_everything_with_ethtool() {
        let world = World::new(5);
        world.cable.set(Faults {
            partition: true,
            ..Faults::default()
        });
        assert!(world.send(0..50).is_empty());
        world.cable.set(Faults {
            delay: Duration::from_millis(30),
            ..Faults::default()
        });
        let begun = Instant::now();
        assert!(numbers(&world.send(50..100)).into_iter().eq(50..100));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        let counts = world.cable.settle(Direction::Right).unwrap();
        assert_eq!((counts.partitioned, counts.given), (50, 50));
    }
}
