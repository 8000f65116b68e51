//! When one thread is to wake up, as others set it, without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// The time at which its one sleeper wakes up.
///
/// To put it off costs a store: the sleeper wakes at the earlier time, sees that, and sleeps
/// again, without a lock that the others want.
#[derive(Debug)]
pub(crate) struct Alarm {
    origin: Instant,
    /// Nanoseconds after `origin`.
    due: AtomicU64,
    sleeper: OnceLock<Thread>,
}

const NOW: u64 = 0;
const NEVER: u64 = u64::MAX;

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            due: AtomicU64::new(NEVER),
            sleeper: OnceLock::new(),
        }
    }

    /// Sets the time, which the sleeper heeds when it looks next: of its own accord at the time
    /// set before.
    pub(crate) fn set(&self, time: Option<Instant>) {
        let due = time.map_or(NEVER, |time| self.nanoseconds(time).max(NOW + 1));
        self.due.store(due, Ordering::Release);
    }

    /// Has the sleeper look at the time again.
    pub(crate) fn tell(&self) {
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// Wakes the sleeper.
    pub(crate) fn ring(&self) {
        self.due.store(NOW, Ordering::Release);
        self.tell();
    }

    /// Sleeps until it is time. For one thread alone, which hears of nothing before its first
    /// call.
    pub(crate) fn sleep(&self) {
        self.sleeper.get_or_init(thread::current);
        loop {
            match self.due.load(Ordering::Acquire) {
                NEVER => thread::park(),
                due => match due.saturating_sub(self.nanoseconds(Instant::now())) {
                    0 => return,
                    left => thread::park_timeout(Duration::from_nanos(left)),
                },
            }
        }
    }

    fn nanoseconds(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.origin);
        u64::try_from(since.as_nanos()).unwrap_or(NEVER)
    }
}
