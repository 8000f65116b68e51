//! Multicast groups and their scopes.

use std::fmt;
use std::net::Ipv6Addr;

use thiserror::Error;

/// An IPv6 multicast address and a UDP port, checked to be such.
///
/// ```
/// use mcl_net::{Group, Scope};
///
/// let group = Group::new("ff15::1".parse()?, 26000)?;
/// assert_eq!(group.scope(), Scope::SiteLocal);
/// assert_eq!(group.to_string(), "[ff15::1]:26000");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    address: Ipv6Addr,
    port: u16,
}

impl Group {
    /// Checks `address` and `port` and makes a group of them.
    ///
    /// # Errors
    /// [`GroupError::NotMulticast`] for an address outside `ff00::/8`,
    /// [`GroupError::ReservedScope`] for scope 0 or 15, which nodes must not
    /// send to (RFC 4291, section 2.7), [`GroupError::PortZero`] for port 0.
    pub fn new(address: Ipv6Addr, port: u16) -> Result<Self, GroupError> {
        if !address.is_multicast() {
            return Err(GroupError::NotMulticast { address });
        }
        if matches!(Scope::of(address), Scope::Reserved(_)) {
            return Err(GroupError::ReservedScope { address });
        }
        if port == 0 {
            return Err(GroupError::PortZero { address });
        }
        Ok(Self { address, port })
    }

    /// The multicast address.
    #[must_use]
    pub const fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// The UDP port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How far datagrams to this group may travel.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        Scope::of(self.address)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]:{}", self.address, self.port)
    }
}

/// The scope of a multicast address: its fourth hexadecimal digit (RFC 4291,
/// section 2.7, as amended by RFC 7346, section 2).
///
/// A scope bounds how far *routers* carry a datagram. It does not replace the
/// hop limit: with hop limit 1 nothing leaves the link, whatever the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// `ff01::`, `ff11::`: never leaves the interface of this machine.
    InterfaceLocal,
    /// `ff02::`, `ff12::`: this link.
    LinkLocal,
    /// `ff03::`, `ff13::`: a realm defined by the link technology.
    RealmLocal,
    /// `ff04::`, `ff14::`: the smallest scope that is set up by hand.
    AdminLocal,
    /// `ff05::`, `ff15::`: one site.
    SiteLocal,
    /// `ff08::`, `ff18::`: the sites of one organisation.
    OrganizationLocal,
    /// `ff0e::`, `ff1e::`: no bound.
    Global,
    /// Open for administrators to define (6, 7, 9 to 13).
    Unassigned(u8),
    /// Not to be used (0 and 15).
    Reserved(u8),
}

impl Scope {
    /// The scope of `address`, which is taken to be multicast.
    #[must_use]
    pub const fn of(address: Ipv6Addr) -> Self {
        match address.octets()[1] & 0x0f {
            1 => Self::InterfaceLocal,
            2 => Self::LinkLocal,
            3 => Self::RealmLocal,
            4 => Self::AdminLocal,
            5 => Self::SiteLocal,
            8 => Self::OrganizationLocal,
            14 => Self::Global,
            nibble @ (0 | 15) => Self::Reserved(nibble),
            nibble => Self::Unassigned(nibble),
        }
    }

    /// Whether an address of this scope means something only together with an
    /// interface (RFC 4007, section 6); Linux ties a socket bound to such an
    /// address to that interface.
    #[must_use]
    pub const fn needs_interface(self) -> bool {
        matches!(self, Self::InterfaceLocal | Self::LinkLocal)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceLocal => f.write_str("interface-local"),
            Self::LinkLocal => f.write_str("link-local"),
            Self::RealmLocal => f.write_str("realm-local"),
            Self::AdminLocal => f.write_str("admin-local"),
            Self::SiteLocal => f.write_str("site-local"),
            Self::OrganizationLocal => f.write_str("organization-local"),
            Self::Global => f.write_str("global"),
            Self::Unassigned(nibble) => write!(f, "unassigned ({nibble:x})"),
            Self::Reserved(nibble) => write!(f, "reserved ({nibble:x})"),
        }
    }
}

/// Why an address and a port make no [`Group`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The address is not in `ff00::/8`.
    #[error("{address} is not an IPv6 multicast address; these begin with ff, such as ff15::1")]
    NotMulticast {
        /// The address given.
        address: Ipv6Addr,
    },
    /// The address has scope 0 or 15.
    #[error(
        "{address} has a reserved scope, which no datagram may be sent to; use ff15:: (site), ff12:: (link) or ff11:: (this machine)"
    )]
    ReservedScope {
        /// The address given.
        address: Ipv6Addr,
    },
    /// Port 0 means "any port" and names no group.
    #[error("port 0 of {address} names no group; the default port of MCL is 26000")]
    PortZero {
        /// The address given.
        address: Ipv6Addr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn scopes_follow_the_fourth_digit() {
        let cases = [
            ("ff11::1", Scope::InterfaceLocal),
            ("ff12::1", Scope::LinkLocal),
            ("ff13::1", Scope::RealmLocal),
            ("ff14::1", Scope::AdminLocal),
            ("ff15::1", Scope::SiteLocal),
            ("ff18::1", Scope::OrganizationLocal),
            ("ff1e::1", Scope::Global),
            ("ff16::1", Scope::Unassigned(6)),
        ];
        for (text, scope) in cases {
            assert_eq!(
                Group::new(address(text), 1).unwrap().scope(),
                scope,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_group_is_refused() {
        assert_eq!(
            Group::new(address("fe80::1"), 1),
            Err(GroupError::NotMulticast {
                address: address("fe80::1")
            })
        );
        assert!(matches!(
            Group::new(address("ff10::1"), 1),
            Err(GroupError::ReservedScope { .. })
        ));
        assert!(matches!(
            Group::new(address("ff1f::1"), 1),
            Err(GroupError::ReservedScope { .. })
        ));
        assert!(matches!(
            Group::new(address("ff15::1"), 0),
            Err(GroupError::PortZero { .. })
        ));
    }
}
