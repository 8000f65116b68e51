//! Arguments that several subcommands share, and how their values are read.
//!
//! A subcommand flattens what it needs: [`Network`] for one connection or
//! [`Networks`] for several, [`Reception`] if it listens, [`Until`] if it can end
//! by itself, [`Format`] for what it prints.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use mcl_udp::{
    Connection, DEFAULT_MAX_MESSAGE_LEN, InterfaceChoice, ListenerBuilder, Payload, Raw,
    RawListener,
};

use crate::failure::Failure;

/// The longest time that an argument may name.
const YEAR: Duration = Duration::from_secs(31_536_000);

/// Where to publish and listen.
#[derive(Args, Clone, Debug)]
pub(crate) struct Network {
    /// Group, port and interface: `ff15::1`, `[ff15::1]:26000`, `[ff15::1%eth0]:26000`
    #[arg(value_name = "CONN")]
    connection: Connection,
    #[command(flatten)]
    pub(crate) link: Link,
}

/// Where to listen, at several places at once.
#[derive(Args, Clone, Debug)]
pub(crate) struct Networks {
    /// Groups, ports and interfaces: `ff15::1`, `[ff15::1]:26000`, `[ff15::1%eth0]:26000`
    #[arg(value_name = "CONN", required = true, num_args = 1..)]
    connections: Vec<Connection>,
    #[command(flatten)]
    pub(crate) link: Link,
}

/// By which interface, how far, and about what.
#[derive(Args, Clone, Debug)]
pub(crate) struct Link {
    /// Interface to use: a name, an index or an address
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceChoice>,
    /// Links that published datagrams may cross; 0 stays on this machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) hops: u8,
    /// Topic to publish to or to listen to (repeatable for listening)
    #[arg(long = "topic", value_name = "T")]
    pub(crate) topics: Vec<String>,
}

impl Link {
    /// The connection, by way of the interface if one was named.
    pub(crate) fn by_interface(&self, connection: &Connection) -> Connection {
        match &self.interface {
            Some(choice) => connection.clone().with_interface(choice.clone()),
            None => connection.clone(),
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

impl Network {
    /// The connection, by way of the interface if one was named.
    pub(crate) fn connection(&self) -> Connection {
        self.link.by_interface(&self.connection)
    }

    /// Another connection by way of the same interface, unless it names its own.
    pub(crate) fn by_interface(&self, connection: Connection) -> Connection {
        let connection = self.link.by_interface(&connection);
        match (connection.interface(), self.connection.interface()) {
            (None, Some(choice)) => connection.with_interface(choice.clone()),
            _ => connection,
        }
    }
}

impl Networks {
    /// The connections, by way of the interface if one was named.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        let by = |connection| self.link.by_interface(connection);
        self.connections.iter().map(by).collect()
    }
}

/// How to receive.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reception {
    /// Receive buffer in bytes to ask the kernel for
    #[arg(long, value_name = "BYTES")]
    rcvbuf: Option<usize>,
    /// Longest message to take
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_MESSAGE_LEN)]
    max_message: usize,
}

impl Reception {
    /// A listener to be opened, for all topics or those that `link` names.
    pub(crate) fn listener(
        &self,
        connection: &Connection,
        link: &Link,
    ) -> ListenerBuilder<Payload, Raw> {
        let builder = RawListener::builder(connection)
            .topics(link.topics.iter().map(String::as_str))
            .max_message_len(self.max_message);
        match self.rcvbuf {
            Some(bytes) => builder.receive_buffer(bytes),
            None => builder,
        }
    }
}

/// When to end without being told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Until {
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    pub(crate) count: Option<u64>,
    /// End after so long
    #[arg(long, value_name = "S", value_parser = duration)]
    seconds: Option<Duration>,
}

impl Until {
    /// When the time is over, if it begins now.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.seconds.map(|time| Instant::now() + time)
    }

    /// The time after which it ends, if there is one.
    pub(crate) fn seconds(&self) -> Option<Duration> {
        self.seconds
    }
}

/// How to print.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print neither notes nor a summary on standard error
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Reads a number of seconds, for `value_parser`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    bounded(number).ok_or_else(|| "from 0 to a year of seconds are possible".into())
}

/// Reads a number of seconds that is not zero, for `value_parser`.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_millis(1) => {
            Err("at least 0.001 seconds are possible".into())
        }
        time => Ok(time),
    }
}

/// Counts that make sense, for `value_parser`.
pub(crate) fn at_least_one() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..)
}

/// A number of seconds as a time.
pub(crate) fn seconds(seconds: f64) -> Result<Duration, Failure> {
    bounded(seconds)
        .ok_or_else(|| Failure::Usage(format!("{seconds} seconds: from 0 to a year are possible")))
}

fn bounded(seconds: f64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    time.filter(|time| *time <= YEAR)
}

/// Seconds from one message to the next; `None` for as fast as it goes.
pub(crate) fn interval(rate: f64) -> Result<Option<f64>, Failure> {
    match rate {
        0.0 => Ok(None),
        rate if rate > 0.0 && rate.is_finite() => Ok(Some(rate.recip())),
        _ => Err(Failure::Usage(format!(
            "--rate {rate}: messages a second, or 0 for as fast as it goes"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_that_make_no_sense_are_refused() {
        assert_eq!(interval(0.0).unwrap(), None);
        assert_eq!(interval(4.0).unwrap(), Some(0.25));
        for rate in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(interval(rate).is_err(), "{rate}");
        }
        for time in [-1.0, f64::NAN, 1e18] {
            assert!(seconds(time).is_err(), "{time}");
            assert!(duration(&time.to_string()).is_err(), "{time}");
        }
        assert_eq!(duration("1.5").unwrap(), Duration::from_millis(1500));
        assert!(duration("soon").is_err());
        assert!(period("0").is_err());
    }

    #[test]
    fn the_option_names_the_interface_before_the_connection_does() {
        let link = |name: Option<&str>| Link {
            interface: name.map(|name| name.parse().unwrap()),
            hops: 1,
            topics: Vec::new(),
        };
        let network = |connection: &str, name| Network {
            connection: Connection::new(connection).unwrap(),
            link: link(name),
        };
        let plain = Connection::new("ff15::2").unwrap();
        let own = Connection::new("ff15::2%eth9").unwrap();
        let shown = |it: Connection| it.to_string();
        let one = network("ff15::1%eth0", None);
        assert_eq!(shown(one.connection()), "[ff15::1%eth0]:26000");
        assert_eq!(
            shown(one.by_interface(plain.clone())),
            "[ff15::2%eth0]:26000"
        );
        assert_eq!(shown(one.by_interface(own.clone())), "[ff15::2%eth9]:26000");
        let two = network("ff15::1%eth0", Some("eth1"));
        assert_eq!(shown(two.connection()), "[ff15::1%eth1]:26000");
        assert_eq!(shown(two.by_interface(own)), "[ff15::2%eth1]:26000");
        let three = network("ff15::1", None);
        assert_eq!(three.by_interface(plain.clone()), plain);
    }
}
