//! A listener's memory has a ceiling whatever arrives, seen from outside: the peak
//! resident set (`VmHWM`, proc_pid_status(5)) of a listener process under a flood.
//!
//! - `attack`: what a hostile sender sends, in trains.
//! - `victim`: the listener process, and how its parent talks to it.
//! - `ceiling`: the bound, and the test that asserts it.
//!
//! A binary of its own: it takes the whole machine for a while. The number of
//! hostile datagrams is small here; `cargo xtask ceiling` makes it ten million.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "what was measured belongs in the log")]

mod attack;
mod ceiling;
mod victim;
