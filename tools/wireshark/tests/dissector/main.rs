//! The Wireshark dissector, judged by tshark: golden captures, the wire format's
//! golden vectors, what a real broadcaster sends, and damaged captures.
//!
//! `BLESS=1` writes the golden captures and what is expected of them anew instead
//! of comparing; `git diff` then shows what changed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod damage;
mod golden;
mod library;
mod live;
mod pcap;
mod pdml;
mod tshark;
mod vectors;

use std::path::PathBuf;

/// A file for this test alone.
fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dissector");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}-{name}", std::process::id()))
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}
