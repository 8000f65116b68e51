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

    /// Makes this thread the sleeper: to be called before the others can know that it sleeps,
    /// or it may sleep through what they tell.
    pub(crate) fn adopt(&self) {
        self.sleeper.get_or_init(thread::current);
    }

    /// Sleeps until it is time.
    pub(crate) fn sleep(&self) {
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, mpsc};

    use super::*;

    /// Longer than anything here takes, on a busy machine too.
    const PATIENCE: Duration = Duration::from_secs(10);

    const MOMENT: Duration = Duration::from_millis(30);

    /// Has another thread sleep; tells when it has woken up.
    fn sleeper(alarm: &Arc<Alarm>) -> mpsc::Receiver<Instant> {
        let (tell, told) = mpsc::channel();
        let alarm = Arc::clone(alarm);
        let adopted = Arc::new(Barrier::new(2));
        let until_adopted = Arc::clone(&adopted);
        thread::spawn(move || {
            alarm.adopt();
            adopted.wait();
            alarm.sleep();
            tell.send(Instant::now()).unwrap();
        });
        until_adopted.wait();
        told
    }

    #[test]
    fn it_rings_in_time() {
        let alarm = Arc::new(Alarm::new());
        let due = Instant::now() + MOMENT;
        alarm.set(Some(due));
        assert!(sleeper(&alarm).recv_timeout(PATIENCE).unwrap() >= due);
        // It is past: there is nothing to wait for.
        alarm.sleep();
    }

    #[test]
    fn what_is_put_off_does_not_ring_when_it_was_to_before() {
        let (alarm, woken) = loop {
            let alarm = Arc::new(Alarm::new());
            let first = Instant::now() + MOMENT;
            alarm.set(Some(first));
            let woken = sleeper(&alarm);
            thread::sleep(MOMENT / 10);
            alarm.set(Some(first + PATIENCE));
            // Else this thread was late.
            if Instant::now() < first {
                break (alarm, woken);
            }
        };
        assert!(woken.recv_timeout(3 * MOMENT).is_err());
        alarm.ring();
        woken.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn who_sleeps_without_end_wakes_when_it_rings_or_hears_of_a_time() {
        let alarm = Arc::new(Alarm::new());
        let woken = sleeper(&alarm);
        assert!(woken.recv_timeout(MOMENT).is_err());
        // Without a time there is nothing to wake up for.
        alarm.tell();
        assert!(woken.recv_timeout(MOMENT).is_err());
        alarm.ring();
        woken.recv_timeout(PATIENCE).unwrap();

        let alarm = Arc::new(Alarm::new());
        let woken = sleeper(&alarm);
        assert!(woken.recv_timeout(MOMENT).is_err());
        let due = Instant::now() + MOMENT;
        alarm.set(Some(due));
        alarm.tell();
        assert!(woken.recv_timeout(PATIENCE).unwrap() >= due);
    }

    /// Rings before it sleeps are not missed.
    #[test]
    fn no_ring_is_lost() {
        let alarm = Arc::new(Alarm::new());
        alarm.adopt();
        for _ in 0..1000 {
            alarm.set(None);
            let for_other = Arc::clone(&alarm);
            let other = thread::spawn(move || for_other.ring());
            alarm.sleep();
            other.join().unwrap();
        }
    }
}
