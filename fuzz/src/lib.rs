//! What the fuzz targets do with their input: functions of the tests of mcl-wire and
//! mcl-udp, where the corpus is replayed too.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/mcl-wire/tests/wire/common.rs"]
mod common;
#[path = "../../crates/mcl-wire/tests/wire/dissection.rs"]
mod dissection;
#[path = "../../crates/mcl-wire/tests/wire/driver.rs"]
mod driver;
#[path = "../../crates/mcl-wire/tests/wire/hearsay.rs"]
mod hearsay;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/mcl-udp/tests/typed/payloads.rs"]
mod payloads;

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

/// Decodes `bytes`, after the first, as the type which that chooses.
///
/// # Panics
/// If a value does not survive encoding and decoding, or took more memory than
/// its payload justifies.
pub fn typed(bytes: &[u8]) {
    payloads::typed(bytes);
}
