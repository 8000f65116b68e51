//! Datagrams of which bytes are changed on the way.

use mcl_testbed::Faults;

use crate::processes::CRC;
use crate::scenario::{Accounts, Lab, Pair};
use crate::table::Row;

const TRAFFIC: [(usize, u64); 3] = [(1000, 5000), (64 << 10, 150), (1 << 20, 12)];

fn under(seed: u64, faults: Faults, len: usize, messages: u64, crc: bool) -> Accounts {
    Lab::run(seed, |lab| {
        let crc = crc.to_string();
        let mut pair = Pair::start(lab, &[(CRC, crc.as_str())]);
        pair.publish(faults, messages, len);
        pair.compare()
    })
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_kernel_drops_what_its_checksum_finds() {
    let faults = Faults {
        corrupt: 0.01,
        ..Faults::default()
    };
    for (seed, (len, messages)) in (30..).zip(TRAFFIC) {
        let accounts = under(seed, faults, len, messages, false);
        accounts.check_each_stream();
        accounts.check_causes();
        assert!(accounts.cable.corrupted > 0);
        assert!(accounts.kernel.checksum > 0, "none reached the kernel");
        Row {
            scenario: "corruption 1 %, checksum left",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "{} damaged = kernel's `Udp6InCsumErrors` {} = `missing` {}",
                accounts.cable.corrupted,
                accounts.kernel.checksum,
                accounts.missing(),
            ),
            recovery: "none needed".into(),
        }
        .print();
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_body_checksum_finds_what_the_kernel_cannot() {
    let faults = Faults {
        corrupt_undetected: 0.01,
        ..Faults::default()
    };
    for (seed, (len, messages)) in (40..).zip(TRAFFIC) {
        let accounts = under(seed, faults, len, messages, true);
        let (cable, heard) = (&accounts.cable, &accounts.heard);
        assert_eq!(accounts.kernel.checksum, 0);
        let damaged = cable.corrupted_undetected;
        assert!(damaged > 0);
        if len == 1000 {
            // A damaged datagram takes itself with it, and one other if it bears
            // that one's number now.
            let least = accounts.messages().saturating_sub(2 * damaged);
            let lost_besides = accounts.kernel.buffer + cable.overflowed;
            assert!(heard.right + lost_besides >= least, "{accounts:#?}");
            assert!(heard.crc_mismatch > 0 && heard.crc_mismatch <= damaged);
        }
        Row {
            scenario: "corruption 1 %, UDP checksum made to match, CRC-32C on",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "{damaged} damaged reached the listener: `crc_mismatch` {}, datagrams dropped for their header or frames {}, streams that never were {}",
                heard.crc_mismatch,
                heard.dropped,
                heard.streams.len() - 1,
            ),
            recovery: "none needed".into(),
        }
        .print();
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn damage_anywhere_in_the_frame_delivers_nothing_wrong() {
    let faults = Faults {
        corrupt_anywhere: 0.05,
        ..Faults::default()
    };
    for (seed, (len, messages)) in (50..).zip(TRAFFIC) {
        let accounts = under(seed, faults, len, messages, false);
        accounts.check_each_stream();
        let damaged = accounts.cable.corrupted_anywhere;
        let besides = accounts.kernel.buffer + accounts.cable.overflowed;
        assert!(damaged > 0);
        // Of the headers, UDP's checksum does not cover all.
        assert!(accounts.missing() <= damaged + besides, "{accounts:#?}");
        Row {
            scenario: "corruption 5 %, one byte anywhere from Ethernet's header on",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "{damaged} damaged: kernel's `Udp6InCsumErrors` {}, refused below UDP {}, harmless {} (what no checksum covers, such as the hop limit); `missing` {}",
                accounts.kernel.checksum,
                accounts.missing().saturating_sub(accounts.kernel.checksum),
                damaged.saturating_sub(accounts.missing()),
                accounts.missing(),
            ),
            recovery: "none needed".into(),
        }
        .print();
    }
}
