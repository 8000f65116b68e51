//! The bound, and the test that asserts it.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::{Namespace, SplitMix64};
use mcl_udp::{Connection, RawBroadcaster, StreamId};

use crate::attack::Attack;
use crate::victim::{Report, TOPIC, Victim};

pub(crate) const BUDGET: usize = 16 << 20;
pub(crate) const LONGEST: usize = 4 << 20;
pub(crate) const QUEUE_BYTES: usize = 4 << 20;

const MIB: usize = 1 << 20;

/// What a listener may take beyond what its process took before, term by term.
const TERMS: [(&str, usize); 6] = [
    ("messages under reassembly and spare buffers", BUDGET),
    // Buffers may be twice as long as the messages in them, and what the consumer has
    // given back waits for the next train.
    ("payloads in the queue and given back", 2 * QUEUE_BYTES),
    // 1024 streams: an account of 1.2 KiB, a table of 64 messages, an entry in a map.
    ("streams", 1024 * 5 * 512),
    // Blocks in use again and again, and one that each queued message may keep.
    ("blocks of small messages", 5 * MIB),
    // 16 of 64 KiB, and topics: 4096 of 255 bytes.
    ("trains and topics", 3 * MIB),
    // Free memory between blocks in use, which glibc's malloc cannot give back.
    ("the allocator", BUDGET / 2),
];

/// How many datagrams the listener is to receive, unless the environment says more.
const DATAGRAMS: u64 = 3_000_000;
/// After how many nothing may grow any more, at the least.
const FULL: u64 = 2_000_000;
const VARIABLE: &str = "MCL_CEILING_DATAGRAMS";

/// How long the flood may take: a bound against hanging.
const PATIENCE: Duration = Duration::from_secs(500);

/// Trains after which the attacker waits for the listener, so that what is sent is
/// received and not dropped by the kernel.
const VOLLEY: usize = 16;

/// By how much averages of what is resident differ without anything growing, in KiB.
const NOISE: u64 = 1536;

/// How long what was sent last may be under way.
const SETTLE: Duration = Duration::from_millis(200);

/// What a flood makes a listener count.
const DONE: [&str; 8] = [
    "evicted",
    "abandoned",
    "duplicate",
    "stale",
    "jumps",
    "contradicting",
    "too_large",
    "malformed",
];

pub(crate) fn connection() -> Connection {
    Connection::new("ff15::c73d:cf41:ea8e:b0a0").unwrap()
}

/// The only honest payload of this length under this number.
pub(crate) fn payload(len: usize, number: u64) -> Vec<u8> {
    SplitMix64::new(number ^ len as u64).bytes(len)
}

/// Publishes honestly until told to stop, and tells how many messages it were.
fn publish(broadcaster: &RawBroadcaster, len: usize, every: Duration, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        broadcaster
            .publish_to(TOPIC, &payload(len, number))
            .unwrap();
        number += 1;
        thread::sleep(every);
    }
    number
}

/// Floods until the listener has received so many datagrams. Returns what its
/// process had resident on average, in KiB.
fn flood(attack: &mut Attack, victim: &mut Victim, until: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let (mut resident, mut volleys) = (0, 0);
    let mut received = victim.received();
    while received < until {
        assert!(Instant::now() < deadline, "{received} of {until} received");
        let before = attack.sent;
        for _ in 0..VOLLEY {
            attack.strike();
        }
        let expected = received + (attack.sent - before);
        let given_up = Instant::now() + Duration::from_millis(20);
        while received < expected && Instant::now() < given_up {
            received = victim.received();
        }
        resident += victim.status("VmRSS");
        volleys += 1;
    }
    resident / volleys.max(1)
}

fn show(what: &str, report: &Report) {
    let mut pairs: Vec<_> = report.iter().collect();
    pairs.sort();
    println!("{what}: {pairs:?}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn memory_has_a_ceiling_and_honest_traffic_goes_on() {
    let network = Namespace::new().unwrap();
    network.bridge("br0").unwrap();
    let datagrams = env::var(VARIABLE).map_or(DATAGRAMS, |text| text.parse().unwrap());
    network.run(|| besiege(&network, datagrams));
}

fn besiege(network: &Namespace, datagrams: u64) {
    let mut victim = Victim::start(network);
    let honest = [(); 2].map(|()| RawBroadcaster::open(&connection()).unwrap());
    let streams = [honest[0].stream(), honest[1].stream()];
    victim.trust(&streams);
    let stop = &AtomicBool::new(false);
    let shapes = [
        (100, Duration::from_millis(1)),
        (MIB, Duration::from_millis(50)),
    ];
    let (siege, published) = thread::scope(|scope| {
        let publishers: Vec<_> = honest
            .iter()
            .zip(shapes)
            .map(|(to, (len, every))| scope.spawn(move || publish(to, len, every, stop)))
            .collect();
        let siege = Siege::lay(&mut victim, &streams, datagrams);
        stop.store(true, Ordering::Relaxed);
        let published = publishers.into_iter().map(|it| it.join().unwrap());
        (siege, published.collect::<Vec<u64>>())
    });
    thread::sleep(SETTLE);
    let end = victim.report();
    siege.judge_memory();
    judge_honest(&end, &published);
    assert_eq!(victim.finish(), "well");
}

/// What the listener's process had before, in the midst and at the end of a flood.
struct Siege {
    before: Report,
    early: Report,
    late: Report,
    /// What was resident on average in the first and in the second half of what
    /// came after `early`, in KiB.
    halves: [u64; 2],
}

impl Siege {
    fn lay(victim: &mut Victim, honest: &[StreamId], datagrams: u64) -> Self {
        thread::sleep(Duration::from_secs(1));
        let before = victim.report();
        let mut attack = Attack::new(connection().group(), 1, LONGEST, honest.to_vec());
        attack.begin();
        let (begun, full) = (Instant::now(), (datagrams / 5).max(FULL));
        flood(&mut attack, victim, full);
        let early = victim.report();
        let halves = [u64::midpoint(full, datagrams), datagrams];
        let halves = halves.map(|until| flood(&mut attack, victim, until));
        let late = victim.report();
        println!(
            "{} hostile datagrams sent, {} of them received, in {:.1?}",
            attack.sent,
            late["hostile_received"],
            begun.elapsed()
        );
        Self {
            before,
            early,
            late,
            halves,
        }
    }

    fn judge_memory(&self) {
        let Self {
            before,
            early,
            late,
            halves,
        } = self;
        show("before", before);
        show("early", early);
        show("late", late);
        let kib = |bytes: usize| bytes as u64 / 1024;
        let allowed: usize = TERMS.iter().map(|(_, bytes)| bytes).sum();
        let ceiling = before["VmHWM"] + kib(allowed);
        println!("{:>8} KiB  the process before", before["VmHWM"]);
        for (what, bytes) in TERMS {
            println!("{:>8} KiB  {what}", kib(bytes));
        }
        println!("{ceiling:>8} KiB  in all");
        println!(
            "{:>8} KiB  peak after {} datagrams",
            early["VmHWM"], early["hostile_received"]
        );
        println!(
            "{:>8} KiB  peak after {} datagrams",
            late["VmHWM"], late["hostile_received"]
        );
        println!("{halves:?} KiB resident on average in the halves between");
        assert!(late["VmHWM"] <= ceiling);
        assert!(halves[1] <= halves[0] + NOISE, "it grows");
        assert!(late["reassembly"] <= BUDGET as u64);
        // The flood did all that it was to do.
        assert!(late["reassembly"] > BUDGET as u64 / 2);
        for name in DONE {
            assert!(late[name] > 0, "{name}");
        }
    }
}

fn judge_honest(end: &Report, published: &[u64]) {
    assert_eq!(end["wrong"], 0);
    for (name, published) in ["small", "large"].into_iter().zip(published) {
        let of = |what: &str| end[&format!("{name}_{what}")];
        println!(
            "honest {name} messages: {published} published, {} delivered, {} of them taken in time; \
             {} datagrams missing, {} messages gave way, {} restarts",
            of("delivered"),
            end[name],
            of("missing"),
            of("gave_way"),
            of("restarts"),
        );
        // It is never forgotten: all that it was heard to say is on one account.
        assert_eq!(of("restarts"), 0, "{name}");
        assert!(
            of("delivered") + of("missing") + of("gave_way") + 1 >= *published,
            "{name}"
        );
        assert!(of("delivered") * 10 >= published * 9, "{name}");
    }
}
