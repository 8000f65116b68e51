//! What the kernel says about links, addresses and routes: the one file that names
//! netlink.
//!
//! Each question opens a socket, asks, reads the answer within bounds and closes.
//! Attributes are picked out of the answer one by one, because a parser of whole
//! messages refuses a link for the one attribute that a newer kernel added.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{
    DecodeError, ErrorBuffer, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator, parse_string, parse_u32,
};
use netlink_packet_route::address::{AddressHeader, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::interface::{AddressState, Bridge, InterfaceAddress};

// Message and attribute numbers: linux/rtnetlink.h, linux/netlink.h,
// linux/if_link.h, linux/if_bridge.h, linux/if_addr.h, linux/ipv6.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_MCAST_QUERIER: u16 = 25;
const IFLA_BR_MCAST_QUERIER_STATE: u16 = 47;
const BRIDGE_QUERIER_IPV6_ADDRESS: u16 = 5;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INET6_CONF: u16 = 2;
const DEVCONF_DISABLE_IPV6: usize = 26;
const DEVCONF_MTU6: usize = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
const RTA_OIF: u16 = 4;
const AF_INET6: u16 = 10;
const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

// What stands before the attributes: struct ifinfomsg, ifaddrmsg, rtmsg; and
// before the value of one: struct nlattr.
const LINK_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const ROUTE_HEADER_LEN: usize = 12;
const NLA_HEADER_LEN: usize = 4;
// struct nlmsghdr.
const NLMSG_HEADER_LEN: usize = 16;

/// The kernel answers from memory; this bounds a kernel that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The kernel cuts a dump into pieces of at most 32 KiB.
const ANSWER_LEN: usize = 64 * 1024;

/// What a notice of a change is cut to: kind, index and, near the beginning of a
/// link's attributes, its MTU.
const NOTICE_LEN: usize = 256;

/// Where the index stands in `struct ifinfomsg` and in `struct ifaddrmsg`.
const INDEX_AT: usize = 4;

/// Below this MTU (RFC 8200, section 5) the kernel ends IPv6 on a link, and with it
/// all memberships.
const LEAST_MTU: u32 = 1280;

/// How many notices are read at once; the rest are for the next time.
const MOST_NOTICES: usize = 64;

/// A dump during which the table changed is asked for again, this often at most.
const ATTEMPTS: usize = 5;

/// Why the kernel's tables could not be read.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A step of the conversation failed.
    Io(&'static str, io::Error),
    /// The answer is not what the kernel's documents say.
    Malformed(String),
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(step, error) => write!(f, "{step}: {error}"),
            Self::Malformed(why) => write!(f, "malformed answer: {why}"),
        }
    }
}

/// Whether IPv6 runs on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6State {
    /// It does.
    Enabled,
    /// `disable_ipv6` is set.
    Disabled,
    /// The kernel keeps no IPv6 state for the link at all.
    Absent,
}

/// A link as the kernel describes it, without its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alternative_names: Vec<String>,
    pub(crate) alias: Option<String>,
    pub(crate) mtu: u32,
    pub(crate) flags: LinkState,
    pub(crate) ipv6: Ipv6State,
    pub(crate) hardware_address: Vec<u8>,
    pub(crate) controller: Option<u32>,
    pub(crate) bridge: Option<Bridge>,
}

/// The flags of a link that matter here (netdevice(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    pub(crate) up: bool,
    pub(crate) running: bool,
    pub(crate) multicast: bool,
    pub(crate) loopback: bool,
}

impl From<LinkFlags> for LinkState {
    fn from(flags: LinkFlags) -> Self {
        Self {
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
            multicast: flags.contains(LinkFlags::Multicast),
            loopback: flags.contains(LinkFlags::Loopback),
        }
    }
}

/// What became known of one link, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// Nothing.
    Nothing,
    /// It changed, or one of its addresses did: look at it.
    Changed,
    /// It was deleted, or lost its memberships otherwise, or this may be so because
    /// notices were missed: join again, whatever is found.
    Gone,
}

/// Hears of changes to links and to IPv6 addresses, in the network namespace in
/// which it was made (rtnetlink(7)).
#[derive(Debug)]
pub(crate) struct Changes {
    socket: Socket,
    scratch: Vec<u8>,
}

impl Changes {
    /// Changes from now on.
    pub(crate) fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, RTMGRP_LINK | RTMGRP_IPV6_IFADDR))?;
        Ok(Self {
            socket,
            scratch: Vec::with_capacity(NOTICE_LEN),
        })
    }

    /// What has changed since the last call about our own link, which has this index;
    /// or about any, if `all` matter. Never waits: one system call if nothing has.
    pub(crate) fn hear(&mut self, own: Option<u32>, all: bool) -> Notice {
        let mut heard = Notice::Nothing;
        for _ in 0..MOST_NOTICES {
            self.scratch.clear();
            match self.socket.recv(&mut self.scratch, 0) {
                Ok(_) => heard = heard.max(notice(&self.scratch, own, all)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: there was more than the socket could hold.
                Err(_) => heard = Notice::Gone,
            }
        }
        heard
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What one notice, possibly cut short, says about the link with index `own`; or
/// about another one, if `all` matter.
fn notice(bytes: &[u8], own: Option<u32>, all: bool) -> Notice {
    // A cut notice is shorter than its header says: no checked buffer.
    let Some((header, body)) = bytes.split_at_checked(NLMSG_HEADER_LEN) else {
        return Notice::Changed;
    };
    let about = body.get(INDEX_AT..INDEX_AT + 4).map(parse_u32);
    let (Some(kind), Some(Ok(about))) = (header.get(4..6), about) else {
        return Notice::Changed;
    };
    let kind = <[u8; 2]>::try_from(kind).map(u16::from_ne_bytes);
    match kind {
        _ if own != Some(about) && all => Notice::Changed,
        _ if own != Some(about) => Notice::Nothing,
        Ok(RTM_DELLINK) if is_device(body) => Notice::Gone,
        Ok(RTM_NEWLINK) if mtu(body).is_some_and(|mtu| mtu < LEAST_MTU) => Notice::Gone,
        _ => Notice::Changed,
    }
}

/// Whether a notice about a link tells of the link itself, and not only of its place
/// in a bridge (family `AF_BRIDGE`).
fn is_device(body: &[u8]) -> bool {
    body.first() == Some(&0)
}

fn mtu(body: &[u8]) -> Option<u32> {
    let mut attributes = attributes(body, LINK_HEADER_LEN).map_while(Result::ok);
    let (_, value) = attributes.find(|(kind, _)| *kind == IFLA_MTU)?;
    parse_u32(value).ok()
}

/// All links of the calling thread's network namespace.
pub(crate) fn links() -> Result<Vec<Link>, Failure> {
    dump(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        RTM_NEWLINK,
        |body| parse_link(body).map(Some),
    )
}

/// All IPv6 addresses, each with the index of its link.
pub(crate) fn addresses() -> Result<Vec<(u32, InterfaceAddress)>, Failure> {
    let mut question = AddressMessage::default();
    question.header.family = AddressFamily::Inet6;
    dump(
        RouteNetlinkMessage::GetAddress(question),
        RTM_NEWADDR,
        parse_address,
    )
}

/// The index of the link over which the kernel would send to `destination`; `None`
/// if it has no route.
pub(crate) fn route(destination: Ipv6Addr) -> Result<Option<u32>, Failure> {
    let mut question = RouteMessage::default();
    question.header.address_family = AddressFamily::Inet6;
    question.header.destination_prefix_length = 128;
    question
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    let socket = ask(RouteNetlinkMessage::GetRoute(question), NLM_F_REQUEST)?;
    let answer = receive(&socket)?;
    let message = NetlinkBuffer::new_checked(answer.as_slice())?;
    match message.message_type() {
        RTM_NEWROUTE => parse_route(message.payload()),
        // The kernel says "no route" with an error number, several of them.
        NLMSG_ERROR => Ok(None),
        other => Err(unexpected(other)),
    }
}

/// Asks for a whole table, and again if it changed meanwhile.
fn dump<T>(
    question: RouteNetlinkMessage,
    kind: u16,
    parse: impl Fn(&[u8]) -> Result<Option<T>, Failure>,
) -> Result<Vec<T>, Failure> {
    for _ in 0..ATTEMPTS {
        let socket = ask(question.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
        if let Some(rows) = collect(&socket, kind, &parse)? {
            return Ok(rows);
        }
    }
    let error = io::Error::from(io::ErrorKind::Interrupted);
    Err(Failure::Io("read a table that keeps changing", error))
}

/// Reads the pieces of a dump to its end; `None` if the table changed meanwhile.
fn collect<T>(
    socket: &Socket,
    kind: u16,
    parse: impl Fn(&[u8]) -> Result<Option<T>, Failure>,
) -> Result<Option<Vec<T>>, Failure> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let (mut rows, mut consistent) = (Vec::new(), true);
    while Instant::now() < deadline {
        let piece = receive(socket)?;
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)?;
            consistent &= message.flags() & NLM_F_DUMP_INTR == 0;
            match message.message_type() {
                NLMSG_DONE => return Ok(consistent.then_some(rows)),
                NLMSG_ERROR => return Err(refusal(message.payload())),
                found if found == kind => rows.extend(parse(message.payload())?),
                other => return Err(unexpected(other)),
            }
            rest = after(rest, message.length());
        }
    }
    Err(Failure::Io("read the answer", timed_out()))
}

/// What follows a message of `len` bytes; messages begin at multiples of 4.
fn after(buffer: &[u8], len: u32) -> &[u8] {
    let aligned = usize::try_from(len).map_or(usize::MAX, |len| len.next_multiple_of(4));
    buffer.get(aligned..).unwrap_or_default()
}

fn ask(question: RouteNetlinkMessage, flags: u16) -> Result<Socket, Failure> {
    let socket = Socket::new(NETLINK_ROUTE).map_err(|error| Failure::Io("open a socket", error))?;
    let bound = TimeVal::new(ANSWER_WITHIN.as_secs().try_into().unwrap_or(1), 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &bound)
        .map_err(|errno| Failure::Io("set SO_RCVTIMEO", errno.into()))?;
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)
        .map_err(|error| Failure::Io("send the question", error))?;
    Ok(socket)
}

/// One piece of an answer from the kernel; what other processes send is passed over.
fn receive(socket: &Socket) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::Io("read the answer", error);
    let deadline = Instant::now() + ANSWER_WITHIN;
    while Instant::now() < deadline {
        let mut piece = Vec::with_capacity(ANSWER_LEN);
        let (len, from) = socket
            .recv_from(&mut piece, MsgFlags::MSG_TRUNC.bits())
            .map_err(failed)?;
        if len > piece.len() {
            let why = format!("{len} bytes at once, more than {}", piece.len());
            return Err(Failure::Malformed(why));
        }
        if from.port_number() == 0 {
            return Ok(piece);
        }
    }
    Err(failed(timed_out()))
}

fn timed_out() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}

fn unexpected(kind: u16) -> Failure {
    Failure::Malformed(format!("unexpected message type {kind}"))
}

fn refusal(body: &[u8]) -> Failure {
    match ErrorBuffer::new_checked(body) {
        Ok(error) => {
            let code = error.code().map_or(0, |code| code.get().saturating_neg());
            Failure::Io("ask the kernel", io::Error::from_raw_os_error(code))
        }
        Err(error) => error.into(),
    }
}

/// The attributes of `body` behind its fixed header.
fn attributes(
    body: &[u8],
    header_len: usize,
) -> impl Iterator<Item = Result<(u16, &[u8]), Failure>> {
    let nlas = body.get(header_len..).unwrap_or_default();
    nested(nlas)
}

/// The attributes inside an attribute.
fn nested(value: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Failure>> {
    NlasIterator::new(value).map(|attribute| {
        let attribute = attribute?;
        let (kind, len) = (attribute.kind(), usize::from(attribute.length()));
        let value = attribute.into_inner().get(NLA_HEADER_LEN..len);
        Ok((kind, value.unwrap_or_default()))
    })
}

fn parse_link(body: &[u8]) -> Result<Link, Failure> {
    let header = LinkHeader::parse(body)?;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        alternative_names: Vec::new(),
        alias: None,
        mtu: 0,
        flags: header.flags.into(),
        ipv6: Ipv6State::Absent,
        hardware_address: Vec::new(),
        controller: None,
        bridge: None,
    };
    let mut ipv6_mtu = None;
    for attribute in attributes(body, LINK_HEADER_LEN) {
        let (kind, value) = attribute?;
        match kind {
            IFLA_IFNAME => link.name = parse_string(value)?,
            IFLA_MTU => link.mtu = parse_u32(value)?,
            IFLA_IFALIAS => link.alias = Some(parse_string(value)?),
            IFLA_ADDRESS => link.hardware_address = value.to_vec(),
            IFLA_MASTER => link.controller = Some(parse_u32(value)?),
            IFLA_LINKINFO => link.bridge = parse_bridge(value)?,
            IFLA_AF_SPEC => (link.ipv6, ipv6_mtu) = parse_ipv6_settings(value)?,
            IFLA_PROP_LIST => link.alternative_names = parse_alternative_names(value)?,
            _ => {}
        }
    }
    // A router may have lowered it for IPv6 alone (RFC 4861, section 4.6.4), and
    // that is what bounds a datagram.
    link.mtu = link.mtu.min(ipv6_mtu.unwrap_or(u32::MAX));
    Ok(link)
}

/// What a bridge does with multicast; `None` for a link of another kind.
fn parse_bridge(info: &[u8]) -> Result<Option<Bridge>, Failure> {
    let (mut is_bridge, mut data) = (false, None);
    for attribute in nested(info) {
        match attribute? {
            (IFLA_INFO_KIND, kind) => is_bridge = parse_string(kind)? == "bridge",
            (IFLA_INFO_DATA, value) => data = Some(value),
            _ => {}
        }
    }
    let Some(data) = data.filter(|_| is_bridge) else {
        return Ok(None);
    };
    let mut bridge = Bridge::default();
    for setting in nested(data) {
        let (kind, value) = setting?;
        let on = value.first().is_some_and(|value| *value != 0);
        match kind {
            IFLA_BR_MCAST_SNOOPING => bridge.snooping = on,
            IFLA_BR_MCAST_QUERIER => bridge.querier = on,
            IFLA_BR_MCAST_QUERIER_STATE => bridge.querier_seen = names_querier(value)?,
            _ => {}
        }
    }
    Ok(Some(bridge))
}

/// Whether the state of a bridge names a querier for IPv6.
fn names_querier(state: &[u8]) -> Result<bool, Failure> {
    for attribute in nested(state) {
        if let (BRIDGE_QUERIER_IPV6_ADDRESS, address) = attribute? {
            return Ok(parse_ipv6_address(address).is_some_and(|it| !it.is_unspecified()));
        }
    }
    Ok(false)
}

fn parse_alternative_names(value: &[u8]) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for attribute in nested(value) {
        let (kind, value) = attribute?;
        if kind == IFLA_ALT_IFNAME {
            names.push(parse_string(value)?);
        }
    }
    Ok(names)
}

/// Finds `disable_ipv6` and `mtu` in the IPv6 settings of a link.
fn parse_ipv6_settings(families: &[u8]) -> Result<(Ipv6State, Option<u32>), Failure> {
    for family in nested(families) {
        let (AF_INET6, settings) = family? else {
            continue;
        };
        for setting in nested(settings) {
            let (IFLA_INET6_CONF, values) = setting? else {
                continue;
            };
            let value = |at| values.chunks_exact(4).nth(at).map(parse_u32).transpose();
            let state = match value(DEVCONF_DISABLE_IPV6)? {
                None | Some(0) => Ipv6State::Enabled,
                Some(_) => Ipv6State::Disabled,
            };
            return Ok((state, value(DEVCONF_MTU6)?.filter(|mtu| *mtu > 0)));
        }
        return Ok((Ipv6State::Enabled, None));
    }
    Ok((Ipv6State::Absent, None))
}

fn parse_address(body: &[u8]) -> Result<Option<(u32, InterfaceAddress)>, Failure> {
    let header = AddressHeader::parse(body)?;
    // A kernel without IPv6 answers with the addresses of all families.
    if header.family != AddressFamily::Inet6 {
        return Ok(None);
    }
    let mut flags = u32::from(header.flags.bits());
    let (mut address, mut local) = (None, None);
    for attribute in attributes(body, ADDRESS_HEADER_LEN) {
        let (kind, value) = attribute?;
        match kind {
            IFA_ADDRESS => address = parse_ipv6_address(value),
            IFA_LOCAL => local = parse_ipv6_address(value),
            IFA_FLAGS => flags = parse_u32(value)?,
            _ => {}
        }
    }
    // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL our own.
    Ok(local.or(address).map(|address| {
        let state = address_state(flags);
        let prefix_len = header.prefix_len;
        let address = InterfaceAddress {
            address,
            prefix_len,
            state,
        };
        (header.index, address)
    }))
}

fn address_state(flags: u32) -> AddressState {
    let has = |flag| flags & flag != 0;
    if has(IFA_F_DADFAILED) {
        AddressState::Duplicate
    } else if has(IFA_F_TENTATIVE) && !has(IFA_F_OPTIMISTIC) {
        AddressState::Tentative
    } else {
        AddressState::Ready
    }
}

fn parse_ipv6_address(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

fn parse_route(body: &[u8]) -> Result<Option<u32>, Failure> {
    for attribute in attributes(body, ROUTE_HEADER_LEN) {
        if let (RTA_OIF, value) = attribute? {
            return Ok(Some(parse_u32(value)?));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute with its padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn settings(disable_ipv6: u32) -> Vec<u8> {
        let mut values = vec![0; 4 * 40];
        values[4 * DEVCONF_DISABLE_IPV6..][..4].copy_from_slice(&disable_ipv6.to_ne_bytes());
        attribute(AF_INET6, &attribute(IFLA_INET6_CONF, &values))
    }

    #[test]
    fn a_link_is_read_and_unknown_attributes_are_passed_over() {
        let mut body = vec![0; LINK_HEADER_LEN];
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        body[8..12].copy_from_slice(&0x1041_u32.to_ne_bytes());
        body.extend(attribute(0x3fff, b"what a newer kernel says"));
        body.extend(attribute(IFLA_IFNAME, b"v0\0"));
        body.extend(attribute(IFLA_MTU, &1500_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_IFALIAS, b"here\0"));
        body.extend(attribute(IFLA_AF_SPEC, &settings(1)));
        let names = attribute(IFLA_ALT_IFNAME, b"enp0s1\0");
        body.extend(attribute(IFLA_PROP_LIST | 0x8000, &names));
        let link = parse_link(&body).unwrap();
        assert_eq!((link.index, link.name.as_str(), link.mtu), (7, "v0", 1500));
        assert_eq!(link.alias.as_deref(), Some("here"));
        assert_eq!(link.ipv6, Ipv6State::Disabled);
        assert_eq!(link.alternative_names, ["enp0s1"]);
        assert!(link.flags.up && link.flags.running && link.flags.multicast);
        assert!(!link.flags.loopback);
        assert_eq!((link.bridge, link.controller), (None, None));
    }

    #[test]
    fn a_bridge_and_its_ports_are_told_from_other_links() {
        let settings = [
            attribute(IFLA_BR_MCAST_SNOOPING, &[1]),
            attribute(IFLA_BR_MCAST_QUERIER, &[0]),
            attribute(
                IFLA_BR_MCAST_QUERIER_STATE | 0x8000,
                &attribute(BRIDGE_QUERIER_IPV6_ADDRESS, &[0xfe; 16]),
            ),
        ]
        .concat();
        let of_kind = |kind: &[u8]| {
            let data = attribute(IFLA_INFO_DATA, &settings);
            let info = [attribute(IFLA_INFO_KIND, kind), data].concat();
            let mut body = vec![0; LINK_HEADER_LEN];
            body.extend(attribute(IFLA_LINKINFO, &info));
            body.extend(attribute(IFLA_MASTER, &9_u32.to_ne_bytes()));
            parse_link(&body).unwrap()
        };
        let bridge = of_kind(b"bridge\0");
        let expected = Bridge {
            snooping: true,
            querier: false,
            querier_seen: true,
        };
        assert_eq!(bridge.bridge, Some(expected));
        assert_eq!(bridge.controller, Some(9));
        assert_eq!(of_kind(b"veth\0").bridge, None);
    }

    #[test]
    fn the_ipv6_state_of_a_link_has_three_values() {
        let state = |families: &[u8]| parse_ipv6_settings(families).unwrap().0;
        assert_eq!(state(&settings(0)), Ipv6State::Enabled);
        assert_eq!(state(&settings(1)), Ipv6State::Disabled);
        assert_eq!(state(&[]), Ipv6State::Absent);
    }

    #[test]
    fn an_address_with_a_peer_is_our_own_and_wide_flags_win() {
        let (own, peer) = ([0xfd; 16], [0xfe; 16]);
        let mut body = vec![10, 64, 0x80, 0, 3, 0, 0, 0];
        body[4..].copy_from_slice(&3_u32.to_ne_bytes());
        body.extend(attribute(IFA_ADDRESS, &peer));
        body.extend(attribute(IFA_LOCAL, &own));
        body.extend(attribute(IFA_FLAGS, &0x140_u32.to_ne_bytes()));
        let (index, address) = parse_address(&body).unwrap().unwrap();
        assert_eq!(index, 3);
        assert_eq!(address.address, Ipv6Addr::from(own));
        assert_eq!(address.prefix_len, 64);
        assert_eq!(address.state, AddressState::Tentative);
        body[0] = 2;
        assert_eq!(parse_address(&body).unwrap(), None);
    }

    #[test]
    fn the_state_of_an_address_follows_its_flags() {
        assert_eq!(address_state(0x80), AddressState::Ready);
        assert_eq!(address_state(0xc0), AddressState::Tentative);
        assert_eq!(address_state(0xc8), AddressState::Duplicate);
        // Optimistic duplicate address detection (RFC 4429) lets it be used.
        assert_eq!(address_state(0xc4), AddressState::Ready);
    }

    #[test]
    fn a_cut_message_is_malformed_not_a_panic() {
        let whole: Vec<u8> =
            [vec![0; LINK_HEADER_LEN], attribute(IFLA_MTU, &[1, 2, 3, 4])].concat();
        for len in 0..whole.len() {
            let cut = parse_link(&whole[..len]);
            assert_eq!(cut.is_ok(), len == LINK_HEADER_LEN, "{len}");
        }
        assert!(parse_link(&whole).is_ok());
    }

    #[test]
    fn a_notice_is_about_one_link_and_may_be_cut() {
        let message = |kind: u16, family: u8, index: u32, mtu: u32| {
            let mut bytes = vec![0; NLMSG_HEADER_LEN + LINK_HEADER_LEN];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[NLMSG_HEADER_LEN] = family;
            bytes[NLMSG_HEADER_LEN + INDEX_AT..][..4].copy_from_slice(&index.to_ne_bytes());
            bytes.extend(attribute(IFLA_IFNAME, b"v0\0"));
            bytes.extend(attribute(IFLA_MTU, &mtu.to_ne_bytes()));
            bytes
        };
        let up = message(RTM_NEWLINK, 0, 7, 1500);
        assert_eq!(notice(&up, Some(7), false), Notice::Changed);
        assert_eq!(notice(&up, None, true), Notice::Changed);
        assert_eq!(notice(&up, Some(8), false), Notice::Nothing);
        let small = message(RTM_NEWLINK, 0, 7, 1279);
        assert_eq!(notice(&small, Some(7), false), Notice::Gone);
        let deleted = message(RTM_DELLINK, 0, 7, 1500);
        assert_eq!(notice(&deleted, Some(7), false), Notice::Gone);
        assert_eq!(notice(&deleted, Some(8), false), Notice::Nothing);
        assert_eq!(notice(&deleted, Some(8), true), Notice::Changed);
        // It left a bridge (AF_BRIDGE), and is still there.
        let released = message(RTM_DELLINK, 7, 7, 1500);
        assert_eq!(notice(&released, Some(7), false), Notice::Changed);
        for len in 0..up.len() {
            assert_ne!(notice(&up[..len], Some(7), false), Notice::Gone);
        }
        // What cannot be read is looked into.
        assert_eq!(notice(&[], Some(7), false), Notice::Changed);
    }

    #[test]
    fn the_kernel_answers_here() {
        let links = links().unwrap();
        assert!(links.iter().any(|link| link.flags.loopback));
        addresses().unwrap();
        route(Ipv6Addr::LOCALHOST).unwrap();
    }
}
