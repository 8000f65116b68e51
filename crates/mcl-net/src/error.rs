//! Errors of setting sockets up. Each names the step, the option and its value,
//! the group and the interface, and what to do about it.

use std::fmt;
use std::io;

use nix::errno::Errno;

use crate::{Group, Interface};

/// Why a socket could not be made ready: which step failed, for which group,
/// on which interface.
///
/// `Display` ends with the remedy; [`source`](std::error::Error::source) is the
/// system's own error.
#[derive(Debug)]
pub struct SocketError {
    step: Step,
    group: Group,
    interface: String,
    source: io::Error,
}

/// A step of setting a socket up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Making the socket itself.
    Create,
    /// Setting an option.
    Set {
        /// The option, as the system calls it.
        option: &'static str,
        /// The value it was to get.
        value: i64,
    },
    /// Reading an option back.
    Read {
        /// The option, as the system calls it.
        option: &'static str,
    },
    /// An option that was set reads back as something else.
    Differs {
        /// The option, as the system calls it.
        option: &'static str,
        /// The value it was to get.
        wanted: i64,
        /// The value it has.
        got: i64,
    },
    /// Binding to the group and port.
    Bind,
    /// Joining the group on the interface.
    Join,
    /// Making the event descriptor by which another thread wakes a receiver.
    Waker,
    /// Making the timer of a receiver.
    Alarm,
    /// Making the netlink socket by which changes of interfaces are heard of, or an
    /// epoll descriptor that stands for several of a receiver.
    Watch,
    /// Preparing receive offload and arrival information.
    ReceiveOffload,
}

impl SocketError {
    /// The step that failed.
    #[must_use]
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// The group it failed for.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The name of the interface it failed on; empty if there was none yet.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    fn remedy(&self) -> String {
        if let Some(remedy) = descriptors_remedy(&self.source) {
            return remedy.into();
        }
        let interface = &self.interface;
        let port = self.group.port();
        match (&self.step, Errno::from_raw(self.source.raw_os_error().unwrap_or(0))) {
            (Step::Create, Errno::EAFNOSUPPORT) => {
                "the kernel has no IPv6; see `sysctl net.ipv6.conf.all.disable_ipv6` and the kernel's command line (ipv6.disable=1)".into()
            }
            (Step::Bind, Errno::EADDRINUSE) => format!(
                "another process holds the port without sharing it: `ss -ulpn 'sport = :{port}'` names it"
            ),
            (Step::Bind, Errno::EACCES) => {
                format!("port {port} needs a privilege; choose one from 1024 on")
            }
            (_, Errno::ENODEV | Errno::ENXIO) => {
                format!("the interface is gone: `ip link show {interface}`")
            }
            (_, Errno::EADDRNOTAVAIL) => format!(
                "the interface has no usable IPv6 address: `ip -6 address show dev {interface}`, then `ip link set {interface} up` or `ip -6 address add fd34::1/64 dev {interface}`"
            ),
            (Step::Join, Errno::ENOBUFS | Errno::ENOMEM) => {
                "too many groups on one socket; `sysctl -w net.core.optmem_max=131072`".into()
            }
            _ => format!("`ip -6 address show dev {interface}` shows the state of the interface"),
        }
    }
}

/// What to do if it was descriptors that something failed for want of.
pub(crate) fn descriptors_remedy(source: &io::Error) -> Option<&'static str> {
    match Errno::from_raw(source.raw_os_error()?) {
        Errno::EMFILE => Some("no descriptors are left in this process; see `ulimit -n`"),
        Errno::ENFILE => Some("no descriptors are left on this machine; see `sysctl fs.file-max`"),
        _ => None,
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            group,
            interface,
            source,
        } = self;
        write!(f, "cannot {step} for group {group}")?;
        if !interface.is_empty() {
            write!(f, " on interface {interface}")?;
        }
        write!(f, ": {source}; {}", self.remedy())
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("create a UDP socket"),
            Self::Set { option, value } => write!(f, "set {option} to {value}"),
            Self::Read { option } => write!(f, "read {option}"),
            Self::Differs {
                option,
                wanted,
                got,
            } => {
                write!(f, "set {option}: wanted {wanted}, the system says {got},")
            }
            Self::Bind => f.write_str("bind"),
            Self::Join => f.write_str("join"),
            Self::Waker => f.write_str("create an event descriptor"),
            Self::Alarm => f.write_str("create a timer"),
            Self::Watch => f.write_str("watch for changes of interfaces"),
            Self::ReceiveOffload => f.write_str("prepare receive offload"),
        }
    }
}

/// Where a set-up stands, so that each of its steps can fail with all it knows.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    group: Group,
    interface: &'a str,
}

impl<'a> Context<'a> {
    pub(crate) fn new(group: Group, interface: Option<&'a Interface>) -> Self {
        Self {
            group,
            interface: interface.map_or("", Interface::name),
        }
    }

    pub(crate) fn fail(&self, step: Step, source: impl Into<io::Error>) -> SocketError {
        SocketError {
            step,
            group: self.group,
            interface: self.interface.to_owned(),
            source: source.into(),
        }
    }

    /// Runs `set`, and names `option` and `value` if it fails.
    pub(crate) fn set<E: Into<io::Error>>(
        &self,
        option: &'static str,
        value: i64,
        set: Result<(), E>,
    ) -> Result<(), SocketError> {
        set.map_err(|error| self.fail(Step::Set { option, value }, error))
    }

    /// Checks that `option` reads back as `wanted`.
    pub(crate) fn confirm(
        &self,
        option: &'static str,
        wanted: i64,
        got: io::Result<i64>,
    ) -> Result<(), SocketError> {
        let got = got.map_err(|error| self.fail(Step::Read { option }, error))?;
        if got == wanted {
            return Ok(());
        }
        let source = io::Error::from(io::ErrorKind::Unsupported);
        Err(self.fail(
            Step::Differs {
                option,
                wanted,
                got,
            },
            source,
        ))
    }
}
