//! Sent = delivered + missing + dropped, by cause: the broadcaster's account and the
//! listener's, compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcl_udp::{Account, Pacing, RawBroadcaster, RawListener};

use crate::support::{alone_in_network, assert_account, connection, eventually, noise};

/// Publishes as fast as it goes to a listener with little room, until the end was heard.
fn flood(coalesce: Option<Duration>) -> (Account, u64) {
    let listener = RawListener::builder(&connection())
        .receive_buffer(64 << 10)
        .expiry(Duration::from_millis(50));
    let listener = listener.open().unwrap();
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    listener.subscribe_inline(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut builder = RawBroadcaster::builder(&connection()).pacing(Pacing::None);
    if let Some(delay) = coalesce {
        builder = builder.coalesce(delay);
    }
    let broadcaster = builder.open().unwrap();
    let payload = noise(1, 300_000);
    for round in 0..2_000 {
        let len = [10, 1_000, 60_000, 300_000][round % 4];
        broadcaster.publish(&payload[..len]).unwrap();
    }
    let stream = broadcaster.stream();
    eventually("the end is heard, and nothing is incomplete", || {
        broadcaster.publish(b"last").unwrap();
        broadcaster.flush().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let heard = listener.statistics();
        let report = heard.stream(stream);
        report.is_some_and(|it| {
            it.numbers.highest + 1 == broadcaster.statistics().numbers && it.pending == 0
        })
    });
    let (sent, heard) = (broadcaster.statistics(), listener.statistics());
    let account = assert_account(stream, &sent, &heard);
    assert_eq!(sent.numbers, sent.messages, "all went out whole");
    assert_eq!(account.delivered, arrived.load(Ordering::Relaxed));
    println!("{sent}\n\n{heard}\n");
    (account, heard.wire.messages.delivered_bytes)
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_listener_that_cannot_keep_up_accounts_for_every_message() {
    alone_in_network(|_| {
        for coalesce in [None, Some(Duration::from_micros(200))] {
            let (account, bytes) = flood(coalesce);
            assert!(
                account.lost() > 0,
                "nothing was lost: the test shows nothing"
            );
            assert!(account.delivered > 0 && bytes > 0);
        }
    });
}
