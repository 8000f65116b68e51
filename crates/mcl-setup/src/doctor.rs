//! `mcl doctor`: why IPv6 multicast does or does not work on this machine.
//!
//! Each check is told as soon as it is known, in the order in which a datagram meets
//! what is checked: kernel, interfaces, route, the datagram itself, buffers, firewall.
//! What can only be guessed is warned of, never failed.

mod buffers;
mod firewall;
mod kernel;
mod links;
mod path;

use std::fmt;
use std::io;

use mcl_net::{Group, Interface, InterfaceChoice, InterfaceError, Machine, Severity, Usability};
use thiserror::Error;

/// What was looked at, under a name that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Id {
    /// The kernel's version.
    Kernel,
    /// Whether IPv6 is there and switched on.
    Ipv6,
    /// An interface, or all of them.
    Interface,
    /// Whether an interface is wireless.
    Wireless,
    /// What a bridge does with multicast.
    Bridge,
    /// How far a group reaches.
    Scope,
    /// Which interface a connection gets.
    Route,
    /// A datagram, sent to itself.
    Datagram,
    /// A train of datagrams, sent to itself.
    Train,
    /// What the kernel grants a receiving socket.
    ReceiveBuffer,
    /// What the kernel dropped so far.
    Drops,
    /// Rules that drop.
    Firewall,
}

impl Id {
    /// The name, as in the JSON of `mcl doctor`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ipv6 => "ipv6",
            Self::Interface => "interface",
            Self::Wireless => "wireless",
            Self::Bridge => "bridge",
            Self::Scope => "scope",
            Self::Route => "route",
            Self::Datagram => "datagram",
            Self::Train => "train",
            Self::ReceiveBuffer => "receive-buffer",
            Self::Drops => "drops",
            Self::Firewall => "firewall",
        }
    }
}

/// How a check ended; the worst is the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to mend.
    #[default]
    Passed,
    /// It works, or may work, but less well than it could; or it cannot be told.
    Warned,
    /// It does not work.
    Failed,
}

impl Verdict {
    /// `passed`, `warned` or `failed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Severity> for Verdict {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Note => Self::Passed,
            Severity::Obstacle => Self::Failed,
            _ => Self::Warned,
        }
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at.
    pub id: Id,
    /// The interface that it is about, if it is about one.
    pub interface: Option<String>,
    /// How it ended.
    pub verdict: Verdict,
    /// One line, without the remedy.
    pub message: String,
    /// The commands that mend it, one a line, to be run with privilege; none if there
    /// is nothing to mend, or no command does.
    pub remedy: Vec<String>,
}

impl Check {
    fn new(id: Id, verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            id,
            interface: None,
            verdict,
            message: message.into(),
            remedy: Vec::new(),
        }
    }

    fn of(mut self, interface: &str) -> Self {
        self.interface = Some(interface.to_owned());
        self
    }

    fn mended_by(mut self, remedy: impl IntoIterator<Item = String>) -> Self {
        self.remedy.extend(remedy);
        self
    }
}

/// A connection to be looked at in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its group and port.
    pub group: Group,
    /// Its interface.
    pub interface: InterfaceChoice,
    /// Its hop limit.
    pub hops: u8,
    /// Whether the datagram is sent to the group itself, which others on the link see,
    /// instead of one that does not leave this machine.
    pub on_the_wire: bool,
}

/// Why an examination came to no end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not tell its interfaces.
    #[error(transparent)]
    Look(#[from] InterfaceError),
    /// Nobody takes the results.
    #[error(transparent)]
    Tell(#[from] io::Error),
}

/// Examines the network namespace of the calling thread, and `target` in particular;
/// hands each check to `tell` and returns the worst verdict.
///
/// Changes nothing. What it sends stays on this machine, unless `target` says
/// otherwise. Ends within seconds: each datagram is waited for 1 s, a tentative
/// address 5 s.
///
/// # Errors
/// [`enum@Error`], if the machine cannot be looked at, or with what `tell` returned.
pub fn examine(
    target: Option<&Target>,
    mut tell: impl FnMut(Check) -> io::Result<()>,
) -> Result<Verdict, Error> {
    let mut worst = Verdict::Passed;
    let mut tell = |check: Check| {
        worst = worst.max(check.verdict);
        tell(check)
    };
    let machine = Machine::look()?;
    tell(kernel::release(machine.kernel_release()))?;
    for check in kernel::ipv6(&machine) {
        tell(check)?;
    }
    for check in links::all(&machine) {
        tell(check)?;
    }
    if let Some(target) = target {
        tell(path::scope(target))?;
    }
    let (route, chosen) = path::route(target);
    tell(route)?;
    let tested: Vec<&Interface> = match (target, &chosen) {
        (Some(_), chosen) => chosen.iter().collect(),
        (None, _) => machine.interfaces().iter().filter(can_be_tested).collect(),
    };
    for interface in &tested {
        let datagram = path::datagram(interface, target);
        let arrived = datagram.verdict == Verdict::Passed;
        tell(datagram)?;
        if arrived {
            tell(path::train(interface))?;
        }
    }
    tell(buffers::limit(&machine, tested.first().copied()))?;
    tell(buffers::drops())?;
    for check in firewall::rules(path::port(target)) {
        tell(check)?;
    }
    Ok(worst)
}

fn can_be_tested(interface: &&Interface) -> bool {
    !matches!(interface.usability(), Usability::Unusable(_))
}
