//! Why IPv6 multicast does or does not work on a machine, and what mends it.
//!
//! One implementation of the checks and of the remedies, for `mcl doctor`,
//! `mcl netsetup` and `cargo xtask netsetup`. It stands on [`mcl_net`], whose look at
//! the machine it completes with what concerns the administrator rather than a
//! socket: known kernels, containers, firewalls, bridges, drops.
//!
//! - [`doctor`] examines and changes nothing.
//! - [`netsetup`] changes what can be changed, shows each command before it runs, and
//!   takes all of it back.
//!
//! This is a part of the command `mcl`; it has no stable API of its own.

pub mod command;
pub mod doctor;
pub mod netsetup;
mod privilege;

use std::net::Ipv6Addr;

use mcl_net::Group;

/// The group by which the system's choice of an interface is asked for, when nobody
/// named one.
fn usual_group() -> Group {
    let [site, port] = [0xff15, 26000];
    let address = Ipv6Addr::new(site, 0, 0, 0, 0, 0, 0, 1);
    Group::new(address, port).expect("ff15::1 is multicast")
}
