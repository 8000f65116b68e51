//! The receiving socket: bound to a group, joined on one interface.

use std::array;
use std::io::{self, IoSliceMut};
use std::mem;
use std::net::SocketAddrV6;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::arrival::{Arrival, TRAIN_CAPACITY, TrainBuffer};
use crate::drops::DropCounter;
use crate::error::Context;
use crate::mmsg::{self, Envelope};
use crate::netlink::{Changes, Notice};
use crate::notes::{Control, Notes};
use crate::receive_buffer::{self, DEFAULT_RECEIVE_BUFFER, ReceiveBuffer};
use crate::{Group, Interface, SocketError, Step};

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

/// Datagrams that reached the socket but are not its business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
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
    /// A train arrived.
    Train(Arrival),
    /// Something arrived that is not for this receiver, and was counted
    /// ([`Receiver::foreign`]).
    Foreign,
    /// Nothing arrived in time.
    TimedOut,
    /// A [`Waker`] asked to return.
    Woken,
    /// The [alarm](Receiver::set_alarm) rang.
    Alarm,
    /// The interface may have changed: look at it, and if it is usable call
    /// [`Receiver::settle`].
    Changed,
}

/// A UDP socket that receives the datagrams of one group arriving on one
/// interface.
///
/// Any number of receivers, in one process or in several, may share a group and
/// port: each gets every datagram.
///
/// A membership ends with its interface, and is not that of another one which comes
/// under the same name. A receiver hears when its interface changes
/// ([`Received::Changed`]); [`settle`](Self::settle) joins it as it is now.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    /// Room for the control messages of one receive call.
    control: Control,
    /// The same for several trains, and their sources.
    envelopes: Box<[Envelope]>,
    wake: Arc<EventFd>,
    alarm: TimerFd,
    changes: Changes,
    /// Stands for these three while waiting: `poll` takes the longer, before it sleeps and when it is
    /// woken, the more descriptors it is given. The socket is not among them, or each datagram would
    /// have its sender note it here, whether anybody waits or not.
    others: Epoll,
    /// Stands for the socket and for `changes`, if that was asked for.
    bundle: Option<Epoll>,
    group: Group,
    /// The interface joined on, none yet if it was opened without one.
    interface: Option<NonZeroU32>,
    /// Whether the membership may be gone although the interface is there.
    doubtful: bool,
    /// Whether changes of other interfaces matter.
    hears_all: bool,
    options: ReceiverOptions,
    receive_buffer: ReceiveBuffer,
    foreign: Foreign,
    drops: DropCounter,
    /// What the kernel said last about drops of the present socket.
    drops_noted: u32,
    /// The same before the last train that was for this receiver.
    drops_told: u32,
}

impl Receiver {
    /// The most trains that [`recv_many`](Self::recv_many) receives.
    pub const MOST_TRAINS: usize = mmsg::MOST;

    /// Opens a socket, binds it to `group` and joins the group on `interface`.
    ///
    /// Set and read back: `SO_REUSEADDR` (several receivers of one group),
    /// `IPV6_MULTICAST_ALL` off (else Linux delivers groups that others joined),
    /// `SO_RCVBUF`; set: `IPV6_V6ONLY`, `IPV6_RECVPKTINFO` and, where the kernel
    /// has them, `UDP_GRO`, `SO_TIMESTAMPNS` and `SO_RXQ_OVFL`.
    ///
    /// # Errors
    /// A [`SocketError`] that names the step. A receive buffer smaller than asked
    /// for is no error: see [`receive_buffer`](Self::receive_buffer).
    pub fn open(
        group: Group,
        interface: &Interface,
        options: &ReceiverOptions,
    ) -> Result<Self, SocketError> {
        let context = Context::new(group, Some(interface));
        let mut receiver = Self::unplaced(&context, group, options)?;
        receiver.join(interface)?;
        Ok(receiver)
    }

    /// Opens a receiver for which there is no interface yet: it receives nothing
    /// until [`settle`](Self::settle), but hears of changes, of all interfaces.
    ///
    /// # Errors
    /// A [`SocketError`] that names the step.
    pub fn open_unplaced(group: Group, options: &ReceiverOptions) -> Result<Self, SocketError> {
        Self::unplaced(&Context::new(group, None), group, options)
    }

    fn unplaced(
        context: &Context<'_>,
        group: Group,
        options: &ReceiverOptions,
    ) -> Result<Self, SocketError> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|error| context.fail(Step::Waker, error))?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(|error| context.fail(Step::Alarm, error))?;
        let changes = Changes::subscribe().map_err(|error| context.fail(Step::Watch, error))?;
        // Bound to nothing, it receives nothing.
        let socket = new_socket(context)?;
        let others = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|others| {
            watch(&others, &wake, WAKE)?;
            watch(&others, &changes, CHANGES)?;
            watch(&others, &alarm, ALARM)?;
            Ok(others)
        });
        Ok(Self {
            control: Control::EMPTY,
            envelopes: vec![Envelope::EMPTY; Self::MOST_TRAINS].into(),
            wake: Arc::new(wake),
            alarm,
            changes,
            others: others.map_err(|error| context.fail(Step::Watch, error))?,
            bundle: None,
            group,
            interface: None,
            doubtful: false,
            hears_all: true,
            options: options.clone(),
            receive_buffer: receive_buffer::request(context, &socket, options.receive_buffer)?,
            socket,
            foreign: Foreign::default(),
            drops: DropCounter::default(),
            drops_noted: 0,
            drops_told: 0,
        })
    }

    /// Receives on `interface`, as it is now: joins it unless it is the one joined
    /// already; `true` if it had to. What waited in the socket is lost then: receive
    /// it before.
    ///
    /// # Errors
    /// A [`SocketError`] that names the step; all is as before then.
    pub fn settle(&mut self, interface: &Interface) -> Result<bool, SocketError> {
        if self.interface == Some(interface.index()) && !self.doubtful {
            return Ok(false);
        }
        self.join(interface)?;
        Ok(true)
    }

    fn join(&mut self, interface: &Interface) -> Result<(), SocketError> {
        let context = Context::new(self.group, Some(interface));
        let socket = new_socket(&context)?;
        share(&context, &socket)?;
        let buffer = receive_buffer::request(&context, &socket, self.options.receive_buffer)?;
        bind(&context, &socket, self.group, interface)?;
        // Before the join, so that no datagram is queued without arrival information.
        annotate(&context, &socket)?;
        if let Some(bundle) = &self.bundle {
            watch(bundle, &socket, DATAGRAMS).map_err(|error| context.fail(Step::Watch, error))?;
        }
        socket
            .join_multicast_v6(&self.group.address(), interface.index().get())
            .map_err(|error| context.fail(Step::Join, error))?;
        self.drops.moves_to(&socket);
        (self.drops_noted, self.drops_told) = (0, 0);
        // Closing the old one takes it out of the bundle, and drops what both received.
        self.socket = socket;
        self.receive_buffer = buffer;
        self.interface = Some(interface.index());
        self.doubtful = false;
        self.hears_all = false;
        Ok(())
    }

    /// Whether something became known of the interface since the last call: look at
    /// it, and call [`settle`](Self::settle). Never waits: one system call if nothing
    /// did. [`wait`](Self::wait) does it by itself.
    pub fn hear(&mut self) -> bool {
        let own = self.interface.map(NonZeroU32::get);
        let heard = self.changes.hear(own, self.hears_all);
        if heard == Notice::Gone {
            self.doubtful = true;
            self.leave();
        }
        heard > Notice::Nothing
    }

    /// Whether to hear of changes of all interfaces, not only of the one it has joined:
    /// for when that is away, and may come back as another one.
    pub fn hear_of_all(&mut self, all: bool) {
        self.hears_all = all;
    }

    /// Ends a membership that is gone with its interface. The kernel knows it by index: to
    /// leave only when there is an interface of that index again would be at the
    /// expense of those who have joined there by then.
    fn leave(&mut self) {
        if let Some(index) = self.interface {
            // Fails if that is done already.
            let _ = self
                .socket
                .leave_multicast_v6(&self.group.address(), index.get());
        }
    }

    /// Makes one descriptor of all: [`AsFd`] gives one then that is readable when
    /// datagrams or changes of the interface wait, and that outlives the socket.
    ///
    /// # Errors
    /// A [`SocketError`] that names the step.
    pub fn bundle(&mut self) -> Result<(), SocketError> {
        let made = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).and_then(|bundle| {
            watch(&bundle, &self.socket, DATAGRAMS)?;
            watch(&bundle, &self.changes, CHANGES)?;
            Ok(bundle)
        });
        let context = Context::new(self.group, None);
        self.bundle = Some(made.map_err(|error| context.fail(Step::Watch, error))?);
        Ok(())
    }

    /// Receives a train of datagrams into `buffer`, waiting as `wait` says.
    ///
    /// Datagrams for other groups or from other interfaces are counted
    /// ([`foreign`](Self::foreign)) and reported as such, one train a call: a
    /// flood of them keeps nobody from deadlines. Without waiting this is one
    /// system call; only where nothing is there yet come two more (`poll`, during
    /// which the thread sleeps, and the one that receives).
    ///
    /// # Errors
    /// What the system says about the socket, such as `ENETDOWN`; the socket
    /// remains usable.
    pub fn recv(&mut self, buffer: &mut TrainBuffer, wait: Wait) -> io::Result<Received> {
        buffer.note([]);
        loop {
            match self.try_recv(&mut [IoSliceMut::new(buffer.room())]) {
                Ok(received) => {
                    if let Received::Train(arrival) = received {
                        buffer.note([Some(arrival)]);
                    }
                    return Ok(received);
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) if wait == Wait::No => return Ok(Received::TimedOut),
                Err(Errno::EAGAIN) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(ended) = self.wait(wait)? {
                return Ok(ended);
            }
        }
    }

    /// Receives a train that is there already, without waiting: its first `head` bytes into `buffer`,
    /// what follows into `place`. For who knows where the next one belongs; if it turns out to be
    /// another, [`TrainBuffer::gather`] puts it together.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); [`io::ErrorKind::InvalidInput`] if head and place are not 64 KiB long together, so
    /// that a train might not fit.
    pub fn recv_split(
        &mut self,
        buffer: &mut TrainBuffer,
        head: usize,
        place: &mut [u8],
    ) -> io::Result<Received> {
        buffer.note([]);
        let first = buffer.room().get_mut(..head);
        let Some(first) = first.filter(|_| place.len() >= TRAIN_CAPACITY.saturating_sub(head))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        loop {
            let mut slices = [IoSliceMut::new(first), IoSliceMut::new(place)];
            match self.try_recv(&mut slices) {
                Ok(received) => return Ok(received),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Received::TimedOut),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn try_recv(&mut self, slices: &mut [IoSliceMut<'_>]) -> Result<Received, Errno> {
        // How much of it is written is not told: what follows has to be zeros.
        self.control = Control::EMPTY;
        let (fd, control) = (self.socket.as_raw_fd(), self.control.room());
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrIn6>(fd, slices, Some(control), flags)?;
        let (len, source) = (message.bytes, message.address.map(SocketAddrV6::from));
        let notes = self.control.notes(Control::LEN);
        let arrival = Arrival::new(len, source, &notes);
        Ok(self.sort_out(arrival, &notes))
    }

    /// Receives what is there already, without waiting: in one system call at most `most` trains,
    /// as many as `buffer` has room for, and [`MOST_TRAINS`](Self::MOST_TRAINS). Tells how many it brought, `None`
    /// if nothing was there. What is not for this receiver is counted as by [`recv`](Self::recv), and no
    /// [train](TrainBuffer::train) in its place.
    ///
    /// For datagrams that come one by one. The fewer places in memory they are put in, the longer those
    /// stay in the processor's caches.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_many(
        &mut self,
        buffer: &mut TrainBuffer,
        most: usize,
    ) -> io::Result<Option<usize>> {
        buffer.note([]);
        let mut slices: [IoSliceMut<'_>; mmsg::MOST] = array::from_fn(|_| IoSliceMut::new(&mut []));
        let mut count = 0;
        for (slice, room) in slices.iter_mut().zip(buffer.rooms()).take(most) {
            *slice = IoSliceMut::new(room);
            count += 1;
        }
        let slices = slices.get_mut(..count).unwrap_or_default();
        let received = mmsg::receive(self.socket.as_fd(), slices, &mut self.envelopes);
        match received {
            Ok(0) | Err(Errno::EAGAIN) => Ok(None),
            Ok(came) => {
                let envelopes = mem::take(&mut self.envelopes);
                buffer.note(envelopes.iter().take(came).map(|it| self.open_envelope(it)));
                self.envelopes = envelopes;
                Ok(Some(came))
            }
            // Kept from it by a filter of system calls, it receives as `recv` does.
            Err(Errno::ENOSYS | Errno::EPERM) if count > 0 => {
                Ok((self.recv(buffer, Wait::No)? != Received::TimedOut).then_some(1))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The train, unless it is foreign.
    fn open_envelope(&mut self, envelope: &Envelope) -> Option<Arrival> {
        let notes = envelope.notes();
        let arrival = Arrival::new(envelope.len, Some(envelope.source()), &notes);
        match self.sort_out(arrival, &notes) {
            Received::Train(arrival) => Some(arrival),
            _ => None,
        }
    }

    /// Tells what is foreign.
    fn sort_out(&mut self, mut arrival: Arrival, notes: &Notes) -> Received {
        self.drops_noted = notes.drops.unwrap_or(self.drops_noted);
        let datagrams = arrival.datagrams() as u64;
        if notes.destination != Some(self.group.address()) {
            self.foreign.other_group += datagrams;
            Received::Foreign
        } else if notes.interface != self.interface.map(NonZeroU32::get) {
            self.foreign.other_interface += datagrams;
            Received::Foreign
        } else {
            let told = mem::replace(&mut self.drops_told, self.drops_noted);
            arrival.dropped = self.drops_noted.wrapping_sub(told);
            Received::Train(arrival)
        }
    }

    /// Waits until there is something to receive (`None`), and leaves it there; or
    /// says what else ended it.
    ///
    /// # Errors
    /// What `poll` says.
    pub fn wait(&mut self, wait: Wait) -> io::Result<Option<Received>> {
        let timeout = match wait {
            Wait::No => return Ok(Some(Received::TimedOut)),
            Wait::Forever => PollTimeout::NONE,
            Wait::Until(deadline) => {
                poll_timeout(deadline.saturating_duration_since(Instant::now()))
            }
        };
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.others.0.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(0) if matches!(wait, Wait::Until(deadline) if Instant::now() >= deadline) => {
                return Ok(Some(Received::TimedOut));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [datagrams, others] = fds.map(|fd| fd.any().unwrap_or(false));
        if !others {
            return Ok(None);
        }
        let mut events = [EpollEvent::empty(); 3];
        let count = self.others.wait(&mut events, EpollTimeout::ZERO)?;
        let is_in = |what| events.iter().take(count).any(|event| event.data() == what);
        let [woken, changed, rings] = [WAKE, CHANGES, ALARM].map(is_in);
        if woken {
            return Ok(Some(self.woken()));
        }
        // What the socket still holds comes first.
        if changed && !datagrams && self.hear() {
            return Ok(Some(Received::Changed));
        }
        if rings && !datagrams {
            // It does not block: it has rung.
            let _ = self.alarm.wait();
            return Ok(Some(Received::Alarm));
        }
        Ok(None)
    }

    /// Sleeps for `time`, whatever arrives: it waits in the receive buffer, and neither is
    /// this thread woken nor need its sender do that. `None` then, or earlier if a signal came;
    /// [`Received::Woken`] if a [`Waker`] ended it.
    ///
    /// For when more is about to come than one wants to be woken for. It makes use of the
    /// [alarm](Self::set_alarm), whose timer is exact to some microseconds, while timeouts of system calls may end
    /// 50 us late (`timerslack_ns`, proc(5)): one that was set is not set any more after it, nor after an error.
    ///
    /// # Errors
    /// What `timerfd_settime` and `poll` say.
    pub fn rest(&mut self, time: Duration) -> io::Result<Option<Received>> {
        self.set_alarm(time)?;
        let mut fds = [
            PollFd::new(self.alarm.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        let ended = poll(&mut fds, PollTimeout::NONE);
        let [_, woken] = fds.map(|fd| fd.any().unwrap_or(false));
        self.alarm.unset()?;
        match ended {
            Ok(_) | Err(Errno::EINTR) => Ok(woken.then(|| self.woken())),
            Err(error) => Err(error.into()),
        }
    }

    /// Has a call that waits, now or later, return [`Received::Alarm`] after `after`, once;
    /// instead of when it was to before. Zero is as soon as possible.
    ///
    /// For what is to be done some time: a [deadline](Wait::Until) costs a timer
    /// of the kernel's with each wait, this one only when it is set. It does not make
    /// the receiver's [descriptor](Receiver::bundle) readable.
    ///
    /// # Errors
    /// What `timerfd_settime` says.
    pub fn set_alarm(&self, after: Duration) -> io::Result<()> {
        // A timer of no time at all would be none.
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        let once = Expiration::OneShot(after);
        Ok(self.alarm.set(once, TimerSetTimeFlags::empty())?)
    }

    fn woken(&self) -> Received {
        // Taken back, so that the next call sleeps again.
        let _ = self.wake.read();
        Received::Woken
    }

    /// The group it joined.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The interface on which it joined the group, if it has.
    #[must_use]
    pub fn interface(&self) -> Option<NonZeroU32> {
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

    /// A handle that reads the kernel's drop counter.
    #[must_use]
    pub fn drop_counter(&self) -> DropCounter {
        self.drops.clone()
    }

    /// What the kernel's drop counter ([`drop_counter`](Self::drop_counter)) was when
    /// the last datagrams that were received had come (`SO_RXQ_OVFL`, socket(7)).
    /// Costs no system call.
    #[must_use]
    pub fn drops_noted(&self) -> u64 {
        self.drops.earlier() + u64::from(self.drops_noted)
    }
}

/// The socket, which is another one after [`Receiver::settle`] has joined anew; or
/// the descriptor that [`Receiver::bundle`] has made.
impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.bundle {
            Some(bundle) => bundle.0.as_fd(),
            None => self.socket.as_fd(),
        }
    }
}

/// Adds a descriptor, whose events are told by `what`.
fn watch(epoll: &Epoll, descriptor: impl AsFd, what: u64) -> Result<(), Errno> {
    epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, what))
}

/// What events are told apart by.
const DATAGRAMS: u64 = 0;
const WAKE: u64 = 1;
const CHANGES: u64 = 2;
const ALARM: u64 = 3;

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

pub(crate) fn poll_timeout(left: Duration) -> PollTimeout {
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

/// Asks for what is to be said about each train beside its bytes.
fn annotate(context: &Context<'_>, socket: &Socket) -> Result<(), SocketError> {
    context.set(
        "IPV6_RECVPKTINFO",
        1,
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true).map_err(io::Error::from),
    )?;
    // Kernels without receive offload (before 5.0) hand over single datagrams.
    let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &true);
    // Said once there were any: nothing comes with datagrams before.
    let _ = setsockopt(socket, sockopt::RxqOvfl, &1);
    Ok(())
}

/// Binds to the group itself, so that the kernel keeps other groups on the same
/// port out; the scope id ties interface- and link-local groups to the interface.
fn bind(
    context: &Context<'_>,
    socket: &Socket,
    group: Group,
    interface: &Interface,
) -> Result<(), SocketError> {
    let address = destination(group, interface.index().get());
    socket
        .bind(&address)
        .map_err(|error| context.fail(Step::Bind, error))
}

pub(crate) fn destination(group: Group, scope_id: u32) -> SockAddr {
    SockAddr::from(SocketAddrV6::new(
        group.address(),
        group.port(),
        0,
        scope_id,
    ))
}
