//! `mcl doctor`: why multicast does or does not work, here or between two machines.

mod peer;
mod protocol;
mod report;
mod table;

use std::env;
use std::time::Duration;

use clap::Args;
use mcl_setup::doctor::{self, Check, Target, Verdict};
use mcl_udp::{Connection, INTERFACE_VARIABLE, InterfaceChoice};

pub(crate) use self::peer::Error;
use self::peer::Peer;
use self::protocol::Side;
use crate::arguments::{self, Format};
use crate::failure::Failure;

/// Where the two sides of a measurement meet if no connection is named.
const MEETING_PLACE: &str = "ff15::6d63:6c:d0c";

/// How long `--peer` and `--peer-listen` wait for each other.
const PEER_WITHIN: Duration = Duration::from_secs(10);
const LISTENS_FOR: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    /// Connection to look at in particular: `ff15::1`, `[ff15::1%eth0]:26000`
    #[arg(value_name = "CONN")]
    connection: Option<Connection>,
    /// Interface to look at: a name, an index or an address
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceChoice>,
    /// Links that datagrams may cross; 0 stays on this machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    hops: u8,
    /// Send the datagram to CONN itself, where others on the link see it
    #[arg(long, requires = "connection", conflicts_with_all = ["peer", "peer_listen"])]
    wire: bool,
    /// Measure what arrives from, and at, a machine that runs `--peer-listen`
    #[arg(long, conflicts_with = "peer_listen")]
    peer: bool,
    /// Wait for a machine that runs `--peer`, and measure with it
    #[arg(long)]
    peer_listen: bool,
    /// Wait so long for the other machine (10 s, with --peer-listen 60 s)
    #[arg(long, value_name = "S", value_parser = arguments::duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    format: Format,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match (self.peer, self.peer_listen) {
            (true, _) => self.measure(Side::Peer, PEER_WITHIN),
            (_, true) => self.measure(Side::Listener, LISTENS_FOR),
            _ => self.examine(),
        }
    }

    fn examine(&self) -> Result<(), Failure> {
        let target = self.target()?;
        let mut report = report::Report::new(self.format);
        let worst = doctor::examine(target.as_ref(), |check: Check| report.tell(&check));
        let worst = worst.map_err(|error| match error {
            doctor::Error::Tell(error) => Failure::Io(error),
            other => Failure::Child(other.to_string()),
        })?;
        report.end()?;
        match worst {
            Verdict::Failed => Err(Failure::Unhealthy(report.failed())),
            _ => Ok(()),
        }
    }

    /// What to look at in particular, if the command line names anything.
    fn target(&self) -> Result<Option<Target>, Failure> {
        if self.connection.is_none() && self.interface.is_none() {
            return Ok(None);
        }
        let connection = self.connection()?;
        Ok(Some(Target {
            group: connection.group(),
            interface: connection
                .interface()
                .cloned()
                .or_else(interface_from_env)
                .unwrap_or_default(),
            hops: self.hops,
            on_the_wire: self.wire,
        }))
    }

    /// The connection by way of the interface, if one was named.
    fn connection(&self) -> Result<Connection, Failure> {
        let default = || Connection::new(MEETING_PLACE);
        let connection = self.connection.clone().map_or_else(default, Ok);
        let connection = connection.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(match &self.interface {
            Some(choice) => connection.with_interface(choice.clone()),
            None => connection,
        })
    }

    fn measure(&self, side: Side, wait: Duration) -> Result<(), Failure> {
        let connection = self.connection()?;
        let wait = self.wait.unwrap_or(wait);
        let mut peer = Peer::open(side, &connection, self.hops, wait)?;
        self.format.note(&peer.begins());
        let outcome = peer.measure();
        table::print(peer.rows(), self.format.json)?;
        match outcome {
            // Whoever interrupts it has the rows so far.
            Err(Error::Interrupted) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) if peer.rows().iter().any(|row| row.arrived == 0) => {
                Err(Error::NothingArrives.into())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// The interface that a connection gets which names none, as the library reads it.
fn interface_from_env() -> Option<InterfaceChoice> {
    let text = env::var_os(INTERFACE_VARIABLE)?
        .to_string_lossy()
        .into_owned();
    (!text.is_empty()).then(|| text.parse().unwrap_or(InterfaceChoice::Name(text)))
}
