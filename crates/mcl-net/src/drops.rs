//! How often the kernel dropped: the counter of a receiver's sockets.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::Socket;

/// Reads how often the kernel dropped what a receiver was to get, for want of room in
/// its buffer or because it found UDP's checksum wrong (it counts both alike), over
/// all sockets that it has had.
///
/// A diagnostic: it explains losses but does not count them. With receive
/// offload it counts buffers, each of up to a whole train; how many datagrams
/// are missing, sequence numbers tell.
#[derive(Clone, Debug, Default)]
pub struct DropCounter(Arc<Mutex<Drops>>);

/// Where the counter of the present socket is found, and what those before it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Drops {
    /// None before there is a socket that receives.
    inode: Option<u64>,
    earlier: u64,
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
        loop {
            let drops = self.drops();
            let Some(inode) = drops.inode else {
                return Ok(Some(drops.earlier));
            };
            let table = fs::read_to_string("/proc/thread-self/net/udp6")?;
            let present = drops_of(&table, inode);
            // Else the socket was exchanged meanwhile.
            if present.is_some() || drops == self.drops() {
                return Ok(present.map(|present| drops.earlier + present));
            }
        }
    }

    fn drops(&self) -> Drops {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What sockets before the present one had.
    pub(crate) fn earlier(&self) -> u64 {
        self.drops().earlier
    }

    /// Counts on with `socket`, from what the one before it has, which is still open.
    pub(crate) fn moves_to(&self, socket: &Socket) {
        let total = self.read().ok().flatten();
        let earlier = total.unwrap_or(self.earlier());
        // Where /proc is not to be had, its counter cannot be read, and nothing else.
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let inode = fs::metadata(path).ok().map(|it| it.st_ino()).or(Some(0));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Drops { inode, earlier };
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
}
