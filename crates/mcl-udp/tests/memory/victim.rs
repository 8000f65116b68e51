//! The listener in a process of its own, and how its parent talks to it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use mcl_testbed::{Namespace, Peer, role, tell};
use mcl_udp::{
    ListenerStatistics, Payload, Queue, QueueOptions, Raw, RawListener, StreamId, StreamReport,
};

use crate::ceiling::{BUDGET, LONGEST, QUEUE_BYTES, connection, payload};

/// Under which honest messages are published.
pub(crate) const TOPIC: &str = "honest";

/// What the listener says of itself, and the system of its process.
pub(crate) type Report = HashMap<String, u64>;

pub(crate) struct Victim(Peer);

impl Victim {
    /// Starts the listener and waits until it listens.
    pub(crate) fn start(network: &Namespace) -> Self {
        let mut peer = Peer::start(network, "victim::child_process", "victim", &[]).unwrap();
        peer.expect("ready");
        Self(peer)
    }

    fn ask(&mut self, question: &str) -> String {
        self.0.say(question);
        self.0.hear()
    }

    /// Hostile datagrams that the listener has been given by its socket.
    pub(crate) fn received(&mut self) -> u64 {
        self.ask("received").parse().unwrap()
    }

    pub(crate) fn report(&mut self) -> Report {
        let mut report: Report = self
            .ask("report")
            .split(' ')
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect();
        for name in ["VmHWM", "VmRSS", "Threads"] {
            report.insert(name.to_owned(), self.status(name));
        }
        report
    }

    /// A line of the process's status: KiB, or a number.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix(name)).unwrap();
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }

    /// Has the listener closed and its process ended; tells how that went.
    pub(crate) fn finish(mut self) -> String {
        let said = self.ask("close");
        self.0.finish();
        said
    }

    /// Which streams are honest is known when their broadcasters are open.
    pub(crate) fn trust(&mut self, streams: &[StreamId]) {
        for stream in streams {
            assert_eq!(self.ask(&format!("honest {}", stream.0)), "noted");
        }
    }
}

/// What came over the honest streams.
#[derive(Debug, Default)]
struct Honest {
    streams: Vec<StreamId>,
    /// By stream: how many, and how many of them were not what was sent.
    right: HashMap<StreamId, u64>,
    wrong: u64,
    hostile: u64,
}

fn consume(queue: &Queue<Payload, Raw>, honest: &Mutex<Honest>) {
    while let Ok(message) = queue.recv() {
        let mut honest = honest.lock().unwrap();
        if !honest.streams.contains(&message.stream) {
            honest.hostile += 1;
            continue;
        }
        let expected = payload(message.payload.len(), message.number);
        if message.topic.as_deref() == Some(TOPIC) && message.payload == expected {
            *honest.right.entry(message.stream).or_default() += 1;
        } else {
            honest.wrong += 1;
        }
    }
}

/// Where the listener's process begins; no test of its own.
#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn child_process() {
    if role().is_none() {
        return;
    }
    let listener = RawListener::builder(&connection())
        .max_message_len(LONGEST)
        .reassembly_bytes(BUDGET)
        .open()
        .unwrap();
    let queue = listener.queue_with(QueueOptions::default().with_max_bytes(QUEUE_BYTES));
    let honest = Arc::<Mutex<Honest>>::default();
    let consumer = Arc::clone(&honest);
    thread::spawn(move || consume(&queue, &consumer));
    tell("ready");
    for line in io::stdin().lines() {
        let line = line.unwrap();
        if line == "close" {
            break;
        }
        tell(match line.split_once(' ') {
            None if line == "received" => {
                hostile(&listener.statistics(), &honest.lock().unwrap()).to_string()
            }
            None => describe(&listener, &honest.lock().unwrap()),
            Some((_, stream)) => {
                let stream = StreamId(stream.parse().unwrap());
                honest.lock().unwrap().streams.push(stream);
                "noted".to_owned()
            }
        });
    }
    assert!(listener.close());
    tell("well");
}

/// Datagrams taken in that were none of the honest streams'.
fn hostile(statistics: &ListenerStatistics, honest: &Honest) -> u64 {
    let streams = statistics.streams.iter();
    let theirs = streams.filter(|stream| honest.streams.contains(&stream.id));
    let theirs: u64 = theirs.map(|stream| stream.datagrams.received).sum();
    statistics.wire.datagrams_fed - theirs
}

/// What became of an honest stream's messages.
fn describe_stream(name: &str, report: &StreamReport) -> String {
    let messages = report.messages;
    let gave_way = messages.evicted + messages.abandoned + messages.refused + messages.expired;
    [
        ("delivered", messages.delivered),
        ("missing", report.datagrams.missing),
        ("gave_way", gave_way + messages.stranded),
        ("restarts", report.datagrams.restarts),
    ]
    .map(|(what, count)| format!("{name}_{what}={count}"))
    .join(" ")
}

fn describe(listener: &RawListener, honest: &Honest) -> String {
    let statistics = listener.statistics();
    let (wire, messages) = (statistics.wire, statistics.wire.messages);
    let mut pairs = vec![
        ("hostile_received", hostile(&statistics, honest)),
        ("dropped", wire.datagrams.dropped()),
        ("started", messages.started),
        ("completed", messages.completed),
        ("evicted", messages.evicted),
        ("expired", messages.expired),
        ("stranded", messages.stranded),
        ("abandoned", messages.abandoned),
        ("refused", messages.refused),
        ("too_large", messages.too_large),
        ("delivered", messages.delivered),
        ("malformed", messages.malformed()),
        ("duplicate", wire.datagrams.duplicate),
        ("stale", wire.datagrams.stale),
        ("jumps", wire.datagrams.jump),
        ("contradicting", wire.frames.fragment_contradicting),
        ("streams_started", wire.streams_started),
        ("streams_departed", wire.departed.streams),
        ("streams", statistics.streams.len() as u64),
        ("reassembly", statistics.reassembly_bytes as u64),
        ("kernel_drops", statistics.kernel_drops.unwrap_or_default()),
        ("wrong", honest.wrong),
        ("hostile", honest.hostile),
    ];
    let names = ["small", "large"];
    for (name, stream) in names.into_iter().zip(&honest.streams) {
        let right = honest.right.get(stream).copied().unwrap_or_default();
        pairs.push((name, right));
    }
    let mut said: Vec<String> = pairs
        .iter()
        .map(|(name, it)| format!("{name}={it}"))
        .collect();
    for (name, stream) in names.into_iter().zip(&honest.streams) {
        let report = statistics.streams.iter().find(|it| it.id == *stream);
        said.extend(report.map(|report| describe_stream(name, report)));
    }
    said.join(" ")
}
