//! Header, frames and bodies: see `dissection.rs` in mcl-wire's tests.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mcl_fuzz::frames(bytes));
