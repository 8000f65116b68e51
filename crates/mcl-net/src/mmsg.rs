//! Several datagrams in one system call: `recvmmsg`, recvmmsg(2).
//!
//! The one file of the workspace with `unsafe` in it. What receive offload does not join
//! comes in datagrams of their own, and then the system call is what a datagram costs: with all
//! that is asked to be said about it, 1.4 µs by `recvmsg` and 1.0 by sixteens. No safe
//! way was found: nix's headers lose control messages when they are used again
//! (<https://github.com/nix-rust/nix/pull/2813>) and allocate when they are not, quinn-udp has no
//! room for the time, rustix and socket2 have no such call.

use std::io::IoSliceMut;
use std::mem;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;

use crate::notes::{Control, Notes};

/// The most datagrams, or trains, in a call.
pub(crate) const MOST: usize = 16;

/// What the kernel says about a datagram, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    /// Bytes of the datagram, or of a train of them.
    pub(crate) len: usize,
    source: libc::sockaddr_in6,
    control: Control,
    control_len: usize,
}

impl Envelope {
    pub(crate) const EMPTY: Self = Self {
        len: 0,
        source: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
        control: Control::EMPTY,
        control_len: 0,
    };

    /// Who sent it.
    pub(crate) fn source(&self) -> SocketAddrV6 {
        let address = &self.source;
        SocketAddrV6::new(
            Ipv6Addr::from(address.sin6_addr.s6_addr),
            u16::from_be(address.sin6_port),
            address.sin6_flowinfo,
            address.sin6_scope_id,
        )
    }

    /// What else the kernel said.
    pub(crate) fn notes(&self) -> Notes {
        self.control.notes(self.control_len)
    }
}

/// Receives what is there, one datagram or train into each of `buffers`, without waiting;
/// tells how many, of which the first so many of `envelopes` say more. At most [`MOST`].
///
/// # Errors
/// What `recvmmsg` says; `EAGAIN` if nothing is there. An error that comes after
/// something was received is told by the next call.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    envelopes: &mut [Envelope],
) -> Result<usize, Errno> {
    let count = buffers.len().min(envelopes.len()).min(MOST);
    // SAFETY: `mmsghdr` is a C structure of integers and pointers, for which zeros are valid.
    let mut headers: [libc::mmsghdr; MOST] = unsafe { mem::zeroed() };
    let parts = headers.iter_mut().zip(&mut *buffers).zip(&mut *envelopes);
    for ((header, buffer), envelope) in parts.take(count) {
        let header = &mut header.msg_hdr;
        header.msg_name = (&raw mut envelope.source).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        // An `IoSliceMut` has the layout of `iovec`, as std promises.
        header.msg_iov = (&raw mut *buffer).cast();
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut envelope.control).cast();
        header.msg_controllen = Control::LEN as _;
    }
    let received = loop {
        // SAFETY: the first `count` of `headers` (`count <= MOST`) point to a buffer, an address
        // and room for control messages with their lengths, each to others, all borrowed
        // mutably until the call returns, which keeps no pointer. Whatever bytes the kernel
        // writes are valid for them. Null stands for no timeout.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        match Errno::result(received) {
            Err(Errno::EINTR) => {}
            received => break usize::try_from(received?).unwrap_or_default(),
        }
    };
    for (header, envelope) in headers.iter().zip(envelopes).take(received) {
        envelope.len = header.msg_len as usize;
        envelope.control_len = header.msg_hdr.msg_controllen as _;
    }
    Ok(received)
}
