//! Standard output whose reader may stop reading without going away.
//!
//! A write to a full pipe waits for its reader, and a signal does not end that wait:
//! the call is restarted. So the wait is for room, and looks at the signals.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::signals::Stop;

/// What a pipe that has room takes without waiting (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

/// How long a reader that takes nothing is waited for once a signal has come.
const GRACE: Duration = Duration::from_millis(250);

/// How long one wait is at most: a signal may come just before it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Standard output, given up when a signal has come and nobody reads.
#[derive(Debug)]
pub(crate) struct Outlet {
    file: File,
    /// `None` for what never keeps a writer waiting for somebody: a file.
    stop: Option<Stop>,
    given_up: bool,
}

impl Outlet {
    /// Standard output; with `stop`, no longer than until a signal.
    pub(crate) fn stdout(stop: Option<&Stop>) -> io::Result<Self> {
        Self::new(io::stdout().as_fd().try_clone_to_owned()?.into(), stop)
    }

    fn new(file: File, stop: Option<&Stop>) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        let waits = kind.is_fifo() || kind.is_socket() || kind.is_char_device();
        Ok(Self {
            file,
            stop: stop.filter(|_| waits).cloned(),
            given_up: false,
        })
    }

    /// Waits until a piece has room.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut): a signal came, and still nobody reads.
    fn await_room(&mut self, stop: &Stop) -> io::Result<()> {
        while !self.given_up {
            // Before the wait: one that the signal cuts short is not the last.
            let stopped = stop.is_set();
            if self.has_room_within(if stopped { GRACE } else { LOOK_EVERY })? {
                return Ok(());
            }
            self.given_up = stopped;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Also if there is an error: the write will tell which.
    fn has_room_within(&self, time: Duration) -> io::Result<bool> {
        let mut end = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        match poll(&mut end, timeout) {
            Ok(ready) => Ok(ready > 0),
            // A signal that comes again ends the process; this one has been noted.
            Err(Errno::EINTR) => self.has_room_within(Duration::ZERO),
            Err(error) => Err(error.into()),
        }
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stop) = self.stop.clone() else {
            return self.file.write(bytes);
        };
        self.await_room(&stop)?;
        self.file.write(&bytes[..bytes.len().min(PIECE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::os::fd::OwnedFd;
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn outlet(end: impl Into<OwnedFd>, stop: &Stop) -> Outlet {
        Outlet::new(File::from(end.into()), Some(stop)).unwrap()
    }

    #[test]
    fn a_reader_that_pauses_gets_it_all() {
        let (mut reader, writer) = pipe().unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|it| (it % 251) as u8).collect();
        let mut outlet = outlet(writer, &Stop::default());
        let reading = thread::spawn(move || {
            // Longer than one wait.
            thread::sleep(3 * LOOK_EVERY);
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        outlet.write_all(&sent).unwrap();
        drop(outlet);
        assert!(reading.join().unwrap() == sent);
    }

    #[test]
    fn a_signal_ends_the_wait_for_a_reader_that_does_not_read() {
        let (_reader, writer) = pipe().unwrap();
        let stop = Stop::default();
        let mut outlet = outlet(writer, &stop);
        let signal = thread::spawn(move || {
            thread::sleep(2 * LOOK_EVERY);
            stop.set();
        });
        let error = outlet.write_all(&[7; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        signal.join().unwrap();
        // It is not waited for again.
        let begun = Instant::now();
        let again = outlet.write(b"more").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < GRACE);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_one_that_reads_gets_what_is_left_after_a_signal() {
        let (reader, writer) = pipe().unwrap();
        let stop = Stop::default();
        stop.set();
        let mut outlet = outlet(writer, &stop);
        outlet.write_all(b"the end").unwrap();
        drop(reader);
        let error = outlet.write(b"more").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
