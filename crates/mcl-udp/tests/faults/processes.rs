//! What the child processes do.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mcl_testbed::{Watchdog, ask, role, tell};
use mcl_udp::{
    Connection, ListenerStatistics, Message, Payload, Policy, QueueOptions, RawBroadcaster,
    RawListener, StreamReport, SubscriptionId,
};
use serde::{Deserialize, Serialize};

use crate::payload::{SHORTEST, check, content};
use crate::scenario::HUNG;

pub(crate) const SEED: &str = "MCL_TEST_SEED";
pub(crate) const CRC: &str = "MCL_TEST_CRC";
pub(crate) const RECEIVE_BUFFER: &str = "MCL_TEST_RECEIVE_BUFFER";
pub(crate) const QUEUE: &str = "MCL_TEST_QUEUE";
pub(crate) const PAUSE_MICROS: &str = "MCL_TEST_PAUSE_MICROS";
pub(crate) const INLINE: &str = "MCL_TEST_INLINE";

/// How fast broadcasters publish: an ordinary receive buffer outlasts some
/// milliseconds of it, on a machine with other things to do.
const BYTES_PER_SECOND: f64 = 30e6;

/// How long the system may take to make a thread that was joined vanish.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Where child processes begin; no test of its own.
#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn child_process() {
    let Some(role) = role() else { return };
    let _watchdog = Watchdog::start(HUNG);
    match role.as_str() {
        "broadcaster" => broadcaster(),
        "listener" => listener(),
        "descriptors" => crate::with_ethtool::descriptors::starved(),
        other => panic!("no such role: {other}"),
    }
}

/// The connection of all scenarios: each has a network of its own.
pub(crate) fn connection() -> Connection {
    Connection::new("ff15::6661:756c:7473").unwrap()
}

/// A number from the environment, or what it is by default.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    let set = env::var(name).ok().map(|value| value.parse());
    set.map_or(default, |value| {
        value.unwrap_or_else(|_| panic!("{name} is no number"))
    })
}

/// Open descriptors and threads of this process.
pub(crate) fn resources() -> (usize, usize) {
    let count = |path| fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Waits until the process has no more than it had before.
pub(crate) fn nothing_is_left_of(before: (usize, usize)) {
    let deadline = Instant::now() + GONE_WITHIN;
    while resources() != before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(resources(), before, "descriptors and threads");
}

/// What a broadcaster has sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) stream: u64,
    pub(crate) messages: u64,
    pub(crate) numbers: u64,
    pub(crate) datagrams: u64,
    pub(crate) failed: u64,
    pub(crate) restarted: u64,
    /// Of the messages, those that are no marks; the parent knows.
    pub(crate) traffic: u64,
}

/// Publishes as it is told to: "publish <messages> <len>".
fn broadcaster() {
    let before = resources();
    let (seed, crc) = (setting(SEED, 0), setting(CRC, false));
    let broadcaster = RawBroadcaster::builder(&connection())
        .topic("faults")
        .crc(crc)
        .open()
        .unwrap();
    let mut next = 0;
    tell("ready");
    loop {
        let said = ask();
        let words: Vec<&str> = said.split(' ').collect();
        match words[..] {
            ["publish", messages, len] => {
                let (messages, len): (u64, _) = (messages.parse().unwrap(), len.parse().unwrap());
                publish(&broadcaster, seed, next..next + messages, len);
                next += messages;
                tell(serde_json::to_string(&account(&broadcaster)).unwrap());
            }
            ["end"] => break,
            _ => panic!("{said:?}?"),
        }
    }
    drop(broadcaster);
    nothing_is_left_of(before);
}

fn publish(broadcaster: &RawBroadcaster, seed: u64, numbers: std::ops::Range<u64>, len: usize) {
    let (begun, mut bytes) = (Instant::now(), 0.0);
    for number in numbers {
        broadcaster.publish(&content(seed, number, len)).unwrap();
        bytes += len as f64;
        let due = Duration::from_secs_f64(bytes / BYTES_PER_SECOND);
        let ahead = due.saturating_sub(begun.elapsed());
        // Sleeping takes as long as this: less is not worth it.
        if ahead > Duration::from_micros(200) {
            thread::sleep(ahead);
        }
    }
}

fn account(broadcaster: &RawBroadcaster) -> Sent {
    let sent = broadcaster.statistics();
    Sent {
        stream: broadcaster.stream().0,
        messages: sent.messages,
        numbers: sent.numbers,
        datagrams: sent.datagrams,
        failed: sent.failed,
        restarted: sent.restarted,
        traffic: 0,
    }
}

/// What a listener has received, by its own account, and what its callback saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Heard {
    /// Messages that were right, byte by byte.
    pub(crate) right: u64,
    /// Of these, those that are no marks.
    pub(crate) traffic: u64,
    /// Messages that were not.
    pub(crate) wrong: u64,
    /// Messages that came a second time.
    pub(crate) twice: u64,
    /// Of how many senders there were any.
    pub(crate) senders: usize,

    pub(crate) fed: u64,
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    /// Too far ahead, or behind, to be used: damage alone does that here.
    pub(crate) jump: u64,
    pub(crate) dropped: u64,
    pub(crate) foreign: u64,
    pub(crate) receive_errors: u64,

    pub(crate) bodies: u64,
    pub(crate) delivered: u64,
    pub(crate) filtered: u64,
    pub(crate) malformed: u64,
    pub(crate) crc_mismatch: u64,
    pub(crate) unclaimed: u64,
    pub(crate) pending: u64,

    pub(crate) taken: u64,
    pub(crate) dropped_oldest: u64,
    pub(crate) dropped_newest: u64,
    pub(crate) queued: usize,
    pub(crate) panics: u64,
    pub(crate) undecodable: u64,

    pub(crate) streams: Vec<Stream>,
}

/// The account of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    /// Datagrams that came, and those that did not, from number 0 on.
    pub(crate) datagrams: u64,
    pub(crate) missing: u64,
    pub(crate) late: u64,
    pub(crate) stale: u64,
    pub(crate) jumps: u64,
    pub(crate) restarts: u64,
    /// Message numbers up to the highest.
    pub(crate) numbers: u64,
    pub(crate) delivered: u64,
    /// Messages of which something came.
    pub(crate) incomplete: u64,
    /// Messages of which nothing came.
    pub(crate) unseen: u64,
    /// Everything else that a message can come to, which is nothing here.
    pub(crate) others: u64,
}

impl Stream {
    fn of(report: &StreamReport) -> Self {
        let (datagrams, numbers) = (&report.datagrams, &report.numbers);
        let account = report.account();
        Self {
            id: report.id.0,
            datagrams: datagrams.received + datagrams.before_first + datagrams.apart,
            missing: datagrams.missing + datagrams.unheard(),
            late: datagrams.late,
            stale: datagrams.stale,
            jumps: datagrams.jumps + numbers.jumps,
            restarts: datagrams.restarts + numbers.restarts,
            numbers: numbers.highest + 1,
            delivered: account.delivered,
            incomplete: account.expired
                + account.stranded
                + account.evicted
                + account.abandoned
                + account.refused,
            unseen: account.missing + numbers.unheard(),
            others: account.too_large
                + account.crc_mismatch
                + account.malformed
                + account.filtered
                + account.unclaimed
                + account.incomplete,
        }
    }

    /// All of them, by what became of them.
    pub(crate) fn messages(&self) -> u64 {
        self.delivered + self.incomplete + self.unseen + self.others
    }
}

/// What came, as the callback saw it.
#[derive(Debug, Default)]
struct Inbox {
    right: BTreeSet<(u64, u64)>,
    traffic: u64,
    wrong: u64,
    twice: u64,
}

impl Inbox {
    fn take(&mut self, message: &Message<Payload>) {
        match check(&message.payload) {
            Some(which) if message.topic.as_deref() == Some("faults") => {
                self.twice += u64::from(!self.right.insert(which));
                self.traffic += u64::from(message.payload.len() > SHORTEST);
            }
            _ => self.wrong += 1,
        }
    }
}

/// Receives, checks every byte, and says what came when asked for its "account".
fn listener() {
    let before = resources();
    let listener = RawListener::builder(&connection())
        .receive_buffer(setting(RECEIVE_BUFFER, 4 << 20))
        .open()
        .unwrap();
    let inbox = Arc::<Mutex<Inbox>>::default();
    let id = subscribe(&listener, Arc::clone(&inbox));
    tell("ready");
    loop {
        match ask().as_str() {
            "account" => {
                let heard = heard(&listener, id, &inbox);
                tell(serde_json::to_string(&heard).unwrap());
            }
            "end" => break,
            said => panic!("{said:?}?"),
        }
    }
    assert!(listener.close());
    drop(listener);
    nothing_is_left_of(before);
}

fn subscribe(listener: &RawListener, inbox: Arc<Mutex<Inbox>>) -> SubscriptionId {
    let pause = Duration::from_micros(setting(PAUSE_MICROS, 0));
    let callback = move |message: Message<Payload>| {
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        inbox.lock().unwrap().take(&message);
    };
    if setting(INLINE, false) {
        return listener.subscribe_inline(callback);
    }
    let options = QueueOptions::default()
        .with_max_messages(setting(QUEUE, 1 << 20))
        .with_max_bytes(1 << 30)
        .with_policy(Policy::DropNewest);
    listener.try_subscribe(options, callback).unwrap()
}

fn heard(listener: &RawListener, id: SubscriptionId, inbox: &Mutex<Inbox>) -> Heard {
    let all = listener.statistics();
    let taken = listener.subscription_statistics(id).unwrap();
    let inbox = inbox.lock().unwrap();
    let senders: BTreeSet<u64> = inbox.right.iter().map(|(seed, _)| *seed).collect();
    Heard {
        right: inbox.right.len() as u64,
        traffic: inbox.traffic,
        wrong: inbox.wrong,
        twice: inbox.twice,
        senders: senders.len(),
        taken: taken.delivered,
        dropped_oldest: taken.dropped_oldest,
        dropped_newest: taken.dropped_newest,
        queued: taken.queued_messages,
        panics: taken.panics,
        undecodable: taken.undecodable,
        ..received(&all)
    }
}

fn received(all: &ListenerStatistics) -> Heard {
    let (datagrams, messages) = (&all.wire.datagrams, &all.wire.messages);
    Heard {
        fed: all.wire.datagrams_fed,
        accepted: datagrams.accepted,
        duplicate: datagrams.duplicate,
        jump: datagrams.jump,
        dropped: datagrams.dropped(),
        foreign: all.foreign.other_group + all.foreign.other_interface,
        receive_errors: all.receive_errors,
        bodies: messages.bodies(),
        delivered: messages.delivered,
        filtered: messages.filtered,
        malformed: messages.malformed(),
        crc_mismatch: messages.crc_mismatch,
        unclaimed: messages.unclaimed,
        pending: messages.pending(),
        streams: all.streams.iter().map(Stream::of).collect(),
        ..Heard::default()
    }
}
