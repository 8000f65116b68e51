//! The bounded channel behind a subscription: from the thread that receives to
//! the one that consumes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::handful::Handful;
use crate::message::Message;
use crate::payload::Payload;
use crate::subscription::{Policy, QueueOptions, Tally};
use crate::sync::lock;

/// The most messages that a queue prepares room for; about 200 bytes each.
const MOST_PREPARED: usize = 4096;

/// For how many times the time that giving way took it is not done again, if it was
/// in vain.
const GAVE_WAY_IN_VAIN: u32 = 100;

/// A message waiting in a queue, not yet decoded.
///
/// It counts against the queue's bounds until it is opened (see
/// [`Queue::open`](crate::Queue::open)) or dropped.
#[derive(Debug)]
pub struct Queued {
    message: Message<Payload>,
    // Given back when this is dropped or taken apart.
    charge: Charge,
}

impl Queued {
    /// The message as bytes, whatever type the queue is of.
    #[must_use]
    pub fn into_raw(self) -> Message<Payload> {
        let Self { message, charge } = self;
        drop(charge);
        message
    }

    #[inline]
    pub(crate) fn message(&mut self) -> &mut Message<Payload> {
        &mut self.message
    }
}

/// A message's share of a queue's bounds.
#[derive(Debug)]
struct Charge {
    level: Arc<Level>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.level.release(self.bytes);
    }
}

/// How full a queue is.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// Messages above [`MESSAGE`], bytes below: one atomic operation for both.
    used: AtomicU64,
    /// Whether the producer sleeps until there is room.
    awaited: AtomicBool,
    closed: Mutex<bool>,
    freed: Condvar,
}

/// One message, as it counts in [`Level::used`].
const MESSAGE: u64 = 1 << 40;

/// Bounds beyond these are these: what is in a queue must be countable.
const MOST_MESSAGES: u64 = (1 << 24) - 1;
const MOST_BYTES: u64 = 1 << 39;

/// Messages and bytes in a queue.
#[derive(Clone, Copy)]
struct Used(u64);

impl Used {
    fn messages(self) -> u64 {
        self.0 / MESSAGE
    }

    fn bytes(self) -> u64 {
        self.0 % MESSAGE
    }
}

impl Level {
    fn used(&self) -> Used {
        Used(self.used.load(Ordering::SeqCst))
    }

    pub(crate) fn messages(&self) -> usize {
        usize::try_from(self.used().messages()).unwrap_or(usize::MAX)
    }

    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.used().bytes()).unwrap_or(usize::MAX)
    }

    /// Whether a message of `bytes` has room. An empty queue takes any message:
    /// one that is longer than the bound would never arrive otherwise.
    fn fits(&self, bytes: usize, options: &QueueOptions) -> bool {
        let used = self.used();
        let most_messages = MOST_MESSAGES.min(options.max_messages as u64);
        let most_bytes = MOST_BYTES.min(options.max_bytes as u64);
        used.messages() == 0
            || (used.messages() < most_messages && used.bytes() + bytes as u64 <= most_bytes)
    }

    fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used
            .fetch_add(MESSAGE + bytes as u64, Ordering::SeqCst);
        Charge {
            level: Arc::clone(self),
            bytes,
        }
    }

    fn release(&self, bytes: usize) {
        self.used
            .fetch_sub(MESSAGE + bytes as u64, Ordering::SeqCst);
        // The producer raises `awaited` before it looks at the level for the
        // last time; one of the two sees the other.
        if self.awaited.load(Ordering::SeqCst) {
            let _closed = lock(&self.closed);
            self.freed.notify_one();
        }
    }

    /// Sleeps until `bytes` fit; `false` if the queue was closed meanwhile.
    fn wait_for_room(&self, bytes: usize, options: &QueueOptions) -> bool {
        let mut closed = lock(&self.closed);
        self.awaited.store(true, Ordering::SeqCst);
        while !*closed && !self.fits(bytes, options) {
            closed = self
                .freed
                .wait(closed)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.awaited.store(false, Ordering::SeqCst);
        !*closed
    }

    fn close(&self) {
        *lock(&self.closed) = true;
        self.freed.notify_one();
    }
}

/// What the thread that receives needs to fill a queue.
#[derive(Debug)]
struct Feed {
    sender: Option<Sender<Queued>>,
    /// Until when it does not give way again: it was in vain.
    tired_until: Option<Instant>,
}

impl Feed {
    /// Lets the consumer run if it waits for this very processor; whether there
    /// is room then. A consumer that keeps up when it is let to loses nothing; one
    /// that does not makes the receiving thread wait once in a while only.
    fn give_way(&mut self, has_room: impl Fn() -> bool) -> bool {
        let now = Instant::now();
        if self.tired_until.is_some_and(|until| now < until) {
            return false;
        }
        thread::yield_now();
        if has_room() {
            self.tired_until = None;
            return true;
        }
        let took = now.elapsed();
        self.tired_until = now.checked_add(took * GAVE_WAY_IN_VAIN);
        false
    }
}

/// The producing end, and what it needs to make room.
#[derive(Debug)]
pub(crate) struct Pipe {
    feed: Mutex<Feed>,
    // To take the oldest out. Does not keep the channel connected.
    receiver: Receiver<Queued>,
    level: Arc<Level>,
    options: QueueOptions,
}

impl Pipe {
    pub(crate) fn new(options: QueueOptions) -> (Self, Receiver<Queued>) {
        // The bounds are kept by the level, which counts bytes as well; a channel
        // that has its room from the start allocates nothing later.
        let (sender, receiver) = match options.max_messages {
            few @ ..=MOST_PREPARED => bounded(few.max(1)),
            _ => unbounded(),
        };
        let pipe = Self {
            feed: Mutex::new(Feed {
                sender: Some(sender),
                tired_until: None,
            }),
            receiver: receiver.clone(),
            level: Arc::default(),
            options,
        };
        (pipe, receiver)
    }

    pub(crate) fn level(&self) -> &Arc<Level> {
        &self.level
    }

    /// Puts messages in, and deals with a full queue as its policy says.
    pub(crate) fn push(&self, messages: &mut Handful, tally: &Tally) {
        // Held while waiting for room, too: closing ends that wait first.
        let mut feed = lock(&self.feed);
        while let Some(message) = messages.next() {
            let bytes = message.payload.len();
            if !self.make_room(bytes, tally, &mut feed) {
                continue;
            }
            let Some(sender) = &feed.sender else { return };
            let charge = self.level.charge(bytes);
            // Counted first: whoever takes it finds it counted. The pipe itself
            // holds a receiver, so that sending does not fail.
            tally.delivered.count();
            let message = message.take();
            let _ = sender.send(Queued { message, charge });
        }
    }

    fn make_room(&self, bytes: usize, tally: &Tally, feed: &mut Feed) -> bool {
        while !self.level.fits(bytes, &self.options) {
            let drop_oldest = match self.options.policy {
                Policy::Block => return self.level.wait_for_room(bytes, &self.options),
                Policy::DropNewest => false,
                Policy::DropOldest => true,
            };
            if feed.give_way(|| self.level.fits(bytes, &self.options)) {
                return true;
            }
            if drop_oldest && self.receiver.try_recv().is_ok() {
                tally.dropped_oldest.count();
            } else if !self.level.fits(bytes, &self.options) {
                // What fills it was taken out but not opened yet: there is
                // nothing older to drop than the message itself.
                tally.dropped_newest.count();
                return false;
            }
        }
        true
    }

    /// Disconnects the consumer, once it has read what is queued, and wakes a
    /// blocked producer.
    pub(crate) fn close(&self) {
        self.level.close();
        lock(&self.feed).sender = None;
    }
}
