//! Processor time of this process, all its threads, user and system.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time used so far; zero where the system has no such clock.
pub(super) fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_uses_processor_time_and_sleep_does_not() {
        let before = used();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {}
        let after = used();
        assert!(
            after - before > Duration::from_millis(5),
            "{before:?} {after:?}"
        );
    }
}
