//! Several topics on one connection, and listeners that want some of them:
//!
//! ```sh
//! cargo run --example topics
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use mcl_udp::{Broadcaster, Connection, Listener};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let everything = Listener::<f64>::open(&connection)?;
    let weather = Listener::<f64>::builder(&connection)
        .topics(["temperature", "pressure"])
        .open()?;
    let topicless = Listener::<f64>::builder(&connection).topicless().open()?;
    let inboxes = [
        ("everything", everything.queue()),
        ("weather", weather.queue()),
        ("topicless", topicless.queue()),
    ];

    let broadcaster = Broadcaster::<f64>::open(&connection)?;
    broadcaster.publish_to("temperature", &21.5)?;
    broadcaster.publish_to("pressure", &1013.25)?;
    broadcaster.publish_to("voltage", &12.6)?;
    broadcaster.publish(&0.0)?;

    for (name, inbox) in &inboxes {
        while let Ok(message) = inbox.recv_timeout(Duration::from_millis(200)) {
            println!("{name:<11} {:?} {}", message.topic, message.payload);
        }
    }
    Ok(())
}
