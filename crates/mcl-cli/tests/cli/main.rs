//! The real binary, between processes in private namespaces.
//!
//! `support` starts and ends processes; `perf` is the measuring instrument; `messages` is
//! what `pub` sends and `echo` shows; `survey` is `list`, `hz` and `bw`; `spy` is the
//! screen, read from tmux; `recording` is what `record`, `play` and `info` do, and `recording_faults` what becomes of
//! files when something goes wrong; `manners` is what
//! all have in common: exit codes, errors, signals, pipes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod manners;
mod messages;
mod perf;
mod recording;
mod recording_faults;
mod spy;
mod support;
mod survey;
