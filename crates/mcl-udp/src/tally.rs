//! What a broadcaster counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::interface::InterfaceChanges;

/// What a broadcaster has sent so far.
///
/// A listener that was there from the start and has heard the last message accounts for
/// all of it: `numbers` is the sum of the [`Account`](crate::Account) of its stream, and
/// of what it says to be [`unheard`](crate::SequenceCounts::unheard).
///
/// `Display` is for people: some lines, with what is not zero; `{:#}` is one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BroadcasterStatistics {
    /// Messages published whole: the kernel has all of each. A message that
    /// waits for company is not among them yet.
    pub messages: u64,
    /// Payload bytes of these.
    pub bytes: u64,
    /// Those of them that went in a train which messages share, alone in it or
    /// not: by [`coalesce`](crate::BroadcasterBuilder::coalesce) or in a batch.
    pub coalesced: u64,
    /// Such trains: system calls, where segmentation offload is to be had.
    pub trains: u64,
    /// Datagrams handed to the kernel, those of failed messages included. The
    /// datagrams of a stream are numbered from 0 to one less than this.
    pub datagrams: u64,
    /// Message numbers given out, those of failed, unsent and restarted messages
    /// included: once nothing waits, `numbers - messages` is what no listener can
    /// have got whole.
    pub numbers: u64,
    /// Publish calls that failed, having sent something or not.
    pub failed: u64,
    /// Messages that were accepted and then could not be sent; see
    /// [`flush`](crate::Broadcaster::flush).
    pub unsent: u64,
    /// How often a message, or a train of them, was begun anew because the MTU
    /// fell; a message under a new number if some of it had gone out.
    pub restarted: u64,
    /// Time spent waiting for the pacing. For serde: `paced_nanos`, in nanoseconds.
    #[serde(rename = "paced_nanos", with = "nanos")]
    pub paced: Duration,
    /// How often the interface was away when something was published, and what came of
    /// it.
    pub interface: InterfaceChanges,
}

impl BroadcasterStatistics {
    /// Numbers under which no message went out whole: publishing failed part of the
    /// way, or was begun anew under another number, or accepted messages could not be
    /// sent; or they wait for company still.
    #[must_use]
    pub const fn unfinished(&self) -> u64 {
        self.numbers.saturating_sub(self.messages)
    }
}

mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

/// The counters behind [`BroadcasterStatistics`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    messages: AtomicU64,
    bytes: AtomicU64,
    coalesced: AtomicU64,
    trains: AtomicU64,
    datagrams: AtomicU64,
    failed: AtomicU64,
    restarted: AtomicU64,
    numbers: AtomicU64,
    paced_nanos: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// As [`add`], by who holds the lock that sends: nobody else counts there, which spares a locked
/// instruction.
fn add_alone(counter: &AtomicU64, count: u64) {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(count), Ordering::Relaxed);
}

impl Tally {
    // These with the lock held that sends.

    /// `messages` of so many payload bytes are sent whole.
    pub(crate) fn messages(&self, messages: u64, bytes: u64) {
        add_alone(&self.messages, messages);
        add_alone(&self.bytes, bytes);
    }

    /// These were messages of one train.
    pub(crate) fn train(&self, messages: u64) {
        add_alone(&self.coalesced, messages);
        add_alone(&self.trains, 1);
    }

    pub(crate) fn datagrams(&self, sent: u64) {
        add_alone(&self.datagrams, sent);
    }

    // These by anyone.

    pub(crate) fn failed(&self) {
        add(&self.failed, 1);
    }

    pub(crate) fn restarted(&self) {
        add(&self.restarted, 1);
    }

    /// So many numbers are given out now, in all.
    pub(crate) fn numbers(&self, numbers: u64) {
        self.numbers.store(numbers, Ordering::Relaxed);
    }

    pub(crate) fn paced(&self, waited: Duration) {
        add(
            &self.paced_nanos,
            u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX),
        );
    }

    pub(crate) fn statistics(&self) -> BroadcasterStatistics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BroadcasterStatistics {
            messages: of(&self.messages),
            bytes: of(&self.bytes),
            coalesced: of(&self.coalesced),
            trains: of(&self.trains),
            datagrams: of(&self.datagrams),
            numbers: of(&self.numbers),
            failed: of(&self.failed),
            unsent: 0,
            restarted: of(&self.restarted),
            paced: Duration::from_nanos(of(&self.paced_nanos)),
            interface: InterfaceChanges::default(),
        }
    }
}
