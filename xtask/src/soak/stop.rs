//! How a process of a soak is told to end: its input ends.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Set when the input has ended.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Watches the standard input, in a thread.
    pub(super) fn at_end_of_input() -> io::Result<Self> {
        let stop = Self::new();
        let set = stop.clone();
        thread::Builder::new().spawn(move || {
            // However it ends, there is nobody there any more.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            set.set();
        })?;
        Ok(stop)
    }

    fn set(&self) {
        let (flag, changed) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, unless or until it is set.
    pub(super) fn sleep(&self, time: Duration) {
        self.sleep_until(Instant::now() + time);
    }

    pub(super) fn sleep_until(&self, until: Instant) {
        let (flag, changed) = &*self.0;
        let mut set = flag.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = changed.wait_timeout(set, left);
            set = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_wakes_up_when_it_is_to_stop() {
        let stop = Stop::new();
        stop.sleep(Duration::from_millis(2));
        assert!(!stop.is_set());
        let (begun, other) = (Instant::now(), stop.clone());
        let sleeper = thread::spawn(move || other.sleep(Duration::from_secs(60)));
        stop.set();
        sleeper.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert!(stop.is_set());
    }
}
