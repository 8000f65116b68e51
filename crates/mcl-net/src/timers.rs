//! The kernel's clock, and when its timers end.

use std::io;
use std::num::NonZeroU64;

use rustix::time::{ClockId, clock_gettime};

/// Has the timers of the calling thread end when they are due: by default the kernel may let
/// them end 50 µs later, so that it wakes less often (`PR_SET_TIMERSLACK`, prctl(2)).
///
/// For a thread of one's own that waits for less than a millisecond. Threads that it starts
/// inherit this.
///
/// # Errors
/// What `prctl` says.
pub fn use_precise_timers() -> io::Result<()> {
    rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN))?;
    Ok(())
}

/// The time of the system's clock, in nanoseconds since the Unix epoch; 0 before that.
///
/// For what is stamped by the million: [`SystemTime`](std::time::SystemTime) takes half as long
/// again, with its checks and a difference and a product of 128 bits.
#[must_use]
#[inline]
pub fn nanoseconds_since_epoch() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    match (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(rest)) => seconds.saturating_mul(1_000_000_000).saturating_add(rest),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_time_is_that_of_the_system() {
        let since = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let before = since().unwrap();
        let time = Duration::from_nanos(nanoseconds_since_epoch());
        assert!(before <= time && time <= since().unwrap(), "{time:?}");
    }

    #[test]
    fn the_slack_of_this_thread_is_as_small_as_can_be() {
        std::thread::spawn(|| {
            let before = rustix::thread::current_timer_slack().unwrap();
            use_precise_timers().unwrap();
            let after = rustix::thread::current_timer_slack().unwrap();
            assert!(before > 1 && after == 1, "{before} {after}");
        })
        .join()
        .unwrap();
    }
}
