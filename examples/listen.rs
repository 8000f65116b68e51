//! Prints every text published to a connection, until interrupted; see `publish.rs`:
//!
//! ```sh
//! cargo run --example listen
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mcl_udp::{Connection, Listener};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let listener = Listener::<String>::open(&connection)?;
    let interface = listener.interface().ok_or("the interface is gone")?;
    println!("listening to {connection} on {interface}");
    for message in &listener.queue() {
        match message {
            Ok(message) => println!("{}: {}", message.sender, message.payload),
            Err(undecodable) => println!("{undecodable}"),
        }
    }
    Ok(())
}
