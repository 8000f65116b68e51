//! The bounded queue behind a subscription: from the thread that receives to the
//! one that consumes.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::handful::Handful;
use crate::message::Message;
use crate::payload::Payload;
use crate::subscription::{Policy, QueueOptions, Tally};
use crate::sync::lock;

/// The most messages that an empty queue keeps room for; about 190 bytes each.
const MOST_KEPT: usize = 4096;

/// The most messages, and the most bytes but for a single longer message, that a
/// consumer takes at once.
const MOST_TAKEN: usize = 64;
const MOST_BYTES_TAKEN: usize = 64 << 10;

/// For how many times the time that giving way took it is not done again, if it was
/// in vain.
const GAVE_WAY_IN_VAIN: u32 = 100;

/// How often a consumer lets others run before it sleeps: to be woken takes longer,
/// for both.
const YIELDS: u32 = 4;

/// How long to wait for a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Now,
    Deadline(Instant),
    Forever,
}

impl Until {
    pub(crate) fn after(timeout: Duration) -> Self {
        Instant::now()
            .checked_add(timeout)
            .map_or(Self::Forever, Self::Deadline)
    }
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// None came in time.
    Yet,
    /// None will come.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    inner: Mutex<Inner>,
    /// Consumers sleep on this one, the producer on the other.
    filled: Condvar,
    freed: Condvar,
    options: QueueOptions,
    ready: OnceLock<Receiver<()>>,
}

#[derive(Debug)]
struct Inner {
    messages: Handful,
    bytes: usize,
    /// How many messages consumers have taken.
    taken: u64,
    open: bool,
    /// Consumers that sleep.
    asleep: usize,
    /// Whether the producer sleeps until there is room.
    blocked: bool,
    /// Until when the producer does not give way again: it was in vain.
    tired_until: Option<Instant>,
    /// Tells whoever selects that there is something.
    bell: Option<Sender<()>>,
}

impl Inner {
    /// Whether a message of `bytes` has room. An empty queue takes any message:
    /// one that is longer than the bound would never arrive otherwise.
    #[inline]
    fn fits(&self, bytes: usize, options: &QueueOptions) -> bool {
        let messages = self.messages.len();
        messages == 0
            || (messages < options.max_messages
                && self.bytes.saturating_add(bytes) <= options.max_bytes)
    }

    /// The oldest message, to be taken out of its place.
    #[inline]
    fn next(&mut self) -> Option<&mut Message<Payload>> {
        let message = self.messages.next()?;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// The oldest message, for a consumer.
    #[inline]
    fn next_taken(&mut self) -> Option<&mut Message<Payload>> {
        self.taken += u64::from(!self.messages.is_empty());
        self.next()
    }

    /// There is a token in the bell exactly if there is a message, or was one just
    /// now.
    fn ring(&self) {
        if let Some(bell) = self.bell.as_ref().filter(|_| !self.messages.is_empty()) {
            let _ = bell.try_send(());
        }
    }
}

impl Pipe {
    pub(crate) fn new(options: QueueOptions) -> Self {
        Self {
            inner: Mutex::new(Inner {
                messages: Handful::default(),
                bytes: 0,
                taken: 0,
                open: true,
                asleep: 0,
                blocked: false,
                tired_until: None,
                bell: None,
            }),
            filled: Condvar::new(),
            freed: Condvar::new(),
            options,
            ready: OnceLock::new(),
        }
    }

    /// Messages and bytes in it.
    pub(crate) fn level(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.messages.len(), inner.bytes)
    }

    /// Messages and bytes in it, and how many messages were taken out; `with` the lock
    /// held under which they are put in and make room.
    pub(crate) fn account<R>(&self, with: impl FnOnce(usize, usize, u64) -> R) -> R {
        let inner = lock(&self.inner);
        with(inner.messages.len(), inner.bytes, inner.taken)
    }

    /// Puts messages in, and deals with a full queue as its policy says.
    pub(crate) fn push(&self, messages: &mut Handful, tally: &Tally) {
        let mut inner = lock(&self.inner);
        tally.offered.add(messages.len() as u64);
        while let Some(message) = messages.next() {
            let bytes = message.payload.len();
            if !inner.fits(bytes, &self.options) {
                let has_room;
                (inner, has_room) = self.make_room(inner, bytes, tally);
                if !has_room {
                    continue;
                }
            }
            if !inner.open {
                return tally.discarded.add(1 + messages.len() as u64);
            }
            // Under the lock: whoever takes it finds it counted.
            tally.delivered.count();
            inner.bytes += bytes;
            message.move_to(inner.messages.add());
        }
        inner.ring();
        self.wake_consumers(inner);
    }

    fn wake_consumers(&self, inner: MutexGuard<'_, Inner>) {
        let wake = inner.asleep > 0 && !inner.messages.is_empty();
        drop(inner);
        if wake {
            self.filled.notify_all();
        }
    }

    fn make_room<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        bytes: usize,
        tally: &Tally,
    ) -> (MutexGuard<'a, Inner>, bool) {
        if self.options.policy == Policy::Block {
            // If it was closed meanwhile, that is seen next.
            return (self.wait_for_room(inner, bytes), true);
        }
        inner = self.give_way(inner, bytes);
        while !inner.fits(bytes, &self.options) {
            if self.options.policy != Policy::DropOldest {
                tally.dropped_newest.count();
                return (inner, false);
            }
            drop(inner.next().map(Message::take));
            tally.dropped_oldest.count();
        }
        (inner, true)
    }

    fn wait_for_room<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        bytes: usize,
    ) -> MutexGuard<'a, Inner> {
        while inner.open && !inner.fits(bytes, &self.options) {
            inner.ring();
            if inner.asleep > 0 {
                self.filled.notify_all();
            }
            inner.blocked = true;
            inner = wait(&self.freed, inner);
        }
        inner.blocked = false;
        inner
    }

    /// Lets the consumer run if it waits for this very processor. A consumer that
    /// keeps up when it is let to loses nothing; one that does not makes the
    /// receiving thread wait once in a while only.
    fn give_way<'a>(&'a self, inner: MutexGuard<'a, Inner>, bytes: usize) -> MutexGuard<'a, Inner> {
        let now = Instant::now();
        if inner.tired_until.is_some_and(|until| now < until) {
            return inner;
        }
        inner.ring();
        self.wake_consumers(inner);
        thread::yield_now();
        let mut inner = lock(&self.inner);
        inner.tired_until = if inner.fits(bytes, &self.options) {
            None
        } else {
            now.checked_add(now.elapsed() * GAVE_WAY_IN_VAIN)
        };
        inner
    }

    /// Takes the oldest message.
    #[inline]
    pub(crate) fn take(&self, until: Until) -> Result<Message<Payload>, Nothing> {
        let mut inner = self.wait_for_one(until)?;
        // There is one: the lock was held since that was seen.
        let message = inner.next_taken().map(Message::take);
        self.leave(inner);
        message.ok_or(Nothing::Yet)
    }

    /// Takes the oldest messages, about half of those there are.
    pub(crate) fn take_some(&self, messages: &mut Handful, until: Until) -> Result<(), Nothing> {
        let mut inner = self.wait_for_one(until)?;
        let most = inner.messages.len().div_ceil(2).min(MOST_TAKEN);
        let mut bytes = 0;
        while messages.len() < most
            && bytes < MOST_BYTES_TAKEN
            && let Some(message) = inner.next_taken()
        {
            bytes += message.payload.len();
            message.move_to(messages.add());
        }
        self.leave(inner);
        Ok(())
    }

    /// Waits until there is a message, and keeps the lock.
    #[inline]
    fn wait_for_one(&self, until: Until) -> Result<MutexGuard<'_, Inner>, Nothing> {
        let inner = lock(&self.inner);
        match inner.messages.is_empty() {
            false => Ok(inner),
            true if !inner.open => Err(Nothing::Closed),
            true if matches!(until, Until::Now) => Err(Nothing::Yet),
            true => self.sleep(inner, until),
        }
    }

    fn sleep<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        until: Until,
    ) -> Result<MutexGuard<'a, Inner>, Nothing> {
        let mut yields = 0;
        loop {
            if !inner.messages.is_empty() {
                return Ok(inner);
            }
            if !inner.open {
                return Err(Nothing::Closed);
            }
            inner.messages.shrink(MOST_KEPT);
            if yields < YIELDS {
                yields += 1;
                drop(inner);
                thread::yield_now();
                inner = lock(&self.inner);
                continue;
            }
            inner.asleep += 1;
            inner = match until {
                Until::Forever => wait(&self.filled, inner),
                Until::Now => inner,
                Until::Deadline(deadline) => wait_until(&self.filled, inner, deadline),
            };
            inner.asleep -= 1;
            let over = matches!(until, Until::Deadline(deadline) if Instant::now() >= deadline);
            if over && inner.messages.is_empty() && inner.open {
                return Err(Nothing::Yet);
            }
        }
    }

    /// After something was taken.
    #[inline]
    fn leave(&self, inner: MutexGuard<'_, Inner>) {
        inner.ring();
        let blocked = inner.blocked;
        drop(inner);
        if blocked {
            self.freed.notify_one();
        }
    }

    /// A channel that has a token while there are messages, and is disconnected
    /// when none will come.
    pub(crate) fn ready(&self) -> &Receiver<()> {
        self.ready.get_or_init(|| {
            let (bell, ready) = bounded(1);
            let mut inner = lock(&self.inner);
            inner.bell = inner.open.then_some(bell);
            inner.ring();
            ready
        })
    }

    /// Nothing comes in any more. Consumers can take what is there; a blocked
    /// producer wakes up.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.open = false;
        inner.bell = None;
        drop(inner);
        self.filled.notify_all();
        self.freed.notify_one();
    }
}

fn wait<'a>(condition: &Condvar, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
    condition
        .wait(inner)
        .unwrap_or_else(PoisonError::into_inner)
}

fn wait_until<'a>(
    condition: &Condvar,
    inner: MutexGuard<'a, Inner>,
    deadline: Instant,
) -> MutexGuard<'a, Inner> {
    let left = deadline.saturating_duration_since(Instant::now());
    let woken = condition.wait_timeout(inner, left);
    woken.unwrap_or_else(PoisonError::into_inner).0
}
