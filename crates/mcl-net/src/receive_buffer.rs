//! What the kernel holds for a listener that is busy.

use socket2::Socket;

use crate::error::Context;
use crate::{SocketError, Step};

/// Bytes a listener asks the kernel to hold for it while it is busy.
pub const DEFAULT_RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// What was asked of `SO_RCVBUF` and what the kernel granted, both in bytes as
/// the asker counts them (socket(7): the kernel doubles the value for its own
/// bookkeeping; here that is undone).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

    /// The command that makes the [`remedy`](Self::remedy) outlive a reboot, where
    /// sysctl.d(5) is read, if there is a shortfall.
    #[must_use]
    pub fn remedy_for_good(&self) -> Option<String> {
        (self.shortfall() > 0).then(|| {
            let line = format!("net.core.rmem_max={}", self.requested);
            format!("echo {line} | sudo tee -a /etc/sysctl.d/60-mcl.conf")
        })
    }
}

/// Asks for a receive buffer of so many bytes.
pub(crate) fn request(
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

#[cfg(test)]
mod tests {
    use super::*;

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
