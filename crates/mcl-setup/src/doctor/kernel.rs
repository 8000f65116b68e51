//! The kernel: its version, and whether it runs IPv6.

use std::fs;
use std::path::Path;

use mcl_net::{Finding, Machine};

use super::{Check, Id, Verdict};

type Version = (u32, u32, u32);

/// The first kernel with `UDP_SEGMENT` (udp(7)).
const SEGMENTS: Version = (4, 18, 0);

/// The first kernel with `UDP_GRO` (udp(7)).
const COALESCES: Version = (5, 0, 0);

/// Segmentation offload came with mangled UDP headers and checksums in 7.0, with some
/// drivers: torvalds/linux@b10b446 (7.0-rc1), mended by 78effd8 and 5f17ae0; see
/// <https://github.com/tailscale/tailscale/pull/19918>. The last release that
/// Tailscale's workaround takes to be affected is 7.1.4
/// (<https://github.com/tailscale/tailscale/issues/21335>); distributions mended theirs
/// earlier (<https://github.com/tailscale/tailscale/issues/20994>).
const MANGLES: (Version, Version) = ((7, 0, 0), (7, 1, 4));

/// From here on a segment above the MTU is answered by `EMSGSIZE`, before by `EINVAL`:
/// torvalds/linux@235174b, see <https://github.com/tailscale/tailscale/pull/21113>.
/// `mcl_net::Sender` knows both.
const SAYS_EMSGSIZE: Version = (6, 14, 0);

/// What is known of a kernel of this release.
pub(super) fn release(release: &str) -> Check {
    if let Some(finding) = Finding::of_kernel(release) {
        return Check::new(Id::Kernel, Verdict::Warned, finding.to_string());
    }
    let (verdict, what) = match version(release) {
        Some(version) => known(version),
        None => (Verdict::Warned, "its version cannot be read"),
    };
    let check = Check::new(Id::Kernel, verdict, format!("kernel {release}: {what}"));
    match what == MANGLED {
        true => check.mended_by(["ethtool -K INTERFACE tx-udp-segmentation off".to_owned()]),
        false => check,
    }
}

const MANGLED: &str = "7.0 to 7.1.4 mangle datagrams of large messages with some network drivers, \
     unless the distribution mended it (github.com/tailscale/tailscale/pull/19918): \
     use 7.1.5 or later, or switch the offload off";

fn known(version: Version) -> (Verdict, &'static str) {
    if version < SEGMENTS {
        let what = "no segmentation offload (UDP_SEGMENT, Linux 4.18): a system call per datagram; use a newer one";
        (Verdict::Warned, what)
    } else if version < COALESCES {
        let what = "no receive offload (UDP_GRO, Linux 5.0): datagrams are received one by one; use a newer one";
        (Verdict::Warned, what)
    } else if (MANGLES.0..=MANGLES.1).contains(&version) {
        (Verdict::Warned, MANGLED)
    } else if version < SAYS_EMSGSIZE {
        let what = "segmentation and receive offload (a datagram above the MTU is EINVAL before 6.14, which is provided for)";
        (Verdict::Passed, what)
    } else {
        (Verdict::Passed, "segmentation and receive offload")
    }
}

/// The leading numbers of a release such as `6.12.43-amd64`; the third may be missing.
fn version(release: &str) -> Option<Version> {
    let mut numbers = release
        .splitn(3, '.')
        .map(|part| part.split(|c: char| !c.is_ascii_digit()).next());
    let mut next = || numbers.next()??.parse().ok();
    let (major, minor) = (next()?, next()?);
    Some((major, minor, next().unwrap_or(0)))
}

/// Whether there is IPv6, for all interfaces and for new ones.
pub(super) fn ipv6(machine: &Machine) -> Vec<Check> {
    if !Path::new("/proc/sys/net/ipv6/conf/all").exists() {
        return vec![match machine.usable().next() {
            Some(_) => Check::new(
                Id::Ipv6,
                Verdict::Passed,
                "IPv6 is there, though its settings are hidden",
            ),
            None => absent(),
        }];
    }
    let mut checks = Vec::new();
    if is_disabled("all") {
        let verdict = match machine.usable().next() {
            Some(_) => Verdict::Warned,
            None => Verdict::Failed,
        };
        checks.push(disabled(
            "all",
            verdict,
            "IPv6 is switched off for all interfaces",
        ));
    }
    if is_disabled("default") {
        checks.push(disabled(
            "default",
            Verdict::Warned,
            "IPv6 is switched off for interfaces to come",
        ));
    }
    if checks.is_empty() {
        checks.push(Check::new(Id::Ipv6, Verdict::Passed, "IPv6 is switched on"));
    }
    checks
}

fn is_disabled(whose: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{whose}/disable_ipv6");
    fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
}

fn disabled(whose: &str, verdict: Verdict, what: &str) -> Check {
    let setting = format!("net.ipv6.conf.{whose}.disable_ipv6=0");
    let check = Check::new(Id::Ipv6, verdict, format!("{what}{}", in_container()));
    check.mended_by([match is_container() {
        // There, /proc/sys is read-only, as a rule.
        true => format!("docker run --sysctl {setting} ..."),
        false => format!("sysctl -w {setting}"),
    }])
}

/// A kernel without IPv6, or booted without it.
fn absent() -> Check {
    let booted_without = fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word == "ipv6.disable=1"));
    let why = match booted_without {
        true => "the kernel was booted with ipv6.disable=1: take it off its command line",
        false => "this kernel has no IPv6: use another one, or load its module",
    };
    let check = Check::new(
        Id::Ipv6,
        Verdict::Failed,
        format!("{why}{}", in_container()),
    );
    match booted_without {
        true => check,
        false => check.mended_by(["modprobe ipv6".to_owned()]),
    }
}

fn in_container() -> &'static str {
    match is_container() {
        true => {
            " (this is a container: its network needs IPv6 too, `docker network create --ipv6 NAME`)"
        }
        false => "",
    }
}

/// As the engines mark it: Docker and Podman by a file each.
fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_leading_numbers_of_a_release() {
        assert_eq!(version("6.12.43+deb13-amd64"), Some((6, 12, 43)));
        assert_eq!(version("6.8.0-56-generic"), Some((6, 8, 0)));
        assert_eq!(version("7.1-rc5"), Some((7, 1, 0)));
        assert_eq!(version("5.15.167.4-microsoft"), Some((5, 15, 167)));
        assert_eq!(version("unknown"), None);
        assert_eq!(version("6"), None);
    }

    #[test]
    fn known_kernels_are_warned_of_and_others_pass() {
        for (bad, why) in [
            ("3.14.2", "wrongly"),
            ("4.17.19", "UDP_SEGMENT"),
            ("4.19.0-27-amd64", "UDP_GRO"),
            ("7.0.0", "mangle"),
            ("7.0.2-6-pve", "mangle"),
            ("7.1.4", "mangle"),
            ("unknown", "cannot be read"),
        ] {
            let check = release(bad);
            assert_eq!(check.verdict, Verdict::Warned, "{bad}");
            assert!(check.message.contains(why), "{}", check.message);
        }
        for good in [
            "5.0.1",
            "6.1.0-44-amd64",
            "6.18.44",
            "7.1.5",
            "7.2.0",
            "10.0",
        ] {
            assert_eq!(release(good).verdict, Verdict::Passed, "{good}");
        }
        assert!(release("6.13.12").message.contains("EINVAL"));
        assert!(!release("6.14.0").message.contains("EINVAL"));
    }
}
