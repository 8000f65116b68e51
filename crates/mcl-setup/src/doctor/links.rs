//! Interfaces: which carry multicast, and what is odd about those that do.

use mcl_net::{Bridge, Finding, Interface, Machine, Reason, Severity, Usability};

use super::{Check, Id, Verdict};

/// Each interface, and what follows from all of them.
pub(super) fn all(machine: &Machine) -> Vec<Check> {
    let interfaces = machine.interfaces();
    let mut checks: Vec<Check> = interfaces.iter().map(|it| one(it, interfaces)).collect();
    checks.extend(none_usable(machine));
    checks.extend(wireless(machine));
    checks.extend(interfaces.iter().filter_map(|it| bridge(it, interfaces)));
    checks
}

fn one(interface: &Interface, all: &[Interface]) -> Check {
    let name = interface.name();
    let check = |verdict, what: String| {
        Check::new(Id::Interface, verdict, format!("{interface}: {what}")).of(name)
    };
    match interface.usability() {
        Usability::Usable if interface.is_running() => check(Verdict::Passed, usable(interface)),
        Usability::Usable => {
            let interface = name.to_owned();
            let finding = Finding::NoCarrier { interface };
            check(Verdict::Warned, format!("usable, but {finding}"))
        }
        Usability::NotYet(reason) => check(Verdict::Warned, format!("not yet: {}", reason.kind())),
        Usability::Unusable(reason) => match not_meant_to(interface, &reason, all) {
            Some(why) => check(Verdict::Passed, format!("not used: {why}")),
            None => check(Verdict::Warned, format!("not usable: {}", reason.kind()))
                .mended_by(reason.remedy()),
        },
    }
}

fn usable(interface: &Interface) -> String {
    let addresses = interface.addresses().iter();
    let addresses: Vec<String> = addresses.map(|it| it.address.to_string()).collect();
    format!("usable, MTU {}, {}", interface.mtu(), addresses.join(", "))
}

/// Why an interface need not carry multicast.
fn not_meant_to(interface: &Interface, reason: &Reason, all: &[Interface]) -> Option<String> {
    if interface.is_loopback() {
        return Some(reason.kind().to_string());
    }
    let controller = interface.controller()?;
    let controller = all.iter().find(|it| it.index() == controller)?;
    Some(format!("a port of {}", controller.name()))
}

fn none_usable(machine: &Machine) -> Option<Check> {
    let findings = machine.findings();
    let obstacle = findings
        .iter()
        .find(|it| matches!(it, Finding::NoUsableInterface))?;
    let check = Check::new(
        Id::Interface,
        Verdict::Failed,
        format!(
            "{obstacle}; mend one of these, or make one for this machine alone (`mcl netsetup`)"
        ),
    );
    Some(check.mended_by(obstacle.remedy()))
}

/// RFC 9119, section 3: multicast over IEEE 802.11 goes at a basic rate, without
/// acknowledgement, and waits for sleeping stations.
fn wireless(machine: &Machine) -> Vec<Check> {
    let findings = machine.findings();
    let of = |finding: &Finding| match finding {
        Finding::Wireless { interface } => {
            let check = Check::new(Id::Wireless, Verdict::Warned, finding.to_string());
            Some(check.of(interface))
        }
        _ => None,
    };
    let mut checks: Vec<Check> = findings.iter().filter_map(of).collect();
    if checks.is_empty() && machine.usable().next().is_some() {
        let message = "no usable interface is wireless";
        checks.push(Check::new(Id::Wireless, Severity::Note.into(), message));
    }
    checks
}

fn bridge(interface: &Interface, all: &[Interface]) -> Option<Check> {
    let bridge = interface.bridge()?;
    let is_port = |it: &&Interface| it.controller() == Some(interface.index());
    let ports = all.iter().filter(is_port).count();
    Some(snooping(interface.name(), bridge, ports))
}

/// A bridge that snoops needs a querier, or the memberships it learned expire (RFC
/// 4541, section 3). Linux floods while it knows of none (commit b00589af3b04,
/// "bridge: disable snooping if there is no querier"), but switches beyond it may not.
fn snooping(name: &str, bridge: Bridge, ports: usize) -> Check {
    let (verdict, what) = match bridge {
        _ if ports == 0 => (Verdict::Passed, "has no ports"),
        it if !it.snooping => (
            Verdict::Passed,
            "does not snoop: every port gets every group",
        ),
        it if it.querier => (Verdict::Passed, "snoops and is a querier"),
        it if it.querier_seen => (Verdict::Passed, "snoops and knows of a querier"),
        _ => (
            Verdict::Warned,
            "snoops (mcast_snooping), but nobody on it asks who listens (mcast_querier): \
             switches forget listeners after some minutes",
        ),
    };
    let check = Check::new(Id::Bridge, verdict, format!("bridge {name} {what}")).of(name);
    match verdict {
        Verdict::Passed => check,
        _ => check.mended_by([format!(
            "ip link set dev {name} type bridge mcast_querier 1"
        )]),
    }
}
