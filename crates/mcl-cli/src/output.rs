//! Writing to standard output and standard error, whose ends may be closed.
//!
//! Results go to standard output, notes and summaries to standard error. There is
//! neither colour nor a progress bar in them. Who reads the results may stop at any
//! time: that is [`io::ErrorKind::BrokenPipe`], with which `main` ends quietly.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use mcl_udp::Interface;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::arguments::Format;
use crate::outlet::Outlet;
use crate::signals::Stop;

/// A line on standard output, seen at once by who reads it.
pub(crate) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref())?;
    out.flush()
}

/// One JSON object on a line of standard output.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string(value)?)
}

/// A line on standard error, for who waits for it; nobody needs to.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Where a listener or broadcaster is, for a sentence.
pub(crate) fn place(interface: Option<Interface>) -> String {
    interface.map_or_else(|| "no interface".to_owned(), |it| it.to_string())
}

/// `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

impl Format {
    /// A note for people, unless they want none.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            note(&format!("mcl: {text}"));
        }
    }

    /// The account at the end, on standard error, unless nobody wants it.
    pub(crate) fn summary(self, summary: &(impl Serialize + std::fmt::Display)) -> io::Result<()> {
        if !self.quiet {
            match self.json {
                true => note(&serde_json::to_string(summary)?),
                false => note(&format!("mcl: {summary}")),
            }
        }
        Ok(())
    }
}

/// Standard output for much: nothing is seen until it is flushed.
#[derive(Debug)]
pub(crate) struct Out(BufWriter<Outlet>);

impl Out {
    pub(crate) fn new() -> io::Result<Self> {
        Self::to(Outlet::stdout(None))
    }

    /// Which waits for its reader no longer than until a signal.
    pub(crate) fn until(stop: &Stop) -> io::Result<Self> {
        Self::to(Outlet::stdout(Some(stop)))
    }

    fn to(outlet: io::Result<Outlet>) -> io::Result<Self> {
        Ok(Self(BufWriter::with_capacity(64 << 10, outlet?)))
    }

    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.0, "{text}")
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        self.bytes(b"\n")
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The error of writing if nobody reads standard output any more, found out without
/// writing: a command that has nothing to say for long should end as well.
pub(crate) fn check_reader() -> io::Result<()> {
    let stdout = io::stdout();
    let mut end = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut end, PollTimeout::ZERO) {
        // Even a poll that does not wait says so of a signal, which has been noted.
        Err(Errno::EINTR) => return Ok(()),
        polled => polled?,
    };
    let happened = end[0].revents().unwrap_or(PollFlags::empty());
    match happened.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
        true => Err(io::ErrorKind::BrokenPipe.into()),
        false => Ok(()),
    }
}
