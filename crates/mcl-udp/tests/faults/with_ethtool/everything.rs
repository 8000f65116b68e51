//! All that a cable can do, at once.

use std::time::Duration;

use mcl_testbed::Faults;

use crate::scenario::{Accounts, TRAFFIC};
use crate::table::Row;

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn everything_goes_wrong_and_the_account_adds_up() {
    let faults = Faults {
        loss: 0.02,
        corrupt: 0.02,
        duplicate: 0.02,
        duplicate_late: 0.02,
        reorder: 0.05,
        hold: 30,
        delay: Duration::from_millis(3),
        ..Faults::default()
    };
    for (seed, (len, messages)) in (60..).zip(TRAFFIC) {
        let accounts = Accounts::of_publishing(seed, faults, (len, messages));
        let cable = &accounts.cable;
        assert!(cable.lost > 0 && cable.corrupted > 0 && cable.reordered > 0);
        assert!(cable.duplicated > 0 && cable.duplicated_late > 0);
        Row {
            scenario: "loss 2 %, corruption 2 %, duplication 4 %, reorder 5 %, delay 3 ms at once",
            sent: accounts.sent(len),
            delivered: accounts.delivered(),
            counted: format!(
                "{} lost + {} damaged = `missing` {}; {} copies = `duplicate` {}",
                cable.lost,
                cable.corrupted,
                accounts.missing(),
                cable.duplicated + cable.duplicated_late,
                accounts.heard.duplicate,
            ),
            recovery: "none needed".into(),
        }
        .print();
    }
}
