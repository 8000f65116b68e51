//! A cable that is cut and mended.

use std::time::Instant;

use mcl_testbed::Faults;

use crate::payload::SHORTEST;
use crate::scenario::{Lab, Pair};
use crate::table::Row;

/// Publishes before, during and after.
fn cut_and_mended(seed: u64, len: usize, each: u64) {
    let (accounts, recovery) = Lab::run(seed, |lab| {
        let mut pair = Pair::start(lab, &[]);
        pair.publish(Faults::default(), each, len);
        let cut = Faults {
            partition: true,
            ..Faults::default()
        };
        pair.publish(cut, each, len);
        let before = pair.listener.account().right;
        let mended = Instant::now();
        // However long the gap was, the first one counts.
        pair.broadcaster.publish(1, SHORTEST);
        pair.listener
            .until("the first message after it", |heard| heard.right > before);
        let recovery = mended.elapsed();
        pair.publish(Faults::default(), each, len);
        (pair.compare(), recovery)
    });
    accounts.check_each_stream();
    accounts.check_causes();
    assert!(accounts.cable.partitioned >= each);
    assert!(recovery.as_secs_f64() < 2.0, "{recovery:?}");
    Row {
        scenario: "partition and healing",
        sent: accounts.sent(len),
        delivered: accounts.delivered(),
        counted: format!(
            "{} datagrams cut off: `missing` {}",
            accounts.cable.partitioned,
            accounts.missing()
        ),
        recovery: format!(
            "at once: {:.0} ms from publishing to the account",
            recovery.as_secs_f64() * 1e3
        ),
    }
    .print();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn small_messages_come_again_at_once() {
    // More are cut off than the window of sequence numbers holds.
    cut_and_mended(70, 1000, 3000);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn large_messages_come_again_at_once() {
    cut_and_mended(71, 64 << 10, 60);
    cut_and_mended(72, 1 << 20, 5);
}
