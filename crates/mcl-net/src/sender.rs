//! The sending socket: trains of datagrams to one group over one interface.

use std::io::{self, IoSlice};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use socket2::{MsgHdr, SockAddr, Socket};
use thiserror::Error;

use crate::error::Context;
use crate::netlink::{Changes, Notice};
use crate::receiver::{destination, new_socket};
use crate::{Group, Interface, SocketError, Usability};

/// Bytes of IPv6 and UDP header before a datagram's payload (RFC 8200,
/// section 3; RFC 768).
pub const IP_UDP_OVERHEAD: usize = 48;

/// The longest datagram that is sent by default: what an Ethernet link carries.
const DEFAULT_MTU: usize = 1500;

/// What every link carries (RFC 8200, section 5).
const LEAST_MTU: usize = 1280;

/// The longest payload of one UDP datagram over IPv6 without jumbograms, and
/// the longest train.
const MAX_PAYLOAD: usize = 65_527;

/// The longest train that a device takes in one piece: with all headers it must
/// stay below the device's `gso_max_size`, 65,536 unless set lower, or the kernel
/// cuts the train before the device (`gso_features_check`, net/core/dev.c). On a
/// veth, trains of 61 * 1074 bytes were measured to take 3 times as long as
/// those of 60.
const MAX_UNCUT: usize = 65_535 - IP_UDP_OVERHEAD - ETHERNET_OVERHEAD;

/// Ethernet header and VLAN tag.
const ETHERNET_OVERHEAD: usize = 18;

/// The longest datagram of ours (the IPv6 payload less room for extension headers).
const MAX_DATAGRAM: usize = 65_487;

/// The most datagrams in one train (`UDP_MAX_SEGMENTS`, include/linux/udp.h).
const MAX_SEGMENTS: usize = 64;

/// How often a sender looks whether an address became usable.
const READY_POLL: Duration = Duration::from_millis(20);

/// Options of a [`Sender`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SenderOptions {
    /// `IPV6_MULTICAST_HOPS`: 0 keeps datagrams on this machine, 1 (default) on
    /// this link; more lets multicast routers carry them on.
    pub hops: u8,
    /// `IPV6_TCLASS`; 0 by default. The upper six bits are the DSCP (RFC 2474).
    pub traffic_class: u8,
    /// `IPV6_MULTICAST_LOOP`: whether receivers on this machine get the datagrams
    /// too; on by default.
    pub loopback: bool,
    /// Bytes to ask of `SO_SNDBUF`; the system's default if `None`.
    pub send_buffer: Option<usize>,
    /// The longest datagram to send, in bytes of UDP payload. By default what
    /// fits the interface's MTU or 1500 bytes, whichever is less; never more than
    /// the MTU carries, nor than 65,487.
    pub datagram_len: Option<usize>,
    /// How long a send waits for a fresh address to become usable (duplicate
    /// address detection, RFC 4862, section 5.4); 5 s by default.
    pub ready_timeout: Duration,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            hops: 1,
            traffic_class: 0,
            loopback: true,
            send_buffer: None,
            datagram_len: None,
            ready_timeout: Duration::from_secs(5),
        }
    }
}

/// A UDP socket that sends to one group over one interface.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    destination: SockAddr,
    group: Group,
    /// None yet, if it was opened without one.
    interface: Option<NonZeroU32>,
    options: SenderOptions,
    datagram_len: usize,
    offload: bool,
    /// Whether the socket is connected to the destination: then the kernel does not
    /// look for a route and a source address at each send.
    connected: bool,
    /// When to connect anew; `None` if the kernel does not tell, and then the socket
    /// is not connected.
    changes: Option<Changes>,
    /// Whether changes of other interfaces matter.
    hears_all: bool,
    /// A datagram gathered: the kernel takes short ones faster in one piece.
    gathered: Vec<u8>,
}

/// Whether a send may wait for room and for the interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// Wait.
    Yes,
    /// Fail with [`SendErrorKind::WouldBlock`] or [`SendErrorKind::NotReady`].
    No,
}

/// A train that was not sent whole.
#[derive(Debug, Error)]
#[error("{kind} ({sent} datagrams of the train were sent)")]
pub struct SendError {
    /// Datagrams of the train that the kernel had taken before.
    pub sent: usize,
    /// Why the next one was not.
    #[source]
    pub kind: SendErrorKind,
}

/// Why a datagram could not be sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The send buffer is full, and the caller asked not to wait.
    #[error("the send buffer is full")]
    WouldBlock,
    /// The interface's MTU no longer carries datagrams of this length. The
    /// sender has taken note: [`Sender::datagram_len`] is what it carries now.
    #[error("a datagram of {len} bytes no longer fits the interface: at most {max} bytes now")]
    TooLong {
        /// Bytes of the datagram.
        len: usize,
        /// Bytes that fit now.
        max: usize,
    },
    /// The interface cannot send yet or any more: no usable address, down, gone.
    #[error("interface {index} cannot send: {reason}")]
    NotReady {
        /// The interface's index.
        index: NonZeroU32,
        /// Whether waiting helps: its address is being checked for duplicates.
        soon: bool,
        /// What the system says about it, with the remedy.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no interface to send over yet.
    #[error("there is no interface to send over yet: {reason}")]
    NoInterface {
        /// Why there is none, with the remedy where one is known.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The arguments make no train: segments of no length, or too many of them.
    #[error("{total} bytes in segments of {segment_len} are no train")]
    NotATrain {
        /// Bytes of the train.
        total: usize,
        /// Bytes of a segment.
        segment_len: usize,
    },
    /// Anything else that the system says.
    #[error("cannot send: {0}")]
    Io(#[source] io::Error),
}

impl Sender {
    /// Opens a socket that sends to `group` over `interface`.
    ///
    /// Set and read back: `IPV6_MULTICAST_IF`, `IPV6_MULTICAST_HOPS`,
    /// `IPV6_MULTICAST_LOOP`, `IPV6_TCLASS`; set: `IPV6_DONTFRAG` (a datagram
    /// that does not fit is refused, never fragmented; RFC 3542, section 11.2).
    ///
    /// # Errors
    /// A [`SocketError`] that names the step.
    pub fn open(
        group: Group,
        interface: &Interface,
        options: &SenderOptions,
    ) -> Result<Self, SocketError> {
        let mut sender = Self::unplaced(group, Some(interface), options)?;
        sender.move_to(interface)?;
        Ok(sender)
    }

    /// Opens a socket for which there is no interface yet: sending fails with
    /// [`SendErrorKind::NoInterface`] until [`move_to`](Self::move_to).
    ///
    /// # Errors
    /// A [`SocketError`] that names the step.
    pub fn open_unplaced(group: Group, options: &SenderOptions) -> Result<Self, SocketError> {
        Self::unplaced(group, None, options)
    }

    fn unplaced(
        group: Group,
        intended: Option<&Interface>,
        options: &SenderOptions,
    ) -> Result<Self, SocketError> {
        let context = Context::new(group, intended);
        let socket = new_socket(&context)?;
        limit_reach(&context, &socket, options)?;
        shape(&context, &socket, options)?;
        Ok(Self {
            socket,
            destination: destination(group, 0),
            group,
            interface: None,
            options: options.clone(),
            datagram_len: datagram_len(options.datagram_len, u32::MAX),
            offload: true,
            connected: false,
            changes: Changes::subscribe().ok(),
            hears_all: false,
            gathered: Vec::with_capacity(DEFAULT_MTU),
        })
    }

    /// Sends over `interface` from now on: another one, or the same after it was
    /// deleted and recreated. Whether it carries segmentation offload, and how long
    /// datagrams may be, is found out anew.
    ///
    /// # Errors
    /// A [`SocketError`] that names the step; the interface is then as before, or
    /// none can be sent over.
    pub fn move_to(&mut self, interface: &Interface) -> Result<(), SocketError> {
        let context = Context::new(self.group, Some(interface));
        // A connected socket, or one that tried, is bound to the interface of a
        // link-local destination, and takes no other.
        self.connected = false;
        if self.interface.is_some() {
            let _ = rustix::net::connect_unspec(&self.socket);
        }
        choose_interface(&context, &self.socket, interface)?;
        limit_reach(&context, &self.socket, &self.options)?;
        self.destination = destination(self.group, interface.index().get());
        self.interface = Some(interface.index());
        self.datagram_len = datagram_len(self.options.datagram_len, interface.mtu());
        self.offload = true;
        self.connect();
        Ok(())
    }

    /// The index of the interface that it sends over, if it has one.
    #[must_use]
    pub fn interface(&self) -> Option<NonZeroU32> {
        self.interface
    }

    /// Connects the socket to its destination if that is possible now: not before
    /// the interface has a usable address.
    fn connect(&mut self) {
        self.connected = self.changes.is_some() && self.socket.connect(&self.destination).is_ok();
    }

    /// A connected socket keeps its source address, be it still there or not.
    fn disconnect(&mut self) {
        if self.connected {
            self.connected = false;
            // What it would fail for is found out by the next send.
            let _ = rustix::net::connect_unspec(&self.socket);
        }
    }

    /// Takes note of what has become of the interface, if something has: call this
    /// every now and then while sending; `true` if something has. Never waits: one
    /// system call if nothing has changed.
    pub fn attend(&mut self) -> bool {
        let index = self.interface.map(NonZeroU32::get);
        let heard = self
            .changes
            .as_mut()
            .map(|changes| changes.hear(index, self.hears_all));
        let changed = heard.is_some_and(|heard| heard > Notice::Nothing);
        if changed {
            self.disconnect();
        }
        if !self.connected && self.interface.is_some() {
            self.connect();
        }
        changed
    }

    /// Whether [`attend`](Self::attend) is to tell of changes of all interfaces, not only
    /// of the one that is sent over.
    pub fn hear_of_all(&mut self, all: bool) {
        self.hears_all = all;
    }

    /// The group that is sent to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The longest datagram that can be sent now, in bytes of UDP payload.
    #[must_use]
    pub fn datagram_len(&self) -> usize {
        self.datagram_len
    }

    /// Whether trains go out by segmentation offload (`UDP_SEGMENT`, udp(7)).
    /// Off once the system has refused it for a reason that will not go away.
    #[must_use]
    pub fn offload(&self) -> bool {
        self.offload
    }

    /// How many datagrams of `segment_len` bytes one train should hold at most:
    /// 64, and no more bytes than devices take in one piece.
    #[must_use]
    pub const fn train_len(segment_len: usize) -> usize {
        let by_bytes = MAX_UNCUT / if segment_len == 0 { 1 } else { segment_len };
        if by_bytes < 1 {
            1
        } else if by_bytes < MAX_SEGMENTS {
            by_bytes
        } else {
            MAX_SEGMENTS
        }
    }

    /// Sends one train: the bytes of `slices`, one after the other, cut into
    /// datagrams of `segment_len` bytes (the last may be shorter). One system
    /// call with offload, one a datagram without. The bytes of a train are not
    /// copied in user space.
    ///
    /// A train holds at most 64 datagrams and 65,527 bytes; as many full ones as
    /// [`train_len`](Self::train_len) says.
    ///
    /// # Errors
    /// [`SendError`], which tells how many datagrams went out before. With
    /// [`SendErrorKind::TooLong`] the sender has read the new MTU.
    pub fn send_train(
        &mut self,
        slices: &[IoSlice<'_>],
        segment_len: usize,
        blocking: Blocking,
    ) -> Result<(), SendError> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        self.check_train(total, segment_len)
            .map_err(|kind| SendError { sent: 0, kind })?;
        if total <= segment_len {
            let sent = self.send_ready(slices, None, blocking);
            return sent.map_err(|kind| SendError { sent: 0, kind });
        }
        if self.offload {
            match self.send_ready(slices, Some(segment_len), blocking) {
                Err(SendErrorKind::Io(error)) if refuses_offload(&error) => self.offload = false,
                done => return done.map_err(|kind| SendError { sent: 0, kind }),
            }
        }
        self.send_singly(slices, segment_len, blocking)
    }

    fn check_train(&self, total: usize, segment_len: usize) -> Result<(), SendErrorKind> {
        if self.interface.is_none() {
            let reason = "it was opened without one".into();
            return Err(SendErrorKind::NoInterface { reason });
        }
        let longest = total.min(segment_len);
        if longest > self.datagram_len {
            let (len, max) = (longest, self.datagram_len);
            return Err(SendErrorKind::TooLong { len, max });
        }
        let too_many = total.div_ceil(segment_len.max(1)) > MAX_SEGMENTS;
        if too_many || total > MAX_PAYLOAD || (segment_len == 0 && total > 0) {
            return Err(SendErrorKind::NotATrain { total, segment_len });
        }
        Ok(())
    }

    fn send_singly(
        &mut self,
        slices: &[IoSlice<'_>],
        segment_len: usize,
        blocking: Blocking,
    ) -> Result<(), SendError> {
        let mut cutter = Cutter { slices, skip: 0 };
        let mut datagram = Vec::with_capacity(4);
        let mut sent = 0;
        loop {
            cutter.next_into(segment_len, &mut datagram);
            self.send_ready(&datagram, None, blocking)
                .map_err(|kind| SendError { sent, kind })?;
            sent += 1;
            if cutter.slices.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends, waiting out duplicate address detection if `blocking` allows.
    fn send_ready(
        &mut self,
        slices: &[IoSlice<'_>],
        segment_len: Option<usize>,
        blocking: Blocking,
    ) -> Result<(), SendErrorKind> {
        let mut since = None;
        loop {
            let error = match self.send_once(slices, segment_len, blocking) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match errno(&error) {
                Errno::EINTR => {}
                // What a connected socket says may be about an address that is gone,
                // or what routers say about earlier datagrams, which anyone can
                // forge and which is reported once.
                Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::EPROTO
                | Errno::EACCES
                | Errno::EADDRNOTAVAIL
                | Errno::ENETUNREACH
                | Errno::ENETDOWN
                | Errno::ENODEV
                | Errno::ENXIO
                    if self.connected =>
                {
                    self.disconnect();
                }
                Errno::EAGAIN => return Err(SendErrorKind::WouldBlock),
                Errno::EADDRNOTAVAIL => {
                    let since = *since.get_or_insert_with(Instant::now);
                    self.await_ready(since, blocking, error)?;
                }
                Errno::EMSGSIZE | Errno::EINVAL => {
                    return Err(self.explain_length(slices, segment_len, error));
                }
                Errno::ENETUNREACH | Errno::ENETDOWN | Errno::ENODEV | Errno::ENXIO => {
                    return Err(self.explain_interface(error));
                }
                _ => return Err(SendErrorKind::Io(error)),
            }
        }
    }

    fn send_once(
        &mut self,
        slices: &[IoSlice<'_>],
        segment_len: Option<usize>,
        blocking: Blocking,
    ) -> io::Result<()> {
        let flags = match blocking {
            Blocking::Yes => MsgFlags::empty(),
            Blocking::No => MsgFlags::MSG_DONTWAIT,
        };
        if segment_len.is_none() && self.connected {
            return self.send_gathered(slices, flags);
        }
        let control = segment_len.map(SegmentControl::new);
        let mut message = MsgHdr::new().with_buffers(slices);
        if !self.connected {
            message = message.with_addr(&self.destination);
        }
        if let Some(control) = &control {
            message = message.with_control(control.as_bytes());
        }
        self.socket.sendmsg(&message, flags.bits()).map(drop)
    }

    /// A single datagram, in one piece.
    fn send_gathered(&mut self, slices: &[IoSlice<'_>], flags: MsgFlags) -> io::Result<()> {
        if let [slice] = slices {
            return self.socket.send_with_flags(slice, flags.bits()).map(drop);
        }
        self.gathered.clear();
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        self.socket
            .send_with_flags(&self.gathered, flags.bits())
            .map(drop)
    }

    /// Sleeps a moment if the interface's address is still tentative and there
    /// is time left.
    fn await_ready(
        &self,
        since: Instant,
        blocking: Blocking,
        error: io::Error,
    ) -> Result<(), SendErrorKind> {
        let in_time = since.elapsed() < self.options.ready_timeout;
        match self.explain_interface(error) {
            SendErrorKind::NotReady { soon: true, .. } if in_time && blocking == Blocking::Yes => {
                thread::sleep(READY_POLL);
                Ok(())
            }
            kind => Err(kind),
        }
    }

    fn explain_interface(&self, error: io::Error) -> SendErrorKind {
        let Some(index) = self.interface else {
            let reason = error.into();
            return SendErrorKind::NoInterface { reason };
        };
        let (soon, reason) = match Interface::by_index(index) {
            Ok(interface) => match interface.usability() {
                // The address became usable between the send and the look.
                Usability::Usable if errno(&error) == Errno::EADDRNOTAVAIL => {
                    (true, error.to_string())
                }
                Usability::Usable => return SendErrorKind::Io(error),
                Usability::NotYet(reason) => (true, format!("{error}; {reason}")),
                Usability::Unusable(reason) => (false, format!("{error}; {reason}")),
            },
            Err(gone) => (false, format!("{error}; {gone}")),
        };
        SendErrorKind::NotReady {
            index,
            soon,
            reason: reason.into(),
        }
    }

    /// Tells a changed MTU from everything else that the system calls invalid
    /// (kernels before 6.14 say EINVAL where later ones say EMSGSIZE).
    fn explain_length(
        &mut self,
        slices: &[IoSlice<'_>],
        segment_len: Option<usize>,
        error: io::Error,
    ) -> SendErrorKind {
        let len = segment_len.unwrap_or_else(|| slices.iter().map(|slice| slice.len()).sum());
        let Some(interface) = self.look() else {
            return self.explain_interface(error);
        };
        let mut max = datagram_len(self.options.datagram_len, interface.mtu());
        if max >= len && errno(&error) == Errno::EMSGSIZE {
            // A route may carry less than its interface; this much every one does.
            max = LEAST_MTU - IP_UDP_OVERHEAD;
        }
        if max < len {
            self.datagram_len = max;
            return SendErrorKind::TooLong { len, max };
        }
        SendErrorKind::Io(error)
    }

    fn look(&self) -> Option<Interface> {
        Interface::by_index(self.interface?).ok()
    }

    /// Whether datagrams are shorter than they were wanted, because of the MTU.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.datagram_len < datagram_len(self.options.datagram_len, u32::MAX)
    }

    /// Reads the interface's MTU again, so that a raised one is made use of;
    /// returns the longest datagram that fits now.
    ///
    /// # Errors
    /// When the interface is gone or cannot be looked at.
    pub fn refresh_mtu(&mut self) -> io::Result<usize> {
        let index = self.interface.ok_or(io::ErrorKind::NotFound)?;
        let interface = Interface::by_index(index).map_err(io::Error::other)?;
        self.datagram_len = datagram_len(self.options.datagram_len, interface.mtu());
        Ok(self.datagram_len)
    }
}

fn choose_interface(
    context: &Context<'_>,
    socket: &Socket,
    interface: &Interface,
) -> Result<(), SocketError> {
    let index = interface.index().get();
    context.set(
        "IPV6_MULTICAST_IF",
        index.into(),
        socket.set_multicast_if_v6(index),
    )?;
    context.confirm(
        "IPV6_MULTICAST_IF",
        index.into(),
        socket.multicast_if_v6().map(i64::from),
    )
}

fn limit_reach(
    context: &Context<'_>,
    socket: &Socket,
    options: &SenderOptions,
) -> Result<(), SocketError> {
    let hops = i64::from(options.hops);
    context.set(
        "IPV6_MULTICAST_HOPS",
        hops,
        socket.set_multicast_hops_v6(options.hops.into()),
    )?;
    context.confirm(
        "IPV6_MULTICAST_HOPS",
        hops,
        socket.multicast_hops_v6().map(i64::from),
    )?;
    let on = i64::from(options.loopback);
    context.set(
        "IPV6_MULTICAST_LOOP",
        on,
        socket.set_multicast_loop_v6(options.loopback),
    )?;
    context.confirm(
        "IPV6_MULTICAST_LOOP",
        on,
        socket.multicast_loop_v6().map(i64::from),
    )
}

fn shape(
    context: &Context<'_>,
    socket: &Socket,
    options: &SenderOptions,
) -> Result<(), SocketError> {
    let class = u32::from(options.traffic_class);
    context.set("IPV6_TCLASS", class.into(), socket.set_tclass_v6(class))?;
    context.confirm(
        "IPV6_TCLASS",
        class.into(),
        socket.tclass_v6().map(i64::from),
    )?;
    context.set(
        "IPV6_DONTFRAG",
        1,
        setsockopt(&socket.as_fd(), sockopt::Ipv6DontFrag, &true),
    )?;
    let Some(bytes) = options.send_buffer else {
        return Ok(());
    };
    let value = i64::try_from(bytes).unwrap_or(i64::MAX);
    context.set(
        "SO_SNDBUF",
        value,
        socket.set_send_buffer_size(bytes.min(i32::MAX as usize)),
    )
}

/// The longest datagram for an MTU: the wanted length, or what an Ethernet
/// frame carries, but never more than the link does.
fn datagram_len(wanted: Option<usize>, mtu: u32) -> usize {
    let mtu = usize::try_from(mtu).unwrap_or(usize::MAX);
    let fits = mtu.saturating_sub(IP_UDP_OVERHEAD).min(MAX_DATAGRAM);
    wanted.unwrap_or(DEFAULT_MTU - IP_UDP_OVERHEAD).min(fits)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Whether the system cannot do segmentation offload here at all: the device
/// computes no checksums (EIO), or the kernel does not know the option. That the
/// MTU changed has been ruled out before.
fn refuses_offload(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT
    )
}

/// A control message that sets the segment length of one send (cmsg(3),
/// `UDP_SEGMENT` of udp(7)): a `cmsghdr` of length, level and type, and a 16-bit
/// value. Written here because what nix offers allocates on each call, and an
/// option of the whole socket would be set anew for each message.
struct SegmentControl([u8; Self::SPACE]);

impl SegmentControl {
    const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();
    const LEN: usize = Self::HEADER + size_of::<u16>();
    const SPACE: usize = Self::LEN.next_multiple_of(size_of::<usize>());
    const SOL_UDP: i32 = 17;
    const UDP_SEGMENT: i32 = 103;

    fn new(segment_len: usize) -> Self {
        // Bounded by the datagram length, which is less than 65,488.
        let segment_len = u16::try_from(segment_len).unwrap_or(u16::MAX);
        let fields = [
            &Self::LEN.to_ne_bytes()[..],
            &Self::SOL_UDP.to_ne_bytes(),
            &Self::UDP_SEGMENT.to_ne_bytes(),
            &segment_len.to_ne_bytes(),
        ];
        let mut bytes = [0; Self::SPACE];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        Self(bytes)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Cuts a list of slices into datagrams, for when the kernel does not.
struct Cutter<'s, 'b> {
    slices: &'s [IoSlice<'b>],
    skip: usize,
}

impl<'s> Cutter<'s, '_> {
    /// Replaces `out` with slices of the next `len` bytes.
    fn next_into(&mut self, mut len: usize, out: &mut Vec<IoSlice<'s>>) {
        out.clear();
        while let Some((first, rest)) = self.slices.split_first() {
            let left = first.get(self.skip..).unwrap_or_default();
            if left.len() > len {
                out.extend(left.get(..len).map(IoSlice::new));
                self.skip += len;
                return;
            }
            out.push(IoSlice::new(left));
            len -= left.len();
            (self.slices, self.skip) = (rest, 0);
            if len == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(parts: &[&[u8]], len: usize) -> Vec<Vec<u8>> {
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut cutter = Cutter {
            slices: &slices,
            skip: 0,
        };
        let mut out = Vec::new();
        let mut datagrams = Vec::new();
        loop {
            cutter.next_into(len, &mut out);
            datagrams.push(out.iter().flat_map(|slice| slice.iter().copied()).collect());
            if cutter.slices.is_empty() {
                return datagrams;
            }
        }
    }

    #[test]
    fn trains_are_cut_across_slices() {
        assert_eq!(
            cut(&[b"head", b"payload"], 3),
            [&b"hea"[..], b"dpa", b"ylo", b"ad"]
        );
        assert_eq!(cut(&[b"abc", b"def"], 3), [b"abc", b"def"]);
        assert_eq!(cut(&[b"abc"], 9), [b"abc"]);
        assert_eq!(cut(&[b""], 9), [b""]);
    }

    #[test]
    fn a_train_is_bounded_by_count_and_bytes() {
        assert_eq!(Sender::train_len(1452), 45);
        assert_eq!(Sender::train_len(1074), 60);
        assert_eq!(Sender::train_len(64), 64);
        assert_eq!(Sender::train_len(65_487), 1);
        assert_eq!(Sender::train_len(0), 64);
    }

    #[test]
    fn what_is_no_train_is_refused() {
        let sender = Sender {
            socket: Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).unwrap(),
            destination: SockAddr::from(std::net::SocketAddrV6::new(
                std::net::Ipv6Addr::LOCALHOST,
                9,
                0,
                0,
            )),
            group: Group::new("ff11::1".parse().unwrap(), 9).unwrap(),
            interface: Some(NonZeroU32::MIN),
            options: SenderOptions::default(),
            datagram_len: 1452,
            offload: true,
            connected: false,
            changes: None,
            hears_all: false,
            gathered: Vec::new(),
        };
        assert!(sender.check_train(0, 0).is_ok());
        assert!(sender.check_train(45 * 1452, 1452).is_ok());
        let refused = |total, segment_len| match sender.check_train(total, segment_len) {
            Err(SendErrorKind::NotATrain { .. }) => "no train",
            Err(SendErrorKind::TooLong { .. }) => "too long",
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(10, 0), "no train");
        assert_eq!(refused(46 * 1452, 1452), "no train");
        assert_eq!(refused(65, 1), "no train");
        assert_eq!(refused(1453, 1453), "too long");
    }

    #[test]
    fn datagrams_fit_the_link() {
        assert_eq!(datagram_len(None, 1500), 1452);
        assert_eq!(datagram_len(None, 9000), 1452);
        assert_eq!(datagram_len(None, 1280), 1232);
        assert_eq!(datagram_len(Some(8952), 9000), 8952);
        assert_eq!(datagram_len(Some(60_000), 9000), 8952);
        assert_eq!(datagram_len(Some(70_000), 65_536), 65_487);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_control_message_is_what_the_kernel_expects() {
        let control = SegmentControl::new(1452);
        let mut expected = [0; 24];
        expected[..8].copy_from_slice(&18usize.to_ne_bytes());
        expected[8..12].copy_from_slice(&17i32.to_ne_bytes());
        expected[12..16].copy_from_slice(&103i32.to_ne_bytes());
        expected[16..18].copy_from_slice(&1452u16.to_ne_bytes());
        assert_eq!(control.as_bytes(), expected);
    }
}
