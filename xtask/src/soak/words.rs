//! What the processes of a soak tell the one that started them, a line of JSON each.

use std::io::{self, Write};
use std::panic;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::account::Pair;
use super::resources::Resources;
use super::roles::Receiving;

/// What a broadcaster's process is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BroadcasterTask {
    pub(super) role: usize,
    pub(super) seed: u64,
    /// How often a process had this role before.
    pub(super) launch: u32,
    pub(super) load: f64,
    pub(super) connection: String,
    /// The file in which it leaves its numbers, for when it is killed.
    pub(super) ledger: String,
}

/// What a listener's process is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ListenerTask {
    pub(super) role: usize,
    pub(super) seed: u64,
    pub(super) connection: String,
}

/// What was sent on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Message numbers given out.
    pub(super) numbers: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) datagrams: u64,
    pub(super) failed: u64,
    pub(super) unsent: u64,
    pub(super) restarted: u64,
    /// How often sending went on over another interface index.
    pub(super) rejoined: u64,
}

impl Sent {
    pub(super) fn add(&mut self, other: &Self) {
        self.numbers += other.numbers;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.datagrams += other.datagrams;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.restarted += other.restarted;
        self.rejoined += other.rejoined;
    }
}

/// What a listener found itself, looking at each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Messages that are what was sent.
    pub(super) verified: u64,
    pub(super) bytes: u64,
    /// Messages that are not.
    pub(super) wrong: u64,
    /// Messages that came a second time.
    pub(super) repeated: u64,
}

impl Found {
    pub(super) fn add(&mut self, other: Self) {
        self.verified += other.verified;
        self.bytes += other.bytes;
        self.wrong += other.wrong;
        self.repeated += other.repeated;
    }
}

/// What became of messages after they were whole, and of datagrams that belong to no
/// stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aside {
    pub(super) dropped_oldest: u64,
    pub(super) dropped_newest: u64,
    pub(super) undecodable: u64,
    /// Of all that was delivered, what is none of these and was not taken either: the
    /// listener closed while it waited.
    pub(super) discarded: u64,
    /// Panics of callbacks.
    pub(super) panics: u64,
    pub(super) foreign: u64,
    /// Datagrams that are none of ours, or malformed.
    pub(super) malformed_datagrams: u64,
    pub(super) duplicate_datagrams: u64,
    /// Too old, or too far ahead.
    pub(super) stale_datagrams: u64,
    pub(super) missing_datagrams: u64,
    pub(super) late_datagrams: u64,
    pub(super) kernel_drops: u64,
    pub(super) receive_errors: u64,
    /// Streams that lost their place.
    pub(super) departed: u64,
    /// How often the group was joined anew.
    pub(super) rejoined: u64,
}

impl Aside {
    pub(super) fn add(&mut self, other: &Self) {
        self.dropped_oldest += other.dropped_oldest;
        self.dropped_newest += other.dropped_newest;
        self.undecodable += other.undecodable;
        self.discarded += other.discarded;
        self.panics += other.panics;
        self.foreign += other.foreign;
        self.malformed_datagrams += other.malformed_datagrams;
        self.duplicate_datagrams += other.duplicate_datagrams;
        self.stale_datagrams += other.stale_datagrams;
        self.missing_datagrams += other.missing_datagrams;
        self.late_datagrams += other.late_datagrams;
        self.kernel_drops += other.kernel_drops;
        self.receive_errors += other.receive_errors;
        self.departed += other.departed;
        self.rejoined += other.rejoined;
    }
}

/// The account of a listener that was opened and closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Visit {
    pub(super) receiving: Receiving,
    /// When it was open, since the Unix epoch.
    pub(super) opened: Duration,
    pub(super) closed: Duration,
    /// Whether it was closed because the soak ended: the network was at rest then.
    pub(super) at_rest: bool,
    pub(super) pairs: Vec<Pair>,
    pub(super) found: Found,
    pub(super) aside: Aside,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// It runs, and has opened nothing yet.
    Ready(Resources),
    /// A listener is open.
    Open,
    /// A broadcaster is open, and has sent nothing yet.
    Stream { id: u64, life: u32, at: Duration },
    /// It is closed.
    Ended { id: u64, sent: Sent, at: Duration },
    /// All that it has sent so far, over all its streams.
    Sending { messages: u64, bytes: u64 },
    /// All that it has received so far.
    Finding(Found),
    /// A listener was open and is closed.
    Visit(Box<Visit>),
    /// What it holds while nothing is open.
    Closed(Resources),
    /// Something could not be done; it is tried again.
    Trouble(String),
    /// Something that must not happen.
    Failure(String),
}

/// Says something to the process that listens.
///
/// # Errors
/// It does not listen any more.
pub(super) fn say(word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_string(word)?;
    line.push('\n');
    // In one piece: several threads speak.
    io::stdout().lock().write_all(line.as_bytes())
}

/// Has panics reported, wherever they happen.
pub(super) fn report_panics() {
    panic::set_hook(Box::new(|info| {
        // If nobody listens any more, nobody is told.
        let _ = say(&Word::Failure(info.to_string()));
    }));
}

/// Now, since the Unix epoch: a time that processes can compare.
pub(super) fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
