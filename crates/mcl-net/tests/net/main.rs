//! Real sockets in private network namespaces: the promises of mcl-net.
//!
//! | module | what belongs there |
//! |---|---|
//! | `world` | helpers: hosts, cables, sockets, and nothing that asserts |
//! | `delivery` | who gets a datagram and who does not: hop limit, interface, group, scope |
//! | `sharing` | several receivers of one group, in one process and in several |
//! | `trains` | segmentation offload on and off, and an MTU that changes |
//! | `refusals` | what cannot work says why |
//! | `pacing` | large messages and small receive buffers |
//! | `idle` | what wakes nobody |

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as its assertions do"
)]

mod delivery;
mod idle;
mod pacing;
mod refusals;
mod sharing;
mod trains;
mod world;
