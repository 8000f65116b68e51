//! The receiving socket: bound to a group, joined on one interface.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::Context;
use crate::{Group, Interface, SocketError, Step};

/// Bytes a listener asks the kernel to hold for it while it is busy.
pub const DEFAULT_RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// The largest train that receive offload hands over: one IPv6 datagram's worth
/// of payload (RFC 8200, section 3), rounded up.
const TRAIN_CAPACITY: usize = 64 * 1024;

/// The most trains that one system call brings.
const MAX_TRAINS: usize = 16;

/// Options of a [`Receiver`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// Bytes to ask of `SO_RCVBUF`; 4 MiB by default. The kernel grants no more
    /// than `net.core.rmem_max`: [`Receiver::receive_buffer`] tells.
    pub receive_buffer: usize,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            receive_buffer: DEFAULT_RECEIVE_BUFFER,
        }
    }
}

/// What was asked of `SO_RCVBUF` and what the kernel granted, both in bytes as
/// the asker counts them (socket(7): the kernel doubles the value for its own
/// bookkeeping; here that is undone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveBuffer {
    /// Bytes asked for.
    pub requested: usize,
    /// Bytes granted.
    pub granted: usize,
}

impl ReceiveBuffer {
    /// Bytes by which the grant falls short of the request; 0 if it does not.
    #[must_use]
    pub fn shortfall(&self) -> usize {
        self.requested.saturating_sub(self.granted)
    }

    /// The command that lets the kernel grant all of the request, if it did not.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        (self.shortfall() > 0)
            .then(|| format!("sudo sysctl -w net.core.rmem_max={}", self.requested))
    }
}

/// Datagrams that reached the socket but are not its business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign {
    /// Sent to another address than the group's.
    pub other_group: u64,
    /// Arrived on another interface than the one that was joined: Linux
    /// delivers by group, not by the interface of the membership.
    pub other_interface: u64,
}

/// How long [`Receiver::recv`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until this instant.
    Until(Instant),
    /// Until something happens.
    Forever,
}

/// How [`Receiver::recv`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// Something arrived; the batch holds what of it is for this receiver.
    Datagrams,
    /// Nothing arrived in time.
    TimedOut,
    /// A [`Waker`] asked to return.
    Woken,
}

/// A UDP socket that receives the datagrams of one group arriving on one
/// interface.
///
/// Any number of receivers, in one process or in several, may share a group and
/// port: each gets every datagram.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    state: UdpSocketState,
    wake: Arc<EventFd>,
    group: Group,
    interface: NonZeroU32,
    receive_buffer: ReceiveBuffer,
    foreign: Foreign,
}

impl Receiver {
    /// Opens a socket, binds it to `group` and joins the group on `interface`.
    ///
    /// Set and read back: `SO_REUSEADDR` (several receivers of one group),
    /// `IPV6_MULTICAST_ALL` off (else Linux delivers groups that others joined),
    /// `SO_RCVBUF`; set: `IPV6_V6ONLY`, `IPV6_RECVPKTINFO` and, where the kernel
    /// has them, `UDP_GRO` and `SO_TIMESTAMPNS`.
    ///
    /// # Errors
    /// A [`SocketError`] that names the step. A receive buffer smaller than asked
    /// for is no error: see [`receive_buffer`](Self::receive_buffer).
    pub fn open(
        group: Group,
        interface: &Interface,
        options: &ReceiverOptions,
    ) -> Result<Self, SocketError> {
        let context = Context { group, interface };
        let socket = new_socket(&context)?;
        share(&context, &socket)?;
        let receive_buffer = request_receive_buffer(&context, &socket, options.receive_buffer)?;
        bind(&context, &socket)?;
        // Before the join, so that no datagram is queued without arrival information.
        let state = UdpSocketState::new((&socket).into())
            .map_err(|error| context.fail(Step::ReceiveOffload, error))?;
        socket
            .join_multicast_v6(&group.address(), interface.index().get())
            .map_err(|error| context.fail(Step::Join, error))?;
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|error| context.fail(Step::Waker, error))?;
        Ok(Self {
            socket,
            state,
            wake: Arc::new(wake),
            group,
            interface: interface.index(),
            receive_buffer,
            foreign: Foreign::default(),
        })
    }

    /// Receives up to a batch of trains of datagrams, waiting as `wait` says.
    ///
    /// Datagrams for other groups or from other interfaces are counted
    /// ([`foreign`](Self::foreign)) and left out of the batch, which may leave it
    /// empty: a flood of them keeps nobody from deadlines. Without waiting
    /// this is one system call; only where nothing is there yet comes a second
    /// (`poll`), during which the thread sleeps.
    ///
    /// # Errors
    /// What the system says about the socket, such as `ENETDOWN`; the socket
    /// remains usable.
    pub fn recv(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<Received> {
        loop {
            match self.try_recv(batch) {
                Ok(()) => return Ok(Received::Datagrams),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match self.sleep(wait)? {
                Received::Datagrams => {}
                other => return Ok(other),
            }
        }
    }

    fn try_recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        batch.filled = 0;
        let filled = {
            let mut chunks = batch.bytes.chunks_exact_mut(TRAIN_CAPACITY);
            let mut slices: [IoSliceMut<'_>; MAX_TRAINS] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let trains = batch.metas.len();
            let slices = slices.get_mut(..trains).unwrap_or_default();
            self.state
                .recv((&self.socket).into(), slices, &mut batch.metas)?
        };
        batch.filled = filled;
        self.sort_out(batch);
        Ok(())
    }

    /// Marks what is foreign in a filled batch.
    fn sort_out(&mut self, batch: &mut Batch) {
        for meta in batch.metas.iter_mut().take(batch.filled) {
            let datagrams = meta.len.div_ceil(meta.stride.max(1)).max(1) as u64;
            if meta.dst_ip != Some(IpAddr::V6(self.group.address())) {
                self.foreign.other_group += datagrams;
                meta.stride = 0;
            } else if meta.interface_index != Some(self.interface.get()) {
                self.foreign.other_interface += datagrams;
                meta.stride = 0;
            } else {
                // An empty datagram has no stride, but is one.
                meta.stride = meta.stride.max(1);
            }
        }
    }

    fn sleep(&self, wait: Wait) -> io::Result<Received> {
        let timeout = match wait {
            Wait::No => return Ok(Received::TimedOut),
            Wait::Forever => PollTimeout::NONE,
            Wait::Until(deadline) => {
                poll_timeout(deadline.saturating_duration_since(Instant::now()))
            }
        };
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(0) if matches!(wait, Wait::Until(deadline) if Instant::now() >= deadline) => {
                return Ok(Received::TimedOut);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[1].any().unwrap_or(false) {
            // Taken back, so that the next call sleeps again.
            let _ = self.wake.read();
            return Ok(Received::Woken);
        }
        Ok(Received::Datagrams)
    }

    /// The interface on which it joined the group.
    #[must_use]
    pub fn interface(&self) -> NonZeroU32 {
        self.interface
    }

    /// A handle by which another thread makes [`recv`](Self::recv) return.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// The receive buffer as requested and as granted.
    #[must_use]
    pub fn receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
    }

    /// Datagrams so far that were not for this group and interface.
    #[must_use]
    pub fn foreign(&self) -> Foreign {
        self.foreign
    }

    /// A handle that reads the kernel's drop counter of this socket.
    ///
    /// # Errors
    /// When the descriptor cannot be looked up.
    pub fn drop_counter(&self) -> io::Result<DropCounter> {
        let path = format!("/proc/self/fd/{}", self.socket.as_raw_fd());
        Ok(DropCounter {
            inode: fs::metadata(path)?.st_ino(),
        })
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes [`Receiver::recv`] return [`Received::Woken`].
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Wakes the receiver, now or at its next wait. Never blocks.
    pub fn wake(&self) {
        // Fails only when the counter is full, and then it is signalled anyway.
        let _ = self.0.write(1);
    }
}

/// Reads how often the kernel dropped for want of room in one socket's buffer.
///
/// A diagnostic: it explains losses but does not count them. With receive
/// offload it counts buffers, each of up to a whole train; how many datagrams
/// are missing, sequence numbers tell.
#[derive(Clone, Debug)]
pub struct DropCounter {
    inode: u64,
}

impl DropCounter {
    /// The counter's value, or `None` where the calling thread's network
    /// namespace is not the socket's, or the socket is closed.
    ///
    /// Reads `/proc/thread-self/net/udp6` (proc(5)): some tens of microseconds.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn read(&self) -> io::Result<Option<u64>> {
        let table = fs::read_to_string("/proc/thread-self/net/udp6")?;
        Ok(drops_of(&table, self.inode))
    }
}

/// The last column of the line whose tenth column is `inode`.
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let of_line: u64 = columns.nth(9)?.parse().ok()?;
        (of_line == inode).then(|| columns.last()?.parse().ok())?
    })
}

/// Room for what one [`Receiver::recv`] brings: trains of datagrams and where
/// they came from. Made once, filled many times; 64 KiB a train.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    metas: Vec<RecvMeta>,
    filled: usize,
}

impl Batch {
    /// Room for `trains` trains, 1 to 16.
    #[must_use]
    pub fn new(trains: usize) -> Self {
        let trains = trains.clamp(1, MAX_TRAINS);
        Self {
            bytes: vec![0; trains * TRAIN_CAPACITY],
            metas: vec![RecvMeta::default(); trains],
            filled: 0,
        }
    }

    /// The trains of the last [`Receiver::recv`], in order of arrival.
    pub fn trains(&self) -> impl Iterator<Item = Train<'_>> {
        (0..self.filled).filter_map(|place| self.train(place))
    }

    /// How many places of the batch the last [`Receiver::recv`] filled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether the last [`Receiver::recv`] brought nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The train in a place of the batch; `None` beyond [`len`](Self::len), and
    /// where what came was for another group or from another interface.
    #[must_use]
    pub fn train(&self, place: usize) -> Option<Train<'_>> {
        let meta = self.metas.get(..self.filled)?.get(place)?;
        let bytes = self.bytes.chunks_exact(TRAIN_CAPACITY).nth(place)?;
        Train::of(meta, bytes)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new(8)
    }
}

/// Datagrams of one sender that arrived together: all of one length, but for
/// the last.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    bytes: &'a [u8],
    stride: usize,
    source: SocketAddrV6,
    arrived: Option<Duration>,
}

impl<'a> Train<'a> {
    fn of(meta: &RecvMeta, bytes: &'a [u8]) -> Option<Self> {
        if meta.stride == 0 {
            return None;
        }
        let source = match meta.addr {
            SocketAddr::V6(source) => source,
            SocketAddr::V4(source) => {
                SocketAddrV6::new(source.ip().to_ipv6_mapped(), source.port(), 0, 0)
            }
        };
        Some(Self {
            bytes: bytes.get(..meta.len)?,
            stride: meta.stride,
            source,
            arrived: meta.timestamp,
        })
    }

    /// The datagrams, in order of sending.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // An empty datagram travels alone.
        let empty = self.bytes.is_empty().then_some(self.bytes);
        empty.into_iter().chain(self.bytes.chunks(self.stride))
    }

    /// Bytes of all its datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is one datagram without a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The sender's address and port.
    #[must_use]
    pub fn source(&self) -> SocketAddrV6 {
        self.source
    }

    /// When the kernel received it (`SO_TIMESTAMPNS`, the system's clock), if
    /// the kernel says.
    #[must_use]
    pub fn arrived(&self) -> Option<SystemTime> {
        self.arrived
            .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since))
    }
}

fn poll_timeout(left: Duration) -> PollTimeout {
    // Rounded up: a timeout of 0 for the last half millisecond would spin.
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

pub(crate) fn new_socket(context: &Context<'_>) -> Result<Socket, SocketError> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))
        .map_err(|error| context.fail(Step::Create, error))?;
    context.set("IPV6_V6ONLY", 1, socket.set_only_v6(true))?;
    Ok(socket)
}

fn share(context: &Context<'_>, socket: &Socket) -> Result<(), SocketError> {
    context.set("SO_REUSEADDR", 1, socket.set_reuse_address(true))?;
    context.confirm("SO_REUSEADDR", 1, socket.reuse_address().map(i64::from))?;
    context.set("IPV6_MULTICAST_ALL", 0, socket.set_multicast_all_v6(false))?;
    context.confirm(
        "IPV6_MULTICAST_ALL",
        0,
        socket.multicast_all_v6().map(i64::from),
    )
}

fn request_receive_buffer(
    context: &Context<'_>,
    socket: &Socket,
    requested: usize,
) -> Result<ReceiveBuffer, SocketError> {
    let value = i64::try_from(requested).unwrap_or(i64::MAX);
    // The kernel reads an int.
    let capped = requested.min(i32::MAX as usize);
    context.set("SO_RCVBUF", value, socket.set_recv_buffer_size(capped))?;
    let doubled = socket.recv_buffer_size().map_err(|error| {
        context.fail(
            Step::Read {
                option: "SO_RCVBUF",
            },
            error,
        )
    })?;
    Ok(ReceiveBuffer {
        requested,
        granted: doubled / 2,
    })
}

/// Binds to the group itself, so that the kernel keeps other groups on the same
/// port out; the scope id ties interface- and link-local groups to the interface.
fn bind(context: &Context<'_>, socket: &Socket) -> Result<(), SocketError> {
    let address = destination(context.group, context.interface);
    socket
        .bind(&address)
        .map_err(|error| context.fail(Step::Bind, error))
}

pub(crate) fn destination(group: Group, interface: &Interface) -> SockAddr {
    let scope_id = interface.index().get();
    SockAddr::from(SocketAddrV6::new(
        group.address(),
        group.port(),
        0,
        scope_id,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 4093: 000015FF000000000000000001000000:6590 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 48
 4094: 000015FF000000000000000001000000:6590 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
";

    #[test]
    fn drops_are_read_by_inode() {
        assert_eq!(drops_of(TABLE, 4711), Some(48));
        assert_eq!(drops_of(TABLE, 4712), Some(0));
        assert_eq!(drops_of(TABLE, 4713), None);
    }

    #[test]
    fn a_train_is_cut_at_its_stride() {
        let meta = |stride| {
            let mut meta = RecvMeta::default();
            (meta.len, meta.stride) = (5, stride);
            meta
        };
        let train = Train::of(&meta(2), b"aabbc rest").unwrap();
        assert_eq!(
            train.datagrams().collect::<Vec<_>>(),
            [&b"aa"[..], b"bb", b"c"]
        );
        assert!(Train::of(&meta(0), b"aabbc").is_none());
    }

    #[test]
    fn a_shortfall_has_its_remedy() {
        let short = ReceiveBuffer {
            requested: 4 << 20,
            granted: 212_992,
        };
        assert_eq!(short.shortfall(), (4 << 20) - 212_992);
        assert_eq!(
            short.remedy().unwrap(),
            "sudo sysctl -w net.core.rmem_max=4194304"
        );
        let enough = ReceiveBuffer {
            requested: 4096,
            granted: 4096,
        };
        assert_eq!(enough.remedy(), None);
    }
}
