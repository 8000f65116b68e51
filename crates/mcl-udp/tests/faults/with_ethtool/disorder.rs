//! Datagrams that come twice, or later than those sent after them.

use std::time::Duration;

use mcl_testbed::Faults;

use crate::scenario::{Accounts, TRAFFIC};
use crate::table::Row;

/// Publishes under these faults, none of which loses anything: everything comes.
fn disorder(seed: u64, faults: Faults, check: impl Fn(&Accounts, usize)) {
    for (seed, (len, messages)) in (seed..).zip(TRAFFIC) {
        let accounts = Accounts::of_publishing(seed, faults, (len, messages));
        if accounts.kernel.buffer + accounts.cable.overflowed == 0 {
            assert_eq!(accounts.heard.right, accounts.messages());
            assert_eq!(accounts.missing(), 0);
        }
        check(&accounts, len);
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn duplicates_are_dropped_and_counted() {
    let faults = Faults {
        duplicate: 0.1,
        duplicate_late: 0.1,
        hold: 100,
        ..Faults::default()
    };
    disorder(10, faults, |accounts, len| {
        let cable = &accounts.cable;
        let doubled = cable.duplicated + cable.duplicated_late;
        assert!(cable.duplicated > 0 && cable.duplicated_late > 0);
        Row {
            scenario: "duplication, 10 % at once and 10 % 100 datagrams later",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "{doubled} copies = `duplicate` {}; none delivered twice",
                accounts.heard.duplicate
            ),
            recovery: "none needed".into(),
        }
        .print();
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_was_overtaken_is_taken_back_from_the_missing() {
    let faults = Faults {
        reorder: 0.1,
        hold: 50,
        delay: Duration::from_millis(5),
        ..Faults::default()
    };
    disorder(20, faults, |accounts, len| {
        let (late, held) = (accounts.sum(|it| it.late), accounts.cable.reordered);
        // One that ends a burst is not overtaken by anything.
        assert!(0 < late && late <= held, "{late} of {held}");
        Row {
            scenario: "reorder, 10 % held back behind 50 others; 5 ms delay",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "{held} held back; `late` {late}, taken back: `missing` {}",
                accounts.missing()
            ),
            recovery: "none needed".into(),
        }
        .print();
    });
}
