//! The Wireshark dissector of the MCL wire format is a script, `mcl.lua`. This crate is there for
//! its tests, which run it in tshark; see `README.md`. (They are not `xtask`'s: tests of a package
//! with a program have that built anew, and `cargo xtask test` must not lose its own.)

use std::path::{Path, PathBuf};

/// The folder with the script, its README and the golden captures.
#[must_use]
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The script.
#[must_use]
pub fn script() -> PathBuf {
    folder().join("mcl.lua")
}
