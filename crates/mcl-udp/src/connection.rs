//! Where to publish and listen: a multicast group, a port, maybe an interface.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::str::FromStr;
use std::sync::Arc;

use mcl_net::{Group, GroupError, InterfaceChoice, ParseChoiceError};
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The port of a connection that names none.
pub const DEFAULT_PORT: u16 = 26000;

/// The group of [`Connection::from_env`] where the environment names none. It is
/// site-local, and its other digits are random so that nobody else has it.
pub const DEFAULT_ADDRESS: Ipv6Addr =
    Ipv6Addr::new(0xff15, 0, 0, 0, 0xc73d, 0xcf41, 0xea8e, 0xb0a0);

/// The environment variable that [`Connection::from_env`] reads: any text that
/// [`Connection::new`] takes. Empty is as good as unset.
pub const CONNECTION_VARIABLE: &str = "MCL_CONNECTION";

/// The environment variable that names the interface of every connection that names
/// none itself: a name, an index, an address or `system`, as [`InterfaceChoice`]
/// reads it. Empty is as good as unset.
pub const INTERFACE_VARIABLE: &str = "MCL_INTERFACE";

/// Ports below need a privilege.
const FIRST_PORT: u16 = 1024;

/// Where broadcasters and listeners meet: an IPv6 multicast group and a UDP port,
/// and the interface over which to reach it, if it matters.
///
/// As text it is an address, with or without a port and an interface:
///
/// ```
/// use mcl_udp::Connection;
///
/// for text in ["ff15::1", "[ff15::1]:26000", "ff15::1%eth0", "[ff15::1%2]:26001"] {
///     let connection = Connection::new(text)?;
///     assert_eq!(connection.to_string().parse(), Ok(connection));
/// }
/// assert_eq!(Connection::new("ff15::1")?.to_string(), "[ff15::1]:26000");
/// # Ok::<(), mcl_udp::ConnectionError>(())
/// ```
///
/// In a configuration file it is a map: `url`, which is any of these texts, and the
/// optional `port` and `interface`. Other keys are ignored.
///
/// ```
/// # use mcl_udp::Connection;
/// let connection: Connection = toml::from_str(r#"
///     url = "ff15::1"
///     interface = "eth0"
/// "#)?;
/// assert_eq!(connection.to_string(), "[ff15::1%eth0]:26000");
/// # Ok::<(), toml::de::Error>(())
/// ```
///
/// A clone shares the original.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Inner {
    group: Group,
    interface: Option<InterfaceChoice>,
}

impl Connection {
    /// Reads a connection from text: `ff15::1`, `[ff15::1]:26000`, `ff15::1%eth0` or
    /// `[ff15::1%eth0]:26000`. The port defaults to [`DEFAULT_PORT`]. What follows
    /// the `%` is the name, index or address of an interface.
    ///
    /// # Errors
    /// [`ConnectionError`] says what in the text is wrong.
    pub fn new(address: &str) -> Result<Self, ConnectionError> {
        Parts::read(address)?.into_connection()
    }

    /// What the environment variable `MCL_CONNECTION` ([`CONNECTION_VARIABLE`]) says,
    /// or else the group `ff15::c73d:cf41:ea8e:b0a0` ([`DEFAULT_ADDRESS`]) and port
    /// 26000.
    ///
    /// # Errors
    /// [`ConnectionError::Environment`] if the variable is set to what
    /// [`new`](Self::new) does not take.
    pub fn from_env() -> Result<Self, ConnectionError> {
        Self::from_value(env::var_os(CONNECTION_VARIABLE))
    }

    fn from_value(value: Option<OsString>) -> Result<Self, ConnectionError> {
        let Some(text) = non_empty(value) else {
            let (address, port, interface) = (DEFAULT_ADDRESS, None, None);
            return Parts {
                address,
                port,
                interface,
            }
            .into_connection();
        };
        Self::new(&text).map_err(|error| ConnectionError::Environment {
            variable: CONNECTION_VARIABLE,
            source: Box::new(error),
        })
    }

    /// The same with another port.
    ///
    /// # Errors
    /// [`ConnectionError::PortOutOfRange`] for a port below 1024.
    pub fn with_port(mut self, port: u16) -> Result<Self, ConnectionError> {
        let group = make_group(self.address(), port.into())?;
        Arc::make_mut(&mut self.inner).group = group;
        Ok(self)
    }

    /// The same by way of this interface.
    #[must_use]
    pub fn with_interface(mut self, interface: InterfaceChoice) -> Self {
        Arc::make_mut(&mut self.inner).interface = Some(interface);
        self
    }

    /// The multicast address.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        self.group().address()
    }

    /// The UDP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.group().port()
    }

    /// The interface, if the connection names one.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceChoice> {
        self.inner.interface.as_ref()
    }

    /// The address and the port.
    #[must_use]
    pub fn group(&self) -> Group {
        self.inner.group
    }
}

/// The interface for connections that name none.
///
/// What reads as no interface is taken for a name: opening then fails and says that
/// there is none such, where to pass over it in silence would use another one.
pub(crate) fn interface_from_env() -> Option<InterfaceChoice> {
    choice_from_value(env::var_os(INTERFACE_VARIABLE))
}

fn choice_from_value(value: Option<OsString>) -> Option<InterfaceChoice> {
    let text = non_empty(value)?;
    Some(text.parse().unwrap_or(InterfaceChoice::Name(text)))
}

fn non_empty(value: Option<OsString>) -> Option<String> {
    let text = value?.to_string_lossy().into_owned();
    (!text.is_empty()).then_some(text)
}

impl FromStr for Connection {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, ConnectionError> {
        Self::new(text)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.interface() {
            None => write!(f, "[{}]:{}", self.address(), self.port()),
            Some(interface) => write!(f, "[{}%{interface}]:{}", self.address(), self.port()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({self})")
    }
}

/// What a text says, before the defaults.
struct Parts {
    address: Ipv6Addr,
    port: Option<i64>,
    interface: Option<InterfaceChoice>,
}

impl Parts {
    fn read(text: &str) -> Result<Self, ConnectionError> {
        let (host, port) = split_port(text).ok_or_else(|| no_address(text))?;
        let (address, zone) = match host.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (host, None),
        };
        Ok(Self {
            address: address.parse().map_err(|_| no_address(text))?,
            port: port.map(read_port).transpose()?,
            interface: zone.map(read_interface).transpose()?,
        })
    }

    fn into_connection(self) -> Result<Connection, ConnectionError> {
        let port = self.port.unwrap_or(DEFAULT_PORT.into());
        let inner = Inner {
            group: make_group(self.address, port)?,
            interface: self.interface,
        };
        Ok(Connection {
            inner: Arc::new(inner),
        })
    }
}

/// Takes the brackets off and the port apart; `None` if they are not in order.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let Some(rest) = text.strip_prefix('[') else {
        return Some((text, None));
    };
    // The last one: the name of an interface may contain a bracket.
    match rest.rsplit_once(']')? {
        (host, "") => Some((host, None)),
        (host, port) => Some((host, Some(port.strip_prefix(':')?))),
    }
}

fn no_address(text: &str) -> ConnectionError {
    let without_port = text.parse().map(|v4: SocketAddrV4| *v4.ip());
    match without_port.or_else(|_| text.parse()) {
        Ok(address) => ConnectionError::Ipv4 { address },
        Err(_) => ConnectionError::NotAnAddress {
            text: text.to_owned(),
        },
    }
}

fn read_port(text: &str) -> Result<i64, ConnectionError> {
    let port = text.parse().ok().filter(|_| !text.starts_with('+'));
    port.ok_or_else(|| ConnectionError::PortNotANumber {
        text: text.to_owned(),
    })
}

fn read_interface(text: &str) -> Result<InterfaceChoice, ConnectionError> {
    if text.is_empty() {
        return Err(ConnectionError::EmptyInterface);
    }
    Ok(text.parse()?)
}

fn make_group(address: Ipv6Addr, port: i64) -> Result<Group, ConnectionError> {
    let valid = u16::try_from(port)
        .ok()
        .filter(|port| *port >= FIRST_PORT)
        .ok_or(ConnectionError::PortOutOfRange { port })?;
    Group::new(address, valid).map_err(|error| match error {
        GroupError::NotMulticast { address } => ConnectionError::NotMulticast { address },
        GroupError::ReservedScope { address } => ConnectionError::ReservedScope { address },
        other => ConnectionError::Group(other),
    })
}

/// Why there is no such connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// There is no IPv6 address where one should be.
    #[error(
        "{text:?} is not an IPv6 address; write it like ff15::1, [ff15::1]:26000 or [ff15::1%eth0]:26000"
    )]
    NotAnAddress {
        /// The whole text.
        text: String,
    },
    /// The address is an IPv4 one.
    #[error("{address} is an IPv4 address; MCL speaks IPv6 only: choose a group such as ff15::1")]
    Ipv4 {
        /// The address given.
        address: Ipv4Addr,
    },
    /// The address is not in `ff00::/8`.
    #[error(
        "{address} is not a multicast address; these begin with ff: choose one such as ff15::1"
    )]
    NotMulticast {
        /// The address given.
        address: Ipv6Addr,
    },
    /// The fourth digit of the address is 0 or f (RFC 4291, section 2.7).
    #[error(
        "{address} has a reserved scope (its fourth digit); choose one such as ff15::1 (site), ff12::1 (link) or ff11::1 (this machine)"
    )]
    ReservedScope {
        /// The address given.
        address: Ipv6Addr,
    },
    /// The group is refused for another reason.
    #[error(transparent)]
    Group(GroupError),
    /// What follows the address is no number.
    #[error("{text:?} is not a port number; write it like [ff15::1]:26000")]
    PortNotANumber {
        /// What stands for the port.
        text: String,
    },
    /// The port is not one of 1024 to 65535.
    #[error("port {port} is out of range; choose one from 1024 to 65535 (26000 is the default)")]
    PortOutOfRange {
        /// The port given.
        port: i64,
    },
    /// The interface is named by nothing.
    #[error(
        "the interface is empty; write it like ff15::1%eth0 (`ip link show` lists them), or leave it out"
    )]
    EmptyInterface,
    /// The interface can be none.
    #[error(transparent)]
    Interface(#[from] ParseChoiceError),
    /// An environment variable holds what is no connection.
    #[error("{variable} in the environment: {source}")]
    Environment {
        /// The name of the variable.
        variable: &'static str,
        /// What is wrong with it.
        source: Box<ConnectionError>,
    },
}

/// A connection as a map. Formats without names for their fields (bincode) find
/// every field, in this order.
#[derive(Deserialize)]
#[serde(rename = "Connection")]
struct Map {
    url: String,
    #[serde(default)]
    port: Option<i64>,
    #[serde(default)]
    interface: Option<String>,
}

impl Serialize for Connection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let interface = self.interface().map(ToString::to_string);
        // Only a format with names can tell that a field is missing.
        let with_interface = interface.is_some() || !serializer.is_human_readable();
        let mut map = serializer.serialize_struct("Connection", 2 + usize::from(with_interface))?;
        map.serialize_field("url", &self.address().to_string())?;
        map.serialize_field("port", &Some(i64::from(self.port())))?;
        if with_interface {
            map.serialize_field("interface", &interface)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        let mut parts = Parts::read(&map.url).map_err(D::Error::custom)?;
        let interface = map.interface.as_deref().map(read_interface).transpose();
        let interface = interface.map_err(D::Error::custom)?;
        parts.port = once("port", parts.port, map.port)?;
        parts.interface = once("interface", parts.interface, interface)?;
        parts.into_connection().map_err(D::Error::custom)
    }
}

/// The value that the url or the key gives, if they do not contradict each other.
fn once<T, E>(key: &str, in_url: Option<T>, in_key: Option<T>) -> Result<Option<T>, E>
where
    T: PartialEq + fmt::Display,
    E: serde::de::Error,
{
    match (in_url, in_key) {
        (Some(url), Some(key_says)) if url != key_says => Err(E::custom(format_args!(
            "the url says {key} {url}, the key `{key}` says {key_says}; give it once"
        ))),
        (in_url, in_key) => Ok(in_key.or(in_url)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU32;

    use super::*;

    fn connection(text: &str) -> Connection {
        Connection::new(text).unwrap()
    }

    fn name(name: &str) -> InterfaceChoice {
        InterfaceChoice::Name(name.to_owned())
    }

    #[test]
    fn every_form_is_read_and_written_in_full() {
        let cases = [
            ("ff15::1", "[ff15::1]:26000"),
            ("[ff15::1]", "[ff15::1]:26000"),
            ("[ff15::1]:1024", "[ff15::1]:1024"),
            ("[ff15::1]:65535", "[ff15::1]:65535"),
            ("ff15::1%eth0", "[ff15::1%eth0]:26000"),
            ("[ff15::1%eth0.7]:26001", "[ff15::1%eth0.7]:26001"),
            ("FF15:0:0::1%3", "[ff15::1%3]:26000"),
            ("ff15::1%fd34::1", "[ff15::1%fd34::1]:26000"),
            ("ff15::1%system", "[ff15::1%system]:26000"),
            ("[ff15::1%odd]%]:26001", "[ff15::1%odd]%]:26001"),
        ];
        for (text, full) in cases {
            let read = connection(text);
            assert_eq!(read.to_string(), full, "{text}");
            assert_eq!(full.parse(), Ok(read), "{text}");
        }
    }

    #[test]
    fn the_parts_are_told_apart() {
        let read = connection("[ff12::2%7]:26001");
        assert_eq!(read.address(), "ff12::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(read.port(), 26001);
        let index = InterfaceChoice::Index(NonZeroU32::new(7).unwrap());
        assert_eq!(read.interface(), Some(&index));
        assert_eq!(read.group(), Group::new(read.address(), 26001).unwrap());
        assert_eq!(connection("ff12::2%v0").interface(), Some(&name("v0")));
        assert_eq!(connection("ff12::2").interface(), None);
        assert_eq!(format!("{read:?}"), "Connection([ff12::2%7]:26001)");
    }

    #[test]
    fn what_is_no_connection_says_why() {
        use ConnectionError as E;
        let not_an_address = [
            "",
            "hello",
            "ff15::1:26000",
            "[ff15::1",
            "[ff15::1]26000",
            "[ff15::1]:26000]",
            "[]:26000",
            "%eth0",
            "ff15::1 ",
            "[224.0.0.1]:26000",
            "localhost:26000",
        ];
        for text in not_an_address {
            let error = E::NotAnAddress {
                text: text.to_owned(),
            };
            assert_eq!(Connection::new(text), Err(error));
        }
        for text in ["224.0.0.1", "224.0.0.1:26000"] {
            let address = Ipv4Addr::new(224, 0, 0, 1);
            assert_eq!(Connection::new(text), Err(E::Ipv4 { address }));
        }
        let address = "fd34::1".parse().unwrap();
        assert_eq!(Connection::new("fd34::1"), Err(E::NotMulticast { address }));
        let address = "ff1f::1".parse().unwrap();
        assert_eq!(
            Connection::new("ff1f::1"),
            Err(E::ReservedScope { address })
        );
        for text in ["", "http", "0x10", "99999999999999999999"] {
            let error = E::PortNotANumber {
                text: text.to_owned(),
            };
            assert_eq!(Connection::new(&format!("[ff15::1]:{text}")), Err(error));
        }
        for port in [-1, 0, 1023, 65536, 70000] {
            let text = format!("[ff15::1]:{port}");
            assert_eq!(Connection::new(&text), Err(E::PortOutOfRange { port }));
        }
        assert_eq!(Connection::new("ff15::1%"), Err(E::EmptyInterface));
        let zero = E::Interface(ParseChoiceError::IndexZero);
        assert_eq!(Connection::new("ff15::1%0"), Err(zero));
        assert!(matches!(
            Connection::new("ff15::1%a b"),
            Err(E::Interface(_))
        ));
    }

    #[test]
    fn errors_begin_in_lower_case_and_give_an_example() {
        let texts = [
            "hello",
            "10.0.0.1",
            "fd34::1",
            "ff10::1",
            "[ff15::1]:x",
            "[ff15::1]:80",
            "ff15::1%",
        ];
        for text in texts {
            let message = Connection::new(text).unwrap_err().to_string();
            assert!(!message.starts_with(char::is_uppercase), "{message}");
            assert!(
                message.contains("ff15::1") || message.contains("26000"),
                "{message}"
            );
        }
    }

    #[test]
    fn with_port_and_with_interface_leave_the_clone_alone() {
        let first = connection("ff15::1");
        let clone = first.clone();
        let changed = clone.with_port(30000).unwrap().with_interface(name("v0"));
        assert_eq!(changed, connection("[ff15::1%v0]:30000"));
        assert_eq!(first, connection("ff15::1"));
        let error = first.with_port(1023);
        assert_eq!(error, Err(ConnectionError::PortOutOfRange { port: 1023 }));
    }

    #[test]
    fn equality_and_hash_go_by_content() {
        let set = HashSet::from([connection("ff15::1")]);
        assert!(set.contains(&connection("[ff15::1]:26000")));
        assert!(!set.contains(&connection("ff15::1%eth0")));
        assert!(!set.contains(&connection("[ff15::1]:26001")));
    }

    #[test]
    fn the_environment_overrides_the_default() {
        let read = |value: &str| Connection::from_value(Some(value.into()));
        let default = connection("ff15::c73d:cf41:ea8e:b0a0");
        assert_eq!(Connection::from_value(None), Ok(default.clone()));
        assert_eq!(read(""), Ok(default));
        assert_eq!(read("ff12::7%v0"), Ok(connection("ff12::7%v0")));
        let error = read("fd34::1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "MCL_CONNECTION in the environment: fd34::1 is not a multicast address; \
             these begin with ff: choose one such as ff15::1"
        );
    }

    #[test]
    fn an_interface_in_the_environment_is_never_passed_over() {
        let read = |value: &str| choice_from_value(Some(value.into()));
        assert_eq!(choice_from_value(None), None);
        assert_eq!(read(""), None);
        assert_eq!(read("v0"), Some(name("v0")));
        assert_eq!(read("system"), Some(InterfaceChoice::System));
        assert_eq!(read("0"), Some(name("0")));
        assert_eq!(read("no such"), Some(name("no such")));
    }

    #[test]
    fn json_and_toml_round_trip() {
        for text in [
            "ff15::1",
            "[ff15::1%eth0]:26001",
            "ff15::1%2",
            "ff15::1%fd34::1",
        ] {
            let first = connection(text);
            let json = serde_json::to_string(&first).unwrap();
            assert_eq!(serde_json::from_str::<Connection>(&json).unwrap(), first);
            let toml = toml::to_string(&first).unwrap();
            assert_eq!(toml::from_str::<Connection>(&toml).unwrap(), first);
        }
        let plain = serde_json::to_string(&connection("ff15::1")).unwrap();
        assert_eq!(plain, r#"{"url":"ff15::1","port":26000}"#);
        let full = toml::to_string(&connection("ff15::1%eth0")).unwrap();
        assert_eq!(
            full,
            "url = \"ff15::1\"\nport = 26000\ninterface = \"eth0\"\n"
        );
    }

    #[test]
    fn maps_default_what_is_missing_and_ignore_what_is_unknown() {
        let cases = [
            (r#"{"url": "ff15::1"}"#, "ff15::1"),
            (r#"{"url": "ff15::1", "port": null}"#, "ff15::1"),
            (r#"{"url": "ff15::1", "port": 26001}"#, "[ff15::1]:26001"),
            (r#"{"url": "ff15::1", "topics": ["a"], "x": {}}"#, "ff15::1"),
            (r#"{"interface": "v0", "url": "ff15::1"}"#, "ff15::1%v0"),
            (r#"{"url": "[ff15::1%v0]:26001"}"#, "[ff15::1%v0]:26001"),
            (
                r#"{"url": "[ff15::1]:26001", "port": 26001}"#,
                "[ff15::1]:26001",
            ),
        ];
        for (json, text) in cases {
            let read: Connection = serde_json::from_str(json).unwrap();
            assert_eq!(read, connection(text), "{json}");
        }
    }

    #[test]
    fn maps_that_are_no_connection_say_why() {
        let cases = [
            (r"{}", "missing field `url`"),
            (
                r#"{"url": 3}"#,
                "invalid type: integer `3`, expected a string",
            ),
            (r#"{"url": "x"}"#, r#""x" is not an IPv6 address"#),
            (
                r#"{"url": "ff15::1", "port": 80}"#,
                "port 80 is out of range",
            ),
            (
                r#"{"url": "ff15::1", "port": -1}"#,
                "port -1 is out of range",
            ),
            (
                r#"{"url": "ff15::1", "interface": ""}"#,
                "the interface is empty",
            ),
            (
                r#"{"url": "[ff15::1]:26001", "port": 26002}"#,
                "the url says port 26001, the key `port` says 26002",
            ),
            (
                r#"{"url": "ff15::1%v0", "interface": "v1"}"#,
                "the url says interface v0, the key `interface` says v1",
            ),
        ];
        for (json, expected) in cases {
            let message = serde_json::from_str::<Connection>(json)
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(expected), "{json}: {message}");
        }
    }
}
