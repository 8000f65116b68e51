//! Publishes the lines of standard input. In one terminal:
//!
//! ```sh
//! cargo run --example listen
//! ```
//!
//! and in another:
//!
//! ```sh
//! cargo run --example publish
//! ```
//!
//! The environment chooses the connection and the interface:
//! `MCL_CONNECTION=ff12::1 MCL_INTERFACE=eth0`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;

use mcl_udp::{Broadcaster, Connection};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let broadcaster = Broadcaster::<str>::open(&connection)?;
    let interface = broadcaster.interface().ok_or("the interface is gone")?;
    println!("publishing to {connection} on {interface}; type a line");
    for line in io::stdin().lines() {
        broadcaster.publish(&line?)?;
    }
    Ok(())
}
