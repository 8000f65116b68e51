//! Datagrams that vanish at random.

use mcl_testbed::Faults;

use crate::scenario::{Accounts, TRAFFIC};
use crate::table::Row;

/// Sizes and how many messages of each: small ones, and such of 47 and of 749
/// datagrams.
fn random_loss(percent: f64) {
    for (seed, (len, messages)) in (1..).zip(TRAFFIC) {
        let faults = Faults {
            loss: percent / 100.0,
            ..Faults::default()
        };
        let accounts = Accounts::of_publishing(seed, faults, (len, messages));
        let expected = accounts.cable.taken as f64 * faults.loss;
        let lost = accounts.cable.lost as f64;
        // Six standard deviations; and then some, for the few that 0.1 % are.
        let slack = 6.0 * expected.sqrt() + 5.0;
        assert!((lost - expected).abs() < slack, "{lost} of {expected}");
        row(percent, len, &accounts);
    }
}

fn row(percent: f64, len: usize, accounts: &Accounts) {
    let (unseen, incomplete) = (
        accounts.sum(|it| it.unseen),
        accounts.sum(|it| it.incomplete),
    );
    let counted = match len {
        1000 => format!(
            "{} datagrams lost = `missing` {} = messages missing {unseen}",
            accounts.cable.lost,
            accounts.missing(),
        ),
        _ => format!(
            "{} datagrams lost = `missing` {}; {incomplete} messages incomplete (`stranded` or `expired`), {unseen} missing whole",
            accounts.cable.lost,
            accounts.missing(),
        ),
    };
    Row {
        scenario: &format!("random loss {percent} %"),
        sent: accounts.sent(len),
        delivered: accounts.delivered(),
        counted,
        recovery: "none needed: the next message is independent".into(),
    }
    .print();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn one_datagram_in_a_thousand() {
    random_loss(0.1);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn one_datagram_in_a_hundred() {
    random_loss(1.0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn one_datagram_in_ten() {
    random_loss(10.0);
}
