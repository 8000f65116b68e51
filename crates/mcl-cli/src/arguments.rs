//! Arguments that all subcommands share.

use clap::Args;
use mcl_udp::{Connection, InterfaceChoice};

use crate::failure::Failure;

/// Where to publish and listen.
#[derive(Args, Clone, Debug)]
pub(crate) struct Network {
    /// Group, port and interface: `ff15::1`, `[ff15::1]:26000`, `[ff15::1%eth0]:26000`
    #[arg(value_name = "CONN")]
    connection: Connection,
    /// Interface to use: a name, an index or an address
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceChoice>,
    /// Links that datagrams may cross; 0 stays on this machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) hops: u8,
    /// Topic to publish to or to listen to (repeatable for listening)
    #[arg(long = "topic", value_name = "T")]
    pub(crate) topics: Vec<String>,
}

impl Network {
    /// The connection, by way of the interface if one was named.
    pub(crate) fn connection(&self) -> Connection {
        self.by_interface(self.connection.clone())
    }

    /// Another connection by way of the same interface, unless it names its own.
    pub(crate) fn by_interface(&self, connection: Connection) -> Connection {
        let choice = self
            .interface
            .clone()
            .or(self.connection.interface().cloned());
        match choice {
            Some(choice) if connection.interface().is_none() || self.interface.is_some() => {
                connection.with_interface(choice)
            }
            _ => connection,
        }
    }

    /// The one topic to publish to, if any.
    pub(crate) fn topic(&self) -> Result<Option<&str>, Failure> {
        match self.topics.as_slice() {
            [] => Ok(None),
            [topic] => Ok(Some(topic)),
            _ => Err(Failure::Usage(
                "publishing takes one `--topic`; several are for listening".into(),
            )),
        }
    }
}
