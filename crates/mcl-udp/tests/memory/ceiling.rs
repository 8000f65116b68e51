//! The bound, and the test that asserts it.

use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::Namespace;
use mcl_udp::{Connection, RawBroadcaster};

use crate::Rng;
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
    // 1024 streams: an account of 1.3 KiB, a table of 64 messages, an entry in a map.
    ("streams", 1024 * 5 * 512),
    // Blocks in use again and again, and one that each queued message may keep.
    ("blocks of small messages", 5 * MIB),
    // 16 of 64 KiB, and topics: 4096 of 255 bytes.
    ("trains and topics", 3 * MIB),
    // Free memory between blocks in use, which glibc's malloc cannot give back.
    ("the allocator", BUDGET / 2),
];

/// How many datagrams the listener is to receive, unless the environment says more.
const DATAGRAMS: u64 = 1_000_000;
const VARIABLE: &str = "MCL_CEILING_DATAGRAMS";

/// How long the flood may take: a bound against hanging.
const PATIENCE: Duration = Duration::from_secs(500);

/// Trains after which the attacker waits for the listener, so that what is sent is
/// received and not dropped by the kernel.
const VOLLEY: usize = 16;

pub(crate) fn connection() -> Connection {
    Connection::new("ff15::c73d:cf41:ea8e:b0a0").unwrap()
}

/// The only honest payload of this length under this number.
pub(crate) fn payload(len: usize, number: u64) -> Vec<u8> {
    let mut rng = Rng(number ^ len as u64);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8))
        .flat_map(|_| rng.next().to_le_bytes())
        .collect();
    bytes.truncate(len);
    bytes
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

/// Floods until the listener has received so many datagrams.
fn flood(attack: &mut Attack, victim: &mut Victim, until: u64) {
    let deadline = Instant::now() + PATIENCE;
    let mut received = victim.received();
    while received < until {
        assert!(Instant::now() < deadline, "{received} of {until} received");
        let before = attack.sent;
        for _ in 0..VOLLEY {
            attack.strike();
        }
        let volley = attack.sent - before;
        let expected = received + volley;
        let given_up = Instant::now() + Duration::from_millis(20);
        while received < expected && Instant::now() < given_up {
            received = victim.received();
        }
    }
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
    let stop = AtomicBool::new(false);
    let published = [(); 2].map(|()| AtomicU64::new(0));
    let shapes = [
        (100, Duration::from_millis(1)),
        (MIB, Duration::from_millis(50)),
    ];
    let reports = thread::scope(|scope| {
        for ((broadcaster, count), (len, every)) in honest.iter().zip(&published).zip(shapes) {
            let stop = &stop;
            scope.spawn(move || {
                let number = publish(broadcaster, len, every, stop);
                count.store(number, Ordering::Relaxed);
            });
        }
        thread::sleep(Duration::from_secs(1));
        let before = victim.report();
        let group = connection().group();
        let mut attack = Attack::new(group, 1, LONGEST, streams.to_vec());
        flood(&mut attack, &mut victim, datagrams / 5);
        let early = victim.report();
        flood(&mut attack, &mut victim, datagrams);
        let late = victim.report();
        stop.store(true, Ordering::Relaxed);
        println!("{} hostile datagrams were sent", attack.sent);
        [before, early, late]
    });
    thread::sleep(Duration::from_millis(200));
    let end = victim.report();
    judge(&reports, &end, published.map(AtomicU64::into_inner));
}

fn judge([before, early, late]: &[Report; 3], end: &Report, published: [u64; 2]) {
    for (what, report) in [
        ("before", before),
        ("early", early),
        ("late", late),
        ("end", end),
    ] {
        show(what, report);
    }
    let kib = |bytes: usize| bytes as u64 / 1024;
    let allowed: usize = TERMS.iter().map(|(_, bytes)| bytes).sum();
    let ceiling = before["VmHWM"] + kib(allowed);
    for (what, bytes) in TERMS {
        println!("{:>8} KiB  {what}", kib(bytes));
    }
    println!("{:>8} KiB  the process before", before["VmHWM"]);
    println!(
        "{ceiling:>8} KiB  in all; the peak was {} KiB",
        late["VmHWM"]
    );
    for (name, published) in ["small", "large"].into_iter().zip(published) {
        println!("{name}: {published} published, {} received", end[name]);
    }
    assert!(late["VmHWM"] <= ceiling);
    assert!(late["VmHWM"] <= early["VmHWM"] + 2 * 1024, "it grows");
    assert!(late["reassembly"] <= BUDGET as u64);
    assert_eq!(end["wrong"], 0);
    // The flood did all that it was to do.
    for name in [
        "evicted",
        "duplicate",
        "jumps",
        "contradicting",
        "too_large",
        "malformed",
    ] {
        assert!(late[name] > 0, "{name}");
    }
    for (name, published) in ["small", "large"].into_iter().zip(published) {
        assert!(end[name] * 10 >= published * 9, "{name}");
    }
}
