//! Publishes a text and receives it, in one process:
//!
//! ```sh
//! cargo run --example hello
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use mcl_udp::{Broadcaster, Connection, Listener};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::new("ff15::c73d:cf41:ea8e:b0a0")?;
    let listener = Listener::<String>::open(&connection)?;
    let inbox = listener.queue();
    let broadcaster = Broadcaster::<str>::open(&connection)?;
    broadcaster.publish("hello world")?;
    println!("{}", inbox.recv()?.payload);
    Ok(())
}
