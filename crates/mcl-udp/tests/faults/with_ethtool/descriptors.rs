//! No descriptors are left.

use std::fs::{self, File};
use std::iter;
use std::time::Duration;

use mcl_testbed::{ask, tell};
use mcl_udp::{OpenError, RawBroadcaster, RawListener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::payload::{check, content};
use crate::processes::{connection, nothing_is_left_of, resources};
use crate::scenario::Lab;
use crate::table::Row;

/// What opening may need at most, and be refused one after the other.
const ENOUGH: u64 = 64;

/// A process that has a listener and a broadcaster and may open nothing more.
pub(crate) fn starved() {
    let listener = RawListener::open(&connection()).unwrap();
    let queue = listener.queue();
    let broadcaster = RawBroadcaster::open(&connection()).unwrap();
    let heard = || {
        let message = queue.recv_timeout(Duration::from_secs(10));
        check(&message.unwrap().payload)
    };
    let mut number = 0;
    let mut go_on = || {
        broadcaster.publish(&content(5, number, 1000)).unwrap();
        assert_eq!(heard(), Some((5, number)));
        number += 1;
    };
    tell("ready");
    assert_eq!(ask(), "starve");

    let needed = refused(&mut go_on, || RawListener::open(&connection()).map(drop));
    tell(needed.to_string());
    let needed = refused(&mut go_on, || RawBroadcaster::open(&connection()).map(drop));
    tell(needed.to_string());
    drop((listener, broadcaster));
}

/// Allows one descriptor more at a time until opening succeeds; before that it
/// fails with an error that says why, leaves nothing, and what is open goes on.
/// Returns how many it took.
fn refused(go_on: &mut dyn FnMut(), open: impl Fn() -> Result<(), OpenError>) -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let highest = highest_descriptor();
    setrlimit(Resource::RLIMIT_NOFILE, highest + 1, hard).unwrap();
    // The limit bounds numbers, and there may be free ones below the highest.
    let _fillers: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let before = resources();
    for more in 0..ENOUGH {
        setrlimit(Resource::RLIMIT_NOFILE, highest + 1 + more, hard).unwrap();
        let outcome = open();
        go_on();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        nothing_is_left_of(before);
        match outcome {
            Ok(()) => return more,
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("Too many open files"), "{error:?}: {said}");
                assert!(said.contains("ulimit -n"), "{said}");
            }
        }
    }
    panic!("{ENOUGH} descriptors are not enough to open anything");
}

fn highest_descriptor() -> u64 {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let number = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name();
        // The one that reads the folder is among them, and closed then.
        name.to_str().unwrap().parse::<u64>().unwrap()
    };
    let own = open
        .map(number)
        .filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    own.max().unwrap()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_descriptors_opening_fails_and_what_is_open_goes_on() {
    let needed = Lab::run(100, |lab| {
        let entry = "processes::child_process";
        let mut peer = mcl_testbed::Peer::start(&lab.left, entry, "descriptors", &[]).unwrap();
        peer.expect("ready");
        peer.say("starve");
        let needed: Vec<u64> = (0..2).map(|_| peer.hear().parse().unwrap()).collect();
        peer.finish();
        needed
    });
    assert!(needed.iter().all(|needed| *needed > 0), "{needed:?}");
    let tried: u64 = needed.iter().sum();
    Row {
        scenario: "no descriptors left (RLIMIT_NOFILE)",
        sent: format!("{} of 1000 B while opening fails", tried + 2),
        delivered: "all".into(),
        counted: format!(
            "{tried} refusals, one for each descriptor that a listener ({}) and a broadcaster ({}) need: a typed error that names `ulimit -n`, nothing leaked",
            needed[0], needed[1]
        ),
        recovery: "opening succeeds once there are enough".into(),
    }
    .print();
}
