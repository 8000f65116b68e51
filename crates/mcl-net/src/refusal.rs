//! Why a choice of an interface was refused, and what helps.

use std::fmt;

use crate::error::descriptors_remedy;
use crate::{Group, Interface, InterfaceChoice, InterfaceError, Reason};

/// A choice that leads to no interface.
///
/// `Display` has several lines: the refusal, a line for each candidate with why it
/// is usable or not, and the commands that help.
pub struct ChooseError(Box<Refused>);

struct Refused {
    choice: InterfaceChoice,
    group: Group,
    refusal: Refusal,
    candidates: Vec<Interface>,
}

/// Why a choice leads to no interface.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The system did not tell its interfaces or routes.
    Look(InterfaceError),
    /// No interface has this name, index or address.
    NotFound,
    /// The one that it means cannot carry IPv6 multicast.
    Unusable(Reason),
    /// It fits these, and nothing says which is meant.
    Ambiguous(Vec<String>),
    /// The system was to choose, and no interface can carry IPv6 multicast.
    NoneUsable,
}

impl ChooseError {
    pub(crate) fn new(
        choice: InterfaceChoice,
        group: Group,
        refusal: Refusal,
        candidates: Vec<Interface>,
    ) -> Self {
        Self(Box::new(Refused {
            choice,
            group,
            refusal,
            candidates,
        }))
    }

    /// The choice that was refused.
    #[must_use]
    pub const fn choice(&self) -> &InterfaceChoice {
        &self.0.choice
    }

    /// The group for which an interface was sought.
    #[must_use]
    pub const fn group(&self) -> Group {
        self.0.group
    }

    /// Why it was refused.
    #[must_use]
    pub const fn refusal(&self) -> &Refusal {
        &self.0.refusal
    }

    /// All interfaces there are; [`Interface::usability`] tells of each whether it
    /// could be chosen.
    #[must_use]
    pub fn candidates(&self) -> &[Interface] {
        &self.0.candidates
    }

    /// The commands that help, one a line, to be run with privilege.
    #[must_use]
    pub fn remedy(&self) -> Vec<String> {
        match &self.0.refusal {
            Refusal::Unusable(reason) => reason.remedy(),
            Refusal::NoneUsable => make_one(),
            Refusal::Look(_) | Refusal::NotFound | Refusal::Ambiguous(_) => Vec::new(),
        }
    }

    fn advice(&self) -> &'static str {
        match &self.0.refusal {
            Refusal::Look(InterfaceError::Ask { source, .. })
                if descriptors_remedy(source).is_some() =>
            {
                "find out what keeps them open, or raise the limit"
            }
            Refusal::Look(_) => "the system must allow rtnetlink sockets (AF_NETLINK)",
            Refusal::NotFound => "choose one of these by name, index or address",
            Refusal::Ambiguous(_) => "choose one of them by name or index",
            Refusal::Unusable(reason) if reason.remedy().is_empty() => "choose another one",
            Refusal::Unusable(_) => "choose another one, or as root:",
            Refusal::NoneUsable => {
                "mend one of these, or make one for this machine alone, as root \
                 (`type bridge` where the kernel has no dummy device):"
            }
        }
    }
}

/// The commands that make an interface which carries multicast on this machine.
pub(crate) fn make_one() -> Vec<String> {
    vec![
        "ip link add name dummy0 type dummy".to_owned(),
        "ip link set dev dummy0 multicast on up".to_owned(),
        "ip address add fd34::1/64 dev dummy0".to_owned(),
    ]
}

/// As `Display`: it is what a program prints whose `main` returns this error, and
/// whoever reads it there needs the remedy, not the fields.
impl fmt::Debug for ChooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused {
            choice,
            group,
            refusal,
            candidates,
        } = self.0.as_ref();
        write!(
            f,
            "cannot choose interface {choice} for group {group}: {refusal}"
        )?;
        for interface in candidates {
            write!(f, "\n  {interface}: {}", interface.usability())?;
        }
        write!(f, "\n{}", self.advice())?;
        for command in self.remedy() {
            write!(f, "\n  {command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Look(error) => error.fmt(f),
            Self::NotFound => f.write_str("there is none such"),
            Self::Unusable(reason) => {
                write!(f, "it cannot carry IPv6 multicast: {}", reason.kind())
            }
            Self::Ambiguous(names) => write!(f, "it is ambiguous: {} fit", names.join(", ")),
            Self::NoneUsable => f.write_str("no interface can carry IPv6 multicast"),
        }
    }
}

impl std::error::Error for ChooseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.refusal {
            Refusal::Look(error) => Some(error),
            _ => None,
        }
    }
}
