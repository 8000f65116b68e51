//! Typed payloads: see `src/typed.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mcl_fuzz::typed(bytes));
