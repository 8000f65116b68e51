//! A network of one's own, patience, child processes.

use std::fmt::Debug;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::{Namespace, Peer, SplitMix64, Watchdog, role};
use mcl_udp::{
    Account, BroadcasterStatistics, Connection, Decoder, InterfaceChoice, Listener,
    ListenerStatistics, Message, Payload, Queue, RawListener, StreamId,
};

/// How long a test waits for what must come. A bound against hanging, no more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// After which a test is given up for hung.
const HUNG: Duration = Duration::from_secs(120);

/// Held by the tests that share the machine, and alone by those that measure
/// what a machine with nothing else to do can carry.
static MACHINE: RwLock<()> = RwLock::new(());

/// Runs a test in a network of its own that has one interface, `br0`.
pub(crate) fn in_network<R: Send>(test: impl FnOnce(&Namespace) -> R + Send) -> R {
    in_empty_network(|network| with_bridge(network, test))
}

/// Runs a test in a network of its own that has nothing but `lo`.
pub(crate) fn in_empty_network<R: Send>(test: impl FnOnce(&Namespace) -> R + Send) -> R {
    let _others_too = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    isolated(test)
}

/// As [`in_network`], while no other test runs.
pub(crate) fn alone_in_network<R: Send>(test: impl FnOnce(&Namespace) -> R + Send) -> R {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    isolated(|network| with_bridge(network, test))
}

fn isolated<R: Send>(test: impl FnOnce(&Namespace) -> R + Send) -> R {
    let _watchdog = Watchdog::start(HUNG);
    let network = Namespace::new().unwrap();
    network.run(|| test(&network))
}

fn with_bridge<R>(network: &Namespace, test: impl FnOnce(&Namespace) -> R) -> R {
    network.bridge("br0").unwrap();
    test(network)
}

/// The connection of tests that need just one: each has a network of its own.
pub(crate) fn connection() -> Connection {
    Connection::new("ff15::c73d:cf41:ea8e:b0a0").unwrap()
}

/// The same over the interface `name`.
pub(crate) fn on(name: &str) -> Connection {
    connection().with_interface(InterfaceChoice::Name(name.to_owned()))
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, condition), "still not: {what}");
}

/// Whether `condition` comes to hold in time.
pub(crate) fn holds_within(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// The next message of a queue, which must come and be one.
#[track_caller]
pub(crate) fn next<T, C: Decoder<T>>(queue: &Queue<T, C>) -> Message<T> {
    match queue.recv_timeout(PATIENCE) {
        Ok(message) => message,
        Err(error) => panic!("no message: {error:?}"),
    }
}

/// The payloads of the next `count` messages.
#[track_caller]
pub(crate) fn payloads<T, C: Decoder<T>>(queue: &Queue<T, C>, count: usize) -> Vec<T> {
    (0..count).map(|_| next(queue).payload).collect()
}

/// Whether the listener's account names a loss that `before` did not.
pub(crate) fn names_a_loss(before: &ListenerStatistics, after: &ListenerStatistics) -> bool {
    after.datagrams_missing() > before.datagrams_missing()
        || after.messages_lost() > before.messages_lost()
        || after.kernel_drops > before.kernel_drops
}

/// What a broadcaster says that it sent and what a listener says became of it.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) account: Account,
    /// Messages sent before the first that was heard: lost, if the listener was there.
    pub(crate) unheard: u64,
    /// Messages sent after the last that was heard: lost, or on their way.
    pub(crate) tail: u64,
}

/// Compares the accounts of a stream's broadcaster and of a listener: they must agree
/// to the message and to the datagram. Both are to be taken while nothing is under way.
#[track_caller]
pub(crate) fn audit(
    stream: StreamId,
    sent: &BroadcasterStatistics,
    heard: &ListenerStatistics,
) -> Audit {
    let report = heard.stream(stream).expect("the stream was heard");
    let (numbers, datagrams) = (report.numbers, report.datagrams);
    assert_eq!((numbers.restarts, datagrams.restarts), (0, 0), "{report:?}");
    let audit = Audit {
        account: report.account(),
        unheard: numbers.unheard(),
        tail: sent
            .numbers
            .checked_sub(numbers.highest + 1 + numbers.apart)
            .unwrap(),
    };
    let told = audit.unheard + audit.account.total() + audit.tail;
    assert_eq!(sent.numbers, told, "{sent:#?}\n{report:#?}");
    // What never went out whole cannot have come whole.
    let whole = report.messages.bodies() + report.messages.whole_too_large;
    assert!(whole <= sent.messages, "{sent:#?}\n{report:#?}");
    let spanned =
        datagrams.unheard() + datagrams.before_first + datagrams.spanned + datagrams.apart;
    assert!(spanned <= sent.datagrams, "{sent:#?}\n{report:#?}");
    audit
}

/// As [`audit`], once the last message sent was heard and nothing is incomplete any
/// more: then the listener knows of everything. Publish once more until it does.
#[track_caller]
pub(crate) fn assert_account(
    stream: StreamId,
    sent: &BroadcasterStatistics,
    heard: &ListenerStatistics,
) -> Account {
    let Audit {
        account,
        unheard,
        tail,
    } = audit(stream, sent, heard);
    assert_eq!((tail, account.incomplete), (0, 0), "{sent:#?}\n{heard:#?}");
    let lost = unheard + account.lost();
    let kept = account.delivered + account.filtered + account.unclaimed;
    assert_eq!(sent.numbers, kept + lost, "{sent:#?}\n{heard:#?}");
    account
}

/// A payload that is easily told from others: every byte follows from the seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    SplitMix64::new(seed).bytes(len)
}

/// A raw listener and a queue of it, for what most tests need.
pub(crate) fn raw_listener() -> (RawListener, Queue<Payload, mcl_udp::Raw>) {
    let listener = RawListener::open(&connection()).unwrap();
    let queue = listener.queue();
    (listener, queue)
}

/// A typed listener and a queue of it.
pub(crate) fn typed_listener<T: serde::de::DeserializeOwned + 'static>() -> (Listener<T>, Queue<T>)
{
    let listener = Listener::open(&connection()).unwrap();
    let queue = listener.queue();
    (listener, queue)
}

/// Starts this test binary again in the role, with these environment variables.
pub(crate) fn start_child(network: &Namespace, role: &str, variables: &[(&str, &str)]) -> Peer {
    Peer::start(network, "support::child_process", role, variables).unwrap()
}

/// Where child processes begin; no test of its own.
#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn child_process() {
    let Some(role) = role() else { return };
    let _watchdog = Watchdog::start(HUNG);
    match role.as_str() {
        "echo" => crate::delivery::echo(),
        "member" => crate::delivery::member(),
        "crowd" => crate::contention::crowd(),
        "churn" => crate::lifecycle::churn(),
        "environment" => crate::handles::environment(),
        "idle" => crate::idle::idle(),
        "away" => crate::recovery::away(),
        "idle hundred" => crate::rest::hundred(),
        "rest" => crate::rest::rest(),
        "idle coalescer" => crate::coalescing::idle(),
        "longest" => crate::sizes::longest(),
        other => panic!("no such role: {other}"),
    }
}

/// A text that is there, for `Debug` and `Display`.
#[track_caller]
pub(crate) fn says_something(value: &dyn Debug) {
    assert!(format!("{value:?}").len() > 3, "{value:?}");
}
