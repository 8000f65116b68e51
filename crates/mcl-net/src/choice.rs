//! Choosing the one interface of a socket.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use thiserror::Error;

use crate::interface::route_to;
use crate::netlink::Changes;
use crate::receiver::poll_timeout;
use crate::refusal::{ChooseError, Refusal};
use crate::{Group, Interface, Usability, interfaces};

/// The longest name that Linux gives an interface or an alternative name, in bytes
/// (`ALTIFNAMSIZ - 1`, linux/if.h).
const MAX_NAME_LEN: usize = 127;

/// How soon after a look the next one is worth it: changes come in bursts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which interface a socket is to use.
///
/// As text: `system`, an index such as `2`, an IPv6 address such as `fd34::1`, or a
/// name such as `eth0`.
///
/// ```
/// use mcl_net::InterfaceChoice;
///
/// let choice: InterfaceChoice = "eth0".parse()?;
/// assert_eq!(choice, InterfaceChoice::Name("eth0".to_owned()));
/// assert_eq!(choice.to_string(), "eth0");
/// # Ok::<(), mcl_net::ParseChoiceError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfaceChoice {
    /// The one over which the system itself would send to the group, if it is
    /// usable; otherwise the only usable one.
    #[default]
    System,
    /// The one with this name or alternative name.
    Name(String),
    /// The one with this index.
    Index(NonZeroU32),
    /// The one that has this address.
    Address(Ipv6Addr),
}

impl fmt::Display for InterfaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for InterfaceChoice {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, ParseChoiceError> {
        if text == "system" {
            return Ok(Self::System);
        }
        if let Ok(index) = text.parse::<u32>() {
            let index = NonZeroU32::new(index).ok_or(ParseChoiceError::IndexZero)?;
            return Ok(Self::Index(index));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // What dev_valid_name of the kernel refuses, `:` and `/` among it.
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > MAX_NAME_LEN || text.contains(odd) {
            return Err(ParseChoiceError::NotAName {
                text: text.to_owned(),
            });
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// Why a text names no interface.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseChoiceError {
    /// Indices begin at 1.
    #[error("interface index 0 names no interface; `ip link show` lists the indices")]
    IndexZero,
    /// Neither an index nor an IPv6 address, and no interface can have this name.
    #[error(
        "{text:?} is no interface name, no index and no IPv6 address; `ip link show` lists the names"
    )]
    NotAName {
        /// The text.
        text: String,
    },
}

/// Finds the interface that `choice` means for `group`.
///
/// One whose address is still tentative is accepted: sending waits for it.
///
/// # Errors
/// [`ChooseError`] with the candidates, and why each is usable or not, when the
/// choice finds none, finds several, or finds one that cannot carry IPv6 multicast.
pub fn choose(choice: &InterfaceChoice, group: &Group) -> Result<Interface, ChooseError> {
    Finder::new(choice.clone(), *group).find()
}

/// Finds the interface that a choice means, and finds it again when it was away.
///
/// Until it has found one, it goes by the choice. From then on it looks for that one:
///
/// | chosen by | found again |
/// |---|---|
/// | name | by this name; renamed while it is there: by its index |
/// | address | wherever the address is |
/// | index | by its index; deleted (an index does not come back): by the name it had |
/// | the system | by its index, else by the name it had: never another network |
#[derive(Clone, Debug)]
pub struct Finder {
    choice: InterfaceChoice,
    group: Group,
    last: Option<(NonZeroU32, String)>,
}

impl Finder {
    /// Has found nothing yet.
    #[must_use]
    pub fn new(choice: InterfaceChoice, group: Group) -> Self {
        Self {
            choice,
            group,
            last: None,
        }
    }

    /// The choice.
    #[must_use]
    pub fn choice(&self) -> &InterfaceChoice {
        &self.choice
    }

    /// Looks, and remembers what it finds.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn find(&mut self) -> Result<Interface, ChooseError> {
        let all = interfaces().map_err(|error| self.refused(Refusal::Look(error), Vec::new()))?;
        match self.select(&all) {
            Ok(interface) => {
                self.last = Some((interface.index(), interface.name().to_owned()));
                Ok(interface.clone())
            }
            Err(refusal) => Err(self.refused(refusal, all)),
        }
    }

    /// Looks until there is one, or until `deadline`; sleeps in between, until
    /// something changes.
    ///
    /// # Errors
    /// As [`choose`], with the state of things at the end.
    pub fn wait(&mut self, deadline: Instant) -> Result<Interface, ChooseError> {
        // Before the first look, so that no change is missed.
        let mut changes = Changes::subscribe().ok();
        loop {
            let refused = match self.find() {
                Err(refused) if Instant::now() < deadline => refused,
                done => return done,
            };
            if !matches!(refused.refusal(), Refusal::Look(_))
                && let Some(changes) = &mut changes
            {
                await_change(changes, deadline);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            thread::sleep(LOOK_EVERY.min(left));
        }
    }

    fn refused(&self, refusal: Refusal, candidates: Vec<Interface>) -> ChooseError {
        ChooseError::new(self.choice.clone(), self.group, refusal, candidates)
    }

    fn select<'a>(&self, all: &'a [Interface]) -> Result<&'a Interface, Refusal> {
        let Some((index, name)) = &self.last else {
            return select(&self.choice, &self.group, all);
        };
        let same = |interface: &Interface| interface.index() == *index;
        let named = |name: &str| the_one(all, |interface| interface.answers_to(name));
        match &self.choice {
            InterfaceChoice::Name(name) if !any(all, |it| it.answers_to(name)) => {
                the_one(all, same)
            }
            InterfaceChoice::Name(name) => named(name),
            InterfaceChoice::Address(address) if any(all, |it| same(it) && it.has(*address)) => {
                the_one(all, same)
            }
            InterfaceChoice::Address(_) => select(&self.choice, &self.group, all),
            InterfaceChoice::System | InterfaceChoice::Index(_) if any(all, same) => {
                the_one(all, same)
            }
            InterfaceChoice::System | InterfaceChoice::Index(_) => named(name),
        }
    }
}

fn any(all: &[Interface], fits: impl Fn(&Interface) -> bool) -> bool {
    all.iter().any(fits)
}

fn await_change(changes: &mut Changes, deadline: Instant) {
    let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
    let left = deadline.saturating_duration_since(Instant::now());
    // Whatever it says, the next thing is to look.
    let _ = poll(&mut fds, poll_timeout(left));
    changes.hear(None, true);
}

fn select<'a>(
    choice: &InterfaceChoice,
    group: &Group,
    all: &'a [Interface],
) -> Result<&'a Interface, Refusal> {
    match choice {
        InterfaceChoice::System => system_choice(all, group),
        InterfaceChoice::Name(name) => the_one(all, |interface| interface.answers_to(name)),
        InterfaceChoice::Index(index) => the_one(all, |interface| interface.index() == *index),
        InterfaceChoice::Address(address) => the_one(all, |interface| interface.has(*address)),
    }
}

/// The only interface that `fits`, if it is usable.
fn the_one(all: &[Interface], fits: impl Fn(&Interface) -> bool) -> Result<&Interface, Refusal> {
    let fitting: Vec<&Interface> = all.iter().filter(|interface| fits(interface)).collect();
    match fitting.as_slice() {
        [] => Err(Refusal::NotFound),
        [interface] => match interface.usability() {
            Usability::Usable | Usability::NotYet(_) => Ok(interface),
            Usability::Unusable(reason) => Err(Refusal::Unusable(reason)),
        },
        several => Err(Refusal::Ambiguous(names(several))),
    }
}

fn system_choice<'a>(all: &'a [Interface], group: &Group) -> Result<&'a Interface, Refusal> {
    let routed = route_to(group.address()).map_err(Refusal::Look)?;
    let routed = all
        .iter()
        .find(|interface| Some(interface.index()) == routed);
    if let Some(interface) = routed
        && !matches!(interface.usability(), Usability::Unusable(_))
    {
        return Ok(interface);
    }
    let usable = |interface: &&Interface| interface.usability() == Usability::Usable;
    let soon = |interface: &&Interface| matches!(interface.usability(), Usability::NotYet(_));
    let mut found: Vec<&Interface> = all.iter().filter(usable).collect();
    if found.is_empty() {
        found = all.iter().filter(soon).collect();
    }
    match found.as_slice() {
        [] => Err(Refusal::NoneUsable),
        [interface] => Ok(interface),
        several => Err(Refusal::Ambiguous(names(several))),
    }
}

fn names(interfaces: &[&Interface]) -> Vec<String> {
    let name = |interface: &&Interface| interface.name().to_owned();
    interfaces.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, ReasonKind};
    use mcl_testbed::{Dad, Namespace};

    fn group() -> Group {
        Group::new("ff15::1".parse().unwrap(), 26000).unwrap()
    }

    fn choose_in(namespace: &Namespace, choice: &str) -> Result<Interface, ChooseError> {
        let choice: InterfaceChoice = choice.parse().unwrap();
        namespace.run(|| choose(&choice, &group()))
    }

    #[test]
    fn choices_are_read_and_written_as_text() {
        let address = InterfaceChoice::Address("fd34::1".parse().unwrap());
        let index = InterfaceChoice::Index(NonZeroU32::new(2).unwrap());
        let cases = [
            ("system", InterfaceChoice::System),
            ("2", index),
            ("fd34::1", address),
            ("eth0.7", InterfaceChoice::Name("eth0.7".to_owned())),
        ];
        for (text, choice) in cases {
            assert_eq!(text.parse(), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!(
            "0".parse::<InterfaceChoice>(),
            Err(ParseChoiceError::IndexZero)
        );
        for text in ["", "a b", "fe80::1%eth0", "a/b", &"x".repeat(128)] {
            assert!(text.parse::<InterfaceChoice>().is_err(), "{text:?}");
        }
    }

    /// Recreates `br0`, which gets another index, beside `br1`.
    fn recreate(namespace: &Namespace) {
        namespace.ip(&["link", "del", "br0"]).unwrap();
        namespace.bridge("br0").unwrap();
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn what_was_found_is_found_again_and_nothing_else_is() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        let index = namespace.index("br0").unwrap().to_string();
        for choice in ["system", "br0", &index] {
            let found = choose_in(&namespace, choice).unwrap().index();
            let mut finder = Finder::new(choice.parse().unwrap(), group());
            namespace.run(|| assert_eq!(finder.find().unwrap().index(), found));
            namespace.ip(&["link", "del", "br0"]).unwrap();
            // Not even where the system would choose it.
            namespace.bridge("br1").unwrap();
            let error = namespace.run(|| finder.find()).unwrap_err();
            assert!(matches!(error.refusal(), Refusal::NotFound), "{error}");
            namespace.bridge("br0").unwrap();
            let again = namespace.run(|| finder.find()).unwrap();
            assert_eq!(again.name(), "br0");
            assert_ne!(again.index(), found);
            namespace.ip(&["link", "del", "br1"]).unwrap();
            let last = namespace.index("br0").unwrap().to_string();
            let add = ["link", "add", "br0", "index", &index, "type", "bridge"];
            namespace.ip(&["link", "del", "br0"]).unwrap();
            assert_ne!(last, index);
            namespace.ip(&add).unwrap();
            namespace.ip(&["link", "set", "br0", "up"]).unwrap();
            namespace.wait_until_ready("br0").unwrap();
        }
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn an_address_is_followed_and_a_renamed_interface_kept() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        namespace.bridge("br1").unwrap();
        let address = |verb: &str, name: &str| {
            let words = ["address", verb, "fd34::7/64", "dev", name];
            namespace.ip(&words).unwrap();
        };
        address("add", "br0");
        let mut by_address = Finder::new("fd34::7".parse().unwrap(), group());
        let mut by_name = Finder::new("br0".parse().unwrap(), group());
        let find = |finder: &mut Finder| namespace.run(|| finder.find());
        assert_eq!(find(&mut by_address).unwrap().name(), "br0");
        let index = find(&mut by_name).unwrap().index();
        // On both for a moment: it stays.
        address("add", "br1");
        assert_eq!(find(&mut by_address).unwrap().name(), "br0");
        address("del", "br0");
        assert_eq!(find(&mut by_address).unwrap().name(), "br1");
        address("del", "br1");
        assert!(find(&mut by_address).is_err());

        namespace
            .ip(&["link", "set", "br0", "name", "br9"])
            .unwrap();
        let renamed = find(&mut by_name).unwrap();
        assert_eq!((renamed.name(), renamed.index()), ("br9", index));
        namespace.bridge("br0").unwrap();
        assert_eq!(find(&mut by_name).unwrap().name(), "br0");
        recreate(&namespace);
        assert_eq!(find(&mut by_name).unwrap().name(), "br0");
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn an_interface_is_waited_for_and_no_longer_than_asked() {
        let namespace = Namespace::new().unwrap();
        let wait = |millis| {
            let mut finder = Finder::new("br0".parse().unwrap(), group());
            namespace.run(|| finder.wait(Instant::now() + Duration::from_millis(millis)))
        };
        let before = Instant::now();
        let error = wait(200).unwrap_err();
        assert!(matches!(error.refusal(), Refusal::NotFound), "{error}");
        assert!((200..2000).contains(&before.elapsed().as_millis()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(20_000));
            thread::sleep(Duration::from_millis(100));
            namespace.bridge("br0").unwrap();
            assert_eq!(waiting.join().unwrap().unwrap().name(), "br0");
        });
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn nothing_but_lo_is_refused_with_the_commands_that_make_an_interface() {
        let namespace = Namespace::new().unwrap();
        let error = choose_in(&namespace, "system").unwrap_err();
        assert!(matches!(error.refusal(), Refusal::NoneUsable));
        assert_eq!(error.candidates().len(), 1);
        let text = error.to_string();
        assert_eq!(format!("{error:?}"), text);
        assert!(
            text.starts_with(
                "cannot choose interface system for group [ff15::1]:26000: no interface can"
            ),
            "{text}"
        );
        assert!(
            text.contains("\n  lo (index 1): not usable: the loopback interface"),
            "{text}"
        );
        assert!(
            text.ends_with("\n  ip address add fd34::1/64 dev dummy0"),
            "{text}"
        );
        // The proof of the remedy, but for the kind of device.
        for command in error.remedy() {
            let command = command.replace("type dummy", "type bridge");
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            namespace.ip(&words).unwrap();
        }
        assert_eq!(choose_in(&namespace, "system").unwrap().name(), "dummy0");
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn name_index_and_address_find_the_same_interface() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        namespace.bridge("br1").unwrap();
        let add = ["address", "add", "fd34::7/64", "dev", "br1", "nodad"];
        namespace.ip(&add).unwrap();
        let alternative = ["link", "property", "add", "dev", "br1", "altname", "other"];
        namespace.ip(&alternative).unwrap();
        let by_name = choose_in(&namespace, "br1").unwrap();
        let index = namespace.index("br1").unwrap();
        assert_eq!(by_name.index().get(), index);
        assert_eq!(choose_in(&namespace, &index.to_string()).unwrap(), by_name);
        assert_eq!(choose_in(&namespace, "fd34::7").unwrap(), by_name);
        assert_eq!(choose_in(&namespace, "other").unwrap(), by_name);
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_system_chooses_by_its_route() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        namespace.bridge("br1").unwrap();
        for name in ["br1", "br0"] {
            let route = [
                "-6",
                "route",
                "replace",
                "multicast",
                "ff15::/16",
                "dev",
                name,
                "table",
                "local",
                "metric",
                "1",
            ];
            namespace.ip(&route).unwrap();
            assert_eq!(choose_in(&namespace, "system").unwrap().name(), name);
        }
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_route_to_an_unusable_interface_leaves_the_only_usable_one_or_none() {
        let namespace = Namespace::new().unwrap();
        let route = [
            "-6",
            "route",
            "add",
            "multicast",
            "ff00::/8",
            "dev",
            "lo",
            "table",
            "local",
            "metric",
            "1",
        ];
        namespace.ip(&route).unwrap();
        namespace.bridge("br0").unwrap();
        assert_eq!(choose_in(&namespace, "system").unwrap().name(), "br0");
        namespace.bridge("br1").unwrap();
        let error = choose_in(&namespace, "system").unwrap_err();
        assert!(matches!(error.refusal(), Refusal::Ambiguous(names) if names == &["br0", "br1"]));
        assert!(
            error
                .to_string()
                .contains("choose one of them by name or index")
        );
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn an_address_on_two_interfaces_is_ambiguous_and_an_unknown_name_is_not_found() {
        let namespace = Namespace::new().unwrap();
        for name in ["br0", "br1"] {
            namespace.bridge(name).unwrap();
            let add = ["address", "add", "fd34::7/64", "dev", name, "nodad"];
            namespace.ip(&add).unwrap();
        }
        let error = choose_in(&namespace, "fd34::7").unwrap_err();
        assert!(matches!(error.refusal(), Refusal::Ambiguous(names) if names.len() == 2));
        for unknown in ["eth9", "99", "fd34::9"] {
            let error = choose_in(&namespace, unknown).unwrap_err();
            assert!(matches!(error.refusal(), Refusal::NotFound));
            assert!(
                error.to_string().contains("\n  br0 (index 2): usable"),
                "{error}"
            );
        }
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn unusable_interfaces_are_refused_and_their_remedies_mend_them() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        let after = |command: &str, expected: fn(ReasonKind) -> bool| {
            let words: Vec<&str> = command.split(' ').collect();
            namespace.ip(&words).unwrap();
            refused_then_mended(&namespace, expected);
        };
        after("link set br0 down", |it| it == ReasonKind::Down);
        after("link set br0 multicast off", |it| {
            it == ReasonKind::NoMulticast
        });
        after("link set br0 mtu 1000", |it| {
            it == ReasonKind::MtuTooSmall { mtu: 1000 }
        });
        after("-6 address flush dev br0", |it| {
            matches!(it, ReasonKind::NoIpv6Address { .. })
        });
        namespace
            .set_sysctl("net/ipv6/conf/br0/disable_ipv6", "1")
            .unwrap();
        refused_then_mended(&namespace, |it| it == ReasonKind::Ipv6Disabled);
    }

    fn refused_then_mended(namespace: &Namespace, expected: impl Fn(ReasonKind) -> bool) {
        let error = choose_in(namespace, "br0").unwrap_err();
        let Refusal::Unusable(reason) = error.refusal() else {
            panic!("{error}");
        };
        assert!(expected(reason.kind()), "{error}");
        for command in error.remedy() {
            let words: Vec<&str> = command.split(' ').collect();
            namespace.command(words[0], &words[1..]).unwrap();
        }
        choose_in(namespace, "br0").unwrap();
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_tentative_address_is_accepted_and_an_interface_without_carrier_only_with_an_address() {
        let (namespace, peer) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        namespace.bridge_with(Dad::On, "br0").unwrap();
        let interface = choose_in(&namespace, "system").unwrap();
        assert!(matches!(interface.usability(), Usability::NotYet(_)));
        namespace.veth_down("v0", &peer, "v0").unwrap();
        namespace.ip(&["link", "set", "v0", "up"]).unwrap();
        let error = choose_in(&namespace, "v0").unwrap_err();
        let no_carrier = |reason: &Reason| matches!(reason.kind(), ReasonKind::NoCarrier { .. });
        assert!(
            matches!(error.refusal(), Refusal::Unusable(reason) if no_carrier(reason)),
            "{error}"
        );
        for command in error.remedy() {
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            namespace.ip(&words).unwrap();
        }
        choose_in(&namespace, "v0").unwrap();
    }
}
