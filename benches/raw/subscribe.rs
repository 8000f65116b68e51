//! `sub`: counts what arrives; and the loop that `pong` shares.

use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::network::{Arrival, Inlet};
use crate::report::{Report, cpu_time};

/// How long a subscriber waits for the first message.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it waits after the last one.
const LINGER: Duration = Duration::from_secs(1);

/// A silence that long ends the processor time that is counted.
const SILENCE: Duration = Duration::from_millis(1);

const SIGNALS_EVERY: Duration = Duration::from_millis(100);

/// Whether the process was asked to end.
#[derive(Debug)]
pub(crate) struct Stop {
    signals: Option<SignalFd>,
    next_look: Instant,
}

impl Stop {
    /// By SIGINT or SIGTERM.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK)?;
        Ok(Self {
            signals: Some(signals),
            next_look: Instant::now(),
        })
    }

    fn is_asked(&mut self, now: Instant) -> io::Result<bool> {
        let Some(signals) = self.signals.as_ref().filter(|_| now >= self.next_look) else {
            return Ok(false);
        };
        self.next_look = now + SIGNALS_EVERY;
        Ok(signals.read_signal()?.is_some())
    }
}

/// When messages came, and what they cost.
#[derive(Debug)]
struct Span {
    first: Option<(Instant, Duration)>,
    last: Instant,
    /// Processor time at the end of the last message, once it is silent.
    cpu: Option<Duration>,
}

pub(crate) fn run(inlet: &mut Inlet, stop: &mut Stop) -> Result<Report, Box<dyn Error>> {
    listen(inlet, stop, LINGER, |_| Ok(()))
}

/// Receives until it has been silent for `linger`, and calls `each` for the
/// message that a train made whole.
pub(crate) fn listen(
    inlet: &mut Inlet,
    stop: &mut Stop,
    linger: Duration,
    mut each: impl FnMut(u64) -> io::Result<()>,
) -> Result<Report, Box<dyn Error>> {
    let mut span = Span {
        first: None,
        last: Instant::now(),
        cpu: None,
    };
    loop {
        let arrival = inlet.recv()?;
        if let Arrival::Message(number) = arrival {
            each(number)?;
        }
        let now = Instant::now();
        let over = match arrival {
            Arrival::Nothing => span.silent(now, linger)?,
            Arrival::Message(_) | Arrival::Part => span.heard(now)?,
        };
        if over || stop.is_asked(now)? {
            return span.report(inlet);
        }
    }
}

impl Span {
    fn heard(&mut self, now: Instant) -> io::Result<bool> {
        if self.first.is_none() {
            self.first = Some((now, cpu_time()?));
        }
        (self.last, self.cpu) = (now, None);
        Ok(false)
    }

    fn silent(&mut self, now: Instant, linger: Duration) -> io::Result<bool> {
        let silence = now - self.last;
        if silence > SILENCE && self.cpu.is_none() {
            self.cpu = Some(cpu_time()?);
        }
        Ok(silence
            >= if self.first.is_some() {
                linger
            } else {
                PATIENCE
            })
    }

    fn report(&self, inlet: &Inlet) -> Result<Report, Box<dyn Error>> {
        let end = self.cpu.map_or_else(cpu_time, Ok)?;
        let (first, cpu) = self.first.unwrap_or((self.last, end));
        Ok(Report {
            messages: inlet.tally.messages,
            bytes: inlet.tally.bytes(),
            lost: inlet.tally.lost(),
            bad: inlet.tally.bad,
            seconds: (self.last - first).as_secs_f64(),
            cpu: end.saturating_sub(cpu),
            rcvbuf: inlet.granted,
            rounds: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use mcl_testbed::Namespace;

    use super::*;
    use crate::network::Outlet;
    use crate::options::{Mode, Options, Role};
    use crate::publish;

    fn pair(mode: Mode, size: usize, whole: bool) -> (Report, Report) {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        let mut options = Options::new(Role::Pub);
        (options.mode, options.size, options.whole) = (mode, size, whole);
        (options.rate, options.count) = (100.0, Some(50));
        namespace.run(|| {
            let mut inlet = Inlet::open(&options, 0).unwrap();
            let mut stop = Stop {
                signals: None,
                next_look: Instant::now(),
            };
            thread::scope(|scope| {
                let subscriber = scope.spawn(move || run(&mut inlet, &mut stop).unwrap());
                let published = publish::run(&options, &mut Outlet::open(&options, 0).unwrap());
                (published.unwrap(), subscriber.join().unwrap())
            })
        })
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn at_a_low_rate_nothing_is_lost() {
        for mode in [Mode::Gso, Mode::Naive] {
            for (size, whole) in [(64, false), (65_536, false), (64, true), (200_000, true)] {
                let (published, received) = pair(mode, size, whole);
                assert_eq!(published.messages, 50);
                assert_eq!(
                    (received.messages, received.lost, received.bad),
                    (50, 0, 0),
                    "{mode:?} {size} {whole}"
                );
                assert_eq!(received.bytes, published.bytes);
            }
        }
    }
}
