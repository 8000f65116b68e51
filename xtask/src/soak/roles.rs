//! Who takes part: eight broadcasters and eight listeners, each another way of using
//! the library, on two hosts.

use serde::{Deserialize, Serialize};

/// One of the two hosts, with the faults between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Left,
    Right,
}

/// How a broadcaster publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publishing {
    /// Bytes, each message by itself.
    Raw,
    /// The same with a CRC-32C.
    Checked,
    /// Bytes that wait a millisecond for company.
    Coalesced,
    /// Bytes, many at once.
    Batches,
    /// Values.
    Typed,
    /// Values that wait a millisecond for company.
    TypedCoalesced,
}

impl Publishing {
    pub(super) fn is_typed(self) -> bool {
        matches!(self, Self::Typed | Self::TypedCoalesced)
    }
}

/// A broadcaster.
#[derive(Debug)]
pub(super) struct Broadcasting {
    pub(super) name: &'static str,
    pub(super) host: Host,
    pub(super) publishing: Publishing,
    /// One after the other; none at all is no topic.
    pub(super) topics: &'static [&'static str],
    /// Bytes of its shortest and longest message.
    pub(super) len: (usize, usize),
    /// Its part of the load, of all parts together.
    pub(super) share: f64,
    /// The most messages per second.
    pub(super) rate: f64,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

pub(super) const BROADCASTERS: [Broadcasting; 8] = [
    Broadcasting {
        name: "all lengths, no topic",
        host: Host::Left,
        publishing: Publishing::Raw,
        topics: &[],
        len: (16, 8 * MIB),
        share: 3.0,
        rate: 200.0,
    },
    Broadcasting {
        name: "images, CRC",
        host: Host::Left,
        publishing: Publishing::Checked,
        topics: &["image"],
        len: (64 * KIB, 8 * MIB),
        share: 3.0,
        rate: 100.0,
    },
    Broadcasting {
        name: "values",
        host: Host::Left,
        publishing: Publishing::Typed,
        topics: &["value"],
        len: (16, 64 * KIB),
        share: 0.5,
        rate: 200.0,
    },
    Broadcasting {
        name: "small, coalesced",
        host: Host::Left,
        publishing: Publishing::Coalesced,
        topics: &["small"],
        len: (16, 256),
        share: 0.3,
        rate: 1000.0,
    },
    Broadcasting {
        name: "four topics in turn",
        host: Host::Right,
        publishing: Publishing::Raw,
        topics: &["a", "b", "c", "d"],
        len: (16, 64 * KIB),
        share: 0.5,
        rate: 200.0,
    },
    Broadcasting {
        name: "values, coalesced",
        host: Host::Right,
        publishing: Publishing::TypedCoalesced,
        topics: &["value"],
        len: (16, KIB),
        share: 0.3,
        rate: 400.0,
    },
    Broadcasting {
        name: "batches",
        host: Host::Right,
        publishing: Publishing::Batches,
        topics: &["batch"],
        len: (16, 3 * KIB),
        share: 0.4,
        rate: 1000.0,
    },
    Broadcasting {
        name: "large",
        host: Host::Right,
        publishing: Publishing::Raw,
        topics: &["image"],
        len: (MIB, 8 * MIB),
        share: 3.0,
        rate: 20.0,
    },
];

/// How a listener receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Receiving {
    Queue,
    Callback,
    Inline,
    Pull,
    /// A queue of values; what is none is undecodable.
    Typed,
    /// A queue of few messages, and a consumer that is too slow for it.
    Slow,
}

pub(super) const WAYS: [Receiving; 6] = [
    Receiving::Queue,
    Receiving::Callback,
    Receiving::Inline,
    Receiving::Pull,
    Receiving::Typed,
    Receiving::Slow,
];

/// A listener.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) name: &'static str,
    pub(super) host: Host,
    /// How; `None` for another way each time.
    pub(super) receiving: Option<Receiving>,
    /// What it wants; nothing said is everything.
    pub(super) topics: &'static [&'static str],
    /// For how long it stays open, in seconds; `None` for to the end.
    pub(super) stays: Option<(u64, u64)>,
}

pub(super) const LISTENERS: [Listening; 8] = [
    Listening {
        name: "queue",
        host: Host::Right,
        receiving: Some(Receiving::Queue),
        topics: &[],
        stays: None,
    },
    Listening {
        name: "callback",
        host: Host::Left,
        receiving: Some(Receiving::Callback),
        topics: &[],
        stays: None,
    },
    Listening {
        name: "inline",
        host: Host::Right,
        receiving: Some(Receiving::Inline),
        topics: &[],
        stays: None,
    },
    Listening {
        name: "pull",
        host: Host::Left,
        receiving: Some(Receiving::Pull),
        topics: &[],
        stays: None,
    },
    Listening {
        name: "filtering",
        host: Host::Right,
        receiving: Some(Receiving::Queue),
        topics: &["small", "batch", "a"],
        stays: None,
    },
    Listening {
        name: "typed",
        host: Host::Left,
        receiving: Some(Receiving::Typed),
        topics: &["value", "b"],
        stays: None,
    },
    Listening {
        name: "coming and going",
        host: Host::Left,
        receiving: None,
        topics: &[],
        stays: Some((2, 5)),
    },
    Listening {
        name: "slow",
        host: Host::Right,
        receiving: Some(Receiving::Slow),
        topics: &[],
        stays: Some((6, 12)),
    },
];

/// What a broadcaster may send per second, in bytes, of all that is sent.
pub(super) fn bytes_per_second(role: &Broadcasting, load: f64) -> f64 {
    let all: f64 = BROADCASTERS.iter().map(|role| role.share).sum();
    load * 1e6 * role.share / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hosts_have_both_kinds_and_all_ways_are_used() {
        for host in [Host::Left, Host::Right] {
            assert_eq!(BROADCASTERS.iter().filter(|it| it.host == host).count(), 4);
            assert_eq!(LISTENERS.iter().filter(|it| it.host == host).count(), 4);
        }
        let used = |way| LISTENERS.iter().any(|it| it.receiving == Some(way));
        assert!(WAYS.into_iter().all(used));
    }

    #[test]
    fn lengths_span_sixteen_bytes_to_eight_mebibytes_and_shares_add_up() {
        let shortest = BROADCASTERS.iter().map(|it| it.len.0).min();
        let longest = BROADCASTERS.iter().map(|it| it.len.1).max();
        assert_eq!((shortest, longest), (Some(16), Some(8 << 20)));
        let sum: f64 = BROADCASTERS
            .iter()
            .map(|it| bytes_per_second(it, 12.0))
            .sum();
        assert!((sum - 12e6).abs() < 1.0, "{sum}");
    }
}
