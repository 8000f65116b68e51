//! When timers of the kernel's end.

use std::io;
use std::num::NonZeroU64;

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

#[cfg(test)]
mod tests {
    use super::*;

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
