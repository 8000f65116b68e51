//! What the kernel says about datagrams, in control messages.

use std::net::Ipv6Addr;
use std::time::Duration;

use nix::libc;

/// Room for control messages, more than all take that a receiver asks for: the length of a
/// segment, arrival interface and destination, the time, drops. Aligned as the kernel's
/// own structure.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Control([u8; Self::LEN]);

impl Control {
    pub(crate) const LEN: usize = 160;

    pub(crate) const EMPTY: Self = Self([0; Self::LEN]);

    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// What the kernel has said in the first `len` bytes, or in all; zeros end it.
    pub(crate) fn notes(&self, len: usize) -> Notes {
        Notes::read(self.0.get(..len).unwrap_or(&self.0))
    }
}

/// What the kernel says about a train, beside its bytes and its source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) stride: Option<usize>,
    pub(crate) destination: Option<Ipv6Addr>,
    pub(crate) interface: Option<u32>,
    pub(crate) time: Option<Duration>,
    pub(crate) drops: Option<u32>,
}

impl Notes {
    /// Reads them all from the bytes that the kernel has written.
    fn read(control: &[u8]) -> Self {
        let mut notes = Self::default();
        for (level, kind, data) in Messages(control) {
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    notes.stride = int(data).and_then(|it| usize::try_from(it).ok());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    if let Some((address, index)) = data.split_first_chunk::<16>() {
                        notes.destination = Some(Ipv6Addr::from(*address));
                        notes.interface = int(index).map(i32::cast_unsigned);
                    }
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    notes.drops = int(data).map(i32::cast_unsigned);
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => notes.time = time(data),
                _ => {}
            }
        }
        notes
    }
}

/// Level, type and data of each control message, cmsg(3). Lengths that cannot be end it.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let len = usize::from_ne_bytes(*len);
        let data = self
            .0
            .get(aligned(size_of_val(&len) + size_of::<[i32; 2]>())..len)?;
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data))
    }
}

/// `CMSG_ALIGN`. Only of lengths within a buffer.
const fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

fn int(data: &[u8]) -> Option<i32> {
    data.first_chunk().map(|it| i32::from_ne_bytes(*it))
}

/// What a `struct timespec` of either width says.
fn time(data: &[u8]) -> Option<Duration> {
    let (seconds, rest) = match data.len() {
        8 => (i64::from(int(data)?), int(data.get(4..)?)?),
        _ => {
            let (seconds, rest) = data.split_first_chunk()?;
            let rest = i64::from_ne_bytes(*rest.first_chunk()?);
            (i64::from_ne_bytes(*seconds), i32::try_from(rest).ok()?)
        }
    };
    let seconds = u64::try_from(seconds).ok()?;
    Some(Duration::new(seconds, u32::try_from(rest).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control message as the kernel writes it.
    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let header = aligned(size_of::<usize>() + 8);
        let mut bytes = (header + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(header, 0);
        bytes.extend(data);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn all() -> Vec<u8> {
        let group: Ipv6Addr = "ff15::7".parse().unwrap();
        let info = [&group.octets()[..], &9u32.to_ne_bytes()].concat();
        let time = [5i64.to_ne_bytes(), 6i64.to_ne_bytes()].concat();
        [
            message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &time),
            message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &u32::MAX.to_ne_bytes()),
            message(libc::SOL_UDP, libc::UDP_GRO, &1452i32.to_ne_bytes()),
            message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &[0; 4]),
            message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info),
        ]
        .concat()
    }

    #[test]
    fn all_that_is_asked_for_is_read() {
        let expected = Notes {
            stride: Some(1452),
            destination: Some("ff15::7".parse().unwrap()),
            interface: Some(9),
            time: Some(Duration::new(5, 6)),
            drops: Some(u32::MAX),
        };
        assert_eq!(Notes::read(&all()), expected);
        assert_eq!(Notes::read(&[]), Notes::default());
    }

    #[test]
    fn what_cannot_be_is_no_note_and_no_panic() {
        let control = all();
        for len in 0..control.len() {
            Notes::read(&control[..len]);
        }
        for at in 0..control.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = control.clone();
                damaged[at] = value;
                Notes::read(&damaged);
            }
        }
        let negative = (-1i64).to_ne_bytes();
        assert_eq!(time(&[negative, negative].concat()), None);
        assert_eq!(
            time(&[7i32.to_ne_bytes(), 8i32.to_ne_bytes()].concat()),
            Some(Duration::new(7, 8))
        );
    }
}
