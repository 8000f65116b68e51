//! Looking at the machine: what it can carry, what is in the way, and the proof.

use std::fmt;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::refusal::make_one;
use crate::{
    Blocking, Group, Interface, InterfaceError, Reason, Received, Receiver, ReceiverOptions,
    SendError, Sender, SenderOptions, SocketError, TrainBuffer, Usability, Wait, interfaces,
};

/// The receive buffer that a machine should at least grant, in bytes: it takes a
/// megabyte message whole, with the kernel's bookkeeping.
pub const RECOMMENDED_RECEIVE_BUFFER: usize = 2_097_152;

/// How long the self-test waits for its own datagram.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// What the self-test tolerates of others on its random group, before it gives up.
const MAX_STRANGERS: usize = 64;

/// What there is to know of a machine before IPv6 multicast is asked of it.
///
/// A snapshot of the network namespace of the thread that looked.
#[derive(Clone, Debug)]
pub struct Machine {
    release: String,
    interfaces: Vec<Interface>,
    rmem_max: Option<usize>,
    rmem_default: Option<usize>,
}

impl Machine {
    /// Looks at the machine; sends nothing and changes nothing.
    ///
    /// # Errors
    /// [`InterfaceError`] when the system does not tell its interfaces.
    pub fn look() -> Result<Self, InterfaceError> {
        Ok(Self {
            release: read_setting("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            interfaces: interfaces()?,
            rmem_max: read_size("net/core/rmem_max"),
            rmem_default: read_size("net/core/rmem_default"),
        })
    }

    /// The kernel's release, such as `6.12.43-amd64`; `unknown` without `/proc`.
    #[must_use]
    pub fn kernel_release(&self) -> &str {
        &self.release
    }

    /// All interfaces.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Those that can carry IPv6 multicast now.
    pub fn usable(&self) -> impl Iterator<Item = &Interface> {
        let usable = |interface: &&Interface| interface.usability() == Usability::Usable;
        self.interfaces.iter().filter(usable)
    }

    /// The largest receive buffer that a socket is granted (`net.core.rmem_max`), in
    /// bytes; `None` where the system does not say, as in some network namespaces.
    #[must_use]
    pub const fn rmem_max(&self) -> Option<usize> {
        self.rmem_max
    }

    /// The receive buffer of a socket that asks for none (`net.core.rmem_default`),
    /// in bytes; `None` as for [`rmem_max`](Self::rmem_max).
    #[must_use]
    pub const fn rmem_default(&self) -> Option<usize> {
        self.rmem_default
    }

    /// What is in the way of IPv6 multicast here, or will be, the gravest first.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .interface_findings()
            .into_iter()
            .chain(broken_kernel(&self.release))
            .chain(small(BufferSetting::Max, self.rmem_max))
            .chain(small(BufferSetting::Default, self.rmem_default))
            .collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
        findings
    }

    fn interface_findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.usable().next().is_none() {
            findings.push(match self.pending() {
                Some(reason) => Finding::InterfacePending { reason },
                None => Finding::NoUsableInterface,
            });
        }
        for interface in self.usable() {
            let name = || interface.name().to_owned();
            if !interface.is_running() {
                findings.push(Finding::NoCarrier { interface: name() });
            }
            if interface.is_wireless() {
                findings.push(Finding::Wireless { interface: name() });
            }
        }
        findings
    }

    fn pending(&self) -> Option<Reason> {
        self.interfaces
            .iter()
            .find_map(|interface| match interface.usability() {
                Usability::NotYet(reason) => Some(reason),
                _ => None,
            })
    }
}

fn read_setting(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.trim().to_owned())
}

fn read_size(name: &str) -> Option<usize> {
    read_setting(name)?.parse().ok()
}

/// Something about the machine that stands in the way, or will.
///
/// `Display` is one line without the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// No interface can carry IPv6 multicast.
    NoUsableInterface,
    /// The only interface that can will do so in a moment.
    InterfacePending {
        /// What it waits for.
        reason: Reason,
    },
    /// Kernels 3.13 to 3.15 delivered IPv6 multicast wrongly.
    BrokenKernel {
        /// The kernel's release.
        release: String,
    },
    /// Receive buffers are small: large messages go slowly, or are lost.
    SmallBuffer {
        /// Which setting.
        setting: BufferSetting,
        /// Its value, in bytes.
        value: usize,
    },
    /// The system does not say how large receive buffers are.
    UnknownBuffer {
        /// Which setting.
        setting: BufferSetting,
    },
    /// An interface has no carrier: it reaches the listeners of this machine only.
    NoCarrier {
        /// Its name.
        interface: String,
    },
    /// An interface is wireless, where multicast is sent slowly and unacknowledged.
    Wireless {
        /// Its name.
        interface: String,
    },
}

/// How grave a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, but less well than it could.
    Warning,
    /// It does not work.
    Obstacle,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Obstacle => "obstacle",
        })
    }
}

/// A setting of the kernel for receive buffers (socket(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferSetting {
    /// The most that a socket is granted.
    Max,
    /// What a socket has that does not ask.
    Default,
}

impl BufferSetting {
    /// Its name for sysctl(8).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Max => "net.core.rmem_max",
            Self::Default => "net.core.rmem_default",
        }
    }
}

fn small(setting: BufferSetting, value: Option<usize>) -> Option<Finding> {
    match value {
        None => Some(Finding::UnknownBuffer { setting }),
        Some(value) if value < RECOMMENDED_RECEIVE_BUFFER => {
            Some(Finding::SmallBuffer { setting, value })
        }
        Some(_) => None,
    }
}

fn broken_kernel(release: &str) -> Option<Finding> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let broken = matches!((next(), next()), (Some(3), Some(13..=15)));
    broken.then(|| Finding::BrokenKernel {
        release: release.to_owned(),
    })
}

impl Finding {
    /// What is wrong with a kernel of this release, if anything is.
    #[must_use]
    pub fn of_kernel(release: &str) -> Option<Self> {
        broken_kernel(release)
    }

    /// How grave it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::NoUsableInterface => Severity::Obstacle,
            Self::InterfacePending { .. }
            | Self::BrokenKernel { .. }
            | Self::SmallBuffer {
                setting: BufferSetting::Max,
                ..
            }
            | Self::Wireless { .. } => Severity::Warning,
            Self::SmallBuffer { .. } | Self::UnknownBuffer { .. } | Self::NoCarrier { .. } => {
                Severity::Note
            }
        }
    }

    /// The commands that mend it, one a line, to be run with privilege; none where
    /// no command does.
    #[must_use]
    pub fn remedy(&self) -> Vec<String> {
        match self {
            Self::NoUsableInterface => make_one(),
            Self::SmallBuffer { setting, .. } => vec![format!(
                "sysctl -w {}={RECOMMENDED_RECEIVE_BUFFER}",
                setting.name()
            )],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsableInterface => f.write_str("no interface can carry IPv6 multicast"),
            Self::InterfacePending { reason } => {
                write!(f, "{} is not usable yet: {reason}", reason.interface())
            }
            Self::BrokenKernel { release } => write!(
                f,
                "kernel {release}: versions 3.13 to 3.15 delivered IPv6 multicast wrongly; use another one"
            ),
            Self::SmallBuffer { setting, value } => write!(
                f,
                "{} is {value}, less than {RECOMMENDED_RECEIVE_BUFFER}: {}",
                setting.name(),
                match setting {
                    BufferSetting::Max =>
                        "large messages are sent slowly, so that receivers keep up",
                    BufferSetting::Default => "programs that ask for no size lose more",
                }
            ),
            Self::UnknownBuffer { setting } => {
                write!(
                    f,
                    "{} is not visible here (a network namespace?)",
                    setting.name()
                )
            }
            Self::NoCarrier { interface } => {
                write!(
                    f,
                    "{interface} has no carrier: it reaches this machine's listeners only"
                )
            }
            Self::Wireless { interface } => write!(
                f,
                "{interface} is wireless: multicast goes at the lowest rate and is not acknowledged"
            ),
        }
    }
}

/// Sends one datagram to itself on `interface` and waits for it; returns how long
/// it took to arrive.
///
/// Nothing is put on the wire: a random interface-local group (`ff11::`), hop
/// limit 0. A tentative address is waited for, 5 s at most; the datagram, 1 s.
///
/// # Errors
/// [`SelfTestError`], which names the step.
pub fn self_test(interface: &Interface) -> Result<Duration, SelfTestError> {
    let token = token();
    send_token(interface, random_group(token)?, 0, token)
}

/// As [`self_test`], to `group` with this hop limit: with one above 0 and a scope
/// beyond the interface, joining and both datagrams (of 1 and 8 bytes) go on the wire.
///
/// # Errors
/// [`SelfTestError`], which names the step.
pub fn self_test_to(
    interface: &Interface,
    group: Group,
    hops: u8,
) -> Result<Duration, SelfTestError> {
    send_token(interface, group, hops, token())
}

fn token() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn send_token(
    interface: &Interface,
    group: Group,
    hops: u8,
    token: u64,
) -> Result<Duration, SelfTestError> {
    let mut receiver = Receiver::open(group, interface, &ReceiverOptions::default())?;
    let options = SenderOptions {
        hops,
        ..SenderOptions::default()
    };
    let mut sender = Sender::open(group, interface, &options)?;
    let token = token.to_be_bytes();
    // The address is waited for here, and is no part of the time measured.
    sender.send_train(&[IoSlice::new(&[0])], 1, Blocking::Yes)?;
    let sent = Instant::now();
    sender.send_train(&[IoSlice::new(&token)], token.len(), Blocking::Yes)?;
    if await_token(&mut receiver, &token, sent + ARRIVES_WITHIN)? {
        return Ok(sent.elapsed());
    }
    Err(SelfTestError::Lost {
        interface: interface.name().to_owned(),
        group,
    })
}

/// What became of a train of datagrams that was sent to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainTest {
    /// Datagrams sent.
    pub sent: usize,
    /// Datagrams that arrived unharmed.
    pub arrived: usize,
    /// Bytes of each.
    pub datagram_len: usize,
    /// Whether they left in one piece, by segmentation offload.
    pub offload: bool,
}

/// Sends one full train of full datagrams to itself on `interface`, as a large message
/// is sent, and counts what arrives of it. Nothing is put on the wire, as by
/// [`self_test`].
///
/// # Errors
/// [`SelfTestError`], which names the step; never [`SelfTestError::Lost`].
pub fn train_test(interface: &Interface) -> Result<TrainTest, SelfTestError> {
    let token = token();
    let group = random_group(token)?;
    let mut receiver = Receiver::open(group, interface, &ReceiverOptions::default())?;
    let options = SenderOptions {
        hops: 0,
        ..SenderOptions::default()
    };
    let mut sender = Sender::open(group, interface, &options)?;
    let datagram_len = sender.datagram_len();
    let datagram: Vec<u8> = token
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(datagram_len)
        .collect();
    let sent = Sender::train_len(datagram_len);
    let train = vec![IoSlice::new(&datagram); sent];
    sender.send_train(&train, datagram_len, Blocking::Yes)?;
    let arrived = count(&mut receiver, &datagram, sent)?;
    Ok(TrainTest {
        sent,
        arrived,
        datagram_len,
        offload: sender.offload(),
    })
}

/// How many datagrams that are `expected` arrive in time, `most` at most.
fn count(receiver: &mut Receiver, expected: &[u8], most: usize) -> Result<usize, SelfTestError> {
    let deadline = Instant::now() + ARRIVES_WITHIN;
    let (mut train, mut arrived) = (TrainBuffer::new(), 0);
    while arrived < most && Instant::now() < deadline {
        let received = receiver
            .recv(&mut train, Wait::Until(deadline))
            .map_err(SelfTestError::Receive)?;
        if received == Received::TimedOut {
            break;
        }
        arrived += train.datagrams().filter(|it| *it == expected).count();
    }
    Ok(arrived)
}

fn random_group(token: u64) -> Result<Group, SelfTestError> {
    let address = u128::from(Ipv6Addr::new(0xff11, 0, 0, 0, 0, 0, 0, 0)) | u128::from(token);
    // A port that nobody is assigned (RFC 6335, section 6).
    let port = 0xc000 | (token >> 48) as u16;
    Group::new(Ipv6Addr::from(address), port)
        .map_err(|error| SelfTestError::Receive(io::Error::new(io::ErrorKind::InvalidInput, error)))
}

/// Whether a datagram that is `token` arrives before `deadline`.
fn await_token(
    receiver: &mut Receiver,
    token: &[u8],
    deadline: Instant,
) -> Result<bool, SelfTestError> {
    let mut train = TrainBuffer::new();
    for _ in 0..MAX_STRANGERS {
        let received = receiver
            .recv(&mut train, Wait::Until(deadline))
            .map_err(SelfTestError::Receive)?;
        if received == Received::TimedOut {
            break;
        }
        if train.datagrams().any(|datagram| datagram == token) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why the self-test did not see its datagram arrive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// A socket could not be made ready.
    #[error(transparent)]
    Open(#[from] SocketError),
    /// The datagram could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The receiving socket failed.
    #[error("self-test: cannot receive: {0}")]
    Receive(#[source] io::Error),
    /// It was sent and did not arrive.
    #[error(
        "self-test: a datagram sent to {group} on {interface} did not come back within {} s; \
         see whether a firewall drops it: `nft list ruleset`, `ip6tables -L -v`",
        ARRIVES_WITHIN.as_secs()
    )]
    Lost {
        /// The interface's name.
        interface: String,
        /// The group it was sent to.
        group: Group,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcl_testbed::{Dad, Namespace};

    #[test]
    fn kernels_3_13_to_3_15_are_named() {
        for release in ["3.13.0-24-generic", "3.14", "3.15.10+"] {
            assert!(broken_kernel(release).is_some(), "{release}");
        }
        for release in ["3.12.9", "3.16.0", "6.14.2", "13.14", "unknown", ""] {
            assert_eq!(broken_kernel(release), None, "{release}");
        }
    }

    #[test]
    fn small_buffers_are_found_and_large_ones_are_not() {
        let found = small(BufferSetting::Max, Some(212_992)).unwrap();
        assert_eq!(found.severity(), Severity::Warning);
        assert_eq!(found.remedy(), ["sysctl -w net.core.rmem_max=2097152"]);
        assert!(found.to_string().contains("212992"));
        assert_eq!(small(BufferSetting::Max, Some(2_097_152)), None);
        let unknown = small(BufferSetting::Default, None).unwrap();
        assert_eq!(unknown.severity(), Severity::Note);
    }

    fn gravest(namespace: &Namespace) -> Option<Finding> {
        let machine = namespace.run(|| Machine::look().unwrap());
        machine.findings().into_iter().next()
    }

    fn test_in(namespace: &Namespace, name: &str) -> Result<Duration, SelfTestError> {
        let index = namespace.index(name).unwrap().try_into().unwrap();
        namespace.run(|| self_test(&Interface::by_index(index).unwrap()))
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_machine_without_an_interface_is_told_so_until_it_has_one() {
        let namespace = Namespace::new().unwrap();
        assert_eq!(gravest(&namespace), Some(Finding::NoUsableInterface));
        namespace.bridge_with(Dad::On, "br0").unwrap();
        let pending = gravest(&namespace).unwrap();
        assert!(
            matches!(pending, Finding::InterfacePending { .. }),
            "{pending}"
        );
        namespace.wait_until_ready("br0").unwrap();
        let machine = namespace.run(|| Machine::look().unwrap());
        assert_eq!(machine.usable().count(), 1);
        let obstacle = |finding: &Finding| finding.severity() == Severity::Obstacle;
        assert!(!machine.findings().iter().any(obstacle));
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_self_test_sees_its_datagram_arrive() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        assert!(test_in(&namespace, "br0").unwrap() < ARRIVES_WITHIN);
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_self_test_reaches_a_group_that_is_named() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        let index = namespace.index("br0").unwrap().try_into().unwrap();
        let group = Group::new("ff15::6d63:6c".parse().unwrap(), 26000).unwrap();
        namespace.run(|| {
            let interface = Interface::by_index(index).unwrap();
            assert!(interface.bridge().unwrap().snooping);
            self_test_to(&interface, group, 1).unwrap();
        });
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_train_to_itself_arrives_whole_and_by_offload() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        let index = namespace.index("br0").unwrap().try_into().unwrap();
        let test = namespace.run(|| train_test(&Interface::by_index(index).unwrap()));
        let expected = TrainTest {
            sent: 45,
            arrived: 45,
            datagram_len: 1452,
            offload: true,
        };
        assert_eq!(test.unwrap(), expected);
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_self_test_waits_for_a_tentative_address() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge_with(Dad::On, "br0").unwrap();
        test_in(&namespace, "br0").unwrap();
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_self_test_tells_that_lo_does_not_deliver() {
        let namespace = Namespace::new().unwrap();
        let error = test_in(&namespace, "lo").unwrap_err();
        assert!(matches!(error, SelfTestError::Send(_)), "{error}");
        assert!(error.to_string().contains("loopback"), "{error}");
        // With a route it is sent, and lost.
        let route = [
            "-6",
            "route",
            "add",
            "multicast",
            "ff00::/8",
            "dev",
            "lo",
            "table",
            "local",
        ];
        namespace.ip(&route).unwrap();
        let error = test_in(&namespace, "lo").unwrap_err();
        assert!(matches!(error, SelfTestError::Lost { .. }), "{error}");
        assert!(error.to_string().contains("nft list ruleset"));
    }
}
