//! Receive buffers: how large they may be, and what was dropped for want of them.

use std::fmt;
use std::fs;

use mcl_net::{
    BufferSetting, Finding, Group, Interface, Machine, PacedRate, RECOMMENDED_RECEIVE_BUFFER,
    Receiver, ReceiverOptions,
};

use super::{Check, Id, Verdict};

/// Sockets named at most in one line.
const NAMED: usize = 5;

/// What the kernel grants a listener, against what large messages need.
pub(super) fn limit(machine: &Machine, interface: Option<&Interface>) -> Check {
    let granted = match machine.rmem_max() {
        Some(bytes) => Some((bytes, "net.core.rmem_max is")),
        // Some network namespaces do not show the setting; a socket tells it.
        None => interface
            .and_then(granted_on)
            .map(|bytes| (bytes, "a receive buffer as granted is")),
    };
    match granted {
        None => Check::new(
            Id::ReceiveBuffer,
            Verdict::Warned,
            "net.core.rmem_max is not visible here (a network namespace?), and no interface to try it on",
        ),
        Some((bytes, what)) => size(bytes, what),
    }
}

/// A buffer of this size, against what a message of a megabyte takes with the kernel's
/// bookkeeping.
fn size(bytes: usize, what: &str) -> Check {
    let rate = PacedRate::for_receive_buffer(bytes).bytes_per_second / 1_000_000;
    if bytes >= RECOMMENDED_RECEIVE_BUFFER {
        let message = format!(
            "{what} {bytes}: it takes a message of 1 MiB whole, and senders that pace for it may send {rate} MB/s"
        );
        return Check::new(Id::ReceiveBuffer, Verdict::Passed, message);
    }
    let message = format!(
        "{what} {bytes}, less than {RECOMMENDED_RECEIVE_BUFFER}: large messages are lost unless senders pace for it, at {rate} MB/s"
    );
    let finding = Finding::SmallBuffer {
        setting: BufferSetting::Max,
        value: bytes,
    };
    Check::new(Id::ReceiveBuffer, Verdict::Warned, message).mended_by(finding.remedy())
}

fn granted_on(interface: &Interface) -> Option<usize> {
    // Interface-local: joining it tells nobody.
    let group = Group::new("ff11::6d63:6c:d0c".parse().ok()?, 0xfd0c).ok()?;
    let receiver = Receiver::open(group, interface, &ReceiverOptions::default()).ok()?;
    Some(receiver.receive_buffer().granted)
}

/// What the kernel dropped in this network namespace since it was made.
pub(super) fn drops() -> Check {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let (Ok(snmp), Ok(sockets)) = (read("snmp6"), read("udp6")) else {
        let message = "what was dropped cannot be read: /proc/net/snmp6, /proc/net/udp6";
        return Check::new(Id::Drops, Verdict::Warned, message);
    };
    judge(&Counted::read(&snmp), &Dropping::read(&sockets))
}

/// Counters of UDP over IPv6 (`/proc/net/snmp6`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    received: u64,
    full: u64,
    checksum: u64,
    other: u64,
}

impl Counted {
    fn read(text: &str) -> Self {
        let value = |name: &str| -> u64 {
            let mut lines = text.lines().map(str::split_whitespace);
            let words = lines.find_map(|mut it| (it.next() == Some(name)).then(|| it.next()));
            words.flatten().and_then(|it| it.parse().ok()).unwrap_or(0)
        };
        let (full, checksum) = (value("Udp6RcvbufErrors"), value("Udp6InCsumErrors"));
        Self {
            received: value("Udp6InDatagrams"),
            full,
            checksum,
            // The sum counts both of the others.
            other: value("Udp6InErrors").saturating_sub(full + checksum),
        }
    }
}

/// A socket that dropped (`/proc/net/udp6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dropping {
    port: u16,
    drops: u64,
}

impl Dropping {
    fn read(text: &str) -> Vec<Self> {
        let sockets = text.lines().skip(1).filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = words.get(1)?.rsplit_once(':')?;
            Some(Self {
                port: u16::from_str_radix(port, 16).ok()?,
                drops: words.last()?.parse().ok()?,
            })
        });
        sockets.filter(|socket| socket.drops > 0).collect()
    }
}

impl fmt::Display for Dropping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}: {}", self.port, self.drops)
    }
}

fn judge(counted: &Counted, sockets: &[Dropping]) -> Check {
    let Counted {
        received,
        full,
        checksum,
        other,
    } = *counted;
    if full + checksum + other == 0 && sockets.is_empty() {
        let message = format!("no UDP datagram was dropped so far, of {received}");
        return Check::new(Id::Drops, Verdict::Passed, message);
    }
    let mut message = format!(
        "dropped so far (buffers, each one datagram or a train), beside {received} received: \
         {full} for a full receive buffer, {checksum} for a wrong checksum, {other} otherwise"
    );
    if !sockets.is_empty() {
        let named: Vec<String> = sockets
            .iter()
            .take(NAMED)
            .map(Dropping::to_string)
            .collect();
        message += &format!("; by sockets still open: {}", named.join(", "));
    }
    let check = Check::new(Id::Drops, Verdict::Warned, message);
    match full {
        0 => check,
        _ => check.mended_by(["sysctl -w net.core.rmem_max=4194304".to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Udp6InDatagrams                 \t12\nUdp6NoPorts\t1\nUdp6InErrors\t9\n\
                        Udp6RcvbufErrors\t6\nUdp6InCsumErrors\t2\n";

    #[test]
    fn counters_are_told_apart() {
        let counted = Counted::read(SNMP);
        let expected = Counted {
            received: 12,
            full: 6,
            checksum: 2,
            other: 1,
        };
        assert_eq!(counted, expected);
        let check = judge(&counted, &[]);
        assert_eq!(check.verdict, Verdict::Warned);
        assert!(check.message.contains("6 for a full receive buffer"));
        assert_eq!(check.remedy, ["sysctl -w net.core.rmem_max=4194304"]);
        let nothing = judge(&Counted::read(""), &[]);
        assert_eq!(nothing.verdict, Verdict::Passed);
    }

    #[test]
    fn sockets_that_dropped_are_named_by_port() {
        let head = "  sl  local_address  remote_address  st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref pointer drops";
        let line = |port: &str, drops: u64| {
            format!(
                " 1: 000015FF000000000000000001000000:{port} 0:0 07 0:0 00:0 0 0 0 5 2 0 {drops}"
            )
        };
        let text = [head, &line("6590", 3), &line("0035", 0)].join("\n");
        let sockets = Dropping::read(&text);
        assert_eq!(
            sockets,
            [Dropping {
                port: 26000,
                drops: 3
            }]
        );
        let check = judge(&Counted::default(), &sockets);
        assert_eq!(check.verdict, Verdict::Warned);
        assert!(check.message.contains("port 26000: 3"), "{}", check.message);
    }
}
