//! What the fuzz targets do with their input. The first two share their code
//! with mcl-wire's tests, where the corpus is replayed too.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/mcl-wire/tests/wire/common.rs"]
mod common;
#[path = "../../crates/mcl-wire/tests/wire/dissection.rs"]
mod dissection;
#[path = "../../crates/mcl-wire/tests/wire/driver.rs"]
mod driver;
#[path = "../../crates/mcl-wire/tests/wire/hearsay.rs"]
mod hearsay;
mod typed;

pub use typed::{KINDS, typed};

/// Takes `bytes` for a datagram and for a message body.
///
/// # Panics
/// If an invariant does not hold; so do the others.
pub fn frames(bytes: &[u8]) {
    dissection::dissect(bytes);
}

/// Drives a reassembler by `bytes`.
///
/// # Panics
/// If an invariant does not hold.
pub fn demux(bytes: &[u8]) {
    driver::drive(bytes);
}
