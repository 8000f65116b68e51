//! One listener, in any of the ways there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mcl_udp::{
    Connection, Encoding, Listener, ListenerBuilder, ListenerStatistics, Message, OpenError,
    Payload, Policy, PullError, Queue, QueueOptions, Raw, RawListener, RawPullListener,
    RecvTimeoutError, SubscriptionId, SubscriptionStatistics, TryRecvError,
};

use super::account::Pair;
use super::content::{Sample, verify};
use super::dice::Dice;
use super::roles::Receiving;
use super::stop::Stop;
use super::witness::Witness;
use super::words::{Aside, Found, Visit, now};

/// Bytes for messages under reassembly.
pub(super) const REASSEMBLY: usize = 48 << 20;

/// Bytes that wait in a queue.
pub(super) const QUEUED: usize = 24 << 20;

/// The longest payload; a sample is a little longer than its bytes.
const LONGEST: usize = 8 << 20;

/// More streams than there are in a day.
const STREAMS: usize = 1 << 16;

/// How long a slow consumer takes for a message, and how many wait for it.
const SLOWLY: Duration = Duration::from_millis(3);
const FEW: usize = 64;

/// How long to wait for a message before looking at the time.
const WAIT: Duration = Duration::from_millis(100);

/// A pull listener takes what is there when it closes, up to this.
const MOST_AT_END: usize = 100_000;

pub(super) struct Ear {
    seed: u64,
    witness: Arc<Mutex<Witness>>,
    way: Way,
}

enum Way {
    Queue(RawListener, Queue<Payload, Raw>, Duration),
    Callback(RawListener, SubscriptionId),
    Pull(Box<RawPullListener>, u64),
    Typed(Listener<Sample>, Queue<Sample>),
}

fn lock(witness: &Mutex<Witness>) -> MutexGuard<'_, Witness> {
    witness.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set<T, C>(
    builder: ListenerBuilder<T, C>,
    topics: &'static [&'static str],
) -> ListenerBuilder<T, C> {
    builder
        .topics(topics.iter().copied())
        .max_message_len(LONGEST)
        .reassembly_bytes(REASSEMBLY)
        .max_streams(STREAMS)
}

impl Ear {
    pub(super) fn open(
        connection: &Connection,
        receiving: Receiving,
        topics: &'static [&'static str],
        seed: u64,
        dice: &mut Dice,
    ) -> Result<Self, OpenError> {
        let witness = Arc::<Mutex<Witness>>::default();
        let raw = set(RawListener::builder(connection), topics);
        let options = QueueOptions::default().with_max_bytes(QUEUED);
        let way = match receiving {
            Receiving::Queue => Way::queue(raw.open()?, options, Duration::ZERO),
            Receiving::Slow => {
                let policies = [Policy::DropOldest, Policy::DropNewest, Policy::Block];
                let policy = policies[dice.between(0, 2) as usize];
                let few = options.with_max_messages(FEW).with_policy(policy);
                Way::queue(raw.open()?, few, SLOWLY)
            }
            Receiving::Callback => Way::callback(raw.open()?, options, &witness, seed)?,
            Receiving::Inline => Way::inline(raw.open()?, &witness, seed),
            Receiving::Pull => Way::Pull(Box::new(raw.open_pull()?), 0),
            Receiving::Typed => {
                let listener = set(Listener::<Sample>::builder(connection), topics).open()?;
                let queue = listener.queue_with(options);
                Way::Typed(listener, queue)
            }
        };
        Ok(Self { seed, witness, way })
    }

    /// Takes messages for a while.
    pub(super) fn listen(&mut self, stop: &Stop) {
        let Self { seed, witness, way } = self;
        match way {
            Way::Queue(_, queue, pause) => match queue.recv_timeout(WAIT) {
                Ok(message) => {
                    take(witness, *seed, &message);
                    thread::sleep(*pause);
                }
                Err(RecvTimeoutError::Closed) => stop.sleep(WAIT),
                Err(_) => {}
            },
            Way::Callback(..) => stop.sleep(WAIT),
            Way::Pull(listener, failed) => match listener.recv_timeout(WAIT) {
                Ok(Some(message)) => take(witness, *seed, &message),
                Ok(None) => {}
                Err(_) => *failed += 1,
            },
            Way::Typed(_, queue) => {
                if let Ok(message) = queue.recv_timeout(WAIT) {
                    take_value(witness, *seed, &message);
                }
            }
        }
    }

    pub(super) fn found(&self) -> Found {
        lock(&self.witness).found()
    }

    /// Closes the listener and draws up its account; with it come descriptions of
    /// messages that were not what they should be.
    pub(super) fn close(
        self,
        receiving: Receiving,
        opened: Duration,
        at_rest: bool,
    ) -> (Visit, Vec<String>) {
        let Self { seed, witness, way } = self;
        let (statistics, subscription) = way.close(&witness, seed);
        let witness = lock(&witness);
        let visit = Visit {
            receiving,
            opened,
            closed: now(),
            at_rest,
            pairs: pairs(&statistics, &witness),
            found: witness.found(),
            aside: aside(&statistics, &subscription, witness.found()),
        };
        (visit, witness.examples().to_vec())
    }
}

impl Way {
    fn queue(listener: RawListener, options: QueueOptions, pause: Duration) -> Self {
        let queue = listener.queue_with(options);
        Self::Queue(listener, queue, pause)
    }

    fn callback(
        listener: RawListener,
        options: QueueOptions,
        witness: &Arc<Mutex<Witness>>,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let taken = Arc::clone(witness);
        let id = listener.try_subscribe(options, move |message| take(&taken, seed, &message));
        id.map(|id| Self::Callback(listener, id))
            .map_err(OpenError::Thread)
    }

    fn inline(listener: RawListener, witness: &Arc<Mutex<Witness>>, seed: u64) -> Self {
        let taken = Arc::clone(witness);
        let id = listener.subscribe_inline(move |message| take(&taken, seed, &message));
        Self::Callback(listener, id)
    }

    /// Closes the listener, takes what still waits, and returns what was counted.
    fn close(
        self,
        witness: &Mutex<Witness>,
        seed: u64,
    ) -> (ListenerStatistics, SubscriptionStatistics) {
        match self {
            Self::Queue(listener, queue, _) => {
                listener.close();
                while let Ok(message) = queue.try_recv() {
                    take(witness, seed, &message);
                }
                (listener.statistics(), queue.statistics())
            }
            Self::Callback(listener, id) => {
                // They go with the subscription.
                let subscription = listener.subscription_statistics(id).unwrap_or_default();
                listener.close();
                (listener.statistics(), subscription)
            }
            Self::Pull(mut listener, _) => {
                drain_pull(&mut listener, witness, seed);
                (listener.statistics(), SubscriptionStatistics::default())
            }
            Self::Typed(listener, queue) => {
                listener.close();
                drain_values(&queue, witness, seed);
                (listener.statistics(), queue.statistics())
            }
        }
    }
}

fn drain_pull(listener: &mut RawPullListener, witness: &Mutex<Witness>, seed: u64) {
    for _ in 0..MOST_AT_END {
        match listener.try_recv() {
            Ok(Some(message)) => take(witness, seed, &message),
            Err(PullError::Undecodable(_)) => {}
            _ => return,
        }
    }
}

fn take(witness: &Mutex<Witness>, seed: u64, message: &Message<Payload>) {
    let key = match message.encoding {
        Encoding::BINCODE2 => Sample::verify_encoded(seed, &message.payload),
        _ => verify(seed, &message.payload),
    };
    lock(witness).take(message.stream, message.number, message.payload.len(), key);
}

fn take_value(witness: &Mutex<Witness>, seed: u64, message: &Message<Sample>) {
    let (key, len) = (message.payload.verify(seed), message.payload.bytes());
    lock(witness).take(message.stream, message.number, len, key);
}

fn drain_values(queue: &Queue<Sample>, witness: &Mutex<Witness>, seed: u64) {
    loop {
        match queue.try_recv() {
            Ok(message) => take_value(witness, seed, &message),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            // Undecodable, and counted as such.
            Err(_) => {}
        }
    }
}

fn pairs(statistics: &ListenerStatistics, witness: &Witness) -> Vec<Pair> {
    let streams = statistics.streams.iter();
    streams
        .map(|report| Pair::new(report, witness.of(report.id)))
        .collect()
}

fn aside(
    statistics: &ListenerStatistics,
    subscription: &SubscriptionStatistics,
    found: Found,
) -> Aside {
    let (wire, datagrams) = (&statistics.wire, &statistics.wire.datagrams);
    let taken = found.verified + found.wrong + found.repeated + subscription.undecodable;
    let dropped = subscription.dropped_oldest + subscription.dropped_newest;
    Aside {
        dropped_oldest: subscription.dropped_oldest,
        dropped_newest: subscription.dropped_newest,
        undecodable: subscription.undecodable,
        discarded: wire.messages.delivered.saturating_sub(taken + dropped),
        panics: subscription.panics,
        foreign: statistics.foreign.other_group + statistics.foreign.other_interface,
        malformed_datagrams: datagrams.not_mcl
            + datagrams.version
            + datagrams.malformed_header
            + datagrams.critical_flag
            + datagrams.malformed_frame
            + datagrams.critical_frame,
        duplicate_datagrams: datagrams.duplicate,
        stale_datagrams: datagrams.stale + datagrams.jump,
        missing_datagrams: statistics.datagrams_missing(),
        late_datagrams: statistics.streams.iter().map(|it| it.datagrams.late).sum(),
        kernel_drops: statistics.kernel_drops.unwrap_or(0),
        receive_errors: statistics.receive_errors,
        departed: wire.departed.streams,
        rejoined: statistics.interface.rejoined,
    }
}
