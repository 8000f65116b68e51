//! Subscriptions: how messages leave the thread that receives them.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::handful::Handful;
use crate::pipe::Pipe;
use crate::sync::lock;

/// Names one subscription of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// One that no listener of this process has given out.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What happens to a message that finds a queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The oldest queued messages make room. The consumer sees the latest.
    #[default]
    DropOldest,
    /// The arriving message is dropped.
    DropNewest,
    /// The listener waits for room: all its subscriptions stand still, and when
    /// the kernel's buffer is full too, the kernel drops.
    Block,
}

/// Bounds of a subscription's queue, and what happens when it is full.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueOptions {
    /// Messages; 1024 by default.
    pub max_messages: usize,
    /// Payload bytes; 64 MiB by default. A single message that is longer is
    /// taken while the queue is empty.
    pub max_bytes: usize,
    /// What happens when it is full; [`Policy::DropOldest`] by default.
    pub policy: Policy,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            max_messages: 1024,
            max_bytes: 64 << 20,
            policy: Policy::DropOldest,
        }
    }
}

impl QueueOptions {
    /// Sets [`max_messages`](Self::max_messages), at least 1.
    #[must_use]
    pub fn with_max_messages(mut self, messages: usize) -> Self {
        self.max_messages = messages.max(1);
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }
}

/// A counter that any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Counts one, where several threads do.
    pub(crate) fn count_shared(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one, where only one thread does: several times cheaper.
    #[inline]
    pub(crate) fn count(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
    }

    /// Counts some, where only one thread does.
    pub(crate) fn add(&self, some: u64) {
        self.0.store(self.get() + some, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one subscription.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    // These by the receiving thread alone.
    pub(crate) offered: Count,
    pub(crate) discarded: Count,
    pub(crate) delivered: Count,
    pub(crate) dropped_oldest: Count,
    pub(crate) dropped_newest: Count,
    // These by whoever consumes.
    pub(crate) undecodable: Count,
    pub(crate) panics: Count,
}

impl Tally {
    /// What is counted here; with nothing queued, all that was delivered is taken.
    fn statistics(&self) -> SubscriptionStatistics {
        let delivered = self.delivered.get();
        SubscriptionStatistics {
            offered: self.offered.get(),
            delivered,
            taken: delivered,
            dropped_oldest: self.dropped_oldest.get(),
            dropped_newest: self.dropped_newest.get(),
            discarded: self.discarded.get(),
            undecodable: self.undecodable.get(),
            panics: self.panics.get(),
            queued_messages: 0,
            queued_bytes: 0,
        }
    }
}

/// What became of the messages that a subscription was offered.
///
/// Each message offered is in exactly one place of each equation:
///
/// - `offered == delivered + dropped_newest + discarded`, but for those that are being
///   handed over at this very moment, at most a few hundred;
/// - `delivered == taken + dropped_oldest + queued_messages`.
///
/// Of those taken, `undecodable` were no values. A listener offers each message that
/// its [account](crate::ListenerStatistics::account) calls delivered to every
/// subscription that is in force then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SubscriptionStatistics {
    /// Messages that the listener had for it.
    pub offered: u64,
    /// Messages put into the queue, or given to the inline callback.
    pub delivered: u64,
    /// Of these, taken out by a consumer (by the thread of a callback, for it), or
    /// given to the inline callback.
    pub taken: u64,
    /// Of these delivered, dropped again because newer ones needed the room.
    pub dropped_oldest: u64,
    /// Messages that found the queue full and were not put in.
    pub dropped_newest: u64,
    /// Messages that came when the subscription was ending.
    pub discarded: u64,
    /// Messages taken that were no value of the listener's type.
    pub undecodable: u64,
    /// Panics of the callback.
    pub panics: u64,
    /// Messages in the queue now.
    pub queued_messages: usize,
    /// Payload bytes in the queue now.
    pub queued_bytes: usize,
}

thread_local! {
    /// Whether this thread is running a callback, of whichever listener.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether the current thread must not wait for callbacks to end: it is one.
pub(crate) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Runs user code: a panic in it is counted and goes no further.
pub(crate) fn run_user_code(tally: &Tally, code: impl FnOnce()) {
    let outer = IN_CALLBACK.replace(true);
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        tally.panics.count_shared();
        // The payload's `Drop` is user code as well.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        dropped.unwrap_or_else(mem::forget);
    }
    IN_CALLBACK.set(outer);
}

/// Calls back with one message after the other until none is left, or the flag
/// says that it is over.
pub(crate) type Inline = Box<dyn FnMut(&mut Handful, &AtomicBool) + Send>;

/// Where a subscription's messages go.
pub(crate) enum Outlet {
    Pipe(Arc<Pipe>),
    /// `None` once it is unsubscribed and does not run any more.
    Inline(Mutex<Option<Inline>>),
}

/// One subscription, as the receiving thread sees it.
pub(crate) struct Route {
    pub(crate) id: SubscriptionId,
    pub(crate) outlet: Outlet,
    pub(crate) tally: Arc<Tally>,
    stopped: AtomicBool,
}

impl Route {
    pub(crate) fn new(id: SubscriptionId, outlet: Outlet, tally: Arc<Tally>) -> Self {
        Self {
            id,
            outlet,
            tally,
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Hands messages over, on the receiving thread; leaves none.
    pub(crate) fn deliver(&self, messages: &mut Handful) {
        match &self.outlet {
            Outlet::Pipe(pipe) => pipe.push(messages, &self.tally),
            Outlet::Inline(slot) => {
                let mut slot = lock(slot);
                self.tally.offered.add(messages.len() as u64);
                if let Some(callback) = slot.as_mut() {
                    self.run(callback, messages);
                }
                self.tally.discarded.add(messages.len() as u64);
                if self.is_stopped() {
                    self.discard(slot.take());
                }
            }
        }
        messages.clear();
    }

    /// After a panic it goes on with the next message.
    fn run(&self, callback: &mut Inline, messages: &mut Handful) {
        while !messages.is_empty() && !self.is_stopped() {
            run_user_code(&self.tally, || callback(messages, &self.stopped));
        }
    }

    /// Drops a callback, whose `Drop` is user code.
    fn discard(&self, callback: Option<Inline>) {
        run_user_code(&self.tally, || drop(callback));
    }

    /// Nothing is delivered any more, but for what is running now.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Outlet::Pipe(pipe) = &self.outlet {
            pipe.close();
        }
    }

    /// Waits for a running inline callback to return, and drops it.
    pub(crate) fn wait_idle(&self) {
        if let Outlet::Inline(slot) = &self.outlet {
            let callback = lock(slot).take();
            self.discard(callback);
        }
    }

    pub(crate) fn statistics(&self) -> SubscriptionStatistics {
        let counted = || self.tally.statistics();
        match &self.outlet {
            Outlet::Pipe(pipe) => pipe.account(|messages, bytes, taken| SubscriptionStatistics {
                taken,
                queued_messages: messages,
                queued_bytes: bytes,
                ..counted()
            }),
            Outlet::Inline(_) => counted(),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("id", &self.id)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}
