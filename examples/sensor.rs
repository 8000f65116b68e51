//! A typed message, published ten times a second for a second and received by a
//! callback:
//!
//! ```sh
//! cargo run --example sensor
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;
use std::time::Duration;

use mcl_udp::{Broadcaster, Connection, Listener};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Imu {
    acceleration: [f32; 3],
    angular_rate: [f32; 3],
    /// Bytes belong in `serde_bytes`: one copy instead of one call per element.
    #[serde(with = "serde_bytes")]
    raw: Vec<u8>,
}

/// Raise it whenever the struct changes: old listeners then report a typed error.
const SCHEMA: u64 = 1;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = Connection::from_env()?;
    let listener = Listener::<Imu>::builder(&connection)
        .topic("imu")
        .schema(SCHEMA)
        .on_error(|undecodable| println!("{undecodable}"))
        .open()?;
    listener.subscribe(|message| {
        let Imu {
            acceleration,
            angular_rate,
            raw,
        } = message.payload;
        println!(
            "#{} {acceleration:?} {angular_rate:?} {} bytes",
            message.number,
            raw.len()
        );
    });

    let broadcaster = Broadcaster::<Imu>::builder(&connection)
        .topic("imu")
        .schema(SCHEMA)
        .open()?;
    for step in 0..10_u8 {
        broadcaster.publish(&Imu {
            acceleration: [0.0, 0.0, 9.81],
            angular_rate: [0.0, f32::from(step) / 10.0, 0.0],
            raw: vec![step; 64],
        })?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
