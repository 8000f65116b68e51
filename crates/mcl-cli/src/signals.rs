//! SIGINT and SIGTERM end a command cleanly, with its summary.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The longest wait without a look at the flag: a signal does not end a wait, it
/// only shows after it.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Becomes true with the first SIGINT or SIGTERM; the second one ends the
/// process as usual.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes the two signals over.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self(stop))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// As a signal does.
    #[cfg(test)]
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits; `false` if a signal came first.
    pub(crate) fn wait_until(&self, due: Instant) -> bool {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if self.is_set() {
                return false;
            }
            thread::sleep(left.min(LONGEST_WAIT));
        }
    }
}
