//! The way of a datagram: scope, route, and the proof.

use std::time::Duration;

use mcl_net::{
    ChooseError, Group, Interface, InterfaceChoice, Refusal, Scope, SelfTestError, choose,
    self_test, self_test_to, train_test,
};

use super::{Check, Id, Target, Verdict};
use crate::usual_group;

/// The port that connections use.
pub(super) fn port(target: Option<&Target>) -> u16 {
    target.map_or(usual_group(), |target| target.group).port()
}

/// How far the group of a connection reaches.
pub(super) fn scope(target: &Target) -> Check {
    let Target { group, hops, .. } = *target;
    let check = |verdict, what: &str| {
        let scope = group.scope();
        Check::new(Id::Scope, verdict, format!("{group} is {scope}: {what}"))
    };
    if is_assigned(group) {
        return check(
            Verdict::Warned,
            "but among the addresses that IANA assigns (RFC 4291, section 2.7: flag T is 0), \
             and may be somebody else's; use one that begins with ff15 or ff12",
        );
    }
    match group.scope() {
        Scope::InterfaceLocal => check(
            Verdict::Warned,
            "only listeners on this machine get it; use ff12:: for the link, ff15:: for the site",
        ),
        _ if hops == 0 => check(
            Verdict::Warned,
            "but with hop limit 0 only listeners on this machine get it",
        ),
        Scope::LinkLocal => check(Verdict::Passed, "it reaches this link"),
        _ if hops == 1 => check(
            Verdict::Passed,
            "with hop limit 1 it reaches this link, and crosses no router",
        ),
        _ => check(
            Verdict::Passed,
            "it reaches this link, and others if routers forward multicast (PIM, MLD)",
        ),
    }
}

/// Whether the group's address is permanently assigned: flag T (RFC 4291, section 2.7).
fn is_assigned(group: Group) -> bool {
    group.address().octets()[1] & 0x10 == 0
}

/// Which interface a connection gets: `target`, or one that names none.
pub(super) fn route(target: Option<&Target>) -> (Check, Option<Interface>) {
    let system = InterfaceChoice::System;
    let (group, choice) = match target {
        Some(target) => (target.group, &target.interface),
        None => (usual_group(), &system),
    };
    match choose(choice, &group) {
        Ok(interface) => {
            let how = match choice {
                InterfaceChoice::System => "the system's choice".to_owned(),
                named => format!("chosen as {named}"),
            };
            let message = format!("{group} goes over {interface}: {how}");
            let check = Check::new(Id::Route, Verdict::Passed, message).of(interface.name());
            (check, Some(interface))
        }
        Err(error) => (refused(&error, target.is_some()), None),
    }
}

/// Without a connection to open, ambiguity is only a nuisance.
fn refused(error: &ChooseError, is_wanted: bool) -> Check {
    let (group, refusal) = (error.group(), error.refusal());
    let (verdict, advice) = match refusal {
        Refusal::Ambiguous(_) if !is_wanted => (
            Verdict::Warned,
            "; connections must name one: `[ff15::1%NAME]:26000`, `--interface` or MCL_INTERFACE",
        ),
        Refusal::Ambiguous(_) => (Verdict::Failed, "; name one: `--interface`, MCL_INTERFACE"),
        Refusal::NotFound => (Verdict::Failed, "; `ip link show` lists them"),
        _ => (Verdict::Failed, ""),
    };
    let choice = error.choice();
    let message = format!("no interface for {group} (choice: {choice}): {refusal}{advice}");
    Check::new(Id::Route, verdict, message).mended_by(error.remedy())
}

/// A datagram to itself: within this machine, or on the wire if `target` says so.
pub(super) fn datagram(interface: &Interface, target: Option<&Target>) -> Check {
    let name = interface.name();
    let (outcome, to) = match target {
        Some(target) if target.on_the_wire => (
            self_test_to(interface, target.group, target.hops),
            format!(" to {}, on the wire,", target.group),
        ),
        _ => (self_test(interface), String::new()),
    };
    let check = match outcome {
        Ok(took) => Check::new(
            Id::Datagram,
            Verdict::Passed,
            format!("{name}: a datagram{to} came back after {}", short(took)),
        ),
        Err(error @ SelfTestError::Lost { .. }) => {
            let lost = Check::new(Id::Datagram, Verdict::Failed, error.to_string());
            lost.mended_by(["nft list ruleset".to_owned()])
        }
        Err(error) => Check::new(Id::Datagram, Verdict::Failed, format!("{name}: {error}")),
    };
    check.of(name)
}

fn short(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// A full train to itself, within this machine.
pub(super) fn train(interface: &Interface) -> Check {
    let name = interface.name();
    let (verdict, what) = match train_test(interface) {
        Ok(it) => {
            let train = format!(
                "{} of a train of {} datagrams of {} bytes came back",
                it.arrived, it.sent, it.datagram_len
            );
            match it.offload {
                _ if it.arrived < it.sent => (Verdict::Warned, train),
                true => (Verdict::Passed, format!("{train}, by segmentation offload")),
                false => (
                    Verdict::Warned,
                    format!("{train}, but without segmentation offload: a system call each"),
                ),
            }
        }
        Err(error) => (Verdict::Warned, error.to_string()),
    };
    Check::new(Id::Train, verdict, format!("{name}: {what}")).of(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, hops: u8) -> Target {
        Target {
            group: Group::new(address.parse().unwrap(), 26000).unwrap(),
            interface: InterfaceChoice::System,
            hops,
            on_the_wire: false,
        }
    }

    #[test]
    fn a_scope_is_told_with_what_bounds_it() {
        for (address, hops, verdict, text) in [
            ("ff15::1", 1, Verdict::Passed, "crosses no router"),
            ("ff15::1", 3, Verdict::Passed, "routers forward"),
            ("ff15::1", 0, Verdict::Warned, "hop limit 0"),
            ("ff12::1", 5, Verdict::Passed, "reaches this link"),
            (
                "ff11::1",
                1,
                Verdict::Warned,
                "only listeners on this machine",
            ),
            ("ff05::1", 1, Verdict::Warned, "IANA"),
        ] {
            let check = scope(&target(address, hops));
            assert_eq!(check.verdict, verdict, "{address} {hops}");
            assert!(check.message.contains(text), "{}", check.message);
        }
    }
}
