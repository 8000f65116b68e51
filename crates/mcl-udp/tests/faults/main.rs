//! Real processes in network namespaces of their own, and a cable between them
//! on which everything goes wrong that can: nothing wrong is ever delivered, and
//! every loss has a name.
//!
//! The broadcaster's account, the cable's, the kernel's and the listener's are
//! compared, datagram by datagram and message by message.
//!
//! - `processes`: what the child processes do: a broadcaster, a listener.
//! - `scenario`: a network, the processes, and the comparison of accounts.
//! - `table`: what `cargo xtask faults` shows of it.
//! - `payload`: messages that say what they must be.
//! - `loss`, `disorder`, `corruption`, `everything`: by the cable.
//! - `receivers`: slow ones and a stopped one.
//! - `broadcasters`: one that is killed and started again, an MTU that falls.
//! - `descriptors`: none are left.
//! - `partition`: a cable that is cut and mended.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::print_stdout,
    reason = "`cargo xtask faults` collects what the scenarios print"
)]

mod payload;
mod processes;
mod scenario;
mod table;

/// What needs `ethtool`: `cargo xtask test` leaves it out by this name where
/// that is missing.
mod with_ethtool {
    mod broadcasters;
    mod corruption;
    pub(crate) mod descriptors;
    mod disorder;
    mod everything;
    mod loss;
    mod partition;
    mod receivers;
}
