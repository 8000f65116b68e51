//! The two sockets: to the group, and from it.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddrV6, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::message::{Shape, Tally, write_number};
use crate::options::{Mode, Options};

/// How long a receive call sleeps at most: then signals and deadlines are
/// looked at.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The longest train.
const CAPACITY: usize = 1 << 16;

/// Sends messages.
#[derive(Debug)]
pub(crate) struct Outlet {
    socket: UdpSocket,
    /// `None`: the socket is connected to it.
    destination: Option<SocketAddrV6>,
    shape: Shape,
    bytes: Vec<u8>,
}

impl Outlet {
    /// To the group, on the port that is `offset` beyond the one given.
    pub(crate) fn open(options: &Options, offset: u16) -> io::Result<Self> {
        let (socket, index) = open(options)?;
        let shape = Shape::new(options.mode, options.size);
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(options.hops)?;
        socket.set_multicast_loop_v6(true)?;
        if options.mode == Mode::Gso {
            // Bounded by the length of a datagram on the link.
            setsockopt(&socket, sockopt::UdpGsoSegment, &(shape.datagram as i32))?;
        }
        let destination = address(options, offset, index);
        if options.connect {
            socket.connect(&destination.into())?;
        }
        Ok(Self {
            socket: socket.into(),
            destination: (!options.connect).then_some(destination),
            shape,
            bytes: shape.messages(),
        })
    }

    /// How many messages [`send`](Self::send) can take.
    pub(crate) fn batch(&self) -> u64 {
        self.shape.batch as u64
    }

    /// Sends the messages `number..number + count`.
    pub(crate) fn send(&mut self, number: u64, count: u64) -> io::Result<()> {
        let len = self.shape.size * count as usize;
        let bytes = &mut self.bytes[..len];
        for (number, message) in (number..).zip(bytes.chunks_exact_mut(self.shape.size)) {
            write_number(message, number);
        }
        for train in bytes.chunks(self.shape.train) {
            match self.destination {
                Some(destination) => self.socket.send_to(train, destination)?,
                None => self.socket.send(train)?,
            };
        }
        Ok(())
    }
}

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Inlet {
    socket: Socket,
    buffer: Vec<u8>,
    /// Whether the trains of a message are received one behind the other.
    whole: bool,
    pub(crate) tally: Tally,
    /// Bytes of `SO_RCVBUF` that the system granted.
    pub(crate) granted: usize,
}

/// What a receive call brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A train that made this message whole.
    Message(u64),
    /// A train that made none whole.
    Part,
    /// Nothing, for a while or at once.
    Nothing,
}

impl Inlet {
    /// From the group, on the port that is `offset` beyond the one given.
    pub(crate) fn open(options: &Options, offset: u16) -> io::Result<Self> {
        let (socket, index) = open(options)?;
        socket.set_reuse_address(true)?;
        socket.set_multicast_all_v6(false)?;
        socket.set_recv_buffer_size(options.rcvbuf)?;
        setsockopt(
            &socket,
            sockopt::UdpGroSegment,
            &(options.mode == Mode::Gso),
        )?;
        socket.bind(&address(options, offset, index).into())?;
        socket.join_multicast_v6(&options.group, index)?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        socket.set_nonblocking(options.spin)?;
        Ok(Self {
            buffer: vec![0; if options.whole { options.size } else { 0 } + CAPACITY],
            whole: options.whole,
            tally: Tally::new(Shape::new(options.mode, options.size)),
            // Linux doubles what is set, for its own use.
            granted: socket.recv_buffer_size()? / 2,
            socket,
        })
    }

    /// Receives one train: one system call.
    pub(crate) fn recv(&mut self) -> io::Result<Arrival> {
        let begin = if self.whole {
            self.tally.under_way_bytes()
        } else {
            0
        };
        let room = &mut self.buffer[begin..begin + CAPACITY];
        match (&self.socket).read(room) {
            Ok(len) => Ok(match self.tally.take(&room[..len]) {
                Some(number) => Arrival::Message(number),
                None => Arrival::Part,
            }),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(Arrival::Nothing),
                _ => Err(error),
            },
        }
    }
}

fn open(options: &Options) -> io::Result<(Socket, u32)> {
    let index = if_nametoindex(options.interface.as_str())
        .map_err(|errno| io::Error::other(format!("interface {}: {errno}", options.interface)))?;
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    Ok((socket, index))
}

fn address(options: &Options, offset: u16, index: u32) -> SocketAddrV6 {
    SocketAddrV6::new(options.group, options.port + offset, 0, index)
}
