//! What this thread may do.

use std::fs;

/// Whether the effective capabilities of this thread hold `CAP_NET_ADMIN`
/// (capabilities(7)): whether it may change interfaces and read firewall rules.
pub(crate) fn may_change_interfaces() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hexadecimal| u64::from_str_radix(hexadecimal.trim(), 16).ok());
    effective.unwrap_or(0) & CAP_NET_ADMIN != 0
}
