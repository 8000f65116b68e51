//! Interfaces: which there are, which can carry IPv6 multicast, and why not.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::path::Path;

use thiserror::Error;

use crate::error::descriptors_remedy;
use crate::netlink::{self, Failure, Ipv6State, Link};

/// The smallest MTU on which IPv6 runs (RFC 8200, section 5).
const MIN_MTU: u32 = 1280;

/// What the system said about a network interface when it was looked at.
///
/// A snapshot: nothing in it changes afterwards. It tells of the network namespace
/// of the thread that looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    index: NonZeroU32,
    name: String,
    alternative_names: Vec<String>,
    alias: Option<String>,
    mtu: u32,
    state: netlink::LinkState,
    ipv6: Ipv6State,
    hardware_address: Vec<u8>,
    addresses: Vec<InterfaceAddress>,
    controller: Option<NonZeroU32>,
    bridge: Option<Bridge>,
}

/// What a bridge does with multicast (ip-link(8), `type bridge`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bridge {
    /// Whether it forwards a group only to the ports behind which it is listened to
    /// (`mcast_snooping`), as far as a querier makes listeners tell.
    pub snooping: bool,
    /// Whether it asks who listens (`mcast_querier`).
    pub querier: bool,
    /// Whether it knows of a querier for IPv6, itself or another (Linux 5.15).
    pub querier_seen: bool,
}

/// An IPv6 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceAddress {
    /// The address.
    pub address: Ipv6Addr,
    /// How many of its leading bits name the network.
    pub prefix_len: u8,
    /// Whether it can be sent from.
    pub state: AddressState,
}

/// Where an address stands in duplicate address detection (RFC 4862, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// It can be used.
    Ready,
    /// It is being checked, which takes about 2 s; sending from it fails meanwhile.
    Tentative,
    /// Another machine on the link has it; it is never used.
    Duplicate,
}

impl Interface {
    /// Looks at the interface with this index.
    ///
    /// # Errors
    /// [`InterfaceError::Gone`] if there is none, otherwise what failed in looking.
    pub fn by_index(index: NonZeroU32) -> Result<Self, InterfaceError> {
        interfaces()?
            .into_iter()
            .find(|interface| interface.index == index)
            .ok_or(InterfaceError::Gone { index })
    }

    /// The index, by which the system knows it; a deleted and recreated interface
    /// has another one.
    #[must_use]
    pub const fn index(&self) -> NonZeroU32 {
        self.index
    }

    /// The name, such as `eth0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text that an administrator attached to it (`ip link set alias`).
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The largest IP packet it carries, in bytes.
    #[must_use]
    pub const fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Its IPv6 addresses.
    #[must_use]
    pub fn addresses(&self) -> &[InterfaceAddress] {
        &self.addresses
    }

    /// Whether it is switched on.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.state.up
    }

    /// Whether it has a carrier: a cable, an association, a peer. Without one,
    /// datagrams still reach the listeners of this machine.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.state.running
    }

    /// Whether it is flagged as capable of multicast.
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        self.state.multicast
    }

    /// Whether it is the loopback interface.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.state.loopback
    }

    /// Whether IPv6 is switched off on it.
    #[must_use]
    pub fn ipv6_disabled(&self) -> bool {
        self.ipv6 != Ipv6State::Enabled
    }

    /// Whether it is a wireless one, where multicast is slow and lossy; as far as
    /// `/sys` tells, which shows the host's interfaces even inside a container.
    #[must_use]
    pub fn is_wireless(&self) -> bool {
        let folder = Path::new("/sys/class/net").join(&self.name);
        folder.join("wireless").exists() || folder.join("phy80211").exists()
    }

    /// What it does with multicast, if it is a bridge.
    #[must_use]
    pub const fn bridge(&self) -> Option<Bridge> {
        self.bridge
    }

    /// The index of the bridge or bond that it is a port of, if it is one.
    #[must_use]
    pub const fn controller(&self) -> Option<NonZeroU32> {
        self.controller
    }

    /// Whether it can carry IPv6 multicast, and if not, why not and what mends it.
    #[must_use]
    pub fn usability(&self) -> Usability {
        match self.obstacle() {
            None => Usability::Usable,
            Some(kind @ ReasonKind::Tentative) => Usability::NotYet(self.reason(kind)),
            Some(kind) => Usability::Unusable(self.reason(kind)),
        }
    }

    fn reason(&self, kind: ReasonKind) -> Reason {
        let interface = self.name.clone();
        Reason { kind, interface }
    }

    /// The first thing in the way, in the order in which they must be mended.
    fn obstacle(&self) -> Option<ReasonKind> {
        if self.is_loopback() {
            Some(ReasonKind::Loopback)
        } else if !self.is_multicast() {
            Some(ReasonKind::NoMulticast)
        } else if self.mtu < MIN_MTU {
            Some(ReasonKind::MtuTooSmall { mtu: self.mtu })
        } else if !self.is_up() {
            Some(ReasonKind::Down)
        } else {
            self.ipv6_obstacle()
        }
    }

    fn ipv6_obstacle(&self) -> Option<ReasonKind> {
        let has = |state| self.addresses.iter().find(|address| address.state == state);
        match self.ipv6 {
            Ipv6State::Disabled => Some(ReasonKind::Ipv6Disabled),
            Ipv6State::Absent => Some(ReasonKind::NoIpv6),
            Ipv6State::Enabled if has(AddressState::Ready).is_some() => None,
            Ipv6State::Enabled if has(AddressState::Tentative).is_some() => {
                Some(ReasonKind::Tentative)
            }
            Ipv6State::Enabled => Some(match has(AddressState::Duplicate) {
                Some(duplicate) => ReasonKind::Duplicate {
                    address: duplicate.address,
                    prefix_len: duplicate.prefix_len,
                },
                None => self.no_address(),
            }),
        }
    }

    fn no_address(&self) -> ReasonKind {
        let suggestion = link_local(&self.hardware_address);
        if self.is_running() {
            ReasonKind::NoIpv6Address { suggestion }
        } else {
            ReasonKind::NoCarrier { suggestion }
        }
    }

    pub(crate) fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.alternative_names.iter().any(|other| other == name)
    }

    pub(crate) fn has(&self, address: Ipv6Addr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }
}

/// The name and index, as in `eth0 (index 2)`.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (index {})", self.name, self.index)
    }
}

/// The link-local address that an interface would give itself (RFC 4291, appendix A).
fn link_local(hardware_address: &[u8]) -> Ipv6Addr {
    let &[a, b, c, d, e, f] = hardware_address else {
        return Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    };
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// Whether an interface can carry IPv6 multicast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usability {
    /// It can.
    Usable,
    /// It will in a moment; sending waits for it.
    NotYet(Reason),
    /// It cannot, until someone mends it.
    Unusable(Reason),
}

impl Usability {
    /// Why it is not usable now.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Usable => None,
            Self::NotYet(reason) | Self::Unusable(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Usability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable => f.write_str("usable"),
            Self::NotYet(reason) => write!(f, "not yet: {reason}"),
            Self::Unusable(reason) => write!(f, "not usable: {reason}"),
        }
    }
}

/// Why an interface does not carry IPv6 multicast.
///
/// `Display` is one line: the reason, and behind it the commands that mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    kind: ReasonKind,
    interface: String,
}

/// What stands in the way of IPv6 multicast on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasonKind {
    /// It is the loopback interface, on which Linux delivers no IPv6 multicast:
    /// sending fails with `ENETUNREACH`, and with a route of one's own and
    /// `multicast on` datagrams are sent and lost.
    Loopback,
    /// It lacks the flag `MULTICAST`.
    NoMulticast,
    /// Its MTU is below the 1280 bytes that IPv6 needs.
    MtuTooSmall {
        /// Its MTU, in bytes.
        mtu: u32,
    },
    /// It is switched off.
    Down,
    /// `disable_ipv6` is set on it.
    Ipv6Disabled,
    /// The kernel runs no IPv6 on it, or has none at all.
    NoIpv6,
    /// It has no IPv6 address to send from.
    NoIpv6Address {
        /// The link-local address that fits it.
        suggestion: Ipv6Addr,
    },
    /// It has no IPv6 address, because it never had a carrier.
    NoCarrier {
        /// The link-local address that fits it.
        suggestion: Ipv6Addr,
    },
    /// Its addresses are still in duplicate address detection.
    Tentative,
    /// Another machine has its address.
    Duplicate {
        /// The address.
        address: Ipv6Addr,
        /// How many of its leading bits name the network.
        prefix_len: u8,
    },
}

impl Reason {
    /// What stands in the way.
    #[must_use]
    pub const fn kind(&self) -> ReasonKind {
        self.kind
    }

    /// The name of the interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The commands that mend it, one a line, to be run with privilege; none where
    /// no command does.
    #[must_use]
    pub fn remedy(&self) -> Vec<String> {
        let name = &self.interface;
        match self.kind {
            ReasonKind::NoMulticast => vec![format!("ip link set dev {name} multicast on")],
            ReasonKind::MtuTooSmall { .. } => vec![format!("ip link set dev {name} mtu 1500")],
            ReasonKind::Down => vec![format!("ip link set dev {name} up")],
            // With slashes, because the name may contain dots.
            ReasonKind::Ipv6Disabled => {
                vec![format!("sysctl -w net/ipv6/conf/{name}/disable_ipv6=0")]
            }
            ReasonKind::Loopback | ReasonKind::NoIpv6 | ReasonKind::Tentative => Vec::new(),
            ReasonKind::NoIpv6Address { suggestion } | ReasonKind::NoCarrier { suggestion } => {
                vec![format!("ip address add {suggestion}/64 dev {name}")]
            }
            ReasonKind::Duplicate {
                address,
                prefix_len,
            } => vec![
                format!("ip address del {address}/{prefix_len} dev {name}"),
                format!(
                    "ip address add {}/64 dev {name}",
                    another(address, prefix_len)
                ),
            ],
        }
    }
}

/// An address beside `address`, to be used instead of it.
fn another(address: Ipv6Addr, prefix_len: u8) -> Ipv6Addr {
    let last = 1_u128 << (127 - u32::from(prefix_len.min(126)));
    Ipv6Addr::from(u128::from(address) ^ (last >> 8).max(1))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        let remedy = self.remedy();
        if remedy.is_empty() {
            return Ok(());
        }
        write!(f, "; run `{}`", remedy.join("`, `"))
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("the loopback interface delivers no IPv6 multicast on Linux"),
            Self::NoMulticast => f.write_str("no multicast flag"),
            Self::MtuTooSmall { mtu } => write!(f, "its MTU of {mtu} is below the {MIN_MTU} that IPv6 needs"),
            Self::Down => f.write_str("down"),
            Self::Ipv6Disabled => f.write_str("IPv6 disabled"),
            Self::NoIpv6 => f.write_str(
                "no IPv6 in the kernel; see whether its command line (/proc/cmdline) says ipv6.disable=1",
            ),
            Self::NoIpv6Address { .. } => f.write_str("no IPv6 address"),
            Self::NoCarrier { .. } => f.write_str("no carrier (no cable, no association, no peer), and so no IPv6 address"),
            Self::Tentative => {
                f.write_str("tentative address: duplicate address detection ends within about 2 s")
            }
            Self::Duplicate { address, .. } => write!(f, "another machine on the link has its address {address}"),
        }
    }
}

/// All interfaces of this thread's network namespace.
///
/// # Errors
/// [`InterfaceError`] when the system does not say.
pub fn interfaces() -> Result<Vec<Interface>, InterfaceError> {
    let links = netlink::links().map_err(failed("list the interfaces"))?;
    let addresses = netlink::addresses().map_err(failed("list the IPv6 addresses"))?;
    Ok(links
        .into_iter()
        .filter_map(|link| {
            let mut interface = from_link(link)?;
            let own = addresses
                .iter()
                .filter(|(index, _)| *index == interface.index.get());
            interface.addresses = own.map(|(_, address)| *address).collect();
            Some(interface)
        })
        .collect())
}

fn from_link(link: Link) -> Option<Interface> {
    Some(Interface {
        index: NonZeroU32::new(link.index)?,
        name: link.name,
        alternative_names: link.alternative_names,
        alias: link.alias,
        mtu: link.mtu,
        state: link.flags,
        ipv6: link.ipv6,
        hardware_address: link.hardware_address,
        addresses: Vec::new(),
        controller: link.controller.and_then(NonZeroU32::new),
        bridge: link.bridge,
    })
}

fn failed(step: &'static str) -> impl FnOnce(Failure) -> InterfaceError {
    move |failure| match failure {
        Failure::Io(what, source) => InterfaceError::Ask { step, what, source },
        Failure::Malformed(why) => InterfaceError::Malformed { step, why },
    }
}

/// Why the interfaces could not be looked at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The conversation with the kernel (rtnetlink(7)) failed.
    #[error("cannot {step}: rtnetlink: {what}: {source}; {}", remedy(source))]
    Ask {
        /// What was to be done.
        step: &'static str,
        /// The part of it that failed.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel's answer does not follow its own documents.
    #[error(
        "cannot {step}: rtnetlink: malformed answer: {why}; `ip address show` asks the same of the kernel"
    )]
    Malformed {
        /// What was to be done.
        step: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
    /// There is no interface with this index, or not any more.
    #[error("no interface has index {index} (any more); `ip link show` lists them")]
    Gone {
        /// The index asked for.
        index: NonZeroU32,
    },
}

fn remedy(source: &std::io::Error) -> &'static str {
    descriptors_remedy(source).unwrap_or("`ip address show` asks the same of the kernel")
}

/// The index of the interface over which the system itself would send to `group`;
/// `None` if it has no route.
pub(crate) fn route_to(group: Ipv6Addr) -> Result<Option<NonZeroU32>, InterfaceError> {
    let index = netlink::route(group).map_err(failed("ask for the route to the group"))?;
    Ok(index.and_then(NonZeroU32::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable() -> Interface {
        Interface {
            index: NonZeroU32::MIN,
            name: "eth0.7".to_owned(),
            alternative_names: vec!["enp0s1".to_owned()],
            alias: None,
            mtu: 1500,
            state: netlink::LinkState {
                up: true,
                running: true,
                multicast: true,
                loopback: false,
            },
            ipv6: Ipv6State::Enabled,
            hardware_address: vec![0x02, 0xfc, 0, 0, 0, 1],
            addresses: vec![address(AddressState::Ready)],
            controller: None,
            bridge: None,
        }
    }

    fn address(state: AddressState) -> InterfaceAddress {
        let address = Ipv6Addr::new(0xfd34, 0, 0, 0, 0, 0, 0, 1);
        InterfaceAddress {
            address,
            prefix_len: 64,
            state,
        }
    }

    /// The obstacle, and what `Display` says, after `change`.
    fn after(change: impl FnOnce(&mut Interface)) -> (Option<ReasonKind>, String) {
        let mut interface = usable();
        change(&mut interface);
        let usability = interface.usability();
        (usability.reason().map(Reason::kind), usability.to_string())
    }

    #[test]
    fn each_obstacle_is_named_with_its_remedy() {
        assert_eq!(after(|_| ()), (None, "usable".to_owned()));
        let (kind, text) = after(|it| it.state.up = false);
        assert_eq!(kind, Some(ReasonKind::Down));
        assert_eq!(text, "not usable: down; run `ip link set dev eth0.7 up`");
        let (kind, text) = after(|it| it.ipv6 = Ipv6State::Disabled);
        assert_eq!(kind, Some(ReasonKind::Ipv6Disabled));
        assert!(text.ends_with("run `sysctl -w net/ipv6/conf/eth0.7/disable_ipv6=0`"));
        let (kind, text) = after(|it| it.state.multicast = false);
        assert_eq!(kind, Some(ReasonKind::NoMulticast));
        assert!(text.ends_with("run `ip link set dev eth0.7 multicast on`"));
        let (kind, text) = after(|it| it.mtu = 1279);
        assert_eq!(kind, Some(ReasonKind::MtuTooSmall { mtu: 1279 }));
        assert!(text.contains("1279") && text.contains("1280"));
        assert_eq!(
            after(|it| it.state.loopback = true).0,
            Some(ReasonKind::Loopback)
        );
        assert_eq!(
            after(|it| it.ipv6 = Ipv6State::Absent).0,
            Some(ReasonKind::NoIpv6)
        );
    }

    #[test]
    fn an_interface_without_an_address_is_told_its_link_local_one() {
        let suggestion = "fe80::fc:ff:fe00:1".parse().unwrap();
        let (kind, text) = after(|it| it.addresses.clear());
        assert_eq!(kind, Some(ReasonKind::NoIpv6Address { suggestion }));
        assert!(
            text.ends_with("run `ip address add fe80::fc:ff:fe00:1/64 dev eth0.7`"),
            "{text}"
        );
        let (kind, _) = after(|it| {
            it.addresses.clear();
            it.state.running = false;
        });
        assert_eq!(kind, Some(ReasonKind::NoCarrier { suggestion }));
        // With an address, what is sent still reaches this machine's listeners.
        assert_eq!(after(|it| it.state.running = false).0, None);
    }

    #[test]
    fn one_ready_address_is_enough_and_a_tentative_one_is_waited_for() {
        let only = |state| move |it: &mut Interface| it.addresses = vec![address(state)];
        let mut interface = usable();
        only(AddressState::Tentative)(&mut interface);
        assert!(matches!(interface.usability(), Usability::NotYet(_)));
        let (kind, text) = after(only(AddressState::Duplicate));
        assert!(matches!(kind, Some(ReasonKind::Duplicate { .. })));
        assert!(
            text.contains("`ip address del fd34::1/64 dev eth0.7`, `ip address add fd34::"),
            "{text}"
        );
        let (kind, _) = after(|it| it.addresses.push(address(AddressState::Duplicate)));
        assert_eq!(kind, None);
    }

    #[test]
    fn the_address_proposed_for_a_duplicate_is_another_of_the_same_network() {
        let duplicate: Ipv6Addr = "fd34::1".parse().unwrap();
        for prefix_len in [0, 48, 64, 120, 127, 128] {
            let proposed = another(duplicate, prefix_len);
            assert_ne!(proposed, duplicate);
            let host = 128 - u32::from(prefix_len.min(126));
            let network = |address| u128::from(address).checked_shr(host).unwrap_or(0);
            assert_eq!(network(proposed), network(duplicate), "{prefix_len}");
        }
    }

    #[test]
    fn lo_is_found_and_refused() {
        let all = interfaces().unwrap();
        let lo = all
            .iter()
            .find(|interface| interface.is_loopback())
            .unwrap();
        assert_eq!(Interface::by_index(lo.index()).unwrap().name(), lo.name());
        assert!(matches!(lo.usability(), Usability::Unusable(_)));
        let gone = Interface::by_index(NonZeroU32::MAX).unwrap_err();
        assert!(gone.to_string().contains("4294967295"));
    }
}
