//! Large and small messages of several threads on one broadcaster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mcl_udp::{Pacing, RawBroadcaster};

use crate::support::{connection, in_network, noise};

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_flood_of_small_messages_does_not_starve_a_large_one() {
    in_network(|_| {
        // Slow enough for the small ones alone to use it all up.
        let pacing = Pacing::Rate {
            bytes_per_second: 20_000_000,
            burst: 106_496,
        };
        let broadcaster = RawBroadcaster::builder(&connection());
        let broadcaster = broadcaster.pacing(pacing).open().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        broadcaster.publish(&[7; 1000]).unwrap();
                    }
                });
            }
            // Some 130 trains: a second or two if turns are taken.
            broadcaster.publish(&noise(3, 8 << 20)).unwrap();
            done.store(true, Ordering::Relaxed);
        });
        let sent = broadcaster.statistics();
        assert!(sent.messages > 100, "{sent:?}");
        assert_eq!(sent.failed, 0);
    });
}
