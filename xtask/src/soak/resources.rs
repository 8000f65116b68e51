//! What processes hold, read from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a process holds at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resources {
    /// Resident memory.
    pub(super) rss_kib: u64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
}

impl Resources {
    /// Those of the process with this id, or of `self`.
    ///
    /// # Errors
    /// There is no such process.
    pub(super) fn of(process: &str) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
        Ok(Self {
            rss_kib: field(&status, "VmRSS:"),
            threads: field(&status, "Threads:"),
            descriptors: descriptors as u64,
        })
    }

    fn max(self, other: Self) -> Self {
        Self {
            rss_kib: self.rss_kib.max(other.rss_kib),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// The number of a line such as "VmRSS:     1234 kB".
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How many parts of the time are told apart.
const PARTS: usize = 4;

/// What the processes of one role held over the time; takes the same room however long.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Course {
    pub(super) start: Resources,
    pub(super) peak: Resources,
    pub(super) end: Resources,
    /// Sum and count of the resident memory in each part of the time.
    #[serde(skip)]
    parts: [(u64, u64); PARTS],
}

impl Course {
    /// Takes note of what was held at `at` out of `total`.
    pub(super) fn note(&mut self, held: Resources, at: Duration, total: Duration) {
        if self.peak == Resources::default() {
            self.start = held;
        }
        self.peak = self.peak.max(held);
        self.end = held;
        let part = at.as_secs_f64() / total.as_secs_f64() * PARTS as f64;
        let (sum, count) = &mut self.parts[(part as usize).min(PARTS - 1)];
        *sum += held.rss_kib;
        *count += 1;
    }

    /// Mean resident memory in a part of the time.
    fn mean(&self, part: usize) -> Option<u64> {
        let (sum, count) = self.parts[part];
        sum.checked_div(count)
    }

    /// By how much the mean of the last quarter is above that of the second one: in the
    /// first one, memory is still taken that is then used again and again.
    pub(super) fn growth_kib(&self) -> u64 {
        match (self.mean(1), self.mean(PARTS - 1)) {
            (Some(early), Some(late)) => late.saturating_sub(early),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something() {
        let held = Resources::of("self").unwrap();
        assert!(
            held.rss_kib > 500 && held.threads >= 1 && held.descriptors >= 3,
            "{held:?}"
        );
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(Resources::of("self").unwrap().descriptors > 3);
        drop(file);
        assert!(Resources::of("4294967295").is_err());
    }

    #[test]
    fn a_line_of_the_status_is_read() {
        assert_eq!(
            field("Name:\tx\nVmRSS:\t  1234 kB\nThreads:\t7\n", "VmRSS:"),
            1234
        );
        assert_eq!(field("Name:\tx\nThreads:\t7\n", "Threads:"), 7);
        assert_eq!(field("", "VmRSS:"), 0);
    }

    #[test]
    fn growth_is_told_from_noise_at_the_beginning() {
        let course = |of: fn(u64) -> u64| {
            let mut course = Course::default();
            for second in 0..100 {
                let held = Resources {
                    rss_kib: of(second),
                    threads: 2,
                    descriptors: 5,
                };
                course.note(held, Duration::from_secs(second), Duration::from_secs(100));
            }
            course
        };
        let warm = course(|second| if second < 10 { 10 } else { 500 });
        assert_eq!(warm.growth_kib(), 0);
        assert_eq!((warm.start.rss_kib, warm.peak.rss_kib), (10, 500));
        let leak = course(|second| second * 10);
        assert_eq!(leak.growth_kib(), 500);
    }
}
